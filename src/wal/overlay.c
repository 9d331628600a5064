/*
 * overlay - nodes in chunks, chained by the low bits of their hash.
 *
 * The buckets are sized once from the limit on records, as zero pages: growing would stop every
 * writer for the time of a rehash. Nodes are numbered, so that the links take four bytes each.
 */
#include "wal/overlay.h"

#include "base/mem.h"

#include <assert.h>

#define CHUNK_BITS 10
#define CHUNK_NODES (1u << CHUNK_BITS)
#define HEADS_MIN 1024u
#define HEADS_MAX (1u << 22)

static uint32_t heads_for(uint64_t items)
{
    uint32_t heads = HEADS_MIN;
    while (heads < items && heads < HEADS_MAX)
        heads *= 2;
    return heads;
}

se_result se__overlay_init(struct overlay *o, unsigned partitions, uint64_t items_hint)
{
    uint32_t heads = heads_for(items_hint);
    *o = (struct overlay){.mask = heads - 1, .used = 1, .partitions = partitions};
    o->heads = se__alloc_zeroed(heads, sizeof *o->heads);
    o->queues = se__alloc_zeroed(partitions, sizeof *o->queues);
    if (o->heads && o->queues)
        return SE_OK;
    se__overlay_done(o);
    return se__error_nomem();
}

void se__overlay_done(struct overlay *o)
{
    for (uint32_t i = 0; i < o->chunks_cap; i++)
        se__free(o->chunks[i]);
    se__free(o->chunks);
    se__free(o->heads);
    se__free(o->queues);
    *o = (struct overlay){.used = 1};
}

struct overlay_node *se__overlay_at(const struct overlay *o, uint32_t node)
{
    return &o->chunks[node >> CHUNK_BITS][node & (CHUNK_NODES - 1)];
}

bool se__overlay_empty(const struct overlay *o)
{
    /* acquire: whoever learned that a record was published sees it counted;
     * pairs with the release in link(). */
    return atomic_load_explicit(&o->mapped, memory_order_acquire) == 0;
}

uint64_t se__overlay_live(const struct overlay *o)
{
    return o->count[OVERLAY_ACK] + o->count[OVERLAY_HOME] + o->count[OVERLAY_DRAINING];
}

uint64_t se__overlay_live_bytes(const struct overlay *o)
{
    return o->bytes[OVERLAY_ACK] + o->bytes[OVERLAY_HOME] + o->bytes[OVERLAY_DRAINING];
}

uint64_t se__overlay_held(const struct overlay *o)
{
    return se__overlay_live(o) + o->count[OVERLAY_IN_FLIGHT] + o->count[OVERLAY_DEAD];
}

uint64_t se__overlay_held_bytes(const struct overlay *o)
{
    return se__overlay_live_bytes(o) + o->bytes[OVERLAY_IN_FLIGHT] + o->bytes[OVERLAY_DEAD];
}

/* ---- nodes ---- */

static bool grow(struct overlay *o)
{
    uint32_t chunk = o->used >> CHUNK_BITS;
    if (chunk >= o->chunks_cap) {
        uint32_t cap = o->chunks_cap ? o->chunks_cap * 2 : 16;
        struct overlay_node **chunks = se__realloc(o->chunks, cap * sizeof *chunks);
        if (!chunks)
            return false;
        for (uint32_t i = o->chunks_cap; i < cap; i++)
            chunks[i] = NULL;
        o->chunks = chunks;
        o->chunks_cap = cap;
    }
    if (!o->chunks[chunk])
        o->chunks[chunk] = se__alloc_zeroed(CHUNK_NODES, sizeof *o->chunks[chunk]);
    return o->chunks[chunk] != NULL;
}

static uint32_t new_node(struct overlay *o)
{
    uint32_t node = o->free;
    if (node) {
        o->free = se__overlay_at(o, node)->chain;
        return node;
    }
    if (o->used == UINT32_MAX || !grow(o))
        return 0;
    return o->used++;
}

