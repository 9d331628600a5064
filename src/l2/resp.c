/*
 * resp - see resp.h.
 *
 * A command on the wire is "*<args>\r\n" and for each argument "$<len>\r\n<bytes>\r\n".
 *
 * A pipeline is sent in pieces, and its replies are read between them, so that both ends work at once
 * and neither holds more than a window of it: a server queues in memory what nobody reads.
 *   - While the socket takes no more, what has come is read.
 *   - A piece is a window of commands, or PUSH_BYTES of them, and when it goes out no more than a
 *     window of replies is owed: WINDOW_BYTES of them, by the size of those that have come lately.
 *   - On one machine a window is NEAR_WINDOW commands at most: the server has the next piece before it
 *     is done with one, whose replies are parsed meanwhile. Over a network that would cost round trips.
 */
#include "l2/resp.h"

#include "base/mem.h"
#include "base/os.h"
#include "l2/input.h"
#include "l2/reply.h"

#include <stdio.h>
#include <string.h>

#define CHUNK_SIZE (64u << 10)
#define PUSH_BYTES (64u << 10)
#define NEAR_WINDOW 100u
#define WINDOW_BYTES (1u << 20)
#define WINDOW_MIN 4u
/* Replies by which the size of the next ones is estimated; older ones count half. At first: */
#define ESTIMATE_OF 1024u
#define FIRST_REPLIES 16u
#define FIRST_BYTES (16u << 10)
/* More than the longest value Redis has by default (512 MB) with its frame: beyond
 * it somebody feeds us for ever. */
#define REPLY_BYTES_MAX (600u << 20)
/* A server that refuses a command's frame answers and hangs up while we still write:
 * what it said is there at once. */
#define LAST_WORDS_MS 50

struct resp {
    int fd;
    struct input *in;
    struct buf out;
    size_t gathered; /* commands in it, or rather, replies to them */
    size_t pending;
    size_t left;     /* replies still to come of what was sent before: nobody waits for them */
    size_t index;    /* of the next reply */
    size_t spread;   /* a command is answered by an array of so many replies; 0: by one */
    size_t elements; /* of the array that has begun, still to come */
    bool near;
    uint64_t bytes_in, replies_in; /* lately */
    resp_reply_fn late;
    void *late_arg;
    se_result failed; /* of a push; shown by the next exchange */
    bool dead;
};

se_result se__resp_open(const struct url *url, uint64_t deadline_ms, struct resp **resp)
{
    struct resp *c = se__alloc_zeroed(1, sizeof *c);
    if (!c)
        return se__error_nomem();
    c->fd = -1;
    c->replies_in = FIRST_REPLIES;
    c->bytes_in = FIRST_BYTES;
    se_result r = se__input_open(&c->in);
    if (r == SE_OK)
        r = se__net_connect(url->host, url->port, url->path, deadline_ms, &c->fd);
    if (r == SE_OK) {
        c->near = se__net_near(c->fd);
        se__net_read_patiently(c->fd);
    }
    if (r != SE_OK) {
        se__resp_close(c);
        return r;
    }
    *resp = c;
    return SE_OK;
}

void se__resp_close(struct resp *c)
{
    if (!c)
        return;
    se__net_close(c->fd);
    se__input_close(c->in);
    se__buf_done(&c->out);
    se__free(c);
}

/* ---- out ---- */

#define FRAME_MAX 24u

/* "%c%zu\r\n" without snprintf, at the end of `text`: a pipeline has some of these for each key.
 * Returns where it begins. */
static char *frame_text(char kind, size_t n, char text[FRAME_MAX])
{
    char *at = text + FRAME_MAX;
    *--at = '\n';
    *--at = '\r';
    do
        *--at = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    *--at = kind;
    return at;
}

static void frame(struct resp *c, char kind, size_t n)
{
    char text[FRAME_MAX];
    const char *at = frame_text(kind, n, text);
    se__buf_append(&c->out, at, (size_t)(text + FRAME_MAX - at));
}

