/*
 * known - see crash_known.h.
 */
#include "fault/crash_known.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names and contents ---- */

void crash_name(const struct crash_known *k, uint32_t id, char out[32])
{
    if (id < CRASH_LASTING)
        snprintf(out, 32, "k:%03u", id);
    else
        snprintf(out, 32, "f%u:%03u", k->epoch, id);
}

size_t crash_content(uint32_t id, uint32_t number, char out[CRASH_CONTENT_MAX])
{
    uint32_t span = number % 9 ? 200u : CRASH_CONTENT_MAX - CRASH_HEAD_LEN - 1;
    size_t len = CRASH_HEAD_LEN + (id * 7919u + number * 104729u) % span;
    snprintf(out, CRASH_HEAD_LEN + 1, "%04u.%010u.", id, number);
    memset(out + CRASH_HEAD_LEN, 'a' + (int)(number % 26), len - CRASH_HEAD_LEN);
    return len;
}

uint32_t crash_number(uint32_t id, const void *content, size_t len)
{
    char head[CRASH_HEAD_LEN + 1], want[CRASH_CONTENT_MAX];
    if (len < CRASH_HEAD_LEN)
        return 0;
    memcpy(head, content, CRASH_HEAD_LEN);
    head[CRASH_HEAD_LEN] = '\0';
    uint32_t number = (uint32_t)strtoul(head + 5, NULL, 10);
    return crash_content(id, number, want) == len && memcmp(content, want, len) == 0 ? number : 0;
}

/* ---- attempts ---- */

static uint64_t stamp(struct crash_known *k)
{
    return atomic_fetch_add(&k->clock, 1) + 1;
}

static void lift(_Atomic uint64_t *at, uint64_t to)
{
    uint64_t was = atomic_load(at);
    while (was < to && !atomic_compare_exchange_weak(at, &was, to))
        continue;
}

static struct crash_attempt *attempt(struct crash_known *k, uint32_t id, uint32_t number)
{
    return &k->ids[id].tried[number - k->ids[id].base_number - 1];
}

uint32_t crash_try(struct crash_known *k, uint32_t id, bool deletes, uint32_t batch)
{
    struct crash_id *i = &k->ids[id];
    uint32_t at = atomic_load(&i->n);
    do {
        if (at >= CRASH_ATTEMPTS)
            return 0;
    } while (!atomic_compare_exchange_weak(&i->n, &at, at + 1));
    i->tried[at].deletes = deletes;
    i->tried[at].batch = batch;
    atomic_store(&i->tried[at].begin, stamp(k));
    atomic_fetch_add(&k->submitted, 1);
    return i->base_number + at + 1;
}

void crash_tried(struct crash_known *k, uint32_t id, uint32_t number, enum crash_ack ack)
{
    struct crash_attempt *a = attempt(k, id, number);
    uint64_t begin = atomic_load(&a->begin);
    atomic_store(&a->refused, ack == CRASH_REFUSED);
    atomic_store(&a->end, stamp(k));
    if (ack == CRASH_REFUSED)
        return;
    lift(&k->ids[id].finished, begin);
    if (ack == CRASH_ACK_NONE)
        return;
    lift(&k->ids[id].kept, begin);
    if (ack == CRASH_ACK_WAL)
        lift(&k->ids[id].kept_in_wal, begin);
    atomic_fetch_add(ack == CRASH_ACK_WAL ? &k->acked_wal : &k->acked_l3, 1);
}

void crash_flush_begins(struct crash_known *k, uint64_t finished[CRASH_IDS])
{
    for (uint32_t id = 0; id < CRASH_IDS; id++)
        finished[id] = atomic_load(&k->ids[id].finished);
}

void crash_flush_ended(struct crash_known *k, const uint64_t finished[CRASH_IDS])
{
    for (uint32_t id = 0; id < CRASH_IDS; id++) {
        if (finished[id] > atomic_load(&k->ids[id].kept))
            atomic_fetch_add(&k->by_flush, 1);
        lift(&k->ids[id].kept, finished[id]);
    }
}

/* ---- judging ---- */

/* Seen, and not older than the floor. */
static bool may_be(const struct crash_attempt *a, uint64_t floor)
{
    uint64_t end = atomic_load(&a->end);
    return atomic_load(&a->begin) && !atomic_load(&a->refused) && (end == 0 || end >= floor);
}

