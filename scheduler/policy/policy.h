/*
 * policy.h - the rules of a campaign, as pure functions: facts in, verdicts out.
 *
 * Four questions are answered here, each by a table with one row per rule:
 *   gate.c     may this run go on past this checkpoint?      GO, NO-GO or HOLD
 *   gate_*.c   (its rules, a family a file)
 *   guard.c    does this window of work justify its spend?   nothing, warn, park or stop
 *   util.c     (how well its slots were used in that window)
 *   place.c    which waiting run comes first?                an order
 *   runbook.c  what is done about this incident?             restart, park, hold or stop
 * Nothing here does I/O, asks for the time, allocates, or keeps state: what a rule must
 * remember (struct guard_state) is handed in and handed out. Losses are millionths of a nat,
 * shares are ppm, money is micro-units, so that the same facts give the same verdict on every
 * machine.
 */
#ifndef SCHEDULER_POLICY_POLICY_H
#define SCHEDULER_POLICY_POLICY_H

#include "proto/base/defs.h"
#include "proto/base/device.h"
#include "proto/base/text.h"

/* ---- gates ------------------------------------------------------------------------------- */

#define VERDICTS(X) X(NONE, "none") X(GO, "GO") X(NO_GO, "NO-GO") X(HOLD, "HOLD")

enum verdict {
#define X(id, name) VERDICT_##id,
    VERDICTS(X) VERDICT_COUNT
#undef X
};

/* RANK is successive halving (Jamieson and Talwalkar 2016) in its asynchronous form (Li et al.,
 * MLSys 2020): a run goes on while its rank among all runs that have reported at this point,
 * itself included, is at most ceil(n / eta); with fewer than siblings_min reports it always
 * goes on. RANK_RAY, RANK_SYNE_TUNE and RANK_OPTUNA are the same idea as those three define it
 * (gate_rank.c says how they differ). MEDIAN is Vizier's rule (Golovin et al., KDD 2017): NO-GO
 * when the run's best loss so far is worse than the median of the siblings' running averages up
 * to this point. PENSTOCK is our own: what became of the runs that looked like this one
 * (gate_precedent.c); without a target it is RANK. EXTRAPOLATION fits a power law
 * (gate_curve.c). COST_* , LATENCY_* and shares are compared with a limit (gate_cost.c). SPIKE
 * asks for a person when the loss jumps (gate_spike.c). */
#define GATE_RULES(X)                                                                          \
    X(MILESTONE, "milestone")                                                                  \
    X(RANK, "rank")                                                                            \
    X(MEDIAN, "median")                                                                        \
    X(SIGNOFF, "sign-off")                                                                     \
    X(PENSTOCK, "penstock")                                                                    \
    X(RANK_RAY, "rank, Ray")                                                                   \
    X(RANK_SYNE_TUNE, "rank, Syne Tune")                                                       \
    X(RANK_OPTUNA, "rank, Optuna")                                                             \
    X(EXTRAPOLATION, "extrapolation")                                                          \
    X(UTILIZATION, "utilization")                                                              \
    X(GOODPUT, "goodput")                                                                      \
    X(COST_TOKENS, "cost per million tokens")                                                  \
    X(COST_NAT, "cost per nat")                                                                \
    X(COST_INFERENCE, "cost per 1,000 inferences")                                             \
    X(LATENCY_P50, "evaluation latency p50")                                                   \
    X(LATENCY_P95, "evaluation latency p95")                                                   \
    X(SPIKE, "spike")

enum gate_rule {
#define X(id, name) GATE_RULE_##id,
    GATE_RULES(X) GATE_RULE_COUNT
#undef X
};

/* What a rule's observed and bound are counted in. */
enum gate_unit {
    GATE_UNIT_LOSS,
    GATE_UNIT_SHARE,
    GATE_UNIT_MONEY,
    GATE_UNIT_TIME,
    GATE_UNIT_Z
};

