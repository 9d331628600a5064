/*
 * look - the second look: what was a difference then, is it one still, and is nobody writing it?
 *
 * First everything that was accepted before settles, then a grace period passes; then batches are read
 * from both tiers, contents and all. An id that is busy, or whose copies are not those of the first
 * look, is moving: it gets one more such round, and is left alone after that. Whether an id is busy is
 * asked before its copies are read: a write that was on its way then has not ended unseen.
 *
 * What a read cannot tell: a tombstone in L3 may stand for a write that went to L2 only, and bears
 * that write's hash. The item that is read computes another. So the hash is taken from the first
 * look, or from the copy of the same version in L2.
 */
#include "verify/inside.h"

#include "base/mem.h"
#include "base/os.h"

#include <string.h>

#define ROUNDS 2u

/* ---- copies ---- */

bool se__copy_good(const struct copy *c)
{
    return c->kind == COPY_LIVE || c->kind == COPY_TOMBSTONE;
}

bool se__copy_believed(const struct copy *c)
{
    return se__copy_good(c) || (c->kind == COPY_CORRUPT && c->header_fits);
}

struct copy se__copy_of_item(const se_item *item)
{
    struct copy c = {.kind = se__item_deleted(item) ? COPY_TOMBSTONE : COPY_LIVE,
                     .version = se_item_version(item),
                     .route = se__item_route(item)};
    se__item_record_hash(item, c.record_hash);
    return c;
}

struct copy se__copy_of_read(const struct tier_read *read)
{
    struct copy c = {.kind = COPY_NONE};
    if (read->found == TIER_HIT)
        return se__copy_of_item(read->item);
    if (read->found == TIER_VOID)
        c.kind = COPY_MARK;
    if (read->found != TIER_CORRUPT)
        return c;
    c.kind = COPY_CORRUPT;
    c.header_fits = read->flaw.header_fits;
    c.unknown = c.header_fits && read->flaw.pack == TIER_PACK_ENCODING;
    c.version = read->flaw.version;
    memcpy(c.record_hash, read->flaw.record_hash, SE_HASH_SIZE);
    return c;
}

void se__reads_release(struct tier_read *reads, size_t n)
{
    for (size_t i = 0; reads && i < n; i++) {
        se_item_release(reads[i].item);
        reads[i].item = NULL;
    }
}

static bool is_miss(const struct copy *c)
{
    return c->kind == COPY_NONE || c->kind == COPY_MARK;
}

/* The same as at the first look, as far as that one saw: it may have looked at headers only, and
 * a copy that is whole by its header may turn out to be corrupt. */
static bool is_steady(const struct copy *then, const struct copy *now)
{
    if (is_miss(then) && is_miss(now))
        return true;
    if (then->kind == COPY_TOMBSTONE && now->kind == COPY_TOMBSTONE)
        return then->version == now->version;
    if (se__copy_believed(then) && se__copy_believed(now))
        return se__copy_compare(then, now) == 0;
    return then->kind == COPY_CORRUPT && now->kind == COPY_CORRUPT && !then->header_fits &&
           !now->header_fits;
}

/* ---- a batch ---- */

static se_result batch_open(struct batch *b, size_t cap)
{
    *b = (struct batch){.looks = se__alloc_zeroed(cap, sizeof *b->looks),
                        .l2 = se__alloc_zeroed(cap, sizeof *b->l2),
                        .l3 = se__alloc_zeroed(cap, sizeof *b->l3)};
    return b->looks && b->l2 && b->l3 ? SE_OK : se__error_nomem();
}

static void batch_clear(struct batch *b)
{
    se__reads_release(b->l2, b->n);
    se__reads_release(b->l3, b->n);
    for (size_t i = 0; i < b->n; i++)
        se_item_release(b->looks[i].spare);
    b->n = 0;
}

static void batch_close(struct batch *b)
{
    batch_clear(b);
    se__free(b->looks);
    se__free(b->l2);
    se__free(b->l3);
}

static void batch_add(struct batch *b, const struct suspicion *s, const char *id)
{
    struct tier_read read = {.id = id, .id_len = s->id_len};
    b->l2[b->n] = read;
    b->l3[b->n] = read;
    b->looks[b->n++] = (struct look){.of = *s, .id = id};
}

static se_result read_tier(const struct run *run, const struct tier *tier, struct tier_read *reads,
                           size_t n)
{
    if (!tier->ops || n == 0)
        return SE_OK;
    struct tier_reply reply =
        tier->ops->read(tier->self, reads, n, se__deadline_in(run->o->timeout_ms));
    if (reply.fault == TIER_FINE)
        return SE_OK;
    for (size_t i = 0; i < n; i++)
        reads[i].item = NULL;
    return se__run_failed("be read", tier);
}

