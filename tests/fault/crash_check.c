/*
 * check - after a round: everything is brought home, read through a new engine twice, and by raw SQL. See crash.h.
 */
#include "base/os.h"
#include "fault/crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOME_MS 60000u

static void all_home(se_engine *e)
{
    uint64_t deadline = se__deadline_in(HOME_MS);
    for (;;) {
        se_health h;
        if (se_health_check(e, &h) != SE_OK)
            crash_fail("se_health_check: %s", se_errmsg());
        if (h.sql_up == 1 && h.sql_circuit == SE_CIRCUIT_CLOSED && se_flush(e, 1000) == SE_OK)
            return;
        if (se__deadline_left(deadline) == 0)
            crash_fail("not everything is in the database after %u s: %s", HOME_MS / 1000,
                       se_errmsg());
        se__pause_ms(2);
    }
}

static void judge(uint32_t id, uint32_t seen, const char *where)
{
    char name[32], about[500];
    const struct crash_known *k = &crash_board->known;
    uint64_t floor = atomic_load(&k->ids[id].kept);
    const char *wrong = crash_judge(k, id, seen, floor);
    if (!wrong)
        return;
    crash_name(k, id, name);
    crash_describe(k, id, floor, about, sizeof about);
    crash_fail("\"%s\" is %u in %s: %s (%s)", name, seen, where, wrong, about);
}

static uint32_t read_one(se_engine *e, uint32_t id)
{
    char name[32];
    se_item *item;
    crash_name(&crash_board->known, id, name);
    se_result r = se_get(e, name, &item);
    if (r == SE_NOT_FOUND)
        return 0;
    if (r != SE_OK)
        crash_fail("reading \"%s\": %d %s", name, (int)r, se_errmsg());
    uint32_t number = crash_number(id, se_item_content(item), se_item_content_len(item));
    if (!number)
        crash_fail("\"%s\": bytes that nobody wrote", name);
    se_item_release(item);
    return number;
}

static void read_all(se_engine *e, const char *where, uint32_t seen[CRASH_IDS])
{
    for (uint32_t id = 0; id < CRASH_IDS; id++) {
        seen[id] = read_one(e, id);
        judge(id, seen[id], where);
    }
}

/* An id that is written alone later hides its part: what is older than the batch is torn off it. */
static void check_batches(const uint32_t seen[CRASH_IDS])
{
    char name[32], about[500];
    uint32_t id = crash_torn(&crash_board->known, seen);
    if (id == CRASH_IDS)
        return;
    crash_name(&crash_board->known, id, name);
    crash_describe(&crash_board->known, id, 0, about, sizeof about);
    crash_fail("\"%s\" is %u: of its batch another id is there (%s)", name, seen[id], about);
}

static void same(const uint32_t a[CRASH_IDS], const uint32_t b[CRASH_IDS], const char *what)
{
    for (uint32_t id = 0; id < CRASH_IDS; id++) {
        if (a[id] != b[id])
            crash_fail("id %u: %u and %u: %s differ", id, a[id], b[id], what);
    }
}

/* ---- law 13 ---- */

static double metric(const char *text, const char *family)
{
    char head[80];
    snprintf(head, sizeof head, "\n%s{", family);
    const char *line = strstr(text, head), *end = line ? strchr(line + 1, '\n') : NULL;
    while (end && end > line && *end != ' ')
        end--;
    return end ? strtod(end, NULL) : -1;
}

static void check_account(se_engine *e)
{
    static const char *const out[] = {"sync_engine_writes_superseded_total",
                                      "sync_engine_writes_lost_to_newer_total",
                                      "sync_engine_queue_items",
                                      "sync_engine_wal_entries",
                                      "sync_engine_writes_persisted_total",
                                      "sync_engine_dead_letters"};
    char *text;
    size_t len;
    double rest = 0;
    if (se_metrics_text(e, &text, &len) != SE_OK)
        crash_fail("se_metrics_text: %s", se_errmsg());
    double in = metric(text, "sync_engine_writes_accepted_total") +
                metric(text, "sync_engine_writes_recovered_total");
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++)
        rest += metric(text, out[i]);
    free(text);
    if (in != rest || in < 0)
        crash_fail("the account does not balance: %.0f in, %.0f out", in, rest);
}

void crash_check(struct crash_bed *b)
{
    uint32_t first[CRASH_IDS], again[CRASH_IDS], table[CRASH_IDS];
    se_config c;
    se_engine *e;
    crash_bed_config(b, true, &c);
    if (se_open(&c, &e) != SE_OK)
        crash_fail("se_open after a crash: %s", se_errmsg());
    read_all(e, "the recovered engine", first);
    all_home(e);
    read_all(e, "the engine when all is home", first);
    check_batches(first);
    if (se_invalidate_prefix(e, "") != SE_OK)
        crash_fail("se_invalidate_prefix: %s", se_errmsg());
    read_all(e, "the tiers below L1", again);
    same(first, again, "memory and what is below it");
    check_account(e);
    if (se_close(e, 20000) != SE_OK)
        crash_fail("se_close: %s", se_errmsg());
    crash_bed_table(b, table);
    if (b->poison && table[CRASH_POISON])
        crash_fail("the table has the row that it refuses");
    if (b->poison)
        table[CRASH_POISON] = first[CRASH_POISON]; /* a dead letter, in the log */
    for (uint32_t id = 0; id < CRASH_IDS; id++)
        judge(id, table[id], "the table");
    same(first, table, "the engine and the table");
    crash_checked(&crash_board->known, first);
    crash_layer_reset(&crash_board->layer, b->dir);
}
