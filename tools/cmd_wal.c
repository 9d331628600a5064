/*
 * cmd_wal - syncengine wal list, drain, dead, salvage.
 *
 * list and dead look into the file itself, read-only and without the lock, beside a live service.
 * drain is an engine that opens, hands on what the WAL holds, and closes. dead --retry and
 * --discard change the file and need it alone.
 */
#include "base/os.h"
#include "out.h"
#include "session.h"
#include "stop.h"
#include "term.h"
#include "text.h"
#include "tool.h"
#include "wal/wal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A WAL file, opened without an engine. */
struct file {
    struct metrics *metrics;
    struct hlc hlc;
    struct se__log log;
    struct wal *wal;
};

static void file_close(struct file *f)
{
    se__wal_close(f->wal);
    se__metrics_close(f->metrics);
}

static bool file_named(const struct call *call)
{
    const char *path = call->config.wal_path;
    if (!path || !*path) {
        term_say("%s: no WAL is configured: give --wal-path or set SYNC_ENGINE_WAL_PATH",
                 call->command->name);
        return false;
    }
    if (access(path, F_OK) != 0) { /* opening would make it */
        term_system("cannot open", path);
        return false;
    }
    return true;
}

/* EXIT_FINE, or EXIT_TROUBLE after a message and with nothing open. */
static int file_open(struct call *call, bool read_only, struct file *f)
{
    *f = (struct file){.log = {.fn = term_log, .arg = &call->verbose, .name = "tool"}};
    if (!file_named(call))
        return EXIT_TROUBLE;
    se__hlc_init(&f->hlc, 0);
    se_result r = se__metrics_open(&f->metrics);
    struct wal_options o = {.path = call->config.wal_path,
                            .read_only = read_only,
                            .items_max = call->config.wal_max_items,
                            .bytes_max = call->config.wal_max_bytes,
                            .partitions = 1,
                            .seed = se__random_u64(),
                            .hlc = read_only ? NULL : &f->hlc,
                            .metrics = f->metrics,
                            .log = &f->log};
    if (r == SE_OK)
        r = se__wal_open(&o, &f->wal);
    if (r == SE_OK)
        return EXIT_FINE;
    term_failed("WAL", r);
    file_close(f);
    return EXIT_TROUBLE;
}

/* ---- list ---- */

struct listing {
    bool json, failed;
    uint64_t n;
};

static bool list_json(uint64_t seq, const se_item *item)
{
    struct buf out = {0};
    se__buf_printf(&out, "{\"seq\":%" PRIu64 ",\"deleted\":%s,\"item\":", seq,
                   se__item_deleted(item) ? "true" : "false");
    json_item(&out, item, false);
    se__buf_text(&out, "}\n");
    bool ok = !out.failed && out_bytes(out.data, out.len);
    se__buf_done(&out);
    return ok;
}

static bool list_row(uint64_t seq, const se_item *item)
{
    char time[32];
    text_time(se_item_updated_at_ms(item), time);
    return out_printf("%" PRIu64 "\t%s\t", seq, se__item_deleted(item) ? "delete" : "put") &&
           out_id(se_item_id(item)) &&
           out_printf("\t%zu\t%" PRIu64 "\t%s\n", se_item_content_len(item), se_item_version(item),
                      time);
}

static bool list_one(void *arg, uint64_t seq, const se_item *item)
{
    struct listing *l = arg;
    l->n++;
    return l->json ? list_json(seq, item) : list_row(seq, item);
}

static se_result list_each(struct wal *wal, struct listing *l)
{
    return se__wal_each(wal, list_one, l);
}

/* Opens the file for reading and prints what `each` visits. */
static int print_listing(struct call *call, se_result (*each)(struct wal *wal, struct listing *l))
{
    struct file f;
    struct listing l = {.json = call_flag(call, "json") != NULL};
    int status = file_open(call, true, &f);
    if (status != EXIT_FINE)
        return status;
    se_result r = each(f.wal, &l);
    file_close(&f);
    status = out_finish(EXIT_FINE);
    if (r == SE_OK)
        return status;
    term_failed("WAL", r);
    return EXIT_TROUBLE;
}

