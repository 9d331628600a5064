/*
 * cmd_items - syncengine get, put, delete, contains, status: one item at a time.
 */
#include "base/file.h"
#include "base/os.h"
#include "out.h"
#include "session.h"
#include "term.h"
#include "text.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What a result of a read means for the caller; a message unless it is SE_OK. */
static int judge(const char *id, se_result r)
{
    if (r == SE_OK)
        return EXIT_FINE;
    if (r == SE_NOT_FOUND) {
        term_say("%s: not found", id);
        return EXIT_NO;
    }
    term_failed(id, r);
    return EXIT_TROUBLE;
}

/* ---- get ---- */

static int write_file(const char *path, const se_item *item)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        term_system("cannot open", path);
        return EXIT_TROUBLE;
    }
    bool ok = se__file_write_all(fd, se_item_content(item), se_item_content_len(item));
    if (!ok)
        term_system("cannot write", path);
    if (close(fd) != 0 && ok) {
        term_system("cannot write", path);
        ok = false;
    }
    return ok ? EXIT_FINE : EXIT_TROUBLE;
}

static int show_item(const struct call *call, const se_item *item)
{
    const char *path = call_flag(call, "out");
    if (path)
        return write_file(path, item);
    out_bytes(se_item_content(item), se_item_content_len(item));
    return out_finish(EXIT_FINE);
}

static int run_get(struct call *call)
{
    se_engine *engine;
    se_item *item = NULL;
    int status = session_open(call, true, &engine);
    if (status != EXIT_FINE)
        return status;
    bool verify = call_flag(call, "verify") != NULL;
    status = judge(call->args[0], verify ? se_get_verified(engine, call->args[0], &item)
                                         : se_get(engine, call->args[0], &item));
    if (status == EXIT_FINE)
        status = show_item(call, item);
    se_item_release(item);
    session_close(engine);
    return status;
}

static const struct flag get_flags[] = {
    {"out", "FILE", "write the content there instead of to standard output"},
    {"verify", NULL, "check the content against its hash first"},
    {0}};

const struct command command_get = {
    .name = "get",
    .arguments = "ID",
    .args_min = 1,
    .args_max = 1,
    .summary = "Write an item's content, byte for byte; status 1 if there is none.",
    .flags = get_flags,
    .needs = NEEDS_READER,
    .run = run_get,
};

/* ---- put ---- */

/* The whole of a file, at most `max` bytes. */
static bool read_file(const char *path, size_t max, struct buf *out)
{
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 0;
    while (fd >= 0) {
        char *at = se__buf_reserve(out, 65536);
        n = at ? read(fd, at, 65536) : -1;
        if (n < 0 && at && errno == EINTR)
            continue;
        if (n <= 0 || out->len + (size_t)n > max)
            break;
        se__buf_grow(out, (size_t)n);
    }
    if (out->failed)
        term_say("%s: out of memory", path);
    else if (n < 0)
        term_system("cannot read", standard ? "standard input" : path);
    else if (n > 0)
        term_say("%s: longer than max_payload_bytes, %zu", path, max);
    if (fd > STDIN_FILENO)
        close(fd);
    return n == 0;
}

static bool parse_route(const struct call *call, uint32_t *route)
{
    const char *text = call_flag(call, "route");
    if (!text || strcmp(text, "all") == 0)
        return true;
    *route = strcmp(text, "l2") == 0 ? SE_ROUTE_L2 : strcmp(text, "l3") == 0 ? SE_ROUTE_L3 : 0;
    if (*route == 0)
        term_say("--route: \"%s\" is none of l2, l3, all", text);
    return *route != 0;
}

static bool parse_type(const struct call *call, se_content_type *type)
{
    static const char *const names[] = {"auto", "binary", "json"};
    const char *text = call_flag(call, "type");
    if (!text)
        return true;
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *type = (se_content_type)(SE_CONTENT_AUTO + i);
            return true;
        }
    }
    term_say("--type: \"%s\" is none of auto, binary, json", text);
    return false;
}

static bool parse_expiry(const struct call *call, int64_t *at_ms)
{
    const char *text = call_flag(call, "expires-at");
    uint64_t v;
    if (!text)
        return true;
    if (text[0] == '+' && text_duration(text + 1, 1000, &v) &&
        v < (uint64_t)(INT64_MAX - se__wall_ms())) {
        *at_ms = se__wall_ms() + (int64_t)v;
        return true;
    }
    if (text_u64(text, INT64_MAX, &v)) {
        *at_ms = (int64_t)v;
        return true;
    }
    term_say("--expires-at: \"%s\" is neither milliseconds since 1970 nor +DURATION (+90s, +7d)",
             text);
    return false;
}

