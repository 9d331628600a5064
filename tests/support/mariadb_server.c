/*
 * mariadb_server - starts, stops, pauses and kills a MariaDB of the test's own.
 *
 * Files:  /dev/shm/se-mariadb-lock-<uid>          flock: template and clean-up, one process at a
 * time
 *         /dev/shm/se-mariadb-template-<uid>-<k>  data directory; <k> tells server builds apart
 *         /dev/shm/se-mariadb-XXXXXX/             one server: data/, s (socket), log, lock (flock:
 *                                                 its owner lives)
 */
#include "support/mariadb_server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mysql.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROOT "/dev/shm"
#define SERVER_PREFIX "se-mariadb-s-"
#define START_MS 60000 /* a loaded machine; usually 300 */

/* ---- small helpers ---- */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

static const char *server_binary(void)
{
    static const char *const paths[] = {"/usr/sbin/mariadbd", "/usr/bin/mariadbd",
                                        "/usr/local/sbin/mariadbd", "/usr/sbin/mysqld"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if (access(paths[i], X_OK) == 0)
            return paths[i];
    return "mariadbd";
}

/* In the child: everything it says goes to `log`. */
static void become(const char *log, char *const argv[])
{
    int in = open("/dev/null", O_RDONLY), out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (in < 0 || out < 0)
        _exit(126);
    dup2(in, 0);
    dup2(out, 1);
    dup2(out, 2);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    unsetenv("LD_PRELOAD"); /* a sanitizer's or a fault injector's must not reach the server */
    execvp(argv[0], argv);
    _exit(127);
}

static pid_t spawn(const char *log, char *const argv[])
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent)
        become(log, argv);
    _exit(125); /* the parent died before the signal was set */
}

static bool run(const char *log, char *const argv[])
{
    pid_t pid = spawn(log, argv);
    int status;
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_tree(const char *dir)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void show_log(const char *what, const char *log)
{
    fprintf(stderr, "mariadb_server: %s\n", what);
    FILE *f = fopen(log, "r");
    if (!f)
        return;
    char line[512];
    while (fgets(line, sizeof line, f))
        fprintf(stderr, "  %s", line);
    fclose(f);
}

/* ---- template ---- */

static int lock_all(void)
{
    char path[64];
    snprintf(path, sizeof path, ROOT "/se-mariadb-lock-%u", (unsigned)getuid());
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    while (fd >= 0 && flock(fd, LOCK_EX) != 0)
        if (errno != EINTR) {
            close(fd);
            return -1;
        }
    return fd;
}

static void template_path(char *path, size_t cap)
{
    struct stat st = {0};
    stat(server_binary(), &st);
    snprintf(path, cap, ROOT "/se-mariadb-template-%u-%llx", (unsigned)getuid(),
             (unsigned long long)st.st_mtime * 31 + (unsigned long long)st.st_size);
}

/* Under the lock. It is made beside its place and renamed, so that a
 * half-made one is never used. */
static bool make_template(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0)
        return true;
    char part[160], datadir[192], log[160];
    snprintf(part, sizeof part, "%s.part", path);
    snprintf(datadir, sizeof datadir, "--datadir=%s", part);
    snprintf(log, sizeof log, "%s.log", path);
    remove_tree(part);
    char *argv[] = {(char[]){"mariadb-install-db"},
                    (char[]){"--no-defaults"},
                    (char[]){"--auth-root-authentication-method=normal"},
                    (char[]){"--skip-test-db"},
                    (char[]){"--skip-name-resolve"},
                    (char[]){"--innodb-log-file-size=8M"},
                    datadir,
                    getuid() == 0 ? (char[]){"--user=root"} : NULL,
                    NULL};
    bool made = run(log, argv) && rename(part, path) == 0;
    if (!made)
        show_log("mariadb-install-db failed", log);
    unlink(log);
    return made;
}

/* Under the lock: removes directories whose owner is gone. */
static void sweep(void)
{
    DIR *d = opendir(ROOT);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, SERVER_PREFIX, strlen(SERVER_PREFIX)) != 0)
            continue;
        char dir[300], lock[320];
        snprintf(dir, sizeof dir, ROOT "/%s", e->d_name);
        snprintf(lock, sizeof lock, "%s/lock", dir);
        int fd = open(lock, O_RDWR | O_CLOEXEC);
        if (fd < 0 ? errno == ENOENT : flock(fd, LOCK_EX | LOCK_NB) == 0)
            remove_tree(dir);
        if (fd >= 0)
            close(fd);
    }
    closedir(d);
}