static void set_state(struct overlay *o, struct overlay_node *n, enum overlay_state state)
{
    o->count[n->state]--;
    o->bytes[n->state] -= n->bytes;
    if (n->state == OVERLAY_HOME)
        o->queues[n->partition].waiting--;
    n->state = (uint8_t)state;
    o->count[state]++;
    o->bytes[state] += n->bytes;
    if (state == OVERLAY_HOME)
        o->queues[n->partition].waiting++;
}

static void free_node(struct overlay *o, uint32_t node)
{
    struct overlay_node *n = se__overlay_at(o, node);
    o->count[n->state]--;
    o->bytes[n->state] -= n->bytes;
    if (n->state == OVERLAY_HOME)
        o->queues[n->partition].waiting--;
    *n = (struct overlay_node){.chain = o->free};
    o->free = node;
}

/* ---- the map ---- */

static uint32_t *head(const struct overlay *o, struct overlay_key key)
{
    return &o->heads[key.lo & o->mask];
}

static bool same(const struct overlay_node *n, struct overlay_key key)
{
    return n->key.lo == key.lo && n->key.hi == key.hi;
}

static void link_node(struct overlay *o, uint32_t node)
{
    struct overlay_node *n = se__overlay_at(o, node);
    uint32_t *first = head(o, n->key);
    n->chain = *first;
    *first = node;
    /* release: pairs with the acquire in se__overlay_empty(). */
    atomic_fetch_add_explicit(&o->mapped, 1, memory_order_release);
}

static void unlink_node(struct overlay *o, uint32_t node)
{
    struct overlay_node *n = se__overlay_at(o, node);
    uint32_t *link = head(o, n->key);
    while (*link != node)
        link = &se__overlay_at(o, *link)->chain;
    *link = n->chain;
    n->chain = 0;
    atomic_fetch_sub_explicit(&o->mapped, 1, memory_order_release); /* as above */
}

static void queue_push(struct overlay *o, uint32_t node)
{
    struct overlay_node *n = se__overlay_at(o, node);
    struct overlay_queue *q = &o->queues[n->partition];
    n->next = 0;
    n->prev = q->back;
    if (q->back)
        se__overlay_at(o, q->back)->next = node;
    else
        q->front = node;
    q->back = node;
}

static void queue_remove(struct overlay *o, struct overlay_node *n)
{
    struct overlay_queue *q = &o->queues[n->partition];
    if (n->prev)
        se__overlay_at(o, n->prev)->next = n->next;
    else
        q->front = n->next;
    if (n->next)
        se__overlay_at(o, n->next)->prev = n->prev;
    else
        q->back = n->prev;
    n->next = n->prev = 0;
}

static bool queued(const struct overlay_node *n)
{
    return n->state == OVERLAY_HOME || n->state == OVERLAY_DRAINING;
}

static void leave_map(struct overlay *o, uint32_t node)
{
    struct overlay_node *n = se__overlay_at(o, node);
    if (queued(n))
        queue_remove(o, n);
    unlink_node(o, node);
}

static void make_gone(struct overlay *o, uint32_t node)
{
    struct overlay_node *n = se__overlay_at(o, node);
    leave_map(o, node);
    o->owed -= n->owed;
    n->owed = 0;
    set_state(o, n, OVERLAY_GONE);
    se__overlay_gone_back(o, node);
}

/* What `from` owed, and `more`, is reported with the confirmation of `to`. */
static void pass_owed(struct overlay *o, struct overlay_node *from, struct overlay_node *to,
                      uint32_t more)
{
    to->owed += from->owed + more;
    from->owed = 0;
    o->owed += more;
}

uint32_t se__overlay_add(struct overlay *o, const struct overlay_node *proto)
{
    uint32_t node = new_node(o);
    if (!node)
        return 0;
    struct overlay_node *n = se__overlay_at(o, node);
    *n = (struct overlay_node){.key = proto->key,
                               .seq = proto->seq,
                               .version = proto->version,
                               .bytes = proto->bytes,
                               .partition = proto->partition,
                               .dead_row = proto->dead_row,
                               .recovered = proto->recovered,
                               .state = OVERLAY_IN_FLIGHT};
    o->count[OVERLAY_IN_FLIGHT]++;
    o->bytes[OVERLAY_IN_FLIGHT] += n->bytes;
    link_node(o, node);
    return node;
}

