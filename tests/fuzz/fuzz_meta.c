/*
 * fuzz_meta - what the meta table, of SQL or in Redis, and the names in it say: owners and their
 * processes (engine/owner.h, engine/process.h), dictionaries (l3/dictionary.h).
 *
 * Input: a byte that says what the rest is, the text. 0: the value of an owner's row. 1: the same,
 * behind this process's own place, so that the pid and its start are looked at. 2: values of several
 * rows, each behind its name's length and a byte that says when. 3: a dictionary's number.
 *
 * A row that parses is printed to a row that parses to the same, within the memory for it. No sequence
 * of rows makes a closed one live, or a dead process's, and the same row at the same moment is judged
 * the same. A process is dead or alive only if it is of this machine.
 */
#include "fuzz/fuzz.h"

#include "engine/owner.h"
#include "l3/dictionary.h"
#include "l3/packing.h"

enum { ROW, OUR_ROW, ROWS, NUMBER };

static void check_terminated(const struct owner_row *row)
{
    must(memchr(row->tag, '\0', sizeof row->tag) != NULL);
    must(memchr(row->name, '\0', sizeof row->name) != NULL);
    must(!strchr(row->tag, ' ') && !strchr(row->name, '\n'));
}

static bool same(const struct owner_row *a, const struct owner_row *b)
{
    return a->open == b->open && a->ceiling == b->ceiling && a->heartbeat == b->heartbeat &&
           strcmp(a->tag, b->tag) == 0 && strcmp(a->name, b->name) == 0;
}

static bool try_row(const char *value, struct owner_row *row)
{
    struct owner_row again;
    char printed[320];
    if (!se__owner_parse(value, row))
        return false;
    check_terminated(row);
    se__owner_print(row, printed, sizeof printed);
    must(strlen(printed) < sizeof printed - 1);
    must(se__owner_parse(printed, &again) && same(row, &again));
    return true;
}

static void place(char out[PROCESS_TAG_MAX])
{
    static char known[PROCESS_TAG_MAX];
    if (!known[0]) {
        se__process_tag(known);
        must(se__process_life(known) == PROCESS_ALIVE);
        *strrchr(known, '/') = '\0'; /* its start, */
        *strrchr(known, '/') = '\0'; /* and its pid */
    }
    strcpy(out, known);
}

static void try_process(const struct owner_row *row)
{
    char ours[PROCESS_TAG_MAX];
    place(ours);
    bool here = strncmp(row->tag, ours, strlen(ours)) == 0 && row->tag[strlen(ours)] == '/';
    must(here || se__process_life(row->tag) == PROCESS_UNKNOWN);
    if (here)
        must(se__process_life(row->tag) <= PROCESS_DEAD);
}

static void try_our_row(const char *rest)
{
    struct owner_row row;
    char value[512], ours[PROCESS_TAG_MAX];
    place(ours);
    snprintf(value, sizeof value, "1 open 7 8 %s/%s", ours, rest);
    if (try_row(value, &row))
        try_process(&row);
}

static void judge(struct owners *o, const char *uuid, const struct owner_row *row,
                  enum process_life life, uint64_t now_ms)
{
    enum owner_verdict v = se__owners_judge(o, uuid, row, life, now_ms);
    must((v == OWNER_CLOSED) == !row->open);
    must(!row->open || life != PROCESS_DEAD || v == OWNER_CRASHED);
    must(!row->open || life != PROCESS_ALIVE || v == OWNER_LIVE);
    must(se__owners_judge(o, uuid, row, life, now_ms) == v);
}

static void try_rows(struct input *in)
{
    struct owners *owners = NULL;
    uint64_t now_ms = 1;
    must(se__owners_open(&owners) == SE_OK);
    for (unsigned i = 0; i < 100 && in->left > 2; i++) {
        struct owner_row row;
        size_t len;
        char *uuid = (char *)take_copy(in, take_byte(in) % 64, true, &len);
        uint8_t when = take_byte(in);
        char *value = (char *)take_copy(in, take_byte(in), true, &len);
        now_ms += when * 100u;
        if (!try_row(value, &row))
            row = (struct owner_row){.open = when & 1, .heartbeat = when};
        judge(owners, uuid, &row, (enum process_life)(when % 3), now_ms);
        free(value);
        free(uuid);
    }
    se__owners_close(owners);
}

static void try_number(const char *digits, size_t len)
{
    char name[DICTIONARY_NAME_MAX];
    uint32_t id = se__dictionary_id(digits, len);
    if (id == 0)
        return;
    must(id >= DICTIONARY_FIRST && id <= DICTIONARY_LAST);
    se__dictionary_name(id, name);
    must(strlen(name) == strlen(DICTIONARY_PREFIX) + len);
    must(memcmp(name + strlen(DICTIONARY_PREFIX), digits, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct owner_row row;
    uint8_t what = take_byte(&in) % 4;
    size_t len;
    if (what == ROWS) {
        try_rows(&in);
        return 0;
    }
    char *text = (char *)take_copy(&in, what == OUR_ROW ? 300 : SIZE_MAX, true, &len);
    if (what == OUR_ROW)
        try_our_row(text);
    else if (what == NUMBER)
        try_number(text, len);
    else
        try_row(text, &row);
    free(text);
    return 0;
}
