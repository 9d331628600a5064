/*
 * pages - takes leaf pages of tables apart.
 *
 *   database   header of 100 bytes (page size at 16, bytes reserved per page at 20), then pages
 *              numbered from 1
 *   journal    header of 32 bytes (page size at 8, salt at 16), then frames of 24 bytes (page
 *              number at 0, salt at 8) and a page; frames of another salt are left from an earlier
 *              round
 *   leaf       type 13 at 0, number of cells at 3, their offsets from 8
 *   cell       varint payload length, varint rowid, payload; what does not fit goes on in a chain
 *              of overflow pages
 *   payload    varint header length, a varint of type and length per column, the columns
 *
 * All numbers are big-endian. A header that is damaged itself is taken to be what this library
 * writes.
 */
#include "wal/pages.h"

#include "base/buf.h"
#include "base/bytes.h"
#include "base/mem.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PAGE_USUAL 4096u
#define PAYLOAD_MAX 1000000000u
#define COLUMNS_MAX 6
#define JOURNAL_HEADER 32
#define FRAME_HEADER 24

struct source {
    int db, journal; /* -1: none */
    uint32_t page_size, usable;
    uint32_t pages, frames;
    uint64_t payload_max; /* no row is longer than both files */
    uint8_t salt[8];
    uint8_t *overflow; /* one page */
    struct buf payload;
    bool (*visit)(void *arg, const struct page_row *row);
    void *arg;
};

/* ---- pages ---- */

static bool read_at(int fd, void *to, size_t len, uint64_t at)
{
    return fd >= 0 && pread(fd, to, len, (off_t)at) == (ssize_t)len;
}

static uint64_t frame_at(const struct source *s, uint32_t frame)
{
    return JOURNAL_HEADER + (uint64_t)frame * (FRAME_HEADER + s->page_size);
}

static bool frame_header(const struct source *s, uint32_t frame, uint8_t header[FRAME_HEADER])
{
    return read_at(s->journal, header, FRAME_HEADER, frame_at(s, frame)) &&
           memcmp(header + 8, s->salt, 8) == 0;
}

/* The journal's newest page of that number, else the database's. */
static bool read_page(const struct source *s, uint32_t number, uint8_t *page)
{
    uint8_t header[FRAME_HEADER];
    for (uint32_t i = s->frames; i > 0; i--)
        if (frame_header(s, i - 1, header) && se__get_u32(header) == number)
            return read_at(s->journal, page, s->page_size, frame_at(s, i - 1) + FRAME_HEADER);
    return number > 0 && read_at(s->db, page, s->page_size, (uint64_t)(number - 1) * s->page_size);
}

/* ---- cells ---- */

/* Length of the varint, 0 if it does not end in time. */
static size_t varint(const uint8_t *at, size_t len, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < len && i < 9; i++) {
        if (i == 8) {
            *value = *value << 8 | at[i];
            return 9;
        }
        *value = *value << 7 | (at[i] & 0x7f);
        if (!(at[i] & 0x80))
            return i + 1;
    }
    return 0;
}

static size_t local_len(const struct source *s, uint64_t payload)
{
    uint64_t most = s->usable - 35, least = (s->usable - 12) * 32 / 255 - 23;
    if (payload <= most)
        return (size_t)payload;
    uint64_t some = least + (payload - least) % (s->usable - 4);
    return (size_t)(some <= most ? some : least);
}

/* The chain ends when the payload is complete, so that a loop in it ends too: soon, by payload_max. */
static bool read_overflow(struct source *s, uint32_t number, size_t payload)
{
    while (s->payload.len < payload) {
        if (number == 0 || !read_page(s, number, s->overflow))
            return false;
        size_t rest = payload - s->payload.len;
        se__buf_append(&s->payload, s->overflow + 4, rest < s->usable - 4 ? rest : s->usable - 4);
        number = se__get_u32(s->overflow);
    }
    return !s->payload.failed;
}

struct column {
    uint64_t type;
    const uint8_t *at;
    size_t len;
};

static bool column_len(uint64_t type, size_t *len)
{
    static const uint8_t fixed[] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0};
    if (type < sizeof fixed)
        *len = fixed[type];
    else if (type < 12 || (type - 12) / 2 > PAYLOAD_MAX)
        return false;
    else
        *len = (size_t)((type - 12) / 2);
    return true;
}

/* Returns the number of columns, 0 if they do not fill the payload exactly. */
static size_t columns(const uint8_t *payload, size_t len, struct column *c)
{
    uint64_t header;
    size_t at = varint(payload, len, &header), n = 0;
    if (at == 0 || header > len)
        return 0;
    size_t data = (size_t)header;
    for (; at < header && n < COLUMNS_MAX; n++) {
        size_t used = varint(payload + at, (size_t)header - at, &c[n].type);
        if (used == 0 || !column_len(c[n].type, &c[n].len) || c[n].len > len - data)
            return 0;
        c[n].at = payload + data;
        data += c[n].len;
        at += used;
    }
    return at == header && data == len ? n : 0;
}

static int64_t integer(const struct column *c)
{
    if (c->type == 8 || c->type == 9)
        return (int64_t)c->type - 8;
    uint64_t value = c->len > 0 && (c->at[0] & 0x80) ? UINT64_MAX : 0;
    for (size_t i = 0; i < c->len && i < 8; i++)
        value = value << 8 | c->at[i];
    return (int64_t)value;
}

static bool is_blob(const struct column *c)
{
    return c->type >= 12 && c->type % 2 == 0;
}

static bool is_text(const struct column *c)
{
    return c->type >= 13 && c->type % 2 == 1;
}