void se__overlay_cancel(struct overlay *o, uint32_t node)
{
    assert(se__overlay_at(o, node)->state == OVERLAY_IN_FLIGHT);
    se__overlay_drop(o, node);
}

void se__overlay_drop(struct overlay *o, uint32_t node)
{
    leave_map(o, node);
    o->owed -= se__overlay_at(o, node)->owed;
    free_node(o, node);
}

/* ---- publishing ---- */

/* The record that makes the HOME record `node` needless: another of the same version, else the
 * newest that is newer and either sure to reach the home tier or kept for an operator. 0: none. */
static uint32_t better_than(const struct overlay *o, uint32_t node)
{
    const struct overlay_node *n = se__overlay_at(o, node);
    uint32_t best = 0;
    for (uint32_t i = *head(o, n->key); i; i = se__overlay_at(o, i)->chain) {
        const struct overlay_node *m = se__overlay_at(o, i);
        if (i == node || !same(m, n->key) || m->state == OVERLAY_IN_FLIGHT)
            continue;
        if (m->version == n->version)
            return i;
        if (m->version > n->version && m->state != OVERLAY_ACK &&
            (!best || m->version > se__overlay_at(o, best)->version))
            best = i;
    }
    return best;
}

/* Older ACK and HOME records are GONE: `node` is newer and on disk. Those being
 * drained end with their drain. */
static void replace_older(struct overlay *o, uint32_t node)
{
    struct overlay_node *n = se__overlay_at(o, node);
    uint32_t next;
    for (uint32_t i = *head(o, n->key); i; i = next) {
        struct overlay_node *m = se__overlay_at(o, i);
        next = m->chain;
        if (!same(m, n->key) || m->version >= n->version)
            continue;
        if (m->state == OVERLAY_ACK || m->state == OVERLAY_HOME) {
            pass_owed(o, m, n, m->state == OVERLAY_HOME);
            make_gone(o, i);
        }
    }
}

static void settle_home(struct overlay *o, uint32_t node)
{
    struct overlay_node *n = se__overlay_at(o, node);
    uint32_t better = better_than(o, node);
    if (better) {
        struct overlay_node *m = se__overlay_at(o, better);
        pass_owed(o, n, m, m->version > n->version);
        make_gone(o, node);
        if (m->state == OVERLAY_ACK)
            settle_home(o,
                        better); /* the same version: not again, there is one such record at most */
        return;
    }
    replace_older(o, node);
    set_state(o, n, OVERLAY_HOME);
    queue_push(o, node);
}

/* The dead letter takes the place of everything of its id up to its version. */
static void settle_dead(struct overlay *o, uint32_t node)
{
    struct overlay_node *n = se__overlay_at(o, node);
    uint32_t next;
    set_state(o, n, OVERLAY_DEAD);
    for (uint32_t i = *head(o, n->key); i; i = next) {
        struct overlay_node *m = se__overlay_at(o, i);
        next = m->chain;
        if (i == node || !same(m, n->key) || m->version > n->version ||
            m->state == OVERLAY_IN_FLIGHT)
            continue;
        pass_owed(o, m, n, m->state != OVERLAY_ACK && m->version < n->version);
        make_gone(o, i);
    }
}

void se__overlay_publish(struct overlay *o, uint32_t node, enum overlay_state as)
{
    struct overlay_node *n = se__overlay_at(o, node);
    assert(n->state == OVERLAY_IN_FLIGHT);
    if (n->doomed)
        make_gone(o, node);
    else if (as == OVERLAY_HOME)
        settle_home(o, node);
    else if (as == OVERLAY_DEAD)
        settle_dead(o, node);
    else
        set_state(o, n, OVERLAY_ACK);
}

