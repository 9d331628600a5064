/*
 * policy - the list of them.
 */
#include "policy.h"

const struct policy policies[POLICIES] = {
    [POLICY_LRU] = {"LRU", policy_lru},
    [POLICY_SIEVE] = {"SIEVE", policy_sieve},
    [POLICY_S3FIFO] = {"S3-FIFO", policy_s3fifo},
    [POLICY_ARC] = {"ARC", policy_arc},
    [POLICY_TINYLFU] = {"W-TinyLFU", policy_tinylfu},
    [POLICY_OPT] = {"OPT", policy_opt},
    [POLICY_S3LEARN] = {"S3-L", policy_s3learn},
};
