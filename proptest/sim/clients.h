/*
 * clients - the threads of the application: each carries out the calls it is given, in order, and
 * tells the model what went in and what came out.
 *
 * Threads: the tasks of sched.h; give and stop are the driver's.
 */
#ifndef SE_SIM_CLIENTS_H
#define SE_SIM_CLIENTS_H

#include "sim/script.h"

void clients_begin(const struct shape *shape);
void clients_give(const struct step *step);
/* Waits until all that was given is done. */
void clients_settle(void);
void clients_end(void);
/* No id that is there may be said to be missing. */
void clients_look_for_false_nos(se_engine *e);
/* Reads every id by one engine at rest, beside what the home tier holds. */
void clients_check_all(se_engine *e);

#endif
