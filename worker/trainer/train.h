/*
 * train.h - the training loop of one gang member.
 *
 * A step: read the rows, forward, backward (gradients are summed over the gang meanwhile),
 * update. At fixed steps it evaluates on held-out data and writes a checkpoint; at a gate it
 * does both, reports, and trains on. All members of a gang take the same way through the loop:
 * what could differ between them (a request to stop) is summed with the loss of each step
 * first.
 *
 * Promises: the same arguments give the same checkpoints, bit for bit; so do a stop and a
 * resume at any step, with the same gang size and threads. Only member 0 writes. A checkpoint
 * of numbers that are not finite, or that differ between members, is never written. On a GPU a
 * failure starts the watchdog, because to let go of the GPU may take for ever. Never: prints,
 * ends the process otherwise.
 */
#ifndef WORKER_TRAINER_TRAIN_H
#define WORKER_TRAINER_TRAIN_H

#include "worker/trainer/backend.h"
#include "worker/trainer/events.h"
#include "worker/trainer/exits.h"
#include "worker/trainer/options.h"

#include <signal.h>

struct train_setup {
    const struct options *options;
    const struct job *job;
    const struct backend *backend;
    struct events *events;
    const volatile sig_atomic_t *stop; /* not 0: checkpoint and return */
    int64_t gang_timeout_ns;           /* longest wait for the other members, or the GPU */
};

/* Trains until the last step or a stop. EXIT_DONE, or another code with *error filled. The
 * descriptor job->comm_fd is taken over. */
must_use enum exit_code train_run(const struct train_setup *setup, struct error *error);

#endif
