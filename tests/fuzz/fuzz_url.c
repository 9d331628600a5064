/*
 * fuzz_url - addresses of backends (base/url.h).
 *
 * Input: a byte that chooses what stands before the text (nothing, or an address with a password
 * whose rest the text is), the text.
 *
 * Whatever the text is: the address has what its scheme needs and no control bytes, or there is a
 * message; and neither the message nor the address for logs shows the password.
 */
#include "fuzz/fuzz.h"

#include "base/buf.h"
#include "base/url.h"

#define SECRET "S3cr3tQz"

static void check_text(const char *text)
{
    for (; text && *text; text++)
        must((unsigned char)*text >= 0x20 && *text != 0x7f);
}

static void check_url(const struct url *u)
{
    check_text(u->user);
    check_text(u->password);
    check_text(u->host);
    check_text(u->path);
    check_text(u->database);
    must(u->scheme >= URL_REDIS && u->scheme <= URL_SQLITE);
    must(se__url_is_redis(u) == (u->scheme <= URL_REDIS_UNIX));
    if (u->scheme == URL_REDIS || u->scheme == URL_MYSQL)
        must(u->host != NULL && u->host[0] != '\0' && u->port != 0);
    else
        must(u->path != NULL && u->path[0] != '\0');
}

static void check_silent(const char *text, const char *said)
{
    if (!strstr(text, SECRET))
        must(strstr(said, SECRET) == NULL);
}

static void try_url(const char *before, const char *text)
{
    static const size_t CAPS[] = {1, 2, 20, 300};
    char said[300];
    struct url u = {0};
    struct buf whole = {0};
    se__buf_text(&whole, before);
    se__buf_text(&whole, text);
    char *address = se__buf_take(&whole, NULL);
    must(address != NULL);
    if (se__url_parse("some_url", address, &u) == SE_OK) {
        check_url(&u);
        for (size_t i = 0; i < sizeof CAPS / sizeof *CAPS; i++) {
            se__url_describe(&u, said, CAPS[i]);
            must(memchr(said, '\0', CAPS[i]) != NULL);
            check_silent(text, said);
        }
        se__url_done(&u);
    } else {
        must(se_errmsg()[0] != '\0');
        check_silent(text, se_errmsg());
    }
    free(address);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const BEFORE[] = {"", "redis://:" SECRET, "mysql://u:" SECRET, "unix://",
                                         "sqlite:"};
    struct input in = {data, size};
    size_t len;
    const char *before = BEFORE[take_byte(&in) % (sizeof BEFORE / sizeof *BEFORE)];
    char *text = (char *)take_copy(&in, SIZE_MAX, true, &len);
    try_url(before, text);
    free(text);
    return 0;
}
