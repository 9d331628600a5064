/*
 * traffic - see traffic.h.
 */
#include "fault/traffic.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 20000u
#define CLOCK_NS UINT64_C(1000000)

void traffic_wrong(struct traffic *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    se__mutex_lock(&t->lock);
    if (!t->wrong[0]) {
        const char *when = atomic_load(&t->when);
        int n = snprintf(t->wrong, sizeof t->wrong, "%s: ", when ? when : "before");
        (void)vsnprintf(t->wrong + n, sizeof t->wrong - (size_t)n, fmt, args);
    }
    se__mutex_unlock(&t->lock);
    va_end(args);
}

/* ---- ids and contents ---- */

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static unsigned pick(uint64_t *random, unsigned n)
{
    return (unsigned)((*random = mix(*random)) >> 11) % n;
}

void traffic_id(char id[TRAFFIC_ID], char kind, unsigned i)
{
    (void)snprintf(id, TRAFFIC_ID, "%c:%05u", kind, i);
}

void traffic_content(char content[TRAFFIC_CONTENT], const char *id, uint32_t number)
{
    size_t head = (size_t)snprintf(content, TRAFFIC_CONTENT, "%s write %" PRIu32 " ", id, number);
    size_t len = head + mix(number) % (TRAFFIC_CONTENT - 64);
    memset(content + head, 'a' + (int)(number % 26), len - head);
    content[len] = '\0';
}

static bool holds(se_item *item, const char *id, uint32_t number)
{
    char content[TRAFFIC_CONTENT];
    traffic_content(content, id, number);
    return se_item_content_len(item) == strlen(content) &&
           memcmp(se_item_content(item), content, strlen(content)) == 0;
}

/* ---- what the machine costs ---- */

struct stopwatch {
    uint64_t at_ns, queued_ns, late_ns, cpu_ns;
    long waits;
    int fd; /* of this thread's schedstat */
};

