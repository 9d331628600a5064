/*
 * reply - see reply.h.
 */
#include "l2/reply.h"

#include "base/bytes.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

/* ---- errors ---- */

static bool is_error(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_ERROR && r->str;
}

static bool begins(const redisReply *r, const char *word)
{
    size_t len = strlen(word);
    return r->len >= len && memcmp(r->str, word, len) == 0;
}

static bool holds(const redisReply *r, const char *words)
{
    return memmem(r->str, r->len, words, strlen(words)) != NULL;
}

enum reply_class se__reply_class(const redisReply *reply)
{
    static const char *const STRANGERS[] = {"READONLY",    "LOADING", "MASTERDOWN", "NOAUTH",
                                            "CLUSTERDOWN", "MOVED",   "ASK"};
    if (!reply)
        return REPLY_GARBAGE;
    if (reply->type != REDIS_REPLY_ERROR)
        return REPLY_FINE;
    if (!reply->str)
        return REPLY_GARBAGE;
    if (begins(reply, "NOSCRIPT"))
        return REPLY_NOSCRIPT;
    if (holds(reply, "invalid bulk length") || holds(reply, "exceeds maximum allowed size"))
        return REPLY_REFUSED;
    for (size_t i = 0; i < sizeof STRANGERS / sizeof *STRANGERS; i++)
        if (begins(reply, STRANGERS[i]))
            return REPLY_STRANGER;
    return REPLY_UNWELL;
}

void se__reply_words(const redisReply *reply, const char *secret, char *out, size_t cap)
{
    if (!is_error(reply)) {
        snprintf(out, cap, "an answer that is none to what was asked");
        return;
    }
    /* "unknown command 'AUTH', with args beginning with: ..." repeats what was sent. */
    if (secret && *secret && holds(reply, secret)) {
        snprintf(out, cap, "an error that repeats the password (not shown)");
        return;
    }
    size_t n = reply->len < cap - 1 ? reply->len : cap - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = reply->str[i] >= 0x20 && reply->str[i] < 0x7f ? reply->str[i] : '?';
    out[n] = '\0';
}

/* ---- shapes ---- */

bool se__reply_is_status(const redisReply *reply, const char *text)
{
    return reply && reply->type == REDIS_REPLY_STATUS && reply->str && reply->len == strlen(text) &&
           memcmp(reply->str, text, reply->len) == 0;
}

bool se__reply_bytes(const redisReply *reply, const char **bytes, size_t *len)
{
    if (!reply || reply->type != REDIS_REPLY_STRING || !reply->str)
        return false;
    *bytes = reply->str;
    *len = reply->len;
    return true;
}

bool se__reply_integer(const redisReply *reply, int64_t *n)
{
    if (!reply || reply->type != REDIS_REPLY_INTEGER)
        return false;
    *n = reply->integer;
    return true;
}

size_t se__reply_elements(const redisReply *reply)
{
    return reply && reply->type == REDIS_REPLY_ARRAY && reply->element ? reply->elements : 0;
}

const redisReply *se__reply_element(const redisReply *reply, size_t i)
{
    return i < se__reply_elements(reply) ? reply->element[i] : NULL;
}

/* Decimal digits only, at most 18 of them: fits int64_t. */
static bool digits(const redisReply *reply, int64_t *n)
{
    const char *bytes;
    size_t len;
    if (!se__reply_bytes(reply, &bytes, &len) || len == 0 || len > 18)
        return false;
    int64_t sum = 0;
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] < '0' || bytes[i] > '9')
            return false;
        sum = sum * 10 + (bytes[i] - '0');
    }
    *n = sum;
    return true;
}

#define CLOCK_S_MAX (INT64_C(1) << 42) /* some 139,000 years: products below stay in range */

bool se__reply_time(const redisReply *reply, int64_t *server_ms)
{
    int64_t s, us;
    if (se__reply_elements(reply) != 2 || !digits(reply->element[0], &s) ||
        !digits(reply->element[1], &us) || s > CLOCK_S_MAX || us >= 1000000)
        return false;
    *server_ms = s * 1000 + us / 1000;
    return true;
}

static bool name_byte(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '-';
}

bool se__reply_info(const redisReply *reply, const char *field, char *value, size_t cap)
{
    const char *at;
    size_t len, field_len = strlen(field);
    if (!se__reply_bytes(reply, &at, &len))
        return false;
    for (const char *end = at + len; at < end;) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        const char *next = eol ? eol + 1 : end;
        size_t line = (size_t)(next - at);
        if (line > field_len && memcmp(at, field, field_len) == 0 && at[field_len] == ':') {
            size_t n = 0;
            for (const char *c = at + field_len + 1; c < next && name_byte(*c); c++, n++)
                if (n + 1 < cap)
                    value[n] = *c;
            if (n == 0 || n + 1 > cap)
                return false;
            value[n] = '\0';
            return true;
        }
        at = next;
    }
    return false;
}

