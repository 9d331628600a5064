/*
 * split.c - halving, left to right, so that refused records are met in the order of their ids.
 *
 * k bad records among n cost about 2 k log2(n / k) attempts beside the first. A backend that
 * refuses everything is recognised after log2(n) + 2 * SPLIT_ROW_MAX attempts. From then on nothing
 * is halved any more, but every range that is still open is tried once: where the trouble is that
 * of some records after all, the others get past them.
 */
#include "flush/split.h"

#include <stdio.h>
#include <string.h>

enum {
    SPLIT_ROW_MAX = 10,      /* more refused in a row with one number: the server's trouble */
    SPLIT_SHARE_PERCENT = 5, /* a greater share of a batch is the same */
    SPLIT_SHARE_MIN = 200    /* of a batch at least this large */
};

struct split {
    struct split_run *run;
    struct tier_write *writes;
    struct split_item *fates;
    size_t n;
    struct tier_reply (*attempt)(void *arg, struct tier_write *writes, size_t n);
    void *arg;
    bool systemic; /* refusals are the server's: nothing is halved any more */
    int code;      /* then: theirs */
    char error[sizeof((struct split_item *)0)->error];
};

static size_t dead_with(const struct split *s, int code)
{
    size_t dead = 0;
    for (size_t i = 0; i < s->n; i++)
        dead += s->fates[i].fate == SPLIT_DEAD && s->fates[i].code == code;
    return dead;
}

static bool is_systemic(const struct split *s)
{
    if (s->run->n > SPLIT_ROW_MAX)
        return true;
    return s->n >= SPLIT_SHARE_MIN && dead_with(s, s->run->code) * 100 > s->n * SPLIT_SHARE_PERCENT;
}

static void one_refused(struct split *s, size_t at, struct tier_reply reply)
{
    struct split_item *fate = &s->fates[at];
    fate->fate = SPLIT_DEAD;
    fate->code = reply.code;
    snprintf(fate->error, sizeof fate->error, "%s", se_errmsg());
    if (s->run->n && s->run->code == reply.code)
        s->run->n++;
    else
        *s->run = (struct split_run){.code = reply.code, .n = 1};
    if (!is_systemic(s))
        return;
    s->systemic = true;
    s->code = reply.code;
    memcpy(s->error, fate->error, sizeof s->error);
}

static void range_done(struct split *s, size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++)
        s->fates[i].fate = SPLIT_DONE;
    s->run->n = 0;
}

/* Anything but TIER_FINE ends the call at once. */
static struct tier_reply write_range(struct split *s, size_t from, size_t n)
{
    struct tier_reply reply = s->attempt(s->arg, s->writes + from, n);
    if (reply.fault == TIER_FINE)
        range_done(s, from, n);
    if (reply.fault != TIER_REFUSED)
        return reply;
    if (n == 1 && !s->systemic)
        one_refused(s, from, reply);
    if (n == 1 || s->systemic)
        return se__tier_fine();
    reply = write_range(s, from, n / 2);
    if (reply.fault != TIER_FINE)
        return reply;
    return write_range(s, from + n / 2, n - n / 2);
}

static struct tier_reply systemic_reply(const struct split *s)
{
    se__error(SE_ERR_BACKEND, "%s (it refuses too many records for that to be theirs)", s->error);
    return (struct tier_reply){.fault = TIER_UNWELL, .code = s->code};
}

/* A call that ends in a fault buries nobody: the refusals may have been the first signs of it. */
static void spare_the_dead(struct split_item *fates, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (fates[i].fate == SPLIT_DEAD)
            fates[i] = (struct split_item){.fate = SPLIT_UNDECIDED};
    }
}

struct tier_reply se__split_write_on(
    struct split_run *run, struct tier_write *writes, struct split_item *fates, size_t n,
    struct tier_reply (*attempt)(void *arg, struct tier_write *writes, size_t n), void *arg)
{
    for (size_t i = 0; i < n; i++)
        fates[i].fate = SPLIT_UNDECIDED;
    if (n == 0)
        return se__tier_fine();
    struct split s = {
        .run = run, .writes = writes, .fates = fates, .n = n, .attempt = attempt, .arg = arg};
    struct tier_reply reply = write_range(&s, 0, n);
    if (reply.fault == TIER_FINE && s.systemic)
        reply = systemic_reply(&s);
    if (reply.fault != TIER_FINE)
        spare_the_dead(fates, n);
    return reply;
}

struct tier_reply se__split_write(struct tier_write *writes, struct split_item *fates, size_t n,
                                  struct tier_reply (*attempt)(void *arg, struct tier_write *writes,
                                                               size_t n),
                                  void *arg)
{
    struct split_run run = {0};
    return se__split_write_on(&run, writes, fates, n, attempt, arg);
}
