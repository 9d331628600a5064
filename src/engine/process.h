/*
 * process - tells whether the process that wrote an owner row is still alive.
 *
 * A tag names a process for as long as the machine is up: boot id, pid namespace, pid, start time
 * ("boot/ns/pid/start", no blanks). Read from /proc; where that is missing the tag says so and
 * every answer is PROCESS_UNKNOWN.
 *
 * Threads: any.
 */
#ifndef SE_ENGINE_PROCESS_H
#define SE_ENGINE_PROCESS_H

#include <stddef.h>

#define PROCESS_TAG_MAX 128

enum process_life { PROCESS_UNKNOWN, PROCESS_ALIVE, PROCESS_DEAD };

void se__process_tag(char tag[PROCESS_TAG_MAX]);
/* UNKNOWN for other machines and other pid namespaces. */
enum process_life se__process_life(const char *tag);

#endif
