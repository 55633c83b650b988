/*
 * late.h - which member of a gang that hangs never arrived.
 *
 * Whoever is told of a hang first is a member that waits; to blame is one that it waits for. Each heartbeat
 * says how many collectives its member has completed and whether it waits in one, so the coordinator can tell
 * them apart: late are those that wait in none while others do or, when all wait, those that have completed the
 * fewest. Where that tells nothing (a gang on GPUs reduces without its agents), NCCL's RAS may have told the
 * agent. This is no state: it is a fact that goes into an event.
 */
#ifndef SCHEDULER_COORDINATOR_LATE_H
#define SCHEDULER_COORDINATOR_LATE_H

#include "proto/base/error.h"
#include "proto/wire.pb-c.h"
#include "scheduler/coordinator/intake.h"
#include "scheduler/core/state.h"

/* What a worker's last heartbeat said. */
struct late_seen {
    uint32_t run, attempt; /* attempt 0: nothing */
    uint64_t done_count;
    bool waits;
};

struct late {
    struct late_seen *seen; /* by worker */
    uint32_t worker_count;
};

must_use enum err late_init(struct late *late, uint32_t worker_count, struct error *error);
void late_fini(struct late *late);

void late_heard(struct late *late, uint32_t worker, const Penstock__Wire__Heartbeat *heartbeat);

/* An exit for which a hang is the reason gets the late member into its event, and into its text. */
void late_judge(const struct late *late, const struct core *core, struct intake *exited);

#endif
