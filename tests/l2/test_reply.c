/*
 * Decoding of replies: right ones, and every wrong one; the server's clock.
 */
#include "l2/fixture.h"

#include "base/bytes.h"
#include "l2/reply.h"
#include "l2/session.h"

#include <hiredis/hiredis.h>

/* The reply that these bytes are; NULL: none. */
static redisReply *parse(const char *bytes, size_t len)
{
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    redisReaderFeed(reader, bytes, len);
    if (redisReaderGetReply(reader, &reply) != REDIS_OK)
        reply = NULL;
    redisReaderFree(reader);
    return reply;
}

static redisReply *parsed(const char *text)
{
    redisReply *reply = parse(text, strlen(text));
    cr_assert_neq(reply, NULL, "%s", text);
    return reply;
}

static enum reply_class class_of(const char *text)
{
    redisReply *reply = parsed(text);
    enum reply_class class = se__reply_class(reply);
    freeReplyObject(reply);
    return class;
}

Test(l2_reply, errors_have_their_classes)
{
    cr_assert_eq(class_of("+OK\r\n"), REPLY_FINE);
    cr_assert_eq(class_of("$-1\r\n"), REPLY_FINE);
    cr_assert_eq(class_of("-NOSCRIPT No matching script.\r\n"), REPLY_NOSCRIPT);
    cr_assert_eq(class_of("-READONLY You can't write\r\n"), REPLY_STRANGER);
    cr_assert_eq(class_of("-LOADING Redis is loading\r\n"), REPLY_STRANGER);
    cr_assert_eq(class_of("-NOAUTH Authentication required.\r\n"), REPLY_STRANGER);
    cr_assert_eq(class_of("-MOVED 1 a:1\r\n"), REPLY_STRANGER);
    cr_assert_eq(class_of("-OOM command not allowed\r\n"), REPLY_UNWELL);
    cr_assert_eq(class_of("-BUSY Redis is busy\r\n"), REPLY_UNWELL);
    cr_assert_eq(class_of("-MISCONF Redis\r\n"), REPLY_UNWELL);
    cr_assert_eq(class_of("-ERR Protocol error: invalid bulk length\r\n"), REPLY_REFUSED);
    cr_assert_eq(class_of("-ERR string exceeds maximum allowed size\r\n"), REPLY_REFUSED);
    cr_assert_eq(class_of("-\r\n"), REPLY_UNWELL);
    cr_assert_eq(se__reply_class(NULL), REPLY_GARBAGE);
}

Test(l2_reply, words_are_printable_cut_and_without_the_secret)
{
    char words[16];
    redisReply *reply = parsed("-ERR \x01\x02 some long words\r\n");
    se__reply_words(reply, "pass", words, sizeof words);
    cr_assert_str_eq(words, "ERR ?? some lon");
    freeReplyObject(reply);
    reply = parsed("-ERR the pass is pass\r\n");
    se__reply_words(reply, "pass", words, sizeof words);
    cr_assert_null(strstr(words, "the pass"));
    se__reply_words(reply, "", words, sizeof words);
    cr_assert_str_eq(words, "ERR the pass is");
    freeReplyObject(reply);
    se__reply_words(NULL, NULL, words, sizeof words);
    cr_assert_neq(words[0], '\0');
}

static bool time_of(const char *text, int64_t *ms)
{
    redisReply *reply = parsed(text);
    bool ok = se__reply_time(reply, ms);
    freeReplyObject(reply);
    return ok;
}

Test(l2_reply, time_is_two_numbers)
{
    int64_t ms = 0;
    cr_assert(time_of("*2\r\n$10\r\n1700000001\r\n$6\r\n123456\r\n", &ms));
    cr_assert_eq(ms, 1700000001123);
    static const char *const WRONG[] = {
        "*1\r\n$1\r\n1\r\n",
        "*2\r\n:1\r\n:2\r\n",
        "*2\r\n$0\r\n\r\n$1\r\n1\r\n",
        "*2\r\n$2\r\n-1\r\n$1\r\n1\r\n",
        "*2\r\n$19\r\n9999999999999999999\r\n$1\r\n1\r\n",
        "*2\r\n$18\r\n999999999999999999\r\n$1\r\n1\r\n",
        "*2\r\n$1\r\n1\r\n$7\r\n1000000\r\n",
        "*2\r\n$-1\r\n$-1\r\n",
        "*-1\r\n",
        "+OK\r\n",
    };
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++)
        cr_assert(!time_of(WRONG[i], &ms), "%zu", i);
}

