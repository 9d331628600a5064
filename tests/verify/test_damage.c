/*
 * tests of whole runs over damaged tiers: every kind of damage is counted exactly and put right, in
 * any mixture, with so little memory that it takes many passes.
 */
#include "world.h"

#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>

#define FLOOR_VERSION 500u

struct expected {
    unsigned checked, s2, s3, c2, c3, o2;
    unsigned repaired; /* by a run that repairs; the rest of the findings is unrepairable */
    unsigned hopeless; /* unrepairable by a run that does not repair */
    bool differ;       /* both tiers hold it, and not the same write */
    uint64_t truth;    /* after a repair: what both hold at most; 0: not looked at */
};

struct plan {
    struct world *w;
    size_t i;
    uint64_t low, high;
    bool deep;
};

static void put2(struct plan *p, enum what what, se_item *item)
{
    world_set(p->w, &p->w->l2[p->i], what, item);
}

static void put3(struct plan *p, enum what what, se_item *item)
{
    world_set(p->w, &p->w->l3[p->i], what, item);
    if (what == GARBAGE)
        p->w->l3[p->i].claims = world_random(p->w, 2) ? UINT64_C(1) << 62 : 1;
}

static se_item *item(struct plan *p, uint64_t version)
{
    return world_item(p->w, p->i, version, 0);
}

static void spare(struct plan *p, se_item *it)
{
    p->w->spares[p->i] = it;
}

#define SCENARIOS 37u

static void sound(struct plan *p, unsigned scenario, struct expected *e)
{
    se_item *it;
    e->checked = 1;
    switch (scenario) {
    case 0: /* the same in both */
        it = item(p, p->high);
        put2(p, ITEM, it);
        put3(p, ITEM, se_item_retain(it));
        break;
    case 1: /* not cached */
        put3(p, ITEM, item(p, p->high));
        break;
    case 2: /* deleted */
        put2(p, TOMBSTONE, world_deleted(p->w, p->i, p->high));
        put3(p, TOMBSTONE, world_deleted(p->w, p->i, p->high));
        e->checked = 0;
        break;
    case 3:
        put3(p, TOMBSTONE, world_deleted(p->w, p->i, p->high));
        e->checked = 0;
        break;
    case 4: /* a cache entry, and its row */
        it = world_item(p->w, p->i, p->high, SE_ROUTE_L2);
        put2(p, ITEM, it);
        put3(p, TOMBSTONE, se_item_retain(it));
        break;
    case 5: /* a cache entry whose row was purged */
        put2(p, ITEM, world_item(p->w, p->i, p->high, SE_ROUTE_L2));
        break;
    case 6:
        put2(p, MARK, NULL);
        put3(p, ITEM, item(p, p->high));
        break;
    case 7: /* a delete whose row was purged */
        put2(p, TOMBSTONE, world_deleted(p->w, p->i, p->high));
        e->checked = 0;
        break;
    case 8:
        put2(p, MARK, NULL);
        e->checked = 0;
        break;
    default: /* expired, and swept from L3 */
        put2(p, ITEM,
             se__item_new(&(struct item_spec){.id = p->w->ids[p->i],
                                              .id_len = strlen(p->w->ids[p->i]),
                                              .version = p->high,
                                              .expires_at_ms = 5}));
        break;
    }
}

static void stale(struct plan *p, unsigned scenario, struct expected *e)
{
    *e = (struct expected){.checked = 1, .repaired = 1, .differ = true, .truth = p->high};
    e->s2 = scenario < 15;
    e->s3 = scenario >= 15;
    switch (scenario) {
    case 10: /* an old value put back into Redis */
        put2(p, ITEM, item(p, p->low));
        put3(p, ITEM, item(p, p->high));
        break;
    case 11: /* an old value of what was deleted since */
        put2(p, ITEM, item(p, p->low));
        put3(p, TOMBSTONE, world_deleted(p->w, p->i, p->high));
        break;
    case 12:
        put2(p, TOMBSTONE, world_deleted(p->w, p->i, p->low));
        put3(p, TOMBSTONE, world_deleted(p->w, p->i, p->high));
        e->checked = 0;
        break;
    case 13: /* written to L3 only since */
        put2(p, ITEM, item(p, p->low));
        put3(p, ITEM, world_item(p->w, p->i, p->high, SE_ROUTE_L3));
        break;
    case 14: /* written to L2 only since, and that copy was lost */
        put2(p, ITEM, item(p, p->low));
        put3(p, TOMBSTONE, world_item(p->w, p->i, p->high, SE_ROUTE_L2));
        break;
    case 15: /* a row set back */
        put2(p, ITEM, item(p, p->high));
        put3(p, ITEM, item(p, p->low));
        break;
    case 16:
        put2(p, TOMBSTONE, world_deleted(p->w, p->i, p->high));
        put3(p, ITEM, item(p, p->low));
        break;
    default: /* a cache entry over an item: the row should be a tombstone */
        put2(p, ITEM, world_item(p->w, p->i, p->high, SE_ROUTE_L2));
        put3(p, ITEM, item(p, p->low));
        break;
    }
}

