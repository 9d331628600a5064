/*
 * fuzz_options - settings by name, from the environment, and as they are checked at open (engine/
 * options.h, engine/settings.h).
 *
 * Input: a byte that says what is done in the end (1: open, 2: the environment), then pairs of a byte
 * that names a setting, and a text up to its NUL. getenv is this program's (meson.build wraps it) and
 * gives the same texts.
 *
 * What is refused has changed nothing, and says which setting it is about. What is taken is in its
 * range; shown as text and set again it is the same. A configuration that opens is one that was
 * checked, and all its texts are within their lengths. Nothing that is said or shown has the password.
 */
#include "fuzz/fuzz.h"

#include "engine/options.h"
#include "engine/settings.h"

#include <strings.h>

#define SECRET "S3cr3tQz"
#define SETTINGS_MAX 64u
#define SET_MAX 24u
#define PREFIX "SYNC_ENGINE_"

enum { OPEN = 1, ENVIRONMENT = 2, ANOTHER_NAME = 0x80 };

static const char *environment[SETTINGS_MAX]; /* by the option's place in the table */
static bool secret_given; /* where it does not belong: in a text that is shown */

char *__wrap_getenv(const char *name);
char *__wrap_getenv(const char *name)
{
    static size_t next; /* the library asks in the table's order */
    size_t n;
    const struct option *table = se__options(&n);
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
        return NULL;
    for (size_t i = 0; i < n; i++, next = (next + 1) % n)
        if (strcasecmp(name + strlen(PREFIX), table[next].name) == 0)
            return (char *)(uintptr_t)environment[next];
    must(false && "a variable of no setting");
    return NULL;
}

/* As se_config_init makes it, which reads forty defaults each time. */
static se_config fresh(void)
{
    static se_config config;
    if (config.struct_size == 0)
        se_config_init(&config);
    return config;
}

static void check_said(const char *said)
{
    must(said[0] != '\0');
    must(secret_given || !strstr(said, SECRET));
}

static void check_shown(const se_config *config, const struct option *o)
{
    static const size_t CAPS[] = {1, 7, 400};
    char shown[400];
    for (size_t i = 0; i < sizeof CAPS / sizeof *CAPS; i++) {
        se__option_show(config, o, shown, CAPS[i]);
        must(memchr(shown, '\0', CAPS[i]) != NULL);
        must(!strstr(shown, SECRET) || (o->type == OPTION_TEXT && secret_given) ||
             (o->type == OPTION_URL && secret_given));
    }
}

static size_t width(const struct option *o)
{
    switch (o->type) {
    case OPTION_U32:
        return sizeof(uint32_t);
    case OPTION_BOOL:
        return sizeof(bool);
    case OPTION_ACK:
        return sizeof(se_ack);
    case OPTION_COMPRESSION:
        return sizeof(se_compression);
    default:
        return 8;
    }
}

/* Numbers and words as they are shown mean the same. (Doubles are shown in six digits.) */
static void check_again(const se_config *config, const struct option *o)
{
    char shown[400];
    se_config again = fresh();
    se__option_show(config, o, shown, sizeof shown);
    if (o->type == OPTION_TEXT || o->type == OPTION_URL || o->type == OPTION_DOUBLE)
        return;
    must(se_config_set(&again, o->name, shown) == SE_OK);
    must(memcmp((char *)&again + o->offset, (const char *)config + o->offset, width(o)) == 0);
}

static void set_one(se_config *config, const char *name, const char *value)
{
    se_config before = *config;
    se__error_clear();
    if (se_config_set(config, name, value) == SE_OK) {
        const struct option *o = se__option_find(name);
        must(o != NULL && strcmp(name, o->name) == 0);
        check_shown(config, o);
        check_again(config, o);
        return;
    }
    must(memcmp(&before, config, sizeof before) == 0);
    check_said(se_errmsg());
}

static void check_open(const se_config *config)
{
    struct settings s;
    size_t n;
    const struct option *table = se__options(&n);
    se__error_clear();
    if (se__settings_open(config, &s) != SE_OK) {
        check_said(se_errmsg());
        return;
    }
    must(se__options_check(&s.c) == SE_OK && s.c.owned == NULL);
    must(strlen(s.c.name) <= 63 && strlen(s.c.redis_prefix) <= 128 && s.c.redis_prefix[0] != '\0');
    must(s.has_redis == (s.c.redis_url != NULL) && s.has_sql == (s.c.sql_url != NULL));
    for (size_t i = 0; i < n; i++)
        check_shown(&s.c, &table[i]);
    se__settings_done(&s);
}

/* All or nothing: one bad variable, and no other has been set. */
static void check_environment(void)
{
    se_config config = fresh(), before = config;
    se__error_clear();
    if (se_config_from_env(&config) != SE_OK) {
        must(memcmp(&before, &config, sizeof before) == 0);
        must(strstr(se_errmsg(), "SYNC_ENGINE_") != NULL);
        check_said(se_errmsg());
    }
    se_config_clear(&config);
}

/* The password may stand in an address, where a password stands; elsewhere it is no secret. */
static bool in_address(const char *value)
{
    static const char *const BEFORE[] = {"redis://:" SECRET "@", "mysql://u:" SECRET "@"};
    for (size_t i = 0; i < 2; i++)
        if (strncmp(value, BEFORE[i], strlen(BEFORE[i])) == 0)
            return !strstr(value + strlen(BEFORE[i]), SECRET);
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    char *texts[SET_MAX];
    size_t n, count = 0;
    const struct option *table = se__options(&n);
    se_config config = fresh();
    uint8_t how = take_byte(&in);
    must(n <= SETTINGS_MAX);
    secret_given = false;
    while (in.left > 0 && count < SET_MAX) {
        uint8_t which = take_byte(&in);
        const struct option *o = &table[(which & 0x7f) % n];
        const uint8_t *end = memchr(in.at, 0, in.left);
        size_t len;
        char *text = (char *)take_copy(&in, end ? (size_t)(end - in.at) : in.left, true, &len);
        take_byte(&in); /* the NUL */
        texts[count++] = text;
        environment[o - table] = text;
        if (strstr(text, SECRET) && !(in_address(text) && o->type == OPTION_URL))
            secret_given = true;
        set_one(&config, which & ANOTHER_NAME ? text : o->name, text);
    }
    if (how & OPEN)
        check_open(&config);
    if (how & ENVIRONMENT)
        check_environment();
    se_config_clear(&config);
    memset(environment, 0, sizeof environment);
    while (count > 0)
        free(texts[--count]);
    return 0;
}
