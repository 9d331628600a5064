/*
 * replay - see replay.h.
 */
#include "replay.h"

#include "harness.h"

#include "base/os.h"
#include "engine/engine.h"

#include <syncengine/syncengine.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOKS 20000u /* at the number of items, over a whole trace */
#define CONTENT_MIN 500u
#define CONTENTS_MIN                                                                               \
    ((size_t)4 << 20) /* of all items in L1: so that its fixed parts weigh little */
#define L1_MIN ((size_t)1 << 20)
#define TRIES 3u
#define NEAR 0.03

struct run {
    se_engine *engine;
    const struct replay *how;
    char *content;
};

static struct run start(const struct replay *how, const struct bench_dir *dir)
{
    char url[256];
    se_config c;
    struct run r = {.how = how, .content = malloc(how->content_len + sizeof(uint64_t))};
    if (!r.content)
        bench_fail("out of memory");
    for (size_t at = 0; at < how->content_len; at += sizeof(uint64_t)) {
        uint64_t word = bench_mix(at);
        memcpy(r.content + at, &word, sizeof word);
    }
    bench_dir_path(dir, "sqlite:", "home.db", url);
    se_config_init(&c);
    c.sql_url = url;
    c.l1_max_bytes = how->l1_bytes;
    c.flush_workers = 1;
    c.batch_flush_count = 1; /* a batch leaves with its one item, not after a time */
    bench_check(se_open(&c, &r.engine), "se_open");
    return r;
}

static void finish(struct run *r)
{
    bench_check(se_close(r->engine, 60000), "se_close");
    free(r->content);
}

static uint64_t counted(const struct run *r, enum metric m)
{
    return se__metrics_sum(r->engine->metrics, m);
}

static void request(const struct run *r, uint32_t key)
{
    char id[BENCH_ID_LEN + 1];
    se_item *item;
    bench_id(key, id);
    se_result found = se_get(r->engine, id, &item);
    if (found == SE_OK) {
        se_item_release(item);
        return;
    }
    if (found != SE_NOT_FOUND)
        bench_fail("se_get: %s", se_errmsg());
    bench_check(se_submit(r->engine, id, r->content, r->how->content_len, NULL), "se_submit");
    bench_check(se_flush(r->engine, 60000), "se_flush");
}

/* What was seen of the number of items. */
struct looks {
    size_t every, n, max;
    double sum;
    bool full; /* something was evicted */
};

static void look(struct looks *l, const struct run *r)
{
    size_t items = se_len(r->engine);
    l->max = items > l->max ? items : l->max;
    l->full = l->full || counted(r, M_EVICTED_PRESSURE) > 0;
    l->n += l->full;
    l->sum += l->full ? (double)items : 0;
}

void replay_run(const struct replay *how, const struct trace *t, struct replayed *out)
{
    struct bench_dir dir;
    bench_dir_make(&dir, NULL);
    struct run r = start(how, &dir);
    struct looks l = {.every = t->n / LOOKS + 1};
    uint64_t begun = se__mono_ns();
    for (size_t i = 0; i < t->n; i++) {
        request(&r, t->keys[i]);
        if (i % l.every == 0)
            look(&l, &r);
    }
    out->seconds = (double)(se__mono_ns() - begun) / 1e9;
    se__health_hits(r.engine);
    out->hits = counted(&r, M_OPS_L1_GET_HIT);
    if (out->hits + counted(&r, M_OPS_L1_GET_MISS) != t->n)
        bench_fail("L1 has counted other than the trace's %zu gets", t->n);
    out->evicted = counted(&r, M_EVICTED_PRESSURE);
    out->items_max = l.max;
    out->items = l.n ? l.sum / (double)l.n : (double)l.max;
    finish(&r);
    bench_dir_remove(&dir);
}

/* ---- a number of items ---- */

static double distance(const struct replayed *r, size_t items)
{
    return fabs(r->items / (double)items - 1);
}

void replay_at(size_t items, const struct trace *t, double *overhead, struct replayed *out)
{
    size_t shared = CONTENTS_MIN / items;
    struct replay how = {.content_len = shared > CONTENT_MIN ? shared : CONTENT_MIN};
    double bytes = (double)items * ((double)how.content_len + *overhead);
    for (unsigned i = 0; i < TRIES; i++) {
        struct replayed tried;
        how.l1_bytes = bytes > (double)L1_MIN ? (size_t)bytes : L1_MIN;
        replay_run(&how, t, &tried);
        if (i == 0 || distance(&tried, items) < distance(out, items))
            *out = tried;
        if (distance(out, items) < NEAR || how.l1_bytes == L1_MIN)
            break;
        bytes *= (double)items / tried.items;
    }
    *overhead = bytes / (double)items - (double)how.content_len;
}
