/*
 * options - the table of configuration fields, and everything that is derived from it: defaults,
 * se_config_set, the environment, checks and docs/configuration.md.
 *
 * Threads: the table is constant; a config belongs to its caller.
 * Memory: strings set by name live in a chain that hangs on config->owned until se_config_clear.
 */
#include "engine/options.h"

#include "base/mem.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(se_config, field)
#define U32_MAX 4294967295.0
#define U53_MAX 9007199254740992.0 /* the greatest range a double can check exactly */
#define HOUR_MS 3600000.0

static const struct option table[] = {
    {"name", OPTION_TEXT, AT(name), NULL, 0, 63,
     "Label of this engine in logs, metrics and the owner row; not set: host and pid."},
    {"redis_url", OPTION_URL, AT(redis_url), NULL, 0, 0,
     "redis://[[user]:pass@]host[:port][/db] or unix:///path[?db=n]; not set: no L2."},
    {"redis_prefix", OPTION_TEXT, AT(redis_prefix), "sync:", 0, 128, "Put before every Redis key."},
    {"sql_url", OPTION_URL, AT(sql_url), NULL, 0, 0,
     "mysql://user[:pass]@host[:port]/db[?socket=/path] or sqlite:/path; not set: no L3."},
    {"sql_table", OPTION_TEXT, AT(sql_table), "sync_items", 1, 48,
     "Name of the table; letters, digits and underscores."},
    {"wal_path", OPTION_TEXT, AT(wal_path), NULL, 0, 4000,
     "SQLite file of the write-ahead log; not set: no WAL."},
    {"l1_max_bytes", OPTION_SIZE, AT(l1_max_bytes), "256MiB", 1 << 20, U53_MAX,
     "Hard bound on L1, bookkeeping included."},
    {"max_payload_bytes", OPTION_SIZE, AT(max_payload_bytes), "8MiB", 1, 1 << 30,
     "Longest content; lowered at connect to what the database takes."},
    {"batch_flush_ms", OPTION_U32, AT(batch_flush_ms), "100", 1, HOUR_MS,
     "A batch leaves when its oldest write is this old; with the default sooner, once the worker "
     "has rested as long as batches cost."},
    {"batch_flush_count", OPTION_U32, AT(batch_flush_count), "1000", 1, 100000,
     "A batch leaves at this many writes; with the default sooner, where they would take longer "
     "than batch_flush_ms."},
    {"batch_flush_bytes", OPTION_SIZE, AT(batch_flush_bytes), "1MiB", 1, 1 << 30,
     "A batch leaves at this many bytes; with the default sooner, as batch_flush_count."},
    {"flush_workers", OPTION_U32, AT(flush_workers), "2", 1, 64,
     "Ids are partitioned among this many workers; one is used with SQLite."},
    {"default_ack", OPTION_ACK, AT(default_ack), "memory", 0, 0,
     "Ack of writes that name none: memory, wal or l3."},
    {"queue_max_bytes", OPTION_SIZE, AT(queue_max_bytes), "64MiB", 1024, U53_MAX,
     "Bound on unflushed content; beyond it backpressure."},
    {"wal_max_items", OPTION_U64, AT(wal_max_items), "1000000", 1, U53_MAX,
     "Bound on live WAL records; full means backpressure, never loss."},
    {"wal_max_bytes", OPTION_U64, AT(wal_max_bytes), "1GiB", 4096, U53_MAX,
     "Bound on the bytes of live WAL records."},
    {"wal_drain_batch_size", OPTION_U32, AT(wal_drain_batch_size), "1000", 1, 100000,
     "Records a drain hands to L3 at a time; with the default fewer, as batch_flush_count."},
    {"backpressure_warn", OPTION_DOUBLE, AT(backpressure_warn), "0.70", 0.01, 0.99,
     "Share of a bound at which the engine evicts harder; throttling begins half way to critical."},
    {"backpressure_critical", OPTION_DOUBLE, AT(backpressure_critical), "0.90", 0.02, 0.999,
     "Share of a bound at which writes are refused; above backpressure_warn."},
    {"filter_warmup_batch_size", OPTION_U32, AT(filter_warmup_batch_size), "10000", 1, 1000000,
     "Ids per scan of L3 when the filter warms up."},
    {"filter_snapshot_interval_s", OPTION_U32, AT(filter_snapshot_interval_s), "30", 0, U32_MAX,
     "A filter snapshot is written this long after the last one, and"},
    {"filter_snapshot_insert_threshold", OPTION_U32, AT(filter_snapshot_insert_threshold), "10000",
     0, U32_MAX, "after this many inserts; both 0: never."},
    {"redis_timeout_ms", OPTION_U32, AT(redis_timeout_ms), "250", 1, HOUR_MS,
     "Longest Redis round trip, connecting included."},
    {"sql_timeout_ms", OPTION_U32, AT(sql_timeout_ms), "2000", 1, HOUR_MS,
     "Longest SQL round trip, connecting included."},
    {"read_timeout_ms", OPTION_U32, AT(read_timeout_ms), "3000", 1, HOUR_MS,
     "Longest whole read, retries and waits included."},
    {"ack_timeout_ms", OPTION_U32, AT(ack_timeout_ms), "5000", 1, HOUR_MS,
     "After this a write whose ack is not confirmed returns SE_PENDING."},
    {"throttle_max_ms", OPTION_U32, AT(throttle_max_ms), "50", 0, HOUR_MS,
     "Longest delay of a write under throttling pressure."},
    {"startup_timeout_ms", OPTION_U32, AT(startup_timeout_ms), "30000", 1, HOUR_MS,
     "Longest wait for backends in se_open; then it opens degraded, or fails with "
     "require_backends."},
    {"read_connections", OPTION_U32, AT(read_connections), "4", 1, 256,
     "Connections for reads, for each backend."},
    {"circuit_failures", OPTION_U32, AT(circuit_failures), "5", 1, 1000,
     "Failures in a row that open a backend's circuit."},
    {"circuit_open_ms", OPTION_U32, AT(circuit_open_ms), "30000", 1, HOUR_MS,
     "How long an open circuit waits before it tries again, with jitter."},
    {"max_clock_skew_ms", OPTION_U32, AT(max_clock_skew_ms), "60000", 0, U32_MAX,
     "A version further ahead than this does not push this engine's clock."},
    {"require_backends", OPTION_BOOL, AT(require_backends), "false", 0, 0,
     "Whether se_open fails when a backend is down."},
    {"read_only", OPTION_BOOL, AT(read_only), "false", 0, 0,
     "No writes, no workers, no drain, no WAL lock: for tools beside a live service."},
    {"shared", OPTION_BOOL, AT(shared), "false", 0, 0,
     "Whether other engines write the same tiers; not supported by this version."},
    {"cdc_stream", OPTION_TEXT, AT(cdc_stream), NULL, 0, 512,
     "Redis stream that gets every change once L3 has it; not supported by this version."},
    {"cdc_maxlen", OPTION_U64, AT(cdc_maxlen), "100000", 1, U53_MAX,
     "Approximate length of that stream."},
    {"tombstone_retention_s", OPTION_U32, AT(tombstone_retention_s), "86400", 1, U32_MAX,
     "How long L3 keeps the tombstone of a delete."},
    {"l1_huge_pages", OPTION_BOOL, AT(l1_huge_pages), "true", 0, 0,
     "Ask the kernel for huge pages where L1's items lie close together (Linux 6.1); false for "
     "processes that fork children which live on."},
    {"sql_compression", OPTION_COMPRESSION, AT(sql_compression), "off", 0, 0,
     "How L3 stores contents: off (plain), on (zstd where it saves an eighth), dictionary (zstd "
     "with the table's newest dictionary)."},
};

