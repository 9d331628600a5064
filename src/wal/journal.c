/*
 * journal - walks the frames of PATH-wal and follows their checksums
 * (https://sqlite.org/fileformat2.html, section 4).
 *
 *   header  32 bytes: magic 0x377f0682 (checksums of little-endian words) or ..83 (big-endian),
 *           version, page size at 8, checkpoint sequence, salt at 16, checksum at 24 of bytes 0..23
 *   frame   24 bytes: page number, at 4 the database's size if the frame commits (else 0), salt at
 *           8, checksum at 16; then the page. The checksum runs on from the frame before it, over
 *           bytes 0..7 and the page.
 *
 * Since a frame's checksum is stored in it, the frame after a bad one can be checked again: the
 * chain is picked up there. Damage is certain if at or after a bad frame one that commits is
 * directly followed by a good one: that was written only after the commit had been fsynced. Frames
 * of another salt are left from an earlier round, all of which is in the database.
 */
#include "wal/journal.h"

#include "base/buf.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define HEADER 32
#define FRAME 24
#define MAGIC 0x377f0682u

struct sums {
    uint32_t a, b;
};

struct journal {
    int fd;
    bool big_endian;
    uint32_t page_size;
    uint8_t header[HEADER];
    struct sums sums; /* of the last frame */
    uint8_t *frame;
    uint64_t at;
};

static struct sums add(const struct journal *j, struct sums s, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i + 8 <= len; i += 8) {
        uint32_t x = se__get_u32(bytes + i), y = se__get_u32(bytes + i + 4);
        s.a += (j->big_endian ? x : __builtin_bswap32(x)) + s.b;
        s.b += (j->big_endian ? y : __builtin_bswap32(y)) + s.a;
    }
    return s;
}

static bool fits(struct sums s, const uint8_t *stored)
{
    return s.a == se__get_u32(stored) && s.b == se__get_u32(stored + 4);
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    while (len > 0 && bytes[len - 1] == 0)
        len--;
    return len == 0;
}

/* Whether the header is as SQLite wrote it. It is one sector and fsynced before any frame. */
static bool header_sound(struct journal *j)
{
    uint32_t magic = se__get_u32(j->header);
    j->big_endian = magic & 1;
    j->page_size = se__get_u32(j->header + 8);
    j->sums = add(j, (struct sums){0}, j->header, 24);
    return (magic & ~1u) == MAGIC && j->page_size >= 512 && j->page_size <= 65536 &&
           fits(j->sums, j->header + 24);
}

enum frame { FRAME_END, FRAME_GOOD, FRAME_BAD };

/* The next frame; commits: whether it says that it ends a transaction. Afterwards the
 * sums are those stored in it. */
static enum frame next_frame(struct journal *j, bool *commits)
{
    size_t len = FRAME + j->page_size;
    if (pread(j->fd, j->frame, len, (off_t)j->at) != (ssize_t)len)
        return FRAME_END;
    j->at += len;
    bool ours = memcmp(j->frame + 8, j->header + 16, 8) == 0;
    struct sums s = add(j, add(j, j->sums, j->frame, 8), j->frame + FRAME, j->page_size);
    j->sums = (struct sums){se__get_u32(j->frame + 16), se__get_u32(j->frame + 20)};
    *commits = ours && se__get_u32(j->frame + 4) != 0;
    return ours && fits(s, j->frame + 16) ? FRAME_GOOD : FRAME_BAD;
}

static bool frames_damaged(struct journal *j)
{
    bool bad = false, after_commit = false, commits;
    enum frame frame;
    while ((frame = next_frame(j, &commits)) != FRAME_END) {
        if (bad && after_commit && frame == FRAME_GOOD)
            return true;
        bad |= frame == FRAME_BAD;
        after_commit = commits;
    }
    return false;
}

static bool damaged(struct journal *j)
{
    if (pread(j->fd, j->header, HEADER, 0) != HEADER || all_zero(j->header, HEADER))
        return false; /* SQLite had not begun to use it */
    if (!header_sound(j))
        return true;
    j->at = HEADER;
    return frames_damaged(j);
}

static char *journal_name(const char *path)
{
    struct buf b = {0};
    se__buf_text(&b, path);
    se__buf_text(&b, "-wal");
    size_t len;
    return se__buf_take(&b, &len);
}

se_result se__wal_journal_check(const char *path)
{
    char *name = journal_name(path);
    uint8_t *frame = se__alloc(FRAME + 65536);
    if (!name || !frame) {
        se__free(name);
        se__free(frame);
        return se__error_nomem();
    }
    struct journal j = {.fd = open(name, O_RDONLY | O_CLOEXEC), .frame = frame};
    bool bad = j.fd >= 0 && damaged(&j);
    if (j.fd >= 0)
        close(j.fd);
    se__free(name);
    se__free(frame);
    if (!bad)
        return SE_OK;
    return se__error(SE_ERR_CORRUPT,
                     "wal %s is damaged: its journal %s-wal does not fit its checksums; "
                     "`syncengine wal salvage` copies "
                     "what is intact to a new file",
                     path, path);
}

/* ---- once more ---- */

#define RENEW_AT_ONCE 65536u

/* The same bytes in the same places: whatever of them reaches the disk, nothing changes there. */
static bool write_again(int fd, uint8_t *buffer)
{
    off_t at = 0;
    ssize_t n;
    while ((n = pread(fd, buffer, RENEW_AT_ONCE, at)) > 0) {
        if (!se__file_write_all(fd, buffer, (size_t)n))
            return false;
        at += n;
    }
    return n == 0 && (at == 0 || fsync(fd) == 0);
}

static se_result renew(const char *name, uint8_t *buffer)
{
    int fd = open(name, O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return SE_OK;
    se_result r = SE_OK;
    if (fd < 0 || !write_again(fd, buffer))
        r = se__error(SE_ERR_IO, "wal: writing %s once more: %s", name, strerror(errno));
    if (fd >= 0)
        close(fd);
    return r;
}

se_result se__wal_journal_renew(const char *path)
{
    char *name = journal_name(path);
    uint8_t *buffer = se__alloc(RENEW_AT_ONCE);
    se_result r = name && buffer ? renew(name, buffer) : se__error_nomem();
    se__free(name);
    se__free(buffer);
    return r;
}
