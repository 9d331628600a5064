/*
 * os_bell - bells by Linux' futex.
 *
 * A condition variable would do, but whoever it wakes takes the mutex again, one after the other, and
 * glibc's mutex then makes a system call of every unlock: with 64 callers of one group commit that is
 * as much as the wake itself.
 */
#include "base/os.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static_assert(sizeof(struct se__bell) == sizeof(uint32_t), "the kernel's futex has 32 bits");

uint32_t se__bell_heard(const struct se__bell *b)
{
    /* acquire: what happened before the ring is seen; pairs with the release in ring(). */
    return atomic_load_explicit(&b->rings, memory_order_acquire);
}

bool se__bell_wait(struct se__bell *b, uint32_t heard, uint64_t deadline_ms)
{
    struct timespec t = {.tv_sec = (time_t)(deadline_ms / 1000),
                         .tv_nsec = (long)(deadline_ms % 1000) * 1000000};
    /* with the bit set an absolute time, of the monotonic clock */
    long rc = syscall(SYS_futex, &b->rings, FUTEX_WAIT_BITSET_PRIVATE, heard,
                      deadline_ms == SE__FOREVER ? NULL : &t, NULL, FUTEX_BITSET_MATCH_ANY);
    assert(rc == 0 || errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT);
    return rc == 0 || errno != ETIMEDOUT;
}

void se__bell_ring(struct se__bell *b)
{
    /* release: what is waited for is stored before; pairs with the acquire in heard(). */
    atomic_fetch_add_explicit(&b->rings, 1, memory_order_release);
    (void)syscall(SYS_futex, &b->rings, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
