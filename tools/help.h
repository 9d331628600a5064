/*
 * help - what --help prints and what docs/tool.md says about each command, from the same tables.
 *
 * Threads: the main thread.
 */
#ifndef SE_TOOLS_HELP_H
#define SE_TOOLS_HELP_H

#include "base/buf.h"
#include "tool.h"

void help_program(struct buf *out, unsigned columns);
void help_command(struct buf *out, const struct command *command, unsigned columns);
/* All commands of a group ("wal"); false: there is none. */
bool help_group(struct buf *out, const char *group, unsigned columns);
void help_options(struct buf *out, unsigned columns);
/* The reference part of docs/tool.md. */
void help_markdown(struct buf *out);
/* man/syncengine.1 (man.c). */
void help_man(struct buf *out);

#endif
