/*
 * filter - which ids can be in L3? 64 cuckoo tables, each for a 64th of the Merkle buckets.
 *
 * Place in the flow:  submit -> [filter] -> L1 -> ...;  read: L1 -> overlay -> (L2) -> [filter] -> L3
 *
 * The top 6 bits of an id's unseeded XXH3-64 (so: its Merkle bucket >> 10) choose the part; the hash
 * mixed with the filter's secret seed is the key in the part's table. Nothing is ever removed. A part
 * that is full, or holds too many ids that L3 no longer has, gets a new table from a scan of just its
 * buckets; so growing never needs a second whole filter. The tables' sizes are on a grid,
 *   slots = ids / CUCKOO_LOAD_MAX rounded up to  1024 * step^(k + part / 64),  step = FILTER_STEP,
 * whose phase differs from part to part: at any number of ids the loads are spread evenly between 0.80
 * and 0.95, 18.3 bits an id together, where a filter that doubles as a whole needs up to 34.
 *
 * Rebuilding a part (one caller at a time, filter/warm.c):
 *   begin    from now on what is added goes into the old table and into a list for the new one
 *   note     the ids of the scan, and all ids that are acknowledged but perhaps not in L3
 *   commit   a table of the right size from both; it replaces the old one; readers never see neither
 * An id that is added before `begin` and published (L1, WAL) after the caller collected what is
 * pending would be in neither list: so whoever adds compares the epoch from before with that after
 * publishing, and adds again if it has changed.
 *
 * Trust: the filter excludes an id only while no doubt is set.
 *
 * Invariants
 *   I1  an id that was added since its part's last `begin`, or that the last committed scan has noted,
 *       is never excluded
 *   I2  a full part gets a small second table until it is rebuilt (twice the false positives); if
 *       that is full as well, or there is no memory for it, the part excludes nothing until then
 *   I3  doubts are set at once; COLD goes only with a complete scan, or a snapshot whose root agrees
 *
 * Locks: one mutex a part (leaf), not held while a table is built.
 * Threads: any; begin, note, commit, cancel: one thread at a time.
 * Memory: se__filter_open returns, se__filter_close frees.
 */
#ifndef SE_FILTER_FILTER_H
#define SE_FILTER_FILTER_H

#include "filter/cuckoo.h"

#define FILTER_PARTS 64u
#define FILTER_STEP 1.18
#define FILTER_PART_BUCKETS (65536u / FILTER_PARTS)

struct filter;
struct epochs;

/* Why an absent id cannot be excluded; a set of bits. */
enum filter_doubt {
    FILTER_COLD = 1,    /* L3 has not been scanned (again) yet */
    FILTER_FOREIGN = 2, /* another engine writes the same table */
    FILTER_UNLISTED = 4 /* ids of an outside change could not be listed: scan again */
};

/* Empty and COLD. seed: secret. */
SE_NODISCARD se_result se__filter_open(uint64_t seed, struct filter **filter);
void se__filter_close(struct filter *f); /* NULL is allowed */
uint64_t se__filter_seed(const struct filter *f);
/* Those who look will be in these epochs, which outlive the filter, instead of its own: for who is in
 * them anyway. Before anybody looks. */
void se__filter_read_in(struct filter *f, struct epochs *epochs);
unsigned se__filter_part(const char *id, size_t id_len);

/* True: no id of L3, and none that was added. No lock, no I/O. */
bool se__filter_excludes(const struct filter *f, const char *id, size_t id_len);
/* As if it were trusted: for measuring. */
bool se__filter_has(const struct filter *f, const char *id, size_t id_len);
/* For lists: what will be asked for an id soon is on its way when it is. */
void se__filter_prefetch(const struct filter *f, const char *id, size_t id_len);
/* The same for who is going to add the id: where it goes, known once. */
struct filter_spot {
    unsigned part;
    uint64_t key; /* in it */
};
struct filter_spot se__filter_spot(const struct filter *f, const char *id, size_t id_len);
void se__filter_expect(const struct filter *f, struct filter_spot at);
uint64_t se__filter_add_at(struct filter *f, struct filter_spot at);
/* The same in two steps, where the caller is in the filter's epochs anyway: nothing is to be done (it is
 * there, or nothing is excluded anyway; and no list waits for it), as long as the epoch that was taken
 * before this look has not passed: a rebuild that begins after it changes that. */
bool se__filter_knows_inside(const struct filter *f, struct filter_spot at);
/* Before an id is published anywhere. Returns the epoch; the caller compares it after publishing. */
uint64_t se__filter_add(struct filter *f, const char *id, size_t id_len);
uint64_t se__filter_epoch(const struct filter *f); /* seq_cst with the locks of what is published */

/* ---- trust ---- */
/* Returns what was set before. */
unsigned se__filter_doubt(struct filter *f, unsigned doubts);
unsigned se__filter_believe(struct filter *f, unsigned doubts);
unsigned se__filter_doubts(const struct filter *f);
const char *se__filter_doubt_name(unsigned doubts); /* the gravest, for messages: never NULL */

/* ---- rebuilding ---- */
/* Advances the epoch. What a rebuild of the part has noted before is forgotten. Several parts may be
 * rebuilt at once, at 6 bytes an id until they are committed. */
SE_NODISCARD se_result se__filter_begin(struct filter *f, unsigned part);
/* An id of the scan; ids of other parts are added as se__filter_add does. */
SE_NODISCARD se_result se__filter_note(struct filter *f, unsigned part, const char *id,
                                       size_t id_len);
/* SE_ERR_NOMEM: the old table stays, as after cancel. */
SE_NODISCARD se_result se__filter_commit(struct filter *f, unsigned part);
void se__filter_cancel(struct filter *f, unsigned part);

struct filter_part_stats {
    uint64_t used, slots, bytes;
    bool full; /* an id found no room: nothing is excluded here */
    bool due;  /* full, or so loaded that it should be rebuilt now */
};
void se__filter_part_stats(const struct filter *f, unsigned part, struct filter_part_stats *stats);
struct filter_stats {
    uint64_t ids, bytes; /* fingerprints; memory, lists of a rebuild included */
    uint64_t added;      /* new fingerprints by se__filter_add since open */
    unsigned full_parts;
};
void se__filter_stats(const struct filter *f, struct filter_stats *stats);

/* ---- snapshots ---- */
/* The part for a snapshot, appended to *out (struct buf); 0 bytes for an empty part. */
struct buf;
SE_NODISCARD se_result se__filter_copy_part(const struct filter *f, unsigned part, struct buf *out);
/* Puts it in place again; only right after open, before anything is added, with the same seed.
 * SE_ERR_CORRUPT: the bytes are no part; SE_ERR_NOMEM. The part is empty then. */
SE_NODISCARD se_result se__filter_restore_part(struct filter *f, unsigned part,
                                               const uint8_t *bytes, uint64_t len);

#endif
