/*
 * tool - what the files of the syncengine program share: commands, calls, messages.
 *
 *   main      finds the command              args      reads the arguments (getopt_long)
 *   config    the library's table of options help      --help and docs/tool.md from the same tables
 *   term      stderr, the progress bar       out       stdout: checked writes, JSON, times
 *   session   opens and settles an engine    stop      SIGINT and SIGTERM as a file descriptor
 *   fetch     a page of an endpoint          samples, view   its numbers, and what top shows of them
 *   progress  load's and verify's            ndjson, input, loader   load
 *   cmd_*     one file a group of commands
 *
 * A command is a constant: its name, flags and texts drive the parser, --help and the docs. It gets
 * a struct call and returns the exit status. Nothing here is installed; the program sees the inside
 * of the library for the WAL file and for the generated documents only, everything else goes
 * through the public header.
 *
 * Threads: the main thread, but for the log hook (term is locked).
 */
#ifndef SE_TOOLS_TOOL_H
#define SE_TOOLS_TOOL_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum exit_status {
    EXIT_FINE = 0,
    EXIT_NO = 1,      /* not found, no, or some lines were bad */
    EXIT_TROUBLE = 2, /* wrong usage, or it could not be done */
    EXIT_SIGNAL = 128 /* + the signal's number */
};

/* A flag of one command. */
struct flag {
    const char *name;  /* without dashes; NULL ends a list */
    const char *value; /* placeholder; NULL: takes none */
    const char *help;
};

#define TOOL_FLAGS_MAX 8

struct call;

/* What a command needs of the configuration. */
enum command_needs {
    NEEDS_NOTHING, /* the environment is not even read: help, version, docs */
    NEEDS_CONFIG,
    NEEDS_READER, /* an engine that only reads: works beside a live service */
    NEEDS_WRITER
};

struct command {
    const char *name;      /* "get", "wal list" */
    const char *arguments; /* as shown: "ID [FILE|-]" */
    int args_min, args_max;
    const char *summary; /* one line */
    const char *details; /* paragraphs, separated by an empty line; NULL: none */
    const struct flag *flags;
    enum command_needs needs;
    const char *writing_flag; /* with NEEDS_READER: given, it needs a writer; NULL: none does */
    int (*run)(struct call *call);
};

struct call {
    const struct command *command;
    se_config config; /* the environment, then the flags */
    /* as command->flags; "" for one that takes no value; NULL: not given */
    const char *values[TOOL_FLAGS_MAX];
    char **args;
    int n_args;
    bool verbose;
};

/* The engine that this call needs only reads. */
bool call_reads(const struct call *call);
/* The value of a flag of this command, NULL if it was not given. */
const char *call_flag(const struct call *call, const char *name);
/* Its value as a number or a choice; absent ones leave *out alone. False after an error message. */
bool call_flag_u64(const struct call *call, const char *name, uint64_t max, uint64_t *out);
bool call_flag_seconds(const struct call *call, const char *name, uint64_t *ms);
bool call_flag_ack(const struct call *call, se_ack *ack);
/* --progress auto|bar|lines; absent: a bar where stderr is a terminal. */
bool call_flag_bar(const struct call *call, bool *bar);

/* ---- the commands, and finding them (main.c) ---- */
const struct command *const *tool_commands(size_t *n);
/* The command whose words begin at words[0]; *used says how many there are. NULL: there is none. */
const struct command *tool_find(char *const *words, int n, int *used);
/* The known word that is nearest to a wrong one; NULL if none is near. */
const char *nearest(const char *wrong, const char *const *known, size_t n);

extern const struct command command_load, command_get, command_put, command_delete,
    command_contains, command_status, command_scan, command_count, command_wal_list,
    command_wal_drain, command_wal_dead, command_wal_salvage, command_verify, command_merkle_root,
    command_merkle_children, command_merkle_prefix, command_stats, command_health, command_config,
    command_docs, command_version, command_help, command_dictionary_train, command_dictionary_list,
    command_serve, command_top;

/* stats --url (cmd_top.c). */
int stats_of_endpoint(const struct call *call);

#endif
