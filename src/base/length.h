/*
 * length - strnlen for short strings, compiled into its caller: the call and what it makes its caller
 * save cost more than the search.
 *
 * Reads whole aligned steps of 16 bytes, each with at least one byte of the string in it: what lies
 * beyond the end is on the same page, and is thrown away. Valgrind knows such reads; where the
 * compiler's sanitizers would not, it is strnlen.
 */
#ifndef SE_BASE_LENGTH_H
#define SE_BASE_LENGTH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SE__LENGTH_BY_CALL 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SE__LENGTH_BY_CALL 1
#endif
#endif

#define SE__SHORT_LENGTH 64u

#if defined __SSE2__ && !defined SE__LENGTH_BY_CALL
#include <emmintrin.h>

/* A bit a byte of the step at `at`: it is 0. */
static inline unsigned se__zeros_in_step(const char *at)
{
    __m128i step = _mm_load_si128((const __m128i *)(const void *)at);
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(step, _mm_setzero_si128()));
}
/* As strnlen for strings of at most SE__SHORT_LENGTH bytes; more than that for longer ones. Written
 * out: the sums of a loop are a third of its cost. */
static inline size_t se__short_length(const char *s)
{
    size_t skip = (uintptr_t)s % 16;
    const char *at = s - skip;
    unsigned zeros = se__zeros_in_step(at) >> skip;
    if (zeros)
        return (unsigned)__builtin_ctz(zeros);
    if ((zeros = se__zeros_in_step(at + 16)) != 0)
        return (unsigned)__builtin_ctz(zeros) + 16 - skip;
    if ((zeros = se__zeros_in_step(at + 32)) != 0)
        return (unsigned)__builtin_ctz(zeros) + 32 - skip;
    if ((zeros = se__zeros_in_step(at + 48)) != 0)
        return (unsigned)__builtin_ctz(zeros) + 48 - skip;
    return (unsigned)__builtin_ctz(se__zeros_in_step(at + 64) | 1u << 16) + 64 - skip;
}
#else
static inline size_t se__short_length(const char *s)
{
    return strnlen(s, SE__SHORT_LENGTH + 1);
}
#endif

#endif
