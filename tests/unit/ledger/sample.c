#include "tests/unit/ledger/sample.h"

#include <stdio.h>
#include <string.h>

struct sample sample_of(uint64_t seed)
{
    struct sample sample = { .rng = rng_of(seed) };
    return sample;
}

static uint64_t below(struct sample *s, uint64_t bound)
{
    return rng_below(&s->rng, bound);
}

static bool coin(struct sample *s)
{
    return below(s, 2) == 1;
}

/* A number from low to high, one time in four an end of the range. */
static int64_t within(struct sample *s, int64_t low, int64_t high)
{
    uint64_t span = (uint64_t)high - (uint64_t)low;
    switch (below(s, 8)) {
    case 0: return low;
    case 1: return high;
    default: break;
    }
    uint64_t bits = rng_u64(&s->rng) >> below(s, 64);
    uint64_t step = span == UINT64_MAX ? bits : bits % (span + 1);
    return (int64_t)((uint64_t)low + step);
}

static uint32_t u32(struct sample *s)
{
    return (uint32_t)within(s, 0, UINT32_MAX);
}

static uint64_t u64(struct sample *s)
{
    return (uint64_t)within(s, INT64_MIN, INT64_MAX);
}

static int64_t any(struct sample *s)
{
    return within(s, INT64_MIN, INT64_MAX);
}

static int64_t amount(struct sample *s)
{
    return within(s, 0, INT64_MAX);
}

static int32_t small(struct sample *s, int32_t low, int32_t high)
{
    return (int32_t)within(s, low, high);
}

static uint32_t index_of(struct sample *s)
{
    return (uint32_t)within(s, 0, UINT32_MAX - 1);
}

/* UTF-8 of one to four bytes a character, exactly `bytes` long. */
static void fill_text(struct sample *s, char *to, size_t bytes)
{
    static const char *const letters[] = {
        "a", "Z", "0", "-", "\n", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x9A\xB0"
    };
    size_t len = 0;
    while (len < bytes) {
        const char *letter = letters[below(s, ARRAY_COUNT(letters))];
        size_t letter_bytes = strlen(letter);
        if (len + letter_bytes > bytes) continue;
        memcpy(to + len, letter, letter_bytes);
        len += letter_bytes;
    }
}

static struct text text(struct sample *s, size_t min, size_t max)
{
    char *to = s->texts[s->text_count++];
    size_t bytes = (size_t)within(s, (int64_t)min, (int64_t)max);
    fill_text(s, to, bytes);
    return (struct text){ to, bytes };
}

static struct text bytes_text(struct sample *s, size_t max)
{
    char *to = s->texts[s->text_count++];
    size_t bytes = (size_t)within(s, 0, (int64_t)max);
    for (size_t i = 0; i < bytes; i++)
        to[i] = (char)(rng_u64(&s->rng) & 0xFF);
    return (struct text){ to, bytes };
}

static void name(struct sample *s, char *to, size_t min, size_t capacity)
{
    memset(to, 0, capacity);
    fill_text(s, to, (size_t)within(s, (int64_t)min, (int64_t)capacity - 1));
}

static uint32_t choice(struct sample *s, uint32_t count)
{
    return (uint32_t)within(s, 0, (int64_t)count - 1);
}

/* ---- one function a kind ---- */

static void make_guard_spec(struct sample *s, struct guard_spec *guard)
{
    guard->window_ns = within(s, 1, INT64_MAX);
    guard->grace_ns = amount(s);
    guard->floor_ppm = small(s, 0, INT32_MAX);
    guard->clear_ppm = small(s, 0, INT32_MAX);
    guard->warn_windows = u32(s);
    guard->park_windows = u32(s);
    guard->stop_windows = u32(s);
    guard->idle_ppm = small(s, 0, INT32_MAX);
    guard->idle_start_warn_ns[0] = amount(s);
    guard->idle_start_warn_ns[1] = amount(s);
    guard->idle_start_stop_ns = amount(s);
    guard->idle_again_warn_ns = amount(s);
    guard->idle_again_stop_ns = amount(s);
    guard->park_ns = amount(s);
}

