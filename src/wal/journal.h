/*
 * journal - is SQLite's journal (PATH-wal) damaged, rather than cut off by a crash?
 *
 * SQLite takes a journal up to the first frame whose checksum fails and drops the rest without a
 * word: right after a crash, when that is what was being written, and a silent loss of acknowledged
 * commits where a frame in the middle has rotted. The two can be told apart: this log starts a
 * commit only after the one before it has been fsynced.
 *
 * And are its bytes on the disk, or only in the kernel's memory? After a failed fsync Linux goes on showing the
 * pages and calls them clean, so that no later fsync writes them. Who saw that fsync fail moves to
 * a new file (move.c); a process that is killed before cannot tell the next one.
 *
 * Threads: caller-serialised per file.
 */
#ifndef SE_WAL_JOURNAL_H
#define SE_WAL_JOURNAL_H

#include "base/error.h"

/* SE_ERR_CORRUPT with its text if a commit that was fsynced is damaged. SE_OK
 * also where there is no journal. */
SE_NODISCARD se_result se__wal_journal_check(const char *path);

/* Writes what the journal holds once more and syncs it. Before SQLite opens it. SE_ERR_IO,
 * SE_ERR_NOMEM; SE_OK also where there is no journal. */
SE_NODISCARD se_result se__wal_journal_renew(const char *path);

#endif
