/*
 * record_json.c - a ledger record as one JSON object on one line: every field under the name it
 * has in proto/ledger.proto's terms, with units.
 */

#include "scheduler/report/json.h"

static void put_loss(struct json *json, const char *key, int64_t loss_micro)
{
    if (loss_micro == LOSS_NONFINITE)
        json_string(json, key, "not finite");
    else if (loss_micro == LOSS_UNKNOWN)
        json_null(json, key);
    else
        json_int(json, key, loss_micro);
}

static void put_index(struct json *json, const char *key, uint32_t index)
{
    if (index == NO_INDEX)
        json_null(json, key);
    else
        json_int(json, key, index);
}

static void put_run(struct json *json, const struct run_spec *run)
{
    json_string(json, "name", run->name);
    json_string(json, "tenant", run->tenant);
    json_int(json, "ranks", run->ranks);
    put_index(json, "class", run->class_index);
    json_int(json, "priority", run->priority);
    json_int(json, "budget_micros", run->budget_micros);
    json_int(json, "first_tranche_micros", run->first_tranche_micros);
    json_count(json, "steps", run->steps);
    json_int(json, "guard", run->guard_index);
    put_index(json, "owner", run->owner_index);
    json_bool(json, "builtin", run->builtin);
    json_begin(json, "gates", '[');
    for (uint32_t g = 0; g < run->gate_count; g++) {
        json_begin(json, NULL, '{');
        json_int(json, "gate", run->gates[g].gate_index);
        json_int(json, "tranche_micros", run->gates[g].tranche_micros);
        json_end(json, '}');
    }
    json_end(json, ']');
}

static void put_worker(struct json *json, const struct record_worker *worker)
{
    json_int(json, "worker", worker->worker);
    json_text(json, "host", worker->host);
    json_text(json, "boot_id", worker->boot_id);
    json_text(json, "device", worker->device);
    json_int(json, "slot", worker->slot);
    json_int(json, "class", worker->class_index);
    json_count(json, "peak_flops", worker->peak_flops);
    json_text(json, "peak_source", worker->peak_source);
    json_text(json, "backend", worker->backend);
    json_text(json, "backend_reason", worker->backend_reason);
    json_int(json, "threads", worker->threads);
    json_bool(json, "on_cpu", worker->on_cpu);
    json_text(json, "pci_bus_id", worker->pci_bus_id);
    json_count(json, "memory_bytes", worker->memory_bytes);
}

static void put_attempt(struct json *json, uint32_t run, uint32_t attempt)
{
    json_int(json, "run", run);
    json_int(json, "attempt", attempt);
}

static void put_placed(struct json *json, const struct record_placed *placed)
{
    put_attempt(json, placed->run, placed->attempt);
    json_begin(json, "workers", '[');
    for (uint32_t i = 0; i < placed->member_count; i++)
        json_int(json, NULL, placed->workers[i]);
    json_end(json, ']');
    json_int(json, "rate_micros", placed->rate_micros);
    json_int(json, "reserved_micros", placed->reserved_micros);
    json_int(json, "lease_end_ns", placed->lease_end_ns);
    json_count(json, "resume_step", placed->resume_step);
    json_bool(json, "backfilled", placed->backfilled);
}

static void put_lease(struct json *json, const struct record_lease *lease)
{
    put_attempt(json, lease->run, lease->attempt);
    json_int(json, "sequence", lease->sequence);
    json_int(json, "settled_micros", lease->settled_micros);
    json_int(json, "reserved_micros", lease->reserved_micros);
    json_int(json, "lease_end_ns", lease->lease_end_ns);
}

static void put_window(struct json *json, const struct record_window *window)
{
    char flags[UTIL_FLAGS_BYTES];
    put_attempt(json, window->run, window->attempt);
    json_count(json, "step", window->step);
    json_count(json, "tokens", window->tokens);
    put_loss(json, "loss_micro", window->loss_micro);
    put_loss(json, "val_loss_micro", window->val_loss_micro);
    json_int(json, "length_ns", window->length_ns);
    if (window->util_ppm == UTIL_UNKNOWN)
        json_null(json, "util_ppm");
    else
        json_int(json, "util_ppm", window->util_ppm);
    json_string(json, "util_by", util_rung_name(window->rung));
    json_count(json, "flops_per_token", window->flops_per_token);
    json_int(json, "cpu_ns", window->cpu_ns);
    json_string(json, "action", guard_action_name(window->action));
    json_string(json, "rule", guard_rule_name(window->rule));
    json_int(json, "observed", window->observed);
    json_int(json, "bound", window->bound);
    if (window->flags == 0 && window->device.watched_ns == 0) return;
    util_flags_write(window->flags, flags);
    json_string(json, "flags", flags);
    json_begin(json, "device", '{');
#define X(name, kind) json_int(json, #name, window->device.name);
    DEVICE_FIGURES(X)
#undef X
    json_end(json, '}');
}

