/*
 * packing - zstd frames; see packing.h.
 *
 * Dictionaries live in a table indexed by their id, which only fills up, so readers look there
 * without a lock. Idle packers are a short list under one; a call takes one for all its rows.
 *
 * Unpacking writes into memory of the content's length at once, so zstd needs no window of its own,
 * whatever the frame's head claims. Its magic number is compared here: the library would also try
 * formats from before zstd 1.0, whose decoders nobody looks after.
 */
#include "l3/packing.h"

#include "base/mem.h"
#include "base/os.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>
#include <zstd.h>

#define PACK_MIN 32u         /* shorter contents are not tried */
#define IDLE_MAX 8u          /* packers that are kept */
#define ROOM_KEPT (4u << 20) /* a larger memory is not kept with them */

struct dictionary {
    ZSTD_DDict *reading;
    ZSTD_CDict *writing; /* NULL unless new rows may be packed with dictionaries */
    uint32_t id;
};

struct room {
    char *bytes;
    size_t cap;
};

struct packer {
    struct packing *packing;
    struct packer *next; /* of the idle ones */
    ZSTD_CCtx *writing;
    ZSTD_DCtx *reading;
    struct room packed, unpacked;
    size_t at; /* in packed */
};

struct packing {
    se_compression mode;
    size_t content_max;
    struct se__mutex lock; /* leaf: idle, and adding dictionaries */
    struct packer *idle;
    unsigned idle_n;
    _Atomic(struct dictionary *) used;
    _Atomic(struct dictionary *) known[DICTIONARY_COUNT];
};

/* ---- dictionaries ---- */

static bool is_ours(uint32_t id)
{
    return id >= DICTIONARY_FIRST && id <= DICTIONARY_LAST;
}

static struct dictionary *find(const struct packing *p, uint32_t id)
{
    if (!is_ours(id))
        return NULL;
    /* acquire: the dictionary is whole; pairs with the release in publish() */
    return atomic_load_explicit(&p->known[id - DICTIONARY_FIRST], memory_order_acquire);
}

bool se__packing_knows(const struct packing *p, uint32_t id)
{
    return find(p, id) != NULL;
}

static void dictionary_close(struct dictionary *d)
{
    if (!d)
        return;
    ZSTD_freeDDict(d->reading);
    ZSTD_freeCDict(d->writing);
    se__free(d);
}

/* False: another thread was faster. */
static bool publish(struct packing *p, struct dictionary *d)
{
    se__mutex_lock(&p->lock);
    bool first = !find(p, d->id);
    if (first) /* release: pairs with the acquire in find() */
        atomic_store_explicit(&p->known[d->id - DICTIONARY_FIRST], d, memory_order_release);
    se__mutex_unlock(&p->lock);
    return first;
}

se_result se__packing_add(struct packing *p, uint32_t id, const void *bytes, size_t len)
{
    if (se__packing_knows(p, id))
        return SE_OK;
    if (!is_ours(id) || len > DICTIONARY_BYTES_MAX || ZSTD_getDictID_fromDict(bytes, len) != id)
        return se__error(SE_ERR_CORRUPT, "the bytes are not those of dictionary %u", id);
    struct dictionary *d = se__alloc_zeroed(1, sizeof *d);
    if (!d)
        return se__error_nomem();
    d->id = id;
    d->reading = ZSTD_createDDict(bytes, len);
    /* made now, so that the bytes need not be kept for the day it is used */
    d->writing =
        p->mode == SE_COMPRESSION_DICTIONARY ? ZSTD_createCDict(bytes, len, PACKING_LEVEL) : NULL;
    bool whole = d->reading && (d->writing || p->mode != SE_COMPRESSION_DICTIONARY);
    if (whole && publish(p, d))
        return SE_OK;
    dictionary_close(d);
    return whole ? SE_OK : se__error(SE_ERR_CORRUPT, "dictionary %u cannot be loaded by zstd", id);
}

