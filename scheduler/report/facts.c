#include "scheduler/report/facts.h"

#include <string.h>

/* ---- values -------------------------------------------------------------------------- */

static struct value number(int64_t value)
{
    return (struct value){ .number = value };
}

static struct value truth(bool value)
{
    return (struct value){ .number = value };
}

static struct value count_of(uint64_t value)
{
    return (struct value){ .count = value };
}

static struct value string(const char *value)
{
    return (struct value){ .text = value, .is_null = value == NULL };
}

/* Money, durations and shares: negative means unknown. */
static struct value known(int64_t value)
{
    return (struct value){ .number = value, .is_null = value < 0 };
}

static struct value moment(int64_t unix_ns)
{
    return (struct value){ .number = unix_ns, .is_null = unix_ns == 0 };
}

static struct value loss(int64_t loss_micro)
{
    return (struct value){ .number = loss_micro, .is_null = loss_micro == LOSS_UNKNOWN };
}

static struct value index_of(uint32_t index)
{
    return (struct value){ .number = index, .is_null = index == NO_INDEX };
}

static struct value run_name(const struct model *model, uint32_t run)
{
    return string(run < model->run_count ? model->runs[run].name : NULL);
}

/* Hands a row on, and checks that it has a value for every field. */
#define EMIT(sink, fields, ...)                                                                \
    emit(sink, (const struct value[]){ __VA_ARGS__ },                                          \
         sizeof((const struct value[]){ __VA_ARGS__ }) / sizeof(struct value),                 \
         ARRAY_COUNT(fields))

static bool emit(const struct facts_sink *sink, const struct value *values, size_t value_count,
                 size_t field_count)
{
    check(value_count == field_count);
    return sink->row(sink->context, values);
}

/* ---- the campaign -------------------------------------------------------------------- */

static const struct field campaign_fields[] = {
    { "name", FIELD_TEXT },
    { "currency", FIELD_TEXT },
    { "phase", FIELD_TEXT },
    { "headline", FIELD_TEXT },
    { "begun", FIELD_TIME },
    { "last_record", FIELD_TIME },
    { "reported", FIELD_TIME },
    { "since", FIELD_TIME },
    { "runs", FIELD_INT },
    { "runs_finished", FIELD_INT },
    { "runs_stopped", FIELD_INT },
    { "runs_failed", FIELD_INT },
    { "runs_open", FIELD_INT },
    { "decisions", FIELD_COUNT },
    { "incidents", FIELD_COUNT },
    { "util", FIELD_PPM },
    { "slot_present", FIELD_DURATION },
    { "slot_busy", FIELD_DURATION },
    { "slot_idle", FIELD_DURATION },
    { "queue", FIELD_DURATION },
    { "recovery_mean", FIELD_DURATION },
    { "recovery_max", FIELD_DURATION },
    { "decision_mean", FIELD_DURATION },
    { "decision_max", FIELD_DURATION },
};

static void campaign_rows(const struct model *model, const struct facts_sink *sink)
{
    const struct campaign_spec *spec = model->campaign;
    uint32_t finished = model->state_count[RUN_STATE_FINISHED];
    uint32_t stopped = model->state_count[RUN_STATE_STOPPED];
    uint32_t failed = model->state_count[RUN_STATE_FAILED];
    EMIT(sink, campaign_fields, string(spec ? spec->name : NULL),
         string(spec ? spec->currency : NULL), string(phase_name(model->phase)),
         string(model->headline), moment(model->first_ns), moment(model->last_ns),
         moment(model->report_ns), moment(model->options.since_ns), number(model->run_count),
         number(finished), number(stopped), number(failed),
         number((int64_t)model->run_count - finished - stopped - failed),
         count_of(model->decisions_total), count_of(model->incidents_total),
         known(model->util_ppm), number(model->slot_present_ns), number(model->slot_busy_ns),
         number(model->slot_idle_ns), number(model->queue_ns), known(model->recovery_mean_ns),
         known(model->recovery_max_ns), known(model->decision_mean_ns),
         known(model->decision_max_ns));
}

