/*
 * bench_zstd - row 22: what compression in L3 saves and costs, with a dictionary and without.
 *
 * JSON records of about 490 bytes, as a shop's service would store of its customers: the same fields in
 * each, values that differ. The dictionary is trained on other records than those that are measured,
 * as `syncengine dictionary train` does it. Both sides go through the packing that rows go through;
 * a figure is the CPU time a content.
 */
#include "harness.h"

#include "base/mem.h"
#include "l3/dictionary.h"
#include "l3/packing.h"

#include <stdio.h>
#include <string.h>

#define RECORDS 20000u
#define TRAINED 10000u
#define DICTIONARY_BYTES (16u << 10)

struct side {
    struct packing *packing;
    struct packer *packer;
    const struct samples *records;
    struct packed *packed;
    bool unpacks;
    double ratio;
};

/* ---- records ---- */

static const char *pick(const char *const *words, size_t n, uint64_t *seed)
{
    *seed = bench_mix(*seed + 1);
    return words[*seed % n];
}

static uint64_t draw(uint64_t *seed, uint64_t n)
{
    *seed = bench_mix(*seed + 1);
    return *seed % n;
}

#define PICK(words) pick(words, sizeof words / sizeof *words, &seed)

static size_t make_record(uint64_t i, char *out, size_t cap)
{
    static const char *const first[] = {"Anna",   "Bert",  "Chen",  "Dora", "Emil",  "Fatma",
                                        "Georg",  "Hanna", "Igor",  "Jana", "Karim", "Lena",
                                        "Mehmet", "Nora",  "Oskar", "Petra"};
    static const char *const last[] = {"Albrecht", "Baumann",  "Castellano", "Dietrich",
                                       "Eriksson", "Fontaine", "Grabowski",  "Hoffmann",
                                       "Ivanova",  "Jimenez",  "Kowalczyk",  "Lindqvist"};
    static const char *const city[] = {"Aachen",  "Bologna", "Coimbra", "Dijon",     "Espoo",
                                       "Funchal", "Graz",    "Haarlem", "Innsbruck", "Jyvaskyla"};
    static const char *const plan[] = {"free", "basic", "premium", "business"};
    static const char *const status[] = {"active", "suspended", "pending", "closed"};
    uint64_t seed = bench_mix(i);
    const char *f = PICK(first), *l = PICK(last);
    int n = snprintf(
        out, cap,
        "{\"customer_id\":\"%016llx\",\"name\":{\"first\":\"%s\",\"last\":\"%s\"},\"email\":"
        "\"%s.%s%llu@example.%s\",\"phone\":\"+%llu\",\"address\":{\"street\":\"%s Street "
        "%llu\",\"city\":\"%s\",\"zip\":\"%05llu\",\"country\":\"%c%c\"},\"plan\":\"%s\","
        "\"status\":\"%s\",\"created_at\":%llu,\"last_login_at\":%llu,\"balance_cents\":%llu,"
        "\"currency\":\"EUR\",\"newsletter\":%s,\"tags\":[\"t%llu\",\"t%llu\"],\"session\":"
        "\"%016llx%016llx\",\"score\":0.%06llu,\"orders\":%llu,\"notes\":null}",
        (unsigned long long)bench_mix(seed ^ 1), f, l, f, l, (unsigned long long)draw(&seed, 10000),
        PICK(((const char *const[]){"org", "com", "net"})),
        (unsigned long long)(10000000000 + draw(&seed, 90000000000)), PICK(last),
        (unsigned long long)draw(&seed, 300), PICK(city), (unsigned long long)draw(&seed, 100000),
        (char)('A' + draw(&seed, 26)), (char)('A' + draw(&seed, 26)), PICK(plan), PICK(status),
        (unsigned long long)(1500000000000 + draw(&seed, 200000000000)),
        (unsigned long long)(1700000000000 + draw(&seed, 90000000000)),
        (unsigned long long)draw(&seed, 10000000), draw(&seed, 2) ? "true" : "false",
        (unsigned long long)draw(&seed, 500), (unsigned long long)draw(&seed, 500),
        (unsigned long long)bench_mix(seed ^ 2), (unsigned long long)bench_mix(seed ^ 3),
        (unsigned long long)draw(&seed, 1000000), (unsigned long long)draw(&seed, 1000));
    return (size_t)n;
}

