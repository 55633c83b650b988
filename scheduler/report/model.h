/*
 * model.h - everything that any form of the review report shows, collected once.
 *
 * The model is built by folding the ledger: model_add looks at each record together with the
 * core that has just applied it, and keeps what a report needs (attempts, decisions, incidents,
 * curves, who held which slot when). Balances and states are the core's: nothing is booked a
 * second time here. model_finish derives the rest. The renderers (text, markdown, html, json,
 * exports) read the model and compute no figure of their own, so that all of them say the same.
 * docs/formats/report.md defines each figure.
 *
 * Strings and arrays live in the model's arena. Losses are millionths of a nat, shares ppm,
 * money micro-units, times unix nanoseconds.
 */
#ifndef SCHEDULER_REPORT_MODEL_H
#define SCHEDULER_REPORT_MODEL_H

#include "proto/base/arena.h"
#include "scheduler/core/state.h"
#include "scheduler/report/out.h"

/* Whether a coordinator is at work on this ledger right now, as far as the caller can tell. */
enum liveness { LIVE_UNKNOWN, LIVE_YES, LIVE_NO };

struct model_options {
    int64_t now_ns; /* time of the report; 0: the time of the last record */
    int64_t
        since_ns; /* decisions, incidents, guardrail actions and spend from here on; 0: all */
    enum liveness live;
    bool keep_leases;         /* every lease, for exports: many */
    const char *state_folder; /* as the reader names it; for the commands that are suggested */
};

/* What the ledger's reader knows beyond the records. */
struct model_source {
    uint64_t head_seq; /* of the last record */
    struct sha256 head;
    int64_t ledger_bytes;
    int64_t torn_bytes; /* of an incomplete last frame, passed over; 0 = none */
};

#define PHASES(X)                                                                              \
    X(EMPTY, "empty") /* no campaign is recorded yet */                                        \
    X(RUNNING, "running")                                                                      \
    X(WAITS, "waits") /* nothing can go on until a person decides */                           \
    X(DONE, "done")                                                                            \
    X(SUSPENDED, "suspended")     /* run again to resume */                                    \
    X(INTERRUPTED, "interrupted") /* its coordinator is gone without closing */

enum phase {
#define X(id, name) PHASE_##id,
    PHASES(X) PHASE_COUNT
#undef X
};

struct model_money {
    int64_t budget_micros, approved_micros, released_micros, reserved_micros, spent_micros;
    int64_t unspent_micros;  /* budget - spent */
    int64_t finished_micros; /* spent by runs that finished; these four sum to spent */
    int64_t stopped_micros;
    int64_t failed_micros;
    int64_t open_micros;   /* by runs that have not ended */
    int64_t lost_micros;   /* of spent: for work that had to be dropped or done again */
    int64_t period_micros; /* spent since since_ns */
    uint64_t tokens;       /* accepted, of all runs */
    int64_t mtok_micros;   /* spent per million tokens; -1 = unknown */
};

/* One point of a run's loss curve: a telemetry window or a gate. */
struct curve_point {
    int64_t at_ns;
    uint64_t step, tokens;
    int64_t loss_micro;     /* training; LOSS_UNKNOWN at gates */
    int64_t val_loss_micro; /* held out */
};

struct model_gate {
    const char *name;
    uint32_t slot, gate_index;
    uint64_t due_step, due_tokens;
    bool reported;
    uint64_t step, tokens;
    int64_t at_ns;
    int64_t loss_micro;
    enum verdict verdict; /* as it stands now */
    int64_t tranche_micros;
};

struct model_run {
    uint32_t index;
    const char *name, *tenant, *owner, *class_name;
    uint32_t ranks;
    enum run_state state;
    enum reason reason;
    enum reason waits_for; /* QUEUED: what keeps it waiting */
    int64_t submitted_ns, state_since_ns, until_ns, first_start_ns; /* 0: never started */
    uint32_t attempts, incidents;
    uint64_t steps_planned, step, tokens;
    int64_t loss_micro, val_loss_micro, val_best_micro;
    int64_t budget_micros, released_micros, reserved_micros, spent_micros;
    int64_t mtok_micros; /* spent per million tokens; -1 = unknown */
    int64_t lost_micros;
    int64_t slot_ns;  /* slots x time held, over all attempts */
    int64_t queue_ns; /* time QUEUED; then HELD and PARKED */
    int64_t owner_ns, parked_ns;
    int64_t util_ppm; /* mean over the windows that have one, by time; UTIL_UNKNOWN */
    enum util_rung rung;
    uint32_t windows, windows_unknown;
    int64_t windows_ns, windows_known_ns;
    uint32_t flag_windows[UTIL_FLAG_COUNT]; /* windows with that flag, and their time */
    int64_t flag_ns[UTIL_FLAG_COUNT];
    int64_t energy_mj, energy_ns; /* of member 0's GPU, and the time over which it is known */
    uint32_t gate_count;
    struct model_gate *gates;
    uint32_t point_count, point_capacity;
    struct curve_point *points;
    uint32_t last_attempt; /* index into attempts, or NO_INDEX */