static bool make_dir_locked(struct mariadb_server *s)
{
    char template[128], data[80], lock[80], log[80], tmp[80];
    template_path(template, sizeof template);
    sweep();
    if (!make_template(template))
        return false;
    snprintf(s->dir, sizeof s->dir, ROOT "/" SERVER_PREFIX "XXXXXX");
    if (!mkdtemp(s->dir))
        return false;
    snprintf(lock, sizeof lock, "%.60s/lock", s->dir);
    s->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0 || flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return false;
    snprintf(data, sizeof data, "%.60s/data", s->dir);
    snprintf(log, sizeof log, "%.60s/log", s->dir);
    snprintf(s->socket, sizeof s->socket, "%.60s/s", s->dir);
    snprintf(tmp, sizeof tmp, "%.60s/tmp", s->dir);
    char *argv[] = {(char[]){"cp"}, (char[]){"-a"}, template, data, NULL};
    return mkdir(tmp, 0700) == 0 && run(log, argv);
}

static bool make_dir(struct mariadb_server *s)
{
    int lock = lock_all();
    if (lock < 0)
        return false;
    bool made = make_dir_locked(s);
    close(lock);
    return made;
}

/* ---- the process ---- */

/* A port nobody listens on now. Another process may take it before the server
 * does: start tries again then. */
static uint16_t free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    uint16_t port = 0;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&a, len) == 0 &&
        getsockname(fd, (struct sockaddr *)&a, &len) == 0)
        port = ntohs(a.sin_port);
    if (fd >= 0)
        close(fd);
    return port;
}

enum { OPTIONS_MAX = 40, OPTION_SIZE = 160 };

struct command {
    char text[OPTIONS_MAX][OPTION_SIZE];
    char *argv[OPTIONS_MAX + 1];
    int n;
};

static void add(struct command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct command *c, const char *fmt, ...)
{
    if (c->n == OPTIONS_MAX)
        abort();
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->text[c->n], OPTION_SIZE, fmt, ap);
    va_end(ap);
    c->argv[c->n] = c->text[c->n];
    c->argv[++c->n] = NULL;
}

static void build_command(const struct mariadb_server *s, struct command *c)
{
    add(c, "%s", server_binary());
    add(c, "--no-defaults");
    add(c, "--datadir=%s/data", s->dir);
    add(c, "--socket=%s", s->socket);
    add(c, "--pid-file=%s/pid", s->dir);
    /* A server that starts sweeps its tmpdir of temporary tables: a shared one robs the others. */
    add(c, "--tmpdir=%s/tmp", s->dir);
    add(c, "--skip-name-resolve");
    add(c, "--innodb-buffer-pool-size=24M");
    add(c, "--innodb-log-file-size=8M");
    add(c, "--key-buffer-size=1M");
    add(c, "--performance-schema=OFF");
    add(c, "--skip-log-bin");
    if (s->port)
        add(c, "--port=%u", s->port);
    add(c, s->port ? "--bind-address=127.0.0.1" : "--skip-networking");
    if (getuid() == 0)
        add(c, "--user=root");
    for (char **a = s->args; a && *a; a++)
        add(c, "%s", *a);
}

