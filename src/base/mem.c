/*
 * mem - the caller's allocator or malloc and its kin, with a counter that lets tests make the n-th
 * allocation fail.
 *
 * Which of the two it is, is decided once in the life of the process: by se_set_allocator, or by the
 * first allocation. So no memory is ever given to the one that the other made.
 */
#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
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

/* ---- whose memory ---- */

static const se_allocator standard; /* stands for malloc and its kin */
static se_allocator custom;         /* written before `current` names it */
static atomic_flag claimed = ATOMIC_FLAG_INIT;
static _Atomic(const se_allocator *) current; /* NULL: not decided */

static const se_allocator *decide(void)
{
    const se_allocator *none = NULL;
    /* acq_rel: whoever loses the race sees the winner's functions */
    if (atomic_compare_exchange_strong_explicit(&current, &none, &standard, memory_order_acq_rel,
                                                memory_order_acquire))
        return &standard;
    return none;
}

static inline const se_allocator *allocator(void)
{
    /* acquire: pairs with se_set_allocator's release */
    const se_allocator *a = atomic_load_explicit(&current, memory_order_acquire);
    return __builtin_expect(a != NULL, 1) ? a : decide();
}

static inline const se_allocator *hook(void)
{
    const se_allocator *a = allocator();
    return __builtin_expect(a == &standard, 1) ? NULL : a;
}

se_result se_set_allocator(const se_allocator *given)
{
    se_allocator a = {0};
    if (!given || given->struct_size < offsetof(se_allocator, size_fn) || given->struct_size > 4096)
        return se__error(SE_ERR_INVALID, "allocator: struct_size must be sizeof(se_allocator)");
    memcpy(&a, given, given->struct_size < sizeof a ? given->struct_size : sizeof a);
    if (!a.malloc_fn || !a.calloc_fn || !a.realloc_fn || !a.aligned_fn || !a.free_fn)
        return se__error(SE_ERR_INVALID, "allocator: only size_fn may be NULL");
    const se_allocator *none = NULL;
    if (!atomic_load_explicit(&current, memory_order_acquire) &&
        !atomic_flag_test_and_set_explicit(&claimed, memory_order_acq_rel)) {
        custom = a;
        /* release: the functions are there before anybody finds them */
        if (atomic_compare_exchange_strong_explicit(&current, &none, &custom, memory_order_acq_rel,
                                                    memory_order_acquire))
            return SE_OK;
    }
    return se__error(SE_ERR_STATE,
                     "allocator: this process has set one, or the library has allocated already");
}

/* L1 keeps marks in the low bits of addresses: what is not aligned is no memory. */
static void *aligned_or_none(const se_allocator *a, void *memory)
{
    if ((uintptr_t)memory % _Alignof(max_align_t) == 0)
        return memory;
    a->free_fn(a->arg, memory);
    return NULL;
}

/* ---- memory ---- */

void *se__alloc(size_t bytes)
{
    if (told_to_fail())
        return NULL;
    bytes = bytes ? bytes : 1; /* NULL always means failure */
    const se_allocator *a = hook();
    return a ? aligned_or_none(a, a->malloc_fn(a->arg, bytes)) : malloc(bytes);
}

void *se__alloc_zeroed(size_t count, size_t bytes)
{
    size_t total; /* checked here: the sanitizers' calloc ends the process instead */
    if (told_to_fail() || __builtin_mul_overflow(count, bytes, &total) || total > PTRDIFF_MAX)
        return NULL;
    if (!total)
        count = bytes = 1;
    const se_allocator *a = hook();
    return a ? aligned_or_none(a, a->calloc_fn(a->arg, count, bytes)) : calloc(count, bytes);
}

void *se__alloc_aligned(size_t alignment, size_t bytes)
{
    void *memory = NULL;
    if (told_to_fail())
        return NULL;
    bytes = bytes ? bytes : 1;
    const se_allocator *a = hook();
    if (a)
        return aligned_or_none(a, a->aligned_fn(a->arg, alignment, bytes));
    return posix_memalign(&memory, alignment, bytes) == 0 ? memory : NULL;
}

void *se__realloc(void *old, size_t bytes)
{
    if (told_to_fail())
        return NULL;
    bytes = bytes ? bytes : 1;
    const se_allocator *a = hook();
    return a ? a->realloc_fn(a->arg, old, bytes) : realloc(old, bytes);
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
    const se_allocator *a = hook();
    if (!a)
        free(memory);
    else if (memory)
        a->free_fn(a->arg, memory);
}

char *se__hand_over(char *memory, size_t bytes)
{
    if (!memory || !hook())
        return memory;
    char *copy = malloc(bytes);
    if (copy)
        memcpy(copy, memory, bytes);
    se__free(memory);
    return copy;
}

bool se__alloc_is_malloc(void)
{
    return !hook();
}

size_t se__alloc_size(const void *memory)
{
    if (!memory)
        return 0;
    const se_allocator *a = hook();
    if (a)
        return a->size_fn ? a->size_fn(a->arg, memory) : 0;
    return malloc_usable_size((void *)(uintptr_t)memory) + sizeof(size_t); /* the chunk's header */
}
