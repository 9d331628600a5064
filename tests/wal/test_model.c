/*
 * Random operations against a simple model: an array of what should be in the log.
 */
#include "wal/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS 12
#define PARTITIONS 3
#define STEPS 6000
#define RECORDS_MAX 4096

enum kind { NONE, ACK, HOME, DEAD };

/* One id's records, newest last; a version is in it once. */
struct model_id {
    struct {
        uint64_t version;
        enum kind kind;
        bool draining;
        uint64_t owed; /* superseded by it in the log, to be told with its own confirmation */
    } records[RECORDS_MAX];
    size_t n;
};

static struct log_fixture f;
static struct model_id model[IDS];
static uint64_t last_version;
static unsigned seed;

static unsigned draw(unsigned below)
{
    return (unsigned)rand_r(&seed) % below;
}

static const char *name_of(unsigned id)
{
    static char name[16];
    snprintf(name, sizeof name, "id-%u", id);
    return name;
}

static void remove_at(struct model_id *m, size_t i)
{
    memmove(&m->records[i], &m->records[i + 1], (m->n - i - 1) * sizeof m->records[0]);
    m->n--;
}

static void add(struct model_id *m, uint64_t version, enum kind kind)
{
    cr_assert(m->n < RECORDS_MAX);
    size_t i = m->n++;
    for (; i > 0 && m->records[i - 1].version > version; i--)
        m->records[i] = m->records[i - 1];
    m->records[i].version = version;
    m->records[i].kind = kind;
    m->records[i].draining = false;
    m->records[i].owed = 0;
}

static size_t index_of(const struct model_id *m, uint64_t version)
{
    size_t i = 0;
    while (i < m->n && m->records[i].version != version)
        i++;
    cr_assert(i < m->n);
    return i;
}

/* What is older than a durable record that the log owns, goes. */
static void replace_older(struct model_id *m, uint64_t version)
{
    uint64_t owed = 0;
    for (size_t i = m->n; i > 0; i--) {
        if (m->records[i - 1].version >= version || m->records[i - 1].kind == DEAD ||
            m->records[i - 1].draining)
            continue;
        owed += m->records[i - 1].owed + (m->records[i - 1].kind == HOME);
        remove_at(m, i - 1);
    }
    m->records[index_of(m, version)].owed += owed;
}

/* A record of the drain that is older than another one of the log's own, or
 * than a dead letter, goes for it. */
static void yield(struct model_id *m, size_t i)
{
    for (size_t j = m->n - 1; j > i; j--) {
        if (m->records[j].kind == ACK)
            continue;
        m->records[j].owed += m->records[i].owed + 1;
        remove_at(m, i);
        return;
    }
}

static void do_append(unsigned id, bool home)
{
    struct model_id *m = &model[id];
    uint64_t version = ++last_version;
    cr_assert_eq(append_one(f.wal, name_of(id), version, home ? WAL_HOME : WAL_ACK), SE_OK);
    add(m, version, home ? HOME : ACK);
    if (home)
        replace_older(m, version);
}

/* The flusher gives the newest insured version to the drain. */
static void do_hand_over(unsigned id)
{
    struct model_id *m = &model[id];
    if (m->n == 0 || m->records[m->n - 1].kind != ACK)
        return;
    uint64_t version = m->records[m->n - 1].version;
    cr_assert_eq(append_one(f.wal, name_of(id), version, WAL_HOME), SE_OK);
    m->records[m->n - 1].kind = HOME;
    replace_older(m, version);
}

static void check_confirm(unsigned id, uint64_t version)
{
    struct model_id *m = &model[id];
    struct wal_confirmed expected = {0}, confirmed = confirm_one(f.wal, name_of(id), version);
    for (size_t i = m->n; i > 0; i--) {
        if (m->records[i - 1].version > version)
            continue;
        expected.superseded += (unsigned)m->records[i - 1].owed;
        expected.superseded +=
            m->records[i - 1].kind == HOME && m->records[i - 1].version < version;
        expected.was_home |= m->records[i - 1].kind == HOME && m->records[i - 1].version == version;
        expected.dead_gone |= m->records[i - 1].kind == DEAD;
        remove_at(m, i - 1);
    }
    cr_assert_eq(confirmed.superseded, expected.superseded);
    cr_assert_eq(confirmed.was_home, expected.was_home);
    cr_assert_eq(confirmed.dead_gone, expected.dead_gone);
}

static void do_confirm(unsigned id)
{
    struct model_id *m = &model[id];
    if (m->n > 0)
        check_confirm(id, m->records[draw((unsigned)m->n)].version + draw(2));
}

static void do_forget(unsigned id)
{
    struct model_id *m = &model[id];
    if (m->n == 0)
        return;
    size_t i = draw((unsigned)m->n);
    se__wal_forget(f.wal, name_of(id), strlen(name_of(id)), m->records[i].version);
    if (m->records[i].kind == ACK)
        remove_at(m, i);
}

static unsigned id_of(const se_item *item)
{
    return (unsigned)atoi(se_item_id(item) + 3);
}

static void mark_draining(unsigned id, uint64_t version)
{
    for (size_t i = 0; i < model[id].n; i++)
        if (model[id].records[i].kind == HOME && model[id].records[i].version <= version)
            model[id].records[i].draining = true;
}

static void unmark_draining(unsigned id)
{
    struct model_id *m = &model[id];
    for (size_t i = m->n; i > 0; i--) {
        if (!m->records[i - 1].draining)
            continue;
        m->records[i - 1].draining = false;
        yield(m, i - 1);
    }
}

