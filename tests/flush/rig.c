/*
 * rig.c - see rig.h.
 */
#include "flush/rig.h"

#include "base/mem.h"
#include "base/os.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CONTENT_MAX = 4096 };

static void count_line(void *arg, se_log_level level, const char *message)
{
    struct rig *r = arg;
    (void)level;
    (void)message;
    atomic_fetch_add_explicit(&r->lines, 1, memory_order_relaxed);
}

static se_result cover(void *arg, uint64_t version)
{
    struct rig *r = arg;
    atomic_fetch_add_explicit(&r->covers, 1, memory_order_relaxed);
    if (atomic_load_explicit(&r->cover_fails, memory_order_relaxed))
        return se__error(SE_ERR_BACKEND, "no ceiling can be stored");
    if (!se__hlc_covers(&r->hlc, version))
        se__hlc_raise_ceiling(&r->hlc, se__hlc_ceiling_for(&r->hlc, version, se__wall_ms(), 10000));
    return SE_OK;
}

static void push(void *arg, struct dirty_node *node, bool front)
{
    struct rig *r = arg;
    se__dirty_push(se__worker_queue(r->worker), node, front);
}

static size_t given(size_t value, size_t otherwise)
{
    return value ? value : otherwise;
}

static void open_wal(struct rig *r)
{
    struct wal_options options = {
        .path = r->wal_path,
        .items_max = given(r->o.wal_items_max, 1000000),
        .bytes_max = (uint64_t)1 << 30,
        .partitions = 1,
        .seed = 7,
        .hlc = &r->hlc,
        .metrics = r->metrics,
        .log = &r->log,
    };
    cr_assert_eq(se__wal_open(&options, &r->wal), SE_OK, "%s", se_errmsg());
    struct wal_stats stats;
    se__wal_stats(r->wal, &stats);
    se__metrics_add(r->metrics, M_RECOVERED, stats.recovered);
}

static void guard(struct rig *r, struct fake_tier *fake, bool is_redis, struct tier *tier,
                  struct guarded **g)
{
    struct guarded_options options = {.breaker = SE__BREAKER_DEFAULT,
                                      .metrics = r->metrics,
                                      .log = &r->log,
                                      .is_redis = is_redis};
    options.breaker.open_ms = (uint32_t)given(r->o.open_ms, 20);
    options.breaker.slow_ms = 0; /* gates are slow on purpose */
    cr_assert_eq(se__guarded_open(&options, fake_tier_as_tier(fake), tier, g), SE_OK);
}

static void open_tiers(struct rig *r)
{
    r->home = fake_tier_open("home");
    if (r->o.bare)
        r->home_tier = fake_tier_as_tier(r->home);
    else
        guard(r, r->home, false, &r->home_tier, &r->home_guard);
    if (!r->o.cache)
        return;
    r->cache = fake_tier_open("cache");
    guard(r, r->cache, true, &r->cache_tier, &r->cache_guard);
}

static void open_worker(struct rig *r)
{
    struct worker_options options = {
        .number = 0,
        .partitions = 1,
        .l1 = r->l1,
        .wal = r->wal,
        .home = r->home_tier,
        .home_guard = r->home_guard,
        .home_is_l3 = true,
        .cache = r->cache_tier,
        .suspects = r->suspects,
        .owed_max = r->o.owed_max,
        .limits = {.items_max = given(r->o.items_max, 100),
                   .bytes_max = given(r->o.bytes_max, 1 << 20),
                   .age_ms_max = (uint32_t)given(r->o.age_ms_max, 5),
                   .paced = r->o.paced,
                   .keep_items = !r->o.tuned,
                   .keep_bytes = !r->o.tuned},
        .drain_items = given(r->o.drain_items, 100),
        .keep_drain = !r->o.tuned,
        .home_timeout_ms = (uint32_t)given(r->o.home_timeout_ms, 60000),
        .cache_timeout_ms = (uint32_t)given(r->o.cache_timeout_ms, 60000),
        .metrics = r->metrics,
        .log = &r->log,
        .hlc = &r->hlc,
        .max_clock_skew_ms = 60000,
        .cover = cover,
        .arg = r,
    };
    cr_assert_eq(se__worker_open(&options, &r->worker), SE_OK);
}

