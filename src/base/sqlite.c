/*
 * sqlite - see sqlite.h.
 *
 * SQLite has a dozen static mutexes, for its memory, its list of open files, its random numbers. A
 * thread that holds one while another forks is not there in the child to give it back, and the child's
 * first allocation would wait for ever. So whoever forks takes them all before, and both processes give
 * them back.
 */
#include "base/sqlite.h"

#include "base/os.h"

/* In the order in which SQLite itself takes one while it holds another: opening a file holds OPEN and
 * MAIN, the VFS and the page cache allocate. */
static const int LOCKS[] = {
    SQLITE_MUTEX_STATIC_OPEN, SQLITE_MUTEX_STATIC_MAIN, SQLITE_MUTEX_STATIC_VFS1,
    SQLITE_MUTEX_STATIC_VFS2, SQLITE_MUTEX_STATIC_VFS3, SQLITE_MUTEX_STATIC_LRU,
    SQLITE_MUTEX_STATIC_PMEM, SQLITE_MUTEX_STATIC_PRNG, SQLITE_MUTEX_STATIC_MEM,
};
enum { LOCKS_N = sizeof LOCKS / sizeof *LOCKS };

/* Static ones are not made by this call, only found; NULL, which may be entered and left, where SQLite
 * was built without threads. */
static void take_all(void)
{
    for (int i = 0; i < LOCKS_N; i++)
        sqlite3_mutex_enter(sqlite3_mutex_alloc(LOCKS[i]));
}

static void give_all(void)
{
    for (int i = LOCKS_N; i > 0; i--)
        sqlite3_mutex_leave(sqlite3_mutex_alloc(LOCKS[i - 1]));
}

int se__sqlite_connect(const char *path, int flags, sqlite3 **db)
{
    static struct se__fork_locks locks = {.take = take_all, .give = give_all};
    *db = NULL;
    if (se__fork_takes(&locks) != SE_OK)
        return SQLITE_NOMEM;
    return sqlite3_open_v2(path, db, flags, NULL);
}
