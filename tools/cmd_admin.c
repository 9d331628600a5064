/*
 * cmd_admin - syncengine stats, health, config, docs, version, help.
 */
#include "config.h"
#include "help.h"
#include "out.h"
#include "session.h"
#include "term.h"
#include "text.h"
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- health ---- */

static const char *up_text(int up)
{
    return up > 0 ? "up" : up == 0 ? "down" : "not configured";
}

static const char *truth(bool b)
{
    return b ? "true" : "false";
}

static const char *trust_text(const se_health *h)
{
    return h->filter_trust == SE_TRUST_TRUSTED ? "trusted" : "untrusted";
}

static void health_json(const se_health *h)
{
    out_printf("{\"healthy\":%s,\"ready\":%s,\"phase\":\"%s\",\"sql\":\"%s\",\"redis\":\"%s\",",
               truth(h->healthy), truth(h->ready), se_phase_name(h->phase), up_text(h->sql_up),
               up_text(h->redis_up));
    out_printf("\"sql_circuit\":\"%s\",\"redis_circuit\":\"%s\",\"pressure\":\"%s\",",
               se_circuit_name(h->sql_circuit), se_circuit_name(h->redis_circuit),
               se_pressure_name(h->pressure_level));
    out_printf("\"wal_items\":%" PRIu64 ",\"dead_letters\":%" PRIu64, h->wal_items,
               h->dead_letters);
    out_printf(",\"filter\":\"%s\",\"filter_items\":%" PRIu64 ",\"filter_bytes\":%" PRIu64,
               trust_text(h), h->filter_items, h->filter_bytes);
    if (h->filter_doubt) /* a constant of the library */
        out_printf(",\"filter_doubt\":\"%s\"}\n", h->filter_doubt);
    else
        out_text(",\"filter_doubt\":null}\n");
}

static void health_rows(const se_health *h)
{
    char bytes[24];
    out_printf("%s\nphase %s\n", h->healthy ? "healthy" : "not healthy", se_phase_name(h->phase));
    out_printf("SQL %s, circuit %s\n", up_text(h->sql_up), se_circuit_name(h->sql_circuit));
    out_printf("Redis %s, circuit %s\n", up_text(h->redis_up), se_circuit_name(h->redis_circuit));
    out_printf("pressure %s\nWAL %" PRIu64 " records, %" PRIu64 " dead letters\n",
               se_pressure_name(h->pressure_level), h->wal_items, h->dead_letters);
    text_bytes(h->filter_bytes, bytes);
    out_printf("filter %s%s%s, %" PRIu64 " ids, %s\n", trust_text(h), h->filter_doubt ? ": " : "",
               h->filter_doubt ? h->filter_doubt : "", h->filter_items, bytes);
}

static int run_health(struct call *call)
{
    se_engine *engine;
    se_health h;
    int status = session_open(call, false, &engine);
    if (status != EXIT_FINE)
        return status;
    se_result r = se_health_check(engine, &h);
    session_close(engine);
    if (r != SE_OK) {
        term_failed("health", r);
        return EXIT_TROUBLE;
    }
    if (call_flag(call, "json"))
        health_json(&h);
    else
        health_rows(&h);
    return out_finish(h.healthy ? EXIT_FINE : EXIT_NO);
}

static const struct flag json_flags[] = {{"json", NULL, "one JSON object"}, {0}};

const struct command command_health = {
    .name = "health",
    .arguments = "",
    .summary = "Do the tiers answer? Status 0: healthy, 1: not, 2: it cannot be told.",
    .details = "Opens an engine that only reads and asks the configured tiers. What a running "
               "service thinks of itself is not asked.",
    .flags = json_flags,
    .needs = NEEDS_READER,
    .run = run_health,
};

/* ---- stats ---- */

static int print_metrics(se_engine *engine)
{
    char *text;
    size_t len;
    se_result r = se_metrics_text(engine, &text, &len);
    if (r != SE_OK) {
        term_failed("stats", r);
        return EXIT_TROUBLE;
    }
    out_bytes(text, len);
    free(text);
    return EXIT_FINE;
}

static int print_stats(se_engine *engine, bool json)
{
    se_health h;
    uint64_t items = 0;
    se_result r = se_count_prefix(engine, "", &items);
    if (r == SE_OK)
        r = se_health_check(engine, &h);
    if (r != SE_OK) {
        term_failed("stats", r);
        return EXIT_TROUBLE;
    }
    out_printf(json ? "{\"items\":%" PRIu64 ",\"wal_items\":%" PRIu64 ",\"dead_letters\":%" PRIu64
                      "}\n"
                    : "items %" PRIu64 "\nWAL records %" PRIu64 "\ndead letters %" PRIu64 "\n",
               items, h.wal_items, h.dead_letters);
    return EXIT_FINE;
}

