/*
 * suspects - ids whose copy in Redis may be older than the home tier's.
 *
 * A write that L2 did not take makes its id a suspect: reads skip L2 for it until a later write of
 * it got through, or the L2 generation is redrawn. Bounded: past the bound it overflows, and the
 * engine must redraw the generation; until then everything is a suspect.
 *
 * Holds seeded 64-bit hashes: two ids may share one, which only costs a skipped look into L2.
 * Locks: one mutex (leaf).  Threads: any.
 */
#ifndef SE_FLUSH_SUSPECTS_H
#define SE_FLUSH_SUSPECTS_H

#include "base/os.h"

struct suspects;
SE_NODISCARD se_result se__suspects_open(size_t max, struct suspects **suspects);
void se__suspects_close(struct suspects *s);
/* the version L2 missed */
void se__suspects_add(struct suspects *s, uint64_t hash, uint64_t version);
/* L2 has this version: earlier doubts are over */
void se__suspects_remove(struct suspects *s, uint64_t hash, uint64_t version);
bool se__suspects_has(struct suspects *s, uint64_t hash); /* no lock while there are none */
bool se__suspects_overflowed(struct suspects *s);
size_t se__suspects_count(struct suspects *s);
/* Everything noted before `mark` (from se__suspects_mark) is forgotten: a new
 * generation is in force since. */
uint64_t se__suspects_mark(struct suspects *s);
void se__suspects_clear(struct suspects *s, uint64_t mark);

#endif
