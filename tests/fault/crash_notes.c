/*
 * notes - see crash_notes.h.
 */
#include "fault/crash_notes.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned char *arena(struct crash_layer *l, const struct layer_file *f)
{
    return l->arenas[f - l->files];
}

static void path_of(const struct crash_layer *l, const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", l->dir, name);
}

/* ---- files ---- */

struct layer_file *crash_note_file(struct crash_layer *l, uint64_t inode, const char *name)
{
    struct layer_file *free = NULL;
    for (unsigned i = 0; i < LAYER_FILES; i++) {
        struct layer_file *f = &l->files[i];
        if (f->inode == inode)
            free = f;
        else if (!free && f->inode == 0)
            free = f;
    }
    if (!free) {
        l->overflowed = true;
        return NULL;
    }
    free->inode = inode;
    snprintf(free->name, sizeof free->name, "%s", name);
    return free;
}

/* Room for a note with old_len bytes behind it; NULL: there is none. */
static struct note *new_note(struct crash_layer *l, struct layer_file *f, uint64_t old_len)
{
    uint64_t whole = (sizeof(struct note) + old_len + 7) & ~UINT64_C(7);
    if (f->used + whole > LAYER_ARENA) {
        l->overflowed = true;
        return NULL;
    }
    struct note *n = (struct note *)(void *)(arena(l, f) + f->used);
    *n = (struct note){.old_len = (uint32_t)old_len, .whole = (uint32_t)whole};
    return n;
}

/* `from`: what is written; NULL: a change of size. */
static void note(struct crash_layer *l, struct layer_file *f, int fd, const void *from, uint64_t at,
                 uint64_t len, uint64_t old_size)
{
    uint64_t old_len = at >= old_size ? 0 : old_size - at < len ? old_size - at : len;
    struct note *n = new_note(l, f, old_len);
    if (!n)
        return;
    n->at = at;
    n->len = len;
    n->old_size = old_size;
    n->cut = !from;
    if (old_len && syscall(SYS_pread64, fd, n + 1, old_len, at) != (long)old_len)
        l->overflowed = true;
    n->same = from && old_len == len && memcmp(n + 1, from, len) == 0;
    if (n->same) {
        n->old_len = 0;
        n->whole = sizeof *n;
    }
    atomic_signal_fence(memory_order_seq_cst); /* the note is whole before it counts */
    f->used += n->whole;
}

static uint64_t size_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

void crash_note_write(struct crash_layer *l, struct layer_file *f, int fd, const void *from,
                      uint64_t at, size_t len)
{
    note(l, f, fd, from, at, len, size_of(fd));
}

void crash_note_size(struct crash_layer *l, struct layer_file *f, int fd, uint64_t size)
{
    uint64_t old_size = size_of(fd);
    note(l, f, fd, NULL, size, size < old_size ? old_size - size : 0, old_size);
}

static const struct note *note_at(struct crash_layer *l, const struct layer_file *f, uint32_t at)
{
    return (const struct note *)(const void *)(arena(l, f) + at);
}

/* All of a page that is written to reaches the disk with it. */
static void set_lost(struct layer_image *image, const struct note *n, bool lost)
{
    uint64_t last = n->len ? (n->at + n->len - 1) / LAYER_PAGE : 0;
    for (uint64_t page = n->at / LAYER_PAGE;
         n->len && page <= last && page < LAYER_IMAGE / LAYER_PAGE; page++)
        image->lost[page] = lost;
}

/* Another fsync may have ended meanwhile. */
void crash_note_synced(struct crash_layer *l, struct layer_file *f, uint64_t up_to)
{
    if (up_to <= f->forgotten || up_to > f->forgotten + f->used)
        return;
    uint32_t n = (uint32_t)(up_to - f->forgotten);
    for (uint32_t at = 0; at < n && l->image.inode == f->inode; at += note_at(l, f, at)->whole)
        set_lost(&l->image, note_at(l, f, at), false);
    if (l->image.inode == f->inode)
        l->image.size_lost = false;
    memmove(arena(l, f), arena(l, f) + n, f->used - n);
    f->used -= n;
    f->forgotten += n;
}

/* ---- a failed fsync ---- */

/* What the kernel shows; but for pages that are lost already, which the disk does not have. */
static bool read_image(struct layer_image *image, int fd, uint64_t size)
{
    for (uint64_t at = 0; at < size; at += LAYER_PAGE) {
        uint64_t len = size - at < LAYER_PAGE ? size - at : LAYER_PAGE;
        if (!image->lost[at / LAYER_PAGE] &&
            syscall(SYS_pread64, fd, image->bytes + at, len, at) != (long)len)
            return false;
    }
    return true;
}

