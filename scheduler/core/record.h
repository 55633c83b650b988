/*
 * record.h - what the ledger holds: the only input of core_apply, and so the only way that
 * state changes.
 *
 * A record says what was decided or what happened, with everything that applying it needs;
 * amounts in it are results (new totals), never deltas that could be applied twice. Text and
 * arrays are borrowed for the call. Adding a kind: the list below, its struct in the union,
 * apply_<kind> in core.c, its message in proto/ledger.proto, its row in ledger/record.c; the
 * compiler and the tests name what you forgot.
 */
#ifndef SCHEDULER_CORE_RECORD_H
#define SCHEDULER_CORE_RECORD_H

#include "proto/base/defs.h"
#include "proto/base/error.h"
#include "proto/base/hash.h"
#include "proto/base/sshsig.h"
#include "proto/base/text.h"
#include "scheduler/policy/policy.h"

#define NO_INDEX UINT32_MAX /* no run, owner, gate, worker */

#define RECORDS(X)                                                                             \
    X(CAMPAIGN, "campaign") /* the effective policy, defaults merged */                        \
    X(RUN, "run")           /* a run was submitted */                                          \
    X(EPOCH, "epoch")       /* a coordinator's life began; all workers are new */              \
    X(WORKER, "worker")     /* a worker joined */                                              \
    X(WORKER_LOST, "worker lost")                                                              \
    X(TIER, "tier")                     /* a tier of campaign spend was opened */              \
    X(TRANCHE, "tranche")               /* a tranche of a run's budget was released */         \
    X(PLACED, "placed")                 /* an attempt has its gang and its first lease */      \
    X(LEASE, "lease")                   /* an attempt's lease was renewed */                   \
    X(MEMBER_STARTED, "member started") /* a trainer process runs */                           \
    X(WINDOW, "window")                 /* a telemetry window closed */                        \
    X(CHECKPOINT, "checkpoint")         /* a durable checkpoint exists */                      \
    X(GATE, "gate")                     /* a run reached a gate */                             \
    X(DECISION, "decision")             /* a verdict on a gate, a held run or a tier */        \
    X(INCIDENT, "incident")             /* something went wrong, and what is done about it */  \
    X(STOPPING, "stopping")             /* an attempt is being ended, and why */               \
    X(MEMBER_ENDED, "member ended")     /* a gang member's trainer is gone */                  \
    X(ATTEMPT_ENDED, "attempt ended")   /* settled; slots are free */                          \
    X(RUN_STATE, "run state")           /* a run moved to another state */                     \
    X(SUSPENDED, "suspended")           /* nothing new is placed until the next epoch */       \
    X(SPACE, "space")   /* the ledger's disk is nearly full, or has room again */              \
    X(NOTE, "note")     /* recorded for people; changes nothing */                             \
    X(CLOSED, "closed") /* this life ended in good order, with this exit status */

enum record_kind {
#define X(id, name) RECORD_##id,
    RECORDS(X) RECORD_KIND_COUNT
#undef X
};

struct tier_spec {
    int64_t up_to_micros; /* campaign spend that this tier covers, counted from zero */
    uint32_t owner_index; /* NO_INDEX: opened automatically */
};

/* What becomes of a question that nobody answered in time. */
#define OTHERWISES(X) X(WAIT, "wait") X(GO, "go") X(NO_GO, "no-go")

enum otherwise {
#define X(id, name) OTHERWISE_##id,
    OTHERWISES(X) OTHERWISE_COUNT
#undef X
};

struct owner_spec {
    char name[NAME_MAX_BYTES];
    char role[16];      /* "research", "spend", "data", "evaluation", or empty */
    uint32_t key_count; /* with one or more, every answer must be signed by one of them */
    struct ssh_key keys[OWNER_KEYS_MAX];
    uint32_t delegate_index;  /* who is asked when the time is over; NO_INDEX: nobody */
    int64_t answer_within_ns; /* 0: no deadline */
    enum otherwise otherwise; /* what then applies, when nobody answers */
};

struct device_class {
    char name[NAME_MAX_BYTES];
    int64_t rate_micros; /* per slot-hour */
};

/* A peak that the campaign gives to devices itself. */
struct device_peak {
    char match
        [NAME_MAX_BYTES]; /* stands somewhere in the device's name, in letters of either case */
    uint64_t peak_flops;  /* per second */
};

enum { GUARDS_MAX = 16, CURRENCY_BYTES = 8, DEVICE_PEAKS_MAX = 8 };

