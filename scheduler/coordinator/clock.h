/*
 * clock.h - the coordinator's time: unix nanoseconds that never fall and never jump.
 *
 * A life starts at the later of the wall clock and the ledger's last record, and goes on with
 * the machine's boot clock, which counts suspended time too. So a wall clock that is set back
 * or forward while a campaign runs moves no deadline, and records stay in order.
 */
#ifndef SCHEDULER_COORDINATOR_CLOCK_H
#define SCHEDULER_COORDINATOR_CLOCK_H

#include "proto/base/defs.h"

struct steady_clock {
    int64_t start_ns;      /* unix time at the start */
    int64_t boot_start_ns; /* boot clock at the start */
    int64_t last_ns;       /* latest time given out */
};

/* Starts at the wall clock, or at `not_before_ns` when that is later. */
void steady_clock_init(struct steady_clock *clock, int64_t not_before_ns);

/* The time now: at least every earlier answer. */
int64_t steady_clock_now_ns(struct steady_clock *clock);

/* The two clocks underneath, for callers that need no campaign time. */
int64_t clock_wall_ns(void);
int64_t clock_boot_ns(void);

#endif
