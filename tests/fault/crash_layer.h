/*
 * layer - the files of one folder as a disk may hold them after power loss: what was not fsynced can be taken back.
 *
 * The program defines open, write, pwrite, ftruncate, rename, unlink, fsync and fdatasync, and so takes them from every library in it,
 * SQLite's among them. In a child that has asked for it, each change of a file below the folder is noted together with what was
 * there before, in memory that outlives the child; an fsync forgets the notes of its file, one of the folder those of its names. The
 * parent can then undo, from the newest note back:
 *
 *   writes      all of them, or by sectors of 512 bytes: each keeps as many of its writes, from the first on, as chance says
 *   size        of a file, as if it were a sector of its own; what was cut off comes back with it
 *   names       created, renamed, removed: the last ones, as many as chance says (a file that is fsynced does not bring its name along)
 *
 * An fsync that is made to fail leaves pages that no later fsync writes, unless they have been written again: Linux takes them for clean.
 *
 * Notes live through kills, since the page cache does: what one life wrote and did not sync can be lost with the next. A write that is
 * noted and was never done is undone to no effect. Files of another process (a server's) are none of the layer's business. SQLite's
 * -shm is mapped, never synced and made anew after a crash; it is removed.
 *
 * Threads: any in a child; the parent alone.
 */
#ifndef SE_TESTS_FAULT_CRASH_LAYER_H
#define SE_TESTS_FAULT_CRASH_LAYER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYER_FILES 24u
#define LAYER_ARENA (16u << 20)
#define LAYER_NAMES 256u
#define LAYER_NAME_MAX 48u

struct layer_file {
    uint64_t inode; /* 0: free */
    char name[LAYER_NAME_MAX];
    uint32_t used;      /* bytes of its arena */
    uint64_t forgotten; /* bytes of notes that were there before them */
};
/* Pages whose fsync has failed: the kernel shows them, counts them as clean, and the disk has what was there before; so until they
 * are written again and that is synced. Of one file, the log's journal. */
#define LAYER_PAGE 4096u
#define LAYER_IMAGE (16u << 20)
struct layer_image {
    uint64_t inode; /* 0: none */
    uint64_t size;  /* of the file as the disk has it */
    bool size_lost;
    bool lost[LAYER_IMAGE / LAYER_PAGE];
    unsigned char bytes[LAYER_IMAGE];
};
enum layer_change { LAYER_CREATED, LAYER_RENAMED, LAYER_REMOVED };
struct layer_name {
    enum layer_change change;
    char name[LAYER_NAME_MAX], to[LAYER_NAME_MAX];
    char kept
        [LAYER_NAME_MAX]; /* another name of what had `name` (REMOVED) or `to`; "": nothing had */
};
struct crash_layer {
    char dir[64];
    struct layer_file files[LAYER_FILES];
    struct layer_name names[LAYER_NAMES];
    uint32_t names_n, kept_n;
    uint64_t names_forgotten;
    bool overflowed; /* no room for a note: nothing can be undone until the next reset */
    _Atomic uint32_t
        fail_sync_in; /* the log's journal: the n-th fsync from now on fails; 0: none */
    _Atomic uint32_t failed_syncs;
    struct layer_image image;
    _Alignas(8) unsigned char arenas[LAYER_FILES][LAYER_ARENA];
};

void crash_layer_reset(struct crash_layer *l, const char *dir); /* all is as if synced */
void crash_layer_watch(struct crash_layer *l); /* a child: from now on, in this process */

struct layer_lost {
    uint64_t writes, names; /* undone, in full or in part */
};
/* Takes back all, or some by the seed. False if not all was noted: then nothing is done. */
bool crash_layer_lose(struct crash_layer *l, bool all, uint64_t seed, struct layer_lost *lost);

#endif
