/*
 * model.c - see model.h.
 */
#include "sim/model.h"

#include "sim/l2.h"
#include "sim/sched.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOREIGN UINT32_MAX /* the life of other engines' writes */

struct floor {
    uint64_t version;
    int write;     /* -1: none */
    uint64_t over; /* struct model_glance */
};

static struct model_write writes[MODEL_WRITES_MAX];
static int writes_n;
static int last_of[MODEL_IDS],
    before[MODEL_WRITES_MAX];                           /* the writes of an id, newest call first */
static struct floor floors[MODEL_IDS], sure[MODEL_IDS]; /* struct model_glance says what is sure */
static uint64_t events;
static unsigned life;
static enum model_home home;
static bool foreigners; /* somebody else has written */

bool (*model_outage)(void);
bool (*model_excuses)(const struct model_glance *g, se_result result);

void model_begin(enum model_home new_home)
{
    writes_n = 0;
    events = 0;
    life = 0;
    home = new_home;
    foreigners = false;
    for (unsigned i = 0; i < MODEL_IDS; i++) {
        floors[i] = sure[i] = (struct floor){.write = -1};
        last_of[i] = -1;
    }
}

/* Some ids are prefixes of others, or differ where a text collation would not look. */
void model_id(unsigned id, char name[32])
{
    static const char *const shapes[] = {"u:%u", "u:%u ", "U:%u", "u_%u"};
    snprintf(name, 32, shapes[id % 4], id / 4);
}

bool model_is_written(unsigned id)
{
    return last_of[id] >= 0;
}

size_t model_content(int write, size_t len, char *out)
{
    int head = snprintf(out, MODEL_CONTENT_MAX, "w%05d|", write);
    if (len < (size_t)head)
        len = (size_t)head;
    memset(out + head, 'a' + write % 26, len - (size_t)head);
    return len;
}

/* ---- floors ---- */

static void raise_one(struct floor *f, uint64_t version, int write)
{
    if (version > f->version)
        *f = (struct floor){.version = version, .write = write, .over = f->over};
}

/* An engine that does not know yet where the last one's clock has ended may give a write a version
 * below that one's; the write is the newer one all the same, and gets a version that says so. With
 * other writers about nobody can tell which is: either may be seen. */
static void pass_over(struct floor *f, uint64_t version, int write)
{
    bool earlier = f->write >= 0 && writes[f->write].life < life;
    if (earlier && version < f->version)
        *f = (struct floor){.version = version, .write = write, .over = f->version};
}

static void raise_floor(unsigned id, uint64_t version, int write)
{
    raise_one(&floors[id], version, write);
    raise_one(&sure[id], version, write);
}

static int write_of_version(unsigned id, uint64_t version)
{
    for (int w = last_of[id]; w >= 0; w = before[w])
        if (writes[w].version == version)
            return w;
    return -1;
}

/* The write whose content this is. */
static int write_of(unsigned id, const char *bytes, size_t len)
{
    char head[16] = "", *end;
    memcpy(head, bytes, len < sizeof head - 1 ? len : sizeof head - 1);
    long w = head[0] == 'w' ? strtol(head + 1, &end, 10) : -1;
    if (w < 0 || w >= writes_n || *end != '|' || writes[w].id != id)
        return -1;
    char want[MODEL_CONTENT_MAX];
    size_t want_len = model_content((int)w, len, want);
    return want_len == len && memcmp(want, bytes, len) == 0 ? (int)w : -1;
}

uint64_t model_home_version(unsigned id)
{
    char name[32];
    model_id(id, name);
    if (home == HOME_L3)
        return l3_version(name, NULL, NULL);
    const struct l2_key *key = home == HOME_L2 ? l2_find(name) : NULL;
    return key && key->item ? se_item_version(key->item) : 0;
}

uint64_t model_home_reached(unsigned id)
{
    char name[32];
    model_id(id, name);
    return home == HOME_L3 ? l3_reached(name) : home == HOME_L2 ? l2_reached(name) : 0;
}

/* Once the clock has jumped tiers may disagree on it. */
static bool expired(const struct model_write *w)
{
    return w->expires_at_ms && (sim_wall_jumped() || sim_wall_ms() >= w->expires_at_ms);
}

static bool leaves_nothing(const struct model_write *w)
{
    return w->deleted || w->cache_entry || expired(w);
}

/* A put at or below the purge floor creates no row: so ends a write of an engine that did not know yet
 * how far the clocks of others had come (see pass_over). */
static bool lost_to_purge(uint64_t version)
{
    return foreigners && home == HOME_L3 && version <= sim_l3.floor;
}

/* ---- writes ---- */

