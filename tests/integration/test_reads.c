/*
 * What reads cost: how often a backend is asked for what L1 does not have.
 */
#include "base/os.h"
#include "engine/engine.h"
#include "integration/stand.h"
#include "l2/op.h"
#include "support/must.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct shape cached = {"redis+sqlite", SQLITE, true, false};
static struct stand s;

#define IDS 300

static void id_of(int i, char id[16])
{
    snprintf(id, 16, "id%03d", i);
}

/* IDS items are in SQLite, their copies in Redis, and none in memory. */
static void setup(void)
{
    char id[16];
    stand_make(&s, &cached);
    s.bed.config.redis_timeout_ms = 20000;
    s.bed.config.read_timeout_ms = 20000;
    s.bed.config.read_connections = 1;
    s.e = bed_open(&s.bed);
    for (int i = 0; i < IDS; i++) {
        id_of(i, id);
        bed_put(s.e, id, id);
    }
    stand_flush(&s);
    stand_reopen(&s);
}

static void teardown(void)
{
    bed_close(&s.bed, s.e);
    stand_remove(&s);
}

TestSuite(reads, .init = setup, .fini = teardown);

static void expect_all(void)
{
    char id[16];
    for (int i = 0; i < IDS; i++) {
        id_of(i, id);
        bed_expect(s.e, id, id);
    }
}

static long info(const char *section, const char *field)
{
    static char out[16384];
    redis_server_ask(&s.redis, out, sizeof out, "INFO %s", section);
    const char *at = strstr(out, field);
    return at ? strtol(at + strlen(field), NULL, 10) : 0;
}

static long calls_of(const char *command)
{
    char field[64];
    snprintf(field, sizeof field, "cmdstat_%s:calls=", command);
    return info("commandstats", field);
}

/* Misses that are frequent: the read takes the lease, and the copy is stored by one script that nobody
 * waits for. Only until they are known to be frequent a lease is asked for by itself. */
Test(reads, a_miss_asks_redis_once_and_leaves_a_copy_there)
{
    char out[64];
    redis_server_ask(&s.redis, out, sizeof out, "FLUSHALL");
    long gets = calls_of("get"), scripts = calls_of("evalsha");
    double loaded = stand_gets(&s, "l3", "hit");
    expect_all();
    cr_assert_eq(stand_gets(&s, "l3", "hit") - loaded, IDS);
    gets = calls_of("get") - gets;
    scripts = calls_of("evalsha") - scripts;
    cr_assert(gets < 20, "%ld plain reads", gets);
    cr_assert(scripts >= IDS && scripts < IDS + 40, "%ld scripts", scripts);
    stand_reopen(&s);
    loaded = stand_gets(&s, "l3", "hit");
    expect_all();
    cr_assert_eq(stand_gets(&s, "l2", "hit"), IDS);
    cr_assert_eq(stand_gets(&s, "l3", "hit"), loaded);
}

/* What a lookup asks of the tiers, for a caller who asked L1 at that moment and was told no. */
static double asked_by_one_who_looked_at(uint64_t moment, const char *id)
{
    struct lookup l;
    double asked = stand_gets(&s, "l2", "hit");
    cr_assert_eq(se__lookup_init(s.e, id, &l), SE_OK);
    l.moment = moment;
    cr_assert_eq(se__lookup(s.e, &l, 1, se__read_deadline(s.e)), SE_OK);
    cr_assert_eq(l.result, SE_OK);
    se_item_release(l.item);
    return stand_gets(&s, "l2", "hit") - asked;
}

/* Another caller's load may land between a look into L1 and the flight: that one is not made again. Where
 * none has, L1 has nothing new to say. */
Test(reads, a_leader_asks_l1_again_only_if_a_load_has_ended_since)
{
    uint64_t before = se__flights_moment(s.e->loads);
    bed_expect(s.e, "id007", "id007");
    cr_assert_eq(asked_by_one_who_looked_at(before, "id007"), 0);
    cr_assert_eq(asked_by_one_who_looked_at(0, "id007"), 0);
    cr_assert_eq(asked_by_one_who_looked_at(se__flights_moment(s.e->loads), "id007"), 1,
                 "it says that L1 did not have it");
}

/* ---- as they come ---- */

struct arrivals {
    struct tier_read reads[IDS];
    char ids[IDS][16];
    unsigned came;
    bool last_was_there; /* when the first came */
};

static void note_arrival(void *arg, se_item *item)
{
    struct arrivals *a = arg;
    MUST(strcmp(se_item_id(item), a->ids[a->came]) == 0, "%s", se_item_id(item));
    if (a->came++ == 0)
        a->last_was_there = a->reads[IDS - 1].found == TIER_HIT;
}

static void expect_arrivals(const struct tier *tier)
{
    static struct arrivals a;
    a = (struct arrivals){.came = 0};
    for (int i = 0; i < IDS; i++) {
        id_of(i, a.ids[i]);
        a.reads[i] = (struct tier_read){
            .id = a.ids[i], .id_len = strlen(a.ids[i]), .on_item = note_arrival, .arg = &a};
    }
    uint64_t deadline = se__read_deadline(s.e);
    cr_assert_eq(tier->ops->read(tier->self, a.reads, IDS, deadline).fault, TIER_FINE);
    cr_assert_eq(a.came, IDS);
    cr_assert(!a.last_was_there, "all were there before anybody was told");
    for (int i = 0; i < IDS; i++)
        se_item_release(a.reads[i].item);
}

