/*
 * Reads and writes of one id that meet. Writes that are based on what they have read: a change of the state tag never brings an older content
 * or a deleted item back, and what a factory made never goes over what was written. Reads that find a write in the WAL before it is in memory.
 * Nothing here forks: it also runs under ThreadSanitizer.
 */
#include "base/os.h"
#include "integration/truth.h"
#include "support/must.h"
#include "support/test.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static const struct shape shapes[] = {{"l1", NO_SQL, false, false},
                                      {"sqlite", SQLITE, false, false},
                                      {"sqlite+wal", SQLITE, false, true}};

#define OTHERS 3
#define WRITES 400

struct race {
    se_engine *e;
    struct se__thread threads[OTHERS];
    atomic_bool stop; /* seq_cst */
    atomic_uint done; /* by the others */
};

static void tag(void *arg)
{
    struct race *race = arg;
    static const char *const states[] = {"red", "green", "default"};
    for (unsigned i = 0; !atomic_load(&race->stop); i++) {
        se_result r = se_set_state(race->e, "x", states[i % 3]);
        MUST(r >= 0 || r == SE_ERR_TIMEOUT, "set_state: %d", r);
        atomic_fetch_add(&race->done, r == SE_OK);
    }
}

static void expect_content(const struct race *race, unsigned i, const char *content)
{
    char got[32] = "";
    size_t len = 0;
    se_result r = se_get_copy(race->e, "x", got, sizeof got - 1, &len);
    cr_assert(r == SE_OK && len == strlen(content) && memcmp(got, content, len) == 0,
              "after write %u: %d '%s' instead of '%s'", i, r, got, content);
}

static se_result make(void *arg, const char *id, void **content, size_t *len)
{
    (void)arg;
    (void)id;
    *content = strdup("made");
    *len = 4;
    return *content ? SE_OK : SE_ERR_NOMEM;
}

static void insert(void *arg)
{
    struct race *race = arg;
    while (!atomic_load(&race->stop)) {
        se_item *item;
        se_result r = se_get_or_insert_with(race->e, "x", make, NULL, NULL, &item);
        MUST(r >= 0 || r == SE_ERR_TIMEOUT, "get_or_insert_with: %d", r);
        if (r >= 0)
            atomic_fetch_add(&race->done, se_item_content_len(item) == 4);
        se_item_release(item);
    }
}

/* Only this thread changes the content: what it reads is what it wrote last, under whatever tag. */
static void write_amidst(struct race *race, char content[32])
{
    for (unsigned i = 1; i <= WRITES || atomic_load(&race->done) < 100; i++) {
        snprintf(content, 32, "content %u", i);
        if (i % 5 == 0) {
            cr_assert_eq(se_delete(race->e, "x", NULL), SE_OK, "%s", se_errmsg());
            bed_expect(race->e, "x", NULL);
        }
        bed_put(race->e, "x", content);
        expect_content(race, i, content);
        if (i % 7 == 0)
            cr_assert_eq(se_invalidate(race->e, "x"), SE_OK);
        expect_content(race, i, content);
        if (i % 50 == 0)
            cr_assert_geq(se_flush(race->e, 20000), 0);
    }
}

/* Only this thread writes and deletes: between the two it is whose the content is. */
static void replace_amidst(struct race *race, char content[32])
{
    for (unsigned i = 1; i <= WRITES || atomic_load(&race->done) < 100; i++) {
        snprintf(content, 32, "content %u", i);
        cr_assert_eq(se_delete(race->e, "x", NULL), SE_OK, "%s", se_errmsg());
        if (i % 3 == 0)
            sched_yield();
        bed_put(race->e, "x", content);
        expect_content(race, i, content);
        if (i % 7 == 0)
            cr_assert_eq(se_invalidate(race->e, "x"), SE_OK);
        expect_content(race, i, content);
    }
}

static void race_on(const struct shape *shape, void (*others)(void *arg),
                    void (*one)(struct race *race, char content[32]))
{
    struct bed b;
    char content[32];
    bed_make(&b, shape, NULL, NULL);
    b.config.batch_flush_ms = 1;
    struct race race = {.e = bed_open(&b)};
    for (unsigned i = 0; i < OTHERS; i++)
        cr_assert_eq(se__thread_start(&race.threads[i], "other", others, &race), SE_OK);
    one(&race, content);
    atomic_store(&race.stop, true);
    for (unsigned i = 0; i < OTHERS; i++)
        se__thread_join(&race.threads[i]);
    cr_assert_eq(se_flush(race.e, 20000), SE_OK, "%s", se_errmsg());
    cr_assert_eq(se_invalidate(race.e, "x"), SE_OK);
    bed_expect(race.e, "x", content);
    truth_balance(race.e);
    bed_close(&b, race.e);
    bed_remove(&b);
}

