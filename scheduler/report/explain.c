/*
 * explain.c - why a run is in its state, or what a gate decided: inputs with their units, the rule, the verdict, the
 * margin, and what comes next.
 */

#include <inttypes.h>
#include <string.h>

#include "scheduler/report/report.h"

struct explainer {
    const struct model *model;
    const struct core *core;
    FILE *to;
};

static void say(const struct explainer *ex, const char *lead, const char *text)
{
    out_item(ex->to, lead, text_of(text), REPORT_COLUMNS);
}

/* ---- gates --------------------------------------------------------------------------- */

/* The gate's rule of that kind, or NULL. */
static const struct gate_rule_spec *rule_of(const struct gate_spec *spec, enum gate_rule kind)
{
    for (uint32_t r = 0; r < spec->rule_count && r < RULES_PER_GATE_MAX; r++)
        if (spec->rules[r].rule == kind) return &spec->rules[r];
    return NULL;
}

/* A figure that a rule looked at, with its unit. */
static const char *figure(const struct explainer *ex, const struct gate_rule_spec *rule,
                          int64_t value, struct arena *arena)
{
    switch (gate_rule_unit(rule)) {
    case GATE_UNIT_SHARE: return arena_format(arena, "%s", word_percent(value).text);
    case GATE_UNIT_MONEY:
        return arena_format(arena, "%s", word_money(value, &ex->model->currency).text);
    case GATE_UNIT_TIME: return arena_format(arena, "%s ms", word_loss(value).text);
    case GATE_UNIT_Z: return arena_format(arena, "%s deviations", word_loss(value).text);
    case GATE_UNIT_LOSS: break;
    }
    return arena_format(arena, "%s nats", word_loss(value).text);
}

/* What the loss may be worse by, in words, or "". */
static const char *slack_of(const struct gate_rule_spec *rule, struct arena *arena)
{
    int64_t slack_micro = max_i64(rule->margin_micro, GATE_NOISE_SDS * rule->seed_sd_micro);
    return slack_micro > 0
               ? arena_format(arena, ", give or take %s", word_loss(slack_micro).text)
               : "";
}

static const char *rank_evidence(const struct explainer *ex,
                                 const struct model_decision *decision,
                                 const struct gate_rule_spec *rule, struct arena *arena)
{
    const char *observed = figure(ex, rule, decision->observed_micro, arena);
    if (decision->siblings == 0)
        return arena_format(arena, "held-out loss %s; no other run had reached this gate",
                            observed);
    return arena_format(
        arena,
        "held-out loss %s, rank %" PRIu32 " of %" PRIu32 "; the best one in %" PRIu32
        " go on, that is up to %s nats%s",
        observed, decision->rank, decision->siblings + 1, rule->eta,
        loss_is_number(decision->bound_micro) ? word_loss(decision->bound_micro).text : "any",
        slack_of(rule, arena));
}

/* What an unusable figure is, or NULL when there is one. */
static const char *no_evidence(const struct model_decision *decision,
                               const struct gate_rule_spec *rule)
{
    if (decision->observed_micro == LOSS_NONFINITE)
        return "the held-out loss is not a finite number";
    if (decision->observed_micro != LOSS_UNKNOWN) return NULL;
    if (gate_rule_unit(rule) == GATE_UNIT_LOSS)
        return "no held-out loss was reported, and an unknown loss is never waved through";
    if (decision->verdict == VERDICT_GO)
        return "there is no precedent to judge it by, and that is no reason to stop";
    if (decision->verdict == VERDICT_NO_GO) return "the held-out loss is not a finite number";
    return "its figure is not known, and an unknown figure is never waved through";
}

