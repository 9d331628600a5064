/*
 * flight - see flight.h. A small striped table of chained flights, each in its leader's memory.
 */
#include "engine/flight.h"

#include "base/mem.h"

#include <stdatomic.h>
#include <string.h>

#define STRIPES 64 /* a power of two */

struct stripe {
    struct se__mutex lock; /* guards the chain, and every seat of its flights */
    struct se__cond landed;
    struct seat *first;
    uint64_t ended; /* when a flight of this stripe ended last */
};

struct flights {
    struct stripe stripes[STRIPES];
    _Atomic uint64_t moment;
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

uint64_t se__flights_moment(const struct flights *f)
{
    /* acquire: pairs with the release below */
    return atomic_load_explicit(&f->moment, memory_order_acquire);
}

uint64_t se__flights_end_of(struct flights *f)
{
    /* release: who takes this moment or a later one sees in L1 what the leader has put there */
    return atomic_fetch_add_explicit(&f->moment, 1, memory_order_release) + 1;
}

static struct stripe *stripe_of(struct flights *f, uint64_t hash)
{
    return &f->stripes[(hash >> 32) & (STRIPES - 1)];
}

static struct seat *find_locked(const struct stripe *s, const struct seat *seat)
{
    for (struct seat *x = s->first; x; x = x->next) {
        if (x->hash == seat->hash && x->id_len == seat->id_len &&
            memcmp(x->id, seat->id, seat->id_len) == 0)
            return x;
    }
    return NULL;
}

static void lead_locked(struct stripe *s, struct seat *seat)
{
    seat->leads = true;
    seat->thread = se__thread_id();
    seat->next = s->first;
    s->first = seat;
}

static void follow_locked(struct seat *leader, struct seat *seat)
{
    seat->leader = leader;
    seat->thread = leader->thread;
    seat->next = leader->followers;
    leader->followers = seat;
}

void se__flight_join(struct flights *f, uint64_t hash, const char *id, size_t id_len,
                     struct seat *seat)
{
    struct stripe *s = stripe_of(f, hash);
    *seat = (struct seat){.hash = hash, .id = id, .id_len = id_len};
    se__mutex_lock(&s->lock);
    struct seat *leader = find_locked(s, seat);
    seat->ended = s->ended;
    if (leader)
        follow_locked(leader, seat);
    else
        lead_locked(s, seat);
    se__mutex_unlock(&s->lock);
}

bool se__flight_mine(const struct seat *seat)
{
    return seat->thread == se__thread_id(); /* constant since it was taken */
}

static void unlink_locked(struct seat **at, const struct seat *seat)
{
    while (*at != seat)
        at = &(*at)->next;
    *at = seat->next;
}

static void close_locked(struct stripe *s, struct seat *seat, uint64_t end)
{
    s->ended = end > s->ended ? end : s->ended;
    if (seat->closed)
        return;
    unlink_locked(&s->first, seat);
    seat->closed = true;
}

bool se__flight_close(struct flights *f, struct seat *seat, uint64_t end)
{
    struct stripe *s = stripe_of(f, seat->hash);
    se__mutex_lock(&s->lock);
    close_locked(s, seat, end);
    bool alone = !seat->followers;
    se__mutex_unlock(&s->lock);
    return alone;
}

/* error: NULL, also without memory: then the follower gets the code only. */
static void land_one(struct seat *seat, se_result result, se_item *item, bool again)
{
    seat->again = again;
    seat->result = result;
    seat->item = item ? se_item_retain(item) : NULL;
    seat->error = result < 0 ? se__strdup(se_errmsg()) : NULL;
    seat->leader = NULL;
    seat->landed = true;
}

void se__flight_land(struct flights *f, struct seat *seat, se_result result, se_item *item,
                     bool again)
{
    struct stripe *s = stripe_of(f, seat->hash);
    se__mutex_lock(&s->lock);
    close_locked(s, seat, 0);
    for (struct seat *x = seat->followers; x; x = x->next)
        land_one(x, result, item, again);
    if (seat->followers)
        se__cond_broadcast(&s->landed);
    se__mutex_unlock(&s->lock);
}

se_result se__flight_follow(struct flights *f, struct seat *seat, uint64_t deadline_ms,
                            se_item **item, bool *again)
{
    struct stripe *s = stripe_of(f, seat->hash);
    se__mutex_lock(&s->lock);
    bool in_time = true;
    while (!seat->landed && in_time)
        in_time = se__cond_wait_until(&s->landed, &s->lock, deadline_ms);
    bool landed = seat->landed;
    if (!landed)
        unlink_locked(&seat->leader->followers, seat);
    se__mutex_unlock(&s->lock);
    *again = landed && seat->again;
    *item = landed ? seat->item : NULL;
    if (!landed)
        return se__error(SE_ERR_TIMEOUT,
                         "another caller's lookup of the same id did not end in time");
    if (seat->result < 0)
        se__error(seat->result, "%s", seat->error ? seat->error : se_strerror(seat->result));
    se__free(seat->error);
    return seat->result;
}
