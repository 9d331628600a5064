/*
 * retry - see retry.h.
 *
 * The whole wait is random, not only a part of it: of callers that failed together, none come back
 * together.
 */
#include "tier/retry.h"

#include <assert.h>

const struct retry_policy SE__RETRY_STARTUP = {.attempts_max = 5, .base_ms = 200, .cap_ms = 2000};
const struct retry_policy SE__RETRY_QUERY = {.attempts_max = 3, .base_ms = 100, .cap_ms = 2000};
const struct retry_policy SE__RETRY_DAEMON = {.attempts_max = 0, .base_ms = 100, .cap_ms = 30000};

static uint64_t longest_wait_ms(const struct retry_policy *policy, uint32_t done)
{
    uint32_t doublings = done - 1 < 31 ? done - 1 : 31;
    uint64_t ms = (uint64_t)policy->base_ms << doublings; /* 63 bits at most */
    return ms < policy->cap_ms ? ms : policy->cap_ms;
}

bool se__retry_next(const struct retry_policy *policy, uint32_t done, uint64_t random,
                    uint64_t now_ms, uint64_t deadline_ms, uint32_t *wait_ms)
{
    assert(done >= 1);
    if (policy->attempts_max != 0 && done >= policy->attempts_max)
        return false;
    uint32_t wait = (uint32_t)(random % (longest_wait_ms(policy, done) + 1));
    if (now_ms >= deadline_ms || wait >= deadline_ms - now_ms)
        return false;
    *wait_ms = wait;
    return true;
}