const struct option *se__options(size_t *n)
{
    *n = sizeof table / sizeof *table;
    return table;
}

const struct option *se__option_find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    }
    return NULL;
}

static bool is_text(const struct option *o)
{
    return o->type == OPTION_TEXT || o->type == OPTION_URL;
}

/* True if the caller's struct, which may be of an older library's size, has this field. */
static bool has_field(const se_config *config, const struct option *o, size_t width)
{
    return o->offset + width <= config->struct_size;
}

static size_t width_of(enum option_type type)
{
    switch (type) {
    case OPTION_TEXT:
    case OPTION_URL:
        return sizeof(char *);
    case OPTION_U32:
        return sizeof(uint32_t);
    case OPTION_U64:
        return sizeof(uint64_t);
    case OPTION_SIZE:
        return sizeof(size_t);
    case OPTION_DOUBLE:
        return sizeof(double);
    case OPTION_BOOL:
        return sizeof(bool);
    case OPTION_ACK:
        return sizeof(se_ack);
    case OPTION_COMPRESSION:
        return sizeof(se_compression);
    }
    return 0;
}

/* ---- strings the config owns ---- */

struct owned_text {
    struct owned_text *next;
    const char *field; /* of the table; one text a field */
    char text[];
};

static se_result own_text(se_config *config, const struct option *o, const char *value)
{
    size_t len = strlen(value);
    struct owned_text *t = se__alloc(sizeof *t + len + 1);
    if (!t)
        return se__error_nomem();
    memcpy(t->text, value, len + 1);
    t->field = o->name;
    struct owned_text **at = (struct owned_text **)&config->owned;
    while (*at && (*at)->field != o->name)
        at = &(*at)->next;
    struct owned_text *old = *at;
    t->next = old ? old->next : NULL;
    *at = t;
    se__free(old);
    const char *text = len ? t->text : NULL; /* "" takes a setting back */
    memcpy((char *)config + o->offset, &text, sizeof text);
    return SE_OK;
}

