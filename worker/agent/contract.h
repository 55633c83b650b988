/*
 * contract.h - the trainer contract's environment: what a Launch becomes for the process that trains.
 *
 * The names are torchrun's, so that an unchanged script's init_process_group("env://") works, and
 * PENSTOCK_'s own (docs/formats/trainer.md).
 */
#ifndef WORKER_AGENT_CONTRACT_H
#define WORKER_AGENT_CONTRACT_H

#include "proto/base/arena.h"
#include "proto/wire.pb-c.h"
#include "worker/agent/slot.h"

struct contract {
    const Penstock__Wire__Launch *launch;
    const struct slot *slot;
    const char *run_dir;     /* absolute */
    const char *resume_path; /* absolute, or empty */
    uint64_t resume_step;
    int events_fd, events_pb_fd; /* numbers in the trainer */
    int comm_fd;                 /* -1: no gang on CPUs */
    size_t comm_bytes;
    int comm_id_fd; /* read end of a pipe for one comm_frame; -1: no gang on GPUs */
};

/* Arguments and environment, ending in NULL, for struct launch. They live in the arena. The program
 * "penstock-train" becomes slot->trainer_path. */
const char *const *contract_argv(const struct contract *contract, struct arena *arena);
const char *const *contract_env(const struct contract *contract, struct arena *arena);

#endif
