/*
 * l3 - SQL tiers: MySQL protocol and SQLite, one table, one interface (tier.h).
 *
 * Schema, version 1, or 2 once rows are compressed (both drivers; the table's name comes from the configuration, the meta table is
 * `<table>_meta`): see l3/schema.h. Every write is a guarded upsert; `version` and `record_hash`
 * are assigned last.
 *
 * Laws kept here
 *   - a batch is one transaction: all or nothing
 *   - a row never goes back: (version, record_hash) only grows
 *   - a purged tombstone's id does not come back: a put at or below the purge floor may update a
 *     row, not create one
 *   - ids and contents are bytes; prefix scans are ranges
 *   - a row whose content does not fit its hash, or whose columns do not decode, is TIER_CORRUPT
 *   - hashes, leaves and digests are of the content as submitted, however a row holds it
 *   - after a timeout the connection is closed
 *
 * Threads: any.  Memory: the tier's close frees all.
 */
#ifndef SE_L3_L3_H
#define SE_L3_L3_H

#include "base/log.h"
#include "base/url.h"
#include "tier/tier.h"

struct l3_options {
    const struct url *url; /* borrowed for the call */
    const char *table;     /* [A-Za-z0-9_]{1,48}: checked here, SE_ERR_CONFIG */
    uint32_t timeout_ms;   /* default bound of a connect */
    unsigned read_connections, workers;
    uint32_t tombstone_retention_s;
    bool read_only;             /* prepare checks the schema and creates nothing */
    se_compression compression; /* of new rows */
    size_t payload_max;         /* longest content that is unpacked, 0: 1 GiB */
    const struct se__log *log;
};

SE_NODISCARD se_result se__mysql_open(const struct l3_options *options, struct tier *tier);
SE_NODISCARD se_result se__sqlite_open(const struct l3_options *options, struct tier *tier);

#endif
