/*
 * fuzz_redis - the whole of L2 (l2/redis.h) against a server that answers what it likes.
 *
 * Input: a byte that names the call, one with the size of the pieces in which answers arrive, then the
 * answers, each by a byte of its kind: numbers, arrays, records of the ids in question (true or spoilt, of
 * this generation or another), errors with the password in them, scripts' clocks, or plain bytes. The
 * network, the pool and the clock are this program's (meson.build wraps them).
 *
 * Whatever it answers: a call ends, and either it is fine or it says why, without the password. With a
 * fault no item is handed out. An item that is handed out has the id that was asked for and fits its
 * hash; listed ids are ids, begin with the prefix, ascend. Introductions, scripts, SCAN, leases, meta
 * names and surveys are read by the library's own code, and so are the answers to repeated calls.
 */
#include "fuzz/fakepool.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "l2/op.h"
#include "tier/sights.h"

#define SECRET "S3cr3tQz"
#define PREFIX "sync:"
#define GENERATION UINT64_C(7)
#define RUN_ID "0123456789abcdef0123456789abcdef01234567"
#define IDENTITY RUN_ID "/" RUN_ID
#define NOW_MS 1700000000000
#define N 3u

enum call { HELLO, READ, LIST, SURVEY, LEASE, VOID, WRITE, META, PROBE, CALLS };

static const char *const IDS[N] = {"a", "ab", "b:1"};
static struct tier tier;
static struct redis *redis;
static enum call call;
static struct buf answers;
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
    static const char *const ERRORS[] = {
        "NOSCRIPT no matching script", "WRONGTYPE of another kind", "LOADING the dataset",
        "ERR with args beginning with: '" SECRET "'", "OOM command not allowed",
        "READONLY you can't write", "ERR Protocol error: invalid bulk length", "MOVED 1 h:1"};
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
        se__buf_text(b, value & 1 ? "+OK\r\n" : "+PONG\r\n");
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

/* ---- what must hold ---- */

static bool check_reply(struct tier_reply reply)
{
    must(reply.fault >= TIER_FINE && reply.fault <= TIER_UNWELL);
    if (reply.fault == TIER_FINE)
        return true;
    must(se_errmsg()[0] != '\0' && !strstr(se_errmsg(), SECRET));
    for (const char *c = se_errmsg(); *c; c++)
        must((unsigned char)*c >= 0x20 && *c != 0x7f);
    return false;
}

static void begin_reads(struct tier_read reads[N])
{
    for (size_t i = 0; i < N; i++)
        reads[i] = (struct tier_read){.id = IDS[i], .id_len = strlen(IDS[i])};
}

static void end_reads(struct tier_read reads[N], bool fine)
{
    for (size_t i = 0; i < N; i++) {
        se_item *item = reads[i].item;
        must((item != NULL) == (reads[i].found == TIER_HIT) && (fine || !item));
        must(!item || (se__item_has_id(item, IDS[i], strlen(IDS[i])) && se__item_intact(item)));
        must(reads[i].seen_len <= RECORD_HEADER_SIZE);
        se_item_release(item);
    }
}

static bool read_all(struct tier_read reads[N])
{
    begin_reads(reads);
    return check_reply(tier.ops->read(tier.self, reads, N, SE__FOREVER));
}

static void try_read(void)
{
    struct tier_read reads[N];
    end_reads(reads, read_all(reads));
}

static void try_list(uint8_t how)
{
    static const char *const PREFIXES[] = {"", "a", "ab", "[\\*"};
    const char *prefix = PREFIXES[how % 4];
    struct tier_ids ids = {0};
    size_t len;
    if (!check_reply(tier.ops->list(tier.self, prefix, &ids, SE__FOREVER)))
        must(ids.n == 0 && !ids.ids);
    for (size_t i = 0; i < ids.n; i++) {
        must(strncmp(ids.ids[i], prefix, strlen(prefix)) == 0);
        must(se__id_check("id", ids.ids[i], 1, SE_ID_MAX, &len) == SE_OK);
        must(i == 0 || strcmp(ids.ids[i - 1], ids.ids[i]) < 0);
    }
    se__tier_ids_done(&ids);
}

