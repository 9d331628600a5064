/*
 * config - the library's table of options, as flags and variables of the program.
 *
 * l1_max_bytes is --l1-max-bytes and SYNC_ENGINE_L1_MAX_BYTES. (A file of its own because the
 * table's struct option and getopt's have one name.)
 *
 * Threads: the main thread.
 */
#ifndef SE_TOOLS_CONFIG_H
#define SE_TOOLS_CONFIG_H

#include "base/buf.h"

struct config_flag {
    const char *name;     /* "l1_max_bytes" */
    char flag[48];        /* "l1-max-bytes" */
    char env[64];         /* "SYNC_ENGINE_L1_MAX_BYTES" */
    const char *value;    /* placeholder: "SIZE" */
    const char *fallback; /* the default as text; NULL: not set */
    const char *help;
};

size_t config_count(void);
void config_flag(size_t i, struct config_flag *out);
/* Sets one; false after a message that names the flag and never shows the value of an address. */
bool config_set(se_config *config, size_t i, const char *value);
/* Everything from SYNC_ENGINE_*; false after a message. */
bool config_env(se_config *config);
/* "name = value" a line, passwords masked; false after a message if it does not fit together. */
bool config_print(const se_config *config);
/* docs/configuration.md and docs/metrics.md. */
void config_markdown(struct buf *out);
void metrics_markdown(struct buf *out);
/* The address without its password, for messages; "" where none is set. */
void config_show(const se_config *config, const char *name, char *out, size_t cap);

#endif
