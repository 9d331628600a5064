/*
 * keys - the list of a rebuild: see parts.h.
 *
 * Chunks, and not one array: an array that doubles would have three times the memory at its worst. A
 * table uses 48 bits of a key, so 6 bytes are kept of it.
 */
#include "filter/parts.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <assert.h>

#define KEY_BYTES 6u
#define CHUNK_KEYS 338u

struct key_chunk {
    struct key_chunk *next;
    uint32_t n;
    uint8_t bytes[CHUNK_KEYS * KEY_BYTES];
};
static_assert(sizeof(struct key_chunk) == 2040, "fills an allocation of 2 KiB with its header");

static void write_key(uint8_t *at, uint64_t key)
{
    se__put_u32(at, (uint32_t)(key >> 32));
    se__put_u16(at + 4, (uint16_t)key);
}

static uint64_t read_key(const uint8_t *at)
{
    return (uint64_t)se__get_u32(at) << 32 | se__get_u16(at + 4);
}

static bool grow(struct keys *k)
{
    struct key_chunk *c = se__alloc(sizeof *c);
    if (!c)
        return false;
    c->next = NULL;
    c->n = 0;
    if (k->last)
        k->last->next = c;
    else
        k->first = c;
    k->last = c;
    k->bytes += se__alloc_size(c);
    return true;
}

bool se__keys_push(struct keys *k, uint64_t key)
{
    if ((!k->last || k->last->n == CHUNK_KEYS) && !grow(k))
        return false;
    write_key(k->last->bytes + k->last->n++ * KEY_BYTES, key);
    k->n++;
    return true;
}

void se__keys_splice(struct keys *to, struct keys *from)
{
    if (!from->first)
        return;
    if (to->last)
        to->last->next = from->first;
    else
        to->first = from->first;
    to->last = from->last;
    to->n += from->n;
    to->bytes += from->bytes;
    *from = (struct keys){0};
}

bool se__keys_pour(const struct keys *k, struct cuckoo *t)
{
    for (const struct key_chunk *c = k->first; c; c = c->next)
        for (uint32_t i = 0; i < c->n; i++)
            if (se__cuckoo_add(t, read_key(c->bytes + i * KEY_BYTES)) == CUCKOO_FULL)
                return false;
    return true;
}

void se__keys_done(struct keys *k)
{
    while (k->first) {
        struct key_chunk *next = k->first->next;
        se__free(k->first);
        k->first = next;
    }
    *k = (struct keys){0};
}
