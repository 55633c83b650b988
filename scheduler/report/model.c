/*
 * model.c - collects from the records: one function per kind of record, called with the core
 * that has just applied it. What is derived at the end is in derive.c.
 */

#include "scheduler/report/model.h"

#include <string.h>

#include "proto/base/money.h"

enum { SPEND_POINTS_MAX = 2048 };

/* Room for one more element of an array in the arena; the array may move. */
static void *grow(struct arena *arena, void *array, uint32_t count, uint32_t *capacity,
                  size_t bytes)
{
    if (count < *capacity) return array;
    uint32_t larger = *capacity == 0 ? 8 : *capacity * 2;
    check(larger > *capacity);
    void *moved = arena_array(arena, larger, bytes);
    if (count > 0) memcpy(moved, array, count * bytes);
    *capacity = larger;
    return moved;
}

/* The new last element of model->NAMEs, zeroed. */
#define APPENDER(function, type, array, count, capacity)                                       \
    static type *function(struct model *model)                                                 \
    {                                                                                          \
        model->array =                                                                         \
            grow(&model->arena, model->array, model->count, &model->capacity, sizeof(type));   \
        type *item = &model->array[model->count++];                                            \
        memset(item, 0, sizeof *item);                                                         \
        return item;                                                                           \
    }

APPENDER(append_run, struct model_run, runs, run_count, run_capacity)
APPENDER(append_attempt, struct model_attempt, attempts, attempt_count, attempt_capacity)
APPENDER(append_decision, struct model_decision, decisions, decision_count, decision_capacity)
APPENDER(append_incident, struct model_incident, incidents, incident_count, incident_capacity)
APPENDER(append_window, struct model_window, windows, window_count, window_capacity)
APPENDER(append_guard, uint32_t, guards, guard_count, guard_capacity)
APPENDER(append_lease, struct model_lease, leases, lease_count, lease_capacity)
APPENDER(append_worker, struct model_worker, workers, worker_count, worker_capacity)
APPENDER(append_presence, struct model_span, presences, presence_count, presence_capacity)
APPENDER(append_hold, struct model_span, holds, hold_count, hold_capacity)
APPENDER(append_spend, struct spend_point, spend, spend_count, spend_capacity)
APPENDER(append_life, struct model_life, lives, life_count, life_capacity)
APPENDER(append_note, struct model_note, notes, note_count, note_capacity)

void model_init(struct model *model, const struct model_options *options)
{
    memset(model, 0, sizeof *model);
    model->options = *options;
    if (!model->options.state_folder) model->options.state_folder = "STATE";
    model->headline = "";
    model->money.mtok_micros = -1;
    model->util_ppm = UTIL_UNKNOWN;
    model->recovery_mean_ns = model->recovery_max_ns = -1;
    model->decision_mean_ns = model->decision_max_ns = -1;
}

void model_fini(struct model *model)
{
    if (!model) return;
    struct arena arena = model->arena;
    memset(model, 0, sizeof *model);
    arena_fini(&arena);
}

/* ---- the campaign and its runs ------------------------------------------------------- */

static void add_campaign(struct model *model, const struct campaign_spec *spec)
{
    struct campaign_spec *copy = arena_alloc(&model->arena, sizeof *copy);
    *copy = *spec;
    copy->file_text = (struct text){ "", 0 };
    struct gate_spec *gates = arena_array(&model->arena, spec->gate_count, sizeof *gates);
    if (spec->gate_count > 0) memcpy(gates, spec->gates, spec->gate_count * sizeof *gates);
    copy->gates = gates;
    model->campaign = copy;
    model->currency = currency_of(copy->currency, copy->budget_micros);
}

static const char *owner_name(const struct model *model, uint32_t owner)
{
    if (!model->campaign || owner >= model->campaign->owner_count) return NULL;
    return model->campaign->owners[owner].name;
}

static const char *owner_role(const struct model *model, uint32_t owner)
{
    if (!model->campaign || owner >= model->campaign->owner_count) return NULL;
    return model->campaign->owners[owner].role;
}

