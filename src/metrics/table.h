/*
 * table - every metric of the library, in the order they are printed.
 *
 * METRIC(symbol, type, family, labels, help): families with several label sets stand together and
 * repeat their help as "". Labels are constant text without braces. Add a line here and nothing
 * else. Types: COUNTER, GAUGE, and three histograms that differ in their buckets: HISTOGRAM of
 * seconds, COUNTS of items, SIZES of bytes.
 *
 * The balance (law 13), when quiescent:
 *   accepted + recovered = superseded + lost + queued + in the WAL + persisted + dead
 */
#ifndef SE_METRICS_TABLE_H
#define SE_METRICS_TABLE_H

#define SE_METRICS_TIER_OPS(METRIC, T, t)                                                          \
    METRIC(M_OPS_##T##_GET_HIT, COUNTER, "sync_engine_operations_total",                           \
           "tier=\"" t "\",operation=\"get\",status=\"hit\"", "")                                  \
    METRIC(M_OPS_##T##_GET_MISS, COUNTER, "sync_engine_operations_total",                          \
           "tier=\"" t "\",operation=\"get\",status=\"miss\"", "")                                 \
    METRIC(M_OPS_##T##_GET_ERROR, COUNTER, "sync_engine_operations_total",                         \
           "tier=\"" t "\",operation=\"get\",status=\"error\"", "")                                \
    METRIC(M_OPS_##T##_PUT_OK, COUNTER, "sync_engine_operations_total",                            \
           "tier=\"" t "\",operation=\"put\",status=\"success\"", "")                              \
    METRIC(M_OPS_##T##_PUT_LOST, COUNTER, "sync_engine_operations_total",                          \
           "tier=\"" t "\",operation=\"put\",status=\"stale\"", "")                                \
    METRIC(M_OPS_##T##_PUT_ERROR, COUNTER, "sync_engine_operations_total",                         \
           "tier=\"" t "\",operation=\"put\",status=\"error\"", "")