se_result se__packing_use(struct packing *p, uint32_t id)
{
    struct dictionary *d = find(p, id);
    if (!d || !d->writing)
        return se__error(SE_ERR_INVALID, "dictionary %u is not known", id);
    /* release: pairs with the acquire in used() */
    atomic_store_explicit(&p->used, d, memory_order_release);
    return SE_OK;
}

static struct dictionary *used(const struct packing *p)
{
    /* acquire: pairs with the release in se__packing_use */
    return atomic_load_explicit(&p->used, memory_order_acquire);
}

uint32_t se__packing_used(const struct packing *p)
{
    const struct dictionary *d = used(p);
    return d ? d->id : 0;
}

/* ---- packers ---- */

static void packer_close(struct packer *k)
{
    ZSTD_freeCCtx(k->writing);
    ZSTD_freeDCtx(k->reading);
    se__free(k->packed.bytes);
    se__free(k->unpacked.bytes);
    se__free(k);
}

struct packer *se__packer_take(struct packing *p)
{
    se__mutex_lock(&p->lock);
    struct packer *k = p->idle;
    if (k) {
        p->idle = k->next;
        p->idle_n--;
    }
    se__mutex_unlock(&p->lock);
    if (k)
        return k;
    k = se__alloc_zeroed(1, sizeof *k);
    if (k)
        k->packing = p;
    return k;
}

static void shrink(struct room *r)
{
    if (r->cap <= ROOM_KEPT)
        return;
    se__free(r->bytes);
    *r = (struct room){0};
}

void se__packer_give(struct packer *k)
{
    if (!k)
        return;
    struct packing *p = k->packing;
    shrink(&k->packed);
    shrink(&k->unpacked);
    k->at = 0;
    se__mutex_lock(&p->lock);
    bool kept = p->idle_n < IDLE_MAX;
    if (kept) {
        k->next = p->idle;
        p->idle = k;
        p->idle_n++;
    }
    se__mutex_unlock(&p->lock);
    if (!kept)
        packer_close(k);
}

static bool make_room(struct room *r, size_t bytes)
{
    if (bytes <= r->cap)
        return true;
    char *grown = se__alloc(bytes); /* what is there is not needed any more */
    if (!grown)
        return false;
    se__free(r->bytes);
    *r = (struct room){grown, bytes};
    return true;
}

/* ---- packing ---- */

/* The longest frame that is worth it. */
static size_t worth(size_t len)
{
    return len - (len + 7) / 8;
}

bool se__packer_reserve(struct packer *k, size_t bytes)
{
    k->at = 0;
    return make_room(&k->packed, worth(bytes));
}

bool se__pack(struct packer *k, const void *content, size_t len, struct packed *out)
{
    size_t room = worth(len);
    if (len < PACK_MIN || room > k->packed.cap - k->at)
        return false;
    if (!k->writing && !(k->writing = ZSTD_createCCtx()))
        return false;
    const struct dictionary *d = used(k->packing);
    char *to = k->packed.bytes + k->at;
    size_t n = d ? ZSTD_compress_usingCDict(k->writing, to, room, content, len, d->writing)
                 : ZSTD_compressCCtx(k->writing, to, room, content, len, PACKING_LEVEL);
    if (ZSTD_isError(n)) /* mostly: it does not fit into so little */
        return false;
    *out = (struct packed){d ? ENCODING_DICTIONARY : ENCODING_ZSTD, to, n};
    k->at += n;
    return true;
}

/* ---- unpacking ---- */

static bool is_frame(const void *bytes, size_t len)
{
    static const unsigned char magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
    return len > sizeof magic && memcmp(bytes, magic, sizeof magic) == 0;
}

