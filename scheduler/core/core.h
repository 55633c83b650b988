/*
 * core.h - the coordinator's decisions, pure: one event in, records and actions out.
 *
 *     event -> core_step -> records (what was decided) and actions (what the world must now do)
 *     record -> core_apply -> state
 *
 * core_step itself changes state only by making a record and applying it; so a core that is
 * given the same records, from the ledger, has the same state (core_digest). The caller makes
 * all records of a step durable before it performs any of its actions. The core does no I/O,
 * asks for no time (it is in the event), allocates nothing after core_create, and keeps no
 * pointer into an event.
 *
 * A life of a coordinator: core_create; core_apply for every record of the ledger; for a new
 * campaign EVENT_CAMPAIGN and an EVENT_SUBMIT for each run; EVENT_EPOCH; then events as they
 * come, and EVENT_TIMER whenever core_due_ns has passed, until ACTION_DONE.
 */
#ifndef SCHEDULER_CORE_CORE_H
#define SCHEDULER_CORE_CORE_H

#include "scheduler/core/record.h"

/* ---- events -------------------------------------------------------------------------- */

#define EVENTS(X)                                                                              \
    X(CAMPAIGN, "campaign") /* once, before anything else */                                   \
    X(SUBMIT, "submit")                                                                        \
    X(EPOCH, "epoch") /* this coordinator's life begins */                                     \
    X(HELLO, "hello") /* a worker joined */                                                    \
    X(WORKER_LOST, "worker lost")                                                              \
    X(HEARTBEAT, "heartbeat")                                                                  \
    X(STARTED, "started") /* a member's trainer process runs */                                \
    X(GATE, "gate")       /* a trainer stands at a gate */                                     \
    X(CHECKPOINT, "checkpoint")                                                                \
    X(EXITED, "exited")   /* a member's trainer is gone */                                     \
    X(PROBED, "probed")   /* is a trainer of an earlier life gone? */                          \
    X(DECIDE, "decide")   /* a sign-off from an owner */                                       \
    X(SUSPEND, "suspend") /* signal or time limit: checkpoint all, end */                      \
    X(SPACE, "space")     /* the ledger's disk is nearly full, or has room again */            \
    X(TIMER, "timer")

enum event_kind {
#define X(id, name) EVENT_##id,
    EVENTS(X) EVENT_KIND_COUNT
#undef X
};

/* Cumulative figures of an attempt's member; see wire.proto, Telemetry. */
struct telemetry {
    uint64_t step, tokens;
    int64_t loss_micro;     /* LOSS_UNKNOWN, LOSS_NONFINITE or a loss */
    int64_t val_loss_micro; /* last held-out loss */
    uint64_t flops_per_token;
    int64_t cpu_ns;               /* -1 = unknown */
    struct device_figures device; /* of the member's GPU; zero: none is watched */
    bool ready;
};

struct event {
    enum event_kind kind;
    int64_t now_ns; /* unix time by the coordinator's steady clock; never falls */
    union {
        const struct campaign_spec *campaign;
        const struct run_spec *submit;
        struct record_epoch epoch;
        struct record_worker hello;
        struct record_worker_lost worker_lost;
        struct {
            uint32_t worker;
            uint64_t sequence;
            uint32_t run, attempt, member; /* attempt 0: idle */
            struct telemetry telemetry;
        } heartbeat;
        struct {
            uint32_t worker, run, attempt, member, pid;
        } started;
        struct {
            uint32_t worker, run, attempt, member;
            struct text gate;
            uint64_t step, tokens;
            int64_t loss_micro;
            struct text checkpoint;
        } gate;
        struct {
            uint32_t worker, run, attempt, member;
            uint64_t step, tokens;
            struct text path;
        } checkpoint;
        struct {
            uint32_t worker, run, attempt, member;
            enum ending ending;
            int32_t exit_code, signal;
            struct text stderr_tail, detail;
            struct text ras; /* what NCCL's RAS said; empty: it was not asked */
            bool names_late; /* of a gang that hung: the member that never arrived is known */
            uint32_t late;
            struct telemetry telemetry;
            uint64_t checkpoint_step,
                checkpoint_tokens;  /* newest checkpoint that the agent knows */
            struct text checkpoint; /* empty = none */
        } exited;
        struct {
            uint32_t worker, run, attempt, member;
            bool gone;
            uint64_t checkpoint_step, checkpoint_tokens;
            struct text checkpoint;
        } probed;
        struct {
            enum decision_subject subject;
            uint32_t run, slot, tier;
            enum verdict verdict; /* GO or NO_GO */
            uint32_t owner;
            struct text reason;
            uint64_t request; /* the question that it answers; 0: the one that is open */
            bool is_signed;   /* the signature has been verified */
            struct signoff signoff;
        } decide;
        struct record_suspended suspend;
        struct record_space space;
    } as;
};

