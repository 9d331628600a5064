/*
 * seeds - writes the corpus from which fuzzing starts: well-formed inputs of every kind, and some that
 * are nearly so.
 *
 *   seeds FOLDER     writes FOLDER/<program>/<name>; what is there under other names stays
 *
 * The committed corpus is what this program writes, and what long runs have found beside it.
 */
#include "fuzz/seeds.h"
#include "fuzz/fuzz.h"
#include "fuzz/packed.h"

#include "base/hash.h"
#include "filter/snapshot.h"
#include "l2/reply.h"

#include <sys/stat.h>

#define GENERATION UINT64_C(7)

static const char *folder;

void write_seed(const char *program, const char *name, const struct buf *bytes)
{
    char path[512];
    must(!bytes->failed);
    snprintf(path, sizeof path, "%s/%s", folder, program);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", folder, program, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes->data, 1, bytes->len, file) != bytes->len || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

/* ---- records ---- */

struct shape {
    const char *name, *id, *content, *state;
    enum record_kind kind;
    uint64_t generation;
    int64_t expires_at_ms;
    bool deleted;
};

#define LONG_ID "012345678901234567890123456789012345678901234567" /* five of them and 15 */

static const struct shape SHAPES[] = {
    {.name = "item", .id = "user:1", .content = "content", .kind = RECORD_ITEM},
    {.name = "json", .id = "user:1", .content = "{\"a\":1}", .state = "hot", .kind = RECORD_ITEM},
    {.name = "empty", .id = "e", .content = "", .kind = RECORD_ITEM},
    {.name = "stateful",
     .id = "s",
     .content = "x",
     .state = "0123456789abcdef0123456789abcdef",
     .kind = RECORD_ITEM},
    {.name = "expiring", .id = "m", .content = "x", .kind = RECORD_ITEM, .expires_at_ms = 1234567},
    {.name = "utf8", .id = "\xc3\xa4*?[", .content = "\xff\xfe", .kind = RECORD_ITEM},
    {.name = "tombstone", .id = "t", .content = "", .kind = RECORD_TOMBSTONE, .deleted = true},
    {.name = "stand_in", .id = "t", .content = "x", .kind = RECORD_TOMBSTONE},
    {.name = "floor", .id = "f", .content = "x", .kind = RECORD_FLOOR},
    {.name = "longest",
     .id = LONG_ID LONG_ID LONG_ID LONG_ID LONG_ID "012345678901234",
     .content = "content",
     .state = "0123456789abcdef0123456789abcdef",
     .kind = RECORD_ITEM},
    {.name = "old_world", .id = "o", .content = "x", .kind = RECORD_ITEM, .generation = 1},
};

static void append_record(struct buf *b, const struct shape *s)
{
    struct item_spec spec = {.id = s->id,
                             .id_len = strlen(s->id),
                             .content = s->content,
                             .content_len = strlen(s->content),
                             .version = UINT64_C(0x0102030405060708),
                             .updated_at_ms = 1700000000000,
                             .expires_at_ms = s->expires_at_ms,
                             .state = s->state,
                             .deleted = s->deleted};
    se_item *item = se__item_new(&spec);
    must(item != NULL);
    size_t len = se__record_size(item, s->kind);
    char *room = se__buf_reserve(b, len);
    must(room != NULL);
    se__record_encode(item, s->kind, s->generation ? s->generation : GENERATION, (uint8_t *)room);
    se__buf_grow(b, len);
    se_item_release(item);
}

static void begin_record(struct buf *b, int flags, const char *id)
{
    se__buf_clear(b);
    put_byte(b, flags);
    put_byte(b, (int)strlen(id));
    se__buf_text(b, id);
}

static void write_records(void)
{
    static const uint8_t TOKEN[SE_HASH_SIZE] = {1, 2, 3};
    struct buf b = {0};
    char name[64];
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++) {
        begin_record(&b, 0, SHAPES[i].id);
        append_record(&b, &SHAPES[i]);
        write_seed("fuzz_record", SHAPES[i].name, &b);
        snprintf(name, sizeof name, "%s_cut", SHAPES[i].name);
        b.len--;
        write_seed("fuzz_record", name, &b);
        snprintf(name, sizeof name, "%s_fixed", SHAPES[i].name);
        b.data[0] = 15; /* cut, and made right again */
        write_seed("fuzz_record", name, &b);
    }
    begin_record(&b, 0, "lease");
    char *room = se__buf_reserve(&b, RECORD_HEADER_SIZE);
    must(room != NULL);
    se__record_encode_lease("lease", 5, GENERATION, TOKEN, (uint8_t *)room);
    se__buf_grow(&b, RECORD_HEADER_SIZE);
    write_seed("fuzz_record", "lease", &b);
    se__buf_done(&b);
}

/* ---- snapshots ---- */

static struct tier_node nodes[SNAPSHOT_BUCKETS];