/* See the head: tombstones of L3 get the hash that they are stored with. */
static void know_tombstone(const struct copy *then, const struct copy *l2, struct copy *l3)
{
    if (l3->kind != COPY_TOMBSTONE)
        return;
    if (then->kind == COPY_TOMBSTONE && then->version == l3->version)
        memcpy(l3->record_hash, then->record_hash, SE_HASH_SIZE);
    else if (l2->kind == COPY_LIVE && l2->version == l3->version)
        memcpy(l3->record_hash, l2->record_hash, SE_HASH_SIZE);
}

/* What has expired is a miss to every reader, and its row may have been swept. */
static void drop_expired(struct look *look, const struct tier_read *l2)
{
    if (look->l3.kind == COPY_NONE && look->l2.kind == COPY_LIVE &&
        se__item_expired(l2->item, se__wall_ms()))
        look->l2.kind = COPY_MARK;
}

static se_result read_batch(struct run *run, struct batch *b)
{
    se_result r = read_tier(run, &run->o->l2, b->l2, b->n);
    if (r == SE_OK)
        r = read_tier(run, &run->o->l3, b->l3, b->n);
    for (size_t i = 0; r == SE_OK && i < b->n; i++) {
        struct look *look = &b->looks[i];
        look->l2 =
            se__run_has_l2(run) ? se__copy_of_read(&b->l2[i]) : (struct copy){.kind = COPY_NONE};
        look->l3 =
            se__run_has_l3(run) ? se__copy_of_read(&b->l3[i]) : (struct copy){.kind = COPY_NONE};
        know_tombstone(&look->of.l3, &look->l2, &look->l3);
        drop_expired(look, &b->l2[i]);
    }
    return r;
}

static void judge(struct run *run, struct look *look, bool foreign)
{
    struct judge_case c = {.has_l2 = se__run_has_l2(run),
                           .has_l3 = se__run_has_l3(run),
                           .foreign = foreign,
                           .l2 = look->l2,
                           .l3 = look->l3};
    look->verdict = se__judge(&c);
    if (se__verdict_sound(&look->verdict) || !run->o->spare)
        return;
    look->spare = run->o->spare(run->o->arg, look->id, look->of.id_len);
    if (look->spare && se__item_intact(look->spare))
        c.spare = se__copy_of_item(look->spare);
    look->verdict = se__judge(&c);
}

static se_result judge_batch(struct run *run, struct batch *b)
{
    bool foreign = run->o->foreign && run->o->foreign(run->o->arg);
    for (size_t i = 0; i < b->n; i++)
        if (!b->looks[i].moved)
            judge(run, &b->looks[i], foreign);
    return run->o->repair ? se__repair(run, b) : SE_OK;
}

/* After an outage in the middle of a repair only what was put right is told: the rest is looked at
 * again by the next run. */
static void report_batch(struct run *run, const struct batch *b, bool whole)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct look *look = &b->looks[i];
        if (!look->moved && (whole || look->mended_l2 || look->mended_l3))
            se__report_look(run, look, &b->l2[i], &b->l3[i]);
    }
}

/* ---- rounds ---- */

struct round {
    struct run *run;
    struct batch batch;
    size_t kept; /* suspicions that are moving, at the front of the list */
};

static bool is_busy(const struct run *run, const struct suspicion *s, const char *id)
{
    return run->o->busy && run->o->busy(run->o->arg, id, s->id_len);
}

static void keep(struct round *round, const struct suspicion *s)
{
    round->run->open.list[round->kept++] = *s;
}

/* Takes suspicions from *at on into the batch, as many as fit. */
static void fill_batch(struct round *round, size_t *at, size_t n)
{
    struct run *run = round->run;
    size_t bytes = 0, first = *at;
    while (*at < n && *at - first < LOOK_IDS_MAX && bytes < LOOK_BYTES_MAX) {
        struct suspicion s = run->open.list[(*at)++];
        const char *id = run->open.ids.data + s.id_at;
        if (s.unreadable) {
            se__report_unreadable(run, id, s.id_len);
        } else if (is_busy(run, &s, id)) {
            keep(round, &s);
        } else {
            bytes += s.bytes;
            batch_add(&round->batch, &s, id);
        }
    }
}

static void keep_moving(struct round *round)
{
    struct batch *b = &round->batch;
    for (size_t i = 0; i < b->n; i++) {
        struct look *look = &b->looks[i];
        look->moved = !is_steady(&look->of.l2, &look->l2) || !is_steady(&look->of.l3, &look->l3);
        look->of.l2 = look->l2;
        look->of.l3 = look->l3;
        if (look->moved)
            keep(round, &look->of);
    }
}

