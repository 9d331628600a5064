/*
 * mem_faults - makes the n-th allocation of the process fail, in whatever thread and library it is made.
 *
 * This object defines malloc and its kin for the program it is linked into: calls are counted by the module they come from, and
 * handed on. Under AddressSanitizer they are handed on to it. So no line of the library is there for it, and what failed is
 * what fails in a release build.
 *
 * While it is armed the test itself must not allocate in the main program's own code.
 *
 * Threads: armed and stopped by one; allocations by any.
 */
#ifndef SE_TESTS_FAULT_MEM_FAULTS_H
#define SE_TESTS_FAULT_MEM_FAULTS_H

#include <stdbool.h>

/* Whose allocations: sets of these. Ours are those of the program, the library linked into it included. */
#define MEM_OURS 1u
#define MEM_SQLITE 2u
#define MEM_HIREDIS 4u
#define MEM_MARIADB 8u
#define MEM_ZSTD 16u
#define MEM_ALL 31u

/* From now on the nth (1: the next) fails, and with `all_after` every later one too. */
void mem_fail(unsigned whose, long nth, bool all_after);
/* None fails any more. Returns how many of them there were since mem_fail. */
long mem_fail_stop(void);

#endif
