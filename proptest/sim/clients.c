/*
 * clients.c - see clients.h.
 */
#include "sim/clients.h"

#include "engine/engine.h"
#include "sim/l2.h"
#include "sim/sched.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 4, READ_SLACK_MS = 60, CALM_MS = 3000 };

struct client {
    struct task *task;
    const struct step *steps[SCRIPT_STEPS_MAX];
    unsigned given, taken, done;
    char content[MODEL_CONTENT_MAX], buffer[MODEL_CONTENT_MAX];
};

static struct client all[CLIENTS];
static struct shape shape;
static bool ending;

static unsigned draw(uint64_t *c, unsigned n)
{
    return (unsigned)((sim_mix(c) >> 32) * n >> 32);
}

/* ---- writes ---- */

/* What an SE_OK promises. */
static se_ack resolved(se_ack ack)
{
    if (ack == SE_ACK_DEFAULT)
        ack = shape.ack;
    if (ack == SE_ACK_WAL && !shape.wal)
        ack = SE_ACK_L3;
    return ack == SE_ACK_L3 && !shape.sql && !shape.redis ? SE_ACK_MEMORY : ack;
}

static void draw_options(uint64_t *c, bool deleted, se_submit_options *o)
{
    se_submit_options_init(o);
    unsigned ack = draw(c, 10), route = draw(c, 10), life = draw(c, 20);
    o->ack = ack < 5 ? SE_ACK_DEFAULT : ack < 8 ? SE_ACK_WAL : SE_ACK_L3;
    if (deleted)
        return;
    if (route == 0 && shape.redis)
        o->route = SE_ROUTE_L2;
    else if (route == 1 && shape.sql)
        o->route = SE_ROUTE_L3;
    if (life < 2 && shape.sql) /* where Redis is the home it would end the item */
        o->cache_ttl_ms = 20 + draw(c, 400);
    else if (life == 2)
        o->expires_at_ms = sim_wall_ms() + 20 + draw(c, 3000);
}

static int begin_write(unsigned id, bool deleted, const se_submit_options *o)
{
    struct model_new spec = {.id = id,
                             .deleted = deleted,
                             .cache_entry = o->route == SE_ROUTE_L2 && shape.sql,
                             .expires_at_ms = o->expires_at_ms};
    return model_write_begin(&spec);
}

static void check_write(se_result r)
{
    bool known = r >= 0 || r == SE_ERR_BACKPRESSURE || (r == SE_ERR_STATE && engine_ending());
    struct model_glance now = {.floor_write = -1};
    if (!known && !(r == SE_ERR_IO && model_excuses(&now, r)))
        sim_fail("a write ends with %d: %s", (int)r, se_errmsg());
}

static size_t draw_len(uint64_t *c)
{
    return draw(c, 3) ? 10 + draw(c, 300) : draw(c, MODEL_CONTENT_MAX - 20);
}

static void put(struct client *cl, se_engine *e, unsigned id, uint64_t *c, bool deleted,
                bool lazily)
{
    char name[32];
    se_submit_options o;
    uint64_t version = 0;
    model_id(id, name);
    draw_options(c, deleted, &o);
    if (lazily) /* nobody waits, so that only its age sends a batch off */
        o.ack = SE_ACK_MEMORY;
    int w = begin_write(id, deleted, &o);
    size_t len = deleted ? 0 : model_content(w, draw_len(c), cl->content);
    struct write_spec spec = {
        .id = name, .content = cl->content, .len = len, .options = &o, .deleted = deleted};
    sim_say("%s %d '%s' ack %d route %u", deleted ? "delete" : "put", w, name, (int)o.ack, o.route);
    /* What se_submit and se_delete are, with the version. */
    se_result r = se__write_one(e, &spec, &version);
    sim_say("   %d: %d version %llu", w, (int)r, (unsigned long long)version);
    check_write(r);
    model_write_end(w, r, version, resolved(o.ack));
}

static void put_quickly(struct client *cl, se_engine *e, unsigned id)
{
    char name[32];
    se_submit_options o;
    uint64_t version = 0;
    model_id(id, name);
    se_submit_options_init(&o);
    o.ack = SE_ACK_MEMORY;
    int w = begin_write(id, false, &o);
    size_t len = model_content(w, 20, cl->content);
    struct write_spec spec = {.id = name, .content = cl->content, .len = len, .options = &o};
    se_result r = se__write_one(e, &spec, &version);
    sim_say("put %d '%s': %d", w, name, (int)r);
    check_write(r);
    model_write_end(w, r, version, SE_ACK_MEMORY);
}

