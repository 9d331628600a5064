/*
 * seeds_texts - seeds of the programs whose input is mostly text.
 */
#include "fuzz/seeds.h"

#include "engine/options.h"

struct text {
    const char *name, *text;
    size_t len; /* 0: up to the NUL */
};

#define BYTES(name, bytes)                                                                         \
    {                                                                                              \
        name, bytes, sizeof bytes - 1                                                              \
    }

static void write_all(const char *program, const struct text *texts, size_t n)
{
    struct buf b = {0};
    for (size_t i = 0; i < n; i++) {
        se__buf_clear(&b);
        se__buf_append(&b, texts[i].text, texts[i].len ? texts[i].len : strlen(texts[i].text));
        write_seed(program, texts[i].name, &b);
    }
    se__buf_done(&b);
}

#define WRITE(program, texts) write_all(program, texts, sizeof texts / sizeof *texts)

static const struct text JSON[] = {
    {"object", "{\"a\":[1,-0.5e+3,true,false,null],\"b\":{\"\":\"\\u00e9\\ud83d\\ude00\\n\"}}", 0},
    {"number", " -12.50E-2 ", 0},
    {"number_cut", "-", 0},
    {"zero_led", "01", 0},
    {"string", "\"\xc3\xa9\xf0\x9f\x98\x80\"", 0},
    {"overlong", "\"\xc0\xaf\"", 0},
    {"surrogate", "\"\xed\xa0\x80\"", 0},
    {"half_pair", "\"\\ud800\"", 0},
    {"two", "1 2", 0},
    {"cut_token", "1\"", 0},
    {"comma", "[1,]", 0},
    {"deep", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", 0},
    {"tab", "[\"\t\"]", 0},
    {"vertical_tab", "[1\v]", 0},
    {"order_mark", "\xef\xbb\xbf[1]", 0},
};

static const struct text IDS[] = {
    {"plain", "\5user:user:1", 0},
    {"glob", "\7a[b]*?\\a[b]*?\\c", 0},
    {"utf8",
     "\3\xe2\x82\xac\xe2\x82\xac"
     "1",
     0},
    {"highest",
     "\4\xf4\x8f\xbf\xbf\xf4\x8f\xbf\xbf"
     "x",
     0},
    {"control", "\2a\x01z", 0},
    {"delete", "\2a\x7fz", 0},
    {"cut", "\3\xf0\x9f\x98\xf0\x9f\x98", 0},
    BYTES("nothing", "\0"),
    BYTES("nul", "\3a\0b"
                 "a"),
    {"ff", "\2\xff\xff\xff\xff\xff", 0},
};

static const struct text META[] = {
    BYTES("owner", "\0001 open 123456789 42 boot/pid:[1]/17/99 a name of it"),
    BYTES("closed", "\0001 closed 18446744073709551615 0 - history"),
    BYTES("negative", "\0001 open -1 99999999999999999999 t n"),
    BYTES("nameless", "\0001 open 1 2 t "),
    BYTES("another_layout", "\0002 open 1 2 t n"),
    BYTES("us", "\001"
                "1/2 name"),
    BYTES("us_gone", "\001"
                     "999999999/1 name"),
    BYTES("us_zero", "\001"
                     "0/0 name"),
    BYTES("rows", "\2\3abc\1\x11"
                  "1 open 5 6 tag na\3abc\2\x11"
                  "1 open 5 6 tag na"),
    BYTES("number", "\00332769"),
    BYTES("number_high", "\00333792"),
};

static const char *const VALUES[] = {"1",
                                     "64MiB",
                                     "1.5 kB",
                                     "0x10",
                                     "1e400",
                                     "-1",
                                     "nan",
                                     ".5",
                                     "0.70",
                                     "TRUE",
                                     "off",
                                     "dictionary",
                                     "wal",
                                     "l3",
                                     "",
                                     " 7 ",
                                     "4294967296",
                                     "redis://:S3cr3tQz@h/1",
                                     "mysql://u:S3cr3tQz@h/d",
                                     "sqlite::memory:"};

/* Every setting once, with every value somewhere. */
static void write_options(void)
{
    struct buf b = {0};
    size_t n, k = sizeof VALUES / sizeof *VALUES;
    se__options(&n);
    for (size_t i = 0; i < n; i++) {
        char name[32];
        se__buf_clear(&b);
        put_byte(&b, 3);
        for (size_t j = 0; j < 3; j++) {
            put_byte(&b, (int)((i + j) % n));
            se__buf_text(&b, VALUES[(i + j * 7) % k]);
            put_byte(&b, 0);
        }
        snprintf(name, sizeof name, "setting%zu", i);
        write_seed("fuzz_options", name, &b);
    }
    se__buf_clear(&b);
    put_byte(&b, 3);
    for (size_t i = 0; i < 2; i++) { /* redis_url and sql_url */
        put_byte(&b, i ? 3 : 1);
        se__buf_text(&b, VALUES[k - 3 + i]);
        put_byte(&b, 0);
    }
    put_byte(&b, 0x80);
    se__buf_text(&b, "no_such_option");
    write_seed("fuzz_options", "addresses", &b);
    se__buf_done(&b);
}

void write_texts(void)
{
    WRITE("fuzz_json", JSON);
    WRITE("fuzz_id", IDS);
    WRITE("fuzz_meta", META);
    write_options();
}
