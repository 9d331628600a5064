/*
 * bodies - what must hold on every shape of the engine: each public call, with and without each tier.
 */
#include "integration/bed.h"

#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void body_basics(const struct shape *shape, struct bed *b)
{
    se_engine *e = bed_open(b);
    bed_expect(e, "a", NULL);
    bed_put(e, "a", "1");
    bed_expect(e, "a", "1");
    bed_put(e, "a", "2");
    bed_expect(e, "a", "2");
    bed_put(e, "A", "upper");
    bed_put(e, "a ", "blank");
    bed_expect(e, "a", "2");
    bed_expect(e, "A", "upper");
    bed_expect(e, "a ", "blank");
    cr_assert_eq(se_len(e), 3);
    cr_assert_eq(se_delete(e, "a", NULL), SE_OK);
    bed_expect(e, "a", NULL);
    cr_assert_eq(se_delete(e, "never was", NULL), SE_OK);
    bool found = true;
    cr_assert_eq(se_contains(e, "a", &found), SE_OK);
    cr_assert(!found);
    cr_assert_eq(se_contains(e, "A", &found), SE_OK);
    cr_assert(found);
    bed_put(e, "empty", "");
    bed_expect(e, "empty", "");
    char buffer[4];
    size_t len = 99;
    cr_assert_eq(se_get_copy(e, "A", buffer, sizeof buffer, &len), SE_OK);
    cr_assert_eq(len, 5);
    cr_assert(memcmp(buffer, "uppe", 4) == 0);
    cr_assert_eq(se_get_copy(e, "a", buffer, sizeof buffer, &len), SE_NOT_FOUND);
    cr_assert_eq(se_flush(e, 10000), SE_OK, "%s: %s", shape->name, se_errmsg());
    bed_expect(e, "A", "upper");
    bed_close(b, e);
}

void body_survives(const struct shape *shape, struct bed *b)
{
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = SE_ACK_WAL;
    se_engine *e = bed_open(b);
    for (int i = 0; i < 500; i++) {
        char id[32], content[32];
        snprintf(id, sizeof id, "id:%03d", i);
        snprintf(content, sizeof content, "content %d", i);
        cr_assert_geq(se_submit(e, id, content, strlen(content), i % 10 ? NULL : &o), 0, "%s",
                      se_errmsg());
    }
    cr_assert_eq(se_delete(e, "id:100", &o), SE_OK);
    bed_close(b, e);
    e = bed_open(b);
    bool durable = shape->sql || shape->redis;
    bed_expect(e, "id:000", durable || shape->wal ? "content 0" : NULL);
    bed_expect(e, "id:001", durable ? "content 1" : NULL);
    bed_expect(e, "id:100", NULL);
    uint64_t n = 0;
    cr_assert_eq(se_count_prefix(e, "id:", &n), SE_OK);
    cr_assert_eq(n,
                 durable      ? 499u
                 : shape->wal ? 49u
                              : 0u,
                 "%s: %llu", shape->name, (unsigned long long)n);
    bed_close(b, e);
}

