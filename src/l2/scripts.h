/*
 * scripts - the Lua that runs inside Redis: the version guard and what else must be atomic there.
 *
 * All have one shape. KEYS: the records' keys. ARGV[1]: the deadline, in ms of the server's own
 * clock; ARGV[2]: the generation (8 bytes); then a fixed number of arguments for each key. The
 * reply is an array: the server's clock in ms, then a result for each key; only the clock if the
 * deadline had passed (or the clock has jumped back), and then nothing was done.
 *
 *   script        arguments a key        result
 *   SCRIPT_GUARD  record, px             1: stored; 8 bytes: the newer version that is there;
 *                 2: the same write is there, as a greater kind of record
 *   SCRIPT_LEASE  seen, lease, px        1: taken, 0: not
 *   SCRIPT_SWAP   header, record, px     1: the header was there and is replaced, 0: not; header
 *                 '': a key of another type, or an empty string
 *   SCRIPT_META   verb, name, value      the value under the name afterwards, nil: none
 *
 * px is a life in ms, 0: no limit.
 *
 * SCRIPT_OPEN is another thing (bulk.h): KEYS[1] is the latch, the records' keys follow, ARGV[3]
 * holds OPEN_HEAD bytes for each of these: the new record's kind, version and record hash. After
 * the clock it returns one number, OPEN_...; if that is OPEN_DONE nothing is under any of the keys.
 *
 * Threads: any; constants.
 */
#ifndef SE_L2_SCRIPTS_H
#define SE_L2_SCRIPTS_H

#include "base/error.h"

enum script { SCRIPT_GUARD, SCRIPT_LEASE, SCRIPT_SWAP, SCRIPT_META, SCRIPT_OPEN, SCRIPT_COUNT };

#define OPEN_HEAD 25u
enum { OPEN_REFUSED, OPEN_DONE, OPEN_CANNOT }; /* CANNOT: not with this server, or this user */

/* No call is allowed to act later than this: half of the life of a tombstone. */
#define SCRIPT_AHEAD_MS_MAX 300000u

const char *se__script_text(enum script script);
size_t se__script_args_per_key(enum script script);

#endif