static void add_run_gates(struct model *model, struct model_run *run,
                          const struct run_spec *spec)
{
    run->gate_count = spec->gate_count;
    run->gates = arena_array(&model->arena, spec->gate_count, sizeof *run->gates);
    for (uint32_t slot = 0; slot < spec->gate_count; slot++) {
        uint32_t index = spec->gates[slot].gate_index;
        check(index < model->campaign->gate_count);
        const struct gate_spec *gate = &model->campaign->gates[index];
        run->gates[slot] =
            (struct model_gate){ .name = gate->name,
                                 .slot = slot,
                                 .gate_index = index,
                                 .due_step = gate->step,
                                 .due_tokens = gate->tokens,
                                 .loss_micro = LOSS_UNKNOWN,
                                 .tranche_micros = spec->gates[slot].tranche_micros };
    }
}

static void add_run(struct model *model, const struct run_spec *spec, int64_t at_ns)
{
    check(model->campaign != NULL);
    const struct campaign_spec *campaign = model->campaign;
    uint32_t index = model->run_count;
    struct model_run *run = append_run(model);
    run->index = index;
    run->name = arena_copy(&model->arena, text_of(spec->name));
    run->tenant = arena_copy(&model->arena, text_of(spec->tenant));
    run->owner = owner_name(model, spec->owner_index);
    run->class_name = spec->class_index < campaign->class_count
                          ? campaign->classes[spec->class_index].name
                          : "any";
    run->ranks = spec->ranks;
    run->steps_planned = spec->steps;
    run->budget_micros = spec->budget_micros;
    run->submitted_ns = at_ns;
    run->loss_micro = run->val_loss_micro = run->val_best_micro = LOSS_UNKNOWN;
    run->mtok_micros = -1;
    run->util_ppm = UTIL_UNKNOWN;
    run->last_attempt = NO_INDEX;
    run->tracked_state = RUN_STATE_QUEUED;
    run->tracked_ns = at_ns;
    add_run_gates(model, run, spec);
}

static void add_point(struct model *model, struct model_run *run, struct curve_point point)
{
    run->points = grow(&model->arena, run->points, run->point_count, &run->point_capacity,
                       sizeof *run->points);
    run->points[run->point_count++] = point;
}

static void add_checkpoint_of(struct model *model, uint32_t run_index,
                              struct model_checkpoint checkpoint)
{
    struct model_run *run = &model->runs[run_index];
    run->checkpoints = grow(&model->arena, run->checkpoints, run->checkpoint_count,
                            &run->checkpoint_capacity, sizeof *run->checkpoints);
    run->checkpoints[run->checkpoint_count++] = checkpoint;
}

static void close_incidents(struct model *model, uint32_t run, enum recovery recovery,
                            int64_t at_ns)
{
    for (uint32_t i = model->incident_count - model->open_incidents; i < model->incident_count;
         i++) {
        struct model_incident *incident = &model->incidents[i];
        if (incident->run != run || incident->recovery != RECOVERY_OPEN) continue;
        incident->recovery = recovery;
        incident->closed_ns = at_ns;
    }
    while (model->open_incidents > 0 &&
           model->incidents[model->incident_count - model->open_incidents].recovery !=
               RECOVERY_OPEN)
        model->open_incidents--;
}

/* Books the time that a run was in its last state, and what its new one means. */
static void track_state(struct model *model, uint32_t index, enum run_state state,
                        int64_t at_ns)
{
    struct model_run *run = &model->runs[index];
    int64_t passed_ns = at_ns - run->tracked_ns;
    if (run->tracked_state == RUN_STATE_QUEUED) run->queue_ns += passed_ns;
    if (run->tracked_state == RUN_STATE_HELD) run->owner_ns += passed_ns;
    if (run->tracked_state == RUN_STATE_PARKED) run->parked_ns += passed_ns;
    bool changed = run->tracked_state != state;
    run->tracked_state = state;
    run->tracked_ns = at_ns;
    if (!changed) return;
    if (state == RUN_STATE_RUNNING) {
        if (run->first_start_ns == 0) run->first_start_ns = at_ns;
        if (run->last_attempt != NO_INDEX)
            model->attempts[run->last_attempt].running_ns = at_ns;
        close_incidents(model, index, RECOVERY_RESTARTED, at_ns);
    }
    if (state == RUN_STATE_FINISHED || state == RUN_STATE_STOPPED || state == RUN_STATE_FAILED)
        close_incidents(model, index, RECOVERY_ENDED, at_ns);
}

