/*
 * verify - do the tiers agree, is what they hold whole, and putting right what is not.
 *
 * A run goes through the ids in order, in passes. A pass covers the ids (after, until] for which what
 * Redis holds fits into memory_max: it surveys Redis once, keeping (id, version, record hash) of the
 * smallest ids, then surveys L3 over the same range and matches. What does not fit together is a
 * suspicion, not a finding: writes go on meanwhile. Suspicions are looked at again, together, after
 * everything that was accepted before has settled and a grace period has passed; only what then still
 * shows the same versions in both tiers, with no write of the id on its way, is judged
 * (verify/judge.h).
 *
 * QUICK surveys headers, DEEP contents. In both a row's Merkle leaf is computed afresh from its
 * columns: a digest that the database adds up from stored leaves would agree with a row whose version
 * was edited. Every id that both tiers hold is compared by itself, version and record hash, so
 * `roots_equal` (the XOR of their leaves is the same in both) is known without adding leaves up.
 *
 * Invariants
 *   I1  memory is bounded by memory_max and some 10 MB of suspicions: when there are so many they are
 *       looked at, and the pass goes on
 *   I2  nothing is judged by one look; nothing is repaired but by a guarded write, or a compare-and-
 *       set on the very bytes that were read
 *   I3  no lock, no transaction across pages: traffic goes on
 *   I4  whenever `checkpoint` is called the report is that of the ids up to `through`: a run that is
 *       stopped and one that goes on behind it add up to the run that was not stopped
 *
 * Threads: any; one caller per run. Callbacks come on the caller's thread, without locks.
 */
#ifndef SE_VERIFY_VERIFY_H
#define SE_VERIFY_VERIFY_H

#include "base/log.h"
#include "metrics/metrics.h"
#include "tier/tier.h"

struct redis;

struct verify_finding {
    const char *id;
    se_tier tier;
    enum { FLAW_STALE, FLAW_CORRUPT, FLAW_ORPHAN } flaw;
    bool repaired;
    const char *detail; /* one sentence: what was found, expected and actual */
};

struct verify_options {
    struct tier l2, l3;  /* at least one; ops NULL: not there */
    struct redis *redis; /* of l2: for voiding orphans; NULL with fakes that have none */
    unsigned writer;     /* worker number for guarded writes: one that no worker uses */
    bool deep, repair;
    uint64_t rate;       /* records a second, of both tiers together; 0: no limit */
    size_t memory_max;   /* 0: VERIFY_MEMORY */
    uint32_t grace_ms;   /* between the two looks */
    uint32_t timeout_ms; /* of one call */
    const char *after;   /* ids up to this are skipped; NULL or "": none */
    struct metrics *metrics;
    const struct se__log *log;

    /* All callbacks may be NULL. */
    /* A write of this id is on its way (dirty, in the WAL, dead letter, its copy for L2 not there
     * yet, doubted in L2). */
    bool (*busy)(void *arg, const char *id, size_t id_len);
    /* Waits until all that was accepted before is in the home tier and L2 has taken its copy.
     * SE_ERR_STATE ends the run; who is not settled otherwise is busy, or moves. */
    se_result (*settle)(void *arg);
    /* Another engine writes the same tiers: an L2 newer than L3 may be its lag. */
    bool (*foreign)(void *arg);
    /* A whole copy from elsewhere (L1), a reference, or NULL. */
    se_item *(*spare)(void *arg, const char *id, size_t id_len);
    /* A version that a repair is about to write must be covered by the clock's ceiling; SE_OK. */
    se_result (*cover)(void *arg, uint64_t version);
    /* A live row of L3 was seen (for the filter). NULL: nobody wants to know. */
    void (*row_seen)(void *arg, const char *id, size_t id_len);
    void (*finding)(void *arg, const struct verify_finding *finding);
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    /* All ids up to `through` are done and in the report; after every page, and every tenth of a
     * second of a wait. false: stop here (SE_OK). */
    bool (*checkpoint)(void *arg, const char *through);
    void *arg;
};

#define VERIFY_MEMORY (128u << 20) /* some 1.8 million ids of 32 bytes in one pass */

/* On an error the report says what was done until then. */
SE_NODISCARD se_result se__verify_run(const struct verify_options *options,
                                      se_verify_report *report);
/* The second look alone, at one id, with repair: for a read that found no good copy. *mended: some
 * tier has a good copy now, and none a corrupt one. Counts what it heals (M_HEALED_*), not what it
 * finds: the read has done that. */
SE_NODISCARD se_result se__verify_one(const struct verify_options *options, const char *id,
                                      bool *mended);

#endif
