/*
 * fuzz_ndjson - newline-delimited JSON on its way into an engine (tools/ndjson.h, tools/loader.h).
 *
 * Input: the size of the pieces in which the file arrives, the longest line, a byte that chooses the field,
 * the file. se_submit_many is this program's (meson.build wraps it).
 *
 * However the file is cut into pieces, its lines are the same, each is measured rightly, and lines and LFs
 * together are the file. A line that has an id is one JSON object, the id is one, and it is submitted with
 * exactly its bytes, in order; every line is submitted, or reported, or blank. No more is held than a line
 * and a piece.
 */
#include "fuzz/fuzz.h"

#include "base/utf8.h"
#include "loader.h"
#include "ndjson.h"

struct seen {
    const uint8_t *file;
    size_t len, at; /* of the file; behind the last line */
    uint64_t number;
    uint64_t sum; /* over all lines: their numbers, lengths and places */
    uint64_t added, refused, bad;
};

static struct seen *now;
static struct loader loader; /* one for all: it is a hundred kilobytes */

/* Ids that begin with x are refused, and so is a batch that has one. */
se_result __wrap_se_submit_many(se_engine *e, se_put *puts, size_t n, se_batch_result *out);
se_result __wrap_se_submit_many(se_engine *e, se_put *puts, size_t n, se_batch_result *out)
{
    se_result r = SE_OK;
    size_t id_len;
    (void)e;
    (void)out;
    must(n >= 1 && n <= LOADER_ITEMS);
    for (size_t i = 0; i < n; i++) {
        must(se__id_check("id", puts[i].id, 1, SE_ID_MAX, &id_len) == SE_OK);
        must(memmem(now->file, now->len, puts[i].content, puts[i].len) != NULL);
        puts[i].result = puts[i].id[0] == 'x' ? SE_ERR_INVALID : SE_OK;
        r = puts[i].result == SE_OK ? r : SE_ERR_INVALID;
    }
    return r;
}

static void note_bad(void *arg, uint64_t line, const char *why)
{
    (void)arg;
    must(line >= 1 && line <= now->number && why[0] != '\0');
    now->refused++;
}

static void check_id(const char *text, size_t len, const char *field)
{
    char id[SE_ID_MAX + 1], why[512], again[SE_ID_MAX + 1];
    size_t id_len;
    if (!ndjson_id(text, len, field, id, why, sizeof why)) {
        must(memchr(why, '\0', sizeof why) && why[0] != '\0');
        now->bad++;
        return;
    }
    must(se__json_valid(text, len));
    must(se__id_check("id", id, 1, SE_ID_MAX, &id_len) == SE_OK);
    must(ndjson_id(text, len, field, again, why, 3) && strcmp(id, again) == 0);
    must(loader_add(&loader, id, text, len, now->number) == LOAD_GOES_ON);
    now->added++;
}

/* The line is what stands in the file, behind blank ones. */
static void check_line(const struct ndjson_line *line, size_t line_max, const char *field)
{
    while (now->number + 1 < line->number) {
        const uint8_t *lf = memchr(now->file + now->at, '\n', now->len - now->at);
        must(lf != NULL);
        for (; now->file + now->at < lf; now->at++)
            must(strchr(" \t\r", now->file[now->at]) && now->file[now->at] != 0);
        now->at++;
        now->number++;
    }
    must(line->number == now->number + 1 && now->at + line->len <= now->len);
    must((line->text != NULL) == (line->len <= line_max));
    must(!memchr(now->file + now->at, '\n', line->len));
    if (line->text)
        must(memcmp(line->text, now->file + now->at, line->len) == 0);
    now->at += line->len;
    must(now->at == now->len || now->file[now->at] == '\n');
    now->number++;
    now->sum = now->sum * 31 + line->number * 7 + line->len + now->at * 3;
    now->at += now->at < now->len;
    if (field && line->text)
        check_id(line->text, line->len, field);
}

static void take_lines(struct ndjson_lines *l, size_t line_max, const char *field)
{
    struct ndjson_line line;
    while (ndjson_next(l, &line))
        check_line(&line, line_max, field);
}

static void read_file(struct seen *seen, size_t piece, size_t line_max, const char *field)
{
    struct ndjson_lines l;
    now = seen;
    ndjson_init(&l, line_max);
    for (size_t at = 0; at < seen->len; at += piece) {
        size_t n = piece < seen->len - at ? piece : seen->len - at;
        must(ndjson_push(&l, seen->file + at, n) == SE_OK);
        take_lines(&l, line_max, field);
        must(l.held.len - l.at <= line_max);
    }
    ndjson_end(&l);
    take_lines(&l, line_max, field);
    for (; seen->at < seen->len; seen->at++) /* what is left is blank */
        must(strchr(" \t\r\n", seen->file[seen->at]) && seen->file[seen->at] != 0);
    ndjson_done(&l);
}

static void begin(void)
{
    struct loader_options o = {.bad = note_bad};
    if (!loader.items)
        must(loader_init(&loader, &o) == SE_OK);
    loader.accepted = loader.bytes = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const FIELDS[] = {"id", "a", "", "\xc3\xa9", "key"};
    struct input in = {data, size};
    size_t piece = 1u + take_byte(&in), line_max = take_byte(&in), len;
    const char *field = FIELDS[take_byte(&in) % (sizeof FIELDS / sizeof *FIELDS)];
    uint8_t *file = take_copy(&in, SIZE_MAX, false, &len);
    struct seen whole = {.file = file, .len = len}, cut = {.file = file, .len = len};
    begin();
    read_file(&whole, SIZE_MAX / 2, line_max * 8, NULL);
    read_file(&cut, piece, line_max * 8, field);
    must(whole.sum == cut.sum && whole.number == cut.number);
    must(loader_send(&loader) == LOAD_GOES_ON);
    must(loader.accepted + cut.refused == cut.added);
    free(file);
    return 0;
}
