/*
 * test - what every test includes: Criterion, or a small stand-in where Criterion cannot run
 * (ThreadSanitizer).
 */
#ifndef SE_TESTS_SUPPORT_TEST_H
#define SE_TESTS_SUPPORT_TEST_H

#ifdef SE_TEST_ONE_PROCESS
#include "support/one_process.h"
#else
#include <criterion/criterion.h>
#endif

#endif