struct gate_rule_spec {
    enum gate_rule rule;
    int64_t loss_max_micro; /* MILESTONE: the held-out loss must be at most this; PENSTOCK and
                               EXTRAPOLATION: what is to be reached, LOSS_UNKNOWN: the best
                               sibling's */
    uint32_t eta;           /* RANK*, PENSTOCK without a target: keep one in eta; >= 2 */
    uint32_t siblings_min;  /* RANK, MEDIAN: other reports needed before it can say NO-GO */
    int64_t margin_micro;  /* RANK*, MEDIAN, EXTRAPOLATION: NO-GO only when worse than the bound
                               by more than this, and by more than GATE_NOISE_SDS * seed_sd */
    int64_t seed_sd_micro; /* standard deviation of the loss over seeds alone; 0 = not said */
    int64_t limit;         /* COST_*: at most this, micro-units; LATENCY_*: at most this, ns;
                               SPIKE: at most this, millionths of a robust standard deviation */
    int32_t
        share_min_ppm;   /* UTILIZATION, GOODPUT: at least this; PENSTOCK, EXTRAPOLATION: NO-GO
                               when the chance to reach the target is below this */
    uint32_t points_min; /* PENSTOCK, MEDIAN, EXTRAPOLATION, SPIKE: reports of the run itself,
                               this one included, before it can say NO-GO */
};

enum { GATE_NOISE_SDS = 3 };

/* One go/no-go point. A gate with a schedule of several steps is several points. */
struct gate_spec {
    char name[NAME_MAX_BYTES]; /* unique in the campaign */
    uint64_t step;             /* reached at this optimizer step; 0 when set by tokens */
    uint64_t tokens;           /* reached at this many tokens; 0 when set by steps */
    uint32_t owner_index;      /* who is asked when the verdict is HOLD */
    bool any;            /* one GO is enough: GO of any rule wins, then HOLD, else NO-GO */
    uint32_t rule_count; /* >= 1. Not `any`: NO-GO wins, then HOLD, else GO */
    struct gate_rule_spec rules[RULES_PER_GATE_MAX];
};

/* What became of another run. */
enum gate_end {
    GATE_END_NONE,   /* it still runs or waits: says nothing yet */
    GATE_END_DONE,   /* it ended by itself, or failed */
    GATE_END_STOPPED /* it was stopped on the way */
};

/* Another run's held-out losses at the points of this run, as far as it came. */
struct gate_curve {
    const int64_t *best_micro; /* lowest so far, at each point; LOSS_UNKNOWN before the first */
    size_t stride;             /* from one point to the next, in int64_t */
    uint32_t count;
    enum gate_end end;
};

struct gate_facts {
    int64_t loss_micro;      /* held-out loss at this point, or LOSS_UNKNOWN, LOSS_NONFINITE */
    int64_t best_loss_micro; /* lowest held-out loss of the run so far */
    const int64_t
        *sibling_losses_micro; /* at this point, of the other runs that have reported it */
    const int64_t *sibling_means_micro; /* their running averages of held-out loss up to it */
    /* unknown ones are left out, non-finite ones are last */
    size_t sibling_count;
    int64_t *scratch; /* room for the larger of both sibling counts + 1; contents are lost */

    /* The run itself up to this point, this one included: points_min counts these. */
    const int64_t *curve_micro; /* as reported */
    const int64_t *curve_best_micro;
    const uint64_t *curve_steps; /* rising; may be NULL: then nothing is extrapolated */
    size_t curve_stride;         /* of these three, in elements */
    uint32_t curve_count;
    uint64_t steps_planned; /* 0 = unknown */

    const struct gate_curve *curves; /* of the other runs, at the same points */
    size_t curves_count;
    int64_t incumbent_micro; /* best held-out loss of any other run; LOSS_UNKNOWN = none */

    /* Facts of the whole run so far. Negative = unknown. */
    int32_t util_ppm, goodput_ppm;
    int64_t spent_micros;
    int64_t tokens;
    int64_t eval_p50_ns, eval_p95_ns;
    int64_t inference_micros; /* cost of 1,000 held-out inferences */
};

