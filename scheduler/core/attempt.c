/* attempt.c - the members of an attempt: start, stop, failure, end, settlement. */

#include "scheduler/core/internal.h"

#include "proto/base/money.h"

struct attempt *attempt_of(struct core *core, uint32_t run)
{
    uint32_t slot = core->runs[run].attempt_slot;
    return slot == NO_INDEX ? NULL : &core->attempts[slot];
}

bool attempt_fence(const struct core *core, uint32_t worker, uint32_t run, uint32_t number,
                   uint32_t member)
{
    if (run >= core->run_count || core->runs[run].attempt_slot == NO_INDEX) return false;
    const struct attempt *attempt = &core->attempts[core->runs[run].attempt_slot];
    if (attempt->number != number || member >= attempt->member_count) return false;
    return !attempt->orphaned && core->members[attempt->first_member + member].worker == worker;
}

/* ---- stopping ------------------------------------------------------------------------ */

void attempt_tell(const struct core *core, const struct attempt *attempt, bool at_once,
                  const struct output *output)
{
    for (uint32_t i = 0; i < attempt->member_count; i++) {
        const struct member *member = &core->members[attempt->first_member + i];
        if (member->state == MEMBER_ENDED || member->state == MEMBER_LOST) continue;
        core_act(output, &(struct action){ .kind = ACTION_STOP,
                                           .worker = member->worker,
                                           .run = attempt->run,
                                           .attempt = attempt->number,
                                           .member = i,
                                           .at_once = at_once,
                                           .reason = attempt->reason });
    }
}

void attempt_stop(struct core *core, uint32_t run_index, const struct stop_order *order,
                  const struct output *output)
{
    struct attempt *attempt = attempt_of(core, run_index);
    check(attempt != NULL);
    struct record record = { .kind = RECORD_STOPPING,
                             .as.stopping = { .run = run_index,
                                              .attempt = attempt->number,
                                              .intent = order->intent,
                                              .reason = order->reason,
                                              .park_until_ns = order->park_until_ns } };
    if (order->pinned_slot != NO_INDEX) {
        const struct run_gate *gate =
            &run_gates_of(core, &core->runs[run_index])[order->pinned_slot];
        record.as.stopping.pinned = gate->checkpoint[0] != '\0';
        record.as.stopping.resume_step = gate->step;
        record.as.stopping.resume_tokens = gate->tokens;
        record.as.stopping.resume_path = text_of(gate->checkpoint);
    }
    core_emit(core, output, &record);
    attempt_tell(core, attempt, false, output);
}

/* How long to wait before restart number `n` (from 1): doubled each time, up to a limit. */
static int64_t backoff_ns(const struct core *core, uint32_t n)
{
    int64_t wait_ns = core->campaign.backoff_ns;
    for (; n > 1 && wait_ns < core->campaign.backoff_max_ns; n--)
        wait_ns *= 2;
    return min_i64(wait_ns, core->campaign.backoff_max_ns);
}

static struct stop_order order_of(const struct core *core, const struct run *run,
                                  enum incident incident, enum runbook_action action)
{
    struct stop_order order = { .intent = INTENT_FAIL,
                                .reason = REASON_INCIDENT,
                                .pinned_slot = NO_INDEX };
    enum retry_class class = incident_retry_class(incident);
    int64_t wait_ns = class == RETRY_PREEMPTED ? 0 : backoff_ns(core, run->retries[class]);
    switch (action) {
    case RUNBOOK_RESTART:
        order.intent = wait_ns > 0 ? INTENT_PARK : INTENT_REQUEUE;
        order.park_until_ns = add_saturated(core->now_ns, wait_ns);
        break;
    case RUNBOOK_PARK:
        order.intent = INTENT_PARK;
        order.park_until_ns =
            add_saturated(core->now_ns, core->campaign.guards[run->guard_index].park_ns);
        break;
    case RUNBOOK_HOLD: order.intent = INTENT_HOLD; break;
    case RUNBOOK_NONE:
    case RUNBOOK_STOP:
    case RUNBOOK_ACTION_COUNT: break;
    }
    return order;
}

