/*
 * write - one way in for every write: check, build, admit, reserve, version, WAL, L1, ack.
 *
 *   init     arguments are checked and the item is built: nothing has changed yet (write_init.c)
 *   publish  pressure, memory (L1 ticket), version, WAL group commit where asked for, L1 under the
 *            version guard
 *   ack      waits until the home tier has it, where that was asked for; outside of the gate, so
 *            that shutdown can flush
 *
 * Which ack a write really waits for is decided once (se__write_resolve_ack): without a WAL,
 * SE_ACK_WAL is SE_ACK_L3; where no tier is configured L1 is the home and nothing is waited for but
 * the WAL. There a write of an id that the WAL has a record of goes into the WAL as well.
 *
 * A write with an expectation (cache-aside, se_set_state) is published before it goes into the WAL:
 * a record of a write that did not happen must not be replayed. If the WAL then fails, the write
 * stands and the ack is SE_PENDING.
 */
#include "base/mem.h"
#include "engine/engine.h"

/* ---- what is given away, and the end ---- */

/* Later looks at the item are for the WAL's sake, a waiter's, or that of somebody who is told. */
void se__write_give(const se_engine *e, struct write *w)
{
    w->gives = w->ack == SE_ACK_MEMORY && !w->receipt && w->expect == L1_EXPECT_ANY &&
               (e->home.ops || !e->wal);
}

void se__write_done(se_engine *e, struct write *w)
{
    if (w->watching)
        se__worker_unwatch(se__worker_of(e, w->hash), &w->waiter);
    w->watching = false;
    if (w->ticket.bytes)
        se__l1_cancel(e->l1, &w->ticket);
    if (w->receipt)
        se__receipt_drop(e->receipts, w->receipt); /* else it was committed */
    w->receipt = NULL;
    if (w->item)
        se_item_release(w->item);
    w->item = NULL;
    se__l1_entry_free(e->l1, w->entry);
    w->entry = NULL;
}

/* ---- publish ---- */

static void take_version(se_engine *e, struct write *w, uint64_t above)
{
    int64_t now = se__wall_ms();
    struct l1_view view;
    /* Only once a version far ahead of the clock has been seen can an entry
     * be ahead of the next version. */
    if (atomic_load_explicit(&e->skew_seen, memory_order_relaxed) &&
        se__l1_look(e->l1, w->hash, se_item_id(w->item), se__item_id_len(w->item), &view) &&
        view.version > above)
        above = view.version;
    w->version = above ? se__hlc_above(&e->hlc, above, now) : se__hlc_next(&e->hlc, now);
    w->now_wall_ms = now;
    se__item_set_version(w->item, w->version, now);
}

static void watch(se_engine *e, struct write *w)
{
    if (w->receipt)
        se__receipt_expect(e->receipts, w->receipt, w->version);
    if (w->ack != SE_ACK_L3 || w->watching)
        return;
    se__worker_watch(se__worker_of(e, w->hash), &w->waiter, w->item);
    w->watching = true;
}

static void unwatch(se_engine *e, struct write *w)
{
    if (w->watching)
        se__worker_unwatch(se__worker_of(e, w->hash), &w->waiter);
    w->watching = false;
}

/* Counts what the put did, for the balance of law 13 (docs/flush.md). */
static void account(se_engine *e, const struct write *w, const struct l1_put_result *put)
{
    struct metrics *m = e->metrics;
    bool stored = put->stored == L1_STORED;
    unsigned superseded =
        (put->stored == L1_STALE || put->superseded) + (unsigned)put->dead_replaced;
    if (stored)
        se__metrics_add(m, M_L1_PUT_BYTES, w->bytes);
    se__metrics_inc(m, M_ACCEPTED);
    se__metrics_inc(m, put->stored == L1_STALE ? M_OPS_L1_PUT_LOST : M_OPS_L1_PUT_OK);
    if (superseded)
        se__metrics_add(m, M_SUPERSEDED, superseded);
    if (stored && !e->home.ops)
        se__metrics_inc(m, M_PERSISTED); /* L1 is the home */
}

/* True if the entry's version came from outside, above everything this engine has
 * issued: the write must go above it. */