static void garbage(struct plan *p, unsigned scenario, struct expected *e)
{
    *e = (struct expected){.checked = 1, .differ = true, .truth = p->high, .repaired = 1};
    e->c2 = scenario <= 20 || scenario >= 24;
    e->c3 = scenario >= 21;
    switch (scenario) {
    case 18:
        put2(p, GARBAGE, NULL);
        put3(p, ITEM, item(p, p->high));
        break;
    case 19:
        put2(p, GARBAGE, NULL);
        put3(p, TOMBSTONE, world_deleted(p->w, p->i, p->high));
        break;
    case 20: /* under a key that nobody wrote */
        put2(p, GARBAGE, NULL);
        e->differ = false;
        break;
    case 21:
        put2(p, ITEM, item(p, p->high));
        put3(p, GARBAGE, NULL);
        break;
    case 22: /* no copy anywhere */
        put3(p, GARBAGE, NULL);
        e->differ = false;
        e->repaired = 0;
        e->hopeless = 1;
        e->truth = 0;
        break;
    case 23: /* one in L1 */
        put3(p, GARBAGE, NULL);
        spare(p, item(p, p->high));
        e->differ = false;
        break;
    case 24:
        put2(p, GARBAGE, NULL);
        put3(p, GARBAGE, NULL);
        e->repaired = 0;
        e->hopeless = 2;
        e->truth = 0;
        break;
    default:
        put2(p, GARBAGE, NULL);
        put3(p, GARBAGE, NULL);
        spare(p, item(p, p->high));
        e->repaired = 2;
        break;
    }
}

static void broken(struct plan *p, unsigned scenario, struct expected *e)
{
    *e = (struct expected){.checked = 1, .repaired = p->deep, .truth = p->high};
    se_item *it = item(p, p->high);
    switch (scenario) {
    case 26: /* only a DEEP run sees it */
        put2(p, BAD_CONTENT, it);
        put3(p, ITEM, se_item_retain(it));
        e->c2 = p->deep;
        break;
    case 27:
        put2(p, ITEM, it);
        put3(p, BAD_CONTENT, se_item_retain(it));
        e->c3 = p->deep;
        break;
    case 28: /* the newest write is lost, and the older one must not hide it */
        put2(p, ITEM, item(p, p->low));
        put3(p, BAD_CONTENT, it);
        *e = (struct expected){.checked = 1, .s2 = 1, .c3 = 1, .hopeless = 2, .differ = true};
        break;
    case 29:
        put2(p, ITEM, item(p, p->low));
        put3(p, BAD_CONTENT, it);
        spare(p, se_item_retain(it));
        e->s2 = 1;
        e->c3 = 1;
        e->repaired = 2;
        e->differ = true;
        break;
    case 30:
        put2(p, BAD_CONTENT, it);
        put3(p, ITEM, item(p, p->low));
        *e = (struct expected){.checked = 1, .s3 = 1, .c2 = 1, .hopeless = 2, .differ = true};
        break;
    default: /* no row, and these fakes cannot void */
        put2(p, BAD_CONTENT, it);
        *e = (struct expected){.checked = 1, .c2 = 1};
        break;
    }
}

