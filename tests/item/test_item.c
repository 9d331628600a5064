/* The immutable item: what it says, what it costs, who is newer. */
#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/os.h"
#include "item/inside.h"
#include "item/item.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

static struct item_spec spec_of(const char *id, const char *content)
{
    return (struct item_spec){.id = id,
                              .id_len = strlen(id),
                              .content = content,
                              .content_len = strlen(content),
                              .version = 7};
}

static se_item *plain(const char *id, const char *content)
{
    struct item_spec spec = spec_of(id, content);
    se_item *item = se__item_new(&spec);
    cr_assert_not_null(item);
    return item;
}

Test(item, says_what_it_was_given)
{
    struct item_spec spec = spec_of("user:1", "a\0b");
    spec.content_len = 3;
    spec.version = 123456789;
    spec.updated_at_ms = 1700000000000;
    spec.expires_at_ms = 1800000000000;
    spec.cache_ttl_ms = UINT64_MAX;
    spec.state = "hot";
    spec.route = SE_ROUTE_L3;
    spec.content_type = SE_CONTENT_BINARY;
    se_item *item = se__item_new(&spec);
    cr_assert_str_eq(se_item_id(item), "user:1");
    cr_assert_eq(se__item_id_len(item), 6u);
    cr_assert_eq(se_item_content_len(item), 3u);
    cr_assert_eq(memcmp(se_item_content(item), "a\0b", 3), 0);
    cr_assert_eq(se_item_version(item), 123456789u);
    cr_assert_eq(se_item_updated_at_ms(item), 1700000000000);
    cr_assert_eq(se__item_expires_at_ms(item), 1800000000000);
    cr_assert_eq(se__item_cache_ttl_ms(item), UINT64_MAX);
    cr_assert_str_eq(se_item_state(item), "hot");
    cr_assert_not(se__item_is_default_state(item));
    cr_assert_eq(se__item_route(item), SE_ROUTE_L3);
    cr_assert_eq(se_item_content_type(item), SE_CONTENT_BINARY);
    cr_assert_not(se__item_deleted(item));
    se_item_release(item);
}

Test(item, defaults)
{
    se_item *item = plain("a", "");
    cr_assert_str_eq(se_item_state(item), "default");
    cr_assert(se__item_is_default_state(item));
    cr_assert_eq(se__item_route(item), ITEM_ROUTE_ALL);
    cr_assert_eq(se__item_expires_at_ms(item), 0);
    cr_assert_eq(se__item_cache_ttl_ms(item), 0u);
    cr_assert_eq(se_item_content_len(item), 0u);
    cr_assert_not_null(se_item_content(item));
    cr_assert_not(se__item_expired(item, INT64_MAX));
    se_item_release(item);
    se_item_release(NULL);
}

