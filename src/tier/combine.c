/*
 * combine - see combine.h.
 *
 * A request lies on its caller's stack; the queue and the leader's list point to it, and it leaves
 * both, under the lock, before its caller returns.
 */
#include "tier/combine.h"

#include "base/mem.h"
#include "base/os.h"

#include <stdio.h>
#include <string.h>

#define SHARED_MAX 64u /* callers in one call */

enum request_state {
    QUEUED,
    LEADING, /* its turn, with a slot */
    TAKEN,   /* a leader asks for it */
    ANSWERED,
    INTERRUPTED
};

struct shared_call;

struct request {
    struct request *next;
    struct se__cond turn;
    struct tier_read *reads;
    size_t n;
    uint64_t deadline_ms;
    enum request_state state;
    struct shared_call *call; /* with TAKEN, */
    unsigned place;           /* and where in it */
    struct tier_reply reply;  /* with ANSWERED, */
    char words[256];          /* and of a fault */
};

/* What a leader asks for, besides its own request. On its stack. */
struct shared_call {
    struct request *who[SHARED_MAX]; /* NULL: has left */
    size_t from[SHARED_MAX];         /* its first read */
    size_t count[SHARED_MAX];
    unsigned n;
    struct tier_read *reads; /* with copies of the ids behind them */
    size_t reads_n;
    char words[256]; /* of a fault */
};

struct combiner {
    struct combiner_options options;
    struct se__mutex lock; /* guards all below, and every request; leaf */
    unsigned under_way;
    struct request *first, **last;
};

se_result se__combine_open(const struct combiner_options *options, struct combiner **combiner)
{
    struct combiner *c = se__alloc_zeroed(1, sizeof *c);
    if (!c)
        return se__error_nomem();
    c->options = *options;
    c->last = &c->first;
    se__mutex_init(&c->lock);
    *combiner = c;
    return SE_OK;
}

void se__combine_close(struct combiner *c)
{
    if (!c)
        return;
    se__mutex_done(&c->lock);
    se__free(c);
}

/* ---- the queue, locked ---- */

static void enqueue(struct combiner *c, struct request *r)
{
    r->state = QUEUED;
    r->next = NULL;
    *c->last = r;
    c->last = &r->next;
}

static void dequeue(struct combiner *c, struct request *r)
{
    struct request **at = &c->first;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    if (c->last == &r->next)
        c->last = at;
}

/* A slot is free: to the first who waits, or to whoever comes. */
static void pass_on(struct combiner *c)
{
    struct request *r = c->first;
    if (!r) {
        c->under_way--;
        return;
    }
    dequeue(c, r);
    r->state = LEADING;
    se__cond_signal(&r->turn);
}

/* ---- a leader's way ---- */

/* How many who queue fit beside the leader's ids, and how much memory they take. */
static unsigned count_fitting(const struct combiner *c, size_t reads_n, size_t *reads,
                              size_t *bytes)
{
    unsigned n = 0;
    *reads = reads_n;
    *bytes = 0;
    for (const struct request *r = c->first; r && n < SHARED_MAX; r = r->next, n++) {
        if (*reads + r->n > c->options.ids_max)
            break;
        *reads += r->n;
        for (size_t i = 0; i < r->n; i++)
            *bytes += r->reads[i].id_len;
    }
    return n;
}

static char *copy_reads(struct tier_read *to, const struct tier_read *from, size_t n, char *ids)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = from[i];
        to[i].id = memcpy(ids, from[i].id, from[i].id_len);
        to[i].on_item = NULL; /* its caller may have left */
        ids += from[i].id_len;
    }
    return ids;
}

static void take(struct combiner *c, struct shared_call *call, unsigned n, char *ids)
{
    for (call->n = 0; call->n < n; call->n++) {
        struct request *r = c->first;
        dequeue(c, r);
        r->state = TAKEN;
        r->call = call;
        r->place = call->n;
        call->who[call->n] = r;
        call->from[call->n] = call->reads_n;
        call->count[call->n] = r->n;
        ids = copy_reads(call->reads + call->reads_n, r->reads, r->n, ids);
        call->reads_n += r->n;
    }
}

/* Takes those who queue into the leader's call, which goes alone if there are none, or no memory. */
static void gather(struct combiner *c, const struct request *own, struct shared_call *call)
{
    size_t reads, bytes;
    unsigned n = count_fitting(c, own->n, &reads, &bytes);
    call->n = 0;
    call->reads = n > 0 ? se__alloc(reads * sizeof *call->reads + bytes) : NULL;
    if (!call->reads)
        return;
    memcpy(call->reads, own->reads, own->n * sizeof *own->reads); /* its ids outlive the call */
    call->reads_n = own->n;
    take(c, call, n, (char *)(call->reads + reads));
}

