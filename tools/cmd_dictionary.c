/*
 * cmd_dictionary - syncengine dictionary train, list: what small rows have in common, for compression
 * in the database.
 *
 * Only the database is asked: Redis and the WAL of the configuration are left alone, so that this
 * works beside the service that has them.
 */
#include "out.h"
#include "session.h"
#include "term.h"
#include "text.h"
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool only_sql(struct call *call)
{
    if (!session_has(call, SE_TIER_L3)) {
        term_say("%s: no database is configured: give --sql-url or set SYNC_ENGINE_SQL_URL",
                 call->command->name);
        return false;
    }
    return se_config_set(&call->config, "redis_url", "") == SE_OK &&
           se_config_set(&call->config, "wal_path", "") == SE_OK;
}

/* ---- printing ---- */

static double ratio(uint64_t plain, uint64_t packed)
{
    return packed ? (double)plain / (double)packed : 0;
}

static void print_head(void)
{
    out_printf("%-7s %-24s %9s %9s  %9s  %9s\n", "id", "made", "size", "samples", "alone",
               "with it");
}

static void print_row(const se_dictionary *d)
{
    char made[32], size[24];
    text_time(d->made_at_ms, made);
    text_bytes(d->bytes, size);
    out_printf("%-7" PRIu32 " %-24s %9s %9" PRIu64 "  %7.2f x  %7.2f x%s\n", d->id, made, size,
               d->samples, ratio(d->plain_bytes, d->alone_bytes),
               ratio(d->plain_bytes, d->packed_bytes), d->newest ? "  newest" : "");
}

static void print_json(const se_dictionary *d)
{
    out_printf("{\"id\":%" PRIu32 ",\"newest\":%s,\"made_at_ms\":%" PRId64 ",\"bytes\":%" PRIu64
               ",\"samples\":%" PRIu64 ",\"plain_bytes\":%" PRIu64 ",\"alone_bytes\":%" PRIu64
               ",\"packed_bytes\":%" PRIu64 "}\n",
               d->id, d->newest ? "true" : "false", d->made_at_ms, d->bytes, d->samples,
               d->plain_bytes, d->alone_bytes, d->packed_bytes);
}

/* ---- train ---- */

static bool read_flags(struct call *call, size_t *bytes, size_t *samples)
{
    uint64_t kib = 0, n = 0;
    if (!call_flag_u64(call, "size", 256, &kib) || !call_flag_u64(call, "samples", 100000, &n))
        return false;
    *bytes = (size_t)kib << 10;
    *samples = (size_t)n;
    return true;
}

static int run_train(struct call *call)
{
    se_engine *engine;
    se_dictionary made;
    size_t bytes, samples;
    if (!read_flags(call, &bytes, &samples) || !only_sql(call))
        return EXIT_TROUBLE;
    int status = session_open(call, true, &engine);
    if (status != EXIT_FINE)
        return status;
    se_result r = se_dictionary_train(engine, bytes, samples, &made);
    if (r != SE_OK)
        term_failed(call->command->name, r);
    if (!session_end(engine, SESSION_PATIENCE_MS))
        status = EXIT_TROUBLE;
    if (r != SE_OK)
        return r == SE_ERR_INVALID ? EXIT_NO : EXIT_TROUBLE;
    if (call_flag(call, "json")) {
        print_json(&made);
    } else {
        print_head();
        print_row(&made);
    }
    return out_finish(status);
}

/* ---- list ---- */

struct listing {
    bool json;
    uint64_t n;
};

static bool show(void *arg, const se_dictionary *dictionary)
{
    struct listing *l = arg;
    if (l->json) {
        print_json(dictionary);
    } else {
        if (l->n == 0)
            print_head();
        print_row(dictionary);
    }
    l->n++;
    return true;
}

static int run_list(struct call *call)
{
    se_engine *engine;
    struct listing l = {.json = call_flag(call, "json") != NULL};
    if (!only_sql(call))
        return EXIT_TROUBLE;
    int status = session_open(call, true, &engine);
    if (status != EXIT_FINE)
        return status;
    se_result r = se_dictionary_list(engine, show, &l);
    if (r != SE_OK)
        term_failed(call->command->name, r);
    session_close(engine);
    if (r == SE_OK && l.n == 0 && !l.json)
        term_say("the table has no dictionary yet: see `syncengine help dictionary train`");
    return out_finish(r == SE_OK ? EXIT_FINE : EXIT_TROUBLE);
}

static const struct flag train_flags[] = {
    {"size", "KIB", "length of the dictionary in KiB, 1 to 256 (default: 16)"},
    {"samples", "NUMBER", "rows to learn from, at most 100000 (default: 10000)"},
    {"json", NULL, "one JSON object"},
    {0}};

static const struct flag list_flags[] = {{"json", NULL, "a JSON object a line"}, {0}};

const struct command command_dictionary_train = {
    .name = "dictionary train",
    .arguments = "",
    .summary = "Learn a compression dictionary from the table's own rows.",
    .details =
        "Small items compress badly one by one; a dictionary holds what they have in common. Rows "
        "are taken from all over the table; an eighth of them is kept out of the training, and the "
        "ratios that are printed, without a dictionary and with it, are those rows'. The "
        "dictionary "
        "is stored in the database under a new id and is never changed or deleted. Services with "
        "sql_compression = dictionary use it for new rows within seconds; rows that are there stay "
        "as they are, and all kinds are read side by side.\n\n"
        "Works beside a live service; for the second or two that it takes, and shortly after, it "
        "is "
        "another owner of the database (see `syncengine help verify`). Redis and the WAL are not "
        "touched.\n\n"
        "Status 1: there is too little to learn from, or a dictionary would not help; nothing is "
        "stored then.",
    .flags = train_flags,
    .needs = NEEDS_WRITER,
    .run = run_train,
};

const struct command command_dictionary_list = {
    .name = "dictionary list",
    .arguments = "",
    .summary = "List the compression dictionaries of the table, oldest first.",
    .details = "A line is id, time, length, how many rows it was measured with, and the ratios for "
               "these without a dictionary and with it.",
    .flags = list_flags,
    .needs = NEEDS_READER,
    .run = run_list,
};
