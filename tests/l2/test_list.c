/*
 * Listing ids, and the engine's own named values.
 */
#include "l2/fixture.h"

#include <stdio.h>

/* Everything that means something to a glob. */
#define ODD_PREFIX "s[a-z]*?\\{x}:"

static void setup(void)
{
    l2_start(NULL, &(struct l2_options){.prefix = ODD_PREFIX, .readers = 2});
}

TestSuite(l2_list, .init = setup, .fini = l2_teardown);

static struct tier_ids list(const char *prefix)
{
    struct tier_ids ids = {0};
    struct tier_reply reply =
        l2.tier.ops->list(l2.tier.self, prefix, &ids, se__deadline_in(PATIENCE_MS));
    cr_assert_eq(reply.fault, TIER_FINE, "%s", se_errmsg());
    return ids;
}

static void expect_list(const char *prefix, size_t n, const char *const *wanted)
{
    struct tier_ids ids = list(prefix);
    cr_assert_eq(ids.n, n, "%s: %zu", prefix, ids.n);
    for (size_t i = 0; i < n; i++)
        cr_assert_str_eq(ids.ids[i], wanted[i]);
    se__tier_ids_done(&ids);
}

static void put(const char *id)
{
    cr_assert_eq(l2_put(&l2, l2_item(id, "x", 1), RECORD_ITEM), TIER_STORED);
}

Test(l2_list, a_prefix_is_bytes_and_no_pattern)
{
    static const char *const IDS[] = {"*star",    "?mark",    "[ab]",  "\\back",      "a",
                                      "userX1:x", "user_1:x", "{tag}", "\xc3\xa4rger"};
    for (size_t i = 0; i < sizeof IDS / sizeof *IDS; i++)
        put(IDS[i]);
    expect_list("", 9, IDS);
    expect_list("*", 1, (const char *const[]){"*star"});
    expect_list("?", 1, (const char *const[]){"?mark"});
    expect_list("[ab]", 1, (const char *const[]){"[ab]"});
    expect_list("\\", 1, (const char *const[]){"\\back"});
    expect_list("user_1:", 1, (const char *const[]){"user_1:x"});
    expect_list("{", 1, (const char *const[]){"{tag}"});
    expect_list("\xc3\xa4", 1, (const char *const[]){"\xc3\xa4rger"});
    expect_list("nobody", 0, NULL);
}

Test(l2_list, other_keys_are_not_listed)
{
    char out[64];
    put("a");
    l2.tier.ops->meta_put(l2.tier.self, "n", "v", se__deadline_in(PATIENCE_MS));
    redis_server_ask(&server, out, sizeof out, "SET sbb:other x"); /* fits the prefix as a glob */
    redis_server_ask(&server, out, sizeof out, "SET %s x", ODD_PREFIX);
    redis_server_ask(&server, out, sizeof out, "SET %s%b x", ODD_PREFIX, "nul\0l", (size_t)5);
    redis_server_ask(&server, out, sizeof out, "SET %s%b x", ODD_PREFIX, "bad\xff", (size_t)4);
    redis_server_ask(&server, out, sizeof out, "SET %s%0300d x", ODD_PREFIX, 1);
    expect_list("", 1, (const char *const[]){"a"});
}

Test(l2_list, many_ids_come_once_each_and_sorted)
{
    enum { N = 5000 };
    static struct tier_write writes[N];
    static char ids[N][16];
    for (size_t i = 0; i < N; i++) {
        snprintf(ids[i], sizeof ids[i], "id%06zu", i);
        writes[i] = (struct tier_write){.item = l2_item(ids[i], "x", 1), .kind = RECORD_ITEM};
    }
    cr_assert_eq(l2.tier.ops->write(l2.tier.self, 0, writes, N, se__deadline_in(PATIENCE_MS)).fault,
                 TIER_FINE);
    struct tier_ids found = list("id");
    cr_assert_eq(found.n, (size_t)N);
    for (size_t i = 0; i < N; i++) {
        cr_assert_str_eq(found.ids[i], ids[i]);
        se_item_release(writes[i].item);
    }
    se__tier_ids_done(&found);
    found = list("id0000");
    cr_assert_eq(found.n, 100u);
    se__tier_ids_done(&found);
}

