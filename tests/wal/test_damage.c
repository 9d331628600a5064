/* Files that are not what they should be: other programs', newer ones', damaged ones; and
 * what salvage gets out of them. */
#include "wal/fixture.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct log_fixture f;

static void set_up(void)
{
    fixture_init(&f);
}

static void tear_down(void)
{
    fixture_done(&f);
}

TestSuite(wal_damage, .init = set_up, .fini = tear_down);

static void sql(const char *text)
{
    sqlite3 *db;
    cr_assert_eq(sqlite3_open(f.path, &db), SQLITE_OK);
    char *message = NULL;
    int rc = sqlite3_exec(db, text, NULL, NULL, &message);
    cr_assert_eq(rc, SQLITE_OK, "%s", message);
    sqlite3_close(db);
}

static void write_file(const char *name, const void *bytes, size_t len)
{
    FILE *file = fopen(name, "wb");
    cr_assert(file && fwrite(bytes, 1, len, file) == len && fclose(file) == 0);
}

static uint8_t *read_file(const char *name, size_t *len)
{
    FILE *file = fopen(name, "rb");
    cr_assert(file != NULL, "%s", name);
    fseek(file, 0, SEEK_END);
    *len = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*len + 1);
    cr_assert_eq(fread(bytes, 1, *len, file), *len);
    fclose(file);
    return bytes;
}

static se_result try_open(void)
{
    struct wal *w = NULL;
    se_result r = se__wal_open(&f.options, &w);
    cr_assert((r == SE_OK) == (w != NULL));
    se__wal_close(w);
    return r;
}