void attempt_fail(struct core *core, uint32_t run_index, const struct failure *failure,
                  const struct output *output)
{
    struct run *run = &core->runs[run_index];
    struct runbook_facts facts = {
        .incident = failure->incident,
        .exit_code = failure->exit_code,
        .stderr_tail = failure->stderr_tail,
        .builtin = run->builtin,
        .used = (const uint16_t(*)[RUNBOOK_STEPS_MAX])run->runbook_used
    };
    struct runbook_choice choice =
        runbook_choose(core->campaign.runbook, core->campaign.runbook_count, &facts);
    bool matched = choice.row < core->campaign.runbook_count;
    /* Being preempted is nobody's failure: without a row for it the run simply goes on later.
     */
    if (!matched && incident_retry_class(failure->incident) == RETRY_PREEMPTED)
        choice.action = RUNBOOK_RESTART;
    struct record record = { .kind = RECORD_INCIDENT,
                             .as.incident = { .run = run_index,
                                              .attempt = run->attempts,
                                              .member = failure->member,
                                              .incident = failure->incident,
                                              .exit_code = failure->exit_code,
                                              .signal = failure->signal,
                                              .action = choice.action,
                                              .row = matched ? choice.row : NO_INDEX,
                                              .step = matched ? choice.step : 0,
                                              .detail = failure->detail,
                                              .stderr_tail = failure->stderr_tail,
                                              .ras = failure->ras } };
    core_emit(core, output, &record);
    struct stop_order order = order_of(core, run, failure->incident, choice.action);
    attempt_stop(core, run_index, &order, output);
}

/* ---- the end ------------------------------------------------------------------------- */

static bool all_ended_by_themselves(const struct core *core, const struct attempt *attempt)
{
    for (uint32_t i = 0; i < attempt->member_count; i++) {
        const struct member *member = &core->members[attempt->first_member + i];
        if (member->ending != ENDING_OWN || member->exit_code != 0) return false;
    }
    return true;
}

struct next_state {
    enum run_state state;
    enum reason reason;
    int64_t until_ns;
};

/* What becomes of a run whose attempt is over. A verdict that stands on a gate outranks every
 * intent; trainers that finished by themselves outrank intents that would only have run them
 * again. */
static struct next_state next_state_of(const struct core *core, const struct run *run,
                                       const struct attempt *attempt)
{
    if (run_has_verdict(core, run, VERDICT_NO_GO)) {
        bool by_owner = attempt->reason == REASON_OWNER;
        return (struct next_state){ RUN_STATE_STOPPED, by_owner ? REASON_OWNER : REASON_GATE,
                                    0 };
    }
    if (run_has_verdict(core, run, VERDICT_HOLD))
        return (struct next_state){ RUN_STATE_HELD, REASON_SIGNOFF, 0 };
    if (attempt->intent == INTENT_NONE) {
        check(all_ended_by_themselves(core, attempt));
        check(run_next_gate(core, run) == run->gate_count);
        return (struct next_state){ RUN_STATE_FINISHED, REASON_DONE, 0 };
    }
    /* A trainer that a signal from outside has ended looks the same as one that is done: only its
     * steps can tell. */
    bool finished = all_ended_by_themselves(core, attempt) && run->steps > 0 &&
                    run->step >= run->steps && run_next_gate(core, run) == run->gate_count;
    switch (attempt->intent) {
    case INTENT_NONE: break;
    case INTENT_REQUEUE:
    case INTENT_SUSPEND:
        if (finished) return (struct next_state){ RUN_STATE_FINISHED, REASON_DONE, 0 };
        return (struct next_state){ RUN_STATE_QUEUED, attempt->reason, 0 };
    case INTENT_PARK:
        if (finished) return (struct next_state){ RUN_STATE_FINISHED, REASON_DONE, 0 };
        return (struct next_state){ RUN_STATE_PARKED, attempt->reason, attempt->park_until_ns };
    case INTENT_HOLD: return (struct next_state){ RUN_STATE_HELD, attempt->reason, 0 };
    case INTENT_STOP: return (struct next_state){ RUN_STATE_STOPPED, attempt->reason, 0 };
    case INTENT_FAIL: return (struct next_state){ RUN_STATE_FAILED, attempt->reason, 0 };
    case INTENT_COUNT: break;
    }
    unreachable("intent");
}

