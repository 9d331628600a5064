/*
 * batches - see batches.h.
 */
#include "batches.h"

#include "base/hlc.h"
#include "base/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_MS 30000u

static int by_id(const void *a, const void *b)
{
    return memcmp(a, b, BENCH_ID_LEN);
}

struct keys keys_make(size_t n)
{
    struct keys keys = {n, malloc(n * sizeof *keys.ids)};
    if (!keys.ids)
        bench_fail("out of memory");
    for (size_t i = 0; i < n; i++)
        bench_id(i, keys.ids[i]);
    qsort(keys.ids, n, sizeof *keys.ids, by_id);
    return keys;
}

void keys_free(struct keys *keys)
{
    free(keys->ids);
}

static uint64_t next_version(void)
{
    static uint64_t last;
    uint64_t now = (uint64_t)se__wall_ms() << SE__HLC_COUNTER_BITS;
    return last = now > last ? now : last + 1;
}

static void set(struct tier_write *w, const char *id)
{
    uint64_t version = next_version();
    struct item_spec spec = {.id = id,
                             .id_len = BENCH_ID_LEN,
                             .content = bench_content(version),
                             .content_len = BENCH_CONTENT_LEN,
                             .version = version,
                             .updated_at_ms = se__wall_ms(),
                             .content_type = SE_CONTENT_BINARY};
    *w = (struct tier_write){.item = se__item_new(&spec), .kind = RECORD_ITEM};
    if (!w->item)
        bench_fail("out of memory");
}

static struct batches make(size_t n, size_t size)
{
    struct batches b = {n, size, calloc(n * size, sizeof *b.writes)};
    if (!b.writes)
        bench_fail("out of memory");
    return b;
}

struct batches batches_random(const struct bench *bench, const struct keys *keys, size_t items)
{
    static uint64_t draw;
    size_t size = bench->batch, stride = keys->n / size, n = bench_scaled(bench, items) / size;
    if (!stride)
        bench_fail("--batch %zu: there are %zu ids", size, keys->n);
    struct batches b = make(n ? n : 1, size);
    for (size_t i = 0; i < b.n * size; i++)
        set(&b.writes[i], keys->ids[i % size * stride + bench_mix(draw++) % stride]);
    return b;
}

struct batches batches_all(const struct keys *keys)
{
    struct batches b = make(keys->n / BATCH, BATCH);
    for (size_t i = 0; i < b.n * b.size; i++)
        set(&b.writes[i], keys->ids[i]);
    return b;
}

void batches_free(struct batches *b)
{
    for (size_t i = 0; i < b->n * b->size; i++)
        se_item_release(b->writes[i].item);
    free(b->writes);
}

double batches_send(struct tier *tier, struct batches *b)
{
    uint64_t start = se__mono_ns();
    for (size_t i = 0; i < b->n; i++) {
        struct tier_reply r = tier->ops->write(tier->self, 0, b->writes + i * b->size, b->size,
                                               se__deadline_in(CALL_MS));
        if (r.fault != TIER_FINE)
            bench_fail("%s: %s", tier->ops->name, se_errmsg());
    }
    double figure = (double)(b->n * b->size) / (double)(se__mono_ns() - start) * 1e6;
    for (size_t i = 0; i < b->n * b->size; i++)
        if (b->writes[i].state != TIER_STORED)
            bench_fail("%s: a write was not stored", tier->ops->name);
    return figure;
}

void batches_load(struct tier *tier, const struct keys *keys)
{
    struct batches b = batches_all(keys);
    (void)batches_send(tier, &b);
    batches_free(&b);
}

void meter_begin(struct meter *m)
{
    m->server_ns -= bench_process_cpu_ns(m->server);
    m->client_ns -= bench_cpu_ns();
}

void meter_end(struct meter *m, size_t items)
{
    m->client_ns += bench_cpu_ns();
    m->server_ns += bench_process_cpu_ns(m->server);
    m->items += items;
}

static double us_an_item(uint64_t ns, const struct meter *m)
{
    return (double)ns / 1e3 / (double)m->items;
}

void meter_report(const struct bench *b, int row, const char *flush, const struct meter *ours,
                  const struct meter *theirs, const char *peer)
{
    for (int server = 0; server < 2; server++) {
        char what[64];
        double us[] = {us_an_item(server ? ours->server_ns : ours->client_ns, ours),
                       us_an_item(server ? theirs->server_ns : theirs->client_ns, theirs)};
        struct bench_side sides[] = {{.name = "ours", .run = bench_known, .arg = &us[0]},
                                     {.name = peer, .run = bench_known, .arg = &us[1]}};
        snprintf(what, sizeof what, "%s, %s's CPU an item", flush, server ? "server" : "client");
        bench_compare(b, &(struct bench_subject){row, what, "us"}, sides, 2);
    }
}

bool batches_usual(const struct bench *b)
{
    return b->batch == BATCH;
}

struct batches_what batches_what(const struct bench *b, const char *flush, const char *more)
{
    struct batches_what what;
    snprintf(what.text, sizeof what.text, "%s, batches of %u%s", flush, b->batch, more);
    return what;
}