Test(wal_damage, another_programs_file_is_left_alone)
{
    size_t before, after;
    sql("CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    uint8_t *old = read_file(f.path, &before);
    cr_assert_eq(try_open(), SE_ERR_CONFIG);
    cr_assert(strstr(se_errmsg(), "another program") != NULL);
    uint8_t *new = read_file(f.path, &after);
    cr_assert(before == after && memcmp(old, new, before) == 0);
    free(old);
    free(new);
}

Test(wal_damage, a_newer_format_is_refused)
{
    fixture_open(&f);
    append_one(f.wal, "a", 1, WAL_ACK);
    se__wal_close(f.wal);
    f.wal = NULL;
    sql("PRAGMA user_version = 2");
    cr_assert_eq(try_open(), SE_ERR_CONFIG);
    cr_assert(strstr(se_errmsg(), "format 2") != NULL);
    sql("PRAGMA user_version = 1");
    cr_assert_eq(try_open(), SE_OK);
}

Test(wal_damage, no_database_at_all_is_damage)
{
    write_file(f.path,
               "this is no database, but it is long enough to have a header of a hundred bytes or "
               "more: really",
               94);
    cr_assert_eq(try_open(), SE_ERR_CORRUPT);
    cr_assert(strstr(se_errmsg(), "syncengine wal salvage") != NULL);
}

Test(wal_damage, a_missing_table_is_damage)
{
    fixture_open(&f);
    se__wal_close(f.wal);
    f.wal = NULL;
    sql("DROP TABLE dead");
    cr_assert_eq(try_open(), SE_ERR_CORRUPT);
}

Test(wal_damage, a_damaged_ceiling_is_damage)
{
    fixture_open(&f);
    append_one(f.wal, "a", se__version_of_ms(1000), WAL_ACK);
    se__wal_close(f.wal);
    f.wal = NULL;
    sql("UPDATE meta SET value = 'x' WHERE name = 'wal.ceiling'");
    cr_assert_eq(try_open(), SE_ERR_CORRUPT);
}

Test(wal_damage, one_engine_a_file)
{
    struct log_fixture other;
    uint64_t version;
    fixture_open(&f);
    append_one(f.wal, "a", 1, WAL_ACK);
    cr_assert_eq(try_open(), SE_ERR_STATE);
    cr_assert(strstr(se_errmsg(), "locked by another engine") != NULL);
    fixture_init(&other);
    cr_assert_eq(symlink(f.path, other.path), 0); /* the same file by another name */
    struct wal *w;
    cr_assert_eq(se__wal_open(&other.options, &w), SE_ERR_STATE);
    fixture_done(&other);
    f.options.read_only = true;
    cr_assert_eq(se__wal_open(&f.options, &w), SE_OK, "%s", se_errmsg()); /* a tool beside it */
    cr_assert_eq(find_version(w, "a", &version), WAL_RECOVERED);
    cr_assert_eq(append_one(w, "b", 2, WAL_ACK), SE_ERR_STATE);
    cr_assert_eq(bury_one(w, "b", 2), SE_ERR_STATE);
    cr_assert_eq(se__wal_meta_put(w, "b", "c"), SE_ERR_STATE);
    cr_assert_eq(se__wal_tend(w, true), SE_ERR_STATE);
    cr_assert_eq(append_one(f.wal, "b", 2, WAL_ACK), SE_OK);
    se__wal_close(w);
    f.options.read_only = false;
    cr_assert_eq(find_version(f.wal, "b", &version), WAL_PENDING);
    se__wal_close(f.wal);
    f.wal = NULL;
    cr_assert_eq(try_open(), SE_OK);
}

Test(wal_damage, read_only_needs_a_file_and_creates_none)
{
    f.options.read_only = true;
    cr_assert_eq(try_open(), SE_ERR_IO);
    cr_assert(strstr(se_errmsg(), f.path) != NULL);
    cr_assert_eq(access(f.path, F_OK), -1);
    cr_assert_eq(access(fixture_name(&f, ".lock"), F_OK), -1);
}

Test(wal_damage, names_that_sqlite_would_read_otherwise_are_files)
{
    char directory[1024];
    cr_assert(getcwd(directory, sizeof directory) != NULL);
    cr_assert_eq(chdir(f.dir), 0);
    f.options.path = "file:x?mode=memory";
    cr_assert_eq(try_open(), SE_OK, "%s", se_errmsg());
    cr_assert_eq(access("file:x?mode=memory", F_OK), 0);
    cr_assert_eq(chdir(directory), 0);
}

Test(wal_damage, only_the_owner_may_read_it)
{
    struct stat st;
    fixture_open(&f);
    append_one(f.wal, "a", 1, WAL_ACK);
    const char *names[] = {"", "-wal", ".lock", ".spare"};
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(stat(fixture_name(&f, names[i]), &st), 0);
        cr_assert_eq(st.st_mode & 077, 0, "%s", names[i]);
    }
}

/* ---- damage ---- */

#define RECORDS 200

static void fill_log(size_t content_len)
{
    char id[16], *content = malloc(content_len + 1);
    fixture_open(&f);
    for (unsigned i = 0; i < RECORDS; i++) {
        snprintf(id, sizeof id, "id%03u", i);
        memset(content, 'a' + (int)(i % 26), content_len);
        se_item *item = item_bytes(id, i + 1, content, content_len);
        cr_assert_eq(se__wal_append(f.wal, &item, 1, WAL_ACK, SE__FOREVER), SE_OK);
        se_item_release(item);
    }
    bury_one(f.wal, "dead", 1000);
    cr_assert_eq(se__wal_meta_put(f.wal, "incarnation", "mine"), SE_OK);
    se__wal_close(f.wal);
    f.wal = NULL;
    free(content);
}

static bool check_content(void *arg, uint64_t seq, const se_item *item)
{
    const char *content = se_item_content(item);
    (void)seq;
    for (size_t i = 0; i < se_item_content_len(item); i++)
        cr_assert_eq(content[i], 'a' + (int)((se_item_version(item) - 1) % 26));
    ++*(uint64_t *)arg;
    return true;
}

