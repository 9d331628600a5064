/*
 * os_fork - a word that is zero in forked children, descriptors that they do not get, locks that they
 * find free.
 *
 * The kernel wipes the page (MADV_WIPEONFORK) in every child, however it was forked, at no cost to
 * anybody. Where it cannot (before Linux 4.14, some sandboxes), words are kept on a list that a
 * pthread_atfork handler walks in the child.
 * Rejected: comparing getpid(), which is a system call on every public function.
 */
#include "base/os.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

/* What stands on the page. The list's fields are used by the fallback only. */
struct page {
    volatile uint32_t word;
    bool listed;
    struct page *next;
};

/* Process-wide, as fork is. The lock guards the list and is held across fork, so
 * that the child finds it whole. */
static struct page *pages;
/* Descriptors that a child closes: a lock of an open file description lasts as long as any copy of it. */
struct kept {
    int fd;
    struct kept *next;
};
static struct kept *not_inherited;
#define DIAL_SPAN 16 /* so many descriptors may be opened by others meanwhile */
static struct se__fork_dial *dials;
static struct se__fork_locks *others; /* of other libraries */
static pthread_mutex_t pages_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t handlers_once = PTHREAD_ONCE_INIT;
static int handlers_result;

static void before_fork(void)
{
    pthread_mutex_lock(&pages_lock);
    for (struct se__fork_locks *l = others; l; l = l->next)
        l->take();
}

/* In both processes. */
static void release(void)
{
    for (struct se__fork_locks *l = others; l; l = l->next)
        l->give();
    pthread_mutex_unlock(&pages_lock);
}

/* Only calls that a signal handler might make: the child has one thread of many. */
static bool is_connected_to(int fd, const char *path)
{
    struct sockaddr_un peer;
    socklen_t len = sizeof peer;
    memset(&peer, 0, sizeof peer);
    return getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sun_family == AF_UNIX &&
           strncmp(peer.sun_path, path, sizeof peer.sun_path) == 0;
}

static void close_dials(void)
{
    for (struct se__fork_dial *d = dials; d; d = d->next)
        for (int fd = d->from; d->from >= 0 && fd < d->from + DIAL_SPAN; fd++)
            if (is_connected_to(fd, d->path))
                close(fd);
    dials = NULL;
}

static void in_child(void)
{
    close_dials();
    for (struct page *p = pages; p; p = p->next)
        p->word = 0;
    for (struct kept *k = not_inherited; k; k = k->next) {
        if (k->fd >= 0)
            close(k->fd);
        k->fd = -1; /* the number may become another file's */
    }
    release();
}

static void install_handlers(void)
{
    handlers_result = pthread_atfork(before_fork, release, in_child);
}

static void list_page(struct page *page)
{
    pthread_mutex_lock(&pages_lock);
    page->listed = true;
    page->next = pages;
    pages = page;
    pthread_mutex_unlock(&pages_lock);
}

static void unlist_page(struct page *page)
{
    pthread_mutex_lock(&pages_lock);
    struct page **at = &pages;
    while (*at && *at != page)
        at = &(*at)->next;
    if (*at)
        *at = page->next;
    pthread_mutex_unlock(&pages_lock);
}

/* NULL if the system has no page to give. */
static struct page *map_page(void)
{
    void *memory =
        mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static se_result open_listed(struct page *page, struct se__forkword *f)
{
    pthread_once(&handlers_once, install_handlers);
    if (handlers_result != 0) {
        munmap(page, sizeof *page);
        return se__error_nomem();
    }
    list_page(page);
    page->word = 1;
    f->word = &page->word;
    return SE_OK;
}

se_result se__forkword_open(struct se__forkword *f)
{
    struct page *page = map_page();
    if (!page)
        return se__error_nomem();
    if (madvise(page, sizeof *page, MADV_WIPEONFORK) != 0)
        return open_listed(page, f);
    page->word = 1;
    f->word = &page->word;
    return SE_OK;
}

se_result se__forkword_open_by_handler(struct se__forkword *f)
{
    struct page *page = map_page();
    return page ? open_listed(page, f) : se__error_nomem();
}

void se__forkword_close(struct se__forkword *f)
{
    if (!f->word)
        return;
    static_assert(offsetof(struct page, word) == 0, "the word is the page's beginning");
    struct page *page = (struct page *)(uintptr_t)f->word;
    if (page->listed)
        unlist_page(page);
    munmap(page, sizeof *page);
    f->word = NULL;
}

/* ---- descriptors ---- */

se_result se__fork_closes(int fd)
{
    pthread_once(&handlers_once, install_handlers);
    struct kept *k = handlers_result == 0 ? se__alloc(sizeof *k) : NULL;
    if (!k)
        return se__error_nomem();
    pthread_mutex_lock(&pages_lock);
    *k = (struct kept){.fd = fd, .next = not_inherited};
    not_inherited = k;
    pthread_mutex_unlock(&pages_lock);
    return SE_OK;
}

void se__fork_closes_no_more(int fd)
{
    pthread_mutex_lock(&pages_lock);
    struct kept **at = &not_inherited;
    while (*at && (*at)->fd != fd)
        at = &(*at)->next;
    struct kept *k = *at;
    if (k)
        *at = k->next;
    pthread_mutex_unlock(&pages_lock);
    se__free(k);
}

void se__fork_dial_begin(struct se__fork_dial *d, const char *path)
{
    pthread_once(&handlers_once, install_handlers);
    int first_free = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *d = (struct se__fork_dial){.path = path, .from = first_free};
    pthread_mutex_lock(&pages_lock);
    d->next = dials;
    dials = d;
    pthread_mutex_unlock(&pages_lock);
    if (first_free >= 0)
        close(first_free);
}

void se__fork_dial_end(struct se__fork_dial *d)
{
    pthread_mutex_lock(&pages_lock);
    struct se__fork_dial **at = &dials;
    while (*at && *at != d)
        at = &(*at)->next;
    if (*at)
        *at = d->next;
    pthread_mutex_unlock(&pages_lock);
}

/* ---- locks ---- */

se_result se__fork_takes(struct se__fork_locks *l)
{
    pthread_once(&handlers_once, install_handlers);
    if (handlers_result != 0)
        return se__error_nomem();
    pthread_mutex_lock(&pages_lock);
    if (!l->listed) {
        l->next = others;
        others = l;
    }
    l->listed = true;
    pthread_mutex_unlock(&pages_lock);
    return SE_OK;
}

void se__exec_closes(int fd)
{
    int flags = fcntl(fd, F_GETFD);
    if (flags >= 0)
        (void)fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
}