/* Campaign-wide policy. Arrays are borrowed for the call that takes it. */
struct campaign_spec {
    char name[NAME_MAX_BYTES];
    char currency[CURRENCY_BYTES];
    struct sha256 file_hash; /* of the campaign file's bytes */
    struct text file_text;   /* the file itself, for whoever asks later; may be empty */
    int64_t budget_micros;   /* = the last tier's up_to */
    uint32_t tier_count;     /* >= 1, rising */
    struct tier_spec tiers[TIERS_MAX];
    uint32_t owner_count;
    struct owner_spec owners[OWNERS_MAX];
    uint32_t class_count;
    struct device_class classes[CLASSES_MAX];
    uint32_t device_count;
    struct device_peak devices[DEVICE_PEAKS_MAX]; /* the first that matches counts */
    enum place_policy place;
    bool backfill;             /* runs may use slots that an older gang cannot use yet */
    int64_t heartbeat_ns;      /* agents report this often */
    int64_t lease_ns;          /* length of a lease */
    int64_t stop_grace_ns;     /* from being told to stop to being killed */
    int64_t worker_timeout_ns; /* a worker silent for this long is lost */
    int32_t clock_error_ppm;   /* how far an agent's clock rate may be off; priced in */
    int64_t backoff_ns;        /* wait before a restart, doubled each time */
    int64_t backoff_max_ns;
    uint32_t guard_count; /* >= 1 */
    struct guard_spec guards[GUARDS_MAX];
    uint32_t runbook_count;
    struct runbook_row runbook[RUNBOOK_ROWS_MAX];
    uint32_t gate_count;
    const struct gate_spec *gates;
};

struct run_gate_spec {
    uint32_t gate_index;    /* into the campaign's gates; strictly rising steps within a run */
    int64_t tranche_micros; /* released by GO at this gate */
};

/* One run. */
struct run_spec {
    char name[NAME_MAX_BYTES];
    char tenant[NAME_MAX_BYTES]; /* team, for fair share; may be empty */
    uint32_t ranks;              /* gang size */
    uint32_t class_index;        /* device class, or NO_INDEX for any one class */
    int32_t priority;
    int64_t budget_micros;        /* first tranche + all gates' tranches */
    int64_t first_tranche_micros; /* released when the run is first placed */
    uint64_t steps;               /* optimizer steps it is to take; 0 = unknown */
    uint32_t guard_index;
    uint32_t owner_index; /* who decides about the run when a runbook holds it */
    bool builtin;         /* its trainer is penstock-train */
    struct text launch;   /* opaque to the core: what the agents need to start it */
    uint32_t gate_count;
    struct run_gate_spec gates[GATES_PER_RUN_MAX];
};

#define RUN_STATES(X)                                                                          \
    X(QUEUED, "queued")     /* waits for room or money */                                      \
    X(STARTING, "starting") /* has its gang; not all trainers run yet */                       \
    X(RUNNING, "running")                                                                      \
    X(STOPPING, "stopping") /* its attempt is being ended; the intent says what comes then */  \
    X(HELD, "held")         /* waits for its owner */                                          \
    X(PARKED, "parked")     /* put aside until a time, then queued again */                    \
    X(FINISHED, "finished") /* all steps done, GO at every gate */                             \
    X(STOPPED, "stopped")   /* ended by a gate, a guardrail, an owner or the budget */         \
    X(FAILED, "failed")     /* ended by its own failures */

enum run_state {
#define X(id, name) RUN_STATE_##id,
    RUN_STATES(X) RUN_STATE_COUNT
#undef X
};

/* What becomes of a run when its attempt has ended. */
#define INTENTS(X)                                                                             \
    X(NONE, "none")       /* nobody asked: it ends when its trainers end */                    \
    X(REQUEUE, "requeue") /* queued again at once */                                           \
    X(PARK, "park")       /* queued again later */                                             \
    X(HOLD, "hold")                                                                            \
    X(STOP, "stop")                                                                            \
    X(FAIL, "fail")                                                                            \
    X(SUSPEND, "suspend") /* as REQUEUE, for the next life of the coordinator */

enum intent {
#define X(id, name) INTENT_##id,
    INTENTS(X) INTENT_COUNT
#undef X
};

/* Why a run is stopped, parked, queued or held: shown by status, explain and the report. */
#define REASONS(X)                                                                             \
    X(NONE, "")                                                                                \
    X(SUBMITTED, "submitted")                                                                  \
    X(ROOM, "waits for room")                                                                  \
    X(MONEY, "waits for money")                                                                \
    X(DONE, "done")                                                                            \
    X(GATE, "stopped at a gate")                                                               \
    X(SIGNOFF, "waits for a sign-off")                                                         \
    X(OWNER, "decided by the owner")                                                           \
    X(GUARD, "guardrail")                                                                      \
    X(BUDGET, "budget used up")                                                                \
    X(INCIDENT, "incident")                                                                    \
    X(BACKFILL, "gave its slots to an older gang")                                             \
    X(SUSPEND, "suspended")                                                                    \
    X(SPACE, "disk full")                                                                      \
    X(LEASE, "lease not renewed")                                                              \
    X(RELEASED, "waited long enough")                                                          \
    X(WITHHELD, "its next tranche was withheld")

