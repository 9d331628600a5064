/*
 * report - counts what was found, tells the caller and the operator.
 */
#include "verify/inside.h"

#include <stdio.h>
#include <string.h>

#define LINES_MAX 20u

/* How a flaw is counted. */
struct count {
    se_tier tier;
    unsigned flaw; /* FLAW_* */
    uint64_t *reported;
    enum metric found;
    enum metric corrupt, healed; /* METRIC_COUNT: not corrupt */
};

static const char *name_of(se_tier tier)
{
    return tier == SE_TIER_L2 ? "L2" : "L3";
}

static void log_finding(struct run *run, const struct verify_finding *f)
{
    static const char *const FLAWS[] = {
        [FLAW_STALE] = "stale", [FLAW_CORRUPT] = "corrupt", [FLAW_ORPHAN] = "an orphan"};
    if (run->lines == LINES_MAX) {
        run->lines_left++;
        return;
    }
    run->lines++;
    se__log(run->o->log, SE_LOG_WARN, "verify.finding",
            (const struct se__field[]){se__text("id", f->id),
                                       se__text("tier", name_of(f->tier)),
                                       se__text("flaw", FLAWS[f->flaw]),
                                       se__number("repaired", f->repaired),
                                       {0}},
            "verify: \"%.64s\" in %s is %s%s: %s", f->id, name_of(f->tier), FLAWS[f->flaw],
            f->repaired ? ", repaired" : "", f->detail);
}

void se__report_end(struct run *run)
{
    if (run->lines_left > 0)
        se__log(run->o->log, SE_LOG_WARN, "verify.more",
                (const struct se__field[]){se__number("findings", run->lines_left), {0}},
                "verify: %llu more findings are not shown", (unsigned long long)run->lines_left);
}

static void count_finding(struct run *run, const struct count *c, bool repaired, bool hopeless)
{
    struct metrics *m = run->o->metrics;
    ++*c->reported;
    run->report->repaired += repaired;
    run->report->unrepairable += hopeless;
    if (repaired && c->healed != METRIC_COUNT)
        se__metrics_inc(m, c->healed);
    if (run->healing)
        return;
    se__metrics_inc(m, c->found);
    if (c->corrupt != METRIC_COUNT)
        se__metrics_inc(m, c->corrupt);
    if (repaired)
        se__metrics_inc(m, M_VERIFY_REPAIRED);
}

/* possible: there is a good copy to put there. */
static void tell(struct run *run, const struct count *c, const struct look *look,
                 const char *detail, bool mended, bool possible)
{
    bool hopeless = run->o->repair ? !mended : !possible;
    char text[512];
    snprintf(text, sizeof text, "%s%s%s", detail,
             !hopeless      ? ""
             : !possible    ? "; no tier has a good copy of it"
             : look->why[0] ? "; not repaired: "
                            : "; not repaired",
             hopeless && possible ? look->why : "");
    struct verify_finding f = {
        .id = look->id, .tier = c->tier, .flaw = c->flaw, .repaired = mended, .detail = text};
    count_finding(run, c, mended, hopeless);
    log_finding(run, &f);
    if (run->o->finding)
        run->o->finding(run->o->arg, &f);
}

/* ---- what was found, in words ---- */

