/*
 * The engine without servers: L1 only, SQLite, each with and without WAL; every public call on each shape.
 */
#include "support/dir.h"
#include "support/test.h"
#include "syncengine/syncengine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct shape {
    const char *name;
    bool sql, wal;
};
static const struct shape shapes[] = {
    {"l1", false, false}, {"l1+wal", false, true}, {"sqlite", true, false}, {"sqlite+wal", true, true}};

struct bed {
    struct test_dir dir;
    char sql[256], wal[256];
    se_config config;
};

static void quiet(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    (void)level;
    (void)message;
}

static void bed_make(struct bed *b, const struct shape *shape)
{
    test_dir_make(&b->dir);
    test_dir_path(&b->dir, "sqlite:", "l3.db", b->sql);
    test_dir_path(&b->dir, "", "wal.db", b->wal);
    se_config_init(&b->config);
    b->config.sql_url = shape->sql ? b->sql : NULL;
    b->config.wal_path = shape->wal ? b->wal : NULL;
    b->config.log_fn = quiet;
}

static se_engine *open_bed(struct bed *b)
{
    se_engine *e = NULL;
    se_result r = se_open(&b->config, &e);
    cr_assert_eq(r, SE_OK, "se_open: %s", se_errmsg());
    cr_assert_eq(se_engine_phase(e), SE_PHASE_RUNNING);
    return e;
}

static void close_bed(struct bed *b, se_engine *e)
{
    cr_assert_eq(se_close(e, 10000), SE_OK, "%s", se_errmsg());
    (void)b;
}

static void put(se_engine *e, const char *id, const char *content)
{
    se_result r = se_submit(e, id, content, strlen(content), NULL);
    cr_assert_eq(r, SE_OK, "%s: %s", id, se_errmsg());
}

static void expect(se_engine *e, const char *id, const char *content)
{
    se_item *item;
    se_result r = se_get(e, id, &item);
    if (!content) {
        cr_assert_eq(r, SE_NOT_FOUND, "%s: %d %s", id, r, se_errmsg());
        cr_assert_null(item);
        return;
    }
    cr_assert_eq(r, SE_OK, "%s: %d %s", id, r, se_errmsg());
    cr_assert_eq(se_item_content_len(item), strlen(content));
    cr_assert(memcmp(se_item_content(item), content, strlen(content)) == 0);
    cr_assert_str_eq(se_item_id(item), id);
    se_item_release(item);
}

static void each_shape(void (*test)(const struct shape *shape, struct bed *b))
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct bed b;
        bed_make(&b, &shapes[i]);
        test(&shapes[i], &b);
        test_dir_remove(&b.dir);
    }
}

static void basics(const struct shape *shape, struct bed *b)
{
    se_engine *e = open_bed(b);
    expect(e, "a", NULL);
    put(e, "a", "1");
    expect(e, "a", "1");
    put(e, "a", "2");
    expect(e, "a", "2");
    put(e, "A", "upper");
    put(e, "a ", "blank");
    expect(e, "a", "2");
    expect(e, "A", "upper");
    expect(e, "a ", "blank");
    cr_assert_eq(se_len(e), 3);
    cr_assert_eq(se_delete(e, "a", NULL), SE_OK);
    expect(e, "a", NULL);
    cr_assert_eq(se_delete(e, "never was", NULL), SE_OK);
    bool found = true;
    cr_assert_eq(se_contains(e, "a", &found), SE_OK);
    cr_assert(!found);
    cr_assert_eq(se_contains(e, "A", &found), SE_OK);
    cr_assert(found);
    put(e, "empty", "");
    expect(e, "empty", "");
    char buffer[4];
    size_t len = 99;
    cr_assert_eq(se_get_copy(e, "A", buffer, sizeof buffer, &len), SE_OK);
    cr_assert_eq(len, 5);
    cr_assert(memcmp(buffer, "uppe", 4) == 0);
    cr_assert_eq(se_get_copy(e, "a", buffer, sizeof buffer, &len), SE_NOT_FOUND);
    cr_assert_eq(se_flush(e, 10000), SE_OK, "%s: %s", shape->name, se_errmsg());
    expect(e, "A", "upper");
    close_bed(b, e);
}