static void put_gate(struct json *json, const struct record_gate *gate)
{
    put_attempt(json, gate->run, gate->attempt);
    json_int(json, "slot", gate->slot);
    json_count(json, "step", gate->step);
    json_count(json, "tokens", gate->tokens);
    put_loss(json, "loss_micro", gate->loss_micro);
    put_loss(json, "best_micro", gate->best_micro);
    put_loss(json, "mean_micro", gate->mean_micro);
    json_text(json, "checkpoint", gate->checkpoint);
}

static void put_decision(struct json *json, const struct record_decision *decision)
{
    json_string(json, "subject", subject_name(decision->subject));
    put_index(json, "run", decision->run);
    put_index(json, "slot", decision->slot);
    put_index(json, "tier", decision->tier);
    json_string(json, "verdict", verdict_name(decision->verdict));
    json_string(json, "rule", gate_rule_name(decision->rule));
    put_index(json, "owner", decision->owner);
    json_int(json, "asked_ns", decision->asked_ns);
    put_loss(json, "observed_micro", decision->observed_micro);
    put_loss(json, "bound_micro", decision->bound_micro);
    json_int(json, "rank", decision->rank);
    json_int(json, "siblings", decision->siblings);
    json_text(json, "reason", decision->reason);
    json_bool(json, "signed", decision->is_signed);
    json_count(json, "request", decision->request);
    json_bool(json, "by_default", decision->by_default);
    if (decision->signoff.statement.len == 0) return;
    json_text(json, "statement", decision->signoff.statement);
    json_text(json, "signature", decision->signoff.signature);
}

static void put_incident(struct json *json, const struct record_incident *incident)
{
    put_attempt(json, incident->run, incident->attempt);
    put_index(json, "member", incident->member);
    json_string(json, "incident", incident_name(incident->incident));
    json_int(json, "exit_code", incident->exit_code);
    json_int(json, "signal", incident->signal);
    json_string(json, "action", runbook_action_name(incident->action));
    put_index(json, "row", incident->row);
    json_int(json, "step", incident->step);
    json_text(json, "detail", incident->detail);
    json_text(json, "stderr_tail", incident->stderr_tail);
    json_text(json, "ras", incident->ras);
}

static void put_stopping(struct json *json, const struct record_stopping *stopping)
{
    put_attempt(json, stopping->run, stopping->attempt);
    json_string(json, "intent", intent_name(stopping->intent));
    json_string(json, "reason", reason_name(stopping->reason));
    json_int(json, "park_until_ns", stopping->park_until_ns);
    json_bool(json, "pinned", stopping->pinned);
    json_count(json, "resume_step", stopping->resume_step);
    json_text(json, "resume_path", stopping->resume_path);
}

static void put_member_ended(struct json *json, const struct record_member_ended *ended)
{
    put_attempt(json, ended->run, ended->attempt);
    json_int(json, "member", ended->member);
    json_string(json, "ending", ending_name(ended->ending));
    json_int(json, "exit_code", ended->exit_code);
    json_int(json, "signal", ended->signal);
    json_count(json, "step", ended->step);
    json_count(json, "tokens", ended->tokens);
    put_loss(json, "loss_micro", ended->loss_micro);
}

static void put_attempt_ended(struct json *json, const struct record_attempt_ended *ended)
{
    put_attempt(json, ended->run, ended->attempt);
    json_int(json, "held_ns", ended->held_ns);
    json_int(json, "settled_micros", ended->settled_micros);
    json_int(json, "returned_micros", ended->returned_micros);
    json_count(json, "step", ended->step);
    json_count(json, "tokens", ended->tokens);
    json_string(json, "state", run_state_name(ended->state));
    json_string(json, "reason", reason_name(ended->reason));
    json_int(json, "until_ns", ended->until_ns);
}

