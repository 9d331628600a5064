/*
 * stop - see stop.h.
 */
#include "stop.h"

#include "term.h"

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
}

int stop_open(void)
{
    sigset_t set;
    signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        term_system("signals", "signalfd");
    return fd;
}

void stop_close(int fd)
{
    sigset_t set;
    signals(&set);
    close(fd);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int stop_check(int fd, uint32_t wait_ms)
{
    struct signalfd_siginfo info;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, wait_ms > 60000 ? 60000 : (int)wait_ms) <= 0)
        return 0;
    if (read(fd, &info, sizeof info) != (ssize_t)sizeof info)
        return 0;
    return (int)info.ssi_signo;
}
