/*
 * l3_packed - records and dictionaries for tests of compression.
 */
#include "l3_packed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t packed_record(unsigned kind, unsigned i, char out[RECORD_MAX])
{
    static const char *const names[] = {"Anna", "Bert", "Chen", "Dora", "Emil", "Fatma"};
    uint32_t r = i * 2654435761u ^ kind;
    int n = kind == 0
                ? snprintf(
                      out, RECORD_MAX,
                      "{\"customer\":%u,\"name\":\"%s\",\"city\":\"Innsbruck\",\"plan\":"
                      "\"premium\",\"balance_cents\":%u,\"newsletter\":%s,\"session\":"
                      "\"%08x\",\"currency\":\"EUR\",\"status\":\"active\",\"billing\":\"Innsbruck,"
                      " premium, active, EUR\",\"shipping\":\"Innsbruck, premium, active, EUR\"}",
                      i, names[r % 6], r % 100000, r & 64 ? "true" : "false", r)
                : snprintf(out, RECORD_MAX,
                           "{\"order\":%u,\"articles\":[{\"sku\":\"%u-%u\",\"amount\":%u}],"
                           "\"shipped_to\":\"%s\",\"carrier\":\"parcel service\",\"trace\":"
                           "\"%08x\",\"state\":\"delivered\"}",
                           i, r % 97, r % 13, r % 5, names[r % 6], r);
    return (size_t)n;
}

struct samples packed_records(unsigned kind, unsigned from, unsigned n)
{
    struct samples s = {0};
    char record[RECORD_MAX];
    for (unsigned i = from; i < from + n; i++)
        cr_assert(se__samples_add(&s, record, packed_record(kind, i, record)));
    return s;
}

void packed_dictionary(unsigned kind, uint32_t id, struct buf *bytes, struct buf *value)
{
    struct samples train = packed_records(kind, 10000, 1500), test = packed_records(kind, 0, 100);
    se_dictionary about = {.made_at_ms = 1700000000000};
    *bytes = (struct buf){0};
    *value = (struct buf){0};
    cr_assert_eq(se__dictionary_train(&train, &test, 8192, bytes, &about), SE_OK, "%s",
                 se_errmsg());
    se__dictionary_encode(bytes, id, &about, value);
    cr_assert(!bytes->failed && !value->failed);
    se__samples_done(&train);
    se__samples_done(&test);
}

struct packing *packed_packing(unsigned kind, uint32_t id, size_t content_max)
{
    struct packing *p;
    struct buf bytes, value;
    packed_dictionary(kind, id, &bytes, &value);
    cr_assert_eq(se__packing_open(SE_COMPRESSION_DICTIONARY, content_max, &p), SE_OK);
    cr_assert_eq(se__packing_add(p, id, bytes.data, bytes.len), SE_OK, "%s", se_errmsg());
    cr_assert_eq(se__packing_use(p, id), SE_OK);
    se__buf_done(&bytes);
    se__buf_done(&value);
    return p;
}

void packed_store(struct l3_fixture *f, unsigned kind, uint32_t id)
{
    struct buf bytes, value;
    char name[DICTIONARY_NAME_MAX], digits[16];
    packed_dictionary(kind, id, &bytes, &value);
    se__dictionary_name(id, name);
    char *text = se__buf_take(&value, NULL);
    snprintf(digits, sizeof digits, "%u", id);
    cr_assert_eq(f->tier.ops->meta_put(f->tier.self, name, text, l3_soon()).fault, TIER_FINE);
    cr_assert_eq(f->tier.ops->meta_put(f->tier.self, DICTIONARY_NEWEST, digits, l3_soon()).fault,
                 TIER_FINE);
    free(text);
    se__buf_done(&bytes);
}

void packed_reopen(struct l3_fixture *f, se_compression mode)
{
    l3_close(&f->tier);
    f->options.compression = mode;
    f->tier = l3_open(f, SE_OK);
}