static void write_snapshot(const char *name, unsigned ids, unsigned buckets, int flags)
{
    struct snapshot_head head = {.incarnation = "0123456789abcdef",
                                 .table = "se_items",
                                 .seed = 42,
                                 .position = 4711,
                                 .taken_at_ms = 1700000000000};
    struct filter *f = NULL;
    struct buf b = {0};
    char id[32];
    must(se__filter_open(head.seed, &f) == SE_OK);
    for (unsigned i = 0; i < ids; i++) {
        snprintf(id, sizeof id, "user:%u", i);
        se__filter_add(f, id, strlen(id));
    }
    memset(nodes, 0, sizeof nodes);
    for (unsigned i = 0; i < buckets; i++) {
        nodes[i * 523 % SNAPSHOT_BUCKETS].count = i + 1;
        se__hash128(i, "digest", 6, nodes[i * 523 % SNAPSHOT_BUCKETS].digest);
    }
    put_byte(&b, flags);
    must(se__snapshot_encode(&head, nodes, f, &b) == SE_OK);
    write_seed("fuzz_snapshot", name, &b);
    char other[64];
    snprintf(other, sizeof other, "%s_cut", name);
    b.len -= 5;
    write_seed("fuzz_snapshot", other, &b);
    se__buf_done(&b);
    se__filter_close(f);
}

/* As fuzz_snapshot builds a file: names of 4 and 2 bytes, two digests, two parts with bytes. */
static void write_built(void)
{
    static const char HOW[] = "\x1f\4\2\2\0\0\0\0\0\x10\7\x08\0\x10\7\x08nameto"
                              "partpartpartpart\0\0partpa"
                              "\0\1\0\0\0\0\0\0\0\1digestdigestdige"
                              "\0\2\0\0\0\0\0\0\0\1digestdigestdige";
    struct buf b = {0};
    se__buf_append(&b, HOW, sizeof HOW - 1);
    write_seed("fuzz_snapshot", "built", &b);
    b.data[7] = 1; /* a byte too many */
    write_seed("fuzz_snapshot", "built_long", &b);
    b.data[2] = 70;
    write_seed("fuzz_snapshot", "built_name", &b);
    se__buf_done(&b);
}

static void write_snapshots(void)
{
    write_built();
    write_snapshot("empty", 0, 0, 0);
    write_snapshot("one_id", 1, 1, 0);
    write_snapshot("one_id_fixed", 1, 1, 3);
    write_snapshot("one_id_more", 1, 2, 7);
    write_snapshot("digests", 0, 40, 11);
    write_snapshot("whole", 2, 2, 15);
}

/* ---- texts ---- */

struct text {
    const char *name, *text;
};

static const struct text URLS[] = {
    {"redis", "redis://host"},
    {"redis_full", "redis://user:pa%20ss@host:6380/3"},
    {"redis_v6", "redis://[::1]:6379/0"},
    {"unix", "unix:///run/redis.sock?db=2"},
    {"mysql", "mysql://u:p@127.0.0.1:3306/db?socket=/run/my%20sql.sock"},
    {"sqlite", "sqlite:/var/lib/x.db"},
    {"memory", "sqlite::memory:"},
    {"bad_port", "mysql://u@h:99999/db"},
    {"bad_escape", "redis://u:%zz@h"},
    {"unknown", "http://example.org/"},
};
static const struct text RESTS[] = {
    {"secret_host", "@host:6379/1"}, {"secret_slash", "/x@host"}, {"secret_db", "@h/db?socket=/s"},
    {"secret_colon", ":x@[::1]/d"},  {"secret_end", ""},          {"secret_at", "@@h/%41"},
};

static void write_urls(void)
{
    struct buf b = {0};
    for (size_t i = 0; i < sizeof URLS / sizeof *URLS; i++) {
        se__buf_clear(&b);
        put_byte(&b, 0);
        se__buf_text(&b, URLS[i].text);
        write_seed("fuzz_url", URLS[i].name, &b);
    }
    for (size_t i = 0; i < 2 * sizeof RESTS / sizeof *RESTS; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_%s", i % 2 ? "mysql" : "redis", RESTS[i / 2].name);
        se__buf_clear(&b);
        put_byte(&b, 1 + (int)(i % 2));
        se__buf_text(&b, RESTS[i / 2].text);
        write_seed("fuzz_url", name, &b);
    }
    se__buf_done(&b);
}

