/*
 * reply - see reply.h.
 */
#include "l2/reply.h"

#include "base/bytes.h"
#include "base/hash.h"

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

bool se__reply_yes_or_no(const redisReply *reply, bool *yes)
{
    int64_t n;
    if (!se__reply_integer(reply, &n) || (n != 0 && n != 1))
        return false;
    *yes = n == 1;
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

/* The header is whole, and what is behind it is not what it says. */
static void misfit(struct value *v, const uint8_t *content, size_t len)
{
    const struct record *rec = &v->record;
    v->found = TIER_CORRUPT;
    v->flaw = (struct tier_flaw){.header_fits = true, .version = rec->version};
    memcpy(v->flaw.record_hash, rec->record_hash, SE_HASH_SIZE);
    memcpy(v->flaw.expected, rec->content_hash, SE_HASH_SIZE);
    if (content && len > 0)
        se__hash128(0, content, len, v->flaw.actual);
}

/* All of an item's or a tombstone's value is here. */
static void judge_whole(struct value *v, const uint8_t *content, size_t len, bool hashed)
{
    uint8_t hash[SE_HASH_SIZE];
    if (len != v->record.content_len) {
        misfit(v, content, len);
        return;
    }
    v->record.content = content;
    v->found = TIER_HIT;
    if (!hashed || v->record.kind != RECORD_ITEM)
        return;
    se__hash128(0, content, len, hash);
    if (memcmp(hash, v->record.content_hash, sizeof hash) != 0)
        misfit(v, content, len);
}

/* The value may go on behind what is here. */
static void judge_cut(struct value *v, size_t head, size_t len, bool hashed)
{
    if (head + v->record.content_len < len) {
        misfit(v, NULL, 0);
        return;
    }
    v->found = TIER_HIT;
    v->more = hashed;
}

void se__reply_judge(const struct value_ask *ask, const void *bytes, size_t len, struct value *v)
{
    *v = (struct value){.found = TIER_CORRUPT, .bytes = bytes, .len = len};
    struct record *rec = &v->record;
    if (!se__reply_header(bytes, len, ask->id, ask->id_len, rec))
        return;
    size_t head = RECORD_HEADER_SIZE + strlen(rec->state);
    if (rec->generation != ask->generation || rec->kind == RECORD_FLOOR ||
        rec->kind == RECORD_LEASE)
        v->found = TIER_VOID;
    else if (len < ask->bytes_max)
        judge_whole(v, (const uint8_t *)bytes + head, len - head, ask->hashed);
    else
        judge_cut(v, head, len, ask->hashed);
}

enum reply_class se__reply_value(const redisReply *reply, const struct value_ask *ask,
                                 struct value *v)
{
    const char *bytes;
    size_t len;
    *v = (struct value){.found = TIER_ABSENT};
    if (is_error(reply) && begins(reply, "WRONGTYPE")) {
        v->found = TIER_CORRUPT;
        return REPLY_FINE;
    }
    enum reply_class class = se__reply_class(reply);
    if (class != REPLY_FINE || reply->type == REDIS_REPLY_NIL)
        return class;
    if (!se__reply_bytes(reply, &bytes, &len))
        return REPLY_GARBAGE;
    se__reply_judge(ask, bytes, len, v);
    return REPLY_FINE;
}

static void note_seen(struct tier_read *read, const struct value *v)
{
    read->seen_len = v->len < RECORD_HEADER_SIZE ? v->len : RECORD_HEADER_SIZE;
    if (read->seen_len > 0)
        memcpy(read->seen, v->bytes, read->seen_len);
}

enum reply_class se__reply_record(const redisReply *reply, uint64_t generation,
                                  struct tier_read *read, bool *nomem)
{
    struct value_ask ask = {.id = read->id,
                            .id_len = read->id_len,
                            .generation = generation,
                            .bytes_max = SIZE_MAX,
                            .hashed = true};
    struct value v;
    enum reply_class class = se__reply_value(reply, &ask, &v);
    note_seen(read, &v);
    read->found = v.found;
    read->flaw = v.flaw;
    read->item = NULL;
    if (v.found != TIER_HIT)
        return class;
    read->item = se__record_to_item(read->id, read->id_len, &v.record);
    if (!read->item) {
        read->found = TIER_CORRUPT;
        *nomem = true;
    }
    return class;
}

bool se__reply_guard(const redisReply *result, struct tier_write *write)
{
    int64_t n;
    const char *bytes;
    size_t len;
    write->newer = 0;
    if (se__reply_integer(result, &n)) {
        write->state = n == 1 ? TIER_STORED : TIER_NOT_TRIED;
        return n == 1 || n == 2;
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
