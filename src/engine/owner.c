/*
 * owner - see owner.h. Clocks of other machines are not compared with ours: a heartbeat is judged
 * by whether it moves.
 */
#include "engine/owner.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define REMEMBERED 64

struct seen {
    char uuid[33];
    uint64_t heartbeat, since_ms;
};

struct owners {
    struct seen seen[REMEMBERED]; /* the least recently moved gives way */
    size_t n;
};

bool se__owner_parse(const char *value, struct owner_row *row)
{
    char state[8] = "";
    *row = (struct owner_row){0};
    int fields = sscanf(value, "1 %7s %20" SCNu64 " %20" SCNu64 " %127s %63[^\n]", state,
                        &row->ceiling, &row->heartbeat, row->tag, row->name);
    row->open = strcmp(state, "open") == 0;
    return fields == 5 && (row->open || strcmp(state, "closed") == 0);
}

void se__owner_print(const struct owner_row *row, char *out, size_t cap)
{
    snprintf(out, cap, "1 %s %" PRIu64 " %" PRIu64 " %s %s", row->open ? "open" : "closed",
             row->ceiling, row->heartbeat, row->tag, row->name);
}

se_result se__owners_open(struct owners **owners)
{
    struct owners *o = se__alloc_zeroed(1, sizeof *o);
    if (!o)
        return se__error_nomem();
    *owners = o;
    return SE_OK;
}

void se__owners_close(struct owners *o)
{
    se__free(o);
}

static struct seen *remember(struct owners *o, const char *uuid)
{
    struct seen *oldest = &o->seen[0];
    for (size_t i = 0; i < o->n; i++) {
        if (strcmp(o->seen[i].uuid, uuid) == 0)
            return &o->seen[i];
        if (o->seen[i].since_ms < oldest->since_ms)
            oldest = &o->seen[i];
    }
    struct seen *s = o->n < REMEMBERED ? &o->seen[o->n++] : oldest;
    *s = (struct seen){0};
    snprintf(s->uuid, sizeof s->uuid, "%s", uuid);
    return s;
}

enum owner_verdict se__owners_judge(struct owners *o, const char *uuid, const struct owner_row *row,
                                    enum process_life life, uint64_t now_ms)
{
    if (!row->open)
        return OWNER_CLOSED;
    if (life == PROCESS_DEAD)
        return OWNER_CRASHED;
    struct seen *s = remember(o, uuid);
    if (s->since_ms == 0 || s->heartbeat != row->heartbeat) {
        s->heartbeat = row->heartbeat;
        s->since_ms = now_ms ? now_ms : 1;
    }
    /* A process of this machine that is alive may be stopped for long; only its
     * own silence counts elsewhere. */
    if (life != PROCESS_ALIVE && now_ms - s->since_ms >= OWNER_SILENCE_MS)
        return OWNER_CRASHED;
    return OWNER_LIVE;
}