void se_config_clear(se_config *config)
{
    if (!config)
        return;
    struct owned_text *t = config->owned;
    while (t) {
        struct owned_text *next = t->next;
        const char **field = (const char **)((char *)config + se__option_find(t->field)->offset);
        if (*field == t->text)
            *field = NULL;
        se__free(t);
        t = next;
    }
    config->owned = NULL;
}

/* ---- values from text ---- */

static bool parse_scale(const char *suffix, double *scale)
{
    static const struct {
        const char *name;
        double scale;
    } units[] = {{"", 1},     {"B", 1},       {"kB", 1e3},      {"MB", 1e6},
                 {"GB", 1e9}, {"KiB", 1024},  {"MiB", 1048576}, {"GiB", 1073741824},
                 {"K", 1024}, {"M", 1048576}, {"G", 1073741824}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcasecmp(suffix, units[i].name) == 0) {
            *scale = units[i].scale;
            return true;
        }
    }
    return false;
}

static bool parse_number(const char *text, bool bytes, bool fraction, double *out)
{
    while (isspace((unsigned char)*text))
        text++;
    if (!isdigit((unsigned char)*text) && *text != '.') /* no signs, "inf" or "nan" */
        return false;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        return false;
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || errno == ERANGE)
        return false;
    while (isspace((unsigned char)*end))
        end++;
    double scale = 1;
    if (bytes ? !parse_scale(end, &scale) : *end != '\0')
        return false;
    value *= scale;
    if (!fraction && value != floor(value))
        return false;
    *out = value;
    return true;
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < 4; i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *out = strcasecmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static bool parse_ack(const char *text, se_ack *out)
{
    static const struct {
        const char *name;
        se_ack ack;
    } acks[] = {{"memory", SE_ACK_MEMORY}, {"wal", SE_ACK_WAL}, {"l3", SE_ACK_L3}};
    for (size_t i = 0; i < 3; i++) {
        if (strcasecmp(text, acks[i].name) == 0) {
            *out = acks[i].ack;
            return true;
        }
    }
    return false;
}

/* Switches are given in many words: those of a boolean mean off and on here, too. */
static bool parse_compression(const char *text, se_compression *out)
{
    bool on;
    if (strcasecmp(text, "dictionary") == 0) {
        *out = SE_COMPRESSION_DICTIONARY;
        return true;
    }
    if (!parse_bool(text, &on))
        return false;
    *out = on ? SE_COMPRESSION_ON : SE_COMPRESSION_OFF;
    return true;
}

static bool counts_bytes(const struct option *o)
{
    return o->type == OPTION_SIZE || strstr(o->name, "_bytes") != NULL;
}

/* The message shows the value, up to what could be an address that got here by a slip. */
static se_result bad_value(const struct option *o, const char *value)
{
    int len = (int)strcspn(value, ":");
    len = len < 40 ? len : 40;
    switch (o->type) {
    case OPTION_BOOL:
        return se__error(SE_ERR_CONFIG, "%s: '%.*s' is not true or false", o->name, len, value);
    case OPTION_ACK:
        return se__error(SE_ERR_CONFIG, "%s: '%.*s' is not memory, wal or l3", o->name, len, value);
    case OPTION_COMPRESSION:
        return se__error(SE_ERR_CONFIG, "%s: '%.*s' is not off, on or dictionary", o->name, len,
                         value);
    case OPTION_DOUBLE:
        return se__error(SE_ERR_CONFIG, "%s: '%.*s' is not a number from %g to %g", o->name, len,
                         value, o->min, o->max);
    default:
        return se__error(SE_ERR_CONFIG, "%s: '%.*s' is not a whole number from %.0f to %.0f%s",
                         o->name, len, value, o->min, o->max,
                         counts_bytes(o) ? " (units: kB, MB, GB, KiB, MiB, GiB)" : "");
    }
}

