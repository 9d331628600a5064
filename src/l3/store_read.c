/*
 * store_read - reads of single ids and of lists.
 *
 * A list is one IN statement of a fixed set of lengths. The ids are sorted, and rows mostly come in
 * that order, so that most of them find their read at once. A driver that can (SQLite) takes the
 * list as it is and says with each row which id it is for. (Tried there: one lookup by the primary
 * key after the other in one transaction took half as many instructions again, for opening and
 * closing its cursors each time.)
 */
#include "l3/store.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* A read by its id: the first bytes decide most comparisons. */
struct sought {
    uint64_t head;
    struct tier_read *read;
};

struct read_call {
    struct store *store;
    struct tier_read *reads;
    size_t n;
    struct sought *sorted; /* n > 1: by id, but for a list that is asked as it is, */
    size_t asked_from;     /* of which this is the first under way */
    size_t next;           /* whose row is likely to be the next */
    struct unpacker unpacker;
    bool nomem;
};

static void forget(struct tier_read *read)
{
    if (read->found == TIER_HIT)
        se_item_release(read->item);
    read->item = NULL;
    read->found = TIER_ABSENT;
    read->seen_len = 0;
}

/* The row of exactly this id. */
static void give_row(struct read_call *call, struct tier_read *read, const struct db_value *columns,
                     unsigned n)
{
    forget(read);
    switch (se__row_decode_of(columns, n, &call->unpacker, &read->flaw, &read->item)) {
    case ROW_ITEM:
        read->found = TIER_HIT;
        se__tier_came(read);
        break;
    case ROW_CORRUPT:
        read->found = TIER_CORRUPT;
        se__row_hash(columns, n, read->seen);
        read->seen_len = SE_HASH_SIZE;
        se__store_corrupt(call->store, read->id, read->id_len);
        break;
    case ROW_NOMEM:
        call->nomem = true;
        break;
    }
}

/* ---- which read a row belongs to ---- */

static uint64_t head_of(const void *id, size_t len)
{
    uint8_t head[8] = {0};
    memcpy(head, id, len < sizeof head ? len : sizeof head);
    return se__get_u64(head);
}

static int by_id(const void *a, const void *b)
{
    const struct sought *x = a, *y = b;
    if (x->head != y->head)
        return x->head < y->head ? -1 : 1;
    return se__row_compare(x->read->id, x->read->id_len, y->read->id, y->read->id_len);
}

static bool is_of(const struct tier_read *read, const struct db_value *id)
{
    return read->id_len == id->len && memcmp(read->id, id->bytes, id->len) == 0;
}

