/*
 * state.h - what the core knows, for reading: reports, status and the coordinator look at it
 * through these functions. Pointers are valid until the next core_step or core_apply.
 */
#ifndef SCHEDULER_CORE_STATE_H
#define SCHEDULER_CORE_STATE_H

#include "scheduler/core/core.h"

/* A question to an owner: about a gate that is on hold, a held run, or a tier. Kept after it was
 * answered, until the next one is asked. */
struct request {
    uint64_t id; /* counts from 1 over the campaign; 0: nothing was asked yet */
    bool open;
    bool delegated;       /* the first owner's time is over: the delegate is asked */
    uint32_t owner;       /* who is asked: always exactly one */
    uint32_t first_owner; /* who was asked first: whose deadlines and default apply */
    uint32_t attempt;     /* of the run, when it was asked */
    int64_t asked_ns;     /* when it was asked first */
    int64_t since_ns;     /* since when `owner` is asked */
    int64_t deadline_ns;  /* until when; TIME_NEVER */
    enum gate_rule rule;  /* what the HOLD was for: as in its record */
    int64_t observed_micro, bound_micro;
    uint32_t rank, siblings;
};

/* A gate point of one run. */
struct run_gate {
    uint32_t gate_index;
    int64_t tranche_micros;
    enum verdict
        verdict; /* NONE until reported; HOLD until the owner decides; GO and NO_GO final */
    bool reported;
    uint64_t step, tokens; /* where it was reported */
    int64_t loss_micro, best_micro, mean_micro;
    int64_t asked_ns;
    char checkpoint[PATH_MAX_BYTES];
};

struct run {
    char name[NAME_MAX_BYTES];
    uint32_t tenant; /* index for core_tenant */
    uint32_t ranks, class_index, guard_index, owner_index;
    int32_t priority;
    bool builtin;
    uint64_t steps;                  /* planned; 0 = unknown */
    uint32_t first_gate, gate_count; /* into the gate slots: core_run_gate */

    enum run_state state;
    enum reason reason;
    int64_t state_since_ns;
    int64_t park_until_ns; /* PARKED */
    int64_t submitted_ns;

    int64_t budget_micros, first_tranche_micros;
    int64_t released_micros; /* tranches; when the run has ended: what was spent */
    int64_t spent_micros;    /* settled, over all attempts, the live one included */
    int64_t reserved_micros; /* the live lease */
    uint32_t tranches;       /* released so far */

    uint32_t attempts;     /* started so far; the live attempt has this number */
    uint32_t attempt_slot; /* index for core_attempt, or NO_INDEX */
    uint64_t step, tokens; /* furthest known */
    int64_t loss_micro;    /* last training loss */
    int64_t val_loss_micro, val_best_micro,
        val_sum_micro; /* held-out losses reported at gates */
    uint32_t val_count;
    int32_t util_ppm; /* of the last window */
    int32_t fair_ppm; /* the same at full clocks */
    int64_t
        window_held_ns; /* the run's time in windows before the last one: its grace counts from 0 */
    enum util_rung rung;
    uint32_t util_flags; /* of the last window */
    int64_t windows_ns;  /* time held and steps done in closed windows: the measured rate */
    uint64_t windows_steps;

    uint64_t resume_step, resume_tokens; /* where the next attempt starts; 0 = from scratch */
    char resume_path[PATH_MAX_BYTES];
    uint32_t pinned_attempt; /* checkpoints of attempts up to this one are passed over */
    bool resume_pinned;      /* the decision went back to this checkpoint: not to a newer one */

    struct request request; /* about one of its gates, or about itself */

    struct guard_state guard;
    uint16_t retries[RETRY_CLASS_COUNT];
    uint16_t runbook_used[RUNBOOK_ROWS_MAX][RUNBOOK_STEPS_MAX];
};

#define MEMBER_STATES(X)                                                                       \
    X(LAUNCHING, "launching") X(RUNNING, "running") X(LOST, "lost") X(ENDED, "ended")

enum member_state {
#define X(id, name) MEMBER_##id,
    MEMBER_STATES(X) MEMBER_STATE_COUNT
#undef X
};

struct member {
    uint32_t worker;
    uint32_t host; /* index for core_host: outlives the worker's life */
    enum member_state state;
    enum ending ending; /* ENDED */
    int32_t exit_code, signal;
    uint32_t pid;
};