static se_result set_number(se_config *config, const struct option *o, const char *value)
{
    double number;
    if (!parse_number(value, counts_bytes(o), o->type == OPTION_DOUBLE, &number) ||
        number < o->min || number > o->max)
        return bad_value(o, value);
    char *at = (char *)config + o->offset;
    if (o->type == OPTION_DOUBLE)
        memcpy(at, &number, sizeof number);
    else if (o->type == OPTION_U32)
        memcpy(at, &(uint32_t){(uint32_t)number}, sizeof(uint32_t));
    else if (o->type == OPTION_U64)
        memcpy(at, &(uint64_t){(uint64_t)number}, sizeof(uint64_t));
    else
        memcpy(at, &(size_t){(size_t)number}, sizeof(size_t));
    return SE_OK;
}

static se_result set_option(se_config *config, const struct option *o, const char *value)
{
    char *at = (char *)config + o->offset;
    bool flag;
    se_ack ack;
    se_compression compression;
    switch (o->type) {
    case OPTION_TEXT:
    case OPTION_URL:
        return own_text(config, o, value);
    case OPTION_BOOL:
        if (!parse_bool(value, &flag))
            return bad_value(o, value);
        memcpy(at, &flag, sizeof flag);
        return SE_OK;
    case OPTION_ACK:
        if (!parse_ack(value, &ack))
            return bad_value(o, value);
        memcpy(at, &ack, sizeof ack);
        return SE_OK;
    case OPTION_COMPRESSION:
        if (!parse_compression(value, &compression))
            return bad_value(o, value);
        memcpy(at, &compression, sizeof compression);
        return SE_OK;
    default:
        return set_number(config, o, value);
    }
}

/* Only what could be a name: an address in its place, by a slip, may hold a password. */
static se_result unknown_option(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    size_t len = strspn(name, allowed);
    return se__error(SE_ERR_CONFIG, "unknown option '%.*s%s'", (int)(len < 60 ? len : 60), name,
                     name[len] ? "..." : "");
}

se_result se_config_set(se_config *config, const char *name, const char *value)
{
    if (!config || !name || !value)
        return se__error(SE_ERR_CONFIG, "se_config_set: config, name and value must not be NULL");
    const struct option *o = se__option_find(name);
    if (!o)
        return unknown_option(name);
    if (!has_field(config, o, width_of(o->type)))
        return se__error(SE_ERR_CONFIG, "%s: not in this se_config, whose struct_size is %zu",
                         o->name, config->struct_size);
    return set_option(config, o, value);
}

bool se__option_present(const se_config *config, const struct option *o)
{
    return has_field(config, o, width_of(o->type));
}

bool se__option_is_default(const se_config *config, const struct option *o)
{
    se_config fresh;
    se_config_init(&fresh);
    return memcmp((const char *)config + o->offset, (const char *)&fresh + o->offset,
                  width_of(o->type)) == 0;
}

/* Every field, and all or nothing: a config is changed only if every variable is good. */
se_result se_config_from_env(se_config *config)
{
    if (!config)
        return se__error(SE_ERR_CONFIG, "se_config_from_env: config must not be NULL");
    for (int pass = 0; pass < 2; pass++) {
        se_config trial;
        se_config_init(&trial);
        se_result r = SE_OK;
        for (size_t i = 0; r == SE_OK && i < sizeof table / sizeof *table; i++) {
            char variable[64] = "SYNC_ENGINE_";
            size_t at = strlen(variable);
            for (const char *c = table[i].name; *c; c++)
                variable[at++] = (char)toupper((unsigned char)*c);
            variable[at] = '\0';
            const char *value = getenv(variable);
            if (value)
                r = se_config_set(pass ? config : &trial, table[i].name, value);
            if (r != SE_OK)
                r = se__error(r, "%s: %s", variable, se_errmsg());
        }
        se_config_clear(&trial);
        if (r != SE_OK)
            return r;
    }
    return SE_OK;
}

