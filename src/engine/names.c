/*
 * names - what phases, levels, circuits and the ends of writes are called.
 */
#include "engine/engine.h"

#define NAME_OF(names, i) ((unsigned)(i) < sizeof(names) / sizeof *(names) ? (names)[i] : "unknown")

const char *se_phase_name(se_phase phase)
{
    static const char *const names[] = {
        [SE_PHASE_CREATED] = "created",           [SE_PHASE_CONNECTING] = "connecting",
        [SE_PHASE_DRAINING_WAL] = "draining_wal", [SE_PHASE_SYNCING_REDIS] = "syncing_redis",
        [SE_PHASE_WARMING_UP] = "warming_up",     [SE_PHASE_READY] = "ready",
        [SE_PHASE_RUNNING] = "running",           [SE_PHASE_SHUTTING_DOWN] = "shutting_down",
    };
    return NAME_OF(names, phase);
}

const char *se_pressure_name(se_pressure level)
{
    static const char *const names[] = {
        [SE_PRESSURE_NORMAL] = "normal",       [SE_PRESSURE_WARN] = "warn",
        [SE_PRESSURE_THROTTLE] = "throttle",   [SE_PRESSURE_CRITICAL] = "critical",
        [SE_PRESSURE_EMERGENCY] = "emergency", [SE_PRESSURE_SHUTDOWN] = "shutdown",
    };
    return NAME_OF(names, level);
}

const char *se_circuit_name(se_circuit circuit)
{
    static const char *const names[] = {
        [SE_CIRCUIT_CLOSED] = "closed",
        [SE_CIRCUIT_OPEN] = "open",
        [SE_CIRCUIT_HALF_OPEN] = "half_open",
    };
    return NAME_OF(names, circuit);
}

const char *se_delivery_name(se_delivery_outcome outcome)
{
    static const char *const names[] = {
        [SE_DELIVERY_HOME] = "home",
        [SE_DELIVERY_WAL] = "wal",
        [SE_DELIVERY_SUPERSEDED] = "superseded",
        [SE_DELIVERY_DEAD] = "dead",
        [SE_DELIVERY_OPEN] = "open",
    };
    return NAME_OF(names, outcome);
}