static bool parse_submit(const struct call *call, se_submit_options *o)
{
    se_submit_options_init(o);
    o->state = call_flag(call, "state");
    return parse_route(call, &o->route) && parse_type(call, &o->content_type) &&
           parse_expiry(call, &o->expires_at_ms) && call_flag_ack(call, &o->ack) &&
           call_flag_u64(call, "cache-ttl-ms", UINT64_MAX, &o->cache_ttl_ms);
}

/* Waits out backpressure, as long as it is worth it. */
static se_result submit(se_engine *engine, se_put *put)
{
    uint64_t deadline = se__deadline_in(10000);
    for (;;) {
        se_result r = se_submit_many(engine, put, 1, &(se_batch_result){0});
        if (r != SE_ERR_BACKPRESSURE || se__deadline_left(deadline) == 0)
            return r;
        uint32_t ms = se_retry_after_ms(engine);
        se__pause_ms(ms < 5 ? 5 : ms > 500 ? 500 : ms);
    }
}

/* After a write: flush, say where it is, close. */
static int settle(struct call *call, se_engine *engine, const char *done, uint64_t dead_before)
{
    char home[512];
    struct settling s = {.patience_ms = SESSION_PATIENCE_MS / 2, .stop = -1};
    enum settled settled = session_settle(engine, &s);
    bool dead = session_dead(engine) > dead_before;
    session_home(call, home, sizeof home);
    bool kept = settled == SETTLED_HOME || settled == SETTLED_WAL;
    kept &= session_end(engine, s.patience_ms);
    if (dead) {
        term_say("%s: refused by the database%s", call->args[0],
                 call->config.wal_path ? "; see `syncengine wal dead`" : "");
        return EXIT_TROUBLE;
    }
    if (!kept) {
        term_say("%s: not stored anywhere durable", call->args[0]);
        return EXIT_TROUBLE;
    }
    if (settled == SETTLED_WAL)
        out_printf("%s; waits in the WAL for %s\n", done, home);
    else
        out_printf("%s in %s\n", done, home);
    return out_finish(EXIT_FINE);
}

static int put_content(struct call *call, const se_submit_options *o, const void *bytes, size_t len)
{
    se_engine *engine;
    char done[64];
    int status = session_open(call, true, &engine);
    if (status != EXIT_FINE)
        return status;
    uint64_t dead = session_dead(engine);
    se_put put = {.id = call->args[0], .content = bytes, .len = len, .options = o};
    se_result r = submit(engine, &put);
    if (r != SE_OK && r != SE_PENDING) {
        term_failed(call->args[0], r);
        session_end(engine, 1000);
        return EXIT_TROUBLE;
    }
    snprintf(done, sizeof done, "stored as version %" PRIu64, put.version);
    return settle(call, engine, done, dead);
}

static int run_put(struct call *call)
{
    struct buf content = {0};
    se_submit_options o;
    const char *value = call_flag(call, "value");
    int status = EXIT_TROUBLE;
    if (!parse_submit(call, &o))
        return EXIT_TROUBLE;
    if (value && call->n_args > 1) {
        term_say("put: --value and a file exclude each other");
        return EXIT_TROUBLE;
    }
    const char *path = call->n_args > 1 ? call->args[1] : "-";
    if (value)
        status = put_content(call, &o, value, strlen(value));
    else if (read_file(path, call->config.max_payload_bytes, &content))
        status = put_content(call, &o, content.len > 0 ? content.data : "", content.len);
    se__buf_done(&content);
    return status;
}

static const struct flag put_flags[] = {
    {"value", "TEXT", "the content itself, instead of a file"},
    {"state", "TEXT", "state tag"},
    {"expires-at", "TIME", "the item's end: milliseconds since 1970, or from now: +90s, +7d"},
    {"cache-ttl-ms", "NUMBER", "life of the cached copies"},
    {"type", "auto|binary|json", "content type (default: auto)"},
    {"ack", "memory|wal|l3", "what the write waits for (default: default_ack)"},
    {"route", "l2|l3|all", "tiers it goes to (default: all)"},
    {0}};

const struct command command_put = {
    .name = "put",
    .arguments = "ID [FILE|-]",
    .args_min = 1,
    .args_max = 2,
    .summary = "Store a file, standard input or a text under an id.",
    .details = "Returns when the write is in its home tier or in the WAL, and says where.",
    .flags = put_flags,
    .needs = NEEDS_WRITER,
    .run = run_put,
};