/* What a rule compared, in words. */
static const char *evidence(const struct explainer *ex, const struct model_decision *decision,
                            struct arena *arena)
{
    const struct model_run *run = &ex->model->runs[decision->run];
    const struct gate_spec *spec =
        &ex->model->campaign->gates[run->gates[decision->slot].gate_index];
    const struct gate_rule_spec *rule = rule_of(spec, decision->rule);
    const struct gate_rule_spec nothing = { .rule = decision->rule };
    if (!rule) rule = &nothing; /* a decision by a rule that its gate does not have */
    const char *missing = no_evidence(decision, rule);
    if (missing) return missing;
    const char *observed = figure(ex, rule, decision->observed_micro, arena);
    const char *bound = figure(ex, rule, decision->bound_micro, arena);
    struct word siblings = word_plural(decision->siblings, "sibling", "siblings");
    switch (decision->rule) {
    case GATE_RULE_MILESTONE:
        return arena_format(arena, "held-out loss %s, at most %s was asked for", observed,
                            bound);
    case GATE_RULE_PENSTOCK:
        if (gate_rule_unit(rule) == GATE_UNIT_LOSS)
            return rank_evidence(ex, decision, rule, arena);
        return arena_format(arena,
                            "its chance to reach %s nats is %s by what became of %s that are "
                            "over; below %s it is stopped",
                            word_loss(rule->loss_max_micro).text, observed, siblings.text,
                            bound);
    case GATE_RULE_RANK:
    case GATE_RULE_RANK_RAY:
    case GATE_RULE_RANK_SYNE_TUNE:
    case GATE_RULE_RANK_OPTUNA: return rank_evidence(ex, decision, rule, arena);
    case GATE_RULE_MEDIAN:
        return arena_format(
            arena, "best held-out loss so far %s; the median of the means of %s is %s%s",
            observed, siblings.text, bound, slack_of(rule, arena));
    case GATE_RULE_SIGNOFF:
        return arena_format(arena, "held-out loss %s; the gate asks a person in any case",
                            observed);
    case GATE_RULE_EXTRAPOLATION:
        return arena_format(
            arena,
            "by its own curve its chance to reach the target is %s; below %s it "
            "is stopped",
            observed, bound);
    case GATE_RULE_UTILIZATION:
    case GATE_RULE_GOODPUT:
        return arena_format(arena, "%s %s, at least %s was asked for",
                            gate_rule_name(decision->rule), observed, bound);
    case GATE_RULE_COST_TOKENS:
    case GATE_RULE_COST_NAT:
    case GATE_RULE_COST_INFERENCE:
    case GATE_RULE_LATENCY_P50:
    case GATE_RULE_LATENCY_P95:
        if (decision->observed_micro == LOSS_NONFINITE - 1)
            return arena_format(arena, "nothing was won for the money; at most %s is allowed",
                                bound);
        return arena_format(arena, "%s %s, at most %s is allowed",
                            gate_rule_name(decision->rule), observed, bound);
    case GATE_RULE_SPIKE:
        return arena_format(arena,
                            "the held-out loss lies %s above its earlier reports; more than %s "
                            "asks a person",
                            observed, bound);
    case GATE_RULE_COUNT: break;
    }
    unreachable("gate rule");
}

static void explain_decision(const struct explainer *ex, const struct model_decision *decision,
                             struct arena *arena)
{
    struct word at = word_utc(decision->at_ns);
    const char *reason =
        decision->reason[0] ? arena_format(arena, ": \"%s\"", decision->reason) : "";
    if (decision->by_owner) {
        say(ex, "    ",
            arena_format(arena, "%s  %s by %s after %s, %s%s", at.text,
                         verdict_name(decision->verdict),
                         decision->owner ? decision->owner : "an owner",
                         word_duration(max_i64(0, decision->at_ns - decision->asked_ns)).text,
                         decision->is_signed ? "signed" : "not signed", reason));
        return;
    }
    if (decision->subject != SUBJECT_GATE) return;
    const char *margin =
        loss_is_number(decision->margin_micro)
            ? arena_format(arena, "; margin %s", word_signed_loss(decision->margin_micro).text)
            : "";
    say(ex, "    ",
        arena_format(arena, "%s  %s by the rule \"%s\": %s%s", at.text,
                     verdict_name(decision->verdict), gate_rule_name(decision->rule),
                     evidence(ex, decision, arena), margin));
    if (decision->verdict == VERDICT_HOLD)
        say(ex, "    ",
            arena_format(arena, "%s was asked%s",
                         decision->owner ? decision->owner : "an owner", reason));
}

static const char *when_due(const struct model_gate *gate, struct arena *arena)
{
    return gate->due_step > 0
               ? arena_format(arena, "step %s", word_count(gate->due_step).text)
               : arena_format(arena, "%s tokens", word_count(gate->due_tokens).text);
}

