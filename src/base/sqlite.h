/*
 * sqlite - opening a database file so that the process may fork.
 *
 * Threads: any.
 */
#ifndef SE_BASE_SQLITE_H
#define SE_BASE_SQLITE_H

#include <sqlite3.h>

/* As sqlite3_open_v2 with SQLite's default VFS. From then on a child by fork() finds SQLite's own
 * locks free, whatever other threads were doing, and can open databases of its own; those of its
 * parent it may not touch (https://www.sqlite.org/howtocorrupt.html, 2.6). */
int se__sqlite_connect(const char *path, int flags, sqlite3 **db);

#endif