static bool outrun(const se_engine *e, const struct l1_put_result *put)
{
    return put->stored == L1_STALE && put->winner > se__hlc_last(&e->hlc);
}

/* Every so many a thread's put is timed: the clock costs a quarter of one. */
#define ONE_IN 64u

static void put(se_engine *e, struct write *w, struct l1_put_result *result)
{
    static _Thread_local __attribute__((tls_model("initial-exec"))) uint32_t turn;
    uint64_t started_ns = turn++ % ONE_IN == 0 ? se__mono_ns() : 0;
    struct l1_put how = {
        .dirty = e->home.ops != NULL,
        .expect = w->expect,
        .expected_version = w->expected_version,
        .expected_epoch = w->expected_epoch,
        .now_wall_ms = w->now_wall_ms,
        .clock = se__hlc_last(&e->hlc),
        .renewable = w->expect == L1_EXPECT_ANY,
        .gives = w->gives,
    };
    se__l1_put(e->l1, w->hash, w->item, &w->ticket, &how, result);
    if (!result->renew)
        w->ticket.bytes = 0;
    if (w->gives && result->stored == L1_STORED)
        w->item = NULL;
    if (started_ns)
        se__metrics_observe(e->metrics, M_L1_PUT_SECONDS,
                            (double)(se__mono_ns() - started_ns) / 1e9);
}

/* After its insurance record was written for nothing: what is newer
 * is home, or in the WAL itself. */
static void drop_insurance(se_engine *e, const struct write *w)
{
    if (e->wal && w->ack == SE_ACK_WAL)
        se__wal_forget(e->wal, se_item_id(w->item), se__item_id_len(w->item), w->version);
}

/* Is the WAL all there is below L1, and does it have a record of the id? Then only a record may
 * replace it: after a crash, or once a tombstone has left L1, an older one would come back. */
static bool replaces_record(se_engine *e, const struct write *w)
{
    uint64_t version;
    return e->wal && !e->home.ops &&
           se__wal_look(e->wal, se_item_id(w->item), se__item_id_len(w->item), &version) !=
               WAL_NOWHERE;
}

/* Without a home tier the WAL's records stay; those that a newer one replaces go. */
static void replace_insurance(se_engine *e, const struct write *w)
{
    struct wal_confirmed confirmed;
    if (e->wal && !e->home.ops && w->version && w->ack == SE_ACK_WAL && !w->wal_pending) {
        se__wal_confirm(e->wal, se_item_id(w->item), se__item_id_len(w->item), w->version - 1,
                        &confirmed);
        se__metrics_add(e->metrics, M_SUPERSEDED, confirmed.superseded);
    }
}

/* Is this write, or a newer one of its id, still on its way home? Then its
 * record goes when that one is. */
static bool on_its_way(se_engine *e, const struct write *w)
{
    struct l1_view view;
    return se__l1_look(e->l1, w->hash, se_item_id(w->item), se__item_id_len(w->item), &view) &&
           view.dirty;
}

static se_result append(se_engine *e, struct write *writes, size_t n, uint64_t deadline_ms)
{
    se_item *one;
    se_item **items = n == 1 ? &one : se__alloc(n * sizeof *items);
    if (!items)
        return se__error_nomem();
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (writes[i].ack == SE_ACK_WAL)
            items[count++] = writes[i].item;
    }
    se_result r = count ? se__wal_append(e->wal, items, count, WAL_ACK, deadline_ms) : SE_OK;
    if (items != &one)
        se__free(items);
    return r;
}

static se_result append_before(se_engine *e, struct write *writes, size_t n, uint64_t deadline_ms)
{
    se_result r = append(e, writes, n, deadline_ms);
    if (r != SE_ERR_TIMEOUT)
        return r;
    for (size_t i = 0; i < n; i++)
        writes[i].wal_pending = writes[i].ack == SE_ACK_WAL;
    return SE_OK; /* accepted: it may still happen */
}

/* The write cannot stand with the version it has: one from outside is above it, or a newer write
 * may have come and gone since. */
static bool must_renew(const se_engine *e, const struct l1_put_result *put)
{
    return put->renew || outrun(e, put);
}

