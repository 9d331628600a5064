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
#include "fuzz/fakeserver.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "l2/op.h"
#include "tier/sights.h"

#define MANY 12u

enum call { HELLO, READ, LIST, SURVEY, LEASE, VOID, WRITE, META, PROBE, CALLS };

static struct tier tier;
static struct redis *redis;
static enum call call;
static struct buf answers;

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
        reads[i] =
            (struct tier_read){.id = IDS[i], .id_len = strlen(IDS[i]), .wants_lease = i % 2 == 0};
}

static void end_reads(struct tier_read reads[N], bool fine)
{
    for (size_t i = 0; i < N; i++) {
        se_item *item = reads[i].item;
        must((item != NULL) == (reads[i].found == TIER_HIT) && (fine || !item));
        must(!item || (se__item_has_id(item, IDS[i], strlen(IDS[i])) && se__item_intact(item)));
        must(reads[i].seen_len <= RECORD_HEADER_SIZE);
        must(!reads[i].leased || (fine && reads[i].wants_lease && reads[i].found == TIER_ABSENT));
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
    char other[] = "c00";
    other[1] = (char)('0' + i / 10);
    other[2] = (char)('0' + i % 10);
    const char *id = i < N ? IDS[i] : other;
    struct item_spec spec = {.id = id,
                             .id_len = strlen(id),
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
    end_reads(reads, read_all(reads)); /* behind answers that nobody waited for */
}

/* A few, or so many that they go in bulk. */
static void try_write(uint8_t how)
{
    struct tier_write writes[MANY];
    size_t n = how & 8 ? MANY : N;
    for (size_t i = 0; i < n; i++) {
        bool deleted = i < N && how >> i & 1;
        writes[i] = (struct tier_write){.item = new_item(i, deleted),
                                        .kind = deleted ? RECORD_TOMBSTONE : RECORD_ITEM};
    }
    bool fine = check_reply(tier.ops->write(tier.self, 0, writes, n, SE__FOREVER));
    for (size_t i = 0; i < n; i++) {
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
        bool fine = check_reply(tier.ops->meta_get(tier.self, "name", &value, &found, SE__FOREVER));
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
    struct url url = {
        .scheme = URL_REDIS, .host = (char[]){"h"}, .port = 1, .password = (char[]){SECRET}};
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
static void connect_well(struct pool *pool, bool leases)
{
    struct session *s = NULL;
    must(se__pool_take(pool, SE__FOREVER, (void **)&s) == SE_OK && stream_left == 0);
    s->clock = (struct server_clock){.offset_ms = NOW_MS - 1000000, .learnt_ms = 1000000};
    s->cluster = s->forgotten = s->doubtful = false;
    s->gets_or_leases = leases;
    atomic_store(&redis->absent, 256); /* so they do */
    atomic_store(&redis->plain_until_ms, 0);
    for (int i = 0; i < SCRIPT_COUNT; i++)
        strcpy(s->sha[i], RUN_ID);
    s->no_bulk = false;
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
        connect_well(call == WRITE ? redis->writers : redis->readers, how & 0x40);
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
