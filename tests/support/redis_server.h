/*
 * redis_server - a redis-server child of the test process, for tests.
 *
 * Listens on a unix socket and, when asked, on a free loopback port (kept over restarts). Its data
 * lies in a directory of its own below /dev/shm. The child dies with the thread that started it,
 * and redis_server_stop reaps it.
 * Failures to start or to stop abort the test process with a line on stderr: a test without its
 * server tells nothing.
 *
 * Threads: caller-serialised; start and restart from a thread that outlives the server.
 */
#ifndef SE_TESTS_SUPPORT_REDIS_SERVER_H
#define SE_TESTS_SUPPORT_REDIS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct redis_server_options {
    bool tcp;             /* listen on 127.0.0.1 as well */
    bool append_only;     /* every write survives SIGKILL and restart */
    const char *password; /* requirepass; NULL: none */
    const char *extra[8]; /* further arguments ("--maxmemory", "2mb"), NULL-terminated */
};

struct redis_server {
    pid_t pid; /* 0: not running */
    char dir[64];
    char socket[96];
    uint16_t port;                       /* 0: unix socket only */
    struct redis_server_options options; /* strings borrowed for the server's life */
    int lives;                           /* started so many times */
};

/* options NULL: unix socket only, no persistence. Returns when it answers PING. */
void redis_server_start(struct redis_server *s, const struct redis_server_options *options);
/* Kills, reaps, removes the data. All-zero and stopped servers are allowed. */
void redis_server_stop(struct redis_server *s);

void redis_server_pause(struct redis_server *s);  /* SIGSTOP: accepts connections, answers
                                                     nothing */
void redis_server_resume(struct redis_server *s); /* SIGCONT */
void redis_server_kill(struct redis_server *s);   /* SIGKILL and reap; the data stays */
/* Starts it again, killing it first if it runs. keep_data: with what is on disk (append_only, or
 * what a SAVE left: then it goes back in time); else empty. */
void redis_server_restart(struct redis_server *s, bool keep_data);

/* "unix:///..." (which cannot carry a password), and "redis://[:password@]127.0.0.1:port" (needs
 * tcp; the password unescaped). */
void redis_server_url(const struct redis_server *s, char *out, size_t cap);
void redis_server_tcp_url(const struct redis_server *s, char *out, size_t cap);

/* Sends one command over a connection of its own, arguments by printf rules of hiredis ("SET %b
 * %s"), and renders the reply as text into out: strings as they are (binary bytes too, *len says
 * how many), integers in decimal, nil as "(nil)", errors as "(error) ...", arrays one element a
 * line. Returns len. */
size_t redis_server_ask(const struct redis_server *s, char *out, size_t cap, const char *format,
                        ...);

#endif
