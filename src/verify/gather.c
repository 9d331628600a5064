/*
 * gather - see gather.h.
 *
 * Sorting is a multikey quicksort on eight bytes of the ids at a time (Bentley and Sedgewick, "Fast
 * Algorithms for Sorting and Searching Strings", 1997), which each entry caches: ids with a long
 * common beginning then cost one visit of their bytes per eight, not one per comparison. Pivots are
 * drawn at random: ids may be chosen by an attacker. It sorts in place, as qsort does not.
 */
#include "verify/gather.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/os.h"

#include <assert.h>

#define WINDOW 8u
#define INSERTION_MAX 12u
#define SIZE_FIRST (256u << 10)

struct entry {
    uint64_t key;     /* while sorting: WINDOW bytes of the id, big-endian, zeros behind its end */
    uint64_t version; /* 0 where the header is not believed */
    uint32_t id_at;   /* into the block */
    uint8_t id_len;
    uint8_t kind : 4;
    uint8_t header_fits : 1;
    uint8_t route;
    uint8_t content_log;
    uint8_t record_hash[SE_HASH_SIZE];
};
static_assert(sizeof(struct entry) == 40, "an id costs 40 bytes and itself");

struct gather {
    char *block;
    size_t size, size_max; /* the block's, and how far it grows */
    struct entry *entries; /* the block's beginning */
    size_t n;
    size_t ids_at; /* where the ids begin */
    uint64_t random;
    size_t after_len, until_len; /* until_len 0: no end */
    char after[SE_ID_MAX + 1], until[SE_ID_MAX + 1];
};

se_result se__gather_open(size_t memory_max, struct gather **gather)
{
    struct gather *g = se__alloc_zeroed(1, sizeof *g);
    if (!g)
        return se__error_nomem();
    g->size_max = memory_max < GATHER_MEMORY_MIN ? GATHER_MEMORY_MIN : memory_max;
    if (g->size_max > UINT32_MAX)
        g->size_max = UINT32_MAX;
    g->size = g->size_max < SIZE_FIRST ? g->size_max : SIZE_FIRST;
    g->block = se__alloc(g->size);
    if (!g->block) {
        se__free(g);
        return se__error_nomem();
    }
    g->entries = (struct entry *)(void *)g->block;
    g->random = se__random_u64() | 1;
    se__gather_begin(g, "");
    *gather = g;
    return SE_OK;
}

void se__gather_close(struct gather *g)
{
    if (!g)
        return;
    se__free(g->block);
    se__free(g);
}

void se__gather_begin(struct gather *g, const char *after)
{
    g->n = 0;
    g->ids_at = g->size;
    g->after_len = strnlen(after, SE_ID_MAX);
    memcpy(g->after, after, g->after_len);
    g->after[g->after_len] = '\0';
    g->until_len = 0;
    g->until[0] = '\0';
}

const char *se__gather_until(const struct gather *g)
{
    return g->until;
}

size_t se__gather_n(const struct gather *g)
{
    return g->n;
}

int se__id_order(const void *a, size_t a_len, const void *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    if (order != 0)
        return order;
    return (a_len > b_len) - (a_len < b_len);
}

static const char *id_of(const struct gather *g, const struct entry *e)
{
    return g->block + e->id_at;
}

static int by_id(const struct gather *g, const struct entry *a, const struct entry *b)
{
    return se__id_order(id_of(g, a), a->id_len, id_of(g, b), b->id_len);
}

static void swap(struct entry *a, struct entry *b)
{
    struct entry t = *a;
    *a = *b;
    *b = t;
}

/* ---- sorting ---- */

/* xorshift64 (Marsaglia, 2003): only has to be unknown to whoever chose the ids. */
static uint64_t next_random(struct gather *g)
{
    g->random ^= g->random << 13;
    g->random ^= g->random >> 7;
    g->random ^= g->random << 17;
    return g->random;
}

static uint64_t key_at(const struct gather *g, const struct entry *e, unsigned depth)
{
    uint8_t bytes[WINDOW] = {0};
    if (e->id_len > depth) {
        unsigned left = e->id_len - depth;
        memcpy(bytes, id_of(g, e) + depth, left < WINDOW ? left : WINDOW);
    }
    return se__get_u64(bytes);
}

static void insertion_sort(const struct gather *g, struct entry *e, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0 && by_id(g, &e[k - 1], &e[k]) > 0; k--)
            swap(&e[k - 1], &e[k]);
}

/* Three parts by `key`: *below and *above are the bounds of the middle one. */
static void partition(struct entry *e, size_t n, uint64_t pivot, size_t *below, size_t *above)
{
    size_t low = 0, high = n;
    for (size_t i = 0; i < high;) {
        if (e[i].key < pivot)
            swap(&e[low++], &e[i++]);
        else if (e[i].key > pivot)
            swap(&e[i], &e[--high]);
        else
            i++;
    }
    *below = low;
    *above = high;
}

static void sort_by_id(struct gather *g, struct entry *e, size_t n, unsigned depth, bool loaded)
{
    size_t low, high;
    while (n > INSERTION_MAX) {
        for (size_t i = 0; !loaded && i < n; i++)
            e[i].key = key_at(g, &e[i], depth);
        uint64_t pivot = e[next_random(g) % n].key;
        partition(e, n, pivot, &low, &high);
        /* no id has a NUL in it: where the window ends in one, these ids have ended, all the same */
        if ((pivot & 0xff) != 0)
            sort_by_id(g, e + low, high - low, depth + WINDOW, false);
        bool left_smaller = low < n - high;
        loaded = true;
        if (left_smaller)
            sort_by_id(g, e, low, depth, true);
        else
            sort_by_id(g, e + high, n - high, depth, true);
        e += left_smaller ? high : 0;
        n = left_smaller ? n - high : low;
    }
    insertion_sort(g, e, n);
}