/* ---- lives and workers --------------------------------------------------------------- */

static void end_presence(struct model *model, struct model_worker *worker, int64_t at_ns)
{
    if (worker->open_presence == NO_INDEX) return;
    struct model_span *span = &model->presences[worker->open_presence];
    span->to_ns = at_ns;
    span->open = false;
    worker->open_presence = NO_INDEX;
    worker->present = false;
}

static void end_all_presence(struct model *model, int64_t at_ns)
{
    for (uint32_t w = 0; w < model->worker_count; w++)
        end_presence(model, &model->workers[w], at_ns);
}

/* A life that did not close in good order ended, as far as anybody knows, with its last record.
 */
static void add_epoch(struct model *model, const struct record_epoch *epoch, int64_t at_ns)
{
    if (model->life_count > 0)
        end_all_presence(model, model->lives[model->life_count - 1].to_ns);
    struct model_life *life = append_life(model);
    life->epoch = epoch->epoch;
    life->from_ns = at_ns;
    life->host = arena_copy(&model->arena, epoch->host);
    life->version = arena_copy(&model->arena, epoch->version);
    life->pid = epoch->pid;
    life->workers = epoch->workers;
}

/* The worker's row, in order of rank; a new one when it was never seen. */
static struct model_worker *worker_row(struct model *model, uint32_t rank)
{
    uint32_t at = 0;
    while (at < model->worker_count && model->workers[at].rank < rank)
        at++;
    if (at < model->worker_count && model->workers[at].rank == rank) return &model->workers[at];
    append_worker(model);
    memmove(&model->workers[at + 1], &model->workers[at],
            (model->worker_count - 1 - at) * sizeof *model->workers);
    model->workers[at] = (struct model_worker){ .rank = rank, .open_presence = NO_INDEX };
    return &model->workers[at];
}

static void add_worker(struct model *model, const struct record_worker *hello, int64_t at_ns)
{
    struct model_worker *worker = worker_row(model, hello->worker);
    end_presence(model, worker, at_ns);
    worker->host = arena_copy(&model->arena, hello->host);
    worker->device = arena_copy(&model->arena, hello->device);
    worker->peak_source = arena_copy(&model->arena, hello->peak_source);
    worker->backend = arena_copy(&model->arena, hello->backend);
    worker->backend_reason = arena_copy(&model->arena, hello->backend_reason);
    worker->class_name = hello->class_index < model->campaign->class_count
                             ? model->campaign->classes[hello->class_index].name
                             : "?";
    worker->slot = hello->slot;
    worker->threads = hello->threads;
    worker->peak_flops = hello->peak_flops;
    worker->on_cpu = hello->on_cpu;
    worker->pci_bus_id = arena_copy(&model->arena, hello->pci_bus_id);
    worker->memory_bytes = hello->memory_bytes;
    worker->present = true;
    worker->lives++;
    worker->open_presence = model->presence_count;
    *append_presence(model) =
        (struct model_span){ .worker = hello->worker, .from_ns = at_ns, .open = true };
}

static void add_worker_lost(struct model *model, uint32_t rank, int64_t at_ns)
{
    end_presence(model, worker_row(model, rank), at_ns);
}

/* ---- attempts ------------------------------------------------------------------------ */