static int run_stats(struct call *call)
{
    se_engine *engine;
    if (call_flag(call, "url"))
        return stats_of_endpoint(call);
    int status = session_open(call, false, &engine);
    if (status != EXIT_FINE)
        return status;
    status = call_flag(call, "metrics") ? print_metrics(engine)
                                        : print_stats(engine, call_flag(call, "json") != NULL);
    session_close(engine);
    return out_finish(status);
}

static const struct flag stats_flags[] = {
    {"json", NULL, "one JSON object"},
    {"metrics", NULL, "the metrics of this short-lived engine, in Prometheus' text format"},
    {"url", "URL", "all metrics of a running engine instead, from its HTTP endpoint"},
    {0}};

const struct command command_stats = {
    .name = "stats",
    .arguments = "",
    .summary = "Count items, WAL records and dead letters; or show what a running engine counts.",
    .details = "With --url nothing is opened: http://127.0.0.1:9464, say, is asked for its "
               "metrics, and they are printed as "
               "they are or, with --json, as an object of families: each is a list of series with "
               "their labels and a value; "
               "histograms have count, sum, p50, p90 and p99 since the engine's start.",
    .flags = stats_flags,
    .needs = NEEDS_READER,
    .run = run_stats,
};

/* ---- config ---- */

static int run_config(struct call *call)
{
    bool fits = config_print(&call->config);
    return out_finish(fits ? EXIT_FINE : EXIT_TROUBLE);
}

const struct command command_config = {
    .name = "config",
    .arguments = "",
    .summary = "Print the configuration in effect, passwords masked, and check it.",
    .needs = NEEDS_CONFIG,
    .run = run_config,
};

/* ---- docs, help, version ---- */

static int print_buf(struct buf *out, const char *what)
{
    bool failed = out->failed;
    if (failed)
        term_say("%s: out of memory", what);
    else
        out_bytes(out->data, out->len);
    se__buf_done(out);
    return out_finish(failed ? EXIT_TROUBLE : EXIT_FINE);
}

static int run_docs(struct call *call)
{
    struct buf out = {0};
    if (strcmp(call->args[0], "configuration") == 0)
        config_markdown(&out);
    else if (strcmp(call->args[0], "metrics") == 0)
        metrics_markdown(&out);
    else if (strcmp(call->args[0], "tool") == 0)
        help_markdown(&out);
    else if (strcmp(call->args[0], "man") == 0)
        help_man(&out);
    else {
        term_say("docs: \"%s\" is none of configuration, metrics, tool, man", call->args[0]);
        return EXIT_TROUBLE;
    }
    return print_buf(&out, "docs");
}

const struct command command_docs = {
    .name = "docs",
    .arguments = "configuration|metrics|tool|man",
    .args_min = 1,
    .args_max = 1,
    .summary = "Print a document that is generated from the program's tables.",
    .needs = NEEDS_NOTHING,
    .run = run_docs,
};

static int run_help(struct call *call)
{
    struct buf out = {0};
    unsigned columns = term_columns(STDOUT_FILENO);
    int used = 0;
    const struct command *c = call->n_args > 0 ? tool_find(call->args, call->n_args, &used) : NULL;
    if (call->n_args == 0)
        help_program(&out, columns);
    else if (c && used == call->n_args)
        help_command(&out, c, columns);
    else if (call->n_args == 1 && strcmp(call->args[0], "options") == 0)
        help_options(&out, columns);
    else if (call->n_args > 1 || !help_group(&out, call->args[0], columns)) {
        term_say("help: no command is named \"%s%s%s\"; see `syncengine help`", call->args[0],
                 call->n_args > 1 ? " " : "", call->n_args > 1 ? call->args[1] : "");
        return EXIT_TROUBLE;
    }
    return print_buf(&out, "help");
}

const struct command command_help = {
    .name = "help",
    .arguments = "[COMMAND|options]",
    .args_min = 0,
    .args_max = 2,
    .summary = "Explain the program, a command, or the options of the library.",
    .needs = NEEDS_NOTHING,
    .run = run_help,
};

static int run_version(struct call *call)
{
    (void)call;
    out_printf("syncengine %s\n", se_library_version());
    return out_finish(EXIT_FINE);
}

const struct command command_version = {
    .name = "version",
    .arguments = "",
    .summary = "Print the version.",
    .needs = NEEDS_NOTHING,
    .run = run_version,
};
