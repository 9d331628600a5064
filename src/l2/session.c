/*
 * session - see session.h.
 */
#include "l2/session.h"

#include "base/mem.h"
#include "base/os.h"
#include "l2/reply.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is known of the server's clock is replaced by a worse sample only
 * after this long: clocks drift. */
#define CLOCK_FRESH_MS 30000u
/* Both clocks are read in whole ms, so what is known may be off by one each; without this a call
 * whose deadline has just passed here may still act there. */
#define CLOCK_GRAIN_MS 2

/* ---- the server's clock ---- */

void se__clock_learn(struct server_clock *clock, int64_t server_ms, uint64_t now_ms, bool jumped)
{
    int64_t offset_ms = server_ms - (int64_t)now_ms;
    bool stale = clock->learnt_ms == 0 || now_ms - clock->learnt_ms > CLOCK_FRESH_MS;
    /* The slower the reply, the smaller the sample: the greatest is the truest. */
    if (jumped || stale || offset_ms > clock->offset_ms)
        *clock = (struct server_clock){.offset_ms = offset_ms, .learnt_ms = now_ms};
}

uint64_t se__clock_deadline(const struct server_clock *clock, uint64_t deadline_ms, uint64_t now_ms)
{
    if (deadline_ms <= now_ms)
        return 0;
    uint64_t ahead_ms = deadline_ms - now_ms;
    if (ahead_ms > SCRIPT_AHEAD_MS_MAX)
        ahead_ms = SCRIPT_AHEAD_MS_MAX;
    int64_t at_ms = (int64_t)(now_ms + ahead_ms) + clock->offset_ms - CLOCK_GRAIN_MS;
    return at_ms > 0 ? (uint64_t)at_ms : 0;
}

/* ---- introduction ---- */

struct hello {
    struct session *session;
    const struct url *url;
    size_t auth_at, select_at, name_at, server_at,
        replication_at; /* index of each reply; SIZE_MAX: not asked */
    char run_id[60], repl_id[60];
    char words[256]; /* the first refusal */
};

static void refuse(struct hello *h, const char *what, const redisReply *reply)
{
    char words[200];
    if (h->words[0])
        return;
    se__reply_words(reply, h->url->password, words, sizeof words);
    snprintf(h->words, sizeof h->words, "%s: %s", what, words);
}

static void on_hello(void *arg, size_t index, const redisReply *reply)
{
    struct hello *h = arg;
    char mode[16], major[8];
    if (index == h->auth_at && !se__reply_is_status(reply, "OK"))
        refuse(h, "AUTH", reply);
    if (index == h->select_at && !se__reply_is_status(reply, "OK"))
        refuse(h, "SELECT", reply);
    if (index == h->server_at && !se__reply_info(reply, "run_id", h->run_id, sizeof h->run_id))
        refuse(h, "INFO server gives no run_id", reply);
    if (index == h->server_at && se__reply_info(reply, "redis_version", major, sizeof major))
        h->session->gets_or_leases = strtol(major, NULL, 10) >= 7; /* it ends at the first dot */
    if (index == h->server_at && se__reply_info(reply, "redis_mode", mode, sizeof mode))
        h->session->cluster = strcmp(mode, "cluster") == 0;
    if (index == h->replication_at &&
        !se__reply_info(reply, "master_replid", h->repl_id, sizeof h->repl_id))
        refuse(h, "INFO replication gives no master_replid", reply);
    /* name_at: a server that does not let us set a name will do without. */
}

static void say_hello(struct hello *h, struct resp *c)
{
    const struct url *url = h->url;
    size_t n = 0;
    h->auth_at = h->select_at = SIZE_MAX;
    if (url->password) {
        h->auth_at = n++;
        se__resp_begin(c, url->user && *url->user ? 3 : 2);
        se__resp_text(c, "AUTH");
        if (url->user && *url->user)
            se__resp_text(c, url->user);
        se__resp_text(c, url->password);
    }
    if (url->db != 0) {
        h->select_at = n++;
        se__resp_begin(c, 2);
        se__resp_text(c, "SELECT");
        se__resp_number(c, url->db);
    }
    h->name_at = n++;
    se__resp_begin(c, 3);
    se__resp_text(c, "CLIENT");
    se__resp_text(c, "SETNAME");
    se__resp_text(c, "syncengine");
    h->server_at = n++;
    se__resp_begin(c, 2);
    se__resp_text(c, "INFO");
    se__resp_text(c, "server");
    h->replication_at = n++;
    se__resp_begin(c, 2);
    se__resp_text(c, "INFO");
    se__resp_text(c, "replication");
}

