/*
 * url - addresses of backends.
 *
 * A text is cut at fixed places and each piece is checked on its own. Messages name the piece and
 * never quote it: a password with a stray '/' or ':' in it would otherwise turn up as somebody's
 * port.
 */
#include "base/url.h"

#include "base/mem.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define REDIS_PORT 6379
#define MYSQL_PORT 3306

/* A piece of the text, not terminated. at == NULL: not there (which differs from empty). */
struct span {
    const char *at;
    size_t len;
};

struct parser {
    const char *option;
    struct url url;
};

static se_result refuse(const struct parser *p, const char *what)
{
    return se__error(SE_ERR_CONFIG, "%s: %s", p->option, what);
}

/* Cuts `s` at the first `c`, or the last: keeps what is before it; *rest is what is
 * behind, absent without a `c`. */
static struct span cut_at(struct span s, const char *hit, struct span *rest)
{
    *rest = (struct span){NULL, 0};
    if (!hit)
        return s;
    size_t before = (size_t)(hit - s.at);
    *rest = (struct span){hit + 1, s.len - before - 1};
    return (struct span){s.at, before};
}

static struct span cut_first(struct span s, char c, struct span *rest)
{
    return cut_at(s, s.len ? memchr(s.at, c, s.len) : NULL, rest);
}

static struct span cut_last(struct span s, char c, struct span *rest)
{
    return cut_at(s, s.len ? memrchr(s.at, c, s.len) : NULL, rest);
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes one character at s->at and moves past it. Returns false for a
 * bad escape or a control byte. */
static bool decode_char(struct span *s, char *out)
{
    *out = *s->at;
    size_t used = 1;
    if (*s->at == '%') {
        int high = s->len > 2 ? hex_digit(s->at[1]) : -1;
        int low = s->len > 2 ? hex_digit(s->at[2]) : -1;
        if (high < 0 || low < 0)
            return false;
        *out = (char)(high * 16 + low);
        used = 3;
    }
    s->at += used;
    s->len -= used;
    return !is_control(*out);
}

/* Percent-decodes (RFC 3986) into a new string. `bad` is the message if that cannot be done. */
static se_result decode(const struct parser *p, const char *bad, struct span s, char **out)
{
    char *text = se__alloc(s.len + 1);
    if (!text)
        return se__error_nomem();
    size_t n = 0;
    while (s.len > 0)
        if (!decode_char(&s, &text[n++])) {
            explicit_bzero(text, n);
            se__free(text);
            return refuse(p, bad);
        }
    text[n] = '\0';
    *out = text;
    return SE_OK;
}

static se_result copy(struct span s, char **out)
{
    *out = se__strndup(s.at, s.len);
    return *out ? SE_OK : se__error_nomem();
}

/* A decimal number without sign or blanks, at most `max`. */
static bool number(struct span s, uint32_t max, uint32_t *out)
{
    uint64_t value = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(s.at[i] - '0');
        if (value > max)
            return false;
    }
    *out = (uint32_t)value;
    return true;
}

static bool only(struct span s, const char *allowed)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] == '\0' || !strchr(allowed, s.at[i]))
            return false;
    return true;
}

#define ALNUM "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* host, host:port, [v6] or [v6]:port. */
static se_result parse_host(struct parser *p, struct span s, uint16_t default_port)
{
    struct span port, after;
    struct span host;
    if (s.len > 0 && s.at[0] == '[') {
        host = cut_first((struct span){s.at + 1, s.len - 1}, ']', &after);
        if (!after.at || (after.len > 0 && after.at[0] != ':') ||
            !only(host, "0123456789abcdefABCDEF:."))
            return refuse(p, "bad IPv6 address; write [address]:port");
        port = after.len > 0 ? (struct span){after.at + 1, after.len - 1} : (struct span){NULL, 0};
    } else {
        host = cut_first(s, ':', &port);
        if (!only(host, ALNUM ".-_"))
            return refuse(
                p, "bad character in the host name (is a '@', '/' or ':' of the password not "
                   "percent-encoded?)");
    }
    if (host.len == 0)
        return refuse(p, "the host is missing");
    uint32_t value = default_port;
    if (port.at && (!number(port, UINT16_MAX, &value) || value == 0))
        return refuse(p, "bad port; allowed are 1 to 65535");
    p->url.port = (uint16_t)value;
    return copy(host, &p->url.host);
}