static bool info_of(const char *body, const char *field, char value[8])
{
    redisReply reply = {.type = REDIS_REPLY_STRING, .len = strlen(body)};
    reply.str = (char *)(uintptr_t)body;
    return se__reply_info(&reply, field, value, 8);
}

Test(l2_reply, info_lines_are_found_whole)
{
    char value[8];
    cr_assert(info_of("# Server\r\nxrun_id:no\r\nrun_id:abc12\r\n", "run_id", value));
    cr_assert_str_eq(value, "abc12");
    cr_assert(info_of("run_id:abc", "run_id", value));
    cr_assert_str_eq(value, "abc");
    cr_assert(!info_of("run_id:\r\nabc", "run_id", value));
    cr_assert(!info_of("run_id:12345678\r\n", "run_id", value)); /* does not fit */
    cr_assert(!info_of("run_idx:1\r\n", "run_id", value));
    cr_assert(!info_of("run_id", "run_id", value));
    cr_assert(!info_of("", "run_id", value));
}

static bool script_of(const char *text, size_t n, int64_t *ms, bool *acted)
{
    redisReply *reply = parsed(text);
    bool ok = se__reply_script(reply, n, ms, acted);
    freeReplyObject(reply);
    return ok;
}

Test(l2_reply, a_script_answers_clock_and_results_or_the_clock_alone)
{
    int64_t ms;
    bool acted;
    cr_assert(script_of("*3\r\n:1700000000000\r\n:1\r\n:0\r\n", 2, &ms, &acted));
    cr_assert(acted);
    cr_assert_eq(ms, 1700000000000);
    cr_assert(script_of("*1\r\n:5\r\n", 2, &ms, &acted));
    cr_assert(!acted);
    static const char *const WRONG[] = {"*2\r\n:5\r\n:1\r\n",
                                        "*4\r\n:5\r\n:1\r\n:1\r\n:1\r\n",
                                        "*0\r\n",
                                        "*-1\r\n",
                                        ":5\r\n",
                                        "*3\r\n$1\r\n5\r\n:1\r\n:1\r\n",
                                        "*3\r\n:-5\r\n:1\r\n:1\r\n",
                                        "*3\r\n:9223372036854775807\r\n:1\r\n:1\r\n"};
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++)
        cr_assert(!script_of(WRONG[i], 2, &ms, &acted), "%zu", i);
}

Test(l2_reply, a_page_of_scan_is_a_cursor_and_keys)
{
    char cursor[24];
    const redisReply *keys;
    redisReply *reply = parsed("*2\r\n$20\r\n18446744073709551615\r\n*1\r\n$1\r\na\r\n");
    cr_assert(se__reply_scan(reply, cursor, &keys));
    cr_assert_str_eq(cursor, "18446744073709551615");
    cr_assert_eq(se__reply_elements(keys), 1u);
    freeReplyObject(reply);
    static const char *const WRONG[] = {"*2\r\n$1\r\nx\r\n*0\r\n",
                                        "*2\r\n$0\r\n\r\n*0\r\n",
                                        "*2\r\n$21\r\n184467440737095516150\r\n*0\r\n",
                                        "*2\r\n$1\r\n0\r\n$1\r\n0\r\n",
                                        "*2\r\n*0\r\n*0\r\n",
                                        "*1\r\n$1\r\n0\r\n",
                                        "+OK\r\n"};
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        reply = parsed(WRONG[i]);
        cr_assert(!se__reply_scan(reply, cursor, &keys), "%zu", i);
        freeReplyObject(reply);
    }
}

