/*
 * disk - files in memory, with the difference between written and fsynced.
 *
 * Names begin with "/sim/"; each life of an engine has a directory of its own, so that what a dead one
 * still does reaches nobody. A crash copies a directory: after a kill all that was written is there;
 * after a power loss what was fsynced, and of what was not any choice of 512-byte sectors.
 * Creating, renaming and removing names is durable at once (a limit of this model).
 *
 * Threads: the tasks of sched.h; calls do not wait.
 */
#ifndef SE_SIM_DISK_H
#define SE_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISK_ROOT "/sim/"
enum { DISK_SHM_REGIONS = 8, DISK_LOCKS = 8 };

struct disk_file {
    struct disk_file *next;
    char *name;       /* NULL: removed */
    unsigned handles; /* freed with the last one once it is removed */
    uint8_t *bytes;   /* as written; beyond cap: zeros */
    size_t len, cap;
    uint8_t *safe; /* as of the last fsync */
    size_t safe_len;
    uint8_t *unsynced; /* one a sector */
    size_t first_unsynced, end_unsynced;
    /* SQLite's locks and its index in shared memory */
    unsigned readers, reserved, pending, exclusive;
    unsigned shm_shared[DISK_LOCKS];
    bool shm_exclusive[DISK_LOCKS];
    void *shm[DISK_SHM_REGIONS];
    unsigned shm_users;
};

void disk_begin(void);
void disk_end(void); /* frees all; no handle is open */

struct disk_file *disk_find(const char *name);
struct disk_file *disk_open(const char *name,
                            bool create); /* counts a handle; NULL name: nameless */
void disk_close(struct disk_file *f);
bool disk_remove(const char *name);
bool disk_rename(const char *from, const char *to);

/* False: a fault that was ordered. */
bool disk_write(struct disk_file *f, const void *bytes, size_t len, uint64_t at);
size_t disk_read(const struct disk_file *f, void *bytes, size_t len, uint64_t at);
void disk_truncate(struct disk_file *f, uint64_t len);
bool disk_sync(struct disk_file *f);

/* What a crash leaves of directory `from`, as directory `to`. */
void disk_crash(const char *from, const char *to, bool power_loss);
void disk_drop_shm(struct disk_file *f);

/* ---- faults ---- */
void disk_fail_syncs(
    unsigned n); /* the next n fail, and what they should have brought is never there */
void disk_fail_writes(unsigned n); /* the next n find no space */

int disk_vfs_register(void);

#endif