void se__resp_begin(struct resp *c, size_t args)
{
    frame(c, '*', args);
    c->gathered++;
    c->pending++;
}

void se__resp_begin_spread(struct resp *c, size_t args, size_t replies)
{
    frame(c, '*', args);
    c->gathered += replies;
    c->pending += replies;
    c->spread = c->spread > replies ? c->spread : replies;
}

void se__resp_arg2(struct resp *c, const void *head, size_t head_len, const void *tail,
                   size_t tail_len)
{
    char text[FRAME_MAX];
    const char *frame_at = frame_text('$', head_len + tail_len, text);
    size_t frame_len = (size_t)(text + FRAME_MAX - frame_at);
    size_t whole = frame_len + head_len + tail_len + 2;
    char *at = se__buf_reserve(&c->out, whole); /* once for all of it */
    if (!at)
        return;
    memcpy(at, frame_at, frame_len);
    at += frame_len;
    if (head_len > 0) /* of nothing there may be no address */
        memcpy(at, head, head_len);
    if (tail_len > 0)
        memcpy(at + head_len, tail, tail_len);
    memcpy(at + head_len + tail_len, "\r\n", 2);
    se__buf_grow(&c->out, whole);
}

void se__resp_arg(struct resp *c, const void *bytes, size_t len)
{
    se__resp_arg2(c, bytes, len, "", 0);
}

void se__resp_text(struct resp *c, const char *text)
{
    se__resp_arg(c, text, strlen(text));
}

void se__resp_number(struct resp *c, uint64_t n)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    se__resp_arg(c, text, (size_t)len);
}

uint8_t *se__resp_arg_room(struct resp *c, size_t len)
{
    frame(c, '$', len);
    char *room = se__buf_reserve(&c->out, len + 2);
    if (!room)
        return NULL;
    memcpy(room + len, "\r\n", 2);
    se__buf_grow(&c->out, len + 2);
    return (uint8_t *)room;
}

size_t se__resp_hole(struct resp *c, size_t len)
{
    uint8_t *room = se__resp_arg_room(c, len);
    return room ? (size_t)(room - (uint8_t *)c->out.data) : 0;
}

uint8_t *se__resp_at(struct resp *c, size_t at)
{
    return (uint8_t *)c->out.data + at;
}

/* ---- in ---- */

static se_result feed(struct resp *c, uint64_t deadline_ms)
{
    size_t len = 0, cap = 0;
    char *room = se__input_room(c->in, &cap);
    if (!room)
        return se__error_nomem();
    se_result r = se__net_read(c->fd, room, cap, deadline_ms, &len);
    if (r != SE_OK)
        return r;
    se__input_grew(c->in, len);
    c->bytes_in += len;
    if (se__input_waiting(c->in) > REPLY_BYTES_MAX)
        return se__error(SE_ERR_BACKEND, "the reply has no end");
    return SE_OK;
}

static se_result not_a_reply(const struct resp *c)
{
    return se__error(SE_ERR_BACKEND, "not a reply of Redis: %s", se__input_error(c->in));
}

/* Of the command whose answer is the next. */
static size_t array_size(const struct resp *c)
{
    return c->pending < c->spread ? c->pending : c->spread;
}

static enum input_next next_here(struct resp *c, const struct redisReply **reply)
{
    if (c->spread > 0 && c->left == 0 && c->elements == 0 && se__input_array(c->in, array_size(c)))
        c->elements = array_size(c);
    return se__input_next(c->in, reply);
}

