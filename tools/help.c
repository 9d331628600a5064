/*
 * help - see help.h.
 */
#include "help.h"

#include "config.h"

#include <stdio.h>
#include <string.h>

#define NAME_COLUMNS 28u /* the left column of lists */
#define COLUMNS_MAX 100u

/* Appends text in lines of at most `columns`, each indented; the first begins at `at`. */
static void wrap(struct buf *out, const char *text, unsigned at, unsigned indent, unsigned columns)
{
    while (*text) {
        size_t word = strcspn(text, " \n");
        if (at > indent && at + 1 + word > columns) {
            se__buf_printf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (at > indent) {
            se__buf_text(out, " ");
            at++;
        }
        se__buf_append(out, text, word);
        at += (unsigned)word;
        text += word;
        if (text[0] == '\n' && text[1] == '\n') {
            se__buf_printf(out, "\n\n%*s", (int)indent, "");
            at = indent;
        }
        text += strspn(text, " \n");
    }
    se__buf_text(out, "\n");
}

static unsigned clip(unsigned columns)
{
    return columns > COLUMNS_MAX ? COLUMNS_MAX : columns < 50 ? 50 : columns;
}

/* "  --name VALUE          help" */
static void entry(struct buf *out, const char *left, const char *help, unsigned columns)
{
    size_t len = strlen(left);
    se__buf_printf(out, "  %s", left);
    if (len + 4 > NAME_COLUMNS)
        se__buf_printf(out, "\n%*s", (int)NAME_COLUMNS, "");
    else
        se__buf_printf(out, "%*s", (int)(NAME_COLUMNS - 2 - len), "");
    wrap(out, help, NAME_COLUMNS, NAME_COLUMNS, columns);
}

static void flag_entry(struct buf *out, const struct flag *flag, unsigned columns)
{
    char left[120];
    snprintf(left, sizeof left, "--%s%s%s", flag->name, flag->value ? " " : "",
             flag->value ? flag->value : "");
    entry(out, left, flag->help, columns);
}

static void command_entry(struct buf *out, const struct command *c, unsigned columns)
{
    char left[160];
    snprintf(left, sizeof left, "%s%s%s", c->name, *c->arguments ? " " : "", c->arguments);
    entry(out, left, c->summary, columns);
}

void help_program(struct buf *out, unsigned columns)
{
    size_t n;
    const struct command *const *all = tool_commands(&n);
    columns = clip(columns);
    se__buf_text(out, "Usage: syncengine [OPTION...] COMMAND [ARGUMENT...]\n\n");
    wrap(out,
         "Reads and writes the items of a three-tier store (memory, Redis, MySQL or SQLite), loads "
         "files into it, and looks "
         "after its write-ahead log.",
         0, 0, columns);
    se__buf_text(out, "\nCommands:\n");
    for (size_t i = 0; i < n; i++)
        command_entry(out, all[i], columns);
    se__buf_text(out, "\n");
    wrap(out,
         "Options (every option of the library is one; `syncengine help options` lists them):", 0,
         0, columns);
    entry(out, "--sql-url URL", "mysql://user[:pass]@host[:port]/db or sqlite:/path", columns);
    entry(out, "--redis-url URL", "redis://[[user]:pass@]host[:port][/db] or unix:///path",
          columns);
    entry(out, "--wal-path TEXT", "file of the write-ahead log", columns);
    entry(out, "-v, --verbose", "show informational log lines too", columns);
    entry(out, "-h, --help", "this text, or a command's", columns);
    entry(out, "-V, --version", "the version", columns);
    se__buf_text(out, "\n");
    wrap(out,
         "Each option is also read from the environment: --sql-url is SYNC_ENGINE_SQL_URL. Flags "
         "override. Passwords belong "
         "into the environment: the arguments of a process can be seen by others.",
         0, 0, columns);
    se__buf_text(out, "\n");
    wrap(out,
         "Exit status: 0 done or yes; 1 not found, no, or bad lines; 2 wrong usage or failure.", 0,
         0, columns);
}

void help_command(struct buf *out, const struct command *c, unsigned columns)
{
    columns = clip(columns);
    se__buf_printf(out, "Usage: syncengine %s [FLAG...]%s%s\n\n", c->name, *c->arguments ? " " : "",
                   c->arguments);
    wrap(out, c->summary, 0, 0, columns);
    if (c->details) {
        se__buf_text(out, "\n");
        wrap(out, c->details, 0, 0, columns);
    }
    se__buf_text(out, "\nFlags:\n");
    for (int i = 0; c->flags && c->flags[i].name; i++)
        flag_entry(out, &c->flags[i], columns);
    entry(out, "-h, --help", "this text", columns);
    if (c->needs != NEEDS_NOTHING)
        entry(out, "--sql-url URL, ...", "the options of the library: `syncengine help options`",
              columns);
}

bool help_group(struct buf *out, const char *group, unsigned columns)
{
    size_t n, len = strlen(group);
    const struct command *const *all = tool_commands(&n);
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (strncmp(all[i]->name, group, len) != 0 || all[i]->name[len] != ' ')
            continue;
        if (!any)
            se__buf_printf(out, "Usage: syncengine %s COMMAND\n\nCommands:\n", group);
        any = true;
        command_entry(out, all[i], clip(columns));
    }
    return any;
}

void help_options(struct buf *out, unsigned columns)
{
    columns = clip(columns);
    wrap(out, "Options of the library, as flags and in the environment (flags override):", 0, 0,
         columns);
    for (size_t i = 0; i < config_count(); i++) {
        struct config_flag f;
        char left[120], help[700];
        config_flag(i, &f);
        snprintf(left, sizeof left, "--%s %s", f.flag, f.value);
        snprintf(help, sizeof help, "%s Default: %s. %s", f.help,
                 f.fallback && *f.fallback ? f.fallback : "not set", f.env);
        entry(out, left, help, columns);
    }
}

static void command_markdown(struct buf *out, const struct command *c)
{
    se__buf_printf(out, "### `syncengine %s%s%s`\n\n%s\n", c->name, *c->arguments ? " " : "",
                   c->arguments, c->summary);
    if (c->details)
        se__buf_printf(out, "\n%s\n", c->details);
    if (c->flags && c->flags[0].name)
        se__buf_text(out, "\n| flag | meaning |\n|---|---|\n");
    for (int i = 0; c->flags && c->flags[i].name; i++) {
        const struct flag *f = &c->flags[i];
        se__buf_printf(out, "| `--%s%s", f->name, f->value ? " " : "");
        for (const char *at = f->value; at && *at; at++) /* a bar would end the cell */
            se__buf_printf(out, *at == '|' ? "\\%c" : "%c", *at);
        se__buf_printf(out, "` | %s |\n", f->help);
    }
    se__buf_text(out, "\n");
}

void help_markdown(struct buf *out)
{
    size_t n;
    const struct command *const *all = tool_commands(&n);
    for (size_t i = 0; i < n; i++)
        command_markdown(out, all[i]);
}