/* The verdict and what it rests on. observed and bound are of the deciding rule. */
struct gate_verdict {
    enum verdict verdict;
    enum gate_rule rule;    /* the rule that decided; the last one asked when all say GO */
    int64_t observed_micro; /* what was looked at, by gate_rule_unit; LOSS_UNKNOWN if nothing */
    int64_t bound_micro;    /* what it was compared with; LOSS_UNKNOWN if nothing */
    uint32_t rank;          /* RANK: 1 = best; otherwise 0 */
    uint32_t siblings;      /* other reports looked at */
};

/* Judges one gate point. An unknown loss is HOLD, a non-finite one NO-GO; no precedent is GO.
 * Of several rules that say the same, the first HOLD or NO-GO decides. */
struct gate_verdict gate_judge(const struct gate_spec *gate, const struct gate_facts *facts);

/* What the standard deviation is at most of losses that runs of one configuration reported at one
 * point, and that so differ by their seeds alone. 0 = not known: fewer than 8 finite ones. Sorts
 * within `losses_micro`. */
int64_t gate_seed_sd(int64_t *losses_micro, size_t count);

const char *verdict_name(enum verdict verdict);
const char *gate_rule_name(enum gate_rule rule);
enum gate_unit gate_rule_unit(const struct gate_rule_spec *rule);
bool gate_rule_ranks(enum gate_rule rule); /* needs its eta */

/* ---- guardrails -------------------------------------------------------------------------- */

/* How a utilization figure was obtained: the best rung of the ladder that had data. */
#define UTIL_RUNGS(X)                                                                          \
    X(UNKNOWN, "unknown")                                                                      \
    X(MFU,                                                                                     \
      "model FLOPs over peak") /* tokens x FLOPs per token / (slot-seconds held x peak) */     \
    X(CPU_TIME, "CPU time over held core time") /* CPU slots without declared FLOPs */         \
    X(MFU_GPM, "model FLOPs over peak, checked by pipe activity")                              \
    X(MFU_ENERGY, "model FLOPs over peak, checked by energy")                                  \
    X(GPM, "pipe activity over held time") /* nobody declared FLOPs, or those are refuted */   \
    X(ENERGY, "energy of an idle device")  /* declared FLOPs are refuted: none were done */

enum util_rung {
#define X(id, name) UTIL_RUNG_##id,
    UTIL_RUNGS(X) UTIL_RUNG_COUNT
#undef X
};

/* What the cross-checks of a window say; bits of a mask. None of them acts by itself. */
#define UTIL_FLAGS(X)                                                                          \
    X(FALSE_REPORT, "reported more than the device did")                                       \
    X(HANG, "device busy, no step")                                                            \
    X(POWER_CAPPED, "slowed by a power limit")                                                 \
    X(HOT, "slowed by heat")                                                                   \
    X(XID, "driver error")                                                                     \
    X(ECC, "memory error")                                                                     \
    X(LOST, "device lost")

enum util_flag {
#define X(id, name) UTIL_FLAG_##id,
    UTIL_FLAGS(X) UTIL_FLAG_COUNT
#undef X
};

#define UTIL_FLAG_BIT(id) (UINT32_C(1) << UTIL_FLAG_##id)

#define GUARD_ACTIONS(X) X(NONE, "none") X(WARN, "warn") X(PARK, "park") X(STOP, "stop")

enum guard_action {
#define X(id, name) GUARD_ACTION_##id,
    GUARD_ACTIONS(X) GUARD_ACTION_COUNT
#undef X
};

#define GUARD_RULES(X)                                                                         \
    X(NONE, "none")                                                                            \
    X(FLOOR, "utilization floor")                                                              \
    X(IDLE_START, "idle from the start")                                                       \
    X(IDLE_AGAIN, "was busy, now idle")

enum guard_rule {
#define X(id, name) GUARD_RULE_##id,
    GUARD_RULES(X) GUARD_RULE_COUNT
#undef X
};