Test(embedded, submit_get_delete_on_every_shape)
{
    each_shape(basics);
}

static void survives(const struct shape *shape, struct bed *b)
{
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = SE_ACK_WAL;
    se_engine *e = open_bed(b);
    for (int i = 0; i < 500; i++) {
        char id[32], content[32];
        snprintf(id, sizeof id, "id:%03d", i);
        snprintf(content, sizeof content, "content %d", i);
        cr_assert_geq(se_submit(e, id, content, strlen(content), i % 10 ? NULL : &o), 0, "%s", se_errmsg());
    }
    cr_assert_eq(se_delete(e, "id:100", &o), SE_OK);
    close_bed(b, e);
    e = open_bed(b);
    bool durable = shape->sql;
    expect(e, "id:000", durable || shape->wal ? "content 0" : NULL);
    expect(e, "id:001", durable ? "content 1" : NULL);
    expect(e, "id:100", NULL);
    uint64_t n = 0;
    cr_assert_eq(se_count_prefix(e, "id:", &n), SE_OK);
    cr_assert_eq(n, durable ? 499u : shape->wal ? 49u : 0u, "%s: %llu", shape->name, (unsigned long long)n);
    close_bed(b, e);
}

Test(embedded, a_restart_keeps_what_the_ack_says)
{
    each_shape(survives);
}

/* A read that is meant to reach L3 proves it: nothing is in L1. */
Test(embedded, invalidated_and_reopened_reads_come_from_l3)
{
    struct bed b;
    bed_make(&b, &shapes[2]);
    se_engine *e = open_bed(&b);
    put(e, "x", "from l3");
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    cr_assert_eq(se_invalidate(e, "x"), SE_OK);
    se_item_status s;
    cr_assert_eq(se_status(e, "x", &s), SE_OK);
    cr_assert(!s.in_l1 && s.in_l3 && !s.in_l2 && !s.in_wal);
    cr_assert_eq(s.sync, SE_SYNC_SYNCED);
    expect(e, "x", "from l3");
    cr_assert_eq(se_status(e, "x", &s), SE_OK);
    cr_assert(s.in_l1, "the load was not promoted");
    close_bed(&b, e);
    test_dir_remove(&b.dir);
}

static void batches(const struct shape *shape, struct bed *b)
{
    (void)shape;
    se_engine *e = open_bed(b);
    se_put puts[3] = {{.id = "m1", .content = "1", .len = 1}, {.id = "m2", .content = "2", .len = 1}, {.id = "m1", .content = "3", .len = 1}};
    se_batch_result out;
    cr_assert_eq(se_submit_many(e, puts, 3, &out), SE_OK, "%s", se_errmsg());
    cr_assert(out.total == 3 && out.succeeded == 3 && out.failed == 0);
    cr_assert(puts[2].version > puts[0].version);
    expect(e, "m1", "3");
    expect(e, "m2", "2");
    se_put bad[3] = {{.id = "n1", .content = "1", .len = 1}, {.id = "", .content = "2", .len = 1}, {.id = "n3", .content = "3", .len = 1}};
    cr_assert_eq(se_submit_many(e, bad, 3, &out), SE_ERR_INVALID);
    cr_assert(out.failed == 3 && bad[0].result == SE_ERR_ABORTED && bad[1].result == SE_ERR_INVALID && bad[2].result == SE_ERR_ABORTED);
    expect(e, "n1", NULL);
    const char *ids[] = {"m1", "n1", "m2", "m1"};
    se_item *items[4];
    se_result results[4];
    cr_assert_eq(se_get_many(e, ids, 4, items, results), SE_OK);
    cr_assert(results[0] == SE_OK && results[1] == SE_NOT_FOUND && results[2] == SE_OK && results[3] == SE_OK);
    cr_assert_null(items[1]);
    for (int i = 0; i < 4; i++)
        se_item_release(items[i]);
    cr_assert_eq(se_get_many(e, ids, 4, items, NULL), SE_OK);
    for (int i = 0; i < 4; i++)
        se_item_release(items[i]);
    cr_assert_eq(se_delete_many(e, ids, 4, &out), SE_OK);
    expect(e, "m1", NULL);
    expect(e, "m2", NULL);
    close_bed(b, e);
}

