/*
 * options - the table of every field of se_config: name, unit, range, default, help.
 *
 * The one table drives defaults, checks, se_config_set, the environment, the tool's --help and
 * docs/configuration.md. A field of se_config without a line here does not exist.
 *
 * Threads: any; constant.
 */
#ifndef SE_ENGINE_OPTIONS_H
#define SE_ENGINE_OPTIONS_H

#include "base/buf.h"

enum option_type {
    OPTION_TEXT, /* const char *; "" or NULL: not set */
    OPTION_URL,  /* as TEXT, may hold a password: never printed as it is */
    OPTION_U32,
    OPTION_U64,
    OPTION_SIZE, /* size_t; "64MiB", "1GiB", "512KiB", "100kB" or plain bytes */
    OPTION_DOUBLE,
    OPTION_BOOL,       /* true/false, yes/no, on/off, 1/0 */
    OPTION_ACK,        /* memory, wal, l3 */
    OPTION_COMPRESSION /* off, on, dictionary */
};

struct option {
    const char *name;
    enum option_type type;
    size_t offset;        /* in se_config */
    const char *fallback; /* the default, as text; NULL: not set */
    double min, max;      /* of numbers */
    const char *help;     /* one sentence */
};

const struct option *se__options(size_t *n);
const struct option *se__option_find(const char *name); /* NULL: unknown */
/* Has the caller's struct, which may be of an older library's size, this field? */
bool se__option_present(const se_config *config, const struct option *option);
/* Has it the value that it has by default? Whoever sets another one has asked for that very value. */
bool se__option_is_default(const se_config *config, const struct option *option);
/* The present value as text for people: passwords masked. Always terminated. */
void se__option_show(const se_config *config, const struct option *option, char *out, size_t cap);
/* Checks every field's range and how they fit together. SE_ERR_CONFIG names
 * the field and what is allowed. */
SE_NODISCARD se_result se__options_check(const se_config *config);
/* Appends docs/configuration.md. */
void se__options_markdown(struct buf *out);

#endif