/* The next reply, lent until the next one is asked for. */
static se_result next_reply(struct resp *c, uint64_t deadline_ms, const struct redisReply **reply)
{
    for (;;) {
        enum input_next got = next_here(c, reply);
        if (got == INPUT_REPLY)
            return SE_OK;
        if (got == INPUT_GARBAGE)
            return not_a_reply(c);
        se_result r = feed(c, deadline_ms);
        if (r != SE_OK)
            return r;
        /* A server that always has more bytes for us must not carry us past the deadline. */
        if (se__input_waiting(c->in) > CHUNK_SIZE && se__deadline_left(deadline_ms) == 0)
            return se__error(SE_ERR_TIMEOUT, "no whole answer in time");
    }
}

/* Replies that are still to come. */
static size_t owed(const struct resp *c)
{
    return c->left + c->pending;
}

static void take_late(struct resp *c, const struct redisReply *reply)
{
    c->left--;
    if (c->late)
        c->late(c->late_arg, 0, reply);
}

/* What should be an array, as one reply: its elements, or what else it is for the first of them. */
static void deliver_whole(struct resp *c, const struct redisReply *reply, resp_reply_fn on_reply,
                          void *arg)
{
    size_t n = array_size(c), from = c->index;
    bool fits = se__reply_elements(reply) == n;
    c->pending -= n;
    c->index += n;
    for (size_t i = 0; i < (fits ? n : 1); i++)
        on_reply(arg, from + i, fits ? se__reply_element(reply, i) : reply);
}

/* To whom it may concern: those that were left come first. */
static void deliver(struct resp *c, const struct redisReply *reply, resp_reply_fn on_reply,
                    void *arg)
{
    if (++c->replies_in >= 2 * ESTIMATE_OF) {
        c->replies_in /= 2;
        c->bytes_in /= 2;
    }
    if (c->left > 0) {
        take_late(c, reply);
    } else if (c->spread > 0 && c->elements == 0) {
        deliver_whole(c, reply, on_reply, arg);
    } else {
        c->elements -= c->spread > 0;
        c->pending--;
        on_reply(arg, c->index++, reply);
    }
}

/* Reads until no more than `most` are owed. */
static se_result read_down_to(struct resp *c, size_t most, uint64_t deadline_ms,
                              resp_reply_fn on_reply, void *arg)
{
    while (owed(c) > most) {
        const struct redisReply *reply = NULL;
        se_result r = next_reply(c, deadline_ms, &reply);
        if (r != SE_OK)
            return r;
        deliver(c, reply, on_reply, arg);
    }
    return SE_OK;
}

/* Bytes are there, or the end: takes the replies that are whole with them. */
static se_result read_what_came(struct resp *c, uint64_t deadline_ms, resp_reply_fn on_reply,
                                void *arg)
{
    se_result r = feed(c, deadline_ms);
    while (r == SE_OK && owed(c) > 0) {
        const struct redisReply *reply = NULL;
        enum input_next got = next_here(c, &reply);
        if (got == INPUT_MORE)
            break;
        if (got == INPUT_GARBAGE)
            return not_a_reply(c);
        deliver(c, reply, on_reply, arg);
    }
    return r;
}

/* ---- both ---- */

/* The socket takes no more: until it does, or replies have come. */
static se_result wait_for_room(struct resp *c, uint64_t deadline_ms, resp_reply_fn on_reply,
                               void *arg)
{
    unsigned events = SE__NET_WRITE | (on_reply ? SE__NET_READ : 0u);
    unsigned ready = se__net_wait(c->fd, events, deadline_ms);
    if (!ready)
        return se__error(SE_ERR_TIMEOUT, "not written in time");
    return ready & SE__NET_READ ? read_what_came(c, deadline_ms, on_reply, arg) : SE_OK;
}

