/*
 * man - syncengine(1) as roff, from the tables that drive --help and docs/tool.md.
 *
 * The words in front and behind the tables (what the program is, exit status, examples) are here. A dot or a quote at
 * the beginning of a line would be a request to roff, a backslash an escape: text() lets none of them through.
 */
#include "config.h"
#include "help.h"

#include <string.h>

/* Text as it is, in roff's words; an empty line begins a paragraph, other line ends are blanks. */
static void text(struct buf *out, const char *words)
{
    bool at_start = true;
    for (; *words; words++) {
        if (words[0] == '\n' && words[1] == '\n') {
            se__buf_text(out, "\n.PP\n");
            while (words[1] == '\n')
                words++;
            at_start = true;
            continue;
        }
        if (at_start && (*words == '.' || *words == '\''))
            se__buf_text(out, "\\&");
        at_start = false;
        if (*words == '\\')
            se__buf_text(out, "\\e");
        else if (*words == '-')
            se__buf_text(out, "\\-");
        else if (*words == '`') /* quotes of code have no meaning here */
            continue;
        else
            se__buf_append(out, *words == '\n' ? " " : words, 1);
    }
}

static void heading(struct buf *out, const char *name)
{
    se__buf_printf(out, ".SH %s\n", name);
}

static void paragraph(struct buf *out, const char *words)
{
    se__buf_text(out, ".PP\n");
    text(out, words);
    se__buf_text(out, "\n");
}

/* "--name VALUE" in bold and italics, then its help, indented. */
static void entry(struct buf *out, const char *name, const char *value, const char *help)
{
    se__buf_text(out, ".TP\n\\fB");
    text(out, name);
    se__buf_text(out, "\\fR");
    if (value && *value) {
        se__buf_text(out, " \\fI");
        text(out, value);
        se__buf_text(out, "\\fR");
    }
    se__buf_text(out, "\n");
    text(out, help);
    se__buf_text(out, "\n");
}

static void flag(struct buf *out, const struct flag *f)
{
    char name[64] = "--";
    strncat(name, f->name, sizeof name - 3);
    entry(out, name, f->value, f->help);
}

static void command(struct buf *out, const struct command *c)
{
    se__buf_text(out, ".SS ");
    text(out, c->name);
    se__buf_text(out, " ");
    text(out, c->arguments);
    se__buf_text(out, "\n");
    text(out, c->summary);
    se__buf_text(out, "\n");
    if (c->details)
        paragraph(out, c->details);
    for (int i = 0; c->flags && c->flags[i].name; i++)
        flag(out, &c->flags[i]);
}

static void commands(struct buf *out)
{
    size_t n;
    const struct command *const *all = tool_commands(&n);
    heading(out, "COMMANDS");
    for (size_t i = 0; i < n; i++)
        command(out, all[i]);
}

static void options(struct buf *out)
{
    heading(out, "OPTIONS");
    paragraph(out, "They may stand before or after the command's name.");
    entry(out, "-h, --help", NULL, "Explain the program, or a command.");
    entry(out, "-V, --version", NULL, "Print the version.");
    entry(out, "-v, --verbose", NULL, "Show informational log lines too.");
    paragraph(out, "Every option of the library is one as well:");
    for (size_t i = 0; i < config_count(); i++) {
        struct config_flag f;
        char name[64] = "--";
        config_flag(i, &f);
        strncat(name, f.flag, sizeof name - 3);
        entry(out, name, f.value, f.help);
        se__buf_text(out, "Default: ");
        text(out, f.fallback && *f.fallback ? f.fallback : "not set");
        se__buf_text(out, ".\n");
    }
}

static void head(struct buf *out)
{
    se__buf_printf(out,
                   ".\\\" Generated from the program's tables: syncengine docs man\n"
                   ".TH SYNCENGINE 1 \"\" \"syncengine %s\" \"User Commands\"\n",
                   se_library_version());
    heading(out, "NAME");
    se__buf_text(out,
                 "syncengine \\- read, write, load and verify the items of a three-tier store\n");
    heading(out, "SYNOPSIS");
    se__buf_text(out, ".B syncengine\n[\\fIOPTION\\fR...] \\fICOMMAND\\fR [\\fIARGUMENT\\fR...]\n");
    heading(out, "DESCRIPTION");
    paragraph(
        out,
        "Reads and writes the items of a three-tier store (memory, Redis, MySQL or SQLite), loads "
        "files into it, verifies that the tiers agree, and looks after its write-ahead log. It is "
        "an "
        "engine like any other: a put takes the way of every write, a get asks the tiers in their "
        "order.");
    paragraph(
        out,
        "Commands that only read work beside a live service. Those that write must not name the "
        "service's write-ahead log: one engine a file.");
}

static void foot(struct buf *out)
{
    heading(out, "EXIT STATUS");
    entry(out, "0", NULL, "Done; yes; found.");
    entry(out, "1", NULL,
          "Not found; no; not healthy; some lines or records were bad; tiers differ.");
    entry(out, "2", NULL,
          "Wrong usage, or it could not be done or told: an outage is never a \"no\".");
    entry(out, "128 + n", NULL, "load, wal drain, verify: ended in order by signal n.");
    heading(out, "ENVIRONMENT");
    entry(out, "SYNC_ENGINE_NAME", NULL,
          "Every option, in capitals and with underscores: --sql-url is SYNC_ENGINE_SQL_URL. Flags "
          "override. "
          "Passwords belong here: the arguments of a process can be seen by others.");
    heading(out, "EXAMPLES");
    se__buf_text(out, ".nf\nexport SYNC_ENGINE_SQL_URL=sqlite:cities.db\n"
                      "syncengine load cities.ndjson.zst \\-\\-id\\-field id\n"
                      "syncengine get geo.AD.03.000000\n"
                      "syncengine scan geo.AD. \\-\\-limit 5\n"
                      "syncengine verify\n.fi\n");
    heading(out, "SEE ALSO");
    se__buf_text(out, ".BR syncengine (3)\n");
}

void help_man(struct buf *out)
{
    head(out);
    commands(out);
    options(out);
    foot(out);
}
