/*
 * write_init - the first part of a write (write.c): the caller's options, checks, and the item.
 *
 * The item is made but for its content, which is copied when all else is done that could be in the way
 * (se__write_fill): until then the processor fetches the memory that it goes to. What the put will look
 * at is fetched meanwhile, too: docs/l1.md.
 */
#include "base/epoch.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "engine/engine.h"

#include <inttypes.h>
#include <string.h>

/* ---- options ---- */

void se_submit_options_init_sized(se_submit_options *options, size_t size)
{
    memset(options, 0, size);
    options->struct_size = size;
}

/* The caller's options as this library knows them; fields beyond an older caller's struct are 0. */
static se_result read_options(const se_submit_options *given, se_submit_options *o)
{
    *o = (se_submit_options){0};
    if (given->struct_size < sizeof(size_t) || given->struct_size > 4096)
        return se__error(SE_ERR_INVALID,
                         "options: struct_size is %zu: call se_submit_options_init() first",
                         given->struct_size);
    memcpy(o, given, given->struct_size < sizeof *o ? given->struct_size : sizeof *o);
    return SE_OK;
}

static se_result check_route(const se_engine *e, uint32_t route)
{
    if (route & ~(uint32_t)ITEM_ROUTE_ALL)
        return se__error(SE_ERR_INVALID, "route: %u is not made of SE_ROUTE_L2 and SE_ROUTE_L3",
                         route);
    if (route == SE_ROUTE_L2 && !e->settings.has_redis)
        return se__error(SE_ERR_INVALID, "route: SE_ROUTE_L2 alone needs a redis_url");
    if (route == SE_ROUTE_L3 && !e->settings.has_sql)
        return se__error(SE_ERR_INVALID, "route: SE_ROUTE_L3 alone needs an sql_url");
    return SE_OK;
}

static se_result check_options(const se_engine *e, const se_submit_options *o)
{
    size_t len;
    se_result r = check_route(e, o->route);
    if (r == SE_OK && o->state)
        r = se__id_check("state", o->state, 1, SE_STATE_MAX, &len);
    if (r != SE_OK)
        return r;
    if ((int)o->content_type < SE_CONTENT_AUTO || o->content_type > SE_CONTENT_JSON)
        return se__error(SE_ERR_INVALID, "content_type: %d is not an se_content_type",
                         (int)o->content_type);
    if ((int)o->ack < SE_ACK_DEFAULT || o->ack > SE_ACK_L3)
        return se__error(SE_ERR_INVALID, "ack: %d is not an se_ack", (int)o->ack);
    if (o->expires_at_ms < 0)
        return se__error(SE_ERR_INVALID, "expires_at_ms: %" PRId64 " is before 1970",
                         o->expires_at_ms);
    if (o->delivery && o->delivery_ack != SE_ACK_DEFAULT && o->delivery_ack != SE_ACK_WAL &&
        o->delivery_ack != SE_ACK_L3)
        return se__error(SE_ERR_INVALID, "delivery_ack: %d is neither SE_ACK_WAL nor SE_ACK_L3",
                         (int)o->delivery_ack);
    if (o->cache_ttl_ms > INT64_MAX)
        return se__error(SE_ERR_INVALID, "cache_ttl_ms: %" PRIu64 " is above %" PRId64,
                         o->cache_ttl_ms, INT64_MAX);
    return SE_OK;
}

se_ack se__write_resolve_ack(const se_engine *e, se_ack ack)
{
    if (ack == SE_ACK_DEFAULT)
        ack = e->settings.c.default_ack;
    if (ack == SE_ACK_WAL && !e->wal)
        ack = SE_ACK_L3;
    if (ack == SE_ACK_L3 && !e->home.ops)
        ack = SE_ACK_MEMORY;
    return ack;
}

/* ---- init ---- */

