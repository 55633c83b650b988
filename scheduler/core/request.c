/*
 * request.c - questions to owners: a gate on hold, a held run, the next tier. A question has
 * exactly one owner at any time. When the owner's time is over it goes to the delegate, once;
 * when that time is over too, or nobody is named, the campaign's default applies, as a decision
 * of its own.
 */

#include "scheduler/core/internal.h"

void request_open(struct core *core, struct request *request, uint32_t owner, uint32_t attempt)
{
    bool known = owner < core->campaign.owner_count;
    int64_t within_ns = known ? core->campaign.owners[owner].answer_within_ns : 0;
    *request = (struct request){
        .id = ++core->request_count,
        .open = true,
        .owner = owner,
        .first_owner = owner,
        .attempt = attempt,
        .asked_ns = core->now_ns,
        .since_ns = core->now_ns,
        .deadline_ns = within_ns > 0 ? add_saturated(core->now_ns, within_ns) : TIME_NEVER,
        .observed_micro = LOSS_UNKNOWN,
        .bound_micro = LOSS_UNKNOWN,
    };
}

uint32_t request_heir(const struct core *core, const struct request *request)
{
    if (!request->open || request->delegated || request->deadline_ns == TIME_NEVER)
        return NO_INDEX;
    return core->campaign.owners[request->first_owner].delegate_index;
}

int64_t request_due_ns(const struct core *core, const struct request *request)
{
    if (!request->open || request->deadline_ns == TIME_NEVER) return TIME_NEVER;
    bool decides = core->campaign.owners[request->first_owner].otherwise != OTHERWISE_WAIT;
    return decides || request_heir(core, request) != NO_INDEX ? request->deadline_ns
                                                              : TIME_NEVER;
}

/* ---- what an answer does ------------------------------------------------------------- */

/* The decision came while the attempt was still being stopped for the hold. */
static void redirect_stop(struct core *core, uint32_t run_index, enum verdict verdict,
                          uint32_t slot, const struct output *output)
{
    struct stop_order order = {
        .intent = verdict == VERDICT_GO ? INTENT_REQUEUE : INTENT_STOP,
        .reason = REASON_OWNER,
        .pinned_slot = slot,
    };
    attempt_stop(core, run_index, &order, output);
}

/* Records a verdict, or that the question goes to somebody else, and does what follows. */
static void decide(struct core *core, struct record *record, const struct output *output)
{
    enum decision_subject subject = record->as.decision.subject;
    enum verdict verdict = record->as.decision.verdict;
    uint32_t run = record->as.decision.run;
    core_emit(core, output, record);
    if (verdict == VERDICT_HOLD) {
        core_act(output, &(struct action){ .kind = ACTION_ASK, .run = run });
        return;
    }
    if (subject == SUBJECT_GATE && attempt_of(core, run) &&
        !run_state_ended(core->runs[run].state))
        redirect_stop(core, run, verdict, record->as.decision.slot, output);
    if (subject == SUBJECT_GATE && verdict == VERDICT_GO) budget_release(core, run, output);
}

/* The gate of the run that is on hold, or NO_INDEX when the run itself is. */
static uint32_t held_slot(const struct core *core, uint32_t run)
{
    const struct run *r = &core->runs[run];
    for (uint32_t slot = 0; slot < r->gate_count; slot++)
        if (core->run_gates[r->first_gate + slot].verdict == VERDICT_HOLD) return slot;
    return NO_INDEX;
}

/* ---- questions that nobody answered -------------------------------------------------- */

