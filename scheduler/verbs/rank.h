/*
 * rank.h - `penstock run` as one rank of an MPI job: rank 0 is the coordinator, the others are
 * agents.
 */
#ifndef SCHEDULER_VERBS_RANK_H
#define SCHEDULER_VERBS_RANK_H

#include "proto/base/error.h"
#include "scheduler/coordinator/display.h"

/* Where this process stands in an MPI job, as its launcher's environment says before MPI
 * starts. */
struct rank_place {
    bool launched; /* an MPI launcher started this process */
    uint32_t rank;
    uint32_t size;
};

/* Reads Open MPI's, PMIx's and Slurm's variables. ERR_INPUT when they contradict each other, or
 * say a rank but no size. */
must_use enum err rank_find_place(struct rank_place *place, struct error *error);

struct rank_options {
    const char *campaign_path;
    const char *state_dir;
    const char *trainer;
    enum display_kind progress;
};

/* Lives as that rank; gives the exit status of the process. */
int rank_run(const struct rank_place *place, const struct rank_options *options);

#endif