static void bury(unsigned id, uint64_t version)
{
    struct model_id *m = &model[id];
    uint64_t owed = 0;
    cr_assert_eq(bury_one(f.wal, name_of(id), version), SE_OK);
    for (size_t i = m->n; i > 0; i--) {
        if (m->records[i - 1].version > version)
            continue;
        owed += m->records[i - 1].owed +
                (m->records[i - 1].version < version && m->records[i - 1].kind != ACK);
        remove_at(m, i - 1);
    }
    add(m, version, DEAD);
    m->records[index_of(m, version)].owed = owed;
}

/* Takes a batch, lets other things happen, and ends it item by item in every possible way. */
static void do_drain(void)
{
    se_item **items;
    size_t n;
    unsigned partition = draw(PARTITIONS);
    cr_assert_eq(se__wal_drain_take(f.wal, partition, 1 + draw(6), SIZE_MAX, &items, &n), SE_OK);
    for (size_t i = 0; i < n; i++)
        mark_draining(id_of(items[i]), se_item_version(items[i]));
    for (unsigned i = draw(4); i > 0; i--)
        do_append(draw(IDS), draw(2));
    if (draw(3) == 0)
        do_confirm(draw(IDS));
    for (size_t i = 0; i < n; i++) {
        bool there = false;
        for (size_t j = 0; j < model[id_of(items[i])].n; j++)
            there |= model[id_of(items[i])].records[j].draining;
        if (draw(8) == 0 && there)
            bury(id_of(items[i]), se_item_version(items[i]));
        else if (draw(3))
            check_confirm(id_of(items[i]), se_item_version(items[i]));
    }
    for (size_t i = 0; i < n; i++)
        unmark_draining(id_of(items[i]));
    if (n > 0)
        (draw(2) ? se__wal_drain_return : se__wal_drain_done)(f.wal, partition, items, n);
}

static void do_resolve(unsigned id)
{
    struct model_id *m = &model[id];
    size_t i = 0;
    bool retry = draw(2);
    while (i < m->n && m->records[i].kind != DEAD)
        i++;
    cr_assert_eq(se__wal_dead_resolve(f.wal, name_of(id), retry), i < m->n ? SE_OK : SE_NOT_FOUND);
    if (i == m->n)
        return;
    uint64_t version = m->records[i].version, owed = m->records[i].owed;
    remove_at(m, i);
    if (!retry)
        return; /* what it owed nobody is told */
    add(m, version, HOME);
    m->records[i].owed = owed;
    if (m->n > i + 1)
        yield(m, i);
    if (i < m->n && m->records[i].version == version)
        replace_older(m, version);
}

/* All is the drain's then, the newest of each id only; what was owed is
 * no account of the new process. */
static void do_reopen(void)
{
    fixture_reopen(&f);
    for (unsigned id = 0; id < IDS; id++) {
        struct model_id *m = &model[id];
        for (size_t i = 0; i < m->n; i++) {
            m->records[i].owed = 0;
            if (m->records[i].kind == ACK)
                m->records[i].kind = HOME;
        }
        size_t newest = m->n;
        for (size_t i = m->n; i > 0 && newest == m->n; i--)
            newest = m->records[i - 1].kind == HOME ? i - 1 : newest;
        if (newest < m->n)
            replace_older(m, m->records[newest].version);
        for (size_t i = m->n; i > 0; i--)
            if (m->records[i - 1].kind == HOME)
                yield(m, i - 1);
    }
}

static void check(void)
{
    uint64_t live = 0, dead = 0, home = 0, owed = 0;
    for (unsigned id = 0; id < IDS; id++) {
        struct model_id *m = &model[id];
        uint64_t version;
        enum wal_place place = find_version(f.wal, name_of(id), &version);
        cr_assert_eq(place == WAL_NOWHERE, m->n == 0);
        if (m->n > 0) {
            cr_assert_eq(version, m->records[m->n - 1].version);
            cr_assert_eq(place == WAL_DEAD, m->records[m->n - 1].kind == DEAD);
        }
        for (size_t i = 0; i < m->n; i++) {
            live += m->records[i].kind != DEAD;
            dead += m->records[i].kind == DEAD;
            home += m->records[i].kind == HOME;
            owed += m->records[i].owed;
        }
    }
    struct wal_stats stats = stats_of(f.wal);
    cr_assert_eq(stats.live_records, live);
    cr_assert_eq(stats.dead, dead);
    cr_assert_eq(stats.home_records, home + owed);
}

static void step(void)
{
    unsigned what = draw(100), id = draw(IDS);
    if (what < 30)
        do_append(id, false);
    else if (what < 45)
        do_append(id, true);
    else if (what < 55)
        do_hand_over(id);
    else if (what < 72)
        do_confirm(id);
    else if (what < 77)
        do_forget(id);
    else if (what < 90)
        do_drain();
    else if (what < 92)
        bury(id, ++last_version);
    else if (what < 94)
        do_resolve(id);
    else if (what < 97)
        cr_assert_eq(se__wal_tend(f.wal, draw(2)), SE_OK);
    else if (what < 98)
        do_reopen();
}

static void run(unsigned with_seed)
{
    seed = with_seed;
    last_version = 0;
    memset(model, 0, sizeof model);
    fixture_init(&f);
    f.options.partitions = PARTITIONS;
    fixture_open(&f);
    for (int i = 0; i < STEPS; i++) {
        step();
        if (i % 5 == 0)
            check();
    }
    fixture_done(&f);
}

Test(wal_model, behaves_like_an_array)
{
    for (unsigned i = 1; i <= 6; i++)
        run(i);
    unsigned fresh = (unsigned)se__random_u64();
    fprintf(stderr, "wal_model: seed %u\n", fresh);
    run(fresh);
}
