/*
 * records - records of the write-ahead log, true ones and spoilt ones, for fuzz_wal and the seeds of
 * fuzz_pages.
 */
#ifndef SE_TESTS_FUZZ_RECORDS_H
#define SE_TESTS_FUZZ_RECORDS_H

#include "fuzz/fuzz.h"

#include "base/buf.h"
#include "item/record.h"

struct true_record {
    char id[16];
    size_t id_len;
    uint64_t version;
    struct buf bytes;
};

static inline void encode_record(const struct item_spec *spec, struct buf *out)
{
    se_item *item = se__item_new(spec);
    must(item != NULL);
    enum record_kind kind = spec->deleted ? RECORD_TOMBSTONE : RECORD_ITEM;
    size_t len = se__record_size(item, kind);
    char *room = se__buf_reserve(out, len);
    must(room != NULL);
    se__record_encode(item, kind, 0, (uint8_t *)room);
    se__buf_grow(out, len);
    se_item_release(item);
}

/* Two bytes say which: few ids, so that they meet, and few versions. */
static inline void make_record(struct input *in, struct true_record *r)
{
    uint8_t which = take_byte(in), how = take_byte(in);
    *r = (struct true_record){.version = 1 + (how & 7), .id_len = 1 + which % 4};
    memset(r->id, 'a' + (which >> 4) % 4, r->id_len);
    struct item_spec spec = {.id = r->id,
                             .id_len = r->id_len,
                             .content = "{\"content\":true}",
                             .content_len = how & 8 ? 0 : (how >> 4),
                             .version = r->version,
                             .updated_at_ms = which,
                             .content_type = which & 4 ? SE_CONTENT_JSON : SE_CONTENT_BINARY,
                             .deleted = (how & 8) != 0};
    encode_record(&spec, &r->bytes);
}

#endif
