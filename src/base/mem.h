/*
 * mem - where the library gets its memory.
 *
 * One place, so that tests can make the n-th allocation fail and the caller's allocator
 * (se_set_allocator) gets all of it. Buffers that are handed to somebody who will free() them go through
 * se__hand_over.
 *
 * Threads: any.  Errors: NULL; the caller turns it into se__error_nomem().
 */
#ifndef SE_BASE_MEM_H
#define SE_BASE_MEM_H

#include "base/error.h"

#include <stddef.h>

SE_NODISCARD void *se__alloc(size_t bytes);
SE_NODISCARD void *se__alloc_zeroed(size_t count, size_t bytes); /* NULL on overflow as well */
/* `alignment` is a power of two, at least sizeof(void *). */
SE_NODISCARD void *se__alloc_aligned(size_t alignment, size_t bytes);
SE_NODISCARD void *se__realloc(void *old, size_t bytes);
SE_NODISCARD char *se__strdup(const char *text); /* NULL stays NULL */
SE_NODISCARD char *se__strndup(const char *text, size_t len);
void se__free(void *memory); /* NULL is allowed */
/* The same bytes as memory of malloc()'s, for somebody who will free() it; takes `memory`. NULL
 * without memory, or for NULL. */
SE_NODISCARD char *se__hand_over(char *memory, size_t bytes);
/* For gauges and tests: what the allocator really set aside for `memory`
 * (malloc_usable_size and its header). 0 where the caller's allocator does not tell. */
size_t se__alloc_size(const void *memory);
bool se__alloc_is_malloc(void); /* and not the caller's allocator */
/* What an allocation of `bytes` takes from the system, at most: a chunk of glibc's malloc (a word of
 * header, multiples of 16, at least 32), or from its mmap threshold on whole pages with two words of
 * header. Known before allocating, so that it can be reserved. */
static inline size_t se__alloc_cost(size_t bytes)
{
    if (bytes >= 128u * 1024)
        return (bytes + 16 + 4095) & ~(size_t)4095;
    size_t chunk = (bytes + 8 + 15) & ~(size_t)15;
    return chunk < 32 ? 32 : chunk;
}

/* For tests: the next n allocations of the process succeed, then every one fails until called
 * again; n < 0: none fails. Returns false where it is compiled out (NDEBUG: release builds pay
 * nothing for it). */
bool se__mem_fail_after(int64_t n);

#endif
