/*
 * store_dictionary - brings dictionaries from the meta table into the store's packing.
 *
 * A reader asks for one when it meets a row made with it: the statement is broken off before that
 * row, the dictionary is fetched on the same connection, and the statement is run again from there.
 * A dictionary is stored before the first row that needs it, so one that is not there now is missing,
 * or the row is damaged; nothing is remembered of that, and the next call asks again.
 *
 * A writer looks every five seconds, after a write, for the newest one. That another process has
 * trained one is seen within that time.
 */
#include "l3/store.h"

#include "l3/dictionary.h"

#include <string.h>

#define RENEW_MS 5000u

static void complain(struct store *s, uint32_t id, const char *what)
{
    if (se__log_gate_open(&s->dictionary_gate, se__mono_ms(), 10000))
        se__log(
            s->log, SE_LOG_ERROR, "sql.dictionary_lost",
            (const struct se__field[]){se__number("dictionary", id), se__text("error", what), {0}},
            "%s: dictionary %u %s: rows made with it cannot be read", s->where, id, what);
}

/* Puts the meta row's value into the packing. */
static bool add(struct store *s, uint32_t id, const struct buf *value)
{
    struct buf bytes = {0};
    se_dictionary about;
    bool whole = se__dictionary_decode(id, value->data, value->len, &about, &bytes);
    se_result r = bytes.failed ? se__error_nomem()
                  : whole      ? se__packing_add(s->packing, id, bytes.data, bytes.len)
                               : SE_ERR_CORRUPT;
    se__buf_done(&bytes);
    if (r == SE_ERR_CORRUPT)
        complain(s, id, "is damaged in the database");
    return r != SE_ERR_NOMEM;
}

static struct db_result fetch(struct store *s, void *connection, uint32_t id)
{
    char name[DICTIONARY_NAME_MAX];
    struct buf value = {0};
    bool found;
    se__dictionary_name(id, name);
    struct db_result r = se__store_meta_read(s, connection, SQL_META_GET, name, &value, &found);
    if (!se__db_failed(&r) && found && !add(s, id, &value))
        r = se__db_fault(TIER_UNWELL, 0);
    if (!se__db_failed(&r) && !found)
        complain(s, id, "is not in the database");
    se__buf_done(&value);
    return r;
}

struct db_result se__store_fetch_dictionary(struct store *s, void *connection, struct unpacker *u)
{
    struct db_result r = fetch(s, connection, u->wanted);
    if (se__db_failed(&r))
        u->wanted = 0;
    else
        se__unpacker_tried(u);
    return r;
}

/* The id in DICTIONARY_NEWEST, 0: none. */
static struct db_result newest(struct store *s, void *connection, uint32_t *id)
{
    struct buf value = {0};
    bool found;
    struct db_result r =
        se__store_meta_read(s, connection, SQL_META_GET, DICTIONARY_NEWEST, &value, &found);
    *id = !se__db_failed(&r) && found ? se__dictionary_id(value.data, value.len) : 0;
    se__buf_done(&value);
    return r;
}

struct db_result se__store_renew_dictionary(struct store *s, void *connection)
{
    uint32_t id = 0;
    uint64_t now = se__mono_ms();
    /* relaxed: two may ask at once, which does no harm */
    if (now < atomic_load_explicit(&s->dictionary_due_ms, memory_order_relaxed))
        return se__db_fine();
    atomic_store_explicit(&s->dictionary_due_ms, now + RENEW_MS, memory_order_relaxed);
    struct db_result r = newest(s, connection, &id);
    if (se__db_failed(&r) || id == 0 || id == se__packing_used(s->packing))
        return r;
    if (!se__packing_knows(s->packing, id))
        r = fetch(s, connection, id);
    if (!se__db_failed(&r) && se__packing_use(s->packing, id) == SE_OK)
        se__log(s->log, SE_LOG_INFO, "sql.dictionary",
                (const struct se__field[]){se__number("dictionary", id), {0}},
                "%s: new rows are compressed with dictionary %u", s->where, id);
    return r;
}

struct packer *se__store_packer(struct store *s, const struct tier_write *writes, size_t n)
{
    size_t bytes = 0;
    if (s->compression == SE_COMPRESSION_OFF)
        return NULL;
    for (size_t i = 0; i < n; i++)
        bytes += se_item_content_len(writes[i].item);
    struct packer *packer = se__packer_take(s->packing);
    if (packer && se__packer_reserve(packer, bytes))
        return packer;
    se__packer_give(packer);
    return NULL;
}