static const struct text REPLIES[] = {
    {"status", "+OK\r\n+PONG\r\n"},
    {"error", "-ERR unknown command 'AUTH', with args beginning with: 'S3cr3tQz'\r\n"},
    {"errors", "-NOSCRIPT x\r\n-READONLY x\r\n-WRONGTYPE x\r\n-OOM x\r\n-\r\n"},
    {"refused", "-ERR Protocol error: invalid bulk length\r\n"},
    {"integers", ":1\r\n:0\r\n:-1\r\n:9223372036854775807\r\n"},
    {"nil", "$-1\r\n*-1\r\n"},
    {"time", "*2\r\n$10\r\n1700000000\r\n$6\r\n123456\r\n"},
    {"info", "$39\r\nredis_version:7\r\nrun_id:abc-DEF\r\nx:1\r\n\r\n\r\n"},
    {"scan", "*2\r\n$2\r\n17\r\n*2\r\n$6\r\nsync:a\r\n$6\r\nsync:b\r\n"},
    {"script", "*4\r\n:1700000000000\r\n:1\r\n$8\r\n12345678\r\n:2\r\n"},
    {"late", "*1\r\n:1700000000000\r\n"},
    {"nested", "*1\r\n*1\r\n*1\r\n*1\r\n*0\r\n"},
    {"many", "*2147483647\r\n"},
    {"long", "$2147483647\r\nx"},
    {"http", "HTTP/1.1 400 Bad Request\r\n\r\n"},
};

static void write_replies(void)
{
    struct buf b = {0}, record = {0};
    for (size_t i = 0; i < sizeof REPLIES / sizeof *REPLIES; i++) {
        se__buf_clear(&b);
        put_byte(&b, (int)(i * 37 % 256));
        se__buf_text(&b, REPLIES[i].text);
        write_seed("fuzz_reply", REPLIES[i].name, &b);
    }
    for (int whole = 0; whole < 2; whole++) {
        static const struct shape ITEM = {.id = "id", .content = "content", .kind = RECORD_ITEM};
        se__buf_clear(&record);
        append_record(&record, &ITEM);
        record.len -= (size_t)!whole;
        se__buf_clear(&b);
        put_byte(&b, 255);
        se__buf_printf(&b, "$%zu\r\n", record.len);
        se__buf_append(&b, record.data, record.len);
        se__buf_text(&b, "\r\n");
        write_seed("fuzz_reply", whole ? "record" : "record_cut", &b);
    }
    se__buf_done(&record);
    se__buf_done(&b);
}

/* ---- compressed contents ---- */

static void seed_of(const char *name, int how, int encoding, const void *bytes, size_t len)
{
    struct buf b = {0};
    put_byte(&b, how);
    if ((how & 3) == 0)
        put_byte(&b, encoding);
    se__buf_append(&b, bytes, len);
    write_seed("fuzz_packing", name, &b);
    se__buf_done(&b);
}

static void write_frames(struct packing *p, int encoding, const char *name, const char *cut)
{
    char record[256], zeros[3000] = {0};
    struct packer *k = se__packer_take(p);
    struct packed packed;
    size_t len = packed_record(5, record);
    bool small = encoding == ENCODING_DICTIONARY;
    must(k && se__packer_reserve(k, sizeof zeros));
    must(se__pack(k, small ? record : zeros, small ? len : sizeof zeros, &packed));
    must(packed.encoding == encoding);
    seed_of(name, 0, encoding, packed.bytes, packed.len);
    seed_of(cut, 12, encoding, packed.bytes, packed.len - 1);
    se__packer_give(k);
}

static void write_packed(void)
{
    static const uint8_t BOMB[] = {0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0,    0,   1, 0, 2,    0,
                                   0x10, 'x',  2,    0,    0,    0x10, 'x', 3, 0, 0x10, 'x'};
    static const uint8_t SKIPPABLE[] = {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 'z', 'z', 'z', 'z'};
    struct buf bytes = {0}, value = {0};
    char record[256];
    packed_dictionary(&bytes, &value);
    struct packing *p = packed_packing(&bytes, 0);
    write_frames(p, ENCODING_ZSTD, "frame", "frame_cut");
    must(se__packing_use(p, DICTIONARY_FIRST) == SE_OK);
    write_frames(p, ENCODING_DICTIONARY, "frame_dictionary", "frame_dictionary_cut");
    seed_of("bomb", 0, ENCODING_ZSTD, BOMB, sizeof BOMB);
    seed_of("skippable", 0, ENCODING_ZSTD, SKIPPABLE, sizeof SKIPPABLE);
    seed_of("unknown", 0, 3, BOMB, sizeof BOMB);
    seed_of("row", 1, 0, value.data, value.len);
    seed_of("row_cut", 1, 0, value.data, value.len - 1);
    seed_of("row_short", 1, 0, value.data, 80);
    seed_of("dictionary", 2, 0, bytes.data, bytes.len);
    seed_of("dictionary_cut", 6, 0, bytes.data, bytes.len / 2);
    seed_of("content", 3, 0, record, packed_record(9, record));
    seed_of("content_dictionary", 7, 0, record, packed_record(9, record));
    se__packing_close(p);
    se__buf_done(&bytes);
    se__buf_done(&value);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: seeds FOLDER\n");
        return 2;
    }
    folder = argv[1];
    write_records();
    write_snapshots();
    write_urls();
    write_replies();
    write_packed();
    write_texts();
    write_files();
    return 0;
}
