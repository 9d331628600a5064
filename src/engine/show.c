/*
 * show - a configuration as text for people: what is set, and no password.
 */
#include "base/mem.h"
#include "base/url.h"
#include "engine/options.h"

#include <stdio.h>
#include <string.h>

#define VALUE_SIZE                                                                                 \
    8192 /* the longest text that passes se__options_check, and URLs without their users */

static void show_url(const char *text, char *out, size_t cap)
{
    struct url url;
    if (se__url_parse("url", text, &url) != SE_OK) {
        snprintf(out, cap, "(malformed)");
        se__error_clear();
        return;
    }
    se__url_describe(&url, out, cap);
    se__url_done(&url);
}

void se__option_show(const se_config *config, const struct option *o, char *out, size_t cap)
{
    const char *at = (const char *)config + o->offset;
    const char *text = NULL;
    if ((o->type == OPTION_TEXT || o->type == OPTION_URL))
        memcpy(&text, at, sizeof text);
    switch (o->type) {
    case OPTION_TEXT:
        snprintf(out, cap, "%s", text ? text : "");
        break;
    case OPTION_URL:
        out[0] = '\0';
        if (text)
            show_url(text, out, cap);
        break;
    case OPTION_U32:
        snprintf(out, cap, "%u", *(const uint32_t *)at);
        break;
    case OPTION_U64:
        snprintf(out, cap, "%llu", (unsigned long long)*(const uint64_t *)at);
        break;
    case OPTION_SIZE:
        snprintf(out, cap, "%zu", *(const size_t *)at);
        break;
    case OPTION_DOUBLE:
        snprintf(out, cap, "%g", *(const double *)at);
        break;
    case OPTION_BOOL:
        snprintf(out, cap, "%s", *(const bool *)at ? "true" : "false");
        break;
    case OPTION_ACK:
        snprintf(out, cap, "%s",
                 *(const se_ack *)at == SE_ACK_WAL  ? "wal"
                 : *(const se_ack *)at == SE_ACK_L3 ? "l3"
                                                    : "memory");
        break;
    case OPTION_COMPRESSION:
        snprintf(out, cap, "%s",
                 *(const se_compression *)at == SE_COMPRESSION_DICTIONARY ? "dictionary"
                 : *(const se_compression *)at == SE_COMPRESSION_ON       ? "on"
                                                                          : "off");
        break;
    }
}

/* Nothing in a value may begin a line of its own. */
static void flatten(char *text)
{
    for (; *text; text++)
        *text = (unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text;
}

static void append_all(const se_config *config, struct buf *out, char *value)
{
    size_t n;
    const struct option *o = se__options(&n);
    for (size_t i = 0; i < n; i++) {
        if (!se__option_present(config, &o[i]))
            continue;
        se__option_show(config, &o[i], value, VALUE_SIZE);
        flatten(value);
        se__buf_printf(out, "%s = %s\n", o[i].name, value);
    }
}

se_result se_config_text(const se_config *config, char **text, size_t *len)
{
    if (!config || !text || !len)
        return se__error(SE_ERR_INVALID, "config, text and len must not be NULL");
    char *value = se__alloc(VALUE_SIZE);
    if (!value)
        return se__error_nomem();
    struct buf out = {0};
    append_all(config, &out, value);
    se__free(value);
    size_t n = 0;
    char *taken = se__buf_give(&out, &n);
    if (!taken)
        return se__error_nomem();
    *text = taken;
    *len = n;
    return SE_OK;
}
