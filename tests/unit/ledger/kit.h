/*
 * kit.h - what the ledger's tests share: a ledger on a disk in memory whose record number n is
 * always the same, so that anyone can tell whether it came back unaltered.
 */
#ifndef TESTS_UNIT_LEDGER_KIT_H
#define TESTS_UNIT_LEDGER_KIT_H

#include "scheduler/ledger/ledger.h"
#include "tests/unit/ledger/disk.h"
#include "tests/unit/ledger/sample.h"

/* The ledger in folder "d" of the disk, opened by process 4242 on "node 7". kit_open must work. */
enum err kit_try_open(struct disk *disk, struct ledger **ledger, struct error *error);
struct ledger *kit_open(struct disk *disk);

/* Record number n: number 1 begins epoch 1, the others are of all other kinds. */
void kit_record(struct sample *sample, uint32_t n, struct record *record);
enum err kit_try_append(struct ledger *ledger, uint32_t n);
void kit_append(struct ledger *ledger, uint32_t first, uint32_t last);
void kit_commit(struct ledger *ledger);

/* A closed ledger of n records, and its lock file. */
void kit_make(struct disk *disk, uint32_t n);

/* Reads the ledger; every record must be what kit_record gives for its number. Returns how many. */
uint32_t kit_check_records(struct disk *disk);

/* Offset of the frame with this index, from 0; the file's end for one more than there are. */
size_t kit_frame_at(const struct disk_file *file, uint32_t index);

#endif
