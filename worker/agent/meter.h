/*
 * meter.h - what a trainer uses, measured from outside: CPU time of its whole family, from /proc.
 *
 * Reading /proc costs time that grows with the host's processes, so the meter measures itself and takes at
 * most one hundredth of a core. Its figure never falls: a process that ended between two looks takes its
 * time along unless its parent reaped it.
 */
#ifndef WORKER_AGENT_METER_H
#define WORKER_AGENT_METER_H

#include "worker/spawn/process.h"

struct meter {
    struct process_list processes;
    uint64_t cpu_ns;
    int64_t next_look_ns;
};

/* A zeroed meter is ready for a new trainer. */
void meter_fini(struct meter *meter);

/* Looks at the trainer's family if it is time to (or `now`), and returns its CPU time so far. */
uint64_t meter_look(struct meter *meter, const struct process_family *family, bool now);

#endif