static const struct field money_fields[] = {
    { "budget", FIELD_MONEY },   { "approved", FIELD_MONEY }, { "released", FIELD_MONEY },
    { "reserved", FIELD_MONEY }, { "spent", FIELD_MONEY },    { "unspent", FIELD_MONEY },
    { "finished", FIELD_MONEY }, { "stopped", FIELD_MONEY },  { "failed", FIELD_MONEY },
    { "open", FIELD_MONEY },     { "lost", FIELD_MONEY },     { "period", FIELD_MONEY },
    { "tokens", FIELD_COUNT },   { "mtok", FIELD_MONEY },
};

static void money_rows(const struct model *model, const struct facts_sink *sink)
{
    const struct model_money *m = &model->money;
    EMIT(sink, money_fields, number(m->budget_micros), number(m->approved_micros),
         number(m->released_micros), number(m->reserved_micros), number(m->spent_micros),
         number(m->unspent_micros), number(m->finished_micros), number(m->stopped_micros),
         number(m->failed_micros), number(m->open_micros), number(m->lost_micros),
         number(m->period_micros), count_of(m->tokens), known(m->mtok_micros));
}

static const struct field head_fields[] = {
    { "records", FIELD_COUNT }, { "seq", FIELD_COUNT }, { "epoch", FIELD_COUNT },
    { "sha256", FIELD_TEXT },   { "bytes", FIELD_INT }, { "torn_bytes", FIELD_INT },
};

static void head_rows(const struct model *model, const struct facts_sink *sink)
{
    char hex[2 * SHA256_BYTES + 1];
    sha256_hex(&model->source.head, hex);
    EMIT(sink, head_fields, count_of(model->record_count), count_of(model->source.head_seq),
         count_of(model->epoch), string(hex), number(model->source.ledger_bytes),
         number(model->source.torn_bytes));
}

/* ---- runs ---------------------------------------------------------------------------- */

static const struct field run_fields[] = {
    { "run", FIELD_TEXT },
    { "tenant", FIELD_TEXT },
    { "owner", FIELD_TEXT },
    { "class", FIELD_TEXT },
    { "ranks", FIELD_INT },
    { "state", FIELD_TEXT },
    { "reason", FIELD_TEXT },
    { "submitted", FIELD_TIME },
    { "started", FIELD_TIME },
    { "state_since", FIELD_TIME },
    { "parked_until", FIELD_TIME },
    { "attempts", FIELD_INT },
    { "incidents", FIELD_INT },
    { "steps_planned", FIELD_COUNT },
    { "step", FIELD_COUNT },
    { "tokens", FIELD_COUNT },
    { "loss", FIELD_LOSS },
    { "val_loss", FIELD_LOSS },
    { "val_best", FIELD_LOSS },
    { "budget", FIELD_MONEY },
    { "released", FIELD_MONEY },
    { "reserved", FIELD_MONEY },
    { "spent", FIELD_MONEY },
    { "mtok", FIELD_MONEY },
    { "lost", FIELD_MONEY },
    { "slots_held", FIELD_DURATION },
    { "queue", FIELD_DURATION },
    { "owner_wait", FIELD_DURATION },
    { "parked", FIELD_DURATION },
    { "util", FIELD_PPM },
    { "util_by", FIELD_TEXT },
    { "windows", FIELD_INT },
    { "windows_unknown", FIELD_INT },
    { "gates", FIELD_INT },
    { "gates_passed", FIELD_INT },
};

static int64_t gates_passed(const struct model_run *run)
{
    int64_t passed = 0;
    for (uint32_t slot = 0; slot < run->gate_count; slot++)
        passed += run->gates[slot].verdict == VERDICT_GO;
    return passed;
}