/* The run goes on from `step`: whatever its earlier attempts did past it was for nothing. */
static void keep_work_up_to(struct model *model, const struct model_run *run, uint64_t step)
{
    for (uint32_t a = run->last_attempt; a != NO_INDEX; a = model->attempts[a].previous) {
        struct model_attempt *attempt = &model->attempts[a];
        int64_t kept_ns = attempt->placed_ns;
        for (uint32_t c = 0; c < run->checkpoint_count; c++) {
            const struct model_checkpoint *checkpoint = &run->checkpoints[c];
            if (checkpoint->attempt == attempt->number && checkpoint->step <= step)
                kept_ns = max_i64(kept_ns, checkpoint->at_ns);
        }
        attempt->kept_ns = attempt->kept_ns < 0 ? kept_ns : min_i64(attempt->kept_ns, kept_ns);
        if (attempt->resume_step <= step) break;
    }
}

static void add_placed(struct model *model, const struct record_placed *placed, int64_t at_ns)
{
    struct model_run *run = &model->runs[placed->run];
    keep_work_up_to(model, run, placed->resume_step);
    uint32_t *workers =
        arena_array(&model->arena, placed->member_count, sizeof *placed->workers);
    memcpy(workers, placed->workers, placed->member_count * sizeof *placed->workers);
    uint32_t index = model->attempt_count;
    *append_attempt(model) = (struct model_attempt){ .run = placed->run,
                                                     .number = placed->attempt,
                                                     .member_count = placed->member_count,
                                                     .workers = workers,
                                                     .rate_micros = placed->rate_micros,
                                                     .placed_ns = at_ns,
                                                     .resume_step = placed->resume_step,
                                                     .step = placed->resume_step,
                                                     .backfilled = placed->backfilled,
                                                     .kept_ns = -1,
                                                     .next_state = RUN_STATE_RUNNING,
                                                     .previous = run->last_attempt };
    run->last_attempt = index;
    run->attempts++;
    for (uint32_t i = 0; i < placed->member_count; i++) {
        worker_row(model, workers[i])->attempts++;
        *append_hold(model) = (struct model_span){
            .worker = workers[i], .attempt = index, .from_ns = at_ns, .open = true
        };
    }
    if (model->options.keep_leases)
        *append_lease(model) = (struct model_lease){ .at_ns = at_ns,
                                                     .run = placed->run,
                                                     .attempt = placed->attempt,
                                                     .sequence = 1,
                                                     .reserved_micros = placed->reserved_micros,
                                                     .lease_end_ns = placed->lease_end_ns };
}

static struct model_attempt *attempt_of_run(struct model *model, uint32_t run, uint32_t number)
{
    uint32_t a = model->runs[run].last_attempt;
    while (a != NO_INDEX && model->attempts[a].number != number)
        a = model->attempts[a].previous;
    check(a != NO_INDEX);
    return &model->attempts[a];
}

static void add_lease(struct model *model, const struct record_lease *lease, int64_t at_ns)
{
    attempt_of_run(model, lease->run, lease->attempt)->settled_micros = lease->settled_micros;
    if (!model->options.keep_leases) return;
    *append_lease(model) = (struct model_lease){ .at_ns = at_ns,
                                                 .run = lease->run,
                                                 .attempt = lease->attempt,
                                                 .sequence = lease->sequence,
                                                 .settled_micros = lease->settled_micros,
                                                 .reserved_micros = lease->reserved_micros,
                                                 .lease_end_ns = lease->lease_end_ns };
}

static void add_stopping(struct model *model, const struct record_stopping *stopping,
                         int64_t at_ns)
{
    struct model_attempt *attempt = attempt_of_run(model, stopping->run, stopping->attempt);
    if (attempt->stopping_ns == 0) attempt->stopping_ns = at_ns;
    attempt->intent = stopping->intent;
    attempt->reason = stopping->reason;
}

/* What a run did after its last checkpoint is lost with it when it fails. */
static void drop_tail(struct model *model, struct model_run *run)
{
    uint64_t step = 0;
    for (uint32_t c = 0; c < run->checkpoint_count; c++)
        if (run->checkpoints[c].step > step) step = run->checkpoints[c].step;
    keep_work_up_to(model, run, step);
}