/* All trainers ended well by themselves, and yet the run is not done. Without its steps the built-in
 * trainer was ended from outside, which is nobody's failure. Without a gate, what the run would have
 * been judged by is missing, so it has not passed. */
static void fail_if_not_done(struct core *core, uint32_t run_index, const struct output *output)
{
    const struct run *run = &core->runs[run_index];
    if (attempt_of(core, run_index)->intent != INTENT_NONE) return;
    if (run_has_verdict(core, run, VERDICT_NO_GO) || run_has_verdict(core, run, VERDICT_HOLD))
        return;
    struct failure failure = { .member = NO_INDEX };
    if (run->builtin && run->step < run->steps) {
        failure.incident = INCIDENT_LEASE_EXPIRED;
        failure.detail = TEXT("the trainer left before its last step, with status 0");
    } else if (run_next_gate(core, run) < run->gate_count) {
        failure.incident = INCIDENT_GATE_MISSED;
        failure.detail = TEXT("all trainers ended without reporting a gate");
    } else {
        return;
    }
    attempt_fail(core, run_index, &failure, output);
}

void attempt_end_if_over(struct core *core, uint32_t run_index, const struct output *output)
{
    struct attempt *attempt = attempt_of(core, run_index);
    if (!attempt || attempt->ended_count < attempt->member_count) return;
    fail_if_not_done(core, run_index, output);
    const struct run *run = &core->runs[run_index];
    int64_t horizon_ns = add_saturated(attempt->lease_end_ns, budget_margin_ns(core));
    int64_t held_ns = min_i64(attempt->last_end_ns, horizon_ns) - attempt->placed_ns;
    int64_t settled = money_cost_micros(attempt->member_count, held_ns, attempt->rate_micros);
    /* A lease may have been granted while an earlier one was about to end; what was settled
     * stays. */
    settled = max_i64(settled, attempt->settled_micros);
    struct next_state next = next_state_of(core, run, attempt);
    struct record record = { .kind = RECORD_ATTEMPT_ENDED,
                             .as.attempt_ended = { .run = run_index,
                                                   .attempt = attempt->number,
                                                   .held_ns = held_ns,
                                                   .settled_micros = settled,
                                                   .returned_micros = attempt->settled_micros +
                                                                      attempt->reserved_micros -
                                                                      settled,
                                                   .step = run->step,
                                                   .tokens = run->tokens,
                                                   .state = next.state,
                                                   .reason = next.reason,
                                                   .until_ns = next.until_ns } };
    core_emit(core, output, &record);
    if (next.state == RUN_STATE_HELD)
        core_act(output, &(struct action){ .kind = ACTION_ASK, .run = run_index });
}

/* ---- events -------------------------------------------------------------------------- */

static void take_checkpoint(struct core *core, uint32_t run_index, uint64_t step,
                            uint64_t tokens, struct text path, const struct output *output)
{
    const struct run *run = &core->runs[run_index];
    const struct attempt *attempt = attempt_of(core, run_index);
    if (path.len == 0) return;
    if (path.len >= PATH_MAX_BYTES) {
        core_note(core, output, run_index,
                  "a checkpoint was passed over: its path is too long");
        return;
    }
    if (attempt->number <= run->pinned_attempt) return;
    if (step < run->resume_step || text_is(path, run->resume_path)) return;
    struct record record = { .kind = RECORD_CHECKPOINT,
                             .as.checkpoint = { .run = run_index,
                                                .attempt = attempt->number,
                                                .step = step,
                                                .tokens = tokens,
                                                .path = path } };
    core_emit(core, output, &record);
}