/* on_reply NULL: nothing is read meanwhile. */
static se_result send_all(struct resp *c, uint64_t deadline_ms, resp_reply_fn on_reply, void *arg)
{
    if (c->failed != SE_OK || c->dead)
        return c->failed != SE_OK ? c->failed : se__error(SE_ERR_BACKEND, "connection is closed");
    if (c->out.failed)
        return se__error_nomem();
    se_result r = SE_OK;
    for (size_t at = 0; at < c->out.len && r == SE_OK;) {
        size_t written = 0;
        r = se__net_write_some(c->fd, c->out.data + at, c->out.len - at, &written);
        at += written;
        if (r == SE_OK && at < c->out.len)
            r = wait_for_room(c, deadline_ms, on_reply, arg);
    }
    se__buf_clear(&c->out);
    c->gathered = 0;
    return r;
}

static size_t window(const struct resp *c)
{
    uint64_t n = WINDOW_BYTES * (c->replies_in + 1) / (c->bytes_in + 1);
    n = c->near && n > NEAR_WINDOW ? NEAR_WINDOW : n;
    return n < WINDOW_MIN ? WINDOW_MIN : (size_t)n;
}

void se__resp_push(struct resp *c, uint64_t deadline_ms, resp_reply_fn on_reply, void *arg)
{
    if (c->failed != SE_OK) {
        se__buf_clear(&c->out); /* it goes nowhere */
        return;
    }
    if (c->out.len < PUSH_BYTES && c->gathered < WINDOW_MIN)
        return; /* a window is no less */
    size_t most = window(c);
    if (c->out.len < PUSH_BYTES && c->gathered < most)
        return;
    if (on_reply)
        c->failed = read_down_to(c, c->gathered + most, deadline_ms, on_reply, arg);
    if (c->failed == SE_OK)
        c->failed = send_all(c, deadline_ms, on_reply, arg);
}

static void hear_last_words(struct resp *c, uint64_t deadline_ms, resp_reply_fn on_reply, void *arg)
{
    uint64_t soon_ms = se__deadline_in(LAST_WORDS_MS);
    uint64_t until_ms = soon_ms < deadline_ms ? soon_ms : deadline_ms;
    se_result r = read_down_to(c, 0, until_ms, on_reply, arg);
    (void)r; /* the write's failure is the one to report */
}

se_result se__resp_exchange(struct resp *c, uint64_t deadline_ms, resp_reply_fn on_reply, void *arg)
{
    se_result r = send_all(c, deadline_ms, on_reply, arg);
    if (r == SE_ERR_BACKEND && !c->dead)
        hear_last_words(c, deadline_ms, on_reply, arg);
    if (r == SE_OK)
        r = read_down_to(c, 0, deadline_ms, on_reply, arg);
    if (r != SE_OK)
        c->dead = true;
    c->index = c->spread = c->elements = 0;
    return r;
}

/* ---- replies that nobody waits for ---- */

void se__resp_on_late(struct resp *c, resp_reply_fn late, void *arg)
{
    c->late = late;
    c->late_arg = arg;
}

se_result se__resp_leave(struct resp *c, uint64_t deadline_ms)
{
    se_result r = send_all(c, deadline_ms, NULL, NULL);
    if (r != SE_OK)
        c->dead = true;
    c->left += c->pending;
    c->pending = c->index = 0;
    return r;
}

/* Takes those that have come, and waits for none. What shows on the socket is bytes, or its end. */
static void take_what_came(struct resp *c)
{
    while (c->left > 0 && !c->dead) {
        const struct redisReply *reply = NULL;
        enum input_next got = se__input_next(c->in, &reply);
        if (got == INPUT_REPLY)
            take_late(c, reply);
        else if (got == INPUT_MORE && !se__net_idle_broken(c->fd))
            return;
        else if (got == INPUT_GARBAGE || feed(c, se__mono_ms()) != SE_OK)
            c->dead = true;
    }
}

bool se__resp_broken(struct resp *c)
{
    take_what_came(c);
    if (c->left > 0 && !c->dead)
        return false;
    return c->dead || c->failed != SE_OK || c->pending > 0 || c->out.len > 0 ||
           se__input_waiting(c->in) > 0 || se__net_idle_broken(c->fd);
}
