/*
 * l2_lease - leases and fills. The rules are those of src/l2/lease.c and read.c.
 *
 * Nobody waits for a fill: it happens at once, later or never. A read that leases carries no
 * deadline: it may put its lease there long after its reader was told that it has none.
 */
#include "base/os.h"
#include "sim/l2_inside.h"
#include "sim/sched.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_MS 30000u

/* ---- what happens later ---- */

enum { LATER_MAX = 40 };
static struct task *later_tasks[LATER_MAX];
static unsigned later_n;

static void happen_later(const char *name, void (*happen)(void *arg), void *arg)
{
    if (later_n == LATER_MAX)
        sim_join(later_tasks[--later_n]);
    later_tasks[later_n++] = sim_spawn(name, happen, arg);
}

static void *copied(const void *from, size_t size)
{
    void *to = malloc(size);
    if (!to)
        abort();
    return memcpy(to, from, size);
}

/* ---- taking leases ---- */

static void put_lease(const char *id, uint64_t generation, const uint8_t token[SE_HASH_SIZE])
{
    struct l2_key *key = l2_room_for(id);
    se_item_release(key->item);
    key->item = NULL;
    key->kind = RECORD_LEASE;
    key->generation = generation;
    key->expires_ns = sim_now_ns() + LEASE_MS * UINT64_C(1000000);
    memcpy(key->token, token, SE_HASH_SIZE);
}

struct late_lease {
    char id[sizeof((struct l2_key *)0)->id];
    uint64_t generation;
    uint8_t token[SE_HASH_SIZE];
};

static void lease_late(void *arg)
{
    struct late_lease *l = arg;
    sim_sleep_ns((uint64_t)sim_pick(2000) * 1000000);
    if (!l2_key_of(l->id))
        put_lease(l->id, l->generation, l->token);
    free(l);
}

static void random_token(uint8_t token[SE_HASH_SIZE])
{
    for (size_t k = 0; k < SE_HASH_SIZE; k++)
        token[k] = (uint8_t)sim_random();
}

/* The reader is told that the lease is its own only with an answer. */
void l2_lease_with_read(const struct op *op, struct tier_read *read)
{
    bool nobody_hears = op->x.reply.fault != TIER_FINE;
    read->leased = false;
    if (!read->wants_lease || !op->ours || op->x.does == DOES_NOTHING || l2_key_of(read->id) ||
        sim_pick(2))
        return;
    random_token(read->token);
    read->leased = !nobody_hears;
    if (nobody_hears && sim_pick(2)) {
        struct late_lease l = {.generation = op->generation};
        snprintf(l.id, sizeof l.id, "%s", read->id);
        memcpy(l.token, read->token, sizeof l.token);
        happen_later("late lease", lease_late, copied(&l, sizeof l));
    } else {
        put_lease(read->id, op->generation, read->token);
    }
}

/* ---- leases ---- */

struct tier_reply se__redis_lease(struct redis *r, const struct tier_read *reads,
                                  struct redis_lease *leases, size_t n, uint64_t deadline_ms)
{
    struct op op = l2_call(r, CALL_LEASE, deadline_ms);
    for (size_t i = 0; i < n; i++) {
        const struct l2_key *old = l2_key_of(reads[i].id);
        bool free_for_all = !old || old->generation != op.generation;
        leases[i].taken = false;
        if (op.x.does == DOES_NOTHING || !op.ours || !free_for_all)
            continue;
        random_token(leases[i].token);
        put_lease(reads[i].id, op.generation, leases[i].token);
        leases[i].taken = true;
    }
    return server_end(&op.x);
}

static void fill_one(const struct op *op, se_item *item, const struct redis_lease *lease)
{
    const struct l2_key *key = l2_key_of(se_item_id(item));
    if (!lease->taken || se__item_expired(item, sim_wall_ms()) || !key ||
        key->kind != RECORD_LEASE || key->generation != op->generation ||
        memcmp(key->token, lease->token, SE_HASH_SIZE) != 0)
        return;
    l2_store(op, item, RECORD_ITEM);
}

/* What is in the server's socket: from the server and generation it was sent to, with its deadline. */
struct late_fill {
    struct redis r;
    uint64_t until_ns;
    unsigned run;
    se_item *item;
    struct redis_lease lease;
};

static void fill_late(void *arg)
{
    struct late_fill *f = arg;
    struct op op = {.r = &f->r, .generation = f->r.generation, .ours = true};
    sim_sleep_ns((uint64_t)sim_pick(30000) * 1000);
    if (f->run == sim_l2.run && sim_now_ns() < f->until_ns)
        fill_one(&op, f->item, &f->lease);
    se_item_release(f->item);
    free(f);
}

/* At once, later or never. */
static void fill_some_time(const struct op *op, se_item *item, const struct redis_lease *lease,
                           uint64_t deadline_ms)
{
    unsigned when = sim_pick(8);
    if (when < 4) {
        fill_one(op, item, lease);
    } else if (when < 7) {
        struct late_fill f = {*op->r, deadline_ms * 1000000, sim_l2.run, se_item_retain(item),
                              *lease};
        happen_later("late fill", fill_late, copied(&f, sizeof f));
    }
}

struct tier_reply se__redis_fill(struct redis *r, se_item *const *items,
                                 const struct redis_lease *leases, size_t n, uint64_t deadline_ms)
{
    struct op op = l2_call(r, CALL_LEASE, deadline_ms);
    for (size_t i = 0; i < n && op.x.does != DOES_NOTHING && op.ours; i++)
        if (items[i])
            fill_some_time(&op, items[i], &leases[i], deadline_ms);
    return server_end(&op.x);
}

void l2_end_leases(void)
{
    while (later_n)
        sim_join(later_tasks[--later_n]);
}
