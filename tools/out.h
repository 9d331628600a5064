/*
 * out - what goes to stdout: checked writes, JSON, ids.
 *
 * Writes are buffered by stdio; the first failure sticks, out_finish tells it. A reader that went
 * away (EPIPE) ends the output without a message.
 *
 * Threads: the main thread.
 */
#ifndef SE_TOOLS_OUT_H
#define SE_TOOLS_OUT_H

#include "base/buf.h"

bool out_bytes(const void *bytes, size_t len); /* false: nobody can take more */
bool out_text(const char *text);
bool out_printf(const char *fmt, ...) SE_PRINTF(1, 2);
/* An id as it is; on a terminal so that it cannot be obeyed. */
bool out_id(const char *id);
/* An id that a tier holds, though it may be none: where it is not valid it is shown safely. */
bool out_found_id(const char *id);
/* Flushes. `status` if all was written, else EXIT_TROUBLE (with a message). */
int out_finish(int status);
bool out_flush(void); /* what has been written is to be seen now; false: nobody can */

/* Appends a JSON string, quotes included. The bytes must be UTF-8. */
void json_string(struct buf *out, const char *bytes, size_t len);
/* The same of text that may be anything: where it is not UTF-8, as text_safe shows it. */
void json_text(struct buf *out, const char *text);
/* Appends "content": with a string that decodes to exactly these bytes, or
 * "content_base64": where they are no UTF-8. */
void json_content(struct buf *out, const void *bytes, size_t len);
/* Appends {"id":...,"version":...,...}, with the content or its size only. */
void json_item(struct buf *out, const se_item *item, bool content);
const char *content_type_text(se_content_type type);

#endif
