/*
 * mem - malloc and its kin, with a counter that lets tests make the n-th allocation fail.
 */
#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#ifndef NDEBUG
/* Allocations until every further one fails; negative: none does. Process-wide on purpose: a test
 * wants the failures of background threads as well. Compiled out of release builds. */
static _Atomic int64_t allocations_left = -1;

static bool told_to_fail(void)
{
    /* relaxed: a number, which publishes nothing */
    if (atomic_load_explicit(&allocations_left, memory_order_relaxed) < 0)
        return false;
    int64_t left = atomic_load_explicit(&allocations_left, memory_order_relaxed);
    while (left > 0)
        if (atomic_compare_exchange_weak_explicit(&allocations_left, &left, left - 1,
                                                  memory_order_relaxed, memory_order_relaxed))
            return false;
    return left == 0;
}

bool se__mem_fail_after(int64_t n)
{
    atomic_store_explicit(&allocations_left, n, memory_order_relaxed);
    return true;
}
#else
static bool told_to_fail(void)
{
    return false;
}

bool se__mem_fail_after(int64_t n)
{
    (void)n;
    return false;
}
#endif

void *se__alloc(size_t bytes)
{
    if (told_to_fail())
        return NULL;
    return malloc(bytes ? bytes : 1); /* NULL always means failure */
}

void *se__alloc_zeroed(size_t count, size_t bytes)
{
    size_t total; /* checked here: the sanitizers' calloc ends the process instead */
    if (told_to_fail() || __builtin_mul_overflow(count, bytes, &total) || total > PTRDIFF_MAX)
        return NULL;
    return total ? calloc(count, bytes) : calloc(1, 1);
}

void *se__alloc_aligned(size_t alignment, size_t bytes)
{
    void *memory;
    if (told_to_fail() || posix_memalign(&memory, alignment, bytes ? bytes : 1))
        return NULL;
    return memory;
}

void *se__realloc(void *old, size_t bytes)
{
    if (told_to_fail())
        return NULL;
    return realloc(old, bytes ? bytes : 1);
}

char *se__strdup(const char *text)
{
    return text ? se__strndup(text, strlen(text)) : NULL;
}

char *se__strndup(const char *text, size_t len)
{
    char *copy = se__alloc(len + 1);
    if (!copy)
        return NULL;
    if (len > 0) /* of nothing there may be no address */
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void se__free(void *memory)
{
    free(memory);
}

size_t se__alloc_size(const void *memory)
{
    if (!memory)
        return 0;
    return malloc_usable_size((void *)(uintptr_t)memory) + sizeof(size_t); /* the chunk's header */
}
