/*
 * fuzz_input - a file on its way into the program, plain or zstd (tools/input.h).
 *
 * Input: a byte (the size of the pieces that read gives, and whether the file is named .zst), the file. The
 * system's calls and the messages are this program's (meson.build wraps them).
 *
 * What comes out is the file, or, if it begins like one of zstd's frames, what zstd's own decoder makes
 * of all of them; or there is a message, and what came before it is a beginning of that. A file that
 * is named so and is none gives nothing.
 */
#include "fuzz/fuzz.h"

#include "input.h"
#include "term.h"

#include <poll.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define INPUT_CHUNK ((size_t)128 * 1024) /* input.c: reads so much, gives twice that */
#define OUT_MAX (1u << 20)               /* a few bytes may say gigabytes: no further than this */

static struct input_bytes {
    const uint8_t *bytes;
    size_t len, at, piece;
} file;
static unsigned messages;
static uint64_t memory[60000]; /* the object is large, and the same every time */

int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    (void)path;
    (void)flags;
    return 1000000;
}

int __wrap_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st)
{
    (void)fd;
    *st = (struct stat){.st_mode = S_IFREG, .st_size = (off_t)file.len};
    return 0;
}

off_t __wrap_lseek64(int fd, off_t at, int whence);
off_t __wrap_lseek64(int fd, off_t at, int whence)
{
    (void)fd;
    (void)whence;
    return at;
}

int __wrap_close(int fd);
int __wrap_close(int fd)
{
    must(fd == 1000000);
    return 0;
}

int __wrap_poll(struct pollfd *p, nfds_t n, int ms);
int __wrap_poll(struct pollfd *p, nfds_t n, int ms)
{
    (void)ms;
    p[0].revents = 0;
    p[n - 1].revents = POLLIN;
    return 1;
}

ssize_t __wrap_read(int fd, void *to, size_t len);
ssize_t __wrap_read(int fd, void *to, size_t len)
{
    must(fd == 1000000 && len > 0);
    size_t n = file.len - file.at < len ? file.len - file.at : len;
    n = n < file.piece ? n : file.piece;
    memcpy(to, file.bytes + file.at, n);
    file.at += n;
    return (ssize_t)n;
}

void __wrap_term_say(const char *fmt, ...);
void __wrap_term_say(const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    must(vsnprintf(text, sizeof text, fmt, args) > 0);
    va_end(args);
    messages++;
}

void *__real_se__alloc_zeroed(size_t count, size_t bytes);
void *__wrap_se__alloc_zeroed(size_t count, size_t bytes);
void *__wrap_se__alloc_zeroed(size_t count, size_t bytes)
{
    if (count != 1 || bytes > sizeof memory || bytes < sizeof memory / 2)
        return __real_se__alloc_zeroed(count, bytes);
    memset(memory, 0, 200);                      /* what is not a buffer stands at its beginning, */
    memset((char *)memory + 128 * 1024, 0, 400); /* and between the two */
    return memory;
}

void __real_se__free(void *p);
void __wrap_se__free(void *p);
void __wrap_se__free(void *p)
{
    if (p != memory)
        __real_se__free(p);
}

/* ---- what it should be ---- */

static bool is_zstd(const uint8_t *b, size_t len)
{
    return len >= 4 && (memcmp(b, "\x28\xb5\x2f\xfd", 4) == 0 ||
                        ((b[0] & 0xf0) == 0x50 && memcmp(b + 1, "\x2a\x4d\x18", 3) == 0));
}

/*
 * Decompresses as far as it goes. Returns whether that is the whole file. In the program's own pieces,
 * input (the first has the four bytes that tell) and output: zstd judges a frame that it gets in one, and
 * has room for, by other rules than one that comes in parts.
 */
static bool expected(const uint8_t *b, size_t len, size_t piece, uint8_t *out, size_t *out_len)
{
    static ZSTD_DCtx *d;
    ZSTD_inBuffer from = {b, 0, 0};
    ZSTD_outBuffer to = {out, 0, 0};
    size_t r = 0, before;
    piece = piece < INPUT_CHUNK ? piece : INPUT_CHUNK;
    if (!d)
        must((d = ZSTD_createDCtx()) != NULL);
    ZSTD_DCtx_reset(d, ZSTD_reset_session_only);
    do {
        before = from.pos + to.pos;
        if (from.pos == from.size)
            do
                from.size = from.size + piece < len ? from.size + piece : len;
            while (from.size < 4);
        to.size = to.pos + 2 * INPUT_CHUNK < OUT_MAX ? to.pos + 2 * INPUT_CHUNK : OUT_MAX;
        r = ZSTD_decompressStream(d, &to, &from);
    } while (!ZSTD_isError(r) && !(r == 0 && from.pos == len) && to.pos < OUT_MAX &&
             from.pos + to.pos > before);
    *out_len = to.pos;
    return r == 0 && from.pos == len;
}

/* ---- a case ---- */

static enum input_state read_all(struct input_bytes *f, uint8_t *out, size_t *out_len, bool zst)
{
    struct input *in = input_open(zst ? "f.zst" : "f");
    enum input_state s;
    const char *bytes;
    size_t len;
    int signal = 0;
    must(in != NULL && input_total(in) == f->len);
    *out_len = 0;
    while ((s = input_read(in, &bytes, &len, &signal)) == INPUT_DATA) {
        must(len > 0 && input_taken(in) <= f->len);
        len = len < OUT_MAX - *out_len ? len : OUT_MAX - *out_len;
        memcpy(out + *out_len, bytes, len);
        *out_len += len;
        if (*out_len == OUT_MAX)
            break;
    }
    must(s != INPUT_END || input_taken(in) == f->len);
    input_close(in);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t got[OUT_MAX], want[OUT_MAX];
    struct input in = {data, size};
    uint8_t how = take_byte(&in);
    size_t len, got_len = 0, want_len = 0;
    uint8_t *bytes = take_copy(&in, SIZE_MAX, false, &len);
    file = (struct input_bytes){bytes, len, 0, how & 0x7f ? how & 0x7fu : SIZE_MAX};
    messages = 0;
    enum input_state s = read_all(&file, got, &got_len, how & 0x80);
    bool zstd = is_zstd(bytes, len);
    bool whole = zstd ? expected(bytes, len, file.piece, want, &want_len) : !(how & 0x80);
    if (!zstd && whole)
        memcpy(want, bytes, want_len = len);
    must(memcmp(got, want, got_len < want_len ? got_len : want_len) == 0);
    must(got_len <= want_len || !whole);
    must(s != INPUT_END || (whole && got_len == want_len && messages == 0));
    must(s != INPUT_FAILED || (!whole && messages > 0) || got_len == OUT_MAX);
    free(bytes);
    return 0;
}