void se__overlay_hand(struct overlay *o, struct overlay_key key, uint64_t version)
{
    uint32_t node = se__overlay_by_version(o, key, version);
    if (node && se__overlay_at(o, node)->state == OVERLAY_ACK)
        settle_home(o, node);
}

/* ---- looking ---- */

static bool visible(const struct overlay_node *n, struct overlay_key key)
{
    return same(n, key) && n->state != OVERLAY_IN_FLIGHT;
}

uint32_t se__overlay_newest(const struct overlay *o, struct overlay_key key)
{
    uint32_t newest = 0;
    for (uint32_t i = *head(o, key); i; i = se__overlay_at(o, i)->chain) {
        const struct overlay_node *n = se__overlay_at(o, i);
        if (visible(n, key) && (!newest || n->version > se__overlay_at(o, newest)->version))
            newest = i;
    }
    return newest;
}

uint32_t se__overlay_by_version(const struct overlay *o, struct overlay_key key, uint64_t version)
{
    for (uint32_t i = *head(o, key); i; i = se__overlay_at(o, i)->chain) {
        const struct overlay_node *n = se__overlay_at(o, i);
        if (visible(n, key) && n->version == version)
            return i;
    }
    return 0;
}

uint32_t se__overlay_by_seq(const struct overlay *o, struct overlay_key key, uint64_t seq)
{
    for (uint32_t i = *head(o, key); i; i = se__overlay_at(o, i)->chain) {
        const struct overlay_node *n = se__overlay_at(o, i);
        if (visible(n, key) && n->seq == seq)
            return i;
    }
    return 0;
}

bool se__overlay_in_flight(const struct overlay *o, struct overlay_key key, uint64_t version)
{
    for (uint32_t i = *head(o, key); i; i = se__overlay_at(o, i)->chain) {
        const struct overlay_node *n = se__overlay_at(o, i);
        if (same(n, key) && n->state == OVERLAY_IN_FLIGHT && n->version == version)
            return true;
    }
    return false;
}

uint32_t se__overlay_dead(const struct overlay *o, struct overlay_key key)
{
    for (uint32_t i = *head(o, key); i; i = se__overlay_at(o, i)->chain) {
        const struct overlay_node *n = se__overlay_at(o, i);
        if (same(n, key) && n->state == OVERLAY_DEAD)
            return i;
    }
    return 0;
}

void se__overlay_up_to(const struct overlay *o, struct overlay_key key, uint64_t version,
                       void (*visit)(void *arg, const struct overlay_node *node), void *arg)
{
    for (uint32_t i = *head(o, key); i; i = se__overlay_at(o, i)->chain) {
        const struct overlay_node *n = se__overlay_at(o, i);
        if (visible(n, key) && n->version <= version)
            visit(arg, n);
    }
}

uint32_t se__overlay_each_newest(const struct overlay *o, uint32_t *at)
{
    while (++*at < o->used) {
        const struct overlay_node *n = se__overlay_at(o, *at);
        if (n->state == OVERLAY_FREE || n->state == OVERLAY_GONE || n->state == OVERLAY_IN_FLIGHT)
            continue;
        if (se__overlay_newest(o, n->key) == *at)
            return *at;
    }
    return 0;
}

/* ---- leaving ---- */

static void confirm_one(struct overlay *o, uint32_t node, uint64_t version,
                        struct overlay_confirmed *confirmed)
{
    struct overlay_node *n = se__overlay_at(o, node);
    if (n->state == OVERLAY_IN_FLIGHT) {
        n->doomed = true;
        return;
    }
    confirmed->superseded += n->owed;
    confirmed->dead_gone |= n->state == OVERLAY_DEAD;
    if (queued(n) && n->version < version)
        confirmed->superseded++;
    if (queued(n) && n->version == version)
        confirmed->home++;
    make_gone(o, node);
}

