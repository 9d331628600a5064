/*
 * Tests of src/l1/table.c: places in a table, what a lookup may skip, the queues, moving.
 */
#include "map_fixture.h"

#include <string.h>

#define WORD(n) ((uintptr_t)(n) << 4) /* as items are aligned */

static struct table *t;

static void open_table(uint32_t buckets)
{
    t = se__table_new(buckets);
    cr_assert_not_null(t);
}

static void close_table(void)
{
    se__free(t->memory);
}

/* A hash whose entry belongs into this bucket. */
static uint64_t hash_in(uint32_t bucket, uint64_t tag)
{
    uint64_t low = (((uint64_t)bucket << 32) + UINT32_MAX / 2) / t->buckets;
    cr_assert_eq(se__bucket_of(t->buckets, low), bucket);
    return tag << 32 | low;
}

static unsigned passed(uint32_t bucket)
{
    return atomic_load(&t->heads[bucket].passed);
}

/* The lowest bit is always right; se__table_match_two_swar may have others too many. */
static void check_two(const struct bucket_head *h, const uint8_t tags[16], uint8_t tag)
{
    uint64_t want = 0;
    for (unsigned i = 0; i < 16; i++)
        want |= (uint64_t)(tags[i] == tag) << i;
    uint64_t swar = se__table_match_two_swar(h, tag), two = se__table_match_two(h, tag);
    cr_assert_eq(swar & want, want);
    cr_assert_eq(two & want, want);
    cr_assert_eq(swar & -swar & 0xff, want & -want & 0xff);
    cr_assert(two < 0x10000 && swar < 0x10000);
}

Test(table, two_buckets_are_looked_at_as_one)
{
    struct bucket_head heads[2];
    uint64_t state = 7;
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t tags[16];
        for (unsigned i = 0; i < 16; i++) {
            state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
            tags[i] = (uint8_t)(state >> 60); /* few, so that they meet */
        }
        uint64_t words[2];
        memcpy(words, tags, sizeof words);
        for (unsigned i = 0; i < 2; i++)
            atomic_store(&heads[i].tags, words[i]);
        check_two(heads, tags, (uint8_t)(1 + round % 15));
    }
}

Test(table, a_tag_that_is_there_is_always_found)
{
    for (uint64_t a = 0; a < 256; a++) {
        for (unsigned at = 0; at < 8; at++) {
            uint64_t tags = UINT64_C(0x0180ff7f00fe02) ^ a << at * 8;
            uint64_t match = se__table_match(tags, (uint8_t)(tags >> at * 8));
            cr_assert(match >> (at * 8 + 7) & 1);
            unsigned first = se__table_first(match);
            cr_assert_eq((uint8_t)(tags >> first * 8), (uint8_t)(tags >> at * 8),
                         "the lowest match is a true one");
        }
    }
}

Test(table, an_entry_that_finds_its_bucket_full_lies_behind_it_and_is_not_forgotten)
{
    uint32_t slots[20];
    open_table(4);
    for (unsigned i = 0; i < 20; i++)
        slots[i] = se__table_insert(t, hash_in(3, i), WORD(i + 1));
    for (unsigned i = 0; i < 20; i++) {
        cr_assert_eq(slots[i] / BUCKET_SLOTS,
                     i < 8    ? 3
                     : i < 16 ? 0
                              : 1,
                     "the next, round the end");
        cr_assert_eq(atomic_load(se__table_word(t, slots[i])), WORD(i + 1));
    }
    cr_assert(passed(3) == 12 && passed(0) == 4 && passed(1) == 0);
    se__table_erase(t, hash_in(3, 19), slots[19]);
    cr_assert(passed(3) == 11 && passed(0) == 3);
    for (unsigned i = 8; i < 19; i++)
        se__table_erase(t, hash_in(3, i), slots[i]);
    cr_assert(passed(3) == 0 && passed(0) == 0, "a lookup stops at the first bucket again");
    cr_assert_eq(t->used, 8);
    close_table();
}

/* Where a walk comes by, bit a slot; it ends at the latest when it has been everywhere. */
static uint64_t walked(uint64_t hash)
{
    uint64_t seen = 0;
    unsigned steps = 0;
    struct table_walk w = se__table_walk(t, hash);
    do {
        uint64_t match = se__table_walk_match(&w);
        seen |= match << w.bucket * BUCKET_SLOTS;
        cr_assert_leq(++steps, t->buckets);
    } while (se__table_walk_on(&w));
    return seen;
}

Test(table, a_walk_from_any_bucket_finds_all_that_lie_behind_it_and_ends)
{
    for (uint32_t buckets = 1; buckets <= 7; buckets++) {
        for (uint32_t home = 0; home < buckets; home++) {
            open_table(buckets);
            uint64_t hash = hash_in(home, 7), all = 0;
            cr_assert_eq(walked(hash), 0);
            for (unsigned i = 0; i < buckets * BUCKET_SLOTS; i++) {
                all |= UINT64_C(1) << se__table_insert(t, hash, WORD(i + 1));
                cr_assert_eq(walked(hash) & all, all, "%u of %u, home %u", i, buckets, home);
            }
            close_table();
        }
    }
}

