/*
 * config - see config.h.
 */
#include "config.h"

#include "engine/options.h"
#include "metrics/metrics.h"
#include "out.h"
#include "term.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t config_count(void)
{
    size_t n;
    se__options(&n);
    return n;
}

static const char *placeholder(enum option_type type)
{
    switch (type) {
    case OPTION_TEXT:
        return "TEXT";
    case OPTION_URL:
        return "URL";
    case OPTION_SIZE:
        return "SIZE";
    case OPTION_BOOL:
        return "true|false";
    case OPTION_ACK:
        return "memory|wal|l3";
    case OPTION_COMPRESSION:
        return "off|on|dictionary";
    case OPTION_U32:
    case OPTION_U64:
    case OPTION_DOUBLE:
        break;
    }
    return "NUMBER";
}

void config_flag(size_t i, struct config_flag *out)
{
    size_t n;
    const struct option *o = se__options(&n) + i;
    *out = (struct config_flag){
        .name = o->name, .value = placeholder(o->type), .fallback = o->fallback, .help = o->help};
    snprintf(out->flag, sizeof out->flag, "%s", o->name);
    snprintf(out->env, sizeof out->env, "SYNC_ENGINE_%s", o->name);
    for (char *c = out->flag; *c; c++)
        *c = *c == '_' ? '-' : *c;
    for (char *c = out->env; *c; c++)
        *c = (char)toupper((unsigned char)*c);
}

bool config_set(se_config *config, size_t i, const char *value)
{
    struct config_flag flag;
    config_flag(i, &flag);
    if (se_config_set(config, flag.name, value) == SE_OK)
        return true;
    term_say("--%s: %s", flag.flag, se_errmsg());
    return false;
}

bool config_env(se_config *config)
{
    if (se_config_from_env(config) == SE_OK)
        return true;
    term_say("environment: %s", se_errmsg());
    return false;
}

bool config_print(const se_config *config)
{
    char *text;
    size_t len;
    if (se_config_text(config, &text, &len) != SE_OK) {
        term_say("configuration: %s", se_errmsg());
        return false;
    }
    out_bytes(text, len);
    free(text);
    if (se__options_check(config) == SE_OK)
        return true;
    term_say("configuration: %s", se_errmsg());
    return false;
}

void config_show(const se_config *config, const char *name, char *out, size_t cap)
{
    const struct option *o = se__option_find(name);
    out[0] = 0;
    if (o)
        se__option_show(config, o, out, cap);
}

void config_markdown(struct buf *out)
{
    se__options_markdown(out);
}

void metrics_markdown(struct buf *out)
{
    se__metrics_markdown(out);
}
