/*
 * attach - joins the home tier: is it the right database, who else writes it, where does the clock
 * start, may L2 be believed.
 *
 * Until then no data call reaches the home tier (hold.c answers TIER_UNWELL, rejected):
 * nothing may be drained into a wrong database, and no version may be written before the ceilings
 * of earlier runs are known.
 *
 * Names in the home tier's meta table
 *   incarnation      made once with the database; a WAL remembers the one it belongs to
 *   owner:<uuid>     owner.h
 *   l2_generation    decimal; every record in Redis carries it, another one is a miss
 *   l2_identity      "runid/replid" of the Redis that generation was drawn for; "" : draw a new one
 *                    before L2 is believed again
 *   cache_entries    "1" once an item was routed to L2 alone (existence.c)
 *
 * Threads: the home keeper, and se_open and se_shutdown while there is none; attach_lock guards
 * what they share with others.
 */
#include "base/mem.h"
#include "engine/engine.h"
#include "engine/owner.h"
#include "engine/process.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CEILING_AHEAD_MS 10000u
/* Clean copies live no longer while another engine writes the same tiers */
#define FOREIGN_CLEAN_LIFE_MS 1000u
#define OWNERS_MAX 4096u /* rows looked at: more are an error in the table, not engines */

/* ---- meta values ---- */

static bool fine(struct tier_reply reply)
{
    return reply.fault == TIER_FINE;
}

/* *found false: there is no such name. False: the tier did not answer. */
static bool meta_get(se_engine *e, const char *name, struct buf *value, bool *found,
                     uint64_t deadline_ms)
{
    se__buf_clear(value);
    if (!fine(e->home.ops->meta_get(e->home.self, name, value, found, deadline_ms)))
        return false;
    se__buf_append(value, "", 1); /* as text */
    return !value->failed;
}

static bool meta_put(se_engine *e, const char *name, const char *value, uint64_t deadline_ms)
{
    return fine(e->home.ops->meta_put(e->home.self, name, value, deadline_ms));
}

static bool meta_put_u64(se_engine *e, const char *name, uint64_t value, uint64_t deadline_ms)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return meta_put(e, name, text, deadline_ms);
}

/* ---- incarnation ---- */

static se_result refuse(se_engine *e, const char *text)
{
    se__mutex_lock(&e->attach_lock);
    bool news = !e->refused;
    e->refused = true;
    snprintf(e->refusal, sizeof e->refusal, "%s", text);
    se__mutex_unlock(&e->attach_lock);
    if (news)
        se__log(&e->settings.log, SE_LOG_ERROR, "engine.home_refused",
                (const struct se__field[]){se__text("error", text), {0}},
                "the home tier is not used: %s", text);
    return se__error(SE_ERR_CONFIG, "%s", text);
}

/* The WAL belongs to one database: the first it was opened on. */
static se_result match_wal(se_engine *e, const char *incarnation)
{
    char *ours = NULL;
    if (!e->wal)
        return SE_OK;
    se_result r = se__wal_meta_get(e->wal, "incarnation", &ours);
    if (r == SE_NOT_FOUND)
        return e->settings.c.read_only ? SE_OK
                                       : se__wal_meta_put(e->wal, "incarnation", incarnation);
    if (r != SE_OK)
        return r;
    bool same = strcmp(ours, incarnation) == 0;
    se__free(ours);
    if (same)
        return SE_OK;
    char text[512];
    snprintf(text, sizeof text,
             "wal_path '%.200s' belongs to another database than the one configured: open it with "
             "its own, or "
             "configure another file",
             e->settings.c.wal_path);
    return refuse(e, text);
}

static se_result check_incarnation(se_engine *e, uint64_t deadline_ms)
{
    struct buf value = {0};
    bool found = true;
    bool answered;
    if (e->settings.c.read_only)
        answered = meta_get(e, "incarnation", &value, &found, deadline_ms);
    else {
        char fresh[ENGINE_UUID_LEN + 1];
        snprintf(fresh, sizeof fresh, "%016" PRIx64 "%016" PRIx64, se__random_u64(),
                 se__random_u64());
        answered =
            fine(e->home.ops->meta_add(e->home.self, "incarnation", fresh, &value, deadline_ms));
        se__buf_append(&value, "", 1);
    }
    se_result r = SE_OK;
    if (!answered)
        r = SE_ERR_BACKEND; /* the text is the tier's */
    else if (value.failed)
        r = se__error_nomem();
    else if (found) {
        snprintf(e->incarnation, sizeof e->incarnation, "%s", value.data);
        r = match_wal(e, value.data);
    }
    se__buf_done(&value);
    return r;
}

