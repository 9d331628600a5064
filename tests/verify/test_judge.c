/*
 * tests of judge: the table in the header row by row, and what holds in every case there is.
 */
#include "verify/judge.h"

#include "support/test.h"

#include <stdio.h>
#include <string.h>

#define BOTH ITEM_ROUTE_ALL

static struct copy copy(int kind, uint64_t version, uint8_t hash, uint8_t route, bool fits)
{
    struct copy c = {.version = version, .route = route, .header_fits = fits};
    c.kind = (unsigned)kind;
    c.record_hash[0] = hash;
    return c;
}

#define NONE copy(COPY_NONE, 0, 0, 0, false)
#define MARK copy(COPY_MARK, 0, 0, BOTH, false)
#define LIVE(v) copy(COPY_LIVE, v, 1, BOTH, false)
#define CACHED(v) copy(COPY_LIVE, v, 1, SE_ROUTE_L2, false)
#define GONE(v) copy(COPY_TOMBSTONE, v, 1, BOTH, false)
#define BROKEN(v) copy(COPY_CORRUPT, v, 1, BOTH, true)
#define GARBAGE copy(COPY_CORRUPT, 99, 3, BOTH, false)

/* A verdict as letters: s/c/o for stale, corrupt, orphan and the tier, then "2<" and "3<" with the
 * source, "void". */
static const char *say(const struct verdict *v)
{
    static char text[64];
    static const char *const FROM[] = {
        [FROM_NOWHERE] = "", [FROM_L2] = "L2", [FROM_L3] = "L3", [FROM_SPARE] = "spare"};
    snprintf(text, sizeof text, "%s%s%s%s%s%s%s%s%s%s", v->stale_l2 ? "s2 " : "",
             v->stale_l3 ? "s3 " : "", v->corrupt_l2 ? "c2 " : "", v->corrupt_l3 ? "c3 " : "",
             v->orphan_l2 ? "o2 " : "", v->l2_from ? "2<" : "", FROM[v->l2_from],
             v->l3_from ? "3<" : "", FROM[v->l3_from], v->void_l2 ? "void" : "");
    return text;
}

static const char *verdict(struct copy l2, struct copy l3, struct copy spare, bool foreign)
{
    struct judge_case c = {
        .has_l2 = true, .has_l3 = true, .foreign = foreign, .l2 = l2, .l3 = l3, .spare = spare};
    struct verdict v = se__judge(&c);
    return say(&v);
}

#define EXPECT(l2, l3, spare, text) cr_assert_str_eq(verdict(l2, l3, spare, false), text)

Test(judge, what_is_sound)
{
    EXPECT(LIVE(5), LIVE(5), NONE, "");
    EXPECT(GONE(5), GONE(5), NONE, "");
    EXPECT(CACHED(5), GONE(5), NONE, "");
    EXPECT(CACHED(5), NONE, NONE, "");
    EXPECT(CACHED(5), GONE(4), NONE, ""); /* no row of a dead id is put for it */
    EXPECT(GONE(5), NONE, NONE, "");
    EXPECT(NONE, LIVE(5), NONE, "");
    EXPECT(MARK, LIVE(5), NONE, "");
    EXPECT(MARK, GONE(5), NONE, "");
    EXPECT(MARK, NONE, NONE, "");
    EXPECT(NONE, NONE, LIVE(9), "");
    EXPECT(LIVE(5), LIVE(5), LIVE(6), "");
}

Test(judge, two_tombstones_of_one_version_are_one_write)
{
    struct copy stands_for_a_put = copy(COPY_TOMBSTONE, 5, 77, BOTH, false);
    EXPECT(GONE(5), stands_for_a_put, NONE, "");
    EXPECT(stands_for_a_put, GONE(5), NONE, "");
}

Test(judge, stale_copies_get_the_newer)
{
    EXPECT(LIVE(4), LIVE(5), NONE, "s2 2<L3");
    EXPECT(LIVE(4), GONE(5), NONE, "s2 2<L3");
    EXPECT(GONE(4), LIVE(5), NONE, "s2 2<L3");
    EXPECT(CACHED(4), GONE(5), NONE, "s2 2<L3");
    EXPECT(LIVE(5), LIVE(4), NONE, "s3 3<L2");
    EXPECT(GONE(5), LIVE(4), NONE, "s3 3<L2");
    EXPECT(CACHED(5), LIVE(4), NONE, "s3 3<L2");
    EXPECT(LIVE(5), GONE(4), NONE, "s3 3<L2");
}

Test(judge, of_equal_versions_the_greater_hash_is_newer)
{
    EXPECT(copy(COPY_LIVE, 5, 1, BOTH, 0), copy(COPY_LIVE, 5, 2, BOTH, 0), NONE, "s2 2<L3");
    EXPECT(copy(COPY_LIVE, 5, 2, BOTH, 0), copy(COPY_LIVE, 5, 1, BOTH, 0), NONE, "s3 3<L2");
}

