/*
 * resume.h - what a state directory already holds of a campaign, and whether it may go on.
 *
 * The ledger is folded into a core; the campaign file must be the one that was recorded, byte
 * for byte, because its policy is what the recorded decisions rest on. Read-only: the
 * coordinator calls it under its lock, `penstock run` calls it beforehand, to say what is wrong
 * before anything starts.
 */
#ifndef SCHEDULER_COORDINATOR_RESUME_H
#define SCHEDULER_COORDINATOR_RESUME_H

#include "proto/base/arena.h"
#include "scheduler/campaign/campaign.h"
#include "scheduler/core/state.h"
#include "scheduler/ledger/prefix.h"

struct resume {
    struct arena arena;    /* owns launches */
    struct core *core;     /* NULL: there is no ledger, or an empty one */
    struct text *launches; /* by run: what to start, as recorded; campaign->run_count entries */
    int64_t last_ns;       /* time of the last record; 0 = none */
    struct prefix prefix;  /* heads of the ledger */
    bool finished;         /* every run has ended, and a life was closed after that */
    int exit_status;       /* of that life */
};

/* Loads STATE. `minimum` is the room that the core must have beyond what is recorded. ERR_INPUT
 * when the ledger belongs to another campaign file, with what to do; ERR_DAMAGED, ERR_IO. */
must_use enum err resume_load(const char *state_dir, const struct campaign *campaign,
                              const struct core_limits *minimum, struct resume *resume,
                              struct error *error);
void resume_fini(struct resume *resume);

/* The room that a campaign needs with this many workers (ranks from 1 on). */
struct core_limits resume_limits(const struct campaign *campaign, uint32_t workers);

#endif
