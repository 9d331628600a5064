/*
 * dir - see dir.h.
 */
#include "support/dir.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void test_dir_make(struct test_dir *dir)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
    snprintf(dir->path, sizeof dir->path, "%s/syncengine-test-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(dir->path)) {
        (void)fprintf(stderr, "cannot make a folder like %s\n", dir->path);
        abort(); /* no assertion: programs without a test framework have folders, too */
    }
}

void test_dir_path(const struct test_dir *dir, const char *scheme, const char *name, char out[256])
{
    snprintf(out, 256, "%s%s/%s", scheme, dir->path, name);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void test_dir_remove(const struct test_dir *dir)
{
    (void)nftw(dir->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