#define SE_METRICS(METRIC)                                                                         \
    METRIC(M_OPS_L1_GET_HIT, COUNTER, "sync_engine_operations_total",                              \
           "tier=\"l1\",operation=\"get\",status=\"hit\"",                                         \
           "Operations on each tier by outcome; for l2 and l3 per id.")                            \
    METRIC(M_OPS_L1_GET_MISS, COUNTER, "sync_engine_operations_total",                             \
           "tier=\"l1\",operation=\"get\",status=\"miss\"", "")                                    \
    METRIC(M_OPS_L1_PUT_OK, COUNTER, "sync_engine_operations_total",                               \
           "tier=\"l1\",operation=\"put\",status=\"success\"", "")                                 \
    METRIC(M_OPS_L1_PUT_LOST, COUNTER, "sync_engine_operations_total",                             \
           "tier=\"l1\",operation=\"put\",status=\"stale\"", "")                                   \
    METRIC(M_OPS_L1_PUT_ERROR, COUNTER, "sync_engine_operations_total",                            \
           "tier=\"l1\",operation=\"put\",status=\"error\"", "")                                   \
    SE_METRICS_TIER_OPS(METRIC, L2, "l2")                                                          \
    SE_METRICS_TIER_OPS(METRIC, L3, "l3")                                                          \
    METRIC(M_OPS_OVERLAY_HIT, COUNTER, "sync_engine_operations_total",                             \
           "tier=\"wal\",operation=\"get\",status=\"hit\"", "")                                    \
    METRIC(M_ACCEPTED, COUNTER, "sync_engine_writes_accepted_total", "",                           \
           "Writes (puts and deletes) acknowledged or left pending.")                              \
    METRIC(M_RECOVERED, COUNTER, "sync_engine_writes_recovered_total", "",                         \
           "Writes found in the WAL at open, dead letters included.")                              \
    METRIC(M_SUPERSEDED, COUNTER, "sync_engine_writes_superseded_total", "",                       \
           "Accepted writes replaced by a newer write of this engine before they reached the "     \
           "home tier.")                                                                           \
    METRIC(M_LOST, COUNTER, "sync_engine_writes_lost_to_newer_total", "",                          \
           "Writes the home tier did not apply because it holds a newer version.")                 \
    METRIC(M_PERSISTED, COUNTER, "sync_engine_writes_persisted_total", "",                         \
           "Writes applied by the home tier.")                                                     \
    METRIC(M_QUEUED, GAUGE, "sync_engine_queue_items", "",                                         \
           "Writes queued or in flight to the home tier.")                                         \
    METRIC(M_QUEUE_BYTES, GAUGE, "sync_engine_queue_bytes", "",                                    \
           "Bytes of items that cannot be evicted yet.")                                           \
    METRIC(M_BATCH_ROUND_L2, GAUGE, "sync_engine_batch_round_trip_seconds", "tier=\"l2\"",         \
           "What a batch takes apart from its rows, as measured by the slowest worker; 0: not "    \
           "known.")                                                                               \
    METRIC(M_BATCH_ROUND_L3, GAUGE, "sync_engine_batch_round_trip_seconds", "tier=\"l3\"", "")     \
    METRIC(M_BATCH_ROW_L2, GAUGE, "sync_engine_batch_row_seconds", "tier=\"l2\"",                  \
           "What a row of a batch takes, as measured by the slowest worker; 0: not known.")        \
    METRIC(M_BATCH_ROW_L3, GAUGE, "sync_engine_batch_row_seconds", "tier=\"l3\"", "")              \
    METRIC(M_BATCH_BYTE_L2, GAUGE, "sync_engine_batch_byte_seconds", "tier=\"l2\"",                \
           "What a byte of a batch takes, as measured by the slowest worker; 0: not known.")       \
    METRIC(M_BATCH_BYTE_L3, GAUGE, "sync_engine_batch_byte_seconds", "tier=\"l3\"", "")            \
    METRIC(                                                                                        \
        M_BATCH_REST_L2, GAUGE, "sync_engine_batch_rest_seconds", "tier=\"l2\"",                   \
        "Chosen from both for the home tier: from the start of a batch to the next unless it is "  \
        "full, the longest of all workers; 0: not chosen, batch_flush_ms is explicit.")            \
    METRIC(M_BATCH_REST_L3, GAUGE, "sync_engine_batch_rest_seconds", "tier=\"l3\"", "")            \
    METRIC(M_BATCH_LIMIT_ITEMS_L2, GAUGE, "sync_engine_batch_limit_items", "tier=\"l2\"",          \
           "Chosen from what batches cost: the writes at which one is full, the least of all "     \
           "workers; 0: no such tier, or not chosen, batch_flush_count is explicit.")              \
    METRIC(M_BATCH_LIMIT_ITEMS_L3, GAUGE, "sync_engine_batch_limit_items", "tier=\"l3\"", "")      \
    METRIC(M_BATCH_LIMIT_BYTES_L2, GAUGE, "sync_engine_batch_limit_bytes", "tier=\"l2\"",          \
           "The same in bytes, as L1 counts items; 0: no such tier, or not chosen, "               \
           "batch_flush_bytes is explicit.")                                                       \
    METRIC(M_BATCH_LIMIT_BYTES_L3, GAUGE, "sync_engine_batch_limit_bytes", "tier=\"l3\"", "")      \
    METRIC(M_OLDEST_DIRTY, GAUGE, "sync_engine_oldest_dirty_seconds", "",                          \
           "Age of the oldest write that is not in its home tier.")                                \
    METRIC(M_WAL_ENTRIES, GAUGE, "sync_engine_wal_entries", "",                                    \
           "Writes that only the WAL holds, waiting to be drained.")                               \
    METRIC(M_WAL_LIVE, GAUGE, "sync_engine_wal_live_records", "",                                  \
           "Records in the WAL that are not yet confirmed, acknowledged ones in flight included.") \
    METRIC(M_WAL_BYTES, GAUGE, "sync_engine_wal_live_bytes", "", "Bytes of live WAL records.")     \
    METRIC(M_DEAD, GAUGE, "sync_engine_dead_letters", "",                                          \
           "Writes the home tier refuses, kept for an operator.")                                  \
    METRIC(M_WAL_APPENDS, COUNTER, "sync_engine_wal_appends_total", "status=\"success\"",          \
           "Records appended to the WAL.")                                                         \
    METRIC(M_WAL_APPEND_ERRORS, COUNTER, "sync_engine_wal_appends_total", "status=\"error\"", "")  \
    METRIC(M_WAL_COMMITS, COUNTER, "sync_engine_wal_commits_total", "",                            \
           "Group commits of the WAL (one fsync each).")                                           \
    METRIC(M_WAL_DRAINED, COUNTER, "sync_engine_wal_drained_total", "",                            \
           "Records the WAL handed back to the home tier.")                                        \
    METRIC(M_WAL_GARBAGE, COUNTER, "sync_engine_wal_garbage_total", "",                            \
           "Records in the WAL whose checksum does not hold.")                                     \
    METRIC(M_FLUSH_BATCHES, COUNTER, "sync_engine_flush_batches_total", "outcome=\"home\"",        \
           "Flushed batches by where they ended.")                                                 \
    METRIC(M_FLUSH_BATCHES_WAL, COUNTER, "sync_engine_flush_batches_total", "outcome=\"wal\"", "") \
    METRIC(M_FLUSH_BATCHES_RETRY, COUNTER, "sync_engine_flush_batches_total", "outcome=\"retry\"", \
           "")                                                                                     \
    METRIC(M_FLUSH_SECONDS, HISTOGRAM, "sync_engine_flush_duration_seconds", "",                   \
           "Time from taking a batch until the home tier or the WAL has it.")                      \
    METRIC(M_L1_GET_SECONDS, HISTOGRAM, "sync_engine_operation_duration_seconds",                  \
           "tier=\"l1\",operation=\"get\"",                                                        \
           "Duration of backend calls (put: a batch), and of some operations in L1 "               \
           "(docs/counting.md).")                                                                  \
    METRIC(M_L1_PUT_SECONDS, HISTOGRAM, "sync_engine_operation_duration_seconds",                  \
           "tier=\"l1\",operation=\"put\"", "")                                                    \
    METRIC(M_L2_GET_SECONDS, HISTOGRAM, "sync_engine_operation_duration_seconds",                  \
           "tier=\"l2\",operation=\"get\"", "")                                                    \
    METRIC(M_L2_PUT_SECONDS, HISTOGRAM, "sync_engine_operation_duration_seconds",                  \
           "tier=\"l2\",operation=\"put\"", "")                                                    \
    METRIC(M_L2_SCAN_SECONDS, HISTOGRAM, "sync_engine_operation_duration_seconds",                 \
           "tier=\"l2\",operation=\"scan\"", "")                                                   \
    METRIC(M_L2_PROBE_SECONDS, HISTOGRAM, "sync_engine_operation_duration_seconds",                \
           "tier=\"l2\",operation=\"probe\"", "")                                                  \
    METRIC(M_L3_GET_SECONDS, HISTOGRAM, "sync_engine_operation_duration_seconds",                  \
           "tier=\"l3\",operation=\"get\"", "")                                                    \
    METRIC(M_L3_PUT_SECONDS, HISTOGRAM, "sync_engine_operation_duration_seconds",                  \
           "tier=\"l3\",operation=\"put\"", "")                                                    \
    METRIC(M_L3_SCAN_SECONDS, HISTOGRAM, "sync_engine_operation_duration_seconds",                 \
           "tier=\"l3\",operation=\"scan\"", "")                                                   \
    METRIC(M_L3_PROBE_SECONDS, HISTOGRAM, "sync_engine_operation_duration_seconds",                \
           "tier=\"l3\",operation=\"probe\"", "")                                                  \
    METRIC(M_WAL_GET_SECONDS, HISTOGRAM, "sync_engine_operation_duration_seconds",                 \
           "tier=\"wal\",operation=\"get\"", "")                                                   \
    METRIC(M_WAL_PUT_SECONDS, HISTOGRAM, "sync_engine_operation_duration_seconds",                 \
           "tier=\"wal\",operation=\"put\"", "")                                                   \
    METRIC(M_WAL_DRAIN_SECONDS, HISTOGRAM, "sync_engine_operation_duration_seconds",               \
           "tier=\"wal\",operation=\"drain\"", "")                                                 \
    METRIC(M_L1_PUT_BYTES, COUNTER, "sync_engine_bytes_total", "tier=\"l1\",operation=\"put\"",    \
           "Bytes of ids and contents that went into each tier (put) or came out of it (get).")    \
    METRIC(M_L2_GET_BYTES, COUNTER, "sync_engine_bytes_total", "tier=\"l2\",operation=\"get\"",    \
           "")                                                                                     \
    METRIC(M_L2_PUT_BYTES, COUNTER, "sync_engine_bytes_total", "tier=\"l2\",operation=\"put\"",    \
           "")                                                                                     \
    METRIC(M_L3_GET_BYTES, COUNTER, "sync_engine_bytes_total", "tier=\"l3\",operation=\"get\"",    \
           "")                                                                                     \
    METRIC(M_L3_PUT_BYTES, COUNTER, "sync_engine_bytes_total", "tier=\"l3\",operation=\"put\"",    \
           "")                                                                                     \
    METRIC(M_WAL_PUT_BYTES, COUNTER, "sync_engine_bytes_total", "tier=\"wal\",operation=\"put\"",  \
           "")                                                                                     \
    METRIC(M_FLUSH_ITEMS, COUNTS, "sync_engine_flush_batch_items", "",                             \
           "Items of a batch that left the queue, by its size.")                                   \
    METRIC(M_FLUSH_BYTES, SIZES, "sync_engine_flush_batch_bytes", "",                              \
           "Bytes of the ids and contents of a batch that left the queue.")                        \
    METRIC(M_L1_BYTES, GAUGE, "sync_engine_l1_cache_bytes", "",                                    \
           "Bytes of L1, bookkeeping included; never above l1_max_bytes.")                         \
    METRIC(M_L1_MAX_BYTES, GAUGE, "sync_engine_l1_cache_max_bytes", "", "The bound of L1.")        \
    METRIC(M_L1_ITEMS, GAUGE, "sync_engine_l1_cache_items", "", "Live items in L1.")               \
    METRIC(M_DETACHED_BYTES, GAUGE, "sync_engine_items_detached_bytes", "",                        \
           "Bytes of items evicted from L1 that callers still hold.")                              \
    METRIC(M_EVICTED_PRESSURE, COUNTER, "sync_engine_evictions_total", "reason=\"pressure\"",      \
           "Items that left L1.")                                                                  \
    METRIC(M_EVICTED_EXPIRED, COUNTER, "sync_engine_evictions_total", "reason=\"expired\"", "")    \
    METRIC(M_EVICTED_INVALIDATED, COUNTER, "sync_engine_evictions_total",                          \
           "reason=\"invalidated\"", "")                                                           \
    METRIC(M_LOAD_SHARED, COUNTER, "sync_engine_loads_shared_total", "",                           \
           "Misses that waited for another caller's lookup of the same id.")                       \
    METRIC(M_FACTORY_RUNS, COUNTER, "sync_engine_factory_runs_total", "",                          \
           "Calls of cache-aside factories.")                                                      \
    METRIC(M_CIRCUIT_REDIS, GAUGE, "sync_engine_circuit_breaker_state", "circuit=\"redis\"",       \
           "0 closed, 1 half-open, 2 open.")                                                       \
    METRIC(M_CIRCUIT_SQL, GAUGE, "sync_engine_circuit_breaker_state", "circuit=\"sql\"", "")       \
    METRIC(M_CIRCUIT_REDIS_OPENED, COUNTER, "sync_engine_circuit_breaker_transitions_total",       \
           "circuit=\"redis\",to=\"open\"", "State changes of the circuit breakers.")              \
    METRIC(M_CIRCUIT_REDIS_HALF, COUNTER, "sync_engine_circuit_breaker_transitions_total",         \
           "circuit=\"redis\",to=\"half_open\"", "")                                               \
    METRIC(M_CIRCUIT_REDIS_CLOSED, COUNTER, "sync_engine_circuit_breaker_transitions_total",       \
           "circuit=\"redis\",to=\"closed\"", "")                                                  \
    METRIC(M_CIRCUIT_SQL_OPENED, COUNTER, "sync_engine_circuit_breaker_transitions_total",         \
           "circuit=\"sql\",to=\"open\"", "")                                                      \
    METRIC(M_CIRCUIT_SQL_HALF, COUNTER, "sync_engine_circuit_breaker_transitions_total",           \
           "circuit=\"sql\",to=\"half_open\"", "")                                                 \
    METRIC(M_CIRCUIT_SQL_CLOSED, COUNTER, "sync_engine_circuit_breaker_transitions_total",         \
           "circuit=\"sql\",to=\"closed\"", "")                                                    \
    METRIC(M_CIRCUIT_REDIS_REJECTED, COUNTER, "sync_engine_circuit_breaker_rejections_total",      \
           "circuit=\"redis\"", "Calls not made because the circuit was open.")                    \
    METRIC(M_CIRCUIT_SQL_REJECTED, COUNTER, "sync_engine_circuit_breaker_rejections_total",        \
           "circuit=\"sql\"", "")                                                                  \
    METRIC(M_RETRIES_REDIS, COUNTER, "sync_engine_retries_total", "circuit=\"redis\"",             \
           "Backend calls repeated.")                                                              \
    METRIC(M_RETRIES_SQL, COUNTER, "sync_engine_retries_total", "circuit=\"sql\"", "")             \
    METRIC(M_UP_REDIS, GAUGE, "sync_engine_backend_up", "backend=\"redis\"",                       \
           "1 up, 0 down, -1 not configured.")                                                     \
    METRIC(M_UP_SQL, GAUGE, "sync_engine_backend_up", "backend=\"sql\"", "")                       \
    METRIC(M_PRESSURE, GAUGE, "sync_engine_pressure_ratio", "",                                    \
           "0..1: the greatest share of what cannot be evicted.")                                  \
    METRIC(M_PRESSURE_LEVEL, GAUGE, "sync_engine_pressure_level", "", "0 normal .. 5 shutdown.")   \
    METRIC(M_PRESSURE_TO_NORMAL, COUNTER, "sync_engine_pressure_transitions_total",                \
           "to=\"normal\"", "Changes of the pressure level, by the level entered.")                \
    METRIC(M_PRESSURE_TO_WARN, COUNTER, "sync_engine_pressure_transitions_total", "to=\"warn\"",   \
           "")                                                                                     \
    METRIC(M_PRESSURE_TO_THROTTLE, COUNTER, "sync_engine_pressure_transitions_total",              \
           "to=\"throttle\"", "")                                                                  \
    METRIC(M_PRESSURE_TO_CRITICAL, COUNTER, "sync_engine_pressure_transitions_total",              \
           "to=\"critical\"", "")                                                                  \
    METRIC(M_PRESSURE_TO_EMERGENCY, COUNTER, "sync_engine_pressure_transitions_total",             \
           "to=\"emergency\"", "")                                                                 \
    METRIC(M_PRESSURE_TO_SHUTDOWN, COUNTER, "sync_engine_pressure_transitions_total",              \
           "to=\"shutdown\"", "")                                                                  \
    METRIC(M_REFUSED, COUNTER, "sync_engine_writes_refused_total", "",                             \
           "Writes answered with SE_ERR_BACKPRESSURE.")                                            \
    METRIC(M_THROTTLED, COUNTER, "sync_engine_writes_throttled_total", "",                         \
           "Writes delayed by pressure.")                                                          \
    METRIC(M_CORRUPT_L1, COUNTER, "sync_engine_corruption_detected_total", "tier=\"l1\"",          \
           "Copies whose content or header does not fit its hash.")                                \
    METRIC(M_CORRUPT_L2, COUNTER, "sync_engine_corruption_detected_total", "tier=\"l2\"", "")      \
    METRIC(M_CORRUPT_L3, COUNTER, "sync_engine_corruption_detected_total", "tier=\"l3\"", "")      \
    METRIC(M_CORRUPT_WAL, COUNTER, "sync_engine_corruption_detected_total", "tier=\"wal\"", "")    \
    METRIC(M_HEALED_L1, COUNTER, "sync_engine_healed_total", "tier=\"l1\"",                        \
           "Bad copies replaced from another tier.")                                               \
    METRIC(M_HEALED_L2, COUNTER, "sync_engine_healed_total", "tier=\"l2\"", "")                    \
    METRIC(M_HEALED_L3, COUNTER, "sync_engine_healed_total", "tier=\"l3\"", "")                    \
    METRIC(M_SUSPECTS, GAUGE, "sync_engine_l2_suspect_ids", "",                                    \
           "Ids whose copy in Redis may be older than the home tier's and is not read.")           \
    METRIC(M_GENERATIONS, COUNTER, "sync_engine_l2_generations_total", "",                         \
           "Times the L2 generation was redrawn: everything in Redis became a miss.")              \
    METRIC(M_CLOCK_AHEAD, COUNTER, "sync_engine_clock_skew_total", "",                             \
           "Versions seen further ahead of the clock than max_clock_skew_ms.")                     \
    METRIC(M_PURGED, COUNTER, "sync_engine_tombstones_purged_total", "",                           \
           "Tombstones and expired rows removed after their retention.")                           \
    METRIC(M_FOREIGN_OWNERS, GAUGE, "sync_engine_foreign_owners", "",                              \
           "Other live engines seen writing the same database.")                                   \
    METRIC(M_FILTER_TRUST, GAUGE, "sync_engine_filter_trusted", "",                                \
           "1 if an absent id can be excluded without asking a tier.")                             \
    METRIC(M_FILTER_DOUBTED, COUNTER, "sync_engine_filter_trust_changes_total",                    \
           "to=\"untrusted\"", "Times the filter lost or gained trust; the log says why.")         \
    METRIC(M_FILTER_BELIEVED, COUNTER, "sync_engine_filter_trust_changes_total", "to=\"trusted\"", \
           "")                                                                                     \
    METRIC(M_FILTER_ITEMS, GAUGE, "sync_engine_filter_items", "", "Fingerprints in the filter.")   \
    METRIC(M_FILTER_BYTES, GAUGE, "sync_engine_filter_bytes", "", "Memory of the filter.")         \
    METRIC(M_FILTER_EXCLUDED, COUNTER, "sync_engine_filter_lookups_total", "result=\"excluded\"",  \
           "Misses by what the trusted filter said and L3 then held.")                             \
    METRIC(M_FILTER_PRESENT, COUNTER, "sync_engine_filter_lookups_total", "result=\"present\"",    \
           "")                                                                                     \
    METRIC(M_FILTER_FALSE, COUNTER, "sync_engine_filter_lookups_total",                            \
           "result=\"false_positive\"", "")                                                        \
    METRIC(M_FILTER_FALSE_RATIO, GAUGE, "sync_engine_filter_false_positive_ratio", "",             \
           "False positives among the misses of ids that L3 does not hold, since open.")           \
    METRIC(M_FILTER_SCANNED, COUNTER, "sync_engine_filter_scanned_ids_total", "",                  \
           "Ids read from L3 for the filter.")                                                     \
    METRIC(M_FILTER_REBUILT_FULL, COUNTER, "sync_engine_filter_rebuilds_total",                    \
           "reason=\"growth\"", "Parts of the filter built anew.")                                 \
    METRIC(M_FILTER_REBUILT_DEAD, COUNTER, "sync_engine_filter_rebuilds_total",                    \
           "reason=\"dead_ids\"", "")                                                              \
    METRIC(M_FILTER_REBUILT_COLD, COUNTER, "sync_engine_filter_rebuilds_total", "reason=\"scan\"", \
           "")                                                                                     \
    METRIC(M_FILTER_SNAPSHOTS, COUNTER, "sync_engine_filter_snapshots_total",                      \
           "status=\"written\"", "Snapshots of the filter.")                                       \
    METRIC(M_FILTER_SNAPSHOT_ERRORS, COUNTER, "sync_engine_filter_snapshots_total",                \
           "status=\"error\"", "")                                                                 \
    METRIC(M_FILTER_SNAPSHOT_USED, COUNTER, "sync_engine_filter_snapshots_total",                  \
           "status=\"used\"", "")                                                                  \
    METRIC(M_FILTER_SNAPSHOT_REFUSED, COUNTER, "sync_engine_filter_snapshots_total",               \
           "status=\"refused\"", "")                                                               \
    METRIC(M_VERIFY_RUNS, COUNTER, "sync_engine_verify_runs_total", "", "Verifications begun.")    \
    METRIC(M_VERIFY_CHECKED, COUNTER, "sync_engine_verify_checked_total", "",                      \
           "Ids compared by verifications.")                                                       \
    METRIC(M_VERIFY_STALE_L2, COUNTER, "sync_engine_verify_findings_total",                        \
           "tier=\"l2\",flaw=\"stale\"", "Differences that verifications found.")                  \
    METRIC(M_VERIFY_STALE_L3, COUNTER, "sync_engine_verify_findings_total",                        \
           "tier=\"l3\",flaw=\"stale\"", "")                                                       \
    METRIC(M_VERIFY_CORRUPT_L2, COUNTER, "sync_engine_verify_findings_total",                      \
           "tier=\"l2\",flaw=\"corrupt\"", "")                                                     \
    METRIC(M_VERIFY_CORRUPT_L3, COUNTER, "sync_engine_verify_findings_total",                      \
           "tier=\"l3\",flaw=\"corrupt\"", "")                                                     \
    METRIC(M_VERIFY_ORPHAN_L2, COUNTER, "sync_engine_verify_findings_total",                       \
           "tier=\"l2\",flaw=\"orphan\"", "")                                                      \
    METRIC(M_VERIFY_REPAIRED, COUNTER, "sync_engine_verify_repaired_total", "",                    \
           "Differences put right by a repair.")                                                   \
    METRIC(M_PHASE, GAUGE, "sync_engine_phase", "",                                                \
           "Phase of the engine's life, se_phase in the header.")                                  \
    METRIC(M_BUILD, GAUGE, "sync_engine_build_info", "version=\"0.1.0\"",                          \
           "1; the version is in the label.")

enum metric {
#define METRIC(symbol, type, family, labels, help) symbol,
    SE_METRICS(METRIC)
#undef METRIC
        METRIC_COUNT
};

#endif