static void make_runbook_row(struct sample *s, struct runbook_row *row)
{
    row->incident = (enum incident)choice(s, INCIDENT_COUNT);
    row->exit_code = small(s, INT32_MIN, INT32_MAX);
    name(s, row->pattern, 0, sizeof(row->pattern));
    row->builtin_only = coin(s);
    row->step_count = choice(s, RUNBOOK_STEPS_MAX + 1);
    for (uint32_t i = 0; i < row->step_count; i++) {
        row->steps[i].action = (enum runbook_action)choice(s, RUNBOOK_ACTION_COUNT);
        row->steps[i].limit = choice(s, RUNBOOK_UNLIMITED + 1);
    }
}

static void make_gate_spec(struct sample *s, uint32_t owners, struct gate_spec *gate)
{
    memset(gate, 0, sizeof(*gate));
    name(s, gate->name, 1, sizeof(gate->name));
    gate->step = u64(s);
    gate->tokens = u64(s);
    gate->owner_index = owners == 0 || coin(s) ? NO_INDEX : choice(s, owners);
    gate->any = coin(s);
    gate->rule_count = 1 + choice(s, RULES_PER_GATE_MAX);
    for (uint32_t i = 0; i < gate->rule_count; i++) {
        struct gate_rule_spec *rule = &gate->rules[i];
        rule->rule = (enum gate_rule)choice(s, GATE_RULE_COUNT);
        rule->loss_max_micro = any(s);
        rule->eta = u32(s);
        rule->siblings_min = u32(s);
        rule->margin_micro = any(s);
        rule->seed_sd_micro = any(s);
        rule->limit = any(s);
        rule->share_min_ppm = (int32_t)u32(s);
        rule->points_min = u32(s);
    }
}

static void bytes32(struct sample *s, uint8_t to[SHA256_BYTES])
{
    for (size_t i = 0; i < SHA256_BYTES; i++)
        to[i] = (uint8_t)rng_u64(&s->rng);
}

static void make_owner_terms(struct sample *s, uint32_t owners, struct owner_spec *owner)
{
    owner->key_count = choice(s, OWNER_KEYS_MAX + 1);
    for (uint32_t k = 0; k < owner->key_count; k++)
        bytes32(s, owner->keys[k].bytes);
    owner->delegate_index = coin(s) ? NO_INDEX : choice(s, owners);
    owner->answer_within_ns = amount(s);
    owner->otherwise = (enum otherwise)choice(s, OTHERWISE_COUNT);
}

static void make_campaign(struct sample *s, struct campaign_spec *c)
{
    name(s, c->name, 1, sizeof(c->name));
    name(s, c->currency, 1, sizeof(c->currency));
    bytes32(s, c->file_hash.bytes);
    c->file_text = bytes_text(s, SAMPLE_TEXT_BYTES);
    c->owner_count = choice(s, OWNERS_MAX + 1);
    for (uint32_t i = 0; i < c->owner_count; i++) {
        name(s, c->owners[i].name, 1, sizeof(c->owners[i].name));
        name(s, c->owners[i].role, 0, sizeof(c->owners[i].role));
        make_owner_terms(s, c->owner_count, &c->owners[i]);
    }
    c->tier_count = 1 + choice(s, TIERS_MAX);
    for (uint32_t i = 0; i < c->tier_count; i++) {
        c->budget_micros += within(s, 1, INT64_MAX / TIERS_MAX);
        c->tiers[i].up_to_micros = c->budget_micros;
        c->tiers[i].owner_index =
            c->owner_count == 0 || coin(s) ? NO_INDEX : choice(s, c->owner_count);
    }
    c->class_count = choice(s, CLASSES_MAX + 1);
    for (uint32_t i = 0; i < c->class_count; i++) {
        name(s, c->classes[i].name, 1, sizeof(c->classes[i].name));
        c->classes[i].rate_micros = amount(s);
    }
    c->device_count = choice(s, DEVICE_PEAKS_MAX + 1);
    for (uint32_t i = 0; i < c->device_count; i++) {
        name(s, c->devices[i].match, 1, sizeof(c->devices[i].match));
        c->devices[i].peak_flops = u64(s);
    }
    c->place = (enum place_policy)choice(s, PLACE_POLICY_COUNT);
    c->backfill = coin(s);
    c->heartbeat_ns = within(s, 1, INT64_MAX);
    c->lease_ns = within(s, 1, INT64_MAX);
    c->stop_grace_ns = amount(s);
    c->worker_timeout_ns = amount(s);
    c->clock_error_ppm = small(s, 0, INT32_MAX);
    c->backoff_ns = amount(s);
    c->backoff_max_ns = amount(s);
    c->guard_count = 1 + choice(s, GUARDS_MAX);
    for (uint32_t i = 0; i < c->guard_count; i++)
        make_guard_spec(s, &c->guards[i]);
    c->runbook_count = choice(s, RUNBOOK_ROWS_MAX + 1);
    for (uint32_t i = 0; i < c->runbook_count; i++)
        make_runbook_row(s, &c->runbook[i]);
    c->gate_count = choice(s, SAMPLE_GATES + 1);
    for (uint32_t i = 0; i < c->gate_count; i++)
        make_gate_spec(s, c->owner_count, &s->gates[i]);
    c->gates = s->gates;
}

