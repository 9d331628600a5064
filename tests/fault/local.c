/*
 * local - see local.h.
 */
#include "fault/local.h"

#include "base/os.h"
#include "support/test.h"

#include <ctype.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

unsigned long local_size(const char *name, unsigned long normal)
{
    char variable[64] = "SE_LOCAL_";
    size_t len = strlen(variable);
    for (size_t i = 0; name[i] && len < sizeof variable - 1; i++)
        variable[len++] = (char)toupper((unsigned char)name[i]);
    const char *value = getenv(variable);
    return value ? strtoul(value, NULL, 10) : normal;
}

bool local_is_long(void)
{
    return getenv("SE_LOCAL_LONG") != NULL;
}

void local_say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
}

unsigned local_entries(const char *what)
{
    char path[64];
    unsigned n = 0;
    snprintf(path, sizeof path, "/proc/self/%s", what);
    DIR *dir = opendir(path);
    cr_assert(dir, "%s", path);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

unsigned long local_rss_kb(void)
{
    unsigned long size, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    cr_assert(f && fscanf(f, "%lu %lu", &size, &pages) == 2);
    (void)fclose(f);
    return pages * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

/* ---- the model ---- */

void model_init(struct model *m, const char *prefix)
{
    *m = (struct model){.last = 0};
    for (unsigned i = 0; i < MODEL_IDS; i++)
        snprintf(m->ids[i], sizeof m->ids[i], "%s:%02u", prefix, i);
}

static size_t content_of(unsigned number, char out[64])
{
    return (size_t)snprintf(out, 64, "{\"number\":%u,\"of\":\"the model\"}", number);
}

static bool accepted(se_result r)
{
    return r == SE_OK || r == SE_PENDING;
}

se_result model_put(struct model *m, se_engine *e, unsigned i, se_ack ack)
{
    char content[64];
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = ack;
    size_t len = content_of(++m->last, content);
    se_result r = se_submit(e, m->ids[i], content, len, &o);
    if (accepted(r))
        m->number[i] = m->last;
    return r;
}

se_result model_delete(struct model *m, se_engine *e, unsigned i, se_ack ack)
{
    se_submit_options o;
    se_submit_options_init(&o);
    o.ack = ack;
    se_result r = se_delete(e, m->ids[i], &o);
    if (accepted(r))
        m->number[i] = 0;
    return r;
}

void model_compare(struct model *m, unsigned i, se_result r, const se_item *item)
{
    char want[64];
    if (r < 0)
        return;
    cr_assert_eq(r == SE_OK, m->number[i] != 0, "%s: result %d, expected number %u", m->ids[i], r,
                 m->number[i]);
    if (r != SE_OK)
        return;
    size_t len = content_of(m->number[i], want);
    cr_assert(se_item_content_len(item) == len && memcmp(se_item_content(item), want, len) == 0,
              "%s: %.*s, expected number %u", m->ids[i], (int)se_item_content_len(item),
              (const char *)se_item_content(item), m->number[i]);
}

se_result model_get(struct model *m, se_engine *e, unsigned i)
{
    se_item *item = NULL;
    se_result r = se_get(e, m->ids[i], &item);
    model_compare(m, i, r, item);
    se_item_release(item);
    return r;
}

void model_check(struct model *m, se_engine *e)
{
    uint64_t deadline = se__deadline_in(20000);
    for (unsigned i = 0; i < MODEL_IDS; i++) {
        se_result r;
        while ((r = model_get(m, e, i)) < 0) {
            cr_assert(se__deadline_left(deadline) > 0, "%s: %d %s", m->ids[i], r, se_errmsg());
            se__pause_ms(2);
        }
    }
}

static bool is_well(void *engine)
{
    se_health h;
    cr_assert_eq(se_health_check(engine, &h), SE_OK);
    return h.healthy && se_flush(engine, 1000) == SE_OK;
}

void local_wait_healthy(se_engine *e)
{
    bed_wait(is_well, e, "the engine is healthy again");
}