static void add_attempt_ended(struct model *model, const struct record_attempt_ended *ended,
                              int64_t at_ns)
{
    struct model_run *run = &model->runs[ended->run];
    struct model_attempt *attempt = attempt_of_run(model, ended->run, ended->attempt);
    attempt->ended = true;
    attempt->held_ns = ended->held_ns;
    attempt->ended_ns = add_saturated(attempt->placed_ns, max_i64(0, ended->held_ns));
    attempt->settled_micros = ended->settled_micros;
    attempt->returned_micros = ended->returned_micros;
    attempt->step = ended->step;
    attempt->tokens = ended->tokens;
    attempt->next_state = ended->state;
    if (attempt->reason == REASON_NONE) attempt->reason = ended->reason;
    uint32_t index = (uint32_t)(attempt - model->attempts);
    /* The newest holds are last, and a gang's are together. */
    for (uint32_t h = model->hold_count, left = attempt->member_count; h-- > 0 && left > 0;) {
        struct model_span *hold = &model->holds[h];
        if (hold->attempt != index) continue;
        hold->open = false;
        hold->to_ns = attempt->ended_ns;
        hold->stopping_ns = attempt->stopping_ns;
        left--;
    }
    if (ended->state == RUN_STATE_FAILED) drop_tail(model, run);
    if (model->options.keep_leases)
        *append_lease(model) = (struct model_lease){ .at_ns = at_ns,
                                                     .run = ended->run,
                                                     .attempt = ended->attempt,
                                                     .settled_micros = ended->settled_micros };
}

/* The first member's end tells the last training loss, which no window may hold yet. */
static void add_member_ended(struct model *model, const struct record_member_ended *ended,
                             int64_t at_ns)
{
    struct model_run *run = &model->runs[ended->run];
    if (ended->ending == ENDING_CHARGED)
        attempt_of_run(model, ended->run, ended->attempt)->charged_members++;
    uint64_t last_step = run->point_count > 0 ? run->points[run->point_count - 1].step : 0;
    if (ended->member != 0 || ended->step <= last_step || ended->loss_micro == LOSS_UNKNOWN)
        return;
    add_point(model, run,
              (struct curve_point){ at_ns, ended->step, ended->tokens, ended->loss_micro,
                                    LOSS_UNKNOWN });
}

/* ---- work, gates, decisions, incidents ----------------------------------------------- */

void util_flags_write(uint32_t flags, char text[UTIL_FLAGS_BYTES])
{
    struct writer writer = writer_of(text, UTIL_FLAGS_BYTES);
    for (unsigned flag = 0; flag < UTIL_FLAG_COUNT; flag++)
        if (flags >> flag & 1)
            writer_format(&writer, "%s%s", writer.len > 0 ? "; " : "",
                          util_flag_name((enum util_flag)flag));
    check(!writer.full);
}

static void add_device(struct model_run *run, const struct record_window *window)
{
    for (unsigned flag = 0; flag < UTIL_FLAG_COUNT; flag++) {
        if (!(window->flags >> flag & 1)) continue;
        run->flag_windows[flag]++;
        run->flag_ns[flag] = add_saturated(run->flag_ns[flag], window->length_ns);
    }
    run->energy_mj = add_saturated(run->energy_mj, window->device.energy_mj);
    run->energy_ns = add_saturated(run->energy_ns, window->device.energy_ns);
}

static void add_window(struct model *model, const struct record_window *window, int64_t at_ns)
{
    struct model_run *run = &model->runs[window->run];
    run->windows++;
    run->windows_ns = add_saturated(run->windows_ns, window->length_ns);
    if (window->util_ppm == UTIL_UNKNOWN) {
        run->windows_unknown++;
    } else {
        run->windows_known_ns = add_saturated(run->windows_known_ns, window->length_ns);
        run->util_sum += (i128)window->util_ppm * window->length_ns;
        run->rung = window->rung;
    }
    add_point(model, run,
              (struct curve_point){ at_ns, window->step, window->tokens, window->loss_micro,
                                    window->val_loss_micro });
    add_device(run, window);
    if (window->action != GUARD_ACTION_NONE) *append_guard(model) = model->window_count;
    *append_window(model) =
        (struct model_window){ .at_ns = at_ns,
                               .run = window->run,
                               .attempt = window->attempt,
                               .step = window->step,
                               .tokens = window->tokens,
                               .loss_micro = window->loss_micro,
                               .val_loss_micro = window->val_loss_micro,
                               .length_ns = window->length_ns,
                               .util_ppm = window->util_ppm,
                               .rung = window->rung,
                               .flags = window->flags,
                               .device = window->device,
                               .evidence = util_evidence(&window->device, window->length_ns),
                               .flops_per_token = window->flops_per_token,
                               .action = window->action,
                               .rule = window->rule,
                               .observed = window->observed,
                               .bound = window->bound };
}