    i128 util_sum;                /* of ppm x ns */
    enum run_state tracked_state; /* since tracked_ns, for the times above */
    int64_t tracked_ns;
    uint32_t checkpoint_count, checkpoint_capacity;
    struct model_checkpoint *checkpoints;
};

struct model_checkpoint {
    uint32_t attempt;
    int64_t at_ns;
    uint64_t step, tokens;
    const char *path;
};

struct model_attempt {
    uint32_t run, number, member_count;
    const uint32_t *workers; /* in gang order */
    int64_t rate_micros;
    int64_t placed_ns, running_ns, stopping_ns, ended_ns; /* 0: not yet */
    int64_t held_ns;                                      /* of each slot */
    int64_t settled_micros, returned_micros, lost_micros;
    uint64_t resume_step, step, tokens;
    enum intent intent;
    enum reason reason;
    enum run_state next_state; /* of the run, once ended */
    bool backfilled, ended;
    uint32_t charged_members; /* silent ones, charged in full */
    int64_t kept_ns;          /* work done until then was kept; -1: all of it */
    uint32_t previous;        /* attempt of the same run, index, or NO_INDEX */
};

struct model_decision {
    int64_t at_ns, asked_ns;
    enum decision_subject subject;
    uint32_t run, slot, tier; /* by subject; others NO_INDEX */
    const char *gate;         /* SUBJECT_GATE */
    uint64_t step;            /* SUBJECT_GATE: where the run stood */
    enum verdict verdict;
    enum gate_rule rule;
    bool by_owner;            /* decided by a person, not by a rule */
    const char *owner, *role; /* who decided, or who is asked; NULL: a rule decided */
    int64_t observed_micro, bound_micro;
    int64_t margin_micro; /* bound - observed: positive is on the good side; LOSS_UNKNOWN */
    uint32_t rank, siblings;
    const char *reason;
    bool is_signed, by_default; /* by_default: nobody answered in time */
    uint32_t answer;            /* HOLD: index of the decision that answered it, or NO_INDEX */
};

enum recovery { RECOVERY_OPEN, RECOVERY_RESTARTED, RECOVERY_ENDED };

struct model_incident {
    int64_t at_ns, closed_ns; /* 0: open */
    enum recovery recovery;   /* RESTARTED: the run's next attempt ran; ENDED: the run ended */
    uint32_t run, attempt, member;
    enum incident incident;
    int32_t exit_code, signal;
    enum runbook_action action;
    uint32_t row, step;
    const char *detail, *stderr_tail;
    const char *ras; /* what NCCL's RAS said, or empty */
};

struct model_window {
    int64_t at_ns;
    uint32_t run, attempt;
    uint64_t step, tokens;
    int64_t loss_micro, val_loss_micro, length_ns;
    int32_t util_ppm;
    enum util_rung rung;
    uint32_t flags;
    struct device_figures device;  /* of member 0's GPU */
    struct util_evidence evidence; /* the same as shares and means */
    uint64_t flops_per_token;
    enum guard_action action;
    enum guard_rule rule;
    int64_t observed, bound;
};

struct model_lease {
    int64_t at_ns;
    uint32_t run, attempt, sequence;
    int64_t settled_micros, reserved_micros, lease_end_ns; /* the last lease: end 0 */
};

/* A stretch of time in which a worker was there, or an attempt held it. */
struct model_span {
    uint32_t worker;
    uint32_t attempt; /* index into attempts */
    int64_t from_ns, to_ns;
    int64_t stopping_ns; /* from here on it was being stopped; 0: never */
    bool open;           /* goes on */
};

struct model_worker {
    uint32_t rank;
    const char *host, *device, *class_name, *peak_source, *backend, *backend_reason;
    const char *pci_bus_id; /* of its GPU, or empty */
    uint32_t slot, threads;
    uint64_t peak_flops, memory_bytes;
    bool on_cpu, present;
    uint32_t lives;
    int64_t present_ns, busy_ns, idle_ns;
    int64_t occupancy_ppm; /* busy / present; UTIL_UNKNOWN when never present */
    uint32_t attempts;
    uint32_t open_presence; /* index into presences, or NO_INDEX */
};

struct spend_point {
    int64_t at_ns;
    int64_t approved_micros, released_micros, reserved_micros, spent_micros;
};

struct model_life {
    uint64_t epoch;
    int64_t from_ns, to_ns; /* to: its last record */
    const char *host, *version;
    uint32_t pid, workers;
    bool closed;
    int32_t exit_status; /* when closed */
};

struct model_note {
    int64_t at_ns;
    uint32_t run; /* or NO_INDEX */
    const char *text;
};

/* Something that waits for a person. */
struct model_wait {
    const char *owner, *role;
    const char *what;    /* "gate scale-up of run big" */
    const char *command; /* how to answer */
    int64_t since_ns;
    uint32_t run, slot, tier;
};

