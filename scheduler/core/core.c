/* core.c - the core's life time, one step, and when a life is over. */

#include "scheduler/core/internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- life time ----------------------------------------------------------------------- */

/* Attempts and members of earlier lives stay until they are settled, beside those of this life.
 */
enum { LIVES_IN_FLIGHT = 4 };

static void *take(size_t count, size_t bytes, bool *ok)
{
    void *memory = calloc(count > 0 ? count : 1, bytes);
    if (!memory) *ok = false;
    return memory;
}

static uint32_t power_of_two_above(uint32_t n)
{
    uint32_t power = 16;
    while (power < n)
        power *= 2;
    return power;
}

static void start_empty(struct core *core)
{
    for (uint32_t i = 0; i < core->name_slot_count; i++)
        core->name_slots[i] = NO_INDEX;
    for (uint32_t r = 0; r < core->limits.runs_max; r++) {
        core->queued_at[r] = core->due_at[r] = NO_INDEX;
        core->due_ns[r] = TIME_NEVER;
    }
    for (uint32_t a = 0; a < core->attempts_max; a++) {
        core->attempts[a].run = NO_INDEX;
        core->free_attempts[a] = core->attempts_max - 1 - a;
    }
    roster_start(core);
    for (uint32_t w = 0; w < core->limits.workers_max; w++)
        core->workers[w].run = NO_INDEX;
}

struct core *core_create(const struct core_limits *limits)
{
    struct core *core = (struct core *)calloc(1, sizeof *core);
    if (!core) return NULL;
    uint32_t runs = limits->runs_max, workers = limits->workers_max;
    check(runs < UINT32_MAX / 4);
    check(workers < UINT32_MAX / 16);
    core->limits = *limits;
    core->attempts_max = LIVES_IN_FLIGHT * workers;
    core->members_max = (2 * LIVES_IN_FLIGHT * workers / GANG_MAX + 1) * GANG_MAX;
    core->hosts_max = core->members_max + workers; /* each may name one */
    core->name_slot_count = power_of_two_above(2 * runs);
    bool ok = true;
    core->gates = (struct gate_spec *)take(limits->gates_max, sizeof *core->gates, &ok);
    core->runs = (struct run *)take(runs, sizeof *core->runs, &ok);
    core->run_gates =
        (struct run_gate *)take(limits->run_gates_max, sizeof *core->run_gates, &ok);
    core->name_slots = (uint32_t *)take(core->name_slot_count, sizeof *core->name_slots, &ok);
    core->queued = (uint32_t *)take(runs, sizeof *core->queued, &ok);
    core->queued_at = (uint32_t *)take(runs, sizeof *core->queued_at, &ok);
    core->due_heap = (uint32_t *)take(runs, sizeof *core->due_heap, &ok);
    core->due_at = (uint32_t *)take(runs, sizeof *core->due_at, &ok);
    core->due_ns = (int64_t *)take(runs, sizeof *core->due_ns, &ok);
    core->attempts = (struct attempt *)take(core->attempts_max, sizeof *core->attempts, &ok);
    core->free_attempts =
        (uint32_t *)take(core->attempts_max, sizeof *core->free_attempts, &ok);
    core->members = (struct member *)take(core->members_max, sizeof *core->members, &ok);
    core->free_sizes = (uint8_t *)take(core->members_max, sizeof *core->free_sizes, &ok);
    core->workers = (struct worker *)take(workers, sizeof *core->workers, &ok);
    core->hosts = (char(*)[NAME_MAX_BYTES])take(core->hosts_max, NAME_MAX_BYTES, &ok);
    core->scratch_runs = (uint32_t *)take(runs, sizeof *core->scratch_runs, &ok);
    core->scratch_workers = (uint32_t *)take(workers, sizeof *core->scratch_workers, &ok);
    core->scratch_devices = (uint32_t *)take(workers, sizeof *core->scratch_devices, &ok);
    core->scratch_hosts = (uint32_t *)take(core->hosts_max, sizeof *core->scratch_hosts, &ok);
    for (size_t i = 0; i < ARRAY_COUNT(core->scratch_values); i++)
        core->scratch_values[i] = (int64_t *)take((size_t)runs + 1, sizeof(int64_t), &ok);
    core->scratch_curves = (struct gate_curve *)take(runs, sizeof *core->scratch_curves, &ok);
    if (!ok) {
        core_destroy(core);
        return NULL;
    }
    start_empty(core);
    return core;
}

