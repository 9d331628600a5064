/*
 * repair - puts the newest good copies where the verdicts want them.
 *
 * L3 first, as with every write: Redis never gets what the database refused. A row that is whole is
 * replaced by a guarded write, so a newer one that came meanwhile stays; a corrupt row claims a
 * version that may be anything, so it is replaced if it is still the very row that was read. L2's
 * guard sees through a damaged header by itself.
 *
 * An orphan is a row that was lost, and goes back into L3. If L3 says that it knows newer, the row was
 * purged as a tombstone once, or written meanwhile: then the copy in L2 is made a miss.
 *
 * In the end every copy that was written is read again. Only what is good then counts as repaired.
 */
#include "verify/inside.h"

#include "base/mem.h"
#include "base/os.h"
#include "l2/redis.h"

#include <stdio.h>
#include <string.h>

struct repair {
    struct run *run;
    struct batch *b;
    struct tier_write *writes; /* of one call */
    size_t *of;                /* whose they are */
    size_t n;
    struct tier_read *again;
};

/* The tier has answered; its text says why not. */
static void note(struct look *look, const char *what)
{
    if (!look->why[0])
        snprintf(look->why, sizeof look->why, "%s", what);
}

static void note_error(struct look *look, const char *what)
{
    char text[sizeof look->why];
    snprintf(text, sizeof text, "%s: %s", what, se_errmsg());
    note(look, text);
}

static se_item *source(const struct batch *b, size_t i, enum repair_source from)
{
    if (from == FROM_SPARE)
        return b->looks[i].spare;
    return from == FROM_L2 ? b->l2[i].item : from == FROM_L3 ? b->l3[i].item : NULL;
}

/* What a tier gets of a write that it is not routed to voids an older copy there; the same rules as
 * flush/route.c. */
static enum record_kind kind_in_l3(const se_item *item)
{
    bool row = !se__item_deleted(item) && (se__item_route(item) & SE_ROUTE_L3);
    return row ? RECORD_ITEM : RECORD_TOMBSTONE;
}

static enum record_kind kind_in_l2(const struct run *run, const se_item *item)
{
    if (se__item_deleted(item))
        return RECORD_TOMBSTONE;
    bool skipped = se__run_has_l3(run) && !(se__item_route(item) & SE_ROUTE_L2);
    return skipped ? RECORD_FLOOR : RECORD_ITEM;
}

/* No version leaves the process above the stored ceiling. */
static bool is_covered(const struct run *run, const se_item *item, struct look *look)
{
    if (!run->o->cover || run->o->cover(run->o->arg, se_item_version(item)) == SE_OK)
        return true;
    note_error(look, "its version cannot be covered");
    return false;
}

/* ---- writing ---- */

static void add_write(struct repair *p, size_t look, se_item *item, enum record_kind kind)
{
    p->of[p->n] = look;
    p->writes[p->n++] = (struct tier_write){.item = item, .kind = kind};
}

static struct tier_reply write_some(struct repair *p, const struct tier *tier, size_t from,
                                    size_t n)
{
    const struct verify_options *o = p->run->o;
    return tier->ops->write(tier->self, o->writer, p->writes + from, n,
                            se__deadline_in(o->timeout_ms));
}

/* One write alone, so that a refusal is its own. */
static se_result write_single(struct repair *p, const struct tier *tier, size_t at)
{
    struct tier_reply reply = write_some(p, tier, at, 1);
    if (reply.fault == TIER_UNWELL)
        return se__run_failed("be written", tier);
    if (reply.fault != TIER_FINE) {
        p->writes[at].state = TIER_NOT_TRIED;
        note_error(&p->b->looks[p->of[at]], "refused");
    }
    return SE_OK;
}

static se_result write_all(struct repair *p, const struct tier *tier)
{
    if (p->n == 0)
        return SE_OK;
    struct tier_reply reply = write_some(p, tier, 0, p->n);
    if (reply.fault == TIER_UNWELL)
        return se__run_failed("be written", tier);
    se_result r = SE_OK;
    for (size_t i = 0; reply.fault != TIER_FINE && r == SE_OK && i < p->n; i++)
        r = write_single(p, tier, i);
    return r;
}

/* ---- L3 ---- */

