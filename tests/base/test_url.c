/* Addresses of backends: what is taken, what is refused, and that no password is shown. */
#include "base/mem.h"
#include "base/url.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct good {
    const char *text;
    enum url_scheme scheme;
    const char *user, *password, *host;
    unsigned port;
    const char *path, *database;
    unsigned db;
    const char *described;
};

static const struct good goods[] = {
    {"redis://h", URL_REDIS, NULL, NULL, "h", 6379, NULL, NULL, 0, "redis://h:6379/0"},
    {"REDIS://h/", URL_REDIS, NULL, NULL, "h", 6379, NULL, NULL, 0, "redis://h:6379/0"},
    {"redis://h:1/15", URL_REDIS, NULL, NULL, "h", 1, NULL, NULL, 15, "redis://h:1/15"},
    {"redis://:pw@h:65535", URL_REDIS, NULL, "pw", "h", 65535, NULL, NULL, 0, "redis://h:65535/0"},
    {"redis://u:p%40%3a%2F%25@10.0.0.1:7", URL_REDIS, "u", "p@:/%", "10.0.0.1", 7, NULL, NULL, 0,
     "redis://10.0.0.1:7/0"},
    {"redis://u:a@b:c@h", URL_REDIS, "u", "a@b:c", "h", 6379, NULL, NULL, 0, "redis://h:6379/0"},
    {"redis://u:@h", URL_REDIS, "u", "", "h", 6379, NULL, NULL, 0, "redis://h:6379/0"},
    {"redis://[::1]:7/2", URL_REDIS, NULL, NULL, "::1", 7, NULL, NULL, 2, "redis://[::1]:7/2"},
    {"redis://[fe80::1.2.3.4]", URL_REDIS, NULL, NULL, "fe80::1.2.3.4", 6379, NULL, NULL, 0,
     "redis://[fe80::1.2.3.4]:6379/0"},
    {"redis://my_host-1.example.org", URL_REDIS, NULL, NULL, "my_host-1.example.org", 6379, NULL,
     NULL, 0, "redis://my_host-1.example.org:6379/0"},
    {"unix:///run/redis.sock", URL_REDIS_UNIX, NULL, NULL, NULL, 0, "/run/redis.sock", NULL, 0,
     "unix:///run/redis.sock?db=0"},
    {"unix:///run/my redis.sock?db=3", URL_REDIS_UNIX, NULL, NULL, NULL, 0, "/run/my redis.sock",
     NULL, 3, "unix:///run/my redis.sock?db=3"},
    {"mysql://root@h/d", URL_MYSQL, "root", NULL, "h", 3306, NULL, "d", 0, "mysql://h:3306/d"},
    {"mysql://u%20x:p%26@h:33/my%2Fdb", URL_MYSQL, "u x", "p&", "h", 33, NULL, "my/db", 0,
     "mysql://h:33/my/db"},
    {"mysql://u:p@localhost/d?socket=/run/my%20sql.sock", URL_MYSQL, "u", "p", "localhost", 3306,
     "/run/my sql.sock", "d", 0, "mysql://localhost:3306/d?socket=/run/my sql.sock"},
    {"mysql://u:\xc3\xa4@[::1]/d", URL_MYSQL, "u", "\xc3\xa4", "::1", 3306, NULL, "d", 0,
     "mysql://[::1]:3306/d"},
    {"sqlite:/a/b.db", URL_SQLITE, NULL, NULL, NULL, 0, "/a/b.db", NULL, 0, "sqlite:/a/b.db"},
    {"sqlite:///a/b c%20.db", URL_SQLITE, NULL, NULL, NULL, 0, "/a/b c%20.db", NULL, 0,
     "sqlite:/a/b c%20.db"},
    {"sqlite:b.db", URL_SQLITE, NULL, NULL, NULL, 0, "b.db", NULL, 0, "sqlite:b.db"},
};

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

Test(url, takes_every_documented_form)
{
    for (size_t i = 0; i < sizeof goods / sizeof *goods; i++) {
        const struct good *g = &goods[i];
        struct url u;
        cr_assert_eq(se__url_parse("url", g->text, &u), SE_OK, "%s: %s", g->text, se_errmsg());
        cr_assert_eq(u.scheme, g->scheme, "%s", g->text);
        cr_assert(same(u.user, g->user) && same(u.password, g->password), "%s", g->text);
        cr_assert(same(u.host, g->host) && same(u.path, g->path) && same(u.database, g->database),
                  "%s", g->text);
        cr_assert(u.port == g->port && u.db == g->db, "%s", g->text);
        cr_assert_eq(se__url_is_redis(&u), g->scheme == URL_REDIS || g->scheme == URL_REDIS_UNIX);
        char text[200];
        se__url_describe(&u, text, sizeof text);
        cr_assert_str_eq(text, g->described);
        se__url_done(&u);
        cr_assert(!u.user && !u.password && !u.host && !u.path && !u.database);
        se__url_done(&u); /* again: nothing to do */
    }
}

