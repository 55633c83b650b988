/*
 * sim.h - the same core on a virtual clock: agents, trainers, a network and owners as small
 * state machines around core_step.
 *
 * Nothing is decided here that the coordinator would not decide: the world only answers the
 * core's actions. It serves `simulate`, the forecast of `plan`, and the tests, which add
 * faults: trainers that crash or hang, workers that vanish, messages that are late or doubled,
 * coordinators that die between two records. The same options and seed give the same records.
 */
#ifndef SCHEDULER_SIM_SIM_H
#define SCHEDULER_SIM_SIM_H

#include "proto/base/error.h"
#include "scheduler/campaign/campaign.h"
#include "scheduler/core/state.h"

/* Mean rates of a Poisson process per hour; 0 = never. */
struct sim_faults {
    double crash_per_hour;       /* of each running trainer: exits with status 1 */
    double hang_per_hour;        /* of each running trainer: makes no more steps */
    double worker_loss_per_hour; /* of each worker: silent for ever, its trainer dies unseen */
    double coordinator_per_hour; /* the coordinator dies, its last records half written */
    double late_share;           /* of messages: delayed by up to a lease */
    double double_share;         /* of messages: delivered twice */
    double nonfinite_share;      /* of runs: their loss becomes NaN somewhere */
};

struct sim_options {
    uint64_t seed;
    uint32_t workers; /* slots, all of class_index, spread over hosts of slots_per_host */
    uint32_t slots_per_host; /* >= 1 */
    uint32_t class_index;
    double steps_per_second; /* of a gang of one; a gang of n makes n x gang_efficiency of it */
    double speed_spread;     /* each run's speed is multiplied by exp(spread x normal) */
    double gang_efficiency;  /* (0, 1] */
    double startup_s;        /* from launch to the first step */
    int64_t latency_ns;      /* of a message */
    int64_t owner_delay_ns;  /* owners answer after this; TIME_NEVER: never */
    double owner_go_share;   /* how often they say GO */
    double loss_start, loss_end,
        loss_spread;           /* held-out loss falls from start to end x exp(spread) */
    int64_t horizon_ns;        /* gives up after this much simulated time */
    uint64_t checkpoint_steps; /* between checkpoints; 0: only at gates, stop and end */
    struct sim_faults faults;

    /* Looks at the core after each event, with the records of it applied; may be NULL. */
    void (*watch)(void *context, const struct core *core, const struct event *event);
    /* Sees each record, in order; may be NULL. */
    void (*record)(void *context, const struct record *record);
    /* Says that a death kept only the first `count` of all records; may be NULL. */
    void (*cut)(void *context, uint64_t count);
    void *context;
};

/* Reasonable figures for everything; the caller sets seed, workers and speed. */
struct sim_options sim_defaults(void);

struct sim_result {
    int32_t exit_status; /* as `penstock run` would end; -1: the horizon was reached */
    int64_t makespan_ns; /* from the first event to the end */
    int64_t spent_micros;
    int64_t useful_micros; /* spent on runs that finished */
    uint32_t finished, stopped, failed, open;
    int64_t queue_ns,
        held_ns;              /* summed over runs and slots: waiting to be placed, slots held */
    uint64_t events, records; /* records: durable ones */
    uint32_t lives;           /* of the coordinator */
    uint64_t digest;
};

/* Runs the campaign to its end. Fails with ERR_NO_MEMORY, or ERR_DAMAGED when the records of a
 * dead coordinator do not replay (a bug). */
must_use enum err sim_run(const struct campaign *campaign, const struct sim_options *options,
                          struct sim_result *result, struct error *error);

/* ---- forecast ---------------------------------------------------------------------------- */

struct sim_range {
    int64_t p10, p50, p90; /* of the simulated campaigns */
};

struct sim_forecast {
    uint32_t samples;
    struct sim_range spent_micros, makespan_ns, finished;
};

/* Simulates the campaign `samples` times with seeds options->seed, +1, ... (at most 1024). */
must_use enum err sim_forecast(const struct campaign *campaign,
                               const struct sim_options *options, uint32_t samples,
                               struct sim_forecast *forecast, struct error *error);

#endif