Test(reads, whoever_asks_a_tier_for_a_list_is_told_of_each_item_as_it_comes)
{
    expect_arrivals(&s.e->cache);
    expect_arrivals(&s.e->home);
}

/* They are in memory once, whoever else holds them. */
static void expect_list_of_all(void)
{
    static char ids[IDS][16];
    const char *at[IDS];
    se_item *items[IDS], *again[IDS];
    for (int i = 0; i < IDS; i++) {
        id_of(i, ids[i]);
        at[i] = ids[i];
    }
    cr_assert_eq(se_get_many(s.e, at, IDS, items, NULL), SE_OK);
    double asked = stand_round_trips(&s);
    cr_assert_eq(se_get_many(s.e, at, IDS, again, NULL), SE_OK);
    cr_assert_eq(stand_round_trips(&s), asked);
    for (int i = 0; i < IDS; i++) {
        cr_assert_str_eq(se_item_id(items[i]), ids[i]);
        cr_assert_eq(items[i], again[i]);
        cr_assert_eq(se__item_refs(items[i]), 3, "%u", se__item_refs(items[i]));
        se_item_release(items[i]);
        se_item_release(again[i]);
    }
}

Test(reads, a_list_is_in_memory_once_it_has_been_read)
{
    char out[64];
    expect_list_of_all();
    redis_server_ask(&s.redis, out, sizeof out, "FLUSHALL");
    stand_reopen(&s);
    double loaded = stand_gets(&s, "l3", "hit");
    expect_list_of_all();
    cr_assert_eq(stand_gets(&s, "l3", "hit") - loaded, IDS);
}

static se_item *make_item(const struct tier_read *read, uint64_t version, const char *content)
{
    se_item *item = se__item_new(&(struct item_spec){.id = read->id,
                                                     .id_len = read->id_len,
                                                     .content = content,
                                                     .content_len = strlen(content),
                                                     .version = version});
    MUST(item, "no memory");
    return item;
}

/* As where an attempt fails after it has told of items, and its repetition shares another's call. */
static struct tier_reply read_twice(void *self, struct tier_read *reads, size_t n,
                                    uint64_t deadline_ms)
{
    (void)self, (void)deadline_ms;
    for (size_t i = 0; i < n; i++) {
        reads[i].item = make_item(&reads[i], 1, "of the first attempt");
        reads[i].found = TIER_HIT;
        se__tier_came(&reads[i]);
        se_item_release(reads[i].item);
        reads[i].item = make_item(&reads[i], 2, "of the second");
    }
    return se__tier_fine();
}

Test(reads, what_a_call_comes_to_counts_and_not_what_it_told_of_before)
{
    static const struct tier_ops ops = {.read = read_twice};
    const char *ids[] = {"id001", "id002", "id003"};
    se_item *items[3];
    struct tier real = s.e->cache;
    s.e->cache = (struct tier){.ops = &ops};
    cr_assert_eq(se_get_many(s.e, ids, 3, items, NULL), SE_OK);
    s.e->cache = real;
    double asked = stand_round_trips(&s);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(se_item_version(items[i]), 2);
        cr_assert_eq(se__item_refs(items[i]), 2, "%u", se__item_refs(items[i]));
        bed_expect(s.e, ids[i], "of the second");
        se_item_release(items[i]);
    }
    cr_assert_eq(stand_round_trips(&s), asked, "memory has it");
}

/* ---- many at once ---- */

#define READERS 32

static void read_one(void *arg)
{
    const char *id = arg;
    se_item *item = NULL;
    MUST(se_get(s.e, id, &item) == SE_OK, "%s", id);
    MUST(strcmp(se_item_id(item), id) == 0, "%s", id);
    se_item_release(item);
}

static bool all_but_one_queue(void *arg)
{
    (void)arg;
    return se__combine_waiting(s.e->redis->sharing) == READERS - 1;
}

Test(reads, who_waits_for_a_connection_shares_the_next_round_trip)
{
    static char ids[READERS][16];
    struct se__thread threads[READERS];
    bed_expect(s.e, "id299", "id299"); /* connected */
    long reads = info("stats", "total_reads_processed:");
    redis_server_pause(&s.redis);
    for (int i = 0; i < READERS; i++) {
        id_of(i, ids[i]);
        cr_assert_eq(se__thread_start(&threads[i], "reader", read_one, ids[i]), SE_OK);
    }
    bed_wait(all_but_one_queue, NULL, "the readers to queue");
    redis_server_resume(&s.redis);
    for (int i = 0; i < READERS; i++)
        se__thread_join(&threads[i]);
    reads = info("stats", "total_reads_processed:") - reads;
    cr_assert_eq(stand_gets(&s, "l2", "hit"), READERS + 1);
    cr_assert(reads < 10, "the server has read %ld times", reads);
}
