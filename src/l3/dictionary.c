/*
 * dictionary - training by zstd's own trainer (ZDICT), and the meta row's text; see dictionary.h.
 *
 * The trainer names a dictionary by chance; ids here are given in order, so the four bytes of the
 * name, behind the magic number (RFC 8878, 5), are written over.
 */
#include "l3/dictionary.h"

#include "base/hash.h"
#include "base/mem.h"
#include "l3/packing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zdict.h>
#include <zstd.h>

#define AT_ID 4u /* in the dictionary's bytes */

void se__dictionary_name(uint32_t id, char name[DICTIONARY_NAME_MAX])
{
    snprintf(name, DICTIONARY_NAME_MAX, DICTIONARY_PREFIX "%u", id);
}

uint32_t se__dictionary_id(const char *digits, size_t len)
{
    uint32_t id = 0;
    if (len != 5)
        return 0;
    for (size_t i = 0; i < len; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return 0;
        id = id * 10 + (uint32_t)(digits[i] - '0');
    }
    return id >= DICTIONARY_FIRST && id <= DICTIONARY_LAST ? id : 0;
}

/* ---- samples ---- */

bool se__samples_add(struct samples *s, const void *content, size_t len)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 256;
        size_t *lens = se__realloc(s->lens, cap * sizeof *lens);
        if (!lens)
            return false;
        s->lens = lens;
        s->cap = cap;
    }
    se__buf_append(&s->bytes, content, len);
    if (s->bytes.failed)
        return false;
    s->lens[s->n++] = len;
    return true;
}

void se__samples_done(struct samples *s)
{
    se__buf_done(&s->bytes);
    se__free(s->lens);
    *s = (struct samples){0};
}

/* ---- training ---- */

static void put_id(struct buf *bytes, uint32_t id)
{
    for (unsigned i = 0; i < 4; i++) /* little-endian */
        bytes->data[AT_ID + i] = (char)(id >> (8 * i));
}

/* Bytes that rows with these contents would take. */
static bool measure(const struct samples *test, const ZSTD_CDict *dictionary, uint64_t *bytes)
{
    size_t longest = 0;
    for (size_t i = 0; i < test->n; i++)
        longest = test->lens[i] > longest ? test->lens[i] : longest;
    size_t cap = ZSTD_compressBound(longest);
    char *out = se__alloc(cap);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    const char *at = test->bytes.data;
    *bytes = 0;
    for (size_t i = 0; out && c && i < test->n; at += test->lens[i++]) {
        size_t len = test->lens[i];
        size_t n = dictionary ? ZSTD_compress_usingCDict(c, out, cap, at, len, dictionary)
                              : ZSTD_compressCCtx(c, out, cap, at, len, PACKING_LEVEL);
        *bytes += ZSTD_isError(n) || n > len - len / 8 ? len : n;
    }
    bool done = out && c;
    ZSTD_freeCCtx(c);
    se__free(out);
    return done;
}

static se_result weigh(const struct samples *test, const struct buf *bytes, se_dictionary *about)
{
    ZSTD_CDict *dictionary = ZSTD_createCDict(bytes->data, bytes->len, PACKING_LEVEL);
    bool done = dictionary && measure(test, NULL, &about->alone_bytes) &&
                measure(test, dictionary, &about->packed_bytes);
    ZSTD_freeCDict(dictionary);
    if (!done)
        return se__error_nomem();
    if (about->packed_bytes < about->alone_bytes - about->alone_bytes / 20)
        return SE_OK;
    return se__error(SE_ERR_INVALID,
                     "a dictionary would not help: of %llu bytes it leaves %llu, compression "
                     "without one %llu",
                     (unsigned long long)about->plain_bytes,
                     (unsigned long long)about->packed_bytes,
                     (unsigned long long)about->alone_bytes);
}