void request_overdue(struct core *core, uint32_t run, const struct output *output)
{
    const struct request *request = core_request(core, run);
    uint32_t heir = request_heir(core, request);
    uint32_t slot = run == NO_INDEX ? NO_INDEX : held_slot(core, run);
    bool go = core->campaign.owners[request->first_owner].otherwise == OTHERWISE_GO;
    struct record record = {
        .kind = RECORD_DECISION,
        .as.decision = { .subject = run == NO_INDEX    ? SUBJECT_TIER
                                    : slot == NO_INDEX ? SUBJECT_RUN
                                                       : SUBJECT_GATE,
                         .run = run,
                         .slot = slot,
                         .tier = run == NO_INDEX ? core->budget.tiers_open : NO_INDEX,
                         .verdict = heir != NO_INDEX ? VERDICT_HOLD
                                    : go             ? VERDICT_GO
                                                     : VERDICT_NO_GO,
                         .rule = GATE_RULE_SIGNOFF,
                         .owner = heir != NO_INDEX ? heir : request->owner,
                         .asked_ns = request->asked_ns,
                         .observed_micro = request->observed_micro,
                         .bound_micro = request->bound_micro,
                         .reason =
                             heir != NO_INDEX
                                 ? TEXT("not answered in time; the delegate is asked")
                                 : TEXT("not answered in time; the campaign's default applies"),
                         .by_default = true,
                         .request = request->id }
    };
    decide(core, &record, output);
}

/* ---- answers ------------------------------------------------------------------------- */

/* Why this sign-off is refused, or NULL. */
static const char *refusal(const struct core *core, const struct event *event)
{
    uint32_t run = event->as.decide.run, slot = event->as.decide.slot;
    const struct request *request = &core->budget.request;
    if (event->as.decide.verdict != VERDICT_GO && event->as.decide.verdict != VERDICT_NO_GO)
        return "a sign-off was refused: its verdict is neither GO nor NO-GO";
    if (event->as.decide.subject == SUBJECT_TIER) {
        const struct budget *budget = &core->budget;
        if (!budget->tier_asked || event->as.decide.tier != budget->tiers_open)
            return "a sign-off was refused: nobody asked about this tier";
    } else {
        if (run >= core->run_count) return "a sign-off was refused: no such run";
        const struct run *r = &core->runs[run];
        request = &r->request;
        if (event->as.decide.subject == SUBJECT_GATE) {
            if (slot >= r->gate_count ||
                core->run_gates[r->first_gate + slot].verdict != VERDICT_HOLD)
                return "a sign-off was refused: this gate is not on hold";
        } else if (r->state != RUN_STATE_HELD || r->reason != REASON_INCIDENT) {
            return "a sign-off was refused: this run is not held";
        }
    }
    if (!request->open) return "a sign-off was refused: its question has been answered";
    if (event->as.decide.request != 0 && event->as.decide.request != request->id)
        return "a sign-off was refused: it answers another question";
    if (request->owner >= core->campaign.owner_count) return NULL;
    if (event->as.decide.owner != request->owner)
        return "a sign-off was refused: another owner is asked";
    if (!event->as.decide.is_signed && core->campaign.owners[request->owner].key_count > 0)
        return "a sign-off was refused: this owner's answers are signed";
    return NULL;
}

void on_decide(struct core *core, const struct event *event, const struct output *output)
{
    const char *refused = refusal(core, event);
    if (refused) {
        core_note(core, output, event->as.decide.run, refused);
        return;
    }
    enum decision_subject subject = event->as.decide.subject;
    uint32_t run = subject == SUBJECT_TIER ? NO_INDEX : event->as.decide.run;
    const struct request *request = core_request(core, run);
    struct record record = {
        .kind = RECORD_DECISION,
        .as.decision = { .subject = subject,
                         .run = run,
                         .slot = subject == SUBJECT_GATE ? event->as.decide.slot : NO_INDEX,
                         .tier = subject == SUBJECT_TIER ? event->as.decide.tier : NO_INDEX,
                         .verdict = event->as.decide.verdict,
                         .rule = GATE_RULE_SIGNOFF,
                         .owner = event->as.decide.owner,
                         .asked_ns = request->asked_ns,
                         .observed_micro = LOSS_UNKNOWN,
                         .bound_micro = LOSS_UNKNOWN,
                         .reason = event->as.decide.reason,
                         .is_signed = event->as.decide.is_signed,
                         .request = request->id,
                         .signoff = event->as.decide.signoff }
    };
    decide(core, &record, output);
}
