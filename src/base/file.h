/*
 * file - whole files, read and replaced; bytes written as a whole.
 *
 * Threads: any.  Memory: what is read is the caller's (se__buf_done).
 */
#ifndef SE_BASE_FILE_H
#define SE_BASE_FILE_H

#include "base/buf.h"

/* Appends the whole file to `out`. SE_NOT_FOUND: there is none. SE_ERR_TOO_BIG beyond bytes_max;
 * SE_ERR_IO, SE_ERR_NOMEM. Never blocks on a FIFO or device: only regular files are read. */
SE_NODISCARD se_result se__file_read(const char *path, size_t bytes_max, struct buf *out);
/* Writes `<path>.tmp` (mode 0600), syncs it, renames it over `path` and syncs the directory: after
 * a crash there is the old file or the new one, whole. SE_ERR_IO, and the old one is untouched. */
SE_NODISCARD se_result se__file_replace(const char *path, const void *bytes, size_t len);
/* Writes all bytes where the file stands, in as many calls as it takes; a signal does not end it.
 * False, with errno: not all of them were written, and how many is not known. */
SE_NODISCARD bool se__file_write_all(int fd, const void *bytes, size_t len);

#endif
