/*
 * Read-through: leases, fills, and voiding.
 */
#include "l2/fixture.h"

#include <stdio.h>

static struct l2 other; /* a second engine on the same Redis */

static void setup(void)
{
    l2_setup();
    l2_open(&other, &server, NULL);
}

static void teardown(void)
{
    l2_close(&other);
    l2_teardown();
}

TestSuite(l2_lease, .init = setup, .fini = teardown);

static struct tier_read read_of(struct l2 *l, const char *id)
{
    struct tier_read read = {.id = id, .id_len = strlen(id)};
    struct tier_reply reply =
        l->tier.ops->read(l->tier.self, &read, 1, se__deadline_in(PATIENCE_MS));
    cr_assert_eq(reply.fault, TIER_FINE, "%s", se_errmsg());
    return read;
}

static struct redis_lease lease_on(struct l2 *l, struct tier_read read)
{
    struct redis_lease lease = {.taken = true};
    struct tier_reply reply =
        se__redis_lease(l->redis, &read, &lease, 1, se__deadline_in(PATIENCE_MS));
    cr_assert_eq(reply.fault, TIER_FINE, "%s", se_errmsg());
    return lease;
}

/* Reads and leases, as a read-through does. */
static struct redis_lease take(struct l2 *l, const char *id)
{
    struct tier_read read = read_of(l, id);
    se_item_release(read.item);
    return lease_on(l, read);
}

static void fill(struct l2 *l, se_item *item, const struct redis_lease *lease)
{
    struct tier_reply reply =
        se__redis_fill(l->redis, &item, lease, 1, se__deadline_in(PATIENCE_MS));
    cr_assert_eq(reply.fault, TIER_FINE, "%s", se_errmsg());
    se_item_release(item);
}

static void void_id(struct l2 *l, const char *id)
{
    struct tier_reply reply = se__redis_void(l->redis, &id, 1, se__deadline_in(PATIENCE_MS));
    cr_assert_eq(reply.fault, TIER_FINE, "%s", se_errmsg());
}

Test(l2_lease, an_absent_id_is_leased_and_filled)
{
    struct redis_lease lease = take(&l2, "a");
    cr_assert(lease.taken);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    long px = l2_pttl(&l2, "a");
    cr_assert(px > 20000 && px <= 30000, "%ld", px);
    fill(&l2, l2_item("a", "loaded", 4), &lease);
    cr_assert(l2_holds(&l2, "a", "loaded", 4));
    cr_assert_eq(l2_pttl(&l2, "a"), -1);
}

Test(l2_lease, one_of_two_readers_gets_the_lease)
{
    struct tier_read mine = read_of(&l2, "a"), theirs = read_of(&other, "a");
    cr_assert(lease_on(&l2, mine).taken);
    cr_assert(!lease_on(&other, theirs).taken);
    cr_assert(!take(&other, "a").taken);
}

Test(l2_lease, a_write_between_lease_and_fill_wins)
{
    struct redis_lease lease = take(&l2, "a");
    cr_assert_eq(l2_put(&other, l2_item("a", "written", 9), RECORD_ITEM), TIER_STORED);
    fill(&l2, l2_item("a", "read before", 5), &lease);
    cr_assert(l2_holds(&l2, "a", "written", 9));
    /* Even with a greater version: it is no longer the lease's. */
    fill(&l2, l2_item("a", "read before", 50), &lease);
    cr_assert(l2_holds(&l2, "a", "written", 9));
}

Test(l2_lease, a_delete_between_lease_and_fill_wins)
{
    struct redis_lease lease = take(&l2, "a");
    l2_put(&other, l2_tombstone("a", 9), RECORD_TOMBSTONE);
    fill(&l2, l2_item("a", "read before", 5), &lease);
    se_item *item = NULL;
    cr_assert_eq(l2_get(&l2, "a", &item), TIER_HIT);
    cr_assert(se__item_deleted(item));
    se_item_release(item);
}

Test(l2_lease, a_fill_without_its_lease_stores_nothing)
{
    char out[64];
    struct redis_lease lease = take(&l2, "a");
    redis_server_ask(&server, out, sizeof out, "DEL sync:a"); /* evicted, expired */
    fill(&l2, l2_item("a", "x", 5), &lease);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_ABSENT);
    /* Nor in place of somebody else's. */
    struct redis_lease theirs = take(&other, "a");
    cr_assert(theirs.taken);
    fill(&l2, l2_item("a", "x", 5), &lease);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    fill(&other, l2_item("a", "y", 5), &theirs);
    cr_assert(l2_holds(&other, "a", "y", 5)); /* nobody waits for a fill but who comes after it */
}

