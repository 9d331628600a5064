/*
 * aside - cache-aside: the factory runs once per id, however many ask.
 *
 * The leader of the id's factory flight looks once more, runs the factory without any lock, and
 * writes its content on the condition that the id is still absent: by the look's epoch and L1's
 * entry, under the stripe's lock. If it is not, the existing item wins. An outage is not an
 * absence: the factory does not run.
 */
#include "base/utf8.h"
#include "engine/engine.h"

#include <stdlib.h>

struct aside {
    se_engine *e;
    const char *id;
    se_factory_fn factory;
    void *arg;
    const se_submit_options *options;
    uint64_t deadline_ms;
    struct seat seat; /* in the factories' flights */
    bool leads;       /* and has not landed */
};

static se_result look(const struct aside *a, struct lookup *l)
{
    se_result r = se__lookup_init(a->e, a->id, l);
    l->unseen = true;
    l->sure = true; /* no factory runs in an outage, even where the filter could tell */
    if (r == SE_OK)
        r = se__lookup(a->e, l, 1, a->deadline_ms);
    return r == SE_OK ? l->result : r;
}

static void land(struct aside *a, se_result result, se_item *item)
{
    if (a->leads)
        se__flight_land(a->e->factories, &a->seat, result, item, false);
    a->leads = false;
}

/* Writes content if the id is still absent by `basis`. *conflict: it is not. */
static se_result insert(struct aside *a, const struct lookup *basis, const void *content,
                        size_t len, se_item **item, bool *conflict)
{
    struct write_spec spec = {.id = a->id, .content = content, .len = len, .options = a->options};
    struct write w = {0};
    size_t failed;
    *conflict = false;
    se_result r = se__enter(a->e);
    if (r != SE_OK)
        return r;
    uint64_t deadline = se__deadline_in(a->e->settings.c.ack_timeout_ms);
    r = se__write_init(a->e, &spec, &w);
    w.expect = L1_EXPECT_ABSENT;
    w.expected_epoch = basis->epoch;
    if (r == SE_OK)
        r = se__write_publish(a->e, &w, 1, deadline, &failed);
    se__leave(a->e);
    *conflict = r == SE_OK && w.conflict;
    if (r == SE_OK && !w.conflict) {
        /* Followers do not wait for our ack, and who comes later finds the item, or
         * that it has been deleted again. */
        land(a, SE_OK, w.item);
        r = se__write_ack(a->e, &w, deadline);
        *item = se_item_retain(w.item);
    }
    se__write_done(a->e, &w);
    return r;
}

/* With the factory's content in hand: inserts it, or finds what came first. */
static se_result insert_or_find(struct aside *a, struct lookup *basis, const void *content,
                                size_t len, se_item **item)
{
    bool conflict = true;
    se_result r = SE_NOT_FOUND;
    while (r == SE_NOT_FOUND) { /* absent at every look: somebody inserts and deletes meanwhile */
        r = insert(a, basis, content, len, item, &conflict);
        if (!conflict)
            return r;
        r = look(a, basis);
        if (r == SE_OK)
            *item = basis->item;
        else if (se__deadline_left(a->deadline_ms) == 0)
            return se__error(SE_ERR_TIMEOUT, "id '%s': other writes came between every time",
                             a->id);
    }
    return r;
}

static se_result run_factory(struct aside *a, struct lookup *basis, se_item **item)
{
    void *content = NULL;
    size_t len = 0;
    se__metrics_inc(a->e->metrics, M_FACTORY_RUNS);
    se_result r = a->factory(a->arg, a->id, &content, &len);
    a->deadline_ms = se__read_deadline(a->e); /* the factory's time is its own */
    if (r == SE_OK)
        r = insert_or_find(a, basis, content, len, item);
    else
        se__error(r, "id '%s': the factory returned %d (%s)", a->id, (int)r, se_strerror(r));
    free(content);
    return r;
}

static se_result lead(struct aside *a, se_item **item)
{
    struct lookup l = {0};
    a->leads = true;
    se_result r = look(a, &l); /* again: the last leader may just have landed */
    if (r == SE_OK)
        *item = l.item;
    else if (r == SE_NOT_FOUND)
        r = run_factory(a, &l, item);
    land(a, r, *item);
    return r;
}

static se_result follow(struct aside *a, se_item **item)
{
    bool again, own = se__flight_mine(&a->seat);
    se_result r =
        se__flight_follow(a->e->factories, &a->seat, own ? 0 : a->deadline_ms, item, &again);
    if (own)
        return se__error(SE_ERR_STATE, "id '%s': asked for inside its own factory", a->id);
    if (r == SE_ERR_TIMEOUT)
        return se__error(r, "id '%s': another caller's factory did not end within read_timeout_ms",
                         a->id);
    return r;
}

/* What a flight brought may have been deleted before this caller came: it looks for itself,
 * and joins the next one if so. */
static se_result join(struct aside *a, struct lookup *l, se_item **item)
{
    se_result r = SE_NOT_FOUND;
    while (r == SE_NOT_FOUND) {
        se__flight_join(a->e->factories, l->hash, a->id, l->id_len, &a->seat);
        if (a->seat.leads)
            return lead(a, item);
        se_item *theirs = NULL;
        r = follow(a, &theirs);
        se_item_release(theirs);
        if (!theirs)
            return r;
        r = look(a, l);
        *item = r == SE_OK ? l->item : NULL;
        if (r == SE_NOT_FOUND && se__deadline_left(a->deadline_ms) == 0)
            return se__error(SE_ERR_TIMEOUT, "id '%s': deleted every time it was made", a->id);
    }
    return r;
}

se_result se_get_or_insert_with(se_engine *e, const char *id, se_factory_fn factory, void *arg,
                                const se_submit_options *options, se_item **item)
{
    if (!factory || !item)
        return se__error(SE_ERR_INVALID, "factory and item must not be NULL");
    *item = NULL;
    se_result r = se__look_in(e);
    if (r == SE_OK && e->settings.c.read_only)
        r = se__error(SE_ERR_STATE, "the engine was opened read_only");
    if (r != SE_OK)
        return r;
    struct aside a = {.e = e,
                      .id = id,
                      .factory = factory,
                      .arg = arg,
                      .options = options,
                      .deadline_ms = se__read_deadline(e)};
    struct lookup l = {0};
    r = look(&a, &l);
    if (r == SE_OK)
        *item = l.item;
    return r == SE_NOT_FOUND ? join(&a, &l, item) : r;
}