Test(table, a_walk_ends_where_nothing_went_past)
{
    open_table(7);
    for (uint32_t bucket = 0; bucket < 7; bucket++)
        for (unsigned i = 0; bucket != 4 && i < BUCKET_SLOTS + (bucket == 1); i++)
            se__table_insert(t, hash_in(bucket, 7), WORD(i + 1));
    for (uint32_t from = 0; from < 7; from++) {
        struct table_walk w = se__table_walk(t, hash_in(from, 9));
        bool on = se__table_walk_on(&w);
        /* 1 to 3 have been passed by one that lies in 4 */
        cr_assert_eq(on, from == 1 || from == 2, "from %u", from);
        cr_assert(!on || w.bucket == from + 2);
        cr_assert(!on || !se__table_walk_on(&w));
    }
    close_table();
}

Test(table, a_bucket_that_very_many_have_passed_stays_passed)
{
    uint32_t slots[400];
    open_table(64);
    for (unsigned i = 0; i < 400; i++)
        slots[i] = se__table_insert(t, hash_in(0, i), WORD(i + 1));
    cr_assert_eq(passed(0), UINT8_MAX);
    for (unsigned i = 300; i < 400; i++)
        se__table_erase(t, hash_in(0, i), slots[i]);
    cr_assert_eq(passed(0), UINT8_MAX, "how many lie behind it is not known any more");
    close_table();
}

Test(table, a_queue_gives_its_slots_in_their_order)
{
    open_table(2);
    cr_assert_eq(se__table_pop(t, &t->small), NO_SLOT);
    for (uint32_t i = 0; i < 16; i++)
        se__table_push(t, i % 2 ? &t->small : &t->main, i);
    for (uint32_t i = 0; i < 16; i++) {
        cr_assert(se__table_listed(t, i));
        cr_assert_eq(se__table_pop(t, i % 2 ? &t->small : &t->main), i);
        cr_assert(!se__table_listed(t, i));
    }
    cr_assert_eq(se__table_pop(t, &t->main), NO_SLOT);
    close_table();
}

Test(table, hits_are_counted_up_to_three_and_touch_no_neighbour)
{
    open_table(1);
    for (unsigned n = 1; n <= 5; n++) {
        se__table_hit(&t->heads[0], 3);
        cr_assert_eq(se__table_hits(t, 3), n < HITS_MAX ? n : HITS_MAX);
    }
    cr_assert_eq(atomic_load(&t->heads[0].hits), 3u << 6);
    se__table_set_hits(&t->heads[0], 3, 1);
    cr_assert_eq(se__table_hits(t, 3), 1);
    close_table();
}

static uint64_t hash_of_number(const void *arg, uintptr_t word)
{
    (void)arg;
    uint64_t state = word >> 4;
    return next_random(&state);
}

Test(table, moving_keeps_entries_hits_and_the_queues_order)
{
    open_table(40);
    struct table *from = t;
    uint32_t slots[300];
    for (unsigned i = 0; i < 300; i++) {
        slots[i] = se__table_insert(from, hash_of_number(NULL, WORD(i + 1)), WORD(i + 1));
        se__table_set_hits(&from->heads[slots[i] / BUCKET_SLOTS], slots[i] % BUCKET_SLOTS, i % 4);
        if (i % 3) /* every third is in no queue: not clean */
            se__table_push(from, i % 3 == 1 ? &from->small : &from->main, slots[i]);
    }
    se__table_erase(from, hash_of_number(NULL, WORD(2)), slots[1]); /* it stays queued */
    open_table(60);
    se__table_move(from, t, hash_of_number, NULL);
    cr_assert_eq(t->used, 299);
    for (unsigned i = 4; i < 300; i += 3)
        cr_assert_eq(atomic_load(se__table_word(t, se__table_pop(t, &t->small))), WORD(i + 1));
    for (unsigned i = 2; i < 300; i += 3)
        cr_assert_eq(atomic_load(se__table_word(t, se__table_pop(t, &t->main))), WORD(i + 1));
    cr_assert(t->small.n == 0 && t->main.n == 0);
    for (uint32_t slot = 0; slot < se__table_slots(t); slot++) {
        uintptr_t word = atomic_load(se__table_word(t, slot));
        cr_assert(!word || se__table_hits(t, slot) == ((word >> 4) - 1) % 4);
    }
    for (unsigned i = 0; i < 300; i++)
        cr_assert(i == 1 || atomic_load(se__table_word(from, slots[i])) == WORD(i + 1),
                  "readers may still be in the old one");
    close_table();
    se__free(from->memory);
}

