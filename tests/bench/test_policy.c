/*
 * Tests of bench/policy_*.c: small traces counted by hand, and what must hold on any trace.
 */
#include "support/test.h"

#include "../../bench/harness.h"
#include "../../bench/policy.h"

#include <string.h>

/* ---- traces ---- */

/* A letter a request. */
static size_t hits_of(policy_fn *policy, const char *letters, size_t capacity)
{
    uint64_t keys[256];
    struct trace t;
    size_t n = strlen(letters);
    for (size_t i = 0; i < n; i++)
        keys[i] = (unsigned char)letters[i];
    trace_make("letters", keys, n, &t);
    size_t hits = policy(&t, capacity);
    trace_free(&t);
    return hits;
}

/* A list of keys to which runs are added. */
struct keys {
    uint64_t at[20000];
    size_t n;
};

static void add(struct keys *k, uint64_t from, uint64_t to, unsigned times)
{
    for (uint64_t key = from; key < to; key++)
        for (unsigned i = 0; i < times; i++)
            k->at[k->n++] = key;
}

static size_t hits_in(policy_fn *policy, const struct keys *k, size_t capacity)
{
    struct trace t;
    trace_make("keys", k->at, k->n, &t);
    size_t hits = policy(&t, capacity);
    trace_free(&t);
    return hits;
}

/* Skewed requests with a loop and scans between: something for each policy to be bad at. */
static struct trace mixed(uint64_t seed, size_t n, uint64_t distinct)
{
    static uint64_t keys[20000];
    struct trace t;
    for (size_t i = 0; i < n; i++) {
        uint64_t r = bench_mix(seed * 1000003 + i), kind = r >> 60;
        uint64_t skewed = (r & 0xffff) * (r >> 16 & 0xffff) * distinct >> 32;
        keys[i] = kind < 10 ? skewed : kind < 14 ? i % (distinct / 2 + 1) : i % distinct;
    }
    trace_make("mixed", keys, n, &t);
    return t;
}

/* ---- by hand ---- */

Test(policy, lru_evicts_what_was_used_longest_ago)
{
    /* a b c full; a hit; d for b; b missed (for c); a hit; d hit */
    cr_assert_eq(hits_of(policy_lru, "abcadbad", 3), 3);
}

Test(policy, sieve_keeps_its_hand_where_it_was)
{
    /* a is hit; d: the hand clears a, takes b, stands at c; e takes c; a is hit; b takes d; c takes
     * e; d takes b; the hand has not met a again: a is hit. LRU has lost it. */
    cr_assert_eq(hits_of(policy_sieve, "abcadeabcda", 3), 3);
    cr_assert_eq(hits_of(policy_lru, "abcadeabcda", 3), 2);
}

Test(policy, s3fifo_passes_a_scan_through_the_small_queue)
{
    struct keys k = {.n = 0};
    add(&k, 0, 1, 3);  /* two hits: into main at its first eviction */
    add(&k, 1, 31, 1); /* a scan; main holds 0, small the last nine: 22 .. 30 */
    add(&k, 0, 1, 1);  /* a hit */
    cr_assert_eq(hits_in(policy_s3fifo, &k, 10), 3);
    cr_assert_eq(hits_in(policy_lru, &k, 10), 2);
}

Test(policy, s3fifo_takes_what_its_ghost_knows_into_main)
{
    struct keys k = {.n = 0};
    add(&k, 0, 31, 1);  /* small: 21 .. 30, ghost: 12 .. 20 */
    add(&k, 20, 21, 1); /* missed, into main */
    add(&k, 100, 121, 1);
    add(&k, 20, 21, 1); /* still there: a hit */
    cr_assert_eq(hits_in(policy_s3fifo, &k, 10), 1);
    k.n -= 23;
    add(&k, 5, 6, 1); /* the ghost has forgotten 5 */
    add(&k, 100, 121, 1);
    add(&k, 5, 6, 1);
    cr_assert_eq(hits_in(policy_s3fifo, &k, 10), 0);
}

Test(policy, s3fifo_promotes_only_what_was_hit_twice_and_clears_its_counter)
{
    struct keys once = {.n = 0}, twice = {.n = 0};
    add(&once, 0, 1, 2);
    add(&once, 1, 12, 1); /* 0 is evicted from the small queue: its one hit is not enough */
    add(&once, 0, 1, 1);
    cr_assert_eq(hits_in(policy_s3fifo, &once, 10), 1);
    /* 0 has three hits, nine more keys two each: all move on. Main has room for nine, and its oldest
     * is 0: it must go, as its counter was cleared like the others'. */
    add(&twice, 0, 1, 4);
    add(&twice, 1, 10, 3);
    add(&twice, 10, 11, 1);
    add(&twice, 0, 1, 1);
    cr_assert_eq(hits_in(policy_s3fifo, &twice, 10), 21);
}

Test(policy, arc_follows_its_paper)
{
    /* a a|T2  b, c: b to B1  b: p 1, a to B2  c hit  d: b to B2, a: p 0, d to B1  c hit  e: B2
     * loses b, a goes  c hit  f: B1 loses d, e goes  g: B1 loses e, f goes  c hit */
    cr_assert_eq(hits_of(policy_arc, "aabcbcdacecfgc", 2), 5);
    cr_assert_eq(hits_of(policy_lru, "aabcbcdacecfgc", 2), 4);
}

