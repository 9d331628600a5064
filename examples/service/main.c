/*
 * service - a small key-value service over HTTP that uses the engine as a real one would.
 *
 *     SYNC_ENGINE_SQL_URL=mysql://user@db.example/shop SYNC_ENGINE_REDIS_URL=redis://cache.example \
 *     SYNC_ENGINE_WAL_PATH=/var/lib/service/wal.db SERVICE_PORT=8080 ./service
 *
 * README.md has the routes. Here: configuration from the environment, the log hook, and the order in
 * which things begin and end. SIGTERM and SIGINT end it in order: requests that run are finished,
 * the engine flushes (or moves into the WAL what the database cannot take), then it is closed. A
 * second signal ends it at once; what was acknowledged under SE_ACK_WAL is in the WAL.
 */
#include "api.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct settings {
    const char *address;
    uint16_t port, metrics_port;
    unsigned drain_ms; /* for requests, and once more for the engine */
};

/* ---- log ---- */

/* logfmt: one line a message, written at once. Called from any thread. */
static void log_line(void *arg, se_log_level level, const char *message)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char when[32];
    struct tm tm;
    time_t now = time(NULL);
    (void)arg;
    if (level > SE_LOG_INFO)
        return;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    flockfile(stderr);
    fprintf(stderr, "time=%s level=%s msg=\"", when, names[level]);
    for (; *message; message++) {
        if (*message == '"' || *message == '\\')
            fputc('\\', stderr);
        fputc(*message == '\n' ? ' ' : *message, stderr);
    }
    fputs("\"\n", stderr);
    funlockfile(stderr);
}

static void say(se_log_level level, const char *what, se_result r)
{
    char text[600];
    snprintf(text, sizeof text, "%s%s%s", what, r == SE_OK ? "" : ": ",
             r == SE_OK ? ""
             : r < 0    ? se_errmsg()
                        : se_strerror(r));
    log_line(NULL, level, text);
}

/* ---- settings ---- */

/* False after a message: the variable is there and no number up to max. */
static bool env_number(const char *name, unsigned long fallback, unsigned long max,
                       unsigned long *out)
{
    const char *text = getenv(name);
    char *end = NULL;
    *out = fallback;
    if (!text || !*text)
        return true;
    errno = 0;
    *out = strtoul(text, &end, 10);
    if (errno == 0 && *end == '\0' && text[0] != '-' && *out <= max)
        return true;
    fprintf(stderr, "%s: not a number up to %lu\n", name, max);
    return false;
}

static bool read_settings(struct settings *s)
{
    unsigned long port, metrics, drain;
    if (!env_number("SERVICE_PORT", 8080, 65535, &port) ||
        !env_number("SERVICE_METRICS_PORT", 9464, 65535, &metrics) ||
        !env_number("SERVICE_DRAIN_MS", 10000, 600000, &drain))
        return false;
    const char *address = getenv("SERVICE_ADDRESS");
    *s = (struct settings){.address = address && *address ? address : "127.0.0.1",
                           .port = (uint16_t)port,
                           .metrics_port = (uint16_t)metrics,
                           .drain_ms = (unsigned)drain};
    return true;
}

/* A service that answers "stored" should mean it: the WAL's ack is the default here, which is the
 * database's where there is no WAL. The environment has the last word. */
static se_result open_engine(se_engine **engine, size_t *bytes_max)
{
    se_config config;
    se_config_init(&config);
    config.default_ack = SE_ACK_WAL;
    config.log_fn = log_line;
    se_result r = se_config_from_env(&config);
    *bytes_max = config.max_payload_bytes;
    if (r == SE_OK)
        r = se_open(&config, engine);
    se_config_clear(&config);
    return r;
}

/* ---- life ---- */

/* Signals go to sigwait() alone: every thread that is made later inherits the mask. */
static sigset_t block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return set;
}

/* In this order: no new requests, the ones that run, the flush, the end. Metrics are served until
 * the last step. */
static int wind_down(struct api *api, se_engine *engine, const struct settings *s)
{
    say(SE_LOG_INFO, "draining", SE_OK);
    if (!api_drain(api, s->drain_ms))
        say(SE_LOG_WARN, "requests still ran at the end of the drain", SE_OK);
    se_result r = se_shutdown(engine, s->drain_ms); /* whoever still waits in a call is woken */
    say(r < 0 ? SE_LOG_ERROR : SE_LOG_INFO, "engine shut down", r);
    api_stop(api);
    se_result closed = se_close(engine, 0);
    return r < 0 || closed < 0 ? 1 : 0;
}

static int serve(se_engine *engine, struct settings *s, size_t bytes_max, const sigset_t *signals)
{
    int signal_number = 0;
    se_result r = se_http_start(engine, s->address, &s->metrics_port);
    struct api *api = r == SE_OK ? api_start(engine, s->address, &s->port, bytes_max) : NULL;
    if (!api) {
        say(SE_LOG_ERROR, "cannot serve", r);
        se_close(engine, s->drain_ms);
        return 1;
    }
    printf("serving http://%s:%u, metrics on http://%s:%u/metrics\n", s->address, s->port,
           s->address, s->metrics_port);
    fflush(stdout);
    while (sigwait(signals, &signal_number) != 0) {
    }
    pthread_sigmask(SIG_UNBLOCK, signals, NULL); /* the second one kills */
    return wind_down(api, engine, s);
}

int main(void)
{
    struct settings settings;
    se_engine *engine = NULL;
    size_t bytes_max;
    if (!read_settings(&settings))
        return 2;
    sigset_t signals = block_signals();
    se_result r = open_engine(&engine, &bytes_max);
    if (r != SE_OK) {
        say(SE_LOG_ERROR, "cannot open the engine", r);
        return 1;
    }
    return serve(engine, &settings, bytes_max, &signals);
}