void on_started(struct core *core, const struct event *event, const struct output *output)
{
    uint32_t run = event->as.started.run, member = event->as.started.member;
    if (!attempt_fence(core, event->as.started.worker, run, event->as.started.attempt, member))
        return;
    const struct attempt *attempt = attempt_of(core, run);
    if (core->members[attempt->first_member + member].state != MEMBER_LAUNCHING) return;
    struct record record = { .kind = RECORD_MEMBER_STARTED,
                             .as.member_started = { .run = run,
                                                    .attempt = attempt->number,
                                                    .member = member,
                                                    .pid = event->as.started.pid } };
    core_emit(core, output, &record);
}

void on_checkpoint(struct core *core, const struct event *event, const struct output *output)
{
    if (!attempt_fence(core, event->as.checkpoint.worker, event->as.checkpoint.run,
                       event->as.checkpoint.attempt, event->as.checkpoint.member))
        return;
    take_checkpoint(core, event->as.checkpoint.run, event->as.checkpoint.step,
                    event->as.checkpoint.tokens, event->as.checkpoint.path, output);
}

/* How a member ended, seen as an incident; INCIDENT_COUNT when it is none. */
static enum incident incident_of(const struct run *run, enum ending ending, int32_t exit_code,
                                 int32_t signal)
{
    enum { EXIT_NONFINITE = 5 }; /* the built-in trainer's; docs/formats/trainer.md */
    switch (ending) {
    case ENDING_OWN:
        if (exit_code == 0 && signal == 0) return INCIDENT_COUNT;
        if (run->builtin && exit_code == EXIT_NONFINITE) return INCIDENT_NONFINITE_LOSS;
        return INCIDENT_TRAINER_FAILED;
    case ENDING_START_TIMEOUT: return INCIDENT_START_TIMEOUT;
    case ENDING_HANG: return INCIDENT_HANG;
    case ENDING_LAUNCH_FAILED: return INCIDENT_LAUNCH_FAILED;
    case ENDING_LAUNCHER_LOST:
    case ENDING_CHARGED: return INCIDENT_LOST_WORKER;
    case ENDING_GONE: return INCIDENT_COORDINATOR_LOST;
    case ENDING_STOPPED: /* nobody here asked: the agent had no fresh lease, or was leaving */
    case ENDING_KILLED:
    case ENDING_LEASE_EXPIRED: return INCIDENT_LEASE_EXPIRED;
    case ENDING_COUNT: break;
    }
    unreachable("ending");
}

bool attempt_fail_if_member_did(struct core *core, uint32_t run_index,
                                const struct output *output)
{
    const struct attempt *attempt = attempt_of(core, run_index);
    for (uint32_t i = 0; i < attempt->member_count; i++) {
        const struct member *member = &core->members[attempt->first_member + i];
        if (member->state != MEMBER_ENDED) continue;
        enum incident incident = incident_of(&core->runs[run_index], member->ending,
                                             member->exit_code, member->signal);
        if (incident == INCIDENT_COUNT) continue;
        struct failure failure = { .incident = incident,
                                   .member = i,
                                   .exit_code = member->exit_code,
                                   .signal = member->signal,
                                   .detail =
                                       TEXT("recorded by an earlier life, not yet judged") };
        attempt_fail(core, run_index, &failure, output);
        return true;
    }
    return false;
}

struct end_report {
    uint32_t run, member;
    enum ending ending;
    int32_t exit_code, signal;
    uint64_t step, tokens;
    int64_t loss_micro;
    struct text detail, stderr_tail, ras;
    uint32_t blamed; /* whom an incident names: the member itself, or the one it waited for */
};

