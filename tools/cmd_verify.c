/*
 * cmd_verify - syncengine verify: do the tiers agree, and is what they hold whole?
 *
 *   se_verify -> findings, as they come (stdout) and progress (stderr) -> the table
 *
 * Without --repair the engine only reads. Signals are looked at where se_verify calls back; it ends
 * at the next checkpoint, and the id given there is where the next run goes on.
 */
#include "base/os.h"
#include "out.h"
#include "progress.h"
#include "session.h"
#include "stop.h"
#include "term.h"
#include "text.h"
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BAR_MS 100u
#define LINE_MS 2000u
#define SHOWN_MAX 20u /* findings without --list */

struct verify {
    struct call *call;
    se_engine *engine;
    bool list, json, bar, reads, both;
    uint64_t started_ms, shown_ms, ended_ms;
    uint64_t done, total;
    uint64_t findings;
    int stop, signal; /* signal: the one that stopped it at a checkpoint, 0: none */
    bool begun;       /* there was a checkpoint */
    char through[SE_ID_MAX + 1];
    struct buf line;
    se_verify_report report;
};

/* ---- findings ---- */

static const char *tier_text(se_tier tier)
{
    return tier == SE_TIER_L2 ? "l2" : "l3";
}

static const char *flaw_text(se_flaw flaw)
{
    return flaw == SE_FLAW_STALE ? "stale" : flaw == SE_FLAW_CORRUPT ? "corrupt" : "orphan";
}

static void print_line(struct verify *v)
{
    if (v->line.failed)
        term_say("verify: out of memory");
    else
        out_bytes(v->line.data, v->line.len);
}

static void finding_json(struct verify *v, const se_verify_finding *f)
{
    se__buf_clear(&v->line);
    se__buf_text(&v->line, "{\"finding\":{\"id\":");
    json_text(&v->line, f->id);
    se__buf_printf(&v->line, ",\"tier\":\"%s\",\"flaw\":\"%s\",\"repaired\":%s,\"detail\":",
                   tier_text(f->tier), flaw_text(f->flaw), f->repaired ? "true" : "false");
    json_text(&v->line, f->detail ? f->detail : "");
    se__buf_text(&v->line, "}}\n");
    print_line(v);
}

static void finding_row(const se_verify_finding *f)
{
    char detail[1024];
    const char *text = f->detail ? f->detail : "";
    text_safe(text, strlen(text), detail, sizeof detail);
    out_found_id(f->id);
    out_printf("\t%s\t%s\t%s\t%s\n", tier_text(f->tier), flaw_text(f->flaw),
               f->repaired ? "repaired" : "not repaired", detail);
}

static void finding(void *arg, const se_verify_finding *f)
{
    struct verify *v = arg;
    if (v->findings++ >= SHOWN_MAX && !v->list)
        return;
    if (v->bar)
        term_bar(NULL); /* both may be one terminal */
    if (v->json)
        finding_json(v, f);
    else
        finding_row(f);
}

/* ---- progress and signals ---- */

static void show_progress(struct verify *v)
{
    char text[256];
    struct progress p = {.items = v->done,
                         .bad = v->findings,
                         .part = v->done,
                         .whole = v->total,
                         .elapsed_ms = se__mono_ms() - v->started_ms,
                         .items_word = "ids",
                         .bad_word = "different"};
    if (v->bar) {
        progress_bar(&p, term_columns(STDERR_FILENO), text, sizeof text);
        term_bar(text);
    } else {
        progress_line(&p, text, sizeof text);
        term_say("verify: %s", text);
    }
}

static void progress(void *arg, uint64_t done, uint64_t total)
{
    struct verify *v = arg;
    uint64_t now = se__mono_ms();
    v->done = done;
    v->total = total;
    if (now - v->shown_ms < (v->bar ? BAR_MS : LINE_MS))
        return;
    v->shown_ms = now;
    show_progress(v);
}

static bool checkpoint(void *arg, const char *through)
{
    struct verify *v = arg;
    v->begun = true;
    snprintf(v->through, sizeof v->through, "%s", through);
    if (v->signal == 0)
        v->signal = stop_check(v->stop, 0);
    return v->signal == 0;
}

/* ---- the report ---- */

static uint64_t differences(const se_verify_report *r)
{
    return r->stale_l2 + r->stale_l3 + r->corrupt_l2 + r->corrupt_l3 + r->orphan_l2;
}

static uint64_t elapsed_ms(const struct verify *v)
{
    return v->ended_ms - v->started_ms;
}

static uint64_t rate(const struct verify *v)
{
    struct progress p = {.items = v->report.checked, .elapsed_ms = elapsed_ms(v)};
    return progress_rate(&p);
}