static se_result mend(struct repair *p, size_t i, se_item *item)
{
    const struct tier *l3 = &p->run->o->l3;
    struct look *look = &p->b->looks[i];
    struct tier_write write = {.item = item, .kind = kind_in_l3(item)};
    if (!l3->ops->mend) {
        note(look, "this database cannot replace a damaged row");
        return SE_OK;
    }
    struct tier_reply reply =
        l3->ops->mend(l3->self, &p->b->l3[i], &write, se__deadline_in(p->run->o->timeout_ms));
    if (reply.fault == TIER_UNWELL)
        return se__run_failed("be mended", l3);
    if (reply.fault != TIER_FINE)
        note_error(look, "refused");
    return SE_OK;
}

static bool was_orphan(const struct look *look)
{
    return look->l3.kind == COPY_NONE && look->verdict.l3_from != FROM_NOWHERE;
}

/* The purge floor, or a newer row: what L2 shows is of the past. */
static void note_newer(struct repair *p)
{
    for (size_t i = 0; i < p->n; i++) {
        struct look *look = &p->b->looks[p->of[i]];
        if (p->writes[i].state == TIER_NEWER && was_orphan(look))
            look->verdict.void_l2 = true;
    }
}

static se_result repair_l3(struct repair *p)
{
    se_result r = SE_OK;
    p->n = 0;
    for (size_t i = 0; r == SE_OK && i < p->b->n; i++) {
        struct look *look = &p->b->looks[i];
        se_item *item = look->moved ? NULL : source(p->b, i, look->verdict.l3_from);
        if (!item || !is_covered(p->run, item, look))
            continue;
        if (look->l3.kind == COPY_CORRUPT)
            r = mend(p, i, item);
        else
            add_write(p, i, item, kind_in_l3(item));
    }
    if (r == SE_OK)
        r = write_all(p, &p->run->o->l3);
    if (r == SE_OK)
        note_newer(p);
    return r;
}

/* ---- reading again ---- */

/* `now` is the write that was to go there, or a newer one. */
static bool is_there(const struct copy *now, const struct copy *wanted, bool live)
{
    if (!se__copy_good(now))
        return false;
    if (now->version != wanted->version)
        return now->version > wanted->version;
    /* A tombstone in place of a live item reads with a hash of its own. */
    if (!live)
        return now->kind == COPY_TOMBSTONE || se__copy_compare(now, wanted) >= 0;
    return now->kind == COPY_LIVE && se__copy_compare(now, wanted) >= 0;
}

static bool l3_is_good(const struct repair *p, size_t i, const struct copy *now)
{
    se_item *item = source(p->b, i, p->b->looks[i].verdict.l3_from);
    struct copy wanted = se__copy_of_item(item);
    return is_there(now, &wanted, kind_in_l3(item) == RECORD_ITEM);
}

/* A miss is as good as the copy, but where L2 is the only tier. */
static bool l2_is_good(const struct repair *p, size_t i, const struct copy *now)
{
    const struct look *look = &p->b->looks[i];
    se_item *item = source(p->b, i, look->verdict.l2_from);
    bool miss = now->kind == COPY_NONE || now->kind == COPY_MARK;
    if (miss)
        return se__run_has_l3(p->run);
    if (!item || look->verdict.void_l2)
        return se__copy_good(now) && now->version > look->l2.version;
    struct copy wanted = se__copy_of_item(item);
    return is_there(now, &wanted, kind_in_l2(p->run, item) == RECORD_ITEM);
}

/* Reads the ids of the looks that are named in `of` again, and asks `is_good` of each. */
static se_result read_again(struct repair *p, const struct tier *tier, bool is_l2)
{
    if (p->n == 0)
        return SE_OK;
    for (size_t k = 0; k < p->n; k++) {
        const struct look *look = &p->b->looks[p->of[k]];
        p->again[k] = (struct tier_read){.id = look->id, .id_len = look->of.id_len};
    }
    struct tier_reply reply =
        tier->ops->read(tier->self, p->again, p->n, se__deadline_in(p->run->o->timeout_ms));
    if (reply.fault != TIER_FINE)
        return se__run_failed("be read", tier);
    for (size_t k = 0; k < p->n; k++) {
        struct look *look = &p->b->looks[p->of[k]];
        struct copy now = se__copy_of_read(&p->again[k]);
        if (is_l2)
            look->mended_l2 = l2_is_good(p, p->of[k], &now);
        else
            look->mended_l3 = l3_is_good(p, p->of[k], &now);
    }
    se__reads_release(p->again, p->n);
    return SE_OK;
}

static se_result check_l3(struct repair *p)
{
    p->n = 0;
    for (size_t i = 0; i < p->b->n; i++)
        if (!p->b->looks[i].moved && source(p->b, i, p->b->looks[i].verdict.l3_from))
            p->of[p->n++] = i;
    return read_again(p, &p->run->o->l3, false);
}