static void member_ended(struct core *core, const struct end_report *report,
                         const struct output *output)
{
    struct attempt *attempt = attempt_of(core, report->run);
    struct record record = { .kind = RECORD_MEMBER_ENDED,
                             .as.member_ended = { .run = report->run,
                                                  .attempt = attempt->number,
                                                  .member = report->member,
                                                  .ending = report->ending,
                                                  .exit_code = report->exit_code,
                                                  .signal = report->signal,
                                                  .step = report->step,
                                                  .tokens = report->tokens,
                                                  .loss_micro = report->loss_micro } };
    core_emit(core, output, &record);
    enum incident incident = incident_of(&core->runs[report->run], report->ending,
                                         report->exit_code, report->signal);
    if (attempt->intent == INTENT_NONE && incident != INCIDENT_COUNT) {
        struct failure failure = { .incident = incident,
                                   .member = report->blamed,
                                   .exit_code = report->exit_code,
                                   .signal = report->signal,
                                   .detail = report->detail,
                                   .stderr_tail = report->stderr_tail,
                                   .ras = report->ras };
        attempt_fail(core, report->run, &failure, output);
    }
    attempt_end_if_over(core, report->run, output);
}

void on_exited(struct core *core, const struct event *event, const struct output *output)
{
    uint32_t run = event->as.exited.run, member = event->as.exited.member;
    if (!attempt_fence(core, event->as.exited.worker, run, event->as.exited.attempt, member))
        return;
    const struct attempt *attempt = attempt_of(core, run);
    const struct member *state = &core->members[attempt->first_member + member];
    if (state->state == MEMBER_ENDED) return;
    take_checkpoint(core, run, event->as.exited.checkpoint_step,
                    event->as.exited.checkpoint_tokens, event->as.exited.checkpoint, output);
    const struct telemetry *last = &event->as.exited.telemetry;
    bool known = member == 0 && last->step > 0;
    struct end_report report = { .run = run,
                                 .member = member,
                                 .ending = event->as.exited.ending,
                                 .exit_code = event->as.exited.exit_code,
                                 .signal = event->as.exited.signal,
                                 .step = known ? last->step : core->runs[run].step,
                                 .tokens = known ? last->tokens : core->runs[run].tokens,
                                 .loss_micro =
                                     known ? last->loss_micro : core->runs[run].loss_micro,
                                 .detail = event->as.exited.detail,
                                 .stderr_tail = event->as.exited.stderr_tail,
                                 .ras = event->as.exited.ras,
                                 .blamed = member };
    bool waited = event->as.exited.ending == ENDING_HANG ||
                  event->as.exited.ending == ENDING_START_TIMEOUT;
    if (waited && event->as.exited.names_late && event->as.exited.late < attempt->member_count)
        report.blamed = event->as.exited.late;
    member_ended(core, &report, output);
}

void on_probed(struct core *core, const struct event *event, const struct output *output)
{
    uint32_t run = event->as.probed.run, member = event->as.probed.member;
    if (run >= core->run_count || !event->as.probed.gone) return;
    const struct attempt *attempt = attempt_of(core, run);
    if (!attempt || attempt->number != event->as.probed.attempt ||
        member >= attempt->member_count)
        return;
    if (core->members[attempt->first_member + member].state != MEMBER_LOST) return;
    take_checkpoint(core, run, event->as.probed.checkpoint_step,
                    event->as.probed.checkpoint_tokens, event->as.probed.checkpoint, output);
    const struct run *r = &core->runs[run];
    struct end_report report = { .run = run,
                                 .member = member,
                                 .ending = ENDING_GONE,
                                 .exit_code = -1,
                                 .step = r->step,
                                 .tokens = r->tokens,
                                 .loss_micro = r->loss_micro,
                                 .detail = TEXT("found gone by a later coordinator"),
                                 .blamed = member };
    member_ended(core, &report, output);
}