enum unpacked se__unpack_size(const struct packing *p, int64_t encoding, const void *bytes,
                              size_t len, size_t *size, uint32_t *number)
{
    *size = 0;
    *number = 0;
    if (!p || (encoding != ENCODING_ZSTD && encoding != ENCODING_DICTIONARY))
        return UNPACK_ENCODING;
    if (!is_frame(bytes, len))
        return UNPACK_DAMAGED;
    unsigned long long claimed = ZSTD_getFrameContentSize(bytes, len);
    if (claimed == ZSTD_CONTENTSIZE_ERROR || claimed == ZSTD_CONTENTSIZE_UNKNOWN || claimed == 0)
        return UNPACK_DAMAGED;
    *number = ZSTD_getDictID_fromFrame(bytes, len);
    if (encoding == ENCODING_ZSTD ? *number != 0 : !is_ours(*number))
        return UNPACK_DAMAGED;
    if (claimed > p->content_max)
        return UNPACK_TOO_LONG;
    if (*number != 0 && !find(p, *number))
        return UNPACK_DICTIONARY;
    *size = (size_t)claimed;
    return UNPACKED;
}

enum unpacked se__unpack(struct packer *k, const void *bytes, size_t len, void *out, size_t size)
{
    if (!k->reading && !(k->reading = ZSTD_createDCtx()))
        return UNPACK_NOMEM;
    if (ZSTD_findFrameCompressedSize(bytes, len) != len) /* one frame, and nothing behind it */
        return UNPACK_DAMAGED;
    uint32_t id = ZSTD_getDictID_fromFrame(bytes, len);
    const struct dictionary *d = find(k->packing, id);
    size_t n = d ? ZSTD_decompress_usingDDict(k->reading, out, size, bytes, len, d->reading)
                 : ZSTD_decompressDCtx(k->reading, out, size, bytes, len);
    return ZSTD_isError(n) || n != size ? UNPACK_DAMAGED : UNPACKED;
}

void *se__packer_room(struct packer *k, size_t bytes)
{
    return make_room(&k->unpacked, bytes ? bytes : 1) ? k->unpacked.bytes : NULL;
}

/* ---- unpackers ---- */

static uint64_t *word_of(struct unpacker *u, uint32_t id)
{
    return &u->tried[(id - DICTIONARY_FIRST) / 64];
}

static uint64_t bit_of(uint32_t id)
{
    return UINT64_C(1) << ((id - DICTIONARY_FIRST) % 64);
}

bool se__unpacker_wants(struct unpacker *u, int64_t encoding, const void *bytes, size_t len)
{
    size_t size;
    uint32_t id;
    if (encoding != ENCODING_DICTIONARY ||
        se__unpack_size(u->packing, encoding, bytes, len, &size, &id) != UNPACK_DICTIONARY)
        return false;
    if (*word_of(u, id) & bit_of(id))
        return false;
    u->wanted = id;
    return true;
}

void se__unpacker_tried(struct unpacker *u)
{
    assert(is_ours(u->wanted));
    *word_of(u, u->wanted) |= bit_of(u->wanted);
    u->wanted = 0;
}

struct packer *se__unpacker_packer(struct unpacker *u)
{
    if (!u->packer && u->packing)
        u->packer = se__packer_take(u->packing);
    return u->packer;
}

void se__unpacker_done(struct unpacker *u)
{
    se__packer_give(u->packer);
    u->packer = NULL;
}

/* ---- life ---- */

se_result se__packing_open(se_compression mode, size_t content_max, struct packing **packing)
{
    struct packing *p = se__alloc_zeroed(1, sizeof *p);
    if (!p)
        return se__error_nomem();
    p->mode = mode;
    p->content_max = content_max ? content_max : PACKING_CONTENT_MAX;
    se__mutex_init(&p->lock);
    *packing = p;
    return SE_OK;
}

void se__packing_close(struct packing *p)
{
    if (!p)
        return;
    for (struct packer *k = p->idle, *next; k; k = next) {
        next = k->next;
        packer_close(k);
    }
    for (uint32_t i = 0; i < DICTIONARY_COUNT; i++) /* relaxed: nobody else is here any more */
        dictionary_close(atomic_load_explicit(&p->known[i], memory_order_relaxed));
    se__mutex_done(&p->lock);
    se__free(p);
}