void core_destroy(struct core *core)
{
    if (!core) return;
    void *parts[] = { core->gates,
                      core->runs,
                      core->run_gates,
                      core->name_slots,
                      core->queued,
                      core->queued_at,
                      core->due_heap,
                      core->due_at,
                      core->due_ns,
                      core->attempts,
                      core->free_attempts,
                      core->members,
                      core->free_sizes,
                      core->workers,
                      core->hosts,
                      core->scratch_runs,
                      core->scratch_workers,
                      core->scratch_devices,
                      core->scratch_hosts,
                      core->scratch_values[0],
                      core->scratch_values[1],
                      core->scratch_values[2],
                      core->scratch_curves };
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        free(parts[i]);
    free(core);
}

/* ---- output -------------------------------------------------------------------------- */

void core_emit(struct core *core, const struct output *output, struct record *record)
{
    struct error error;
    record->at_ns = core->now_ns;
    /* The record may borrow text that applying it overwrites, so it is handed out first. */
    output->record(output->context, record);
    enum err rc = core_apply(core, record, &error);
    check(rc == ERR_OK);
}

void core_act(const struct output *output, const struct action *action)
{
    output->action(output->context, action);
}

void core_note(struct core *core, const struct output *output, uint32_t run, const char *text)
{
    struct record record = { .kind = RECORD_NOTE,
                             .as.note = { .run = run < core->run_count ? run : NO_INDEX,
                                          .text = text_of(text) } };
    core_emit(core, output, &record);
}

bool core_joining(const struct core *core)
{
    return core->workers_joined < core->workers_expected &&
           core->now_ns < core->opened_ns + CORE_JOIN_NS;
}

/* ---- events that concern everything -------------------------------------------------- */

static void on_campaign(struct core *core, const struct event *event,
                        const struct output *output)
{
    struct record record = { .kind = RECORD_CAMPAIGN, .as.campaign = *event->as.campaign };
    core_emit(core, output, &record);
}

static void on_submit(struct core *core, const struct event *event, const struct output *output)
{
    struct record record = { .kind = RECORD_RUN, .as.run = *event->as.submit };
    core_emit(core, output, &record);
}

/* A life begins: what the last one left behind is judged, stopped and, where it is over,
 * settled. */
static void on_epoch(struct core *core, const struct event *event, const struct output *output)
{
    struct record record = { .kind = RECORD_EPOCH, .as.epoch = event->as.epoch };
    core_emit(core, output, &record);
    for (uint32_t a = 0; a < core->attempts_max; a++) {
        const struct attempt *attempt = &core->attempts[a];
        if (attempt->run == NO_INDEX) continue;
        uint32_t run = attempt->run;
        verdict_pending(core, run, output);
        if (attempt->intent == INTENT_NONE && !attempt_fail_if_member_did(core, run, output) &&
            attempt->ended_count < attempt->member_count) {
            struct failure failure = { .incident = INCIDENT_COORDINATOR_LOST,
                                       .member = NO_INDEX,
                                       .exit_code = -1,
                                       .detail = TEXT("the coordinator's last life ended while "
                                                      "this attempt ran") };
            attempt_fail(core, run, &failure, output);
        }
        attempt_end_if_over(core, run, output);
    }
}

static void stop_all(struct core *core, const struct stop_order *order,
                     const struct output *output)
{
    for (uint32_t a = 0; a < core->attempts_max; a++)
        if (core->attempts[a].run != NO_INDEX && core->attempts[a].intent == INTENT_NONE)
            attempt_stop(core, core->attempts[a].run, order, output);
}

static void kill_all(const struct core *core, const struct output *output)
{
    for (uint32_t a = 0; a < core->attempts_max; a++)
        if (core->attempts[a].run != NO_INDEX)
            attempt_tell(core, &core->attempts[a], true, output);
}

static void on_suspend(struct core *core, const struct event *event,
                       const struct output *output)
{
    struct record record = { .kind = RECORD_SUSPENDED, .as.suspended = event->as.suspend };
    if (!core->suspended || event->as.suspend.at_once) core_emit(core, output, &record);
    struct stop_order order = { .intent = INTENT_SUSPEND,
                                .reason = REASON_SUSPEND,
                                .pinned_slot = NO_INDEX };
    stop_all(core, &order, output);
    if (event->as.suspend.at_once) kill_all(core, output);
}

