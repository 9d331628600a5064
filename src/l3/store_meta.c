/*
 * store_meta - small named values, and the purge that depends on one of them.
 *
 * Purging is one transaction: lock the floor alone, pick rows whose time has come, store the new
 * floor, delete them. Writers that could be at or below the floor hold it shared (see
 * store_write.c), so none of them can have looked before and create after.
 */
#include "l3/store.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct db_result nomem(void)
{
    se__error_nomem();
    return se__db_fault(TIER_UNWELL, 0);
}

static bool is_bytes(const struct db_value *v)
{
    return v->type == DB_TEXT || v->type == DB_BLOB;
}

/* ---- single values ---- */

struct value_sink {
    struct buf *value;
    bool *found;
};

static bool take_value(void *arg, const struct db_value *columns, unsigned n)
{
    struct value_sink *sink = arg;
    if (n == 1 && is_bytes(&columns[0])) {
        se__buf_append(sink->value, columns[0].bytes, columns[0].len);
        *sink->found = true;
    }
    return false;
}

struct db_result se__store_meta_read(struct store *s, void *connection, enum sql_statement which,
                                     const char *name, struct buf *value, bool *found)
{
    struct value_sink sink = {value, found};
    struct db_value param = name ? se__db_text(name, strlen(name)) : (struct db_value){0};
    *found = false;
    struct db_result r =
        se__store_run(s, connection, which, &param, name ? 1 : 0, take_value, &sink);
    return !se__db_failed(&r) && value->failed ? nomem() : r;
}

struct db_result se__store_meta_write(struct store *s, void *connection, enum sql_statement which,
                                      const char *name, const char *value)
{
    struct db_value params[2] = {se__db_text(name, strlen(name))};
    if (value)
        params[1] = se__db_text(value, strlen(value));
    return se__store_run(s, connection, which, params, value ? 2 : 1, NULL, NULL);
}

struct meta_call {
    enum sql_statement which;
    const char *name, *value;
    struct buf *out;
    size_t out_len; /* of `out` before the call: a repeat starts there again */
    bool *found;
};

static struct db_result get_body(struct store *s, void *connection, void *arg)
{
    struct meta_call *call = arg;
    call->out->len = call->out_len;
    return se__store_meta_read(s, connection, SQL_META_GET, call->name, call->out, call->found);
}

static struct db_result put_body(struct store *s, void *connection, void *arg)
{
    struct meta_call *call = arg;
    return se__store_meta_write(s, connection, call->which, call->name, call->value);
}

static struct db_result add_body(struct store *s, void *connection, void *arg)
{
    struct meta_call *call = arg;
    struct db_result r = put_body(s, connection, call);
    if (!se__db_failed(&r))
        r = get_body(s, connection, call);
    if (se__db_failed(&r) || *call->found)
        return r;
    se__error(SE_ERR_BACKEND, "%s: the meta row %s was removed while it was added", s->where,
              call->name);
    return se__db_fault(TIER_CONFLICT, 0);
}

struct tier_reply se__store_meta_get(void *tier, const char *name, struct buf *value, bool *found,
                                     uint64_t deadline_ms)
{
    struct store *s = tier;
    struct meta_call call = {.name = name, .out = value, .out_len = value->len, .found = found};
    return se__store_call(s, s->readers, deadline_ms, get_body, &call);
}

struct tier_reply se__store_meta_put(void *tier, const char *name, const char *value,
                                     uint64_t deadline_ms)
{
    struct store *s = tier;
    struct meta_call call = {.which = SQL_META_PUT, .name = name, .value = value};
    return se__store_call(s, s->writers, deadline_ms, put_body, &call);
}

struct tier_reply se__store_meta_add(void *tier, const char *name, const char *value,
                                     struct buf *value_now, uint64_t deadline_ms)
{
    struct store *s = tier;
    bool found;
    struct meta_call call = {.which = SQL_META_ADD,
                             .name = name,
                             .value = value,
                             .out = value_now,
                             .out_len = value_now->len,
                             .found = &found};
    return se__store_call(s, s->writers, deadline_ms, add_body, &call);
}

struct tier_reply se__store_meta_delete(void *tier, const char *name, uint64_t deadline_ms)
{
    struct store *s = tier;
    struct meta_call call = {.which = SQL_META_DELETE, .name = name};
    return se__store_call(s, s->writers, deadline_ms, put_body, &call);
}

/* ---- lists ---- */

size_t se__store_successor(const char *prefix, size_t len, char *out)
{
    memcpy(out, prefix, len);
    for (; len > 0; len--)
        if ((unsigned char)out[len - 1] != 0xff) {
            out[len - 1] = (char)((unsigned char)out[len - 1] + 1);
            return len;
        }
    out[0] = '\xff';
    return 1;
}

struct list_call {
    const char *prefix;
    struct buf pairs; /* name NUL value NUL ...: visited once the connection is free again */
};

static bool take_pair(void *arg, const struct db_value *columns, unsigned n)
{
    struct buf *pairs = arg;
    if (n != 2 || !is_bytes(&columns[0]) || !is_bytes(&columns[1]))
        return true;
    for (unsigned i = 0; i < 2; i++) { /* a value with a NUL, not ours, ends there */
        size_t len = columns[i].len ? strnlen(columns[i].bytes, columns[i].len) : 0;
        se__buf_append(pairs, columns[i].bytes, len);
        se__buf_append(pairs, "", 1);
    }
    return !pairs->failed;
}