static void add_checkpoint(struct model *model, const struct record_checkpoint *checkpoint,
                           int64_t at_ns)
{
    add_checkpoint_of(model, checkpoint->run,
                      (struct model_checkpoint){ checkpoint->attempt, at_ns, checkpoint->step,
                                                 checkpoint->tokens,
                                                 arena_copy(&model->arena, checkpoint->path) });
}

static void add_gate(struct model *model, const struct record_gate *gate, int64_t at_ns)
{
    struct model_run *run = &model->runs[gate->run];
    check(gate->slot < run->gate_count);
    struct model_gate *slot = &run->gates[gate->slot];
    slot->reported = true;
    slot->step = gate->step;
    slot->tokens = gate->tokens;
    slot->at_ns = at_ns;
    slot->loss_micro = gate->loss_micro;
    add_point(model, run,
              (struct curve_point){ at_ns, gate->step, gate->tokens, LOSS_UNKNOWN,
                                    gate->loss_micro });
    if (gate->checkpoint.len == 0) return;
    add_checkpoint_of(model, gate->run,
                      (struct model_checkpoint){ gate->attempt, at_ns, gate->step, gate->tokens,
                                                 arena_copy(&model->arena, gate->checkpoint) });
}

static bool same_subject(const struct model_decision *a, const struct record_decision *b)
{
    if (a->subject != b->subject) return false;
    return b->subject == SUBJECT_TIER ? a->tier == b->tier
                                      : a->run == b->run && a->slot == b->slot;
}

/* Marks the question that this decision answers. */
static void answer_question(struct model *model, const struct record_decision *decision,
                            uint32_t answer)
{
    for (uint32_t i = answer; i-- > 0;) {
        struct model_decision *question = &model->decisions[i];
        if (!same_subject(question, decision)) continue;
        if (question->verdict == VERDICT_HOLD && question->answer == NO_INDEX)
            question->answer = answer;
        return;
    }
}

/* bound - observed, so that positive is good; of a share the other way round. */
static int64_t margin_of(const struct model *model, const struct model_gate *gate,
                         const struct record_decision *decision)
{
    const struct gate_spec *spec = &model->campaign->gates[gate->gate_index];
    int64_t margin = decision->bound_micro - decision->observed_micro;
    for (uint32_t r = 0; r < spec->rule_count && r < RULES_PER_GATE_MAX; r++)
        if (spec->rules[r].rule == decision->rule &&
            gate_rule_unit(&spec->rules[r]) == GATE_UNIT_SHARE)
            return -margin;
    return margin;
}

