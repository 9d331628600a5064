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

static void note(struct crash_layer *l, struct layer_file *f, int fd, uint64_t at, uint64_t len,
                 uint64_t old_size, bool cut)
{
    uint64_t old_len = at >= old_size ? 0 : old_size - at < len ? old_size - at : len;
    struct note *n = new_note(l, f, old_len);
    if (!n)
        return;
    n->at = at;
    n->len = len;
    n->old_size = old_size;
    n->cut = cut;
    if (old_len && syscall(SYS_pread64, fd, n + 1, old_len, at) != (long)old_len)
        l->overflowed = true;
    atomic_signal_fence(memory_order_seq_cst); /* the note is whole before it counts */
    f->used += n->whole;
}

static uint64_t size_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

void crash_note_write(struct crash_layer *l, struct layer_file *f, int fd, uint64_t at, size_t len)
{
    note(l, f, fd, at, len, size_of(fd), false);
}

void crash_note_size(struct crash_layer *l, struct layer_file *f, int fd, uint64_t size)
{
    uint64_t old_size = size_of(fd);
    note(l, f, fd, size, size < old_size ? old_size - size : 0, old_size, true);
}

/* Another fsync may have ended meanwhile. */
void crash_note_synced(struct crash_layer *l, struct layer_file *f, uint64_t up_to)
{
    if (f->failed_sync || up_to <= f->forgotten || up_to > f->forgotten + f->used)
        return;
    uint32_t n = (uint32_t)(up_to - f->forgotten);
    memmove(arena(l, f), arena(l, f) + n, f->used - n);
    f->used -= n;
    f->forgotten += n;
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
    atomic_store(&l->fail_sync_in, 0);
}

void crash_layer_next_life(struct crash_layer *l)
{
    for (unsigned i = 0; i < LAYER_FILES; i++)
        l->files[i].failed_sync = false;
}
