/*
 * leaves - see leaves.h.
 */
#include "verify/leaves.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/os.h"

#include <assert.h>

#define LEAVES_MIN 4u
#define LEAVES_FIRST 4096u

struct entry {
    uint64_t place; /* 16 bits of bucket, 48 of the hash */
    uint64_t rest;
    uint8_t leaf[SE_HASH_SIZE];
};
static_assert(sizeof(struct entry) == 32, "LEAVES_MAX of them are 64 MiB");

struct leaves {
    struct entry *list;
    size_t n, cap, max;
    uint64_t seed_place, seed_rest, random;
    uint64_t first; /* places below are done */
    uint64_t last;  /* and those above wait for the next pass */
};

se_result se__leaves_open(size_t leaves_max, struct leaves **leaves)
{
    struct leaves *l = se__alloc_zeroed(1, sizeof *l);
    if (!l)
        return se__error_nomem();
    l->max = leaves_max < LEAVES_MIN ? LEAVES_MIN : leaves_max;
    l->cap = l->max < LEAVES_FIRST ? l->max : LEAVES_FIRST;
    l->list = se__alloc(l->cap * sizeof *l->list);
    if (!l->list) {
        se__free(l);
        return se__error_nomem();
    }
    l->seed_place = se__random_u64();
    l->seed_rest = se__random_u64();
    l->random = se__random_u64() | 1;
    l->last = UINT64_MAX;
    *leaves = l;
    return SE_OK;
}

void se__leaves_close(struct leaves *l)
{
    if (!l)
        return;
    se__free(l->list);
    se__free(l);
}

/* ---- sorting ---- */

static int order(const struct entry *a, const struct entry *b)
{
    if (a->place != b->place)
        return a->place < b->place ? -1 : 1;
    return (a->rest > b->rest) - (a->rest < b->rest);
}

static void swap(struct entry *a, struct entry *b)
{
    struct entry t = *a;
    *a = *b;
    *b = t;
}

static uint64_t next_random(struct leaves *l)
{
    l->random ^= l->random << 13;
    l->random ^= l->random >> 7;
    l->random ^= l->random << 17;
    return l->random;
}

/* Quicksort in three parts, in place. */
static void sort(struct leaves *l, struct entry *e, size_t n)
{
    while (n > 1) {
        struct entry pivot = e[next_random(l) % n];
        size_t low = 0, high = n;
        for (size_t i = 0; i < high;) {
            int o = order(&e[i], &pivot);
            if (o < 0)
                swap(&e[low++], &e[i++]);
            else if (o > 0)
                swap(&e[i], &e[--high]);
            else
                i++;
        }
        bool left_smaller = low < n - high;
        if (left_smaller)
            sort(l, e, low);
        else
            sort(l, e + high, n - high);
        e += left_smaller ? high : 0;
        n = left_smaller ? n - high : low;
    }
}

static void unite_repeats(struct leaves *l)
{
    size_t kept = 0;
    sort(l, l->list, l->n);
    for (size_t i = 0; i < l->n; i++)
        if (kept == 0 || order(&l->list[kept - 1], &l->list[i]) != 0)
            l->list[kept++] = l->list[i];
    l->n = kept;
}

/* ---- filling ---- */

/* Where there is no memory for more, more passes do. */
static void grow(struct leaves *l)
{
    size_t cap = l->cap <= l->max / 2 ? l->cap * 2 : l->max;
    struct entry *list = se__realloc(l->list, cap * sizeof *list);
    if (list) {
        l->list = list;
        l->cap = cap;
    } else {
        l->max = l->cap;
    }
}

/* Drops the greater half, at a place: ids of one place are never parted. */
static void make_room(struct leaves *l)
{
    unite_repeats(l);
    if (l->n <= l->max / 2)
        return;
    size_t half = l->n / 2;
    while (half > 1 && l->list[half - 1].place == l->list[half].place)
        half--;
    l->last = l->list[half - 1].place;
    l->n = half;
}

void se__leaves_add(struct leaves *l, uint16_t bucket, const char *id, size_t id_len,
                    const uint8_t leaf[SE_HASH_SIZE])
{
    uint64_t place = (uint64_t)bucket << 48 | se__hash64(l->seed_place, id, id_len) >> 16;
    if (place < l->first || place > l->last)
        return;
    if (l->n == l->cap && l->cap < l->max)
        grow(l);
    if (l->n == l->max)
        make_room(l);
    if (place > l->last)
        return;
    struct entry *e = &l->list[l->n++];
    *e = (struct entry){.place = place, .rest = se__hash64(l->seed_rest, id, id_len)};
    memcpy(e->leaf, leaf, SE_HASH_SIZE);
}

bool se__leaves_drain(struct leaves *l,
                      void (*visit)(void *arg, uint16_t bucket, const uint8_t leaf[SE_HASH_SIZE]),
                      void *arg)
{
    unite_repeats(l);
    for (size_t i = 0; i < l->n; i++)
        visit(arg, (uint16_t)(l->list[i].place >> 48), l->list[i].leaf);
    bool more = l->last != UINT64_MAX;
    l->n = 0;
    l->first = l->last + 1;
    l->last = UINT64_MAX;
    return more;
}
