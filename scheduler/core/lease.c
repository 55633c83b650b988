/* lease.c - heartbeats: leases are renewed, telemetry windows closed and judged. */

#include "proto/base/money.h"
#include "scheduler/core/internal.h"

static int64_t spent_before(const struct run *run, const struct attempt *attempt)
{
    return run->spent_micros - attempt->settled_micros;
}

/* Extends the lease to end_ns: settles what was used, reserves up to the new end with its
 * margin. */
static void renew(struct core *core, uint32_t run_index, int64_t end_ns,
                  const struct output *output)
{
    const struct attempt *attempt = attempt_of(core, run_index);
    int64_t used_ns = core->now_ns - attempt->placed_ns;
    int64_t whole_ns = end_ns + budget_margin_ns(core) - attempt->placed_ns;
    int64_t settled = money_cost_micros(attempt->member_count, used_ns, attempt->rate_micros);
    int64_t whole = money_cost_micros(attempt->member_count, whole_ns, attempt->rate_micros);
    struct record record = { .kind = RECORD_LEASE,
                             .as.lease = { .run = run_index,
                                           .attempt = attempt->number,
                                           .sequence = attempt->lease_sequence + 1,
                                           .settled_micros = settled,
                                           .reserved_micros = whole - settled,
                                           .lease_end_ns = end_ns } };
    core_emit(core, output, &record);
}

/* Renews when half of the lease is over and the run's released money allows a later end. When
 * it does not, and the end is near, the run has used up what was released to it. */
static void renew_if_due(struct core *core, uint32_t run_index, const struct output *output)
{
    const struct run *run = &core->runs[run_index];
    const struct attempt *attempt = attempt_of(core, run_index);
    const struct campaign_spec *spec = &core->campaign;
    int64_t left_ns = attempt->lease_end_ns - core->now_ns;
    if (attempt->intent != INTENT_NONE || left_ns > spec->lease_ns / 2) return;
    if (left_ns <= 0) return; /* its agents have stopped it by now: they will say so */
    budget_release(core, run_index, output);
    int64_t end_ns = budget_lease_end(core, run, spent_before(run, attempt), attempt->placed_ns,
                                      attempt->rate_micros, core->now_ns + spec->lease_ns);
    if (end_ns - attempt->lease_end_ns > spec->lease_ns / 8) {
        renew(core, run_index, end_ns, output);
    } else if (left_ns <= 2 * spec->heartbeat_ns) {
        struct stop_order order = { .intent = INTENT_STOP,
                                    .reason = REASON_BUDGET,
                                    .pinned_slot = NO_INDEX };
        if (budget_needs_window(core, run_index)) order.reason = REASON_WITHHELD;
        if (budget_may_grow(core, run_index)) {
            order.intent = INTENT_REQUEUE;
            order.reason = REASON_MONEY;
        }
        attempt_stop(core, run_index, &order, output);
    }
}

/* What member 0's GPU did since the window began. A slot that is sold as CPUs may see one that is not its own. */
static struct device_figures device_in_window(const struct core *core,
                                              const struct attempt *attempt,
                                              const struct telemetry *now)
{
    const struct worker *first = &core->workers[core->members[attempt->first_member].worker];
    if (first->on_cpu) return (struct device_figures){ 0 };
    return device_since(&now->device, &attempt->window_device);
}

/* now->device holds what happened in the window. */
static struct util_measure measure(const struct core *core, const struct attempt *attempt,
                                   const struct telemetry *now, int64_t length_ns)
{
    const struct worker *first = &core->workers[core->members[attempt->first_member].worker];
    struct util_facts facts = { .held_ns = length_ns,
                                .slots = attempt->member_count,
                                .steps = now->step - attempt->window_step,
                                .device = now->device,
                                .tokens = now->tokens - attempt->window_tokens,
                                .flops_per_token = now->flops_per_token,
                                .cpu_ns = -1,
                                .threads = first->threads,
                                .on_cpu = first->on_cpu };
    if (now->cpu_ns >= 0) facts.cpu_ns = max_i64(0, now->cpu_ns - attempt->window_cpu_ns);
    for (uint32_t i = 0; i < attempt->member_count; i++) {
        uint64_t peak =
            core->workers[core->members[attempt->first_member + i].worker].peak_flops;
        if (peak == 0) {
            facts.peak_flops = 0;
            break;
        }
        facts.peak_flops += peak;
    }
    return util_measure(&facts);
}

/* A gate that comes before the run's first window is over cuts it: its tranche waits for a
 * utilization, and a short run would never have one. Only the first, and only once the figures
 * reach the gate. */
static bool cut_due(const struct core *core, const struct run *run,
                    const struct attempt *attempt, const struct telemetry *now)
{
    const struct run_gate *gate = &core->run_gates[run->first_gate];
    if (core->campaign.guards[run->guard_index].floor_ppm == 0 || run->gate_count == 0)
        return false;
    if (run->guard.held_ns > 0 || !gate->reported || gate->verdict == VERDICT_NO_GO)
        return false;
    if (attempt->intent != INTENT_NONE && attempt->intent != INTENT_HOLD) return false;
    return now->step >= gate->step && now->step > attempt->window_step;
}