struct guard_spec {
    int64_t window_ns;     /* length of a telemetry window */
    int64_t grace_ns;      /* after the first start of the RUN; restarts do not renew it */
    int32_t floor_ppm;     /* a window below this is low; 0 = no floor */
    int32_t clear_ppm;     /* windows at or above this clear the count (hysteresis); >= floor */
    uint32_t warn_windows; /* consecutive low windows before a warning; 0 = never */
    uint32_t park_windows; /* ... before the run is parked, and again after each so many more
                              without recovery; 0 = never */
    uint32_t stop_windows; /* ... before it is stopped, counted on after a park; 0 = never */
    int32_t idle_ppm;      /* below this a window is idle */
    int64_t idle_start_warn_ns[2]; /* never busy since the start: warn at these; 0 = never */
    int64_t idle_start_stop_ns;    /* ... and stop at this; 0 = never */
    int64_t idle_again_warn_ns;    /* was busy, now idle for this long: warn; 0 = never */
    int64_t idle_again_stop_ns;    /* ... and stop; 0 = never */
    int64_t park_ns;               /* how long a park lasts before the run is queued again */
};

/* What the guardrail remembers of a run, over all its attempts. Zero is the start. */
struct guard_state {
    int64_t held_ns; /* time in closed windows since the run's first start */
    int64_t idle_ns; /* unbroken idle time up to now (unknown windows neither add nor break) */
    uint32_t low_windows; /* consecutive low windows (unknown ones neither add nor clear) */
    uint32_t parks;
    uint32_t idle_warnings;
    bool warned;   /* a floor warning stands */
    bool was_busy; /* some window was not idle */
};

struct util_facts {
    int64_t held_ns; /* of one slot: the window's length by the scheduler's clock */
    uint32_t slots;
    uint64_t tokens;              /* accepted in the window, of the whole gang */
    uint64_t flops_per_token;     /* 0 = unknown */
    uint64_t peak_flops;          /* sum over the gang's slots, FLOP/s; 0 = unknown */
    int64_t cpu_ns;               /* CPU time of member 0 in the window; -1 = unknown */
    uint32_t threads;             /* of member 0's slot */
    bool on_cpu;                  /* CPU slots: CPU time may stand in for FLOPs */
    uint64_t steps;               /* taken in the window */
    struct device_figures device; /* of member 0's GPU in the window; zero: nothing was seen */
};

struct util_measure {
    int32_t
        util_ppm; /* UTIL_UNKNOWN, or 0.. (above 1,000,000 when the peak was underestimated) */
    int32_t
        fair_ppm; /* the same at full clocks: what a power limit or heat took is nobody's fault */
    enum util_rung rung;
    uint32_t flags; /* UTIL_FLAG_BIT */
};

/* What a GPU did in a window, as shares, watts and clocks. -1: not known for at least half of it. */
struct util_evidence {
    int32_t sm_ppm, tensor_ppm, fp32_ppm; /* of time */
    int32_t
        busy_ppm; /* any kernel ran: never a measure of work, a hung collective is busy too */
    int32_t capped_ppm, hot_ppm; /* clocks held down by a power limit, by heat */
    int64_t power_mw, clock_mhz; /* means */
};

struct util_evidence util_evidence(const struct device_figures *device, int64_t held_ns);

/* Utilization of one window by the best rung that has data, and what speaks against it. The trainer reports
 * tokens, the agent counts what the device did: where the device did less than a quarter of what is reported, or
 * drew no more than an idle one, its figures are taken, not the trainer's. */
struct util_measure util_measure(const struct util_facts *facts);

/* The name of one flag, for people. */
const char *util_flag_name(enum util_flag flag);

struct guard_outcome {
    enum guard_action action;
    enum guard_rule rule;     /* NONE when action is NONE */
    struct guard_state state; /* to be remembered */
    int64_t observed;         /* FLOOR: ppm of this window; IDLE_*: ns idle */
    int64_t bound;            /* what it was compared with, in the same unit */
};

/* Judges one closed window of length window_ns. An unknown window moves held_ns only. */
struct guard_outcome guard_judge(const struct guard_spec *spec, const struct guard_state *state,
                                 int32_t util_ppm, int64_t window_ns);

const char *util_rung_name(enum util_rung rung);
const char *guard_action_name(enum guard_action action);
const char *guard_rule_name(enum guard_rule rule);

/* ---- placement order --------------------------------------------------------------------- */

#define PLACE_POLICIES(X)                                                                      \
    X(FIFO, "fifo")         /* in order of submission */                                       \
    X(FAIR, "fair")         /* the tenant with the least spend first */                        \
    X(SHORTEST, "shortest") /* the shortest expected remaining time first */