/* The first read that is not before `id`. */
static size_t lower_bound(const struct read_call *call, const struct db_value *id)
{
    size_t low = 0, high = call->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct tier_read *read = call->sorted[middle].read;
        if (se__row_compare(read->id, read->id_len, id->bytes, id->len) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Gives a row to every read of its id: the same id may be asked for twice. */
static void give_to_all(struct read_call *call, const struct db_value *columns, unsigned n)
{
    const struct db_value *id = &columns[COL_ID];
    size_t at = call->next;
    if (at >= call->n || !is_of(call->sorted[at].read, id))
        at = lower_bound(call, id);
    for (; at < call->n && !call->nomem && is_of(call->sorted[at].read, id); at++)
        give_row(call, call->sorted[at].read, columns, n);
    call->next = at;
}

static bool take_row(void *arg, const struct db_value *columns, unsigned n)
{
    struct read_call *call = arg;
    const struct db_value *id = &columns[COL_ID];
    if ((id->type != DB_TEXT && id->type != DB_BLOB) || !id->bytes)
        return true;
    if (se__row_wants(columns, n, &call->unpacker))
        return false;
    if (call->sorted) {
        give_to_all(call, columns, n);
        return !call->nomem;
    }
    if (call->n > 1) {
        give_row(call, call->reads + call->asked_from + id->number, columns, n);
        return !call->nomem;
    }
    if (is_of(call->reads, id))
        give_row(call, call->reads, columns, n);
    return false; /* there is one row of an id at most */
}

/* ---- statements ---- */

/* Once more for each dictionary that was not known. */
static struct db_result read_rows(struct read_call *call, void *connection,
                                  enum sql_statement which, const struct db_value *params,
                                  unsigned n)
{
    const struct db_ops *db = call->store->db;
    for (;;) {
        struct db_result r = which == SQL_READ_ASKED
                                 ? db->read_asked(connection, params, n, take_row, call)
                                 : db->run(connection, which, params, n, take_row, call);
        if (se__db_failed(&r) || call->unpacker.wanted == 0)
            return r;
        r = se__store_fetch_dictionary(call->store, connection, &call->unpacker);
        if (se__db_failed(&r))
            return r;
        call->next = 0;
    }
}

static struct db_result read_one(struct read_call *call, void *connection)
{
    struct db_value id = se__db_text(call->reads->id, call->reads->id_len);
    return read_rows(call, connection, SQL_READ, &id, 1);
}

static struct db_result nomem(void)
{
    se__error_nomem();
    return se__db_fault(TIER_UNWELL, 0);
}

/* Up to SQL_LIST_MAX of them, from the `from`-th on. */
static struct db_result read_asked(struct read_call *call, void *connection, size_t from, size_t n,
                                   struct db_value *params)
{
    for (size_t i = 0; i < n; i++) {
        const struct tier_read *read = &call->reads[from + i];
        params[i] = se__db_text(read->id, read->id_len);
    }
    call->asked_from = from;
    return read_rows(call, connection, SQL_READ_ASKED, params, (unsigned)n);
}

/* The same of those that are sorted. */
static struct db_result read_list(struct read_call *call, void *connection, size_t from, size_t n,
                                  struct db_value *params)
{
    unsigned k = se__sql_list_for(n), list = SE__SQL_LIST[k];
    for (unsigned i = 0; i < list; i++) {
        const struct tier_read *read = call->sorted[from + (i < n ? i : n - 1)].read;
        params[i] = se__db_text(read->id, read->id_len);
    }
    return read_rows(call, connection, (enum sql_statement)(SQL_READ + k), params, list);
}

static struct db_result read_lists(struct read_call *call, void *connection)
{
    size_t most = call->n < SQL_LIST_MAX ? call->n : SQL_LIST_MAX;
    struct db_value *params =
        se__alloc(SE__SQL_LIST[se__sql_list_for(most)] * sizeof *params); /* each is set */
    struct db_result r = params ? se__db_fine() : nomem();
    for (size_t i = 0; i < call->n && !se__db_failed(&r); i += SQL_LIST_MAX) {
        size_t left = call->n - i, n = left < SQL_LIST_MAX ? left : SQL_LIST_MAX;
        r = call->sorted ? read_list(call, connection, i, n, params)
                         : read_asked(call, connection, i, n, params);
    }
    se__free(params);
    return r;
}

static struct db_result read_body(struct store *s, void *connection, void *arg)
{
    struct read_call *call = arg;
    (void)s;
    for (size_t i = 0; i < call->n; i++)
        forget(&call->reads[i]);
    call->unpacker.wanted = 0;
    call->next = 0;
    struct db_result r = call->n == 1 ? read_one(call, connection) : read_lists(call, connection);
    return !se__db_failed(&r) && call->nomem ? nomem() : r;
}

/* ---- the call ---- */

static bool sort_reads(struct read_call *call)
{
    call->sorted = se__alloc(call->n * sizeof *call->sorted);
    if (!call->sorted)
        return false;
    for (size_t i = 0; i < call->n; i++) {
        struct tier_read *read = &call->reads[i];
        call->sorted[i] = (struct sought){head_of(read->id, read->id_len), read};
    }
    qsort(call->sorted, call->n, sizeof *call->sorted, by_id);
    return true;
}

struct tier_reply se__store_read_now(void *tier, struct tier_read *reads, size_t n,
                                     uint64_t deadline_ms)
{
    struct store *s = tier;
    struct read_call call = {.store = s, .reads = reads, .n = n, .unpacker.packing = s->packing};
    for (size_t i = 0; i < n; i++) {
        reads[i].found = TIER_ABSENT;
        reads[i].item = NULL;
        reads[i].seen_len = 0;
    }
    if (n > 1 && !s->db->read_asked && !sort_reads(&call))
        return nomem().reply;
    struct tier_reply reply = se__store_call(s, s->readers, deadline_ms, read_body, &call);
    se__free(call.sorted);
    se__unpacker_done(&call.unpacker);
    for (size_t i = 0; i < n && reply.fault != TIER_FINE; i++)
        forget(&reads[i]);
    return reply;
}

struct tier_reply se__store_read(void *tier, struct tier_read *reads, size_t n,
                                 uint64_t deadline_ms)
{
    const struct store *s = tier;
    return n == 0 ? se__tier_fine() : se__combine_read(s->sharing, reads, n, deadline_ms);
}
