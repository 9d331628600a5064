/*
 * relay - see relay.h.
 */
#include "filter/relay.h"

#include "tier/sights.h"

void se__relay_init(struct relay *r, bool threaded,
                    se_result (*use)(void *arg, const struct relay_page *page), void *arg)
{
    *r = (struct relay){.use = use, .arg = arg, .refused = !threaded};
    se__mutex_init(&r->lock);
    se__cond_init(&r->changed);
}

/* ---- the thread ---- */

/* With the lock held, which is given back meanwhile. */
static void use_page(struct relay *r)
{
    se_result result = r->result;
    se__mutex_unlock(&r->lock);
    if (result == SE_OK)
        result = r->use(r->arg, &r->page);
    se__mutex_lock(&r->lock);
    r->result = result;
    r->full = false;
    se__cond_signal(&r->changed);
}

static void run(void *arg)
{
    struct relay *r = arg;
    se__mutex_lock(&r->lock);
    while (r->full || !r->stop) {
        if (r->full)
            use_page(r);
        else
            se__cond_wait(&r->changed, &r->lock);
    }
    se__mutex_unlock(&r->lock);
}

/* ---- who gives ---- */

static bool has_thread(struct relay *r, size_t ids)
{
    if (!r->thread.started && !r->refused && ids >= RELAY_PAGE_MIN)
        r->refused = se__thread_start(&r->thread, "se-filter-note", run, r) != SE_OK;
    return r->thread.started;
}

static void put(struct relay *r, struct tier_sights *sights, uint32_t first, uint32_t last,
                bool ends)
{
    struct tier_sights spare = r->page.sights;
    r->page = (struct relay_page){.sights = *sights, .first = first, .last = last, .ends = ends};
    *sights = spare;
    r->full = true;
}

se_result se__relay_give(struct relay *r, struct tier_sights *sights, uint32_t first, uint32_t last,
                         bool ends)
{
    bool threaded = has_thread(r, sights->n);
    se__mutex_lock(&r->lock);
    while (r->full)
        se__cond_wait(&r->changed, &r->lock);
    put(r, sights, first, last, ends);
    if (threaded)
        se__cond_signal(&r->changed);
    else
        use_page(r);
    se_result result = r->result;
    se__mutex_unlock(&r->lock);
    return result;
}

se_result se__relay_done(struct relay *r)
{
    se__mutex_lock(&r->lock);
    r->stop = true;
    se__cond_signal(&r->changed);
    se__mutex_unlock(&r->lock);
    se__thread_join(&r->thread); /* it uses what it has first */
    se_result result = r->result;
    se__sights_done(&r->page.sights);
    se__cond_done(&r->changed);
    se__mutex_done(&r->lock);
    return result;
}
