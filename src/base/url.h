/*
 * url - addresses of backends, parsed by a total function.
 *
 *   redis://[[user]:pass@]host[:port][/db]   unix:///path[?db=n]
 *   mysql://user[:pass]@host[:port]/db[?socket=/path]   sqlite:/path   sqlite::memory: is refused
 *
 * Percent-encoding (RFC 3986) is decoded in user, password, database and values of the query; hosts
 * may be [IPv6] literals. Unknown schemes and query keys, bad ports, control bytes and empty hosts
 * are errors that say what is allowed and never show a password.
 *
 * Threads: any; pure.  Memory: the url owns its strings; se__url_done frees them (and wipes the
 * password).
 */
#ifndef SE_BASE_URL_H
#define SE_BASE_URL_H

#include "base/error.h"

enum url_scheme { URL_REDIS, URL_REDIS_UNIX, URL_MYSQL, URL_SQLITE };

struct url {
    enum url_scheme scheme;
    char *user, *password, *host; /* NULL where absent */
    uint16_t port;                /* the scheme's default where absent */
    char *path;                   /* socket (unix, mysql ?socket=) or file (sqlite) */
    char *database;               /* mysql: the schema */
    uint32_t db;                  /* redis: database number */
};

/* `text` is what the user configured; `option` names it in messages
 * ("redis_url"). SE_ERR_CONFIG. */
SE_NODISCARD se_result se__url_parse(const char *option, const char *text, struct url *url);
void se__url_done(struct url *url);
/* Writes the address without user and password, for logs:
 * "mysql://host:3306/db". Always terminated. */
void se__url_describe(const struct url *url, char *out, size_t cap);
/* True if the scheme is one of Redis' (else one of SQL's). */
bool se__url_is_redis(const struct url *url);

#endif
