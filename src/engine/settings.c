/*
 * settings - takes the caller's configuration apart, checks it and owns a copy.
 *
 * A caller compiled against an older header has a shorter se_config: fields beyond its struct_size
 * get their defaults.
 */
#include "engine/settings.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "engine/options.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const size_t text_fields[] = {
    offsetof(se_config, name),         offsetof(se_config, redis_url),
    offsetof(se_config, redis_prefix), offsetof(se_config, sql_url),
    offsetof(se_config, sql_table),    offsetof(se_config, wal_path),
    offsetof(se_config, cdc_stream)};

static char **text_at(se_config *c, size_t i)
{
    return (char **)((char *)c + text_fields[i]);
}

/* Replaces every string by a copy of our own; "" counts as not set. On failure
 * those not yet copied are NULL. */
static se_result copy_texts(se_config *c)
{
    const char *from[sizeof text_fields / sizeof *text_fields];
    for (size_t i = 0; i < sizeof text_fields / sizeof *text_fields; i++) {
        from[i] = *text_at(c, i);
        *text_at(c, i) = NULL;
    }
    for (size_t i = 0; i < sizeof text_fields / sizeof *text_fields; i++) {
        if (!from[i] || !*from[i])
            continue;
        *text_at(c, i) = se__strdup(from[i]);
        if (!*text_at(c, i))
            return se__error_nomem();
    }
    return SE_OK;
}

static se_result fill_defaults(se_config *c)
{
    static const struct {
        size_t field;
        const char *text;
    } defaults[] = {{offsetof(se_config, redis_prefix), "sync:"},
                    {offsetof(se_config, sql_table), "sync_items"}};
    for (size_t i = 0; i < 2; i++) {
        char **at = (char **)((char *)c + defaults[i].field);
        if (!*at && !(*at = se__strdup(defaults[i].text)))
            return se__error_nomem();
    }
    if (c->default_ack == SE_ACK_DEFAULT)
        c->default_ack = SE_ACK_MEMORY;
    if (!c->name) {
        char host[64] = "localhost", name[96];
        gethostname(host, sizeof host - 1);
        snprintf(name, sizeof name, "%s:%ld", host, (long)getpid());
        name[63] = '\0';
        if (!(*text_at(c, 0) = se__strdup(name)))
            return se__error_nomem();
    }
    return SE_OK;
}

static se_result check_texts(const se_config *c)
{
    size_t len;
    se_result r = se__id_check("name", c->name, 1, 63, &len);
    if (r == SE_OK)
        r = se__id_check("redis_prefix", c->redis_prefix, 1, 128, &len);
    return r == SE_OK ? SE_OK : se__error(SE_ERR_CONFIG, "%s", se_errmsg());
}

static se_result parse_urls(struct settings *s)
{
    if (s->c.redis_url) {
        se_result r = se__url_parse("redis_url", s->c.redis_url, &s->redis);
        if (r != SE_OK)
            return r;
        s->has_redis = true;
        if (!se__url_is_redis(&s->redis))
            return se__error(SE_ERR_CONFIG, "redis_url: the scheme must be redis:// or unix://");
    }
    if (s->c.sql_url) {
        se_result r = se__url_parse("sql_url", s->c.sql_url, &s->sql);
        if (r != SE_OK)
            return r;
        s->has_sql = true;
        if (se__url_is_redis(&s->sql))
            return se__error(SE_ERR_CONFIG, "sql_url: the scheme must be mysql:// or sqlite:");
    }
    return SE_OK;
}

static se_result refuse_unsupported(const se_config *c)
{
    if (c->shared)
        return se__error(
            SE_ERR_UNSUPPORTED,
            "shared: this version keeps the caches of one engine coherent, not of several");
    if (c->cdc_stream)
        return se__error(SE_ERR_UNSUPPORTED, "cdc_stream: this version writes no change stream");
    return SE_OK;
}

se_result se__settings_open(const se_config *config, struct settings *settings)
{
    *settings = (struct settings){0};
    if (config->struct_size < sizeof(size_t) || config->struct_size > 65536)
        return se__error(SE_ERR_CONFIG, "struct_size is %zu: call se_config_init() first",
                         config->struct_size);
    se_config *c = &settings->c;
    se_config_init(c);
    size_t known = config->struct_size < sizeof *c ? config->struct_size : sizeof *c;
    memcpy(c, config, known);
    c->struct_size = sizeof *c;
    c->owned = NULL;
    se_result r = copy_texts(c);
    if (r == SE_OK)
        r = fill_defaults(c);
    if (r == SE_OK)
        r = se__options_check(c);
    if (r == SE_OK)
        r = check_texts(c);
    if (r == SE_OK)
        r = refuse_unsupported(c);
    if (r == SE_OK)
        r = parse_urls(settings);
    if (r != SE_OK) {
        se__settings_done(settings);
        return r;
    }
    settings->log =
        (struct se__log){.fn = c->log_fn, .event_fn = c->log_event_fn, .arg = c->log_arg};
    snprintf(settings->log.name, sizeof settings->log.name, "%s", c->name);
    return SE_OK;
}

void se__settings_done(struct settings *s)
{
    for (size_t i = 0; i < sizeof text_fields / sizeof *text_fields; i++) {
        char *text = *text_at(&s->c, i);
        if (text)
            explicit_bzero(text, strlen(text)); /* URLs hold passwords */
        se__free(text);
        *text_at(&s->c, i) = NULL;
    }
    if (s->has_redis)
        se__url_done(&s->redis);
    if (s->has_sql)
        se__url_done(&s->sql);
    s->has_redis = s->has_sql = false;
}
