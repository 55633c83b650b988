/*
 * loop.h - one life of the coordinator: from an open state directory to a recorded exit status.
 *
 *     coordinator_open   before MPI starts: campaign, state directory, ledger and its lock,
 * replay coordinator_live   over a link: events in, records made durable, actions out, until it
 * is over coordinator_close  the exit status is written, the ledger given up
 *
 * Promises: no action is performed before the records that justify it are durable; a failed
 * sync ends the life with nothing acted on; an idle coordinator sleeps. Never: decides anything
 * (the core does), trains, or touches a GPU.
 */
#ifndef SCHEDULER_COORDINATOR_LOOP_H
#define SCHEDULER_COORDINATOR_LOOP_H

#include "proto/base/error.h"
#include "proto/wire/link.h"
#include "scheduler/coordinator/display.h"

struct coordinator;

struct coordinator_options {
    const char *campaign_path;
    const char *state_dir;
    const char *trainer; /* path of the built-in trainer */
    uint32_t workers;    /* ranks from 1 on */
    enum display_kind progress;
};

/* Opens everything that needs no worker. ERR_INPUT: the campaign file, or a state directory of
 * another campaign; ERR_LOCKED: another coordinator has it; ERR_DAMAGED; ERR_IO, ERR_NO_SPACE.
 */
must_use enum err coordinator_open(const struct coordinator_options *options,
                                   struct coordinator **coordinator, struct error *error);

/* Runs the campaign until nothing is left to do in this life. *exit_status is what the process
 * shall exit with. On failure the life could not go on; *exit_status is set then too. *all_left
 * says whether every worker has said goodbye, so that leaving MPI together will not hang. */
must_use enum err coordinator_live(struct coordinator *coordinator, struct link *link,
                                   int *exit_status, bool *all_left, struct error *error);

/* Writes STATE/exit and gives everything up. NULL is allowed: nothing happens. */
void coordinator_close(struct coordinator *coordinator, int exit_status);

#endif