static void on_space(struct core *core, const struct event *event, const struct output *output)
{
    if (core->space_low == event->as.space.low) return;
    struct record record = { .kind = RECORD_SPACE, .as.space = event->as.space };
    core_emit(core, output, &record);
    struct stop_order order = { .intent = INTENT_REQUEUE,
                                .reason = REASON_SPACE,
                                .pinned_slot = NO_INDEX };
    if (core->space_low) stop_all(core, &order, output);
}

/* ---- the end of a life --------------------------------------------------------------- */

/* Exit statuses of a coordinator; README.md lists all. */
enum {
    EXIT_ALL_DONE = 0,
    EXIT_RUNS_FAILED = 1,
    EXIT_CANNOT_PLACE = 2,
    EXIT_BUDGET = 3,
    EXIT_SIGNOFF = 4,
    EXIT_SUSPENDED = 75
};

static bool any_trainer_alive(const struct core *core)
{
    for (uint32_t a = 0; a < core->attempts_max; a++) {
        const struct attempt *attempt = &core->attempts[a];
        if (attempt->run == NO_INDEX) continue;
        for (uint32_t i = 0; i < attempt->member_count; i++)
            if (core->members[attempt->first_member + i].state <= MEMBER_RUNNING) return true;
    }
    return false;
}

static void close_life(struct core *core, int32_t exit_status, const struct output *output)
{
    struct record record = { .kind = RECORD_CLOSED,
                             .as.closed = { .exit_status = exit_status } };
    core_emit(core, output, &record);
    core_act(output, &(struct action){ .kind = ACTION_DONE, .exit_status = exit_status });
}

static int32_t result_of(const struct core *core)
{
    if (core->state_count[RUN_STATE_FAILED] > 0) return EXIT_RUNS_FAILED;
    for (uint32_t r = 0; r < core->run_count; r++)
        if (core->runs[r].state == RUN_STATE_STOPPED && core->runs[r].reason == REASON_BUDGET)
            return EXIT_BUDGET;
    return EXIT_ALL_DONE;
}

static void note_unplaceable(struct core *core, const struct output *output)
{
    for (uint32_t i = 0; i < core->queued_count; i++)
        if (core_unplaceable(core, core->queued[i]))
            core_note(
                core, output, core->queued[i],
                "this allocation has fewer slots of its class, or GPUs, than its gang needs");
}

/* Ends this life when nothing can happen any more without a person, or another allocation. */
static void close_if_over(struct core *core, const struct output *output)
{
    if (core->closed || core->epoch == 0) return;
    if (core->suspended) {
        if (!any_trainer_alive(core)) close_life(core, EXIT_SUSPENDED, output);
        return;
    }
    const uint32_t *count = core->state_count;
    if (count[RUN_STATE_STARTING] + count[RUN_STATE_RUNNING] + count[RUN_STATE_STOPPING] +
            count[RUN_STATE_PARKED] >
        0)
        return;
    bool asked = count[RUN_STATE_HELD] > 0 || core->budget.tier_asked;
    if (asked && core->now_ns < core->opened_ns + CORE_LISTEN_NS) return;
    if (count[RUN_STATE_QUEUED] == 0) {
        close_life(core, count[RUN_STATE_HELD] > 0 ? EXIT_SIGNOFF : result_of(core), output);
        return;
    }
    if (core->space_low || core_joining(core)) return;
    if (!asked) note_unplaceable(core, output);
    close_life(core, asked ? EXIT_SIGNOFF : EXIT_CANNOT_PLACE, output);
}

/* ---- steps --------------------------------------------------------------------------- */

static void dispatch(struct core *core, const struct event *event, const struct output *output)
{
    switch (event->kind) { /* no default: the compiler names a missing case */
    case EVENT_CAMPAIGN: on_campaign(core, event, output); return;
    case EVENT_SUBMIT: on_submit(core, event, output); return;
    case EVENT_EPOCH: on_epoch(core, event, output); return;
    case EVENT_HELLO: on_hello(core, event, output); return;
    case EVENT_WORKER_LOST: on_worker_lost(core, event, output); return;
    case EVENT_HEARTBEAT: on_heartbeat(core, event, output); return;
    case EVENT_STARTED: on_started(core, event, output); return;
    case EVENT_GATE: on_gate(core, event, output); return;
    case EVENT_CHECKPOINT: on_checkpoint(core, event, output); return;
    case EVENT_EXITED: on_exited(core, event, output); return;
    case EVENT_PROBED: on_probed(core, event, output); return;
    case EVENT_DECIDE: on_decide(core, event, output); return;
    case EVENT_SUSPEND: on_suspend(core, event, output); return;
    case EVENT_SPACE: on_space(core, event, output); return;
    case EVENT_TIMER: return; /* what is due is handled after every event */
    case EVENT_KIND_COUNT: break;
    }
    unreachable("event kind");
}