Test(l2_reply, a_guard_answers_one_or_a_version)
{
    struct tier_write write = {0};
    redisReply *reply = parsed(":1\r\n");
    cr_assert(se__reply_guard(reply, &write));
    cr_assert_eq(write.state, TIER_STORED);
    freeReplyObject(reply);
    reply = parse("$8\r\n\0\0\0\0\0\0\1\2\r\n", 14);
    cr_assert(se__reply_guard(reply, &write));
    cr_assert_eq(write.state, TIER_NEWER);
    cr_assert_eq(write.newer, 0x102u);
    freeReplyObject(reply);
    reply = parsed(":2\r\n");
    cr_assert(se__reply_guard(reply, &write));
    cr_assert(write.state == TIER_NOT_TRIED && write.newer == 0);
    freeReplyObject(reply);
    static const char *const WRONG[] = {":3\r\n",  ":0\r\n", "$7\r\n1234567\r\n",
                                        "$-1\r\n", "*0\r\n", "+OK\r\n"};
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        reply = parsed(WRONG[i]);
        cr_assert(!se__reply_guard(reply, &write), "%zu", i);
        freeReplyObject(reply);
    }
    cr_assert(!se__reply_guard(NULL, &write));
}

/* Every single bit of a record: what is read is the item as it was, or no hit. */
Test(l2_reply, no_flipped_bit_of_a_record_gives_another_item)
{
    se_item *item = l2_item("id", "content", 5);
    uint8_t bytes[256];
    size_t len = se__record_size(item, RECORD_ITEM);
    cr_assert(len <= sizeof bytes);
    se__record_encode(item, RECORD_ITEM, GENERATION, bytes);
    for (size_t bit = 0; bit < len * 8; bit++) {
        struct tier_read read = {.id = "id", .id_len = 2};
        bool nomem = false;
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        redisReply reply = {.type = REDIS_REPLY_STRING, .len = len, .str = (char *)bytes};
        cr_assert_eq(se__reply_record(&reply, GENERATION, &read, &nomem), REPLY_FINE);
        cr_assert_eq(read.found, TIER_CORRUPT, "bit %zu", bit);
        cr_assert_eq(read.seen_len, RECORD_HEADER_SIZE);
        cr_assert_eq(memcmp(read.seen, bytes, RECORD_HEADER_SIZE), 0);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    se_item_release(item);
}

Test(l2_reply, a_record_is_only_ever_a_string)
{
    static const char *const WRONG[] = {":1\r\n", "*0\r\n", "+OK\r\n", "*1\r\n$1\r\na\r\n"};
    struct tier_read read = {.id = "id", .id_len = 2};
    bool nomem = false;
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        redisReply *reply = parsed(WRONG[i]);
        cr_assert_eq(se__reply_record(reply, 0, &read, &nomem), REPLY_GARBAGE, "%zu", i);
        freeReplyObject(reply);
    }
    cr_assert_eq(se__reply_record(NULL, 0, &read, &nomem), REPLY_GARBAGE);
}

/* ---- the server's clock ---- */

Test(l2_reply, a_deadline_is_told_in_the_servers_time)
{
    struct server_clock clock = {0};
    se__clock_learn(&clock, 1000000, 500, false); /* ahead of ours by 999,500 */
    cr_assert_eq(se__clock_deadline(&clock, 750, 500), 1000248u);
    cr_assert_eq(se__clock_deadline(&clock, 500, 500), 0u);
    cr_assert_eq(se__clock_deadline(&clock, 400, 500), 0u);
    cr_assert_eq(se__clock_deadline(&clock, SE__FOREVER, 500), 999998u + SCRIPT_AHEAD_MS_MAX);
}

Test(l2_reply, the_best_sample_of_a_clock_counts_for_a_while)
{
    struct server_clock clock = {0};
    se__clock_learn(&clock, 1000000, 500, false);
    se__clock_learn(&clock, 1000010, 530, false); /* a slow reply: 20 ms on its way */
    cr_assert_eq(se__clock_deadline(&clock, 631, 531), 1000129u);
    se__clock_learn(&clock, 1000040, 535, false); /* a quicker one than the first */
    cr_assert_eq(se__clock_deadline(&clock, 635, 535), 1000138u);
    se__clock_learn(&clock, 1040000, 40600,
                    false); /* clocks drift: after a while any sample is better */
    cr_assert_eq(se__clock_deadline(&clock, 40700, 40600), 1040098u);
    se__clock_learn(&clock, 5000, 40700, true); /* it jumped back */
    cr_assert_eq(se__clock_deadline(&clock, 40800, 40700), 5098u);
}