/* ---- owners ---- */

struct census {
    se_engine *e;
    uint64_t now_ms, ceiling;  /* the greatest of all rows */
    uint64_t newest;           /* the same, of live ones at every census too */
    char tag[PROCESS_TAG_MAX]; /* this process's */
    bool joining;              /* the first census of this engine */
    unsigned live, crashed, rows;
    bool doubt;      /* an engine, of this process or elsewhere, may have ended without saying so */
    struct buf gone; /* names of rows that can go, NUL-separated */
};

static void visit_owner(void *arg, const char *name, const char *value)
{
    struct census *c = arg;
    const char *uuid = name + strlen(OWNER_PREFIX);
    struct owner_row row;
    if (c->rows++ >= OWNERS_MAX || strcmp(uuid, c->e->uuid) == 0 || !se__owner_parse(value, &row))
        return;
    /* That this process lives says nothing about an engine it had: only
     * that one's own heartbeat does. */
    bool ours = strcmp(row.tag, c->tag) == 0;
    enum process_life life = ours ? PROCESS_UNKNOWN : se__process_life(row.tag);
    enum owner_verdict verdict = se__owners_judge(c->e->owners, uuid, &row, life, c->now_ms);
    /* Nor is known yet of one elsewhere (a container that was restarted): its
     * copies in L2 are not waited for. */
    c->doubt = c->doubt || (life == PROCESS_UNKNOWN && c->joining && verdict == OWNER_LIVE);
    if (row.ceiling <= SE__VERSION_MAX && row.ceiling > c->newest)
        c->newest = row.ceiling;
    /* Of those that live only once: clocks that follow each other's
     * ceilings would drive each other on. */
    if ((verdict != OWNER_LIVE || c->joining) && row.ceiling <= SE__VERSION_MAX &&
        row.ceiling > c->ceiling)
        c->ceiling = row.ceiling;
    c->live += verdict == OWNER_LIVE;
    c->crashed += verdict == OWNER_CRASHED;
    if (verdict != OWNER_LIVE)
        se__buf_append(&c->gone, name, strlen(name) + 1);
    if (verdict == OWNER_CRASHED)
        se__log(&c->e->settings.log, SE_LOG_WARN, "engine.crash_found",
                (const struct se__field[]){se__text("owner", row.name), {0}},
                "engine '%s' ended without closing: Redis may hold older copies than the database",
                row.name);
}

static void set_foreign(se_engine *e, unsigned live)
{
    double before = se__metrics_get(e->metrics, M_FOREIGN_OWNERS);
    se__metrics_set(e->metrics, M_FOREIGN_OWNERS, live);
    if ((before > 0) == (live > 0))
        return;
    se__l1_set_clean_life(e->l1, live ? FOREIGN_CLEAN_LIFE_MS : 0);
    se__log(&e->settings.log, SE_LOG_WARN, "engine.owners",
            (const struct se__field[]){se__number("live", live), {0}},
            live ? "another engine writes the same database: copies in memory now live %u ms"
                 : "no other engine writes the same database any more (copies lived %u ms)",
            FOREIGN_CLEAN_LIFE_MS);
}

/* Our row, with a ceiling that covers `version` and some time from now. */
static bool put_own_row(se_engine *e, bool open, uint64_t version, uint64_t deadline_ms)
{
    /* With a WAL the ceiling is kept there; the row says it for engines without that WAL. */
    uint64_t ceiling =
        se__hlc_ceiling_for(&e->hlc, version, se__wall_ms(), e->wal ? 0 : CEILING_AHEAD_MS);
    struct owner_row row = {.open = open, .ceiling = ceiling, .heartbeat = se__mono_ns()};
    se__process_tag(row.tag);
    snprintf(row.name, sizeof row.name, "%s", e->settings.c.name);
    char name[64], value[320];
    snprintf(name, sizeof name, OWNER_PREFIX "%s", e->uuid);
    se__owner_print(&row, value, sizeof value);
    if (!meta_put(e, name, value, deadline_ms))
        return false;
    if (!e->wal)
        se__hlc_raise_ceiling(&e->hlc, ceiling);
    return true;
}

/* After our own row (whose ceiling is above theirs, or is in the WAL) stands: what is history can
 * go. With a WAL our row has no ceiling, so the greatest one found is kept in a row of its own. */
