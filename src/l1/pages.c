/*
 * pages - huge pages under the items: a lookup waits for its item's line and, with pages of 4 KiB, for
 * the page tables that lead there, a quarter of its time in a large map.
 *
 * The allocator knows nothing of it. Whenever the map has grown, a walk over the words
 * counts how many items lie in which 2 MiB of the address space, and the kernel is asked to put those
 * that are mostly items on one page each. What is sparse stays as it is, so the process grows by no
 * more than the holes in dense blocks. All this is done in slices by se__l1_tend's caller; what fails
 * (no free huge page, an old kernel, memory that is not mapped throughout) stays as it was.
 *
 * Memory: the counts, only while they are needed, in the map's account.
 */
#include "l1/stripe.h"

#include "base/mem.h"

#define GROWN_MIN (16u << 20)  /* bytes; smaller maps live in the processor's caches anyway */
#define SLOTS_PER_TEND 131072u /* looked at by one se__l1_tend */
#define SLOTS_PER_LOCK 2048u
#define MAKE_MS 5u             /* spent on making pages by one se__l1_tend */
#define ITEM_TYPICAL_MAX 4096u /* a mean size above it says nothing about how full a block is */
#define DENSE_SHARE 2u         /* at least the half of a block */

struct block {
    uintptr_t number; /* address / SE__HUGE_PAGE; 0: none */
    size_t items;
};

/* ---- counting ---- */

static size_t blocks_cost(size_t cap)
{
    return se__alloc_cost(cap * sizeof(struct block));
}

static void forget(struct l1 *map, struct pages *p)
{
    se__free(p->blocks);
    se__l1_unreserve(map, blocks_cost(p->cap));
    p->blocks = NULL;
}

/* Room for four times the blocks that the bytes would fill. */
static void begin(struct l1 *map, struct pages *p, size_t used)
{
    size_t cap = 64;
    while (cap < used / SE__HUGE_PAGE * 4)
        cap *= 2;
    size_t cost = blocks_cost(cap), got = se__l1_reserve_some(map, cost);
    p->seen = used;
    p->blocks = got == cost ? se__alloc_zeroed(cap, sizeof(struct block)) : NULL;
    if (!p->blocks) {
        se__l1_unreserve(map, got);
        return;
    }
    p->cap = cap;
    p->n = p->items = p->at = 0;
    p->stripe = 0;
    p->slot = 0;
}

static void count(struct pages *p, const se_item *item)
{
    uintptr_t number = (uintptr_t)item / SE__HUGE_PAGE;
    size_t i = number & (p->cap - 1);
    while (p->blocks[i].number != 0 && p->blocks[i].number != number)
        i = (i + 1) & (p->cap - 1);
    p->items++;
    if (p->blocks[i].number == 0) {
        if (p->n == p->cap / 4 * 3)
            return; /* so scattered that there will be little to gain */
        p->n++;
        p->blocks[i].number = number;
    }
    p->blocks[i].items++;
}

/* One lock's worth. */
static uint32_t count_some(struct l1 *map, struct pages *p)
{
    struct stripe *s = &map->stripes[p->stripe];
    struct entry e;
    se__mutex_lock(&s->lock);
    uint32_t slots = se__table_slots(se__stripe_table(s)), from = p->slot;
    uint32_t to = from + SLOTS_PER_LOCK < slots ? from + SLOTS_PER_LOCK : slots;
    for (uint32_t slot = from; slot < to; slot++)
        if (se__stripe_at(s, slot, &e))
            count(p, e.item);
    se__mutex_unlock(&s->lock);
    p->slot = to;
    if (to >= slots) { /* the table may have become a smaller one */
        p->slot = 0;
        p->stripe++;
    }
    return to > from ? to - from : 1;
}

static bool counted(struct l1 *map, struct pages *p)
{
    for (uint32_t done = 0; p->stripe <= map->stripe_mask && done < SLOTS_PER_TEND;)
        done += count_some(map, p);
    return p->stripe > map->stripe_mask;
}

/* ---- making ---- */

static bool is_dense(const struct l1 *map, const struct pages *p, const struct block *b)
{
    size_t mean = (p->seen - map->fixed_bytes) / (p->items ? p->items : 1);
    if (mean > ITEM_TYPICAL_MAX)
        mean = ITEM_TYPICAL_MAX;
    return b->number != 0 && b->items * mean >= SE__HUGE_PAGE / DENSE_SHARE;
}

static void make_some(struct l1 *map, struct pages *p)
{
    uint64_t until = se__mono_ms() + MAKE_MS;
    for (; p->at < p->cap && se__mono_ms() < until; p->at++)
        if (is_dense(map, p, &p->blocks[p->at]))
            (void)se__huge_page_make(p->blocks[p->at].number * SE__HUGE_PAGE);
}

static bool has_grown(struct pages *p, size_t used)
{
    if (used < p->seen)
        p->seen = used;
    size_t grown = used - p->seen;
    return grown >= GROWN_MIN && grown >= p->seen / 64;
}

void se__l1_pages_tend(struct l1 *map)
{
    struct pages *p = &map->pages;
    if (!p->wanted)
        return;
    size_t used = se__l1_used(map);
    bool grows = used > p->last + used / 256;
    p->last = used;
    if (grows) /* while a page is made, who touches it waits */
        return;
    if (!p->blocks && has_grown(p, used))
        begin(map, p, used); /* and at the next call: */
    else if (p->blocks && counted(map, p))
        make_some(map, p);
    if (p->blocks && p->at == p->cap)
        forget(map, p);
}

void se__l1_pages_close(struct l1 *map)
{
    se__free(map->pages.blocks);
}
