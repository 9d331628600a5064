/*
 * meta - small named values in the log's file, and the clock's ceiling among them.
 *
 * They are written by the group commit like records, and are as durable.
 */
#include "base/mem.h"
#include "wal/state.h"

#include <string.h>

struct naming {
    struct request base;
    char *name, *value;
};

static int naming_apply(struct wal *w, struct request *r, struct wal_file *f)
{
    struct naming *m = (struct naming *)r;
    (void)w;
    return m->name ? se__wal_file_meta_put(f, m->name, m->value) : SQLITE_OK;
}

static void nothing(struct wal *w, struct request *r)
{
    (void)w;
    (void)r;
}

static void naming_done(struct request *r)
{
    struct naming *m = (struct naming *)r;
    se__free(m->name);
    se__free(m->value);
    se__free(m);
}

static const struct request_ops naming_ops = {naming_apply, nothing, nothing, naming_done};

static struct naming *new_naming(void)
{
    struct naming *m = se__alloc_zeroed(1, sizeof *m);
    if (m)
        se__wal_request_init(&m->base, &naming_ops);
    return m;
}

/* Takes m. */
static se_result commit(struct wal *w, struct naming *m, se_result r)
{
    se__mutex_lock(&w->lock);
    if (r == SE_OK)
        r = se__wal_writable_locked(w);
    if (r == SE_OK)
        return se__wal_commit_unlock(w, &m->base, SE__FOREVER);
    se__mutex_unlock(&w->lock);
    se__wal_request_end(&m->base);
    return r;
}

/* A request without a record whose version needs that ceiling: the group's rule does the rest. */
se_result se__wal_store_ceiling(struct wal *w, uint64_t ceiling)
{
    struct naming *m = new_naming();
    if (!m)
        return se__error_nomem();
    m->base.ceiling = ceiling;
    return commit(w, m, SE_OK);
}

se_result se__wal_meta_put(struct wal *w, const char *name, const char *value)
{
    if (strncmp(name, "wal.", 4) == 0)
        return se__error(SE_ERR_INVALID, "names that begin with \"wal.\" are the log's own");
    struct naming *m = new_naming();
    if (!m)
        return se__error_nomem();
    m->name = se__strdup(name);
    m->value = se__strdup(value);
    return commit(w, m, m->name && m->value ? SE_OK : se__error_nomem());
}

se_result se__wal_meta_get(struct wal *w, const char *name, char **value)
{
    struct wal_reader *reader;
    se_result r = se__wal_reader_take(w, &reader);
    if (r != SE_OK)
        return r;
    int rc = se__wal_file_meta_get(&reader->file, name, value);
    if (rc == SQLITE_DONE)
        r = SE_NOT_FOUND;
    else if (rc != SQLITE_OK)
        r = se__wal_fault(&reader->file, rc, w->path, "reading a name");
    se__wal_reader_give(w, reader);
    return r;
}
