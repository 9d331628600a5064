/*
 * storecalls - every call of an SQL tier, and what must hold of its outcome whatever the database says;
 * for fuzz_store and fuzz_sqlite.
 *
 * Threads: one.
 */
#ifndef SE_TESTS_FUZZ_STORECALLS_H
#define SE_TESTS_FUZZ_STORECALLS_H

#include "fuzz/fuzz.h"

#include "base/os.h"
#include "tier/sights.h"
#include "tier/tier.h"

#define IDS_N 4u
#define PAGES_MAX 400

enum call { READ, SCAN, COUNT, SURVEY, DIGEST, MEND, WRITE, META, PURGE, PREPARE, CALLS };

static const char *const IDS[IDS_N] = {"a", "b", "aa", "c"};
static struct tier tier;

static bool check_reply(struct tier_reply reply)
{
    must(reply.fault >= TIER_FINE && reply.fault <= TIER_UNWELL);
    must(reply.fault == TIER_FINE || se_errmsg()[0] != '\0');
    return reply.fault == TIER_FINE;
}

static void check_reads(struct tier_read reads[IDS_N], bool fine)
{
    for (size_t i = 0; i < IDS_N; i++) {
        se_item *item = reads[i].item;
        must((item != NULL) == (reads[i].found == TIER_HIT) && (fine || !item));
        must(!item || (se__item_has_id(item, IDS[i], strlen(IDS[i])) && se__item_intact(item)));
        must((reads[i].found == TIER_CORRUPT) == (reads[i].seen_len == SE_HASH_SIZE));
        se_item_release(item);
        reads[i].item = NULL;
    }
}

static bool read_all(struct tier_read reads[IDS_N])
{
    for (size_t i = 0; i < IDS_N; i++)
        reads[i] = (struct tier_read){.id = IDS[i], .id_len = strlen(IDS[i])};
    bool fine = check_reply(tier.ops->read(tier.self, reads, IDS_N, SE__FOREVER));
    check_reads(reads, fine);
    return fine;
}

static void try_scan(uint8_t how)
{
    struct tier_scan scan = {.prefix = how & 1 ? "a" : NULL,
                             .state = how & 1 ? NULL : "s",
                             .after = how & 2 ? "aa" : "",
                             .items_max = 1 + (how >> 4),
                             .bytes_max = how & 4 ? 1 : 1000,
                             .ids_only = how & 8};
    struct tier_page page = {0};
    if (!check_reply(tier.ops->scan(tier.self, &scan, &page, SE__FOREVER)))
        must(page.n == 0 && !page.items);
    must(page.n <= scan.items_max);
    for (size_t i = 0; i < page.n; i++)
        must(scan.ids_only ? se_item_content_len(page.items[i]) == 0
                           : se__item_intact(page.items[i]));
    se__tier_page_done(&page);
}

static void try_count(uint8_t how)
{
    struct tier_scan scan = {
        .prefix = how & 1 ? "a" : NULL, .state = how & 1 ? NULL : "s", .after = ""};
    uint64_t count = 0;
    check_reply(tier.ops->count(tier.self, &scan, &count, SE__FOREVER));
    must(count <= INT64_MAX);
}

static void check_sight(const struct tier_sight *s)
{
    must(s->bucket == se__item_bucket(s->id, s->id_len) && s->id[s->id_len] == '\0');
    must(s->found == TIER_HIT || s->found == TIER_CORRUPT);
    must(s->version <= INT64_MAX);
}

static void try_survey(uint8_t how)
{
    struct tier_survey survey = {.depth = (enum tier_depth)(how % 3),
                                 .order = how & 4 ? TIER_BY_BUCKET : TIER_BY_ID,
                                 .live_only = how & 8,
                                 .until = how & 16 ? "b" : NULL,
                                 .bucket_first = how & 32 ? 0 : 7,
                                 .bucket_last = how & 64 ? 65535 : 9,
                                 .items_max = 1 + how % 7,
                                 .bytes_max = how & 128 ? 1 : 1000};
    struct tier_cursor cursor = {0};
    struct tier_sights sights = {0};
    int pages = 0, faults = 0;
    while (!cursor.done && faults < 3) {
        must(pages++ < PAGES_MAX);
        if (!check_reply(tier.ops->survey(tier.self, &survey, &cursor, &sights, SE__FOREVER))) {
            must(sights.n == 0);
            faults++;
        }
        must(sights.n <= survey.items_max);
        for (size_t i = 0; i < sights.n; i++)
            check_sight(&sights.sights[i]);
    }
    se__tier_cursor_done(&cursor);
    se__sights_done(&sights);
}

