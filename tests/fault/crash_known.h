/*
 * known - what was submitted and what was acknowledged, in memory that outlives the writers.
 *
 * Every attempt to write an id gets a number, which its content carries, and two stamps of one clock that only counts: before the call and
 * after it. A kill ends the calls under way. A value may be seen if it was attempted and not refused, and if no acknowledged write began
 * after its call had ended: such a value is older than that one in every order. Writes of several threads to one id need no other rule.
 *
 *   kept       the stamp at which the newest write began of which an acknowledgement says that it survives: nothing older may be read from
 *              then on, not after a crash either
 *   finished   the same of all calls that returned in this life, of whatever acknowledgement: for reads in this life
 *
 * Threads: any, in any process.  Memory: in place.
 */
#ifndef SE_TESTS_FAULT_CRASH_KNOWN_H
#define SE_TESTS_FAULT_CRASH_KNOWN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRASH_IDS 144u
#define CRASH_LASTING                                                                              \
    72u /* the first ids keep their names; the others get new ones after each check */
#define CRASH_POISON 23u /* the database refuses it, in beds that say so: a dead letter */
#define CRASH_ATTEMPTS 2048u
#define CRASH_CONTENT_MAX 6000u
#define CRASH_HEAD_LEN 16u /* of a content: "iiii.nnnnnnnnnn." */

struct crash_attempt {
    _Atomic uint64_t begin, end; /* stamps; 0: not yet */
    bool deletes;
    _Atomic bool refused;
    uint32_t batch; /* of SE_ACK_WAL: there as a whole or not at all; 0: none */
};
struct crash_id {
    _Atomic uint32_t n;   /* attempts since the last check */
    uint32_t base;        /* what the last check saw; 0: nothing */
    uint32_t base_number; /* the number of the last attempt before it */
    _Atomic uint64_t kept, kept_in_wal, finished;
    struct crash_attempt tried[CRASH_ATTEMPTS];
};
struct crash_known {
    _Atomic uint64_t clock;
    _Atomic uint32_t batches;
    uint32_t epoch; /* of the names */
    _Atomic uint64_t submitted, acked_wal, acked_l3, by_flush;
    struct crash_id ids[CRASH_IDS];
};

void crash_name(const struct crash_known *k, uint32_t id, char out[32]);
/* Follows from both; returns the length. */
size_t crash_content(uint32_t id, uint32_t number, char out[CRASH_CONTENT_MAX]);
/* The number in it, if it is the whole content of that id; else 0. */
uint32_t crash_number(uint32_t id, const void *content, size_t len);

/* A new attempt, before the call. Returns its number, 0 if there is no room for more until the next check. */
uint32_t crash_try(struct crash_known *k, uint32_t id, bool deletes, uint32_t batch);
enum crash_ack { CRASH_ACK_NONE, CRASH_ACK_WAL, CRASH_ACK_L3, CRASH_REFUSED };
/* The call has returned. NONE: done, and nothing is promised about crashes. */
void crash_tried(struct crash_known *k, uint32_t id, uint32_t number, enum crash_ack ack);
/* Around an se_flush, or a close: what had finished before is safe if it says so. */
void crash_flush_begins(struct crash_known *k, uint64_t finished[CRASH_IDS]);
void crash_flush_ended(struct crash_known *k, const uint64_t finished[CRASH_IDS]);

/* What is wrong with seeing this number (0: nothing) when nothing older than `floor` may be seen; NULL: nothing. */
const char *crash_judge(const struct crash_known *k, uint32_t id, uint32_t seen, uint64_t floor);
/* After a crash: an id that is older than a batch of which another id is seen; CRASH_IDS: there is none. */
uint32_t crash_torn(const struct crash_known *k, const uint32_t seen[CRASH_IDS]);
/* For messages. */
void crash_describe(const struct crash_known *k, uint32_t id, uint64_t floor, char *out,
                    size_t cap);

void crash_died(struct crash_known *k);                                    /* the child */
void crash_checked(struct crash_known *k, const uint32_t seen[CRASH_IDS]); /* a new base */

#endif
