/*
 * receipts - writes whose callers want to be told how they ended (se_submit_options.delivery).
 *
 * Place in the flow:  submit (new, expect) -> l1 -> submit (commit);  batch, drain (end) -> [receipts] -> callback
 *
 * A receipt is made before a write changes anything, so that from then on nothing can fail for want of it. It is
 * known by id and version, and is answered by whoever sees the end of that version or of a newer one. What was
 * answered and committed (its submit can no longer be refused) waits in a queue for the engine's delivery thread,
 * which is started by the first receipt and calls one callback at a time, without any lock.
 *
 * Invariants
 *   I1  a committed receipt is answered exactly once; one that was dropped, never
 *   I2  receipts of one id are delivered in the order of their versions: one that is answered waits for older
 *       ones that are still between their put and their commit
 *   I3  an answer to a version answers everything older of the id that is open (SUPERSEDED), so at no time is an
 *       older one open and a newer one answered
 *   I4  at most RECEIPTS_MAX are between their making and the end of their callback
 *
 * Locks: one mutex, a leaf; not held while a callback runs.
 * Threads: any.  Memory: receipts belong to the table from commit on; a receipt not committed is its maker's to drop.
 */
#ifndef SE_FLUSH_RECEIPTS_H
#define SE_FLUSH_RECEIPTS_H

#include "item/item.h"

#define RECEIPTS_MAX 262144u

struct receipts;
struct receipt;

SE_NODISCARD se_result se__receipts_open(struct receipts **receipts);
/* No answer comes any more from flush workers: what is open is answered with where it is (in the WAL or nowhere). Returns when
 * the last callback has returned. Receipts that are committed later are answered at once. */
void se__receipts_shut(struct receipts *r);
void se__receipts_close(struct receipts *r); /* as shut, and ends the thread; NULL is allowed */
/* Is the calling thread the one that calls callbacks? */
bool se__receipts_inside(const struct receipts *r);

/* ---- the writer ---- */
struct receipt_spec {
    se_delivery_fn fn;
    void *arg;
    const char *id;
    size_t id_len;
    uint64_t hash;   /* of the id */
    bool wants_home; /* the WAL alone is no answer while the engine runs */
    bool deleted;
};
/* SE_ERR_BACKPRESSURE: there are RECEIPTS_MAX; SE_ERR_NOMEM, or what the thread hook's refusal is. */
SE_NODISCARD se_result se__receipt_new(struct receipts *r, const struct receipt_spec *spec,
                                       struct receipt **receipt);
/* Before a version is taken (with 0: it is older than all, and holds them up), and before each put with
 * the version that the write has then. Forgets what an earlier version was answered. */
void se__receipt_expect(struct receipts *r, struct receipt *receipt, uint64_t version);
/* The write ended when it was put: nobody else will say so. */
void se__receipt_answer(struct receipts *r, struct receipt *receipt, se_delivery_outcome outcome,
                        uint64_t newest);
/* The write is accepted. in_wal: its record is in the WAL already. Takes the receipt. */
void se__receipt_commit(struct receipts *r, struct receipt *receipt, bool in_wal);
/* The write was refused. Takes the receipt; NULL is allowed. */
void se__receipt_drop(struct receipts *r, struct receipt *receipt);

/* ---- the flush ---- */
struct receipt_end {
    se_delivery_outcome outcome; /* of `version`; what is older and open is superseded by it */
    uint64_t version;
    uint64_t newest; /* SUPERSEDED: what the home tier holds, 0: not known */
    int code;        /* DEAD */
    const char *error;
};
/* Are there any to be answered? Otherwise the calls below need not be made. r NULL: no. */
bool se__receipts_any(const struct receipts *r);
void se__receipts_end(struct receipts *r, uint64_t hash, const char *id, size_t id_len,
                      const struct receipt_end *end);
/* The write of version `from` has got version `to`. */
void se__receipts_renew(struct receipts *r, uint64_t hash, const char *id, size_t id_len,
                        uint64_t from, uint64_t to);

#endif