/* Closes the telemetry window when it is long enough, lets the guardrail judge it, and acts. */
static void close_window_if_due(struct core *core, uint32_t run_index,
                                const struct telemetry *now, const struct output *output)
{
    const struct run *run = &core->runs[run_index];
    const struct attempt *attempt = attempt_of(core, run_index);
    const struct guard_spec *guard = &core->campaign.guards[run->guard_index];
    int64_t length_ns = core->now_ns - attempt->window_start_ns;
    bool whole = length_ns >= guard->window_ns && attempt->intent == INTENT_NONE;
    if (length_ns <= 0 || (!whole && !cut_due(core, run, attempt, now))) return;
    /* Before a trainer's first report the figures are zero; what it resumed from stands. */
    struct telemetry seen = *now;
    if (seen.step < attempt->window_step) seen.step = attempt->window_step;
    if (seen.tokens < attempt->window_tokens) seen.tokens = attempt->window_tokens;
    seen.device = device_in_window(core, attempt, now);
    struct util_measure util = measure(core, attempt, &seen, length_ns);
    struct guard_outcome outcome =
        guard_judge(guard, &run->guard, whole ? util.fair_ppm : UTIL_UNKNOWN, length_ns);
    struct record record = { .kind = RECORD_WINDOW,
                             .as.window = { .run = run_index,
                                            .attempt = attempt->number,
                                            .step = seen.step,
                                            .tokens = seen.tokens,
                                            .loss_micro = now->loss_micro,
                                            .val_loss_micro = now->val_loss_micro,
                                            .length_ns = length_ns,
                                            .util_ppm = util.util_ppm,
                                            .fair_ppm = util.fair_ppm,
                                            .rung = util.rung,
                                            .flags = util.flags,
                                            .device = seen.device,
                                            .flops_per_token = now->flops_per_token,
                                            .cpu_ns = now->cpu_ns,
                                            .action = outcome.action,
                                            .rule = outcome.rule,
                                            .observed = outcome.observed,
                                            .bound = outcome.bound,
                                            .guard = outcome.state } };
    core_emit(core, output, &record);
    if (outcome.action != GUARD_ACTION_PARK && outcome.action != GUARD_ACTION_STOP) {
        budget_release(core, run_index, output);
        return;
    }
    bool park = outcome.action == GUARD_ACTION_PARK;
    struct stop_order order = { .intent = park ? INTENT_PARK : INTENT_STOP,
                                .reason = REASON_GUARD,
                                .park_until_ns = add_saturated(core->now_ns, guard->park_ns),
                                .pinned_slot = NO_INDEX };
    attempt_stop(core, run_index, &order, output);
}

static void fail_if_nonfinite(struct core *core, uint32_t run_index,
                              const struct telemetry *now, const struct output *output)
{
    if (now->loss_micro != LOSS_NONFINITE) return;
    if (attempt_of(core, run_index)->intent != INTENT_NONE) return;
    struct failure failure = { .incident = INCIDENT_NONFINITE_LOSS,
                               .member = 0,
                               .exit_code = -1,
                               .detail = TEXT("the training loss is not a finite number") };
    attempt_fail(core, run_index, &failure, output);
}

/* An agent that works for an attempt which nobody has recorded must end it. */
static void end_stranger(const struct core *core, const struct event *event,
                         const struct output *output)
{
    uint32_t worker = event->as.heartbeat.worker;
    if (worker >= core->limits.workers_max || event->as.heartbeat.attempt == 0) return;
    core_act(output, &(struct action){ .kind = ACTION_STOP,
                                       .worker = worker,
                                       .run = event->as.heartbeat.run,
                                       .attempt = event->as.heartbeat.attempt,
                                       .member = event->as.heartbeat.member,
                                       .at_once = true,
                                       .reason = REASON_LEASE });
}

void on_heartbeat(struct core *core, const struct event *event, const struct output *output)
{
    uint32_t run = event->as.heartbeat.run, member = event->as.heartbeat.member;
    uint32_t worker = event->as.heartbeat.worker;
    if (!attempt_fence(core, worker, run, event->as.heartbeat.attempt, member)) {
        end_stranger(core, event, output);
        return;
    }
    const struct attempt *attempt = attempt_of(core, run);
    if (core->members[attempt->first_member + member].state > MEMBER_RUNNING) return;
    if (member == 0) {
        fail_if_nonfinite(core, run, &event->as.heartbeat.telemetry, output);
        close_window_if_due(core, run, &event->as.heartbeat.telemetry, output);
    }
    renew_if_due(core, run, output);
    /* Told to stop, or already without a lease: no more leave to spend. */
    if (attempt->intent != INTENT_NONE || attempt->lease_end_ns <= core->now_ns) return;
    core_act(output, &(struct action){ .kind = ACTION_GRANT,
                                       .worker = worker,
                                       .run = run,
                                       .attempt = attempt->number,
                                       .sequence = attempt->lease_sequence,
                                       .lease_ns = attempt->lease_end_ns - core->now_ns,
                                       .heartbeat = event->as.heartbeat.sequence });
}
