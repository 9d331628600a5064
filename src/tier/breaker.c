/*
 * breaker - see breaker.h.
 *
 * A call admitted while the circuit was closed may report when it is open or half-open already.
 * Open, it says nothing new and is ignored. Half-open, it cannot be told from a probe and counts as
 * one: it is as good a witness of how the backend does now.
 */
#include "tier/breaker.h"

#include <assert.h>

#define WINDOW_MAX 128u

const struct breaker_options SE__BREAKER_DEFAULT = {.failures_max = 5,
                                                    .successes_min = 2,
                                                    .open_ms = 30000,
                                                    .probes_max = 2,
                                                    .window_calls = 100,
                                                    .rate_percent = 50,
                                                    .slow_ms = 2000};
const struct breaker_options SE__BREAKER_CONSERVATIVE = {.failures_max = 3,
                                                         .successes_min = 3,
                                                         .open_ms = 60000,
                                                         .probes_max = 1,
                                                         .window_calls = 50,
                                                         .rate_percent = 30,
                                                         .slow_ms = 1000};
const struct breaker_options SE__BREAKER_AGGRESSIVE = {.failures_max = 10,
                                                       .successes_min = 1,
                                                       .open_ms = 15000,
                                                       .probes_max = 3,
                                                       .window_calls = 128,
                                                       .rate_percent = 75,
                                                       .slow_ms = 5000};

void se__breaker_init(struct breaker *b, const struct breaker_options *options, uint64_t seed)
{
    *b = (struct breaker){.options = *options, .state = SE_CIRCUIT_CLOSED, .jitter = seed | 1};
    assert(options->failures_max >= 1 && options->successes_min >= 1 && options->probes_max >= 1);
    assert(options->window_calls <= WINDOW_MAX);
}

/* xorshift64 (Marsaglia, 2003): enough to keep many engines from knocking at once. */
static uint64_t next_random(struct breaker *b)
{
    b->jitter ^= b->jitter << 13;
    b->jitter ^= b->jitter >> 7;
    b->jitter ^= b->jitter << 17;
    return b->jitter;
}

static uint64_t jittered_open_ms(struct breaker *b)
{
    uint64_t tenth = b->options.open_ms / 10;
    return b->options.open_ms - tenth + next_random(b) % (2 * tenth + 1);
}

static void enter(struct breaker *b, se_circuit state)
{
    b->state = state;
    b->failures = b->successes = b->probes = 0;
    b->window_at = b->window_filled = b->window_bad = 0;
    b->window[0] = b->window[1] = 0;
}

static void open_circuit(struct breaker *b, uint64_t now_ms)
{
    enter(b, SE_CIRCUIT_OPEN);
    b->reopen_at_ms = now_ms + jittered_open_ms(b);
}

static bool probe_may_start(const struct breaker *b, uint64_t now_ms)
{
    return b->probes < b->options.probes_max || now_ms >= b->probe_since_ms + b->options.open_ms;
}

static bool start_probe(struct breaker *b, uint64_t now_ms)
{
    if (!probe_may_start(b, now_ms))
        return false;
    if (b->probes >= b->options.probes_max)
        b->probes = 0; /* none has reported in all that time: given up */
    b->probes++;
    b->probe_since_ms = now_ms;
    return true;
}

bool se__breaker_allow(struct breaker *b, uint64_t now_ms)
{
    if (b->state == SE_CIRCUIT_CLOSED)
        return true;
    if (b->state == SE_CIRCUIT_OPEN) {
        if (now_ms < b->reopen_at_ms)
            return false;
        enter(b, SE_CIRCUIT_HALF_OPEN);
    }
    return start_probe(b, now_ms);
}

/* The window is a ring of bits; the one that falls out is forgotten in the sum. */
static void note_in_window(struct breaker *b, bool bad)
{
    if (b->options.window_calls == 0)
        return;
    uint64_t *word = &b->window[b->window_at / 64], bit = UINT64_C(1) << (b->window_at % 64);
    if (*word & bit)
        b->window_bad--;
    *word = bad ? *word | bit : *word & ~bit;
    b->window_bad += bad;
    b->window_at = (b->window_at + 1) % b->options.window_calls;
    if (b->window_filled < b->options.window_calls)
        b->window_filled++;
}

static bool rate_exceeded(const struct breaker *b)
{
    return b->options.window_calls > 0 && b->window_filled == b->options.window_calls &&
           b->window_bad * 100 >= b->options.rate_percent * b->options.window_calls;
}

static void report_closed(struct breaker *b, bool ok, bool slow, uint64_t now_ms)
{
    b->failures = ok ? 0 : b->failures + 1;
    note_in_window(b, !ok || slow);
    if (b->failures >= b->options.failures_max || rate_exceeded(b))
        open_circuit(b, now_ms);
}

static void report_half_open(struct breaker *b, bool ok, uint64_t now_ms)
{
    if (b->probes > 0)
        b->probes--;
    if (!ok)
        open_circuit(b, now_ms);
    else if (++b->successes >= b->options.successes_min)
        enter(b, SE_CIRCUIT_CLOSED);
}

void se__breaker_report(struct breaker *b, bool ok, uint64_t took_ms, uint64_t now_ms)
{
    bool slow = b->options.slow_ms != 0 && took_ms >= b->options.slow_ms;
    if (b->state == SE_CIRCUIT_CLOSED)
        report_closed(b, ok, slow, now_ms);
    else if (b->state == SE_CIRCUIT_HALF_OPEN)
        report_half_open(b, ok, now_ms);
}

uint64_t se__breaker_wait_ms(const struct breaker *b, uint64_t now_ms)
{
    uint64_t at = 0;
    if (b->state == SE_CIRCUIT_OPEN)
        at = b->reopen_at_ms;
    else if (b->state == SE_CIRCUIT_HALF_OPEN && !probe_may_start(b, now_ms))
        at = b->probe_since_ms + b->options.open_ms;
    return at > now_ms ? at - now_ms : 0;
}
