/*
 * vfs.c - SQLite over disk.h (https://sqlite.org/vfs.html).
 *
 * An fsync takes time, so other tasks run meanwhile: that is where commit groups form. SQLite is told
 * to use no mutexes: tasks share one system thread, and never a connection.
 */
#include "sim/disk.h"
#include "sim/sched.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#define SYNC_NS_MAX 600000

struct handle {
    sqlite3_file base;
    struct disk_file *f;
    bool remove_on_close;
    int lock;
    unsigned shared, exclusive; /* shm locks held, one bit each */
    bool maps_shm;
};

static struct handle *of(sqlite3_file *file)
{
    return (struct handle *)file;
}

/* ---- bytes ---- */

static int on_read(sqlite3_file *file, void *to, int len, sqlite3_int64 at)
{
    size_t got = disk_read(of(file)->f, to, (size_t)len, (uint64_t)at);
    if (got == (size_t)len)
        return SQLITE_OK;
    memset((char *)to + got, 0, (size_t)len - got);
    return SQLITE_IOERR_SHORT_READ;
}

static int on_write(sqlite3_file *file, const void *from, int len, sqlite3_int64 at)
{
    return disk_write(of(file)->f, from, (size_t)len, (uint64_t)at) ? SQLITE_OK : SQLITE_FULL;
}

static int on_truncate(sqlite3_file *file, sqlite3_int64 len)
{
    disk_truncate(of(file)->f, (uint64_t)len);
    return SQLITE_OK;
}

static int on_sync(sqlite3_file *file, int flags)
{
    (void)flags;
    sim_sleep_ns(20000 + sim_pick(SYNC_NS_MAX));
    return disk_sync(of(file)->f) ? SQLITE_OK : SQLITE_IOERR_FSYNC;
}

static int on_size(sqlite3_file *file, sqlite3_int64 *len)
{
    *len = (sqlite3_int64)of(file)->f->len;
    return SQLITE_OK;
}

/* ---- locks of the file ---- */

static void unlock_to(struct handle *h, int level)
{
    if (h->lock >= SQLITE_LOCK_EXCLUSIVE && level < SQLITE_LOCK_EXCLUSIVE)
        h->f->exclusive--;
    if (h->lock >= SQLITE_LOCK_RESERVED && level < SQLITE_LOCK_RESERVED)
        h->f->reserved--;
    if (h->lock >= SQLITE_LOCK_SHARED && level < SQLITE_LOCK_SHARED)
        h->f->readers--;
    h->lock = level;
}

static int on_lock(sqlite3_file *file, int level)
{
    struct handle *h = of(file);
    struct disk_file *f = h->f;
    if (level <= h->lock)
        return SQLITE_OK;
    if (level == SQLITE_LOCK_SHARED) {
        if (f->exclusive)
            return SQLITE_BUSY;
        f->readers++;
    } else {
        bool others = level == SQLITE_LOCK_EXCLUSIVE && f->readers > 1;
        if (others || (h->lock < SQLITE_LOCK_RESERVED && f->reserved))
            return SQLITE_BUSY;
        f->reserved += h->lock < SQLITE_LOCK_RESERVED;
        f->exclusive += level == SQLITE_LOCK_EXCLUSIVE;
    }
    h->lock = level;
    return SQLITE_OK;
}

static int on_unlock(sqlite3_file *file, int level)
{
    if (level < of(file)->lock)
        unlock_to(of(file), level);
    return SQLITE_OK;
}

static int on_check_reserved(sqlite3_file *file, int *reserved)
{
    *reserved = of(file)->f->reserved > 0;
    return SQLITE_OK;
}

static int on_control(sqlite3_file *file, int op, void *arg)
{
    (void)file, (void)op, (void)arg;
    return SQLITE_NOTFOUND;
}

static int on_sector(sqlite3_file *file)
{
    (void)file;
    return 4096; /* as the one for Unix says */
}