enum reason {
#define X(id, name) REASON_##id,
    REASONS(X) REASON_COUNT
#undef X
};

/* How a member's trainer ended: what the agent saw (wire.proto, ExitCause), or why nobody
 * knows. */
#define ENDINGS(X)                                                                             \
    X(OWN, "ended by itself")                                                                  \
    X(STOPPED, "stopped as asked")                                                             \
    X(KILLED, "killed after the grace")                                                        \
    X(LEASE_EXPIRED, "stopped without a lease")                                                \
    X(START_TIMEOUT, "never became ready")                                                     \
    X(HANG, "no step within the deadline")                                                     \
    X(LAUNCH_FAILED, "could not be started")                                                   \
    X(LAUNCHER_LOST, "its launcher died")                                                      \
    X(GONE, "found gone")                 /* a later life found no process of it */            \
    X(CHARGED, "silent, charged in full") /* nobody can tell; its deadline has passed */

enum ending {
#define X(id, name) ENDING_##id,
    ENDINGS(X) ENDING_COUNT
#undef X
};

struct record_epoch {
    uint64_t epoch; /* rises by one with each life */
    struct text host;
    uint32_t pid;
    uint32_t workers; /* expected to join in this life */
    struct text version;
};

struct record_worker {
    uint32_t worker; /* MPI rank */
    struct text host, boot_id, device, peak_source, backend, backend_reason;
    uint32_t slot;
    uint32_t class_index;
    uint64_t peak_flops; /* per second; 0 = unknown */
    uint32_t threads;
    bool on_cpu;
    struct text pci_bus_id; /* of its GPU; empty: no GPU, or unknown */
    uint64_t memory_bytes;  /* of its GPU; 0 = unknown */
};

struct record_worker_lost {
    uint32_t worker;
    struct text cause;
};

struct record_tier {
    uint32_t tier;
    int64_t approved_micros; /* of the campaign, from now on */
};

struct record_tranche {
    uint32_t run;
    uint32_t number;         /* 0 first, 1 after the first gate, ... each once, in order */
    int64_t amount_micros;   /* of this tranche */
    int64_t released_micros; /* of the run, from now on */
    /* What it was released on, from number 1 on: */
    int32_t util_ppm;     /* over the last window, at full clocks; UTIL_UNKNOWN */
    int32_t floor_ppm;    /* what it had to reach; 0 = no floor, or still in its grace */
    int64_t spent_micros; /* by the run, settled */
};

/* A whole gang, its first lease, and where it starts from. */
struct record_placed {
    uint32_t run, attempt;
    uint32_t member_count;
    const uint32_t *workers; /* in gang order */
    int64_t rate_micros;     /* per slot-hour, fixed for the attempt */
    int64_t reserved_micros;
    int64_t lease_end_ns;
    uint64_t resume_step;
    bool backfilled; /* runs on slots that an older gang waits for */
};

struct record_lease {
    uint32_t run, attempt, sequence;
    int64_t settled_micros;  /* of this attempt, so far */
    int64_t reserved_micros; /* from now on */
    int64_t lease_end_ns;
};

struct record_member_started {
    uint32_t run, attempt, member, pid;
};

struct record_window {
    uint32_t run, attempt;
    uint64_t step, tokens;  /* at its end, since the run began */
    int64_t loss_micro;     /* last training loss, or LOSS_UNKNOWN */
    int64_t val_loss_micro; /* last held-out loss, or LOSS_UNKNOWN */
    int64_t length_ns;
    int32_t util_ppm;
    enum util_rung rung;
    uint64_t flops_per_token;
    int64_t cpu_ns; /* of member 0's trainer since the attempt began */
    enum guard_action action;
    enum guard_rule rule;
    int64_t observed, bound; /* what the guardrail compared; see guard_outcome */
    struct guard_state guard;
    uint32_t flags;               /* UTIL_FLAG_BIT: what speaks for or against that figure */
    struct device_figures device; /* of member 0's GPU in this window */
    int32_t fair_ppm;             /* util_ppm at full clocks: what the floor is held against */
};

struct record_checkpoint {
    uint32_t run, attempt;
    uint64_t step, tokens;
    struct text path;
};

