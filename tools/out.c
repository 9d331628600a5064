/*
 * out - see out.h.
 */
#include "out.h"

#include "base/utf8.h"
#include "term.h"
#include "text.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool out_bytes(const void *bytes, size_t len)
{
    return len == 0 || fwrite(bytes, 1, len, stdout) == len;
}

bool out_text(const char *text)
{
    return fputs(text, stdout) >= 0;
}

bool out_printf(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    bool ok = vprintf(fmt, args) >= 0;
    va_end(args);
    return ok;
}

bool out_id(const char *id)
{
    char safe[4 * SE_ID_MAX + 1];
    if (!isatty(STDOUT_FILENO))
        return out_text(id);
    text_safe(id, strlen(id), safe, sizeof safe);
    return out_text(safe);
}

bool out_found_id(const char *id)
{
    char safe[4 * SE_ID_MAX + 1];
    size_t len;
    if (se__id_check("id", id, 1, SE_ID_MAX, &len) == SE_OK)
        return out_id(id);
    text_safe(id, strlen(id), safe, sizeof safe);
    return out_text(safe);
}

bool out_flush(void)
{
    return fflush(stdout) == 0;
}

int out_finish(int status)
{
    bool failed = ferror(stdout) != 0;
    if (fflush(stdout) != 0 || failed) {
        if (errno != EPIPE)
            term_say("stdout: %s", strerror(errno));
        return EXIT_TROUBLE;
    }
    return status;
}

static void escape(struct buf *out, unsigned char c)
{
    static const char named[] = "\bb\ff\nn\rr\tt\"\"\\\\";
    for (const char *at = named; *at; at += 2) {
        if ((unsigned char)*at == c) {
            se__buf_printf(out, "\\%c", at[1]);
            return;
        }
    }
    se__buf_printf(out, "\\u%04x", c);
}

void json_string(struct buf *out, const char *bytes, size_t len)
{
    size_t from = 0;
    se__buf_text(out, "\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        se__buf_append(out, bytes + from, i - from);
        escape(out, c);
        from = i + 1;
    }
    se__buf_append(out, bytes + from, len - from);
    se__buf_text(out, "\"");
}

void json_text(struct buf *out, const char *text)
{
    char safe[2048];
    size_t len = strlen(text);
    if (se__utf8_check(text, len) == len) {
        json_string(out, text, len);
    } else {
        len = text_safe(text, len, safe, sizeof safe);
        json_string(out, safe, len);
    }
}

/* RFC 4648, with padding. */
static void base64(struct buf *out, const unsigned char *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t v = (uint32_t)bytes[i] << 16;
        if (left > 1)
            v |= (uint32_t)bytes[i + 1] << 8;
        if (left > 2)
            v |= bytes[i + 2];
        char quad[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                        left > 2 ? digits[v & 63] : '='};
        se__buf_append(out, quad, sizeof quad);
    }
}

void json_content(struct buf *out, const void *bytes, size_t len)
{
    if (se__utf8_check(bytes, len) == len) {
        se__buf_text(out, "\"content\":");
        json_string(out, bytes, len);
    } else {
        se__buf_text(out, "\"content_base64\":\"");
        base64(out, bytes, len);
        se__buf_text(out, "\"");
    }
}

const char *content_type_text(se_content_type type)
{
    return type == SE_CONTENT_JSON ? "json" : "binary";
}

void json_item(struct buf *out, const se_item *item, bool content)
{
    uint8_t hash[SE_HASH_SIZE];
    const char *id = se_item_id(item), *state = se_item_state(item);
    se__buf_text(out, "{\"id\":");
    json_string(out, id, strlen(id));
    se__buf_printf(out, ",\"version\":%" PRIu64 ",\"updated_at_ms\":%" PRId64 ",\"state\":",
                   se_item_version(item), se_item_updated_at_ms(item));
    json_string(out, state, strlen(state));
    se__buf_printf(out, ",\"type\":\"%s\",\"size\":%zu,\"hash\":\"",
                   content_type_text(se_item_content_type(item)), se_item_content_len(item));
    se_item_hash(item, hash);
    for (size_t i = 0; i < sizeof hash; i++)
        se__buf_printf(out, "%02x", hash[i]);
    se__buf_text(out, "\"");
    if (content) {
        se__buf_text(out, ",");
        json_content(out, se_item_content(item), se_item_content_len(item));
    }
    se__buf_text(out, "}");
}