static bool own_item(struct write *w)
{
    const char *state = se__item_is_default_state(w->item) ? NULL : se_item_state(w->item);
    se_item *copy = se__item_with_state(w->item, state, 0, 0);
    if (copy) {
        se_item_release(w->item);
        w->item = copy;
    }
    return copy != NULL;
}

/* Another version, and another record in the WAL. False: there is no room for it; the write
 * counts as superseded by what is there. */
static bool renew(se_engine *e, struct write *w, uint64_t above, uint64_t deadline_ms)
{
    drop_insurance(e, w);
    unwatch(e, w);
    if (w->wal_pending && !own_item(w)) /* the WAL may still be encoding the one it has */
        return false;
    take_version(e, w, above);
    if (!w->ticket.bytes && se__l1_prepare(e->l1, se__item_id_len(w->item), se__item_size(w->item),
                                           &w->ticket) != SE_OK)
        return false;
    if (w->ack == SE_ACK_WAL && append(e, w, 1, deadline_ms) != SE_OK)
        w->wal_pending = true;
    watch(e, w);
    return true;
}

/* Is what has won against this write sure to survive a crash? */
static bool is_safe(se_engine *e, const struct write *w, const struct l1_put_result *put)
{
    uint64_t version;
    if (e->home.ops || !e->wal)
        return !put->winner_dirty;
    return se__wal_look(e->wal, se_item_id(w->item), se__item_id_len(w->item), &version) !=
               WAL_NOWHERE &&
           version > w->version;
}

static bool is_in_wal(se_engine *e, const struct write *w)
{
    uint64_t version;
    return e->wal && se__wal_look(e->wal, se_item_id(w->item), se__item_id_len(w->item),
                                  &version) != WAL_NOWHERE;
}

/* A record of a write that has been published already. */
static void insure(se_engine *e, struct write *w, uint64_t deadline_ms)
{
    w->ack = SE_ACK_WAL;
    w->wal_pending = append(e, w, 1, deadline_ms) != SE_OK;
}

static void publish_any(se_engine *e, struct write *w, uint64_t deadline_ms,
                        struct l1_put_result *out)
{
    struct l1_put_result result;
    watch(e, w);
    put(e, w, &result);
    while (must_renew(e, &result) && renew(e, w, result.winner, deadline_ms))
        put(e, w, &result);
    account(e, w, &result);
    *out = result;
    if (result.stored == L1_STALE) {
        /* A record of a write that is superseded by one in memory only is all that a
         * crash would leave of either. */
        if (is_safe(e, w, &result))
            drop_insurance(e, w);
        if (!result.winner_dirty) { /* what is newer is home already, or in the WAL */
            unwatch(e, w);
            w->only_wal = w->ack == SE_ACK_L3 && is_in_wal(e, w);
        }
        return;
    }
    /* one that came while this was published */
    if (w->ack == SE_ACK_MEMORY && replaces_record(e, w))
        insure(e, w, deadline_ms);
    replace_insurance(e, w);
}

static void publish_one(se_engine *e, struct write *w, uint64_t deadline_ms)
{
    struct l1_put_result result;
    publish_any(e, w, deadline_ms, &result);
    if (w->receipt)
        se__delivery_commit(e, w, &result);
}

static void publish_expecting(se_engine *e, struct write *w, uint64_t deadline_ms)
{
    struct l1_put_result result;
    watch(e, w);
    put(e, w, &result);
    if (result.stored != L1_STORED) { /* nothing has changed */
        unwatch(e, w);
        w->conflict = true;
        return;
    }
    account(e, w, &result);
    if (w->ack == SE_ACK_WAL || replaces_record(e, w))
        insure(e, w, deadline_ms);
    if (w->ack == SE_ACK_WAL && e->home.ops && !on_its_way(e, w)) {
        /* The flush was faster than the WAL: nobody would confirm the record any more. */
        drop_insurance(e, w);
        w->wal_pending = false;
    }
    replace_insurance(e, w);
    se__delivery_commit(e, w, &result);
}

static se_result reserve(se_engine *e, struct write *writes, size_t n, size_t *failed)
{
    for (size_t i = 0; i < n; i++) {
        struct write *w = &writes[i];
        se_result r = se__l1_prepare_with(e->l1, w->size, w->entry, &w->ticket);
        if (r != SE_OK) {
            *failed = i;
            w->ticket.bytes = 0;
            if (r == SE_ERR_BACKPRESSURE)
                se__pressure_full(e, n);
            return r;
        }
        w->entry = NULL;
    }
    return SE_OK;
}