Test(embedded, batches_are_all_or_nothing)
{
    each_shape(batches);
}

struct seen {
    char ids[64][32];
    size_t n, stop_at;
};

static bool see(void *arg, se_item *item)
{
    struct seen *s = arg;
    snprintf(s->ids[s->n++], 32, "%s", se_item_id(item));
    return s->n != s->stop_at;
}

static void scans(const struct shape *shape, struct bed *b)
{
    se_submit_options red;
    se_submit_options_init(&red);
    red.state = "red";
    se_engine *e = open_bed(b);
    put(e, "user_1:a", "x");
    put(e, "userX1:a", "x");
    cr_assert_eq(se_submit(e, "user_1:b", "x", 1, &red), SE_OK);
    put(e, "user_1:%", "x");
    if (shape->sql)
        cr_assert_eq(se_flush(e, 10000), SE_OK);
    put(e, "user_1:c", "unflushed");
    put(e, "user_1:d", "x");
    cr_assert_eq(se_delete(e, "user_1:d", NULL), SE_OK);
    cr_assert_eq(se_delete(e, "user_1:%", NULL), SE_OK);
    struct seen s = {0};
    cr_assert_eq(se_scan_prefix(e, "user_1:", 0, see, &s), SE_OK, "%s", se_errmsg());
    cr_assert_eq(s.n, 3, "%s: %zu", shape->name, s.n);
    cr_assert_str_eq(s.ids[0], "user_1:a");
    cr_assert_str_eq(s.ids[1], "user_1:b");
    cr_assert_str_eq(s.ids[2], "user_1:c");
    s = (struct seen){0};
    cr_assert_eq(se_scan_prefix_after(e, "user_1:", "user_1:a", 1, see, &s), SE_OK);
    cr_assert_eq(s.n, 1);
    cr_assert_str_eq(s.ids[0], "user_1:b");
    s = (struct seen){.stop_at = 2};
    cr_assert_eq(se_scan_prefix(e, "", 0, see, &s), SE_OK);
    cr_assert_eq(s.n, 2);
    uint64_t n;
    cr_assert_eq(se_count_prefix(e, "user_1:", &n), SE_OK);
    cr_assert_eq(n, 3);
    s = (struct seen){0};
    cr_assert_eq(se_scan_state(e, "red", 0, see, &s), SE_OK);
    cr_assert_eq(s.n, 1);
    cr_assert_eq(se_set_state(e, "user_1:b", "blue"), SE_OK, "%s", se_errmsg());
    cr_assert_eq(se_count_state(e, "red", &n), SE_OK);
    cr_assert_eq(n, 0, "a pending change of state must hide the row");
    cr_assert_eq(se_count_state(e, "blue", &n), SE_OK);
    cr_assert_eq(n, 1);
    cr_assert_eq(se_set_state(e, "nobody", "blue"), SE_NOT_FOUND);
    se_item *item;
    cr_assert_eq(se_get(e, "user_1:b", &item), SE_OK);
    cr_assert_str_eq(se_item_state(item), "blue");
    se_item_release(item);
    cr_assert_eq(se_delete_prefix(e, "", &n), SE_ERR_INVALID);
    cr_assert_eq(se_delete_prefix(e, "user_1:", &n), SE_OK);
    cr_assert_eq(n, 3);
    expect(e, "userX1:a", "x");
    expect(e, "user_1:a", NULL);
    cr_assert_eq(se_count_prefix(e, "", &n), SE_OK);
    cr_assert_eq(n, 1);
    put(e, "s1", "x");
    cr_assert_eq(se_set_state(e, "s1", "gone"), SE_OK);
    cr_assert_eq(se_delete_state(e, "gone", &n), SE_OK);
    cr_assert_eq(n, 1);
    expect(e, "s1", NULL);
    close_bed(b, e);
}

Test(embedded, scans_see_what_is_not_flushed)
{
    each_shape(scans);
}

