/*
 * wraps_tiers - points in the database's and Redis' code, and the filter's snapshot.
 */
#include "fault/crash_wraps.h"

#include "base/file.h"
#include "flush/suspects.h"
#include "l2/op.h"
#include "l3/store.h"

#include <mysql.h>
#include <string.h>

WRAP(POINT_HOME_WRITE, true, struct tier_reply, se__store_write,
     (void *tier, unsigned worker, struct tier_write *writes, size_t n, uint64_t deadline_ms),
     (tier, worker, writes, n, deadline_ms))
WRAP(POINT_HOME_TRANSACTION, true, struct db_result, se__store_transaction,
     (struct store * s, void *connection, store_body body, void *arg), (s, connection, body, arg))
WRAP(POINT_HOME_META, true, struct tier_reply, se__store_meta_put,
     (void *tier, const char *name, const char *value, uint64_t deadline_ms),
     (tier, name, value, deadline_ms))
WRAP(POINT_MARIADB_ROWS, true, int, mysql_stmt_execute, (MYSQL_STMT * stmt), (stmt))
WRAP(POINT_MARIADB_COMMIT, len == 6 && memcmp(sql, "COMMIT", 6) == 0, int, mysql_real_query,
     (MYSQL * mysql, const char *sql, unsigned long len), (mysql, sql, len))

WRAP(POINT_REDIS_WRITE, n > 0, struct tier_reply, se__redis_write,
     (void *tier, unsigned worker, struct tier_write *writes, size_t n, uint64_t deadline_ms),
     (tier, worker, writes, n, deadline_ms))
WRAP_VOID(POINT_REDIS_SUSPECTS, true, se__suspects_add,
          (struct suspects * s, uint64_t hash, uint64_t version), (s, hash, version))
WRAP_VOID(POINT_REDIS_GENERATION, true, se__redis_accept,
          (struct redis * r, const char *identity, uint64_t generation), (r, identity, generation))
WRAP(POINT_FILTER_SNAPSHOT, true, se_result, se__file_replace,
     (const char *path, const void *bytes, size_t len), (path, bytes, len))
