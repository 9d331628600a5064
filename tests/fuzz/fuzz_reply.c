/*
 * fuzz_reply - what a Redis server says (l2/reply.h), through hiredis' parser.
 *
 * Input: a byte (the size of the pieces in which it arrives), the bytes of one or more replies.
 *
 * Whatever is said: every function gives a value in its range, or says that it is none; words for
 * messages are printable, bounded and without the password.
 */
#include "fuzz/fuzz.h"

#include "l2/reply.h"

#include <hiredis/hiredis.h>

#define SECRET "S3cr3tQz"
#define GENERATION UINT64_C(7)
#define ELEMENTS_MAX 4096 /* as l2/resp.c bounds them, but small: it is the parser's memory */

#if HIREDIS_MAJOR >= 1
typedef size_t array_len;
#else
typedef int array_len;
#endif

static void *(*create_array)(const redisReadTask *task, array_len elements);

static void *create_bounded(const redisReadTask *task, array_len elements)
{
    return elements > ELEMENTS_MAX ? NULL : create_array(task, elements);
}

static void check_words(const redisReply *reply)
{
    char words[64];
    static const size_t CAPS[] = {1, 2, sizeof words};
    for (size_t i = 0; i < sizeof CAPS / sizeof *CAPS; i++) {
        se__reply_words(reply, SECRET, words, CAPS[i]);
        must(memchr(words, '\0', CAPS[i]) != NULL);
        must(strstr(words, SECRET) == NULL);
        for (const char *c = words; *c; c++)
            must(*c >= 0x20 && *c < 0x7f);
    }
}

static void check_values(const redisReply *reply)
{
    const char *bytes;
    size_t len;
    int64_t n;
    bool yes;
    if (se__reply_bytes(reply, &bytes, &len))
        must(bytes != NULL && bytes[len] == '\0');
    if (se__reply_yes_or_no(reply, &yes))
        must(se__reply_integer(reply, &n) && n == yes);
    if (se__reply_time(reply, &n))
        must(n >= 0);
    must(!se__reply_is_status(reply, "PONG") || reply->type == REDIS_REPLY_STATUS);
    for (size_t i = 0; i < 4; i++)
        must((se__reply_element(reply, i) == NULL) || i < se__reply_elements(reply));
}

static void check_info(const redisReply *reply)
{
    char value[16];
    for (size_t cap = 1; cap <= sizeof value; cap += 5)
        if (se__reply_info(reply, "run_id", value, cap)) {
            must(memchr(value, '\0', cap) != NULL && value[0] != '\0');
            for (const char *c = value; *c; c++)
                must(*c > 0x20 && *c < 0x7f && *c != ':');
        }
}

static void check_scan(const redisReply *reply)
{
    char cursor[24];
    const redisReply *keys = NULL;
    if (!se__reply_scan(reply, cursor, &keys))
        return;
    size_t len = strnlen(cursor, sizeof cursor);
    must(len > 0 && len <= 20 && strspn(cursor, "0123456789") == len);
    must(keys != NULL && keys->type == REDIS_REPLY_ARRAY);
}

static void check_script(const redisReply *reply)
{
    struct tier_write write = {0};
    int64_t ms;
    bool acted;
    for (size_t n = 0; n < 4; n++)
        if (se__reply_script(reply, n, &ms, &acted)) {
            must(ms >= 0 && se__reply_elements(reply) == (acted ? n + 1 : 1));
            for (size_t i = 0; acted && i < n; i++)
                if (se__reply_guard(se__reply_element(reply, i + 1), &write))
                    must(write.state != TIER_STORED || write.newer == 0);
        }
}

static void check_record(const redisReply *reply)
{
    struct tier_read read = {.id = "id", .id_len = 2};
    struct value_ask ask = {
        .id = "id", .id_len = 2, .generation = GENERATION, .bytes_max = 120, .hashed = true};
    struct value value;
    bool nomem = false;
    enum reply_class class = se__reply_record(reply, GENERATION, &read, &nomem);
    must(!nomem && (read.item != NULL) == (read.found == TIER_HIT));
    must(read.item == NULL || (class == REPLY_FINE && se__item_intact(read.item)));
    must(read.seen_len <= RECORD_HEADER_SIZE);
    must(se__reply_value(reply, &ask, &value) == class);
    se_item_release(read.item);
}

static void try_reply(const redisReply *reply)
{
    enum reply_class class = se__reply_class(reply);
    must(class >= REPLY_FINE && class <= REPLY_GARBAGE);
    check_words(reply);
    check_values(reply);
    check_info(reply);
    check_scan(reply);
    check_script(reply);
    check_record(reply);
    for (size_t i = 0; i < se__reply_elements(reply); i++)
        try_reply(se__reply_element(reply, i));
}

static bool drain(redisReader *reader)
{
    for (;;) {
        void *reply = NULL;
        if (redisReaderGetReply(reader, &reply) != REDIS_OK)
            return false;
        if (!reply)
            return true;
        try_reply(reply);
        freeReplyObject(reply);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    redisReader *reader = redisReaderCreate();
    must(reader != NULL);
    redisReplyObjectFunctions functions = *reader->fn;
    create_array = functions.createArray;
    functions.createArray = create_bounded;
    reader->fn = &functions;
    size_t piece = (size_t)1 + take_byte(&in);
    while (in.left > 0) {
        size_t n = piece < in.left ? piece : in.left;
        if (redisReaderFeed(reader, (const char *)in.at, n) != REDIS_OK || !drain(reader))
            break;
        in.at += n;
        in.left -= n;
    }
    redisReaderFree(reader);
    return 0;
}
