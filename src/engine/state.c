/*
 * state - se_set_state: the item as it is, with another state.
 *
 * Reads the item, and writes a copy of it on the condition that L1 still shows the version that was
 * read: by the read's epoch and L1's entry, under the stripe's lock. If another write came between,
 * it reads again, until the time for the ack is over.
 */
#include "base/utf8.h"
#include "engine/engine.h"

#include <string.h>

/* One attempt, based on what is read now. *again: another write came between. */
static se_result try_set_state(se_engine *e, const char *id, const char *state,
                               uint64_t deadline_ms, bool *again)
{
    struct lookup l;
    *again = false;
    se_result r = se__lookup_init(e, id, &l);
    l.sure = l.unseen = true;
    if (r == SE_OK)
        r = se__lookup(e, &l, 1, se__read_deadline(e));
    if (r == SE_OK)
        r = l.result;
    if (r != SE_OK)
        return r;
    struct write w = {
        .hash = l.hash,
        .ack = se__write_resolve_ack(e, SE_ACK_DEFAULT),
        .expect = L1_EXPECT_VERSION,
        .expected_version = se_item_version(l.item),
        .expected_epoch = l.epoch,
        .id = l.id,
        .id_len = l.id_len,
        .bytes = l.id_len + se_item_content_len(l.item),
        .item = se__item_with_state(l.item, strcmp(state, "default") == 0 ? NULL : state, 0, 0),
    };
    se_item_release(l.item);
    if (!w.item)
        return se__error_nomem();
    w.size = se__item_size(w.item);
    se__existence_expect(e, &w);
    size_t failed;
    r = se__enter(e);
    if (r == SE_OK) {
        r = se__write_publish(e, &w, 1, deadline_ms, &failed);
        se__leave(e);
    }
    *again = r == SE_OK && w.conflict;
    if (r == SE_OK && !w.conflict)
        r = se__write_ack(e, &w, deadline_ms);
    se__write_done(e, &w);
    return r;
}

se_result se_set_state(se_engine *e, const char *id, const char *state)
{
    size_t len;
    se_result r = se__look_in(e);
    if (r == SE_OK)
        r = se__id_check("id", id, 1, SE_ID_MAX, &len);
    if (r == SE_OK)
        r = se__id_check("state", state, 1, SE_STATE_MAX, &len);
    uint64_t deadline = r == SE_OK ? se__deadline_in(e->settings.c.ack_timeout_ms) : 0;
    bool again = true;
    while (r == SE_OK && again) {
        r = try_set_state(e, id, state, deadline, &again);
        if (again && se__deadline_left(deadline) == 0)
            return se__error(SE_ERR_TIMEOUT, "id '%s': other writes came between every time", id);
    }
    return r;
}