static void explain_gate(const struct explainer *ex, const struct model_run *run, uint32_t slot,
                         struct arena *arena)
{
    const struct model_gate *gate = &run->gates[slot];
    const char *standing = !gate->reported                 ? "not reached"
                           : gate->verdict == VERDICT_NONE ? "reached, not decided"
                                                           : verdict_name(gate->verdict);
    say(ex, "  ",
        arena_format(arena, "gate %s of run %s, at %s: %s", gate->name, run->name,
                     when_due(gate, arena), standing));
    for (uint32_t i = 0; i < ex->model->decision_count; i++) {
        const struct model_decision *decision = &ex->model->decisions[i];
        if (decision->subject == SUBJECT_GATE && decision->run == run->index &&
            decision->slot == slot)
            explain_decision(ex, decision, arena);
    }
    enum tranche_wait wait = core_tranche_waits_for(ex->core, run->index);
    if (wait != TRANCHE_WAIT_NONE && slot + 1 == core_run(ex->core, run->index)->tranches)
        say(ex, "    ",
            arena_format(arena, "its tranche of %s is not released: %s",
                         word_money(gate->tranche_micros, &ex->model->currency).text,
                         tranche_wait_name(wait)));
    bool ended = run->state == RUN_STATE_FINISHED || run->state == RUN_STATE_STOPPED ||
                 run->state == RUN_STATE_FAILED;
    if (!ended && !gate->reported && gate->tranche_micros > 0)
        say(ex, "    ",
            arena_format(arena, "GO releases %s",
                         word_money(gate->tranche_micros, &ex->model->currency).text));
}

/* ---- what comes next ----------------------------------------------------------------- */

static const char *waiting_command(const struct explainer *ex, uint32_t run,
                                   struct arena *arena)
{
    for (uint32_t i = 0; i < ex->model->wait_count; i++)
        if (ex->model->waits[i].run == run)
            return arena_format(arena, "it waits for %s: %s",
                                ex->model->waits[i].owner ? ex->model->waits[i].owner
                                                          : "an owner",
                                ex->model->waits[i].command);
    return "it waits for its owner";
}

static const char *tier_command(const struct explainer *ex, struct arena *arena)
{
    for (uint32_t i = 0; i < ex->model->wait_count; i++)
        if (ex->model->waits[i].tier != NO_INDEX)
            return arena_format(arena, "its money waits for %s: %s",
                                ex->model->waits[i].owner ? ex->model->waits[i].owner
                                                          : "an owner",
                                ex->model->waits[i].command);
    return "its money waits for a tier of the budget";
}

static const char *next_of_queued(const struct explainer *ex, const struct model_run *run,
                                  struct arena *arena)
{
    switch (run->waits_for) {
    case REASON_SIGNOFF: return tier_command(ex, arena);
    case REASON_MONEY:
        return "its next tranche does not fit into the approved money; it starts when other "
               "runs "
               "return some, and ends when none can";
    case REASON_SUSPEND: return "the campaign is suspended; run the same command again";
    case REASON_SPACE: return "the ledger's disk is nearly full; make room, and it goes on";
    case REASON_NONE:
    case REASON_SUBMITTED:
    case REASON_ROOM:
    case REASON_DONE:
    case REASON_GATE:
    case REASON_OWNER:
    case REASON_GUARD:
    case REASON_BUDGET:
    case REASON_INCIDENT:
    case REASON_BACKFILL:
    case REASON_LEASE:
    case REASON_RELEASED:
    case REASON_WITHHELD:
    case REASON_COUNT: break;
    }
    uint32_t present = 0, idle = 0;
    for (uint32_t w = 1; w < core_workers_max(ex->core); w++) {
        const struct worker *worker = core_worker(ex->core, w);
        present += worker->present;
        idle += worker->present && worker->run == NO_INDEX;
    }
    const char *slots = arena_format(
        arena, "it needs %s of class %s; %" PRIu32 " of %" PRIu32 " of all classes are idle",
        word_plural(run->ranks, "slot", "slots").text, run->class_name, idle, present);
    if (ex->model->options.live == LIVE_NO)
        return "no coordinator runs; run the same command again";
    return core_unplaceable(ex->core, run->index)
               ? arena_format(arena,
                              "it cannot be placed even when all are idle: %s; start with more "
                              "workers",
                              slots)
               : arena_format(arena, "it is placed in its turn: %s", slots);
}

static const char *next_of_running(const struct explainer *ex, const struct model_run *run,
                                   struct arena *arena)
{
    int64_t remaining_ns = core_remaining_ns(ex->core, run->index);
    const char *rest = remaining_ns == TIME_NEVER
                           ? ""
                           : arena_format(arena, "; at its present rate it needs %s more",
                                          word_duration(remaining_ns).text);
    for (uint32_t slot = 0; slot < run->gate_count; slot++)
        if (run->gates[slot].verdict != VERDICT_GO)
            return arena_format(arena, "it trains up to gate %s at %s%s", run->gates[slot].name,
                                when_due(&run->gates[slot], arena), rest);
    return arena_format(arena, "it trains to its end; no gate is left%s", rest);
}