static int on_traits(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/* ---- shared memory ---- */

static int on_shm_map(sqlite3_file *file, int region, int size, int extend, void volatile **memory)
{
    struct handle *h = of(file);
    if (!h->maps_shm)
        h->f->shm_users++;
    h->maps_shm = true;
    if (region >= DISK_SHM_REGIONS)
        return SQLITE_NOMEM;
    if (!h->f->shm[region] && extend)
        h->f->shm[region] = calloc(1, (size_t)size);
    if (!h->f->shm[region] && extend)
        return SQLITE_NOMEM;
    *memory = h->f->shm[region];
    return SQLITE_OK;
}

static int take_shm(struct handle *h, int first, int n, bool exclusive)
{
    for (int i = first; i < first + n; i++) {
        bool own = (h->shared >> i & 1) != 0;
        if (h->f->shm_exclusive[i] || (exclusive && h->f->shm_shared[i] > own))
            return SQLITE_BUSY;
    }
    for (int i = first; i < first + n; i++) {
        if (exclusive) {
            h->f->shm_exclusive[i] = true;
            h->exclusive |= 1u << i;
        } else if (!(h->shared >> i & 1)) {
            h->f->shm_shared[i]++;
            h->shared |= 1u << i;
        }
    }
    return SQLITE_OK;
}

static void give_shm(struct handle *h, int first, int n)
{
    for (int i = first; i < first + n; i++) {
        if (h->exclusive >> i & 1)
            h->f->shm_exclusive[i] = false;
        if (h->shared >> i & 1)
            h->f->shm_shared[i]--;
        h->exclusive &= ~(1u << i);
        h->shared &= ~(1u << i);
    }
}

static int on_shm_lock(sqlite3_file *file, int first, int n, int flags)
{
    if (flags & SQLITE_SHM_LOCK)
        return take_shm(of(file), first, n, (flags & SQLITE_SHM_EXCLUSIVE) != 0);
    give_shm(of(file), first, n);
    return SQLITE_OK;
}

static void on_shm_barrier(sqlite3_file *file)
{
    (void)file;
}

static int on_shm_unmap(sqlite3_file *file, int remove)
{
    struct handle *h = of(file);
    (void)remove;
    give_shm(h, 0, DISK_LOCKS);
    if (h->maps_shm && --h->f->shm_users == 0)
        disk_drop_shm(h->f);
    h->maps_shm = false;
    return SQLITE_OK;
}

static int on_close(sqlite3_file *file)
{
    struct handle *h = of(file);
    (void)on_shm_unmap(file, 0);
    unlock_to(h, SQLITE_LOCK_NONE);
    if (h->remove_on_close && h->f->name)
        (void)disk_remove(h->f->name);
    disk_close(h->f);
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_check_reserved,
    .xFileControl = on_control,
    .xSectorSize = on_sector,
    .xDeviceCharacteristics = on_traits,
    .xShmMap = on_shm_map,
    .xShmLock = on_shm_lock,
    .xShmBarrier = on_shm_barrier,
    .xShmUnmap = on_shm_unmap,
};

/* ---- names ---- */

static int on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    struct handle *h = of(file);
    (void)vfs;
    memset(h, 0, sizeof *h);
    h->f = disk_open(name, !name || (flags & SQLITE_OPEN_CREATE));
    if (!h->f)
        return SQLITE_CANTOPEN;
    h->remove_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
    h->base.pMethods = &methods;
    if (out)
        *out = flags;
    return SQLITE_OK;
}

static int on_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs, (void)sync;
    return disk_remove(name) ? SQLITE_OK : SQLITE_IOERR_DELETE_NOENT;
}

static int on_access(sqlite3_vfs *vfs, const char *name, int flags, int *there)
{
    (void)vfs;
    const struct disk_file *f = disk_find(name);
    /* SQLite asks for a journal that is not empty */
    *there = f && (flags != SQLITE_ACCESS_EXISTS || f->len > 0);
    return SQLITE_OK;
}

static int on_full_name(sqlite3_vfs *vfs, const char *name, int cap, char *out)
{
    (void)vfs;
    sqlite3_snprintf(cap, out, "%s", name);
    return SQLITE_OK;
}

static int on_random(sqlite3_vfs *vfs, int len, char *out)
{
    (void)vfs;
    for (int i = 0; i < len; i++)
        out[i] = (char)sim_random();
    return len;
}

static int on_sleep(sqlite3_vfs *vfs, int us)
{
    (void)vfs;
    sim_sleep_ns((uint64_t)us * 1000);
    return us;
}

static int on_time_ms(sqlite3_vfs *vfs, sqlite3_int64 *now)
{
    (void)vfs;
    *now = sim_wall_ms() + INT64_C(210866760000000); /* since noon of -4713-11-24 */
    return SQLITE_OK;
}

static int on_time(sqlite3_vfs *vfs, double *now)
{
    sqlite3_int64 ms;
    (void)on_time_ms(vfs, &ms);
    *now = (double)ms / 86400000.0;
    return SQLITE_OK;
}

static int on_last_error(sqlite3_vfs *vfs, int cap, char *out)
{
    (void)vfs, (void)cap, (void)out;
    return 0;
}

static sqlite3_vfs vfs = {
    .iVersion = 2,
    .szOsFile = sizeof(struct handle),
    .mxPathname = 200,
    .zName = "sim",
    .xOpen = on_open,
    .xDelete = on_delete,
    .xAccess = on_access,
    .xFullPathname = on_full_name,
    .xRandomness = on_random,
    .xSleep = on_sleep,
    .xCurrentTime = on_time,
    .xGetLastError = on_last_error,
    .xCurrentTimeInt64 = on_time_ms,
};

int disk_vfs_register(void)
{
    int rc = sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    if (rc == SQLITE_OK)
        rc = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    return rc == SQLITE_OK ? sqlite3_vfs_register(&vfs, 1) : rc;
}