static int add_write(const struct model_new *spec)
{
    if (writes_n == MODEL_WRITES_MAX)
        sim_fail("more than %d writes", MODEL_WRITES_MAX);
    int w = writes_n++;
    writes[w] = (struct model_write){.id = (uint8_t)spec->id,
                                     .deleted = spec->deleted,
                                     .cache_entry = spec->cache_entry,
                                     .expires_at_ms = spec->expires_at_ms,
                                     .life = life,
                                     .began = ++events};
    before[w] = last_of[spec->id];
    last_of[spec->id] = w;
    return w;
}

int model_write_begin(const struct model_new *spec)
{
    return add_write(spec);
}

int model_foreign(const struct model_new *spec, uint64_t version)
{
    int w = add_write(spec);
    foreigners = true;
    writes[w].status = WRITE_DONE;
    writes[w].life = FOREIGN;
    writes[w].version = version;
    writes[w].ended = events;
    return w;
}

/* A cache entry that takes the place of a write leaves nothing at home where nothing was. */
static bool replaced_by_cache_entry(const struct model_write *w)
{
    for (int i = last_of[w->id]; i >= 0; i = before[i])
        if (writes[i].cache_entry && (!writes[i].version || writes[i].version > w->version))
            return true;
    return false;
}

bool model_cache_entry(int write)
{
    return writes[write].cache_entry || replaced_by_cache_entry(&writes[write]);
}

static void check_acked_home(int number)
{
    const struct model_write *w = &writes[number];
    uint64_t there = model_home_reached(w->id);
    if (replaced_by_cache_entry(w) || lost_to_purge(w->version))
        return;
    if (there < w->version && !w->cache_entry && home != HOME_L1)
        sim_fail("write %d was acknowledged as committed at version %" PRIu64
                 "; its home tier has %" PRIu64,
                 number, w->version, there);
}

void model_write_end(int number, se_result result, uint64_t version, se_ack ack)
{
    struct model_write *w = &writes[number];
    w->ended = ++events;
    w->ended_ns = sim_now_ns();
    if (w->status != WRITE_UNDER_WAY || w->life != life)
        return; /* its engine has died meanwhile */
    if (result < 0) {
        w->status = WRITE_FAILED;
        return;
    }
    w->status = WRITE_DONE;
    w->version = version > w->version ? version : w->version;
    w->durable = result == SE_OK && !w->cache_entry &&
                 (ack == SE_ACK_WAL || (ack == SE_ACK_L3 && home != HOME_L1));
    pass_over(&floors[w->id], w->version, number);
    pass_over(&sure[w->id], w->version, number);
    raise_floor(w->id, w->version, number);
    if (result == SE_OK && ack == SE_ACK_L3)
        check_acked_home(number);
}

/* ---- reads ---- */

struct model_glance model_glance(unsigned id)
{
    return (struct model_glance){.id = (uint8_t)id,
                                 .floor = floors[id].version,
                                 .floor_write = floors[id].write,
                                 .sure = sure[id].version,
                                 .sure_write = sure[id].write,
                                 .over = floors[id].over,
                                 .began = ++events,
                                 .began_ns = sim_now_ns(),
                                 .life = life};
}

/* May this write have taken the id away after the floor? */
static bool may_have_removed(const struct model_write *w, const struct model_glance *g)
{
    if (!leaves_nothing(w) || w->status == WRITE_FAILED)
        return false;
    if (w->version)
        return w->version >= g->floor;
    /* Not known: it got its version while it was under way. */
    return w->status != WRITE_MAYBE || w->ended > writes[g->floor_write].began;
}

static bool may_be_absent(const struct model_glance *g)
{
    if (g->floor_write < 0 || lost_to_purge(g->floor))
        return true;
    for (int w = last_of[g->id]; w >= 0; w = before[w])
        if (may_have_removed(&writes[w], g))
            return true;
    return false;
}

static _Noreturn void wrongly_absent(const struct model_glance *g, const char *who)
{
    char name[32];
    model_id(g->id, name);
    sim_fail("%s says that '%s' is nowhere; write %d of version %" PRIu64
             " was there before the call (home has %" PRIu64 ")",
             who, name, g->floor_write, g->floor, model_home_version(g->id));
}

static void check_error(const struct model_glance *g, se_result result)
{
    if (!model_excuses(g, result))
        sim_fail("a read of id %u ends with %d (%s) without a reason: %s", g->id, (int)result,
                 se_strerror(result), se_errmsg());
}