static void add_decision(struct model *model, const struct record_decision *decision,
                         int64_t at_ns)
{
    uint32_t index = model->decision_count;
    struct model_decision *row = append_decision(model);
    bool hold = decision->verdict == VERDICT_HOLD;
    *row = (struct model_decision){ .at_ns = at_ns,
                                    .asked_ns = decision->asked_ns,
                                    .subject = decision->subject,
                                    .run = NO_INDEX,
                                    .slot = NO_INDEX,
                                    .tier = NO_INDEX,
                                    .verdict = decision->verdict,
                                    .rule = decision->rule,
                                    .by_owner = decision->owner != NO_INDEX && !hold &&
                                                !decision->by_default,
                                    .by_default = decision->by_default,
                                    .owner = owner_name(model, decision->owner),
                                    .role = owner_role(model, decision->owner),
                                    .observed_micro = decision->observed_micro,
                                    .bound_micro = decision->bound_micro,
                                    .margin_micro = LOSS_UNKNOWN,
                                    .rank = decision->rank,
                                    .siblings = decision->siblings,
                                    .reason = arena_copy(&model->arena, decision->reason),
                                    .is_signed = decision->is_signed,
                                    .answer = NO_INDEX };
    if (decision->subject == SUBJECT_TIER) {
        row->tier = decision->tier;
    } else {
        row->run = decision->run;
        row->step = model->runs[decision->run].step;
    }
    if (decision->subject == SUBJECT_GATE) {
        struct model_gate *gate = &model->runs[decision->run].gates[decision->slot];
        row->slot = decision->slot;
        row->gate = gate->name;
        row->step = gate->step;
        gate->verdict = decision->verdict;
        if (loss_is_number(decision->observed_micro) && loss_is_number(decision->bound_micro))
            row->margin_micro = margin_of(model, gate, decision);
    }
    if (!hold) answer_question(model, decision, index);
}

static void add_incident(struct model *model, const struct record_incident *incident,
                         int64_t at_ns)
{
    *append_incident(model) = (struct model_incident){
        .at_ns = at_ns,
        .run = incident->run,
        .attempt = incident->attempt,
        .member = incident->member,
        .incident = incident->incident,
        .exit_code = incident->exit_code,
        .signal = incident->signal,
        .action = incident->action,
        .row = incident->row,
        .step = incident->step,
        .detail = arena_copy(&model->arena, incident->detail),
        .stderr_tail = arena_copy(&model->arena, incident->stderr_tail),
        .ras = arena_copy(&model->arena, incident->ras),
    };
    model->open_incidents++;
    model->runs[incident->run].incidents++;
}

static void add_note(struct model *model, const struct record_note *note, int64_t at_ns)
{
    *append_note(model) = (struct model_note){
        .at_ns = at_ns,
        .run = note->run < model->run_count ? note->run : NO_INDEX,
        .text = arena_copy(&model->arena, note->text),
    };
}

static void add_closed(struct model *model, int32_t exit_status, int64_t at_ns)
{
    end_all_presence(model, at_ns);
    if (model->life_count == 0) return;
    model->lives[model->life_count - 1].closed = true;
    model->lives[model->life_count - 1].exit_status = exit_status;
}

/* ---- money over time ----------------------------------------------------------------- */

/* Joins points that are too close, when there are too many. Steps of approved and released
 * money stay where they were, within the spacing. */
static void thin_spend(struct model *model)
{
    int64_t span_ns = model->spend[model->spend_count - 1].at_ns - model->spend[0].at_ns;
    model->spend_spacing_ns =
        max_i64(2 * model->spend_spacing_ns, span_ns / (SPEND_POINTS_MAX / 2));
    uint32_t kept = 1;
    for (uint32_t i = 1; i < model->spend_count; i++) {
        bool close =
            model->spend[i].at_ns - model->spend[kept - 1].at_ns < model->spend_spacing_ns;
        if (close && kept > 1)
            model->spend[kept - 1] = model->spend[i];
        else
            model->spend[kept++] = model->spend[i];
    }
    model->spend_count = kept;
}

static void add_spend(struct model *model, const struct budget *budget, int64_t at_ns)
{
    struct spend_point point = { at_ns, budget->approved_micros, budget->released_micros,
                                 budget->reserved_micros, budget->spent_micros };
    if (model->spend_count > 0) {
        struct spend_point *last = &model->spend[model->spend_count - 1];
        if (last->approved_micros == point.approved_micros &&
            last->released_micros == point.released_micros &&
            last->reserved_micros == point.reserved_micros &&
            last->spent_micros == point.spent_micros)
            return;
        if (last->at_ns == at_ns) {
            *last = point;
            return;
        }
    }
    *append_spend(model) = point;
    if (model->spend_count >= SPEND_POINTS_MAX) thin_spend(model);
}

/* ---- all ----------------------------------------------------------------------------- */

