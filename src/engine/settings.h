/*
 * settings - a checked, owned copy of what the caller configured.
 *
 * Threads: constant after se__settings_open.  Memory: owns strings and urls; se__settings_done
 * frees them.
 */
#ifndef SE_ENGINE_SETTINGS_H
#define SE_ENGINE_SETTINGS_H

#include "base/log.h"
#include "base/url.h"

struct settings {
    se_config c; /* strings are owned copies; `owned` is NULL */
    bool has_redis, has_sql;
    struct url redis, sql;
    struct se__log log;
};

/* Checks everything that can be checked without I/O. SE_ERR_CONFIG, SE_ERR_UNSUPPORTED
 * (shared, cdc_stream), SE_ERR_NOMEM. */
SE_NODISCARD se_result se__settings_open(const se_config *config, struct settings *settings);
void se__settings_done(struct settings *settings);

#endif