static void check_version(const struct model_glance *g, int number, uint64_t version)
{
    struct model_write *w = &writes[number];
    if (w->status == WRITE_FAILED)
        sim_fail("write %d was refused, and is read", number);
    if (version < w->version) /* it has been given a higher one meanwhile */
        version = w->version;
    /* A cache entry may vanish, and before another engine is noticed its row is not known of. */
    if (w->life == FOREIGN && g->floor_write >= 0 && writes[g->floor_write].cache_entry)
        return;
    if (version < g->floor)
        sim_fail("id %u shows write %d of version %" PRIu64 " after write %d of version %" PRIu64
                 " (home has %" PRIu64 ")",
                 g->id, number, version, g->floor_write, g->floor, model_home_version(g->id));
    if (!foreigners && w->life < g->life && version <= g->over)
        sim_fail("id %u shows write %d of version %" PRIu64 " of an earlier life after write %d",
                 g->id, number, version, g->floor_write);
    w->version = version;
}

static bool is_over(const struct model_glance *g)
{
    return g->life != life;
}

/* By the floor that holds now. */
static struct model_glance fair(const struct model_glance *g)
{
    struct model_glance f = *g;
    if (model_outage()) {
        f.floor = g->sure;
        f.floor_write = g->sure_write;
    }
    return f;
}

void model_read_end(const struct model_glance *at_begin, se_result result, const se_item *item)
{
    struct model_glance now = fair(at_begin), *g = &now;
    events++;
    if (is_over(g))
        return;
    if (result < 0) {
        check_error(g, result);
        return;
    }
    if (result == SE_NOT_FOUND) {
        if (!may_be_absent(g))
            wrongly_absent(g, "a read");
        return;
    }
    int w = write_of(g->id, se_item_content(item), se_item_content_len(item));
    if (w < 0)
        sim_fail("id %u has a content that was never written to it", g->id);
    check_version(g, w, se_item_version(item));
    if (!model_outage())
        raise_floor(g->id, se_item_version(item), w);
}

/* A copy comes without its version: it must not be one that is known to be older. */
void model_copy_end(const struct model_glance *at_begin, se_result result, const char *bytes,
                    size_t len)
{
    struct model_glance now = fair(at_begin), *g = &now;
    if (result != SE_OK) {
        model_read_end(at_begin, result, NULL);
        return;
    }
    events++;
    if (is_over(g))
        return;
    int w = write_of(g->id, bytes, len);
    if (w < 0)
        sim_fail("id %u has a content that was never written to it", g->id);
    if (writes[w].version)
        check_version(g, w, writes[w].version);
    else if (writes[w].status == WRITE_FAILED)
        sim_fail("write %d was refused, and is read", w);
}

void model_contains_end(const struct model_glance *g, se_result result, bool found)
{
    if (result != SE_OK || !found)
        model_read_end(g, result != SE_OK ? result : SE_NOT_FOUND, NULL);
}

void model_missing(const struct model_glance *g)
{
    if (!is_over(g) && !may_be_absent(g))
        wrongly_absent(g, "the filter");
}

void model_factory_runs(const struct model_glance *g)
{
    if (!is_over(g) && !may_be_absent(g))
        wrongly_absent(g, "cache-aside");
}

/* ---- lives ---- */

static void end_writes(bool clean)
{
    events++;
    for (int i = 0; i < writes_n; i++) {
        struct model_write *w = &writes[i];
        if (w->status == WRITE_UNDER_WAY) {
            w->status = WRITE_MAYBE;
            w->ended = events;
        }
        if (clean && w->status == WRITE_DONE && w->life == life && !w->cache_entry &&
            home != HOME_L1)
            w->durable = true;
    }
}

static void settle_floors(void)
{
    for (unsigned i = 0; i < MODEL_IDS; i++)
        floors[i] = sure[i] = (struct floor){.write = -1};
    for (int i = 0; i < writes_n; i++) {
        const struct model_write *w = &writes[i];
        if (!w->durable)
            continue;
        raise_one(&floors[w->id], w->version, i);
        if (home == HOME_L1 || model_home_reached(w->id) < w->version)
            raise_one(&sure[w->id], w->version, i);
    }
    for (unsigned i = 0; i < MODEL_IDS; i++) {
        uint64_t there = model_home_reached(i);
        int w = there ? write_of_version(i, there) : -1;
        if (w >= 0)
            raise_one(&floors[i], there, w);
    }
}

void model_life_ends(bool clean)
{
    end_writes(clean);
    life = FOREIGN - 1;
    settle_floors();
}

void model_life_begins(unsigned number)
{
    life = number;
    settle_floors();
}

/* ---- the home tier ---- */

