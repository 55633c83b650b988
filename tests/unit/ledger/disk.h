/*
 * disk.h - a disk in memory behind struct ledger_io, that fails and crashes on order.
 *
 * Each file has what programs see and what a power cut leaves: a sync copies the first to the
 * second, a crash puts back the second with any subset of the sectors written since. Names are
 * durable when their folder was synced; renames and creations before that may or may not be.
 */
#ifndef TESTS_UNIT_LEDGER_DISK_H
#define TESTS_UNIT_LEDGER_DISK_H

#include "proto/base/rng.h"
#include "proto/base/text.h"
#include "scheduler/ledger/io.h"

enum { DISK_FILES = 8, DISK_FDS = 16, DISK_NAME_BYTES = 64 };

enum disk_fault {
    DISK_NO_FAULT,
    DISK_FAIL,  /* the call fails with fault_errno and does nothing */
    DISK_SHORT, /* a read or write does half of it, once; other calls fail with EINTR, once */
    DISK_CRASH /* the call does half of it, or nothing; then every call fails until disk_restart
                */
};

struct disk_file {
    char name[DISK_NAME_BYTES];        /* empty: unlinked */
    char synced_name[DISK_NAME_BYTES]; /* what it is called after a crash */
    bool used;
    uint8_t *data, *synced;
    size_t bytes, synced_bytes, capacity;
    int lock_fd; /* -1: free */
};

struct disk {
    struct ledger_io io;
    struct disk_file files[DISK_FILES];
    int fds[DISK_FDS]; /* file index, DISK_FILES for the folder, or -1 */
    struct rng rng;

    uint32_t calls;      /* made so far */
    uint32_t fault_call; /* this call is the one, counted from 1; 0 = none */
    enum disk_fault fault;
    int fault_errno;
    bool down;          /* crashed */
    int64_t room_bytes; /* that may still be written beyond the ends of files; -1 = any */
    uint32_t writes, data_syncs;
};

void disk_init(struct disk *disk, uint64_t seed);
void disk_fini(struct disk *disk);

/* Plans a fault for the n-th call from now. */
void disk_plan(struct disk *disk, uint32_t n, enum disk_fault fault, int fault_errno);

/* Ends the process that used the disk: its files are closed, its locks are gone. With
 * `power_cut` what was not synced is lost, sector by sector at random. */
void disk_restart(struct disk *disk, bool power_cut);

/* The file of that name in any folder, or NULL. Its bytes may be changed; disk_resize keeps
 * them. */
struct disk_file *disk_find(struct disk *disk, const char *name);
void disk_resize(struct disk_file *file, size_t bytes);
void disk_remove(struct disk *disk, const char *name);

/* Everything is on the disk, as after a long quiet time. */
void disk_flush(struct disk *disk);

#endif