Test(l2_list, a_scan_ends_at_its_deadline)
{
    struct tier_ids ids = {0};
    put("a");
    redis_server_pause(&server);
    struct tier_reply reply = l2.tier.ops->list(l2.tier.self, "", &ids, se__deadline_in(100));
    cr_assert_eq(reply.fault, TIER_UNWELL);
    cr_assert(reply.timed_out);
    cr_assert_eq(ids.n, 0u);
    redis_server_resume(&server);
}

/* ---- meta ---- */

static void expect_meta(const char *name, const char *wanted)
{
    struct buf value = {0};
    bool found = false;
    struct tier_reply reply =
        l2.tier.ops->meta_get(l2.tier.self, name, &value, &found, se__deadline_in(PATIENCE_MS));
    cr_assert_eq(reply.fault, TIER_FINE, "%s", se_errmsg());
    cr_assert_eq(found, wanted != NULL);
    if (wanted) {
        cr_assert_eq(value.len, strlen(wanted));
        cr_assert(value.len == 0 || memcmp(value.data, wanted, value.len) == 0);
    }
    se__buf_done(&value);
}

static void meta_put(const char *name, const char *value)
{
    cr_assert_eq(
        l2.tier.ops->meta_put(l2.tier.self, name, value, se__deadline_in(PATIENCE_MS)).fault,
        TIER_FINE);
}

Test(l2_list, meta_values_are_put_got_and_deleted)
{
    expect_meta("a", NULL);
    meta_put("a", "1");
    meta_put("a", "2 with spaces");
    expect_meta("a", "2 with spaces");
    meta_put("empty", "");
    expect_meta("empty", "");
    cr_assert_eq(l2.tier.ops->meta_delete(l2.tier.self, "a", se__deadline_in(PATIENCE_MS)).fault,
                 TIER_FINE);
    expect_meta("a", NULL);
}

Test(l2_list, meta_add_keeps_what_is_there)
{
    struct buf now = {0};
    uint64_t deadline = se__deadline_in(PATIENCE_MS);
    cr_assert_eq(l2.tier.ops->meta_add(l2.tier.self, "a", "first", &now, deadline).fault,
                 TIER_FINE);
    cr_assert(now.len == 5 && memcmp(now.data, "first", 5) == 0);
    cr_assert_eq(l2.tier.ops->meta_add(l2.tier.self, "a", "second", &now, deadline).fault,
                 TIER_FINE);
    cr_assert(now.len == 5 && memcmp(now.data, "first", 5) == 0);
    expect_meta("a", "first");
    se__buf_done(&now);
}

struct visited {
    int n;
    bool good;
};

static void visit(void *arg, const char *name, const char *value)
{
    struct visited *v = arg;
    v->n++;
    v->good = v->good && strncmp(name, "owner:", 6) == 0 && value[0] == 'v';
}

Test(l2_list, meta_list_visits_the_names_of_a_prefix)
{
    struct visited v = {.good = true};
    meta_put("owner:1", "v1");
    meta_put("owner:2", "v2");
    meta_put("own", "x");
    meta_put("ceiling", "y");
    cr_assert_eq(
        l2.tier.ops->meta_list(l2.tier.self, "owner:", visit, &v, se__deadline_in(PATIENCE_MS))
            .fault,
        TIER_FINE);
    cr_assert_eq(v.n, 2);
    cr_assert(v.good);
}

/* A clock's ceiling must not go back because an older put comes late. */
Test(l2_list, a_meta_put_that_comes_too_late_does_nothing)
{
    char stats[8192] = "";
    meta_put("ceiling", "100");
    redis_server_ask(&server, stats, sizeof stats, "CONFIG RESETSTAT");
    redis_server_pause(&server);
    struct tier_reply reply =
        l2.tier.ops->meta_put(l2.tier.self, "ceiling", "50", se__deadline_in(150));
    cr_assert(reply.fault == TIER_UNWELL && reply.timed_out);
    redis_server_resume(&server);
    for (uint64_t end = se__deadline_in(PATIENCE_MS);
         !strstr(stats, "cmdstat_evalsha") && se__deadline_left(end) > 0;)
        redis_server_ask(&server, stats, sizeof stats, "INFO commandstats");
    cr_assert(strstr(stats, "cmdstat_evalsha"));
    expect_meta("ceiling", "100");
}
