/*
 * pages - reads the log's rows from the raw pages of a SQLite file and of its journal, without its
 * trees.
 *
 * For salvage only. Every page that looks like a leaf of a table is taken apart cell by cell; what
 * does not add up is passed over. Whether a row is what it seems to be is for the record's checksum
 * to say. Format: https://sqlite.org/fileformat2.html
 *
 * Threads: any; pure but for reading the two files.  Memory: a row is lent for the call.
 */
#ifndef SE_WAL_PAGES_H
#define SE_WAL_PAGES_H

#include "base/error.h"

struct page_row {
    bool dead; /* a dead letter: code, error, buried_at_ms are set */
    uint64_t seq;
    const char *id;
    size_t id_len;
    const void *record;
    size_t record_len;
    int code;
    const char *error;
    int64_t buried_at_ms;
};

/* visit returns false to stop. What cannot be read is passed over. */
void se__wal_pages_scan(const char *path, bool (*visit)(void *arg, const struct page_row *row),
                        void *arg);

#endif
