/*
 * text - small pure pieces: what may be shown on a terminal, numbers, sizes, durations.
 *
 * Threads: any; pure.
 */
#ifndef SE_TOOLS_TEXT_H
#define SE_TOOLS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies text so that a terminal shows it and does not obey it: control bytes, C1 controls,
 * direction overrides and what is not UTF-8 become \xNN. Cut where `cap` ends, always
 * terminated. Returns the length. */
size_t text_safe(const char *text, size_t len, char *out, size_t cap);

/* A word for the shell that means exactly this text: as it is, 'in quotes', or, where a terminal
 * could obey it or it is not UTF-8, in bash's $'\xNN' form. Cut where `cap` ends, always
 * terminated. */
void text_shell(const char *text, char *out, size_t cap);

/* A whole number in decimal, nothing before or after. */
bool text_u64(const char *text, uint64_t max, uint64_t *out);
/* "1500ms", "90s", "5m", "2h", "7d", in milliseconds; a plain number is in units of `unit_ms`. */
bool text_duration(const char *text, uint64_t unit_ms, uint64_t *ms);

/* "512 B", "1.5 kB", "20.9 MB". */
void text_bytes(uint64_t bytes, char out[24]);
/* "0.42 s", "12.3 s", "3m 05s", "2h 07m". */
void text_elapsed(uint64_t ms, char out[24]);
/* "2026-01-31T23:59:59.123Z"; "never" for 0. */
void text_time(int64_t wall_ms, char out[32]);

#endif
