/*
 * copies - a part as bytes, for snapshots, and back.
 *
 *   off size
 *     0   8  1: an id found no room, the part excludes nothing; else 0
 *     8   8  length of the table that follows, a multiple of 8
 *    16   -  the table: a bucket of four 16-bit fingerprints after the other, 8 bytes big-endian each
 *     -   -  once more length and table, if the part has a second one
 *
 * A part that never held anything is 0 bytes. Which of its buckets an id is in is decided by the
 * hash, the filter's seed and cuckoo.c: whoever stores these bytes stores the seed with them.
 */
#include "filter/parts.h"

#include "base/buf.h"
#include "base/bytes.h"

/* An adder may move fingerprints all the time; it is made to wait then, some microseconds. */
static void copy_table(struct part *p, const struct cuckoo *t, struct buf *out)
{
    uint64_t len = se__cuckoo_copy_bytes(t);
    uint8_t *at = (uint8_t *)se__buf_reserve(out, 8 + len);
    if (!at)
        return;
    se__put_u64(at, len);
    if (!se__cuckoo_copy(t, at + 8)) {
        se__mutex_lock(&p->lock);
        bool copied = se__cuckoo_copy(t, at + 8);
        se__mutex_unlock(&p->lock);
        out->failed |= !copied;
    }
    se__buf_grow(out, 8 + len);
}

se_result se__filter_copy_part(const struct filter *f, unsigned part, struct buf *out)
{
    uint8_t head[8];
    unsigned ticket = se__readers_enter(f->readers);
    /* acquire, and before the tables: who sees the bit gone sees the table that ended it */
    uint64_t full = atomic_load_explicit(&f->full, memory_order_acquire) & se__part_bit(part);
    struct pair pair = se__filter_pair(f, part);
    if (full || pair.table) {
        se__put_u64(head, full != 0);
        se__buf_append(out, head, sizeof head);
    }
    if (pair.table)
        copy_table(&f->parts[part], pair.table, out);
    if (pair.extra)
        copy_table(&f->parts[part], pair.extra, out);
    se__readers_leave(f->readers, ticket);
    return out->failed ? se__error_nomem() : SE_OK;
}

/* ---- back ---- */

struct reader {
    const uint8_t *at;
    uint64_t left;
};

static bool take_u64(struct reader *r, uint64_t *v)
{
    if (r->left < 8)
        return false;
    *v = se__get_u64(r->at);
    r->at += 8;
    r->left -= 8;
    return true;
}

static se_result malformed(void)
{
    return se__error(SE_ERR_CORRUPT, "a part of the filter's snapshot is malformed");
}

static se_result take_table(struct reader *r, struct cuckoo **t)
{
    uint64_t len;
    if (!take_u64(r, &len) || len > r->left || len == 0 || len % 8 != 0)
        return malformed();
    *t = se__cuckoo_from(r->at, len);
    if (!*t)
        return se__error_nomem();
    r->at += len;
    r->left -= len;
    return SE_OK;
}

static se_result take_part(struct reader *r, uint64_t *full, struct pair *pair)
{
    if (!take_u64(r, full) || *full > 1)
        return malformed();
    se_result result = r->left ? take_table(r, &pair->table) : SE_OK;
    if (result == SE_OK && r->left)
        result = take_table(r, &pair->extra);
    return result == SE_OK && r->left ? malformed() : result;
}

se_result se__filter_restore_part(struct filter *f, unsigned part, const uint8_t *bytes,
                                  uint64_t len)
{
    uint64_t full = 0;
    struct pair pair = {NULL, NULL};
    struct reader reader = {bytes, len};
    se_result r = len ? take_part(&reader, &full, &pair) : SE_OK;
    if (r != SE_OK) {
        se__cuckoo_free(pair.table);
        se__cuckoo_free(pair.extra);
        return r;
    }
    struct place *place = &f->places[part];
    /* release: pairs with se__filter_pair. Nothing is there yet, so nothing is replaced. */
    se__place_table(place, pair.table);
    atomic_store_explicit(&place->extra, pair.extra, memory_order_release);
    if (full)
        atomic_fetch_or_explicit(&f->full, se__part_bit(part), memory_order_release);
    return SE_OK;
}