#define GAPS(X)                                                                                \
    X(TORN_TAIL, "torn-tail")                                                                  \
    X(OPEN_LIFE, "open-life")                                                                  \
    X(UNKNOWN_UTIL, "unknown-utilization")                                                     \
    X(NO_VAL_LOSS, "no-held-out-loss")                                                         \
    X(NO_TOKENS, "no-tokens")                                                                  \
    X(UNSIGNED, "unsigned-sign-off")                                                           \
    X(CHARGED, "charged-in-full")                                                              \
    X(NO_PEAK, "no-peak")                                                                      \
    X(DEVICE, "device")                                                                        \
    X(SPACE, "disk-full")

enum gap_kind {
#define X(id, name) GAP_##id,
    GAPS(X) GAP_COUNT
#undef X
};

/* Something that the data does not tell, or tells only in part. */
struct model_gap {
    enum gap_kind kind;
    uint32_t run; /* or NO_INDEX */
    const char *text;
};

struct model {
    struct arena arena;
    struct model_options options;
    struct model_source source;

    const struct campaign_spec *campaign; /* a copy; NULL until it is known */
    struct currency currency;
    uint64_t record_count;
    int64_t first_ns, last_ns; /* of the records */
    int64_t now_ns;    /* where accounts of time end: now, or where the last life ended */
    int64_t report_ns; /* when the report was made */
    uint64_t epoch;

    enum phase phase;
    const char *headline; /* the verdict at a glance, one sentence */
    struct model_money money;
    uint32_t state_count[RUN_STATE_COUNT];
    uint64_t decisions_total, incidents_total; /* whatever the period */
    int64_t slot_present_ns, slot_busy_ns, slot_idle_ns;
    int64_t util_ppm;                          /* of all runs, by time held */
    int64_t queue_ns;                          /* of all runs */
    int64_t recovery_mean_ns, recovery_max_ns; /* of incidents with a restart; -1: none */
    int64_t decision_mean_ns, decision_max_ns; /* of answers by people; -1: none */

    uint32_t run_count, run_capacity;
    struct model_run *runs;
    uint32_t attempt_count, attempt_capacity;
    struct model_attempt *attempts;
    uint32_t decision_count, decision_capacity;
    struct model_decision *decisions;
    uint32_t incident_count, incident_capacity;
    struct model_incident *incidents;
    uint32_t open_incidents; /* so many of the newest may still be open */
    uint32_t window_count, window_capacity;
    struct model_window *windows;
    uint32_t guard_count, guard_capacity;
    uint32_t *guards; /* indices of windows with a guardrail's action */
    uint32_t lease_count, lease_capacity;
    struct model_lease *leases;
    uint32_t worker_count, worker_capacity; /* in order of rank */
    struct model_worker *workers;
    uint32_t presence_count, presence_capacity;
    struct model_span *presences;
    uint32_t hold_count, hold_capacity;
    struct model_span *holds;
    uint32_t spend_count, spend_capacity;
    struct spend_point *spend;
    int64_t spend_spacing_ns;
    uint32_t life_count, life_capacity;
    struct model_life *lives;
    uint32_t note_count, note_capacity;
    struct model_note *notes;
    uint32_t wait_count, wait_capacity;
    struct model_wait *waits;
    uint32_t gap_count, gap_capacity;
    struct model_gap *gaps;
    bool space_low_seen;
};

/* An empty model. The options' string is borrowed for as long as the model lives. */
void model_init(struct model *model, const struct model_options *options);

/* Takes in one record, which `core` has just applied. Signature and order are those of a
 * replay's visitor. */
void model_add(struct model *model, const struct record *record, const struct core *core);

/* Derives the figures. The model may be rendered from here on, and takes no more records. */
void model_finish(struct model *model, const struct core *core,
                  const struct model_source *source);

/* Releases everything. A zeroed model is fine. */
void model_fini(struct model *model);

/* The run that a record is about, or NO_INDEX. */
uint32_t record_run(const struct record *record);

/* Why a run is in its state, in words: "stopped at a gate", "queued: waits for room". */
const char *model_run_why(const struct model_run *run);

/* "gate scale-up of run big", "run big", "tier 2 of the budget". In `arena`. */
const char *model_subject(const struct model *model, struct arena *arena,
                          const struct model_decision *decision);

const char *phase_name(enum phase phase);
const char *gap_name(enum gap_kind kind);
const char *recovery_name(enum recovery recovery);
const char *subject_name(enum decision_subject subject);

/* The names of the flags that are set, "; " between them; empty for none. Always fits into UTIL_FLAGS_BYTES. */
enum { UTIL_FLAGS_BYTES = 256 };
void util_flags_write(uint32_t flags, char text[UTIL_FLAGS_BYTES]);

/* True for a loss that is a number. */
bool loss_is_number(int64_t loss_micro);

#endif