static void run_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t r = 0; r < model->run_count; r++) {
        const struct model_run *run = &model->runs[r];
        bool on = EMIT(
            sink, run_fields, string(run->name), string(run->tenant), string(run->owner),
            string(run->class_name), number(run->ranks), string(run_state_name(run->state)),
            string(model_run_why(run)), moment(run->submitted_ns), moment(run->first_start_ns),
            moment(run->state_since_ns), moment(run->until_ns), number(run->attempts),
            number(run->incidents), count_of(run->steps_planned), count_of(run->step),
            count_of(run->tokens), loss(run->loss_micro), loss(run->val_loss_micro),
            loss(run->val_best_micro), number(run->budget_micros), number(run->released_micros),
            number(run->reserved_micros), number(run->spent_micros), known(run->mtok_micros),
            number(run->lost_micros), number(run->slot_ns), number(run->queue_ns),
            number(run->owner_ns), number(run->parked_ns), known(run->util_ppm),
            string(util_rung_name(run->rung)), number(run->windows),
            number(run->windows_unknown), number(run->gate_count), number(gates_passed(run)));
        if (!on) return;
    }
}

static const struct field gate_fields[] = {
    { "run", FIELD_TEXT },         { "gate", FIELD_TEXT },    { "due_step", FIELD_COUNT },
    { "due_tokens", FIELD_COUNT }, { "reached", FIELD_TIME }, { "step", FIELD_COUNT },
    { "tokens", FIELD_COUNT },     { "loss", FIELD_LOSS },    { "verdict", FIELD_TEXT },
    { "tranche", FIELD_MONEY },
};

static void gate_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t r = 0; r < model->run_count; r++)
        for (uint32_t slot = 0; slot < model->runs[r].gate_count; slot++) {
            const struct model_gate *gate = &model->runs[r].gates[slot];
            bool on =
                EMIT(sink, gate_fields, string(model->runs[r].name), string(gate->name),
                     count_of(gate->due_step), count_of(gate->due_tokens), moment(gate->at_ns),
                     count_of(gate->step), count_of(gate->tokens), loss(gate->loss_micro),
                     string(verdict_name(gate->verdict)), number(gate->tranche_micros));
            if (!on) return;
        }
}

static const struct field attempt_fields[] = {
    { "run", FIELD_TEXT },        { "attempt", FIELD_INT },
    { "members", FIELD_INT },     { "worker_first", FIELD_INT },
    { "placed", FIELD_TIME },     { "running", FIELD_TIME },
    { "stopping", FIELD_TIME },   { "ended", FIELD_TIME },
    { "held", FIELD_DURATION },   { "rate", FIELD_MONEY },
    { "settled", FIELD_MONEY },   { "returned", FIELD_MONEY },
    { "lost", FIELD_MONEY },      { "resume_step", FIELD_COUNT },
    { "step", FIELD_COUNT },      { "intent", FIELD_TEXT },
    { "reason", FIELD_TEXT },     { "then", FIELD_TEXT },
    { "backfilled", FIELD_BOOL }, { "charged_members", FIELD_INT },
};

static void attempt_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t a = 0; a < model->attempt_count; a++) {
        const struct model_attempt *attempt = &model->attempts[a];
        bool on = EMIT(
            sink, attempt_fields, run_name(model, attempt->run), number(attempt->number),
            number(attempt->member_count), number(attempt->workers[0]),
            moment(attempt->placed_ns), moment(attempt->running_ns),
            moment(attempt->stopping_ns), moment(attempt->ended_ns), number(attempt->held_ns),
            number(attempt->rate_micros), number(attempt->settled_micros),
            number(attempt->returned_micros), number(attempt->lost_micros),
            count_of(attempt->resume_step), count_of(attempt->step),
            string(intent_name(attempt->intent)), string(reason_name(attempt->reason)),
            string(attempt->ended ? run_state_name(attempt->next_state) : NULL),
            truth(attempt->backfilled), number(attempt->charged_members));
        if (!on) return;
    }
}

/* ---- decisions, incidents, guardrails ------------------------------------------------ */

