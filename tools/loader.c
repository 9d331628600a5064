/*
 * loader - see loader.h.
 */
#include "loader.h"

#include "base/mem.h"
#include "base/os.h"
#include "stop.h"
#include "term.h"

#include <stdio.h>
#include <string.h>

#define WAIT_MS_MIN 2u
#define WAIT_MS_MAX 500u
#define TELL_AFTER_MS 2000u

se_result loader_init(struct loader *l, const struct loader_options *options)
{
    *l = (struct loader){.o = *options};
    l->items = se__alloc_zeroed(LOADER_ITEMS, sizeof *l->items);
    l->puts = se__alloc_zeroed(LOADER_ITEMS, sizeof *l->puts);
    return l->items && l->puts ? SE_OK : SE_ERR_NOMEM;
}

void loader_done(struct loader *l)
{
    se__free(l->items);
    se__free(l->puts);
    se__buf_done(&l->contents);
}

enum load_result loader_add(struct loader *l, const char *id, const char *text, size_t len,
                            uint64_t line)
{
    if (l->n > 0 && (l->n == LOADER_ITEMS || l->contents.len + len > LOADER_BYTES)) {
        enum load_result r = loader_send(l);
        if (r != LOAD_GOES_ON)
            return r;
    }
    struct loader_item *item = &l->items[l->n];
    snprintf(item->id, sizeof item->id, "%s", id);
    item->line = line;
    item->at = l->contents.len;
    item->len = len;
    se__buf_append(&l->contents, text, len);
    if (l->contents.failed) {
        term_say("line %llu: out of memory", (unsigned long long)line);
        return LOAD_FAILED;
    }
    l->n++;
    return LOAD_GOES_ON;
}

static void fill_puts(struct loader *l)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct loader_item *item = &l->items[i];
        const char *content = l->contents.data ? l->contents.data + item->at : "";
        l->puts[i] =
            (se_put){.id = item->id, .content = content, .len = item->len, .options = &l->o.submit};
    }
}

/* The first `n` puts from `from` were accepted. */
static void count(struct loader *l, size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++) {
        l->accepted++;
        l->bytes += l->puts[i].len;
        l->pending += l->puts[i].result == SE_PENDING;
    }
    l->told = false;
    l->since_ms = 0;
}

/* Takes out what can never be accepted, and says so. False if there is no such item. */
static bool drop_refused(struct loader *l, size_t from, size_t n)
{
    size_t kept = from;
    for (size_t i = from; i < l->n; i++) {
        se_result r = i < from + n ? l->puts[i].result : SE_OK;
        if (r == SE_ERR_INVALID || r == SE_ERR_TOO_BIG) {
            /* The thread's text tells about one of them only; the code fits each. */
            l->o.bad(l->o.arg, l->items[i].line,
                     r == SE_ERR_TOO_BIG ? "longer than the engine or the database takes"
                                         : "refused: id or tag are not allowed");
            continue;
        }
        l->items[kept] = l->items[i];
        l->puts[kept] = l->puts[i];
        l->puts[kept].id = l->items[kept].id;
        l->puts[kept].result = SE_OK;
        kept++;
    }
    bool dropped = kept < l->n;
    l->n = kept;
    return dropped;
}

static enum load_result wait_out(struct loader *l)
{
    uint64_t now = se__mono_ms();
    if (l->since_ms == 0)
        l->since_ms = now;
    if (now - l->since_ms >= l->o.patience_ms) {
        term_failed("gave up waiting", SE_ERR_BACKPRESSURE);
        return LOAD_FAILED;
    }
    if (!l->told && now - l->since_ms >= TELL_AFTER_MS) {
        term_say("waiting, the engine takes no more for now: %s", se_errmsg());
        l->told = true;
    }
    uint32_t ms = se_retry_after_ms(l->o.engine);
    ms = ms < WAIT_MS_MIN ? WAIT_MS_MIN : ms > WAIT_MS_MAX ? WAIT_MS_MAX : ms;
    if (l->o.tick)
        l->o.tick(l->o.arg);
    l->signal = stop_check(l->o.stop, ms);
    return l->signal ? LOAD_STOPPED : LOAD_GOES_ON;
}

/* One try with the `n` puts from `from`; *done are through. */
static enum load_result try_some(struct loader *l, size_t from, size_t n, size_t *done)
{
    se_batch_result out;
    se_result r = se_submit_many(l->o.engine, l->puts + from, n, &out);
    *done = 0;
    if (r == SE_OK || r == SE_PENDING) {
        count(l, from, n);
        *done = n;
        return LOAD_GOES_ON;
    }
    if (r == SE_ERR_BACKPRESSURE)
        return wait_out(l);
    if (drop_refused(l, from, n))
        return LOAD_GOES_ON;
    term_failed("write", r);
    return LOAD_FAILED;
}

enum load_result loader_send(struct loader *l)
{
    size_t from = 0, step = l->n, done;
    enum load_result r = LOAD_GOES_ON;
    fill_puts(l);
    while (from < l->n && r == LOAD_GOES_ON) {
        size_t left = l->n - from;
        step = step > left ? left : step;
        r = try_some(l, from, step, &done);
        from += done;
        /* Less was refused: perhaps half of it fits. */
        step = done > 0 ? l->n : step > 1 ? step / 2 : 1;
    }
    l->n = 0;
    se__buf_clear(&l->contents);
    return r;
}
