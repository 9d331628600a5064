/*
 * outage - cuts a MariaDB server off from those who use its second name, as a network would, without
 * stopping it: it is as warm afterwards as before.
 *
 * The name is a link to the server's socket. An outage removes it and kills all connections that
 * came after outage_init; those of before are the bench's own.
 */
#ifndef SE_BENCH_OUTAGE_H
#define SE_BENCH_OUTAGE_H

#include "mariadb.h"

struct outage {
    const struct mariadb_server *server;
    MYSQL *admin;
    struct bench_dir dir;
    char link[256], url[512]; /* what the engine is to connect to */
};

void outage_init(struct outage *o, const struct mariadb_server *server);
void outage_begin(struct outage *o);
void outage_end(struct outage *o);
void outage_done(struct outage *o); /* while there is none */

#endif
