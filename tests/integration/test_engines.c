/*
 * Several engines in one process: side by side, and one after the other. Nothing here forks: it also runs under ThreadSanitizer.
 */
#include "base/os.h"
#include "integration/truth.h"
#include "support/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct shape shapes[] = {{"l1", NO_SQL, false, false},
                                      {"sqlite", SQLITE, false, false},
                                      {"sqlite+wal", SQLITE, false, true}};

#define WRITES 500

struct user {
    struct se__thread thread;
    se_engine *e;
    const char *word;
};

static void use(void *arg)
{
    struct user *u = arg;
    for (unsigned i = 0; i < WRITES; i++) {
        char id[32], got[64];
        size_t len;
        snprintf(id, sizeof id, "same:%u", i % 50);
        if (se_submit(u->e, id, u->word, strlen(u->word), NULL) != SE_OK ||
            se_get_copy(u->e, id, got, sizeof got, &len) != SE_OK || len != strlen(u->word) ||
            memcmp(got, u->word, len) != 0)
            abort(); /* an assertion of Criterion can only leave a test from its own thread */
    }
}

Test(engines, two_do_not_meet)
{
    static const char *const words[2] = {"of the first", "of the second"};
    struct bed b[2];
    struct user users[2];
    for (int i = 0; i < 2; i++) {
        bed_make(&b[i], &shapes[1 + i], NULL, NULL);
        b[i].config.batch_flush_ms = 1;
        users[i] = (struct user){.e = bed_open(&b[i]), .word = words[i]};
    }
    for (int i = 0; i < 2; i++)
        cr_assert_eq(se__thread_start(&users[i].thread, "user", use, &users[i]), SE_OK);
    for (int i = 0; i < 2; i++)
        se__thread_join(&users[i].thread);
    bed_put(users[1].e, "y", "of the second");
    for (int i = 0; i < 2; i++)
        cr_assert_eq(bed_metric(users[i].e, "sync_engine_writes_accepted_total", ""), WRITES + i);
    bed_close(&b[1], users[1].e); /* one ends, the other goes on */
    bed_expect(users[0].e, "same:7", "of the first");
    bed_expect(users[0].e, "y", NULL);
    bed_put(users[0].e, "y", "late");
    cr_assert_eq(se_flush(users[0].e, 10000), SE_OK);
    truth_balance(users[0].e);
    bed_close(&b[0], users[0].e);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(truth_number(&b[i], NULL, "SELECT COUNT(*) FROM sync_items"), 51);
        bed_remove(&b[i]);
    }
}

static unsigned entries_of(const char *path)
{
    unsigned n = 0;
    DIR *dir = opendir(path);
    cr_assert(dir, "%s", path);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

struct limits {
    unsigned tasks, files;
};

/* A joined thread's entry may stay in /proc for a moment. */
static bool nothing_is_left(void *arg)
{
    const struct limits *before = arg;
    return entries_of("/proc/self/task") <= before->tasks &&
           entries_of("/proc/self/fd") <= before->files;
}

Test(engines, closing_leaves_no_thread_and_no_file)
{
    struct limits before = {0};
    for (unsigned i = 0; i < 60; i++) {
        struct bed b;
        bed_make(&b, &shapes[i % 3], NULL, NULL);
        se_engine *e = bed_open(&b);
        bed_put(e, "a", "1");
        bed_expect(e, "a", "1");
        bed_expect(e, "b", NULL);
        bed_close(&b, e);
        bed_remove(&b);
        if (i == 2)
            before = (struct limits){entries_of("/proc/self/task"), entries_of("/proc/self/fd")};
        if (i >= 2)
            bed_wait(nothing_is_left, &before, "threads and files are gone");
    }
}