se_result se__write_publish(se_engine *e, struct write *writes, size_t n, uint64_t deadline_ms,
                            size_t *failed)
{
    *failed = n;
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += writes[i].size;
    se_result r = se__pressure_admit(e, n, bytes);
    if (r == SE_OK)
        r = reserve(e, writes, n, failed);
    if (r != SE_OK) {
        se__metrics_add(e->metrics, M_OPS_L1_PUT_ERROR, n);
        return r;
    }
    for (size_t i = 0; i < n; i++) {
        /* Before there is a version: or a newer write could be told of before this one is listed. */
        if (writes[i].receipt)
            se__receipt_expect(e->receipts, writes[i].receipt, 0);
        take_version(e, &writes[i], 0);
        if (writes[i].ack == SE_ACK_MEMORY && replaces_record(e, &writes[i]))
            writes[i].ack = SE_ACK_WAL;
    }
    uint64_t epoch = se__existence_before(e, writes, n);
    for (size_t i = 0; i < n; i++)
        se__write_fill(&writes[i]);
    if (writes[0].expect == L1_EXPECT_ANY)
        r = append_before(e, writes, n, deadline_ms);
    if (r == SE_ERR_BACKPRESSURE)
        se__pressure_full(e, n);
    if (r != SE_OK)
        return r;
    for (size_t i = 0; i < n; i++) {
        if (writes[i].expect == L1_EXPECT_ANY)
            publish_one(e, &writes[i], deadline_ms);
        else
            publish_expecting(e, &writes[i], deadline_ms);
    }
    se__existence_after(e, writes, n, epoch);
    return SE_OK;
}

/* ---- ack ---- */

static se_result pending(const struct write *w, const char *why)
{
    return se__error(SE_PENDING, "id '%s': accepted, not confirmed: %s", se_item_id(w->item), why);
}

se_result se__write_ack(se_engine *e, struct write *w, uint64_t deadline_ms)
{
    if (w->wal_pending)
        return pending(w, "the WAL did not confirm it in time");
    if (w->only_wal)
        return pending(w, "only the WAL has the newer write that took its place");
    if (!w->watching)
        return SE_OK;
    enum worker_outcome outcome =
        se__worker_wait(se__worker_of(e, w->hash), &w->waiter, deadline_ms);
    w->watching = false;
    switch (outcome) {
    case WORKER_STORED:
        return SE_OK;
    case WORKER_IN_WAL:
        return pending(w, "only the WAL has it");
    case WORKER_DEAD:
        return pending(w, "the home tier refuses it; it is a dead letter");
    case WORKER_UNKNOWN:
        break;
    }
    return pending(w, "the home tier has not confirmed it");
}

se_result se__write_one(se_engine *e, const struct write_spec *spec, uint64_t *version)
{
    struct write w;
    size_t failed;
    se_result r = se__enter(e);
    if (r != SE_OK)
        return r;
    uint64_t deadline = SE__FOREVER;
    r = se__write_init(e, spec, &w);
    if (e->wal || w.ack != SE_ACK_MEMORY) /* else nothing is waited for */
        deadline = se__deadline_in(e->settings.c.ack_timeout_ms);
    se__write_give(e, &w);
    if (r == SE_OK)
        r = se__write_publish(e, &w, 1, deadline, &failed);
    se__leave(e);
    if (r == SE_OK)
        r = se__write_ack(e, &w, deadline);
    if (version)
        *version = w.version;
    se__write_done(e, &w);
    return r;
}

se_result se_submit(se_engine *e, const char *id, const void *content, size_t len,
                    const se_submit_options *options)
{
    struct write_spec spec = {.id = id, .content = content, .len = len, .options = options};
    return se__write_one(e, &spec, NULL);
}

se_result se_delete(se_engine *e, const char *id, const se_submit_options *options)
{
    struct write_spec spec = {.id = id, .options = options, .deleted = true};
    return se__write_one(e, &spec, NULL);
}
