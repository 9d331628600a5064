/*
 * cmd_top - syncengine top: a running engine's numbers, live; and stats --url, the same for scripts.
 *
 * On a terminal it draws on the alternate screen, a line at a time without flicker, and gives the terminal back as it was: at q,
 * Ctrl-C, SIGTERM, SIGHUP, and for the time of a Ctrl-Z. Elsewhere it prints a plain table per interval.
 * Numbers between two looks; the first look shows gauges and what has come since the engine's start.
 * An endpoint that does not answer is said so and asked again.
 *
 * Threads: the main thread.
 */
#include "base/os.h"
#include "fetch.h"
#include "out.h"
#include "term.h"
#include "text.h"
#include "tool.h"
#include "view.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#define DEFAULT_URL "http://127.0.0.1:9464"
#define ANSWER_MS 2000u
#define INTERVAL_MIN_MS 100u

/* ---- looks ---- */

struct page {
    struct buf text;
    struct samples samples;
    uint64_t at_ms;
    bool there;
};

struct watch {
    struct endpoint endpoint;
    char where[200];
    uint64_t interval_ms;
    struct page pages[2]; /* the last look and the one before */
    unsigned last;
    char trouble[400]; /* "": the last look went well */
};

static void say_trouble(struct watch *w, se_result r)
{
    const char *why = se_errmsg();
    char text[320];
    snprintf(text, sizeof text, "%s", *why ? why : se_strerror(r));
    text_safe(text, strlen(text), w->trouble, sizeof w->trouble);
}

/* The page before stays if this one cannot be had. */
static bool look(struct watch *w)
{
    struct page *page = &w->pages[1 - w->last];
    se_result r = fetch_page(&w->endpoint, "/metrics", se__deadline_in(ANSWER_MS), &page->text);
    if (r == SE_OK && !samples_parse(&page->samples, page->text.data, page->text.len))
        r = se__error_nomem();
    if (r == SE_OK && page->samples.n == 0)
        r = se__error(SE_ERR_CORRUPT, "there are no metrics at %s", w->where);
    page->there = r == SE_OK;
    if (r != SE_OK) {
        say_trouble(w, r);
        return false;
    }
    page->at_ms = se__mono_ms();
    w->last = 1 - w->last;
    w->trouble[0] = 0;
    return true;
}

static void lines(const struct watch *w, struct buf *out)
{
    const struct page *now = &w->pages[w->last], *before = &w->pages[1 - w->last];
    struct look l = {.now = &now->samples, .where = w->where};
    if (before->there) {
        l.before = &before->samples;
        l.seconds = (double)(now->at_ms - before->at_ms) / 1000;
    }
    if (now->there)
        view_lines(&l, out);
}

static void watch_done(struct watch *w)
{
    for (int i = 0; i < 2; i++) {
        samples_done(&w->pages[i].samples);
        se__buf_done(&w->pages[i].text);
    }
}

static bool watch_init(struct watch *w, const struct call *call)
{
    const char *url = call_flag(call, "url");
    *w = (struct watch){.interval_ms = 1000};
    url = url ? url : DEFAULT_URL;
    text_safe(url, strlen(url), w->where, sizeof w->where);
    if (fetch_endpoint(url, &w->endpoint) == SE_OK)
        return true;
    term_say("--url: %s", se_errmsg());
    return false;
}

/* ---- signals and keys ---- */

enum event { EVENT_TIME, EVENT_RESIZED, EVENT_STOPPED, EVENT_LEAVE };

struct input {
    int signals;
    bool keys; /* stdin is the terminal */
    int signal;
};

