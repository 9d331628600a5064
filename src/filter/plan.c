/*
 * plan - see plan.h.
 */
#include "filter/plan.h"

#include "tier/retry.h"

#include <assert.h>

static_assert(FILTER_PARTS == 64, "a set of parts is a 64-bit word");

#define REMOVED_SHARE 10u /* removals that make it worth counting: a tenth of the ids */
#define LIVE_PERCENT 90u
#define ALL_PARTS UINT64_MAX
#define BUCKETS 65536u
#define BUCKETS_FIRST 64u     /* before anything is known */
#define PAGE_FILL_PERCENT 90u /* buckets are not all equal */

static struct plan rest(uint64_t wait_ms)
{
    return (struct plan){.task = WARM_REST,
                         .wait_ms = wait_ms < PLAN_LOOK_MS ? wait_ms : PLAN_LOOK_MS};
}

static struct plan rebuild(enum warm_task task, const struct plan_facts *f, uint64_t parts)
{
    return (struct plan){.task = task, .parts = f->strays ? ALL_PARTS : parts};
}

static bool is_worth_counting(const struct plan_facts *f, const struct plan_past *past)
{
    uint64_t removed = f->removals - past->removals_counted;
    return past->uncounted || (removed > 0 && removed >= f->ids / REMOVED_SHARE);
}

/* 0 for both: never. 0 for one: the other decides, and that something has changed at all. */
static bool is_save_due(const struct plan_facts *f, const struct plan_past *past, uint64_t now_ms)
{
    if (!f->saves || f->doubts || !f->changed || (f->interval_s == 0 && f->threshold == 0))
        return false;
    return now_ms >= past->save_again_ms &&
           now_ms - past->saved_at_ms >= f->interval_s * UINT64_C(1000) &&
           f->unsaved >= f->threshold;
}

struct plan se__plan(const struct plan_facts *f, const struct plan_past *past, uint64_t now_ms)
{
    if (!f->attached || (f->doubts & FILTER_FOREIGN))
        return rest(PLAN_LOOK_MS);
    if (now_ms < past->retry_at_ms)
        return rest(past->retry_at_ms - now_ms);
    if (f->restored)
        return (struct plan){.task = WARM_COMPARE};
    if (f->behind)
        return rebuild(WARM_SCAN, f, f->behind);
    if (f->due)
        return rebuild(WARM_GROW, f, f->due);
    if (f->dead)
        return rebuild(WARM_BURY, f, f->dead);
    if (is_worth_counting(f, past))
        return (struct plan){.task = WARM_COUNT};
    if (is_save_due(f, past, now_ms))
        return (struct plan){.task = WARM_SAVE};
    return rest(PLAN_LOOK_MS);
}

void se__plan_failed(struct plan_past *past, uint64_t now_ms, uint64_t random)
{
    uint32_t wait_ms = SE__RETRY_DAEMON.cap_ms;
    past->failures += past->failures < UINT32_MAX;
    if (!se__retry_next(&SE__RETRY_DAEMON, past->failures, random, now_ms, UINT64_MAX, &wait_ms))
        wait_ms = SE__RETRY_DAEMON.cap_ms;
    past->retry_at_ms = now_ms + wait_ms + 1; /* never at once */
}

void se__plan_done(struct plan_past *past)
{
    past->failures = 0;
    past->retry_at_ms = 0;
}

void se__plan_saved(struct plan_past *past, uint64_t now_ms, bool ok)
{
    past->saved_at_ms = now_ms;
    past->save_again_ms = ok ? 0 : now_ms + PLAN_SAVE_AGAIN_MS;
}

/* All parts that have some of the `n` buckets, which do not cross the end of one half way. */
static bool are_among(uint64_t parts, uint32_t bucket, uint32_t n)
{
    uint32_t part = bucket / FILTER_PART_BUCKETS, count = n / FILTER_PART_BUCKETS;
    uint64_t wanted = count >= FILTER_PARTS ? ALL_PARTS
                      : count > 0           ? ((UINT64_C(1) << count) - 1) << part
                                            : UINT64_C(1) << part;
    return (parts & wanted) == wanted;
}

static uint64_t buckets_of_a_page(uint64_t ids_read, uint32_t buckets_read, uint32_t page_ids)
{
    if (buckets_read == 0)
        return BUCKETS_FIRST;
    if (ids_read == 0)
        return BUCKETS;
    return (uint64_t)page_ids * PAGE_FILL_PERCENT / 100 * buckets_read / ids_read;
}

uint32_t se__plan_buckets(uint64_t parts, uint32_t bucket, uint64_t ids_read, uint32_t buckets_read,
                          uint32_t page_ids)
{
    uint64_t wanted = buckets_of_a_page(ids_read, buckets_read, page_ids);
    uint32_t n = 1;
    /* Aligned, so that a range ends with a part or within one. */
    while (2 * (uint64_t)n <= wanted && bucket % (2 * n) == 0 && are_among(parts, bucket, 2 * n))
        n *= 2;
    return n;
}

uint64_t se__plan_dead(const uint64_t used[FILTER_PARTS], const uint64_t live[FILTER_PARTS])
{
    uint64_t dead = 0;
    for (unsigned part = 0; part < FILTER_PARTS; part++) {
        /* Divided, not multiplied: no count overflows. */
        bool many =
            live[part] < used[part] / 100 * LIVE_PERCENT + used[part] % 100 * LIVE_PERCENT / 100;
        dead |= (uint64_t)many << part;
    }
    return dead;
}
