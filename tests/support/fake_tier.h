/*
 * fake_tier - an in-memory tier with the version guard, whose faults and delays are scripted.
 *
 * Deterministic: faults are chosen by the number of the call or by the record, delays are gates
 * that the test opens. Tests wait for conditions (a call is inside the gate, so many calls have
 * ended), never for time.
 *
 * Order of things in a call: it is counted; it waits while its gate is closed (at most to its
 * deadline: then it is UNWELL, timed out); a fault rule may end it; a refused record may (nothing
 * is applied); then it does its work.
 *
 * Threads: any.  Memory: fake_tier_open returns; the tier's close op does nothing, the test calls
 * fake_tier_free last.
 */
#ifndef SE_TESTS_SUPPORT_FAKE_TIER_H
#define SE_TESTS_SUPPORT_FAKE_TIER_H

#include "tier/tier.h"

enum fake_class {
    FAKE_WRITE = 1,
    FAKE_READ = 2,
    FAKE_PROBE = 4,
    FAKE_PREPARE = 8,
    FAKE_META = 16,
    FAKE_SCAN = 32, /* scan, count, list, purge */
    FAKE_ALL = 63
};

struct fake_tier;

struct fake_tier *fake_tier_open(const char *name);
void fake_tier_free(struct fake_tier *f);
struct tier fake_tier_as_tier(struct fake_tier *f);

/* ---- script ---- */
/* After `skip` further calls of these classes, `count` calls end so (UINT_MAX: for ever). Rules
 * stand in line: the first that matches counts. */
void fake_tier_fail(struct fake_tier *f, unsigned classes, unsigned skip, unsigned count,
                    struct tier_reply reply);
/* As fake_tier_fail for writes, but the records are applied first (an answer that was lost). */
void fake_tier_fail_late(struct fake_tier *f, unsigned skip, unsigned count,
                         struct tier_reply reply);
/* Down: every call is UNWELL (code 2002). Up again: all rules are forgotten too. */
void fake_tier_set_down(struct fake_tier *f, bool down);
/* Writes that hold a record for which bad() is true are REFUSED with this code. NULL: none is. */
void fake_tier_refuse(struct fake_tier *f, bool (*bad)(void *arg, const se_item *item), void *arg,
                      int code);
/* A closed gate holds calls of these classes. */
void fake_tier_close_gate(struct fake_tier *f, unsigned classes);
void fake_tier_open_gate(struct fake_tier *f);
/* Puts a record in as another engine would (takes no reference of the caller's). */
void fake_tier_plant(struct fake_tier *f, se_item *item, enum record_kind kind);

/* ---- waiting: false at the deadline ---- */
/* at least n calls are in the gate */
bool fake_tier_await_held(struct fake_tier *f, unsigned n, uint64_t deadline_ms);
/* n calls have ended since open */
bool fake_tier_await_calls(struct fake_tier *f, unsigned classes, unsigned n, uint64_t deadline_ms);

/* ---- looking ---- */
unsigned fake_tier_calls(struct fake_tier *f, unsigned classes); /* ended, since open */
size_t fake_tier_rows(struct fake_tier *f);
/* The version under an id, 0: none; *kind may be NULL. */
uint64_t fake_tier_version(struct fake_tier *f, const char *id, enum record_kind *kind);
/* A reference to the item under an id, or NULL. */
se_item *fake_tier_item(struct fake_tier *f, const char *id);

/* Every record of every write that was applied, in order. */
struct fake_write {
    unsigned call; /* number of the write call, from 1 */
    unsigned worker;
    char id[SE_ID_MAX + 1];
    uint64_t version;
    enum record_kind kind;
    enum tier_state state;
};
size_t fake_tier_written(struct fake_tier *f);
struct fake_write fake_tier_write_at(struct fake_tier *f, size_t at);
/* True if no write call ever was unsorted, had an id twice or lacked its kind. */
bool fake_tier_writes_sane(struct fake_tier *f);

#endif