static const struct field decision_fields[] = {
    { "at", FIELD_TIME },           { "asked", FIELD_TIME },
    { "took", FIELD_DURATION },     { "subject", FIELD_TEXT },
    { "run", FIELD_TEXT },          { "gate", FIELD_TEXT },
    { "tier", FIELD_INT },          { "step", FIELD_COUNT },
    { "verdict", FIELD_TEXT },      { "rule", FIELD_TEXT },
    { "observed", FIELD_LOSS },     { "bound", FIELD_LOSS },
    { "margin", FIELD_LOSS },       { "rank", FIELD_INT },
    { "siblings", FIELD_INT },      { "by_owner", FIELD_BOOL },
    { "owner", FIELD_TEXT },        { "role", FIELD_TEXT },
    { "signed", FIELD_BOOL },       { "answered", FIELD_TIME },
    { "reason", FIELD_TEXT },       { "approves_from", FIELD_MONEY },
    { "approves_to", FIELD_MONEY },
};

static void decision_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t i = 0; i < model->decision_count; i++) {
        const struct model_decision *d = &model->decisions[i];
        bool tier = d->subject == SUBJECT_TIER;
        int64_t answered =
            d->answer < model->decision_count ? model->decisions[d->answer].at_ns : 0;
        bool asks_money = tier && loss_is_number(d->observed_micro);
        bool on = EMIT(
            sink, decision_fields, moment(d->at_ns), moment(d->asked_ns),
            number(max_i64(0, d->at_ns - d->asked_ns)), string(subject_name(d->subject)),
            run_name(model, d->run), string(d->gate),
            tier ? number((int64_t)d->tier + 1) : index_of(NO_INDEX), count_of(d->step),
            string(verdict_name(d->verdict)), string(tier ? NULL : gate_rule_name(d->rule)),
            loss(tier ? LOSS_UNKNOWN : d->observed_micro),
            loss(tier ? LOSS_UNKNOWN : d->bound_micro), loss(d->margin_micro), number(d->rank),
            number(d->siblings), truth(d->by_owner), string(d->owner), string(d->role),
            truth(d->is_signed), moment(answered), string(d->reason),
            known(asks_money ? d->observed_micro : -1),
            known(asks_money ? d->bound_micro : -1));
        if (!on) return;
    }
}

static const struct field incident_fields[] = {
    { "at", FIELD_TIME },       { "run", FIELD_TEXT },         { "attempt", FIELD_INT },
    { "member", FIELD_INT },    { "incident", FIELD_TEXT },    { "class", FIELD_TEXT },
    { "exit_code", FIELD_INT }, { "signal", FIELD_INT },       { "action", FIELD_TEXT },
    { "recovery", FIELD_TEXT }, { "closed", FIELD_TIME },      { "took", FIELD_DURATION },
    { "detail", FIELD_TEXT },   { "stderr_tail", FIELD_TEXT }, { "ras", FIELD_TEXT },
};

static void incident_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t i = 0; i < model->incident_count; i++) {
        const struct model_incident *n = &model->incidents[i];
        bool on =
            EMIT(sink, incident_fields, moment(n->at_ns), run_name(model, n->run),
                 number(n->attempt), index_of(n->member), string(incident_name(n->incident)),
                 string(retry_class_name(incident_retry_class(n->incident))),
                 known(n->exit_code), number(n->signal), string(runbook_action_name(n->action)),
                 string(recovery_name(n->recovery)), moment(n->closed_ns),
                 known(n->closed_ns ? n->closed_ns - n->at_ns : -1), string(n->detail),
                 string(n->stderr_tail), string(n->ras));
        if (!on) return;
    }
}

static const struct field guard_fields[] = {
    { "at", FIELD_TIME },
    { "run", FIELD_TEXT },
    { "attempt", FIELD_INT },
    { "action", FIELD_TEXT },
    { "rule", FIELD_TEXT },
    { "observed_util", FIELD_PPM },
    { "bound_util", FIELD_PPM },
    { "observed_idle", FIELD_DURATION },
    { "bound_idle", FIELD_DURATION },
};