Test(item, any_mix_of_optional_parts_comes_back)
{
    const char *states[] = {NULL, "", "default", "s", "01234567890123456789012345678901"};
    static char id[SE_ID_MAX + 1], content[70000];
    memset(id, 'i', SE_ID_MAX);
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (char)(i * 7);
    const size_t ids[] = {1, 2, 3, 8, 254, SE_ID_MAX}, contents[] = {0, 1, 17, sizeof content};
    for (size_t n = 0; n < 6 * 4 * 5 * 4; n++) {
        const char *state = states[n / 24 % 5];
        struct item_spec spec = {
            .id = id, .id_len = ids[n % 6], .content = content, .content_len = contents[n / 6 % 4]};
        spec.state = state;
        spec.expires_at_ms = n / 120 & 1 ? -5 : 0;
        spec.cache_ttl_ms = n / 120 & 2 ? 9 : 0;
        se_item *item = se__item_new(&spec);
        const char *want = !state || !*state ? "default" : state;
        cr_assert_str_eq(se_item_state(item), want);
        cr_assert(strlen(se_item_id(item)) == spec.id_len &&
                  memcmp(se_item_id(item), id, spec.id_len) == 0);
        cr_assert_eq(memcmp(se_item_content(item), content, spec.content_len), 0);
        cr_assert_eq(se__item_expires_at_ms(item), spec.expires_at_ms);
        cr_assert_eq(se__item_cache_ttl_ms(item), spec.cache_ttl_ms);
        cr_assert(se__item_intact(item));
        size_t state_len = se__item_is_default_state(item) ? 0 : strlen(want);
        size_t most = se__item_size_for(spec.id_len, state_len, spec.content_len);
        cr_assert(se__item_size(item) <= most && most <= se__item_size(item) + 16, "%zu %zu",
                  se__item_size(item), most);
        se_item_release(item);
    }
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define REAL_MALLOC false
#else
#define REAL_MALLOC true
#endif

Test(item, size_is_what_malloc_sets_aside)
{
    /* A plain item costs its header of 44, the id and its NUL, and
     * malloc's word, in steps of 16. */
    se_item *small = plain("user:1", "");
    cr_assert_eq(se__item_size(small), 64u);
    se_item_release(small);
    static char content[400000];
    for (size_t len = 0; REAL_MALLOC && len < sizeof content; len += len < 1000 ? 1 : 9973) {
        struct item_spec spec = {.id = "abc", .id_len = 3, .content = content, .content_len = len};
        se_item *item = se__item_new(&spec);
        size_t real = se__alloc_size(item), said = se__item_size(item);
        /* A chunk may keep a rest too small to be one; above malloc's own
         * threshold pages may go either way. */
        size_t slack = len < 128 * 1024 ? 16 : 4096 + 16;
        cr_assert(real <= said + slack && said <= real + slack, "%zu: %zu, said %zu", len, real,
                  said);
        se_item_release(item);
    }
}

Test(item, default_is_no_state)
{
    struct item_spec spec = spec_of("a", "b");
    spec.state = "default";
    se_item *said = se__item_new(&spec), *unsaid = plain("a", "b");
    cr_assert(se__item_is_default_state(said));
    cr_assert_eq(se__item_compare(said, unsaid), 0);
    se_item_release(said);
    se_item_release(unsaid);
}

Test(item, a_tombstone_has_nothing_else)
{
    struct item_spec spec = spec_of("a", "content");
    spec.deleted = true;
    spec.state = "hot";
    spec.expires_at_ms = 1;
    spec.cache_ttl_ms = 1;
    spec.content_hash = (const uint8_t *)"0123456789abcdef";
    spec.content_type = SE_CONTENT_JSON;
    spec.route = SE_ROUTE_L2;
    se_item *item = se__item_new(&spec);
    uint8_t hash[SE_HASH_SIZE], empty[SE_HASH_SIZE];
    se_item_hash(item, hash);
    se__hash128(0, NULL, 0, empty);
    cr_assert(se__item_deleted(item));
    cr_assert_eq(se_item_content_len(item), 0u);
    cr_assert_eq(memcmp(hash, empty, SE_HASH_SIZE), 0);
    cr_assert(se__item_is_default_state(item));
    cr_assert_eq(se_item_content_type(item), SE_CONTENT_BINARY);
    cr_assert_not(se__item_expired(item, INT64_MAX));
    cr_assert_eq(se__item_route(item), SE_ROUTE_L2);
    cr_assert(se__item_intact(item));
    se_item_release(item);
}

Test(item, expires_at_its_time)
{
    struct item_spec spec = spec_of("a", "b");
    spec.expires_at_ms = 1000;
    se_item *item = se__item_new(&spec);
    cr_assert_not(se__item_expired(item, 999));
    cr_assert(se__item_expired(item, 1000));
    cr_assert(se__item_expired(item, 1001));
    se_item_release(item);
}

Test(item, content_type_is_found_when_asked)
{
    struct {
        const char *content;
        se_content_type said, want;
    } cases[] = {
        {"{\"a\":1}", SE_CONTENT_AUTO, SE_CONTENT_JSON},
        {"not json", SE_CONTENT_AUTO, SE_CONTENT_BINARY},
        {"", SE_CONTENT_AUTO, SE_CONTENT_BINARY},
        {"{\"a\":1}", SE_CONTENT_BINARY, SE_CONTENT_BINARY},
        {"not json", SE_CONTENT_JSON, SE_CONTENT_JSON}, /* the caller's word is taken */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct item_spec spec = spec_of("a", cases[i].content);
        spec.content_type = cases[i].said;
        se_item *item = se__item_new(&spec);
        cr_assert_eq(se_item_content_type(item), cases[i].want, "%zu", i);
        cr_assert_eq(se_item_content_type(item), cases[i].want, "%zu", i);
        se_item_release(item);
    }
}

Test(item, content_type_is_cached)
{
    if (!se__mem_fail_after(-1))
        cr_skip_test("compiled out of release builds");
    se_item *item = plain("a", "[1]");
    cr_assert_eq(se_item_content_type(item), SE_CONTENT_JSON);
    se__mem_fail_after(0); /* the parser could not run again */
    se_content_type again = se_item_content_type(item);
    se__mem_fail_after(-1);
    cr_assert_eq(again, SE_CONTENT_JSON);
    se_item_release(item);
}

Test(item, hash_is_of_the_content_and_tells_damage)
{
    se_item *item = plain("a", "content");
    uint8_t hash[SE_HASH_SIZE], want[SE_HASH_SIZE];
    se_item_hash(item, hash);
    se__hash128(0, "content", 7, want);
    cr_assert_eq(memcmp(hash, want, SE_HASH_SIZE), 0);
    struct item_spec spec = spec_of("a", "contemt");
    spec.content_hash = hash; /* as stored beside bytes that have changed since */
    se_item *damaged = se__item_new(&spec);
    cr_assert(se__item_intact(item));
    cr_assert_not(se__item_intact(damaged));
    se_item_release(item);
    se_item_release(damaged);
}

Test(item, record_hash_depends_on_every_field_it_names)
{
    struct item_spec base = spec_of("a", "content"), s[11];
    base.content_type = SE_CONTENT_BINARY;
    for (int i = 0; i < 11; i++)
        s[i] = base;
    s[1].deleted = true;
    s[2].content_type = SE_CONTENT_JSON;
    s[3].state = "x";
    s[4].state = "xx";
    s[5].route = SE_ROUTE_L2;
    s[6].route = SE_ROUTE_L3;
    s[7].expires_at_ms = 1;
    s[8].cache_ttl_ms = 1;
    s[9].content = "Content";
    s[10].content_len = 6;
    uint8_t hash[11][SE_HASH_SIZE];
    for (int i = 0; i < 11; i++) {
        se_item *item = se__item_new(&s[i]);
        se__item_record_hash(item, hash[i]);
        for (int k = 0; k < i; k++)
            cr_assert_neq(memcmp(hash[i], hash[k], SE_HASH_SIZE), 0, "%d %d", i, k);
        se_item_release(item);
    }
}

Test(item, record_hash_is_the_documented_one_and_leaves_out_id_and_version)
{
    struct item_spec spec = spec_of("a", "[1]");
    spec.state = "hot";
    spec.expires_at_ms = 0x0102030405060708;
    spec.cache_ttl_ms = 9;
    se_item *item = se__item_new(&spec);
    uint8_t fields[200], hash[SE_HASH_SIZE], want[SE_HASH_SIZE];
    static const char head[] = "\0\0\0\1\0"
                               "\0\0\0\1\2"
                               "\0\0\0\3hot"
                               "\0\0\0\1\3"
                               "\0\0\0\10\1\2\3\4\5\6\7\10"
                               "\0\0\0\10\0\0\0\0\0\0\0\11"
                               "\0\0\0\20";
    memcpy(fields, head, sizeof head - 1);
    se__hash128(0, "[1]", 3, fields + sizeof head - 1);
    se__hash128(0, fields, sizeof head - 1 + SE_HASH_SIZE, want);
    se__item_record_hash(item, hash);
    cr_assert_eq(memcmp(hash, want, SE_HASH_SIZE), 0);
    spec.id = "b";
    spec.version = 99;
    spec.updated_at_ms = 5;
    se_item *other = se__item_new(&spec);
    se__item_record_hash(other, hash);
    cr_assert_eq(memcmp(hash, want, SE_HASH_SIZE), 0);
    se_item_release(item);
    se_item_release(other);
}

Test(item, order_is_version_then_record_hash)
{
    se_item *a = plain("k", "one"), *b = plain("k", "two"), *same = plain("k", "one");
    cr_assert_eq(se__item_compare(a, a), 0);
    cr_assert_eq(se__item_compare(a, same), 0);
    uint8_t ha[SE_HASH_SIZE], hb[SE_HASH_SIZE];
    se__item_record_hash(a, ha);
    se__item_record_hash(b, hb);
    int bytes = memcmp(ha, hb, SE_HASH_SIZE);
    cr_assert_eq(se__item_compare(a, b) < 0, bytes < 0);
    cr_assert_eq(se__item_compare(b, a) < 0, bytes > 0);
    se_item *smaller = bytes < 0 ? a : b, *greater = bytes < 0 ? b : a;
    se__item_set_version(smaller, 8, 77);
    cr_assert_eq(se_item_version(smaller), 8u);
    cr_assert_eq(se_item_updated_at_ms(smaller), 77);
    cr_assert_gt(se__item_compare(smaller, greater), 0); /* the version comes first */
    se_item_release(a);
    se_item_release(b);
    se_item_release(same);
}

Test(item, with_state_changes_state_version_and_time_only)
{
    struct item_spec spec = spec_of("a", "content");
    spec.state = "hot";
    spec.expires_at_ms = 5;
    spec.cache_ttl_ms = 6;
    spec.route = SE_ROUTE_L3;
    se_item *item = se__item_new(&spec), *cold = se__item_with_state(item, "cold", 9, 10);
    cr_assert_str_eq(se_item_state(cold), "cold");
    cr_assert_eq(se_item_version(cold), 9u);
    cr_assert_eq(se_item_updated_at_ms(cold), 10);
    cr_assert_eq(se__item_expires_at_ms(cold), 5);
    cr_assert_eq(se__item_cache_ttl_ms(cold), 6u);
    cr_assert_eq(se__item_route(cold), SE_ROUTE_L3);
    cr_assert_eq(memcmp(se_item_content(cold), "content", 7), 0);
    cr_assert(se__item_intact(cold));
    cr_assert_str_eq(se_item_state(item), "hot");
    se_item *back = se__item_with_state(cold, NULL, 11, 12);
    cr_assert(se__item_is_default_state(back));
    se_item_release(item);
    se_item_release(cold);
    se_item_release(back);
}

Test(item, leaf_tells_ids_versions_and_hashes_apart)
{
    uint8_t hash[SE_HASH_SIZE] = {1}, leaf[5][SE_HASH_SIZE];
    se__item_leaf("ab", 2, 1, hash, leaf[0]);
    se__item_leaf("ac", 2, 1, hash, leaf[1]);
    se__item_leaf("ab", 2, 2, hash, leaf[2]);
    se__item_leaf("a", 1, 1, hash, leaf[3]);
    hash[15] = 1;
    se__item_leaf("ab", 2, 1, hash, leaf[4]);
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < i; k++)
            cr_assert_neq(memcmp(leaf[i], leaf[k], SE_HASH_SIZE), 0);
    uint8_t want[SE_HASH_SIZE];
    /* and the literal's NUL */
    static const char bytes[] = "\0\0\0\2ab\0\0\0\0\0\0\0\1\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    se__hash128(0, bytes, 4 + 2 + 8 + 16, want);
    cr_assert_eq(memcmp(leaf[0], want, SE_HASH_SIZE), 0);
}

