/*
 * os_signal - a limit on file sizes is an error, and not the end of the host program.
 *
 * A write beyond RLIMIT_FSIZE raises SIGXFSZ in the thread that writes, and by default that ends the process. Handlers and
 * dispositions are the host program's, so the signal is blocked around our own writes in its threads and taken back there;
 * threads of ours block every signal anyway.
 */
#include "base/os.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

static sigset_t file_limit(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGXFSZ);
    return set;
}

void se__filelimit_hold(struct se__filelimit *f)
{
    sigset_t set = file_limit(), before;
    sigemptyset(&before);
    f->held = pthread_sigmask(SIG_BLOCK, &set, &before) == 0 && !sigismember(&before, SIGXFSZ);
}

void se__filelimit_release(const struct se__filelimit *f)
{
    static const struct timespec at_once = {.tv_sec = 0};
    if (!f->held)
        return;
    int error = errno; /* of what was done meanwhile */
    sigset_t set = file_limit();
    (void)sigtimedwait(&set, NULL, &at_once);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    errno = error;
}