static const char *const bads[] = {
    "",
    "redis",
    "redis:",
    "redis:/",
    "redis://",
    "redis:///0",
    "redis://:6379",
    "redis://h:",
    "redis://h:0",
    "redis://h:65536",
    "redis://h:-1",
    "redis://h:+1",
    "redis://h: 1",
    "redis://h:1x",
    "redis://h:99999999999999999999",
    "redis://h/x",
    "redis://h/-1",
    "redis://h/1/2",
    "redis://h/99999999999",
    "redis://u@h",
    "redis://@",
    "redis://u:p@",
    "redis://u:p@:1",
    "redis://h?db=1",
    "redis://h/0?x",
    "redis://h#f",
    "redis://a b",
    "redis://h\n",
    "redis://h\x7f",
    "redis://[::1",
    "redis://[::1]x",
    "redis://[]",
    "redis://[::g]",
    "redis://::1",
    "redis://u:%4@h",
    "redis://u:%@h",
    "redis://u:%zz@h",
    "redis://u:%00@h",
    "redis://u:%0a@h",
    "redis://%68ost",
    "rediss://h",
    "http://h",
    "unix://",
    "unix:///",
    "unix://run/x",
    "unix:///x?db=",
    "unix:///x?db=a",
    "unix:///x?db=-1",
    "unix:///x?DB=1",
    "unix:///x?x=1",
    "unix:///x?",
    "unix:///x?db=1&db=2",
    "unix:///x?db=1&y=2",
    "mysql://",
    "mysql://h/d",
    "mysql://u@h",
    "mysql://u@h/",
    "mysql://u@/d",
    "mysql://:p@h/d",
    "mysql://u@h/a/b",
    "mysql://u@h:x/d",
    "mysql://u@h/d?",
    "mysql://u@h/d?socket=",
    "mysql://u@h/d?socket=x",
    "mysql://u@h/d?ssl=1",
    "mysql://u@h/d?socket=/a&b=1",
    "mysql://u@h/%00",
    "mysql://u@h/d?socket=/%zz",
    "mysql:u@h/d",
    "sqlite:",
    "sqlite::memory:",
    "sqlite:/",
    "sqlite://",
    "sqlite://x.db",
    "sqlite:/a/",
    "sqlite:/a?mode=ro",
    "sqlite:/a\n",
    " redis://h",
    "mysql//u@h/d",
};

Test(url, refuses_the_rest_and_names_the_option)
{
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        struct url u = {.port = 77};
        cr_assert_eq(se__url_parse("redis_url", bads[i], &u), SE_ERR_CONFIG, "%s", bads[i]);
        cr_assert_eq(strncmp(se_errmsg(), "redis_url: ", 11), 0, "%s", bads[i]);
        cr_assert_eq(u.port, 77); /* written only on success */
    }
    cr_assert_eq(se__url_parse("sql_url", NULL, NULL), SE_ERR_CONFIG);
}

Test(url, never_shows_a_password)
{
    static const char *const texts[] = {
        "redis://u:SECRET@h:x",    "redis://u:SECRET@",          "redis://u:SECRET@h/x",
        "redis://:SEC/RET@h",      "redis://u:SECRET/@h",        "redis://u:S?ECRET@h",
        "redis://u:SECRET%zz@h",   "mysql://u:SECRET@h",         "mysql://u:SECRET",
        "mysql://u:SE#CRET@h/d?x", "SECRET://u:SECRET@h",        "mysql://u:SECRET@h/d?x=1",
        "redis://u:SECRET@[h",     "redis://SECRET@h",           "u:SECRET@h",
        "mysql://u:SECRET\n@h/d",  "mysql://u:SECRET@h:SECRET/d"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct url u;
        cr_assert_eq(se__url_parse("url", texts[i], &u), SE_ERR_CONFIG, "%s", texts[i]);
        cr_assert_null(strstr(se_errmsg(), "SEC"), "%s: %s", texts[i], se_errmsg());
        cr_assert_null(strstr(se_errmsg(), "RET"), "%s: %s", texts[i], se_errmsg());
    }
    struct url u;
    char text[100];
    cr_assert_eq(se__url_parse("url", "mysql://user:SECRET@h/d", &u), SE_OK);
    se__url_describe(&u, text, sizeof text);
    cr_assert(!strstr(text, "SECRET") && !strstr(text, "user"));
    se__url_done(&u);
}

Test(url, description_is_always_terminated)
{
    struct url u;
    cr_assert_eq(se__url_parse("url", "mysql://u:p@example/database", &u), SE_OK);
    for (size_t cap = 1; cap < 40; cap++) {
        char text[64];
        memset(text, 'x', sizeof text);
        se__url_describe(&u, text, cap);
        cr_assert_lt(strlen(text), cap);
    }
    se__url_done(&u);
}

Test(url, any_bytes_give_an_answer)
{
    uint64_t state = 7;
    for (int i = 0; i < 200000; i++) {
        static const char palette[] = "redismyqlunxt:/@?=&%[].0123456789abAB#-_ \x01\xc3\xa4";
        char text[64];
        size_t n = 0;
        const char *seed = goods[i % (sizeof goods / sizeof *goods)].text;
        snprintf(text, sizeof text, "%.50s", seed);
        n = strlen(text);
        for (int k = 0; k < 3; k++) {
            state = state * UINT64_C(6364136223846793005) + 1;
            text[(state >> 33) % n] = palette[(state >> 20) % (sizeof palette - 1)];
        }
        char *exact = strdup(text);
        struct url u;
        se_result r = se__url_parse("url", exact, &u);
        cr_assert(r == SE_OK || r == SE_ERR_CONFIG);
        if (r == SE_OK) {
            char out[300];
            se__url_describe(&u, out, sizeof out);
            se__url_done(&u);
        }
        free(exact);
    }
}

Test(url, without_memory_nothing_leaks)
{
    if (!se__mem_fail_after(-1))
        cr_skip_test("compiled out of release builds");
    for (size_t i = 0; i < sizeof goods / sizeof *goods; i++)
        for (int n = 0;; n++) {
            struct url u;
            se__mem_fail_after(n);
            se_result r = se__url_parse("url", goods[i].text, &u);
            se__mem_fail_after(-1);
            if (r == SE_OK) {
                se__url_done(&u);
                break;
            }
            cr_assert_eq(r, SE_ERR_NOMEM);
        }
}