static void make_run(struct sample *s, struct run_spec *run)
{
    name(s, run->name, 1, sizeof(run->name));
    name(s, run->tenant, 0, sizeof(run->tenant));
    run->ranks = (uint32_t)within(s, 1, GANG_MAX);
    run->class_index = u32(s);
    run->priority = small(s, INT32_MIN, INT32_MAX);
    run->first_tranche_micros = within(s, 0, INT64_MAX / 32);
    run->budget_micros = run->first_tranche_micros;
    run->steps = u64(s);
    run->guard_index = choice(s, GUARDS_MAX);
    run->owner_index = u32(s);
    run->builtin = coin(s);
    run->launch = bytes_text(s, SAMPLE_TEXT_BYTES);
    run->gate_count = choice(s, GATES_PER_RUN_MAX + 1);
    for (uint32_t i = 0; i < run->gate_count; i++) {
        run->gates[i].gate_index = index_of(s);
        run->gates[i].tranche_micros = within(s, 0, INT64_MAX / 32);
        run->budget_micros += run->gates[i].tranche_micros;
    }
}

static void make_epoch(struct sample *s, struct record_epoch *epoch)
{
    epoch->epoch = u64(s);
    epoch->host = text(s, 1, NAME_MAX_BYTES - 1);
    epoch->pid = u32(s);
    epoch->workers = u32(s);
    epoch->version = text(s, 0, NAME_MAX_BYTES - 1);
}

static void make_worker(struct sample *s, struct record_worker *worker)
{
    worker->worker = (uint32_t)within(s, 1, UINT32_MAX - 1);
    worker->host = text(s, 1, NAME_MAX_BYTES - 1);
    worker->boot_id = text(s, 0, NAME_MAX_BYTES - 1);
    worker->device = text(s, 0, 255);
    worker->peak_source = text(s, 0, NAME_MAX_BYTES - 1);
    worker->backend = text(s, 0, NAME_MAX_BYTES - 1);
    worker->backend_reason = text(s, 0, 1023);
    worker->slot = u32(s);
    worker->class_index = u32(s);
    worker->peak_flops = u64(s);
    worker->threads = u32(s);
    worker->on_cpu = coin(s);
    worker->pci_bus_id = text(s, 0, NAME_MAX_BYTES - 1);
    worker->memory_bytes = u64(s);
}

static void make_tranche(struct sample *s, struct record_tranche *tranche)
{
    tranche->run = index_of(s);
    tranche->number = choice(s, GATES_PER_RUN_MAX + 1);
    tranche->amount_micros = amount(s);
    tranche->released_micros = amount(s);
    tranche->util_ppm = small(s, UTIL_UNKNOWN, INT32_MAX);
    tranche->floor_ppm = small(s, 0, INT32_MAX);
    tranche->spent_micros = amount(s);
}

