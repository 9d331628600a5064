/*
 * input - replies out of the bytes that a Redis server sends.
 *
 * What reads consist of, bulk strings and nils, is parsed here and lent where it lies: nothing is
 * copied or allocated for it. Everything else (arrays, integers, status, errors) goes to hiredis'
 * reader.
 *
 * Invariants
 *   I1  total: any bytes give replies, "more", or INPUT_GARBAGE for good
 *   I2  memory grows with what has come, not with what was promised
 *   I3  hiredis has bytes only while it is at work on a reply, or has more that came with it
 *
 * Threads: caller-serialised.  Memory: se__input_open returns, se__input_close frees.
 */
#ifndef SE_L2_INPUT_H
#define SE_L2_INPUT_H

#include "base/error.h"

struct redisReply;
struct input;

SE_NODISCARD se_result se__input_open(struct input **input);
void se__input_close(struct input *in); /* NULL is allowed */

/* Where the next bytes are to be put, and how many may be; NULL without memory. */
SE_NODISCARD char *se__input_room(struct input *in, size_t *cap);
void se__input_grew(struct input *in, size_t bytes);

enum input_next { INPUT_REPLY, INPUT_MORE, INPUT_GARBAGE };
/* The next whole reply, lent until the next call. Strings end with a NUL behind their length. */
SE_NODISCARD enum input_next se__input_next(struct input *in, const struct redisReply **reply);
/* Takes the head of an array of exactly so many elements, which are the next replies then. False:
 * nothing is taken; such a head is not there, or not whole, or not here (I3): se__input_next gives
 * what it is. */
bool se__input_array(struct input *in, size_t elements);
/* What INPUT_GARBAGE was. */
const char *se__input_error(const struct input *in);
/* Bytes that have come and belong to no reply that was given out. */
size_t se__input_waiting(const struct input *in);

#endif
