/*
 * judge - see judge.h.
 *
 * Two marks of one write need not be equal bytes: the tombstone that L3 keeps of a write routed
 * elsewhere bears that write's hash, which cannot be computed again from the tombstone. So two
 * tombstones of one version are one write.
 */
#include "verify/judge.h"

#include <string.h>

static bool is_good(const struct copy *c)
{
    return c->kind == COPY_LIVE || c->kind == COPY_TOMBSTONE;
}

/* Its version may be believed, whatever became of the content. */
static bool is_believed(const struct copy *c)
{
    return is_good(c) || (c->kind == COPY_CORRUPT && c->header_fits);
}

static bool in_l3(const struct copy *c)
{
    return c->route == 0 || (c->route & SE_ROUTE_L3) != 0;
}

int se__copy_compare(const struct copy *a, const struct copy *b)
{
    if (a->version != b->version)
        return a->version < b->version ? -1 : 1;
    return memcmp(a->record_hash, b->record_hash, SE_HASH_SIZE);
}

bool se__copy_equal(const struct copy *a, const struct copy *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == COPY_CORRUPT && a->header_fits != b->header_fits)
        return false;
    return !is_believed(a) || se__copy_compare(a, b) == 0;
}

bool se__verdict_sound(const struct verdict *v)
{
    return !v->stale_l2 && !v->stale_l3 && !v->corrupt_l2 && !v->corrupt_l3 && !v->orphan_l2;
}

/* As se__copy_compare, of copies that are believed. */
static int order_of(const struct copy *a, const struct copy *b)
{
    if (a->kind == COPY_TOMBSTONE && b->kind == COPY_TOMBSTONE && a->version == b->version)
        return 0;
    return se__copy_compare(a, b);
}

/* The same write in both tiers, and yet one of them says it is a delete. L3 does so rightly for a
 * write that is routed to L2 only. */
static void find_wrong_kind(const struct copy *l2, const struct copy *l3, struct verdict *v)
{
    if (l2->kind == COPY_LIVE && l3->kind == COPY_TOMBSTONE)
        v->corrupt_l3 = in_l3(l2);
    if (l2->kind == COPY_TOMBSTONE && l3->kind == COPY_LIVE)
        v->corrupt_l2 = true;
}

/* A write to L2 only leaves a tombstone in L3, but where no row was alive. */
static bool needs_telling(const struct copy *l2, const struct copy *l3)
{
    return in_l3(l2) || l3->kind != COPY_TOMBSTONE;
}

static void find_flaws(const struct judge_case *c, struct verdict *v)
{
    v->corrupt_l2 = c->has_l2 && c->l2.kind == COPY_CORRUPT;
    v->corrupt_l3 = c->has_l3 && c->l3.kind == COPY_CORRUPT;
    if (!c->has_l2 || !c->has_l3)
        return;
    v->orphan_l2 = c->l2.kind == COPY_LIVE && in_l3(&c->l2) && c->l3.kind == COPY_NONE;
    if (!is_believed(&c->l2) || !is_believed(&c->l3))
        return;
    int order = order_of(&c->l2, &c->l3);
    if (order == 0)
        find_wrong_kind(&c->l2, &c->l3, v);
    v->stale_l2 = order < 0 && is_good(&c->l2);
    v->stale_l3 = order > 0 && is_good(&c->l3) && !c->foreign && needs_telling(&c->l2, &c->l3);
}

struct best {
    const struct copy *copy; /* NULL: there is none */
    enum repair_source from;
};

static void offer(struct best *best, const struct copy *copy, enum repair_source from)
{
    if (is_good(copy) && (!best->copy || order_of(copy, best->copy) > 0))
        *best = (struct best){copy, from};
}

/* The newest good copy, the home tier's among equals; none if a newer write is known to be lost. */
static struct best find_best(const struct judge_case *c, const struct verdict *v)
{
    struct best best = {NULL, FROM_NOWHERE};
    if (c->has_l3 && !v->corrupt_l3)
        offer(&best, &c->l3, FROM_L3);
    if (c->has_l2 && !v->corrupt_l2)
        offer(&best, &c->l2, FROM_L2);
    offer(&best, &c->spare, FROM_SPARE);
    bool outdone = false;
    if (best.copy && v->corrupt_l3 && is_believed(&c->l3))
        outdone = order_of(best.copy, &c->l3) < 0;
    if (best.copy && v->corrupt_l2 && is_believed(&c->l2))
        outdone = outdone || order_of(best.copy, &c->l2) < 0;
    return outdone ? (struct best){NULL, FROM_NOWHERE} : best;
}

/* True for a good copy that is older than the best one, flaw or not: putting only the other tier
 * right would make it stale. */
static bool is_behind(const struct copy *copy, const struct best *best)
{
    return is_good(copy) && order_of(copy, best->copy) < 0;
}

static void find_sources(const struct judge_case *c, const struct best *best, struct verdict *v)
{
    bool l3_lost = c->l3.kind == COPY_NONE && best->copy->kind == COPY_LIVE && in_l3(best->copy);
    bool l3_behind = is_behind(&c->l3, best) && !c->foreign;
    bool l2_behind = is_behind(&c->l2, best);
    bool l3_corrupt = v->corrupt_l3 && !c->l3.unknown;
    if (c->has_l3 && best->from != FROM_L3 && (l3_corrupt || l3_lost || l3_behind))
        v->l3_from = best->from;
    if (c->has_l2 && best->from != FROM_L2 && (v->corrupt_l2 || l2_behind))
        v->l2_from = best->from;
}

struct verdict se__judge(const struct judge_case *c)
{
    struct verdict v = {.l2_from = FROM_NOWHERE};
    find_flaws(c, &v);
    if (se__verdict_sound(&v))
        return v;
    struct best best = find_best(c, &v);
    if (best.copy)
        find_sources(c, &best, &v);
    else
        v.void_l2 = v.corrupt_l2 && c->has_l3 && c->l3.kind == COPY_NONE && !is_good(&c->spare);
    return v;
}
