/*
 * keys - see keys.h.
 */
#include "l2/keys.h"

#include "base/utf8.h"

#include <string.h>

/* Every byte that means something in a glob gets a backslash. */
static void append_escaped(struct buf *b, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] && strchr("\\[]*?^-", text[i]))
            se__buf_append(b, "\\", 1);
        se__buf_append(b, &text[i], 1);
    }
}

void se__keys_pattern(const struct redis *r, const char *id_prefix, struct buf *pattern)
{
    append_escaped(pattern, r->prefix, r->prefix_len);
    append_escaped(pattern, id_prefix, strlen(id_prefix));
    se__buf_append(pattern, "*", 1);
}

static bool is_id(const char *bytes, size_t len)
{
    if (len < 1 || len > SE_ID_MAX || se__utf8_check(bytes, len) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)bytes[i] < 0x20 || bytes[i] == 0x7f)
            return false;
    return true;
}

const char *se__keys_id(const struct redis *r, const char *key, size_t len, size_t *id_len)
{
    size_t skip = r->prefix_len;
    if (len < skip || memcmp(key, r->prefix, skip) != 0 || !is_id(key + skip, len - skip))
        return NULL;
    *id_len = len - skip;
    return key + skip;
}

void se__keys_scan(struct op *op, const char *cursor, const struct buf *pattern, size_t count)
{
    struct resp *c = op->session->resp;
    se__resp_begin(c, 6);
    se__resp_text(c, "SCAN");
    se__resp_text(c, cursor);
    se__resp_text(c, "MATCH");
    se__resp_arg(c, pattern->data, pattern->len);
    se__resp_text(c, "COUNT");
    se__resp_number(c, count);
}
