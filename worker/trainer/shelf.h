/*
 * shelf.h - the folder in which one run's checkpoints lie, and which of them are kept.
 *
 * Promises: a checkpoint is deleted only after a newer one of this attempt is durable. The
 * newest `keep` stay; so do those written for gates that have no verdict yet (in this attempt
 * or listed by the caller), because a NO-GO or HOLD goes back to them. Checkpoints beyond the
 * step that an attempt starts from were written by an attempt that was turned back: they count
 * as the oldest. Half-written files are removed at opening. Never: touches files with other
 * names.
 */
#ifndef WORKER_TRAINER_SHELF_H
#define WORKER_TRAINER_SHELF_H

#include "proto/base/defs.h"
#include "proto/base/error.h"

#include <limits.h>

struct shelf;

struct shelf_options {
    const char *run_dir;      /* checkpoints lie in its folder checkpoints/, which is made */
    int keep;                 /* >= 1 */
    uint64_t start_step;      /* that this attempt starts from */
    const char *const *gates; /* names of the gates without a verdict */
    int gate_count;
};

/* Makes the folder if need be and reads it. The caller owns *shelf. ERR_IO, ERR_NO_SPACE,
 * ERR_NO_MEMORY, ERR_INPUT: a path that is too long. */
must_use enum err shelf_open(const struct shelf_options *options, struct shelf **shelf,
                             struct error *error);
void shelf_close(struct shelf *shelf); /* no-op for NULL */

/* Checkpoints that lie in the folder now. */
size_t shelf_count(const struct shelf *shelf);

/* The name of a step's checkpoint, relative to the run's directory, and its full path. */
void shelf_relative_path(uint64_t step, char path[PATH_MAX]);
must_use enum err shelf_path(const struct shelf *shelf, uint64_t step, char path[PATH_MAX],
                             struct error *error);

/* A checkpoint of `step` is durable now, written for a gate or not: deletes those that need not
 * be kept any longer. A file that cannot be deleted is logged and stays. */
void shelf_added(struct shelf *shelf, uint64_t step, bool for_gate);

#endif
