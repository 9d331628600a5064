/*
 * dictionary - trains zstd dictionaries, and their form in the meta table.
 *
 * A dictionary is a meta row, `dictionary/<id>`, that is written once and never changes:
 *
 *   1 <made_at_ms> <samples> <plain> <alone> <packed> <XXH3-128 of the bytes> <the bytes in hex>
 *
 * in decimal and hexadecimal digits, separated by one blank. 1 is the layout. plain, alone and packed
 * are bytes of the items that it was measured with (they were not trained on): as they are, packed
 * without a dictionary, packed with it. `dictionary_newest` holds the id that new rows are packed
 * with.
 *
 * Threads: any; pure.
 */
#ifndef SE_L3_DICTIONARY_H
#define SE_L3_DICTIONARY_H

#include "base/buf.h"

#define DICTIONARY_NEWEST "dictionary_newest"
#define DICTIONARY_PREFIX "dictionary/"
#define DICTIONARY_NAME_MAX 24
#define DICTIONARY_SAMPLES_MIN 64u

void se__dictionary_name(uint32_t id, char name[DICTIONARY_NAME_MAX]);
/* The id in a meta row's name or value; 0: it is none. */
uint32_t se__dictionary_id(const char *digits, size_t len);

/* Contents one behind the other. */
struct samples {
    struct buf bytes;
    size_t *lens;
    size_t n, cap;
};
SE_NODISCARD bool se__samples_add(struct samples *s, const void *content, size_t len);
void se__samples_done(struct samples *s);

/* Appends a dictionary of at most `size` bytes, made of `train`, and fills the figures of `about`
 * from `test` (all but id and time). SE_ERR_INVALID: too little to learn from, or it would not
 * help; the text says which. Takes about a second. */
SE_NODISCARD se_result se__dictionary_train(const struct samples *train, const struct samples *test,
                                            size_t size, struct buf *bytes, se_dictionary *about);
/* Gives the dictionary its id (and `about`) and appends the meta row's value. */
void se__dictionary_encode(struct buf *bytes, uint32_t id, se_dictionary *about, struct buf *value);
/* Total. bytes NULL: only the figures are wanted (the bytes are not checked then). False: garbage, or
 * no memory (bytes->failed). */
SE_NODISCARD bool se__dictionary_decode(uint32_t id, const char *value, size_t len,
                                        se_dictionary *about, struct buf *bytes);

#endif
