/*
 * suspects.c - an open-addressed table of (hash, version, number), linear probing, deletion by
 * shifting back.
 *
 * When it is full everything becomes a suspect and the table starts again empty, so that what fails
 * between the mark and the clearing is still known by id afterwards. Grows by doubling from 64
 * slots; a table that cannot grow overflows.
 *
 * A hash that happens to be the slots' empty mark (0) is stored as 1: two ids may share a hash
 * anyway.
 */
#include "flush/suspects.h"

#include "base/mem.h"

#include <stdatomic.h>

enum { SLOTS_MIN = 64 };

struct suspect {
    uint64_t hash; /* 0: empty */
    uint64_t version;
    uint64_t number;
};

struct suspects {
    struct se__mutex lock; /* guards all below; leaf */
    struct suspect *slots;
    size_t slots_n; /* a power of two */
    size_t n, max;
    uint64_t noted;         /* number of the last note */
    uint64_t overflowed_at; /* number of the note that found no room; 0: none */
    _Atomic bool any;       /* n > 0 or overflowed: what se__suspects_has looks at first */
};

se_result se__suspects_open(size_t max, struct suspects **suspects)
{
    struct suspects *s = se__alloc_zeroed(1, sizeof *s);
    if (!s)
        return se__error_nomem();
    s->slots = se__alloc_zeroed(SLOTS_MIN, sizeof *s->slots);
    if (!s->slots) {
        se__free(s);
        return se__error_nomem();
    }
    s->slots_n = SLOTS_MIN;
    s->max = max;
    se__mutex_init(&s->lock);
    *suspects = s;
    return SE_OK;
}

void se__suspects_close(struct suspects *s)
{
    if (!s)
        return;
    se__mutex_done(&s->lock);
    se__free(s->slots);
    se__free(s);
}

static uint64_t as_key(uint64_t hash)
{
    return hash ? hash : 1;
}

/* The slot of the key, or the empty one where it would go. */
static struct suspect *slot_of(struct suspect *slots, size_t slots_n, uint64_t key)
{
    size_t at = key & (slots_n - 1);
    while (slots[at].hash && slots[at].hash != key)
        at = (at + 1) & (slots_n - 1);
    return &slots[at];
}

/* release: the note is in the table before a reader can see that there is one;
 * pairs with the acquire in has(). */
static void publish_locked(struct suspects *s)
{
    atomic_store_explicit(&s->any, s->n > 0 || s->overflowed_at != 0, memory_order_release);
}

static bool grow_locked(struct suspects *s)
{
    if ((s->n + 1) * 4 <= s->slots_n * 3)
        return true;
    struct suspect *bigger = se__alloc_zeroed(s->slots_n * 2, sizeof *bigger);
    if (!bigger)
        return false;
    for (size_t i = 0; i < s->slots_n; i++) {
        if (s->slots[i].hash)
            *slot_of(bigger, s->slots_n * 2, s->slots[i].hash) = s->slots[i];
    }
    se__free(s->slots);
    s->slots = bigger;
    s->slots_n *= 2;
    return true;
}

static void overflow_locked(struct suspects *s)
{
    for (size_t i = 0; i < s->slots_n; i++)
        s->slots[i] = (struct suspect){0};
    s->n = 0;
    s->overflowed_at = s->noted;
}

void se__suspects_add(struct suspects *s, uint64_t hash, uint64_t version)
{
    uint64_t key = as_key(hash);
    se__mutex_lock(&s->lock);
    s->noted++;
    struct suspect *slot = slot_of(s->slots, s->slots_n, key);
    if (slot->hash) {
        slot->version = version > slot->version ? version : slot->version;
        slot->number = s->noted;
    } else if (s->n >= s->max || !grow_locked(s)) {
        overflow_locked(s);
    } else {
        *slot_of(s->slots, s->slots_n, key) =
            (struct suspect){.hash = key, .version = version, .number = s->noted};
        s->n++;
    }
    publish_locked(s);
    se__mutex_unlock(&s->lock);
}

/* Closes the gap: every following member of the run moves back unless that would
 * put it before its own place. */
static void empty_locked(struct suspects *s, struct suspect *slot)
{
    size_t mask = s->slots_n - 1, hole = (size_t)(slot - s->slots);
    for (size_t at = (hole + 1) & mask; s->slots[at].hash; at = (at + 1) & mask) {
        size_t home = s->slots[at].hash & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            s->slots[hole] = s->slots[at];
            hole = at;
        }
    }
    s->slots[hole] = (struct suspect){0};
    s->n--;
}

void se__suspects_remove(struct suspects *s, uint64_t hash, uint64_t version)
{
    /* acquire: pairs with publish_locked(). A note that is not seen here was made
     * beside this call, not before it. */
    if (!atomic_load_explicit(&s->any, memory_order_acquire))
        return;
    se__mutex_lock(&s->lock);
    struct suspect *slot = slot_of(s->slots, s->slots_n, as_key(hash));
    if (slot->hash && slot->version <= version)
        empty_locked(s, slot);
    publish_locked(s);
    se__mutex_unlock(&s->lock);
}

bool se__suspects_has(struct suspects *s, uint64_t hash)
{
    /* acquire: pairs with publish_locked(). */
    if (!atomic_load_explicit(&s->any, memory_order_acquire))
        return false;
    se__mutex_lock(&s->lock);
    bool has = s->overflowed_at || slot_of(s->slots, s->slots_n, as_key(hash))->hash;
    se__mutex_unlock(&s->lock);
    return has;
}

bool se__suspects_overflowed(struct suspects *s)
{
    se__mutex_lock(&s->lock);
    bool overflowed = s->overflowed_at != 0;
    se__mutex_unlock(&s->lock);
    return overflowed;
}

size_t se__suspects_count(struct suspects *s)
{
    se__mutex_lock(&s->lock);
    size_t n = s->overflowed_at ? s->max : s->n;
    se__mutex_unlock(&s->lock);
    return n;
}

uint64_t se__suspects_mark(struct suspects *s)
{
    se__mutex_lock(&s->lock);
    uint64_t mark = s->noted;
    se__mutex_unlock(&s->lock);
    return mark;
}

void se__suspects_clear(struct suspects *s, uint64_t mark)
{
    se__mutex_lock(&s->lock);
    if (s->overflowed_at <= mark)
        s->overflowed_at = 0;
    for (size_t i = 0; i < s->slots_n;) {
        if (s->slots[i].hash && s->slots[i].number <= mark)
            empty_locked(s, &s->slots[i]); /* another may have moved here: look again */
        else
            i++;
    }
    publish_locked(s);
    se__mutex_unlock(&s->lock);
}