static void try_digest(uint8_t how)
{
    struct tier_node nodes[8];
    struct tier_digest digest = {.prefix = how & 1 ? "a" : NULL,
                                 .bucket_first = how & 2 ? 0 : 0x2000,
                                 .bucket_last = how & 4 ? 65535 : 0x4321,
                                 .shift = 13,
                                 .now_wall_ms = how & 8};
    check_reply(tier.ops->digest(tier.self, &digest, nodes, SE__FOREVER));
}

static se_item *new_item(size_t i, uint8_t how)
{
    char content[300];
    memset(content, how, sizeof content);
    struct item_spec spec = {.id = IDS[i],
                             .id_len = strlen(IDS[i]),
                             .content = content,
                             .content_len = how & 1 ? 0 : sizeof content,
                             .version = (uint64_t)how << (how & 2 ? 50 : 2),
                             .content_type = SE_CONTENT_BINARY,
                             .deleted = how & 1};
    se_item *item = se__item_new(&spec);
    must(item != NULL);
    return item;
}

static void check_write(const struct tier_write *w, bool fine)
{
    must(!fine || w->state != TIER_NOT_TRIED);
    must(w->state == TIER_NEWER || w->newer == 0);
    must(w->newer <= INT64_MAX);
    se_item_release(w->item);
}

static void try_mend(uint8_t how)
{
    struct tier_read reads[IDS_N];
    if (!read_all(reads))
        return;
    for (size_t i = 0; i < IDS_N; i++) {
        struct tier_write write = {.item = new_item(i, how), .kind = RECORD_ITEM};
        write.kind = se__item_deleted(write.item) ? RECORD_TOMBSTONE : RECORD_ITEM;
        bool fine = check_reply(tier.ops->mend(tier.self, &reads[i], &write, SE__FOREVER));
        must(reads[i].found == TIER_CORRUPT || (fine && write.state == TIER_NEWER));
        check_write(&write, fine);
    }
}

static void try_write(uint8_t how)
{
    static const size_t SORTED[IDS_N] = {0, 2, 1, 3};
    struct tier_write writes[IDS_N];
    size_t n = 1 + how % IDS_N;
    for (size_t i = 0; i < n; i++) {
        writes[i] = (struct tier_write){.item = new_item(SORTED[i], how)};
        writes[i].kind = how & 1 ? RECORD_TOMBSTONE : RECORD_ITEM;
    }
    bool fine = check_reply(tier.ops->write(tier.self, 0, writes, n, SE__FOREVER));
    for (size_t i = 0; i < n; i++)
        check_write(&writes[i], fine);
}

static void visit_name(void *arg, const char *name, const char *value)
{
    size_t *bytes = arg;
    *bytes += strlen(name) + strlen(value);
}

static void try_meta(uint8_t how)
{
    struct buf value = {0};
    size_t bytes = 0;
    bool found = false;
    if (how % 5 == 0)
        must(check_reply(tier.ops->meta_get(tier.self, "n", &value, &found, SE__FOREVER)) ||
             !found);
    else if (how % 5 == 1)
        check_reply(tier.ops->meta_put(tier.self, "n", "v", SE__FOREVER));
    else if (how % 5 == 2)
        check_reply(tier.ops->meta_add(tier.self, "n", "v", &value, SE__FOREVER));
    else if (how % 5 == 3)
        check_reply(tier.ops->meta_delete(tier.self, "n", SE__FOREVER));
    else
        check_reply(tier.ops->meta_list(tier.self, "o", visit_name, &bytes, SE__FOREVER));
    must(value.len + bytes < 100000);
    se__buf_done(&value);
}

static void try_purge(uint8_t how)
{
    size_t purged = 0, limit = how % 4;
    bool fine = check_reply(tier.ops->purge(tier.self, limit, &purged, SE__FOREVER));
    must(purged <= limit && (fine || purged == 0));
}

static void try_prepare(void)
{
    se__error_clear();
    se_result r = tier.ops->prepare(tier.self, SE__FOREVER);
    must(r == SE_OK || se_errmsg()[0] != '\0');
    check_reply(tier.ops->probe(tier.self, SE__FOREVER));
}

static void try_call(enum call call, uint8_t how)
{
    struct tier_read reads[IDS_N];
    static void (*const CALL[])(uint8_t how) = {
        [SCAN] = try_scan, [COUNT] = try_count, [SURVEY] = try_survey, [DIGEST] = try_digest,
        [MEND] = try_mend, [WRITE] = try_write, [META] = try_meta,     [PURGE] = try_purge};
    if (call == READ)
        read_all(reads);
    else if (call == PREPARE)
        try_prepare();
    else
        CALL[call](how);
}

#endif
