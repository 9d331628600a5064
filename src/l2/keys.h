/*
 * keys - which keys of a server are ours, and how they are asked for page by page.
 *
 * A key of ours is `<prefix><id>`. The engine's own keys hold a control byte behind the prefix, and
 * what others have put there may be anything: neither is an id, and neither is shown to a caller.
 *
 * Threads: any; pure but for se__keys_scan, which writes to the op's connection.
 */
#ifndef SE_L2_KEYS_H
#define SE_L2_KEYS_H

#include "l2/op.h"

/* Appends the glob that matches exactly the keys whose id begins with `id_prefix`. */
void se__keys_pattern(const struct redis *r, const char *id_prefix, struct buf *pattern);
/* The id in a key; NULL: it is none of ours. `key` is NUL-terminated behind its len bytes, as
 * hiredis' are, so the id is as well. */
const char *se__keys_id(const struct redis *r, const char *key, size_t len, size_t *id_len);
/* Begins one SCAN of about `count` keys. */
void se__keys_scan(struct op *op, const char *cursor, const struct buf *pattern, size_t count);

#endif