static bool touches_l2(const struct look *look)
{
    return !look->moved && (look->verdict.void_l2 || look->verdict.l2_from != FROM_NOWHERE);
}

static se_result check_l2(struct repair *p)
{
    p->n = 0;
    for (size_t i = 0; i < p->b->n; i++)
        if (touches_l2(&p->b->looks[i]))
            p->of[p->n++] = i;
    se_result r = read_again(p, &p->run->o->l2, true);
    for (size_t k = 0; r == SE_OK && k < p->n; k++) {
        struct look *look = &p->b->looks[p->of[k]];
        look->voided = look->verdict.void_l2 && look->mended_l2;
    }
    return r;
}

/* ---- L2 ---- */

/* False where L3 was to get the same copy and has not: then Redis must not show it either. */
static bool may_go_to_l2(const struct repair *p, size_t i)
{
    const struct look *look = &p->b->looks[i];
    return !look->verdict.void_l2 && (look->mended_l3 || !source(p->b, i, look->verdict.l3_from));
}

static se_result repair_l2(struct repair *p)
{
    p->n = 0;
    for (size_t i = 0; i < p->b->n; i++) {
        struct look *look = &p->b->looks[i];
        se_item *item = look->moved ? NULL : source(p->b, i, look->verdict.l2_from);
        if (!item || !may_go_to_l2(p, i))
            continue;
        if (se__run_has_l3(p->run) || is_covered(p->run, item, look))
            add_write(p, i, item, kind_in_l2(p->run, item));
    }
    return write_all(p, &p->run->o->l2);
}

/* Bytes without a header that could be believed: any write replaces them, and this one has no
 * version that would stand in another's way. */
static se_result void_garbage(struct repair *p, size_t i)
{
    struct look *look = &p->b->looks[i];
    const struct item_spec spec = {.id = look->id, .id_len = look->of.id_len};
    se_item *nothing = se__item_new(&spec);
    if (!nothing)
        return se__error_nomem();
    p->n = 0;
    add_write(p, i, nothing, RECORD_FLOOR);
    se_result r = write_all(p, &p->run->o->l2);
    se_item_release(nothing);
    return r;
}

static se_result void_one(struct repair *p, size_t i)
{
    const struct verify_options *o = p->run->o;
    struct look *look = &p->b->looks[i];
    if (!se__copy_believed(&look->l2))
        return void_garbage(p, i);
    if (!o->redis) {
        note(look, "this cache cannot void a copy");
        return SE_OK;
    }
    struct tier_reply reply =
        se__redis_void(o->redis, &look->id, 1, se__deadline_in(o->timeout_ms));
    if (reply.fault == TIER_UNWELL)
        return se__run_failed("void a copy", &o->l2);
    if (reply.fault != TIER_FINE)
        note_error(look, "not voided");
    return SE_OK;
}

static se_result void_all(struct repair *p)
{
    se_result r = SE_OK;
    for (size_t i = 0; r == SE_OK && i < p->b->n; i++)
        if (!p->b->looks[i].moved && p->b->looks[i].verdict.void_l2)
            r = void_one(p, i);
    return r;
}

/* ---- all of it ---- */

static bool is_needed(const struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct verdict *v = &b->looks[i].verdict;
        if (!b->looks[i].moved &&
            (v->l3_from != FROM_NOWHERE || v->l2_from != FROM_NOWHERE || v->void_l2))
            return true;
    }
    return false;
}

static se_result repair_in_order(struct repair *p)
{
    se_result r = repair_l3(p);
    if (r == SE_OK)
        r = check_l3(p);
    if (r == SE_OK)
        r = repair_l2(p);
    if (r == SE_OK)
        r = void_all(p);
    if (r == SE_OK)
        r = check_l2(p);
    return r;
}

se_result se__repair(struct run *run, struct batch *batch)
{
    struct repair p = {.run = run, .b = batch};
    if (!is_needed(batch))
        return SE_OK;
    p.writes = se__alloc_zeroed(batch->n, sizeof *p.writes);
    p.of = se__alloc_zeroed(batch->n, sizeof *p.of);
    p.again = se__alloc_zeroed(batch->n, sizeof *p.again);
    se_result r = p.writes && p.of && p.again ? repair_in_order(&p) : se__error_nomem();
    se__free(p.writes);
    se__free(p.of);
    se__free(p.again);
    return r;
}
