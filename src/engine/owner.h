/*
 * owner - rows in the home tier's meta table that say which engines write it, and what follows from
 * them.
 *
 * A row "owner:<uuid>" holds: 1 <state> <ceiling> <heartbeat> <process tag> <name>, blanks between,
 * state open or closed, numbers decimal (ceiling: a version; heartbeat: a counter that grows with
 * every beat).
 *
 * Pure: rows and times are passed in.
 *   - a row of ours is skipped; a closed row is history (its ceiling counts)
 *   - an open row whose process is dead, or whose heartbeat has not moved for OWNER_SILENCE_MS, is
 *     a crash
 *   - any other open row is a live owner
 *
 * Threads: caller-serialised.  Memory: se__owners_open returns; a bounded number of rows is
 * remembered.
 */
#ifndef SE_ENGINE_OWNER_H
#define SE_ENGINE_OWNER_H

#include "base/error.h"

#include "engine/process.h"

#define OWNER_SILENCE_MS 15000u
#define OWNER_PREFIX "owner:"

struct owner_row {
    bool open;
    uint64_t ceiling, heartbeat;
    char tag[PROCESS_TAG_MAX];
    char name[64];
};
/* Total: false for anything that is not a row. */
bool se__owner_parse(const char *value, struct owner_row *row);
void se__owner_print(const struct owner_row *row, char *out, size_t cap);

enum owner_verdict { OWNER_LIVE, OWNER_CRASHED, OWNER_CLOSED };

struct owners;
SE_NODISCARD se_result se__owners_open(struct owners **owners);
void se__owners_close(struct owners *owners);
/* What the row `uuid` says at `now_ms` (mono). */
enum owner_verdict se__owners_judge(struct owners *owners, const char *uuid,
                                    const struct owner_row *row, enum process_life life,
                                    uint64_t now_ms);

#endif