/* ---- actions ------------------------------------------------------------------------- */

#define ACTIONS(X)                                                                             \
    X(LAUNCH, "launch") /* start one member's trainer */                                       \
    X(GRANT, "grant")   /* answer a heartbeat: the lease as it now stands */                   \
    X(STOP, "stop")     /* end one member's trainer */                                         \
    X(PROBE, "probe")   /* ask whether a member of an earlier life is gone */                  \
    X(ASK, "ask")       /* an owner must decide (for the display; the record stands) */        \
    X(DONE, "done")     /* nothing left to do in this life; exit_status says how it went */

enum action_kind {
#define X(id, name) ACTION_##id,
    ACTIONS(X) ACTION_KIND_COUNT
#undef X
};

struct action {
    enum action_kind kind;
    uint32_t worker; /* LAUNCH, GRANT, STOP, PROBE */
    uint32_t run, attempt;
    uint32_t member;     /* LAUNCH, STOP, PROBE */
    uint32_t sequence;   /* LAUNCH, GRANT: of the lease */
    int64_t lease_ns;    /* GRANT: until the lease's end, from the heartbeat just handled.
                            LAUNCH: from the time of this step; the caller adds what has passed
                            since the heartbeat that it names */
    uint64_t heartbeat;  /* GRANT: the heartbeat it answers */
    bool at_once;        /* STOP: kill, no grace */
    enum reason reason;  /* STOP */
    int32_t exit_status; /* DONE: README.md lists them */
};

/* Where a step's output goes, in order. Records are applied already; both borrow for the call.
 */
struct output {
    void *context;
    void (*record)(void *context, const struct record *record);
    void (*action)(void *context, const struct action *action);
};

/* ---- the core ------------------------------------------------------------------------ */

struct core_limits {
    uint32_t runs_max;
    uint32_t workers_max;   /* highest MPI rank + 1 */
    uint32_t gates_max;     /* gate points of the campaign */
    uint32_t run_gates_max; /* sum over runs of their gate points */
};

struct core;

/* A core without a campaign; NULL when memory runs out. All memory is taken here. */
struct core *core_create(const struct core_limits *limits);
void core_destroy(struct core *core);

/* Handles one event. Bad or stale events (another attempt, another worker) change nothing;
 * where somebody should know, a NOTE is recorded. */
void core_step(struct core *core, const struct event *event, const struct output *output);

/* Applies one record, as read from the ledger. ERR_DAMAGED when it cannot follow from the state
 * (the ledger was made by another program, or altered): the state is then unusable. */
must_use enum err core_apply(struct core *core, const struct record *record,
                             struct error *error);

/* Re-issues every action that the state still needs. Idempotent. For a restarted coordinator.
 */
void core_rouse(struct core *core, int64_t now_ns, const struct output *output);

/* When the core wants an EVENT_TIMER; TIME_NEVER when it does not. */
int64_t core_due_ns(const struct core *core);

/* Checks every invariant of docs/ARCHITECTURE.md that the state can show; check() fails on a bug.
 */
void core_check(const struct core *core);

/* A hash of the whole state: equal states have equal digests. */
uint64_t core_digest(const struct core *core);

#endif