static void undo_in_image(struct layer_image *image, const struct note *n, const bool *lost_before)
{
    const unsigned char *old = (const unsigned char *)(n + 1);
    for (uint64_t i = 0; i < n->len && !n->same && n->at + i < LAYER_IMAGE; i++) {
        if (!lost_before[(n->at + i) / LAYER_PAGE])
            image->bytes[n->at + i] = i < n->old_len ? old[i] : 0;
    }
    image->size = n->old_size;
}

static void undo_all_in_image(struct crash_layer *l, const struct layer_file *f)
{
    static bool lost_before[LAYER_IMAGE / LAYER_PAGE];
    static uint32_t starts[LAYER_ARENA / sizeof(struct note)];
    uint32_t n = 0;
    memcpy(lost_before, l->image.lost, sizeof lost_before);
    for (uint32_t at = 0; at < f->used; at += note_at(l, f, at)->whole)
        starts[n++] = at;
    while (n-- > 0) {
        undo_in_image(&l->image, note_at(l, f, starts[n]), lost_before);
        set_lost(&l->image, note_at(l, f, starts[n]), true);
    }
}

void crash_note_failed(struct crash_layer *l, struct layer_file *f, int fd)
{
    struct layer_image *image = &l->image;
    if (image->inode != f->inode)
        memset(image, 0, sizeof *image);
    image->inode = f->inode;
    uint64_t size = size_of(fd), size_before = image->size;
    image->size = size;
    if (size > LAYER_IMAGE || !read_image(image, fd, size))
        l->overflowed = true;
    else
        undo_all_in_image(l, f);
    if (image->size_lost)
        image->size = size_before;
    image->size_lost = true;
    f->forgotten += f->used;
    f->used = 0;
}

/* ---- names ---- */

void crash_note_keep(struct crash_layer *l, const char *path, char kept[LAYER_NAME_MAX])
{
    char other[128];
    snprintf(kept, LAYER_NAME_MAX, ".kept-%u", l->kept_n++);
    path_of(l, kept, other);
    if (syscall(SYS_link, path, other) != 0)
        kept[0] = '\0';
}

static void rename_file(struct crash_layer *l, const char *name, const char *to)
{
    for (unsigned i = 0; i < LAYER_FILES; i++) {
        if (l->files[i].inode && strcmp(l->files[i].name, name) == 0)
            snprintf(l->files[i].name, LAYER_NAME_MAX, "%s", to);
    }
}

void crash_note_name(struct crash_layer *l, enum layer_change change, const char *name,
                     const char *to, const char *kept)
{
    if (l->names_n == LAYER_NAMES) {
        l->overflowed = true;
        return;
    }
    struct layer_name *n = &l->names[l->names_n];
    *n = (struct layer_name){.change = change};
    snprintf(n->name, sizeof n->name, "%s", name);
    snprintf(n->to, sizeof n->to, "%s", to ? to : "");
    snprintf(n->kept, sizeof n->kept, "%s", kept ? kept : "");
    if (n->kept[0])
        rename_file(l, change == LAYER_RENAMED ? to : name, n->kept);
    if (change == LAYER_RENAMED)
        rename_file(l, name, to);
    atomic_signal_fence(memory_order_seq_cst); /* the note is whole before it counts */
    l->names_n++;
}

/* A removed file is gone for good: nobody will look for its notes. */
static void let_go(struct crash_layer *l, const char *kept)
{
    char path[128];
    path_of(l, kept, path);
    (void)syscall(SYS_unlink, path);
    for (unsigned i = 0; i < LAYER_FILES; i++) {
        if (l->files[i].inode && strcmp(l->files[i].name, kept) == 0)
            l->files[i] = (struct layer_file){0};
    }
}

void crash_note_names_synced(struct crash_layer *l, uint64_t up_to)
{
    if (up_to <= l->names_forgotten || up_to > l->names_forgotten + l->names_n)
        return;
    uint32_t n = (uint32_t)(up_to - l->names_forgotten);
    for (uint32_t i = 0; i < n; i++) {
        if (l->names[i].kept[0])
            let_go(l, l->names[i].kept);
    }
    memmove(l->names, l->names + n, (l->names_n - n) * sizeof l->names[0]);
    l->names_n -= n;
    l->names_forgotten += n;
}

void crash_layer_reset(struct crash_layer *l, const char *dir)
{
    if (l->dir[0])
        crash_note_names_synced(l, l->names_forgotten + l->names_n);
    snprintf(l->dir, sizeof l->dir, "%s", dir);
    for (unsigned i = 0; i < LAYER_FILES; i++)
        l->files[i] = (struct layer_file){0};
    l->names_n = l->kept_n = 0;
    l->names_forgotten = 0;
    l->overflowed = false;
    l->image.inode = 0;
    atomic_store(&l->fail_sync_in, 0);
}