bool se__reply_script(const redisReply *reply, size_t n, int64_t *server_ms, bool *acted)
{
    size_t elements = se__reply_elements(reply);
    if (elements != 1 && elements != n + 1)
        return false;
    int64_t ms;
    if (!se__reply_integer(reply->element[0], &ms) || ms < 0 || ms / 1000 > CLOCK_S_MAX)
        return false;
    *server_ms = ms;
    *acted = elements == n + 1;
    return true;
}

bool se__reply_scan(const redisReply *reply, char cursor[24], const redisReply **keys)
{
    const char *bytes;
    size_t len;
    if (se__reply_elements(reply) != 2 || !se__reply_bytes(reply->element[0], &bytes, &len))
        return false;
    if (len == 0 || len > 20 || strspn(bytes, "0123456789") != len)
        return false;
    if (!reply->element[1] || reply->element[1]->type != REDIS_REPLY_ARRAY)
        return false;
    memcpy(cursor, bytes, len);
    cursor[len] = '\0';
    *keys = reply->element[1];
    return true;
}

/* ---- records ---- */

static void note_seen(struct tier_read *read, const void *bytes, size_t len)
{
    read->seen_len = len < RECORD_HEADER_SIZE ? len : RECORD_HEADER_SIZE;
    memcpy(read->seen, bytes, read->seen_len);
}

/* What a record that decodes is to a reader of this generation. */
static enum tier_found judge(const struct record *rec, uint64_t generation)
{
    if (rec->generation != generation)
        return TIER_VOID;
    if (rec->kind == RECORD_ITEM)
        return rec->content || rec->content_len == 0 ? TIER_HIT : TIER_CORRUPT;
    return rec->kind == RECORD_TOMBSTONE ? TIER_HIT : TIER_VOID;
}

static void decode_record(const void *bytes, size_t len, uint64_t generation,
                          struct tier_read *read, bool *nomem)
{
    struct record rec;
    read->found = TIER_CORRUPT;
    note_seen(read, bytes, len);
    if (se__record_decode(read->id, read->id_len, bytes, len, &rec) != RECORD_OK)
        return;
    read->found = judge(&rec, generation);
    if (read->found != TIER_HIT)
        return;
    read->found = TIER_CORRUPT;
    se_item *item = se__record_to_item(read->id, read->id_len, &rec);
    if (!item) {
        *nomem = true;
    } else if (rec.kind == RECORD_ITEM && !se__item_intact(item)) {
        se_item_release(item);
    } else {
        read->found = TIER_HIT;
        read->item = item;
    }
}

enum reply_class se__reply_record(const redisReply *reply, uint64_t generation,
                                  struct tier_read *read, bool *nomem)
{
    const char *bytes;
    size_t len;
    read->found = TIER_ABSENT;
    read->item = NULL;
    read->seen_len = 0;
    if (is_error(reply) && begins(reply, "WRONGTYPE")) {
        read->found = TIER_CORRUPT;
        return REPLY_FINE;
    }
    enum reply_class class = se__reply_class(reply);
    if (class != REPLY_FINE || reply->type == REDIS_REPLY_NIL)
        return class;
    if (!se__reply_bytes(reply, &bytes, &len))
        return REPLY_GARBAGE;
    decode_record(bytes, len, generation, read, nomem);
    return REPLY_FINE;
}

bool se__reply_guard(const redisReply *result, struct tier_write *write)
{
    int64_t n;
    const char *bytes;
    size_t len;
    if (se__reply_integer(result, &n) && n == 1) {
        write->state = TIER_STORED;
        write->newer = 0;
        return true;
    }
    if (!se__reply_bytes(result, &bytes, &len) || len != sizeof(uint64_t))
        return false;
    write->state = TIER_NEWER;
    write->newer = se__get_u64((const uint8_t *)bytes);
    return true;
}

bool se__reply_header(const void *bytes, size_t len, const char *id, size_t id_len,
                      struct record *record)
{
    if (len < RECORD_HEADER_SIZE)
        return false;
    /* Without the content: the header and the state are enough for the check to hold. */
    size_t state_len = ((const uint8_t *)bytes)[62];
    size_t want = RECORD_HEADER_SIZE + state_len;
    if (len < want)
        return false;
    return se__record_decode(id, id_len, bytes, want, record) == RECORD_OK;
}