static void put_body(struct json *json, const struct record *record)
{
    switch (record->kind) {
    case RECORD_CAMPAIGN: /* the report's `policy` holds it in full */
        json_string(json, "name", record->as.campaign.name);
        json_string(json, "currency", record->as.campaign.currency);
        json_int(json, "budget_micros", record->as.campaign.budget_micros);
        return;
    case RECORD_RUN: put_run(json, &record->as.run); return;
    case RECORD_EPOCH:
        json_count(json, "epoch", record->as.epoch.epoch);
        json_text(json, "host", record->as.epoch.host);
        json_int(json, "pid", record->as.epoch.pid);
        json_int(json, "workers", record->as.epoch.workers);
        json_text(json, "version", record->as.epoch.version);
        return;
    case RECORD_WORKER: put_worker(json, &record->as.worker); return;
    case RECORD_WORKER_LOST:
        json_int(json, "worker", record->as.worker_lost.worker);
        json_text(json, "cause", record->as.worker_lost.cause);
        return;
    case RECORD_TIER:
        json_int(json, "tier", record->as.tier.tier);
        json_int(json, "approved_micros", record->as.tier.approved_micros);
        return;
    case RECORD_TRANCHE:
        json_int(json, "run", record->as.tranche.run);
        json_int(json, "number", record->as.tranche.number);
        json_int(json, "amount_micros", record->as.tranche.amount_micros);
        json_int(json, "released_micros", record->as.tranche.released_micros);
        if (record->as.tranche.number == 0) return;
        if (record->as.tranche.util_ppm == UTIL_UNKNOWN)
            json_null(json, "util_ppm");
        else
            json_int(json, "util_ppm", record->as.tranche.util_ppm);
        json_int(json, "floor_ppm", record->as.tranche.floor_ppm);
        json_int(json, "spent_micros", record->as.tranche.spent_micros);
        return;
    case RECORD_PLACED: put_placed(json, &record->as.placed); return;
    case RECORD_LEASE: put_lease(json, &record->as.lease); return;
    case RECORD_MEMBER_STARTED:
        put_attempt(json, record->as.member_started.run, record->as.member_started.attempt);
        json_int(json, "member", record->as.member_started.member);
        json_int(json, "pid", record->as.member_started.pid);
        return;
    case RECORD_WINDOW: put_window(json, &record->as.window); return;
    case RECORD_CHECKPOINT:
        put_attempt(json, record->as.checkpoint.run, record->as.checkpoint.attempt);
        json_count(json, "step", record->as.checkpoint.step);
        json_count(json, "tokens", record->as.checkpoint.tokens);
        json_text(json, "path", record->as.checkpoint.path);
        return;
    case RECORD_GATE: put_gate(json, &record->as.gate); return;
    case RECORD_DECISION: put_decision(json, &record->as.decision); return;
    case RECORD_INCIDENT: put_incident(json, &record->as.incident); return;
    case RECORD_STOPPING: put_stopping(json, &record->as.stopping); return;
    case RECORD_MEMBER_ENDED: put_member_ended(json, &record->as.member_ended); return;
    case RECORD_ATTEMPT_ENDED: put_attempt_ended(json, &record->as.attempt_ended); return;
    case RECORD_RUN_STATE:
        json_int(json, "run", record->as.run_state.run);
        json_string(json, "state", run_state_name(record->as.run_state.state));
        json_string(json, "reason", reason_name(record->as.run_state.reason));
        json_int(json, "until_ns", record->as.run_state.until_ns);
        return;
    case RECORD_SUSPENDED:
        json_text(json, "cause", record->as.suspended.cause);
        json_bool(json, "at_once", record->as.suspended.at_once);
        return;
    case RECORD_SPACE: json_bool(json, "low", record->as.space.low); return;
    case RECORD_NOTE:
        put_index(json, "run", record->as.note.run);
        json_text(json, "text", record->as.note.text);
        return;
    case RECORD_CLOSED: json_int(json, "exit_status", record->as.closed.exit_status); return;
    case RECORD_KIND_COUNT: break;
    }
    unreachable("record kind");
}

void json_record(struct json *json, uint64_t seq, const struct record *record)
{
    json_begin(json, NULL, '{');
    bool one_line = json->on_one_line;
    json->on_one_line = true;
    json_count(json, "seq", seq);
    json_int(json, "at_ns", record->at_ns);
    json_string(json, "at", word_rfc3339(record->at_ns).text);
    json_string(json, "kind", record_kind_name(record->kind));
    put_body(json, record);
    json_end(json, '}');
    json->on_one_line = one_line;
}
