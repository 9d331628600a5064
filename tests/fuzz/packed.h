/*
 * packed - the dictionary that fuzz_packing and its seeds share: always the same bytes.
 */
#ifndef SE_TESTS_FUZZ_PACKED_H
#define SE_TESTS_FUZZ_PACKED_H

#include "fuzz/fuzz.h"

#include "l3/dictionary.h"
#include "l3/packing.h"

static inline size_t packed_record(unsigned i, char out[256])
{
    return (size_t)snprintf(out, 256,
                            "{\"customer\":%u,\"name\":\"name %u\",\"city\":\"Innsbruck\",\"plan\":"
                            "\"premium\",\"balance_cents\":%u,\"newsletter\":true,\"session\":"
                            "\"%08x\",\"currency\":\"EUR\"}",
                            i, i % 7, i * 37 % 1000, i * 2654435761u);
}

static inline void packed_dictionary(struct buf *bytes, struct buf *value)
{
    struct samples train = {0}, test = {0};
    se_dictionary about = {.made_at_ms = 1700000000000};
    char record[256];
    for (unsigned i = 0; i < 400; i++)
        must(se__samples_add(i % 8 ? &train : &test, record, packed_record(i, record)));
    must(se__dictionary_train(&train, &test, 2048, bytes, &about) == SE_OK);
    se__dictionary_encode(bytes, DICTIONARY_FIRST, &about, value);
    must(!value->failed);
    se__samples_done(&train);
    se__samples_done(&test);
}

static inline struct packing *packed_packing(const struct buf *dictionary, size_t content_max)
{
    struct packing *p = NULL;
    must(se__packing_open(SE_COMPRESSION_DICTIONARY, content_max, &p) == SE_OK);
    must(se__packing_add(p, DICTIONARY_FIRST, dictionary->data, dictionary->len) == SE_OK);
    return p;
}

#endif
