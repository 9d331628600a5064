/*
 * lease - see redis.h: read-through (lease, fill) and voiding.
 *
 * The life of a read-through:  read says absent -> lease: LEASE(token) under the key -> the home
 * tier is asked -> fill replaces exactly that LEASE. Whatever happens to the key in between (a
 * write, a void, its end) removes the token, and the fill does nothing; so a slow reader cannot put
 * back what a writer has replaced.
 */
#include "l2/swap.h"

#include "base/bytes.h"

#include <hiredis/hiredis.h>
#include <string.h>

/* ---- lease ---- */

struct lease_job {
    struct op *op;
    const struct tier_read *reads;
    struct redis_lease *leases;
    size_t *picked; /* indices of the reads to lease */
};

/* A floor, or somebody's lease, of the generation that is being read: known without asking. */
static bool is_current_mark(const struct tier_read *read, uint64_t generation)
{
    return read->found == TIER_VOID && read->seen_len == RECORD_HEADER_SIZE &&
           se__get_u64(read->seen + 4) == generation;
}

static const char *lease_id(void *arg, size_t i, size_t *len)
{
    struct lease_job *j = arg;
    const struct tier_read *read = &j->reads[j->picked[i]];
    *len = read->id_len;
    return read->id;
}

static size_t lease_bytes(void *arg, size_t i)
{
    (void)arg;
    (void)i;
    return 2u * RECORD_HEADER_SIZE;
}

static void lease_put(void *arg, size_t i, struct resp *c)
{
    struct lease_job *j = arg;
    const struct tier_read *read = &j->reads[j->picked[i]];
    uint8_t record[RECORD_HEADER_SIZE];
    se__record_encode_lease(read->id, read->id_len, j->op->generation,
                            j->leases[j->picked[i]].token, record);
    se__resp_arg(c, read->seen, read->found == TIER_CORRUPT ? read->seen_len : 0);
    se__resp_arg(c, record, sizeof record);
    se__resp_number(c, LEASE_PX_MS);
}

static bool lease_take(void *arg, size_t i, const redisReply *result)
{
    struct lease_job *j = arg;
    return se__reply_yes_or_no(result, &j->leases[j->picked[i]].taken);
}

static size_t pick_leases(struct lease_job *j, size_t n)
{
    size_t picked = 0;
    for (size_t i = 0; i < n; i++)
        if (j->reads[i].found != TIER_HIT && !is_current_mark(&j->reads[i], j->op->generation)) {
            se__random_bytes(j->leases[i].token, sizeof j->leases[i].token);
            j->picked[picked++] = i;
        }
    return picked;
}

static void lease_all(struct op *op, const struct tier_read *reads, struct redis_lease *leases,
                      size_t n)
{
    struct lease_job job = {.op = op, .reads = reads, .leases = leases};
    struct script_batch batch = {.script = SCRIPT_LEASE,
                                 .arg = &job,
                                 .id = lease_id,
                                 .bytes = lease_bytes,
                                 .put = lease_put,
                                 .take = lease_take};
    size_t one = 0;
    job.picked = n == 1 ? &one : se__alloc_zeroed(n, sizeof *job.picked);
    if (!job.picked) {
        se__op_fail(op, TIER_UNWELL, "out of memory");
        return;
    }
    batch.n = pick_leases(&job, n);
    se__op_scripts(op, &batch);
    if (job.picked != &one)
        se__free(job.picked);
}

struct tier_reply se__redis_lease(struct redis *r, const struct tier_read *reads,
                                  struct redis_lease *leases, size_t n, uint64_t deadline_ms)
{
    struct op op;
    for (size_t i = 0; i < n; i++)
        leases[i] = (struct redis_lease){.taken = false};
    if (n == 0)
        return se__tier_fine();
    if (se__op_begin(&op, r, r->readers, deadline_ms) && op.accepted)
        lease_all(&op, reads, leases, n);
    struct tier_reply reply = se__op_end(&op);
    for (size_t i = 0; reply.fault != TIER_FINE && i < n; i++)
        leases[i].taken = false;
    return reply;
}

/* ---- fill ---- */

static bool fill_one(const struct op *op, se_item *item, const struct redis_lease *lease,
                     int64_t now_wall_ms, struct swap *swap)
{
    if (!item || !lease->taken || se__item_expired(item, now_wall_ms))
        return false;
    enum record_kind kind = se__item_deleted(item) ? RECORD_TOMBSTONE : RECORD_ITEM;
    *swap = (struct swap){.id = se_item_id(item),
                          .id_len = se__item_id_len(item),
                          .header_len = RECORD_HEADER_SIZE,
                          .item = item,
                          .life = se__life_of(op->r, item, kind, now_wall_ms)};
    se__record_encode_lease(swap->id, swap->id_len, op->generation, lease->token, swap->header);
    return true;
}