Test(l2_lease, tombstones_floors_and_items_are_not_leased)
{
    l2_put(&l2, l2_item("item", "x", 5), RECORD_ITEM);
    l2_put(&l2, l2_tombstone("gone", 5), RECORD_TOMBSTONE);
    l2_put(&l2, l2_item("floor", "x", 5), RECORD_FLOOR);
    static const char *const IDS[] = {"item", "gone", "floor"};
    for (size_t i = 0; i < 3; i++) {
        /* Also for a reader that saw the id absent just before. */
        struct tier_read read = {.id = IDS[i], .id_len = strlen(IDS[i]), .found = TIER_ABSENT};
        cr_assert(!take(&l2, IDS[i]).taken, "%s", IDS[i]);
        cr_assert(!lease_on(&l2, read).taken, "%s", IDS[i]);
    }
}

Test(l2_lease, another_generations_record_is_leased)
{
    l2_put(&l2, l2_item("a", "x", 5), RECORD_ITEM);
    l2_put(&l2, l2_tombstone("b", 5), RECORD_TOMBSTONE);
    cr_assert(take(&l2, "c").taken);
    l2_accept(&l2, GENERATION + 1);
    cr_assert(take(&l2, "a").taken);
    cr_assert(take(&l2, "b").taken);
    cr_assert(take(&l2, "c").taken);
}

Test(l2_lease, garbage_is_leased_and_filled)
{
    char out[64];
    redis_server_ask(&server, out, sizeof out, "SET sync:text hello");
    redis_server_ask(&server, out, sizeof out, "RPUSH sync:list a b");
    l2_put(&l2, l2_item("flip", "abcdef", 5), RECORD_ITEM);
    redis_server_ask(&server, out, sizeof out, "SETRANGE sync:flip 90 X");
    static const char *const IDS[] = {"text", "list", "flip"};
    for (size_t i = 0; i < 3; i++) {
        struct redis_lease lease = take(&l2, IDS[i]);
        cr_assert(lease.taken, "%s", IDS[i]);
        fill(&l2, l2_item(IDS[i], "good", 5), &lease);
        cr_assert(l2_holds(&l2, IDS[i], "good", 5), "%s", IDS[i]);
    }
}

Test(l2_lease, garbage_that_has_changed_since_it_was_seen_is_left)
{
    char out[64];
    l2_put(&l2, l2_item("a", "abcdef", 5), RECORD_ITEM);
    redis_server_ask(&server, out, sizeof out, "SETRANGE sync:a 90 X");
    struct tier_read read = read_of(&l2, "a");
    cr_assert_eq(read.found, TIER_CORRUPT);
    l2_put(&other, l2_item("a", "newer", 6), RECORD_ITEM);
    cr_assert(!lease_on(&l2, read).taken);
    cr_assert(l2_holds(&l2, "a", "newer", 6));
}

Test(l2_lease, what_has_expired_or_is_not_there_is_not_filled)
{
    struct redis_lease lease = take(&l2, "a");
    struct item_spec spec = {.id = "a",
                             .id_len = 1,
                             .content = "x",
                             .content_len = 1,
                             .version = 5,
                             .expires_at_ms = se__wall_ms() - 1};
    fill(&l2, se__item_new(&spec), &lease);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    fill(&l2, NULL, &lease);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    spec.expires_at_ms = se__wall_ms() + 60000;
    fill(&l2, se__item_new(&spec), &lease);
    cr_assert(l2_holds(&l2, "a", "x", 5));
    cr_assert(l2_pttl(&l2, "a") <= 60000 && l2_pttl(&l2, "a") > 0);
}

Test(l2_lease, many_at_once_take_one_call_each)
{
    enum { N = 250 };
    static struct tier_read reads[N];
    static struct redis_lease leases[N];
    static se_item *items[N];
    static char ids[N][8];
    uint64_t deadline = se__deadline_in(PATIENCE_MS);
    for (size_t i = 0; i < N; i++) {
        snprintf(ids[i], sizeof ids[i], "m%03zu", i);
        reads[i] = (struct tier_read){.id = ids[i], .id_len = strlen(ids[i])};
        if (i % 3 == 0)
            l2_put(&other, l2_item(ids[i], "there", 1), RECORD_ITEM);
    }
    cr_assert_eq(l2.tier.ops->read(l2.tier.self, reads, N, deadline).fault, TIER_FINE);
    cr_assert_eq(se__redis_lease(l2.redis, reads, leases, N, deadline).fault, TIER_FINE);
    for (size_t i = 0; i < N; i++) {
        cr_assert_eq(leases[i].taken, i % 3 != 0);
        se_item_release(reads[i].item);
        items[i] = leases[i].taken ? l2_item(ids[i], "filled", 2) : NULL;
    }
    cr_assert_eq(se__redis_fill(l2.redis, items, leases, N, deadline).fault, TIER_FINE);
    for (size_t i = 0; i < N; i++) {
        cr_assert(l2_holds(&l2, ids[i], i % 3 ? "filled" : "there", i % 3 ? 2 : 1));
        se_item_release(items[i]);
    }
}

