/*
 * outage_truth - see outage_truth.h.
 */
#include "fault/outage_truth.h"

#include <inttypes.h>
#include <mysql.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double outage_metric(se_engine *e, const char *family, const char *labels)
{
    char *text, *place;
    size_t len, family_len = strlen(family);
    double value = 0;
    if (se_metrics_text(e, &text, &len) != SE_OK)
        return 0;
    for (char *line = strtok_r(text, "\n", &place); line; line = strtok_r(NULL, "\n", &place)) {
        if (strncmp(line, family, family_len) == 0 && line[family_len] == '{' &&
            strstr(line, labels)) {
            value = strtod(strrchr(line, ' ') + 1, NULL);
            break;
        }
    }
    free(text);
    return value;
}

void outage_check_balance(struct traffic *t, se_engine *e)
{
    double accepted = outage_metric(e, "sync_engine_writes_accepted_total", ""),
           recovered = outage_metric(e, "sync_engine_writes_recovered_total", ""),
           superseded = outage_metric(e, "sync_engine_writes_superseded_total", ""),
           lost = outage_metric(e, "sync_engine_writes_lost_to_newer_total", ""),
           queued = outage_metric(e, "sync_engine_queue_items", ""),
           in_wal = outage_metric(e, "sync_engine_wal_entries", ""),
           persisted = outage_metric(e, "sync_engine_writes_persisted_total", ""),
           dead = outage_metric(e, "sync_engine_dead_letters", "");
    if (accepted == 0 ||
        accepted + recovered != superseded + lost + queued + in_wal + persisted + dead)
        traffic_wrong(t,
                      "the account: accepted %.0f + recovered %.0f; superseded %.0f + lost %.0f + "
                      "queued %.0f + in the WAL %.0f + persisted %.0f + dead %.0f",
                      accepted, recovered, superseded, lost, queued, in_wal, persisted, dead);
}

/* ---- rows ---- */

static struct written known(const struct traffic *t, char kind, unsigned i)
{
    if (kind == 'w')
        return i < IDS ? t->ids[i] : (struct written){0};
    bool stored = (kind == 'c' && i < COLD) || (kind == 'h' && i < HOT);
    return (struct written){.number = stored};
}

static void check_row(struct traffic *t, MYSQL_ROW row, const unsigned long *lengths)
{
    char content[TRAFFIC_CONTENT];
    const char *id = row[0];
    struct written w = known(t, id[0], (unsigned)strtoul(id + 2, NULL, 10));
    bool deleted = row[1][0] == '1';
    traffic_content(content, id, w.number);
    if (w.number == 0)
        traffic_wrong(t, "a row of %s, which was never acknowledged", id);
    else if (w.deleted != deleted)
        traffic_wrong(t, "%s is %s in the table, and was %s by write %" PRIu32, id,
                      deleted ? "deleted" : "alive", w.deleted ? "deleted" : "put", w.number);
    else if (!deleted &&
             (!row[2] || lengths[2] != strlen(content) || memcmp(row[2], content, lengths[2]) != 0))
        traffic_wrong(t, "the row of %s holds '%.30s' and not write %" PRIu32, id,
                      row[2] ? row[2] : "NULL", w.number);
}

/* An id that was written has a row, of a put or of a delete; one that was only ever deleted may have none. */
static uint64_t rows_due(const struct traffic *t)
{
    uint64_t n = COLD + HOT;
    for (unsigned i = 0; i < IDS; i++)
        n += t->ids[i].number > 0 && !t->ids[i].deleted;
    return n;
}

static void check_rows(struct traffic *t, MYSQL *m, unsigned others)
{
    uint64_t live = 0, poison = 0;
    MYSQL_RES *rows = NULL;
    if (mysql_query(m, "SELECT id, deleted, payload_blob FROM sync_items") == 0)
        rows = mysql_store_result(m);
    if (!rows) {
        traffic_wrong(t, "reading the table: %s", mysql_error(m));
        return;
    }
    for (MYSQL_ROW row; (row = mysql_fetch_row(rows));) {
        poison += row[0][0] == 'p';
        live += row[0][0] != 'p' && row[1][0] == '0';
        if (row[0][0] != 'p')
            check_row(t, row, mysql_fetch_lengths(rows));
    }
    mysql_free_result(rows);
    if (live != rows_due(t) || poison != others)
        traffic_wrong(t,
                      "%" PRIu64 " live rows, not %" PRIu64 "; %" PRIu64 " of the poison, not %u",
                      live, rows_due(t), poison, others);
}

void outage_check_rows(struct traffic *t, struct mariadb_server *mariadb, unsigned others)
{
    MYSQL *m = mysql_init(NULL);
    if (m && mysql_real_connect(m, "localhost", "root", NULL, "t", 0, mariadb->socket, 0))
        check_rows(t, m, others);
    else
        traffic_wrong(t, "cannot look into the table: %s", m ? mysql_error(m) : "no memory");
    if (m)
        mysql_close(m);
}