static void fill_all(struct op *op, se_item *const *items, const struct redis_lease *leases,
                     size_t n)
{
    struct swap one, *swaps = n == 1 ? &one : se__alloc_zeroed(n, sizeof *swaps);
    int64_t now_wall_ms = se__wall_ms();
    size_t count = 0;
    if (!swaps) {
        se__op_fail(op, TIER_UNWELL, "out of memory");
        return;
    }
    for (size_t i = 0; i < n; i++)
        count += fill_one(op, items[i], &leases[i], now_wall_ms, &swaps[count]);
    se__swap_and_leave(op, swaps, count);
    if (swaps != &one)
        se__free(swaps);
}

struct tier_reply se__redis_fill(struct redis *r, se_item *const *items,
                                 const struct redis_lease *leases, size_t n, uint64_t deadline_ms)
{
    struct op op;
    bool any = false;
    for (size_t i = 0; i < n; i++)
        any = any || (items[i] && leases[i].taken);
    if (!any)
        return se__tier_fine();
    if (se__op_begin(&op, r, r->readers, deadline_ms) && op.accepted)
        fill_all(&op, items, leases, n);
    return se__op_end(&op);
}

/* ---- void ---- */

/* The floor that takes the place of `rec`: an item of the same version and, since the record hash
 * does not depend on the content itself, the same record hash; so that the very write that is
 * voided does not come back by being repeated. A lease has version 0, and its floor outranks
 * nothing: it only ends the lease. */
static se_item *floor_item(const struct peek *peek, const struct record *rec)
{
    struct item_spec spec = {.id = peek->id,
                             .id_len = peek->id_len,
                             .version = rec->version,
                             .updated_at_ms = rec->updated_at_ms,
                             .expires_at_ms = rec->expires_at_ms,
                             .cache_ttl_ms = rec->cache_ttl_ms,
                             .state = rec->state,
                             .content_hash = rec->content_hash,
                             .content_type = rec->content_type,
                             .route = rec->route};
    return se__item_new(&spec);
}

/* A miss in place of what does not decode: of no version, so it outranks nothing. */
static se_item *empty_item(const struct peek *peek)
{
    return se__item_new(&(struct item_spec){.id = peek->id, .id_len = peek->id_len});
}

/* True if there is, or may be, something to void under this key. */
static bool void_one(struct op *op, const struct peek *peek, struct swap *swap)
{
    struct record rec;
    bool decodes = se__reply_header(peek->bytes, peek->len, peek->id, peek->id_len, &rec);
    if (decodes &&
        (rec.generation != op->generation || (rec.kind != RECORD_ITEM && rec.kind != RECORD_LEASE)))
        return false;
    *swap = (struct swap){.item = decodes ? floor_item(peek, &rec) : empty_item(peek),
                          .life = {.kind = RECORD_FLOOR, .px = MARK_PX_MS}};
    if (!swap->item) {
        se__op_fail(op, TIER_UNWELL, "out of memory");
        return false;
    }
    se__swap_expect(swap, peek);
    return true;
}

/* Voids what is there now; keeps in peeks those that had changed meanwhile, and returns their
 * number. A key that had no bytes, and where no swap was made, was not there: that is no change. */
static size_t void_round(struct op *op, struct peek *peeks, struct swap *swaps, size_t n)
{
    size_t count = 0, left = 0;
    se__peek_all(op, peeks, n);
    for (size_t i = 0; i < n && se__op_ok(op); i++)
        count += void_one(op, &peeks[i], &swaps[count]);
    se__swap_all(op, swaps, count);
    for (size_t i = 0; i < count; i++) {
        if (!swaps[i].done && swaps[i].header_len > 0)
            peeks[left++] = (struct peek){.id = swaps[i].id, .id_len = swaps[i].id_len};
        se_item_release(swaps[i].item);
    }
    return left;
}

static void void_all(struct op *op, const char *const *ids, size_t n)
{
    struct peek *peeks = se__alloc_zeroed(n, sizeof *peeks);
    struct swap *swaps = se__alloc_zeroed(n, sizeof *swaps);
    if (!op->accepted)
        se__op_unaccepted(op);
    else if (!peeks || !swaps)
        se__op_fail(op, TIER_UNWELL, "out of memory");
    size_t left = se__op_ok(op) ? n : 0;
    for (size_t i = 0; i < left; i++)
        peeks[i] = (struct peek){.id = ids[i], .id_len = strlen(ids[i])};
    for (int round = 0; round < CHASE_ROUNDS && left > 0 && se__op_ok(op); round++)
        left = void_round(op, peeks, swaps, left);
    if (left > 0)
        se__op_fail(op, TIER_CONFLICT, "ids that are being written all the time");
    se__free(peeks);
    se__free(swaps);
}

struct tier_reply se__redis_void(struct redis *r, const char *const *ids, size_t n,
                                 uint64_t deadline_ms)
{
    struct op op;
    if (n == 0)
        return se__tier_fine();
    if (se__op_begin(&op, r, r->readers, deadline_ms))
        void_all(&op, ids, n);
    return se__op_end(&op);
}
