/*
 * child - one life: an engine full of writers, until it is killed or closes. See crash.h.
 */
#include "base/os.h"
#include "fault/crash.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define WRITERS 3u
#define BATCH_MAX 6u

struct writer {
    struct se__thread thread;
    se_engine *e;
    const struct crash_life *life;
    unsigned number, random;
};

/* The first complaint counts; the parent prints it. */
static void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void complain(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (!atomic_exchange(&crash_board->complained, true))
        vsnprintf(crash_board->complaint, sizeof crash_board->complaint, fmt, args);
    va_end(args);
    _exit(9);
}

static unsigned pick(struct writer *w, unsigned n)
{
    return (unsigned)rand_r(&w->random) % n;
}

/* ---- reading ---- */

/* What this life may be asked for: what it has been told to keep itself; and what earlier lives were, unless the database, which may
 * hold newer things than the log, is away at times. */
static uint64_t floor_of(const struct crash_life *life, uint32_t id)
{
    const struct crash_id *i = &crash_board->known.ids[id];
    uint64_t finished = atomic_load(&i->finished), kept = 0;
    if (life->db == CRASH_UP)
        kept = atomic_load(&i->kept);
    else if (life->away_so_far)
        kept = atomic_load(&i->kept_in_wal);
    return kept > finished ? kept : finished;
}

/* must: the log has it, so no outage is an excuse. */
static void look(se_engine *e, const struct crash_life *life, uint32_t id, bool must)
{
    char name[32], about[400];
    se_item *item;
    uint64_t floor = floor_of(life, id); /* before the call */
    crash_name(&crash_board->known, id, name);
    se_result r = se_get(e, name, &item);
    if (r == SE_ERR_STATE || (r == SE_ERR_BACKEND && !must))
        return;
    if (r != SE_OK && r != SE_NOT_FOUND)
        complain("reading \"%s\": %d %s", name, (int)r, se_errmsg());
    uint32_t seen =
        r == SE_OK ? crash_number(id, se_item_content(item), se_item_content_len(item)) : 0;
    if (r == SE_OK && seen == 0)
        complain("\"%s\": bytes that nobody wrote", name);
    if (r == SE_OK)
        se_item_release(item);
    const char *wrong = crash_judge(&crash_board->known, id, seen, floor);
    if (!wrong)
        return;
    crash_describe(&crash_board->known, id, floor, about, sizeof about);
    complain("\"%s\" read as %u in the life that wrote it, or right after its recovery: %s (%s)",
             name, seen, wrong, about);
}

static void look_at_all(se_engine *e, const struct crash_life *life)
{
    for (uint32_t id = 0; id < CRASH_IDS; id++)
        look(e, life, id,
             life->away_so_far && atomic_load(&crash_board->known.ids[id].kept_in_wal) > 0);
}

/* ---- writing ---- */

static enum crash_ack ack_of(const struct writer *w, se_ack asked, se_result r)
{
    if (r == SE_OK)
        return asked == SE_ACK_WAL  ? CRASH_ACK_WAL
               : asked == SE_ACK_L3 ? CRASH_ACK_L3
                                    : CRASH_ACK_NONE;
    if (r == SE_PENDING)
        return CRASH_ACK_NONE;
    if (r != SE_ERR_BACKPRESSURE && r != SE_ERR_STATE && !(r == SE_ERR_IO && w->life->fail_fsync))
        complain("a write: %d %s", (int)r, se_errmsg());
    return CRASH_REFUSED;
}

/* Mostly an id of the writer's own: then the order of its writes is known best. */
static uint32_t some_id(struct writer *w)
{
    return pick(w, 4) ? w->number + WRITERS * pick(w, CRASH_IDS / WRITERS) : pick(w, CRASH_IDS);
}

static bool write_one(struct writer *w, const se_submit_options *o)
{
    char name[32], content[CRASH_CONTENT_MAX];
    uint32_t id = some_id(w);
    bool deletes = pick(w, 6) == 0;
    uint32_t number = crash_try(&crash_board->known, id, deletes, 0);
    if (!number)
        return true;
    crash_name(&crash_board->known, id, name);
    se_result r = deletes ? se_delete(w->e, name, o)
                          : se_submit(w->e, name, content, crash_content(id, number, content), o);
    crash_tried(&crash_board->known, id, number, ack_of(w, o->ack, r));
    if (pick(w, 8) == 0) {
        atomic_fetch_add(&crash_board->read_back, 1);
        look(w->e, w->life, id, false);
    }
    return r != SE_ERR_STATE;
}