static void other(struct plan *p, unsigned scenario, struct expected *e)
{
    se_item *a, *b;
    *e = (struct expected){.checked = 1, .repaired = 1, .truth = p->high};
    switch (scenario) {
    case 32: /* a row deleted by SQL */
        put2(p, ITEM, item(p, p->high));
        e->o2 = 1;
        break;
    case 33: /* below the purge floor: the row was a tombstone once */
        put2(p, ITEM, item(p, FLOOR_VERSION - 1));
        *e = (struct expected){.checked = 1, .o2 = 1};
        break;
    case 34: /* one version, two writes */
        a = item(p, p->high);
        b = se__item_with_state(a, "x", p->high, 1);
        put2(p, ITEM, a);
        put3(p, ITEM, b);
        e->s2 = se__item_compare(a, b) < 0;
        e->s3 = !e->s2;
        e->differ = true;
        break;
    case 35: /* the row says that it is a delete, and it is not; a guarded write cannot tell */
        a = item(p, p->high);
        put2(p, ITEM, a);
        put3(p, TOMBSTONE, se_item_retain(a));
        e->c3 = 1;
        e->repaired = 0;
        break;
    default: /* an orphan that L1 knows to be deleted */
        put2(p, ITEM, item(p, p->low));
        spare(p, world_deleted(p->w, p->i, p->high));
        e->o2 = 1;
        break;
    }
}

static struct expected set_up(struct world *w, size_t i, unsigned scenario, bool deep)
{
    struct plan p = {.w = w, .i = i, .deep = deep};
    struct expected e = {.checked = 0};
    p.low = ++w->clock;
    p.high = ++w->clock;
    if (scenario < 10)
        sound(&p, scenario, &e);
    else if (scenario < 18)
        stale(&p, scenario, &e);
    else if (scenario < 26)
        garbage(&p, scenario, &e);
    else if (scenario < 32)
        broken(&p, scenario, &e);
    else
        other(&p, scenario, &e);
    return e;
}

static unsigned found(const struct expected *e)
{
    return e->s2 + e->s3 + e->c2 + e->c3 + e->o2;
}

static void add(se_verify_report *sum, const struct expected *e, bool repair)
{
    sum->checked += e->checked;
    sum->stale_l2 += e->s2;
    sum->stale_l3 += e->s3;
    sum->corrupt_l2 += e->c2;
    sum->corrupt_l3 += e->c3;
    sum->orphan_l2 += e->o2;
    sum->repaired += repair ? e->repaired : 0;
    sum->unrepairable += repair ? found(e) - e->repaired : e->hopeless;
    sum->roots_equal = sum->roots_equal && !e->differ;
}

static bool same(const se_verify_report *a, const se_verify_report *b)
{
    return a->checked == b->checked && a->stale_l2 == b->stale_l2 && a->stale_l3 == b->stale_l3 &&
           a->corrupt_l2 == b->corrupt_l2 && a->corrupt_l3 == b->corrupt_l3 &&
           a->orphan_l2 == b->orphan_l2 && a->repaired == b->repaired &&
           a->unrepairable == b->unrepairable && a->roots_equal == b->roots_equal;
}

static const char *text(const se_verify_report *r)
{
    static char out[2][256];
    static unsigned which;
    which ^= 1;
    snprintf(out[which], sizeof out[which],
             "checked %llu stale %llu %llu corrupt %llu %llu orphan %llu repaired %llu not %llu %s",
             (unsigned long long)r->checked, (unsigned long long)r->stale_l2,
             (unsigned long long)r->stale_l3, (unsigned long long)r->corrupt_l2,
             (unsigned long long)r->corrupt_l3, (unsigned long long)r->orphan_l2,
             (unsigned long long)r->repaired, (unsigned long long)r->unrepairable,
             r->roots_equal ? "equal" : "differ");
    return out[which];
}

static uint64_t findings_of(const se_verify_report *r)
{
    return r->stale_l2 + r->stale_l3 + r->corrupt_l2 + r->corrupt_l3 + r->orphan_l2;
}

/* After a repair: L3 has it, or L2 where there need be no row; L2 has it or nothing. */
static void expect_truth(const struct world *w, size_t i, uint64_t truth)
{
    const struct slot *l2 = &w->l2[i], *l3 = &w->l3[i];
    cr_assert(l2->what != GARBAGE && l2->what != BAD_CONTENT);
    cr_assert(l3->what != GARBAGE && l3->what != BAD_CONTENT);
    if (l3->what != NOTHING)
        cr_assert_eq(se_item_version(l3->item), truth);
    if (l2->what == ITEM || l2->what == TOMBSTONE)
        cr_assert_eq(se_item_version(l2->item), truth);
}

