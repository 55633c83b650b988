/*
 * contract.h - the trainer contract's environment: what a Launch becomes for the process that trains.
 *
 * The names are torchrun's, so that an unchanged script's init_process_group("env://") works, and
 * PENSTOCK_'s own (docs/formats/trainer.md).
 *
 * On GPUs every member sees the GPUs of all of the gang's members on its host, in local order, and
 * LOCAL_RANK is its own's place among them, so that an unchanged torch.cuda.set_device(LOCAL_RANK) is right.
 * Where a process cannot be shown the others' it sees its own alone, as local rank 0 of 1. NCCL gets an
 * address for RAS and a log of its own; what would break abort and restart is cleared, and said.
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
    uint32_t ras_port; /* 0: NCCL answers no questions */
    int comm_id_fd;    /* read end of a pipe for one comm_frame; -1: no gang on GPUs */
};

/* Where the NCCL of this gang listens for questions on this host; 0: nowhere. */
uint32_t contract_ras_port(const Penstock__Wire__Launch *launch, const struct slot *slot,
                           const char *state_dir);

/* Arguments and environment, ending in NULL, for struct launch. They live in the arena. The program
 * "penstock-train" becomes slot->trainer_path. */
const char *const *contract_argv(const struct contract *contract, struct arena *arena);
const char *const *contract_env(const struct contract *contract, struct arena *arena);

#endif