/* By where the id lies: `key` is that, and no two are the same. */
static void sort_by_place(struct gather *g, struct entry *e, size_t n)
{
    size_t low, high;
    while (n > 1) {
        partition(e, n, e[next_random(g) % n].key, &low, &high);
        bool left_smaller = low < n - high;
        if (left_smaller)
            sort_by_place(g, e, low);
        else
            sort_by_place(g, e + high, n - high);
        e += left_smaller ? high : 0;
        n = left_smaller ? n - high : low;
    }
}

/* Of one id, seen twice while it was written, the newer is nearer to the truth. */
static void unite_repeats(struct gather *g)
{
    size_t kept = 0;
    for (size_t i = 0; i < g->n; i++) {
        if (kept > 0 && by_id(g, &g->entries[kept - 1], &g->entries[i]) == 0) {
            if (g->entries[i].version > g->entries[kept - 1].version)
                g->entries[kept - 1] = g->entries[i];
        } else {
            g->entries[kept++] = g->entries[i];
        }
    }
    g->n = kept;
}

void se__gather_seal(struct gather *g)
{
    sort_by_id(g, g->entries, g->n, 0, false);
    unite_repeats(g);
}

/* ---- when it is full ---- */

/* Moves the ids that are left together at the block's top, the topmost first. */
static void close_ranks(struct gather *g)
{
    for (size_t i = 0; i < g->n; i++)
        g->entries[i].key = g->entries[i].id_at;
    sort_by_place(g, g->entries, g->n);
    g->ids_at = g->size;
    for (size_t i = g->n; i > 0; i--) {
        struct entry *e = &g->entries[i - 1];
        g->ids_at -= e->id_len;
        memmove(g->block + g->ids_at, id_of(g, e), e->id_len);
        e->id_at = (uint32_t)g->ids_at;
    }
}

static size_t bytes_used(const struct gather *g)
{
    size_t bytes = g->n * sizeof *g->entries;
    for (size_t i = 0; i < g->n; i++)
        bytes += g->entries[i].id_len;
    return bytes;
}

static void end_at_last(struct gather *g)
{
    const struct entry *last = &g->entries[g->n - 1];
    g->until_len = last->id_len;
    memcpy(g->until, id_of(g, last), last->id_len);
    g->until[last->id_len] = '\0';
}

/* The ids stay at the block's top. False: it is as large as it may be, or there is no memory. */
static bool grow(struct gather *g)
{
    size_t size = g->size <= g->size_max / 2 ? g->size * 2 : g->size_max, ids = g->size - g->ids_at;
    char *block = g->size < g->size_max ? se__realloc(g->block, size) : NULL;
    if (!block)
        return false;
    memmove(block + size - ids, block + g->ids_at, ids);
    g->block = block;
    g->entries = (struct entry *)(void *)block;
    for (size_t i = 0; i < g->n; i++)
        g->entries[i].id_at += (uint32_t)(size - g->size);
    g->size = size;
    g->ids_at = size - ids;
    return true;
}

static void make_room(struct gather *g)
{
    se__gather_seal(g);
    if (bytes_used(g) > g->size / 4 * 3) {
        g->n -= (g->n + 3) / 4;
        end_at_last(g);
    }
    close_ranks(g);
}

static bool in_range(const struct gather *g, const char *id, size_t id_len)
{
    return se__id_order(id, id_len, g->after, g->after_len) > 0 &&
           (g->until_len == 0 || se__id_order(id, id_len, g->until, g->until_len) <= 0);
}

static bool has_room(const struct gather *g, size_t id_len)
{
    return g->ids_at - g->n * sizeof *g->entries >= sizeof *g->entries + id_len;
}

static uint8_t log_of(size_t bytes)
{
    return bytes == 0 ? 0 : (uint8_t)(64 - __builtin_clzll(bytes));
}

void se__gather_add(struct gather *g, const char *id, size_t id_len, const struct copy *copy,
                    size_t content_len)
{
    assert(id_len > 0 && id_len <= SE_ID_MAX);
    if (copy->kind == COPY_NONE || copy->kind == COPY_MARK || !in_range(g, id, id_len))
        return;
    while (!has_room(g, id_len) && grow(g))
        ;
    if (!has_room(g, id_len)) {
        make_room(g);
        if (!in_range(g, id, id_len))
            return;
        assert(has_room(g, id_len)); /* the block holds several of the longest ids */
    }
    g->ids_at -= id_len;
    memcpy(g->block + g->ids_at, id, id_len);
    struct entry *e = &g->entries[g->n++];
    *e = (struct entry){.version = copy->version,
                        .id_at = (uint32_t)g->ids_at,
                        .id_len = (uint8_t)id_len,
                        .kind = (uint8_t)(copy->kind & 0xf),
                        .header_fits = copy->header_fits,
                        .route = copy->route,
                        .content_log = log_of(content_len)};
    memcpy(e->record_hash, copy->record_hash, SE_HASH_SIZE);
}

void se__gather_at(const struct gather *g, size_t at, struct gathered *out)
{
    assert(at < g->n);
    const struct entry *e = &g->entries[at];
    *out = (struct gathered){.id = id_of(g, e),
                             .id_len = e->id_len,
                             .copy = {.kind = e->kind,
                                      .version = e->version,
                                      .route = e->route,
                                      .header_fits = e->header_fits},
                             .content_len = e->content_log ? (size_t)1 << e->content_log : 0};
    memcpy(out->copy.record_hash, e->record_hash, SE_HASH_SIZE);
}
