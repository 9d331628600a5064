/*
 * reads - see reads.h.
 */
#include "reads.h"

#include "engine/engine.h"

#define L1_BYTES ((size_t)1 << 20)
#define READS_BEFORE 2000u /* more than L1 holds */

void reads_id(size_t n, char id[BENCH_ID_LEN + 1])
{
    bench_id(n % READ_ITEMS, id);
}

static se_engine *open_engine(const char *redis_url, const char *sql_url, size_t l1_bytes)
{
    se_config c;
    se_config_init(&c);
    c.redis_url = redis_url;
    c.sql_url = sql_url;
    c.l1_max_bytes = l1_bytes;
    c.require_backends = true;
    se_engine *e;
    bench_check(se_open(&c, &e), "se_open");
    return e;
}

static void load(const char *redis_url, const char *sql_url)
{
    se_engine *e = open_engine(redis_url, sql_url, (size_t)256 << 20);
    char id[BENCH_ID_LEN + 1];
    for (size_t i = 0; i < READ_ITEMS; i++) {
        reads_id(i, id);
        bench_check(se_submit(e, id, bench_content(i), BENCH_CONTENT_LEN, NULL), "se_submit");
    }
    bench_check(se_flush(e, 60000), "se_flush");
    bench_check(se_close(e, 60000), "se_close");
}

static void read_one(void *arg, size_t i)
{
    struct reads *r = arg;
    char id[BENCH_ID_LEN + 1];
    se_item *item;
    reads_id(r->next + i, id);
    bench_check(se_get(r->engine, id, &item), "se_get");
    se_item_release(item);
}

void reads_open(struct reads *r, const char *redis_url, const char *sql_url, enum metric hits)
{
    load(redis_url, sql_url);
    *r = (struct reads){.engine = open_engine(redis_url, sql_url, L1_BYTES), .hits = hits};
    for (size_t i = 0; i < READ_ITEMS; i++)
        read_one(r, i);
}

void reads_close(struct reads *r)
{
    bench_check(se_close(r->engine, 60000), "se_close");
}

/* What a round asks for is not in L1, and L1 is full, as it mostly is: it forgets everything and takes
 * in others. (Left alone, what it has learnt in the rounds before keeps one in a hundred for a whole
 * round.) */
static void prepare(struct reads *r)
{
    se__l1_invalidate_prefix(r->engine->l1, "");
    for (size_t i = 0; i < READS_BEFORE; i++)
        read_one(r, i);
    r->next += READS_BEFORE;
    r->before = se__metrics_sum(r->engine->metrics, r->hits);
}

static void prove(struct reads *r, size_t reads)
{
    uint64_t served = se__metrics_sum(r->engine->metrics, r->hits) - r->before;
    if (served != reads)
        bench_fail("the tier has served %llu of %zu reads", (unsigned long long)served, reads);
    r->next += reads;
}

double reads_run(void *arg)
{
    struct reads *r = arg;
    prepare(r);
    double p50 = bench_p50_us(read_one, r, READS);
    prove(r, READS);
    return p50;
}

static void read_many(struct reads *r, size_t from)
{
    char ids[MANY][BENCH_ID_LEN + 1];
    const char *at[MANY];
    se_item *items[MANY];
    for (size_t i = 0; i < MANY; i++) {
        reads_id(r->next + from + i, ids[i]);
        at[i] = ids[i];
    }
    bench_check(se_get_many(r->engine, at, MANY, items, NULL), "se_get_many");
    for (size_t i = 0; i < MANY; i++) {
        if (!items[i] || se_item_content_len(items[i]) != BENCH_CONTENT_LEN)
            bench_fail("se_get_many: an id was not found");
        se_item_release(items[i]);
    }
}

double reads_run_many(void *arg)
{
    struct reads *r = arg;
    prepare(r);
    uint64_t start = se__mono_ns();
    for (size_t i = 0; i < READ_ITEMS - READS_BEFORE; i += MANY)
        read_many(r, i);
    double figure = (double)(READ_ITEMS - READS_BEFORE) / (double)(se__mono_ns() - start) * 1e6;
    prove(r, READ_ITEMS - READS_BEFORE);
    return figure;
}
