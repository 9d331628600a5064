/*
 * receipts.c - the table of open receipts (by id, then version), and the thread that delivers.
 *
 * Receipts of one id hang in a group, oldest version first. A new one is the newest nearly always, so it is put in
 * from the back, and answers go from the front: a busy id with thousands of open receipts costs no more than others.
 *
 * Whether there is any receipt at all is read without the lock by flush workers, once a batch. That is enough: a
 * receipt is registered before its put takes the lock of L1's stripe, and who ends a version has taken that lock
 * after that put, or the put has seen the end.
 */
#include "flush/receipts.h"

#include "base/mem.h"
#include "base/os.h"

#include <stdatomic.h>
#include <string.h>

enum { HEADS_FIRST = 64 };

struct group {
    struct group *next; /* of the same head */
    struct receipt *first, *last;
    size_t refs; /* receipts that name it, delivered or not */
    uint64_t hash;
    size_t id_len;
    char id[];
};

struct receipt {
    struct receipt *before,
        *after; /* in its group; `after` also links the queue of those to be delivered */
    struct group *group;
    se_delivery_fn fn;
    void *arg;
    uint64_t version, newest;
    char *error; /* DEAD; NULL: no memory for it, or none */
    int code;
    se_delivery_outcome outcome;
    bool wants_home, deleted;
    bool listed, answered, committed, in_wal;
};

struct receipts {
    _Atomic size_t listed; /* relaxed: see above */
    struct se__mutex lock; /* guards all below */
    struct se__cond changed;
    struct se__cond idle;
    struct group **heads;
    size_t mask, groups;
    size_t made;                   /* and their callbacks have not returned */
    struct receipt *ready, **last; /* to be delivered */
    bool running;                  /* a callback */
    bool shut, ending;
    struct se__thread thread;
    _Atomic uint64_t thread_id; /* relaxed: only the thread itself finds its own number there */
};

/* ---- groups ---- */

static struct group *find_locked(const struct receipts *r, uint64_t hash, const char *id,
                                 size_t id_len)
{
    struct group *g = r->heads[hash & r->mask];
    while (g && (g->hash != hash || g->id_len != id_len || memcmp(g->id, id, id_len) != 0))
        g = g->next;
    return g;
}

/* Without memory the chains get longer. */
static void grow_locked(struct receipts *r)
{
    size_t n = (r->mask + 1) * 2;
    struct group **heads = se__alloc_zeroed(n, sizeof *heads);
    if (!heads)
        return;
    for (size_t i = 0; i <= r->mask; i++) {
        for (struct group *g = r->heads[i], *next; g; g = next) {
            next = g->next;
            g->next = heads[g->hash & (n - 1)];
            heads[g->hash & (n - 1)] = g;
        }
    }
    se__free(r->heads);
    r->heads = heads;
    r->mask = n - 1;
}

static struct group *group_locked(struct receipts *r, const struct receipt_spec *spec)
{
    struct group *g = find_locked(r, spec->hash, spec->id, spec->id_len);
    if (g) {
        g->refs++;
        return g;
    }
    g = se__alloc(sizeof *g + spec->id_len + 1);
    if (!g)
        return NULL;
    if (r->groups > r->mask)
        grow_locked(r);
    *g = (struct group){.refs = 1, .hash = spec->hash, .id_len = spec->id_len};
    memcpy(g->id, spec->id, spec->id_len);
    g->id[spec->id_len] = '\0';
    g->next = r->heads[g->hash & r->mask];
    r->heads[g->hash & r->mask] = g;
    r->groups++;
    return g;
}

static void leave_group_locked(struct receipts *r, struct group *g)
{
    if (--g->refs)
        return;
    struct group **link = &r->heads[g->hash & r->mask];
    while (*link != g)
        link = &(*link)->next;
    *link = g->next;
    r->groups--;
    se__free(g);
}

static void count_locked(struct receipts *r, bool more)
{
    size_t n = atomic_load_explicit(&r->listed, memory_order_relaxed);
    atomic_store_explicit(&r->listed, more ? n + 1 : n - 1, memory_order_relaxed);
}

static void unlist_locked(struct receipts *r, struct receipt *x)
{
    if (!x->listed)
        return;
    *(x->before ? &x->before->after : &x->group->first) = x->after;
    *(x->after ? &x->after->before : &x->group->last) = x->before;
    x->before = x->after = NULL;
    x->listed = false;
    count_locked(r, false);
}