/* Salvages f.path and returns how many records the new log has; all of them are right. */
static uint64_t salvage(struct wal_salvaged *salvaged)
{
    uint64_t n = 0;
    struct wal_options options = f.options;
    struct wal *w;
    options.path = fixture_name(&f, ".salvaged");
    unlink(options.path);
    cr_assert_eq(se__wal_salvage(f.path, options.path, salvaged), SE_OK, "%s", se_errmsg());
    cr_assert_eq(se__wal_open(&options, &w), SE_OK, "%s", se_errmsg());
    cr_assert_eq(se__wal_each(w, check_content, &n), SE_OK);
    cr_assert_eq(stats_of(w).dead, salvaged->dead);
    cr_assert_eq(n, salvaged->records);
    se__wal_close(w);
    return n;
}

Test(wal_damage, salvage_of_a_sound_log_copies_all)
{
    struct wal_salvaged salvaged;
    char *value;
    struct wal *w;
    fill_log(300);
    cr_assert_eq(salvage(&salvaged), RECORDS);
    cr_assert(salvaged.dead == 1 && salvaged.damaged == 0);
    f.options.path = fixture_name(&f, ".salvaged");
    cr_assert_eq(se__wal_open(&f.options, &w), SE_OK);
    cr_assert_eq(se__wal_meta_get(w, "incarnation", &value), SE_OK);
    cr_assert_str_eq(value, "mine");
    se__free(value);
    se__wal_close(w);
    cr_assert_eq(se__wal_salvage(f.path, fixture_name(&f, ".salvaged"), &salvaged),
                 SE_ERR_CONFIG); /* exists */
    f.options.path = f.path;
    fixture_open(&f);
    cr_assert_eq(se__wal_salvage(f.path, fixture_name(&f, ".other"), &salvaged),
                 SE_ERR_STATE); /* in use */
    cr_assert_eq(access(fixture_name(&f, ".other"), F_OK), -1);
    cr_assert_eq(se__wal_salvage(fixture_name(&f, ".none"), fixture_name(&f, ".other"), &salvaged),
                 SE_ERR_IO);
}

Test(wal_damage, a_flipped_byte_in_a_record_loses_that_record_only)
{
    size_t len;
    uint64_t version;
    fill_log(300);
    uint8_t *bytes = read_file(f.path, &len), *at = bytes;
    while ((at = memmem(at, (size_t)(bytes + len - at), "id007",
                        5))) { /* an old copy may be in unused space */
        at[5 + 88 + 100] ^= 1; /* in the content */
        at += 5;
    }
    write_file(f.path, bytes, len);
    free(bytes);
    fixture_open(&f);
    cr_assert_eq(stats_of(f.wal).recovered, RECORDS);
    cr_assert_eq(se__metrics_sum(f.metrics, M_WAL_GARBAGE), 1);
    uint64_t n = 0;
    cr_assert_eq(se__wal_each(f.wal, check_content, &n), SE_OK);
    cr_assert_eq(n, RECORDS - 1);
    cr_assert_eq(se__wal_look(f.wal, "id007", 5, &version), WAL_NOWHERE);
}

/* The checksum of a record does not cover its number. A number near the end of all would leave none for
 * what comes, and below 1 there is none. */
Test(wal_damage, a_number_that_cannot_be_is_no_number)
{
    static const char *const MAXIMA[] = {"9223372036854775807", "-7", "0"};
    struct wal_salvaged salvaged;
    uint64_t version;
    char text[100];
    fill_log(30);
    for (size_t i = 0; i < sizeof MAXIMA / sizeof *MAXIMA; i++) {
        snprintf(text, sizeof text, "UPDATE log SET seq = %s WHERE id = CAST('id%03zu' AS BLOB)",
                 MAXIMA[i], i + 5);
        sql(text);
    }
    cr_assert_eq(salvage(&salvaged), RECORDS, "the records themselves are whole");
    fixture_open(&f);
    cr_assert_eq(stats_of(f.wal).recovered, RECORDS + 1 - 3);
    cr_assert_eq(se__metrics_sum(f.metrics, M_WAL_GARBAGE), 3);
    cr_assert_eq(se__wal_look(f.wal, "id005", 5, &version), WAL_NOWHERE);
    for (uint64_t v = 1000; v < 1020; v++) /* there are numbers for them */
        cr_assert_eq(append_one(f.wal, "more", v, WAL_ACK), SE_OK);
    fixture_reopen(&f);
    cr_assert_eq(find_version(f.wal, "more", &version), WAL_RECOVERED);
    cr_assert_eq(version, 1019);
}