/* ---- fills that nobody waits for ---- */

Test(l2_lease, nobody_waits_for_a_fill)
{
    struct redis_lease lease = take(&l2, "a");
    redis_server_pause(&server);
    fill(&l2, l2_item("a", "loaded", 4), &lease); /* has returned, while nobody could answer */
    redis_server_resume(&server);
    cr_assert(l2_holds(&l2, "a", "loaded", 4));
}

Test(l2_lease, answers_that_nobody_waited_for_answer_nobody_else)
{
    for (int i = 0; i < 100; i++) {
        char id[16];
        snprintf(id, sizeof id, "id%d", i);
        struct redis_lease lease = take(&l2, id);
        cr_assert(lease.taken);
        fill(&l2, l2_item(id, id, 4), &lease);
        cr_assert(l2_holds(&l2, id, id, 4));
    }
}

Test(l2_lease, a_fill_whose_script_is_forgotten_is_the_last_to_fail)
{
    char out[64];
    struct redis_lease lease = take(&l2, "a"), next = take(&l2, "b");
    redis_server_ask(&server, out, sizeof out, "SCRIPT FLUSH");
    fill(&l2, l2_item("a", "loaded", 4), &lease);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    fill(&l2, l2_item("b", "loaded", 4), &next);
    cr_assert(l2_holds(&l2, "b", "loaded", 4));
}

/* The pool hands out no connection whose other end has gone, whatever still lies in it. */
Test(l2_lease, an_answer_left_behind_by_a_dead_server_hides_nothing)
{
    struct redis_lease lease = take(&l2, "a");
    fill(&l2, l2_item("a", "loaded", 4), &lease);
    redis_server_restart(&server, false);
    struct tier_read read = {.id = "a", .id_len = 1};
    cr_assert_eq(l2.tier.ops->read(l2.tier.self, &read, 1, se__deadline_in(PATIENCE_MS)).fault,
                 TIER_FINE, "%s", se_errmsg());
    cr_assert_eq(read.found, TIER_VOID); /* another server: not accepted yet */
}

Test(l2_lease, a_large_fill_is_waited_for)
{
    static char content[200001];
    memset(content, 'x', sizeof content - 1);
    struct redis_lease lease = take(&l2, "a");
    fill(&l2, l2_item("a", content, 4), &lease);
    cr_assert(l2_holds(&other, "a", content, 4));
}

/* ---- leases that a read takes ---- */

static struct tier_read leasing_read(struct l2 *l, const char *id)
{
    struct tier_read read = {.id = id, .id_len = strlen(id), .wants_lease = true};
    struct tier_reply reply =
        l->tier.ops->read(l->tier.self, &read, 1, se__deadline_in(PATIENCE_MS));
    cr_assert_eq(reply.fault, TIER_FINE, "%s", se_errmsg());
    return read;
}

/* Until much of what was read was absent. */
static void miss_much(struct l2 *l)
{
    for (int i = 0; i < 20; i++)
        (void)read_of(l, "nothing");
}

static unsigned calls_of(const char *command)
{
    static char out[16384];
    char key[64];
    redis_server_ask(&server, out, sizeof out, "INFO commandstats");
    snprintf(key, sizeof key, "cmdstat_%s:calls=", command);
    const char *at = strstr(out, key);
    unsigned calls = 0;
    if (at)
        cr_assert_eq(sscanf(at + strlen(key), "%u", &calls), 1);
    return calls;
}

Test(l2_lease, a_read_leases_what_is_absent_once_much_is)
{
    cr_assert(!leasing_read(&l2, "first").leased);
    miss_much(&l2);
    unsigned scripts = calls_of("evalsha");
    struct tier_read read = leasing_read(&l2, "a");
    cr_assert_eq(read.found, TIER_ABSENT);
    cr_assert(read.leased);
    cr_assert_eq(calls_of("evalsha"), scripts);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    long px = l2_pttl(&l2, "a");
    cr_assert(px > 20000 && px <= 30000, "%ld", px);
    struct redis_lease lease = {.taken = true};
    memcpy(lease.token, read.token, sizeof lease.token);
    fill(&l2, l2_item("a", "loaded", 4), &lease);
    cr_assert(l2_holds(&l2, "a", "loaded", 4));
}