void se_config_init_sized(se_config *config, size_t size)
{
    memset(config, 0, size);
    config->struct_size = size;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct option *o = &table[i];
        if (!o->fallback || !has_field(config, o, width_of(o->type)))
            continue;
        if (is_text(o)) /* constant, so not owned */
            memcpy((char *)config + o->offset, &o->fallback, sizeof o->fallback);
        else
            (void)set_option(config, o,
                             o->fallback); /* the table's defaults are in range: tested */
    }
}

/* ---- checks ---- */

static double number_of(const se_config *config, const struct option *o)
{
    const char *at = (const char *)config + o->offset;
    switch (o->type) {
    case OPTION_U32:
        return *(const uint32_t *)at;
    case OPTION_U64:
        return (double)*(const uint64_t *)at;
    case OPTION_SIZE:
        return (double)*(const size_t *)at;
    case OPTION_DOUBLE:
        return *(const double *)at;
    default:
        return o->min;
    }
}

static se_result check_one(const se_config *config, const struct option *o)
{
    if (o->type == OPTION_TEXT && o->max > 0) {
        const char *text;
        memcpy(&text, (const char *)config + o->offset, sizeof text);
        size_t len = text ? strlen(text) : 0;
        if (text && ((double)len > o->max || (double)len < o->min))
            return se__error(SE_ERR_CONFIG, "%s: %zu bytes long, allowed are %.0f to %.0f", o->name,
                             len, o->min, o->max);
        return SE_OK;
    }
    double number = number_of(config, o);
    /* written so that NaN fails */
    if (!(number >= o->min && number <= o->max) && o->max > 0)
        return se__error(SE_ERR_CONFIG, "%s: %.17g is not from %.17g to %.17g", o->name, number,
                         o->min, o->max);
    return SE_OK;
}

se_result se__options_check(const se_config *config)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        se_result r = check_one(config, &table[i]);
        if (r != SE_OK)
            return r;
    }
    if (config->backpressure_warn >= config->backpressure_critical)
        return se__error(SE_ERR_CONFIG,
                         "backpressure_warn (%g) must be below backpressure_critical (%g)",
                         config->backpressure_warn, config->backpressure_critical);
    if ((int)config->default_ack < SE_ACK_DEFAULT || config->default_ack > SE_ACK_L3)
        return se__error(SE_ERR_CONFIG, "default_ack: %d is not an se_ack",
                         (int)config->default_ack);
    if ((int)config->sql_compression < SE_COMPRESSION_OFF ||
        config->sql_compression > SE_COMPRESSION_DICTIONARY)
        return se__error(SE_ERR_CONFIG, "sql_compression: %d is not an se_compression",
                         (int)config->sql_compression);
    return SE_OK;
}

/* ---- docs/configuration.md ---- */

static const char *range_of(const struct option *o, char *out, size_t cap)
{
    if (o->type == OPTION_BOOL)
        return "true, false";
    if (o->type == OPTION_ACK)
        return "memory, wal, l3";
    if (o->type == OPTION_COMPRESSION)
        return "off, on, dictionary";
    if (o->type == OPTION_URL)
        return "URL";
    if (o->type == OPTION_TEXT)
        snprintf(out, cap, "text, %.0f..%.0f bytes", o->min, o->max);
    else if (o->type == OPTION_DOUBLE)
        snprintf(out, cap, "%g..%g", o->min, o->max);
    else
        snprintf(out, cap, "%.0f..%.0f", o->min, o->max);
    return out;
}

void se__options_markdown(struct buf *out)
{
    se__buf_text(out,
                 "# Configuration\n\n"
                 "Generated from the table in `src/engine/options.c` by `syncengine docs "
                 "configuration`; do not edit.\n\n"
                 "Every field of `se_config` can be set in C, by `se_config_set(config, name, "
                 "text)`, by the environment\n"
                 "variable `SYNC_ENGINE_<NAME>` (`se_config_from_env`) and by the tool's flag "
                 "`--name-with-dashes`. Sizes take\n"
                 "kB, MB, GB (powers of 1000) and KiB, MiB, GiB (powers of 1024). An empty text "
                 "takes a setting back.\n\n"
                 "| name | default | allowed | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char range[64];
        se__buf_printf(
            out, "| `%s` | %s%s%s | %s | %s |\n", table[i].name, table[i].fallback ? "`" : "",
            table[i].fallback ? table[i].fallback : "not set", table[i].fallback ? "`" : "",
            range_of(&table[i], range, sizeof range), table[i].help);
    }
}
