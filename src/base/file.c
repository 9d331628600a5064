/*
 * file - see file.h.
 */
#include "base/file.h"

#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_AT_ONCE 65536u

static se_result io_error(const char *what, const char *path)
{
    return se__error(SE_ERR_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

static se_result too_big(const char *path, size_t bytes_max)
{
    return se__error(SE_ERR_TOO_BIG, "%s is larger than %zu bytes", path, bytes_max);
}

/* ---- reading ---- */

/* O_NONBLOCK: the open of a FIFO without a writer would wait for one. */
static se_result open_regular(const char *path, int *fd, struct stat *st)
{
    int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f < 0 && errno == ENOENT)
        return se__error(SE_NOT_FOUND, "there is no %s", path);
    if (f < 0)
        return io_error("open", path);
    if (fstat(f, st) == 0 && S_ISREG(st->st_mode)) {
        *fd = f;
        return SE_OK;
    }
    close(f);
    return se__error(SE_ERR_IO, "%s is not a regular file", path);
}

/* Appends what one read gives; *end: there is no more. */
static se_result read_some(int fd, const char *path, struct buf *out, bool *end)
{
    char *at = se__buf_reserve(out, READ_AT_ONCE);
    if (!at)
        return se__error_nomem();
    ssize_t n;
    do
        n = read(fd, at, out->cap - out->len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return io_error("read", path);
    se__buf_grow(out, (size_t)n);
    *end = n == 0;
    return SE_OK;
}

/* The size that the file claims spares growing; the bytes that come count. */
static se_result read_all(int fd, const char *path, const struct stat *st, size_t bytes_max,
                          struct buf *out)
{
    size_t before = out->len;
    bool end = false;
    if ((uintmax_t)st->st_size > bytes_max)
        return too_big(path, bytes_max);
    if (!se__buf_reserve(out, (size_t)st->st_size + READ_AT_ONCE))
        return se__error_nomem();
    while (!end) {
        se_result r = read_some(fd, path, out, &end);
        if (r != SE_OK)
            return r;
        if (out->len - before > bytes_max)
            return too_big(path, bytes_max);
    }
    return SE_OK;
}

se_result se__file_read(const char *path, size_t bytes_max, struct buf *out)
{
    int fd = -1;
    struct stat st;
    size_t before = out->len;
    se_result r = open_regular(path, &fd, &st);
    if (r != SE_OK)
        return r;
    r = read_all(fd, path, &st, bytes_max, out);
    close(fd);
    if (r != SE_OK)
        out->len = before;
    return r;
}

/* ---- writing ---- */

bool se__file_write_all(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO; /* a device that takes nothing would be asked for ever */
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* ---- replacing ---- */

/* What a crash left under the name is removed first: it may have other rights, or be a link. */
static se_result write_new(const char *path, const void *bytes, size_t len)
{
    if (unlink(path) != 0 && errno != ENOENT)
        return io_error("remove", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return io_error("create", path);
    se_result r = SE_OK;
    if (!se__file_write_all(fd, bytes, len))
        r = io_error("write", path);
    else if (fsync(fd) != 0)
        r = io_error("sync", path);
    if (close(fd) != 0 && r == SE_OK)
        r = io_error("close", path);
    return r;
}

static se_result sync_folder(const char *path)
{
    struct buf folder = {0};
    const char *slash = strrchr(path, '/');
    /* "/file" lies in "/" */
    size_t len = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
    se__buf_append(&folder, slash ? path : ".", slash ? len : 1);
    se__buf_append(&folder, "", 1);
    if (folder.failed)
        return se__error_nomem();
    int fd = open(folder.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    se_result r = SE_OK;
    /* EINVAL: a file system whose folders cannot be synced */
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
        r = io_error("sync the folder of", path);
    if (fd >= 0)
        close(fd);
    se__buf_done(&folder);
    return r;
}

se_result se__file_replace(const char *path, const void *bytes, size_t len)
{
    struct buf name = {0};
    se__buf_text(&name, path);
    se__buf_append(&name, ".tmp", sizeof ".tmp");
    if (name.failed) {
        se__buf_done(&name);
        return se__error_nomem();
    }
    struct se__filelimit limit;
    se__filelimit_hold(&limit);
    se_result r = write_new(name.data, bytes, len);
    se__filelimit_release(&limit);
    if (r == SE_OK && rename(name.data, path) != 0)
        r = io_error("replace", path);
    if (r == SE_OK)
        r = sync_folder(path);
    else
        (void)unlink(name.data); /* gone already after a rename */
    se__buf_done(&name);
    return r;
}