static void report_tiers(const struct verify *v)
{
    const se_verify_report *r = &v->report;
    out_printf("%-12s%12s%12s%12s\n", "tier", "stale", "corrupt", "orphaned");
    if (session_has(v->call, SE_TIER_L2))
        out_printf("%-12s%12" PRIu64 "%12" PRIu64 "%12" PRIu64 "\n", "L2 (Redis)", r->stale_l2,
                   r->corrupt_l2, r->orphan_l2);
    if (session_has(v->call, SE_TIER_L3))
        out_printf("%-12s%12" PRIu64 "%12" PRIu64 "%12s\n", "L3 (SQL)", r->stale_l3, r->corrupt_l3,
                   "-");
}

static bool compared(const struct verify *v, bool complete)
{
    return complete || v->report.checked > 0;
}

static const char *roots_text(const struct verify *v, bool complete)
{
    if (!v->both)
        return "one tier";
    if (!compared(v, complete))
        return "not compared";
    if (!v->report.roots_equal)
        return "differ";
    return complete ? "equal" : "equal so far";
}

static void report_rows(const struct verify *v, bool complete)
{
    char time[24];
    const se_verify_report *r = &v->report;
    if (v->findings > SHOWN_MAX && !v->list)
        out_printf("and %" PRIu64 " more; --list shows them all\n", v->findings - SHOWN_MAX);
    if (v->findings > 0)
        out_text("\n");
    report_tiers(v);
    text_elapsed(elapsed_ms(v), time);
    out_printf("\nchecked       %" PRIu64 " ids\n", r->checked);
    out_printf("different     %" PRIu64 "\n", differences(r));
    out_printf("repaired      %" PRIu64 "\n", r->repaired);
    out_printf("unrepairable  %" PRIu64 "\n", r->unrepairable);
    out_printf("roots         %s\n", roots_text(v, complete));
    out_printf("time          %s\n", time);
    out_printf("rate          %" PRIu64 " ids/s\n", rate(v));
}

static void report_json(struct verify *v, bool complete)
{
    const se_verify_report *r = &v->report;
    struct buf *out = &v->line;
    se__buf_clear(out);
    se__buf_printf(out, "{\"report\":{\"complete\":%s,\"through\":", complete ? "true" : "false");
    json_text(out, v->through);
    se__buf_printf(out, ",\"checked\":%" PRIu64 ",\"different\":%" PRIu64, r->checked,
                   differences(r));
    se__buf_printf(
        out, ",\"l2\":{\"stale\":%" PRIu64 ",\"corrupt\":%" PRIu64 ",\"orphaned\":%" PRIu64 "}",
        r->stale_l2, r->corrupt_l2, r->orphan_l2);
    se__buf_printf(out, ",\"l3\":{\"stale\":%" PRIu64 ",\"corrupt\":%" PRIu64 "}", r->stale_l3,
                   r->corrupt_l3);
    se__buf_printf(out, ",\"repaired\":%" PRIu64 ",\"unrepairable\":%" PRIu64, r->repaired,
                   r->unrepairable);
    se__buf_printf(out, ",\"roots_equal\":%s",
                   !v->both || !compared(v, complete) ? "null"
                   : r->roots_equal                   ? "true"
                                                      : "false");
    se__buf_printf(out, ",\"elapsed_ms\":%" PRIu64 ",\"ids_per_s\":%" PRIu64 "}}\n", elapsed_ms(v),
                   rate(v));
    print_line(v);
}

/* Where a run that ended early goes on. */
static void report_end(const struct verify *v, bool failed)
{
    char id[4 * SE_ID_MAX + 8], how[48] = "broken off";
    if (v->signal)
        snprintf(how, sizeof how, "stopped by signal %d", v->signal);
    else if (!failed)
        return;
    text_shell(v->through, id, sizeof id);
    if (*v->through)
        out_printf("%s; go on with --after %s\n", how, id);
    else
        out_printf("%s before any id was done; begin again\n", how);
}

static int report(struct verify *v, se_result r)
{
    bool failed = r != SE_OK;
    bool begun = !failed || v->begun, complete = !failed && v->signal == 0;
    if (begun && v->json)
        report_json(v, complete);
    else if (begun)
        report_rows(v, complete);
    if (begun && !v->json)
        report_end(v, failed);
    if (failed) {
        term_failed("verify", r);
        return EXIT_TROUBLE;
    }
    if (v->signal)
        return EXIT_SIGNAL + v->signal;
    return differences(&v->report) > v->report.repaired ? EXIT_NO : EXIT_FINE;
}

/* ---- running it ---- */

