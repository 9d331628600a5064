/* Lines to the hook and to stderr; the gate. */
#include "base/log.h"
#include "base/os.h"
#include "base/utf8.h"
#include "support/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct heard {
    int lines;
    se_log_level level;
    char text[2000];
};

static void hear(void *arg, se_log_level level, const char *message)
{
    struct heard *h = arg;
    h->lines++;
    h->level = level;
    snprintf(h->text, sizeof h->text, "%s", message);
}

Test(log, gives_every_level_to_the_hook)
{
    struct heard h = {0};
    struct se__log log = {.fn = hear, .arg = &h, .name = "n"};
    for (int level = SE_LOG_ERROR; level <= SE_LOG_DEBUG; level++) {
        se__log(&log, (se_log_level)level, "test.line", NULL, "line %d", level);
        cr_assert_eq(h.lines, level + 1);
        cr_assert_eq((int)h.level, level);
    }
    cr_assert_str_eq(h.text, "line 3");
}

Test(log, a_line_is_one_line)
{
    struct heard h = {0};
    struct se__log log = {.fn = hear, .arg = &h};
    se__log(&log, SE_LOG_WARN, "test.line", NULL, "%s",
            "a\nsyncengine error: forged\r\t\x1b[0m\x7f.");
    cr_assert_str_eq(h.text, "a syncengine error: forged   [0m .");
}

Test(log, is_cut_at_1_kib_between_characters)
{
    struct heard h = {0};
    struct se__log log = {.fn = hear, .arg = &h};
    char text[3000];
    for (size_t n = 0; n < sizeof text - 1; n += 2)
        memcpy(text + n, "\xc3\xa4", 2);
    text[2998] = '\0';
    se__log(&log, SE_LOG_WARN, "test.line", NULL, "%s", text);
    cr_assert_eq(strlen(h.text), 1022u);
    cr_assert_eq(se__utf8_check(h.text, 1022), 1022u);
}

/* Runs `say` with stderr going to a file and returns what was written. */
static void captured(void (*say)(void), char *out, size_t cap)
{
    FILE *file = tmpfile();
    fflush(stderr);
    int kept = dup(2);
    dup2(fileno(file), 2);
    say();
    fflush(stderr);
    dup2(kept, 2);
    close(kept);
    rewind(file);
    out[fread(out, 1, cap - 1, file)] = '\0';
    fclose(file);
}

static void say_all(void)
{
    struct se__log log = {.name = "orders"};
    se__log(&log, SE_LOG_ERROR, "test.line", NULL, "one");
    se__log(&log, SE_LOG_WARN, "test.line", NULL, "two");
    se__log(&log, SE_LOG_INFO, "test.line", NULL, "three");
    se__log(&log, SE_LOG_DEBUG, "test.line", NULL, "four");
    se__log(NULL, SE_LOG_WARN, "test.line", NULL, "five");
    se__log(NULL, SE_LOG_INFO, "test.line", NULL, "six");
}

Test(log, without_a_hook_warnings_go_to_stderr)
{
    char out[1000];
    captured(say_all, out, sizeof out);
    cr_assert_str_eq(out, "syncengine[orders] error: one\nsyncengine[orders] warning: "
                          "two\nsyncengine warning: five\n");
}

Test(log, the_gate_lets_one_pass_per_interval)
{
    struct se__log_gate gate = {0};
    int passed = 0;
    for (uint64_t now = 0; now < 1000; now++)
        passed += se__log_gate_open(&gate, now, 100);
    cr_assert_eq(passed, 10);
    struct se__log_gate forever = {0};
    cr_assert(se__log_gate_open(&forever, 5, UINT64_MAX));
    cr_assert_not(se__log_gate_open(&forever, UINT64_MAX - 1, UINT64_MAX));
}

static struct se__log_gate shared_gate;
static _Atomic int shared_passed;

static void knock(void *arg)
{
    (void)arg;
    for (uint64_t now = 0; now < 100000; now++)
        if (se__log_gate_open(&shared_gate, 10, 1000))
            atomic_fetch_add(&shared_passed, 1);
}