static const char *next_step(const struct explainer *ex, const struct model_run *run,
                             struct arena *arena)
{
    switch (run->state) {
    case RUN_STATE_QUEUED: return next_of_queued(ex, run, arena);
    case RUN_STATE_STARTING: return "its trainers are being started";
    case RUN_STATE_RUNNING: return next_of_running(ex, run, arena);
    case RUN_STATE_STOPPING: return "its trainers write a checkpoint and end";
    case RUN_STATE_HELD: return waiting_command(ex, run->index, arena);
    case RUN_STATE_PARKED:
        return arena_format(arena, "it is queued again at %s", word_utc(run->until_ns).text);
    case RUN_STATE_FINISHED: return "nothing: it is done";
    case RUN_STATE_STOPPED: return "nothing: it is over, its checkpoints are kept";
    case RUN_STATE_FAILED:
        return arena_format(arena, "nothing: it is over; its output is in %s/runs/%s/",
                            ex->model->options.state_folder, run->name);
    case RUN_STATE_COUNT: break;
    }
    unreachable("run state");
}

/* ---- a run --------------------------------------------------------------------------- */

static void explain_money(const struct explainer *ex, const struct model_run *run,
                          struct arena *arena)
{
    const struct currency *currency = &ex->model->currency;
    say(ex, "  ",
        arena_format(arena, "money: spent %s + reserved %s of released %s of its budget of %s",
                     word_amount(run->spent_micros, currency).text,
                     word_amount(run->reserved_micros, currency).text,
                     word_amount(run->released_micros, currency).text,
                     word_money(run->budget_micros, currency).text));
}

static void explain_attempt(const struct explainer *ex, const struct model_attempt *attempt,
                            struct arena *arena)
{
    const char *end =
        attempt->ended
            ? arena_format(arena, "held %s, %s%s%s, then %s",
                           word_duration(attempt->held_ns).text,
                           word_money(attempt->settled_micros, &ex->model->currency).text,
                           attempt->reason != REASON_NONE ? ", " : "",
                           reason_name(attempt->reason), run_state_name(attempt->next_state))
            : "goes on";
    say(ex, "  ",
        arena_format(arena, "attempt %" PRIu32 ": placed %s on %s from step %s; %s",
                     attempt->number, word_utc(attempt->placed_ns).text,
                     word_plural(attempt->member_count, "slot", "slots").text,
                     word_count(attempt->resume_step).text, end));
}

static void put_share(struct writer *writer, const char *what, int64_t ppm)
{
    if (ppm >= 0) writer_format(writer, ", %s %s", what, word_percent(ppm).text);
}

/* What the agent saw of the device, whatever the trainer said: ", tensor pipes 60.0 %, ...". */
static const char *device_words(const struct model_window *window, struct arena *arena)
{
    enum { WORDS_BYTES = 512 };
    const struct util_evidence *e = &window->evidence;
    struct writer writer = writer_of(arena_alloc(arena, WORDS_BYTES), WORDS_BYTES);
    put_share(&writer, "tensor pipes", e->tensor_ppm);
    put_share(&writer, "fp32 pipes", e->fp32_ppm);
    put_share(&writer, "any kernel", e->busy_ppm);
    if (e->power_mw >= 0)
        writer_format(&writer, ", %" PRId64 " W", div_ceil(e->power_mw, 1000));
    if (e->clock_mhz >= 0) writer_format(&writer, ", %" PRId64 " MHz", e->clock_mhz);
    put_share(&writer, "held down by a power limit", e->capped_ppm);
    put_share(&writer, "held down by heat", e->hot_ppm);
    if (window->device.xid_count > 0)
        writer_format(&writer, ", XID %" PRId64, window->device.xid);
    return writer.data;
}

static void explain_utilization(const struct explainer *ex, const struct model_run *run,
                                struct arena *arena)
{
    const struct model_window *last = NULL;
    char flags[UTIL_FLAGS_BYTES];
    for (uint32_t i = 0; i < ex->model->window_count; i++)
        if (ex->model->windows[i].run == run->index) last = &ex->model->windows[i];
    if (!last) return;
    util_flags_write(last->flags, flags);
    say(ex, "  ",
        arena_format(arena, "utilization up to %s: %s by %s%s%s", word_utc(last->at_ns).text,
                     word_percent(last->util_ppm).text, util_rung_name(last->rung),
                     flags[0] ? "; " : "", flags));
    const char *words = device_words(last, arena);
    if (words[0]) say(ex, "    ", arena_format(arena, "its GPU meanwhile: %s", words + 2));
}

