/*
 * input - see input.h.
 */
#include "input.h"

#include "base/mem.h"
#include "stop.h"
#include "term.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define CHUNK (128u * 1024)

struct input {
    const char *name; /* for messages; borrowed */
    int fd, stop;
    bool named_zst, looked;
    uint64_t taken, total;
    char raw[CHUNK]; /* as read; `at`..`len` is not used up */
    size_t at, len;
    bool ended;         /* nothing more to read */
    ZSTD_DStream *zstd; /* NULL: plain */
    bool mid_frame;
    char plain[2 * CHUNK]; /* decompressed */
};

struct input *input_open(const char *path)
{
    struct stat st;
    struct input *in = se__alloc_zeroed(1, sizeof *in);
    if (!in) {
        term_say("%s: out of memory", path);
        return NULL;
    }
    bool standard = strcmp(path, "-") == 0;
    size_t len = strlen(path);
    in->name = standard ? "standard input" : path;
    in->named_zst = len > 4 && strcmp(path + len - 4, ".zst") == 0;
    in->stop = -1; /* poll passes it over */
    in->fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    bool open_too = in->fd >= 0 && fstat(in->fd, &st) == 0;
    if (open_too && S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        open_too = false;
    }
    if (!open_too) {
        term_system("cannot open", path);
        input_close(in);
        return NULL;
    }
    if (S_ISREG(st.st_mode) && st.st_size > 0) {
        off_t from = lseek(in->fd, 0, SEEK_CUR); /* stdin may be some way into a file */
        in->total = from < st.st_size ? (uint64_t)(st.st_size - (from > 0 ? from : 0)) : 0;
    }
    return in;
}

void input_watch(struct input *in, int stop)
{
    in->stop = stop;
}

void input_close(struct input *in)
{
    if (!in)
        return;
    if (in->fd > STDIN_FILENO)
        close(in->fd);
    ZSTD_freeDStream(in->zstd);
    se__free(in);
}

bool input_would_wait(const struct input *in)
{
    struct pollfd p = {.fd = in->fd, .events = POLLIN};
    return in->at == in->len && !in->ended && poll(&p, 1, 0) == 0;
}

uint64_t input_taken(const struct input *in)
{
    return in->taken - (in->len - in->at);
}

uint64_t input_total(const struct input *in)
{
    return in->total;
}

/* Waits for bytes or a signal; the signal goes first, or a fast file would never let it through. */
static enum input_state wait_for(struct input *in, int *signal)
{
    struct pollfd p[2] = {{.fd = in->stop, .events = POLLIN}, {.fd = in->fd, .events = POLLIN}};
    while (poll(p, 2, -1) < 0) {
        if (errno != EINTR) {
            term_system("cannot wait for", in->name);
            return INPUT_FAILED;
        }
    }
    if (p[0].revents && (*signal = stop_check(in->stop, 0)) != 0)
        return INPUT_STOPPED;
    return INPUT_DATA;
}

/* Reads more behind what is there. INPUT_END sets `ended`. */
static enum input_state fill(struct input *in, int *signal)
{
    if (in->at == in->len)
        in->at = in->len = 0;
    for (;;) {
        enum input_state s = wait_for(in, signal);
        if (s != INPUT_DATA)
            return s;
        ssize_t n = read(in->fd, in->raw + in->len, sizeof in->raw - in->len);
        if (n > 0) {
            in->len += (size_t)n;
            in->taken += (uint64_t)n;
            return INPUT_DATA;
        }
        if (n == 0) {
            in->ended = true;
            return INPUT_END;
        }
        if (errno != EINTR && errno != EAGAIN) {
            term_system("cannot read", in->name);
            return INPUT_FAILED;
        }
    }
}

/* How the first bytes look: 1 zstd (a frame, or a skippable one), 0 not, -1
 * too few to tell. RFC 8878, 3.1. */
static int looks_like_zstd(const unsigned char *b, size_t len)
{
    static const unsigned char frame[4] = {0x28, 0xb5, 0x2f, 0xfd},
                               skip[4] = {0x50, 0x2a, 0x4d, 0x18};
    size_t n = len < 4 ? len : 4, f = 0, s = 0;
    while (f < n && b[f] == frame[f])
        f++;
    while (s < n && (s == 0 ? (b[0] & 0xf0) == skip[0] : b[s] == skip[s]))
        s++;
    if (f < n && s < n)
        return 0;
    return n == 4 ? 1 : -1;
}

static enum input_state look(struct input *in, int *signal)
{
    int zstd = -1;
    while (!in->ended && zstd < 0) {
        enum input_state s = fill(in, signal);
        if (s == INPUT_STOPPED || s == INPUT_FAILED)
            return s;
        zstd = in->len > 0 ? looks_like_zstd((unsigned char *)in->raw, in->len) : -1;
    }
    in->looked = true;
    if (zstd == 1) {
        in->zstd = ZSTD_createDStream();
        if (!in->zstd) {
            term_say("%s: out of memory", in->name);
            return INPUT_FAILED;
        }
    } else if (in->named_zst) {
        term_say("%s: not in zstd's format, although it is named so", in->name);
        return INPUT_FAILED;
    }
    return INPUT_DATA;
}

/* Decompresses some of raw. *len may be 0: more input is needed. */
static enum input_state decompress(struct input *in, size_t *len)
{
    ZSTD_inBuffer from = {in->raw, in->len, in->at};
    ZSTD_outBuffer to = {in->plain, sizeof in->plain, 0};
    size_t r = ZSTD_decompressStream(in->zstd, &to, &from);
    if (ZSTD_isError(r)) {
        term_say("%s: damaged near byte %llu: zstd says %s", in->name,
                 (unsigned long long)input_taken(in), ZSTD_getErrorName(r));
        return INPUT_FAILED;
    }
    in->mid_frame = r != 0;
    in->at = from.pos;
    *len = to.pos;
    return INPUT_DATA;
}

static enum input_state read_zstd(struct input *in, const char **bytes, size_t *len, int *signal)
{
    for (;;) {
        /* Even without new input: the decoder may hold more than fitted last time. */
        if (in->at < in->len || in->mid_frame) {
            enum input_state s = decompress(in, len);
            *bytes = in->plain;
            if (s != INPUT_DATA || *len > 0)
                return s;
        }
        if (in->at < in->len)
            continue;
        if (in->ended) {
            if (!in->mid_frame)
                return INPUT_END;
            term_say("%s: ends in the middle of a zstd frame", in->name);
            return INPUT_FAILED;
        }
        enum input_state s = fill(in, signal);
        if (s == INPUT_STOPPED || s == INPUT_FAILED)
            return s;
    }
}

enum input_state input_read(struct input *in, const char **bytes, size_t *len, int *signal)
{
    enum input_state s = in->looked ? INPUT_DATA : look(in, signal);
    if (s != INPUT_DATA)
        return s;
    if (in->zstd)
        return read_zstd(in, bytes, len, signal);
    if (in->at == in->len && !in->ended) {
        s = fill(in, signal);
        if (s != INPUT_DATA)
            return s;
    }
    if (in->at == in->len)
        return INPUT_END;
    *bytes = in->raw + in->at;
    *len = in->len - in->at;
    in->at = in->len;
    return INPUT_DATA;
}
