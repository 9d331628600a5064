/*
 * layer - the system calls, and the notes they leave: see crash_layer.h; undoing is crash_power.c.
 */
/* The names with and without 64 are defined, so one must not stand for the other. */
#undef _FILE_OFFSET_BITS
#include "fault/crash_layer.h"

#include "fault/crash_notes.h"
#include "fault/crash_points.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum kind {
    KIND_OTHER,
    KIND_JOURNAL,
    KIND_LOG,
    KIND_HOME_JOURNAL,
    KIND_HOME,
    KIND_MOVE,
    KIND_SNAPSHOT,
    KIND_FOLDER
};
#define FDS_MAX 1024

static struct crash_layer *watched;                      /* NULL: this process is not */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the notes and the table below */
static struct open_fd {
    bool known;
    enum kind kind;
    struct layer_file *file; /* NULL: the folder */
    uint64_t inode;
} fds[FDS_MAX];

void crash_layer_watch(struct crash_layer *l)
{
    watched = l;
}

/* ---- names ---- */

/* The name below the folder; NULL: it is elsewhere, or not worth a note. */
static const char *name_of(const char *path)
{
    if (!watched || !path)
        return NULL;
    size_t len = strlen(watched->dir), n = strlen(path);
    if (strncmp(path, watched->dir, len) != 0 || path[len] != '/')
        return NULL;
    if (n > 4 && strcmp(path + n - 4, "-shm") == 0)
        return NULL;
    return strlen(path + len + 1) < LAYER_NAME_MAX ? path + len + 1 : NULL;
}

static enum kind kind_of(const char *name)
{
    static const struct {
        const char *name;
        enum kind kind;
    } kinds[] = {{"wal.db-wal", KIND_JOURNAL},     {"wal.db", KIND_LOG},
                 {"l3.db-wal", KIND_HOME_JOURNAL}, {"l3.db", KIND_HOME},
                 {"wal.db.new", KIND_MOVE},        {"wal.db.filter.tmp", KIND_SNAPSHOT}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(name, kinds[i].name) == 0)
            return kinds[i].kind;
    }
    return KIND_OTHER;
}

/* Which point a call on such a file is; none: CRASH_NO_POINT. */
static int point_of(enum kind kind, bool sync)
{
    static const int points[][2] = {
        [KIND_OTHER] = {CRASH_NO_POINT, CRASH_NO_POINT},
        [KIND_JOURNAL] = {POINT_CALL_JOURNAL_WRITE, POINT_CALL_JOURNAL_SYNC},
        [KIND_LOG] = {POINT_CALL_LOG_WRITE, POINT_CALL_LOG_SYNC},
        [KIND_HOME_JOURNAL] = {POINT_CALL_HOME_JOURNAL_WRITE, POINT_CALL_HOME_JOURNAL_SYNC},
        [KIND_HOME] = {POINT_CALL_HOME_WRITE, POINT_CALL_HOME_SYNC},
        [KIND_MOVE] = {POINT_CALL_MOVE_WRITE, POINT_CALL_MOVE_SYNC},
        [KIND_SNAPSHOT] = {POINT_CALL_SNAPSHOT_WRITE, POINT_CALL_SNAPSHOT_SYNC},
        [KIND_FOLDER] = {CRASH_NO_POINT, POINT_CALL_FOLDER_SYNC},
    };
    return points[kind][sync];
}

static int point_of_name(const char *name, const char *to)
{
    if (!to)
        return strcmp(name, "wal.db-wal") == 0 ? POINT_CALL_MOVE_REMOVE : CRASH_NO_POINT;
    if (strcmp(to, "wal.db.moved") == 0)
        return POINT_CALL_MOVE_BUILT;
    if (strcmp(name, "wal.db.moved") == 0)
        return POINT_CALL_MOVE_PLACE;
    return strcmp(to, "wal.db.filter") == 0 ? POINT_CALL_SNAPSHOT_RENAME : CRASH_NO_POINT;
}

static void pass(int point, enum crash_side side)
{
    if (point != CRASH_NO_POINT)
        crash_pass((enum crash_point)point, side);
}

/* ---- open files ---- */

/* A file whose removal is on the disk leaves no notes any more. */
static struct open_fd *open_fd(int fd)
{
    if (!watched || fd < 0 || fd >= FDS_MAX || !fds[fd].known)
        return NULL;
    return !fds[fd].file || fds[fd].file->inode == fds[fd].inode ? &fds[fd] : NULL;
}

static void note_open(int fd, const char *name, bool created)
{
    struct stat st;
    if (fd < 0 || fd >= FDS_MAX || fstat(fd, &st) != 0)
        return;
    pthread_mutex_lock(&lock);
    if (created)
        crash_note_name(watched, LAYER_CREATED, name, NULL, NULL);
    struct layer_file *file = crash_note_file(watched, st.st_ino, name);
    if (file)
        fds[fd] = (struct open_fd){true, kind_of(name), file, st.st_ino};
    pthread_mutex_unlock(&lock);
}

static int open_any(const char *path, int flags, mode_t mode)
{
    const char *name = name_of(path);
    bool folder = watched && path && strcmp(path, watched->dir) == 0;
    bool created = name && (flags & O_CREAT) && syscall(SYS_access, path, F_OK) != 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && folder && fd < FDS_MAX)
        fds[fd] = (struct open_fd){true, KIND_FOLDER, NULL, 0};
    else if (fd >= 0 && name)
        note_open(fd, name, created);
    return fd;
}

