/*
 * process.c - engine/process.h: a life is a process of its own here, and it is known when it is dead.
 */
#include "engine/process.h"

#include "sim/engines.h"

#include <stdio.h>

void se__process_tag(char tag[PROCESS_TAG_MAX])
{
    snprintf(tag, PROCESS_TAG_MAX, "sim/%u", sim_life_number());
}

enum process_life se__process_life(const char *tag)
{
    unsigned number;
    if (sscanf(tag, "sim/%u", &number) != 1)
        return PROCESS_UNKNOWN;
    return number < sim_life_number() ? PROCESS_DEAD : PROCESS_ALIVE;
}