static se_result make(void *arg, const char *id, void **content, size_t *len)
{
    int *runs = arg;
    (*runs)++;
    *len = strlen(id);
    *content = strdup(id);
    return SE_OK;
}

static se_result fail(void *arg, const char *id, void **content, size_t *len)
{
    (void)arg;
    (void)id;
    (void)content;
    (void)len;
    return SE_ERR_IO;
}

struct inner {
    se_engine *e;
    se_result result;
};

static se_result ask_inside(void *arg, const char *id, void **content, size_t *len)
{
    struct inner *in = arg;
    se_item *item;
    in->result = se_get_or_insert_with(in->e, id, ask_inside, arg, NULL, &item);
    *content = strdup("outer");
    *len = 5;
    return SE_OK;
}

static void aside(const struct shape *shape, struct bed *b)
{
    (void)shape;
    se_engine *e = open_bed(b);
    int runs = 0;
    se_item *item;
    cr_assert_eq(se_get_or_insert_with(e, "made", make, &runs, NULL, &item), SE_OK, "%s", se_errmsg());
    cr_assert_eq(se_item_content_len(item), 4);
    se_item_release(item);
    cr_assert_eq(se_get_or_insert_with(e, "made", make, &runs, NULL, &item), SE_OK);
    se_item_release(item);
    cr_assert_eq(runs, 1);
    cr_assert_eq(se_get_or_insert_with(e, "fails", fail, NULL, NULL, &item), SE_ERR_IO);
    cr_assert_null(item);
    expect(e, "fails", NULL);
    struct inner in = {.e = e};
    cr_assert_eq(se_get_or_insert_with(e, "self", ask_inside, &in, NULL, &item), SE_OK);
    cr_assert_eq(in.result, SE_ERR_STATE);
    se_item_release(item);
    cr_assert_eq(se_delete(e, "made", NULL), SE_OK);
    cr_assert_eq(se_get_or_insert_with(e, "made", make, &runs, NULL, &item), SE_OK);
    se_item_release(item);
    cr_assert_eq(runs, 2);
    close_bed(b, e);
}

Test(embedded, cache_aside_runs_the_factory_once)
{
    each_shape(aside);
}

static void bad_input(const struct shape *shape, struct bed *b)
{
    (void)shape;
    b->config.max_payload_bytes = 100;
    se_engine *e = open_bed(b);
    char long_id[300], big[101] = "";
    memset(long_id, 'a', sizeof long_id - 1);
    long_id[sizeof long_id - 1] = '\0';
    const char *bad[] = {"", long_id, "a\x01", "\x7f", "\xff", "\xc3", "a\nb"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        se_item *item;
        bool found;
        size_t len;
        cr_assert_eq(se_submit(e, bad[i], "x", 1, NULL), SE_ERR_INVALID, "%zu", i);
        cr_assert(se_errmsg()[0]);
        cr_assert_eq(se_delete(e, bad[i], NULL), SE_ERR_INVALID);
        cr_assert_eq(se_get(e, bad[i], &item), SE_ERR_INVALID);
        cr_assert_eq(se_contains(e, bad[i], &found), SE_ERR_INVALID);
        cr_assert_eq(se_get_copy(e, bad[i], NULL, 0, &len), SE_ERR_INVALID);
        cr_assert_eq(se_set_state(e, bad[i], "x"), SE_ERR_INVALID);
        cr_assert_eq(se_invalidate(e, bad[i]), SE_ERR_INVALID);
        cr_assert(!se_definitely_missing(e, bad[i]));
    }
    cr_assert_eq(se_submit(e, NULL, "x", 1, NULL), SE_ERR_INVALID);
    cr_assert_eq(se_submit(NULL, "a", "x", 1, NULL), SE_ERR_INVALID);
    cr_assert_eq(se_submit(e, "a", NULL, 1, NULL), SE_ERR_INVALID);
    cr_assert_eq(se_submit(e, "a", big, sizeof big, NULL), SE_ERR_TOO_BIG);
    cr_assert_eq(se_get(e, "a", NULL), SE_ERR_INVALID);
    cr_assert_eq(se_get_many(e, NULL, 1, NULL, NULL), SE_ERR_INVALID);
    cr_assert_eq(se_scan_prefix(e, NULL, 0, NULL, NULL), SE_ERR_INVALID);
    cr_assert_eq(se_scan_prefix(e, "", 0, NULL, NULL), SE_ERR_INVALID);
    se_submit_options o;
    se_submit_options_init(&o);
    o.route = 4;
    cr_assert_eq(se_submit(e, "a", "x", 1, &o), SE_ERR_INVALID);
    se_submit_options_init(&o);
    o.route = SE_ROUTE_L2;
    cr_assert_eq(se_submit(e, "a", "x", 1, &o), SE_ERR_INVALID);
    se_submit_options_init(&o);
    o.state = "0123456789012345678901234567890123";
    cr_assert_eq(se_submit(e, "a", "x", 1, &o), SE_ERR_INVALID);
    se_submit_options_init(&o);
    o.content_type = SE_CONTENT_JSON;
    cr_assert_eq(se_submit(e, "a", "{", 1, &o), SE_ERR_INVALID);
    cr_assert_eq(se_submit(e, "a", "{}", 2, &o), SE_OK);
    se_submit_options_init(&o);
    o.ack = (se_ack)9;
    cr_assert_eq(se_submit(e, "a", "x", 1, &o), SE_ERR_INVALID);
    o.struct_size = 0;
    cr_assert_eq(se_submit(e, "a", "x", 1, &o), SE_ERR_INVALID);
    expect(e, "a", "{}");
    se_merkle_node node;
    cr_assert_eq(se_merkle_root(e, SE_TIER_L3, &node), SE_ERR_UNSUPPORTED);
    uint16_t port = 0;
    cr_assert_eq(se_http_start(e, NULL, &port), SE_ERR_UNSUPPORTED);
    close_bed(b, e);
}

