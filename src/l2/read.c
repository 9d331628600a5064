/*
 * read - see redis.h: reads, which may take a lease on what is absent.
 *
 * Reads are pipelined GETs, since MGET answers nil for a key of another type, so that garbage would
 * look like absence. But it costs the server half as much, and so lists are asked by it while next to
 * nothing is absent: what it calls nil is then asked for by GET.
 *
 * What is absent will mostly be loaded from the home tier, for which a lease is taken first. Where
 * that happens often, one command does both: `SET key LEASE NX GET PX` answers what is there, and
 * only if nothing is puts the lease there (Redis 7). A hit pays for it with a longer command, so it
 * is used while at least a quarter of what was read lately was absent. It carries no deadline, as
 * scripts do: run late, it puts a lease where nothing was, whose token nobody uses any more, since
 * its reader was not told that it was taken; that keeps an id out of Redis for as long as a lease
 * lives, and nothing else. A server that refuses it (out of memory, read-only, no right to write)
 * may still answer a GET: that is asked then, and for a while only that.
 */
#include "l2/op.h"

#include <hiredis/hiredis.h>

#define ABSENT_ALL 256  /* every id was absent */
#define ABSENT_MANY 64  /* worth taking leases at once */
#define ABSENT_FEW 8    /* worth MGET: it does not get lower by a list without any */
#define ABSENT_WEIGHT 8 /* the latest call counts an eighth */
#define PLAIN_MS 10000u /* after a refusal */
#define MGET_KEYS 100u  /* a command */
#define MGET_MIN 8u

struct read_job {
    struct op *op;
    struct tier_read *reads;
    size_t absent;
    size_t again; /* the next of those that are asked for by GET after MGET */
    bool leasing, mget;
    bool refused; /* the command that leases, or MGET; not the read */
};

static bool leases(const struct read_job *j, size_t i)
{
    return j->leasing && j->reads[i].wants_lease;
}

static void on_record(void *arg, size_t index, const redisReply *reply)
{
    struct read_job *j = arg;
    struct tier_read *read = &j->reads[index];
    bool nomem = false;
    enum reply_class class = se__reply_record(reply, j->op->generation, read, &nomem);
    j->absent += read->found == TIER_ABSENT;
    se__tier_came(read);
    if ((leases(j, index) || j->mget) && class != REPLY_FINE && class != REPLY_GARBAGE) {
        j->refused = true;
        return;
    }
    se__op_check(j->op, class, reply);
    read->leased = leases(j, index) && class == REPLY_FINE && read->found == TIER_ABSENT;
    if (nomem)
        se__op_fail(j->op, TIER_UNWELL, "out of memory");
}

static void send_get(struct op *op, const struct tier_read *read)
{
    struct resp *c = op->session->resp;
    se__resp_begin(c, 2);
    se__resp_text(c, "GET");
    se__op_key(op, read->id, read->id_len);
}

static void send_get_or_lease(struct op *op, struct tier_read *read)
{
    struct resp *c = op->session->resp;
    uint8_t record[RECORD_HEADER_SIZE];
    se__random_bytes(read->token, sizeof read->token);
    se__record_encode_lease(read->id, read->id_len, op->generation, read->token, record);
    se__resp_begin(c, 7);
    se__resp_text(c, "SET");
    se__op_key(op, read->id, read->id_len);
    se__resp_arg(c, record, sizeof record);
    se__resp_text(c, "NX");
    se__resp_text(c, "GET");
    se__resp_text(c, "PX");
    se__resp_number(c, LEASE_PX_MS);
}

static void exchange(struct read_job *j, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (leases(j, i))
            send_get_or_lease(j->op, &j->reads[i]);
        else
            send_get(j->op, &j->reads[i]);
        se__op_push(j->op, on_record, j);
    }
    se__op_exchange(j->op, on_record, j);
}

/* ---- MGET ---- */

static void send_mget(struct op *op, const struct tier_read *reads, size_t n)
{
    struct resp *c = op->session->resp;
    se__resp_begin_spread(c, 1 + n, n);
    se__resp_text(c, "MGET");
    for (size_t i = 0; i < n; i++)
        se__op_key(op, reads[i].id, reads[i].id_len);
}

