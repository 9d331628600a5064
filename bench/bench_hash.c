/*
 * bench_hash - row 21: the content hash of 500 bytes, beside the packaged library and the header
 * compiled here.
 */
#include "harness.h"
#include "hash_peers.h"

#include "base/hash.h"
#include <xxhash.h>

#define CALLS 1000000u
#define CONTENTS 64u /* they stay in the CPU's first cache */

struct side {
    uint64_t (*hash)(const void *content, size_t len);
    size_t calls;
};

static uint64_t ours(const void *content, size_t len)
{
    uint8_t out[SE_HASH_SIZE];
    se__hash128(0, content, len, out);
    return out[0];
}

static uint64_t packaged(const void *content, size_t len)
{
    return XXH3_128bits(content, len).low64;
}

static double run(void *arg)
{
    static volatile uint64_t sink; /* results are used: nothing is optimised away */
    const struct side *s = arg;
    const void *contents[CONTENTS];
    uint64_t sum = 0;
    for (size_t i = 0; i < CONTENTS; i++)
        contents[i] = bench_content(i);
    uint64_t start = bench_cpu_ns();
    for (size_t i = 0; i < s->calls; i++)
        sum += s->hash(contents[i % CONTENTS], BENCH_CONTENT_LEN);
    double figure = (double)(bench_cpu_ns() - start) / (double)s->calls;
    sink = sum;
    (void)sink;
    return figure;
}

int main(int argc, char **argv)
{
    struct bench b;
    bench_init(&b, argc, argv);
    bench_pin();
    size_t calls = bench_scaled(&b, CALLS), n = 3;
    struct side s[] = {{ours, calls}, {packaged, calls}, {hash_inlined, calls}, {NULL, calls}};
    struct bench_side sides[4] = {
        {.name = "ours", .run = run, .arg = &s[0]},
        {.name = "libxxhash", .run = run, .arg = &s[1], .kind = BENCH_VALUE_MAX, .bar = 15},
        {.name = "header, baseline", .run = run, .arg = &s[2]},
    };
#ifdef BENCH_AVX2
    if (__builtin_cpu_supports("avx2")) {
        s[3].hash = hash_avx2;
        sides[n++] = (struct bench_side){.name = "header, AVX2", .run = run, .arg = &s[3]};
    }
#endif
    bench_compare(&b, &(struct bench_subject){21, "content hash, 500 bytes", "ns"}, sides, n);
    return 0;
}
