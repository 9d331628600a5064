/*
 * spare - a way out of a file system that the log itself has filled.
 *
 * SQLite needs space to give space back: deleting writes to the journal, and the journal can only
 * be emptied into a database that grows. So PATH.spare holds a little space back. When the disk is
 * full and what is live would fit into it (or into what is free by then), it is given up for a move
 * to a new file, which leaves the full one behind; then it is made again.
 */
#include "base/mem.h"
#include "wal/state.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SPARE_BYTES (256 * 1024)
#define MOVE_BYTES (128 * 1024) /* of a file without records, its journal and index included */

static char *spare_name(const struct wal *w)
{
    struct buf b = {0};
    se__buf_text(&b, w->path);
    se__buf_text(&b, ".spare");
    size_t len;
    return se__buf_take(&b, &len);
}

/* Without it the log works too: nothing is said if there is no space for it. */
void se__wal_spare_make(struct wal *w)
{
    char *name = spare_name(w);
    int fd = name ? open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        if (posix_fallocate(fd, 0, SPARE_BYTES) != 0)
            unlink(name);
        close(fd);
    }
    se__free(name);
}

void se__wal_spare_drop(struct wal *w)
{
    char *name = spare_name(w);
    if (name)
        unlink(name);
    se__free(name);
}

/* Twice its bytes: records do not fill pages. */
static bool would_fit(struct wal *w)
{
    struct statvfs fs;
    se__mutex_lock(&w->lock);
    uint64_t held = se__overlay_held_bytes(&w->overlay);
    se__mutex_unlock(&w->lock);
    return statvfs(w->path, &fs) == 0 &&
           held * 2 + MOVE_BYTES <= (uint64_t)fs.f_bavail * fs.f_frsize;
}

se_result se__wal_make_space(struct wal *w)
{
    bool reached;
    se__wal_spare_drop(w);
    se_result r = would_fit(w) ? se__wal_move(w, NULL, 0, &reached)
                               : se__error(SE_ERR_IO, "wal %s: the disk is full", w->path);
    se__wal_spare_make(w);
    return r;
}
