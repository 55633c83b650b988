/*
 * internal.h - the core's state, and what its files offer each other. Only scheduler/core
 * includes it.
 *
 *   core.c     life time, one step, what is done when nothing is left to do
 *   apply.c    record -> state: the only code that changes state
 *   run.c      the run's states and the moves between them
 *   attempt.c  an attempt's members: start, stop, failures, end
 *   lease.c    heartbeats: leases and telemetry windows
 *   verdict.c  gates reached
 *   request.c  questions to owners: asked, answered, overdue
 *   budget.c   tranches, tiers, what a lease may cost
 *   schedule.c which queued run gets which workers
 *   roster.c   workers and hosts
 *   due.c      what waits for a time
 *   invariants.c  what must always hold, and the digest of the state
 */
#ifndef SCHEDULER_CORE_INTERNAL_H
#define SCHEDULER_CORE_INTERNAL_H

#include "scheduler/core/state.h"

enum { ANSWERS_KEPT = 32 };       /* more than one batch of the coordinator takes */
enum { MEMBER_BLOCK_SIZES = 11 }; /* blocks of 1 .. 1024 = GANG_MAX members */

/* A life in which everything waits for owners listens this long for their sign-offs before it
 * ends. */
#define CORE_LISTEN_NS NS_PER_S

/* Workers of a life that have not joined after this long are not waited for any more. */
#define CORE_JOIN_NS (10 * NS_PER_S)

struct core {
    struct core_limits limits;

    bool has_campaign;
    struct campaign_spec campaign; /* gates points at the array below; texts are empty */
    struct gate_spec *gates;
    struct budget budget;

    uint64_t epoch;
    uint32_t workers_expected, workers_joined; /* of this epoch */
    int64_t opened_ns;                         /* when this epoch began */
    int64_t now_ns;
    bool suspended, space_low, closed;

    struct run *runs;
    uint32_t run_count;
    uint32_t state_count[RUN_STATE_COUNT];
    struct run_gate *run_gates;
    uint32_t run_gate_count;
    uint32_t *name_slots; /* open hash of run names: run index or NO_INDEX */
    uint32_t name_slot_count;

    uint32_t *queued; /* indices of QUEUED runs, in no order */
    uint32_t queued_count;
    uint32_t *queued_at; /* run -> its place in `queued`, or NO_INDEX */

    uint32_t *due_heap; /* runs that wait for a time, earliest first; see due.c */
    uint32_t due_count;
    uint32_t *due_at; /* run -> its place in the heap, or NO_INDEX */
    int64_t *due_ns;

    struct attempt *attempts; /* pool; free when run == NO_INDEX */
    uint32_t attempts_max, attempt_count;
    uint32_t *free_attempts;
    struct member *members; /* pool of blocks of 2^k members; see roster.c */
    uint32_t members_max;
    uint8_t *free_sizes; /* of the pool: k + 1 where a free block of 2^k begins, else 0 */
    uint32_t free_blocks[MEMBER_BLOCK_SIZES]; /* first free block of each size, or NO_INDEX */

    struct worker *workers;
    char (*hosts)[NAME_MAX_BYTES];
    uint32_t host_count, hosts_max;
    char tenants[TENANTS_MAX][NAME_MAX_BYTES];
    int64_t tenant_micros[TENANTS_MAX]; /* spent and reserved */
    uint32_t tenant_count;

    uint64_t request_count;               /* questions asked so far */
    struct sha256 answered[ANSWERS_KEPT]; /* files of the last decisions, in turn */
    uint32_t answered_next;

    bool place_wanted; /* something changed that may let a queued run start; not part of the
                          state */
    uint32_t *scratch_runs;            /* runs_max */
    uint32_t *scratch_workers;         /* workers_max */
    uint32_t *scratch_devices;         /* workers_max: marks, by worker.device */
    uint32_t *scratch_hosts;           /* hosts_max */
    int64_t *scratch_values[3];        /* runs_max + 1 each */
    struct gate_curve *scratch_curves; /* runs_max */
};

