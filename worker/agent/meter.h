/*
 * meter.h - what a trainer uses, measured from outside: CPU time of its whole family, from /proc, and what
 * its slot's GPU did meanwhile, from NVML (gpu.h).
 *
 * Reading /proc costs time that grows with the host's processes, so the meter measures itself and takes at
 * most 1/400 of a core. Its figure never falls: a process that ended between two looks takes its time along
 * unless its parent reaped it.
 */
#ifndef WORKER_AGENT_METER_H
#define WORKER_AGENT_METER_H

#include "worker/agent/gpu.h"
#include "worker/spawn/process.h"

struct meter {
    struct process_list processes;
    uint64_t cpu_ns;
    int64_t next_look_ns;
    struct device_figures gpu_start; /* what the slot's GPU had counted before */
};

/* From here on, what the GPU counts is this trainer's; gpu may be NULL. */
void meter_begin(struct meter *meter, struct gpu *gpu);

/* What the GPU has counted since meter_begin. All zero when nothing was seen. */
struct device_figures meter_gpu(const struct meter *meter, struct gpu *gpu);

/* A zeroed meter is ready for a new trainer. */
void meter_fini(struct meter *meter);

/* Looks at the trainer's family if it is time to (or `now`), and returns its CPU time so far. */
uint64_t meter_look(struct meter *meter, const struct process_family *family, bool now);

#endif
