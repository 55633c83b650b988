/*
 * mpirun.h - the small process between a user and mpirun.
 *
 * mpirun kills its ranks a moment after a SIGINT or SIGTERM, which leaves no time for a
 * checkpoint. So `penstock run` stays as its parent: mpirun lives in a process group of its own
 * and never sees the terminal's Ctrl-C; the supervisor turns the first INT, TERM or USR1 into a
 * SIGUSR1, which mpirun forwards to all ranks, a second into SIGUSR2 (stop at once), and a
 * third into the end of mpirun. When the supervisor itself is killed, the kernel tells mpirun
 * to end.
 *
 * The exit status is the coordinator's own word, the file STATE/exit, where this life has
 * written one.
 */
#ifndef SCHEDULER_VERBS_MPIRUN_H
#define SCHEDULER_VERBS_MPIRUN_H

#include "proto/base/error.h"

struct mpirun_options {
    const char *program;  /* of this process: what the ranks run */
    const char *campaign; /* as the user wrote it */
    const char *state_dir;
    const char *progress; /* table, lines or none */
    int64_t workers;
};

/* Starts mpirun, waits for its end, gives the exit status for the user. Prints what went wrong.
 */
int mpirun_run(const struct mpirun_options *options);

#endif
