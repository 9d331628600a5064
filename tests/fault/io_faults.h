/*
 * io_faults - makes calls on files fail: of this name, of this kind, from the n-th on, so many times.
 *
 * This object defines open, pread, pwrite, read, write, ftruncate, fsync, fdatasync, rename and unlink for the program that it is linked
 * into, before the C library's; so SQLite's calls come here as well as the library's own.
 *
 * Threads: set and stopped by one; calls by any.
 */
#ifndef SE_TESTS_FAULT_IO_FAULTS_H
#define SE_TESTS_FAULT_IO_FAULTS_H

#define IO_OPEN 1u
#define IO_READ 2u
#define IO_WRITE 4u
#define IO_SYNC 8u
#define IO_TRUNCATE 16u
#define IO_NAME 32u /* rename, unlink */

struct io_fault {
    const char *part; /* of the file's path; borrowed until io_fault_stop */
    unsigned calls;   /* a set of the above */
    int error;        /* errno; 0: half of what was to be written is, without an error */
    long nth;         /* 1: the next call is the first that fails */
    long times;
};

void io_fault_set(const struct io_fault *fault);
/* None fails any more. Returns how many did. */
long io_fault_stop(void);

#endif