enum place_policy {
#define X(id, name) PLACE_##id,
    PLACE_POLICIES(X) PLACE_POLICY_COUNT
#undef X
};

struct place_facts {
    uint32_t order;              /* of submission */
    int32_t priority;            /* higher first, before anything else */
    int64_t tenant_spent_micros; /* spent and reserved by the run's tenant */
    int64_t remaining_ns; /* expected remaining time at full gang; TIME_NEVER = unknown */
};

/* Negative when a comes before b, positive after; never 0 for different orders. */
int place_compare(enum place_policy policy, const struct place_facts *a,
                  const struct place_facts *b);

const char *place_policy_name(enum place_policy policy);

/* ---- runbooks ---------------------------------------------------------------------------- */

#define INCIDENTS(X)                                                                           \
    X(TRAINER_FAILED, "trainer failed", RETRY_USER)                                            \
    X(START_TIMEOUT, "start time-out", RETRY_USER)                                             \
    X(HANG, "hang", RETRY_INFRASTRUCTURE)                                                      \
    X(NONFINITE_LOSS, "non-finite loss", RETRY_USER)                                           \
    X(LAUNCH_FAILED, "launch failed", RETRY_INFRASTRUCTURE)                                    \
    X(LOST_WORKER, "lost worker", RETRY_INFRASTRUCTURE)                                        \
    X(LEASE_EXPIRED, "lease expired", RETRY_PREEMPTED)                                         \
    X(COORDINATOR_LOST, "coordinator lost", RETRY_PREEMPTED)                                   \
    X(GATE_MISSED, "ended before a gate", RETRY_USER)

/* Who is to blame decides which counter pays for the retry. */
#define RETRY_CLASSES(X)                                                                       \
    X(USER, "user") X(INFRASTRUCTURE, "infrastructure") X(PREEMPTED, "preempted")

enum retry_class {
#define X(id, name) RETRY_##id,
    RETRY_CLASSES(X) RETRY_CLASS_COUNT
#undef X
};

enum incident {
#define X(id, name, class) INCIDENT_##id,
    INCIDENTS(X) INCIDENT_COUNT
#undef X
};

#define RUNBOOK_ACTIONS(X)                                                                     \
    X(NONE, "none") X(RESTART, "restart") X(PARK, "park") X(HOLD, "hold") X(STOP, "stop")

enum runbook_action {
#define X(id, name) RUNBOOK_##id,
    RUNBOOK_ACTIONS(X) RUNBOOK_ACTION_COUNT
#undef X
};

enum { RUNBOOK_UNLIMITED = 0xFFFF, RUNBOOK_EXIT_ANY = -1000 };

struct runbook_step {
    enum runbook_action action;
    uint32_t limit; /* times this step is taken for one run; RUNBOOK_UNLIMITED */
};

struct runbook_row {
    enum incident incident;
    int32_t exit_code;            /* of the trainer, or RUNBOOK_EXIT_ANY */
    char pattern[NAME_MAX_BYTES]; /* found in the tail of stderr; empty = any */
    bool builtin_only;            /* only for the built-in trainer's exit codes */
    uint32_t step_count;          /* when all steps are used up: stop */
    struct runbook_step steps[RUNBOOK_STEPS_MAX];
};

struct runbook_facts {
    enum incident incident;
    int32_t exit_code;
    struct text stderr_tail;
    bool builtin;
    const uint16_t (*used)[RUNBOOK_STEPS_MAX]; /* per row: how often each step was taken */
};

struct runbook_choice {
    enum runbook_action action;
    uint32_t row,
        step; /* row == row count when no row matched, or all its steps were used up */
};

/* The first matching row's first step with room left; STOP when there is none. */
struct runbook_choice runbook_choose(const struct runbook_row *rows, size_t row_count,
                                     const struct runbook_facts *facts);

const char *incident_name(enum incident incident);
const char *runbook_action_name(enum runbook_action action);
enum retry_class incident_retry_class(enum incident incident);
const char *retry_class_name(enum retry_class class_);

#endif
