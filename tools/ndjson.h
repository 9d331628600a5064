/*
 * ndjson - lines out of a stream of bytes, and the id out of a line.
 *
 * Lines: a line ends at LF, or at the end of the input; the LF is not part of it. Everything else
 * is, a CR before the LF included: the content is stored byte for byte, and putting LFs back gives
 * the file. Lines of blanks only are skipped and counted. A line longer than line_max is not kept,
 * only measured.
 *
 * Invariants
 *   I1  at most line_max bytes and one push are held, however long a line is
 *   I2  a byte is looked at for LF once
 *
 * Id: the value of one field of the top-level object: a string (decoded), or a number (as it is
 * written). Parsed by yajl, the whole line, so that a line that is not JSON is never stored.
 *
 * Threads: caller-serialised.  Memory: owns its buffer.
 */
#ifndef SE_TOOLS_NDJSON_H
#define SE_TOOLS_NDJSON_H

#include "base/buf.h"

struct ndjson_lines {
    struct buf held;
    size_t at;      /* the line begins there */
    size_t scanned; /* no LF before there */
    size_t line_max;
    uint64_t number;   /* of the last line seen, blank ones counted */
    uint64_t too_long; /* bytes of the present line that are dropped already; 0: none */
    bool ended;
};

struct ndjson_line {
    const char *text; /* valid until the next push; NULL where too long */
    size_t len;
    uint64_t number; /* from 1 */
};

void ndjson_init(struct ndjson_lines *l, size_t line_max);
void ndjson_done(struct ndjson_lines *l);
/* Takes a copy. SE_ERR_NOMEM. Call ndjson_next until it says false before pushing more. */
SE_NODISCARD se_result ndjson_push(struct ndjson_lines *l, const void *bytes, size_t len);
/* Nothing more comes: what is left is the last line. */
void ndjson_end(struct ndjson_lines *l);
/* The next line that is not blank; false: push more, or there is none. */
bool ndjson_next(struct ndjson_lines *l, struct ndjson_line *line);

/* Finds the id in a line. False, and why (one clause of text), if the line is not a JSON object,
 * the field is missing, there twice or not a string or number, or the id is none. */
bool ndjson_id(const char *text, size_t len, const char *field, char id[SE_ID_MAX + 1], char *why,
               size_t cap);

#endif