static bool visit_columns(struct source *s, uint64_t rowid, const struct column *c, size_t n)
{
    char error[512] = "";
    struct page_row row = {.seq = rowid, .error = error};
    if ((n != 3 && n != 6) || c[0].type != 0 || !is_blob(&c[1]) || !is_blob(&c[2]))
        return true;
    row.id = (const char *)c[1].at;
    row.id_len = c[1].len;
    row.record = c[2].at;
    row.record_len = c[2].len;
    if (n == 6) {
        if (!is_text(&c[4]))
            return true;
        size_t len = c[4].len < sizeof error ? c[4].len : sizeof error - 1;
        memcpy(error, c[4].at, len);
        row.dead = true;
        row.code = (int)integer(&c[3]);
        row.buried_at_ms = integer(&c[5]);
    }
    return s->visit(s->arg, &row);
}

/* Returns false to stop. */
static bool visit_cell(struct source *s, const uint8_t *page, size_t at)
{
    uint64_t payload, rowid;
    struct column c[COLUMNS_MAX];
    size_t used = varint(page + at, s->usable - at, &payload);
    at += used;
    size_t used_too = used ? varint(page + at, s->usable - at, &rowid) : 0;
    at += used_too;
    if (!used || !used_too || payload > s->payload_max || rowid > INT64_MAX)
        return true;
    size_t local = local_len(s, payload);
    bool more = local < payload;
    if (local + (more ? 4 : 0) > s->usable - at)
        return true;
    se__buf_clear(&s->payload);
    se__buf_append(&s->payload, page + at, local);
    if (more && !read_overflow(s, se__get_u32(page + at + local), (size_t)payload))
        return true;
    if (s->payload.failed)
        return true;
    size_t n = columns((const uint8_t *)s->payload.data, s->payload.len, c);
    return visit_columns(s, rowid, c, n);
}

/* Page 1 begins with the database's header and holds the schema: not our rows. */
static bool visit_page(struct source *s, const uint8_t *page)
{
    if (page[0] != 13)
        return true;
    size_t cells = se__get_u16(page + 3);
    for (size_t i = 0; i < cells && 8 + 2 * i + 2 <= s->usable; i++) {
        size_t at = se__get_u16(page + 8 + 2 * i);
        if (at >= 8 && at < s->usable && !visit_cell(s, page, at))
            return false;
    }
    return true;
}

/* ---- files ---- */

static bool page_size_ok(uint32_t size)
{
    return size >= 512 && size <= 65536 && (size & (size - 1)) == 0;
}

static void measure_database(struct source *s)
{
    uint8_t header[100];
    s->page_size = PAGE_USUAL;
    uint32_t reserved = 0;
    if (read_at(s->db, header, sizeof header, 0) && memcmp(header, "SQLite format 3", 16) == 0) {
        uint32_t size = se__get_u16(header + 16) == 1 ? 65536 : se__get_u16(header + 16);
        s->page_size = page_size_ok(size) ? size : PAGE_USUAL;
        reserved = header[20] < 32 ? header[20] : 0;
    }
    s->usable = s->page_size - reserved;
    off_t len = lseek(s->db, 0, SEEK_END);
    s->pages = len > 0 ? (uint32_t)((uint64_t)len / s->page_size) : 0;
}

static void measure_journal(struct source *s)
{
    uint8_t header[JOURNAL_HEADER];
    s->frames = 0;
    if (!read_at(s->journal, header, sizeof header, 0))
        return;
    memcpy(s->salt, header + 16, sizeof s->salt);
    off_t len = lseek(s->journal, 0, SEEK_END);
    if (len > JOURNAL_HEADER)
        s->frames = (uint32_t)(((uint64_t)len - JOURNAL_HEADER) / (FRAME_HEADER + s->page_size));
}

static void measure_payload(struct source *s)
{
    s->payload_max = ((uint64_t)s->pages + s->frames) * s->page_size;
    if (s->payload_max > PAYLOAD_MAX)
        s->payload_max = PAYLOAD_MAX;
}

static void scan(struct source *s, uint8_t *page)
{
    uint8_t header[FRAME_HEADER];
    for (uint32_t i = s->frames; i > 0; i--)
        if (frame_header(s, i - 1, header) &&
            read_at(s->journal, page, s->page_size, frame_at(s, i - 1) + FRAME_HEADER) &&
            !visit_page(s, page))
            return;
    for (uint32_t i = 1; i < s->pages; i++)
        if (read_at(s->db, page, s->page_size, (uint64_t)i * s->page_size) && !visit_page(s, page))
            return;
}

static int open_journal(const char *path)
{
    struct buf b = {0};
    se__buf_text(&b, path);
    se__buf_text(&b, "-wal");
    size_t len;
    char *name = se__buf_take(&b, &len);
    int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    se__free(name);
    return fd;
}

void se__wal_pages_scan(const char *path, bool (*visit)(void *arg, const struct page_row *row),
                        void *arg)
{
    struct source s = {.db = open(path, O_RDONLY | O_CLOEXEC),
                       .journal = open_journal(path),
                       .visit = visit,
                       .arg = arg};
    measure_database(&s);
    measure_journal(&s);
    measure_payload(&s);
    uint8_t *page = se__alloc(s.page_size);
    s.overflow = se__alloc(s.page_size);
    if (page && s.overflow)
        scan(&s, page);
    se__free(page);
    se__free(s.overflow);
    se__buf_done(&s.payload);
    if (s.db >= 0)
        close(s.db);
    if (s.journal >= 0)
        close(s.journal);
}
