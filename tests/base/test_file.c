/*
 * file: whole files come back, only regular ones are read, and a replacement is there as a whole or
 * not at all, whenever the process dies.
 */
#include "base/file.h"

#include "base/mem.h"
#include "base/os.h"
#include "support/dir.h"
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct test_dir dir;
static char path[256], tmp[256];

static void make_dir(void)
{
    test_dir_make(&dir);
    test_dir_path(&dir, "", "file", path);
    test_dir_path(&dir, "", "file.tmp", tmp);
}

static void remove_dir(void)
{
    test_dir_remove(&dir);
}

TestSuite(file, .init = make_dir, .fini = remove_dir, .timeout = 120);

static void replace(const char *text)
{
    cr_assert_eq(se__file_replace(path, text, strlen(text)), SE_OK, "%s", se_errmsg());
}

static void expect(const char *text)
{
    struct buf b = {0};
    cr_assert_eq(se__file_read(path, 1000, &b), SE_OK, "%s", se_errmsg());
    cr_assert_eq(b.len, strlen(text));
    cr_assert(memcmp(b.data, text, b.len) == 0);
    se__buf_done(&b);
}

Test(file, what_was_replaced_is_read)
{
    replace("one");
    expect("one");
    replace("a longer one");
    expect("a longer one");
    replace("");
    expect("");
    cr_assert_neq(access(tmp, F_OK), 0);
}

Test(file, is_for_its_owner_only)
{
    struct stat st;
    replace("seed");
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 07777, 0600);
}

Test(file, reading_appends)
{
    struct buf b = {0};
    se__buf_text(&b, "before ");
    replace("after");
    cr_assert_eq(se__file_read(path, 5, &b), SE_OK);
    se__buf_append(&b, "", 1);
    cr_assert_str_eq(b.data, "before after");
    se__buf_done(&b);
}

Test(file, a_large_file_comes_back)
{
    struct buf b = {0}, back = {0};
    for (uint32_t i = 0; i < 200000; i++)
        se__buf_printf(&b, "%u,", i);
    cr_assert_eq(se__file_replace(path, b.data, b.len), SE_OK);
    cr_assert_eq(se__file_read(path, b.len, &back), SE_OK);
    cr_assert_eq(b.len, back.len);
    cr_assert(memcmp(b.data, back.data, b.len) == 0);
    se__buf_done(&back);
    se__buf_done(&b);
}

Test(file, none_there_is_not_found)
{
    struct buf b = {0};
    cr_assert_eq(se__file_read(path, 10, &b), SE_NOT_FOUND);
    cr_assert_eq(b.len, 0);
    se__buf_done(&b);
}

Test(file, beyond_the_bound_is_too_big)
{
    struct buf b = {0};
    se__buf_text(&b, "kept");
    replace("0123456789");
    cr_assert_eq(se__file_read(path, 9, &b), SE_ERR_TOO_BIG);
    cr_assert_eq(b.len, 4);
    cr_assert_eq(se__file_read(path, 10, &b), SE_OK);
    /* A file that claims to be empty and is not. */
    cr_assert_eq(se__file_read("/proc/self/maps", 10, &b), SE_ERR_TOO_BIG);
    cr_assert_eq(b.len, 14);
    se__buf_done(&b);
}

Test(file, only_regular_files_are_read)
{
    struct buf b = {0};
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert_eq(se__file_read(path, 10, &b), SE_ERR_IO); /* and did not wait for a writer */
    cr_assert_eq(se__file_read("/dev/zero", 10, &b), SE_ERR_IO);
    cr_assert_eq(se__file_read(dir.path, 10, &b), SE_ERR_IO);
    cr_assert_eq(b.len, 0);
    se__buf_done(&b);
}

Test(file, without_a_folder_it_is_an_error)
{
    char far[256];
    test_dir_path(&dir, "", "none/file", far);
    cr_assert_eq(se__file_replace(far, "x", 1), SE_ERR_IO);
}

Test(file, a_name_without_a_folder_is_one_here)
{
    cr_assert_eq(chdir(dir.path), 0);
    cr_assert_eq(se__file_replace("file", "here", 4), SE_OK, "%s", se_errmsg());
    expect("here");
    cr_assert_eq(chdir("/"), 0);
}

/* A process that died between its write and the rename. */
Test(file, what_a_crash_left_beside_it_does_not_matter)
{
    char other[256];
    replace("old");
    int fd = open(tmp, O_WRONLY | O_CREAT, 0644);
    cr_assert(fd >= 0 && write(fd, "half of a n", 11) == 11);
    close(fd);
    expect("old");
    replace("new");
    expect("new");
    cr_assert_neq(access(tmp, F_OK), 0);

    /* Nor does a link there lead anywhere. */
    test_dir_path(&dir, "", "other", other);
    cr_assert_eq(symlink(other, tmp), 0);
    replace("newer");
    expect("newer");
    cr_assert_neq(access(other, F_OK), 0);
}

Test(file, a_write_that_fails_leaves_the_old_one)
{
    static char bytes[8192];
    struct rlimit was, low;
    signal(SIGXFSZ, SIG_IGN);
    replace("old");
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
    low = (struct rlimit){.rlim_cur = 4096, .rlim_max = was.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &low), 0);
    se_result r = se__file_replace(path, bytes, sizeof bytes);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &was), 0);
    cr_assert_eq(r, SE_ERR_IO);
    expect("old");
    cr_assert_neq(access(tmp, F_OK), 0);
}