Test(policy, tinylfu_admits_only_the_more_frequent)
{
    struct keys k = {.n = 0};
    add(&k, 0, 100, 2);
    add(&k, 1000, 1200, 1); /* each seen once: none replaces what was seen twice */
    add(&k, 0, 90, 1);
    cr_assert_geq(hits_in(policy_tinylfu, &k, 100), 100 + 85); /* the sketch may err on a few */
    cr_assert_eq(hits_in(policy_lru, &k, 100), 100);
    k.n = 200;
    for (unsigned i = 0; i < 5; i++) {
        add(&k, 500, 501, 1); /* enters the window, and is pushed out of it by the next one: */
        add(&k, 1000 + i, 1001 + i, 1); /* the third time it is the more frequent */
    }
    cr_assert_eq(hits_in(policy_tinylfu, &k, 100), 100 + 2);
}

Test(policy, opt_evicts_what_comes_last)
{
    /* Belady's own example: page faults with 3 frames for this string are 9. */
    cr_assert_eq(hits_of(policy_opt, "70120304230321201701", 3), 20 - 9);
    cr_assert_eq(hits_of(policy_lru, "70120304230321201701", 3), 20 - 12);
}

/* ---- the ghost that learns ---- */

/* A loop of two and a half times the capacity: to hold on to a part of it is right, and only a ghost that
 * reaches back as far sees it; S3-FIFO's does not. */
Test(policy, s3learn_holds_a_part_of_a_long_loop)
{
    struct keys k = {.n = 0};
    for (unsigned round = 0; round < 30; round++)
        add(&k, 0, 250, 1);
    cr_assert_lt(hits_in(policy_s3fifo, &k, 100), k.n / 20);
    cr_assert_gt(hits_in(policy_s3learn, &k, 100), k.n / 10);
}

/* Between requests for a hot set stand keys that come twice, 200 misses apart, and never again: the
 * ghost would know them the second time, but to keep them is useless and costs the hot ones. */
Test(policy, s3learn_stops_trusting_what_comes_late_and_is_not_used)
{
    struct keys k = {.n = 0};
    for (uint64_t i = 0; i < 4000; i++) {
        for (uint64_t j = 0; j < 2; j++) {
            uint64_t hot = bench_mix(2 * i + j) % 80;
            add(&k, hot, hot + 1, 1);
        }
        add(&k, 1000 + i, 1001 + i, 1);
        if (i >= 100)
            add(&k, 900 + i, 901 + i, 1);
    }
    cr_assert_gt(hits_in(policy_s3learn, &k, 100), hits_in(policy_s3fifo, &k, 100) * 98 / 100);
}

/* ---- on any trace ---- */

/* The most hits that any choice of victims reaches. */
static size_t best_of_all(const struct trace *t, size_t at, unsigned cached, size_t capacity)
{
    while (at < t->n && cached >> t->keys[at] & 1)
        return 1 + best_of_all(t, at + 1, cached, capacity);
    if (at == t->n)
        return 0;
    unsigned with = cached | 1u << t->keys[at];
    if ((size_t)__builtin_popcount(cached) < capacity)
        return best_of_all(t, at + 1, with, capacity);
    size_t best = 0;
    for (unsigned key = 0; key < t->distinct; key++) {
        if (!(cached >> key & 1))
            continue;
        size_t hits = best_of_all(t, at + 1, with & ~(1u << key), capacity);
        best = hits > best ? hits : best;
    }
    return best;
}

Test(policy, opt_is_the_best_of_all_choices)
{
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct trace t = mixed(seed, 14, 6);
        for (size_t capacity = 1; capacity <= 4; capacity++)
            cr_assert_eq(policy_opt(&t, capacity), best_of_all(&t, 0, 0, capacity), "seed %d",
                         (int)seed);
        trace_free(&t);
    }
}

Test(policy, none_beats_opt)
{
    static const size_t capacities[] = {1, 2, 3, 7, 20, 64, 150};
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct trace t = mixed(seed, 3000, 200 + 20 * seed);
        for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++)
            for (int p = 0; p < POLICIES; p++)
                cr_assert_leq(policies[p].hits(&t, capacities[c]), policy_opt(&t, capacities[c]),
                              "%s, seed %d", policies[p].name, (int)seed);
        trace_free(&t);
    }
}

/* How many other keys were asked for since the key was: at most capacity - 1 means a hit. */
static size_t hits_by_distance(const struct trace *t, size_t capacity)
{
    size_t hits = 0;
    for (size_t i = 0; i < t->n; i++) {
        bool seen[1000] = {false};
        size_t others = 0, at = i;
        while (at-- > 0 && t->keys[at] != t->keys[i]) {
            others += !seen[t->keys[at]];
            seen[t->keys[at]] = true;
        }
        hits += at != SIZE_MAX && others < capacity;
    }
    return hits;
}

Test(policy, lru_has_the_stack_property)
{
    struct trace t = mixed(7, 3000, 300);
    size_t before = 0;
    for (size_t capacity = 1; capacity <= 256; capacity *= 2) {
        size_t hits = policy_lru(&t, capacity);
        cr_assert_eq(hits, hits_by_distance(&t, capacity));
        cr_assert_geq(hits, before);
        before = hits;
    }
    trace_free(&t);
}

Test(policy, all_hit_whatever_came_before_where_there_is_room_for_all)
{
    struct trace t = mixed(3, 3000, 250);
    for (int p = 0; p < POLICIES; p++) {
        cr_assert_eq(policies[p].hits(&t, t.distinct), t.n - t.distinct, "%s", policies[p].name);
        cr_assert_eq(policies[p].hits(&t, 10 * t.distinct), t.n - t.distinct);
    }
    trace_free(&t);
}

Test(policy, one_item_is_hit_only_by_its_repetition)
{
    for (int p = 0; p < POLICIES; p++)
        cr_assert_leq(hits_of(policies[p].hits, "aabbbabababccc", 1), 5, "%s", policies[p].name);
    cr_assert_eq(hits_of(policy_lru, "aabbbabababccc", 1), 5);
}
