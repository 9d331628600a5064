/*
 * schema - the two tables, their versions, and whether this library may use what it finds.
 *
 * Item table `<table>`, meta table `<table>_meta` (name, value). Three meta rows say what may use
 * the tables:
 *   schema_version  what made or last migrated them
 *   reader_min      the oldest schema version a library must know to read them
 *   writer_min      ... to write them
 * Migrations only add columns and tables; one that an older library would spoil by writing raises
 * writer_min.
 *
 * Threads: any; pure, but se__schema_prepare, which runs SQL on a connection.
 */
#ifndef SE_L3_SCHEMA_H
#define SE_L3_SCHEMA_H

#include "l3/store.h"

/* 1: contents as they are. 2: rows may be packed (packing.h); a table becomes so, and raises
 * reader_min, when the first engine opens it that packs. */
#define SCHEMA_VERSION 2u

/* A body (arg: struct schema_check *): creates what is absent unless read_only (or logs what to
 * run), checks that it fits and that the versions allow our use. What can be reached and may not
 * be used is said in `verdict` (SE_ERR_CONFIG, with the text set), the result is then fine. */
struct schema_check {
    se_result verdict;
};
struct db_result se__schema_prepare(struct store *s, void *connection, void *arg);

#endif