static MYSQL *connect_root(struct mariadb_server *s, const char *db)
{
    MYSQL *m = mysql_init(NULL);
    if (!m)
        return NULL;
    unsigned seconds = 30, protocol = MYSQL_PROTOCOL_SOCKET;
    mysql_options(m, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
    mysql_options(m, MYSQL_OPT_READ_TIMEOUT, &seconds);
    mysql_options(m, MYSQL_OPT_WRITE_TIMEOUT, &seconds);
    mysql_options(m, MYSQL_OPT_PROTOCOL, &protocol);
    mysql_options(m, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    if (mysql_real_connect(m, "localhost", "root", NULL, db, 0, s->socket, CLIENT_MULTI_STATEMENTS))
        return m;
    mysql_close(m);
    return NULL;
}

/* True once it answers; false if it ended or START_MS passed. */
static bool wait_ready(struct mariadb_server *s)
{
    for (int64_t end = now_ms() + START_MS; now_ms() < end; nap()) {
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid) {
            s->pid = 0;
            return false;
        }
        MYSQL *m = connect_root(s, NULL);
        if (!m)
            continue;
        bool made = mysql_query(m, "CREATE DATABASE IF NOT EXISTS t") == 0;
        mysql_close(m);
        return made;
    }
    return false;
}

static bool launch(struct mariadb_server *s)
{
    char log[80];
    snprintf(log, sizeof log, "%.60s/log", s->dir);
    struct command *c = calloc(1, sizeof *c);
    if (!c)
        return false;
    build_command(s, c);
    s->pid = spawn(log, c->argv);
    free(c);
    if (s->pid > 0 && wait_ready(s))
        return true;
    mariadb_kill(s);
    return false;
}

static char **copy_args(const char *const *args)
{
    size_t n = 0;
    while (args && args[n])
        n++;
    char **copy = calloc(n + 1, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++)
        copy[i] = strdup(args[i]);
    return copy;
}

struct mariadb_server *mariadb_start(bool tcp, const char *const *args)
{
    struct mariadb_server *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->lock_fd = -1;
    s->args = copy_args(args);
    bool up = make_dir(s);
    for (int attempt = 0; up && attempt < 3; attempt++) {
        s->port = tcp ? free_port() : 0;
        if (launch(s))
            return s;
    }
    char log[80];
    snprintf(log, sizeof log, "%.60s/log", s->dir);
    show_log("the server did not start", log);
    mariadb_close(s);
    return NULL;
}

bool mariadb_kill(struct mariadb_server *s)
{
    if (s->pid <= 0)
        return true;
    kill(s->pid, SIGKILL);
    while (waitpid(s->pid, NULL, 0) < 0)
        if (errno != EINTR)
            return false;
    s->pid = 0;
    return true;
}

bool mariadb_restart(struct mariadb_server *s)
{
    if (mariadb_kill(s) && launch(s))
        return true;
    char log[80];
    snprintf(log, sizeof log, "%.60s/log", s->dir);
    show_log("the server did not start again", log);
    return false;
}

bool mariadb_pause(struct mariadb_server *s)
{
    int status;
    return kill(s->pid, SIGSTOP) == 0 && waitpid(s->pid, &status, WUNTRACED) == s->pid &&
           WIFSTOPPED(status);
}

bool mariadb_resume(struct mariadb_server *s)
{
    return kill(s->pid, SIGCONT) == 0;
}

void mariadb_close(struct mariadb_server *s)
{
    if (!s)
        return;
    mariadb_kill(s); /* nothing in it is worth a clean shutdown */
    if (s->dir[0])
        remove_tree(s->dir);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    for (char **a = s->args; a && *a; a++)
        free(*a);
    free(s->args);
    free(s);
}

void mariadb_url(const struct mariadb_server *s, bool tcp, char *url, size_t cap)
{
    if (tcp)
        snprintf(url, cap, "mysql://root@127.0.0.1:%u/t", s->port);
    else
        snprintf(url, cap, "mysql://root@localhost/t?socket=%s", s->socket);
}

/* ---- SQL ---- */

static bool query(struct mariadb_server *s, const char *sql, char *value, size_t cap)
{
    MYSQL *m = connect_root(s, "t");
    if (!m) {
        fprintf(stderr, "mariadb_server: cannot connect for %s\n", sql);
        return false;
    }
    int r = mysql_query(m, sql);
    while (r == 0) {
        MYSQL_RES *rows = mysql_store_result(m);
        MYSQL_ROW row = rows ? mysql_fetch_row(rows) : NULL;
        if (value && row && row[0])
            snprintf(value, cap, "%s", row[0]);
        mysql_free_result(rows);
        r = mysql_next_result(m); /* 0: another one, -1: no more */
    }
    bool ok = r < 0 && mysql_errno(m) == 0;
    if (!ok)
        fprintf(stderr, "mariadb_server: %s: %s\n", sql, mysql_error(m));
    mysql_close(m);
    return ok;
}

bool mariadb_exec(struct mariadb_server *s, const char *sql)
{
    return query(s, sql, NULL, 0);
}

bool mariadb_value(struct mariadb_server *s, const char *sql, char *value, size_t cap)
{
    value[0] = '\0';
    return query(s, sql, value, cap);
}

long long mariadb_number(struct mariadb_server *s, const char *sql)
{
    char text[64];
    return mariadb_value(s, sql, text, sizeof text) ? atoll(text) : -1;
}
