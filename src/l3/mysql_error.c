/*
 * mysql_error - what a server's or the client library's error number means for us.
 *
 *   CONFLICT  others were in the way: the same transaction may pass when repeated at once
 *   REFUSED   this row, for what it is: repeating is no use, other rows may pass
 *   UNWELL    everything else: the server, the network, the schema, our rights. Back off
 *
 * Numbers below 2000 and from 3000 are the server's
 * (https://mariadb.com/kb/en/mariadb-error-codes/, MySQL's error reference; TiDB's from 8000),
 * those between are the client library's.
 */
#include "l3/mysql_conn.h"

struct known_error {
    unsigned code;
    enum tier_fault fault;
};

static const struct known_error known[] = {
    {1020,
     TIER_CONFLICT}, /* record changed since last read (snapshot isolation of newer MariaDB) */
    {1205,
     TIER_CONFLICT}, /* lock wait timeout; only the statement is undone, so we roll back all */
    {1213, TIER_CONFLICT}, /* deadlock; Galera: certification failed, also at COMMIT */
    {1614, TIER_CONFLICT}, /* branch rolled back: deadlock was detected */
    {1615,
     TIER_CONFLICT}, /* prepared statement needs to be re-prepared: the table is being altered */
    {3101,
     TIER_CONFLICT}, /* Group Replication: rolled back, a conflicting transaction came first */
    {8002, TIER_CONFLICT}, /* TiDB: SELECT FOR UPDATE write conflict */
    {8022, TIER_CONFLICT}, /* TiDB: commit failed, may be repeated */
    {9007, TIER_CONFLICT}, /* TiDB: write conflict */

    {1048, TIER_REFUSED}, /* column cannot be null (set so by a trigger) */
    {1062, TIER_REFUSED}, /* duplicate entry: in a unique key that somebody added */
    {1118, TIER_REFUSED}, /* row size too large */
    {1153, TIER_REFUSED}, /* packet larger than max_allowed_packet, said by a server
                             that keeps the connection */
    {1264, TIER_REFUSED}, /* out of range for the column */
    {1265, TIER_REFUSED}, /* data truncated */
    {1292, TIER_REFUSED}, /* incorrect value, in a generated column or trigger */
    {1300, TIER_REFUSED}, /* invalid character string */
    {1301,
     TIER_REFUSED}, /* result larger than max_allowed_packet, in a generated column or trigger */
    {1366, TIER_REFUSED}, /* incorrect string value for the column */
    {1406, TIER_REFUSED}, /* data too long for the column */
    {1411, TIER_REFUSED}, /* incorrect value for a function, in a generated column or trigger */
    {1416, TIER_REFUSED}, /* cannot get a geometry object from the data, in a generated column */
    {1441, TIER_REFUSED}, /* datetime function overflow */
    {1452, TIER_REFUSED}, /* foreign key constraint */
    {1526, TIER_REFUSED}, /* no partition for the value */
    {1643, TIER_REFUSED}, /* SIGNAL in a trigger: not found */
    {1644, TIER_REFUSED}, /* SIGNAL in a trigger */
    {1690, TIER_REFUSED}, /* value out of range in an expression */
    {3140, TIER_REFUSED}, /* invalid JSON text, in a generated column (MySQL) */
    {3819, TIER_REFUSED}, /* check constraint (MySQL) */
    {4025, TIER_REFUSED}, /* constraint failed (MariaDB) */
    {4038, TIER_REFUSED}, /* syntax error in JSON text (MariaDB) */

    /* What follows would be UNWELL anyway: named because one might expect it elsewhere. */
    {1021, TIER_UNWELL}, /* disk full */
    {1040, TIER_UNWELL}, /* too many connections */
    {1044, TIER_UNWELL}, /* access denied to the database */
    {1045, TIER_UNWELL}, /* wrong password */
    {1047, TIER_UNWELL}, /* Galera: not a member of the primary component; any command would fail */
    {1053, TIER_UNWELL}, /* server shutdown in progress */
    {1054, TIER_UNWELL}, /* unknown column: somebody dropped it, every row would fail */
    {1114, TIER_UNWELL}, /* table full */
    {1142, TIER_UNWELL}, /* privilege on the table missing */
    {1146, TIER_UNWELL}, /* no such table */
    {1290, TIER_UNWELL}, /* running with --read-only: failed over under us */
    {1317, TIER_UNWELL}, /* query interrupted: killed by an operator */
    {1364, TIER_UNWELL}, /* a column that we do not know has no default: every row would fail */
    {1461, TIER_UNWELL}, /* too many prepared statements in the server */
    {1665, TIER_UNWELL}, /* binlog_format=STATEMENT does not go with READ COMMITTED */
    {1792, TIER_UNWELL}, /* read-only transaction */
    {1836, TIER_UNWELL}, /* running in read-only mode */
};

static enum tier_fault fault_of(unsigned code)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].code == code)
            return known[i].fault;
    return TIER_UNWELL;
}

/* The connection cannot be used again: it is gone, or out of step with the server. */
static bool is_lost(unsigned code)
{
    switch (code) {
    case 1053: /* server shutdown in progress */
    case 1152: /* aborted connection */
    case 1153: /* packet too large: most servers close after it */
    case 1158: /* 1158..1161: communication packets */
    case 1159:
    case 1160:
    case 1161:
    case 1184: /* aborted connection */
    case 1243: /* unknown prepared statement: the session behind us is another one */
    case 1927: /* connection was killed */
    case 4031: /* disconnected for inactivity (MySQL) */
        return true;
    default:
        return code >= 2000 && code < 3000;
    }
}

/* The server's own statement timeouts. */
static bool is_timeout(unsigned code)
{
    return code == 1969 || code == 3024;
}

struct db_result se__mysql_failure(const struct mysql_connection *c, unsigned code,
                                   const char *words)
{
    (void)c;
    struct db_result r = {
        .reply = {.fault = fault_of(code), .code = (int)code, .timed_out = is_timeout(code)},
        .lost = is_lost(code)};
    /* a packet that was too large is the row's fault although the connection is lost:
     * say so, and do not repeat it */
    r.final = code == 1153;
    se__error(SE_ERR_BACKEND, "mysql: %s (error %u)", words, code);
    return r;
}

bool se__mysql_no_right(int code)
{
    return code == 1044 || code == 1142 || code == 1143 || code == 1227;
}

bool se__mysql_misfit(int code)
{
    return code == 1054 /* unknown column */ || code == 1356 /* a view of what is not there */ ||
           se__mysql_no_right(code);
}
