/*
 * fakeserver - a Redis server, its network and its clock for fuzz_redis: it answers what the input says.
 *
 * Threads: one.
 */
#ifndef SE_TESTS_FUZZ_FAKESERVER_H
#define SE_TESTS_FUZZ_FAKESERVER_H

#include "fuzz/fuzz.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "item/record.h"
#include "l2/scripts.h"

#define SECRET "S3cr3tQz"
#define PREFIX "sync:"
#define GENERATION UINT64_C(7)
#define RUN_ID "0123456789abcdef0123456789abcdef01234567"
#define IDENTITY RUN_ID "/" RUN_ID
#define NOW_MS 1700000000000
#define N 3u

static const char *const IDS[N] = {"a", "ab", "b:1"};
static const char *stream;
static size_t stream_left, piece;

/* ---- the world ---- */

uint64_t __wrap_se__mono_ms(void);
uint64_t __wrap_se__mono_ms(void)
{
    return 1000000;
}

se_result __wrap_se__net_connect(const char *host, uint16_t port, const char *path,
                                 uint64_t deadline_ms, int *fd);
se_result __wrap_se__net_connect(const char *host, uint16_t port, const char *path,
                                 uint64_t deadline_ms, int *fd)
{
    (void)host;
    (void)port;
    (void)path;
    (void)deadline_ms;
    *fd = 1000000;
    return SE_OK;
}

/* What is asked is well-formed: every command says how many arguments it has. */
se_result __wrap_se__net_write(int fd, const void *bytes, size_t len, uint64_t deadline_ms);
se_result __wrap_se__net_write(int fd, const void *bytes, size_t len, uint64_t deadline_ms)
{
    (void)fd;
    (void)deadline_ms;
    must(len > 4 && memcmp(bytes, "*", 1) == 0);
    must(memcmp((const char *)bytes + len - 2, "\r\n", 2) == 0);
    return SE_OK;
}

se_result __wrap_se__net_read(int fd, void *to, size_t cap, uint64_t deadline_ms, size_t *len);
se_result __wrap_se__net_read(int fd, void *to, size_t cap, uint64_t deadline_ms, size_t *len)
{
    (void)fd;
    (void)deadline_ms;
    size_t n = stream_left < cap ? stream_left : cap;
    n = n < piece ? n : piece;
    if (n == 0)
        return se__error(SE_ERR_BACKEND, "connection closed by the server");
    memcpy(to, stream, n);
    stream += n;
    stream_left -= n;
    *len = n;
    return SE_OK;
}

void __wrap_se__net_close(int fd);
void __wrap_se__net_close(int fd)
{
    must(fd == -1 || fd == 1000000);
}

bool __wrap_se__net_idle_broken(int fd);
bool __wrap_se__net_idle_broken(int fd)
{
    (void)fd;
    return stream_left > 0;
}

/* A connection holds 64 KiB for what is read: as memory of its own it would cost more than a case. What
 * is not that buffer stands at its beginning. */
#define LARGE (64u << 10)
static uint64_t larges[2][(LARGE + 1024) / 8];
static bool large_taken[2];

void *__real_se__alloc_zeroed(size_t count, size_t bytes);
void *__wrap_se__alloc_zeroed(size_t count, size_t bytes);
void *__wrap_se__alloc_zeroed(size_t count, size_t bytes)
{
    for (int i = 0; i < 2 && count == 1 && bytes >= LARGE && bytes <= sizeof larges[i]; i++)
        if (!large_taken[i]) {
            large_taken[i] = true;
            return memset(larges[i], 0, 1024);
        }
    return __real_se__alloc_zeroed(count, bytes);
}

void __real_se__free(void *p);
void __wrap_se__free(void *p);
void __wrap_se__free(void *p)
{
    for (int i = 0; i < 2; i++)
        if (p == larges[i]) {
            large_taken[i] = false;
            return;
        }
    __real_se__free(p);
}

static void let_say(const struct buf *what, size_t pieces)
{
    stream = what->data;
    stream_left = what->len;
    piece = pieces;
}

/* ---- answers ---- */

static void bulk(struct buf *b, const void *bytes, size_t len)
{
    se__buf_printf(b, "$%zu\r\n", len);
    se__buf_append(b, bytes, len);
    se__buf_text(b, "\r\n");
}

static void make_hello(struct buf *b)
{
    static const char SERVER[] = "# Server\r\nredis_mode:standalone\r\nrun_id:" RUN_ID "\r\n";
    static const char REPLICATION[] = "role:master\r\nmaster_replid:" RUN_ID "\r\n";
    se__buf_text(b, "+OK\r\n+OK\r\n"); /* AUTH, CLIENT SETNAME */
    bulk(b, SERVER, sizeof SERVER - 1);
    bulk(b, REPLICATION, sizeof REPLICATION - 1);
    for (int i = 0; i < SCRIPT_COUNT; i++)
        bulk(b, RUN_ID, 40);
    se__buf_text(b, "*2\r\n$10\r\n1700000000\r\n$6\r\n123456\r\n");
}

