/*
 * cmd_load - syncengine load: newline-delimited JSON into the engine, the line being the content.
 *
 *   input (file, pipe, zstd) -> ndjson (lines, id) -> loader (batches, backpressure) -> se_flush ->
 *   report
 *
 * What could not be read stops the load with status 2 after flushing what came before; what could
 * not be understood is one bad line, status 1.
 */
#include "base/os.h"
#include "base/utf8.h"
#include "config.h"
#include "input.h"
#include "loader.h"
#include "ndjson.h"
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
#define BAD_SHOWN_MAX 1000u /* further bad lines are only counted */

struct load {
    struct call *call;
    const char *field;
    struct input *in;
    struct ndjson_lines lines;
    struct loader loader;
    se_engine *engine;
    uint64_t patience_ms, started_ms, shown_ms, bad, dead_before;
    bool bar;
    int stop, signal;
    bool failed;
};

static struct progress progress_of(const struct load *l)
{
    return (struct progress){.items = l->loader.accepted,
                             .bad = l->bad,
                             .part = input_taken(l->in),
                             .whole = input_total(l->in),
                             .elapsed_ms = se__mono_ms() - l->started_ms};
}

static void show_progress(struct load *l)
{
    char text[256];
    struct progress p = progress_of(l);
    if (l->bar) {
        progress_bar(&p, term_columns(STDERR_FILENO), text, sizeof text);
        term_bar(text);
    } else {
        progress_line(&p, text, sizeof text);
        term_say("load: %s", text);
    }
}

static void tick(void *arg)
{
    struct load *l = arg;
    uint64_t now = se__mono_ms();
    if (now - l->shown_ms < (l->bar ? BAR_MS : LINE_MS))
        return;
    l->shown_ms = now;
    show_progress(l);
}

static void bad_line(void *arg, uint64_t line, const char *why)
{
    struct load *l = arg;
    l->bad++;
    if (l->bad <= BAD_SHOWN_MAX)
        term_say("line %" PRIu64 ": %s", line, why);
    else if (l->bad == BAD_SHOWN_MAX + 1)
        term_say("line %" PRIu64 ": %s; further bad lines are only counted", line, why);
}

static void note(struct load *l, enum load_result r)
{
    if (r == LOAD_STOPPED)
        l->signal = l->loader.signal;
    l->failed |= r == LOAD_FAILED;
}

static void take_line(struct load *l, const struct ndjson_line *line)
{
    char id[SE_ID_MAX + 1], why[512];
    if (!line->text) {
        snprintf(why, sizeof why, "%zu bytes are more than max_payload_bytes, %zu", line->len,
                 l->lines.line_max);
        bad_line(l, line->number, why);
    } else if (!ndjson_id(line->text, line->len, l->field, id, why, sizeof why)) {
        bad_line(l, line->number, why);
    } else {
        note(l, loader_add(&l->loader, id, line->text, line->len, line->number));
    }
}

static void take_lines(struct load *l)
{
    struct ndjson_line line;
    while (!l->failed && !l->signal && ndjson_next(&l->lines, &line))
        take_line(l, &line);
}

/* One piece of input; false: there is no more, or it is over. */
static bool take_piece(struct load *l)
{
    const char *bytes;
    size_t len;
    if (input_would_wait(l->in)) /* what has come is not held back by what has not */
        note(l, loader_send(&l->loader));
    if (l->failed || l->signal)
        return false;
    switch (input_read(l->in, &bytes, &len, &l->signal)) {
    case INPUT_DATA:
        break;
    case INPUT_END:
        ndjson_end(&l->lines);
        take_lines(l);
        return false;
    case INPUT_FAILED: /* half a line is not taken for a line */
        l->failed = true;
        return false;
    case INPUT_STOPPED:
        return false;
    }
    if (ndjson_push(&l->lines, bytes, len) != SE_OK) {
        term_say("line %" PRIu64 ": out of memory", l->lines.number + 1);
        l->failed = true;
    }
    take_lines(l);
    tick(l);
    return !l->failed && !l->signal;
}

static void report_place(struct load *l, enum settled settled, uint64_t dead)
{
    char home[512];
    se_health h;
    session_home(l->call, home, sizeof home);
    if (settled == SETTLED_HOME)
        out_printf("everything %s is in %s\n", dead > 0 ? "else" : "accepted", home);
    else if (settled == SETTLED_WAL && se_health_check(l->engine, &h) == SE_OK)
        out_printf("%" PRIu64 " of them wait in the WAL for %s\n", h.wal_items, home);
    if (l->signal)
        out_printf("interrupted by signal %d after line %" PRIu64 "\n", l->signal, l->lines.number);
}

static uint64_t report(struct load *l, enum settled settled)
{
    char bytes[24], time[24];
    struct progress p = progress_of(l);
    uint64_t dead = session_dead(l->engine);
    dead = dead > l->dead_before ? dead - l->dead_before : 0;
    text_bytes(l->loader.bytes, bytes);
    text_elapsed(p.elapsed_ms, time);
    out_printf("loaded %" PRIu64 " items, %s, in %s: %" PRIu64 " items/s\n", l->loader.accepted,
               bytes, time, progress_rate(&p));
    if (dead > 0)
        out_printf("%" PRIu64 " of them were refused by the database%s\n", dead,
                   l->call->config.wal_path ? "; see `syncengine wal dead`"
                                            : ", and there is no WAL to keep them in");
    report_place(l, settled, dead);
    if (l->bad > 0)
        out_printf("%" PRIu64 " bad line%s\n", l->bad, l->bad == 1 ? "" : "s");
    return dead;
}