Test(embedded, bad_input_changes_nothing)
{
    each_shape(bad_input);
}

static void types(const struct shape *shape, struct bed *b)
{
    (void)shape;
    se_engine *e = open_bed(b);
    unsigned char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (unsigned char)i;
    cr_assert_eq(se_submit(e, "bytes", all, sizeof all, NULL), SE_OK);
    const char *json = " {\"b\" : 1.0, \"a\":\t\"\xf0\x9f\x98\x80\"} ";
    put(e, "json", json);
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    cr_assert_eq(se_invalidate_prefix(e, ""), SE_OK);
    se_item *item;
    cr_assert_eq(se_get(e, "bytes", &item), SE_OK);
    cr_assert_eq(se_item_content_type(item), SE_CONTENT_BINARY);
    cr_assert(se_item_content_len(item) == 256 && memcmp(se_item_content(item), all, 256) == 0);
    uint8_t hash[SE_HASH_SIZE];
    se_item_hash(item, hash);
    bool current = false;
    cr_assert_eq(se_is_current(e, "bytes", hash, &current), SE_OK);
    cr_assert(current);
    hash[0] ^= 1;
    cr_assert_eq(se_is_current(e, "bytes", hash, &current), SE_OK);
    cr_assert(!current);
    se_item_release(item);
    cr_assert_eq(se_get_verified(e, "json", &item), SE_OK);
    cr_assert_eq(se_item_content_type(item), SE_CONTENT_JSON);
    cr_assert_eq(se_item_content_len(item), strlen(json));
    cr_assert(memcmp(se_item_content(item), json, strlen(json)) == 0);
    cr_assert_str_eq(se_item_state(item), "default");
    cr_assert(se_item_version(item) > 0 && se_item_updated_at_ms(item) > 0);
    se_item_release(item);
    close_bed(b, e);
}

Test(embedded, bytes_come_back_exactly)
{
    each_shape(types);
}