static void guard_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t i = 0; i < model->guard_count; i++) {
        const struct model_window *w = &model->windows[model->guards[i]];
        bool floor = w->rule == GUARD_RULE_FLOOR;
        bool on = EMIT(sink, guard_fields, moment(w->at_ns), run_name(model, w->run),
                       number(w->attempt), string(guard_action_name(w->action)),
                       string(guard_rule_name(w->rule)), known(floor ? w->observed : -1),
                       known(floor ? w->bound : -1), known(floor ? -1 : w->observed),
                       known(floor ? -1 : w->bound));
        if (!on) return;
    }
}

static const struct field wait_fields[] = {
    { "owner", FIELD_TEXT }, { "role", FIELD_TEXT },       { "what", FIELD_TEXT },
    { "since", FIELD_TIME }, { "waited", FIELD_DURATION }, { "command", FIELD_TEXT },
};

static void wait_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t i = 0; i < model->wait_count; i++) {
        const struct model_wait *wait = &model->waits[i];
        if (!EMIT(sink, wait_fields, string(wait->owner), string(wait->role),
                  string(wait->what), moment(wait->since_ns),
                  number(max_i64(0, model->report_ns - wait->since_ns)), string(wait->command)))
            return;
    }
}

static const struct field gap_fields[] = {
    { "kind", FIELD_TEXT },
    { "run", FIELD_TEXT },
    { "text", FIELD_TEXT },
};

static void gap_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t i = 0; i < model->gap_count; i++) {
        const struct model_gap *gap = &model->gaps[i];
        if (!EMIT(sink, gap_fields, string(gap_name(gap->kind)), run_name(model, gap->run),
                  string(gap->text)))
            return;
    }
}

/* ---- slots --------------------------------------------------------------------------- */

static const struct field worker_fields[] = {
    { "worker", FIELD_INT },
    { "host", FIELD_TEXT },
    { "slot", FIELD_INT },
    { "class", FIELD_TEXT },
    { "device", FIELD_TEXT },
    { "backend", FIELD_TEXT },
    { "backend_reason", FIELD_TEXT },
    { "threads", FIELD_INT },
    { "peak_flops", FIELD_COUNT },
    { "peak_source", FIELD_TEXT },
    { "on_cpu", FIELD_BOOL },
    { "pci_bus_id", FIELD_TEXT },
    { "memory_bytes", FIELD_COUNT },
    { "present", FIELD_BOOL },
    { "lives", FIELD_INT },
    { "attempts", FIELD_INT },
    { "present_for", FIELD_DURATION },
    { "busy", FIELD_DURATION },
    { "idle", FIELD_DURATION },
    { "occupancy", FIELD_PPM },
};

static void worker_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t i = 0; i < model->worker_count; i++) {
        const struct model_worker *w = &model->workers[i];
        bool on = EMIT(sink, worker_fields, number(w->rank), string(w->host), number(w->slot),
                       string(w->class_name), string(w->device), string(w->backend),
                       string(w->backend_reason), number(w->threads), count_of(w->peak_flops),
                       string(w->peak_source), truth(w->on_cpu), string(w->pci_bus_id),
                       count_of(w->memory_bytes), truth(w->present), number(w->lives),
                       number(w->attempts), number(w->present_ns), number(w->busy_ns),
                       number(w->idle_ns), known(w->occupancy_ppm));
        if (!on) return;
    }
}

static const struct field hold_fields[] = {
    { "worker", FIELD_INT }, { "run", FIELD_TEXT },      { "attempt", FIELD_INT },
    { "from", FIELD_TIME },  { "stopping", FIELD_TIME }, { "to", FIELD_TIME },
    { "open", FIELD_BOOL },
};

static void hold_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t i = 0; i < model->hold_count; i++) {
        const struct model_span *span = &model->holds[i];
        const struct model_attempt *attempt = &model->attempts[span->attempt];
        if (!EMIT(sink, hold_fields, number(span->worker), run_name(model, attempt->run),
                  number(attempt->number), moment(span->from_ns), moment(span->stopping_ns),
                  moment(span->to_ns), truth(span->open)))
            return;
    }
}

