/*
 * dir - a fresh folder of the test's own below /dev/shm (or TMPDIR), and what engine tests do with
 * paths in it.
 *
 * Memory: paths are static per call site's buffer.  The folder is removed by test_dir_remove.
 */
#ifndef SE_TESTS_SUPPORT_DIR_H
#define SE_TESTS_SUPPORT_DIR_H

struct test_dir {
    char path[128];
};
void test_dir_make(struct test_dir *dir);
/* dir/name into out; with a scheme in front ("sqlite:") where that is given. */
void test_dir_path(const struct test_dir *dir, const char *scheme, const char *name, char out[256]);
void test_dir_remove(const struct test_dir *dir);

#endif
