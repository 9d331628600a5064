/*
 * cmd_scan - syncengine scan and count: many items, by prefix or by state.
 */
#include "out.h"
#include "session.h"
#include "term.h"
#include "text.h"
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum scan_form { SCAN_TABLE, SCAN_IDS, SCAN_CONTENTS, SCAN_JSON };

struct scan {
    enum scan_form form;
    uint64_t seen;
    bool out_of_memory;
    struct buf line;
};

static bool print_row(const se_item *item)
{
    char time[32], state[4 * SE_STATE_MAX + 1];
    const char *tag = se_item_state(item);
    text_time(se_item_updated_at_ms(item), time);
    text_safe(tag, strlen(tag), state, sizeof state);
    return out_id(se_item_id(item)) &&
           out_printf("\t%zu\t%s\t%s\t%s\n", se_item_content_len(item),
                      content_type_text(se_item_content_type(item)), state, time);
}

static bool print_json(struct scan *s, const se_item *item)
{
    se__buf_clear(&s->line);
    json_item(&s->line, item, true);
    se__buf_text(&s->line, "\n");
    s->out_of_memory = s->line.failed;
    return !s->out_of_memory && out_bytes(s->line.data, s->line.len);
}

static bool visit(void *arg, se_item *item)
{
    struct scan *s = arg;
    s->seen++;
    switch (s->form) {
    case SCAN_IDS:
        return out_id(se_item_id(item)) && out_text("\n");
    case SCAN_CONTENTS:
        return out_bytes(se_item_content(item), se_item_content_len(item)) && out_text("\n");
    case SCAN_JSON:
        return print_json(s, item);
    case SCAN_TABLE:
        break;
    }
    return print_row(item);
}

/* Exactly one of a prefix (none: all ids) and a state. */
static bool one_choice(const struct call *call)
{
    if (!call_flag(call, "state") || call->n_args == 0)
        return true;
    term_say("%s: a prefix and --state exclude each other", call->command->name);
    return false;
}

static bool parse_form(const struct call *call, enum scan_form *form)
{
    int given = 0;
    *form = SCAN_TABLE;
    if (call_flag(call, "ids-only"))
        *form = SCAN_IDS, given++;
    if (call_flag(call, "contents"))
        *form = SCAN_CONTENTS, given++;
    if (call_flag(call, "json"))
        *form = SCAN_JSON, given++;
    if (given > 1)
        term_say("scan: --ids-only, --contents and --json exclude each other");
    return given <= 1;
}

static se_result scan(struct call *call, se_engine *engine, size_t limit, struct scan *s)
{
    const char *state = call_flag(call, "state"), *after = call_flag(call, "after");
    const char *prefix = call->n_args > 0 ? call->args[0] : "";
    if (state)
        return se_scan_state(engine, state, limit, visit, s);
    if (after)
        return se_scan_prefix_after(engine, prefix, after, limit, visit, s);
    return se_scan_prefix(engine, prefix, limit, visit, s);
}

static int run_scan(struct call *call)
{
    se_engine *engine;
    struct scan s = {0};
    uint64_t limit = 0;
    if (!one_choice(call) || !parse_form(call, &s.form) ||
        !call_flag_u64(call, "limit", SIZE_MAX, &limit))
        return EXIT_TROUBLE;
    if (call_flag(call, "state") && call_flag(call, "after")) {
        term_say("scan: --after goes with a prefix, not with --state");
        return EXIT_TROUBLE;
    }
    int status = session_open(call, true, &engine);
    if (status != EXIT_FINE)
        return status;
    se_result r = scan(call, engine, (size_t)limit, &s);
    session_close(engine);
    se__buf_done(&s.line);
    status = out_finish(EXIT_FINE);
    if (r != SE_OK && r != SE_NOT_FOUND)
        term_failed("scan", r);
    else if (s.out_of_memory)
        term_say("scan: out of memory");
    else
        return status;
    return EXIT_TROUBLE;
}

static const struct flag scan_flags[] = {
    {"state", "TEXT", "items with this state tag, instead of a prefix"},
    {"after", "ID", "begin with the first id greater than this one"},
    {"limit", "NUMBER", "at most so many; 0: all"},
    {"ids-only", NULL, "ids, one a line"},
    {"contents", NULL, "contents, one a line: gives a loaded NDJSON file back"},
    {"json", NULL, "a JSON object a line: id, version, times, hash, content"},
    {0}};

const struct command command_scan = {
    .name = "scan",
    .arguments = "[PREFIX]",
    .args_min = 0,
    .args_max = 1,
    .summary = "List items in the order of their ids.",
    .details =
        "Without a prefix and --state all of them. A line is id, size, type, state and time of "
        "change, separated by tabs. With --json "
        "the content is a string that decodes to the exact bytes, or base64 where they are not "
        "UTF-8. Everything acknowledged by this "
        "host's WAL or the tiers is seen; what a running service holds in memory only is not.",
    .flags = scan_flags,
    .needs = NEEDS_READER,
    .run = run_scan,
};

static int run_count(struct call *call)
{
    se_engine *engine;
    uint64_t n = 0;
    const char *state = call_flag(call, "state");
    if (!one_choice(call))
        return EXIT_TROUBLE;
    int status = session_open(call, true, &engine);
    if (status != EXIT_FINE)
        return status;
    const char *prefix = call->n_args > 0 ? call->args[0] : "";
    se_result r = state ? se_count_state(engine, state, &n) : se_count_prefix(engine, prefix, &n);
    session_close(engine);
    if (r != SE_OK) {
        term_failed("count", r);
        return EXIT_TROUBLE;
    }
    out_printf("%" PRIu64 "\n", n);
    return out_finish(EXIT_FINE);
}

static const struct flag count_flags[] = {
    {"state", "TEXT", "items with this state tag, instead of a prefix"}, {0}};

const struct command command_count = {
    .name = "count",
    .arguments = "[PREFIX]",
    .args_min = 0,
    .args_max = 1,
    .summary = "Count items by prefix or state; without either, all.",
    .flags = count_flags,
    .needs = NEEDS_READER,
    .run = run_count,
};