Test(table, rows_lie_where_readers_look)
{
    open_table(TABLE_BUCKETS_MAX);
    cr_assert_eq((uintptr_t)t->words % 64, 0, "a bucket's words are one cache line");
    cr_assert_eq(t->heads, (struct bucket_head *)(t + 1));
    close_table();
}

/* ---- ghosts ---- */

/* Of one bucket and one row; they differ in the fingerprint. */
static uint64_t ghost_hash(uint32_t bucket, unsigned row, unsigned print)
{
    return (hash_in(bucket, 1) & ~UINT64_C(0xfff)) | row << 8 | print;
}

Test(table, a_ghost_says_how_many_of_its_row_have_left_since)
{
    open_table(16);
    for (unsigned print = 1; print <= 4; print++)
        se__table_haunt(t, ghost_hash(3, 1, print));
    cr_assert_eq(se__table_haunted(t, ghost_hash(3, 1, 1)), GHOST_NONE, "the fourth pushed it out");
    cr_assert_eq(se__table_haunted(t, ghost_hash(3, 1, 2)), 2);
    cr_assert_eq(se__table_haunted(t, ghost_hash(3, 1, 4)), 0);
    cr_assert_eq(se__table_haunted(t, ghost_hash(3, 1, 4)), GHOST_NONE, "it is forgotten");
    cr_assert_eq(se__table_haunted(t, ghost_hash(3, 1, 3)), 1);
    close_table();
}

Test(table, ghosts_of_other_rows_and_buckets_are_others)
{
    open_table(16);
    se__table_haunt(t, ghost_hash(3, 1, 7));
    cr_assert_eq(se__table_haunted(t, ghost_hash(3, 2, 7)), GHOST_NONE);
    cr_assert_eq(se__table_haunted(t, ghost_hash(4, 1, 7)), GHOST_NONE);
    for (unsigned i = 0; i < 10; i++)
        se__table_haunt(t, ghost_hash(3, 2, 20 + i));
    cr_assert_eq(se__table_haunted(t, ghost_hash(3, 1, 7)), 0);
    se__table_haunt(t, ghost_hash(5, 0, 0));
    cr_assert_eq(se__table_haunted(t, ghost_hash(5, 0, 0)), 0, "0 is no ghost, and no fingerprint");
    close_table();
}

Test(table, few_that_never_were_here_seem_to_come_back)
{
    uint64_t random = 5;
    unsigned mistaken = 0;
    open_table(100);
    for (unsigned i = 0; i < 20000; i++) {
        se__table_haunt(t, next_random(&random));
        mistaken += se__table_haunted(t, next_random(&random)) != GHOST_NONE;
    }
    cr_assert(mistaken > 100 && mistaken < 300, "%u: one in 85", mistaken);
    close_table();
}

Test(table, a_new_entry_did_not_come_back_late)
{
    open_table(1);
    uint32_t slot = se__table_insert(t, 7, WORD(1));
    cr_assert_not(se__table_take_late(t, slot));
    se__table_set_late(t, slot);
    cr_assert(se__table_take_late(t, slot));
    cr_assert_not(se__table_take_late(t, slot), "asked once");
    se__table_set_late(t, slot);
    se__table_erase(t, 7, slot);
    cr_assert_eq(se__table_insert(t, 9, WORD(2)), slot);
    cr_assert_not(se__table_take_late(t, slot));
    close_table();
}

/* A table that is kept emptier has places for more ghosts than are wanted. */
Test(table, ghosts_can_be_kept_to_the_first_buckets)
{
    open_table(64);
    t->haunted = 8;
    for (unsigned i = 0; i < 64; i++)
        se__table_haunt(t, ghost_hash(i, 1, 100 + i));
    unsigned left = 0;
    for (unsigned i = 0; i < 64; i++)
        left += se__table_haunted(t, ghost_hash(i, 1, 100 + i)) < GHOST_NONE;
    cr_assert_eq(left, 8 * GHOST_DEPTH);
    close_table();
}

Test(table, moving_keeps_most_ghosts_and_what_came_back_late)
{
    open_table(40);
    struct table *from = t;
    unsigned known = 0;
    for (unsigned i = 1; i <= 200; i++) {
        uint32_t slot = se__table_insert(from, hash_of_number(NULL, WORD(i)), WORD(i));
        if (i % 2)
            se__table_set_late(from, slot);
    }
    for (unsigned i = 1000; i < 1100; i++)
        se__table_haunt(from, hash_of_number(NULL, WORD(i)));
    open_table(45);
    se__table_move(from, t, hash_of_number, NULL);
    for (uint32_t slot = 0; slot < se__table_slots(t); slot++) {
        uintptr_t word = atomic_load(se__table_word(t, slot));
        cr_assert_eq(se__table_take_late(t, slot), word && (word >> 4) % 2);
    }
    for (unsigned i = 1000; i < 1100; i++)
        known += se__table_haunted(t, hash_of_number(NULL, WORD(i))) != GHOST_NONE;
    cr_assert_gt(known, 25, "%u of 100", known);
    close_table();
    se__free(from->memory);
}