Test(l2_lease, a_leasing_read_leaves_what_is_there)
{
    l2_put(&l2, l2_item("a", "x", 5), RECORD_ITEM);
    char out[64];
    redis_server_ask(&server, out, sizeof out, "LPUSH sync:list 1");
    miss_much(&l2);
    struct tier_read read = leasing_read(&l2, "a");
    cr_assert_eq(read.found, TIER_HIT);
    cr_assert(!read.leased);
    se_item_release(read.item);
    cr_assert(l2_holds(&l2, "a", "x", 5));
    miss_much(&l2);
    read = leasing_read(&l2, "list");
    cr_assert_eq(read.found, TIER_CORRUPT);
    cr_assert(!read.leased);
    miss_much(&l2);
    cr_assert(leasing_read(&l2, "b").leased);
    read = leasing_read(&l2, "b"); /* somebody's lease */
    cr_assert_eq(read.found, TIER_VOID);
    cr_assert(!read.leased);
}

Test(l2_lease, a_write_in_place_of_a_reads_lease_stays)
{
    miss_much(&l2);
    struct tier_read read = leasing_read(&l2, "a");
    cr_assert(read.leased);
    l2_put(&other, l2_item("a", "written", 2), RECORD_ITEM);
    struct redis_lease lease = {.taken = true};
    memcpy(lease.token, read.token, sizeof lease.token);
    fill(&l2, l2_item("a", "read before", 1), &lease);
    cr_assert(l2_holds(&l2, "a", "written", 2));
}

Test(l2_lease, a_server_that_takes_no_leases_still_answers_reads)
{
    char out[64];
    l2_put(&l2, l2_item("a", "x", 5), RECORD_ITEM);
    miss_much(&l2);
    redis_server_ask(&server, out, sizeof out, "CONFIG SET maxmemory 1");
    struct tier_read read = leasing_read(&l2, "a");
    cr_assert_eq(read.found, TIER_HIT);
    se_item_release(read.item);
    read = leasing_read(&l2, "b");
    cr_assert_eq(read.found, TIER_ABSENT);
    cr_assert(!read.leased);
}

/* ---- void ---- */

Test(l2_lease, a_voided_item_is_a_floor_of_its_version)
{
    l2_put(&l2, l2_item("a", "x", 5), RECORD_ITEM);
    void_id(&l2, "a");
    struct tier_read read = read_of(&l2, "a");
    cr_assert_eq(read.found, TIER_VOID);
    cr_assert_eq(read.seen_len, RECORD_HEADER_SIZE);
    cr_assert_eq(read.seen[3], RECORD_FLOOR);
    cr_assert(l2_pttl(&l2, "a") > 590000);
    cr_assert_eq(l2_put(&l2, l2_item("a", "w", 4), RECORD_ITEM), TIER_NEWER);
    /* The write that was voided does not come back by being repeated. */
    cr_assert_eq(l2_put(&l2, l2_item("a", "x", 5), RECORD_ITEM), TIER_STORED);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    cr_assert_eq(l2_put(&l2, l2_item("a", "y", 6), RECORD_ITEM), TIER_STORED);
    cr_assert(l2_holds(&l2, "a", "y", 6));
}

Test(l2_lease, a_void_keeps_state_and_expiry_in_the_order_of_ties)
{
    struct item_spec spec = {.id = "a",
                             .id_len = 1,
                             .content = "x",
                             .content_len = 1,
                             .version = 5,
                             .state = "busy",
                             .cache_ttl_ms = 90000,
                             .expires_at_ms = se__wall_ms() + 90000,
                             .content_type = SE_CONTENT_JSON,
                             .route = SE_ROUTE_L2};
    se_item *item = se__item_new(&spec);
    se_item_retain(item);
    l2_put(&l2, item, RECORD_ITEM);
    void_id(&l2, "a");
    cr_assert_eq(l2_put(&l2, item, RECORD_ITEM), TIER_STORED);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
}

Test(l2_lease, a_void_ends_leases_so_that_no_fill_brings_the_old_copy)
{
    struct redis_lease lease = take(&other, "a");
    void_id(&l2, "a");
    fill(&other, l2_item("a", "read before the void", 5), &lease);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    cr_assert_eq(l2_put(&l2, l2_item("a", "x", 1), RECORD_ITEM), TIER_STORED);
    cr_assert(l2_holds(&l2, "a", "x", 1));
}

