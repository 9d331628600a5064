/*
 * outage_test - see outage_test.h.
 */
#include "fault/outage_test.h"

#include "support/test.h"

#include <stdlib.h>
#include <string.h>

static struct outage_site site;

void outage_test_setup(void)
{
    const char *seed = getenv("SE_SEED");
    outage_site_start(&site, seed ? strtoull(seed, NULL, 10) : 1);
}

void outage_test_teardown(void)
{
    outage_site_stop(&site);
}

void outage_test(const struct outage_case *c, const char *part, enum outage_shape shape)
{
    static const struct outage_limits limits = {
        .fault_ms = 100, .redis_timeout_ms = 120, .sql_timeout_ms = 300, .read_timeout_ms = 400};
    struct outage_report report;
    unsigned runs = 0;
    for (; c->name; c++) {
        if (!strstr(c->name, part) || !(c->shapes & shape))
            continue;
        runs++;
        cr_assert(outage_run(&site, c, shape, &limits, &report), "%s (%s): %s", c->name,
                  outage_shape_name(shape), report.wrong);
    }
    cr_assert(runs > 0, "no case is called %s", part);
}
