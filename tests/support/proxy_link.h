/*
 * proxy_link - what one connection through the proxy is, and what happens to its bytes; private to proxy.c and proxy_link.c.
 *
 * Bytes on their way to either side are a queue of pieces with the time at which they may go; a piece that is empty stands for the
 * end that comes behind the bytes.
 *
 * Threads: caller-serialised; all state is the loop's (proxy.c).  Memory: a link's queues own their pieces.
 */
#ifndef SE_TESTS_SUPPORT_PROXY_LINK_H
#define SE_TESTS_SUPPORT_PROXY_LINK_H

#include "support/proxy_wire.h"

#include <pthread.h>
#include <sys/un.h>

enum { CONNECTIONS_MAX = 128, FILLERS = 4 };

enum ending { STAYS, ENDS, ENDS_BY_RESET };

struct piece {
    struct piece *next;
    uint64_t at_ms; /* not before */
    enum ending ending;
    size_t len, sent;
    char bytes[];
};

struct queue {
    struct piece *first, **last;
};

struct link {
    int client, server; /* -1: closed, or never opened */
    struct queue to_client, to_server;
    struct proxy_plan fault; /* of this turn */
    bool client_spoke;       /* the last bytes were the client's: a turn is open */
    bool introduced;         /* the server has answered this client's first request */
    bool swallows;           /* for ever */
    size_t asked, answered;  /* bytes of this turn let through */
    struct wire_parser parser;
};

struct proxy {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t applied;
    enum proxy_wire wire;
    struct sockaddr_un upstream;
    int listener, wake[2];
    int fillers[FILLERS];
    bool listening;
    uint16_t port;
    struct proxy_plan plan;
    uint64_t plans, plans_done, random;
    bool stopping, reset_all;
    struct link *links[CONNECTIONS_MAX];
    struct proxy_count count;
};

_Noreturn void proxy_give_up(const char *what); /* aborts, with errno's text */
uint64_t proxy_now_ms(void);                    /* monotonic */
void proxy_close_fd(int *fd, bool reset);       /* *fd becomes -1; -1 is allowed */

void queue_empty(struct queue *q);
/* A later piece never overtakes: what is behind a delayed one waits for it. */
bool queue_due(const struct queue *q, uint64_t now);

/* Takes a client that waits at the listener; its link stands in a free place of p->links. */
void link_accept(struct proxy *p);
/* Takes what poll() says there is on either side, and sends what may go. */
void link_move(struct proxy *p, struct link *l, short client, short server);
/* Both sides are closed and nothing is on its way any more; the loop frees the link. */
void link_end(struct link *l, bool reset);

#endif