void core_step(struct core *core, const struct event *event, const struct output *output)
{
    check(event->now_ns >= core->now_ns);
    core->now_ns = event->now_ns;
    if (core->closed && event->kind != EVENT_EPOCH) return;
    dispatch(core, event, output);
    due_handle(core, output);
    schedule_pass(core, output);
    close_if_over(core, output);
}

void core_rouse(struct core *core, int64_t now_ns, const struct output *output)
{
    check(now_ns >= core->now_ns);
    core->now_ns = now_ns;
    if (core->closed) return;
    for (uint32_t w = 1; w < core->limits.workers_max; w++)
        if (core->workers[w].present) roster_probe(core, w, output);
    for (uint32_t a = 0; a < core->attempts_max; a++)
        if (core->attempts[a].run != NO_INDEX && core->attempts[a].intent != INTENT_NONE)
            attempt_tell(core, &core->attempts[a], false, output);
    for (uint32_t r = 0; r < core->run_count; r++)
        if (core->runs[r].state == RUN_STATE_HELD)
            core_act(output, &(struct action){ .kind = ACTION_ASK, .run = r });
    if (core->budget.tier_asked)
        core_act(output, &(struct action){ .kind = ACTION_ASK, .run = NO_INDEX });
}

/* ---- looking ------------------------------------------------------------------------- */

const struct campaign_spec *core_campaign(const struct core *core)
{
    return core->has_campaign ? &core->campaign : NULL;
}

const struct budget *core_budget(const struct core *core)
{
    return &core->budget;
}

uint64_t core_epoch(const struct core *core)
{
    return core->epoch;
}

int64_t core_now_ns(const struct core *core)
{
    return core->now_ns;
}

bool core_suspended(const struct core *core)
{
    return core->suspended;
}

bool core_space_low(const struct core *core)
{
    return core->space_low;
}

uint32_t core_run_count(const struct core *core)
{
    return core->run_count;
}

const struct run *core_run(const struct core *core, uint32_t run)
{
    check(run < core->run_count);
    return &core->runs[run];
}

const struct run_gate *core_run_gate(const struct core *core, uint32_t run, uint32_t slot)
{
    check(run < core->run_count);
    check(slot < core->runs[run].gate_count);
    return &core->run_gates[core->runs[run].first_gate + slot];
}

const struct request *core_request(const struct core *core, uint32_t run)
{
    return run == NO_INDEX ? &core->budget.request : &core_run(core, run)->request;
}

bool core_answered(const struct core *core, const struct sha256 *origin)
{
    for (size_t i = 0; i < ARRAY_COUNT(core->answered); i++)
        if (memcmp(&core->answered[i], origin, sizeof *origin) == 0) return true;
    return false;
}

const struct gate_spec *core_gate(const struct core *core, uint32_t gate_index)
{
    check(gate_index < core->campaign.gate_count);
    return &core->gates[gate_index];
}

uint32_t core_find_gate(const struct core *core, uint32_t run, struct text gate)
{
    const struct run *r = core_run(core, run);
    for (uint32_t slot = 0; slot < r->gate_count; slot++)
        if (text_is(gate, core->gates[core->run_gates[r->first_gate + slot].gate_index].name))
            return slot;
    return NO_INDEX;
}

const struct attempt *core_attempt(const struct core *core, uint32_t run)
{
    uint32_t slot = core_run(core, run)->attempt_slot;
    return slot == NO_INDEX ? NULL : &core->attempts[slot];
}

const struct member *core_member(const struct core *core, uint32_t member_index)
{
    check(member_index < core->members_max);
    return &core->members[member_index];
}

uint32_t core_workers_max(const struct core *core)
{
    return core->limits.workers_max;
}

const struct worker *core_worker(const struct core *core, uint32_t worker)
{
    check(worker < core->limits.workers_max);
    return &core->workers[worker];
}

const char *core_host(const struct core *core, uint32_t host)
{
    return host < core->host_count ? core->hosts[host] : "";
}

const char *core_tenant(const struct core *core, uint32_t tenant)
{
    return tenant < core->tenant_count ? core->tenants[tenant] : "";
}
