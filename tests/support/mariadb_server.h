/*
 * mariadb_server - a real MariaDB server of the test's own.
 *
 * A data directory is made once per machine user and server build and kept as a template below
 * /dev/shm; every server gets a copy. Servers listen on a unix socket and, if asked, on a free
 * loopback port; they end with the test process (PR_SET_PDEATHSIG), and what a crashed test left
 * behind is removed by the next start.
 *
 * Add 'tests/support/mariadb_server.c' to the files of the test program that uses it.
 *
 * Users there: root without a password, from localhost and 127.0.0.1. A database `t` is empty and
 * ready. Failures are said on stderr, with the server's log, and return NULL or false.
 *
 * Threads: caller-serialised per server; start from a thread that lives as long as the server.
 */
#ifndef SE_TESTS_SUPPORT_MARIADB_SERVER_H
#define SE_TESTS_SUPPORT_MARIADB_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct mariadb_server {
    pid_t pid;     /* 0: not running */
    uint16_t port; /* 0: unix socket only */
    char dir[64];  /* all of its files */
    char socket[80];
    int lock_fd; /* held while this process owns `dir` */
    char **args; /* extra options, copied */
};

/* Starts a server that answers. args: extra options ("--max-allowed-packet=1M"),
 * NULL-terminated; NULL: none. */
struct mariadb_server *mariadb_start(bool tcp, const char *const *args);
void mariadb_close(struct mariadb_server *s); /* ends it, reaps it, removes its files;
                                                 NULL is allowed */

bool mariadb_pause(struct mariadb_server *s);   /* SIGSTOP; returns once it has stopped */
bool mariadb_resume(struct mariadb_server *s);  /* SIGCONT */
bool mariadb_kill(struct mariadb_server *s);    /* SIGKILL, and reaped: the files stay */
bool mariadb_restart(struct mariadb_server *s); /* kills it if it runs, starts it again on
                                                   the same files, socket and port */

/* "mysql://root@localhost/t?socket=..." or, with tcp, "mysql://root@127.0.0.1:port/t". */
void mariadb_url(const struct mariadb_server *s, bool tcp, char *url, size_t cap);

/* Run SQL (several statements are allowed) as root in database t, on a connection of their own. */
bool mariadb_exec(struct mariadb_server *s, const char *sql);
/* The first column of the first row as text; "" if there is no row or it is NULL. */
bool mariadb_value(struct mariadb_server *s, const char *sql, char *value, size_t cap);
/* The same as a number. -1 on failure. */
long long mariadb_number(struct mariadb_server *s, const char *sql);

#endif
