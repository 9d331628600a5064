/*
 * write - batches through the version guard, and what the guard cannot judge.
 *
 * Most of a batch is stored in bulk (bulk.h), under the same comparison. What is left, because
 * something outranks it or for any other reason, goes through the guard's script key by key.
 *
 * The guard believes the 36 bytes it reads, since no script can compute a record's check. So where it
 * did not store a write (something newer is there, or another form of the same write), the header is
 * fetched and decoded here. If it decodes, the refusal stands. If not, what it claims is worth
 * nothing: the record is a miss for every reader and must not hold up a write, so ours is swapped in.
 * And if by then something else is there that does not outrank ours, the guard is asked again:
 * whoever swapped it in may be an older writer that found the same garbage.
 *
 * Rare (a write is refused only in races between engines), so a round trip for each refusal is
 * cheap.
 */
#include "l2/bulk.h"
#include "l2/swap.h"

#include <hiredis/hiredis.h>
#include <string.h>

/* ---- how a write is stored ---- */

struct life se__life_of(const struct redis *r, const se_item *item, enum record_kind kind,
                        int64_t now_wall_ms)
{
    uint64_t px = se__item_cache_ttl_ms(item);
    int64_t end_ms = se__item_expires_at_ms(item);
    if (kind == RECORD_ITEM && se__item_deleted(item))
        kind = RECORD_TOMBSTONE;
    if (kind == RECORD_TOMBSTONE)
        return (struct life){.kind = kind, .px = r->tombstone_ms};
    if (kind != RECORD_ITEM)
        return (struct life){.kind = kind, .px = MARK_PX_MS};
    /* Not stored with a life of nothing: the key would be gone, and
     * an older put could come back. */
    if (end_ms != 0 && end_ms <= now_wall_ms)
        return (struct life){.kind = RECORD_FLOOR, .px = MARK_PX_MS};
    /* Where this is the home nothing else remembers the version: it outlives the item as a
     * tombstone's does, or an older record of a log would bring the id back. Reads look at the end. */
    uint64_t left =
        end_ms != 0 ? (uint64_t)(end_ms - now_wall_ms) + (r->home ? r->tombstone_ms : 0) : 0;
    if (end_ms != 0 && (px == 0 || left < px))
        px = left;
    if (px > PX_MAX)
        px = 0;
    return (struct life){.kind = RECORD_ITEM, .px = px};
}

void se__put_record(struct resp *c, const se_item *item, struct life life, uint64_t generation)
{
    size_t len = se__record_size(item, life.kind);
    uint8_t *room = se__resp_arg_room(c, len);
    if (room)
        se__record_encode(item, life.kind, generation, room);
    se__resp_number(c, life.px);
}

/* ---- the guard ---- */

struct write_job {
    struct op *op;
    struct tier_write *all;
    struct tier_write **some; /* those that are asked for */
    size_t n;
    int64_t now_wall_ms;
    size_t doubts; /* of this round: refused, rightly or not */
};

static struct tier_write *nth(const struct write_job *j, size_t i)
{
    return j->some[i];
}

static struct life life_of(const struct write_job *j, const struct tier_write *w)
{
    return se__life_of(j->op->r, w->item, w->kind, j->now_wall_ms);
}

static const char *write_id(void *arg, size_t i, size_t *len)
{
    const struct tier_write *w = nth(arg, i);
    *len = se__item_id_len(w->item);
    return se_item_id(w->item);
}

static size_t write_bytes(void *arg, size_t i)
{
    const struct tier_write *w = nth(arg, i);
    return se__record_size(w->item, w->kind);
}

static void write_put(void *arg, size_t i, struct resp *c)
{
    struct write_job *j = arg;
    const struct tier_write *w = nth(j, i);
    se__put_record(c, w->item, life_of(j, w), j->op->generation);
}

static bool write_take(void *arg, size_t i, const redisReply *result)
{
    struct write_job *j = arg;
    struct tier_write *w = nth(j, i);
    if (!se__reply_guard(result, w))
        return false;
    j->doubts += w->state != TIER_STORED;
    return true;
}

static void guard(struct write_job *j)
{
    struct script_batch batch = {.script = SCRIPT_GUARD,
                                 .n = j->n,
                                 .arg = j,
                                 .id = write_id,
                                 .bytes = write_bytes,
                                 .put = write_put,
                                 .take = write_take};
    j->doubts = 0;
    se__op_scripts(j->op, &batch);
}

/* ---- doubts ---- */

struct doubts {
    struct tier_write **swapped; /* whose swaps these are */
    struct swap *swaps;
    struct peek *peeks;
};

enum weight { SETTLED, GARBAGE, ASK_AGAIN };

