/*
 * proxy_wire - see proxy_wire.h.
 *
 * https://redis.io/docs/reference/protocol-spec/ and the chapters on packets, COM_* and ERR_Packet of the MariaDB protocol.
 */
#include "support/proxy_wire.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    COM_QUERY_BYTE = 0x03,
    COM_PREPARE_BYTE = 0x16,
    COM_EXECUTE_BYTE = 0x17,
    COM_BULK_EXECUTE_BYTE = 0xfa,
    MYSQL_HEAD = 4
};

void wire_feed(struct wire_parser *w, const char *bytes, size_t len)
{
    if (w->len + len > w->cap) {
        w->cap = 2 * (w->len + len);
        w->bytes = realloc(w->bytes, w->cap);
        if (!w->bytes)
            abort();
    }
    memcpy(w->bytes + w->len, bytes, len);
    w->len += len;
}

bool wire_empty(const struct wire_parser *w)
{
    return w->len == 0;
}

void wire_done(struct wire_parser *w, const struct wire_command *c)
{
    memmove(w->bytes, w->bytes + c->len, w->len - c->len);
    w->len -= c->len;
}

void wire_free(struct wire_parser *w)
{
    free(w->bytes);
    *w = (struct wire_parser){0};
}

/* ---- heads ---- */

/* "<kind><number>\r\n" at *at; moves behind it. */
static bool number_line(const struct wire_parser *w, size_t *at, char kind, size_t *number)
{
    const char *from = w->bytes + *at;
    const char *end = *at < w->len ? memchr(from, '\n', w->len - *at) : NULL;
    if (!end || *from != kind)
        return false;
    *number = strtoul(from + 1, NULL, 10);
    *at += (size_t)(end - from) + 1;
    return true;
}

static bool next_redis(const struct wire_parser *w, size_t *len)
{
    size_t at = 0, args, arg;
    if (!number_line(w, &at, '*', &args))
        return false;
    for (size_t i = 0; i < args; i++) {
        if (!number_line(w, &at, '$', &arg) || w->len - at < arg + 2)
            return false;
        at += arg + 2;
    }
    *len = at;
    return true;
}

static bool next_mysql(const struct wire_parser *w, size_t *len)
{
    const unsigned char *b = (const unsigned char *)w->bytes;
    if (w->len < MYSQL_HEAD)
        return false;
    *len = MYSQL_HEAD + ((size_t)b[0] | (size_t)b[1] << 8 | (size_t)b[2] << 16);
    return w->len >= *len;
}

bool wire_next(const struct wire_parser *w, enum proxy_wire wire, struct wire_command *c)
{
    size_t len = 0;
    if (w->len == 0 || !(wire == PROXY_REDIS ? next_redis(w, &len) : next_mysql(w, &len)))
        return false;
    *c = (struct wire_command){.bytes = w->bytes, .len = len};
    return true;
}

/* ---- what matches ---- */

static unsigned kind_of(const struct wire_command *c, enum proxy_wire wire)
{
    if (wire == PROXY_REDIS)
        return PROXY_ANY;
    switch (c->len > MYSQL_HEAD ? (unsigned char)c->bytes[MYSQL_HEAD] : 0) {
    case COM_QUERY_BYTE:
        return PROXY_QUERY;
    case COM_PREPARE_BYTE:
        return PROXY_PREPARE;
    case COM_EXECUTE_BYTE:
    case COM_BULK_EXECUTE_BYTE:
        return PROXY_EXECUTE;
    default:
        return 0; /* closing a statement, quitting: these have no answer */
    }
}

bool wire_matches(const struct wire_command *c, enum proxy_wire wire, const struct proxy_inject *i)
{
    unsigned wanted = i->commands ? i->commands : PROXY_ANY;
    return (kind_of(c, wire) & wanted) && c->len > i->longer_than &&
           (!i->text || memmem(c->bytes, c->len, i->text, strlen(i->text)));
}

/* ---- errors ---- */

static size_t mysql_error(const struct wire_command *c, const struct proxy_inject *i, char *out,
                          size_t cap)
{
    int n = snprintf(out + MYSQL_HEAD + 3, cap - MYSQL_HEAD - 3, "#%.5s%s",
                     i->state ? i->state : "HY000", i->words);
    size_t payload = 3 + (size_t)n;
    out[0] = (char)(payload & 0xff);
    out[1] = (char)(payload >> 8);
    out[2] = 0;
    out[3] = (char)(c->bytes[3] + 1);
    out[4] = (char)0xff;
    out[5] = (char)(i->code & 0xff);
    out[6] = (char)(i->code >> 8);
    return MYSQL_HEAD + payload;
}

size_t wire_error(const struct wire_command *c, enum proxy_wire wire, const struct proxy_inject *i,
                  char *out, size_t cap)
{
    if (wire == PROXY_MYSQL)
        return mysql_error(c, i, out, cap);
    return (size_t)snprintf(out, cap, "-%s\r\n", i->redis);
}

/* MySQL: the OK packet that follows the client's answer to the greeting. Redis knows no such thing: from the first reply on. */
bool wire_introduced(enum proxy_wire wire, const char *bytes, size_t len)
{
    return wire == PROXY_REDIS || (len > MYSQL_HEAD && bytes[MYSQL_HEAD] == 0);
}