struct record_gate {
    uint32_t run, attempt, slot; /* slot: index among the run's gates */
    uint64_t step, tokens;
    int64_t loss_micro;     /* held-out loss here */
    int64_t best_micro;     /* lowest so far */
    int64_t mean_micro;     /* running average of held-out losses up to here */
    struct text checkpoint; /* empty: none was made */
};

enum decision_subject { SUBJECT_GATE, SUBJECT_RUN, SUBJECT_TIER };

/* How an owner's answer came. */
struct signoff {
    struct sha256 origin;  /* of its file: name and bytes */
    struct text statement; /* what was signed, byte for byte; empty when nothing was */
    struct text signature; /* of it, as ssh-keygen writes it */
};

/* A verdict. HOLD asks `owner`; the owner's GO or NO-GO is a later DECISION and final. A HOLD
 * by default asks the delegate instead; a GO or NO-GO by default is what the campaign says for
 * a question that was not answered in time. */
struct record_decision {
    enum decision_subject subject;
    uint32_t run, slot, tier; /* by subject; others NO_INDEX */
    enum verdict verdict;
    enum gate_rule rule; /* SUBJECT_GATE by rule */
    uint32_t owner;      /* who decides (HOLD) or decided; NO_INDEX: by rule */
    int64_t asked_ns; /* when the question arose; the record's time is when it was answered */
    int64_t observed_micro, bound_micro;
    uint32_t rank, siblings;
    struct text reason;     /* the owner's words, or what is asked */
    bool is_signed;         /* carries a verified signature */
    bool by_default;        /* nobody answered until the deadline */
    uint64_t request;       /* which question it asks or answers: counts from 1; 0 = by rule */
    struct signoff signoff; /* an owner's answer */
};

struct record_incident {
    uint32_t run, attempt;
    uint32_t member; /* NO_INDEX: the whole gang */
    enum incident incident;
    int32_t exit_code, signal; /* -1 and 0 when they mean nothing */
    enum runbook_action action;
    uint32_t row, step; /* of the runbook; row NO_INDEX: none matched */
    struct text detail; /* one line */
    struct text stderr_tail;
    struct text ras; /* what NCCL's RAS said; empty: it was not asked */
};

struct record_stopping {
    uint32_t run, attempt;
    enum intent intent;
    enum reason reason;
    int64_t park_until_ns; /* PARK */
    bool pinned;           /* go back to this checkpoint, whatever comes later */
    uint64_t resume_step, resume_tokens;
    struct text resume_path;
};

struct record_member_ended {
    uint32_t run, attempt, member;
    enum ending ending;
    int32_t exit_code, signal;
    uint64_t step, tokens; /* member 0: last known, since the run began */
    int64_t loss_micro;
};

/* The end of an attempt and what becomes of its run, in one record: no crash can come between.
 */
struct record_attempt_ended {
    uint32_t run, attempt;
    int64_t held_ns;         /* of each slot */
    int64_t settled_micros;  /* of the attempt: final */
    int64_t returned_micros; /* of its last reservation */
    uint64_t step, tokens;
    enum run_state state; /* of the run, from now on */
    enum reason reason;
    int64_t until_ns; /* PARKED */
};

struct record_run_state {
    uint32_t run;
    enum run_state state;
    enum reason reason;
    int64_t until_ns; /* PARKED */
};

struct record_suspended {
    struct text cause;
    bool at_once;
};

struct record_space {
    bool low;
};

struct record_note {
    uint32_t run; /* or NO_INDEX */
    struct text text;
};

struct record_closed {
    int32_t exit_status;
};

struct record {
    enum record_kind kind;
    int64_t at_ns; /* unix time of the event that caused it; never falls from one record to the
                      next */
    union {
        struct campaign_spec campaign;
        struct run_spec run;
        struct record_epoch epoch;
        struct record_worker worker;
        struct record_worker_lost worker_lost;
        struct record_tier tier;
        struct record_tranche tranche;
        struct record_placed placed;
        struct record_lease lease;
        struct record_member_started member_started;
        struct record_window window;
        struct record_checkpoint checkpoint;
        struct record_gate gate;
        struct record_decision decision;
        struct record_incident incident;
        struct record_stopping stopping;
        struct record_member_ended member_ended;
        struct record_attempt_ended attempt_ended;
        struct record_run_state run_state;
        struct record_suspended suspended;
        struct record_space space;
        struct record_note note;
        struct record_closed closed;
    } as;
};

/* Names of the enumerations above, for people. Never NULL; static storage. */
const char *record_kind_name(enum record_kind kind);
const char *run_state_name(enum run_state state);
const char *intent_name(enum intent intent);
const char *reason_name(enum reason reason);
const char *ending_name(enum ending ending);
const char *otherwise_name(enum otherwise otherwise);

#endif
