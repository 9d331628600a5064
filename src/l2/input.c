/*
 * input - see input.h.
 *
 * A bulk string on the wire is "$<length>\r\n<bytes>\r\n", a nil "$-1\r\n". hiredis' reader copies
 * such a string twice and allocates twice for it, and moves all that is behind it for each kilobyte
 * it gives out: for a pipeline of 100 GETs that was a third of our time.
 *
 * Protocol: RESP2 (https://redis.io/docs/reference/protocol-spec/).
 */
#include "l2/input.h"

#include "base/buf.h"
#include "base/mem.h"

#include <hiredis/hiredis.h>
#include <string.h>

#define CHUNK_SIZE (64u << 10)
/* A buffer that one long value has made larger is not kept. */
#define KEPT_SIZE (1u << 20)
/* Longer arrays are no answer to anything we ask; hiredis would set memory aside for as
 * many elements as it is promised. */
#define ELEMENTS_MAX (1 << 20)
/* "$", a sign or nine digits and more than that, CR LF: a longer line is none. */
#define LINE_MAX_SIZE 24u
#define DIGITS_MAX 10u

#if HIREDIS_MAJOR >= 1
typedef size_t array_len;
#else
typedef int array_len;
#endif

struct input {
    struct buf in; /* bytes as they came */
    size_t at;     /* of them are used up */
    redisReader *reader;
    redisReplyObjectFunctions functions; /* the reader's own, with a bound on arrays */
    void *(*create_array)(const redisReadTask *task, array_len elements);
    redisReply *theirs; /* hiredis' reply that is lent */
    redisReply ours;
    const char *error; /* garbage has come */
};

/* ---- life ---- */

static void *create_bounded(const redisReadTask *task, array_len elements)
{
    struct input *in = task->privdata;
    return elements > ELEMENTS_MAX ? NULL : in->create_array(task, elements);
}

se_result se__input_open(struct input **input)
{
    struct input *in = se__alloc_zeroed(1, sizeof *in);
    if (!in)
        return se__error_nomem();
    in->reader = redisReaderCreate();
    if (!in->reader) {
        se__input_close(in);
        return se__error_nomem();
    }
    in->functions = *in->reader->fn;
    in->create_array = in->functions.createArray;
    in->functions.createArray = create_bounded;
    in->reader->fn = &in->functions;
    in->reader->privdata = in;
    *input = in;
    return SE_OK;
}

static void give_back(struct input *in)
{
    if (in->theirs)
        freeReplyObject(in->theirs);
    in->theirs = NULL;
}

void se__input_close(struct input *in)
{
    if (!in)
        return;
    give_back(in);
    if (in->reader)
        redisReaderFree(in->reader);
    se__buf_done(&in->in);
    se__free(in);
}

/* ---- bytes ---- */

char *se__input_room(struct input *in, size_t *cap)
{
    size_t left = in->in.len - in->at;
    if (left == 0 && in->in.cap > KEPT_SIZE)
        se__buf_done(&in->in);
    if (in->at > 0 && in->in.cap - in->in.len < CHUNK_SIZE) {
        if (left > 0)
            memmove(in->in.data, in->in.data + in->at, left);
        in->in.len = left;
        in->at = 0;
    }
    char *room = se__buf_reserve(&in->in, CHUNK_SIZE);
    *cap = CHUNK_SIZE;
    return room;
}

void se__input_grew(struct input *in, size_t bytes)
{
    se__buf_grow(&in->in, bytes);
}

static bool hiredis_has(const struct input *in)
{
    return in->reader->pos < in->reader->len || in->reader->ridx >= 0;
}

size_t se__input_waiting(const struct input *in)
{
    size_t behind = in->reader->len - in->reader->pos;
    return in->in.len - in->at + (behind ? behind : in->reader->ridx >= 0);
}

const char *se__input_error(const struct input *in)
{
    return in->error ? in->error : "";
}

static enum input_next garbage(struct input *in, const char *what)
{
    in->error = what;
    return INPUT_GARBAGE;
}

/* ---- what hiredis parses ---- */

static enum input_next next_theirs(struct input *in, const redisReply **reply)
{
    void *got = NULL;
    size_t len = in->in.len - in->at;
    if (len > 0 && redisReaderFeed(in->reader, in->in.data + in->at, len) != REDIS_OK)
        return garbage(in, in->reader->errstr);
    in->at = in->in.len = 0;
    if (redisReaderGetReply(in->reader, &got) != REDIS_OK)
        return garbage(in, in->reader->errstr);
    if (!got)
        return INPUT_MORE;
    *reply = in->theirs = got;
    return INPUT_REPLY;
}

/* ---- bulk strings ---- */

/* The number behind the "$": digits, or -1. False: another form, which hiredis may know or refuse. */
static bool parse_length(const char *text, size_t digits, bool *nil, size_t *len)
{
    *nil = digits == 2 && memcmp(text, "-1", 2) == 0;
    *len = 0;
    if (*nil)
        return true;
    if (digits == 0 || digits > DIGITS_MAX)
        return false;
    for (size_t i = 0; i < digits; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *len = *len * 10 + (size_t)(text[i] - '0');
    }
    return true;
}

/* The bulk string or nil that begins at `in->at`. */
static enum input_next next_ours(struct input *in, const redisReply **reply)
{
    char *at = in->in.data + in->at;
    size_t left = in->in.len - in->at, len;
    bool nil;
    char *end = memchr(at, '\r', left < LINE_MAX_SIZE ? left : LINE_MAX_SIZE);
    if (!end && left < LINE_MAX_SIZE)
        return INPUT_MORE;
    if (!end || !parse_length(at + 1, (size_t)(end - at) - 1, &nil, &len))
        return next_theirs(in, reply);
    size_t head = (size_t)(end - at) + 2, whole = head + (nil ? 0 : len + 2);
    if (left < whole)
        return INPUT_MORE;
    if (end[1] != '\n' || (!nil && memcmp(at + head + len, "\r\n", 2) != 0))
        return garbage(in, "a bulk string of another length than it says");
    in->at += whole;
    in->ours = (redisReply){.type = nil ? REDIS_REPLY_NIL : REDIS_REPLY_STRING};
    if (!nil) {
        at[head + len] = '\0'; /* where the CR was */
        in->ours.str = at + head;
        in->ours.len = len;
    }
    *reply = &in->ours;
    return INPUT_REPLY;
}

bool se__input_array(struct input *in, size_t elements)
{
    const char *at = in->in.data + in->at;
    size_t left = in->in.len - in->at, len = 0;
    bool nil = false;
    if (in->error || hiredis_has(in) || left == 0 || *at != '*')
        return false;
    const char *end = memchr(at, '\r', left < LINE_MAX_SIZE ? left : LINE_MAX_SIZE);
    if (!end || (size_t)(end - at) + 2 > left || end[1] != '\n' ||
        !parse_length(at + 1, (size_t)(end - at) - 1, &nil, &len) || nil || len != elements)
        return false;
    in->at += (size_t)(end - at) + 2;
    return true;
}

enum input_next se__input_next(struct input *in, const redisReply **reply)
{
    give_back(in);
    if (in->error)
        return INPUT_GARBAGE;
    if (hiredis_has(in))
        return next_theirs(in, reply);
    if (in->at == in->in.len)
        return INPUT_MORE;
    return in->in.data[in->at] == '$' ? next_ours(in, reply) : next_theirs(in, reply);
}