static uint32_t attempt_number(struct sample *s)
{
    return (uint32_t)within(s, 1, UINT32_MAX);
}

static void make_placed(struct sample *s, struct record_placed *placed)
{
    placed->run = index_of(s);
    placed->attempt = attempt_number(s);
    placed->member_count = (uint32_t)within(s, 1, GANG_MAX);
    for (uint32_t i = 0; i < placed->member_count; i++)
        s->workers[i] = (uint32_t)within(s, 1, UINT32_MAX - 1);
    placed->workers = s->workers;
    placed->rate_micros = amount(s);
    placed->reserved_micros = amount(s);
    placed->lease_end_ns = amount(s);
    placed->resume_step = u64(s);
    placed->backfilled = coin(s);
}

static void make_lease(struct sample *s, struct record_lease *lease)
{
    lease->run = index_of(s);
    lease->attempt = attempt_number(s);
    lease->sequence = u32(s);
    lease->settled_micros = amount(s);
    lease->reserved_micros = amount(s);
    lease->lease_end_ns = amount(s);
}

static void make_member_started(struct sample *s, struct record_member_started *started)
{
    started->run = index_of(s);
    started->attempt = attempt_number(s);
    started->member = choice(s, GANG_MAX);
    started->pid = u32(s);
}

static void make_window(struct sample *s, struct record_window *window)
{
    window->run = index_of(s);
    window->attempt = attempt_number(s);
    window->step = u64(s);
    window->tokens = u64(s);
    window->loss_micro = any(s);
    window->val_loss_micro = any(s);
    window->length_ns = amount(s);
    window->util_ppm = small(s, UTIL_UNKNOWN, INT32_MAX);
    window->fair_ppm = small(s, UTIL_UNKNOWN, INT32_MAX);
    window->rung = (enum util_rung)choice(s, UTIL_RUNG_COUNT);
    window->flops_per_token = u64(s);
    window->cpu_ns = within(s, -1, INT64_MAX);
    window->action = (enum guard_action)choice(s, GUARD_ACTION_COUNT);
    window->rule = (enum guard_rule)choice(s, GUARD_RULE_COUNT);
    window->observed = any(s);
    window->bound = any(s);
    window->guard.held_ns = amount(s);
    window->guard.idle_ns = amount(s);
    window->guard.low_windows = u32(s);
    window->guard.parks = u32(s);
    window->guard.idle_warnings = u32(s);
    window->guard.warned = coin(s);
    window->guard.was_busy = coin(s);
    window->flags = choice(s, 1u << UTIL_FLAG_COUNT);
    if (coin(s)) return; /* nobody watched */
#define X(name, kind) window->device.name = amount(s);
    DEVICE_FIGURES(X)
#undef X
}

static void make_checkpoint(struct sample *s, struct record_checkpoint *checkpoint)
{
    checkpoint->run = index_of(s);
    checkpoint->attempt = attempt_number(s);
    checkpoint->step = u64(s);
    checkpoint->tokens = u64(s);
    checkpoint->path = text(s, 1, PATH_MAX_BYTES - 1);
}

static void make_gate(struct sample *s, struct record_gate *gate)
{
    gate->run = index_of(s);
    gate->attempt = attempt_number(s);
    gate->slot = choice(s, GATES_PER_RUN_MAX);
    gate->step = u64(s);
    gate->tokens = u64(s);
    gate->loss_micro = any(s);
    gate->best_micro = any(s);
    gate->mean_micro = any(s);
    gate->checkpoint = text(s, 0, PATH_MAX_BYTES - 1);
}