static void check_sight(const struct tier_sight *s, bool contents)
{
    size_t len;
    must(se__id_check("id", s->id, 1, SE_ID_MAX, &len) == SE_OK && len == s->id_len);
    must(s->bucket == se__item_bucket(s->id, s->id_len));
    must(s->found == TIER_HIT || s->found == TIER_VOID || s->found == TIER_CORRUPT);
    must(s->found != TIER_HIT || s->kind == RECORD_ITEM || s->kind == RECORD_TOMBSTONE);
    must(contents || s->found != TIER_HIT || s->flaw.version == 0);
}

static void try_survey(uint8_t how)
{
    struct tier_survey survey = {.depth = how & 1 ? TIER_CONTENTS : TIER_HEADERS,
                                 .order = TIER_BY_ID,
                                 .after = how & 2 ? "a" : NULL,
                                 .until = how & 4 ? "b" : NULL,
                                 .items_max = 1 + (how >> 4),
                                 .bytes_max = how & 8 ? 1 : 1000};
    struct tier_cursor cursor = {0};
    struct tier_sights sights = {0};
    for (int page = 0; page < 8 && !cursor.done; page++) {
        if (!check_reply(tier.ops->survey(tier.self, &survey, &cursor, &sights, SE__FOREVER)))
            must(sights.n == 0);
        for (size_t i = 0; i < sights.n; i++) {
            check_sight(&sights.sights[i], how & 1);
            must(!survey.after || strcmp(sights.sights[i].id, survey.after) > 0);
            must(!survey.until || strcmp(sights.sights[i].id, survey.until) <= 0);
        }
    }
    se__tier_cursor_done(&cursor);
    se__sights_done(&sights);
}

static se_item *new_item(size_t i, bool deleted)
{
    struct item_spec spec = {.id = IDS[i],
                             .id_len = strlen(IDS[i]),
                             .content = "content",
                             .content_len = deleted ? 0 : 7,
                             .version = 5,
                             .content_type = SE_CONTENT_BINARY,
                             .deleted = deleted};
    se_item *item = se__item_new(&spec);
    must(item != NULL);
    return item;
}

static void try_lease(uint8_t how)
{
    struct tier_read reads[N];
    struct redis_lease leases[N];
    se_item *items[N];
    bool fine = read_all(reads);
    fine = check_reply(se__redis_lease(redis, reads, leases, N, SE__FOREVER)) && fine;
    for (size_t i = 0; i < N; i++) {
        must(!leases[i].taken || reads[i].found != TIER_HIT);
        items[i] = how >> i & 1 ? new_item(i, how & 8) : NULL;
    }
    check_reply(se__redis_fill(redis, items, leases, N, SE__FOREVER));
    for (size_t i = 0; i < N; i++) {
        se_item_release(items[i]);
        se_item_release(reads[i].item);
    }
}

static void try_write(uint8_t how)
{
    struct tier_write writes[N];
    for (size_t i = 0; i < N; i++) {
        bool deleted = how >> i & 1;
        writes[i] = (struct tier_write){.item = new_item(i, deleted),
                                        .kind = deleted ? RECORD_TOMBSTONE : RECORD_ITEM};
    }
    bool fine = check_reply(tier.ops->write(tier.self, 0, writes, N, SE__FOREVER));
    for (size_t i = 0; i < N; i++) {
        must(!fine || writes[i].state == TIER_STORED || writes[i].state == TIER_NEWER);
        must(writes[i].state == TIER_NEWER || writes[i].newer == 0);
        se_item_release(writes[i].item);
    }
}

static void visit_name(void *arg, const char *name, const char *value)
{
    size_t *bytes = arg;
    must(strncmp(name, "a", 1) == 0);
    *bytes += strlen(name) + strlen(value);
}