struct trial {
    uint64_t seed;
    size_t n, memory;
    bool deep, repair;
    int only; /* one scenario; -1: any mixture, mostly sound */
};

static unsigned choose(struct world *w, const struct trial *t)
{
    if (t->only >= 0)
        return (unsigned)t->only;
    return (unsigned)world_random(w, world_random(w, 3) ? 10 : SCENARIOS);
}

/* Returns how often L2 was surveyed; *settles: how often suspicions were looked at. */
static unsigned run_trial_counted(const struct trial *t, unsigned *settles);

static unsigned run_trial(const struct trial *t)
{
    unsigned settles;
    return run_trial_counted(t, &settles);
}

static unsigned run_trial_counted(const struct trial *t, unsigned *settles)
{
    struct world *w = world_open(t->n, t->seed);
    struct expected *e = calloc(t->n, sizeof *e);
    se_verify_report want = {.roots_equal = true}, got, again;
    struct verify_options o = world_options(w);
    w->l3_floor = FLOOR_VERSION;
    for (size_t i = 0; i < t->n; i++) {
        e[i] = set_up(w, i, choose(w, t), t->deep);
        add(&want, &e[i], t->repair);
    }
    o.deep = t->deep;
    o.repair = t->repair;
    o.memory_max = t->memory;
    cr_assert_eq(se__verify_run(&o, &got), SE_OK, "%s", se_errmsg());
    cr_assert(same(&want, &got), "seed %llu, scenario %d, deep %d, repair %d\nwant %s\ngot  %s",
              (unsigned long long)t->seed, t->only, t->deep, t->repair, text(&want), text(&got));
    cr_assert_eq(w->findings, findings_of(&got));
    cr_assert_eq(w->done, w->total);
    cr_assert_eq(w->done, got.checked);
    for (size_t i = 0; i < t->n; i++) {
        cr_assert_eq(w->damaged[i] != 0, found(&e[i]) > 0);
        if (t->repair && found(&e[i]) > 0 && e[i].repaired == found(&e[i]))
            expect_truth(w, i, e[i].truth);
    }
    unsigned surveys = w->surveys_begun_l2;
    *settles = w->settles;
    if (!t->repair)
        cr_assert_eq(w->writes, 0, "a run that does not repair writes nothing");
    cr_assert_eq(se__verify_run(&o, &again), SE_OK);
    if (t->repair) /* only what could not be repaired is found again */
        cr_assert_eq(findings_of(&again), got.unrepairable, "seed %llu scenario %d: %s after %s",
                     (unsigned long long)t->seed, t->only, text(&again), text(&got));
    else
        cr_assert(same(&again, &got), "a run that does not repair changes nothing");
    free(e);
    world_close(w);
    return surveys;
}

Test(damage, every_kind_alone)
{
    for (int scenario = 0; scenario < (int)SCENARIOS; scenario++)
        for (unsigned how = 0; how < 4; how++)
            run_trial(&(struct trial){.seed = (uint64_t)scenario + 1,
                                      .n = 3,
                                      .deep = how & 1,
                                      .repair = how & 2,
                                      .only = scenario});
}

Test(damage, any_mixture_is_counted_exactly_and_put_right)
{
    for (uint64_t seed = 1; seed <= 3000; seed++)
        run_trial(&(struct trial){
            .seed = seed, .n = 1 + seed % 97, .deep = seed & 1, .repair = seed & 2, .only = -1});
}

Test(damage, many_passes_find_the_same)
{
    unsigned most = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        unsigned surveys = run_trial(&(struct trial){
            .seed = seed, .n = 900, .memory = 1, .deep = seed & 1, .repair = seed & 2, .only = -1});
        most = surveys > most ? surveys : most;
    }
    cr_assert_geq(most, 8, "memory_max was small enough: %u", most);
}

/* More suspicions than are kept, more than a batch holds. */
Test(damage, everything_is_damaged)
{
    unsigned settles;
    run_trial_counted(&(struct trial){.seed = 1, .n = 45000, .repair = true, .only = 10}, &settles);
    cr_assert_eq(settles, 3, "20,000 are open at most");
    run_trial(&(struct trial){.seed = 2, .n = 45000, .repair = true, .only = 32});
    run_trial(&(struct trial){.seed = 3, .n = 2600, .repair = true, .deep = true, .only = 27});
}