static void make_decision(struct sample *s, struct record_decision *decision)
{
    decision->subject = (enum decision_subject)choice(s, SUBJECT_TIER + 1);
    decision->run = decision->subject == SUBJECT_TIER ? NO_INDEX : index_of(s);
    decision->slot = decision->subject == SUBJECT_GATE ? index_of(s) : NO_INDEX;
    decision->tier = decision->subject == SUBJECT_TIER ? index_of(s) : NO_INDEX;
    decision->verdict = (enum verdict)(1 + choice(s, VERDICT_COUNT - 1));
    decision->rule = (enum gate_rule)choice(s, GATE_RULE_COUNT);
    decision->owner = u32(s);
    decision->asked_ns = amount(s);
    decision->observed_micro = any(s);
    decision->bound_micro = any(s);
    decision->rank = u32(s);
    decision->siblings = u32(s);
    decision->reason = text(s, 0, 1023);
    decision->is_signed = coin(s);
    decision->request = u64(s);
    decision->by_default = coin(s);
    if (coin(s)) return;
    bytes32(s, decision->signoff.origin.bytes);
    decision->signoff.statement = bytes_text(s, 4095);
    decision->signoff.signature = bytes_text(s, SSH_ARMOR_BYTES_MAX - 1);
}

static void make_incident(struct sample *s, struct record_incident *incident)
{
    incident->run = index_of(s);
    incident->attempt = attempt_number(s);
    incident->member = u32(s);
    incident->incident = (enum incident)choice(s, INCIDENT_COUNT);
    incident->exit_code = small(s, INT32_MIN, INT32_MAX);
    incident->signal = small(s, INT32_MIN, INT32_MAX);
    incident->action = (enum runbook_action)choice(s, RUNBOOK_ACTION_COUNT);
    incident->row = u32(s);
    incident->step = u32(s);
    incident->detail = text(s, 0, 1023);
    incident->stderr_tail = text(s, 0, STDERR_TAIL_BYTES);
    incident->ras = text(s, 0, RAS_TEXT_BYTES);
}

static void make_stopping(struct sample *s, struct record_stopping *stopping)
{
    stopping->run = index_of(s);
    stopping->attempt = attempt_number(s);
    stopping->intent = (enum intent)choice(s, INTENT_COUNT);
    stopping->reason = (enum reason)choice(s, REASON_COUNT);
    stopping->park_until_ns = amount(s);
    stopping->pinned = coin(s);
    stopping->resume_step = u64(s);
    stopping->resume_tokens = u64(s);
    stopping->resume_path = text(s, 0, PATH_MAX_BYTES - 1);
}

static void make_member_ended(struct sample *s, struct record_member_ended *ended)
{
    ended->run = index_of(s);
    ended->attempt = attempt_number(s);
    ended->member = choice(s, GANG_MAX);
    ended->ending = (enum ending)choice(s, ENDING_COUNT);
    ended->exit_code = small(s, INT32_MIN, INT32_MAX);
    ended->signal = small(s, INT32_MIN, INT32_MAX);
    ended->step = u64(s);
    ended->tokens = u64(s);
    ended->loss_micro = any(s);
}

static void make_attempt_ended(struct sample *s, struct record_attempt_ended *ended)
{
    ended->run = index_of(s);
    ended->attempt = attempt_number(s);
    ended->held_ns = amount(s);
    ended->settled_micros = amount(s);
    ended->returned_micros = amount(s);
    ended->step = u64(s);
    ended->tokens = u64(s);
    ended->state = (enum run_state)choice(s, RUN_STATE_COUNT);
    ended->reason = (enum reason)choice(s, REASON_COUNT);
    ended->until_ns = amount(s);
}