static void explain_history(const struct explainer *ex, const struct model_run *run,
                            struct arena *arena)
{
    const struct model *model = ex->model;
    for (uint32_t a = 0; a < model->attempt_count; a++)
        if (model->attempts[a].run == run->index)
            explain_attempt(ex, &model->attempts[a], arena);
    for (uint32_t i = 0; i < model->incident_count; i++) {
        const struct model_incident *incident = &model->incidents[i];
        if (incident->run != run->index) continue;
        say(ex, "  ",
            arena_format(arena, "incident %s: %s (%s) in attempt %" PRIu32 ", done: %s",
                         word_utc(incident->at_ns).text, incident_name(incident->incident),
                         incident->detail, incident->attempt,
                         runbook_action_name(incident->action)));
    }
    for (uint32_t i = 0; i < model->guard_count; i++) {
        const struct model_window *window = &model->windows[model->guards[i]];
        if (window->run != run->index) continue;
        bool floor = window->rule == GUARD_RULE_FLOOR;
        say(ex, "  ",
            arena_format(arena, "guardrail %s: %s by the rule \"%s\": %s, bound %s",
                         word_utc(window->at_ns).text, guard_action_name(window->action),
                         guard_rule_name(window->rule),
                         floor ? word_percent(window->observed).text
                               : word_duration(window->observed).text,
                         floor ? word_percent(window->bound).text
                               : word_duration(window->bound).text));
    }
    for (uint32_t i = 0; i < model->decision_count; i++)
        if (model->decisions[i].subject == SUBJECT_RUN && model->decisions[i].run == run->index)
            explain_decision(ex, &model->decisions[i], arena);
}

static void explain_run(const struct explainer *ex, const struct model_run *run,
                        struct arena *arena)
{
    const char *reason = model_run_why(run);
    say(ex, "",
        arena_format(
            arena, "run %s: %s%s%s, for %s", run->name, run_state_name(run->state),
            reason[0] ? ", " : "", reason,
            word_duration(max_i64(0, ex->model->report_ns - run->state_since_ns)).text));
    say(ex, "  next: ", next_step(ex, run, arena));
    explain_money(ex, run, arena);
    for (uint32_t slot = 0; slot < run->gate_count; slot++)
        explain_gate(ex, run, slot, arena);
    explain_utilization(ex, run, arena);
    explain_history(ex, run, arena);
}

/* ---- finding ------------------------------------------------------------------------- */

static uint32_t find_slot(const struct model_run *run, struct text gate)
{
    for (uint32_t slot = 0; slot < run->gate_count; slot++)
        if (text_is(gate, run->gates[slot].name)) return slot;
    return NO_INDEX;
}

static const struct model_run *find_run(const struct model *model, struct text name)
{
    for (uint32_t r = 0; r < model->run_count; r++)
        if (text_is(name, model->runs[r].name)) return &model->runs[r];
    return NULL;
}

static enum err not_found(const struct explainer *ex, struct text what, struct error *error)
{
    char names[320];
    struct writer writer = writer_of(names, sizeof names);
    for (uint32_t r = 0; r < ex->model->run_count; r++)
        writer_format(&writer, "%s%s", r > 0 ? ", " : "", ex->model->runs[r].name);
    const struct campaign_spec *spec = ex->model->campaign;
    for (uint32_t g = 0; spec && g < spec->gate_count; g++)
        writer_format(&writer, "; gate %s", spec->gates[g].name);
    return error_set(error, ERR_NOT_FOUND,
                     "there is no run and no gate \"%.*s\"; there are %s%s",
                     (int)(what.len < 64 ? what.len : 64), what.data,
                     ex->model->run_count > 0 ? names : "no runs", writer.full ? " ..." : "");
}

enum err explain_write(const struct model *model, const struct core *core, struct text what,
                       FILE *to, struct error *error)
{
    struct explainer ex = { model, core, to };
    struct arena arena = { NULL };
    bool found = false;
    const struct model_run *run = find_run(model, what);
    if (run) {
        explain_run(&ex, run, &arena);
        found = true;
    }
    for (uint32_t r = 0; r < model->run_count && !run; r++) {
        const struct model_run *other = &model->runs[r];
        uint32_t slot = find_slot(other, what);
        struct text name = text_of(other->name);
        bool named =
            text_starts(what, name) && what.len > name.len && what.data[name.len] == '/';
        if (named)
            slot = find_slot(
                other, (struct text){ what.data + name.len + 1, what.len - name.len - 1 });
        if (slot == NO_INDEX) continue;
        explain_gate(&ex, other, slot, &arena);
        if (named) say(&ex, "  next: ", next_step(&ex, other, &arena));
        found = true;
    }
    arena_fini(&arena);
    return found ? out_check(to, "the explanation", error) : not_found(&ex, what, error);
}
