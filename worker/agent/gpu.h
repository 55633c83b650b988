/*
 * gpu.h - the GPU of this agent's slot, found and watched through NVML by a thread of its own.
 *
 * A driver may take any time to answer, or for ever; an agent that waited for it would not keep its
 * trainer's deadlines. So nobody waits here but the thread: gpu_open gives up on it after a while, gpu_look
 * copies what was seen last, and a thread that never comes back is left behind. It samples at most twice a
 * second and takes at most one hundredth of a core.
 */
#ifndef WORKER_AGENT_GPU_H
#define WORKER_AGENT_GPU_H

#include "proto/base/device.h"
#include "worker/agent/nvml.h"

struct gpu_options {
    const char *which;   /* PCI bus id, UUID or index; NULL or empty: this slot has no GPU */
    const char *library; /* NULL: libnvidia-ml.so.1 */
    int64_t timeout_ns;  /* how long gpu_open waits; 0: 10 s */
    int64_t interval_ns; /* between samples; 0: 500 ms */
};

struct gpu_facts {
    bool found;
    char reason[256]; /* not found: why */
    char name[96];
    char class[NAME_MAX_BYTES];
    char uuid[96];
    char pci_bus_id[NAME_MAX_BYTES];
    char driver[NAME_MAX_BYTES];
    int64_t memory_bytes; /* 0 = unknown */
    double peak_flops;    /* from the table of chips; 0 = unknown */
    bool has_gpm;
};

struct gpu;

/* Never NULL unless memory is out. Without a GPU it says why, and counts nothing. */
struct gpu *gpu_open(const struct gpu_options *options);
void gpu_close(struct gpu *gpu); /* NULL is a no-op; waits one second at most */

/* Valid until gpu_close. */
const struct gpu_facts *gpu_facts(const struct gpu *gpu);

/* The sums so far; all zero without a GPU. gpu may be NULL. */
struct device_figures gpu_look(struct gpu *gpu);

#endif
