/*
 * libc.c - the system calls on files that the log and the snapshots make themselves, for names on the
 * simulated disk: the linker puts these in their place (--wrap). Other names go to the system.
 */
#include "base/os.h"
#include "sim/disk.h"
#include "sim/sched.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

enum { FD_FIRST = 1000000, FDS_MAX = 64 };

struct open_file {
    bool used;
    struct disk_file *f; /* NULL: a directory */
    uint64_t at;
};
static struct open_file table[FDS_MAX];

int __real_open(const char *path, int flags, ...);
int __real_close(int fd);
ssize_t __real_read(int fd, void *to, size_t len);
ssize_t __real_pread(int fd, void *to, size_t len, off_t at);
ssize_t __real_write(int fd, const void *from, size_t len);
int __real_fsync(int fd);
int __real_stat(const char *path, struct stat *st);
int __real_fstat(int fd, struct stat *st);
int __real_unlink(const char *path);
int __real_rename(const char *from, const char *to);
int __real_access(const char *path, int mode);
char *__real_realpath(const char *path, char *out);
int __real_posix_fallocate(int fd, off_t at, off_t len);
int __real_statvfs(const char *path, struct statvfs *fs);

int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int fd);
ssize_t __wrap_read(int fd, void *to, size_t len);
ssize_t __wrap_pread(int fd, void *to, size_t len, off_t at);
ssize_t __wrap_write(int fd, const void *from, size_t len);
int __wrap_fsync(int fd);
int __wrap_stat(const char *path, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
int __wrap_unlink(const char *path);
int __wrap_rename(const char *from, const char *to);
int __wrap_access(const char *path, int mode);
char *__wrap_realpath(const char *path, char *out);
int __wrap_posix_fallocate(int fd, off_t at, off_t len);
int __wrap_statvfs(const char *path, struct statvfs *fs);

static bool ours(const char *path)
{
    return strncmp(path, DISK_ROOT, strlen(DISK_ROOT)) == 0;
}

static struct open_file *file_of(int fd)
{
    return fd >= FD_FIRST ? &table[fd - FD_FIRST] : NULL;
}

static int missing(void)
{
    errno = ENOENT;
    return -1;
}

static int new_fd(struct disk_file *f)
{
    for (int i = 0; i < FDS_MAX; i++) {
        if (table[i].used)
            continue;
        table[i] = (struct open_file){.used = true, .f = f};
        return FD_FIRST + i;
    }
    errno = EMFILE;
    return -1;
}

int __wrap_open(const char *path, int flags, ...)
{
    if (!ours(path)) {
        va_list args;
        va_start(args, flags);
        mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
        va_end(args);
        return __real_open(path, flags, mode);
    }
    if (flags & O_DIRECTORY)
        return new_fd(NULL);
    if ((flags & O_EXCL) && disk_find(path)) {
        errno = EEXIST;
        return -1;
    }
    struct disk_file *f = disk_open(path, (flags & O_CREAT) != 0);
    return f ? new_fd(f) : missing();
}

int __wrap_close(int fd)
{
    struct open_file *o = file_of(fd);
    if (!o)
        return __real_close(fd);
    if (o->f)
        disk_close(o->f);
    o->used = false;
    return 0;
}

ssize_t __wrap_pread(int fd, void *to, size_t len, off_t at)
{
    struct open_file *o = file_of(fd);
    return o ? (ssize_t)disk_read(o->f, to, len, (uint64_t)at) : __real_pread(fd, to, len, at);
}

ssize_t __wrap_read(int fd, void *to, size_t len)
{
    struct open_file *o = file_of(fd);
    if (!o)
        return __real_read(fd, to, len);
    size_t got = disk_read(o->f, to, len, o->at);
    o->at += got;
    return (ssize_t)got;
}

ssize_t __wrap_write(int fd, const void *from, size_t len)
{
    struct open_file *o = file_of(fd);
    if (!o)
        return __real_write(fd, from, len);
    if (!disk_write(o->f, from, len, o->at)) {
        errno = ENOSPC;
        return -1;
    }
    o->at += len;
    return (ssize_t)len;
}

int __wrap_fsync(int fd)
{
    struct open_file *o = file_of(fd);
    if (!o)
        return __real_fsync(fd);
    if (!o->f || disk_sync(o->f))
        return 0;
    errno = EIO;
    return -1;
}

static int describe(const struct disk_file *f, struct stat *st)
{
    if (!f)
        return missing();
    memset(st, 0, sizeof *st);
    st->st_mode = S_IFREG | 0600;
    st->st_size = (off_t)f->len;
    return 0;
}

int __wrap_stat(const char *path, struct stat *st)
{
    return ours(path) ? describe(disk_find(path), st) : __real_stat(path, st);
}

int __wrap_fstat(int fd, struct stat *st)
{
    struct open_file *o = file_of(fd);
    return o ? describe(o->f, st) : __real_fstat(fd, st);
}

int __wrap_unlink(const char *path)
{
    if (!ours(path))
        return __real_unlink(path);
    return disk_remove(path) ? 0 : missing();
}

int __wrap_rename(const char *from, const char *to)
{
    if (!ours(from))
        return __real_rename(from, to);
    return disk_rename(from, to) ? 0 : missing();
}

int __wrap_access(const char *path, int mode)
{
    if (!ours(path))
        return __real_access(path, mode);
    return disk_find(path) ? 0 : missing();
}

char *__wrap_realpath(const char *path, char *out)
{
    if (!ours(path))
        return __real_realpath(path, out);
    return strdup(path);
}

int __wrap_posix_fallocate(int fd, off_t at, off_t len)
{
    struct open_file *o = file_of(fd);
    if (!o)
        return __real_posix_fallocate(fd, at, len);
    if ((uint64_t)(at + len) > o->f->len)
        disk_truncate(o->f, (uint64_t)(at + len));
    return 0;
}

int __wrap_statvfs(const char *path, struct statvfs *fs)
{
    if (!ours(path))
        return __real_statvfs(path, fs);
    memset(fs, 0, sizeof *fs);
    fs->f_frsize = 4096;
    fs->f_bavail = 1000000;
    return 0;
}

/* The same under the names that they have where files may be larger than 2 GiB. */
#define SAME_AS(name) __attribute__((alias(name)))
int __wrap_open64(const char *path, int flags, ...) SAME_AS("__wrap_open");
ssize_t __wrap_pread64(int fd, void *to, size_t len, off_t at) SAME_AS("__wrap_pread");
int __wrap_stat64(const char *path, struct stat *st) SAME_AS("__wrap_stat");
int __wrap_fstat64(int fd, struct stat *st) SAME_AS("__wrap_fstat");
int __wrap_posix_fallocate64(int fd, off_t at, off_t len) SAME_AS("__wrap_posix_fallocate");
int __wrap_statvfs64(const char *path, struct statvfs *fs) SAME_AS("__wrap_statvfs");

/* ---- the lock beside a log: each life has a directory of its own ---- */

se_result se__filelock_open(const char *path, int *fd)
{
    int f = __wrap_open(path, O_RDWR | O_CREAT, 0600);
    if (f < 0)
        return se__error(SE_ERR_IO, "no descriptor for %s", path);
    *fd = f;
    return SE_OK;
}

void se__filelock_close(int fd)
{
    if (fd >= 0)
        (void)__wrap_close(fd);
}