Test(log, the_gate_elects_one_thread)
{
    struct se__thread t[3];
    for (int i = 0; i < 3; i++)
        cr_assert_eq(se__thread_start(&t[i], "knock", knock, NULL), SE_OK);
    for (int i = 0; i < 3; i++)
        se__thread_join(&t[i]);
    cr_assert_eq(atomic_load(&shared_passed), 1);
}

/* ---- events ---- */

struct told {
    unsigned n;
    se_log_level level;
    char engine[64], component[32], event[32], message[1100], fields[2200];
};

static void be_told(void *arg, const se_log_event *e)
{
    struct told *t = arg;
    t->n++;
    t->level = e->level;
    snprintf(t->engine, sizeof t->engine, "%s", e->engine);
    snprintf(t->component, sizeof t->component, "%s", e->component);
    snprintf(t->event, sizeof t->event, "%s", e->event);
    snprintf(t->message, sizeof t->message, "%s", e->message);
    t->fields[0] = '\0';
    for (size_t i = 0; i < e->n_fields; i++) {
        size_t len = strlen(t->fields);
        snprintf(t->fields + len, sizeof t->fields - len, "%s=%s;", e->fields[i].key,
                 e->fields[i].value);
    }
}

Test(log, an_event_has_its_parts)
{
    struct told t = {0};
    struct se__log log = {.event_fn = be_told, .arg = &t, .name = "shop"};
    se__log(&log, SE_LOG_INFO, "flush.home_unwell",
            (const struct se__field[]){se__number("writes", UINT64_MAX),
                                       se__text("error", "a\nb"),
                                       se__text("none", NULL),
                                       {0}},
            "%d writes", 7);
    cr_assert(t.n == 1 && t.level == SE_LOG_INFO);
    cr_assert_str_eq(t.engine, "shop");
    cr_assert_str_eq(t.component, "flush");
    cr_assert_str_eq(t.event, "home_unwell");
    cr_assert_str_eq(t.message, "7 writes");
    cr_assert_str_eq(t.fields, "writes=18446744073709551615;error=a b;none=;");
    se__log(&log, SE_LOG_DEBUG, "flush.quiet", NULL, "nothing");
    cr_assert(t.n == 2 && t.fields[0] == '\0');
}

static struct {
    struct heard heard;
    struct told told;
} both;

static void hear_both(void *arg, se_log_level level, const char *message)
{
    cr_assert_eq(arg, &both);
    hear(&both.heard, level, message);
}

static void be_told_both(void *arg, const se_log_event *e)
{
    cr_assert_eq(arg, &both);
    be_told(&both.told, e);
}

Test(log, the_two_hooks_are_independent)
{
    struct se__log log = {.fn = hear_both, .event_fn = be_told_both, .arg = &both};
    se__log(&log, SE_LOG_WARN, "a.b", NULL, "once each");
    cr_assert(both.heard.lines == 1 && both.told.n == 1);
    cr_assert_str_eq(both.heard.text, both.told.message);
}

Test(log, fields_are_bounded_in_number_and_length)
{
    struct told t = {0};
    struct se__log log = {.event_fn = be_told, .arg = &t, .name = "n"};
    char text[3001];
    struct se__field many[SE_LOG_FIELDS_MAX + 3] = {{0}};
    for (size_t n = 0; n < sizeof text - 1; n += 2)
        memcpy(text + n, "\xc3\xa4", 2);
    text[3000] = '\0';
    for (size_t i = 0; i < SE_LOG_FIELDS_MAX + 2; i++)
        many[i] = se__text("k", i == 1 ? text : "v");
    se__log(&log, SE_LOG_WARN, "a.b", many, "x");
    size_t fields = 0, len = strlen(t.fields);
    for (const char *at = t.fields; (at = strstr(at, "k=")); at++)
        fields++;
    cr_assert_eq(fields, SE_LOG_FIELDS_MAX);
    cr_assert(len < 1100 && se__utf8_check(t.fields, len) == len);
}