/* user:pass, each percent-encoded; either may be absent. */
static se_result parse_user(struct parser *p, struct span s)
{
    struct span pass;
    struct span user = cut_first(s, ':', &pass);
    if (user.len > 0) {
        se_result r = decode(p, "bad percent-encoding in the user name", user, &p->url.user);
        if (r != SE_OK)
            return r;
    }
    return pass.at ? decode(p, "bad percent-encoding in the password", pass, &p->url.password)
                   : SE_OK;
}

/* [user:pass@]host[:port]. The last '@' ends the user's part: one in a password does no harm. */
static se_result parse_authority(struct parser *p, struct span s, uint16_t default_port)
{
    struct span host;
    struct span user = cut_last(s, '@', &host);
    if (!host.at)
        return parse_host(p, s, default_port);
    se_result r = parse_user(p, user);
    return r == SE_OK ? parse_host(p, host, default_port) : r;
}

/* Takes the query apart: only `key` is known, its decoded value goes
 * to *value (NULL: not given). */
static se_result parse_query(const struct parser *p, struct span query, const char *key,
                             const char *unknown, char **value)
{
    if (!query.at)
        return SE_OK;
    struct span given;
    struct span name = cut_first(query, '=', &given);
    if (name.len != strlen(key) || memcmp(name.at, key, name.len) != 0 || given.len == 0 ||
        memchr(given.at, '&', given.len))
        return refuse(p, unknown);
    return decode(p, "bad percent-encoding in the query", given, value);
}

/* //[[user]:pass@]host[:port][/db] */
static se_result parse_redis(struct parser *p, struct span s)
{
    struct span query, db;
    s = cut_first(s, '?', &query);
    if (query.at)
        return refuse(p, "redis:// takes no query");
    struct span authority = cut_first(s, '/', &db);
    se_result r = parse_authority(p, authority, REDIS_PORT);
    if (r != SE_OK)
        return r;
    if (p->url.user && !p->url.password)
        return refuse(
            p,
            "a user without a password; write user:password@, or :password@ for the default user");
    if (db.len > 0 && !number(db, INT32_MAX, &p->url.db))
        return refuse(p, "bad database number");
    return SE_OK;
}

/* ///path[?db=n] */
static se_result parse_redis_unix(struct parser *p, struct span s)
{
    struct span query;
    s = cut_first(s, '?', &query);
    if (s.len < 2 || s.at[0] != '/')
        return refuse(p, "the socket's path must be absolute: unix:///path");
    char *db = NULL;
    se_result r = parse_query(p, query, "db", "unknown query; allowed is ?db=n", &db);
    if (r == SE_OK && db && !number((struct span){db, strlen(db)}, INT32_MAX, &p->url.db))
        r = refuse(p, "bad database number");
    se__free(db);
    return r == SE_OK ? copy(s, &p->url.path) : r;
}

/* //user[:pass]@host[:port]/db[?socket=/path] */
static se_result parse_mysql(struct parser *p, struct span s)
{
    struct span query, database;
    s = cut_first(s, '?', &query);
    struct span authority = cut_first(s, '/', &database);
    se_result r = parse_authority(p, authority, MYSQL_PORT);
    if (r != SE_OK)
        return r;
    if (!p->url.user)
        return refuse(p, "the user is missing: mysql://user[:password]@host[:port]/database");
    if (database.len == 0 || memchr(database.at, '/', database.len))
        return refuse(
            p, "the database is missing or contains a '/' (write %2F): mysql://user@host/database");
    r = decode(p, "bad percent-encoding in the database's name", database, &p->url.database);
    if (r == SE_OK)
        r = parse_query(p, query, "socket", "unknown query; allowed is ?socket=/path",
                        &p->url.path);
    if (r == SE_OK && p->url.path && p->url.path[0] != '/')
        return refuse(p, "the socket's path must be absolute: ?socket=/path");
    return r;
}

