/*
 * syncengine - the program beside the library: loads, reads, writes, scans, verifies, looks
 * after the WAL.
 *
 * The table of commands is here; what they do is in cmd_*.c.
 */
#include "args.h"
#include "help.h"
#include "out.h"
#include "term.h"
#include "tool.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = {
    &command_load,
    &command_get,
    &command_put,
    &command_delete,
    &command_contains,
    &command_status,
    &command_scan,
    &command_count,
    &command_wal_list,
    &command_wal_drain,
    &command_wal_dead,
    &command_wal_salvage,
    &command_verify,
    &command_merkle_root,
    &command_merkle_children,
    &command_merkle_prefix,
    &command_dictionary_train,
    &command_dictionary_list,
    &command_stats,
    &command_serve,
    &command_top,
    &command_health,
    &command_config,
    &command_docs,
    &command_version,
    &command_help,
};

const struct command *const *tool_commands(size_t *n)
{
    *n = sizeof commands / sizeof *commands;
    return commands;
}

const struct command *tool_find(char *const *words, int n, int *used)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const char *name = commands[i]->name, *second = strchr(name, ' ');
        size_t first = second ? (size_t)(second - name) : strlen(name);
        if (n < (second ? 2 : 1) || strlen(words[0]) != first ||
            strncmp(words[0], name, first) != 0)
            continue;
        if (second && strcmp(words[1], second + 1) != 0)
            continue;
        *used = second ? 2 : 1;
        return commands[i];
    }
    return NULL;
}

/* Edit distance (Levenshtein), of texts of at most 31 bytes. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[32];
    size_t len = strlen(b);
    if (strlen(a) > 31 || len > 31)
        return 99;
    for (unsigned j = 0; j <= len; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1]; i++) {
        unsigned corner = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= len; j++) {
            unsigned best = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            best = best < corner + 1 ? best : corner + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[len];
}

const char *nearest(const char *wrong, const char *const *known, size_t n)
{
    const char *found = NULL;
    unsigned best = (unsigned)strlen(wrong) / 3 + 1;
    for (size_t i = 0; i < n; i++) {
        unsigned d = distance(wrong, known[i]);
        if (d < best || (d == best && !found)) {
            best = d;
            found = known[i];
        }
    }
    return found;
}

static int print_help(const struct call *call)
{
    struct buf out = {0};
    unsigned columns = term_columns(STDOUT_FILENO);
    if (call->command)
        help_command(&out, call->command, columns);
    else if (call->n_args == 0 || !help_group(&out, call->args[0], columns))
        help_program(&out, columns);
    if (out.failed)
        term_say("help: out of memory");
    out_bytes(out.data, out.len);
    int status = out_finish(out.failed ? EXIT_TROUBLE : EXIT_FINE);
    se__buf_done(&out);
    return status;
}

static int run(struct call *call, enum args_result what)
{
    switch (what) {
    case ARGS_HELP:
        return print_help(call);
    case ARGS_VERSION:
        call->command = &command_version;
        break;
    case ARGS_WRONG:
        return EXIT_TROUBLE;
    case ARGS_RUN:
        break;
    }
    return call->command->run(call);
}

int main(int argc, char **argv)
{
    struct call call = {0};
    term_init();
    signal(SIGPIPE, SIG_IGN); /* writes say EPIPE instead: what was accepted is still flushed */
    int status = run(&call, args_parse(argc, argv, &call));
    args_done(&call);
    return status;
}
