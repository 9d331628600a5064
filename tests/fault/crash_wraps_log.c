/*
 * wraps_log - points in the log and in the flush workers.
 */
#include "fault/crash_wraps.h"

#include "flush/inside.h"
#include "wal/state.h"

#include <string.h>

WRAP(POINT_WAL_OPEN, true, se_result, se__wal_open,
     (const struct wal_options *options, struct wal **wal), (options, wal))
WRAP(POINT_WAL_ADOPT, true, se_result, se__wal_adopt, (const char *path), (path))
WRAP(POINT_WAL_FILE_OPEN, mode == WAL_FILE_WRITE, se_result, se__wal_file_open,
     (const char *path, enum wal_file_mode mode, struct wal_file *f), (path, mode, f))
/* One function, two points: who calls it is told by the purpose. */
WRAP(purpose == WAL_HOME ? POINT_FLUSH_TO_WAL : POINT_WAL_APPEND, true, se_result, se__wal_append,
     (struct wal * w, se_item *const *items, size_t n, enum wal_purpose purpose,
      uint64_t deadline_ms),
     (w, items, n, purpose, deadline_ms))
WRAP(POINT_WAL_RECORD, true, int, se__wal_file_log,
     (struct wal_file * f, uint64_t seq, const se_item *item), (f, seq, item))
WRAP(POINT_WAL_COMMIT, which == SQL_COMMIT, int, se__wal_file_run,
     (struct wal_file * f, enum wal_sql which), (f, which))
WRAP(POINT_WAL_CEILING, strcmp(name, WAL_META_CEILING) == 0, int, se__wal_file_meta_put_u64,
     (struct wal_file * f, const char *name, uint64_t value), (f, name, value))
WRAP_VOID(POINT_WAL_CONFIRM, true, se__wal_confirm,
          (struct wal * w, const char *id, size_t id_len, uint64_t version,
           struct wal_confirmed *confirmed),
          (w, id, id_len, version, confirmed))
WRAP(POINT_WAL_REMOVE, removal && removal->n > 0, int, se__wal_removal_apply,
     (struct removal * removal, struct wal_file *f), (removal, f))
WRAP(POINT_WAL_CHECKPOINT, true, int, se__wal_file_checkpoint, (struct wal_file * f, bool truncate),
     (f, truncate))
WRAP(POINT_WAL_TAKE, true, se_result, se__wal_drain_take,
     (struct wal * w, unsigned partition, size_t items_max, size_t bytes_max, se_item ***items,
      size_t *n),
     (w, partition, items_max, bytes_max, items, n))
WRAP_VOID(POINT_WAL_DRAINED, true, se__wal_drain_done,
          (struct wal * w, unsigned partition, se_item **items, size_t n), (w, partition, items, n))
WRAP_VOID(POINT_WAL_RETURN, true, se__wal_drain_return,
          (struct wal * w, unsigned partition, se_item **items, size_t n), (w, partition, items, n))
WRAP(POINT_WAL_BURY, true, se_result, se__wal_bury,
     (struct wal * w, se_item *item, int code, const char *error), (w, item, code, error))
WRAP(POINT_WAL_DEAD_ROW, true, int, se__wal_file_bury,
     (struct wal_file * f, uint64_t seq, const se_item *item, int code, const char *error,
      int64_t buried_at_ms),
     (f, seq, item, code, error, buried_at_ms))
WRAP(POINT_WAL_MOVE, true, se_result, se__wal_move,
     (struct wal * w, struct request *group, uint64_t ceiling, bool *reached),
     (w, group, ceiling, reached))
WRAP(POINT_WAL_TEND_SYNC, sync, se_result, se__wal_tend, (struct wal * w, bool sync), (w, sync))
WRAP_VOID(POINT_WAL_CLOSE, w != NULL, se__wal_close, (struct wal * w), (w))

WRAP(POINT_FLUSH_TAKE, true, struct dirty_node *, se__dirty_take,
     (struct dirty_queue * q, size_t items_max, size_t bytes_max, size_t *n, uint64_t *up_to),
     (q, items_max, bytes_max, n, up_to))
typedef struct tier_reply (*attempt_fn)(void *arg, struct tier_write *writes, size_t n);
WRAP(POINT_FLUSH_HOME, true, struct tier_reply, se__split_write_on,
     (struct split_run * run, struct tier_write *writes, struct split_item *fates, size_t n,
      attempt_fn attempt, void *arg),
     (run, writes, fates, n, attempt, arg))
WRAP_VOID(POINT_FLUSH_CLEAN, true, se__l1_home, (struct l1 * map, const se_item *item), (map, item))
WRAP_VOID(POINT_FLUSH_HAND, n > 0, se__stage_hand,
          (struct stage * s, const struct staged *items, size_t n, uint64_t seq),
          (s, items, n, seq))
WRAP_VOID(POINT_FLUSH_ANNOUNCE, true, se__flush_announce,
          (struct worker * w, uint64_t home_seq, bool unwell), (w, home_seq, unwell))
WRAP_VOID(POINT_FLUSH_DRAIN, true, se__flush_drain, (struct worker * w), (w))
WRAP(POINT_FLUSH_STOP, true, size_t, se__worker_stop, (struct worker * w, uint64_t deadline_ms),
     (w, deadline_ms))
