/*
 * mem_faults - see mem_faults.h.
 */
#include "fault/mem_faults.h"

#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What is behind ours: the sanitizer's where there is one. */
void *__interceptor_malloc(size_t bytes) __attribute__((weak));
void *__interceptor_calloc(size_t n, size_t bytes) __attribute__((weak));
void *__interceptor_realloc(void *old, size_t bytes) __attribute__((weak));
int __interceptor_posix_memalign(void **out, size_t alignment, size_t bytes) __attribute__((weak));
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

struct range {
    uintptr_t from, to;
};

#define MODULES 5
static struct range modules[MODULES]; /* by bit of the set; written before the first arming */
static _Atomic unsigned armed;        /* the set; 0: nothing is counted */
static _Atomic long seen, failing_from, failing_to;

static int note_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    static const char *const names[MODULES] = {"", "/libsqlite3.so", "/libhiredis.so",
                                               "/libmariadb.so", "/libzstd.so"};
    bool *program = arg; /* it comes first, under an empty name */
    (void)size;
    for (int m = 0; m < MODULES; m++) {
        if (m == 0 ? *program : !strstr(info->dlpi_name, names[m]))
            continue;
        for (int i = 0; i < info->dlpi_phnum; i++) {
            const ElfW(Phdr) *p = &info->dlpi_phdr[i];
            if (p->p_type == PT_LOAD && (p->p_flags & PF_X))
                modules[m] = (struct range){info->dlpi_addr + p->p_vaddr,
                                            info->dlpi_addr + p->p_vaddr + p->p_memsz};
        }
    }
    *program = true;
    return 0;
}

void mem_fail(unsigned whose, long nth, bool all_after)
{
    bool program = false;
    if (!modules[0].to)
        dl_iterate_phdr(note_module, &program);
    atomic_store(&seen, 0);
    atomic_store(&failing_from, nth);
    atomic_store(&failing_to, all_after ? LONG_MAX : nth);
    atomic_store(&armed, whose);
}

long mem_fail_stop(void)
{
    atomic_store(&armed, 0);
    return atomic_load(&seen);
}

static bool fails(const void *from)
{
    unsigned whose = atomic_load_explicit(&armed, memory_order_relaxed);
    if (!whose)
        return false;
    for (int m = 0; m < MODULES; m++) {
        if (!(whose & 1u << m) || (uintptr_t)from < modules[m].from ||
            (uintptr_t)from >= modules[m].to)
            continue;
        long n = atomic_fetch_add(&seen, 1) + 1;
        if (n < atomic_load(&failing_from) || n > atomic_load(&failing_to))
            return false;
        errno = ENOMEM;
        return true;
    }
    return false;
}

#define FROM __builtin_return_address(0)

void *malloc(size_t bytes)
{
    if (fails(FROM))
        return NULL;
    return __interceptor_malloc ? __interceptor_malloc(bytes) : __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    if (fails(FROM))
        return NULL;
    return __interceptor_calloc ? __interceptor_calloc(n, bytes) : __libc_calloc(n, bytes);
}

void *realloc(void *old, size_t bytes)
{
    if (fails(FROM))
        return NULL;
    return __interceptor_realloc ? __interceptor_realloc(old, bytes) : __libc_realloc(old, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    if (fails(FROM))
        return ENOMEM;
    if (__interceptor_posix_memalign)
        return __interceptor_posix_memalign(out, alignment, bytes);
    void *memory = __libc_memalign(alignment, bytes);
    if (!memory)
        return ENOMEM;
    *out = memory;
    return 0;
}

/* The C library's would allocate in its own name. */
char *strdup(const char *text)
{
    size_t len = strlen(text) + 1;
    if (fails(FROM))
        return NULL;
    char *copy = __interceptor_malloc ? __interceptor_malloc(len) : __libc_malloc(len);
    return copy ? memcpy(copy, text, len) : NULL;
}
