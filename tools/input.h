/*
 * input - a file, a pipe or stdin, plain or zstd, as a stream of bytes.
 *
 * zstd is told by its first bytes, whatever the name; frames may follow each other. A file that is
 * named .zst and is something else is an error, as is one that ends in the middle of a frame.
 *
 * Threads: the main thread.  Memory: input_open returns, input_close frees.
 */
#ifndef SE_TOOLS_INPUT_H
#define SE_TOOLS_INPUT_H

#include "base/error.h"

#include <stddef.h>

struct input;

enum input_state { INPUT_DATA, INPUT_END, INPUT_STOPPED, INPUT_FAILED };

/* path "-": stdin. NULL after a message. */
struct input *input_open(const char *path);
/* From now on a signal ends every wait; stop: from stop_open. */
void input_watch(struct input *in, int stop);
void input_close(struct input *in); /* NULL is allowed */

/* True if the next read would wait for whoever writes. */
bool input_would_wait(const struct input *in);
/* At least one byte, valid until the next call. INPUT_STOPPED: *signal.
 * INPUT_FAILED after a message. */
enum input_state input_read(struct input *in, const char **bytes, size_t *len, int *signal);

uint64_t input_taken(const struct input *in); /* of what is in the file, compressed or not */
uint64_t input_total(const struct input *in); /* the file's size; 0: not known */

#endif