/* ---- core.c -------------------------------------------------------------------------- */

/* Applies the record at the step's time, then hands it out. A record that cannot be applied is
 * a bug. */
void core_emit(struct core *core, const struct output *output, struct record *record);
void core_act(const struct output *output, const struct action *action);
void core_note(struct core *core, const struct output *output, uint32_t run, const char *text);

/* True while more workers of this life are on their way. */
bool core_joining(const struct core *core);

/* ---- run.c --------------------------------------------------------------------------- */

/* Moves that change a run's state; each leads to one state. */
#define RUN_MOVES(X)                                                                           \
    X(PLACE, STARTING)                                                                         \
    X(RUN, RUNNING)                                                                            \
    X(STOP, STOPPING)                                                                          \
    X(REQUEUE, QUEUED)                                                                         \
    X(PARK, PARKED) X(HOLD, HELD) X(FINISH, FINISHED) X(END, STOPPED) X(FAIL, FAILED)

enum run_move {
#define X(id, to) RUN_MOVE_##id,
    RUN_MOVES(X) RUN_MOVE_COUNT
#undef X
};

bool run_state_ended(enum run_state state);
bool run_state_live(enum run_state state); /* holds, or may hold, a gang */

/* The move that leads to `state`. */
enum run_move run_move_to(enum run_state state);
bool run_move_allowed(enum run_state from, enum run_move move);

/* The gate slots of a run, and the first that has no final GO; gate_count when all have. */
struct run_gate *run_gates_of(struct core *core, const struct run *run);
uint32_t run_next_gate(const struct core *core, const struct run *run);
bool run_has_verdict(const struct core *core, const struct run *run, enum verdict verdict);

/* ---- attempt.c ----------------------------------------------------------------------- */

struct attempt *attempt_of(struct core *core, uint32_t run);

/* True when (run, attempt, member) names a member of a live attempt that `worker` holds. */
bool attempt_fence(const struct core *core, uint32_t worker, uint32_t run, uint32_t attempt,
                   uint32_t member);

/* What stopping an attempt is for; pinned_slot: go back to this gate's checkpoint, or NO_INDEX.
 */
struct stop_order {
    enum intent intent;
    enum reason reason;
    int64_t park_until_ns;
    uint32_t pinned_slot;
};

/* Records STOPPING and tells every member that still runs. */
void attempt_stop(struct core *core, uint32_t run, const struct stop_order *order,
                  const struct output *output);

/* Tells every member that may still run to stop. Members of an earlier life have no agent to
 * tell. */
void attempt_tell(const struct core *core, const struct attempt *attempt, bool at_once,
                  const struct output *output);

struct failure {
    enum incident incident;
    uint32_t member; /* NO_INDEX: the gang */
    int32_t exit_code, signal;
    struct text detail, stderr_tail, ras;
};

/* Records the incident, asks the runbook, and stops the attempt accordingly. */
void attempt_fail(struct core *core, uint32_t run, const struct failure *failure,
                  const struct output *output);

/* Fails the attempt for a member whose bad end is recorded, but was not judged before the last life
 * ended. False when there is none. */
bool attempt_fail_if_member_did(struct core *core, uint32_t run, const struct output *output);

/* Settles the attempt when all of its members have ended, and moves its run on. */
void attempt_end_if_over(struct core *core, uint32_t run, const struct output *output);

void on_started(struct core *core, const struct event *event, const struct output *output);
void on_checkpoint(struct core *core, const struct event *event, const struct output *output);
void on_exited(struct core *core, const struct event *event, const struct output *output);
void on_probed(struct core *core, const struct event *event, const struct output *output);

/* ---- lease.c ------------------------------------------------------------------------- */

void on_heartbeat(struct core *core, const struct event *event, const struct output *output);

/* A loss that is a number; and one that a record may hold: beyond 10^11 nats it is not one. */
bool loss_finite(int64_t loss_micro);
bool loss_sound(int64_t loss_micro);