Test(wal_damage, a_number_of_the_log_itself_that_cannot_be_is_damage)
{
    fill_log(30);
    sql("INSERT OR REPLACE INTO meta VALUES('wal.seq', '9223372036854775807')");
    cr_assert_eq(try_open(), SE_ERR_CORRUPT);
}

Test(wal_damage, a_log_whose_file_is_removed_gets_a_new_one)
{
    const char *names[] = {"", "-wal"};
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t version;
        fixture_open(&f);
        append_one(f.wal, "a", 10 + i, WAL_HOME);
        cr_assert_eq(unlink(fixture_name(&f, names[i])), 0);
        cr_assert_eq(se__wal_tend(f.wal, false), SE_OK, "%s", se_errmsg());
        cr_assert_eq(append_one(f.wal, "b", 20 + i, WAL_HOME), SE_OK);
        fixture_reopen(&f);
        cr_assert_eq(find_version(f.wal, "a", &version), WAL_RECOVERED);
        cr_assert_eq(version, 10 + i);
        cr_assert_eq(find_version(f.wal, "b", &version), WAL_RECOVERED);
        se__wal_close(f.wal);
        f.wal = NULL;
    }
}

/* The record goes bad while the log is open: reads find the next
 * older one, and the drain goes on. */
Test(wal_damage, a_record_that_goes_bad_is_passed_over)
{
    char text[100];
    uint64_t version;
    fixture_open(&f);
    append_one(f.wal, "a", 1, WAL_ACK);
    append_one(f.wal, "a", 2, WAL_ACK);
    append_one(f.wal, "b", 3, WAL_HOME);
    append_one(f.wal, "c", 4, WAL_HOME);
    sql("UPDATE log SET record = zeroblob(100) WHERE seq IN (2, 3)");
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_PENDING);
    cr_assert_eq(version, 1);
    drained(f.wal, 0, 10, text, sizeof text, false);
    cr_assert_str_eq(text, "c@4");
    cr_assert(!se__wal_drainable(f.wal, 0));
    cr_assert_eq(se__metrics_sum(f.metrics, M_WAL_GARBAGE), 2);
    cr_assert_eq(stats_of(f.wal).live_records, 1);
}

/* Any page ruined, or the file cut anywhere: an error or fewer records, never a wrong one, and
 * salvage keeps what is elsewhere. */
static void ruin_pages(size_t content_len, size_t every)
{
    size_t len;
    struct wal_salvaged salvaged;
    fill_log(content_len);
    uint8_t *bytes = read_file(f.path, &len), *copy = malloc(len);
    for (size_t page = 0; page < len / 4096; page += page < 8 ? 1 : every) {
        memcpy(copy, bytes, len);
        for (size_t i = 0; i < 4096; i += 3)
            copy[page * 4096 + i] ^= (uint8_t)(i * 31 + page + 1);
        write_file(f.path, copy, len);
        unlink(fixture_name(&f, "-wal"));
        unlink(fixture_name(&f, "-shm"));
        se_result r = try_open();
        cr_assert(r == SE_OK || r == SE_ERR_CORRUPT || r == SE_ERR_CONFIG, "page %zu: %d %s", page,
                  (int)r, se_errmsg());
        write_file(f.path, copy, len);
        uint64_t n = salvage(&salvaged);
        cr_assert(n + 60 >= RECORDS, "page %zu: %llu", page, (unsigned long long)n);
        cr_assert(n + salvaged.dead >= RECORDS + 1 - 60);
    }
    free(bytes);
    free(copy);
}

