/*
 * delivery - what a write does for those who want to be told how it ended: flush/receipts.h.
 */
#include "engine/engine.h"

se_result se__delivery_ask(se_engine *e, const se_submit_options *o, struct write *w)
{
    if (!o->delivery || !e->receipts)
        return SE_OK;
    struct receipt_spec spec = {
        .fn = o->delivery,
        .arg = o->delivery_arg,
        .id = se_item_id(w->item),
        .id_len = se__item_id_len(w->item),
        .hash = w->hash,
        .wants_home = o->delivery_ack == SE_ACK_L3,
        .deleted = se__item_deleted(w->item),
    };
    return se__receipt_new(e->receipts, &spec, &w->receipt);
}

void se__delivery_commit(se_engine *e, struct write *w, const struct l1_put_result *put)
{
    bool stored = put->stored == L1_STORED;
    bool insured = stored && w->ack == SE_ACK_WAL && !w->wal_pending;
    if (!w->receipt)
        return;
    /* Else the batch that ends the winner answers for this one too. */
    if (!stored && !put->winner_ends)
        se__receipt_answer(e->receipts, w->receipt, SE_DELIVERY_SUPERSEDED, put->winner);
    if (stored && !e->home.ops)
        se__receipt_answer(e->receipts, w->receipt, insured ? SE_DELIVERY_WAL : SE_DELIVERY_HOME,
                           0);
    se__receipt_commit(e->receipts, w->receipt, insured);
    w->receipt = NULL;
}