static void check_home(int number, uint64_t older_than_ms)
{
    const struct model_write *w = &writes[number];
    if (w->status != WRITE_DONE || w->life != life || w->cache_entry ||
        replaced_by_cache_entry(w) || w->ended_ns + older_than_ms * 1000000 > sim_now_ns() ||
        expired(w) || lost_to_purge(w->version))
        return;
    uint64_t there = model_home_reached(w->id);
    if (there < w->version)
        sim_fail("write %d of id %u, version %" PRIu64 ", was accepted %" PRIu64
                 " ms ago and is not at home (%" PRIu64 " is)",
                 number, w->id, w->version, (sim_now_ns() - w->ended_ns) / 1000000, there);
}

void model_all_home(uint64_t older_than_ms)
{
    for (int i = 0; home != HOME_L1 && i < writes_n; i++)
        check_home(i, older_than_ms);
}

/* The delete that this tombstone must be of: one whose version is not known, else the last. */
static int delete_of(unsigned id, uint64_t version)
{
    int last = -1, under_way = 0;
    for (int w = last_of[id]; w >= 0; w = before[w])
        under_way += writes[w].deleted && writes[w].status == WRITE_UNDER_WAY;
    if (under_way > 1)
        return -1; /* which of them, their callers will tell */
    for (int w = last_of[id]; w >= 0; w = before[w]) {
        if (!writes[w].deleted || writes[w].status == WRITE_FAILED)
            continue;
        if (writes[w].version == 0)
            return w;
        if (last < 0 && writes[w].version < version)
            last = w;
    }
    return last;
}

static int id_of(const char *name)
{
    for (unsigned i = 0; i < MODEL_IDS; i++) {
        char own[32];
        model_id(i, own);
        if (strcmp(own, name) == 0)
            return (int)i;
    }
    sim_fail("a tier is given '%s', which nobody wrote", name);
}

void model_stored(const se_item *item)
{
    unsigned id = (unsigned)id_of(se_item_id(item));
    uint64_t version = se_item_version(item);
    if (write_of_version(id, version) >= 0)
        return;
    int w = se__item_deleted(item) ? delete_of(id, version)
                                   : write_of(id, se_item_content(item), se_item_content_len(item));
    if (w < 0 || writes[w].version > version)
        return;
    writes[w].version = version;
    if (floors[id].write == w)
        raise_floor(id, version, w);
}

void model_confirmed(const se_item *item, uint64_t in_log)
{
    uint64_t version = se_item_version(item);
    /* Cache entries do not go to L3, and take the place of what was on its way there. */
    bool cache_entry = se__item_route(item) == SE_ROUTE_L2;
    unsigned id = (unsigned)id_of(se_item_id(item));
    for (int w = last_of[id]; w >= 0; w = before[w])
        cache_entry = cache_entry || (writes[w].cache_entry &&
                                      (!writes[w].version || writes[w].version >= version));
    uint64_t there = l3_reached(se_item_id(item));
    if (there < version && in_log < version && !cache_entry)
        sim_fail("L2 is given '%s' of version %" PRIu64 "; L3 has %" PRIu64 ", the log %" PRIu64,
                 se_item_id(item), version, there, in_log);
}

void model_final(unsigned id, se_result result, const se_item *item)
{
    struct model_glance g = model_glance(id);
    model_read_end(&g, result, item);
    char name[32];
    const se_item *row = NULL;
    enum record_kind kind = RECORD_TOMBSTONE;
    model_id(id, name);
    uint64_t there = home == HOME_L3 ? l3_version(name, &kind, &row) : 0;
    if (home != HOME_L3 || result < 0)
        return;
    if (model_home_reached(id) < g.floor && !lost_to_purge(g.floor) &&
        !(g.floor_write >= 0 && leaves_nothing(&writes[g.floor_write])))
        sim_fail("in the end L3 has version %" PRIu64 " of '%s', the newest is %" PRIu64, there,
                 name, g.floor);
    if (row && result == SE_OK && se_item_version(item) == there && kind == RECORD_ITEM &&
        se__item_compare(item, row) != 0)
        sim_fail("in the end '%s' of version %" PRIu64 " is another one than in L3", name, there);
    bool live = there && kind == RECORD_ITEM && !se__item_expired(row, sim_wall_ms());
    if (live && result == SE_OK && se_item_version(item) < there)
        sim_fail("in the end '%s' reads as version %" PRIu64 ", L3 has %" PRIu64, name,
                 se_item_version(item), there);
    if (live && result == SE_NOT_FOUND)
        sim_fail("in the end '%s' reads as absent, L3 has version %" PRIu64, name, there);
    if (result == SE_OK && !live && se__item_route(item) != SE_ROUTE_L2)
        sim_fail("in the end '%s' reads as version %" PRIu64 ", L3 holds no such row", name,
                 se_item_version(item));
    if (result == SE_OK && se_item_version(item) < there)
        sim_fail("in the end '%s' reads as version %" PRIu64 ", L3 has %" PRIu64, name,
                 se_item_version(item), there);
}