Test(wal_damage, any_page_may_be_ruined)
{
    ruin_pages(300, 2);
}

Test(wal_damage, any_page_of_a_log_with_long_records_may_be_ruined)
{
    ruin_pages(9000, 41);
}

Test(wal_damage, a_cut_file_is_noticed)
{
    size_t len;
    struct wal_salvaged salvaged;
    fill_log(300);
    uint8_t *bytes = read_file(f.path, &len);
    for (size_t cut = 1; cut < len; cut += 4096 * 3 + 123) {
        unlink(fixture_name(&f, "-wal"));
        unlink(fixture_name(&f, "-shm"));
        write_file(f.path, bytes, cut);
        cr_assert_eq(try_open(), SE_ERR_CORRUPT, "%zu of %zu", cut, len);
        uint64_t n = salvage(&salvaged);
        /* the first four pages hold no records */
        size_t leaves = cut / 4096 > 4 ? cut / 4096 - 4 : 0;
        cr_assert(n >= leaves * 7, "%llu of %zu bytes", (unsigned long long)n, cut);
    }
    free(bytes);
}

/* As a crash leaves it: rows in the journal only. */
static size_t journal_only(uint8_t **journal)
{
    char command[1000];
    size_t len;
    fixture_open(&f);
    append_one(f.wal, "first", 1, WAL_ACK);
    cr_assert_eq(se__wal_tend(f.wal, true), SE_OK);
    for (uint64_t i = 2; i <= 40; i++)
        append_one(f.wal, "a", i, WAL_ACK);
    snprintf(command, sizeof command, "cp %s %s.x && cp %s-wal %s.y", f.path, f.path, f.path,
             f.path);
    cr_assert_eq(system(command), 0);
    se__wal_close(f.wal);
    f.wal = NULL;
    snprintf(command, sizeof command, "mv %s.x %s && mv %s.y %s-wal", f.path, f.path, f.path,
             f.path);
    cr_assert_eq(system(command), 0);
    *journal = read_file(fixture_name(&f, "-wal"), &len);
    return len;
}

Test(wal_damage, a_torn_end_of_the_journal_is_what_a_crash_leaves)
{
    uint8_t *journal;
    uint64_t version;
    size_t len = journal_only(&journal);
    cr_assert_eq((len - 32) % 4120, 0);
    write_file(fixture_name(&f, "-wal"), journal, len - 2000);
    free(journal);
    fixture_open(&f);
    cr_assert_eq(find_version(f.wal, "a", &version), WAL_RECOVERED);
    cr_assert_eq(version, 39);
}

/* SQLite would drop that commit and all after it without a word. */
Test(wal_damage, a_damaged_journal_is_noticed_and_salvaged)
{
    uint8_t *journal;
    struct wal_salvaged salvaged;
    size_t len = journal_only(&journal);
    size_t frames = (len - 32) / 4120;
    for (size_t frame = 0; frame + 2 < frames; frame += 5) {
        uint8_t *copy = malloc(len);
        memcpy(copy, journal, len);
        copy[32 + frame * 4120 + 24 + 4000] ^= 0x10;
        write_file(fixture_name(&f, "-wal"), copy, len);
        unlink(fixture_name(&f, "-shm"));
        free(copy);
        cr_assert_eq(try_open(), SE_ERR_CORRUPT, "frame %zu of %zu", frame, frames);
        cr_assert_eq(se__wal_salvage(f.path, fixture_name(&f, ".salvaged"), &salvaged), SE_OK);
        cr_assert(salvaged.records >= 38, "%llu", (unsigned long long)salvaged.records);
        unlink(fixture_name(&f, ".salvaged"));
    }
    journal[17] ^= 1; /* the header's salt */
    write_file(fixture_name(&f, "-wal"), journal, len);
    cr_assert_eq(try_open(), SE_ERR_CORRUPT);
    free(journal);
}