void sample_record(struct sample *s, enum record_kind kind, struct record *record)
{
    memset(record, 0, sizeof(*record));
    s->text_count = 0;
    record->kind = kind;
    record->at_ns = amount(s);
    switch (kind) {
    case RECORD_CAMPAIGN: make_campaign(s, &record->as.campaign); return;
    case RECORD_RUN: make_run(s, &record->as.run); return;
    case RECORD_EPOCH: make_epoch(s, &record->as.epoch); return;
    case RECORD_WORKER: make_worker(s, &record->as.worker); return;
    case RECORD_WORKER_LOST:
        record->as.worker_lost.worker = (uint32_t)within(s, 1, UINT32_MAX - 1);
        record->as.worker_lost.cause = text(s, 0, 1023);
        return;
    case RECORD_TIER:
        record->as.tier.tier = choice(s, TIERS_MAX);
        record->as.tier.approved_micros = amount(s);
        return;
    case RECORD_TRANCHE: make_tranche(s, &record->as.tranche); return;
    case RECORD_PLACED: make_placed(s, &record->as.placed); return;
    case RECORD_LEASE: make_lease(s, &record->as.lease); return;
    case RECORD_MEMBER_STARTED: make_member_started(s, &record->as.member_started); return;
    case RECORD_WINDOW: make_window(s, &record->as.window); return;
    case RECORD_CHECKPOINT: make_checkpoint(s, &record->as.checkpoint); return;
    case RECORD_GATE: make_gate(s, &record->as.gate); return;
    case RECORD_DECISION: make_decision(s, &record->as.decision); return;
    case RECORD_INCIDENT: make_incident(s, &record->as.incident); return;
    case RECORD_STOPPING: make_stopping(s, &record->as.stopping); return;
    case RECORD_MEMBER_ENDED: make_member_ended(s, &record->as.member_ended); return;
    case RECORD_ATTEMPT_ENDED: make_attempt_ended(s, &record->as.attempt_ended); return;
    case RECORD_RUN_STATE:
        record->as.run_state.run = index_of(s);
        record->as.run_state.state = (enum run_state)choice(s, RUN_STATE_COUNT);
        record->as.run_state.reason = (enum reason)choice(s, REASON_COUNT);
        record->as.run_state.until_ns = amount(s);
        return;
    case RECORD_SUSPENDED:
        record->as.suspended.cause = text(s, 0, 1023);
        record->as.suspended.at_once = coin(s);
        return;
    case RECORD_SPACE: record->as.space.low = coin(s); return;
    case RECORD_NOTE:
        record->as.note.run = u32(s);
        record->as.note.text = text(s, 0, 1023);
        return;
    case RECORD_CLOSED: record->as.closed.exit_status = small(s, INT32_MIN, INT32_MAX); return;
    case RECORD_KIND_COUNT: break;
    }
    unreachable("record kind");
}

/* ---- equality: texts by content, then everything else byte by byte ---- */

/* A record's body has as many bytes as its kind says; what is behind them means nothing. */
static void copy_body(struct record *to, const struct record *from)
{
    static const size_t body_bytes[RECORD_KIND_COUNT] = {
        [RECORD_CAMPAIGN] = sizeof(struct campaign_spec),
        [RECORD_RUN] = sizeof(struct run_spec),
        [RECORD_EPOCH] = sizeof(struct record_epoch),
        [RECORD_WORKER] = sizeof(struct record_worker),
        [RECORD_WORKER_LOST] = sizeof(struct record_worker_lost),
        [RECORD_TIER] = sizeof(struct record_tier),
        [RECORD_TRANCHE] = sizeof(struct record_tranche),
        [RECORD_PLACED] = sizeof(struct record_placed),
        [RECORD_LEASE] = sizeof(struct record_lease),
        [RECORD_MEMBER_STARTED] = sizeof(struct record_member_started),
        [RECORD_WINDOW] = sizeof(struct record_window),
        [RECORD_CHECKPOINT] = sizeof(struct record_checkpoint),
        [RECORD_GATE] = sizeof(struct record_gate),
        [RECORD_DECISION] = sizeof(struct record_decision),
        [RECORD_INCIDENT] = sizeof(struct record_incident),
        [RECORD_STOPPING] = sizeof(struct record_stopping),
        [RECORD_MEMBER_ENDED] = sizeof(struct record_member_ended),
        [RECORD_ATTEMPT_ENDED] = sizeof(struct record_attempt_ended),
        [RECORD_RUN_STATE] = sizeof(struct record_run_state),
        [RECORD_SUSPENDED] = sizeof(struct record_suspended),
        [RECORD_SPACE] = sizeof(struct record_space),
        [RECORD_NOTE] = sizeof(struct record_note),
        [RECORD_CLOSED] = sizeof(struct record_closed),
    };
    memset(to, 0, sizeof(*to));
    to->kind = from->kind;
    to->at_ns = from->at_ns;
    memcpy(&to->as, &from->as, body_bytes[from->kind]);
}