static void say_record(struct buf *b, struct input *in)
{
    uint8_t which = take_byte(in), how = take_byte(in);
    static const enum record_kind KINDS[] = {RECORD_ITEM, RECORD_TOMBSTONE, RECORD_FLOOR};
    static const uint8_t TOKEN[SE_HASH_SIZE] = {1};
    const char *id = IDS[which % N];
    uint8_t bytes[400];
    struct item_spec spec = {.id = id,
                             .id_len = strlen(id),
                             .content = "0123456789abcdef",
                             .content_len = how & 15,
                             .version = (uint64_t)(which >> 2) << (how >> 5),
                             .expires_at_ms = how & 16 ? 5 : 0,
                             .content_type = SE_CONTENT_BINARY};
    se_item *item = se__item_new(&spec);
    enum record_kind kind = which & 0x80 ? KINDS[how % 3] : RECORD_ITEM;
    size_t len = se__record_size(item, kind);
    must(len <= sizeof bytes);
    se__record_encode(item, kind, how & 64 ? 8 : GENERATION, bytes);
    if (which & 0x40 && how & 1) {
        se__record_encode_lease(id, strlen(id), GENERATION, TOKEN, bytes);
        len = RECORD_HEADER_SIZE;
    }
    if (which & 0x20)
        bytes[take_byte(in) % len] ^= take_byte(in);
    bulk(b, bytes, which & 0x10 ? take_byte(in) % (len + 1) : len);
    se_item_release(item);
}

static void say_error(struct buf *b, uint8_t which)
{
    static const char *const ERRORS[] = {"NOSCRIPT no matching script",
                                         "WRONGTYPE of another kind",
                                         "LOADING the dataset",
                                         "ERR with args beginning with: '" SECRET "'",
                                         "OOM command not allowed",
                                         "READONLY you can't write",
                                         "ERR Protocol error: invalid bulk length",
                                         "MOVED 1 h:1"};
    se__buf_printf(b, "-%s\r\n", ERRORS[which % (sizeof ERRORS / sizeof *ERRORS)]);
}

static void say_bytes(struct buf *b, struct input *in, size_t len, bool framed)
{
    len = len < in->left ? len : in->left;
    if (framed)
        bulk(b, in->at, len);
    else
        se__buf_append(b, in->at, len);
    in->at += len;
    in->left -= len;
}

static void say_key(struct buf *b, struct input *in)
{
    char key[300] = PREFIX;
    uint8_t len = take_byte(in) % 8;
    size_t at = strlen(PREFIX);
    if (len == 7) {
        bulk(b, key, at);
        return;
    }
    for (uint8_t i = 0; i <= len; i++)
        key[at++] = (char)take_byte(in);
    bulk(b, key, at);
}

/* A transaction of l2/bulk.h: what the script said, 3: nothing, and what MSETNX did. */
static void say_transaction(struct buf *b, unsigned outcome, unsigned stored)
{
    se__buf_text(b, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n");
    se__buf_printf(b, "*%d\r\n:%llu\r\n", outcome < 3 ? 2 : 1, (unsigned long long)NOW_MS);
    if (outcome < 3)
        se__buf_printf(b, ":%u\r\n", outcome);
    se__buf_printf(b, ":%u\r\n", stored);
}

static void say(struct buf *b, struct input *in)
{
    uint8_t kind = take_byte(in), value = kind >> 4;
    switch (kind & 15) {
    case 0:
        say_bytes(b, in, value * 4u, false);
        break;
    case 1:
        se__buf_printf(b, ":%d\r\n", (int)value - 1);
        break;
    case 2:
        se__buf_text(b, value & 1 ? "$-1\r\n" : "*-1\r\n");
        break;
    case 3:
        se__buf_printf(b, "*%u\r\n", value);
        break;
    case 4:
        say_bytes(b, in, value, true);
        break;
    case 5:
    case 6:
        say_record(b, in);
        break;
    case 7:
        if (value & 8)
            say_transaction(b, value & 3, value >> 2 & 1);
        else
            se__buf_text(b, value & 4 ? "+QUEUED\r\n" : value & 1 ? "+OK\r\n" : "+PONG\r\n");
        break;
    case 8:
        say_error(b, value);
        break;
    case 9:
    case 10:
        say_key(b, in);
        break;
    case 11: /* a script that acted, on so many keys */
        se__buf_printf(b, "*%u\r\n:%llu\r\n", 1 + value % 4, NOW_MS + value % 3 * 1000000ull);
        break;
    case 12:
        bulk(b, "\0\0\0\0\0\0\0\x09", 8);
        break;
    case 13: /* a page of SCAN with so many keys */
        se__buf_printf(b, "*2\r\n$1\r\n%u\r\n*%u\r\n", value & 1, value >> 1);
        break;
    case 14:
        bulk(b, IDS[value % N], strlen(IDS[value % N]));
        break;
    default:
        make_hello(b);
    }
}

#endif
