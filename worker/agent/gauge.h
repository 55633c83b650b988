/*
 * gauge.h - readings of a GPU, added up: samples at points of time become the sums of proto/base/device.h.
 *
 * What a sample says holds for the time since the sample before it, unless that was too long ago. A counter
 * that went backwards, or by more than a board can do, covers no time; a reading without a value neither. So
 * nothing here is ever taken for zero because it could not be read.
 */
#ifndef WORKER_AGENT_GAUGE_H
#define WORKER_AGENT_GAUGE_H

#include "proto/base/device.h"
#include "worker/agent/nvml.h"

struct gauge_sample {
    int64_t at_ns;
    struct reading read[NVML_QUANTITY_COUNT];
    struct nvml_activity activity;
    uint32_t xid_count; /* reports that came since the sample before */
    uint32_t xid;       /* of the newest of them */
};

struct gauge {
    struct device_figures figures;
    struct gauge_sample last; /* at_ns 0: none yet */
    int64_t rest_mw_ns,
        rest_mhz_ns; /* what does not make a whole millijoule, or million of cycles */
};

/* A zeroed gauge is ready. Samples come in order of time. */
void gauge_add(struct gauge *gauge, const struct gauge_sample *sample);

#endif