Test(races, tags_never_bring_back_what_a_write_or_delete_replaced)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        race_on(&shapes[i], tag, write_amidst);
}

Test(races, a_factorys_content_never_goes_over_what_was_written)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        race_on(&shapes[i], insert, replace_amidst);
}

Test(races, of_several_tags_one_is_last_and_everywhere)
{
    struct bed b;
    bed_make(&b, &shapes[2], NULL, NULL);
    struct race race = {.e = bed_open(&b)};
    bed_put(race.e, "x", "1");
    for (unsigned i = 0; i < OTHERS; i++)
        cr_assert_eq(se__thread_start(&race.threads[i], "tagger", tag, &race), SE_OK);
    while (atomic_load(&race.done) < 300)
        se__pause_ms(1);
    atomic_store(&race.stop, true);
    for (unsigned i = 0; i < OTHERS; i++)
        se__thread_join(&race.threads[i]);
    cr_assert_eq(se_set_state(race.e, "x", "last"), SE_OK);
    uint64_t red, green, last;
    for (int flushed = 0; flushed < 2; flushed++) {
        cr_assert_eq(se_count_state(race.e, "red", &red), SE_OK);
        cr_assert_eq(se_count_state(race.e, "green", &green), SE_OK);
        cr_assert_eq(se_count_state(race.e, "last", &last), SE_OK);
        cr_assert(red == 0 && green == 0 && last == 1);
        cr_assert_eq(se_flush(race.e, 20000), SE_OK);
    }
    bed_expect(race.e, "x", "1");
    bed_close(&b, race.e);
    bed_remove(&b);
}

/* ---- found in the WAL first ---- */

#define WRITERS 4
#define FOUND 2000 /* writes of each */

struct author {
    struct se__thread thread;
    struct crowd *crowd;
    unsigned number;
};
struct crowd {
    struct race race;
    struct author authors[WRITERS];
    atomic_uint at[WRITERS]; /* what each is writing */
};

static void id_of(unsigned author, unsigned i, char id[32])
{
    snprintf(id, 32, "w:%u:%04u", author, i);
}

/* Several at once: who joins another's commit is woken some time after its record can be read. */
static void write_all(void *arg)
{
    struct author *a = arg;
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = SE_ACK_WAL;
    for (unsigned i = 0; i < FOUND; i++) {
        char id[32];
        atomic_store(&a->crowd->at[a->number], i);
        id_of(a->number, i, id);
        MUST(se_submit(a->crowd->race.e, id, id, strlen(id), &o) == SE_OK, "submit %s", id);
    }
}

/* Asks for what is being written, over and over: it is in the WAL for a moment before it is in memory. */
static void ask_for_the_next(void *arg)
{
    struct crowd *c = arg;
    for (unsigned i = 0; !atomic_load(&c->race.stop); i++) {
        char id[32];
        se_item *item;
        id_of(i % WRITERS, atomic_load(&c->at[i % WRITERS]), id);
        se_result r = se_get(c->race.e, id, &item);
        MUST(r == SE_OK || r == SE_NOT_FOUND, "get %s: %d", id, r);
        se_item_release(item);
    }
}

static void meet(struct crowd *c)
{
    for (unsigned i = 0; i < OTHERS; i++)
        cr_assert_eq(se__thread_start(&c->race.threads[i], "reader", ask_for_the_next, c), SE_OK);
    for (unsigned i = 0; i < WRITERS; i++) {
        c->authors[i] = (struct author){.crowd = c, .number = i};
        cr_assert_eq(se__thread_start(&c->authors[i].thread, "author", write_all, &c->authors[i]),
                     SE_OK);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        se__thread_join(&c->authors[i].thread);
    atomic_store(&c->race.stop, true);
    for (unsigned i = 0; i < OTHERS; i++)
        se__thread_join(&c->race.threads[i]);
}

Test(races, a_write_that_a_reader_has_found_in_the_wal_goes_home)
{
    struct bed b;
    bed_make(&b, &shapes[2], NULL, NULL);
    b.config.batch_flush_ms = 1;
    struct crowd c = {.race.e = bed_open(&b)};
    meet(&c);
    cr_assert_eq(se_flush(c.race.e, 20000), SE_OK, "%s", se_errmsg());
    cr_assert_eq(truth_number(&b, NULL, "SELECT COUNT(*) FROM sync_items WHERE deleted = 0"),
                 WRITERS * FOUND);
    truth_balance(c.race.e);
    bed_close(&b, c.race.e);
    bed_remove(&b);
}