/* ---- over time ----------------------------------------------------------------------- */

static const struct field spend_fields[] = {
    { "at", FIELD_TIME },        { "approved", FIELD_MONEY }, { "released", FIELD_MONEY },
    { "reserved", FIELD_MONEY }, { "spent", FIELD_MONEY },
};

static void spend_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t i = 0; i < model->spend_count; i++) {
        const struct spend_point *p = &model->spend[i];
        if (!EMIT(sink, spend_fields, moment(p->at_ns), number(p->approved_micros),
                  number(p->released_micros), number(p->reserved_micros),
                  number(p->spent_micros)))
            return;
    }
}

static const struct field curve_fields[] = {
    { "run", FIELD_TEXT },     { "at", FIELD_TIME },   { "step", FIELD_COUNT },
    { "tokens", FIELD_COUNT }, { "loss", FIELD_LOSS }, { "val_loss", FIELD_LOSS },
};

static void curve_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t r = 0; r < model->run_count; r++)
        for (uint32_t i = 0; i < model->runs[r].point_count; i++) {
            const struct curve_point *p = &model->runs[r].points[i];
            if (!EMIT(sink, curve_fields, string(model->runs[r].name), moment(p->at_ns),
                      count_of(p->step), count_of(p->tokens), loss(p->loss_micro),
                      loss(p->val_loss_micro)))
                return;
        }
}

static const struct field window_fields[] = {
    { "run", FIELD_TEXT },
    { "attempt", FIELD_INT },
    { "at", FIELD_TIME },
    { "length", FIELD_DURATION },
    { "step", FIELD_COUNT },
    { "tokens", FIELD_COUNT },
    { "loss", FIELD_LOSS },
    { "val_loss", FIELD_LOSS },
    { "util", FIELD_PPM },
    { "util_by", FIELD_TEXT },
    { "flops_per_token", FIELD_COUNT },
    { "action", FIELD_TEXT },
    { "flags", FIELD_TEXT },
    { "tensor", FIELD_PPM },
    { "fp32", FIELD_PPM },
    { "sm", FIELD_PPM },
    { "device_busy", FIELD_PPM },
    { "power_capped", FIELD_PPM },
    { "hot", FIELD_PPM },
    { "power_mw", FIELD_INT },
    { "energy_mj", FIELD_INT },
    { "clock_mhz", FIELD_INT },
    { "clock_reasons", FIELD_INT },
    { "xids", FIELD_INT },
    { "xid", FIELD_INT },
    { "ecc_errors", FIELD_INT },
};

/* A figure of a device that nobody watched is none. */
static struct value seen(const struct model_window *window, int64_t value)
{
    return known(window->device.watched_ns > 0 ? value : -1);
}

static void window_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t i = 0; i < model->window_count; i++) {
        const struct model_window *w = &model->windows[i];
        const struct util_evidence *e = &w->evidence;
        char flags[UTIL_FLAGS_BYTES];
        util_flags_write(w->flags, flags);
        bool on = EMIT(
            sink, window_fields, run_name(model, w->run), number(w->attempt), moment(w->at_ns),
            number(w->length_ns), count_of(w->step), count_of(w->tokens), loss(w->loss_micro),
            loss(w->val_loss_micro), known(w->util_ppm), string(util_rung_name(w->rung)),
            count_of(w->flops_per_token), string(guard_action_name(w->action)), string(flags),
            known(e->tensor_ppm), known(e->fp32_ppm), known(e->sm_ppm), known(e->busy_ppm),
            known(e->capped_ppm), known(e->hot_ppm), known(e->power_mw),
            known(w->device.energy_ns > 0 ? w->device.energy_mj : -1), known(e->clock_mhz),
            known(w->device.reason_ns > 0 ? w->device.reasons : -1),
            seen(w, w->device.xid_count), known(w->device.xid_count > 0 ? w->device.xid : -1),
            seen(w, w->device.ecc_count));
        if (!on) return;
    }
}

