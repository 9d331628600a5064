/*
 * packing - contents of rows, compressed (zstd) and back.
 *
 * Place in the flow:  item -> row -> [packing] -> columns `encoding`, `payload_blob`;  and back
 *
 * Packed content is one zstd frame (RFC 8878) as the `zstd` program writes it: with the length of the
 * content, without a checksum (the content's hash is in a column of its own). A frame made with a
 * dictionary names it. What a row holds is told by its encoding alone, never guessed from the bytes:
 * plain content may well begin like a frame.
 *
 * Invariants
 *   I1  unpacking is total: any encoding and bytes give the content or the reason why not
 *   I2  it writes no more than the frame says, and that is at most content_max
 *   I3  packed content is at least an eighth shorter, or it stays plain
 *   I4  a dictionary never changes and stays until close
 *
 * A store has one packing, for all its calls. A packer is what one call works with: zstd's contexts
 * and memory to pack and unpack in; idle ones are kept, so that rows allocate nothing.
 *
 * Threads: any for struct packing; struct packer and struct unpacker are caller-serialised.
 */
#ifndef SE_L3_PACKING_H
#define SE_L3_PACKING_H

#include "base/error.h"

#include <stddef.h>

/* Values of the column `encoding`. Later libraries may add some; none is ever given a new meaning. */
enum { ENCODING_PLAIN = 0, ENCODING_ZSTD = 1, ENCODING_DICTIONARY = 2 };

/* Ids of dictionaries: those that zstd's format leaves to applications begin at 32768, and up to
 * 65535 a frame names them in two bytes. */
#define DICTIONARY_FIRST 32769u
#define DICTIONARY_LAST 33791u
#define DICTIONARY_COUNT (DICTIONARY_LAST - DICTIONARY_FIRST + 1)
#define DICTIONARY_BYTES_MAX (256u << 10)
#define PACKING_LEVEL 1 /* 3 takes a third more time for small contents and saves a hundredth */
#define PACKING_CONTENT_MAX ((size_t)1 << 30)

struct packing;
struct packer;

/* mode: what new rows get. content_max: the longest content that is unpacked, 0: 1 GiB. */
SE_NODISCARD se_result se__packing_open(se_compression mode, size_t content_max,
                                        struct packing **packing);
void se__packing_close(struct packing *packing); /* NULL is allowed; no packer is out */

/* SE_ERR_CORRUPT: it is no dictionary with this id. Adding it again is SE_OK. */
SE_NODISCARD se_result se__packing_add(struct packing *packing, uint32_t id, const void *bytes,
                                       size_t len);
bool se__packing_knows(const struct packing *packing, uint32_t id);
/* New rows are packed with this one, which is known. */
SE_NODISCARD se_result se__packing_use(struct packing *packing, uint32_t id);
uint32_t se__packing_used(const struct packing *packing); /* 0: none */

/* NULL without memory. */
SE_NODISCARD struct packer *se__packer_take(struct packing *packing);
void se__packer_give(struct packer *packer); /* NULL is allowed */

/* ---- packing ---- */

struct packed {
    int encoding;
    const void *bytes; /* in the packer, until it is given back */
    size_t len;
};
/* Room for contents of `bytes` in all: what is packed from now on does not move. False without
 * memory. */
SE_NODISCARD bool se__packer_reserve(struct packer *packer, size_t bytes);
/* False: it stays plain (not worth it, no room, no memory). */
bool se__pack(struct packer *packer, const void *content, size_t len, struct packed *out);

/* ---- unpacking ---- */

enum unpacked {
    UNPACKED,
    UNPACK_DAMAGED,    /* not one whole frame of ours */
    UNPACK_ENCODING,   /* a newer library may know it */
    UNPACK_DICTIONARY, /* made with one that is not known here (*number) */
    UNPACK_TOO_LONG,   /* content_max */
    UNPACK_NOMEM
};
/* The length of the content, from the frame's head. *number: the dictionary, 0: none. */
enum unpacked se__unpack_size(const struct packing *packing, int64_t encoding, const void *bytes,
                              size_t len, size_t *size, uint32_t *number);
/* Exactly `size` bytes, as se__unpack_size gave it. */
enum unpacked se__unpack(struct packer *packer, const void *bytes, size_t len, void *out,
                         size_t size);
/* `bytes` of memory to unpack into, until the next call; NULL without memory. */
void *se__packer_room(struct packer *packer, size_t bytes);

/* What reading rows needs: a packer, once there is something to unpack, and which dictionaries have
 * been looked for. */
struct unpacker {
    struct packing *packing; /* NULL: every encoding but plain is unknown */
    struct packer *packer;   /* NULL: not needed yet */
    uint32_t wanted;         /* a dictionary to be fetched before the row can be decoded, 0: none */
    uint64_t tried[(DICTIONARY_COUNT + 63) / 64]; /* those that the database was asked for */
};
/* True if content needs a dictionary that is not known and has not been asked for; `wanted` is it. */
bool se__unpacker_wants(struct unpacker *u, int64_t encoding, const void *bytes, size_t len);
void se__unpacker_tried(struct unpacker *u); /* `wanted` was asked for, found or not */
/* The packer; NULL without memory. */
struct packer *se__unpacker_packer(struct unpacker *u);
void se__unpacker_done(struct unpacker *u);

#endif
