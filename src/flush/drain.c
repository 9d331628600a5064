/*
 * drain.c - one batch from the WAL to the home tier.
 *
 * Drained items are not given to L2: the L2 stage got them when the WAL confirmed them, and after a
 * crash the L2 generation has been redrawn, so that Redis holds nothing older than them that
 * anybody would read.
 *
 * There is no timer between batches that succeed: the drain goes at the speed of the home tier,
 * turn by turn with what is written meanwhile.
 */
#include "flush/inside.h"

static void fill_writes(struct worker *w, se_item *const *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        enum record_kind kind =
            se__route_home(se__item_deleted(items[i]), se__item_route(items[i]), w->o.home_is_l3);
        w->batch.writes[i] = (struct tier_write){.item = items[i], .kind = kind};
    }
}

/* A record that somebody else has settled meanwhile (an operator) is in no account any more. */
static void settle_home(struct worker *w, const struct tier_write *write)
{
    const se_item *item = write->item;
    bool lost = write->state == TIER_NEWER;
    struct wal_confirmed gone = {0};
    se__wal_confirm(w->o.wal, se_item_id(item), se__item_id_len(item), se_item_version(item),
                    &gone);
    se__metrics_add(w->o.metrics, M_SUPERSEDED, gone.superseded + (gone.dead_gone ? 1u : 0u));
    if (gone.was_home)
        se__metrics_inc(w->o.metrics, lost ? M_LOST : M_PERSISTED);
    if (lost) {
        se__l1_lost(w->o.l1, item);
        se__flush_saw(w, item, write->newer);
    }
}

static bool settle_dead(struct worker *w, const struct tier_write *write,
                        const struct split_item *fate)
{
    se__flush_log_dead(w, write->item, fate);
    return se__wal_bury(w->o.wal, write->item, fate->code, fate->error) == SE_OK;
}

static void answer_receipts(struct worker *w, const struct tier_write *write,
                            const struct split_item *fate)
{
    const se_item *item = write->item;
    bool lost = write->state == TIER_NEWER;
    if (!se__receipts_any(w->o.receipts))
        return;
    struct receipt_end end = {
        .version = se_item_version(item),
        .outcome = fate->fate == SPLIT_DEAD ? SE_DELIVERY_DEAD
                   : lost                   ? SE_DELIVERY_SUPERSEDED
                                            : SE_DELIVERY_HOME,
        .newest = lost ? write->newer : 0,
        .code = fate->code,
        .error = fate->error,
    };
    uint64_t hash = se__l1_hash(w->o.l1, se_item_id(item), se__item_id_len(item));
    se__receipts_end(w->o.receipts, hash, se_item_id(item), se__item_id_len(item), &end);
}

/* Returns how many could not be handed on. */
static size_t settle(struct worker *w, size_t n)
{
    size_t open = 0;
    for (size_t i = 0; i < n; i++) {
        const struct split_item *fate = &w->batch.fates[i];
        const struct tier_write *write = &w->batch.writes[i];
        bool ended = fate->fate == SPLIT_DONE;
        if (ended)
            settle_home(w, write);
        else
            ended = fate->fate == SPLIT_DEAD && settle_dead(w, write, fate);
        if (ended)
            answer_receipts(w, write, fate);
        else
            open++;
    }
    return open;
}

/* Returns how many could not be handed on. */
static size_t drain_items(struct worker *w, se_item **items, size_t n)
{
    fill_writes(w, items, n);
    (void)se__flush_home(w, n); /* the fates say it all */
    size_t open = settle(w, n);
    if (open == 0)
        se__wal_drain_done(w->o.wal, w->o.number, items, n);
    else
        se__wal_drain_return(w->o.wal, w->o.number, items,
                             n); /* those confirmed are gone: the rest is drainable again */
    return open;
}

static void note(struct worker *w, bool fine, bool progress)
{
    if (fine) {
        w->drain_failures = 0;
        w->flush_after_ms = 0; /* what was put back may try at once, too */
    } else {
        w->drain_failures = progress ? 1 : w->drain_failures + 1;
        w->drain_after_ms = se__flush_retry_at(w, w->drain_failures);
    }
}

void se__flush_drain(struct worker *w)
{
    se_item **items = NULL;
    size_t n = 0, open = 0;
    uint64_t began_ns = se__mono_ns();
    w->drain_turn = false;
    se__flush_drain_begins(w);
    size_t items_max = w->o.drain_items;
    if (!w->o.keep_drain && w->limits.items_max < items_max)
        items_max = w->limits.items_max; /* chosen because the home tier is slow */
    se_result r =
        se__wal_drain_take(w->o.wal, w->o.number, items_max, w->limits.bytes_max, &items, &n);
    if (r == SE_OK && n > 0)
        open = drain_items(w, items, n);
    bool fine = r == SE_OK && n > 0 && open == 0;
    if (n > open)
        se__metrics_observe(w->o.metrics, M_WAL_DRAIN_SECONDS,
                            (double)(se__mono_ns() - began_ns) / 1e9);
    note(w, fine, open < n);
    se__flush_drain_ends(w, !fine);
}