Test(item, bucket_is_the_top_of_the_unseeded_hash)
{
    cr_assert_eq(se__item_bucket("user:1", 6), se__hash64(0, "user:1", 6) >> 48);
    char longest[SE_ID_MAX];
    memset(longest, 'x', sizeof longest);
    cr_assert_eq(se__item_bucket(longest, sizeof longest),
                 se__hash64(0, longest, sizeof longest) >> 48);
}

Test(item, without_memory_there_is_none)
{
    if (!se__mem_fail_after(0))
        cr_skip_test("compiled out of release builds");
    struct item_spec spec = spec_of("a", "b");
    se_item *item = se__item_new(&spec);
    se__mem_fail_after(-1);
    cr_assert_null(item);
    spec.content_len = (size_t)UINT32_MAX + 1; /* more than a record can say; not read */
    cr_assert_null(se__item_new(&spec));
}

static void use(void *arg)
{
    se_item *item = arg;
    for (int i = 0; i < 20000; i++) {
        se_item *mine = se_item_retain(item);
        if (se_item_content_type(mine) != SE_CONTENT_JSON || se_item_content_len(mine) != 7)
            abort();
        se_item_release(mine);
    }
    se_item_release(item);
}

Test(item, references_are_counted_across_threads)
{
    se_item *item = plain("a", "{\"a\":1}");
    cr_assert_eq(se__item_refs(item), 1u);
    struct se__thread t[4];
    for (int i = 0; i < 4; i++)
        cr_assert_eq(se__thread_start(&t[i], "user", use, se_item_retain(item)), SE_OK);
    for (int i = 0; i < 4; i++)
        se__thread_join(&t[i]);
    cr_assert_eq(se__item_refs(item), 1u);
    cr_assert_str_eq(se_item_id(item), "a");
    se_item_release(item);
}

Test(item, the_last_thread_frees_it)
{
    for (int round = 0; round < 50; round++) {
        se_item *item = plain("a", "{\"a\":1}");
        struct se__thread t[2];
        for (int i = 0; i < 2; i++)
            cr_assert_eq(se__thread_start(&t[i], "user", use, se_item_retain(item)), SE_OK);
        se_item_release(item); /* first: one of the threads is the last; sanitizers see a
                                  leak or a second free */
        for (int i = 0; i < 2; i++)
            se__thread_join(&t[i]);
    }
}

Test(item, is_what_has_its_id_and_nothing_else)
{
    char id[SE_ID_MAX + 1];
    for (size_t len = 1; len <= SE_ID_MAX; len++) {
        for (size_t i = 0; i < len; i++)
            id[i] = (char)('a' + i % 23);
        id[len] = 0;
        se_item *item = plain(id, "");
        cr_assert(se__item_is(item, id, len));
        cr_assert_not(se__item_is(item, id, len - 1));
        for (size_t i = 0; i < len; i++) {
            id[i] ^= 1;
            cr_assert_not(se__item_is(item, id, len), "byte %zu of %zu", i, len);
            id[i] ^= 1;
        }
        se_item_release(item);
    }
}