/* Replies come in the order of those that were nil. */
static void on_again(void *arg, size_t index, const redisReply *reply)
{
    struct read_job *j = arg;
    (void)index;
    while (j->reads[j->again].found != TIER_ABSENT)
        j->again++;
    on_record(j, j->again++, reply);
}

/* Absent, or of another type. */
static void ask_again(struct read_job *j, size_t n)
{
    j->absent = 0;
    j->mget = false;
    for (size_t i = 0; i < n; i++) {
        if (j->reads[i].found != TIER_ABSENT)
            continue;
        send_get(j->op, &j->reads[i]);
        se__op_push(j->op, on_again, j);
    }
    se__op_exchange(j->op, on_again, j);
}

static void exchange_mget(struct read_job *j, size_t n)
{
    for (size_t i = 0; i < n; i += MGET_KEYS) {
        send_mget(j->op, j->reads + i, n - i < MGET_KEYS ? n - i : MGET_KEYS);
        se__op_push(j->op, on_record, j);
    }
    se__op_exchange(j->op, on_record, j);
    if (j->absent > 0 && !j->refused && se__op_ok(j->op))
        ask_again(j, n);
}

/* ---- how to ask ---- */

/* Not soon after a refusal. relaxed, here and below: hints, which order nothing. */
static bool may_be_clever(const struct redis *r)
{
    return se__mono_ms() >= atomic_load_explicit(&r->plain_until_ms, memory_order_relaxed);
}

static bool worth_leasing(const struct op *op)
{
    return op->session->gets_or_leases &&
           atomic_load_explicit(&op->r->absent, memory_order_relaxed) >= ABSENT_MANY &&
           may_be_clever(op->r);
}

static bool worth_mget(const struct op *op, size_t n)
{
    return n >= MGET_MIN &&
           atomic_load_explicit(&op->r->absent, memory_order_relaxed) <= ABSENT_FEW &&
           may_be_clever(op->r);
}

/* Threads may overwrite each other's note: it is an estimate. */
static void note_absent(struct redis *r, size_t absent, size_t n)
{
    int share = (int)(absent * ABSENT_ALL / n);
    int before = atomic_load_explicit(&r->absent, memory_order_relaxed);
    int now = before + (share - before) / ABSENT_WEIGHT;
    if (now != before)
        atomic_store_explicit(&r->absent, now, memory_order_relaxed);
}

/* ---- the call ---- */

static void clear_reads(struct tier_read *reads, size_t n, enum tier_found found)
{
    for (size_t i = 0; i < n; i++) {
        reads[i].found = found;
        reads[i].item = NULL;
        reads[i].seen_len = 0;
        reads[i].leased = false;
    }
}

static void release_reads(struct tier_read *reads, size_t n)
{
    for (size_t i = 0; i < n; i++)
        se_item_release(reads[i].item);
    clear_reads(reads, n, TIER_ABSENT);
}

static void read_all(struct op *op, struct tier_read *reads, size_t n)
{
    struct read_job job = {
        .op = op, .reads = reads, .leasing = worth_leasing(op), .mget = worth_mget(op, n)};
    if (job.mget)
        exchange_mget(&job, n);
    else
        exchange(&job, n);
    if (job.refused && se__op_ok(op)) {
        atomic_store_explicit(&op->r->plain_until_ms, se__deadline_in(PLAIN_MS),
                              memory_order_relaxed);
        release_reads(reads, n);
        job = (struct read_job){.op = op, .reads = reads};
        exchange(&job, n);
    }
    note_absent(op->r, job.absent, n);
}

struct tier_reply se__redis_read_now(void *tier, struct tier_read *reads, size_t n,
                                     uint64_t deadline_ms)
{
    struct redis *r = tier;
    struct op op;
    clear_reads(reads, n, TIER_ABSENT);
    if (se__op_begin(&op, r, r->readers, deadline_ms)) {
        if (op.accepted)
            read_all(&op, reads, n);
        else
            clear_reads(reads, n, TIER_VOID);
    }
    struct tier_reply reply = se__op_end(&op);
    if (reply.fault != TIER_FINE)
        release_reads(reads, n);
    return reply;
}

struct tier_reply se__redis_read(void *tier, struct tier_read *reads, size_t n,
                                 uint64_t deadline_ms)
{
    const struct redis *r = tier;
    return n == 0 ? se__tier_fine() : se__combine_read(r->sharing, reads, n, deadline_ms);
}