struct batch {
    uint32_t ids[BATCH_MAX], numbers[BATCH_MAX];
    char names[BATCH_MAX][32], contents[BATCH_MAX][CRASH_CONTENT_MAX];
    se_put puts[BATCH_MAX];
    size_t n;
};

static void fill(struct writer *w, struct batch *b, const se_submit_options *o)
{
    size_t n = 2 + pick(w, BATCH_MAX - 1);
    uint32_t batch =
        o->ack == SE_ACK_WAL ? atomic_fetch_add(&crash_board->known.batches, 1) + 1 : 0;
    for (b->n = 0; b->n < n; b->n++) {
        size_t at = b->n;
        b->ids[at] = some_id(w);
        b->numbers[at] = crash_try(&crash_board->known, b->ids[at], false, batch);
        if (!b->numbers[at])
            break;
        crash_name(&crash_board->known, b->ids[at], b->names[at]);
        b->puts[at] = (se_put){.id = b->names[at],
                               .content = b->contents[at],
                               .len = crash_content(b->ids[at], b->numbers[at], b->contents[at]),
                               .options = o};
    }
}

static bool write_many(struct writer *w, const se_submit_options *o)
{
    static _Thread_local struct batch b;
    se_batch_result out;
    fill(w, &b, o);
    if (b.n == 0)
        return true;
    se_result r = se_submit_many(w->e, b.puts, b.n, &out);
    for (size_t i = 0; i < b.n; i++)
        crash_tried(&crash_board->known, b.ids[i], b.numbers[i],
                    ack_of(w, o->ack, r < 0 ? r : b.puts[i].result));
    atomic_fetch_add(&crash_board->batches, 1);
    return r != SE_ERR_STATE;
}

static void flush(struct writer *w)
{
    uint64_t finished[CRASH_IDS];
    crash_flush_begins(&crash_board->known, finished);
    se_result r = se_flush(w->e, 300);
    if (r == SE_OK || r == SE_PENDING)
        crash_flush_ended(&crash_board->known, finished);
    atomic_fetch_add(&crash_board->flushes, 1);
}

static void write_for_ever(void *arg)
{
    struct writer *w = arg;
    se_submit_options o;
    se_submit_options_init(&o);
    for (bool on = true; on;) {
        unsigned n = pick(w, 20);
        o.ack = n < 11 ? SE_ACK_WAL : n < 13 ? SE_ACK_L3 : SE_ACK_MEMORY;
        on = pick(w, 5) == 0 ? write_many(w, &o) : write_one(w, &o);
        if (on && w->number == 0 && pick(w, 300) == 0)
            flush(w);
    }
}

/* ---- the life ---- */

static void configure(const struct crash_bed *b, const struct crash_life *life, se_config *c)
{
    static const uint32_t ages_ms[] = {1, 5, 20, 60}, counts[] = {16, 1000}, drains[] = {8, 1000};
    crash_bed_config(b, life->db == CRASH_UP, c);
    c->batch_flush_ms = ages_ms[life->random % 4];
    c->batch_flush_count = counts[life->random / 4 % 2];
    c->wal_drain_batch_size = drains[life->random / 8 % 2];
}

/* Everything that has returned is safe if the close says so. */
static _Noreturn void end(se_engine *e, struct writer *writers)
{
    uint64_t finished[CRASH_IDS];
    se_result r = se_shutdown(e, 20000);
    for (unsigned i = 0; i < WRITERS; i++)
        se__thread_join(&writers[i].thread);
    crash_flush_begins(&crash_board->known, finished);
    se_result closed = se_close(e, 20000);
    if (r != SE_OK || closed != SE_OK)
        complain("se_close: %d, %d: %s", (int)r, (int)closed, se_errmsg());
    crash_flush_ended(&crash_board->known, finished);
    _exit(0);
}

void crash_child(const struct crash_bed *b, const struct crash_life *life)
{
    static struct writer writers[WRITERS];
    se_config c;
    se_engine *e;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    configure(b, life, &c);
    crash_layer_watch(&crash_board->layer);
    crash_points_count(&crash_board->points);
    se_result r = se_open(&c, &e);
    if (r == SE_ERR_IO && atomic_load(&crash_board->layer.failed_syncs) > 0)
        _exit(0); /* nothing has been accepted */
    if (r != SE_OK)
        complain("se_open: %s", se_errmsg());
    look_at_all(e, life);
    atomic_store(&crash_board->opened, true);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.e = e, .life = life, .number = i, .random = life->random + i};
        if (se__thread_start(&writers[i].thread, "writer", write_for_ever, &writers[i]) != SE_OK)
            complain("no thread");
    }
    while (!atomic_load(&crash_board->close_now))
        se__pause_ms(1);
    end(e, writers);
}
