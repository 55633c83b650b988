/*
 * signals.h - what the outside asks of a coordinator by signals, as a descriptor that the loop
 * watches.
 *
 * USR1, TERM, HUP and INT ask to suspend: all runs checkpoint and end. USR2, or a second INT,
 * asks to do so at once. Batch systems and mpirun repeat signals; a repeated one means no more
 * than the first.
 */
#ifndef SCHEDULER_COORDINATOR_SIGNALS_H
#define SCHEDULER_COORDINATOR_SIGNALS_H

#include "proto/base/error.h"

struct signals {
    int fd;
    int level;        /* 0: nothing was asked, 1: suspend, 2: at once */
    int interrupts;   /* INTs so far */
    const char *name; /* of the signal that raised the level last */
};

/* Blocks the signals for this thread and all that it will start: to be called before MPI starts
 * its own. */
must_use enum err signals_open(struct signals *signals, struct error *error);
void signals_close(struct signals *signals);

/* Takes what has arrived; true when the level rose. */
bool signals_take(struct signals *signals);

#endif
