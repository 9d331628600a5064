/*
 * kill -9 and power loss, the short form: what was acknowledged is there, nothing older, nothing that was never written. The long form is
 * tests/long/crash.c; how it works is in crash.h and docs/testing.md.
 *
 * The seed is printed; SE_SEED=n repeats its random choices (not the scheduler's).
 */
#include "base/os.h"
#include "fault/crash.h"
#include "support/test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void run(struct crash_plan plan)
{
    const char *given = getenv("SE_SEED");
    plan.seed = given ? strtoull(given, NULL, 10) : se__random_u64();
    plan.quiet = true;
    (void)fprintf(stderr, "seed %" PRIu64 "\n", plan.seed);
    crash_run(&plan);
}

Test(crash, sqlite_keeps_what_was_acknowledged)
{
    run((struct crash_plan){.rounds = 40, .sqlite = true, .redis = true});
}

Test(crash, mariadb_keeps_what_was_acknowledged)
{
    run((struct crash_plan){.rounds = 16, .mariadb = true, .redis = true});
}