Test(l2_lease, a_void_leaves_everything_else)
{
    char out[64];
    const char *ids[] = {"absent", "gone", "old"};
    l2_put(&l2, l2_tombstone("gone", 5), RECORD_TOMBSTONE);
    l2_put(&l2, l2_item("old", "x", 5), RECORD_ITEM);
    l2_accept(&l2, GENERATION + 1);
    cr_assert_eq(se__redis_void(l2.redis, ids, 3, se__deadline_in(PATIENCE_MS)).fault, TIER_FINE);
    redis_server_ask(&server, out, sizeof out, "EXISTS sync:absent");
    cr_assert_str_eq(out, "0");
    cr_assert(l2_holds(&other, "old", "x", 5));
    cr_assert_eq(l2_get(&other, "gone", NULL), TIER_HIT);
}

/* Without a good copy anywhere, that is all that can be done for it. */
Test(l2_lease, a_void_makes_a_miss_of_what_does_not_decode)
{
    char out[64];
    const char *ids[] = {"empty", "flipped", "list", "newer", "text"};
    redis_server_ask(&server, out, sizeof out, "SET sync:empty %b", "", (size_t)0);
    l2_put(&l2, l2_item("flipped", "x", 5), RECORD_ITEM);
    redis_server_ask(&server, out, sizeof out, "SETRANGE sync:flipped 30 ?");
    redis_server_ask(&server, out, sizeof out, "RPUSH sync:list a b");
    l2_put(&l2, l2_item("newer", "x", 5), RECORD_ITEM);
    redis_server_ask(&server, out, sizeof out, "SETRANGE sync:newer 12 ?");
    redis_server_ask(&server, out, sizeof out, "SET sync:text hello");
    for (size_t i = 0; i < 5; i++)
        cr_assert_eq(l2_get(&l2, ids[i], NULL), TIER_CORRUPT, "%s", ids[i]);
    cr_assert_eq(se__redis_void(l2.redis, ids, 5, se__deadline_in(PATIENCE_MS)).fault, TIER_FINE);
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(l2_get(&l2, ids[i], NULL), TIER_VOID, "%s", ids[i]);
        cr_assert(l2_pttl(&l2, ids[i]) > 590000);
        cr_assert_eq(l2_put(&l2, l2_item(ids[i], "x", 1), RECORD_ITEM), TIER_STORED);
    }
}

/* The header is whole, so the floor has its version; the content behind it is lost. */
Test(l2_lease, a_void_of_damaged_content_keeps_the_version)
{
    char out[64];
    const char *ids[] = {"a"};
    l2_put(&l2, l2_item("a", "content", 5), RECORD_ITEM);
    redis_server_ask(&server, out, sizeof out, "SETRANGE sync:a %d K", (int)RECORD_HEADER_SIZE);
    cr_assert_eq(se__redis_void(l2.redis, ids, 1, se__deadline_in(PATIENCE_MS)).fault, TIER_FINE);
    cr_assert_eq(l2_get(&l2, "a", NULL), TIER_VOID);
    cr_assert_eq(l2_put(&l2, l2_item("a", "x", 4), RECORD_ITEM), TIER_NEWER);
}

struct writer {
    struct l2 l2;
    _Atomic bool stop;
    uint64_t written;
};

static void write_on(void *arg)
{
    struct writer *w = arg;
    while (!w->stop)
        l2_put(&w->l2, l2_item("hot", "x", ++w->written), RECORD_ITEM);
}

/* Whatever void and writes do at the same time, what is left is a floor or a write
 * not older than the void saw. */
Test(l2_lease, voids_and_writes_of_one_id_keep_its_order)
{
    struct writer w = {.stop = false};
    struct se__thread thread = {.started = false};
    const char *id = "hot";
    l2_open(&w.l2, &server, NULL);
    cr_assert_eq(se__thread_start(&thread, "writer", write_on, &w), SE_OK);
    uint64_t before = 0;
    for (int i = 0; i < 200; i++) {
        struct tier_reply reply = se__redis_void(l2.redis, &id, 1, se__deadline_in(PATIENCE_MS));
        cr_assert(reply.fault == TIER_FINE || reply.fault == TIER_CONFLICT);
        se_item *item = NULL;
        if (l2_get(&l2, id, &item) == TIER_HIT) {
            cr_assert(se_item_version(item) >= before);
            before = se_item_version(item);
        }
        se_item_release(item);
    }
    w.stop = true;
    se__thread_join(&thread);
    l2_close(&w.l2);
}
