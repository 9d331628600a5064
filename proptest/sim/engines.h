/*
 * engines - the engine under test, and its lives: opened, closed, killed, opened again.
 *
 * Each life has its own directory on the disk and its own connections. A crash takes the picture of
 * the disk, cuts the connections, and lets the dead engine come to its end where nobody sees it: so
 * nothing leaks, and nothing needs to know how to vanish.
 *
 * Threads: the driver's task opens and closes; clients call between engine_enter and engine_leave.
 */
#ifndef SE_SIM_ENGINES_H
#define SE_SIM_ENGINES_H

#include "sim/model.h"
#include "syncengine/syncengine.h"

struct shape {
    bool redis, sql, wal;
    unsigned workers;
    uint32_t batch_ms, batch_items;
    size_t l1_bytes;
    uint64_t wal_items;
    uint32_t retention_s;
    se_ack ack; /* default_ack */
};

void engines_begin(const struct shape *shape);
unsigned sim_life_number(void);

/* Between these an engine stays. NULL: the world ends. */
se_engine *engine_enter(void);
void engine_leave(void);
bool engine_ending(void);    /* shut down, or dead: calls may end with SE_ERR_STATE */
se_engine *engine_now(void); /* for the driver; NULL: none */
uint64_t engine_since_ns(void);

/* crash_in_ms: kill it while it opens, and open the next one. 0: do not. */
void engine_open(uint32_t crash_in_ms, bool power_loss);
/* Returns what se_close said. gently: clients finish first. crash_in_ms: kill it while it closes. */
se_result engine_close(uint32_t timeout_ms, bool gently, uint32_t crash_in_ms, bool power_loss);
void engine_crash(bool power_loss);
/* Law 13, of an engine at rest. */
void engine_check_account(void);

#endif