static bool drop_history(se_engine *e, struct census *c, uint64_t deadline_ms)
{
    if (e->wal && c->ceiling && c->gone.len) {
        struct owner_row row = {
            .open = false, .ceiling = c->ceiling, .tag = "-", .name = "history"};
        char value[320];
        se__owner_print(&row, value, sizeof value);
        if (!meta_put(e, OWNER_PREFIX "history", value, deadline_ms))
            return false;
    }
    for (size_t at = 0; at < c->gone.len; at += strlen(c->gone.data + at) + 1) {
        const char *name = c->gone.data + at;
        if (strcmp(name, OWNER_PREFIX "history") == 0 && e->wal)
            continue;
        if (!fine(e->home.ops->meta_delete(e->home.self, name, deadline_ms)))
            return false;
    }
    return true;
}

/* Looks at all owners, takes their ceilings, notes crashes durably, stores our own row,
 * drops history: in this order. */
static bool take_census(se_engine *e, bool joining, uint64_t deadline_ms)
{
    struct census c = {.e = e, .now_ms = se__mono_ms(), .joining = joining};
    se__process_tag(c.tag);
    bool ok =
        fine(e->home.ops->meta_list(e->home.self, OWNER_PREFIX, visit_owner, &c, deadline_ms)) &&
        !c.gone.failed;
    if (ok) {
        /* What was issued so far may be below what earlier runs wrote: flush/renew.c. An attempt
         * before this one may have dropped the rows that said so, and failed to learn it. */
        if (joining && c.live == 0 &&
            c.ceiling > atomic_load_explicit(&e->blind_until, memory_order_relaxed))
            atomic_store_explicit(&e->blind_until, c.ceiling,
                                  memory_order_relaxed); /* published by `attached` */
        se__hlc_observe(&e->hlc, c.ceiling, se__wall_ms(), UINT32_MAX);
        set_foreign(e, c.live);
        se__existence_owners(e, c.live, c.newest, joining);
    }
    if (ok && !e->settings.c.read_only) {
        /* First the doubt, so that it outlives us, then the row that shows it. */
        if (c.crashed || c.doubt)
            ok = meta_put(e, "l2_identity", "", deadline_ms);
        if (ok && (c.crashed || c.doubt)) {
            se__mutex_lock(&e->attach_lock);
            e->generation_due = true;
            se__mutex_unlock(&e->attach_lock);
        }
        ok = ok && put_own_row(e, true, 0, deadline_ms) && drop_history(e, &c, deadline_ms);
    }
    se__buf_done(&c.gone);
    return ok;
}

static void lower_payload_max(se_engine *e)
{
    uint64_t tier_max = e->home.ops->payload_max(e->home.self);
    if (tier_max && tier_max < atomic_load_explicit(&e->payload_max, memory_order_relaxed)) {
        atomic_store_explicit(&e->payload_max, tier_max,
                              memory_order_relaxed); /* advisory: the tier refuses */
        se__log(&e->settings.log, SE_LOG_WARN, "engine.payload_lowered",
                (const struct se__field[]){se__number("bytes", tier_max), {0}},
                "max_payload_bytes lowered to %" PRIu64 ": the database takes no more", tier_max);
    }
}

se_result se__attach_home(se_engine *e, uint64_t deadline_ms)
{
    se_result r = e->home.ops->prepare(e->home.self, deadline_ms);
    if (r == SE_ERR_CONFIG) {
        char text[512];
        snprintf(text, sizeof text, "%s", se_errmsg());
        return refuse(e, text);
    }
    if (r == SE_OK)
        r = check_incarnation(e, deadline_ms);
    if (r == SE_OK && (!take_census(e, true, deadline_ms) || !se__existence_beat(e, deadline_ms)))
        r = SE_ERR_BACKEND;
    if (r != SE_OK)
        return r;
    lower_payload_max(e);
    /* release: all of the above comes before the first data call; pairs with is_attached. */
    atomic_store_explicit(&e->attached, true, memory_order_release);
    return SE_OK;
}

void se__attach_beat(se_engine *e, uint64_t deadline_ms)
{
    (void)take_census(e, false, deadline_ms); /* what fails is tried at the next beat */
    (void)se__existence_beat(e, deadline_ms);
}

se_result se__cover(void *engine, uint64_t version)
{
    se_engine *e = engine;
    if (se__hlc_covers(&e->hlc, version))
        return SE_OK;
    if (e->wal) {
        uint64_t ceiling = se__hlc_ceiling_for(&e->hlc, version, se__wall_ms(), CEILING_AHEAD_MS);
        return se__wal_store_ceiling(e->wal, ceiling);
    }
    uint32_t timeout =
        e->home_is_l3 ? e->settings.c.sql_timeout_ms : e->settings.c.redis_timeout_ms;
    /* acquire: before the ceilings of earlier runs are known ours must not be stored. */
    if (!atomic_load_explicit(&e->attached, memory_order_acquire))
        return se__error(SE_ERR_BACKEND, "the home tier is not attached yet");
    return put_own_row(e, true, version, se__deadline_in(timeout)) ? SE_OK : SE_ERR_BACKEND;
}

