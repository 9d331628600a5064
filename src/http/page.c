/*
 * page - see page.h. Every text in the JSON is a constant of ours: nothing is escaped.
 */
#include "http/page.h"

#include "base/buf.h"

#include <inttypes.h>
#include <string.h>

#define TYPE_METRICS "text/plain; version=0.0.4; charset=utf-8"
#define TYPE_JSON "application/json"
#define TYPE_TEXT "text/plain; charset=utf-8"

static const char *truth(bool b)
{
    return b ? "true" : "false";
}

static void finish(struct buf *out, unsigned status, const char *type, struct page *page)
{
    page->type = type;
    page->text = se__buf_give(out, &page->len);
    page->status = page->text ? status : 500;
}

static void say(unsigned status, const char *text, struct page *page)
{
    struct buf out = {0};
    se__buf_text(&out, text);
    finish(&out, status, TYPE_TEXT, page);
}

/* ---- health ---- */

/* A list of texts, in JSON. */
struct reasons {
    struct buf *out;
    unsigned n;
};

static void add_reason(struct reasons *r, bool holds, const char *text)
{
    if (holds)
        se__buf_printf(r->out, "%s\"%s\"", r->n++ ? "," : "", text);
}

static void put_why_not_ready(struct reasons *r, const se_health *h)
{
    add_reason(r, h->phase < SE_PHASE_RUNNING, "the engine is starting");
    add_reason(r, h->phase > SE_PHASE_RUNNING, "the engine shuts down");
}

static void put_why_not_healthy(struct reasons *r, const se_health *h)
{
    put_why_not_ready(r, h);
    add_reason(r, h->redis_up == 0, "redis is down");
    add_reason(r, h->sql_up == 0, "sql is down");
    add_reason(r, h->wal_failed, "the WAL's disk has failed");
    add_reason(r, h->dead_letters > 0, "writes were refused for good: see the dead letters");
    add_reason(r,
               h->phase == SE_PHASE_RUNNING && h->pressure_level >= SE_PRESSURE_CRITICAL &&
                   !h->accepting_writes,
               "the pressure is so high that writes are refused");
}

static void put_reasons(struct buf *out, const se_health *h,
                        void (*put)(struct reasons *r, const se_health *h))
{
    struct reasons r = {.out = out};
    se__buf_text(out, ",\"reasons\":[");
    put(&r, h);
    se__buf_text(out, "]");
}

static void put_tier(struct buf *out, const char *name, int up, se_circuit circuit)
{
    se__buf_printf(out, ",\"%s\":{\"configured\":%s", name, truth(up >= 0));
    if (up >= 0)
        se__buf_printf(out, ",\"up\":%s,\"circuit\":\"%s\"", truth(up > 0),
                       se_circuit_name(circuit));
    se__buf_text(out, "}");
}

static void put_stores(struct buf *out, const se_health *h)
{
    se__buf_printf(out, ",\"l1\":{\"items\":%zu,\"bytes\":%zu}", h->l1_items, h->l1_bytes);
    put_tier(out, "redis", h->redis_up, h->redis_circuit);
    put_tier(out, "sql", h->sql_up, h->sql_circuit);
    se__buf_printf(
        out, ",\"queue\":{\"items\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"oldest_ms\":%" PRIu64 "}",
        h->queue_items, h->queue_bytes, h->oldest_dirty_ms);
    se__buf_printf(out, ",\"wal\":{\"items\":%" PRIu64 ",\"failed\":%s}", h->wal_items,
                   truth(h->wal_failed != 0));
    se__buf_printf(out, ",\"dead_letters\":%" PRIu64, h->dead_letters);
}

static void put_filter(struct buf *out, const se_health *h)
{
    se__buf_printf(out, ",\"filter\":{\"trusted\":%s,\"items\":%" PRIu64,
                   truth(h->filter_trust == SE_TRUST_TRUSTED), h->filter_items);
    if (h->filter_doubt)
        se__buf_printf(out, ",\"doubt\":\"%s\"", h->filter_doubt);
    se__buf_text(out, "}");
}

static void health_page(const se_health *h, struct page *page)
{
    struct buf out = {0};
    se__buf_printf(&out, "{\"healthy\":%s,\"ready\":%s,\"accepting_writes\":%s,\"phase\":\"%s\"",
                   truth(h->healthy), truth(h->ready), truth(h->accepting_writes),
                   se_phase_name(h->phase));
    put_reasons(&out, h, put_why_not_healthy);
    se__buf_printf(&out, ",\"pressure\":\"%s\"", se_pressure_name(h->pressure_level));
    put_stores(&out, h);
    put_filter(&out, h);
    se__buf_text(&out, "}\n");
    finish(&out, h->healthy ? 200 : 503, TYPE_JSON, page);
}

static void ready_page(const se_health *h, struct page *page)
{
    struct buf out = {0};
    se__buf_printf(&out, "{\"ready\":%s,\"phase\":\"%s\"", truth(h->ready),
                   se_phase_name(h->phase));
    put_reasons(&out, h, put_why_not_ready);
    se__buf_text(&out, "}\n");
    finish(&out, h->ready ? 200 : 503, TYPE_JSON, page);
}

/* ---- all ---- */

static void metrics_page(se_engine *e, struct page *page)
{
    if (se_metrics_text(e, &page->text, &page->len) != SE_OK) {
        say(500, "the metrics cannot be told: out of memory\n", page);
        return;
    }
    page->status = 200;
    page->type = TYPE_METRICS;
}

static void status_page(se_engine *e, void (*put)(const se_health *h, struct page *page),
                        struct page *page)
{
    se_health h;
    if (se_health_check(e, &h) == SE_OK)
        put(&h, page);
    else
        say(503, "the engine cannot be asked\n", page);
}

void se__page(se_engine *e, const char *method, const char *path, struct page *page)
{
    *page = (struct page){.status = 500, .type = TYPE_TEXT};
    if (strcmp(method, "GET") != 0)
        say(405, "only GET is answered\n", page);
    else if (strcmp(path, "/metrics") == 0)
        metrics_page(e, page);
    else if (strcmp(path, "/health") == 0)
        status_page(e, health_page, page);
    else if (strcmp(path, "/ready") == 0)
        status_page(e, ready_page, page);
    else
        say(404, "there are /metrics, /health and /ready\n", page);
}