static void hex(const uint8_t hash[SE_HASH_SIZE], char out[2 * SE_HASH_SIZE + 1])
{
    for (size_t i = 0; i < SE_HASH_SIZE; i++)
        snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

static void describe_packed(const struct tier_flaw *flaw, char *out, size_t cap)
{
    char text[160];
    se__tier_flaw_text(flaw, text, sizeof text);
    snprintf(out, cap, "version %llu: the row %s", (unsigned long long)flaw->version, text);
}

static void describe_corrupt(const struct tier_read *read, char *out, size_t cap)
{
    char expected[2 * SE_HASH_SIZE + 1], actual[2 * SE_HASH_SIZE + 1];
    hex(read->flaw.expected, expected);
    hex(read->flaw.actual, actual);
    if (read->found != TIER_CORRUPT)
        snprintf(out, cap, "one tier says that this write is a delete, the other that it is not");
    else if (read->flaw.header_fits && read->flaw.pack != TIER_PACK_NONE)
        describe_packed(&read->flaw, out, cap);
    else if (read->flaw.header_fits && strcmp(expected, actual) == 0)
        snprintf(out, cap,
                 "version %llu: the content is whole, and does not belong to such a record",
                 (unsigned long long)read->flaw.version);
    else if (read->flaw.header_fits)
        snprintf(out, cap, "version %llu: the content hash should be %s and is %s",
                 (unsigned long long)read->flaw.version, expected, actual);
    else
        snprintf(out, cap, "the record does not decode, or does not fit its own hashes");
}

static void describe_stale(const struct copy *stale, const struct copy *other, se_tier other_tier,
                           char *out, size_t cap)
{
    char mine[2 * SE_HASH_SIZE + 1], theirs[2 * SE_HASH_SIZE + 1];
    if (stale->version != other->version) {
        snprintf(out, cap, "version %llu, while %s has version %llu",
                 (unsigned long long)stale->version, name_of(other_tier),
                 (unsigned long long)other->version);
        return;
    }
    hex(stale->record_hash, mine);
    hex(other->record_hash, theirs);
    snprintf(out, cap, "version %llu with record hash %s, while %s has %s, which is greater",
             (unsigned long long)stale->version, mine, name_of(other_tier), theirs);
}

/* ---- one id ---- */

static void tell_l2(struct run *run, const struct look *look, const struct tier_read *l2)
{
    const struct verdict *v = &look->verdict;
    bool possible = v->l2_from != FROM_NOWHERE || v->void_l2;
    char detail[256];
    if (v->stale_l2) {
        struct count c = {SE_TIER_L2,        FLAW_STALE,   &run->report->stale_l2,
                          M_VERIFY_STALE_L2, METRIC_COUNT, METRIC_COUNT};
        describe_stale(&look->l2, &look->l3, SE_TIER_L3, detail, sizeof detail);
        tell(run, &c, look, detail, look->mended_l2, possible);
    }
    if (v->corrupt_l2) {
        struct count c = {SE_TIER_L2,          FLAW_CORRUPT, &run->report->corrupt_l2,
                          M_VERIFY_CORRUPT_L2, M_CORRUPT_L2, M_HEALED_L2};
        describe_corrupt(l2, detail, sizeof detail);
        tell(run, &c, look, detail, look->mended_l2, possible);
    }
}

static void tell_l3(struct run *run, const struct look *look, const struct tier_read *l3)
{
    const struct verdict *v = &look->verdict;
    bool possible = v->l3_from != FROM_NOWHERE;
    char detail[256];
    if (v->stale_l3) {
        struct count c = {SE_TIER_L3,        FLAW_STALE,   &run->report->stale_l3,
                          M_VERIFY_STALE_L3, METRIC_COUNT, METRIC_COUNT};
        describe_stale(&look->l3, &look->l2, SE_TIER_L2, detail, sizeof detail);
        tell(run, &c, look, detail, look->mended_l3, possible);
    }
    if (v->corrupt_l3) {
        struct count c = {SE_TIER_L3,          FLAW_CORRUPT, &run->report->corrupt_l3,
                          M_VERIFY_CORRUPT_L3, M_CORRUPT_L3, M_HEALED_L3};
        describe_corrupt(l3, detail, sizeof detail);
        tell(run, &c, look, detail, look->mended_l3, possible);
    }
}

static void tell_orphan(struct run *run, const struct look *look)
{
    const struct verdict *v = &look->verdict;
    struct count c = {SE_TIER_L2,         FLAW_ORPHAN,  &run->report->orphan_l2,
                      M_VERIFY_ORPHAN_L2, METRIC_COUNT, METRIC_COUNT};
    bool row_back = v->l3_from != FROM_NOWHERE && look->mended_l3;
    char detail[256];
    snprintf(detail, sizeof detail, "version %llu, and L3 has no row of it",
             (unsigned long long)look->l2.version);
    tell(run, &c, look, detail,
         row_back || look->voided || (v->l3_from == FROM_NOWHERE && look->mended_l2),
         v->l3_from != FROM_NOWHERE || v->l2_from != FROM_NOWHERE || v->void_l2);
}

/* Where both tiers hold the id, is it the same write by what their headers say? */
static bool leaves_differ(const struct look *look)
{
    const struct copy *a = &look->l2, *b = &look->l3;
    if (a->kind == COPY_NONE || a->kind == COPY_MARK || b->kind == COPY_NONE)
        return false;
    if (a->kind == COPY_TOMBSTONE && b->kind == COPY_TOMBSTONE)
        return a->version != b->version;
    return !se__copy_believed(a) || !se__copy_believed(b) || se__copy_compare(a, b) != 0;
}

void se__report_look(struct run *run, const struct look *look, const struct tier_read *l2,
                     const struct tier_read *l3)
{
    if (leaves_differ(look))
        run->report->roots_equal = false;
    tell_l2(run, look, l2);
    tell_l3(run, look, l3);
    if (look->verdict.orphan_l2)
        tell_orphan(run, look);
}

void se__report_unreadable(struct run *run, const char *id, size_t id_len)
{
    struct look look = {.id = id, .of = {.id_len = id_len}};
    struct count c = {SE_TIER_L3,          FLAW_CORRUPT, &run->report->corrupt_l3,
                      M_VERIFY_CORRUPT_L3, M_CORRUPT_L3, M_HEALED_L3};
    tell(run, &c, &look, "the row's id is none that could be asked for", false, false);
}
