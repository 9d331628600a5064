/*
 * fuzz_pages - the raw pages of a damaged log, without SQLite (wal/pages.h), and the frames of its
 * journal (wal/journal.h).
 *
 * Input: a byte of flags, then the files (memfile.h). 1: the journal's checksums are made right. 2: its
 * first frame is bad again. 4: the database's header says pages of 512 bytes.
 *
 * Whatever the bytes are: every row has an id and a record, of lengths that lie within the files, and
 * the scan ends, soon: what it copies is bounded. A journal whose frames all fit is sound; one whose only
 * bad frame was not committed as well; that a commit after it proves damage.
 */
#include "fuzz/memfile.h"

#include "base/bytes.h"
#include "wal/journal.h"
#include "wal/pages.h"

#define HEADER 32u
#define FRAME 24u

enum { FIX_SUMS = 1, SPOIL = 2, SMALL_PAGES = 4 };

struct seen {
    size_t rows, bytes, all;
};

static bool take_row(void *arg, const struct page_row *row)
{
    struct seen *seen = arg;
    uint8_t sum = 0;
    must(row->id != NULL && row->record != NULL && row->error != NULL);
    must(row->seq <= INT64_MAX);
    /* a chain of overflow pages may go round and round, but not for long */
    must(row->id_len + row->record_len <= memfiles[0].len + memfiles[1].len);
    for (size_t i = 0; i < row->id_len; i++)
        sum ^= (uint8_t)row->id[i];
    for (size_t i = 0; i < row->record_len; i++)
        sum ^= ((const uint8_t *)row->record)[i];
    must(memchr(row->error, '\0', 512) != NULL);
    seen->rows++;
    seen->bytes += row->id_len + row->record_len + (sum == 1);
    return true;
}

/* ---- the journal ---- */

static uint32_t page_size(const uint8_t *j)
{
    return se__get_u32(j + 8);
}

/* As SQLite's manual has them; the words are big-endian, which the magic number says. */
static void sum_up(uint32_t s[2], const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i + 8 <= len; i += 8) {
        s[0] += se__get_u32(bytes + i) + s[1];
        s[1] += se__get_u32(bytes + i + 4) + s[0];
    }
}

static void put_sum(const uint32_t s[2], uint8_t *to)
{
    se__put_u32(to, s[0]);
    se__put_u32(to + 4, s[1]);
}

/* Returns the number of frames; *commits: whether any but the first says that it ends a commit. */
static size_t fix_sums(uint8_t *j, size_t len, bool *commits)
{
    uint32_t s[2] = {0, 0};
    size_t n = 0, at = HEADER;
    se__put_u32(j, 0x377f0683);
    if (page_size(j) < 512 || page_size(j) > 65536)
        se__put_u32(j + 8, 512);
    sum_up(s, j, 24);
    put_sum(s, j + 24);
    size_t frame = FRAME + page_size(j);
    for (; at + frame <= len; at += frame, n++) {
        memcpy(j + at + 8, j + 16, 8); /* the salt */
        sum_up(s, j + at, 8);
        sum_up(s, j + at + FRAME, page_size(j));
        put_sum(s, j + at + 16);
        *commits = *commits || (n > 0 && se__get_u32(j + at + 4) != 0);
    }
    return n;
}

/* One look at it: the library sets 64 KiB aside for that. */
static void try_journal(uint8_t *j, size_t len, uint8_t flags)
{
    bool commits = false, damaged = false;
    bool whole = memfiles[1].bytes && len >= HEADER && flags & FIX_SUMS;
    size_t frames = whole ? fix_sums(j, len, &commits) : 0;
    bool spoilt = flags & SPOIL && frames > 0;
    if (spoilt) {
        damaged = frames > 1 && se__get_u32(j + HEADER + 4) != 0;
        j[HEADER + FRAME] ^= 1; /* a byte of the first page */
    }
    se__error_clear();
    se_result r = se__wal_journal_check("w");
    must(r == SE_OK || (r == SE_ERR_CORRUPT && se_errmsg()[0] != '\0'));
    must(!whole || r == SE_OK || (spoilt && (commits || damaged)));
    must(!damaged || r == SE_ERR_CORRUPT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct seen seen = {.all = size};
    uint8_t flags = take_byte(&in), *database, *journal;
    memfiles_take(&in, &database, &journal);
    if (flags & SMALL_PAGES && memfiles[0].len > 21) {
        memcpy(database, "SQLite format 3", 16);
        memcpy(database + 16, "\2\0", 2);
        database[20] = 0;
    }
    try_journal(journal, memfiles[1].len, flags);
    se__wal_pages_scan("w", take_row, &seen);
    /* each page has fewer cells than bytes, and each cell copies what it says at most */
    must(seen.rows <= seen.all);
    must(memfiles_open == 0);
    free(database);
    free(journal);
    return 0;
}