static int run_wal_list(struct call *call)
{
    return print_listing(call, list_each);
}

static const struct flag wal_list_flags[] = {{"json", NULL, "a JSON object a line"}, {0}};

const struct command command_wal_list = {
    .name = "wal list",
    .arguments = "",
    .summary = "List the records of the WAL that no tier has confirmed yet, oldest first.",
    .details = "A line is sequence number, put or delete, id, size, version and time, separated by "
               "tabs. Works beside a live service.",
    .flags = wal_list_flags,
    .needs = NEEDS_CONFIG,
    .run = run_wal_list,
};

/* ---- drain ---- */

/* Waits until the WAL is empty; false: no progress for too long, or a signal. */
static bool drained(se_engine *engine, int stop, uint64_t patience_ms, int *signal)
{
    se_health h;
    uint64_t last = UINT64_MAX, since = se__mono_ms(), told = since;
    while (se_health_check(engine, &h) == SE_OK && h.wal_items + h.queue_items > 0) {
        uint64_t now = se__mono_ms(), left = h.wal_items + h.queue_items;
        if (left != last)
            since = now;
        last = left;
        if (now - told >= 2000) {
            term_say("wal drain: %" PRIu64 " left", left);
            told = now;
        }
        if (now - since >= patience_ms || (*signal = stop_check(stop, 20)) != 0)
            return false;
    }
    return true;
}

/* With the engine open. */
static int drain(se_engine *engine, int stop, uint64_t patience_ms)
{
    se_health h = {0};
    int signal = 0;
    struct settling s = {.patience_ms = patience_ms, .stop = -1};
    bool done = drained(engine, stop, patience_ms, &signal);
    if (done)
        done = session_settle(engine, &s) == SETTLED_HOME;
    if (se_health_check(engine, &h) == SE_OK)
        out_printf("%" PRIu64 " records left, %" PRIu64 " dead letters\n", h.wal_items,
                   h.dead_letters);
    if (!done && h.sql_up == 0)
        term_say("wal drain: the database does not answer");
    bool closed = session_end(engine, patience_ms);
    if (signal)
        return EXIT_SIGNAL + signal;
    return !done || !closed ? EXIT_TROUBLE : h.dead_letters > 0 ? EXIT_NO : EXIT_FINE;
}

static int run_wal_drain(struct call *call)
{
    se_engine *engine;
    uint64_t patience_ms = SESSION_PATIENCE_MS;
    if (!call_flag_seconds(call, "patience", &patience_ms) || !file_named(call))
        return EXIT_TROUBLE;
    int status = session_open(call, true, &engine);
    if (status != EXIT_FINE)
        return status;
    int stop = stop_open();
    if (stop < 0) {
        session_end(engine, patience_ms);
        return EXIT_TROUBLE;
    }
    status = drain(engine, stop, patience_ms);
    stop_close(stop);
    return out_finish(status);
}

static const struct flag wal_drain_flags[] = {
    {"patience", "TIME", "how long to wait without any progress (default: 60s)"}, {0}};

const struct command command_wal_drain = {
    .name = "wal drain",
    .arguments = "",
    .summary = "Hand what the WAL holds on to the home tier.",
    .details = "A service does that by itself; this is for after its end. The WAL must not be in "
               "use. Status 0: it is empty; 1: dead letters "
               "are left; 2: records are left.",
    .flags = wal_drain_flags,
    .needs = NEEDS_WRITER,
    .run = run_wal_drain,
};

/* ---- dead letters ---- */

static bool dead_json(const struct wal_dead *d)
{
    struct buf out = {0};
    const char *error = d->error ? d->error : "";
    se__buf_printf(&out, "{\"buried_at_ms\":%" PRId64 ",\"code\":%d,\"error\":", d->buried_at_ms,
                   d->code);
    json_string(&out, error, strlen(error));
    se__buf_printf(&out, ",\"deleted\":%s,\"item\":", se__item_deleted(d->item) ? "true" : "false");
    json_item(&out, d->item, true);
    se__buf_text(&out, "}\n");
    bool ok = !out.failed && out_bytes(out.data, out.len);
    se__buf_done(&out);
    return ok;
}

