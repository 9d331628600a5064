/*
 * l3_packed - small JSON records and dictionaries made of such, for tests of compression.
 *
 * Memory: what is made is the caller's, freed with se__samples_done and se__buf_done.
 */
#ifndef SE_TESTS_L3_PACKED_H
#define SE_TESTS_L3_PACKED_H

#include "l3/dictionary.h"
#include "l3/packing.h"
#include "l3_fixture.h"

#define RECORD_MAX 512u
/* The i-th record of one kind: about 200 bytes. Kinds have other fields. */
size_t packed_record(unsigned kind, unsigned i, char out[RECORD_MAX]);
struct samples packed_records(unsigned kind, unsigned from, unsigned n);
/* A dictionary for that kind, and its row's value. */
void packed_dictionary(unsigned kind, uint32_t id, struct buf *bytes, struct buf *value);
/* A packing that knows `id` for this kind, and packs with it. */
struct packing *packed_packing(unsigned kind, uint32_t id, size_t content_max);
/* Stores such a dictionary in the fixture's database, and names it the newest. */
void packed_store(struct l3_fixture *f, unsigned kind, uint32_t id);
/* The same table, opened anew with this setting: nothing is known of dictionaries. */
void packed_reopen(struct l3_fixture *f, se_compression mode);

#endif