#define MODE_OF(flags, mode)                                                                       \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                         \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode = (mode_t)va_arg(more, int);                                                          \
        va_end(more);                                                                              \
    }

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    MODE_OF(flags, mode)
    return open_any(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    mode_t mode = 0;
    MODE_OF(flags, mode)
    return open_any(path, flags, mode);
}

int close(int fd)
{
    if (watched && fd >= 0 && fd < FDS_MAX)
        fds[fd].known = false;
    return (int)syscall(SYS_close, fd);
}

/* ---- writing ---- */

static ssize_t plain_write(int fd, const void *from, size_t len, off_t at)
{
    return (ssize_t)(at < 0 ? syscall(SYS_write, fd, from, len)
                            : syscall(SYS_pwrite64, fd, from, len, at));
}

static ssize_t write_half_and_die(int fd, const void *from, size_t len, off_t at, int point)
{
    (void)plain_write(fd, from, len / 2, at);
    crash_die((enum crash_point)point, CRASH_HALF);
}

/* at < 0: where the file stands. */
static ssize_t write_any(int fd, const void *from, size_t len, off_t at)
{
    struct open_fd *f = open_fd(fd);
    if (!f || !f->file)
        return plain_write(fd, from, len, at);
    int point = point_of(f->kind, false);
    off_t where = at < 0 ? lseek(fd, 0, SEEK_CUR) : at;
    pass(point, CRASH_BEFORE);
    pthread_mutex_lock(&lock);
    crash_note_write(watched, f->file, fd, from, (uint64_t)where, len);
    ssize_t n = point != CRASH_NO_POINT && crash_dies_half_way((enum crash_point)point)
                    ? write_half_and_die(fd, from, len, at, point)
                    : plain_write(fd, from, len, at);
    pthread_mutex_unlock(&lock);
    pass(point, CRASH_AFTER);
    return n;
}

ssize_t write(int fd, const void *from, size_t len)
{
    return write_any(fd, from, len, -1);
}

ssize_t pwrite(int fd, const void *from, size_t len, off_t at)
{
    return write_any(fd, from, len, at);
}

ssize_t pwrite64(int fd, const void *from, size_t len, off64_t at)
{
    return write_any(fd, from, len, at);
}

int ftruncate(int fd, off_t size)
{
    struct open_fd *f = open_fd(fd);
    if (!f || !f->file)
        return (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    crash_note_size(watched, f->file, fd, (uint64_t)size);
    int r = (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_unlock(&lock);
    return r;
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

/* ---- syncing ---- */

static bool this_one_fails(const struct open_fd *f)
{
    if (f->kind != KIND_JOURNAL || atomic_load(&watched->fail_sync_in) == 0)
        return false;
    return atomic_fetch_sub(&watched->fail_sync_in, 1) == 1;
}

static int fail_sync(struct open_fd *f, int fd)
{
    pthread_mutex_lock(&lock);
    crash_note_failed(watched, f->file, fd);
    pthread_mutex_unlock(&lock);
    atomic_fetch_add(&watched->failed_syncs, 1);
    errno = EIO;
    return -1;
}

/* What was noted before it began is on the disk when it has returned. */
static int sync_any(int fd, long call)
{
    struct open_fd *f = open_fd(fd);
    if (!f)
        return (int)syscall(call, fd);
    int point = point_of(f->kind, true);
    pass(point, CRASH_BEFORE);
    if (this_one_fails(f))
        return fail_sync(f, fd);
    pthread_mutex_lock(&lock);
    uint64_t up_to =
        f->file ? f->file->forgotten + f->file->used : watched->names_forgotten + watched->names_n;
    pthread_mutex_unlock(&lock);
    int r = (int)syscall(call, fd);
    pthread_mutex_lock(&lock);
    if (r == 0 && f->file)
        crash_note_synced(watched, f->file, up_to);
    else if (r == 0)
        crash_note_names_synced(watched, up_to);
    pthread_mutex_unlock(&lock);
    pass(point, CRASH_AFTER);
    return r;
}

int fsync(int fd)
{
    return sync_any(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return sync_any(fd, SYS_fdatasync);
}

/* ---- names that change ---- */

int rename(const char *from, const char *to)
{
    const char *name = name_of(from), *new = name_of(to);
    if (!name || !new)
        return (int)syscall(SYS_rename, from, to);
    int point = point_of_name(name, new);
    pass(point, CRASH_BEFORE);
    pthread_mutex_lock(&lock);
    char kept[LAYER_NAME_MAX];
    crash_note_keep(watched, to, kept);
    crash_note_name(watched, LAYER_RENAMED, name, new, kept);
    int r = (int)syscall(SYS_rename, from, to);
    pthread_mutex_unlock(&lock);
    pass(point, CRASH_AFTER);
    return r;
}

int unlink(const char *path)
{
    const char *name = name_of(path);
    if (!name || syscall(SYS_access, path, F_OK) != 0)
        return (int)syscall(SYS_unlink, path);
    int point = point_of_name(name, NULL);
    pass(point, CRASH_BEFORE);
    pthread_mutex_lock(&lock);
    char kept[LAYER_NAME_MAX];
    crash_note_keep(watched, path, kept);
    crash_note_name(watched, LAYER_REMOVED, name, NULL, kept);
    int r = (int)syscall(SYS_unlink, path);
    pthread_mutex_unlock(&lock);
    pass(point, CRASH_AFTER);
    return r;
}