/* The live attempt of a run: holds its gang until every member's end is known. */
struct attempt {
    uint32_t run, number;
    uint32_t first_member, member_count; /* core_member(core, first_member + i) */
    uint32_t started_count, ended_count;
    bool orphaned; /* of an earlier life of the coordinator */
    bool backfilled;
    enum intent intent;
    enum reason reason;
    int64_t park_until_ns;
    int64_t placed_ns;
    int64_t rate_micros;
    uint32_t lease_sequence;
    int64_t lease_end_ns;
    int64_t settled_micros, reserved_micros; /* of this attempt */
    int64_t last_end_ns;                     /* latest known end of a member */
    int64_t window_start_ns;                 /* 0 until the trainer is ready */
    uint64_t window_step, window_tokens;     /* at the window's start */
    int64_t window_cpu_ns;
    struct device_figures window_device; /* sums at the window's start */
};

struct worker {
    bool present;
    uint32_t run; /* whose attempt holds it, or NO_INDEX */
    uint32_t host, class_index, slot, threads;
    uint64_t peak_flops;
    bool on_cpu;
    char pci_bus_id[NAME_MAX_BYTES]; /* of its GPU; empty: none, or unknown */
    uint32_t device; /* lowest worker here on the same GPU: itself unless slots share one */
};

struct budget {
    int64_t approved_micros, released_micros, reserved_micros, spent_micros;
    uint32_t tiers_open;
    bool tier_asked; /* the next tier's owner has been asked */
    bool tier_refused;
    int64_t tier_asked_ns;
    struct request request; /* about the next tier */
};

/* A tranche after the first opens when all of these are met; the first that is not is named. */
#define TRANCHE_WAITS(X)                                                                       \
    X(NONE, "")                                                                                \
    X(NO_GO, "a later gate said NO-GO")                                                        \
    X(HOLD, "a hold is open")                                                                  \
    X(NO_WINDOW, "its utilization is not measured yet")                                        \
    X(UNKNOWN, "its utilization is unknown")                                                   \
    X(LOW, "its utilization is below the floor")                                               \
    X(UNSETTLED, "what it spent is not settled")                                               \
    X(TIER, "no open tier covers it")

enum tranche_wait {
#define X(id, name) TRANCHE_WAIT_##id,
    TRANCHE_WAITS(X) TRANCHE_WAIT_COUNT
#undef X
};

const char *tranche_wait_name(enum tranche_wait wait);

/* Exactly the campaign as recorded; NULL before it is known. Its gates array is the core's own.
 */
const struct campaign_spec *core_campaign(const struct core *core);
const struct budget *core_budget(const struct core *core);
uint64_t core_epoch(const struct core *core);
int64_t core_now_ns(const struct core *core); /* time of the last event or record */
bool core_suspended(const struct core *core);
bool core_space_low(const struct core *core);

uint32_t core_run_count(const struct core *core);
const struct run *core_run(const struct core *core, uint32_t run);
const struct run_gate *core_run_gate(const struct core *core, uint32_t run, uint32_t slot);
const struct gate_spec *core_gate(const struct core *core, uint32_t gate_index);
uint32_t core_find_run(const struct core *core, struct text name); /* NO_INDEX if none */
uint32_t core_find_gate(const struct core *core, uint32_t run, struct text gate); /* slot */

/* The question about a run or one of its gates; NO_INDEX: about the next tier. */
const struct request *core_request(const struct core *core, uint32_t run);

/* True when the decision that came in this file is among the last that were recorded. */
bool core_answered(const struct core *core, const struct sha256 *origin);

/* The run's live attempt, or NULL. */
const struct attempt *core_attempt(const struct core *core, uint32_t run);
const struct member *core_member(const struct core *core, uint32_t member_index);

uint32_t core_workers_max(const struct core *core);
const struct worker *core_worker(const struct core *core, uint32_t worker);
const char *core_host(const struct core *core, uint32_t host);
const char *core_tenant(const struct core *core,
                        uint32_t tenant); /* "" for runs without a team */

/* True when the run cannot be placed even with every present worker free. */
bool core_unplaceable(const struct core *core, uint32_t run);

/* Why a QUEUED run is not placed: ROOM, MONEY, SIGNOFF (a tier), SUSPEND or SPACE. NONE for
 * others. */
enum reason core_waits_for(const struct core *core, uint32_t run);

/* What keeps the run's next tranche closed. NONE: nothing is due, or nothing but a pass is
 * missing. Also for a run that has ended: what kept it closed. */
enum tranche_wait core_tranche_waits_for(const struct core *core, uint32_t run);

/* Expected remaining time of a run from its own measured rate; TIME_NEVER when unknown. */
int64_t core_remaining_ns(const struct core *core, uint32_t run);

#endif
