/*
 * args - the arguments, by getopt_long.
 *
 * Flags of the library's options may stand before or after the command's name, the command's own
 * flags after it. The environment comes first, flags override it, the last one of a kind wins.
 *
 * Threads: the main thread.  Memory: strings are the process's arguments; args_done frees the
 * configuration.
 */
#ifndef SE_TOOLS_ARGS_H
#define SE_TOOLS_ARGS_H

#include "tool.h"

enum args_result {
    ARGS_RUN,
    ARGS_HELP, /* of call->command, or of the program where that is NULL */
    ARGS_VERSION,
    ARGS_WRONG /* a message has been printed */
};

enum args_result args_parse(int argc, char **argv, struct call *call);
void args_done(struct call *call);

#endif