static const struct field lease_fields[] = {
    { "run", FIELD_TEXT },       { "attempt", FIELD_INT },   { "sequence", FIELD_INT },
    { "at", FIELD_TIME },        { "settled", FIELD_MONEY }, { "reserved", FIELD_MONEY },
    { "lease_end", FIELD_TIME },
};

static void lease_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t i = 0; i < model->lease_count; i++) {
        const struct model_lease *l = &model->leases[i];
        if (!EMIT(sink, lease_fields, run_name(model, l->run), number(l->attempt),
                  number(l->sequence), moment(l->at_ns), number(l->settled_micros),
                  number(l->reserved_micros), moment(l->lease_end_ns)))
            return;
    }
}

static const struct field life_fields[] = {
    { "epoch", FIELD_COUNT },  { "from", FIELD_TIME },   { "to", FIELD_TIME },
    { "host", FIELD_TEXT },    { "pid", FIELD_INT },     { "workers", FIELD_INT },
    { "version", FIELD_TEXT }, { "closed", FIELD_BOOL }, { "exit_status", FIELD_INT },
};

static void life_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t i = 0; i < model->life_count; i++) {
        const struct model_life *life = &model->lives[i];
        if (!EMIT(sink, life_fields, count_of(life->epoch), moment(life->from_ns),
                  moment(life->to_ns), string(life->host), number(life->pid),
                  number(life->workers), string(life->version), truth(life->closed),
                  known(life->closed ? life->exit_status : -1)))
            return;
    }
}

static const struct field note_fields[] = {
    { "at", FIELD_TIME },
    { "run", FIELD_TEXT },
    { "text", FIELD_TEXT },
};

static void note_rows(const struct model *model, const struct facts_sink *sink)
{
    for (uint32_t i = 0; i < model->note_count; i++) {
        const struct model_note *note = &model->notes[i];
        if (!EMIT(sink, note_fields, moment(note->at_ns), run_name(model, note->run),
                  string(note->text)))
            return;
    }
}

/* ---- all ----------------------------------------------------------------------------- */

#define TABLE(name, prefix, report, single)                                                    \
    {                                                                                          \
        name, prefix##_fields, ARRAY_COUNT(prefix##_fields), prefix##_rows, report, single     \
    }

const struct facts_table facts_tables[] = {
    TABLE("campaign", campaign, true, true),   TABLE("money", money, true, true),
    TABLE("head", head, true, true),           TABLE("waits", wait, true, false),
    TABLE("decisions", decision, true, false), TABLE("runs", run, true, false),
    TABLE("gates", gate, true, false),         TABLE("attempts", attempt, true, false),
    TABLE("incidents", incident, true, false), TABLE("guardrails", guard, true, false),
    TABLE("workers", worker, true, false),     TABLE("holds", hold, true, false),
    TABLE("spend", spend, true, false),        TABLE("curves", curve, true, false),
    TABLE("lives", life, true, false),         TABLE("notes", note, true, false),
    TABLE("gaps", gap, true, false),           TABLE("windows", window, false, false),
    TABLE("leases", lease, false, false),
};

const uint32_t facts_table_count = ARRAY_COUNT(facts_tables);

const struct facts_table *facts_find(struct text name)
{
    for (uint32_t t = 0; t < facts_table_count; t++)
        if (text_is(name, facts_tables[t].name)) return &facts_tables[t];
    return NULL;
}

const char *field_suffix(enum field_kind kind)
{
    switch (kind) {
    case FIELD_MONEY: return "_micros";
    case FIELD_TIME:
    case FIELD_DURATION: return "_ns";
    case FIELD_LOSS: return "_micro";
    case FIELD_PPM: return "_ppm";
    case FIELD_INT:
    case FIELD_COUNT:
    case FIELD_TEXT:
    case FIELD_BOOL: break;
    }
    return "";
}