/* ---- delete ---- */

static int run_delete(struct call *call)
{
    se_engine *engine;
    se_submit_options o;
    se_submit_options_init(&o);
    if (!call_flag_ack(call, &o.ack))
        return EXIT_TROUBLE;
    int status = session_open(call, true, &engine);
    if (status != EXIT_FINE)
        return status;
    uint64_t dead = session_dead(engine);
    se_result r = se_delete(engine, call->args[0], &o);
    if (r != SE_OK && r != SE_PENDING) {
        term_failed(call->args[0], r);
        session_end(engine, 1000);
        return EXIT_TROUBLE;
    }
    return settle(call, engine, "deleted", dead);
}

static const struct flag delete_flags[] = {
    {"ack", "memory|wal|l3", "what the delete waits for (default: default_ack)"}, {0}};

const struct command command_delete = {
    .name = "delete",
    .arguments = "ID",
    .args_min = 1,
    .args_max = 1,
    .summary = "Delete an item; deleting what is not there is no error.",
    .flags = delete_flags,
    .needs = NEEDS_WRITER,
    .run = run_delete,
};

/* ---- contains ---- */

static int run_contains(struct call *call)
{
    se_engine *engine;
    bool found = false;
    int status = session_open(call, true, &engine);
    if (status != EXIT_FINE)
        return status;
    se_result r = se_contains(engine, call->args[0], &found);
    session_close(engine);
    if (r != SE_OK && r != SE_NOT_FOUND) {
        term_failed(call->args[0], r);
        return EXIT_TROUBLE;
    }
    if (!call_flag(call, "quiet"))
        out_text(found ? "yes\n" : "no\n");
    return out_finish(found ? EXIT_FINE : EXIT_NO);
}

static const struct flag contains_flags[] = {{"quiet", NULL, "say it by the exit status only"},
                                             {0}};

const struct command command_contains = {
    .name = "contains",
    .arguments = "ID",
    .args_min = 1,
    .args_max = 1,
    .summary = "Is there such an item? Status 0: yes, 1: no, 2: it cannot be told.",
    .flags = contains_flags,
    .needs = NEEDS_READER,
    .run = run_contains,
};

/* ---- status ---- */

static const char *sync_text(se_sync sync)
{
    return sync == SE_SYNC_SYNCED ? "synced" : sync == SE_SYNC_PENDING ? "pending" : "missing";
}

static const char *yes(bool b)
{
    return b ? "true" : "false";
}

static void status_json(const char *id, const se_item_status *s)
{
    struct buf out = {0};
    se__buf_text(&out, "{\"id\":");
    json_string(&out, id, strlen(id));
    se__buf_printf(
        &out, ",\"sync\":\"%s\",\"version\":%" PRIu64 ",\"in_l2\":%s,\"in_l3\":%s,\"in_wal\":%s}\n",
        sync_text(s->sync), s->version, yes(s->in_l2), yes(s->in_l3), yes(s->in_wal));
    out_bytes(out.data, out.len);
    se__buf_done(&out);
}

static int run_status(struct call *call)
{
    se_engine *engine;
    se_item_status s;
    int status = session_open(call, true, &engine);
    if (status != EXIT_FINE)
        return status;
    se_result r = se_status(engine, call->args[0], &s);
    session_close(engine);
    if (r != SE_OK && r != SE_NOT_FOUND)
        return judge(call->args[0], r);
    if (r == SE_NOT_FOUND)
        s = (se_item_status){.sync = SE_SYNC_MISSING};
    if (call_flag(call, "json"))
        status_json(call->args[0], &s);
    else
        out_printf("%s\nversion %" PRIu64 "\nRedis %s\nSQL %s\nWAL %s\n", sync_text(s.sync),
                   s.version, s.in_l2 ? "yes" : "no", s.in_l3 ? "yes" : "no",
                   s.in_wal ? "yes" : "no");
    return out_finish(s.sync == SE_SYNC_MISSING ? EXIT_NO : EXIT_FINE);
}

static const struct flag status_flags[] = {{"json", NULL, "one JSON object"}, {0}};

const struct command command_status = {
    .name = "status",
    .arguments = "ID",
    .args_min = 1,
    .args_max = 1,
    .summary = "Say which tiers hold an item, and its version; status 1 if it is missing.",
    .flags = status_flags,
    .needs = NEEDS_READER,
    .run = run_status,
};