void rig_open(struct rig *r, const struct rig_options *options)
{
    char wal_path[96];
    snprintf(wal_path, sizeof wal_path, "%s", r->wal_path);
    *r = (struct rig){.o = *options};
    r->log = (struct se__log){.fn = count_line, .arg = r, .name = "rig"};
    se__hlc_init(&r->hlc, 0);
    cr_assert_eq(se__metrics_open(&r->metrics), SE_OK);
    if (options->keep_wal)
        snprintf(r->wal_path, sizeof r->wal_path, "%s", wal_path);
    else
        snprintf(r->wal_path, sizeof r->wal_path, "/dev/shm/se-flush-%llx.wal",
                 (unsigned long long)se__random_u64());
    if (options->wal)
        open_wal(r);
    open_tiers(r);
    cr_assert_eq(se__suspects_open(given(options->suspects_max, 10000), &r->suspects), SE_OK);
    struct l1_options l1 = {.bytes_max = 256u << 20,
                            .seed = 7,
                            .sink = {.arg = r, .push = push},
                            .metrics = r->metrics};
    cr_assert_eq(se__l1_open(&l1, &r->l1), SE_OK);
    open_worker(r);
}

size_t rig_stop(struct rig *r, uint32_t timeout_ms)
{
    r->stopped = true;
    return se__worker_stop(r->worker, se__deadline_in(timeout_ms));
}

static void remove_wal(struct rig *r)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".lock", "-journal"};
    char path[128];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(path, sizeof path, "%s%s", r->wal_path, ends[i]);
        (void)unlink(path);
    }
}

void rig_close(struct rig *r, bool keep_wal)
{
    fake_tier_open_gate(r->home);
    if (r->cache)
        fake_tier_open_gate(r->cache);
    if (!r->stopped)
        (void)rig_stop(r, 0);
    se__worker_close(r->worker);
    se__l1_close(r->l1);
    se__suspects_close(r->suspects);
    se__wal_close(r->wal);
    r->home_tier.ops->close(r->home_tier.self);
    if (r->cache)
        r->cache_tier.ops->close(r->cache_tier.self);
    fake_tier_free(r->home);
    fake_tier_free(r->cache);
    se__metrics_close(r->metrics);
    if (!keep_wal)
        remove_wal(r);
}

/* ---- writing ---- */

static se_item *new_item(const char *id, const char *text, uint64_t version, uint8_t route)
{
    struct item_spec spec = {.id = id,
                             .id_len = strlen(id),
                             .content = text,
                             .content_len = text ? strlen(text) : 0,
                             .version = version,
                             .updated_at_ms = se__wall_ms(),
                             .route = route,
                             .deleted = !text};
    se_item *item = se__item_new(&spec);
    cr_assert_not_null(item);
    return item;
}

se_item *rig_item(const char *id, const char *text, uint64_t version)
{
    return new_item(id, text, version, 0);
}

static uint64_t put(struct rig *r, se_item *item)
{
    struct l1_ticket ticket;
    struct l1_put_result result;
    size_t id_len = se__item_id_len(item);
    cr_assert_eq(se__l1_prepare(r->l1, id_len, se__item_size(item), &ticket), SE_OK);
    uint64_t hash = se__l1_hash(r->l1, se_item_id(item), id_len), version = se_item_version(item);
    se__l1_put(r->l1, hash, item, &ticket, &(struct l1_put){.dirty = true}, &result);
    se__metrics_inc(r->metrics, M_ACCEPTED);
    if (result.stored == L1_STALE || result.superseded)
        se__metrics_inc(r->metrics, M_SUPERSEDED);
    if (result.dead_replaced)
        se__metrics_inc(r->metrics, M_SUPERSEDED);
    if (result.stored == L1_STALE && r->wal)
        se__wal_forget(r->wal, se_item_id(item), id_len, version);
    se_item_release(item);
    return version;
}

