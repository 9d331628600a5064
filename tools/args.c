/*
 * args - see args.h.
 */
#include "args.h"

#include "base/mem.h"
#include "config.h"
#include "term.h"
#include "text.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

/* What getopt_long returns: a short option's letter, or one of these plus an index. */
#define VALUE_CONFIG 1000 /* + index of the library's option */
#define VALUE_FLAG 2000   /* + index of the command's flag */

struct parser {
    struct config_flag *config; /* all of them */
    size_t config_n;
    struct option *table; /* config, the general ones, the command's; ended by zeros */
    const char **given;   /* by index of config: the value, NULL: not given */
    const struct command *command;
};

static bool parser_init(struct parser *p)
{
    *p = (struct parser){.config_n = config_count()};
    p->config = se__alloc_zeroed(p->config_n + 1, sizeof *p->config);
    p->given = se__alloc_zeroed(p->config_n + 1, sizeof *p->given);
    p->table = se__alloc_zeroed(p->config_n + 4 + TOOL_FLAGS_MAX, sizeof *p->table);
    if (!p->config || !p->given || !p->table) {
        term_say("arguments: out of memory");
        return false;
    }
    for (size_t i = 0; i < p->config_n; i++)
        config_flag(i, &p->config[i]);
    return true;
}

static void parser_done(struct parser *p)
{
    se__free(p->config);
    se__free(p->given);
    se__free(p->table);
}

static void fill_table(struct parser *p, const struct command *command)
{
    struct option *o = p->table;
    for (size_t i = 0; i < p->config_n; i++)
        *o++ = (struct option){p->config[i].flag, required_argument, NULL, VALUE_CONFIG + (int)i};
    *o++ = (struct option){"help", no_argument, NULL, 'h'};
    *o++ = (struct option){"verbose", no_argument, NULL, 'v'};
    if (!command)
        *o++ = (struct option){"version", no_argument, NULL, 'V'};
    for (int i = 0; command && command->flags && command->flags[i].name; i++)
        *o++ = (struct option){command->flags[i].name,
                               command->flags[i].value ? required_argument : no_argument, NULL,
                               VALUE_FLAG + i};
    *o = (struct option){0};
    p->command = command;
}

/* The word that getopt stumbled over, without its value. */
static void bad_word(char **argv, char *out, size_t cap)
{
    const char *word = argv[optind > 0 ? optind - 1 : 0];
    snprintf(out, cap, "%.*s", (int)strcspn(word, "="), word);
}

static void unknown_flag(const struct parser *p, char **argv)
{
    char word[256];
    const char *names[256];
    size_t n = 0;
    if (optopt > 0 && optopt < 256) {
        term_say("unknown flag -%c; see `syncengine%s%s --help`", optopt, p->command ? " " : "",
                 p->command ? p->command->name : "");
        return;
    }
    bad_word(argv, word, sizeof word);
    if (optopt >= VALUE_CONFIG) {
        term_say("%s: takes no value", word);
        return;
    }
    for (const struct option *o = p->table; o->name && n < 256; o++)
        names[n++] = o->name;
    const char *near = nearest(word + strspn(word, "-"), names, n);
    term_say("unknown flag %s%s%s%s; see `syncengine%s%s --help`", word,
             near ? ": did you mean --" : "", near ? near : "", near ? "?" : "",
             p->command ? " " : "", p->command ? p->command->name : "");
}

static void missing_value(const struct parser *p, int val)
{
    for (const struct option *o = p->table; o->name; o++) {
        if (o->val == val)
            term_say("--%s: needs a value", o->name);
    }
}

/* `--rate --sql-url=...`: the next flag is no value, and what it holds is not to be shown as one.
 * (`--after=--x` is how a value is given that looks like one.) */
static bool value_is_a_flag(char **argv)
{
    return optarg && optarg == argv[optind - 1] && strncmp(optarg, "--", 2) == 0;
}

/* One pass of getopt. The first stops at the command's name ("+"), the second permutes. */
static enum args_result pass(struct parser *p, const char *shorts, int argc, char **argv,
                             struct call *call)
{
    opterr = 0;
    optind = 0; /* glibc: start afresh */
    for (int got; (got = getopt_long(argc, argv, shorts, p->table, NULL)) != -1;) {
        if (got == 'h')
            return ARGS_HELP;
        if (got == 'V')
            return ARGS_VERSION;
        if (got >= VALUE_CONFIG && value_is_a_flag(argv)) {
            missing_value(p, got);
            return ARGS_WRONG;
        }
        if (got == 'v') {
            call->verbose = true;
        } else if (got >= VALUE_FLAG) {
            call->values[got - VALUE_FLAG] = optarg ? optarg : "";
        } else if (got >= VALUE_CONFIG) {
            p->given[got - VALUE_CONFIG] = optarg;
        } else {
            if (got == ':')
                missing_value(p, optopt);
            else
                unknown_flag(p, argv);
            return ARGS_WRONG;
        }
    }
    return ARGS_RUN;
}

static enum args_result configure(const struct parser *p, struct call *call)
{
    if (call->command->needs == NEEDS_NOTHING)
        return ARGS_RUN;
    if (call_reads(call))
        call->config.startup_timeout_ms = 5000; /* somebody waits at the terminal */
    if (!config_env(&call->config))
        return ARGS_WRONG;
    for (size_t i = 0; i < p->config_n; i++) {
        if (p->given[i] && !config_set(&call->config, i, p->given[i]))
            return ARGS_WRONG;
    }
    return ARGS_RUN;
}