/* ---- verdict.c ----------------------------------------------------------------------- */

void on_gate(struct core *core, const struct event *event, const struct output *output);

/* Decides every gate of the run that was reported and has no verdict. */
void verdict_pending(struct core *core, uint32_t run, const struct output *output);

/* ---- request.c ----------------------------------------------------------------------- */

/* Opens a question, as the record that asks it says: part of applying that record. */
void request_open(struct core *core, struct request *request, uint32_t owner, uint32_t attempt);

/* Whom a question goes to when its time is over: NO_INDEX when it goes to nobody else. */
uint32_t request_heir(const struct core *core, const struct request *request);

/* When something must be done about an open question; TIME_NEVER when nothing must. */
int64_t request_due_ns(const struct core *core, const struct request *request);

/* Hands an overdue question about a run (NO_INDEX: about the tier) on, or decides it. */
void request_overdue(struct core *core, uint32_t run, const struct output *output);

void on_decide(struct core *core, const struct event *event, const struct output *output);

/* ---- budget.c ------------------------------------------------------------------------ */

/* How long after a lease's end its trainer may still run: stop grace and clock error. */
int64_t budget_margin_ns(const struct core *core);

/* The longest lease end that the run's released money pays for, if it is placed (or was placed)
 * at placed_ns and had spent `before_micros` before; at most `wish_ns`. May lie in the past. */
int64_t budget_lease_end(const struct core *core, const struct run *run, int64_t before_micros,
                         int64_t placed_ns, int64_t rate_micros, int64_t wish_ns);

/* Releases every tranche that its gates allow, nothing withholds and the campaign's approved money
 * covers; opens automatic tiers, asks the owner of the next. False when one stays closed. */
bool budget_release(struct core *core, uint32_t run, const struct output *output);

/* What withholds the tranches after the first, GO at their gates and the tier left aside. */
enum tranche_wait budget_withheld(const struct core *core, uint32_t run);

/* The utilization that such a tranche asks for: 0 without a floor, or when the last window began
 * in the run's grace. */
int32_t budget_floor_ppm(const struct core *core, const struct run *run);

/* True when a tranche is due that only another window can open. */
bool budget_needs_window(const struct core *core, uint32_t run);

/* True when more money may still come for the run: a tier to be decided, or other runs'
 * leftovers. */
bool budget_may_grow(const struct core *core, uint32_t run);

/* Does the money of this run and of the campaign hold (docs/ARCHITECTURE.md, the first invariant)? */
bool budget_holds(const struct core *core, const struct run *run);

/* ---- schedule.c ---------------------------------------------------------------------- */

/* Places what can be placed, makes lent slots come back, ends runs that no money can come for.
 */
void schedule_pass(struct core *core, const struct output *output);

/* ---- roster.c ------------------------------------------------------------------------ */

/* The whole pool of members as free blocks. */
void roster_start(struct core *core);

/* A block for `count` members, or NO_INDEX when the pool has no room; and back. */
uint32_t roster_take_members(struct core *core, uint32_t count);
void roster_return_members(struct core *core, uint32_t first, uint32_t count);
bool roster_has_members(const struct core *core, uint32_t count);

uint32_t roster_host(struct core *core,
                     struct text name); /* found or added; NO_INDEX when full */
void on_hello(struct core *core, const struct event *event, const struct output *output);
void on_worker_lost(struct core *core, const struct event *event, const struct output *output);

/* Keeps worker.device right: to be called when the worker is here, and when it is gone. */
void roster_join_device(struct core *core, uint32_t worker);
void roster_leave_device(struct core *core, uint32_t worker);

/* Asks `worker`, just joined, about every lost member that ran on its host. */
void roster_probe(const struct core *core, uint32_t worker, const struct output *output);

/* ---- due.c --------------------------------------------------------------------------- */

/* Puts the run's next deadline, as its state has it, into the heap. */
void due_update(struct core *core, uint32_t run);

/* Handles everything whose time has come. */
void due_handle(struct core *core, const struct output *output);

#endif
