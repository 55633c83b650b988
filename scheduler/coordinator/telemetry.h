/*
 * telemetry.h - the latest figures of each run between two ledger windows, for people: the
 * display, the status file and TensorBoard.
 *
 * Nothing here decides anything, and nothing here is recorded in the ledger: what counts is in
 * the core's windows. So floating point is welcome.
 */
#ifndef SCHEDULER_COORDINATOR_TELEMETRY_H
#define SCHEDULER_COORDINATOR_TELEMETRY_H

#include "proto/base/error.h"
#include "scheduler/core/core.h"

/* The last figures of one run's live attempt. */
struct run_figures {
    uint32_t attempt; /* 0: nothing heard yet */
    int64_t at_ns;    /* when they were heard */
    uint64_t step, tokens;
    int64_t loss_micro, val_loss_micro; /* or LOSS_UNKNOWN, LOSS_NONFINITE */
    double learning_rate, grad_norm;    /* 0: unknown */
    double tokens_per_s;                /* over the last few seconds; 0: unknown */
    uint64_t base_tokens;               /* where the rate is measured from */
    int64_t base_ns;
};

struct telemetry_board {
    uint32_t run_count;
    struct run_figures *runs;
};

must_use enum err telemetry_board_init(struct telemetry_board *board, uint32_t run_count,
                                       struct error *error);
void telemetry_board_fini(struct telemetry_board *board);

/* What a heartbeat says beyond what the core looks at. */
struct telemetry_extra {
    double learning_rate, grad_norm;
};

/* Takes in the telemetry of member 0's heartbeat. True when the run's step moved. */
bool telemetry_board_put(struct telemetry_board *board, uint32_t run, uint32_t attempt,
                         int64_t now_ns, const struct telemetry *telemetry,
                         const struct telemetry_extra *extra);

/* The run's figures. Valid until the next put. */
const struct run_figures *telemetry_board_get(const struct telemetry_board *board,
                                              uint32_t run);

#endif
