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
        se__log(&log, (se_log_level)level, "line %d", level);
        cr_assert_eq(h.lines, level + 1);
        cr_assert_eq((int)h.level, level);
    }
    cr_assert_str_eq(h.text, "line 3");
}

Test(log, a_line_is_one_line)
{
    struct heard h = {0};
    struct se__log log = {.fn = hear, .arg = &h};
    se__log(&log, SE_LOG_WARN, "%s", "a\nsyncengine error: forged\r\t\x1b[0m\x7f.");
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
    se__log(&log, SE_LOG_WARN, "%s", text);
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
    se__log(&log, SE_LOG_ERROR, "one");
    se__log(&log, SE_LOG_WARN, "two");
    se__log(&log, SE_LOG_INFO, "three");
    se__log(&log, SE_LOG_DEBUG, "four");
    se__log(NULL, SE_LOG_WARN, "five");
    se__log(NULL, SE_LOG_INFO, "six");
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