static se_result introduce(struct session *s, const struct url *url, uint64_t deadline_ms)
{
    struct hello h = {.session = s, .url = url};
    say_hello(&h, s->resp);
    se_result r = se__resp_exchange(s->resp, deadline_ms, on_hello, &h);
    if (h.words[0])
        return se__error(SE_ERR_BACKEND, "%s", h.words);
    if (r != SE_OK)
        return r;
    snprintf(s->identity, sizeof s->identity, "%s/%s", h.run_id, h.repl_id);
    return SE_OK;
}

/* ---- scripts and clock ---- */

struct load {
    struct session *session;
    char words[256];
    bool garbage;
};

static void on_load(void *arg, size_t index, const redisReply *reply)
{
    struct load *l = arg;
    const char *sha;
    size_t len;
    int64_t server_ms;
    if (se__reply_class(reply) != REPLY_FINE) {
        if (!l->words[0])
            se__reply_words(reply, l->session->secret, l->words, sizeof l->words);
    } else if (index < SCRIPT_COUNT) {
        if (!se__reply_bytes(reply, &sha, &len) || len != SESSION_SHA_SIZE - 1)
            l->garbage = true;
        else
            memcpy(l->session->sha[index], sha, len); /* its NUL is there: all-zero at first */
    } else if (se__reply_time(reply, &server_ms)) {
        se__clock_learn(&l->session->clock, server_ms, se__mono_ms(), true);
    } else {
        l->garbage = true;
    }
}

se_result se__session_load(struct session *s, uint64_t deadline_ms)
{
    struct load l = {.session = s};
    for (size_t i = 0; i < SCRIPT_COUNT; i++) {
        se__resp_begin(s->resp, 3);
        se__resp_text(s->resp, "SCRIPT");
        se__resp_text(s->resp, "LOAD");
        se__resp_text(s->resp, se__script_text((enum script)i));
    }
    se__resp_begin(s->resp, 1);
    se__resp_text(s->resp, "TIME");
    se_result r = se__resp_exchange(s->resp, deadline_ms, on_load, &l);
    if (r != SE_OK)
        return r;
    if (l.words[0])
        return se__error(SE_ERR_BACKEND, "SCRIPT LOAD, TIME: %s", l.words);
    if (l.garbage)
        return se__error(SE_ERR_BACKEND, "SCRIPT LOAD, TIME: not the answers of a Redis server");
    return SE_OK;
}

/* Of commands whose outcome nobody waited for. That one was refused is nothing; that it was by
 * another kind of server than we take it for is. */
static void on_late(void *arg, size_t index, const redisReply *reply)
{
    struct session *s = arg;
    enum reply_class class = se__reply_class(reply);
    (void)index;
    if (class == REPLY_NOSCRIPT)
        s->forgotten = true;
    else if (class != REPLY_FINE && class != REPLY_UNWELL)
        s->doubtful = true;
}

se_result se__session_open(const struct url *url, uint64_t deadline_ms, struct session **session)
{
    struct session *s = se__alloc_zeroed(1, sizeof *s);
    if (!s)
        return se__error_nomem();
    s->secret = url->password;
    se_result r = se__resp_open(url, deadline_ms, &s->resp);
    if (r == SE_OK) {
        se__resp_on_late(s->resp, on_late, s);
        r = introduce(s, url, deadline_ms);
    }
    if (r == SE_OK)
        r = se__session_load(s, deadline_ms);
    if (r != SE_OK) {
        se__session_close(s);
        return r;
    }
    *session = s;
    return SE_OK;
}

void se__session_close(struct session *s)
{
    if (!s)
        return;
    se__resp_close(s->resp);
    se__free(s);
}
