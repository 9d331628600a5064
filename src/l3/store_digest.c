/*
 * store_digest - Merkle nodes, added up by the database from the leaves that its rows store.
 *
 * MySQL has BIT_XOR; SQLite gets se_xor from us (sqlite.c). All rows: one pass over the table, which
 * beats any index. Some buckets: a range of the index over buckets. A prefix: a range of ids.
 *
 * Which rows a bucket has, damaged ones included, is said in store_survey.c: a bucket column that is
 * no bucket counts as the nearest one, and one that is no number as the first.
 */
#include "l3/store.h"

#include "base/bytes.h"

#include <string.h>

#define BUCKET_LAST UINT16_MAX

struct digest_call {
    const struct tier_digest *digest;
    struct tier_node *nodes;
    size_t n;
};

static bool all_buckets(const struct tier_digest *d)
{
    return d->bucket_first == 0 && d->bucket_last >= BUCKET_LAST;
}

static size_t node_count(const struct tier_digest *d)
{
    return d->prefix ? 1 : (d->bucket_last >> d->shift) - (d->bucket_first >> d->shift) + 1;
}

static size_t index_of(const struct digest_call *call, const struct db_value *node)
{
    int64_t first = call->digest->bucket_first >> call->digest->shift;
    if (node->type != DB_INT || node->number <= first)
        return 0;
    uint64_t i = (uint64_t)(node->number - first);
    return i < call->n ? i : call->n - 1;
}

static uint64_t number_of(const struct db_value *v)
{
    return v->type == DB_INT ? (uint64_t)v->number : 0;
}

/* Adds: the rows without a bucket come in a result of their own. */
static bool take_node(void *arg, const struct db_value *columns, unsigned n)
{
    const struct digest_call *call = arg;
    uint8_t digest[SE_HASH_SIZE];
    if (n != 4)
        return false;
    struct tier_node *node = &call->nodes[index_of(call, &columns[0])];
    se__put_u64(digest, number_of(&columns[1]));
    se__put_u64(digest + 8, number_of(&columns[2]));
    for (size_t i = 0; i < SE_HASH_SIZE; i++)
        node->digest[i] ^= digest[i];
    node->count += number_of(&columns[3]);
    return true;
}

static struct db_value now_of(const struct tier_digest *d)
{
    return se__db_int(d->now_wall_ms ? d->now_wall_ms : INT64_MIN);
}

static struct db_result digest_all(struct store *s, void *connection, struct digest_call *call)
{
    const struct tier_digest *d = call->digest;
    struct db_value params[] = {se__db_int(d->shift), now_of(d)};
    if (call->n == 1)
        return se__store_run(s, connection, SQL_DIGEST_ALL, params + 1, 1, take_node, call);
    return se__store_run(s, connection, SQL_DIGEST_NODES, params, 2, take_node, call);
}

static struct db_result digest_buckets(struct store *s, void *connection, struct digest_call *call)
{
    const struct tier_digest *d = call->digest;
    struct db_value params[] = {
        se__db_int(d->shift), se__db_int(d->bucket_first == 0 ? INT64_MIN : d->bucket_first),
        se__db_int(d->bucket_last >= BUCKET_LAST ? INT64_MAX : d->bucket_last), now_of(d)};
    struct db_result r =
        se__store_run(s, connection, SQL_DIGEST_BUCKETS, params, 4, take_node, call);
    if (se__db_failed(&r) || d->bucket_first > 0)
        return r;
    return se__store_run(s, connection, SQL_DIGEST_NO_BUCKET, params + 3, 1, take_node, call);
}

static struct db_result digest_prefix(struct store *s, void *connection, struct digest_call *call)
{
    const struct tier_digest *d = call->digest;
    char upper[SE_ID_MAX + 1];
    size_t len = strlen(d->prefix);
    if (len == 0)
        return digest_all(s, connection, call);
    if (len > SE_ID_MAX)
        return se__db_fine(); /* no id is that long */
    struct db_value params[] = {se__db_text(d->prefix, len),
                                se__db_text(upper, se__store_successor(d->prefix, len, upper)),
                                now_of(d)};
    return se__store_run(s, connection, SQL_DIGEST_IDS, params, 3, take_node, call);
}

static struct db_result digest_body(struct store *s, void *connection, void *arg)
{
    struct digest_call *call = arg;
    memset(call->nodes, 0, call->n * sizeof *call->nodes);
    if (call->digest->prefix)
        return digest_prefix(s, connection, call);
    if (all_buckets(call->digest))
        return digest_all(s, connection, call);
    return digest_buckets(s, connection, call);
}

struct tier_reply se__store_digest(void *tier, const struct tier_digest *digest,
                                   struct tier_node *nodes, uint64_t deadline_ms)
{
    struct store *s = tier;
    struct digest_call call = {.digest = digest, .nodes = nodes, .n = node_count(digest)};
    return se__store_call(s, s->readers, deadline_ms, digest_body, &call);
}
