/*
 * flood - see flood.h.
 */
#include "integration/flood.h"

#include "support/must.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define NUMBER_LEN 16u /* of the text that a content repeats */
#define CHECK_IDS 1000u
#define NOTE_EVERY 256u
#define LATEST_EVERY 8u

/* ---- contents ---- */

static void fill(char content[FLOOD_CONTENT + 1], uint32_t number)
{
    for (unsigned at = 0; at < FLOOD_CONTENT; at += NUMBER_LEN)
        (void)snprintf(content + at, NUMBER_LEN + 1, "write %09" PRIu32 ";", number);
}

static uint32_t number_of(se_item *item)
{
    MUST(se_item_content_len(item) == FLOOD_CONTENT, "%s", se_item_id(item));
    char text[NUMBER_LEN + 1] = "";
    memcpy(text, se_item_content(item), NUMBER_LEN);
    return (uint32_t)strtoul(text + strlen("write "), NULL, 10);
}

static void id_of(char id[16], char kind, unsigned i)
{
    (void)snprintf(id, 16, "%c:%06u", kind, i);
}

/* ---- the thread's own account ---- */

static uint64_t cpu_us(const struct rusage *u)
{
    return (uint64_t)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000000 +
           (uint64_t)(u->ru_utime.tv_usec + u->ru_stime.tv_usec);
}

static void usage(struct rusage *u)
{
    MUST(getrusage(RUSAGE_THREAD, u) == 0, "getrusage");
}

/* ---- the writer ---- */

static void write_one(struct flood *f, uint32_t number)
{
    char id[16], content[FLOOD_CONTENT + 1];
    unsigned i = number % f->ids;
    id_of(id, 'w', i);
    fill(content, number);
    se_result r = se_submit(f->e, id, content, FLOOD_CONTENT, NULL);
    if (r == SE_ERR_BACKPRESSURE) {
        uint32_t wait = se_retry_after_ms(f->e);
        atomic_fetch_add(&f->refused, 1);
        atomic_fetch_add(&f->unhinted, wait == 0);
        se__pause_ms(wait);
        return;
    }
    MUST(r == SE_OK || r == SE_PENDING, "%s: %d", id, r);
    atomic_store(&f->acked[i], number);
    atomic_store(&f->latest, i);
    atomic_fetch_add(&f->accepted, 1);
}

static void write_on(void *arg)
{
    struct flood *f = arg;
    struct rusage u;
    for (uint32_t number = 1; atomic_load(&f->writing); number++) {
        write_one(f, number);
        if (number % NOTE_EVERY == 0) {
            usage(&u);
            atomic_store(&f->writer_us, cpu_us(&u));
        }
    }
    usage(&u);
    atomic_store(&f->writer_us, cpu_us(&u));
}

/* ---- the reader ---- */

static void read_hot(struct flood *f, unsigned i)
{
    char id[16];
    se_item *item;
    id_of(id, 'h', i % FLOOD_HOT);
    se_result r = se_get(f->e, id, &item);
    MUST(r == SE_OK, "%s: %d", id, r);
    MUST(number_of(item) == i % FLOOD_HOT, "%s", id);
    se_item_release(item);
}

/* False: there is none yet. */
static bool read_latest(struct flood *f)
{
    char id[16];
    se_item *item;
    unsigned i = atomic_load(&f->latest);
    uint32_t known = atomic_load(&f->acked[i]);
    if (!known)
        return false;
    id_of(id, 'w', i);
    se_result r = se_get(f->e, id, &item);
    MUST(r == SE_OK, "%s: %d", id, r);
    MUST(number_of(item) >= known, "%s: %" PRIu32 " after %" PRIu32, id, number_of(item), known);
    se_item_release(item);
    return true;
}

static void note_reads(struct flood *f, unsigned reads)
{
    struct rusage u;
    usage(&u);
    atomic_fetch_add(&f->reads, reads);
    atomic_store(&f->read_waits, (uint64_t)u.ru_nvcsw);
    atomic_store(&f->read_us, cpu_us(&u));
}

static void read_on(void *arg)
{
    struct flood *f = arg;
    for (unsigned i = 1; atomic_load(&f->reading); i++) {
        if (i % LATEST_EVERY != 0 || !read_latest(f))
            read_hot(f, i);
        if (i % NOTE_EVERY == 0)
            note_reads(f, NOTE_EVERY);
    }
}

/* ---- life ---- */

void flood_make(struct flood *f, se_engine *e, unsigned ids)
{
    *f = (struct flood){.e = e, .ids = ids, .acked = calloc(ids, sizeof *f->acked)};
    MUST(f->acked && ids < 1000000, "%u ids", ids);
    memset((void *)f->acked, 0, ids * sizeof *f->acked); /* resident before memory is measured */
    for (unsigned i = 0; i < FLOOD_HOT; i++) {
        char id[16], content[FLOOD_CONTENT + 1];
        id_of(id, 'h', i);
        fill(content, i);
        MUST(se_submit(e, id, content, FLOOD_CONTENT, NULL) == SE_OK, "%s", id);
    }
    MUST(se_flush(e, 20000) == SE_OK, "the hot ids");
}

void flood_done(struct flood *f)
{
    free((void *)f->acked);
}

void flood_read(struct flood *f)
{
    atomic_store(&f->reading, true);
    MUST(se__thread_start(&f->reader, "flood-read", read_on, f) == SE_OK, "thread");
}

