/*
 * store_mend - puts a good item in place of a damaged row, if it is still the row that was seen.
 *
 * A damaged row's version cannot be believed: one that was edited to 2^62 would win against every
 * write to come. So the guard is not on the version but on the whole row: its hash (se__row_hash),
 * which the read handed out, is compared with that of the row as it is now, locked, in the
 * transaction that replaces it. A write that came in between has changed the row, and wins.
 *
 * The row is there, so the purge floor says nothing about it: floors keep rows from being created.
 */
#include "l3/store.h"

#include <string.h>

struct mend_call {
    const struct tier_read *seen;
    struct tier_write *write;
    struct sql_row row;
    bool same;      /* the row is the one that was seen */
    uint64_t newer; /* version of another one, 0: not known */
};

static bool take_row(void *arg, const struct db_value *columns, unsigned n)
{
    struct mend_call *call = arg;
    uint8_t hash[SE_HASH_SIZE];
    se__row_hash(columns, n, hash);
    call->same = n == ROW_COLUMNS && memcmp(hash, call->seen->seen, SE_HASH_SIZE) == 0;
    if (!call->same && n == ROW_COLUMNS && columns[COL_VERSION].type == DB_INT &&
        columns[COL_VERSION].number > 0)
        call->newer = (uint64_t)columns[COL_VERSION].number;
    return false;
}

static struct db_result replace(struct store *s, void *connection, const struct sql_row *row)
{
    struct db_value params[ROW_PARAMS];
    memcpy(params, row->value + 1, (ROW_PARAMS - 1) * sizeof *params);
    params[ROW_PARAMS - 1] = row->value[COL_ID];
    return se__store_run(s, connection, SQL_REPLACE, params, ROW_PARAMS, NULL, NULL);
}

static struct db_result compare_and_set(struct store *s, void *connection, void *arg)
{
    struct mend_call *call = arg;
    call->same = false;
    call->newer = 0;
    struct db_result r =
        se__store_run(s, connection, SQL_LOCK_ROW, &call->row.value[COL_ID], 1, take_row, call);
    if (se__db_failed(&r) || !call->same)
        return r;
    return replace(s, connection, &call->row);
}

static struct db_result mend_body(struct store *s, void *connection, void *arg)
{
    struct mend_call *call = arg;
    struct db_result r = se__store_check_size(s, connection, call->write, 1);
    return se__db_failed(&r) ? r : se__store_transaction(s, connection, compare_and_set, call);
}

struct tier_reply se__store_mend(void *tier, const struct tier_read *seen, struct tier_write *write,
                                 uint64_t deadline_ms)
{
    struct store *s = tier;
    struct mend_call call = {.seen = seen, .write = write};
    write->state = TIER_NOT_TRIED;
    write->newer = 0;
    if (seen->seen_len != SE_HASH_SIZE) { /* nothing to compare with: any row is another one */
        write->state = TIER_NEWER;
        return se__tier_fine();
    }
    struct packer *packer = se__store_packer(s, write, 1);
    se__row_init(write->item, write->kind, packer, &call.row);
    struct tier_reply reply = se__store_call(s, s->writers, deadline_ms, mend_body, &call);
    se__packer_give(packer);
    if (reply.fault != TIER_FINE)
        return reply;
    write->state = call.same ? TIER_STORED : TIER_NEWER;
    write->newer = call.newer;
    return reply;
}