void body_batches(const struct shape *shape, struct bed *b)
{
    (void)shape;
    se_engine *e = bed_open(b);
    se_put puts[3] = {{.id = "m1", .content = "1", .len = 1},
                      {.id = "m2", .content = "2", .len = 1},
                      {.id = "m1", .content = "3", .len = 1}};
    se_batch_result out;
    cr_assert_eq(se_submit_many(e, puts, 3, &out), SE_OK, "%s", se_errmsg());
    cr_assert(out.total == 3 && out.succeeded == 3 && out.failed == 0);
    cr_assert(puts[2].version > puts[0].version);
    bed_expect(e, "m1", "3");
    bed_expect(e, "m2", "2");
    se_put bad[3] = {{.id = "n1", .content = "1", .len = 1},
                     {.id = "", .content = "2", .len = 1},
                     {.id = "n3", .content = "3", .len = 1}};
    cr_assert_eq(se_submit_many(e, bad, 3, &out), SE_ERR_INVALID);
    cr_assert(out.failed == 3 && bad[0].result == SE_ERR_ABORTED &&
              bad[1].result == SE_ERR_INVALID && bad[2].result == SE_ERR_ABORTED);
    bed_expect(e, "n1", NULL);
    const char *ids[] = {"m1", "n1", "m2", "m1"};
    se_item *items[4];
    se_result results[4];
    cr_assert_eq(se_get_many(e, ids, 4, items, results), SE_OK);
    cr_assert(results[0] == SE_OK && results[1] == SE_NOT_FOUND && results[2] == SE_OK &&
              results[3] == SE_OK);
    cr_assert_null(items[1]);
    for (int i = 0; i < 4; i++)
        se_item_release(items[i]);
    cr_assert_eq(se_get_many(e, ids, 4, items, NULL), SE_OK);
    for (int i = 0; i < 4; i++)
        se_item_release(items[i]);
    cr_assert_eq(se_delete_many(e, ids, 4, &out), SE_OK);
    bed_expect(e, "m1", NULL);
    bed_expect(e, "m2", NULL);
    bed_close(b, e);
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

void body_scans(const struct shape *shape, struct bed *b)
{
    se_submit_options red;
    se_submit_options_init(&red);
    red.state = "red";
    se_engine *e = bed_open(b);
    bed_put(e, "user_1:a", "x");
    bed_put(e, "userX1:a", "x");
    cr_assert_eq(se_submit(e, "user_1:b", "x", 1, &red), SE_OK);
    bed_put(e, "user_1:%", "x");
    if (shape->sql || shape->redis)
        cr_assert_eq(se_flush(e, 10000), SE_OK);
    bed_put(e, "user_1:c", "unflushed");
    bed_put(e, "user_1:d", "x");
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
    bed_expect(e, "userX1:a", "x");
    bed_expect(e, "user_1:a", NULL);
    cr_assert_eq(se_count_prefix(e, "", &n), SE_OK);
    cr_assert_eq(n, 1);
    bed_put(e, "s1", "x");
    cr_assert_eq(se_set_state(e, "s1", "gone"), SE_OK);
    cr_assert_eq(se_delete_state(e, "gone", &n), SE_OK);
    cr_assert_eq(n, 1);
    bed_expect(e, "s1", NULL);
    bed_close(b, e);
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

void body_aside(const struct shape *shape, struct bed *b)
{
    (void)shape;
    se_engine *e = bed_open(b);
    int runs = 0;
    se_item *item;
    cr_assert_eq(se_get_or_insert_with(e, "made", make, &runs, NULL, &item), SE_OK, "%s",
                 se_errmsg());
    cr_assert_eq(se_item_content_len(item), 4);
    se_item_release(item);
    cr_assert_eq(se_get_or_insert_with(e, "made", make, &runs, NULL, &item), SE_OK);
    se_item_release(item);
    cr_assert_eq(runs, 1);
    cr_assert_eq(se_get_or_insert_with(e, "fails", fail, NULL, NULL, &item), SE_ERR_IO);
    cr_assert_null(item);
    bed_expect(e, "fails", NULL);
    struct inner in = {.e = e};
    cr_assert_eq(se_get_or_insert_with(e, "self", ask_inside, &in, NULL, &item), SE_OK);
    cr_assert_eq(in.result, SE_ERR_STATE);
    se_item_release(item);
    cr_assert_eq(se_delete(e, "made", NULL), SE_OK);
    cr_assert_eq(se_get_or_insert_with(e, "made", make, &runs, NULL, &item), SE_OK);
    se_item_release(item);
    cr_assert_eq(runs, 2);
    bed_close(b, e);
}

static void body_bad_verify(const struct shape *shape, se_engine *e)
{
    se_merkle_node node, children[16];
    se_verify_options o;
    se_verify_report report;
    bool tiers = shape->sql != NO_SQL || shape->redis;
    cr_assert_eq(se_merkle_root(e, SE_TIER_L3, &node),
                 shape->sql == NO_SQL ? SE_ERR_UNSUPPORTED : SE_OK);
    cr_assert_eq(se_merkle_root(e, SE_TIER_L2, &node), shape->redis ? SE_OK : SE_ERR_UNSUPPORTED);
    cr_assert_eq(se_merkle_root(e, SE_TIER_L3, NULL), SE_ERR_INVALID);
    cr_assert_eq(se_merkle_children(e, SE_TIER_L3, 4, 0, children), SE_ERR_INVALID);
    cr_assert_eq(se_merkle_prefix(e, SE_TIER_L3, "a\n", &node), SE_ERR_INVALID);
    cr_assert_eq(se_verify(e, NULL, NULL), SE_ERR_INVALID);
    cr_assert_eq(se_verify(e, NULL, &report), tiers ? SE_OK : SE_ERR_UNSUPPORTED);
    if (!tiers)
        return;
    se_verify_options_init(&o);
    o.mode = (se_verify_mode)7;
    cr_assert_eq(se_verify(e, &o, &report), SE_ERR_INVALID);
    se_verify_options_init(&o);
    o.after = "\x01";
    cr_assert_eq(se_verify(e, &o, &report), SE_ERR_INVALID);
    o.struct_size = 0;
    cr_assert_eq(se_verify(e, &o, &report), SE_ERR_INVALID);
}

void body_bad_input(const struct shape *shape, struct bed *b)
{
    b->config.max_payload_bytes = 100;
    se_engine *e = bed_open(b);
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
    if (!shape->redis)
        cr_assert_eq(se_submit(e, "a", "x", 1, &o), SE_ERR_INVALID);
    o.route = SE_ROUTE_L3;
    if (shape->sql == NO_SQL)
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
    bed_expect(e, "a", "{}");
    body_bad_verify(shape, e);
    bed_close(b, e);
}

void body_types(const struct shape *shape, struct bed *b)
{
    (void)shape;
    se_engine *e = bed_open(b);
    unsigned char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (unsigned char)i;
    cr_assert_eq(se_submit(e, "bytes", all, sizeof all, NULL), SE_OK);
    const char *json = " {\"b\" : 1.0, \"a\":\t\"\xf0\x9f\x98\x80\"} ";
    bed_put(e, "json", json);
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
    bed_close(b, e);
}

void body_life(const struct shape *shape, struct bed *b)
{
    (void)shape;
    se_engine *e = bed_open(b);
    bed_put(e, "held", "still here");
    se_item *item;
    cr_assert_eq(se_get(e, "held", &item), SE_OK);
    pid_t child = fork();
    if (child == 0) {
        se_item *other;
        bool ok = se_get(e, "held", &other) == SE_ERR_STATE &&
                  se_submit(e, "x", "x", 1, NULL) == SE_ERR_STATE &&
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