/* What the library warns of a finding stands on stdout already. */
static void log_others(void *arg, se_log_level level, const char *message)
{
    const bool *everything = arg;
    if (*everything || strncmp(message, "verify: ", 8) != 0)
        term_log(arg, level, message);
}

static int verify_all(struct verify *v, se_verify_options *o)
{
    v->stop = stop_open();
    if (v->stop < 0)
        return EXIT_TROUBLE;
    v->started_ms = v->shown_ms = se__mono_ms();
    se_result r = se_verify(v->engine, o, &v->report);
    v->ended_ms = se__mono_ms();
    if (v->bar) {
        if (r == SE_OK)
            show_progress(v);
        term_bar(NULL);
    }
    int status = report(v, r);
    stop_close(v->stop);
    return status;
}

static bool flags_fit(struct verify *v, se_verify_options *o)
{
    const struct call *call = v->call;
    se_verify_options_init(o);
    o->mode = call_flag(call, "deep") ? SE_VERIFY_DEEP : SE_VERIFY_QUICK;
    o->repair = call_flag(call, "repair") != NULL;
    o->after = call_flag(call, "after");
    o->progress = progress;
    o->checkpoint = checkpoint;
    o->finding = finding;
    o->progress_arg = o->checkpoint_arg = o->finding_arg = v;
    v->list = call_flag(call, "list") != NULL;
    v->json = call_flag(call, "json") != NULL;
    if (o->after)
        snprintf(v->through, sizeof v->through, "%s", o->after);
    return call_flag_u64(call, "rate", UINT64_MAX, &o->rate) && call_flag_bar(call, &v->bar);
}

static int run_verify(struct call *call)
{
    struct verify v = {.call = call, .reads = call_reads(call)};
    se_verify_options o;
    if (!flags_fit(&v, &o))
        return EXIT_TROUBLE;
    call->config.log_fn = log_others;
    int status = session_open(call, true, &v.engine);
    if (status != EXIT_FINE)
        return status;
    v.both = session_has(call, SE_TIER_L2) && session_has(call, SE_TIER_L3);
    status = verify_all(&v, &o);
    if (v.reads)
        session_close(v.engine);
    else if (!session_end(v.engine, SESSION_PATIENCE_MS))
        status = EXIT_TROUBLE;
    se__buf_done(&v.line);
    return out_finish(status);
}

static const struct flag verify_flags[] = {
    {"deep", NULL, "read and hash every content too"},
    {"repair", NULL, "put the newest good copy in the place of what is wrong"},
    {"rate", "NUMBER", "at most so many records a second, of both tiers together; 0: no limit"},
    {"after", "ID", "begin after this id: what a run that was stopped has printed"},
    {"list", NULL, "print every difference, not only the first 20"},
    {"json", NULL, "a JSON object a line: the differences, then the report"},
    {"progress", "auto|bar|lines", "auto: a bar on a terminal, else lines"},
    {0}};

const struct command command_verify = {
    .name = "verify",
    .arguments = "",
    .summary = "Compare what the tiers hold, find damage, and repair it.",
    .details =
        "Compares versions and hashes as they are stored; with --deep every content is read and "
        "hashed as well. A difference is a line of id, tier, flaw, repaired or not, and what was "
        "found, separated by tabs: stale (an older copy than the other tier's), corrupt (it does "
        "not fit its own hashes), orphan (in Redis without a row in the database, and no cache "
        "entry). A key that Redis does not hold is none: it is a cache. The table counts them.\n\n"
        "Works beside a live service and its traffic: without --repair nothing is written, no lock "
        "is taken, and what is being written meanwhile is not reported. --rate spares the "
        "servers.\n\n"
        "--repair writes the newest good copy over the others, by the same guarded writes as any "
        "other: never over something newer. The row of an orphan goes back into the database. What "
        "has no good copy is left alone. It "
        "opens a writing engine, which hands on what its WAL holds. Beside a live service it must "
        "not name the service's WAL; it is then another owner of the same database: while it runs, "
        "and shortly after, the service keeps copies in memory for a second only and checks its "
        "filter again, and a copy in Redis that is newer than the row counts as the service's "
        "unfinished work, not as a stale row. Run it without the service to have those judged.\n\n"
        "Status 0: nothing differs, or everything that did was repaired; 1: something differs and "
        "is not repaired; 2: it could not be done or not to the end. SIGINT and SIGTERM stop it at "
        "the next checkpoint; it says with which --after to go on, and the status is 128 and the "
        "signal's number.",
    .flags = verify_flags,
    .needs = NEEDS_READER,
    .writing_flag = "repair",
    .run = run_verify,
};