static struct samples make_records(uint64_t from, size_t n)
{
    struct samples s = {0};
    char record[1024];
    for (size_t i = 0; i < n; i++)
        if (!se__samples_add(&s, record, make_record(from + i, record, sizeof record)))
            bench_fail("no memory");
    return s;
}

/* ---- a round ---- */

static double run(void *arg)
{
    struct side *s = arg;
    const struct samples *r = s->records;
    const char *at = r->bytes.data;
    char out[1024];
    if (!s->unpacks && !se__packer_reserve(s->packer, r->bytes.len))
        bench_fail("no memory");
    uint64_t start = bench_cpu_ns();
    for (size_t i = 0; i < r->n; at += r->lens[i++]) {
        struct packed *p = &s->packed[i];
        if (!s->unpacks && !se__pack(s->packer, at, r->lens[i], p))
            bench_fail("record %zu stayed plain", i);
        if (s->unpacks && se__unpack(s->packer, p->bytes, p->len, out, r->lens[i]) != UNPACKED)
            bench_fail("record %zu did not come back", i);
    }
    return (double)(bench_cpu_ns() - start) / (double)r->n / 1000;
}

static struct side open_side(se_compression mode, const struct samples *records)
{
    struct side s = {.records = records};
    bench_check(se__packing_open(mode, 0, &s.packing), "packing");
    s.packer = se__packer_take(s.packing);
    s.packed = se__alloc_zeroed(records->n, sizeof *s.packed);
    if (!s.packer || !s.packed)
        bench_fail("no memory");
    return s;
}

static void close_side(struct side *s)
{
    se__packer_give(s->packer);
    se__packing_close(s->packing);
    se__free(s->packed);
}

static void add_dictionary(struct side *s, const struct samples *test)
{
    struct samples train = make_records(RECORDS, TRAINED);
    struct buf bytes = {0}, value = {0};
    se_dictionary about = {0};
    bench_check(se__dictionary_train(&train, test, DICTIONARY_BYTES, &bytes, &about), "train");
    se__dictionary_encode(&bytes, DICTIONARY_FIRST, &about, &value);
    bench_check(se__packing_add(s->packing, DICTIONARY_FIRST, bytes.data, bytes.len), "add");
    bench_check(se__packing_use(s->packing, DICTIONARY_FIRST), "use");
    se__samples_done(&train);
    se__buf_done(&bytes);
    se__buf_done(&value);
}

static double how_small(const struct side *s)
{
    size_t bytes = 0;
    for (size_t i = 0; i < s->records->n; i++)
        bytes += s->packed[i].len;
    return (double)s->records->bytes.len / (double)bytes;
}

int main(int argc, char **argv)
{
    struct bench b;
    bench_init(&b, argc, argv);
    bench_pin();
    struct samples records = make_records(0, bench_scaled(&b, RECORDS));
    struct side with = open_side(SE_COMPRESSION_DICTIONARY, &records);
    struct side alone = open_side(SE_COMPRESSION_ON, &records);
    add_dictionary(&with, &records);
    struct bench_side sides[] = {
        {.name = "with a 16 KiB dictionary", .run = run, .arg = &with},
        {.name = "without", .run = run, .arg = &alone, .kind = BENCH_RATIO_MAX, .bar = 0.5}};
    bench_compare(&b, &(struct bench_subject){22, "packing a JSON content", "us"}, sides, 2);
    with.ratio = how_small(&with);
    alone.ratio = how_small(&alone);
    struct bench_side sizes[] = {
        {.name = "with a 16 KiB dictionary", .run = bench_known, .arg = &with.ratio},
        {.name = "without",
         .run = bench_known,
         .arg = &alone.ratio,
         .kind = BENCH_RATIO_MIN,
         .bar = 2.2}};
    bench_compare(&b, &(struct bench_subject){22, "how much smaller", "x"}, sizes, 2);
    with.unpacks = alone.unpacks = true;
    sides[1].kind = BENCH_NO_BAR;
    bench_compare(&b, &(struct bench_subject){22, "unpacking it", "us"}, sides, 2);
    if (!b.json)
        printf("mean length of a content: %.0f bytes\n",
               (double)records.bytes.len / (double)records.n);
    close_side(&with);
    close_side(&alone);
    se__samples_done(&records);
    return 0;
}
