/*
 * Lists of ids: asked for by MGET while next to nothing is absent, and never answered otherwise than
 * one by one.
 */
#include "l2/fixture.h"

#include <stdio.h>
#include <stdlib.h>

#define IDS 250u

TestSuite(l2_many, .init = l2_setup, .fini = l2_teardown);

static char ids[IDS][16];

static void name_ids(void)
{
    for (unsigned i = 0; i < IDS; i++)
        snprintf(ids[i], sizeof ids[i], "id%06u", i);
}

/* Those with a number that `there` lets through. */
static void fill(bool (*there)(unsigned i))
{
    static struct tier_write writes[IDS];
    size_t n = 0;
    name_ids();
    for (unsigned i = 0; i < IDS; i++)
        if (there(i))
            writes[n++] =
                (struct tier_write){.item = l2_item(ids[i], ids[i], i + 1), .kind = RECORD_ITEM};
    cr_assert_eq(l2.tier.ops->write(l2.tier.self, 0, writes, n, se__deadline_in(PATIENCE_MS)).fault,
                 TIER_FINE);
    for (size_t i = 0; i < n; i++)
        se_item_release(writes[i].item);
}

static void expect(const enum tier_found found[IDS])
{
    static struct tier_read reads[IDS];
    for (unsigned i = 0; i < IDS; i++)
        reads[i] = (struct tier_read){.id = ids[i], .id_len = strlen(ids[i])};
    cr_assert_eq(l2.tier.ops->read(l2.tier.self, reads, IDS, se__deadline_in(PATIENCE_MS)).fault,
                 TIER_FINE, "%s", se_errmsg());
    for (unsigned i = 0; i < IDS; i++) {
        cr_assert_eq(reads[i].found, found[i], "%s", ids[i]);
        cr_assert_eq(reads[i].item != NULL, found[i] == TIER_HIT);
        cr_assert(!reads[i].item || (se_item_version(reads[i].item) == i + 1 &&
                                     strcmp(se_item_id(reads[i].item), ids[i]) == 0));
        se_item_release(reads[i].item);
    }
}

static void ask(const char *command)
{
    char out[256];
    redis_server_ask(&server, out, sizeof out, command);
    cr_assert(strncmp(out, "(error)", 7) != 0, "%s: %s", command, out);
}

/* Since the last CONFIG RESETSTAT. */
static int calls(const char *command)
{
    char stats[8192], what[64];
    snprintf(what, sizeof what, "cmdstat_%s:calls=", command);
    redis_server_ask(&server, stats, sizeof stats, "INFO commandstats");
    const char *at = strstr(stats, what);
    return at ? atoi(at + strlen(what)) : 0;
}

static bool all(unsigned i)
{
    (void)i;
    return true;
}

static bool some(unsigned i)
{
    return i % 50 != 7;
}

static bool none(unsigned i)
{
    (void)i;
    return false;
}

static void set(enum tier_found found[IDS], bool (*there)(unsigned i))
{
    for (unsigned i = 0; i < IDS; i++)
        found[i] = there(i) ? TIER_HIT : TIER_ABSENT;
}

Test(l2_many, what_is_there_takes_one_command_a_hundred)
{
    enum tier_found found[IDS];
    fill(all);
    set(found, all);
    ask("CONFIG RESETSTAT");
    expect(found);
    cr_assert_eq(calls("mget"), 3);
    cr_assert_eq(calls("get"), 0);
}

/* MGET says nil to both. */
Test(l2_many, what_is_absent_and_what_is_no_string_are_told_apart)
{
    enum tier_found found[IDS];
    fill(some);
    set(found, some);
    ask("DEL sync:id000000");
    ask("RPUSH sync:id000000 a b");
    found[0] = TIER_CORRUPT;
    ask("SET sync:id000249 garbage");
    found[249] = TIER_CORRUPT;
    ask("CONFIG RESETSTAT");
    expect(found);
    cr_assert_eq(calls("mget"), 3);
    cr_assert_eq(calls("get"), 6); /* 5 that are absent and the list */
}

Test(l2_many, where_much_is_absent_mget_is_not_tried_again)
{
    enum tier_found found[IDS];
    fill(none);
    set(found, none);
    expect(found);
    ask("CONFIG RESETSTAT");
    expect(found);
    cr_assert_eq(calls("mget"), 0);
    cr_assert_eq(calls("get"), (int)IDS);
}

Test(l2_many, who_may_not_use_mget_is_answered_all_the_same)
{
    enum tier_found found[IDS];
    fill(all);
    set(found, all);
    ask("ACL SETUSER default -mget");
    ask("CONFIG RESETSTAT");
    expect(found);
    cr_assert_eq(calls("get"), (int)IDS);
    expect(found); /* and it is not tried each time */
    char stats[8192];
    redis_server_ask(&server, stats, sizeof stats, "INFO commandstats");
    const char *mget = strstr(stats, "cmdstat_mget:");
    cr_assert(mget && strstr(mget, "rejected_calls=3"), "%s", stats);
    cr_assert_eq(calls("get"), 2 * (int)IDS);
}

/* Records of another generation are voids, and are not asked for again. */
Test(l2_many, what_is_of_another_world_is_void)
{
    enum tier_found found[IDS];
    fill(all);
    for (unsigned i = 0; i < IDS; i++)
        found[i] = TIER_VOID;
    l2_accept(&l2, GENERATION + 1);
    ask("CONFIG RESETSTAT");
    expect(found);
    cr_assert_eq(calls("get"), 0);
}
