/*
 * http_client - a client of the HTTP endpoint on 127.0.0.1, good or bad as the test likes.
 *
 * Failures to connect are assertions. Threads: any.
 */
#ifndef SE_TESTS_SUPPORT_HTTP_CLIENT_H
#define SE_TESTS_SUPPORT_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_PATIENCE_MS 60000u
#define HTTP_ANSWER_MAX ((size_t)256 * 1024)

int http_dial(uint16_t port);
bool http_say(int fd, const void *text, size_t len); /* false: nobody listens any more */
/* All until the server closes, terminated; false: it did not in time. */
bool http_hear(int fd, char *answer, size_t cap);
/* GET path; the whole answer, head included, and its status (0: none came). */
int http_get(uint16_t port, const char *path, char answer[HTTP_ANSWER_MAX]);
int http_status(const char *answer); /* 0: it is none */

#endif
