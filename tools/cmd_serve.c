/*
 * cmd_serve - syncengine serve: the HTTP endpoint of an engine that only reads.
 */
#include "out.h"
#include "session.h"
#include "stop.h"
#include "term.h"
#include "tool.h"

#include <string.h>

#define DEFAULT_PORT 9464u

/* Until a signal comes. */
static int serve(se_engine *engine, const char *address, uint16_t port)
{
    int stop = stop_open();
    if (stop < 0)
        return EXIT_TROUBLE;
    int status = EXIT_TROUBLE, signal = 0;
    se_result r = se_http_start(engine, address, &port);
    if (r == SE_OK) {
        bool v6 = address && strchr(address, ':');
        out_printf("serving http://%s%s%s:%u/metrics, /health and /ready\n", v6 ? "[" : "",
                   address ? address : "127.0.0.1", v6 ? "]" : "", port);
        status = out_flush() ? EXIT_FINE : EXIT_TROUBLE;
        while (status == EXIT_FINE && signal == 0)
            signal = stop_check(stop, 60000);
        se_http_stop(engine);
    } else {
        term_failed("serve", r);
    }
    stop_close(stop);
    return status;
}

static int run_serve(struct call *call)
{
    se_engine *engine;
    uint64_t port = DEFAULT_PORT;
    if (!call_flag_u64(call, "port", UINT16_MAX, &port))
        return EXIT_TROUBLE;
    int status = session_open(call, false, &engine);
    if (status != EXIT_FINE)
        return status;
    status = serve(engine, call_flag(call, "address"), (uint16_t)port);
    session_close(engine);
    return out_finish(status);
}

static const struct flag serve_flags[] = {
    {"address", "IP", "where to listen (default: 127.0.0.1)"},
    {"port", "N", "default: 9464; 0: a free one, which is printed"},
    {0}};

const struct command command_serve = {
    .name = "serve",
    .arguments = "",
    .summary = "Answer /metrics, /health and /ready over HTTP until a signal comes.",
    .details = "Watches the tiers from outside, with an engine that only reads: what a service has "
               "in its memory is told by the service's own endpoint (se_http_start).",
    .flags = serve_flags,
    .needs = NEEDS_READER,
    .run = run_serve,
};
