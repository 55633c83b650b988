/*
 * metrics.h - TensorBoard event files of the runs: STATE/runs/NAME/events.out.tfevents....
 *
 * One file per run and life of the coordinator, opened at the run's first figures. They are for
 * people: a file that cannot be written is logged once and left alone, and nothing else is
 * disturbed.
 */
#ifndef SCHEDULER_COORDINATOR_METRICS_H
#define SCHEDULER_COORDINATOR_METRICS_H

#include "proto/base/error.h"
#include "scheduler/coordinator/telemetry.h"
#include "scheduler/core/state.h"

struct tfevents;

struct metrics {
    const char *state_dir; /* borrowed */
    uint32_t run_count;
    struct metrics_run *runs;
};

must_use enum err metrics_init(struct metrics *metrics, const char *state_dir,
                               uint32_t run_count, struct error *error);
void metrics_fini(struct metrics *metrics);

/* The run's step has moved: loss, held-out loss, tokens per second, learning rate, spend. */
void metrics_progress(struct metrics *metrics, const struct core *core, uint32_t run,
                      const struct run_figures *figures);

/* A record that the core is about to apply: windows carry utilization, gates a held-out loss,
 * the end of an attempt closes the file. */
void metrics_record(struct metrics *metrics, const struct core *core,
                    const struct record *record);

#endif