/* ---- L2 generation ---- */

static bool stored_generation(se_engine *e, const char *identity, uint64_t *generation, bool *same,
                              uint64_t deadline_ms)
{
    struct buf value = {0};
    bool found = false;
    *same = false;
    bool ok = meta_get(e, "l2_identity", &value, &found, deadline_ms);
    if (ok && found && strcmp(value.data, identity) == 0) {
        ok = meta_get(e, "l2_generation", &value, &found, deadline_ms);
        *generation = ok && found ? strtoull(value.data, NULL, 10) : 0;
        *same = *generation != 0;
    }
    se__buf_done(&value);
    return ok;
}

static bool redraw(se_engine *e, const char *identity, uint64_t *generation, uint64_t deadline_ms)
{
    *generation = se__random_u64() | 1;
    if (!meta_put_u64(e, "l2_generation", *generation, deadline_ms) ||
        !meta_put(e, "l2_identity", identity, deadline_ms))
        return false;
    se__metrics_inc(e->metrics, M_GENERATIONS);
    se__log(&e->settings.log, SE_LOG_INFO, "engine.new_generation", NULL,
            "new L2 generation: what Redis holds counts as misses");
    return true;
}

/* Suspects up to here can be forgotten once L2 has a new generation. */
static uint64_t cache_mark(se_engine *e)
{
    uint64_t mark = se__suspects_mark(e->suspects);
    for (unsigned i = 0; e->workers && i < e->partitions; i++) {
        uint64_t of_worker = se__worker_cache_mark(e->workers[i]);
        mark = of_worker < mark ? of_worker : mark;
    }
    return mark;
}

void se__attach_cache(se_engine *e, bool look, uint64_t deadline_ms)
{
    char identity[128];
    if (!e->cache.ops || !atomic_load_explicit(&e->attached, memory_order_acquire))
        return;
    bool accepted = se__redis_identity(e->redis, identity);
    se__mutex_lock(&e->attach_lock);
    bool crash = e->generation_due, due = crash || se__suspects_overflowed(e->suspects);
    se__mutex_unlock(&e->attach_lock);
    if (!identity[0] || (accepted && !due && !look))
        return;
    uint64_t generation = 0;
    bool same = false;
    if (!due && !stored_generation(e, identity, &generation, &same, deadline_ms))
        return;
    if (same) {
        if (!accepted || generation != se__redis_generation(e->redis))
            se__redis_accept(e->redis, identity, generation);
        return;
    }
    if (e->settings.c.read_only)
        return; /* the live service redraws it; until then L2 is not read */
    uint64_t mark = cache_mark(e);
    if (!redraw(e, identity, &generation, deadline_ms))
        return;
    se__redis_accept(e->redis, identity, generation);
    se__suspects_clear(e->suspects, mark);
    if (crash) /* what was read from L2 before the crash was known */
        se__l1_invalidate_prefix(e->l1, "");
    se__mutex_lock(&e->attach_lock);
    e->generation_due = false;
    se__mutex_unlock(&e->attach_lock);
}

/* For one call: a connection that is half-open must not cost all that a caller has set aside for closing. */
static uint64_t one_call(const se_engine *e, uint64_t deadline_ms)
{
    uint64_t own_ms = se__deadline_in(e->home_is_l3 ? e->settings.c.sql_timeout_ms
                                                    : e->settings.c.redis_timeout_ms);
    return own_ms < deadline_ms ? own_ms : deadline_ms;
}

void se__attach_leave(se_engine *e, uint64_t deadline_ms)
{
    if (e->settings.c.read_only || !e->home.ops ||
        !atomic_load_explicit(&e->attached, memory_order_acquire))
        return;
    (void)se__existence_beat(e, one_call(e, deadline_ms));
    se__mutex_lock(&e->attach_lock);
    /* Not drawn yet, and what it is due to may be gone by the next start. */
    bool due = e->generation_due;
    se__mutex_unlock(&e->attach_lock);
    bool doubt = due || (e->cache.ops && (se__suspects_count(e->suspects) > 0 ||
                                          se__suspects_overflowed(e->suspects)));
    if (doubt && !meta_put(e, "l2_identity", "", one_call(e, deadline_ms)))
        return; /* the row stays open: the next engine sees a crash and redraws */
    (void)put_own_row(e, false, se__hlc_last(&e->hlc), one_call(e, deadline_ms));
}

void se__attach_done(se_engine *e)
{
    se__owners_close(e->owners);
}
