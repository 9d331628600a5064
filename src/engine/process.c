/*
 * process - see process.h. A pid alone may be reused; with its start time, boot and namespace it
 * cannot.
 */
#include "engine/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reads a small file as one line without blanks at its end; "" if it cannot be read. */
static void read_small(const char *path, char *out, size_t cap)
{
    out[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, out, cap - 1);
    close(fd);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

/* Field 22 of /proc/<pid>/stat (proc(5)): start time in clock ticks since boot. The name in field 2
 * may hold anything, so fields are counted from its last ')'. */
static unsigned long long start_time(long pid)
{
    char path[64], stat[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    read_small(path, stat, sizeof stat);
    const char *at = strrchr(stat, ')');
    for (int field = 2; at && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

static void place(char *out, size_t cap)
{
    char boot[64], ns[64];
    read_small("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    ssize_t n = readlink("/proc/self/ns/pid", ns, sizeof ns - 1);
    ns[n > 0 ? n : 0] = '\0';
    snprintf(out, cap, "%s/%s", boot[0] ? boot : "-", ns[0] ? ns : "-");
}

void se__process_tag(char tag[PROCESS_TAG_MAX])
{
    char where[100];
    place(where, sizeof where);
    long pid = (long)getpid();
    snprintf(tag, PROCESS_TAG_MAX, "%.80s/%ld/%llu", where, pid, start_time(pid));
}

enum process_life se__process_life(const char *tag)
{
    char where[100];
    place(where, sizeof where);
    size_t len = strlen(where);
    if (where[0] == '-' || strncmp(tag, where, len) != 0 || tag[len] != '/')
        return PROCESS_UNKNOWN;
    char *end;
    long pid = strtol(tag + len + 1, &end, 10);
    if (pid <= 0 || *end != '/')
        return PROCESS_UNKNOWN;
    unsigned long long started = strtoull(end + 1, NULL, 10);
    unsigned long long now = start_time(pid);
    if (now == 0) /* gone, or hidden from us (hidepid): a signal of 0 would tell no more */
        return access("/proc/1/stat", R_OK) == 0 || pid == (long)getpid() ? PROCESS_DEAD
                                                                          : PROCESS_UNKNOWN;
    return now == started ? PROCESS_ALIVE : PROCESS_DEAD;
}