uint64_t rig_put_routed(struct rig *r, const char *id, const char *text, uint8_t route)
{
    return put(r, new_item(id, text, se__hlc_next(&r->hlc, se__wall_ms()), route));
}

uint64_t rig_put(struct rig *r, const char *id, const char *text)
{
    return rig_put_routed(r, id, text, 0);
}

uint64_t rig_put_insured(struct rig *r, const char *id, const char *text)
{
    se_item *item = new_item(id, text, se__hlc_next(&r->hlc, se__wall_ms()), 0);
    se_result result = se__wal_append(r->wal, &item, 1, WAL_ACK, SOON);
    cr_assert_eq(result, SE_OK, "%s", se_errmsg());
    return put(r, item);
}

void rig_name(char *id, size_t cap, unsigned i)
{
    snprintf(id, cap, "id:%05u", i);
}

bool rig_is_poison(void *arg, const se_item *item)
{
    (void)arg;
    return strstr(se_item_id(item), "poison") != NULL;
}

/* ---- looking ---- */

bool rig_flush(struct rig *r)
{
    bool all_home = false;
    cr_assert_eq(se__worker_flush(r->worker, SOON, &all_home), SE_OK, "%s", se_errmsg());
    return all_home;
}

size_t rig_queued(struct rig *r)
{
    struct worker_stats stats;
    se__worker_stats(r->worker, &stats);
    return stats.queued;
}

uint64_t rig_count(struct rig *r, enum metric which)
{
    return se__metrics_sum(r->metrics, which);
}

bool rig_balanced(struct rig *r)
{
    struct l1_stats l1;
    struct wal_stats wal = {0};
    se__l1_stats(r->l1, &l1);
    if (r->wal)
        se__wal_stats(r->wal, &wal);
    uint64_t in = rig_count(r, M_ACCEPTED) + rig_count(r, M_RECOVERED);
    uint64_t queued = rig_queued(r), dead = wal.dead + l1.dead_items;
    uint64_t ended = rig_count(r, M_SUPERSEDED) + rig_count(r, M_LOST) + rig_count(r, M_PERSISTED);
    if (in == ended + queued + wal.home_records + dead)
        return true;
    fprintf(
        stderr,
        "out of balance: accepted %llu + recovered %llu != superseded %llu + lost %llu + queued "
        "%llu + in the WAL %llu + "
        "persisted %llu + dead %llu\n",
        (unsigned long long)rig_count(r, M_ACCEPTED), (unsigned long long)rig_count(r, M_RECOVERED),
        (unsigned long long)rig_count(r, M_SUPERSEDED), (unsigned long long)rig_count(r, M_LOST),
        (unsigned long long)queued, (unsigned long long)wal.home_records,
        (unsigned long long)rig_count(r, M_PERSISTED), (unsigned long long)dead);
    return false;
}

static uint64_t l1_version(struct rig *r, const char *id)
{
    size_t len = strlen(id);
    se_item *item = se__l1_get(r->l1, se__l1_hash(r->l1, id, len), id, len);
    uint64_t version = item ? se_item_version(item) : 0;
    se_item_release(item);
    return version;
}

uint64_t rig_read(struct rig *r, const char *id)
{
    uint64_t version = l1_version(r, id), in_wal = 0;
    if (version)
        return version;
    if (r->wal)
        (void)se__wal_look(r->wal, id, strlen(id), &in_wal);
    uint64_t home = fake_tier_version(r->home, id, NULL);
    return in_wal > home ? in_wal : home;
}

void rig_put_many(struct rig *r, unsigned n)
{
    char id[32];
    for (unsigned i = 0; i < n; i++) {
        rig_name(id, sizeof id, i);
        rig_put(r, id, "x");
    }
}
