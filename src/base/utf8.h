/*
 * utf8 - what an id, a state tag and a JSON text may be made of.
 *
 * Threads: any; pure.
 */
#ifndef SE_BASE_UTF8_H
#define SE_BASE_UTF8_H

#include "base/error.h"

/* Offset of the first byte that is not well-formed UTF-8 (RFC 3629), or len. */
size_t se__utf8_check(const void *bytes, size_t len);
/* The greatest length <= len at which a well-formed text can be cut
 * without splitting a character. */
size_t se__utf8_cut(const char *text, size_t len);
/* Checks an id: 1..SE_ID_MAX bytes, UTF-8, no byte < 0x20 or 0x7f; reads at most SE_ID_MAX + 1
 * bytes. `what` names the argument in the message ("id", "prefix", "state"); `max` is the longest
 * allowed, `min` the shortest. SE_ERR_INVALID says what is wrong and at which byte. */
SE_NODISCARD se_result se__id_check(const char *what, const char *id, size_t min, size_t max,
                                    size_t *len);
/* True if the bytes are one valid JSON text (RFC 8259, UTF-8; any value at the top). Parsed by
 * yajl. False also without memory. */
bool se__json_valid(const void *bytes, size_t len);

#endif