static int open_schedstat(void)
{
    return open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

/* How long this thread has waited for a CPU; 0 where the kernel does not tell. */
static uint64_t queued_ns(int fd)
{
    char text[96] = "";
    unsigned long long ran = 0, queued = 0;
    if (fd >= 0 && pread(fd, text, sizeof text - 1, 0) > 0)
        (void)sscanf(text, "%llu %llu", &ran, &queued);
    return queued;
}

/* The lateness of the clock so far, what it is late just now included. */
static uint64_t late_ns(struct traffic *t)
{
    uint64_t now = se__mono_ns(), due = atomic_load(&t->due_ns);
    return atomic_load(&t->late_ns) + (now > due + CLOCK_NS ? now - due : 0);
}

/* How often this thread has given its CPU up by itself: for a lock, for I/O, to sleep. */
static long waits(void)
{
    struct rusage used;
    return getrusage(RUSAGE_THREAD, &used) == 0 ? used.ru_nvcsw : -1;
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct stopwatch begin(struct traffic *t, int fd)
{
    return (struct stopwatch){.fd = fd,
                              .queued_ns = queued_ns(fd),
                              .late_ns = late_ns(t),
                              .waits = waits(),
                              .cpu_ns = cpu_ns(),
                              .at_ns = se__mono_ns()};
}

static void end(struct traffic *t, const struct stopwatch *w, struct speed *speed)
{
    uint64_t took = se__mono_ns() - w->at_ns, worked = cpu_ns() - w->cpu_ns;
    bool waited = waits() != w->waits || w->waits < 0;
    uint64_t machine = queued_ns(w->fd) - w->queued_ns;
    uint64_t late = late_ns(t);
    machine += late > w->late_ns ? late - w->late_ns : 0;
    uint64_t judged = took > machine ? took - machine : 0;
    if (!waited && worked < judged)
        judged = worked;
    speed->count++;
    speed->worst_ns = took > speed->worst_ns ? took : speed->worst_ns;
    speed->worst_judged_ns = judged > speed->worst_judged_ns ? judged : speed->worst_judged_ns;
}

static void tick(void *arg)
{
    struct traffic *t = ((struct rider *)arg)->t;
    while (atomic_load(&t->reading)) {
        uint64_t due = se__mono_ns() + CLOCK_NS;
        atomic_store(&t->due_ns, due);
        se__pause_ms(1);
        uint64_t now = se__mono_ns();
        atomic_store(&t->due_ns, UINT64_MAX - CLOCK_NS);
        if (now > due + CLOCK_NS)
            atomic_fetch_add(&t->late_ns, now - due);
    }
}

/* ---- writers ---- */

static se_ack some_ack(uint64_t *random)
{
    unsigned n = pick(random, 64);
    return n == 0 ? SE_ACK_L3 : n < 6 ? SE_ACK_WAL : SE_ACK_MEMORY;
}

static void write_one(struct traffic *t, uint64_t *random, const char *id, struct written *w)
{
    char content[TRAFFIC_CONTENT];
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = some_ack(random);
    bool deletes = pick(random, 8) == 0;
    traffic_content(content, id, w->number + 1);
    se_result r =
        deletes ? se_delete(t->e, id, &o) : se_submit(t->e, id, content, strlen(content), &o);
    if (r == SE_ERR_BACKPRESSURE) {
        atomic_fetch_add(&t->refused, 1);
        return;
    }
    if (r != SE_OK && r != SE_PENDING)
        traffic_wrong(t, "a write of %s: %d %s", id, r, se_errmsg());
    atomic_fetch_add(&t->writes, 1);
    atomic_fetch_add(&t->pending, r == SE_PENDING);
    *w = (struct written){.number = w->number + 1, .deleted = deletes};
}

/* False: an outage, for the only tier that has it may be away. */
static bool read_own(struct traffic *t, se_engine *e, const char *id, const struct written *w)
{
    se_item *item;
    bool gone = w->deleted || w->number == 0;
    se_result r = se_get(e, id, &item);
    if (r == SE_ERR_BACKEND)
        return false;
    if (r == SE_OK && (gone || !holds(item, id, w->number)))
        traffic_wrong(t, "%s: read '%.40s', acknowledged was %s%" PRIu32, id,
                      (const char *)se_item_content(item), w->deleted ? "the delete " : "write ",
                      w->number);
    else if (r == SE_NOT_FOUND && !gone)
        traffic_wrong(t, "%s: not found, acknowledged was write %" PRIu32, id, w->number);
    else if (r != SE_OK && r != SE_NOT_FOUND)
        traffic_wrong(t, "%s: %d %s", id, r, se_errmsg());
    if (r == SE_OK)
        se_item_release(item);
    return true;
}

static void write_on(void *arg)
{
    struct rider *me = arg;
    struct traffic *t = me->t;
    while (atomic_load(&t->writing)) {
        char id[TRAFFIC_ID];
        unsigned i = me->number * IDS_EACH + pick(&me->random, IDS_EACH);
        traffic_id(id, 'w', i);
        write_one(t, &me->random, id, &t->ids[i]);
        if (pick(&me->random, 2) == 0)
            (void)se_invalidate(t->e, id); /* only ever forgets what is elsewhere too */
        (void)read_own(t, t->e, id, &t->ids[i]);
        se__pause_ms(1);
    }
}

/* ---- readers ---- */

static void hit_on(void *arg)
{
    struct rider *me = arg;
    struct traffic *t = me->t;
    char id[TRAFFIC_ID];
    int fd = open_schedstat();
    for (unsigned i = 0; atomic_load(&t->reading); i++) {
        se_item *item;
        traffic_id(id, 'h', i % HOT);
        struct stopwatch w = begin(t, fd);
        se_result r = se_get(t->e, id, &item);
        end(t, &w, &me->speed);
        if (r != SE_OK || !holds(item, id, 1))
            traffic_wrong(t, "%s: %d %s, and it is in L1", id, r, se_errmsg());
        if (r == SE_OK)
            se_item_release(item);
        if (i % 16 == 0)
            se__pause_ms(1);
    }
    close(fd);
}

static se_result never(void *arg, const char *id, void **content, size_t *len)
{
    (void)content;
    (void)len;
    traffic_wrong(arg, "%s: the factory ran for an id that is there", id);
    return SE_ERR_STATE;
}

static se_result expect_content(struct traffic *t, const char *id, se_result r, se_item *item)
{
    if (r == SE_OK && !holds(item, id, 1))
        traffic_wrong(t, "%s: read '%.40s'", id, (const char *)se_item_content(item));
    if (r == SE_OK)
        se_item_release(item);
    return r;
}

static se_result read_many(struct traffic *t, const char *id, bool absent)
{
    const char *ids[3] = {id, "x:98765", "x:98766"};
    se_item *items[3];
    se_result results[3];
    se_result r = se_get_many(t->e, ids, 3, items, results);
    if (r != SE_OK)
        return r;
    for (int i = 0; i < 3; i++) {
        bool none = i > 0 || absent;
        if (results[i] != SE_ERR_BACKEND && results[i] != (none ? SE_NOT_FOUND : SE_OK))
            traffic_wrong(t, "%s: %d in se_get_many", ids[i], results[i]);
        (void)expect_content(t, ids[i], results[i], items[i]);
    }
    return results[0];
}

/* One read by one of the calls; every one of them may need the tiers below. */
static se_result read_somehow(struct traffic *t, unsigned how, const char *id, bool absent)
{
    char content[TRAFFIC_CONTENT];
    size_t len;
    bool found = false;
    se_item *item = NULL;
    se_result r;
    switch (how) {
    case 0:
        r = se_contains(t->e, id, &found);
        return r == SE_OK && !found ? SE_NOT_FOUND : r;
    case 1:
        return se_get_copy(t->e, id, content, sizeof content, &len);
    case 2:
        return read_many(t, id, absent);
    case 3:
        if (!absent) {
            r = se_get_or_insert_with(t->e, id, never, t, NULL, &item);
            return expect_content(t, id, r, item);
        }
        return SE_NOT_FOUND;
    default:
        r = se_get(t->e, id, &item);
        return expect_content(t, id, r, item);
    }
}

static void miss_one(struct traffic *t, struct rider *me, int fd)
{
    char id[TRAFFIC_ID];
    bool absent = pick(&me->random, 8) == 0;
    traffic_id(id, absent ? 'x' : 'c', pick(&me->random, COLD));
    if (!absent)
        (void)se_invalidate(t->e, id);
    unsigned how = pick(&me->random, 8);
    struct stopwatch w = begin(t, fd);
    se_result r = read_somehow(t, how, id, absent);
    end(t, &w, &me->speed);
    if (r == SE_ERR_BACKEND)
        atomic_fetch_add(&t->outages, 1);
    else if (r == (absent ? SE_NOT_FOUND : SE_OK))
        atomic_fetch_add(&t->answers, 1);
    else
        traffic_wrong(t, "%s, which %s there: %d %s (read %u)", id,
                      absent ? "never was" : "was always", r, r < 0 ? se_errmsg() : "", how);
}

static void miss_on(void *arg)
{
    struct rider *me = arg;
    struct traffic *t = me->t;
    int fd = open_schedstat();
    while (atomic_load(&t->reading)) {
        miss_one(t, me, fd);
        se__pause_ms(1);
    }
    close(fd);
}

/* ---- life ---- */

static void store(struct traffic *t, char kind, unsigned n)
{
    char id[TRAFFIC_ID], content[TRAFFIC_CONTENT];
    for (unsigned i = 0; i < n; i++) {
        traffic_id(id, kind, i);
        traffic_content(content, id, 1);
        se_result r = se_submit(t->e, id, content, strlen(content), NULL);
        if (r != SE_OK)
            traffic_wrong(t, "storing %s: %d %s", id, r, se_errmsg());
    }
}

bool traffic_make(struct traffic *t, se_engine *e, uint64_t seed)
{
    *t = (struct traffic){.e = e, .seed = seed};
    se__mutex_init(&t->lock);
    atomic_store(&t->due_ns, UINT64_MAX - CLOCK_NS);
    store(t, 'c', COLD);
    store(t, 'h', HOT);
    uint64_t deadline = se__deadline_in(PATIENCE_MS); /* short timeouts, a busy machine */
    while (se_flush(e, 1000) != SE_OK || se_invalidate_prefix(e, "c:") != SE_OK)
        if (!se__deadline_left(deadline)) {
            traffic_wrong(t, "what is stored first does not get home: %s", se_errmsg());
            break;
        }
    return !t->wrong[0];
}

static void start(struct traffic *t, struct rider *rider, unsigned number, const char *name,
                  void (*run)(void *))
{
    rider->t = t;
    rider->number = number;
    rider->random = mix(t->seed * 31 + (uint64_t)name[0] * 7 + number);
    if (se__thread_start(&rider->thread, name, run, rider) != SE_OK)
        traffic_wrong(t, "no thread");
}

void traffic_start(struct traffic *t)
{
    atomic_store(&t->writing, true);
    atomic_store(&t->reading, true);
    start(t, &t->clock, 0, "clock", tick);
    start(t, &t->hitter, 0, "hitter", hit_on);
    for (unsigned i = 0; i < MISSERS; i++)
        start(t, &t->misser[i], i, "misser", miss_on);
    for (unsigned i = 0; i < WRITERS; i++)
        start(t, &t->writer[i], i, "writer", write_on);
}

void traffic_stop_writing(struct traffic *t)
{
    atomic_store(&t->writing, false);
    for (unsigned i = 0; i < WRITERS; i++)
        se__thread_join(&t->writer[i].thread);
}

void traffic_stop(struct traffic *t)
{
    traffic_stop_writing(t);
    atomic_store(&t->reading, false);
    for (unsigned i = 0; i < MISSERS; i++)
        se__thread_join(&t->misser[i].thread);
    se__thread_join(&t->hitter.thread);
    se__thread_join(&t->clock.thread);
}

struct speed traffic_hits(const struct traffic *t)
{
    return t->hitter.speed;
}

struct speed traffic_misses(const struct traffic *t)
{
    struct speed sum = t->misser[0].speed;
    for (unsigned i = 1; i < MISSERS; i++) {
        const struct speed *s = &t->misser[i].speed;
        sum.count += s->count;
        sum.worst_ns = s->worst_ns > sum.worst_ns ? s->worst_ns : sum.worst_ns;
        if (s->worst_judged_ns > sum.worst_judged_ns)
            sum.worst_judged_ns = s->worst_judged_ns;
    }
    return sum;
}

/* Timeouts are short and the machine may be busy: an outage is an answer, and asked again. Returns how many there were. */
static unsigned check_kind(struct traffic *t, se_engine *e, char kind, unsigned n)
{
    char id[TRAFFIC_ID];
    unsigned outages = 0;
    uint64_t deadline = se__deadline_in(PATIENCE_MS);
    for (unsigned i = 0; i < n; i++) {
        const struct written stored = {.number = 1};
        traffic_id(id, kind, i);
        while (!read_own(t, e, id, kind == 'w' ? &t->ids[i] : &stored)) {
            outages++;
            if (!se__deadline_left(deadline)) {
                traffic_wrong(t, "%s cannot be read: %s", id, se_errmsg());
                return outages;
            }
        }
    }
    return outages;
}

unsigned traffic_check_reads(struct traffic *t, se_engine *e)
{
    return check_kind(t, e, 'w', IDS) + check_kind(t, e, 'c', COLD) + check_kind(t, e, 'h', HOT);
}