static void list_locked(struct receipts *r, struct receipt *x)
{
    struct group *g = x->group;
    x->before = g->last;
    while (x->before && x->before->version > x->version)
        x->before = x->before->before;
    x->after = x->before ? x->before->after : g->first;
    *(x->before ? &x->before->after : &g->first) = x;
    *(x->after ? &x->after->before : &g->last) = x;
    x->listed = true;
    count_locked(r, true);
}

/* ---- delivery ---- */

static void free_locked(struct receipts *r, struct receipt *x)
{
    leave_group_locked(r, x->group);
    se__free(x->error);
    se__free(x);
    r->made--;
}

/* The oldest of the group that are answered and committed go to the thread: I2. */
static void release_locked(struct receipts *r, struct group *g)
{
    while (g->first && g->first->answered && g->first->committed) {
        struct receipt *x = g->first;
        unlist_locked(r, x);
        *r->last = x;
        r->last = &x->after;
        se__cond_signal(&r->changed);
    }
}

static void call(const struct receipt *x)
{
    se_delivery d = {
        .id = x->group->id,
        .version = x->version,
        .outcome = x->outcome,
        .deleted = x->deleted,
        .newest = x->newest,
        .error_code = x->code,
        .error = x->error ? x->error : "",
    };
    x->fn(x->arg, &d);
}

static void deliver_locked(struct receipts *r)
{
    struct receipt *x = r->ready;
    r->ready = x->after;
    if (!r->ready)
        r->last = &r->ready;
    r->running = true;
    se__mutex_unlock(&r->lock);
    call(x);
    se__mutex_lock(&r->lock);
    r->running = false;
    free_locked(r, x);
}

static void run(void *arg)
{
    struct receipts *r = arg;
    atomic_store_explicit(&r->thread_id, se__thread_id(), memory_order_relaxed);
    se__mutex_lock(&r->lock);
    while (r->ready || !r->ending) {
        if (r->ready)
            deliver_locked(r);
        else
            se__cond_wait(&r->changed, &r->lock);
        if (!r->ready)
            se__cond_broadcast(&r->idle);
    }
    se__mutex_unlock(&r->lock);
}

bool se__receipts_inside(const struct receipts *r)
{
    return r && atomic_load_explicit(&r->thread_id, memory_order_relaxed) == se__thread_id();
}

/* ---- life ---- */

se_result se__receipts_open(struct receipts **receipts)
{
    struct receipts *r = se__alloc_zeroed(1, sizeof *r);
    if (!r)
        return se__error_nomem();
    r->heads = se__alloc_zeroed(HEADS_FIRST, sizeof *r->heads);
    if (!r->heads) {
        se__free(r);
        return se__error_nomem();
    }
    r->mask = HEADS_FIRST - 1;
    r->last = &r->ready;
    se__mutex_init(&r->lock);
    se__cond_init(&r->changed);
    se__cond_init(&r->idle);
    *receipts = r;
    return SE_OK;
}

static void answer_open_locked(struct receipts *r)
{
    for (size_t i = 0; i <= r->mask; i++) {
        for (struct group *g = r->heads[i]; g; g = g->next) {
            for (struct receipt *x = g->first; x; x = x->after) {
                if (!x->answered && x->committed) {
                    x->outcome = x->in_wal ? SE_DELIVERY_WAL : SE_DELIVERY_OPEN;
                    x->answered = true;
                }
            }
            release_locked(r, g);
        }
    }
}

void se__receipts_shut(struct receipts *r)
{
    se__mutex_lock(&r->lock);
    r->shut = true;
    answer_open_locked(r);
    while (r->ready || r->running)
        se__cond_wait(&r->idle, &r->lock);
    se__mutex_unlock(&r->lock);
}

void se__receipts_close(struct receipts *r)
{
    if (!r)
        return;
    se__receipts_shut(r);
    se__mutex_lock(&r->lock);
    r->ending = true;
    se__cond_broadcast(&r->changed);
    se__mutex_unlock(&r->lock);
    se__thread_join(&r->thread);
    se__cond_done(&r->idle);
    se__cond_done(&r->changed);
    se__mutex_done(&r->lock);
    se__free(r->heads);
    se__free(r);
}

/* ---- the writer ---- */

static se_result make_locked(struct receipts *r, const struct receipt_spec *spec, struct receipt *x)
{
    if (r->made >= RECEIPTS_MAX)
        return se__error(SE_ERR_BACKPRESSURE, "id '%s': %u deliveries are open", spec->id,
                         RECEIPTS_MAX);
    if (!r->thread.started) {
        se_result result = se__thread_start(&r->thread, "se-delivery", run, r);
        if (result != SE_OK)
            return result;
    }
    *x = (struct receipt){
        .fn = spec->fn, .arg = spec->arg, .wants_home = spec->wants_home, .deleted = spec->deleted};
    x->group = group_locked(r, spec);
    if (!x->group)
        return se__error_nomem();
    r->made++;
    return SE_OK;
}