/* What the header under a refused write's key says, now that all of it is seen. */
static enum weight weigh(const struct write_job *j, struct tier_write *w, const struct peek *peek)
{
    struct record rec;
    uint8_t hash[SE_HASH_SIZE];
    if (peek->len == 0)
        return ASK_AGAIN;
    if (!se__reply_header(peek->bytes, peek->len, peek->id, peek->id_len, &rec))
        return GARBAGE;
    if (rec.generation != j->op->generation || rec.kind == RECORD_LEASE)
        return ASK_AGAIN;
    se__item_record_hash(w->item, hash);
    uint64_t version = se_item_version(w->item);
    int order = rec.version != version ? (rec.version > version ? 1 : -1)
                                       : memcmp(rec.record_hash, hash, sizeof hash);
    if (order < 0 || (order == 0 && rec.kind <= life_of(j, w).kind))
        return ASK_AGAIN;
    w->state = order > 0 ? TIER_NEWER : TIER_STORED;
    w->newer = order > 0 ? rec.version : 0;
    return SETTLED;
}

static void peek_some(struct write_job *j, struct peek *peeks)
{
    for (size_t i = 0; i < j->n; i++)
        peeks[i] = (struct peek){.id = se_item_id(j->some[i]->item),
                                 .id_len = se__item_id_len(j->some[i]->item)};
    se__peek_all(j->op, peeks, j->n);
}

/* Swaps ours in for what is garbage; leaves in `some` those for whom the guard must be asked
 * again. */
static void heal(struct write_job *j, struct doubts *d)
{
    size_t swaps = 0, again = 0;
    peek_some(j, d->peeks);
    for (size_t i = 0; i < j->n && se__op_ok(j->op); i++) {
        struct tier_write *w = j->some[i];
        enum weight weight = weigh(j, w, &d->peeks[i]);
        if (weight == ASK_AGAIN)
            j->some[again++] = w;
        if (weight != GARBAGE)
            continue;
        d->swaps[swaps] = (struct swap){.item = w->item, .life = life_of(j, w)};
        se__swap_expect(&d->swaps[swaps], &d->peeks[i]);
        d->swapped[swaps++] = w;
    }
    se__swap_all(j->op, d->swaps, swaps);
    for (size_t i = 0; i < swaps; i++) {
        d->swapped[i]->state = TIER_STORED;
        d->swapped[i]->newer = 0;
        if (!d->swaps[i].done)
            j->some[again++] = d->swapped[i];
    }
    j->n = again;
}

/* Of those that were asked for: the ones the guard did not store. */
static void keep_doubts(struct write_job *j)
{
    size_t kept = 0;
    for (size_t i = 0; i < j->n; i++)
        if (j->some[i]->state != TIER_STORED)
            j->some[kept++] = j->some[i];
    j->n = kept;
}

static void gather_doubts(struct write_job *j)
{
    for (size_t i = 0; i < j->n; i++)
        j->some[i] = &j->all[i];
    keep_doubts(j);
}

static void settle(struct write_job *j, struct doubts *d)
{
    for (int round = 0; round < CHASE_ROUNDS && j->n > 0 && se__op_ok(j->op); round++) {
        heal(j, d);
        guard(j);
        keep_doubts(j);
    }
    if (j->n > 0)
        se__op_fail(j->op, TIER_CONFLICT, "ids that are being written all the time");
}

/* The guard has refused some of j->some. */
static void look_again(struct write_job *j)
{
    keep_doubts(j);
    size_t n = j->n;
    struct doubts d = {.swapped = se__alloc_zeroed(n, sizeof *d.swapped),
                       .swaps = se__alloc_zeroed(n, sizeof *d.swaps),
                       .peeks = se__alloc_zeroed(n, sizeof *d.peeks)};
    if (d.swapped && d.swaps && d.peeks)
        settle(j, &d);
    else
        se__op_fail(j->op, TIER_UNWELL, "out of memory");
    se__free(d.swapped);
    se__free(d.swaps);
    se__free(d.peeks);
}

/* Key by key: what is not stored yet. */
static void write_rest(struct write_job *j)
{
    j->some = se__alloc_zeroed(j->n, sizeof *j->some);
    if (!j->some) {
        se__op_fail(j->op, TIER_UNWELL, "out of memory");
        return;
    }
    gather_doubts(j);
    guard(j);
    if (j->doubts > 0 && se__op_ok(j->op))
        look_again(j);
    se__free(j->some);
}

static bool all_stored(const struct tier_write *writes, size_t n)
{
    size_t i = 0;
    while (i < n && writes[i].state == TIER_STORED)
        i++;
    return i == n;
}

static void write_all(struct op *op, struct tier_write *writes, size_t n)
{
    struct write_job job = {.op = op, .all = writes, .n = n, .now_wall_ms = se__wall_ms()};
    if (!op->accepted) {
        se__op_unaccepted(op);
        return;
    }
    se__bulk_write(op, writes, n, job.now_wall_ms);
    if (se__op_ok(op) && !all_stored(writes, n))
        write_rest(&job);
}

struct tier_reply se__redis_write(void *tier, unsigned worker, struct tier_write *writes, size_t n,
                                  uint64_t deadline_ms)
{
    struct redis *r = tier;
    struct op op;
    (void)worker; /* the pool has a connection for each */
    for (size_t i = 0; i < n; i++) {
        writes[i].state = TIER_NOT_TRIED;
        writes[i].newer = 0;
    }
    if (n == 0)
        return se__tier_fine();
    if (se__op_begin(&op, r, r->writers, deadline_ms))
        write_all(&op, writes, n);
    return se__op_end(&op);
}