static void watched(sigset_t *set)
{
    static const int list[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        sigaddset(set, list[i]);
}

static bool input_open(struct input *in)
{
    sigset_t set;
    watched(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    in->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    in->signal = 0;
    if (in->signals < 0)
        term_system("signals", "signalfd");
    return in->signals >= 0;
}

static enum event on_signal(struct input *in)
{
    struct signalfd_siginfo info;
    if (read(in->signals, &info, sizeof info) != (ssize_t)sizeof info)
        return EVENT_RESIZED;
    if (info.ssi_signo == SIGWINCH)
        return EVENT_RESIZED;
    if (info.ssi_signo == SIGTSTP)
        return EVENT_STOPPED;
    in->signal = (int)info.ssi_signo;
    return EVENT_LEAVE;
}

/* Another key only draws again. */
static enum event on_key(struct input *in)
{
    char keys[64];
    ssize_t n = read(STDIN_FILENO, keys, sizeof keys);
    if (n <= 0)
        in->keys = false; /* the terminal is gone; a signal will come */
    for (ssize_t i = 0; i < n; i++) {
        if (keys[i] == 'q' || keys[i] == 'Q' || keys[i] == 3 || keys[i] == 4)
            return EVENT_LEAVE;
    }
    return EVENT_RESIZED;
}

static enum event wait_event(struct input *in, uint64_t until_ms)
{
    struct pollfd fds[2] = {{.fd = in->signals, .events = POLLIN},
                            {.fd = in->keys ? STDIN_FILENO : -1, .events = POLLIN}};
    uint64_t left = se__deadline_left(until_ms);
    int n = poll(fds, 2, left > 60000 ? 60000 : (int)left);
    if (n > 0 && fds[0].revents)
        return on_signal(in);
    if (n > 0 && fds[1].revents)
        return on_key(in);
    return EVENT_TIME;
}

/* ---- the screen ---- */

struct screen {
    struct termios before;
    bool has_modes;
};

static void put_out(const struct buf *b)
{
    for (size_t done = 0; done < b->len;) {
        ssize_t n = write(STDOUT_FILENO, b->data + done, b->len - done);
        if (n <= 0)
            return; /* the terminal is gone */
        done += (size_t)n;
    }
}

static void put_text(const char *text)
{
    struct buf b = {.data = (char *)text, .len = strlen(text)};
    put_out(&b);
}

/* Keys come at once and are not shown; Ctrl-C and Ctrl-Z stay signals. */
static void screen_enter(struct screen *s)
{
    s->has_modes = tcgetattr(STDIN_FILENO, &s->before) == 0;
    if (s->has_modes) {
        struct termios raw = s->before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
    }
    put_text("\033[?1049h\033[?25l\033[?7l"); /* alternate screen, no cursor, no wrapping */
}

static void screen_leave(const struct screen *s)
{
    put_text("\033[?7h\033[?25h\033[?1049l");
    if (s->has_modes)
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &s->before);
}

static void screen_size(size_t *rows, size_t *columns)
{
    struct winsize size = {0};
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col;
    *rows = known ? size.ws_row : 24;
    *columns = known ? size.ws_col : 80;
}

/* One line, cut at the screen's width, in reverse where it is the foot. A full line is not erased behind: the cursor stands
 * on its last column then. */
static void put_line(struct buf *out, const char *text, size_t len, size_t columns, bool foot)
{
    se__buf_text(out, foot ? "\033[7m" : "");
    se__buf_append(out, text, len < columns ? len : columns);
    se__buf_text(out, foot ? "\033[0m" : "");
    se__buf_text(out, len < columns ? "\033[K" : "");
}

static void foot_text(const struct watch *w, char *out, size_t cap)
{
    char every[24];
    text_elapsed(w->interval_ms, every);
    if (w->trouble[0])
        snprintf(out, cap, "No answer: %s; trying again every %s. q leaves", w->trouble, every);
    else
        snprintf(out, cap, "every %s; q leaves", every);
}

/* The foot is the last row; what does not fit between stays away. No line feed after it: the screen would roll. */
static void draw(const struct watch *w)
{
    size_t rows, columns;
    char foot[600];
    struct buf all = {0}, frame = {0};
    screen_size(&rows, &columns);
    lines(w, &all);
    se__buf_text(&frame, "\033[H");
    const char *at = all.data;
    size_t left = all.len;
    for (size_t row = 1; row < rows; row++) {
        const char *end = left ? memchr(at, '\n', left) : NULL;
        size_t len = end ? (size_t)(end - at) : 0;
        put_line(&frame, at, len, columns, false);
        se__buf_text(&frame, "\r\n");
        at += end ? len + 1 : 0;
        left -= end ? len + 1 : 0;
    }
    foot_text(w, foot, sizeof foot);
    put_line(&frame, foot, strlen(foot), columns, true);
    put_out(&frame);
    se__buf_done(&frame);
    se__buf_done(&all);
}

/* Ctrl-Z: the shell gets its terminal as it was; on return all is drawn again. */
static void pause_here(struct screen *s)
{
    screen_leave(s);
    (void)raise(SIGSTOP);
    screen_enter(s);
}

static int run_screen(struct watch *w, struct input *in)
{
    struct screen screen;
    enum event event = EVENT_TIME;
    screen_enter(&screen);
    while (event != EVENT_LEAVE) {
        uint64_t next = se__deadline_in(w->interval_ms);
        (void)look(w);
        do {
            draw(w);
            event = wait_event(in, next);
            if (event == EVENT_STOPPED)
                pause_here(&screen);
        } while (event != EVENT_LEAVE && event != EVENT_TIME);
    }
    screen_leave(&screen);
    return EXIT_FINE; /* leaving is no failure, by whatever key */
}

/* ---- without a terminal ---- */

static bool print_table(const struct watch *w)
{
    struct buf all = {0};
    char now[32];
    text_time(se__wall_ms(), now);
    lines(w, &all);
    out_printf("%s\n", now);
    if (w->trouble[0])
        out_printf("no answer from %s: %s\n", w->where, w->trouble);
    else
        out_bytes(all.data, all.len);
    out_text("\n");
    se__buf_done(&all);
    return out_flush();
}

static int run_plain(struct watch *w, struct input *in)
{
    enum event event = EVENT_TIME;
    in->keys = false;
    (void)look(w); /* so that the first table has rates */
    while (event != EVENT_LEAVE) {
        uint64_t next = se__deadline_in(w->interval_ms);
        do
            event = wait_event(in, next);
        while (event != EVENT_LEAVE && event != EVENT_TIME);
        if (event == EVENT_LEAVE)
            break;
        (void)look(w);
        if (!print_table(w))
            break;
    }
    return out_finish(EXIT_FINE);
}

/* Two looks, an interval apart, and one table. */
static int run_once(struct watch *w, struct input *in)
{
    enum event event = EVENT_TIME;
    bool fine = look(w);
    uint64_t next = se__deadline_in(w->interval_ms);
    while (fine && se__deadline_left(next) && event != EVENT_LEAVE)
        event = wait_event(in, next);
    if (event == EVENT_LEAVE)
        return EXIT_SIGNAL + in->signal;
    if (!fine || !look(w)) {
        term_say("top: no answer from %s: %s", w->where, w->trouble);
        return EXIT_TROUBLE;
    }
    return out_finish(print_table(w) ? EXIT_FINE : EXIT_TROUBLE);
}

/* ---- the commands ---- */

static bool terminal(void)
{
    const char *kind = getenv("TERM");
    return isatty(STDOUT_FILENO) && kind && *kind && strcmp(kind, "dumb") != 0;
}

static int run_top(struct call *call)
{
    struct watch w;
    struct input in = {.keys = isatty(STDIN_FILENO) != 0};
    if (!watch_init(&w, call) || !call_flag_seconds(call, "interval", &w.interval_ms))
        return EXIT_TROUBLE;
    if (w.interval_ms < INTERVAL_MIN_MS) {
        term_say("--interval: at least %ums", INTERVAL_MIN_MS);
        return EXIT_TROUBLE;
    }
    if (!input_open(&in))
        return EXIT_TROUBLE;
    bool once = call_flag(call, "once") != NULL;
    if (once)
        in.keys = false;
    int status = once ? run_once(&w, &in) : terminal() ? run_screen(&w, &in) : run_plain(&w, &in);
    close(in.signals);
    watch_done(&w);
    return status;
}

static const struct flag top_flags[] = {{"url", "URL", "the endpoint (default: " DEFAULT_URL ")"},
                                        {"interval", "TIME", "between two looks (default: 1s)"},
                                        {"once", NULL, "print one table and end"},
                                        {0}};

const struct command command_top = {
    .name = "top",
    .arguments = "",
    .summary = "Show a running engine live: rates, hit ratios, latencies, queue, WAL, circuits.",
    .details = "Asks the HTTP endpoint of a service (se_http_start) or of `syncengine serve`. q or "
               "Ctrl-C leaves. Where "
               "stdout is no terminal a plain table is printed per interval. An endpoint that does "
               "not answer is asked "
               "again; with --once the status is 2 then.\n\n"
               "Rates, hit ratios, latencies and batch sizes are those between two looks.",
    .flags = top_flags,
    .needs = NEEDS_NOTHING,
    .run = run_top,
};

int stats_of_endpoint(const struct call *call)
{
    struct watch w;
    struct buf out = {0};
    if (!watch_init(&w, call))
        return EXIT_TROUBLE;
    bool fine = look(&w);
    if (!fine)
        term_say("stats: no answer from %s: %s", w.where, w.trouble);
    else if (call_flag(call, "json"))
        view_json(&w.pages[w.last].samples, &out);
    else
        se__buf_append(&out, w.pages[w.last].text.data, w.pages[w.last].text.len);
    if (fine && out.failed)
        term_say("stats: out of memory");
    fine = fine && !out.failed;
    if (fine)
        out_bytes(out.data, out.len);
    se__buf_done(&out);
    watch_done(&w);
    return out_finish(fine ? EXIT_FINE : EXIT_TROUBLE);
}
