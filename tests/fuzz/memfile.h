/*
 * memfile - files that are the input: what a program wraps of the system's calls on files.
 *
 * A path that ends in "-wal" is the journal, every other one the database; meson.build names the calls.
 *
 * Threads: one.
 */
#ifndef SE_TESTS_FUZZ_MEMFILE_H
#define SE_TESTS_FUZZ_MEMFILE_H

#include "fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/types.h>

#define MEMFILE_FIRST 1000000

struct memfile {
    const uint8_t *bytes; /* NULL: there is none */
    size_t len;
};
static struct memfile memfiles[2]; /* database, journal */
static int memfiles_open;

int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    size_t len = strlen(path);
    int which = len > 4 && strcmp(path + len - 4, "-wal") == 0;
    must(!(flags & O_WRONLY));
    if (!memfiles[which].bytes)
        return -1;
    memfiles_open++;
    return MEMFILE_FIRST + which;
}

ssize_t __wrap_pread64(int fd, void *to, size_t len, off_t at);
ssize_t __wrap_pread64(int fd, void *to, size_t len, off_t at)
{
    must(fd >= MEMFILE_FIRST && fd < MEMFILE_FIRST + 2);
    const struct memfile *f = &memfiles[fd - MEMFILE_FIRST];
    if (at < 0 || (size_t)at >= f->len)
        return 0;
    len = len < f->len - (size_t)at ? len : f->len - (size_t)at;
    memcpy(to, f->bytes + at, len);
    return (ssize_t)len;
}

off_t __wrap_lseek64(int fd, off_t at, int whence);
off_t __wrap_lseek64(int fd, off_t at, int whence)
{
    must(fd >= MEMFILE_FIRST && fd < MEMFILE_FIRST + 2 && at == 0 && whence == SEEK_END);
    return (off_t)memfiles[fd - MEMFILE_FIRST].len;
}

int __wrap_close(int fd);
int __wrap_close(int fd)
{
    must(fd >= MEMFILE_FIRST && fd < MEMFILE_FIRST + 2);
    memfiles_open--;
    return 0;
}

/* The input: two bytes with the journal's length, the database, the journal (at the end). */
static inline void memfiles_take(struct input *in, uint8_t **database, uint8_t **journal)
{
    size_t len = take_byte(in) * 256u;
    len += take_byte(in);
    len = len < in->left ? len : in->left;
    *database = take_copy(in, in->left - len, false, &memfiles[0].len);
    *journal = take_copy(in, SIZE_MAX, false, &memfiles[1].len);
    memfiles[0].bytes = *database;
    memfiles[1].bytes = memfiles[1].len ? *journal : NULL;
}

#endif
