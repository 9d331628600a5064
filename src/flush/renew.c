/*
 * renew - a write that lost for its version alone is written again, above what it lost against: where
 * that is too far ahead of the clock, and where this engine's own clock did not yet know of it.
 *
 * Some writer's clock is, or was, wrong. Its versions do not push ours (hlc.h, I3), so a write to
 * such an id that did not know of it is refused by the guard, however new it is. The caller has its
 * acknowledgement; taking the row's word would lose it. The new version is issued for this write
 * only.
 *
 * An engine that starts without its home tier, and without a log that would tell, takes versions from
 * the wall clock alone. An earlier run may have been ahead of that (a clock that was set back since;
 * crashes in a row, each starting at the last one's ceiling), and its rows would win against writes
 * that were acknowledged after them. The greatest stored ceiling, known once the tier is reached, tells
 * which writes and which rows those are. Not with another engine at work: it may be newer in truth.
 *
 * Not done for what the drain brings: there the WAL's record would have to change its version.
 * docs/flush.md says so.
 */
#include "flush/inside.h"

enum { WAL_WAIT_MS = 2000 };

static se_item *copy_above(struct worker *w, const se_item *item, uint64_t newer)
{
    uint64_t version = se__hlc_above(w->o.hlc, newer, se__wall_ms());
    const char *state = se__item_is_default_state(item) ? NULL : se_item_state(item);
    return se__item_with_state(item, state, version, se_item_updated_at_ms(item));
}

/* What was insured stays insured: the old record goes when its version is confirmed. */
static bool insure(struct worker *w, const se_item *item, se_item *copy)
{
    uint64_t version;
    if (!w->o.wal ||
        se__wal_look(w->o.wal, se_item_id(item), se__item_id_len(item), &version) == WAL_NOWHERE)
        return true;
    return se__wal_append(w->o.wal, &copy, 1, WAL_ACK, se__deadline_in(WAL_WAIT_MS)) == SE_OK;
}

static bool publish(struct worker *w, const struct slot *slot, se_item *copy)
{
    struct l1_ticket ticket;
    if (se__l1_prepare(w->o.l1, se__item_id_len(copy), se__item_size(copy), &ticket) != SE_OK)
        return false;
    struct l1_put how = {.dirty = true,
                         .expect = L1_EXPECT_VERSION,
                         .expected_version = se_item_version(slot->item),
                         .now_wall_ms = se__wall_ms()};
    struct l1_put_result result;
    se__l1_put(w->o.l1, slot->hash, copy, &ticket, &how, &result);
    /* else a newer write of the id is here, and meets the same */
    return result.stored == L1_STORED;
}

static bool is_blind(const struct worker *w, const se_item *item, uint64_t newer)
{
    /* relaxed: set before the tier answered the first write */
    uint64_t until =
        w->o.blind_until ? atomic_load_explicit(w->o.blind_until, memory_order_relaxed) : 0;
    return se_item_version(item) <= until && newer <= until;
}

bool se__flush_renew(struct worker *w, const struct slot *slot, uint64_t newer)
{
    if (!newer || !w->o.hlc)
        return false;
    if (!is_blind(w, slot->item, newer) &&
        se__hlc_observe(w->o.hlc, newer, se__wall_ms(), w->o.max_clock_skew_ms))
        return false;
    se_item *copy = copy_above(w, slot->item, newer);
    bool done = copy && insure(w, slot->item, copy);
    if (done && !publish(w, slot, copy)) {
        done = false;
        if (w->o.wal)
            se__wal_forget(w->o.wal, se_item_id(copy), se__item_id_len(copy),
                           se_item_version(copy));
    }
    if (done && se__receipts_any(w->o.receipts))
        se__receipts_renew(w->o.receipts, slot->hash, se_item_id(copy), se__item_id_len(copy),
                           se_item_version(slot->item), se_item_version(copy));
    se_item_release(copy);
    return done;
}