static void put_many(se_engine *e, unsigned id, uint64_t *c)
{
    char contents[MANY][400]; /* lent for the call */
    char names[MANY][32];
    int ws[MANY];
    se_submit_options o[MANY];
    se_put puts[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        char content[MODEL_CONTENT_MAX];
        unsigned which = (id + i * 3) % MODEL_IDS_COMMON;
        model_id(which, names[i]);
        draw_options(c, false, &o[i]);
        ws[i] = begin_write(which, false, &o[i]);
        size_t len = model_content(ws[i], 10 + draw(c, 300), content);
        memcpy(contents[i], content, len);
        puts[i] = (se_put){.id = names[i], .content = contents[i], .len = len, .options = &o[i]};
    }
    sim_say("put_many %d..%d", ws[0], ws[MANY - 1]);
    (void)se_submit_many(e, puts, MANY, NULL);
    for (unsigned i = 0; i < MANY; i++) {
        if (puts[i].result != SE_ERR_ABORTED)
            check_write(puts[i].result);
        sim_say("   %d: %d", ws[i], (int)puts[i].result);
        model_write_end(ws[i], puts[i].result, puts[i].version, resolved(o[i].ack));
    }
}

/* One id, written faster than batches leave: it must leave all the same. */
static void hot(struct client *cl, unsigned id, uint64_t *c)
{
    if (draw(c, 2))
        sim_sleep_ms(CALM_MS + 200);
    uint64_t since = sim_now_ms();
    const struct server *home = shape.sql ? &sim_l3.server : &sim_l2.server;
    for (unsigned i = 0; i < 120 && sim_now_ms() - since < 700; i++) {
        uint64_t same = *c;
        se_engine *e = engine_enter();
        put(cl, e, id, &same, false, true);
        engine_leave();
        sim_sleep_ns((uint64_t)shape.batch_ms * 300000 + draw(c, 2000000));
        (void)sim_mix(c);
        uint64_t calm_ns = (since - CALM_MS) * 1000000;
        bool well = home->well_since_ns < calm_ns && engine_since_ns() < calm_ns;
        if (well && !engine_ending() && shape.batch_items > 1)
            model_all_home(shape.batch_ms * 4 + 250);
    }
}

/* ---- reads ---- */

/* A read never takes longer than its time and a tenth. */
static void check_time(const struct model_glance *g, const char *what)
{
    uint64_t took = (sim_now_ns() - g->began_ns) / 1000000;
    if (took > 440 + READ_SLACK_MS && !engine_ending())
        sim_fail("%s of id %u took %llu ms", what, g->id, (unsigned long long)took);
}

static void get(se_engine *e, unsigned id)
{
    char name[32];
    se_item *item = NULL;
    model_id(id, name);
    struct model_glance g = model_glance(id);
    se_result r = se_get(e, name, &item);
    sim_say("get '%s': %d %.8s version %llu (floor %llu)", name, (int)r,
            item ? (const char *)se_item_content(item) : "",
            item ? (unsigned long long)se_item_version(item) : 0, (unsigned long long)g.floor);
    model_read_end(&g, r, item);
    check_time(&g, "se_get");
    se_item_release(item);
}

static void copy(struct client *cl, se_engine *e, unsigned id)
{
    char name[32];
    size_t len = 0;
    model_id(id, name);
    struct model_glance g = model_glance(id);
    se_result r = se_get_copy(e, name, cl->buffer, sizeof cl->buffer, &len);
    model_copy_end(&g, r, cl->buffer, len);
    check_time(&g, "se_get_copy");
}

static void contains(se_engine *e, unsigned id)
{
    char name[32];
    bool found = false;
    model_id(id, name);
    struct model_glance g = model_glance(id);
    se_result r = se_contains(e, name, &found);
    sim_say("contains '%s': %d %d", name, (int)r, found);
    model_contains_end(&g, r, found);
}

static void get_many(se_engine *e, unsigned id)
{
    char names[MANY][32];
    const char *ids[MANY];
    se_item *items[MANY];
    se_result results[MANY];
    struct model_glance g[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        model_id((id + i) % MODEL_IDS_COMMON, names[i]);
        ids[i] = names[i];
        g[i] = model_glance((id + i) % MODEL_IDS_COMMON);
    }
    (void)se_get_many(e, ids, MANY, items, results);
    for (unsigned i = 0; i < MANY; i++) {
        sim_say("get_many '%s': %d", names[i], (int)results[i]);
        model_read_end(&g[i], results[i], items[i]);
        se_item_release(items[i]);
    }
}

static void look_for_a_false_no(se_engine *e, unsigned id)
{
    char name[32];
    model_id(id, name);
    struct model_glance g = model_glance(id);
    if (se_definitely_missing(e, name))
        model_missing(&g);
}

/* ---- cache-aside ---- */

struct aside {
    struct model_glance glance;
    struct client *client;
    uint64_t chance;
    se_submit_options options;
    int write; /* -1: the factory did not run */
};

static se_result make(void *arg, const char *id, void **content, size_t *len)
{
    struct aside *a = arg;
    (void)id;
    model_factory_runs(&a->glance);
    a->write = begin_write(a->glance.id, false, &a->options);
    char *made = malloc(MODEL_CONTENT_MAX);
    if (!made)
        abort();
    *len = model_content(a->write, 10 + draw(&a->chance, 200), made);
    *content = made;
    if (draw(&a->chance, 3) == 0)
        sim_sleep_ms(draw(&a->chance, 60));
    return SE_OK;
}