static struct db_result list_body(struct store *s, void *connection, void *arg)
{
    struct list_call *call = arg;
    size_t len = strlen(call->prefix);
    char upper[SE_ID_MAX + 1];
    if (len > SE_ID_MAX)
        return se__db_fine(); /* no name is that long */
    struct db_value params[2] = {se__db_text(call->prefix, len),
                                 se__db_text(upper, se__store_successor(call->prefix, len, upper))};
    se__buf_clear(&call->pairs);
    struct db_result r =
        se__store_run(s, connection, SQL_META_LIST, params, 2, take_pair, &call->pairs);
    return !se__db_failed(&r) && call->pairs.failed ? nomem() : r;
}

struct tier_reply se__store_meta_list(void *tier, const char *prefix,
                                      void (*visit)(void *arg, const char *name, const char *value),
                                      void *arg, uint64_t deadline_ms)
{
    struct store *s = tier;
    struct list_call call = {.prefix = prefix};
    struct tier_reply reply = se__store_call(s, s->readers, deadline_ms, list_body, &call);
    const char *at = call.pairs.data, *end = at + call.pairs.len;
    while (reply.fault == TIER_FINE && at < end) {
        const char *value = at + strlen(at) + 1;
        visit(arg, at, value);
        at = value + strlen(value) + 1;
    }
    se__buf_done(&call.pairs);
    return reply;
}

/* ---- purge ---- */

struct db_result se__store_floor(struct store *s, void *connection, enum sql_statement which,
                                 uint64_t *floor)
{
    struct buf value = {0};
    bool found;
    struct db_result r = se__store_meta_read(s, connection, which, NULL, &value, &found);
    *floor = 0;
    if (!se__db_failed(&r) && found) {
        char *text = se__buf_take(&value, NULL);
        if (!text)
            return nomem();
        *floor = strtoull(text, NULL, 10);
        se__free(text);
    }
    se__buf_done(&value);
    return r;
}

struct purge_call {
    size_t limit, n;
    int64_t retention_ms;
    char **ids;
    uint64_t version_max;
    bool nomem;
};

static void drop_ids(struct purge_call *call)
{
    for (size_t i = 0; i < call->n; i++)
        se__free(call->ids[i]);
    call->n = 0;
    call->version_max = 0;
}

static bool take_picked(void *arg, const struct db_value *columns, unsigned n)
{
    struct purge_call *call = arg;
    if (n != 2 || !is_bytes(&columns[0]) || columns[1].type != DB_INT || columns[1].number < 0)
        return true;
    char *id = se__strndup(columns[0].bytes, columns[0].len);
    if (!id) {
        call->nomem = true;
        return false;
    }
    call->ids[call->n++] = id;
    if ((uint64_t)columns[1].number > call->version_max)
        call->version_max = (uint64_t)columns[1].number;
    return call->n < call->limit;
}

static struct db_result delete_picked(struct store *s, void *connection, struct purge_call *call)
{
    struct db_result r = se__db_fine();
    struct db_value *params = se__alloc_zeroed(SQL_LIST_MAX, sizeof *params);
    if (!params)
        return nomem();
    for (size_t i = 0; i < call->n && !se__db_failed(&r); i += SQL_LIST_MAX) {
        size_t left = call->n - i < SQL_LIST_MAX ? call->n - i : SQL_LIST_MAX;
        unsigned k = se__sql_list_for(left), list = SE__SQL_LIST[k];
        for (unsigned j = 0; j < list; j++) {
            const char *id = call->ids[i + (j < left ? j : left - 1)];
            params[j] = se__db_text(id, strlen(id));
        }
        r = se__store_run(s, connection, (enum sql_statement)(SQL_DELETE + k), params, list, NULL,
                          NULL);
    }
    se__free(params);
    return r;
}

static struct db_result raise_floor(struct store *s, void *connection, uint64_t floor,
                                    uint64_t version)
{
    char text[32];
    if (version <= floor)
        return se__db_fine();
    snprintf(text, sizeof text, "%llu", (unsigned long long)version);
    return se__store_meta_write(s, connection, SQL_META_PUT, "purge_floor", text);
}

static struct db_result purge_all(struct store *s, void *connection, void *arg)
{
    struct purge_call *call = arg;
    struct db_value params[2] = {se__db_int(call->retention_ms), se__db_int((int64_t)call->limit)};
    uint64_t floor;
    drop_ids(call);
    struct db_result r = se__store_floor(s, connection, SQL_FLOOR_ALONE, &floor);
    if (!se__db_failed(&r))
        r = se__store_run(s, connection, SQL_PURGE_PICK, params, 2, take_picked, call);
    if (!se__db_failed(&r) && call->nomem)
        return nomem();
    if (se__db_failed(&r) || call->n == 0)
        return r;
    r = raise_floor(s, connection, floor, call->version_max);
    return se__db_failed(&r) ? r : delete_picked(s, connection, call);
}

static struct db_result purge_body(struct store *s, void *connection, void *arg)
{
    return se__store_transaction(s, connection, purge_all, arg);
}

struct tier_reply se__store_purge(void *tier, size_t limit, size_t *purged, uint64_t deadline_ms)
{
    struct store *s = tier;
    struct purge_call call = {.limit = limit < 100000 ? limit : 100000,
                              .retention_ms = s->retention_ms};
    *purged = 0;
    if (limit == 0)
        return se__tier_fine();
    call.ids = se__alloc_zeroed(call.limit, sizeof *call.ids);
    if (!call.ids)
        return nomem().reply;
    struct tier_reply reply = se__store_call(s, s->writers, deadline_ms, purge_body, &call);
    if (reply.fault == TIER_FINE)
        *purged = call.n;
    drop_ids(&call);
    se__free(call.ids);
    return reply;
}