Test(judge, a_newer_l2_is_lag_where_others_write)
{
    cr_assert_str_eq(verdict(LIVE(5), LIVE(4), NONE, true), "");
    cr_assert_str_eq(verdict(LIVE(4), LIVE(5), NONE, true), "s2 2<L3");
    cr_assert_str_eq(verdict(LIVE(5), NONE, NONE, true), "o2 3<L2");
    cr_assert_str_eq(verdict(GARBAGE, LIVE(4), NONE, true), "c2 2<L3");
}

Test(judge, an_orphan_is_a_row_that_was_lost)
{
    EXPECT(LIVE(5), NONE, NONE, "o2 3<L2");
    EXPECT(LIVE(5), NONE, LIVE(6), "o2 2<spare3<spare");
    EXPECT(LIVE(5), NONE, GONE(6), "o2 2<spare");
    EXPECT(LIVE(5), NONE, LIVE(4), "o2 3<L2");
}

Test(judge, corrupt_copies_get_a_good_one)
{
    EXPECT(GARBAGE, LIVE(5), NONE, "c2 2<L3");
    EXPECT(GARBAGE, GONE(5), NONE, "c2 2<L3");
    EXPECT(BROKEN(5), LIVE(5), NONE, "c2 2<L3");
    EXPECT(LIVE(5), GARBAGE, NONE, "c3 3<L2");
    EXPECT(GONE(5), GARBAGE, NONE, "c3 3<L2");
    EXPECT(LIVE(5), BROKEN(5), NONE, "c3 3<L2");
    EXPECT(NONE, GARBAGE, LIVE(3), "c3 3<spare");
    EXPECT(GARBAGE, GARBAGE, LIVE(3), "c2 c3 2<spare3<spare");
    EXPECT(GARBAGE, LIVE(3), LIVE(5), "c2 2<spare3<spare");
    EXPECT(GARBAGE, NONE, LIVE(5), "c2 2<spare3<spare");
    EXPECT(GARBAGE, NONE, GONE(5), "c2 2<spare");
}

/* Nothing says that it is damaged: a newer library reads it. */
Test(judge, a_row_of_an_unknown_encoding_is_never_replaced)
{
    struct copy unknown = BROKEN(5);
    unknown.unknown = true;
    EXPECT(LIVE(5), unknown, NONE, "c3 ");
    EXPECT(LIVE(6), unknown, NONE, "c3 ");
    EXPECT(NONE, unknown, LIVE(9), "c3 ");
    EXPECT(GARBAGE, unknown, NONE, "c2 c3 ");
    EXPECT(LIVE(4), unknown, NONE, "s2 c3 ");
}

Test(judge, what_cannot_be_repaired_is_left_alone)
{
    EXPECT(NONE, GARBAGE, NONE, "c3 ");
    EXPECT(MARK, GARBAGE, NONE, "c3 ");
    EXPECT(NONE, BROKEN(5), NONE, "c3 ");
    EXPECT(GARBAGE, GARBAGE, NONE, "c2 c3 ");
}

Test(judge, a_newer_write_that_was_lost_is_not_hidden_by_an_older)
{
    EXPECT(LIVE(4), BROKEN(5), NONE, "s2 c3 ");
    EXPECT(LIVE(4), BROKEN(5), LIVE(4), "s2 c3 ");
    EXPECT(LIVE(4), BROKEN(5), LIVE(5), "s2 c3 2<spare3<spare");
    EXPECT(LIVE(6), BROKEN(5), NONE, "c3 3<L2");
    EXPECT(BROKEN(5), LIVE(4), NONE, "s3 c2 ");
    EXPECT(BROKEN(5), LIVE(4), LIVE(6), "s3 c2 2<spare3<spare");
    EXPECT(BROKEN(4), LIVE(5), NONE, "c2 2<L3");
    EXPECT(BROKEN(5), NONE, LIVE(4), "c2 ");
}

Test(judge, garbage_that_nobody_can_replace_becomes_a_miss)
{
    EXPECT(GARBAGE, NONE, NONE, "c2 void");
    EXPECT(BROKEN(5), NONE, NONE, "c2 void");
}

Test(judge, the_same_write_cannot_be_a_delete_in_one_tier_only)
{
    EXPECT(LIVE(5), GONE(5), NONE, "c3 3<L2");
    EXPECT(GONE(5), LIVE(5), NONE, "c2 2<L3");
}

Test(judge, one_tier_alone_is_only_corrupt_or_not)
{
    struct judge_case c = {.has_l2 = true, .l2 = GARBAGE, .l3 = NONE, .spare = NONE};
    struct verdict v = se__judge(&c);
    cr_assert_str_eq(say(&v), "c2 ", "the home is never voided");
    c.spare = LIVE(5);
    v = se__judge(&c);
    cr_assert_str_eq(say(&v), "c2 2<spare");
    c.l2 = LIVE(4);
    v = se__judge(&c);
    cr_assert_str_eq(say(&v), "");
    c = (struct judge_case){.has_l3 = true, .l2 = NONE, .l3 = GARBAGE, .spare = LIVE(5)};
    v = se__judge(&c);
    cr_assert_str_eq(say(&v), "c3 3<spare");
}