se_result se__receipt_new(struct receipts *r, const struct receipt_spec *spec,
                          struct receipt **receipt)
{
    struct receipt *x = se__alloc(sizeof *x);
    if (!x)
        return se__error_nomem();
    se__mutex_lock(&r->lock);
    se_result result = make_locked(r, spec, x);
    se__mutex_unlock(&r->lock);
    if (result != SE_OK) {
        se__free(x);
        return result;
    }
    *receipt = x;
    return SE_OK;
}

void se__receipt_expect(struct receipts *r, struct receipt *receipt, uint64_t version)
{
    se__mutex_lock(&r->lock);
    struct group *g = receipt->group;
    unlist_locked(r, receipt);
    receipt->version = version;
    receipt->newest = 0;
    se__free(receipt->error);
    receipt->error = NULL;
    receipt->answered = receipt->in_wal = false;
    list_locked(r, receipt);
    release_locked(r, g); /* those it stood before */
    se__mutex_unlock(&r->lock);
}

static void answer_locked(struct receipt *x, se_delivery_outcome outcome, uint64_t newest)
{
    if (x->answered)
        return;
    x->answered = true;
    x->outcome = outcome;
    x->newest = newest;
}

void se__receipt_answer(struct receipts *r, struct receipt *receipt, se_delivery_outcome outcome,
                        uint64_t newest)
{
    se__mutex_lock(&r->lock);
    answer_locked(receipt, outcome, newest);
    release_locked(r, receipt->group);
    se__mutex_unlock(&r->lock);
}

void se__receipt_commit(struct receipts *r, struct receipt *receipt, bool in_wal)
{
    se__mutex_lock(&r->lock);
    receipt->committed = true;
    receipt->in_wal = receipt->in_wal || in_wal;
    if (in_wal && !receipt->wants_home)
        answer_locked(receipt, SE_DELIVERY_WAL, 0);
    if (r->shut) /* the workers have ended */
        answer_locked(receipt, receipt->in_wal ? SE_DELIVERY_WAL : SE_DELIVERY_OPEN, 0);
    release_locked(r, receipt->group);
    se__mutex_unlock(&r->lock);
}

void se__receipt_drop(struct receipts *r, struct receipt *receipt)
{
    if (!receipt)
        return;
    se__mutex_lock(&r->lock);
    unlist_locked(r, receipt);
    release_locked(r, receipt->group);
    free_locked(r, receipt);
    se__mutex_unlock(&r->lock);
}

/* ---- the flush ---- */

bool se__receipts_any(const struct receipts *r)
{
    return r && atomic_load_explicit(&r->listed, memory_order_relaxed) > 0;
}

static void end_own_locked(struct receipt *x, const struct receipt_end *end)
{
    if (end->outcome == SE_DELIVERY_WAL)
        x->in_wal = true;
    if ((end->outcome == SE_DELIVERY_WAL && x->wants_home) || x->answered)
        return;
    if (end->outcome == SE_DELIVERY_DEAD && end->error) {
        x->code = end->code;
        x->error = se__strdup(end->error);
    }
    answer_locked(x, end->outcome, end->newest);
}

void se__receipts_end(struct receipts *r, uint64_t hash, const char *id, size_t id_len,
                      const struct receipt_end *end)
{
    se__mutex_lock(&r->lock);
    struct group *g = find_locked(r, hash, id, id_len);
    struct receipt *x = g ? g->first : NULL;
    for (; x && x->version <= end->version; x = x->after) {
        if (x->version == end->version)
            end_own_locked(x, end);
        else
            answer_locked(x, SE_DELIVERY_SUPERSEDED,
                          end->newest > end->version ? end->newest : end->version);
    }
    if (g)
        release_locked(r, g);
    se__mutex_unlock(&r->lock);
}

void se__receipts_renew(struct receipts *r, uint64_t hash, const char *id, size_t id_len,
                        uint64_t from, uint64_t to)
{
    se__mutex_lock(&r->lock);
    struct group *g = find_locked(r, hash, id, id_len);
    struct receipt *x = g ? g->first : NULL;
    while (x && x->version != from)
        x = x->after;
    if (x && !x->answered) {
        unlist_locked(r, x);
        x->version = to;
        list_locked(r, x);
        release_locked(r, g);
    }
    se__mutex_unlock(&r->lock);
}