static void life(const struct shape *shape, struct bed *b)
{
    (void)shape;
    se_engine *e = open_bed(b);
    put(e, "held", "still here");
    se_item *item;
    cr_assert_eq(se_get(e, "held", &item), SE_OK);
    pid_t child = fork();
    if (child == 0) {
        se_item *other;
        bool ok = se_get(e, "held", &other) == SE_ERR_STATE && se_submit(e, "x", "x", 1, NULL) == SE_ERR_STATE &&
                  se_flush(e, 1) == SE_ERR_STATE && se_close(e, 1) == SE_ERR_STATE;
        _exit(ok ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    se_health h;
    cr_assert_eq(se_health_check(e, &h), SE_OK);
    cr_assert(h.healthy && h.ready && h.accepting_writes);
    cr_assert_eq(h.phase, SE_PHASE_RUNNING);
    char *text;
    size_t len;
    cr_assert_eq(se_metrics_text(e, &text, &len), SE_OK);
    cr_assert(strstr(text, "sync_engine_l1_cache_bytes"));
    free(text);
    cr_assert_eq(se_shutdown(e, 10000), SE_OK);
    cr_assert_eq(se_shutdown(e, 10000), SE_OK);
    se_item *other;
    cr_assert_eq(se_get(e, "held", &other), SE_ERR_STATE);
    cr_assert_eq(se_submit(e, "x", "x", 1, NULL), SE_ERR_STATE);
    cr_assert_eq(se_engine_phase(e), SE_PHASE_SHUTTING_DOWN);
    cr_assert_eq(se_close(e, 10000), SE_OK);
    cr_assert_str_eq(se_item_id(item), "held");
    cr_assert(memcmp(se_item_content(item), "still here", 10) == 0);
    se_item_release(item);
    cr_assert_eq(se_close(NULL, 0), SE_OK);
}

Test(embedded, life_fork_shutdown_and_items_that_outlive_it)
{
    each_shape(life);
}

Test(embedded, expiry_ends_an_item_everywhere)
{
    struct bed b;
    bed_make(&b, &shapes[2]);
    se_engine *e = open_bed(&b);
    se_submit_options o;
    se_submit_options_init(&o);
    o.expires_at_ms = 1000; /* long ago */
    cr_assert_eq(se_submit(e, "old", "x", 1, &o), SE_OK);
    expect(e, "old", NULL);
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    cr_assert_eq(se_invalidate(e, "old"), SE_OK);
    expect(e, "old", NULL);
    uint64_t n;
    cr_assert_eq(se_count_prefix(e, "", &n), SE_OK);
    cr_assert_eq(n, 0);
    close_bed(&b, e);
    test_dir_remove(&b.dir);
}

Test(embedded, a_second_engine_on_one_wal_is_refused)
{
    struct bed b;
    bed_make(&b, &shapes[3]);
    se_engine *e = open_bed(&b), *second = NULL;
    cr_assert_eq(se_open(&b.config, &second), SE_ERR_STATE, "%s", se_errmsg());
    cr_assert_null(second);
    close_bed(&b, e);
    test_dir_remove(&b.dir);
}

Test(embedded, a_wal_of_another_database_is_refused)
{
    struct bed b;
    bed_make(&b, &shapes[3]);
    close_bed(&b, open_bed(&b));
    char other[256];
    test_dir_path(&b.dir, "sqlite:", "other.db", other);
    b.config.sql_url = other;
    se_engine *e = NULL;
    cr_assert_eq(se_open(&b.config, &e), SE_ERR_CONFIG);
    cr_assert(strstr(se_errmsg(), "another database"), "%s", se_errmsg());
    test_dir_remove(&b.dir);
}

Test(embedded, read_only_reads_and_writes_nothing)
{
    struct bed b;
    bed_make(&b, &shapes[3]);
    se_engine *e = open_bed(&b), *reader = NULL;
    put(e, "a", "1");
    cr_assert_eq(se_flush(e, 10000), SE_OK);
    b.config.read_only = true;
    cr_assert_eq(se_open(&b.config, &reader), SE_OK, "%s", se_errmsg());
    expect(reader, "a", "1");
    cr_assert_eq(se_submit(reader, "a", "2", 1, NULL), SE_ERR_STATE);
    cr_assert_eq(se_delete(reader, "a", NULL), SE_ERR_STATE);
    cr_assert_eq(se_close(reader, 1000), SE_OK);
    expect(e, "a", "1");
    close_bed(&b, e);
    test_dir_remove(&b.dir);
}
