/*
 * power - takes back what was not fsynced: see crash_layer.h.
 */
#include "fault/crash_notes.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define NO_SECTOR UINT64_MAX /* the size, as a sector */

struct undoing {
    struct crash_layer *l;
    struct layer_file *file;
    bool all;
    uint64_t seed;
    uint32_t notes; /* of the file */
    int fd;
    uint64_t size;
    struct layer_lost *lost;
};

static uint64_t mix(uint64_t x) /* splitmix64 (Steele, Lea, Flood 2014) */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* How many of the file's notes, from the first on, reached this sector of the disk. */
static uint32_t reached(const struct undoing *u, uint64_t sector)
{
    if (u->all)
        return 0;
    uint64_t r = mix(u->seed ^ mix(sector * LAYER_FILES + (uint64_t)(u->file - u->l->files)));
    switch (r % 4) {
    case 0:
        return 0;
    case 1:
        return u->notes;
    default:
        return (uint32_t)((r >> 8) % (u->notes + 1));
    }
}

static void put(const struct undoing *u, const void *bytes, uint64_t len, uint64_t at)
{
    static const unsigned char zeros[SECTOR];
    if (pwrite(u->fd, bytes ? bytes : zeros, len, (off_t)at) != (ssize_t)len) {
        perror("power: cannot undo a write");
        abort();
    }
}

/* One sector's part [from, to) of a write: what was there before, or zeros where the file had not yet been. */
static void undo_part(const struct undoing *u, const struct note *n, uint64_t from, uint64_t to)
{
    const unsigned char *old = (const unsigned char *)(n + 1);
    uint64_t known = n->at + n->old_len;
    uint64_t middle = from >= known ? from : to < known ? to : known;
    if (middle > from)
        put(u, old + (from - n->at), middle - from, from);
    if (to > middle)
        put(u, NULL, to - middle, middle);
}

/* Blocks that are cut off are not wiped: they come back with the size, all of them. */
static void undo_cut(struct undoing *u, const struct note *n, uint32_t index)
{
    if (index < reached(u, NO_SECTOR))
        return;
    if (n->old_len)
        put(u, n + 1, n->old_len, n->at);
    u->size = n->old_size;
    u->lost->writes++;
}

static void undo_write(struct undoing *u, const struct note *n, uint32_t index)
{
    bool any = false;
    for (uint64_t from = n->at, to; from < n->at + n->len; from = to) {
        uint64_t sector = from / SECTOR, end = n->at + n->len;
        to = (sector + 1) * SECTOR < end ? (sector + 1) * SECTOR : end;
        if (index < reached(u, sector))
            continue;
        undo_part(u, n, from, to);
        any = true;
    }
    if (index >= reached(u, NO_SECTOR))
        u->size = n->old_size;
    u->lost->writes += any;
}

static const struct note *note_at(const struct undoing *u, uint32_t at)
{
    return (const struct note *)(const void *)(u->l->arenas[u->file - u->l->files] + at);
}

/* Pages whose fsync had failed: the disk never got them. Beyond its size the image is zeros. */
static void undo_failed(struct undoing *u)
{
    const struct layer_image *image = &u->l->image;
    if (image->size_lost && (u->all || mix(u->seed) % 2))
        u->size = image->size;
    for (uint64_t at = 0; at < u->size && at < LAYER_IMAGE; at += SECTOR) {
        if (!image->lost[at / LAYER_PAGE] || !(u->all || mix(u->seed ^ at) % 4))
            continue;
        put(u, image->bytes + at, SECTOR, at);
        u->lost->writes++;
    }
}

static void undo_file(struct undoing *u)
{
    static uint32_t starts[LAYER_ARENA / sizeof(struct note)];
    struct stat st;
    char path[128];
    u->notes = 0;
    for (uint32_t at = 0; at < u->file->used; at += note_at(u, at)->whole)
        starts[u->notes++] = at;
    snprintf(path, sizeof path, "%s/%s", u->l->dir, u->file->name);
    bool failed = u->l->image.inode == u->file->inode;
    u->fd = u->notes || failed ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (u->fd < 0)
        return; /* nothing to undo, or a file that has no name left */
    u->size = fstat(u->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    for (uint32_t i = u->notes; i-- > 0;) {
        const struct note *n = note_at(u, starts[i]);
        if (n->cut)
            undo_cut(u, n, i);
        else if (!n->same)
            undo_write(u, n, i);
    }
    if (failed)
        undo_failed(u);
    if (ftruncate(u->fd, (off_t)u->size) != 0)
        abort();
    close(u->fd);
}

/* ---- names ---- */

static void path_of(const struct crash_layer *l, const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", l->dir, name);
}

static void undo_name(struct crash_layer *l, const struct layer_name *n)
{
    char name[128], to[128], kept[128];
    path_of(l, n->name, name);
    path_of(l, n->to, to);
    path_of(l, n->kept, kept);
    if (n->change == LAYER_CREATED)
        (void)unlink(name);
    if (n->change == LAYER_RENAMED)
        (void)rename(to, name);
    if (n->kept[0])
        (void)rename(kept, n->change == LAYER_RENAMED ? to : name);
}

static void lose_names(struct crash_layer *l, bool all, uint64_t seed, struct layer_lost *lost)
{
    uint32_t stay = all ? 0 : (uint32_t)(mix(seed) % (l->names_n + 1));
    for (uint32_t i = l->names_n; i-- > stay; lost->names++)
        undo_name(l, &l->names[i]);
    l->names_n = stay; /* so that what is kept for those that stay is let go */
}

static void remove_index(const struct crash_layer *l, const char *name)
{
    char path[128];
    path_of(l, name, path);
    (void)unlink(path);
}

bool crash_layer_lose(struct crash_layer *l, bool all, uint64_t seed, struct layer_lost *lost)
{
    char dir[64];
    *lost = (struct layer_lost){0};
    if (l->overflowed)
        return false;
    struct undoing u = {.l = l, .all = all, .seed = seed, .lost = lost};
    for (unsigned i = 0; i < LAYER_FILES; i++) {
        u.file = &l->files[i];
        if (u.file->inode)
            undo_file(&u);
    }
    lose_names(l, all, seed, lost);
    remove_index(l, "wal.db-shm");
    remove_index(l, "l3.db-shm");
    snprintf(dir, sizeof dir, "%s", l->dir);
    crash_layer_reset(l, dir);
    return true;
}