/* path. A '?' is refused and not part of the name: it is a query that other
 * programs understand and we do not. */
static se_result parse_sqlite(struct parser *p, struct span s)
{
    if (s.len == 0)
        return refuse(p, "the file is missing: sqlite:/path");
    if (s.at[0] == ':')
        return refuse(p, "a database in memory would lose what was acknowledged: sqlite:/path");
    if (memchr(s.at, '?', s.len))
        return refuse(p, "sqlite: takes no query");
    if (s.len >= 2 && s.at[0] == '/' && s.at[1] == '/') {
        if (s.len == 2 || s.at[2] != '/')
            return refuse(p, "sqlite:// has no host; write sqlite:/path");
        s = (struct span){s.at + 2, s.len - 2};
    }
    if (s.at[s.len - 1] == '/')
        return refuse(p, "the path names a directory: sqlite:/path");
    return copy(s, &p->url.path);
}

struct form {
    const char *prefix;
    enum url_scheme scheme;
    se_result (*parse)(struct parser *p, struct span rest);
};

static const struct form forms[] = {
    {"redis://", URL_REDIS, parse_redis},
    {"unix://", URL_REDIS_UNIX, parse_redis_unix},
    {"mysql://", URL_MYSQL, parse_mysql},
    {"sqlite:", URL_SQLITE, parse_sqlite},
};

static se_result parse_text(struct parser *p, const char *text)
{
    for (const char *c = text; *c; c++)
        if (is_control(*c))
            return refuse(p, "control byte in the address");
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        size_t len = strlen(forms[i].prefix);
        if (strncasecmp(text, forms[i].prefix, len) != 0)
            continue;
        p->url.scheme = forms[i].scheme;
        return forms[i].parse(p, (struct span){text + len, strlen(text + len)});
    }
    return refuse(p, "unknown scheme; allowed are redis://, unix://, mysql:// and sqlite:");
}

se_result se__url_parse(const char *option, const char *text, struct url *url)
{
    struct parser p = {.option = option};
    if (!text)
        return refuse(&p, "no address");
    se_result r = parse_text(&p, text);
    if (r != SE_OK) {
        se__url_done(&p.url);
        return r;
    }
    *url = p.url;
    return SE_OK;
}

void se__url_done(struct url *url)
{
    if (url->password)
        explicit_bzero(url->password, strlen(url->password));
    se__free(url->user);
    se__free(url->password);
    se__free(url->host);
    se__free(url->path);
    se__free(url->database);
    *url = (struct url){.scheme = url->scheme};
}

void se__url_describe(const struct url *url, char *out, size_t cap)
{
    bool v6 = url->host && strchr(url->host, ':');
    const char *open = v6 ? "[" : "", *close = v6 ? "]" : "", *host = url->host ? url->host : "";
    switch (url->scheme) {
    case URL_REDIS:
        snprintf(out, cap, "redis://%s%s%s:%u/%u", open, host, close, url->port, url->db);
        break;
    case URL_REDIS_UNIX:
        snprintf(out, cap, "unix://%s?db=%u", url->path ? url->path : "", url->db);
        break;
    case URL_MYSQL:
        snprintf(out, cap, "mysql://%s%s%s:%u/%s%s%s", open, host, close, url->port,
                 url->database ? url->database : "", url->path ? "?socket=" : "",
                 url->path ? url->path : "");
        break;
    case URL_SQLITE:
        snprintf(out, cap, "sqlite:%s", url->path ? url->path : "");
        break;
    }
}

bool se__url_is_redis(const struct url *url)
{
    return url->scheme == URL_REDIS || url->scheme == URL_REDIS_UNIX;
}