static se_result check_content(const se_engine *e, const struct write_spec *spec,
                               const se_submit_options *o)
{
    uint64_t max = atomic_load_explicit(&e->payload_max, memory_order_relaxed);
    if (!spec->content && spec->len)
        return se__error(SE_ERR_INVALID, "id '%s': content is NULL and len is %zu", spec->id,
                         spec->len);
    if (spec->len > max)
        return se__error(SE_ERR_TOO_BIG, "id '%s': content of %zu bytes, allowed are %" PRIu64,
                         spec->id, spec->len, max);
    if (o->content_type == SE_CONTENT_JSON && !se__json_valid(spec->content, spec->len))
        return se__error(SE_ERR_INVALID, "id '%s': content_type is JSON and the content is not",
                         spec->id);
    return SE_OK;
}

static struct item_spec spec_of(const struct write_spec *spec, const se_submit_options *o,
                                size_t id_len)
{
    struct item_spec item = {.id = spec->id, .id_len = id_len, .route = (uint8_t)o->route};
    if (spec->deleted) {
        item.deleted = true;
        item.content_type = SE_CONTENT_BINARY;
        return item;
    }
    item.content = spec->content;
    item.content_len = spec->len;
    item.expires_at_ms = o->expires_at_ms;
    item.cache_ttl_ms = o->cache_ttl_ms;
    item.state = o->state;
    item.content_type = o->content_type;
    return item;
}

/* In one stay in the epochs, when the bucket and the filter's lines have come. */
static void look_ahead(se_engine *e, struct write *w)
{
    struct epoch_place inside = se__epoch_enter(se__l1_epochs(e->l1));
    se__l1_expect_entry_inside(e->l1, w->hash);
    se__existence_look_inside(e, w);
    se__epoch_leave(inside);
}

static se_result build(se_engine *e, struct item_spec *item, struct write *w)
{
    uint8_t content_hash[SE_HASH_SIZE];
    w->id = item->id;
    w->id_len = item->id_len;
    w->bytes = item->id_len + item->content_len;
    w->hash = se__l1_hash(e->l1, item->id, item->id_len);
    se__l1_expect_bucket(e->l1, w->hash);
    se__existence_expect(e, w);
    w->entry = se__l1_entry_memory(e->l1);
    w->item = se__item_begin(item);
    if (!w->item)
        return se__error_nomem();
    look_ahead(e, w); /* before the content's hash: what it asks for comes meanwhile */
    se__hash128(0, item->content, item->content_len, content_hash);
    item->content_hash = content_hash;
    w->content = item->content;
    w->content_len = item->content_len;
    item->content = NULL;
    se__item_end(w->item, item);
    w->size = se__item_size_inline(w->item);
    return SE_OK;
}

void se__write_fill(struct write *w)
{
    if (w->content_len)
        memcpy(se__item_fill(w->item), w->content, w->content_len);
    w->content_len = 0;
}

/* Options as the caller gave them, known and checked; all zero are the defaults. */
static se_result take_options(const se_engine *e, const se_submit_options *given,
                              se_submit_options *known, const se_submit_options **o)
{
    static const se_submit_options defaults;
    *o = given ? known : &defaults;
    if (!given)
        return SE_OK;
    se_result r = read_options(given, known);
    return r == SE_OK ? check_options(e, known) : r;
}

se_result se__write_init(se_engine *e, const struct write_spec *spec, struct write *w)
{
    *w = (struct write){0};
    size_t id_len;
    se_submit_options known;
    const se_submit_options *o;
    se_result r = se__id_check("id", spec->id, 1, SE_ID_MAX, &id_len);
    if (r == SE_OK)
        r = take_options(e, spec->options, &known, &o);
    if (r == SE_OK && !spec->deleted)
        r = check_content(e, spec, o);
    if (r != SE_OK)
        return r;
    struct item_spec item = spec_of(spec, o, id_len);
    r = build(e, &item, w);
    w->ack = se__write_resolve_ack(e, o->ack);
    if (r == SE_OK && o->delivery)
        r = se__delivery_ask(e, o, w);
    if (r != SE_OK)
        se__write_done(e, w);
    return r;
}
