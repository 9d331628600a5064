/*
 * inside - what the files of a verification share; for this room only.
 *
 *   run.c      passes, pages, pace, checkpoints
 *   match.c    walks the list of L2's records beside the rows of L3; what does not fit is a suspicion
 *   look.c     the second look at suspicions, in batches
 *   repair.c   puts right what a batch found
 *   report.c   counts, tells and logs it
 *
 * Threads: one caller per run.
 */
#ifndef SE_VERIFY_INSIDE_H
#define SE_VERIFY_INSIDE_H

#include "verify/gather.h"
#include "verify/pace.h"
#include "verify/verify.h"

/* An id whose copies do not fit together, as they were first seen. */
struct suspicion {
    size_t id_at; /* into suspicions.ids, NUL-terminated there */
    size_t id_len;
    bool unreadable; /* a row of L3 that no call can ask for: its id is none */
    struct copy l2, l3;
    size_t bytes;     /* of both contents, as far as known */
    uint64_t checked; /* run.merged with this id */
};
struct suspicions {
    struct suspicion *list; /* ids ascend, but for unreadable ones */
    size_t n, cap;
    struct buf ids;
};

struct run {
    const struct verify_options *o;
    se_verify_report *report;
    struct gather *gather; /* NULL without L2 */
    struct pace pace;
    struct tier_sights page;
    struct suspicions open;
    size_t last_len;
    char last[SE_ID_MAX + 1];    /* the last id that was matched */
    char through[SE_ID_MAX + 1]; /* all ids up to it are done and in the report */
    uint64_t merged;             /* ids up to `last` that some tier holds */
    uint64_t total;              /* the estimate */
    uint64_t counted;            /* of report->checked, in the metrics */
    unsigned lines;              /* written to the log, */
    uint64_t lines_left;         /* and left out */
    bool stopped;                /* by a checkpoint */
    bool healing;                /* se__verify_one: the read has counted what it found */
};

static inline bool se__run_has_l2(const struct run *run)
{
    return run->o->l2.ops != NULL;
}
static inline bool se__run_has_l3(const struct run *run)
{
    return run->o->l3.ops != NULL;
}

/* ---- run.c ---- */

/* After every page or batch of so many records: pace, progress, checkpoint. May set `stopped`. */
void se__run_tick(struct run *run, uint64_t records);
/* Waits; checkpoints every tenth of a second, which may stop it. */
void se__run_pause(struct run *run, uint64_t ns);
/* SE_ERR_BACKEND with the tier's own words. */
se_result se__run_failed(const char *what, const struct tier *tier);

/* ---- match.c ---- */

struct copy se__copy_of_sight(const struct tier_sight *sight);
/* Matches one page of L3's rows, and what the list has between them, from *at on. */
SE_NODISCARD se_result se__match_page(struct run *run, const struct tier_sights *rows, size_t *at);
/* No row is left: what is left of the list. */
SE_NODISCARD se_result se__match_rest(struct run *run, size_t *at);

/* ---- look.c ---- */

/* Suspicions are resolved when there are so many; some 10 MB. */
#define SUSPICIONS_MAX 20000u
#define LOOK_IDS_MAX 500u
/* A batch ends with the id that brings the contents of both tiers, as far as they are known, to: */
#define LOOK_BYTES_MAX (4u << 20)

/* Looks again at all open suspicions, judges, repairs and reports. None is open then. */
SE_NODISCARD se_result se__resolve(struct run *run);

/* One id under the second look. */
struct look {
    struct suspicion of;
    const char *id;
    bool moved; /* written meanwhile: not judged */
    struct copy l2, l3;
    se_item *spare;
    struct verdict verdict;
    bool mended_l2, mended_l3; /* by the repair: the tier's copy was read again and is good */
    bool voided;               /* the copy in L2 is a miss now */
    char why[128];             /* why a repair failed; "" : not known */
};
struct batch {
    struct look *looks; /* ids ascend */
    size_t n;
    struct tier_read *l2, *l3; /* beside the looks */
};
bool se__copy_good(const struct copy *c);
bool se__copy_believed(const struct copy *c);
struct copy se__copy_of_read(const struct tier_read *read);
struct copy se__copy_of_item(const se_item *item);
void se__reads_release(struct tier_read *reads, size_t n);

/* ---- repair.c ---- */

/* Puts right what the verdicts say; sets mended_*, voided and why. SE_ERR_BACKEND: a tier stopped
 * answering. */
SE_NODISCARD se_result se__repair(struct run *run, struct batch *batch);

/* ---- report.c ---- */

void se__report_look(struct run *run, const struct look *look, const struct tier_read *l2,
                     const struct tier_read *l3);
void se__report_unreadable(struct run *run, const char *id, size_t id_len);
void se__report_end(struct run *run); /* how many lines were left out */

#endif
