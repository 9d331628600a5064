/*
 * reply - what a server's replies mean; total functions over whatever arrives.
 *
 * A reply may be anything: another type, another length, nested, NULL inside. Each function gives a
 * value or says that it is none; nothing here trusts a length that it has not checked.
 *
 * Threads: any; pure.
 */
#ifndef SE_L2_REPLY_H
#define SE_L2_REPLY_H

#include "tier/tier.h"

struct redisReply;

enum reply_class {
    REPLY_FINE,
    REPLY_NOSCRIPT, /* the server has forgotten our scripts: load and repeat */
    REPLY_REFUSED,  /* too large for this server */
    REPLY_UNWELL,   /* any other error */
    REPLY_STRANGER, /* an error that says this server is not (any more) the one
                       to write to: connect again */
    REPLY_GARBAGE   /* not what was asked for: the connection cannot be trusted */
};

/* REPLY_FINE for everything but an error (or NULL, which is garbage). */
enum reply_class se__reply_class(const struct redisReply *reply);
/* The server's words, fit for a message: printable, cut, and without `secret` (NULL: none). */
void se__reply_words(const struct redisReply *reply, const char *secret, char *out, size_t cap);

/* True if it is a status with this text. */
bool se__reply_is_status(const struct redisReply *reply, const char *text);
/* Bytes of a string; false for everything else. */
bool se__reply_bytes(const struct redisReply *reply, const char **bytes, size_t *len);
bool se__reply_integer(const struct redisReply *reply, int64_t *n);
/* 0 or 1; false for everything else. */
bool se__reply_yes_or_no(const struct redisReply *reply, bool *yes);
/* Element i of an array; NULL if there is none. */
const struct redisReply *se__reply_element(const struct redisReply *reply, size_t i);
size_t se__reply_elements(const struct redisReply *reply);

/* TIME: ms of the server's clock. */
bool se__reply_time(const struct redisReply *reply, int64_t *server_ms);
/* A line "field:value" of INFO, the value 1..cap-1 letters, digits, '_' or '-'. */
bool se__reply_info(const struct redisReply *reply, const char *field, char *value, size_t cap);
/* A script's reply for n keys: its clock, and whether it acted (else it
 * came too late). False: garbage. */
bool se__reply_script(const struct redisReply *reply, size_t n, int64_t *server_ms, bool *acted);
/* A page of SCAN: the next cursor (decimal digits, NUL-terminated; "0":
 * the end) and the array of keys. */
bool se__reply_scan(const struct redisReply *reply, char cursor[24],
                    const struct redisReply **keys);

/* What is under one key, from GET or from a GETRANGE of its first bytes. */
struct value_ask {
    const char *id; /* borrowed */
    size_t id_len;
    uint64_t generation; /* the one that is being read */
    size_t bytes_max;    /* of GETRANGE: if as many came there may be more; SIZE_MAX: GET */
    bool hashed;         /* an item is a hit only if its content fits its hash */
};
struct value {
    enum tier_found found;
    bool more; /* found is HIT as far as can be told: the content is not all here, and is wanted */
    struct record record;  /* with HIT, VOID, and CORRUPT if flaw.header_fits; borrows from bytes */
    struct tier_flaw flaw; /* with CORRUPT */
    const void *bytes;     /* as they came, lent by the reply; NULL: none, or another type */
    size_t len;
};
/* Class FINE also for WRONGTYPE (TIER_CORRUPT). No bytes at all are CORRUPT: GETRANGE says so of a
 * key that is not there as well. */
enum reply_class se__reply_value(const struct redisReply *reply, const struct value_ask *ask,
                                 struct value *value);
/* The same from the bytes. A header that decodes decides first: of another generation, a floor or a
 * lease is a miss whatever is behind it. */
void se__reply_judge(const struct value_ask *ask, const void *bytes, size_t len,
                     struct value *value);

/* GET of one record: fills found, item, seen and flaw of `read`. Without memory for the item
 * *nomem is set. */
enum reply_class se__reply_record(const struct redisReply *reply, uint64_t generation,
                                  struct tier_read *read, bool *nomem);
/* The result of SCRIPT_GUARD for one key. TIER_NOT_TRIED: by its first bytes this write is there
 * already, as a record of another kind. */
bool se__reply_guard(const struct redisReply *result, struct tier_write *write);
/* True if these bytes, the first of a value, are a header (with its
 * state) that decodes for this id. */
bool se__reply_header(const void *bytes, size_t len, const char *id, size_t id_len,
                      struct record *record);

#endif
