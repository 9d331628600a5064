/*
 * disk.c - see disk.h.
 */
#include "sim/disk.h"

#include "sim/sched.h"

#include <stdlib.h>
#include <string.h>

#define SECTOR 512u

static struct disk_file *files;
static unsigned syncs_to_fail, writes_to_fail;

static void *must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

void disk_drop_shm(struct disk_file *f)
{
    for (unsigned i = 0; i < DISK_SHM_REGIONS; i++) {
        free(f->shm[i]);
        f->shm[i] = NULL;
    }
}

static void free_file(struct disk_file *f)
{
    disk_drop_shm(f);
    free(f->name);
    free(f->bytes);
    free(f->safe);
    free(f->unsynced);
    free(f);
}

void disk_begin(void)
{
    syncs_to_fail = writes_to_fail = 0;
}

void disk_end(void)
{
    for (struct disk_file *f = files, *next; f; f = next) {
        next = f->next;
        if (f->handles)
            sim_fail("%s was not closed", f->name ? f->name : "a removed file");
        free_file(f);
    }
    files = NULL;
}

/* ---- names ---- */

struct disk_file *disk_find(const char *name)
{
    for (struct disk_file *f = files; f; f = f->next)
        if (f->name && strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

static struct disk_file *make_file(const char *name)
{
    struct disk_file *f = must(calloc(1, sizeof *f));
    f->name = name ? must(strdup(name)) : NULL;
    f->next = files;
    files = f;
    return f;
}

struct disk_file *disk_open(const char *name, bool create)
{
    struct disk_file *f = name ? disk_find(name) : NULL;
    if (!f && !create)
        return NULL;
    if (!f)
        f = make_file(name);
    f->handles++;
    return f;
}

static void unlink_file(struct disk_file *f)
{
    struct disk_file **at = &files;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    free_file(f);
}

void disk_close(struct disk_file *f)
{
    if (--f->handles == 0 && !f->name)
        unlink_file(f);
}

bool disk_remove(const char *name)
{
    struct disk_file *f = disk_find(name);
    if (!f)
        return false;
    free(f->name);
    f->name = NULL;
    if (f->handles == 0)
        unlink_file(f);
    return true;
}

bool disk_rename(const char *from, const char *to)
{
    struct disk_file *f = disk_find(from);
    if (!f)
        return false;
    (void)disk_remove(to);
    free(f->name);
    f->name = must(strdup(to));
    return true;
}

/* ---- bytes ---- */

static size_t sectors(size_t len)
{
    return (len + SECTOR - 1) / SECTOR;
}

/* Room for len bytes in all three arrays; what is new is zero, as on a disk. */
static void make_room(struct disk_file *f, size_t len)
{
    if (len <= f->cap)
        return;
    size_t cap = f->cap ? f->cap : 8192;
    while (cap < len)
        cap *= 2;
    f->bytes = must(realloc(f->bytes, cap));
    f->safe = must(realloc(f->safe, cap));
    f->unsynced = must(realloc(f->unsynced, sectors(cap)));
    memset(f->bytes + f->cap, 0, cap - f->cap);
    memset(f->safe + f->cap, 0, cap - f->cap);
    memset(f->unsynced + sectors(f->cap), 0, sectors(cap) - sectors(f->cap));
    f->cap = cap;
}

static void note_unsynced(struct disk_file *f, size_t at, size_t len)
{
    size_t first = at / SECTOR, end = sectors(at + len);
    memset(f->unsynced + first, 1, end - first);
    if (f->end_unsynced == 0 || first < f->first_unsynced)
        f->first_unsynced = first;
    f->end_unsynced = end > f->end_unsynced ? end : f->end_unsynced;
}

bool disk_write(struct disk_file *f, const void *bytes, size_t len, uint64_t at)
{
    if (writes_to_fail > 0) {
        writes_to_fail--;
        return false;
    }
    if (len == 0)
        return true;
    make_room(f, at + len);
    memcpy(f->bytes + at, bytes, len);
    f->len = at + len > f->len ? at + len : f->len;
    note_unsynced(f, at, len);
    return true;
}

size_t disk_read(const struct disk_file *f, void *bytes, size_t len, uint64_t at)
{
    size_t there = at < f->len ? f->len - at : 0;
    there = there < len ? there : len;
    size_t held = at < f->cap ? f->cap - at : 0;
    held = held < there ? held : there;
    if (held)
        memcpy(bytes, f->bytes + at, held);
    memset((uint8_t *)bytes + held, 0, there - held);
    return there;
}

void disk_truncate(struct disk_file *f, uint64_t len)
{
    if (len < f->len && len < f->cap) {
        size_t end = f->len < f->cap ? f->len : f->cap;
        memset(f->bytes + len, 0, end - len);
        note_unsynced(f, len, end - len);
    }
    f->len = len;
}

static void forget_unsynced(struct disk_file *f, bool keep)
{
    for (size_t i = f->first_unsynced; i < f->end_unsynced; i++) {
        if (f->unsynced[i] && keep)
            memcpy(f->safe + i * SECTOR, f->bytes + i * SECTOR, SECTOR);
        f->unsynced[i] = 0;
    }
    f->first_unsynced = f->end_unsynced = 0;
}

bool disk_sync(struct disk_file *f)
{
    bool fails = syncs_to_fail > 0;
    if (fails)
        syncs_to_fail--;
    /* After a failure the pages count as clean: a later fsync says that all is well. */
    forget_unsynced(f, !fails);
    if (!fails)
        f->safe_len = f->len;
    return !fails;
}

void disk_fail_syncs(unsigned n)
{
    syncs_to_fail = n;
}

void disk_fail_writes(unsigned n)
{
    writes_to_fail = n;
}

/* ---- crashes ---- */

static void take_sector(const struct disk_file *f, struct disk_file *to, size_t i, unsigned luck)
{
    /* What was cut off is there whole or not at all: a length is no matter of sectors. */
    bool lucky = f->unsynced[i] && i * SECTOR < f->len && sim_pick(3) < luck;
    memcpy(to->bytes + i * SECTOR, (lucky ? f->bytes : f->safe) + i * SECTOR, SECTOR);
}

static void copy_file(const struct disk_file *f, struct disk_file *to, bool power_loss)
{
    unsigned luck = sim_pick(4); /* 0: nothing that was not fsynced is there, 3: all of it */
    to->len = power_loss && luck < 3 && sim_pick(3) >= luck ? f->safe_len : f->len;
    if (f->cap == 0)
        return;
    size_t held = to->len < f->cap ? to->len : f->cap;
    make_room(to, held + 1);
    if (power_loss) {
        for (size_t i = 0; i < sectors(held); i++)
            take_sector(f, to, i, luck);
    } else {
        memcpy(to->bytes, f->bytes, held);
    }
    memcpy(to->safe, to->bytes, held);
    to->safe_len = to->len;
}

void disk_crash(const char *from, const char *to, bool power_loss)
{
    size_t from_len = strlen(from);
    for (struct disk_file *f = files, *next; f; f = next) {
        next = f->next;
        if (!f->name || strncmp(f->name, from, from_len) != 0)
            continue;
        char name[256];
        strcpy(name, to);
        strcat(name, f->name + from_len);
        copy_file(f, make_file(name), power_loss);
    }
}