void flood_write(struct flood *f)
{
    atomic_store(&f->writing, true);
    MUST(se__thread_start(&f->writer, "flood-write", write_on, f) == SE_OK, "thread");
}

void flood_stop_writing(struct flood *f)
{
    atomic_store(&f->writing, false);
    se__thread_join(&f->writer);
}

void flood_stop_reading(struct flood *f)
{
    atomic_store(&f->reading, false);
    se__thread_join(&f->reader);
}

/* ---- samples ---- */

static double value_in(const char *text, const char *family, const char *labels)
{
    size_t len = strlen(family);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        size_t end = strcspn(line, "\n");
        if (strncmp(line, family, len) == 0 && line[len] == '{' &&
            memmem(line, end, labels, strlen(labels)))
            return strtod((const char *)memrchr(line, ' ', end) + 1, NULL);
    }
    return 0;
}

double flood_metric(se_engine *e, const char *family, const char *labels)
{
    char *text;
    size_t len;
    MUST(se_metrics_text(e, &text, &len) == SE_OK, "metrics");
    double value = value_in(text, family, labels);
    free(text);
    return value;
}

static uint64_t rss_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    MUST(f && fscanf(f, "%llu %llu", &size, &resident) == 2, "statm");
    (void)fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

const char *flood_level_name(se_pressure level)
{
    static const char *const names[] = {"normal",   "warn",      "throttle",
                                        "critical", "emergency", "shutdown"};
    return names[level];
}

static void sample_metrics(struct flood *f, struct flood_sample *s)
{
    char *text;
    size_t len;
    MUST(se_metrics_text(f->e, &text, &len) == SE_OK, "metrics");
    for (int level = 0; level <= SE_PRESSURE_SHUTDOWN; level++) {
        char label[32];
        (void)snprintf(label, sizeof label, "to=\"%s\"", flood_level_name((se_pressure)level));
        s->entered[level] =
            (uint64_t)value_in(text, "sync_engine_pressure_transitions_total", label);
        s->changes += s->entered[level];
    }
    s->persisted = (uint64_t)value_in(text, "sync_engine_writes_persisted_total", "");
    s->throttled = (uint64_t)value_in(text, "sync_engine_writes_throttled_total", "");
    s->l1_hits = (uint64_t)value_in(text, "sync_engine_operations_total",
                                    "tier=\"l1\",operation=\"get\",status=\"hit\"");
    free(text);
}

void flood_sample(struct flood *f, struct flood_sample *s)
{
    se_health h;
    *s = (struct flood_sample){0};
    sample_metrics(f, s);
    MUST(se_health_check(f->e, &h) == SE_OK, "health");
    s->level = h.pressure_level;
    s->pressure = h.pressure;
    s->l1_bytes = h.l1_bytes;
    s->queue_bytes = h.queue_bytes;
    s->queue_items = h.queue_items;
    s->wal_items = h.wal_items;
    s->rss_bytes = rss_bytes();
    s->accepted = atomic_load(&f->accepted);
    s->refused = atomic_load(&f->refused);
    s->reads = atomic_load(&f->reads);
    s->read_waits = atomic_load(&f->read_waits);
    s->read_us = atomic_load(&f->read_us);
    s->writer_us = atomic_load(&f->writer_us);
}

/* ---- the truth ---- */

static bool row_is_right(const struct flood *f, unsigned i, const char *number)
{
    uint32_t acked = atomic_load(&f->acked[i]);
    return acked && strtoul(number, NULL, 10) == acked;
}

/* "index=number" of each of the rows from one index to before another; number 0: not whole. */
static void read_rows(struct mariadb_server *mariadb, unsigned from, unsigned to, char *text,
                      size_t cap)
{
    char sql[512];
    (void)snprintf(sql, sizeof sql,
                   "SET STATEMENT group_concat_max_len = 1000000 FOR SELECT "
                   "GROUP_CONCAT(CONCAT(SUBSTR(id, 3), '=', "
                   "IF(payload_blob = REPEAT(LEFT(payload_blob, %u), %u) AND deleted = 0, "
                   "SUBSTR(payload_blob, 7, 9), 0)) "
                   "SEPARATOR ' ') FROM sync_items WHERE id >= 'w:%06u' AND id < 'w:%06u'",
                   NUMBER_LEN, FLOOD_CONTENT / NUMBER_LEN, from, to);
    text[0] = '\0';
    MUST(mariadb_value(mariadb, sql, text, cap), "%s", sql);
}

uint64_t flood_check(struct flood *f, struct mariadb_server *mariadb, uint64_t *wrong)
{
    static char text[CHECK_IDS * 24];
    uint64_t right = 0, rows = 0, written = 0;
    for (unsigned i = 0; i < f->ids; i++)
        written += atomic_load(&f->acked[i]) != 0;
    for (unsigned from = 0; from < f->ids; from += CHECK_IDS) {
        unsigned to = from + CHECK_IDS < f->ids ? from + CHECK_IDS : f->ids;
        read_rows(mariadb, from, to, text, sizeof text);
        for (char *row = strtok(text, " "); row; row = strtok(NULL, " ")) {
            rows++;
            right += row_is_right(f, (unsigned)strtoul(row, NULL, 10), strchr(row, '=') + 1);
        }
    }
    *wrong = rows - right + (written > right ? written - right : 0);
    return right;
}