/* ---- every case ---- */

static size_t all_copies(struct copy *out)
{
    size_t n = 0;
    out[n++] = NONE;
    out[n++] = MARK;
    out[n++] = copy(COPY_CORRUPT, 2, 1, BOTH, false);
    for (uint64_t v = 1; v <= 3; v++)
        for (uint8_t hash = 1; hash <= 2; hash++)
            for (uint8_t route = 1; route <= 3; route++)
                for (int kind = COPY_LIVE; kind <= COPY_CORRUPT; kind++)
                    if (kind != COPY_MARK)
                        out[n++] = copy(kind, v, hash, route, kind == COPY_CORRUPT);
    return n;
}

static bool good(const struct copy *c)
{
    return c->kind == COPY_LIVE || c->kind == COPY_TOMBSTONE;
}

static bool believed(const struct copy *c)
{
    return good(c) || (c->kind == COPY_CORRUPT && c->header_fits);
}

static bool not_older(const struct copy *a, const struct copy *b)
{
    return !believed(b) || se__copy_compare(a, b) >= 0 ||
           (a->version == b->version && a->kind == COPY_TOMBSTONE && b->kind == COPY_TOMBSTONE);
}

static const struct copy *from(const struct judge_case *c, enum repair_source source)
{
    return source == FROM_L2 ? &c->l2 : source == FROM_L3 ? &c->l3 : &c->spare;
}

/* A copy that goes anywhere is good, and nothing that is known of the id is newer. */
static void check_source(const struct judge_case *c, enum repair_source source)
{
    const struct copy *s = from(c, source);
    if (source == FROM_NOWHERE)
        return;
    cr_assert(good(s));
    if (c->has_l2)
        cr_assert(not_older(s, &c->l2));
    if (c->has_l3 && !c->foreign)
        cr_assert(not_older(s, &c->l3));
    cr_assert(not_older(s, &c->spare));
}

static void check_case(const struct judge_case *c)
{
    struct verdict v = se__judge(c);
    check_source(c, v.l2_from);
    check_source(c, v.l3_from);
    cr_assert(v.l2_from != FROM_L2 && v.l3_from != FROM_L3);
    cr_assert(v.l2_from == FROM_NOWHERE || c->has_l2);
    cr_assert(v.l3_from == FROM_NOWHERE || c->has_l3);
    cr_assert(!c->has_l2 || c->l2.kind != COPY_CORRUPT || v.corrupt_l2);
    cr_assert(!c->has_l3 || c->l3.kind != COPY_CORRUPT || v.corrupt_l3);
    if (se__verdict_sound(&v))
        cr_assert(!v.l2_from && !v.l3_from && !v.void_l2);
    cr_assert(!(v.stale_l2 && v.stale_l3), "one of them is the newer");
    cr_assert(!v.void_l2 || (!v.l2_from && !v.l3_from && c->l3.kind == COPY_NONE));
    if (c->has_l2 && (c->l2.kind == COPY_NONE || c->l2.kind == COPY_MARK))
        cr_assert(!v.l2_from && !v.stale_l2 && !v.corrupt_l2 && !v.orphan_l2);
}

Test(judge, every_case_keeps_the_rules)
{
    struct copy all[128];
    size_t n = all_copies(all);
    for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b < n; b++)
            for (size_t s = 0; s < n; s++)
                for (unsigned flags = 0; flags < 8; flags++) {
                    struct judge_case c = {.has_l2 = flags & 1,
                                           .has_l3 = flags & 2,
                                           .foreign = flags & 4,
                                           .l2 = flags & 1 ? all[a] : NONE,
                                           .l3 = flags & 2 ? all[b] : NONE,
                                           .spare = all[s]};
                    if ((flags & 3) == 0 || all[b].kind == COPY_MARK || all[s].kind == COPY_MARK ||
                        all[s].kind == COPY_CORRUPT)
                        continue;
                    check_case(&c);
                }
}

Test(judge, copies_are_equal_in_what_counts)
{
    struct copy a = LIVE(5), b = LIVE(5), c = GARBAGE, d = GARBAGE;
    b.route = SE_ROUTE_L3;
    d.version = 1;
    cr_assert(se__copy_equal(&a, &b) && se__copy_equal(&c, &d));
    b.record_hash[15] = 1;
    cr_assert(!se__copy_equal(&a, &b));
    d.header_fits = true;
    cr_assert(!se__copy_equal(&c, &d) && !se__copy_equal(&a, &c));
    cr_assert(se__copy_compare(&a, &b) < 0 && se__copy_compare(&b, &a) > 0);
}
