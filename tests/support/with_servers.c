/*
 * with_servers - runs a program beside a Redis and a MariaDB of its own.
 *
 *   with_servers PROGRAM [ARGUMENT...]
 *
 * The program finds them by SYNC_ENGINE_REDIS_URL and SYNC_ENGINE_SQL_URL. Both servers end with
 * it; its exit status is this one's, 1 if it was killed or could not be started.
 */
#include "support/mariadb_server.h"
#include "support/redis_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int run(char **argv)
{
    pid_t child = fork();
    if (child == 0) {
        execv(argv[0], argv);
        perror(argv[0]);
        _exit(1);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: with_servers PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    struct mariadb_server *database = mariadb_start(false, NULL);
    if (!database)
        return 1;
    struct redis_server redis = {0};
    redis_server_start(&redis, NULL);
    char url[512];
    mariadb_url(database, false, url, sizeof url);
    (void)setenv("SYNC_ENGINE_SQL_URL", url, 1);
    redis_server_url(&redis, url, sizeof url);
    (void)setenv("SYNC_ENGINE_REDIS_URL", url, 1);
    int status = run(argv + 1);
    redis_server_stop(&redis);
    mariadb_close(database);
    return status;
}