/* How much of a word could be a command's name: an address in its place may hold a password. */
static int name_len(const char *word)
{
    size_t len = strcspn(word, ":=@/");
    return (int)(len < 100 ? len : 100);
}

static void unknown_command(char **words, int n)
{
    const struct command *const *all;
    const char *names[64];
    size_t count;
    int groups = 0;
    all = tool_commands(&count);
    for (size_t i = 0; i < count && i < 64; i++) {
        names[i] = all[i]->name;
        size_t len = strlen(words[0]);
        groups += strncmp(names[i], words[0], len) == 0 && names[i][len] == ' ';
    }
    if (groups > 0 && (n < 2 || words[1][0] == '-')) {
        term_say("%s: needs one more word; see `syncengine help %s`", words[0], words[0]);
        return;
    }
    char both[300];
    snprintf(both, sizeof both, "%.*s%s%.*s", name_len(words[0]), words[0], groups > 0 ? " " : "",
             groups > 0 ? name_len(words[1]) : 0, groups > 0 ? words[1] : "");
    const char *near = nearest(both, names, count < 64 ? count : 64);
    term_say("unknown command %s%s%s%s; see `syncengine help`", both, near ? ": did you mean " : "",
             near ? near : "", near ? "?" : "");
}

static enum args_result check_count(const struct call *call)
{
    const struct command *c = call->command;
    if (call->n_args >= c->args_min && call->n_args <= c->args_max)
        return ARGS_RUN;
    if (call->n_args < c->args_min)
        term_say("%s: too few arguments; usage: syncengine %s %s", c->name, c->name, c->arguments);
    else
        term_say("%s: too many arguments, beginning with \"%s\"; usage: syncengine %s %s", c->name,
                 call->args[c->args_max], c->name, c->arguments);
    return ARGS_WRONG;
}

static enum args_result parse(struct parser *p, int argc, char **argv, struct call *call)
{
    int used;
    fill_table(p, NULL);
    enum args_result r = pass(p, "+:hvV", argc, argv, call);
    if (r != ARGS_RUN)
        return r;
    argc -= optind;
    argv += optind;
    if (argc == 0) {
        term_say("no command given; see `syncengine help`");
        return ARGS_WRONG;
    }
    call->command = tool_find(argv, argc, &used);
    if (!call->command) {
        for (int i = 1; i < argc; i++) { /* `syncengine wal --help` */
            if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
                call->args = argv, call->n_args = 1, r = ARGS_HELP;
        }
        if (r != ARGS_HELP)
            unknown_command(argv, argc);
        return r == ARGS_HELP ? r : ARGS_WRONG;
    }
    fill_table(p, call->command);
    argc -= used - 1; /* getopt takes the word before the arguments for the program's name */
    argv += used - 1;
    r = pass(p, ":hv", argc, argv, call);
    if (r != ARGS_RUN)
        return r;
    call->args = argv + optind;
    call->n_args = argc - optind;
    r = check_count(call);
    return r == ARGS_RUN ? configure(p, call) : r;
}

enum args_result args_parse(int argc, char **argv, struct call *call)
{
    struct parser p;
    enum args_result r = ARGS_WRONG;
    se_config_init(&call->config);
    if (parser_init(&p))
        r = parse(&p, argc, argv, call);
    parser_done(&p);
    return r;
}

void args_done(struct call *call)
{
    se_config_clear(&call->config);
}

/* ---- a command's own flags ---- */

const char *call_flag(const struct call *call, const char *name)
{
    const struct flag *flags = call->command->flags;
    for (int i = 0; flags && flags[i].name; i++) {
        if (strcmp(flags[i].name, name) == 0)
            return call->values[i];
    }
    return NULL;
}

bool call_reads(const struct call *call)
{
    const char *writing = call->command->writing_flag;
    return call->command->needs == NEEDS_READER && !(writing && call_flag(call, writing));
}

bool call_flag_u64(const struct call *call, const char *name, uint64_t max, uint64_t *out)
{
    const char *text = call_flag(call, name);
    if (!text || text_u64(text, max, out))
        return true;
    term_say("--%s: \"%s\" is not a whole number from 0 to %llu", name, text,
             (unsigned long long)max);
    return false;
}

bool call_flag_seconds(const struct call *call, const char *name, uint64_t *ms)
{
    const char *text = call_flag(call, name);
    uint64_t v;
    if (!text)
        return true;
    if (text_duration(text, 1000, &v) && v <= UINT32_MAX) {
        *ms = v;
        return true;
    }
    term_say("--%s: \"%s\" is not a duration; write 90s, 1500ms, 5m", name, text);
    return false;
}

bool call_flag_ack(const struct call *call, se_ack *ack)
{
    static const char *const names[] = {"memory", "wal", "l3"};
    const char *text = call_flag(call, "ack");
    if (!text)
        return true;
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *ack = (se_ack)(SE_ACK_MEMORY + i);
            return true;
        }
    }
    term_say("--ack: \"%s\" is none of memory, wal, l3", text);
    return false;
}

bool call_flag_bar(const struct call *call, bool *bar)
{
    const char *text = call_flag(call, "progress");
    *bar = term_has_bar();
    if (!text || strcmp(text, "auto") == 0)
        return true;
    *bar = strcmp(text, "bar") == 0;
    if (*bar || strcmp(text, "lines") == 0)
        return true;
    term_say("--progress: \"%s\" is none of auto, bar, lines", text);
    return false;
}
