/*
 * proxy_wire - commands as Redis and MySQL clients send them, taken from a stream, and errors as their servers answer them.
 *
 * Redis: an array of bulk strings. MySQL: a packet of three bytes of length, a sequence number and a payload that begins with the
 * command; the error's sequence number is the command's plus one.
 *
 * Threads: caller-serialised.  Memory: a parser owns its buffer.
 */
#ifndef SE_TESTS_SUPPORT_PROXY_WIRE_H
#define SE_TESTS_SUPPORT_PROXY_WIRE_H

#include "support/proxy.h"

struct wire_parser {
    char *bytes;
    size_t len, cap;
};

struct wire_command {
    const char *bytes; /* as sent, in the parser's buffer */
    size_t len;
};

void wire_feed(struct wire_parser *w, const char *bytes, size_t len);
bool wire_empty(const struct wire_parser *w);
bool wire_next(const struct wire_parser *w, enum proxy_wire wire,
               struct wire_command *c);                              /* a whole one at the head? */
void wire_done(struct wire_parser *w, const struct wire_command *c); /* it goes */
void wire_free(struct wire_parser *w);

bool wire_matches(const struct wire_command *c, enum proxy_wire wire, const struct proxy_inject *i);
/* The reply that `i` asks for. Returns its length. */
size_t wire_error(const struct wire_command *c, enum proxy_wire wire, const struct proxy_inject *i,
                  char *out, size_t cap);
/* Do these bytes of a server say that the client is let in? */
bool wire_introduced(enum proxy_wire wire, const char *bytes, size_t len);

#endif
