/*
 * notes - what the layer remembers of changes that are not fsynced, and how it takes them back.
 *
 * The notes of a file lie one behind the other in its arena. All calls but those of the parent (crash_layer.h) hold the layer's lock.
 */
#ifndef SE_TESTS_FAULT_CRASH_NOTES_H
#define SE_TESTS_FAULT_CRASH_NOTES_H

#include "fault/crash_layer.h"

struct note {
    uint64_t at, len; /* of the write, or of what was cut off */
    uint64_t old_size;
    uint32_t old_len; /* bytes that were there, behind this */
    uint32_t whole;   /* this note with them, a multiple of 8 */
    bool cut;         /* a change of size */
    bool same; /* a write of what was there: nothing to undo, but the page is written again */
};

/* The file of that inode, known by this name from now on. NULL without room. */
struct layer_file *crash_note_file(struct crash_layer *l, uint64_t inode, const char *name);
void crash_note_write(struct crash_layer *l, struct layer_file *f, int fd, const void *from,
                      uint64_t at, size_t len);
void crash_note_size(struct crash_layer *l, struct layer_file *f, int fd, uint64_t size);
/* up_to: `forgotten` + `used` when the fsync began. */
void crash_note_synced(struct crash_layer *l, struct layer_file *f, uint64_t up_to);

/* Its fsync has failed: crash_layer.h, layer_image. */
void crash_note_failed(struct crash_layer *l, struct layer_file *f, int fd);

/* Gives what has that path another name, so that it can come back; "": nothing has it. */
void crash_note_keep(struct crash_layer *l, const char *path, char kept[LAYER_NAME_MAX]);
void crash_note_name(struct crash_layer *l, enum layer_change change, const char *name,
                     const char *to, const char *kept);
void crash_note_names_synced(struct crash_layer *l, uint64_t up_to);

#endif