se_result se__dictionary_train(const struct samples *train, const struct samples *test, size_t size,
                               struct buf *bytes, se_dictionary *about)
{
    if (train->n + test->n < DICTIONARY_SAMPLES_MIN || test->n == 0)
        return se__error(SE_ERR_INVALID,
                         "a dictionary is learnt from at least %u items with content; there are "
                         "%zu",
                         DICTIONARY_SAMPLES_MIN, train->n + test->n);
    char *at = se__buf_reserve(bytes, size);
    if (!at)
        return se__error_nomem();
    size_t n = ZDICT_trainFromBuffer(at, size, train->bytes.data, train->lens, (unsigned)train->n);
    if (ZDICT_isError(n))
        return se__error(SE_ERR_INVALID,
                         "no dictionary can be learnt from %zu items with %zu bytes: zstd says %s",
                         train->n, train->bytes.len, ZDICT_getErrorName(n));
    se__buf_grow(bytes, n);
    put_id(bytes, DICTIONARY_FIRST);
    about->bytes = n;
    about->samples = test->n;
    about->plain_bytes = test->bytes.len;
    return weigh(test, bytes, about);
}

/* ---- the meta row ---- */

static void append_hex(struct buf *out, const void *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *b = bytes;
    char *at = se__buf_reserve(out, 2 * len);
    if (!at)
        return;
    for (size_t i = 0; i < len; i++) {
        at[2 * i] = digits[b[i] >> 4];
        at[2 * i + 1] = digits[b[i] & 15];
    }
    se__buf_grow(out, 2 * len);
}

void se__dictionary_encode(struct buf *bytes, uint32_t id, se_dictionary *about, struct buf *value)
{
    uint8_t hash[SE_HASH_SIZE];
    char hex[SE__HEX_SIZE];
    about->id = id;
    put_id(bytes, id);
    se__hash128(0, bytes->data, bytes->len, hash);
    se__hash_hex(hash, hex);
    se__buf_printf(value, "1 %lld %llu %llu %llu %llu %s ", (long long)about->made_at_ms,
                   (unsigned long long)about->samples, (unsigned long long)about->plain_bytes,
                   (unsigned long long)about->alone_bytes, (unsigned long long)about->packed_bytes,
                   hex);
    append_hex(value, bytes->data, bytes->len);
}

struct text {
    const char *at, *end;
};

static bool take_number(struct text *t, uint64_t *number)
{
    const char *start = t->at;
    *number = 0;
    while (t->at < t->end && *t->at >= '0' && *t->at <= '9' && t->at - start < 18)
        *number = *number * 10 + (uint64_t)(*t->at++ - '0');
    return t->at > start && t->at < t->end && *t->at++ == ' ';
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hex(struct text *t, size_t len, uint8_t *out)
{
    if ((size_t)(t->end - t->at) < 2 * len)
        return false;
    for (size_t i = 0; i < len; i++, t->at += 2) {
        int high = digit(t->at[0]), low = digit(t->at[1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool take_bytes(struct text *t, size_t len, const uint8_t hash[SE_HASH_SIZE],
                       struct buf *bytes)
{
    uint8_t actual[SE_HASH_SIZE], *at = (uint8_t *)se__buf_reserve(bytes, len);
    if (!at || !take_hex(t, len, at))
        return false;
    se__hash128(0, at, len, actual);
    if (memcmp(actual, hash, SE_HASH_SIZE) != 0)
        return false;
    se__buf_grow(bytes, len);
    return true;
}

bool se__dictionary_decode(uint32_t id, const char *value, size_t len, se_dictionary *about,
                           struct buf *bytes)
{
    struct text t = {value, value ? value + len : NULL};
    uint8_t hash[SE_HASH_SIZE];
    uint64_t layout, made_at;
    *about = (se_dictionary){.id = id};
    if (!value || !take_number(&t, &layout) || layout != 1 || !take_number(&t, &made_at) ||
        !take_number(&t, &about->samples) || !take_number(&t, &about->plain_bytes) ||
        !take_number(&t, &about->alone_bytes) || !take_number(&t, &about->packed_bytes) ||
        !take_hex(&t, SE_HASH_SIZE, hash) || t.at == t.end || *t.at++ != ' ')
        return false;
    size_t hex = (size_t)(t.end - t.at);
    about->made_at_ms = (int64_t)made_at;
    about->bytes = hex / 2;
    if (hex == 0 || hex % 2 || hex / 2 > DICTIONARY_BYTES_MAX)
        return false;
    return !bytes || take_bytes(&t, hex / 2, hash, bytes);
}
