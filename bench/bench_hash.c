/*
 * bench_hash - row 21: the content hash of 500 bytes.
 */
#include "harness.h"

#include "base/hash.h"
#include "base/os.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define CALLS 1000000u

static uint8_t sink[SE_HASH_SIZE]; /* results are used: nothing is optimised away */

static void ours(const void *content)
{
    uint8_t out[SE_HASH_SIZE];
    se__hash128(0, content, BENCH_CONTENT_LEN, out);
    sink[0] ^= out[0];
}

static void bare(const void *content)
{
    XXH128_hash_t h = XXH3_128bits(content, BENCH_CONTENT_LEN);
    sink[0] ^= (uint8_t)h.low64;
}

struct side {
    void (*hash)(const void *content);
    size_t calls;
};

static double run(void *arg)
{
    const struct side *s = arg;
    const void *contents[64];
    for (size_t i = 0; i < 64; i++)
        contents[i] = bench_content(i);
    uint64_t start = se__mono_ns();
    for (size_t i = 0; i < s->calls; i++)
        s->hash(contents[i % 64]);
    return (double)(se__mono_ns() - start) / (double)s->calls;
}

int main(int argc, char **argv)
{
    struct bench b;
    bench_init(&b, argc, argv);
    bench_pin();
    size_t calls = bench_scaled(&b, CALLS);
    struct side a = {ours, calls}, p = {bare, calls};
    struct bench_side sides[] = {
        {.name = "ours", .run = run, .arg = &a},
        {.name = "bare XXH3-128", .run = run, .arg = &p, .kind = BENCH_VALUE_MAX, .bar = 15},
    };
    bench_compare(&b, &(struct bench_subject){21, "content hash, 500 bytes", "ns"}, sides, 2);
    return 0;
}