/* ---- writes in pieces ---- */

/* What the calls of write() that follow do, in this order: so many bytes at most, or -errno. Behind them they do all. */
static const int *answers;
static size_t answers_n, writes_n;

ssize_t __real_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_write(int fd, const void *bytes, size_t len)
{
    writes_n++;
    if (answers_n == 0)
        return __real_write(fd, bytes, len);
    answers_n--;
    int answer = *answers++;
    if (answer < 0) {
        errno = -answer;
        return -1;
    }
    return answer == 0 ? 0 : __real_write(fd, bytes, (size_t)answer < len ? (size_t)answer : len);
}

static void answer(const int *list, size_t n)
{
    answers = list;
    answers_n = n;
    writes_n = 0;
}

/* Writes `text` behind "<" and returns whether all of it is said to be there; errno is kept. */
static bool write_text(const char *text, const int *list, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(__real_write(fd, "<", 1), 1);
    answer(list, n);
    errno = 0;
    bool all = se__file_write_all(fd, text, strlen(text));
    int error = errno;
    answer(NULL, 0);
    close(fd);
    errno = error;
    return all;
}

#define WRITE_TEXT(text, ...)                                                                      \
    write_text(text, (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

Test(file, short_and_interrupted_writes_go_on)
{
    cr_assert(WRITE_TEXT("0123456789", 1, 3, 2));
    expect("<0123456789");
    cr_assert(WRITE_TEXT("0123456789", -EINTR, 4, -EINTR, -EINTR, 5, -EINTR));
    expect("<0123456789");
    cr_assert(WRITE_TEXT("0123456789", 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -EIO), "not once too often");
    expect("<0123456789");
    cr_assert(WRITE_TEXT("", -EIO), "there is nothing to write");
    expect("<");
}

Test(file, a_write_that_cannot_go_on_says_why)
{
    cr_assert_not(WRITE_TEXT("0123456789", 4, -ENOSPC));
    cr_assert_eq(errno, ENOSPC);
    expect("<0123");
    cr_assert_not(WRITE_TEXT("0123456789", -EINTR, 4, 0));
    cr_assert_eq(errno, EIO);
    expect("<0123");
}

Test(file, a_replacement_in_pieces_is_whole)
{
    static const int pieces[] = {2, -EINTR, 1, 3};
    replace("old");
    answer(pieces, 4);
    replace("0123456789");
    cr_assert_eq(writes_n, 5u);
    expect("0123456789");
    static const int full[] = {2, -ENOSPC};
    answer(full, 2);
    cr_assert_eq(se__file_replace(path, "newer", 5), SE_ERR_IO);
    cr_assert_not_null(strstr(se_errmsg(), strerror(ENOSPC)), "%s", se_errmsg());
    expect("0123456789");
}

Test(file, without_memory_nothing_happens)
{
    struct buf b = {0};
    replace("old");
    if (!se__mem_fail_after(0))
        cr_skip_test("release build");
    se_result replaced = se__file_replace(path, "new", 3);
    se_result read = se__file_read(path, 10, &b);
    se__mem_fail_after(-1);
    cr_assert_eq(replaced, SE_ERR_NOMEM);
    cr_assert_eq(read, SE_ERR_NOMEM);
    expect("old");
}

/* ---- killed at any moment ---- */

#define KILLS 25
#define WORDS 3000

/* Files of one number each, in many copies; told to the parent before they are written. */
static void replace_for_ever(int to_parent, uint32_t from)
{
    static uint32_t words[WORDS];
    for (uint32_t n = from;; n++) {
        for (size_t i = 0; i < WORDS; i++)
            words[i] = n;
        if (se__file_replace(path, words, sizeof words) != SE_OK ||
            write(to_parent, &n, sizeof n) != sizeof n)
            _exit(1);
    }
}

/* Kills the child after `reports` files; returns the last number it told. */
static uint32_t run_and_kill(uint32_t from, uint32_t reports)
{
    int ends[2];
    uint32_t last = 0, n;
    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        replace_for_ever(ends[1], from);
    }
    close(ends[1]);
    for (uint32_t i = 0; i < reports; i++) {
        cr_assert_eq(read(ends[0], &n, sizeof n), (ssize_t)sizeof n);
        last = n;
    }
    se__pause_ms(se__random_u64() % 2); /* where in the next one it dies is to vary */
    kill(child, SIGKILL);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    while (read(ends[0], &n, sizeof n) == (ssize_t)sizeof n)
        last = n;
    close(ends[0]);
    return last;
}

Test(file, killed_at_any_moment_there_is_a_whole_one)
{
    uint32_t next = 1;
    for (unsigned round = 0; round < KILLS; round++) {
        struct buf b = {0};
        uint32_t told = run_and_kill(next, 1 + round % 5), first, word;
        cr_assert_eq(se__file_read(path, 1 << 20, &b), SE_OK, "%s", se_errmsg());
        cr_assert_eq(b.len, WORDS * sizeof word);
        memcpy(&first, b.data, sizeof first);
        for (size_t i = 0; i < WORDS; i++) {
            memcpy(&word, b.data + i * sizeof word, sizeof word);
            cr_assert_eq(word, first);
        }
        cr_assert(first == told || first == told + 1, "%u told, %u there", told, first);
        next = first + 1;
        se__buf_done(&b);
    }
}
