/*
 * fixture - see fixture.h.
 */
#include "l2/fixture.h"

#include <stdio.h>
#include <stdlib.h>

struct redis_server server;
struct l2 l2;

static const char *text_or(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

static void drop_line(void *arg, se_log_level level, const char *message)
{
    (void)arg;
    (void)level;
    (void)message;
}

void l2_open(struct l2 *l, struct redis_server *on, const struct l2_options *options)
{
    static const struct l2_options NONE;
    const struct l2_options *o = options ? options : &NONE;
    static const struct se__log QUIET = {.fn = drop_line, .name = "test"};
    char text[256];
    struct url url;
    *l = (struct l2){.server = on};
    if (o->tcp)
        redis_server_tcp_url(on, text, sizeof text);
    else
        redis_server_url(on, text, sizeof text);
    cr_assert_eq(se__url_parse("redis_url", text_or(o->url, text), &url), SE_OK);
    struct redis_options ro = {.url = &url,
                               .prefix = text_or(o->prefix, PREFIX),
                               .timeout_ms = o->timeout_ms ? o->timeout_ms : 5000,
                               .read_connections = o->readers ? o->readers : 1,
                               .workers = o->workers ? o->workers : 1,
                               .home = o->home,
                               .log = &QUIET};
    cr_assert_eq(se__redis_open(&ro, &l->tier, &l->redis), SE_OK);
    se__url_done(&url);
    if (o->not_accepted)
        return;
    cr_assert_eq(l->tier.ops->prepare(l->tier.self, se__deadline_in(PATIENCE_MS)), SE_OK, "%s",
                 se_errmsg());
    if (!o->home)
        l2_accept(l, GENERATION);
}

void l2_start(const struct redis_server_options *with, const struct l2_options *options)
{
    redis_server_start(&server, with);
    l2_open(&l2, &server, options);
}

void l2_setup(void)
{
    l2_start(NULL, NULL);
}

void l2_teardown(void)
{
    l2_close(&l2);
    redis_server_stop(&server);
}

void l2_close(struct l2 *l)
{
    if (l->tier.ops)
        l->tier.ops->close(l->tier.self);
    *l = (struct l2){0};
}

void l2_accept(struct l2 *l, uint64_t generation)
{
    char identity[128];
    se__redis_identity(l->redis, identity);
    cr_assert_neq(identity[0], '\0');
    se__redis_accept(l->redis, identity, generation);
}

se_item *l2_item(const char *id, const char *content, uint64_t version)
{
    struct item_spec spec = {.id = id,
                             .id_len = strlen(id),
                             .content = content,
                             .content_len = strlen(content),
                             .version = version,
                             .updated_at_ms = 1700000000000};
    se_item *item = se__item_new(&spec);
    cr_assert_neq(item, NULL);
    return item;
}

se_item *l2_tombstone(const char *id, uint64_t version)
{
    struct item_spec spec = {.id = id, .id_len = strlen(id), .version = version, .deleted = true};
    se_item *item = se__item_new(&spec);
    cr_assert_neq(item, NULL);
    return item;
}

enum tier_state l2_put(struct l2 *l, se_item *item, enum record_kind kind)
{
    struct tier_write write = {.item = item, .kind = kind};
    struct tier_reply reply =
        l->tier.ops->write(l->tier.self, 0, &write, 1, se__deadline_in(PATIENCE_MS));
    se_item_release(item);
    cr_assert_eq(reply.fault, TIER_FINE, "%s", se_errmsg());
    return write.state;
}

enum tier_found l2_get(struct l2 *l, const char *id, se_item **item)
{
    struct tier_read read = {.id = id, .id_len = strlen(id)};
    struct tier_reply reply =
        l->tier.ops->read(l->tier.self, &read, 1, se__deadline_in(PATIENCE_MS));
    cr_assert_eq(reply.fault, TIER_FINE, "%s", se_errmsg());
    cr_assert_eq(read.item != NULL, read.found == TIER_HIT);
    if (item)
        *item = read.item;
    else
        se_item_release(read.item);
    return read.found;
}

bool l2_holds(struct l2 *l, const char *id, const char *content, uint64_t version)
{
    se_item *item = NULL;
    bool holds = l2_get(l, id, &item) == TIER_HIT && !se__item_deleted(item) &&
                 se_item_version(item) == version && se_item_content_len(item) == strlen(content) &&
                 memcmp(se_item_content(item), content, strlen(content)) == 0;
    se_item_release(item);
    return holds;
}

long l2_pttl(struct l2 *l, const char *id)
{
    char out[64];
    redis_server_ask(l->server, out, sizeof out, "PTTL %s%s", PREFIX, id);
    return atol(out);
}
