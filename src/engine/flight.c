/*
 * flight - see flight.h. A small striped table of chained flights; a flight is freed by whoever
 * gives it up last.
 */
#include "engine/flight.h"

#include "base/mem.h"

#include <string.h>

#define STRIPES 64 /* a power of two */

struct flight {
    struct flight *next; /* in its stripe */
    uint64_t hash;
    uint64_t leader; /* thread id */
    unsigned users;
    bool closed, landed, again; /* closed: not in the table any more */
    se_result result;
    se_item *item;
    char *error; /* the leader's text, for errors */
    size_t id_len;
    char id[];
};

struct stripe {
    struct se__mutex lock; /* guards the chain and every flight in it */
    struct se__cond landed;
    struct flight *first;
};

struct flights {
    struct stripe stripes[STRIPES];
};

se_result se__flights_open(struct flights **flights)
{
    struct flights *f = se__alloc_zeroed(1, sizeof *f);
    if (!f)
        return se__error_nomem();
    for (size_t i = 0; i < STRIPES; i++) {
        se__mutex_init(&f->stripes[i].lock);
        se__cond_init(&f->stripes[i].landed);
    }
    *flights = f;
    return SE_OK;
}

void se__flights_close(struct flights *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < STRIPES; i++) {
        se__cond_done(&f->stripes[i].landed);
        se__mutex_done(&f->stripes[i].lock);
    }
    se__free(f);
}

static struct stripe *stripe_of(struct flights *f, uint64_t hash)
{
    return &f->stripes[(hash >> 32) & (STRIPES - 1)];
}

static struct flight *find_locked(struct stripe *s, uint64_t hash, const char *id, size_t id_len)
{
    for (struct flight *x = s->first; x; x = x->next) {
        if (x->hash == hash && x->id_len == id_len && memcmp(x->id, id, id_len) == 0)
            return x;
    }
    return NULL;
}

se_result se__flight_join(struct flights *f, uint64_t hash, const char *id, size_t id_len,
                          struct flight **flight, bool *leads)
{
    struct stripe *s = stripe_of(f, hash);
    struct flight *fresh = se__alloc(sizeof *fresh + id_len);
    if (!fresh)
        return se__error_nomem();
    *fresh = (struct flight){.hash = hash, .leader = se__thread_id(), .id_len = id_len};
    memcpy(fresh->id, id, id_len);
    se__mutex_lock(&s->lock);
    struct flight *x = find_locked(s, hash, id, id_len);
    *leads = !x;
    if (!x) {
        x = fresh;
        x->next = s->first;
        s->first = x;
        fresh = NULL;
    }
    x->users++;
    se__mutex_unlock(&s->lock);
    se__free(fresh);
    *flight = x;
    return SE_OK;
}

bool se__flight_mine(const struct flight *flight)
{
    return flight->leader == se__thread_id(); /* constant since it was made */
}

static void free_flight(struct flight *x)
{
    se_item_release(x->item);
    se__free(x->error);
    se__free(x);
}

static void close_locked(struct stripe *s, struct flight *x)
{
    struct flight **at = &s->first;
    if (x->closed)
        return;
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    x->closed = true;
}

bool se__flight_close(struct flights *f, struct flight *x)
{
    struct stripe *s = stripe_of(f, x->hash);
    se__mutex_lock(&s->lock);
    close_locked(s, x);
    bool alone = x->users == 1;
    se__mutex_unlock(&s->lock);
    return alone;
}

void se__flight_drop(struct flight *x)
{
    free_flight(x);
}

void se__flight_land(struct flights *f, struct flight *x, se_result result, se_item *item,
                     bool again)
{
    /* without memory followers get the code only */
    char *error = result < 0 ? se__strdup(se_errmsg()) : NULL;
    struct stripe *s = stripe_of(f, x->hash);
    se__mutex_lock(&s->lock);
    close_locked(s, x);
    x->landed = true;
    x->again = again;
    x->result = result;
    x->item = item ? se_item_retain(item) : NULL;
    x->error = error;
    bool last = --x->users == 0;
    if (!last)
        se__cond_broadcast(&s->landed);
    se__mutex_unlock(&s->lock);
    if (last)
        free_flight(x);
}

se_result se__flight_follow(struct flights *f, struct flight *x, uint64_t deadline_ms,
                            se_item **item, bool *again)
{
    struct stripe *s = stripe_of(f, x->hash);
    se__mutex_lock(&s->lock);
    bool in_time = true;
    while (!x->landed && in_time)
        in_time = se__cond_wait_until(&s->landed, &s->lock, deadline_ms);
    bool landed = x->landed;
    se_result r = landed ? x->result : SE_ERR_TIMEOUT;
    *again = landed && x->again;
    *item = landed && x->item ? se_item_retain(x->item) : NULL;
    if (landed && r < 0)
        se__error(r, "%s", x->error ? x->error : se_strerror(r));
    bool last = --x->users == 0;
    se__mutex_unlock(&s->lock);
    if (last)
        free_flight(x);
    if (!landed)
        se__error(r, "another caller's lookup of the same id did not end in time");
    return r;
}