static bool dead_row(const struct wal_dead *d)
{
    char time[32], error[2048];
    const char *text = d->error ? d->error : "";
    text_time(d->buried_at_ms, time);
    text_safe(text, strlen(text), error, sizeof error);
    return out_id(se_item_id(d->item)) &&
           out_printf("\t%zu\t%" PRIu64 "\t%s\t%d\t%s\n", se_item_content_len(d->item),
                      se_item_version(d->item), time, d->code, error);
}

static bool dead_one(void *arg, const struct wal_dead *dead)
{
    struct listing *l = arg;
    l->n++;
    return l->json ? dead_json(dead) : dead_row(dead);
}

static se_result dead_each(struct wal *wal, struct listing *l)
{
    return se__wal_dead_each(wal, dead_one, l);
}

static int dead_resolve(struct call *call, const char *id, bool retry)
{
    struct file f;
    int status = file_open(call, false, &f);
    if (status != EXIT_FINE)
        return status;
    se_result r = se__wal_dead_resolve(f.wal, id, retry);
    if (r == SE_OK)
        r = se__wal_tend(f.wal, true);
    file_close(&f);
    if (r == SE_NOT_FOUND) {
        term_say("%s: no dead letter of this id", id);
        return EXIT_NO;
    }
    if (r != SE_OK) {
        term_failed(id, r);
        return EXIT_TROUBLE;
    }
    out_id(id);
    out_text(retry ? ": back in the WAL; the service, or `syncengine wal drain`, tries it again\n"
                   : ": discarded\n");
    return out_finish(EXIT_FINE);
}

static int run_wal_dead(struct call *call)
{
    const char *retry = call_flag(call, "retry"), *discard = call_flag(call, "discard");
    if (retry && discard) {
        term_say("wal dead: --retry and --discard exclude each other");
        return EXIT_TROUBLE;
    }
    if (retry || discard)
        return dead_resolve(call, retry ? retry : discard, retry != NULL);
    return print_listing(call, dead_each);
}

static const struct flag wal_dead_flags[] = {
    {"retry", "ID", "put it back into the WAL, to be tried again"},
    {"discard", "ID", "give it up"},
    {"json", NULL, "a JSON object a line, with the content"},
    {0}};

const struct command command_wal_dead = {
    .name = "wal dead",
    .arguments = "",
    .summary = "List the writes that the database refused, or decide about one.",
    .details = "A line is id, size, version, time, the database's error number and its words, "
               "separated by tabs. Listing works beside a live "
               "service; --retry and --discard need the WAL alone.",
    .flags = wal_dead_flags,
    .needs = NEEDS_CONFIG,
    .run = run_wal_dead,
};

/* ---- salvage ---- */

static int run_wal_salvage(struct call *call)
{
    struct wal_salvaged s = {0};
    const char *from = call->args[0], *to = call->args[1];
    if (access(from, R_OK) != 0) {
        term_system("cannot read", from);
        return EXIT_TROUBLE;
    }
    if (access(to, F_OK) == 0) {
        term_say("%s: exists already; a salvage begins with a new file", to);
        return EXIT_TROUBLE;
    }
    se_result r = se__wal_salvage(from, to, &s);
    if (r != SE_OK) {
        term_failed("salvage", r);
        return EXIT_TROUBLE;
    }
    if (s.records + s.dead + s.damaged == 0)
        term_say("%s: nothing in it looks like a record", from);
    out_printf("%" PRIu64 " records and %" PRIu64 " dead letters saved, %" PRIu64 " damaged\n",
               s.records, s.dead, s.damaged);
    return out_finish(s.damaged > 0 || s.records + s.dead == 0 ? EXIT_NO : EXIT_FINE);
}

const struct command command_wal_salvage = {
    .name = "wal salvage",
    .arguments = "FROM TO",
    .args_min = 2,
    .args_max = 2,
    .summary = "Copy every record whose checksum holds from a damaged WAL into a new one.",
    .details = "FROM is only read. TO must not exist; put it in the place of FROM afterwards. "
               "Status 1 if records were damaged or none was found.",
    .needs = NEEDS_CONFIG,
    .run = run_wal_salvage,
};