void se__overlay_confirm(struct overlay *o, struct overlay_key key, uint64_t version,
                         struct overlay_confirmed *confirmed)
{
    uint32_t next;
    *confirmed = (struct overlay_confirmed){0};
    for (uint32_t i = *head(o, key); i; i = next) {
        struct overlay_node *n = se__overlay_at(o, i);
        next = n->chain;
        if (same(n, key) && n->version <= version)
            confirm_one(o, i, version, confirmed);
    }
}

void se__overlay_forget(struct overlay *o, struct overlay_key key, uint64_t version)
{
    uint32_t next;
    for (uint32_t i = *head(o, key); i; i = next) {
        struct overlay_node *n = se__overlay_at(o, i);
        next = n->chain;
        if (!same(n, key) || n->version != version)
            continue;
        if (n->state == OVERLAY_IN_FLIGHT)
            n->doomed = true;
        else if (n->state == OVERLAY_ACK)
            make_gone(o, i);
    }
}

void se__overlay_bury_undo(struct overlay *o, uint32_t dead, uint32_t heir)
{
    if (heir)
        pass_owed(o, se__overlay_at(o, dead), se__overlay_at(o, heir), 0);
    make_gone(o, dead);
}

/* ---- draining ---- */

static uint32_t newest_home(const struct overlay *o, struct overlay_key key)
{
    uint32_t newest = 0;
    for (uint32_t i = *head(o, key); i; i = se__overlay_at(o, i)->chain) {
        const struct overlay_node *n = se__overlay_at(o, i);
        if (same(n, key) && n->state == OVERLAY_HOME &&
            (!newest || n->version > se__overlay_at(o, newest)->version))
            newest = i;
    }
    return newest;
}

static void drain_id(struct overlay *o, struct overlay_key key)
{
    for (uint32_t i = *head(o, key); i; i = se__overlay_at(o, i)->chain) {
        struct overlay_node *n = se__overlay_at(o, i);
        if (same(n, key) && n->state == OVERLAY_HOME)
            set_state(o, n, OVERLAY_DRAINING);
    }
}

uint32_t se__overlay_drain_next(struct overlay *o, unsigned partition, uint32_t *cursor)
{
    uint32_t i = *cursor ? se__overlay_at(o, *cursor)->next : o->queues[partition].front;
    for (; i; i = se__overlay_at(o, i)->next) {
        struct overlay_node *n = se__overlay_at(o, i);
        *cursor = i;
        if (n->state != OVERLAY_HOME)
            continue;
        uint32_t newest = newest_home(o, n->key);
        drain_id(o, n->key);
        return newest;
    }
    return 0;
}

void se__overlay_drain_return(struct overlay *o, struct overlay_key key, uint64_t version)
{
    uint32_t next;
    for (uint32_t i = *head(o, key); i; i = next) {
        struct overlay_node *n = se__overlay_at(o, i);
        next = n->chain;
        if (!same(n, key) || n->version > version || n->state != OVERLAY_DRAINING)
            continue;
        set_state(o, n, OVERLAY_HOME);
        uint32_t better = better_than(o, i);
        if (better && se__overlay_at(o, better)->state != OVERLAY_ACK) {
            pass_owed(o, n, se__overlay_at(o, better),
                      se__overlay_at(o, better)->version > n->version);
            make_gone(o, i);
        }
    }
}

/* ---- rows to delete ---- */

void se__overlay_gone_back(struct overlay *o, uint32_t node)
{
    se__overlay_at(o, node)->next = 0;
    if (o->gone_back)
        se__overlay_at(o, o->gone_back)->next = node;
    else
        o->gone_front = node;
    o->gone_back = node;
}

uint32_t se__overlay_gone_take(struct overlay *o)
{
    uint32_t node = o->gone_front;
    if (!node)
        return 0;
    o->gone_front = se__overlay_at(o, node)->next;
    if (!o->gone_front)
        o->gone_back = 0;
    return node;
}

void se__overlay_gone_free(struct overlay *o, uint32_t node)
{
    assert(se__overlay_at(o, node)->state == OVERLAY_GONE);
    free_node(o, node);
}
