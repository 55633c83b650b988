/*
 * comm_id.h - a GPU gang's id on its last leg, from this agent to its trainer: one frame of
 * proto/wire/comm_frame.h on a pipe that the trainer inherits.
 *
 * The frame is below PIPE_BUF and the pipe is empty, so giving never waits, whether the trainer reads now,
 * later or never. When the pipe ends without a frame the trainer knows that its gang is lost. SIGPIPE must
 * be ignored by the process.
 */
#ifndef WORKER_AGENT_COMM_ID_H
#define WORKER_AGENT_COMM_ID_H

#include "proto/wire/comm_frame.h"

struct comm_id {
    int fd; /* the end to write to; -1: closed, or the id was given */
};

/* Makes the pipe; *for_trainer is the caller's. */
must_use enum err comm_id_open(struct comm_id *comm_id, int *for_trainer, struct error *error);

/* Gives the id and ends the pipe. ERR_CLOSED: it was given already, or there is no pipe. */
must_use enum err comm_id_give(struct comm_id *comm_id, const struct comm_frame *frame,
                               struct error *error);

/* Ends the pipe. No-op when closed; keeps errno. */
void comm_id_close(struct comm_id *comm_id);

#endif