/* Everything but what was asked. */
static void hand_out(struct tier_read *to, const struct tier_read *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct tier_read asked = to[i];
        to[i] = from[i];
        to[i].id = asked.id;
        to[i].on_item = asked.on_item;
    }
}

static void distribute_locked(struct shared_call *call, struct tier_reply reply)
{
    for (unsigned k = 0; k < call->n; k++) {
        struct tier_read *reads = call->reads + call->from[k];
        struct request *r = call->who[k];
        if (!r) {
            for (size_t i = 0; i < call->count[k]; i++)
                se_item_release(reads[i].item);
            continue;
        }
        hand_out(r->reads, reads, r->n);
        if (reply.fault != TIER_FINE)
            snprintf(r->words, sizeof r->words, "%s", call->words);
        r->reply = reply;
        r->state = ANSWERED;
        se__cond_signal(&r->turn);
    }
}

/* Called and left with the lock held, and with a slot, which is passed on. */
static struct tier_reply lead_locked(struct combiner *c, struct request *own)
{
    struct shared_call call;
    gather(c, own, &call);
    se__mutex_unlock(&c->lock);
    struct tier_read *reads = call.n > 0 ? call.reads : own->reads;
    size_t n = call.n > 0 ? call.reads_n : own->n;
    struct tier_reply reply = c->options.read(c->options.arg, reads, n, own->deadline_ms);
    if (call.n > 0 && reply.fault != TIER_FINE)
        snprintf(call.words, sizeof call.words, "%s", se_errmsg());
    se__mutex_lock(&c->lock);
    pass_on(c);
    if (call.n > 0) {
        hand_out(own->reads, call.reads, own->n);
        distribute_locked(&call, reply);
    }
    se__free(call.reads);
    return reply;
}

/* ---- a caller's way ---- */

/* Waits until it is answered, leads or has no more time. */
static void wait_locked(struct combiner *c, struct request *r)
{
    bool in_time = true;
    enqueue(c, r);
    while ((r->state == QUEUED || r->state == TAKEN) && in_time)
        in_time = se__cond_wait_until(&r->turn, &c->lock, r->deadline_ms);
}

/* What came of waiting. */
static struct tier_reply leave_locked(struct combiner *c, struct request *r)
{
    struct tier_reply late = {.fault = TIER_UNWELL, .timed_out = true};
    if (r->state == QUEUED)
        dequeue(c, r);
    else if (r->state == TAKEN)
        r->call->who[r->place] = NULL;
    else if (r->state == ANSWERED) {
        if (r->reply.fault != TIER_FINE)
            se__error(SE_ERR_BACKEND, "%s", r->words);
        return r->reply;
    }
    se__error(SE_ERR_TIMEOUT,
              r->state == INTERRUPTED ? "%s: the call was interrupted"
                                      : "%s: no answer in time, behind others",
              c->options.name);
    return late;
}

/* Its leader had less time than it has. */
static bool may_ask_again(const struct request *r, const struct tier_reply *reply)
{
    return r->state == ANSWERED && reply->fault == TIER_UNWELL && reply->timed_out &&
           se__deadline_left(r->deadline_ms) > 0;
}

static struct tier_reply ask_locked(struct combiner *c, struct request *r)
{
    struct tier_reply reply;
    do {
        r->state = LEADING;
        if (c->under_way < c->options.slots)
            c->under_way++;
        else
            wait_locked(c, r);
        reply = r->state == LEADING ? lead_locked(c, r) : leave_locked(c, r);
    } while (may_ask_again(r, &reply));
    return reply;
}

struct tier_reply se__combine_read(struct combiner *c, struct tier_read *reads, size_t n,
                                   uint64_t deadline_ms)
{
    struct request r = {.reads = reads, .n = n, .deadline_ms = deadline_ms};
    se__cond_init(&r.turn);
    se__mutex_lock(&c->lock);
    struct tier_reply reply = ask_locked(c, &r);
    se__mutex_unlock(&c->lock);
    se__cond_done(&r.turn);
    return reply;
}

void se__combine_interrupt(struct combiner *c)
{
    se__mutex_lock(&c->lock);
    for (struct request *r; (r = c->first) != NULL;) {
        dequeue(c, r);
        r->state = INTERRUPTED;
        se__cond_signal(&r->turn);
    }
    se__mutex_unlock(&c->lock);
}

unsigned se__combine_waiting(struct combiner *c)
{
    unsigned n = 0;
    se__mutex_lock(&c->lock);
    for (const struct request *r = c->first; r; r = r->next)
        n++;
    se__mutex_unlock(&c->lock);
    return n;
}