static void add_body(struct model *model, const struct record *record)
{
    int64_t at_ns = record->at_ns;
    switch (record->kind) {
    case RECORD_CAMPAIGN: add_campaign(model, &record->as.campaign); return;
    case RECORD_RUN: add_run(model, &record->as.run, at_ns); return;
    case RECORD_EPOCH: add_epoch(model, &record->as.epoch, at_ns); return;
    case RECORD_WORKER: add_worker(model, &record->as.worker, at_ns); return;
    case RECORD_WORKER_LOST:
        add_worker_lost(model, record->as.worker_lost.worker, at_ns);
        return;
    case RECORD_PLACED: add_placed(model, &record->as.placed, at_ns); return;
    case RECORD_LEASE: add_lease(model, &record->as.lease, at_ns); return;
    case RECORD_WINDOW: add_window(model, &record->as.window, at_ns); return;
    case RECORD_CHECKPOINT: add_checkpoint(model, &record->as.checkpoint, at_ns); return;
    case RECORD_GATE: add_gate(model, &record->as.gate, at_ns); return;
    case RECORD_DECISION: add_decision(model, &record->as.decision, at_ns); return;
    case RECORD_INCIDENT: add_incident(model, &record->as.incident, at_ns); return;
    case RECORD_STOPPING: add_stopping(model, &record->as.stopping, at_ns); return;
    case RECORD_MEMBER_ENDED: add_member_ended(model, &record->as.member_ended, at_ns); return;
    case RECORD_ATTEMPT_ENDED:
        add_attempt_ended(model, &record->as.attempt_ended, at_ns);
        return;
    case RECORD_SPACE: model->space_low_seen |= record->as.space.low; return;
    case RECORD_NOTE: add_note(model, &record->as.note, at_ns); return;
    case RECORD_CLOSED: add_closed(model, record->as.closed.exit_status, at_ns); return;
    case RECORD_TIER:
    case RECORD_TRANCHE:
    case RECORD_MEMBER_STARTED:
    case RECORD_RUN_STATE:
    case RECORD_SUSPENDED: return; /* the core's state says it all */
    case RECORD_KIND_COUNT: break;
    }
    unreachable("record kind");
}

void model_add(struct model *model, const struct record *record, const struct core *core)
{
    if (model->record_count++ == 0) model->first_ns = record->at_ns;
    add_body(model, record);
    model->last_ns = record->at_ns;
    if (model->life_count > 0) model->lives[model->life_count - 1].to_ns = record->at_ns;
    uint32_t run = record_run(record);
    if (run < model->run_count)
        track_state(model, run, core_run(core, run)->state, record->at_ns);
    if (model->campaign) add_spend(model, core_budget(core), record->at_ns);
}

uint32_t record_run(const struct record *record)
{
    switch (record->kind) {
    case RECORD_TRANCHE: return record->as.tranche.run;
    case RECORD_PLACED: return record->as.placed.run;
    case RECORD_LEASE: return record->as.lease.run;
    case RECORD_MEMBER_STARTED: return record->as.member_started.run;
    case RECORD_WINDOW: return record->as.window.run;
    case RECORD_CHECKPOINT: return record->as.checkpoint.run;
    case RECORD_GATE: return record->as.gate.run;
    case RECORD_DECISION: return record->as.decision.run;
    case RECORD_INCIDENT: return record->as.incident.run;
    case RECORD_STOPPING: return record->as.stopping.run;
    case RECORD_MEMBER_ENDED: return record->as.member_ended.run;
    case RECORD_ATTEMPT_ENDED: return record->as.attempt_ended.run;
    case RECORD_RUN_STATE: return record->as.run_state.run;
    case RECORD_NOTE: return record->as.note.run;
    case RECORD_CAMPAIGN:
    case RECORD_RUN:
    case RECORD_EPOCH:
    case RECORD_WORKER:
    case RECORD_WORKER_LOST:
    case RECORD_TIER:
    case RECORD_SUSPENDED:
    case RECORD_SPACE:
    case RECORD_CLOSED:
    case RECORD_KIND_COUNT: break;
    }
    return NO_INDEX;
}