static int finish(struct load *l)
{
    struct settling s = {.patience_ms = l->patience_ms, .stop = l->stop, .tick = tick, .arg = l};
    if (!l->failed)
        note(l, loader_send(&l->loader)); /* after a signal too: up to that line all is in */
    enum settled settled = session_settle(l->engine, &s);
    if (l->bar)
        show_progress(l);
    term_bar(NULL);
    uint64_t dead = report(l, settled);
    bool kept = settled == SETTLED_HOME || settled == SETTLED_WAL;
    kept &= session_end(l->engine, settled == SETTLED_STOPPED ? 1000 : l->patience_ms);
    if (l->signal)
        return EXIT_SIGNAL + l->signal;
    if (l->failed || !kept)
        return EXIT_TROUBLE;
    return l->bad > 0 || dead > 0 ? EXIT_NO : EXIT_FINE;
}

static bool prepare(struct load *l)
{
    /* Only now: while the engine opens there is nothing to end in order,
     * and SIGINT may end the process. */
    l->stop = stop_open();
    if (l->stop < 0)
        return false;
    input_watch(l->in, l->stop);
    struct loader_options o = {.engine = l->engine,
                               .patience_ms = l->patience_ms,
                               .stop = l->stop,
                               .bad = bad_line,
                               .tick = tick,
                               .arg = l};
    se_submit_options_init(&o.submit);
    o.submit.state = call_flag(l->call, "state");
    call_flag_ack(l->call, &o.submit.ack);
    if (loader_init(&l->loader, &o) != SE_OK) {
        term_say("load: out of memory");
        stop_close(l->stop);
        return false;
    }
    ndjson_init(&l->lines, l->call->config.max_payload_bytes);
    return true;
}

static int load_all(struct load *l)
{
    if (!prepare(l)) {
        session_end(l->engine, 1000);
        return EXIT_TROUBLE;
    }
    l->dead_before = session_dead(l->engine);
    l->started_ms = l->shown_ms = se__mono_ms();
    while (take_piece(l))
        ;
    int status = finish(l);
    stop_close(l->stop);
    return status;
}

static bool flags_fit(struct load *l)
{
    se_ack ack;
    l->field = call_flag(l->call, "id-field");
    l->field = l->field ? l->field : "id";
    l->patience_ms = SESSION_PATIENCE_MS;
    if (!call_flag_bar(l->call, &l->bar))
        return false;
    const char *state = call_flag(l->call, "state");
    size_t len;
    if (state && se__id_check("--state", state, 0, SE_STATE_MAX, &len) != SE_OK) {
        term_say("%s", se_errmsg()); /* or every line would be refused */
        return false;
    }
    return call_flag_ack(l->call, &ack) && call_flag_seconds(l->call, "patience", &l->patience_ms);
}

static int run_load(struct call *call)
{
    struct load l = {.call = call};
    int status = EXIT_TROUBLE;
    if (!flags_fit(&l) || !(l.in = input_open(call->args[0])))
        return EXIT_TROUBLE;
    if (session_open(call, true, &l.engine) == EXIT_FINE)
        status = load_all(&l);
    loader_done(&l.loader);
    ndjson_done(&l.lines);
    input_close(l.in);
    return out_finish(status);
}

static const struct flag load_flags[] = {
    {"id-field", "NAME", "top-level field that holds the id (default: id)"},
    {"ack", "memory|wal|l3", "when a line counts as accepted (default: default_ack)"},
    {"state", "TEXT", "state tag of every item"},
    {"patience", "TIME", "how long to wait without any progress, e.g. 90s (default: 60s)"},
    {"progress", "auto|bar|lines", "auto: a bar on a terminal, else lines"},
    {0}};

const struct command command_load = {
    .name = "load",
    .arguments = "FILE|-",
    .args_min = 1,
    .args_max = 1,
    .summary = "Load newline-delimited JSON: every line becomes an item.",
    .details = "The content of an item is the line, byte for byte, without its LF; a CR before it "
               "belongs to the content. The id is the value "
               "of one top-level field, a string or a number as it is written. Blank lines are "
               "skipped. zstd files are decompressed as they are "
               "read.\n\n"
               "A line that is no JSON object, has no such field, has it twice, has no valid id or "
               "is longer than max_payload_bytes is reported "
               "with its number; the rest goes on, and the exit status is 1.\n\n"
               "When the engine takes no more for now the load waits. At the end everything is "
               "flushed, and a report says how many items there "
               "were, how long they took, flush included, and where they are. SIGINT and SIGTERM "
               "end the reading; what has been read is still "
               "flushed and reported, and the exit status is 128 and the signal's number (130, "
               "143). A second signal ends the waiting, too.",
    .flags = load_flags,
    .needs = NEEDS_WRITER,
    .run = run_load,
};