static void end_factory(const struct aside *a, se_result r, const se_item *item)
{
    char head[MODEL_CONTENT_MAX];
    if (a->write < 0)
        return;
    size_t len = model_content(a->write, 0, head);
    bool ours = r >= 0 && item && se_item_content_len(item) >= len &&
                memcmp(se_item_content(item), head, len) == 0;
    model_write_end(a->write, ours ? r : SE_ERR_ABORTED, ours ? se_item_version(item) : 0,
                    resolved(SE_ACK_DEFAULT));
}

static void aside(struct client *cl, se_engine *e, unsigned id, uint64_t *c)
{
    char name[32];
    se_item *item = NULL;
    model_id(id, name);
    struct aside a = {.glance = model_glance(id), .client = cl, .chance = *c, .write = -1};
    se_submit_options_init(&a.options);
    se_result r = se_get_or_insert_with(e, name, make, &a, &a.options, &item);
    sim_say("aside '%s': %d, write %d", name, (int)r, a.write);
    struct model_glance anyone = a.glance;
    anyone.floor_write = anyone.sure_write = -1; /* no write is based on what only the log has */
    if (r < 0 && r != SE_ERR_BACKPRESSURE && r != SE_ERR_TIMEOUT)
        model_read_end(&anyone, r, NULL);
    end_factory(&a, r, item);
    if (r >= 0)
        model_read_end(&a.glance, item ? SE_OK : SE_NOT_FOUND, item);
    se_item_release(item);
}

/* ---- the rest ---- */

static void invalidate(se_engine *e, unsigned id, uint64_t *c)
{
    char name[32];
    model_id(id, name);
    bool one = draw(c, 3) > 0;
    sim_say("invalidate %s", one ? name : "all");
    (void)(one ? se_invalidate(e, name) : se_invalidate_prefix(e, "u"));
}

static void flush(se_engine *e)
{
    se_result r = se_flush(e, 500);
    sim_say("flush: %d", (int)r);
}

static void call(struct client *cl, const struct step *s)
{
    uint64_t c = s->chance;
    se_engine *e = engine_enter();
    switch (s->kind) {
    case STEP_PUT:
    case STEP_DELETE:
        put(cl, e, s->id, &c, s->kind == STEP_DELETE, false);
        break;
    case STEP_PUT_QUICK:
        put_quickly(cl, e, s->id);
        break;
    case STEP_COPY:
        copy(cl, e, s->id);
        break;
    case STEP_CONTAINS:
        contains(e, s->id);
        break;
    case STEP_GET_MANY:
        get_many(e, s->id);
        break;
    case STEP_PUT_MANY:
        put_many(e, s->id, &c);
        break;
    case STEP_ASIDE:
        aside(cl, e, s->id, &c);
        break;
    case STEP_INVALIDATE:
        invalidate(e, s->id, &c);
        break;
    case STEP_FLUSH:
        flush(e);
        break;
    default:
        get(e, s->id);
    }
    look_for_a_false_no(e, draw(&c, 2) ? s->id : draw(&c, MODEL_IDS));
    engine_leave();
    if (s->kind == STEP_HOT)
        hot(cl, s->id, &c);
}

static void run(void *arg)
{
    struct client *cl = arg;
    for (;;) {
        while (cl->taken == cl->given && !ending)
            (void)sim_wait(cl, SIM_FOREVER);
        if (cl->taken == cl->given)
            return;
        call(cl, cl->steps[cl->taken++]);
        cl->done++;
        sim_wake_all(all);
    }
}

/* ---- for the driver ---- */

void clients_look_for_false_nos(se_engine *e)
{
    for (unsigned i = 0; i < MODEL_IDS; i++)
        look_for_a_false_no(e, i);
}

void clients_begin(const struct shape *s)
{
    shape = *s;
    ending = false;
    for (unsigned i = 0; i < CLIENTS; i++) {
        char name[24];
        snprintf(name, sizeof name, "client %u", i);
        all[i].given = all[i].taken = all[i].done = 0;
        all[i].task = sim_spawn(name, run, &all[i]);
    }
}

void clients_give(const struct step *step)
{
    struct client *cl = &all[step->client];
    cl->steps[cl->given++] = step;
    sim_wake_all(cl);
}

static bool all_done(void)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        if (all[i].done < all[i].given)
            return false;
    return true;
}

void clients_settle(void)
{
    while (!all_done())
        (void)sim_wait(all, SIM_FOREVER);
}

void clients_end(void)
{
    ending = true;
    for (unsigned i = 0; i < CLIENTS; i++) {
        sim_wake_all(&all[i]);
        sim_join(all[i].task);
    }
}

void clients_check_all(se_engine *e)
{
    for (unsigned i = 0; i < MODEL_IDS; i++) {
        char name[32];
        se_item *item = NULL;
        if (!model_is_written(i))
            continue;
        model_id(i, name);
        se_result r = se_get(e, name, &item);
        model_final(i, r, item);
        se_item_release(item);
        look_for_a_false_no(e, i);
    }
}
