/*
 * io_faults - see io_faults.h.
 */
/* With 64 bits asked for, open would be another name of open64: both are defined here. */
#undef _FILE_OFFSET_BITS

#include "fault/io_faults.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct io_fault now;  /* written before `set`, which is 0 meanwhile */
static _Atomic unsigned set; /* the calls that may fail; 0: none */
static _Atomic long seen, failed;

void io_fault_set(const struct io_fault *fault)
{
    atomic_store(&set, 0);
    now = *fault;
    atomic_store(&seen, 0);
    atomic_store(&failed, 0);
    atomic_store(&set, fault->calls);
}

long io_fault_stop(void)
{
    atomic_store(&set, 0);
    return atomic_load(&failed);
}

/* Its turn has come. The path may be NULL: that of fd. */
static bool struck(unsigned call, const char *path, int fd)
{
    char link[64], of_fd[512];
    if (!(atomic_load(&set) & call))
        return false;
    if (!path) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t len = readlink(link, of_fd, sizeof of_fd - 1);
        of_fd[len < 0 ? 0 : len] = '\0';
        path = of_fd;
    }
    if (!strstr(path, now.part))
        return false;
    long n = atomic_fetch_add(&seen, 1) + 1;
    if (n < now.nth || n >= now.nth + now.times)
        return false;
    atomic_fetch_add(&failed, 1);
    errno = now.error;
    return true;
}

static int open_by(const char *path, int flags, va_list args)
{
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    /* what can only be read is no harm to a disk that cannot be written */
    if ((now.error != EROFS || (flags & (O_WRONLY | O_RDWR | O_CREAT))) &&
        struck(IO_OPEN, path, -1))
        return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int fd = open_by(path, flags, args);
    va_end(args);
    return fd;
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int fd = open_by(path, flags, args);
    va_end(args);
    return fd;
}

static ssize_t read_at(int fd, void *buf, size_t len, off_t at)
{
    if (struck(IO_READ, NULL, fd))
        return -1;
    return at < 0 ? syscall(SYS_read, fd, buf, len) : syscall(SYS_pread64, fd, buf, len, at);
}

static ssize_t write_at(int fd, const void *buf, size_t len, off_t at)
{
    if (struck(IO_WRITE, NULL, fd)) {
        if (now.error)
            return -1;
        len = (len + 1) / 2;
    }
    return at < 0 ? syscall(SYS_write, fd, buf, len) : syscall(SYS_pwrite64, fd, buf, len, at);
}

ssize_t pread64(int fd, void *buf, size_t len, off_t at)
{
    return read_at(fd, buf, len, at);
}

ssize_t read(int fd, void *buf, size_t len)
{
    return read_at(fd, buf, len, -1);
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off_t at)
{
    return write_at(fd, buf, len, at);
}

ssize_t write(int fd, const void *buf, size_t len)
{
    return write_at(fd, buf, len, -1);
}

int ftruncate64(int fd, off_t len)
{
    return struck(IO_TRUNCATE, NULL, fd) ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

int fdatasync(int fd)
{
    return struck(IO_SYNC, NULL, fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return struck(IO_SYNC, NULL, fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to)
{
    return struck(IO_NAME, to, -1) ? -1 : (int)syscall(SYS_rename, from, to);
}

int unlink(const char *path)
{
    return struck(IO_NAME, path, -1) ? -1 : (int)syscall(SYS_unlink, path);
}
