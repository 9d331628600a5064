/*
 * many - batches of writes: all are checked and reserved before any is made.
 *
 * The checks' first refusal is that item's result and SE_ERR_ABORTED everybody else's; so is a
 * refusal by pressure, memory or WAL, which is nobody's in particular: then all have it.
 */
#include "base/mem.h"
#include "base/utf8.h"
#include "engine/engine.h"

static void set_all(se_put *puts, size_t n, se_result result)
{
    for (size_t i = 0; i < n; i++)
        puts[i].result = result;
}

static se_result init_all(se_engine *e, se_put *puts, struct write *writes, size_t n, bool deleted,
                          size_t *made, size_t *failed)
{
    for (*made = 0; *made < n; (*made)++) {
        se_put *p = &puts[*made];
        struct write_spec spec = {.id = p->id,
                                  .content = p->content,
                                  .len = p->len,
                                  .options = p->options,
                                  .deleted = deleted};
        se_result r = se__write_init(e, &spec, &writes[*made]);
        if (r != SE_OK) {
            *failed = *made;
            return r;
        }
        se__write_give(e, &writes[*made]);
    }
    return SE_OK;
}

static se_result ack_all(se_engine *e, se_put *puts, struct write *writes, size_t n,
                         uint64_t deadline_ms)
{
    se_result all = SE_OK;
    for (size_t i = 0; i < n; i++) {
        puts[i].result = se__write_ack(e, &writes[i], deadline_ms);
        puts[i].version = writes[i].version;
        if (puts[i].result != SE_OK)
            all = SE_PENDING;
    }
    return all;
}

static void sum_up(const se_put *puts, size_t n, se_batch_result *out)
{
    if (!out)
        return;
    *out = (se_batch_result){.total = n};
    for (size_t i = 0; i < n; i++)
        out->succeeded += puts[i].result >= 0;
    out->failed = n - out->succeeded;
}

static se_result write_many(se_engine *e, se_put *puts, struct write *writes, size_t n,
                            bool deleted)
{
    uint64_t deadline = se__deadline_in(e->settings.c.ack_timeout_ms);
    size_t made = 0, failed = n;
    se_result r = init_all(e, puts, writes, n, deleted, &made, &failed);
    if (r == SE_OK)
        r = se__write_publish(e, writes, n, deadline, &failed);
    se__leave(e);
    if (r == SE_OK)
        r = ack_all(e, puts, writes, n, deadline);
    else {
        set_all(puts, n, failed < n ? SE_ERR_ABORTED : r);
        if (failed < n)
            puts[failed].result = r;
    }
    for (size_t i = 0; i < made; i++)
        se__write_done(e, &writes[i]);
    return r;
}

static se_result enter_and_write(se_engine *e, se_put *puts, size_t n, bool deleted,
                                 se_batch_result *out)
{
    struct write *writes = se__alloc_zeroed(n, sizeof *writes);
    se_result r = writes ? se__enter(e) : se__error_nomem();
    if (r == SE_OK)
        r = write_many(e, puts, writes, n, deleted);
    else
        set_all(puts, n, r);
    se__free(writes);
    sum_up(puts, n, out);
    return r;
}

se_result se_submit_many(se_engine *e, se_put *puts, size_t n, se_batch_result *out)
{
    if (out)
        *out = (se_batch_result){0};
    if (!puts && n)
        return se__error(SE_ERR_INVALID, "puts is NULL and n is %zu", n);
    for (size_t i = 0; i < n; i++)
        puts[i].version = 0;
    se_result r = se__look_in(e);
    if (r == SE_OK && n)
        return enter_and_write(e, puts, n, false, out);
    set_all(puts, n, r);
    if (r != SE_OK)
        sum_up(puts, n, out);
    return r;
}

se_result se_delete_many(se_engine *e, const char *const *ids, size_t n, se_batch_result *out)
{
    if (out)
        *out = (se_batch_result){0};
    se_result r = se__look_in(e);
    if (r != SE_OK || n == 0)
        return r;
    if (!ids)
        return se__error(SE_ERR_INVALID, "ids is NULL and n is %zu", n);
    se_put *puts = se__alloc_zeroed(n, sizeof *puts);
    if (!puts)
        return se__error_nomem();
    for (size_t i = 0; i < n; i++)
        puts[i].id = ids[i];
    r = enter_and_write(e, puts, n, true, out);
    se__free(puts);
    return r;
}