static bool may_be_gone(const struct crash_id *i, uint64_t floor)
{
    if (i->base == 0 && floor == 0)
        return true;
    uint32_t n = atomic_load(&i->n);
    for (uint32_t at = 0; at < n; at++) {
        if (i->tried[at].deletes && may_be(&i->tried[at], floor))
            return true;
    }
    return false;
}

const char *crash_judge(const struct crash_known *k, uint32_t id, uint32_t seen, uint64_t floor)
{
    const struct crash_id *i = &k->ids[id];
    if (seen == 0)
        return may_be_gone(i, floor) ? NULL : "an acknowledged write is gone";
    if (seen == i->base)
        return floor == 0 ? NULL
                          : "an acknowledged write is gone, what was there before it is back";
    if (seen <= i->base_number)
        return "a value of long ago is back";
    if (seen - i->base_number > atomic_load(&i->n))
        return "it was never submitted";
    const struct crash_attempt *a = &i->tried[seen - i->base_number - 1];
    if (!atomic_load(&a->begin) || a->deletes)
        return "it was never submitted";
    if (atomic_load(&a->refused))
        return "its call had returned an error";
    return may_be(a, floor) ? NULL : "it is older than an acknowledged write";
}

static uint32_t batch_of(const struct crash_id *i, uint32_t seen)
{
    return seen > i->base_number ? i->tried[seen - i->base_number - 1].batch : 0;
}

uint32_t crash_torn(const struct crash_known *k, const uint32_t seen[CRASH_IDS])
{
    for (uint32_t of = 0; of < CRASH_IDS; of++) {
        uint32_t batch = batch_of(&k->ids[of], seen[of]);
        for (uint32_t id = 0; id < CRASH_IDS && batch; id++) {
            const struct crash_id *i = &k->ids[id];
            for (uint32_t at = 0; at < atomic_load(&i->n); at++) {
                if (i->tried[at].batch == batch &&
                    crash_judge(k, id, seen[id], atomic_load(&i->tried[at].begin)))
                    return id;
            }
        }
    }
    return CRASH_IDS;
}

void crash_describe(const struct crash_known *k, uint32_t id, uint64_t floor, char *out, size_t cap)
{
    const struct crash_id *i = &k->ids[id];
    uint32_t n = atomic_load(&i->n);
    int len = snprintf(out, cap,
                       "last checked %u, attempts from %u to %u, nothing older than stamp %llu;",
                       i->base, i->base_number + 1, i->base_number + n, (unsigned long long)floor);
    for (uint32_t at = n > 6 ? n - 6 : 0; at < n && len > 0 && (size_t)len < cap; at++) {
        const struct crash_attempt *a = &i->tried[at];
        len += snprintf(
            out + len, cap - (size_t)len, " %s%u[%llu-%llu]%s", a->deletes ? "delete " : "",
            i->base_number + at + 1, (unsigned long long)atomic_load(&a->begin),
            (unsigned long long)atomic_load(&a->end), atomic_load(&a->refused) ? " refused" : "");
    }
}

/* ---- between lives ---- */

void crash_died(struct crash_known *k)
{
    uint64_t now = stamp(k);
    for (uint32_t id = 0; id < CRASH_IDS; id++) {
        struct crash_id *i = &k->ids[id];
        for (uint32_t at = 0; at < atomic_load(&i->n); at++) {
            if (atomic_load(&i->tried[at].begin) && !atomic_load(&i->tried[at].end))
                atomic_store(&i->tried[at].end, now);
        }
        atomic_store(&i->finished, 0);
    }
}

void crash_checked(struct crash_known *k, const uint32_t seen[CRASH_IDS])
{
    for (uint32_t id = 0; id < CRASH_IDS; id++) {
        struct crash_id *i = &k->ids[id];
        uint32_t n = atomic_load(&i->n);
        i->base = id < CRASH_LASTING ? seen[id] : 0;
        i->base_number += n;
        memset(i->tried, 0, n * sizeof i->tried[0]);
        atomic_store(&i->n, 0);
        atomic_store(&i->kept, 0);
        atomic_store(&i->kept_in_wal, 0);
        atomic_store(&i->finished, 0);
    }
    k->epoch++;
}