/* The texts of a record, one after the other. */
static uint32_t texts_of(struct record *r, struct text *texts[SAMPLE_TEXTS])
{
    uint32_t n = 0;
    if (r->kind == RECORD_CAMPAIGN) texts[n++] = &r->as.campaign.file_text;
    if (r->kind == RECORD_RUN) texts[n++] = &r->as.run.launch;
    if (r->kind == RECORD_EPOCH) texts[n++] = &r->as.epoch.host;
    if (r->kind == RECORD_EPOCH) texts[n++] = &r->as.epoch.version;
    if (r->kind == RECORD_WORKER) {
        texts[n++] = &r->as.worker.host;
        texts[n++] = &r->as.worker.boot_id;
        texts[n++] = &r->as.worker.device;
        texts[n++] = &r->as.worker.peak_source;
        texts[n++] = &r->as.worker.backend;
        texts[n++] = &r->as.worker.backend_reason;
        texts[n++] = &r->as.worker.pci_bus_id;
    }
    if (r->kind == RECORD_WORKER_LOST) texts[n++] = &r->as.worker_lost.cause;
    if (r->kind == RECORD_CHECKPOINT) texts[n++] = &r->as.checkpoint.path;
    if (r->kind == RECORD_GATE) texts[n++] = &r->as.gate.checkpoint;
    if (r->kind == RECORD_DECISION) {
        texts[n++] = &r->as.decision.reason;
        texts[n++] = &r->as.decision.signoff.statement;
        texts[n++] = &r->as.decision.signoff.signature;
    }
    if (r->kind == RECORD_INCIDENT) texts[n++] = &r->as.incident.detail;
    if (r->kind == RECORD_INCIDENT) texts[n++] = &r->as.incident.stderr_tail;
    if (r->kind == RECORD_INCIDENT) texts[n++] = &r->as.incident.ras;
    if (r->kind == RECORD_STOPPING) texts[n++] = &r->as.stopping.resume_path;
    if (r->kind == RECORD_SUSPENDED) texts[n++] = &r->as.suspended.cause;
    if (r->kind == RECORD_NOTE) texts[n++] = &r->as.note.text;
    return n;
}

static bool arrays_same(struct record *a, struct record *b)
{
    if (a->kind == RECORD_CAMPAIGN) {
        const struct gate_spec *first = a->as.campaign.gates, *second = b->as.campaign.gates;
        a->as.campaign.gates = b->as.campaign.gates = NULL;
        if (a->as.campaign.gate_count != b->as.campaign.gate_count) return false;
        for (uint32_t i = 0; i < a->as.campaign.gate_count; i++)
            if (memcmp(&first[i], &second[i], sizeof(first[i])) != 0) return false;
    }
    if (a->kind == RECORD_PLACED) {
        const uint32_t *first = a->as.placed.workers, *second = b->as.placed.workers;
        a->as.placed.workers = b->as.placed.workers = NULL;
        if (a->as.placed.member_count != b->as.placed.member_count) return false;
        return memcmp(first, second, a->as.placed.member_count * sizeof(*first)) == 0;
    }
    return true;
}

bool sample_same(const struct record *a_given, const struct record *b_given)
{
    static struct record a, b;
    copy_body(&a, a_given);
    copy_body(&b, b_given);
    if (a.kind != b.kind || !arrays_same(&a, &b)) return false;
    struct text *a_texts[SAMPLE_TEXTS] = { NULL }, *b_texts[SAMPLE_TEXTS] = { NULL };
    uint32_t count = texts_of(&a, a_texts);
    texts_of(&b, b_texts);
    for (uint32_t i = 0; i < count && a_texts[i] && b_texts[i]; i++) {
        if (!text_equal(*a_texts[i], *b_texts[i])) return false;
        memset(a_texts[i], 0, sizeof(*a_texts[i]));
        memset(b_texts[i], 0, sizeof(*b_texts[i]));
    }
    return memcmp(&a, &b, sizeof(a)) == 0;
}
