"""What cffi is told of the library. Generated from the public header by make_cdef.py; do not edit."""

CDEF = r"""
#define SE_VERSION_MAJOR 0
#define SE_VERSION_MINOR 1
#define SE_VERSION_PATCH 0
#define SE_ID_MAX 255
#define SE_STATE_MAX 32
#define SE_HASH_SIZE 16
#define SE_LOG_FIELDS_MAX 8
#define SE_ROUTE_L2 1
#define SE_ROUTE_L3 2
typedef struct se_engine se_engine;
typedef struct se_item se_item;
typedef enum se_result { SE_OK = 0, SE_NOT_FOUND = 1, SE_PENDING = 2, SE_ERR_INVALID = -1, SE_ERR_NOMEM = -2, SE_ERR_TOO_BIG = -3, SE_ERR_BACKPRESSURE = -4, SE_ERR_STATE = -5, SE_ERR_BACKEND = -6, SE_ERR_TIMEOUT = -7, SE_ERR_CORRUPT = -8, SE_ERR_IO = -9, SE_ERR_CONFIG = -10, SE_ERR_UNSUPPORTED = -11, SE_ERR_ABORTED = -12 } se_result;
const char *se_strerror(se_result result);
const char *se_errmsg(void);
const char *se_library_version(void);
typedef struct se_allocator { size_t struct_size; void *arg; void *(*malloc_fn)(void *arg, size_t bytes); void *(*calloc_fn)(void *arg, size_t count, size_t bytes); void *(*realloc_fn)(void *arg, void *old, size_t bytes); void *(*aligned_fn)(void *arg, size_t alignment, size_t bytes); void (*free_fn)(void *arg, void *memory); size_t (*size_fn)(void *arg, const void *memory); } se_allocator;
se_result se_set_allocator(const se_allocator *allocator);
typedef bool (*se_thread_fn)(void *arg, const char *name);
se_result se_set_thread_hook(se_thread_fn fn, void *arg);
typedef enum se_ack { SE_ACK_DEFAULT = 0, SE_ACK_MEMORY, SE_ACK_WAL, SE_ACK_L3 } se_ack;
typedef enum se_compression { SE_COMPRESSION_OFF = 0, SE_COMPRESSION_ON, SE_COMPRESSION_DICTIONARY } se_compression;
typedef enum se_log_level { SE_LOG_ERROR, SE_LOG_WARN, SE_LOG_INFO, SE_LOG_DEBUG } se_log_level;
typedef void (*se_log_fn)(void *arg, se_log_level level, const char *message);
typedef struct se_log_field { const char *key, *value; } se_log_field;
typedef struct se_log_event { size_t struct_size; se_log_level level; const char *engine; const char *component, *event; const char *message; const se_log_field *fields; size_t n_fields; uint64_t reserved[4]; } se_log_event;
typedef void (*se_log_event_fn)(void *arg, const se_log_event *event);
typedef struct se_config { size_t struct_size; void *owned; const char *name; const char *redis_url; const char *redis_prefix; const char *sql_url; const char *sql_table; const char *wal_path; size_t l1_max_bytes; size_t max_payload_bytes; uint32_t batch_flush_ms; uint32_t batch_flush_count; size_t batch_flush_bytes; uint32_t flush_workers; se_ack default_ack; size_t queue_max_bytes; uint64_t wal_max_items; uint64_t wal_max_bytes; uint32_t wal_drain_batch_size; double backpressure_warn; double backpressure_critical; uint32_t filter_warmup_batch_size; uint32_t filter_snapshot_interval_s; uint32_t filter_snapshot_insert_threshold; uint32_t redis_timeout_ms; uint32_t sql_timeout_ms; uint32_t read_timeout_ms; uint32_t ack_timeout_ms; uint32_t throttle_max_ms; uint32_t startup_timeout_ms; uint32_t read_connections; uint32_t circuit_failures; uint32_t circuit_open_ms; uint32_t max_clock_skew_ms; bool require_backends; bool read_only; bool shared; const char *cdc_stream; uint64_t cdc_maxlen; uint32_t tombstone_retention_s; se_log_fn log_fn; void *log_arg; se_compression sql_compression; bool l1_huge_pages; se_log_event_fn log_event_fn; } se_config;
void se_config_init_sized(se_config *config, size_t size);
se_result se_config_set(se_config *config, const char *name, const char *value);
se_result se_config_from_env(se_config *config);
se_result se_config_text(const se_config *config, char **text, size_t *len);
void se_config_clear(se_config *config);
typedef enum se_phase { SE_PHASE_CREATED, SE_PHASE_CONNECTING, SE_PHASE_DRAINING_WAL, SE_PHASE_SYNCING_REDIS, SE_PHASE_WARMING_UP, SE_PHASE_READY, SE_PHASE_RUNNING, SE_PHASE_SHUTTING_DOWN } se_phase;
se_result se_open(const se_config *config, se_engine **engine);
se_result se_shutdown(se_engine *engine, uint32_t timeout_ms);
se_result se_close(se_engine *engine, uint32_t timeout_ms);
se_result se_flush(se_engine *engine, uint32_t timeout_ms);
se_phase se_engine_phase(const se_engine *engine);
typedef enum se_content_type { SE_CONTENT_AUTO = 0, SE_CONTENT_BINARY, SE_CONTENT_JSON } se_content_type;
se_item *se_item_retain(se_item *item);
void se_item_release(se_item *item);
const char *se_item_id(const se_item *item);
const void *se_item_content(const se_item *item);
size_t se_item_content_len(const se_item *item);
uint64_t se_item_version(const se_item *item);
int64_t se_item_updated_at_ms(const se_item *item);
se_content_type se_item_content_type(const se_item *item);
const char *se_item_state(const se_item *item);
void se_item_hash(const se_item *item, uint8_t hash[16]);
typedef enum se_delivery_outcome { SE_DELIVERY_HOME, SE_DELIVERY_WAL, SE_DELIVERY_SUPERSEDED, SE_DELIVERY_DEAD, SE_DELIVERY_OPEN } se_delivery_outcome;
typedef struct se_delivery { const char *id; uint64_t version; se_delivery_outcome outcome; bool deleted; uint64_t newest; int error_code; const char *error; uint64_t reserved[4]; } se_delivery;
typedef void (*se_delivery_fn)(void *arg, const se_delivery *delivery);
const char *se_delivery_name(se_delivery_outcome outcome);
typedef struct se_submit_options { size_t struct_size; uint32_t route; uint64_t cache_ttl_ms; int64_t expires_at_ms; const char *state; se_content_type content_type; se_ack ack; se_delivery_fn delivery; void *delivery_arg; se_ack delivery_ack; } se_submit_options;
void se_submit_options_init_sized(se_submit_options *options, size_t size);
se_result se_submit(se_engine *engine, const char *id, const void *content, size_t len, const se_submit_options *options);
se_result se_delete(se_engine *engine, const char *id, const se_submit_options *options);
typedef struct se_put { const char *id; const void *content; size_t len; const se_submit_options *options; se_result result; uint64_t version; uint64_t reserved[3]; } se_put;
typedef struct se_batch_result { size_t total, succeeded, failed; uint64_t reserved[5]; } se_batch_result;
se_result se_submit_many(se_engine *engine, se_put *puts, size_t n, se_batch_result *out);
se_result se_delete_many(se_engine *engine, const char *const *ids, size_t n, se_batch_result *out);
se_result se_set_state(se_engine *engine, const char *id, const char *state);
se_result se_get(se_engine *engine, const char *id, se_item **item);
se_result se_get_verified(se_engine *engine, const char *id, se_item **item);
se_result se_get_many(se_engine *engine, const char *const *ids, size_t n, se_item **items, se_result *results);
se_result se_get_copy(se_engine *engine, const char *id, void *buffer, size_t cap, size_t *len);
typedef se_result (*se_factory_fn)(void *arg, const char *id, void **content, size_t *len);
se_result se_get_or_insert_with(se_engine *engine, const char *id, se_factory_fn factory, void *arg, const se_submit_options *options, se_item **item);
se_result se_contains(se_engine *engine, const char *id, bool *found);
bool se_definitely_missing(const se_engine *engine, const char *id);
bool se_might_exist(const se_engine *engine, const char *id);
se_result se_is_current(se_engine *engine, const char *id, const uint8_t hash[16], bool *current);
typedef enum se_sync { SE_SYNC_MISSING, SE_SYNC_PENDING, SE_SYNC_SYNCED } se_sync;
typedef struct se_item_status { se_sync sync; bool in_l1, in_l2, in_l3, in_wal; uint64_t version; uint64_t reserved[4]; } se_item_status;
se_result se_status(se_engine *engine, const char *id, se_item_status *status);
size_t se_len(const se_engine *engine);
bool se_is_empty(const se_engine *engine);
typedef bool (*se_visit_fn)(void *arg, se_item *item);
se_result se_scan_prefix(se_engine *engine, const char *prefix, size_t limit, se_visit_fn visit, void *arg);
se_result se_scan_prefix_after(se_engine *engine, const char *prefix, const char *after, size_t limit, se_visit_fn visit, void *arg);
se_result se_count_prefix(se_engine *engine, const char *prefix, uint64_t *count);
se_result se_delete_prefix(se_engine *engine, const char *prefix, uint64_t *deleted);
se_result se_invalidate(se_engine *engine, const char *id);
se_result se_invalidate_prefix(se_engine *engine, const char *prefix);
se_result se_scan_state(se_engine *engine, const char *state, size_t limit, se_visit_fn visit, void *arg);
se_result se_count_state(se_engine *engine, const char *state, uint64_t *count);
se_result se_delete_state(se_engine *engine, const char *state, uint64_t *deleted);
typedef enum se_tier { SE_TIER_L2 = 2, SE_TIER_L3 = 3 } se_tier;
typedef struct se_merkle_node { uint8_t digest[16]; uint64_t count; } se_merkle_node;
se_result se_merkle_root(se_engine *engine, se_tier tier, se_merkle_node *root);
se_result se_merkle_children(se_engine *engine, se_tier tier, unsigned depth, uint32_t index, se_merkle_node children[16]);
se_result se_merkle_prefix(se_engine *engine, se_tier tier, const char *prefix, se_merkle_node *node);
typedef enum se_verify_mode { SE_VERIFY_QUICK, SE_VERIFY_DEEP } se_verify_mode;
typedef enum se_flaw { SE_FLAW_STALE, SE_FLAW_CORRUPT, SE_FLAW_ORPHAN } se_flaw;
typedef struct se_verify_finding { const char *id; se_tier tier; se_flaw flaw; bool repaired; const char *detail; } se_verify_finding;
typedef struct se_verify_options { size_t struct_size; se_verify_mode mode; bool repair; void (*progress)(void *arg, uint64_t done, uint64_t total); void *progress_arg; uint64_t rate; const char *after; bool (*checkpoint)(void *arg, const char *through); void *checkpoint_arg; void (*finding)(void *arg, const se_verify_finding *finding); void *finding_arg; } se_verify_options;
typedef struct se_verify_report { uint64_t checked; uint64_t stale_l2; uint64_t stale_l3; uint64_t corrupt_l2, corrupt_l3; uint64_t orphan_l2; uint64_t repaired, unrepairable; bool roots_equal; uint64_t reserved[8]; } se_verify_report;
void se_verify_options_init_sized(se_verify_options *options, size_t size);
se_result se_verify(se_engine *engine, const se_verify_options *options, se_verify_report *report);
typedef struct se_dictionary { uint32_t id; bool newest; int64_t made_at_ms; uint64_t bytes; uint64_t samples; uint64_t plain_bytes; uint64_t alone_bytes; uint64_t packed_bytes; uint64_t reserved[4]; } se_dictionary;
se_result se_dictionary_train(se_engine *engine, size_t bytes, size_t samples, se_dictionary *made);
typedef bool (*se_dictionary_fn)(void *arg, const se_dictionary *dictionary);
se_result se_dictionary_list(se_engine *engine, se_dictionary_fn visit, void *arg);
typedef enum se_pressure { SE_PRESSURE_NORMAL, SE_PRESSURE_WARN, SE_PRESSURE_THROTTLE, SE_PRESSURE_CRITICAL, SE_PRESSURE_EMERGENCY, SE_PRESSURE_SHUTDOWN } se_pressure;
typedef enum se_circuit { SE_CIRCUIT_CLOSED, SE_CIRCUIT_HALF_OPEN, SE_CIRCUIT_OPEN } se_circuit;
typedef enum se_trust { SE_TRUST_UNTRUSTED, SE_TRUST_TRUSTED } se_trust;
typedef struct se_health { se_phase phase; bool healthy, ready, accepting_writes; se_pressure pressure_level; double pressure; size_t l1_items, l1_bytes; uint64_t queue_items, queue_bytes, wal_items, dead_letters; se_circuit redis_circuit, sql_circuit; int redis_up, sql_up; se_trust filter_trust; uint64_t filter_items; uint64_t oldest_dirty_ms; uint64_t filter_bytes; const char *filter_doubt; uint64_t wal_failed; uint64_t reserved[5]; } se_health;
se_result se_health_check(se_engine *engine, se_health *health);
se_pressure se_pressure_level(const se_engine *engine);
uint32_t se_retry_after_ms(const se_engine *engine);
se_result se_metrics_text(se_engine *engine, char **text, size_t *len);
const char *se_phase_name(se_phase phase);
const char *se_pressure_name(se_pressure level);
const char *se_circuit_name(se_circuit circuit);
se_result se_http_start(se_engine *engine, const char *address, uint16_t *port);
void se_http_stop(se_engine *engine);
"""