static void try_meta(uint8_t how)
{
    struct buf value = {0};
    size_t bytes = 0;
    bool found = false;
    if (how % 5 == 0) {
        bool fine =
            check_reply(tier.ops->meta_get(tier.self, "name", &value, &found, SE__FOREVER));
        must(fine || !found);
    } else if (how % 5 == 1) {
        check_reply(tier.ops->meta_put(tier.self, "name", "value", SE__FOREVER));
    } else if (how % 5 == 2) {
        check_reply(tier.ops->meta_add(tier.self, "name", "value", &value, SE__FOREVER));
    } else if (how % 5 == 3) {
        check_reply(tier.ops->meta_delete(tier.self, "name", SE__FOREVER));
    } else {
        check_reply(tier.ops->meta_list(tier.self, "a", visit_name, &bytes, SE__FOREVER));
    }
    must(value.len + bytes <= answers.len);
    se__buf_done(&value);
}

static void try_void(void)
{
    check_reply(se__redis_void(redis, IDS, N, SE__FOREVER));
}

static void try_probe(void)
{
    check_reply(tier.ops->probe(tier.self, SE__FOREVER));
    if (tier.ops->prepare(tier.self, SE__FOREVER) != SE_OK)
        must(se_errmsg()[0] != '\0' && !strstr(se_errmsg(), SECRET));
}

static void try_call(uint8_t how)
{
    switch (call) {
    case READ:
        try_read();
        break;
    case LIST:
        try_list(how);
        break;
    case SURVEY:
        try_survey(how);
        break;
    case LEASE:
        try_lease(how);
        break;
    case VOID:
        try_void();
        break;
    case WRITE:
        try_write(how);
        break;
    case META:
        try_meta(how);
        break;
    case HELLO:
    case PROBE:
    case CALLS:
        try_probe();
    }
}

/* ---- a case ---- */

static void hush(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    (void)level;
    must(message[0] != '\0' && !strstr(message, SECRET));
}

static void open_redis(void)
{
    struct url url = {.scheme = URL_REDIS, .host = (char[]){"h"}, .port = 1,
                      .password = (char[]){SECRET}};
    static const struct se__log QUIET = {.fn = hush, .name = "fuzz"};
    struct redis_options o = {.url = &url,
                              .prefix = PREFIX,
                              .timeout_ms = 1000,
                              .read_connections = 1,
                              .workers = 1,
                              .log = &QUIET};
    must(se__redis_open(&o, &tier, &redis) == SE_OK);
    se__redis_accept(redis, IDENTITY, GENERATION);
}

/* Where introductions are not what is tried, one that has ended well: parsing it takes longer than all
 * the rest. */
se_result __real_se__session_open(const struct url *url, uint64_t deadline_ms,
                                  struct session **session);
se_result __wrap_se__session_open(const struct url *url, uint64_t deadline_ms,
                                  struct session **session);
se_result __wrap_se__session_open(const struct url *url, uint64_t deadline_ms,
                                  struct session **session)
{
    struct session *s;
    if (call == HELLO)
        return __real_se__session_open(url, deadline_ms, session);
    s = se__alloc_zeroed(1, sizeof *s);
    must(s != NULL && se__resp_open(url, deadline_ms, &s->resp) == SE_OK);
    s->secret = url->password;
    strcpy(s->identity, IDENTITY);
    *session = s;
    return SE_OK;
}

/* A connection that is as it was after its introduction. */
static void connect_well(struct pool *pool)
{
    struct session *s = NULL;
    must(se__pool_take(pool, SE__FOREVER, (void **)&s) == SE_OK && stream_left == 0);
    s->clock = (struct server_clock){.offset_ms = NOW_MS - 1000000, .learnt_ms = 1000000};
    s->cluster = false;
    for (int i = 0; i < SCRIPT_COUNT; i++)
        strcpy(s->sha[i], RUN_ID);
    se__pool_give(pool, s, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    if (!redis)
        open_redis();
    call = (enum call)(take_byte(&in) % CALLS);
    uint8_t how = take_byte(&in), pieces = take_byte(&in);
    stream_left = 0;
    if (call == HELLO)
        se__pool_drop_idle(redis->readers);
    else
        connect_well(call == WRITE ? redis->writers : redis->readers);
    strcpy(redis->last, IDENTITY);
    se__buf_clear(&answers);
    while (in.left > 0)
        say(&answers, &in);
    must(!answers.failed);
    let_say(&answers, pieces & 0x80 ? 1u + (pieces & 0x7f) : SIZE_MAX);
    se__error_clear();
    try_call(how);
    return 0;
}
