/*
 * fuzz_tool - the program's command line, and what it shows on a terminal (tools/args.h, tools/text.h).
 *
 * Input: a byte that says what the rest is. 0: words, each up to its NUL. 1: a text to be shown. The
 * environment is empty, and messages come here (meson.build wraps both).
 *
 * Words either name a command with as many arguments as it takes, and flags whose values are in their
 * ranges, or there is a message; and no message repeats the password in an address. A text that is shown is
 * UTF-8 without control characters; a word for the shell means exactly the text, to a shell written here.
 */
#include "fuzz/fuzz.h"

#include "args.h"
#include "base/utf8.h"
#include "engine/options.h"
#include "term.h"
#include "text.h"

#include <stdarg.h>

#define SECRET "S3cr3tQz"
#define WORDS_MAX 12

static unsigned messages;
static bool secret_given; /* where it is no password */

char *__wrap_getenv(const char *name);
char *__wrap_getenv(const char *name)
{
    (void)name;
    return NULL;
}

void __wrap_term_say(const char *fmt, ...);
void __wrap_term_say(const char *fmt, ...)
{
    char text[2000];
    va_list args;
    va_start(args, fmt);
    must(vsnprintf(text, sizeof text, fmt, args) > 0);
    va_end(args);
    must(secret_given || !strstr(text, SECRET));
    messages++;
}

/* ---- the command line ---- */

static bool is_address(const char *word)
{
    static const char *const BEFORE[] = {"--redis-url=redis://:" SECRET "@",
                                         "--sql-url=mysql://u:" SECRET "@"};
    for (size_t i = 0; i < 2; i++)
        if (strncmp(word, BEFORE[i], strlen(BEFORE[i])) == 0)
            return !strstr(word + strlen(BEFORE[i]), SECRET);
    return false;
}

static void check_flags(const struct call *call)
{
    uint64_t number = 0, ms = 0;
    bool bar;
    se_ack ack = SE_ACK_DEFAULT;
    const struct flag *flags = call->command->flags;
    for (int i = 0; flags && flags[i].name; i++) {
        unsigned before = messages;
        must(call_flag_u64(call, flags[i].name, 1000, &number) ? number <= 1000
                                                               : messages > before);
        before = messages;
        must(call_flag_seconds(call, flags[i].name, &ms) ? ms <= UINT32_MAX : messages > before);
    }
    (void)call_flag_ack(call, &ack);
    (void)call_flag_bar(call, &bar);
    must(ack >= SE_ACK_DEFAULT && ack <= SE_ACK_L3);
}

static void try_words(struct input *in)
{
    static char name[] = "syncengine";
    char *words[WORDS_MAX + 2] = {name}, *kept[WORDS_MAX];
    struct call call = {0};
    int n = 0;
    while (in->left > 0 && n < WORDS_MAX) {
        const uint8_t *end = memchr(in->at, 0, in->left);
        size_t len;
        char *word = (char *)take_copy(in, end ? (size_t)(end - in->at) : in->left, true, &len);
        take_byte(in);
        secret_given |= strstr(word, SECRET) && !is_address(word);
        kept[n] = words[n + 1] = word;
        n++;
    }
    switch (args_parse(n + 1, words, &call)) {
    case ARGS_RUN:
        must(call.command && call.n_args >= call.command->args_min);
        must(call.n_args <= call.command->args_max);
        check_flags(&call);
        break;
    case ARGS_WRONG:
        must(messages > 0);
        break;
    case ARGS_HELP:
    case ARGS_VERSION:
        break;
    }
    args_done(&call);
    while (n > 0)
        free(kept[--n]);
}

/* ---- texts ---- */

static void check_shown(const char *shown, size_t n, size_t cap)
{
    must(n < cap && shown[n] == '\0' && strlen(shown) == n);
    must(se__utf8_check(shown, n) == n);
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)shown[i];
        must(c >= 0x20 && c != 0x7f);
        must(c != 0xc2 || (uint8_t)shown[i + 1] >= 0xa0); /* C1 controls */
        must(strncmp(shown + i, "\xe2\x80\xae", 3) != 0); /* right-to-left override */
    }
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A shell's reading of one word: plain, '...', \c, $'...' with \xNN. False: it is none. */
static bool shell_reads(const char *word, char *out)
{
    while (*word) {
        if (strncmp(word, "$'", 2) == 0) {
            for (word += 2; *word && *word != '\''; word++) {
                if (*word == '\\') {
                    must(word[1] == 'x' && hex(word[2]) >= 0 && hex(word[3]) >= 0);
                    *out++ = (char)(hex(word[2]) << 4 | hex(word[3]));
                    word += 3;
                } else {
                    *out++ = *word;
                }
            }
            if (*word++ != '\'')
                return false;
        } else if (*word == '\'') {
            for (word++; *word && *word != '\'';)
                *out++ = *word++;
            if (*word++ != '\'')
                return false;
        } else if (*word == '\\' && word[1]) {
            *out++ = word[1];
            word += 2;
        } else {
            if (strchr(" \t\n|&;()<>$`\"*?[#~=!{}", *word) || *word == '\\')
                return false;
            *out++ = *word++;
        }
    }
    *out = '\0';
    return true;
}

static void try_text(struct input *in)
{
    static const size_t CAPS[] = {1, 2, 9, 4000};
    static char shown[4000], word[8000], read[8000];
    uint64_t number, ms;
    size_t len;
    char *text = (char *)take_copy(in, 900, true, &len);
    for (size_t i = 0; i < sizeof CAPS / sizeof *CAPS; i++)
        check_shown(shown, text_safe(text, len, shown, CAPS[i]), CAPS[i]);
    text_shell(text, word, sizeof word);
    must(word[0] != '\0' && shell_reads(word, read) && strcmp(read, text) == 0);
    check_shown(word, strlen(word), sizeof word);
    if (text_u64(text, 5000, &number)) {
        must(number <= 5000 && strspn(text, "0123456789") == strlen(text));
        /* more digits than any number has are too many for a duration, zeros or not */
        must(text_duration(text, 1, &ms) ? ms == number : strlen(text) > 20);
    }
    if (text_duration(text, 1000, &ms))
        must(ms <= INT64_MAX && text[0] >= '0' && text[0] <= '9');
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t what = take_byte(&in);
    messages = 0;
    secret_given = false;
    if (what & 1)
        try_text(&in);
    else
        try_words(&in);
    return 0;
}
