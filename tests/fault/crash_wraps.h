/*
 * wraps - inner functions of the library that pass a point: the linker calls these in their place (-Wl,--wrap, meson.build).
 *
 * Only calls from one object to another are seen: that is why a function is wrapped and not the one that calls it.
 */
#ifndef SE_TESTS_FAULT_CRASH_WRAPS_H
#define SE_TESTS_FAULT_CRASH_WRAPS_H

#include "fault/crash_points.h"

/* `if_`: calls that the point does not mean. `call`: the real one; `before` and `after` are passed around it. */
#define WRAP(point, if_, type, name, params, args)                                                 \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params                                                                      \
    {                                                                                              \
        bool is = if_;                                                                             \
        if (is)                                                                                    \
            crash_pass(point, CRASH_BEFORE);                                                       \
        type result = __real_##name args;                                                          \
        if (is)                                                                                    \
            crash_pass(point, CRASH_AFTER);                                                        \
        return result;                                                                             \
    }
#define WRAP_VOID(point, if_, name, params, args)                                                  \
    void __real_##name params;                                                                     \
    void __wrap_##name params;                                                                     \
    void __wrap_##name params                                                                      \
    {                                                                                              \
        bool is = if_;                                                                             \
        if (is)                                                                                    \
            crash_pass(point, CRASH_BEFORE);                                                       \
        __real_##name args;                                                                        \
        if (is)                                                                                    \
            crash_pass(point, CRASH_AFTER);                                                        \
    }

#endif
