/*
 * http_client - see http_client.h.
 */
#include "support/http_client.h"

#include "base/os.h"
#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int http_dial(uint16_t port)
{
    int fd;
    cr_assert_eq(se__net_connect("127.0.0.1", port, NULL, se__deadline_in(HTTP_PATIENCE_MS), &fd),
                 SE_OK, "%s", se_errmsg());
    return fd;
}

bool http_say(int fd, const void *text, size_t len)
{
    return se__net_write(fd, text, len, se__deadline_in(HTTP_PATIENCE_MS)) == SE_OK;
}

bool http_hear(int fd, char *answer, size_t cap)
{
    size_t n = 0;
    uint64_t deadline = se__deadline_in(HTTP_PATIENCE_MS);
    for (;;) {
        ssize_t got = recv(fd, answer + n, cap - 1 - n, MSG_DONTWAIT);
        if (got > 0)
            n += (size_t)got;
        answer[n] = '\0';
        if (got == 0 || n == cap - 1 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return true;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (got < 0 && poll(&p, 1, (int)se__deadline_left(deadline)) == 0)
            return false;
    }
}

int http_status(const char *answer)
{
    return strncmp(answer, "HTTP/1.", 7) == 0 ? atoi(answer + 9) : 0;
}

int http_get(uint16_t port, const char *path, char answer[HTTP_ANSWER_MAX])
{
    char request[256];
    int len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    int fd = http_dial(port);
    bool heard = http_say(fd, request, (size_t)len) && http_hear(fd, answer, HTTP_ANSWER_MAX);
    se__net_close(fd);
    return heard ? http_status(answer) : 0;
}