static se_result look_at_batch(struct round *round)
{
    struct run *run = round->run;
    se_result r = read_batch(run, &round->batch);
    if (r != SE_OK)
        return r;
    keep_moving(round);
    r = judge_batch(run, &round->batch);
    report_batch(run, &round->batch, r == SE_OK);
    return r;
}

/* The batch ended with the suspicion before `at`: all up to it is done. */
static void settle_through(struct run *run, const struct suspicion *last)
{
    run->report->checked = last->checked;
    if (!last->unreadable)
        memcpy(run->through, run->open.ids.data + last->id_at, last->id_len + 1);
}

static se_result look_round(struct round *round, bool first)
{
    struct run *run = round->run;
    size_t n = run->open.n, at = 0;
    se_result r = SE_OK;
    round->kept = 0;
    while (r == SE_OK && !run->stopped && at < n) {
        fill_batch(round, &at, n);
        struct suspicion last = run->open.list[at - 1];
        uint64_t looked = 2 * round->batch.n;
        r = look_at_batch(round);
        batch_clear(&round->batch);
        if (r == SE_OK && first)
            settle_through(run, &last);
        if (r == SE_OK)
            se__run_tick(run, looked);
    }
    run->open.n = round->kept;
    return r;
}

/* *quiet: what was accepted before is in both tiers. If it is not, a copy in L2 may just be late. */
static se_result wait_for_quiet(struct run *run, bool *quiet)
{
    uint64_t from_ns = se__mono_ns(), grace_ns = (uint64_t)run->o->grace_ms * 1000000;
    se_result r = run->o->settle ? run->o->settle(run->o->arg) : SE_OK;
    if (r == SE_ERR_STATE || r == SE_ERR_NOMEM)
        return r;
    *quiet = r == SE_OK;
    uint64_t gone_ns = se__mono_ns() - from_ns;
    if (gone_ns < grace_ns)
        se__run_pause(run, grace_ns - gone_ns);
    return SE_OK;
}

static void forget(struct run *run)
{
    run->open.n = 0;
    se__buf_clear(&run->open.ids);
}

static void all_done(struct run *run)
{
    memcpy(run->through, run->last, run->last_len + 1);
    run->report->checked = run->merged;
}

se_result se__resolve(struct run *run)
{
    struct round round = {.run = run};
    se_result r = run->open.n > 0 ? batch_open(&round.batch, LOOK_IDS_MAX) : SE_OK;
    bool judged = run->open.n == 0;
    for (unsigned i = 0; r == SE_OK && i < ROUNDS && run->open.n > 0 && !run->stopped; i++) {
        bool quiet = false;
        r = wait_for_quiet(run, &quiet);
        if (r != SE_OK || run->stopped || !quiet)
            continue;
        r = look_round(&round, !judged);
        if (r == SE_OK && !judged && !run->stopped)
            all_done(run);
        judged = true;
    }
    if (r == SE_OK && !judged && !run->stopped)
        r = se__error(SE_ERR_BACKEND,
                      "verify: %zu differences cannot be judged: what was accepted before does not "
                      "reach both tiers",
                      run->open.n);
    batch_close(&round.batch);
    forget(run);
    return r;
}

/* ---- one id ---- */

/* After the repair: does a tier have a good copy that no lost write outdoes? */
static se_result is_mended(struct run *run, struct batch *b, bool *mended)
{
    struct look *look = &b->looks[0];
    se__reads_release(b->l2, 1);
    se__reads_release(b->l3, 1);
    se_result r = read_batch(run, b);
    if (r != SE_OK)
        return r;
    *mended = look->l2.kind != COPY_CORRUPT && look->l3.kind != COPY_CORRUPT &&
              (se__copy_good(&look->l2) || se__copy_good(&look->l3));
    return SE_OK;
}

se_result se__verify_one(const struct verify_options *options, const char *id, bool *mended)
{
    se_verify_report report = {0};
    struct run run = {.o = options, .report = &report, .healing = true};
    struct suspicion s = {.id_len = strlen(id)};
    struct batch b;
    *mended = false;
    if (is_busy(&run, &s, id))
        return SE_OK;
    se_result r = batch_open(&b, 1);
    if (r == SE_OK) {
        batch_add(&b, &s, id);
        r = read_batch(&run, &b);
    }
    if (r == SE_OK) {
        r = judge_batch(&run, &b);
        report_batch(&run, &b, r == SE_OK);
    }
    if (r == SE_OK)
        r = is_mended(&run, &b, mended);
    batch_close(&b);
    return r;
}
