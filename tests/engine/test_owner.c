/*
 * owner and process: what a row says about who writes the database.
 */
#include "engine/owner.h"
#include "support/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct owner_row row_of(uint64_t heartbeat)
{
    struct owner_row row = {.open = true, .ceiling = 5, .heartbeat = heartbeat};
    snprintf(row.tag, sizeof row.tag, "elsewhere/ns/1/2");
    snprintf(row.name, sizeof row.name, "a name with blanks");
    return row;
}

Test(owner, a_row_survives_print_and_parse)
{
    struct owner_row row = row_of(9), back;
    char text[320];
    se__owner_print(&row, text, sizeof text);
    cr_assert(se__owner_parse(text, &back));
    cr_assert(back.open && back.ceiling == 5 && back.heartbeat == 9);
    cr_assert_str_eq(back.tag, row.tag);
    cr_assert_str_eq(back.name, row.name);
    row.open = false;
    se__owner_print(&row, text, sizeof text);
    cr_assert(se__owner_parse(text, &back) && !back.open);
}

Test(owner, garbage_is_no_row)
{
    static const char *const bad[] = {"",
                                      "1",
                                      "2 open 1 1 t n",
                                      "1 ajar 1 1 t n",
                                      "1 open x 1 t n",
                                      "1 open 1 1 t",
                                      "\xff\xfe",
                                      "1 openopenopenopenopen 1 1 t n"};
    struct owner_row row;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert(!se__owner_parse(bad[i], &row), "'%s'", bad[i]);
}

Test(owner, silence_is_a_crash_and_a_beat_is_life)
{
    struct owners *owners;
    cr_assert_eq(se__owners_open(&owners), SE_OK);
    struct owner_row row = row_of(1);
    cr_assert_eq(se__owners_judge(owners, "u", &row, PROCESS_UNKNOWN, 1000), OWNER_LIVE);
    cr_assert_eq(se__owners_judge(owners, "u", &row, PROCESS_UNKNOWN, 1000 + OWNER_SILENCE_MS - 1),
                 OWNER_LIVE);
    row.heartbeat++;
    cr_assert_eq(se__owners_judge(owners, "u", &row, PROCESS_UNKNOWN, 1000 + OWNER_SILENCE_MS),
                 OWNER_LIVE);
    cr_assert_eq(se__owners_judge(owners, "u", &row, PROCESS_UNKNOWN, 1000 + 2 * OWNER_SILENCE_MS),
                 OWNER_CRASHED);
    cr_assert_eq(se__owners_judge(owners, "v", &row, PROCESS_DEAD, 1), OWNER_CRASHED);
    cr_assert_eq(se__owners_judge(owners, "w", &row, PROCESS_ALIVE, 1), OWNER_LIVE);
    cr_assert_eq(se__owners_judge(owners, "w", &row, PROCESS_ALIVE, 1 + 10 * OWNER_SILENCE_MS),
                 OWNER_LIVE);
    row.open = false;
    cr_assert_eq(se__owners_judge(owners, "x", &row, PROCESS_DEAD, 1), OWNER_CLOSED);
    se__owners_close(owners);
}

Test(owner, remembers_a_bounded_number_of_rows)
{
    struct owners *owners;
    cr_assert_eq(se__owners_open(&owners), SE_OK);
    for (unsigned i = 0; i < 10000; i++) {
        char uuid[33];
        snprintf(uuid, sizeof uuid, "%u", i);
        struct owner_row row = row_of(1);
        cr_assert_eq(se__owners_judge(owners, uuid, &row, PROCESS_UNKNOWN, 1 + i), OWNER_LIVE);
    }
    se__owners_close(owners);
}

Test(process, knows_itself_and_notices_a_dead_child)
{
    char tag[PROCESS_TAG_MAX];
    se__process_tag(tag);
    cr_assert_eq(se__process_life(tag), PROCESS_ALIVE);
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        char mine[PROCESS_TAG_MAX];
        se__process_tag(mine);
        (void)!write(ends[1], mine, sizeof mine);
        _exit(0);
    }
    char theirs[PROCESS_TAG_MAX];
    cr_assert_eq(read(ends[0], theirs, sizeof theirs), (ssize_t)sizeof theirs);
    waitpid(child, NULL, 0);
    close(ends[0]);
    close(ends[1]);
    cr_assert_eq(se__process_life(theirs), PROCESS_DEAD);
    cr_assert_eq(se__process_life("another-boot/ns/1/2"), PROCESS_UNKNOWN);
    cr_assert_eq(se__process_life(""), PROCESS_UNKNOWN);
}
