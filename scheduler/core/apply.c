/*
 * apply.c - record -> state. Every function here checks that its record can follow from the
 * state (so that a forged or foreign ledger is refused), then applies it. Nothing else changes
 * state.
 */

#include "scheduler/core/internal.h"

#include <string.h>

static enum err damaged(struct error *error, const char *why)
{
    return error_set(error, ERR_DAMAGED, "the record cannot follow: %s", why);
}

/* ---- states -------------------------------------------------------------------------- */

static void queue_add(struct core *core, uint32_t run)
{
    core->queued_at[run] = core->queued_count;
    core->queued[core->queued_count++] = run;
}

static void queue_remove(struct core *core, uint32_t run)
{
    uint32_t at = core->queued_at[run];
    uint32_t last = core->queued[--core->queued_count];
    core->queued[at] = last;
    core->queued_at[last] = at;
    core->queued_at[run] = NO_INDEX;
}

/* Gives what an ended run will never spend back to the campaign. */
static void return_leftover(struct core *core, struct run *run)
{
    core->budget.released_micros -= run->released_micros - run->spent_micros;
    run->released_micros = run->spent_micros;
}

static enum err set_state(struct core *core, uint32_t index, enum run_state state,
                          enum reason reason, struct error *error)
{
    struct run *run = &core->runs[index];
    if (!run_move_allowed(run->state, run_move_to(state)))
        return damaged(error, "the run cannot move to this state from the one it is in");
    if (run->state == RUN_STATE_QUEUED) queue_remove(core, index);
    core->state_count[run->state]--;
    core->state_count[state]++;
    run->state = state;
    run->reason = reason;
    run->state_since_ns = core->now_ns;
    if (state == RUN_STATE_QUEUED) queue_add(core, index);
    if (state == RUN_STATE_HELD && !run->request.open)
        request_open(core, &run->request, run->owner_index, run->attempts);
    if (run_state_ended(state)) {
        run->request.open = false;
        return_leftover(core, run);
    }
    core->place_wanted = true;
    due_update(core, index);
    return ERR_OK;
}

/* The live attempt that a record names, or NULL. */
static struct attempt *named_attempt(struct core *core, uint32_t run, uint32_t number)
{
    if (run >= core->run_count) return NULL;
    struct attempt *attempt = attempt_of(core, run);
    return attempt && attempt->number == number ? attempt : NULL;
}

static struct member *named_member(struct core *core, uint32_t run, uint32_t number,
                                   uint32_t member)
{
    struct attempt *attempt = named_attempt(core, run, number);
    if (!attempt || member >= attempt->member_count) return NULL;
    return &core->members[attempt->first_member + member];
}

/* ---- money --------------------------------------------------------------------------- */

/* Sets an attempt's settled and reserved amounts, and the sums that contain them. */
static enum err set_money(struct core *core, struct attempt *attempt, int64_t settled_micros,
                          int64_t reserved_micros, struct error *error)
{
    struct run *run = &core->runs[attempt->run];
    if (settled_micros < attempt->settled_micros || reserved_micros < 0)
        return damaged(error, "settled money can only grow, and a reservation is not negative");
    if (settled_micros > run->budget_micros || reserved_micros > run->budget_micros)
        return damaged(error, "an amount is larger than the run's budget");
    int64_t spent = settled_micros - attempt->settled_micros;
    int64_t reserved = reserved_micros - attempt->reserved_micros;
    run->spent_micros += spent;
    run->reserved_micros += reserved;
    core->budget.spent_micros += spent;
    core->budget.reserved_micros += reserved;
    core->tenant_micros[run->tenant] += spent + reserved;
    attempt->settled_micros = settled_micros;
    attempt->reserved_micros = reserved_micros;
    return budget_holds(core, run)
               ? ERR_OK
               : damaged(error, "spent + reserved <= released <= approved does not hold");
}

static enum err apply_tier(struct core *core, const struct record_tier *tier,
                           struct error *error)
{
    struct budget *budget = &core->budget;
    if (!core->has_campaign || tier->tier != budget->tiers_open ||
        tier->tier >= core->campaign.tier_count ||
        tier->approved_micros != core->campaign.tiers[tier->tier].up_to_micros)
        return damaged(error, "tiers open in order, each once");
    budget->approved_micros = tier->approved_micros;
    budget->tiers_open++;
    budget->tier_asked = false;
    core->place_wanted = true;
    return ERR_OK;
}

/* Is a later tranche released on what is known, and is that enough? Where there is no floor, records
 * of earlier versions say nothing. */
static bool tranche_earned(const struct core *core, const struct record_tranche *tranche)
{
    const struct run *run = &core->runs[tranche->run];
    if (budget_withheld(core, tranche->run) != TRANCHE_WAIT_NONE) return false;
    if (core->campaign.guards[run->guard_index].floor_ppm == 0 && tranche->util_ppm == 0 &&
        tranche->floor_ppm == 0 && tranche->spent_micros == 0)
        return true;
    return tranche->util_ppm == run->fair_ppm &&
           tranche->floor_ppm == budget_floor_ppm(core, run) &&
           tranche->spent_micros == run->spent_micros;
}

static enum err apply_tranche(struct core *core, const struct record_tranche *tranche,
                              struct error *error)
{
    if (tranche->run >= core->run_count) return damaged(error, "no such run");
    struct run *run = &core->runs[tranche->run];
    if (run_state_ended(run->state)) return damaged(error, "the run has ended");
    if (tranche->number != run->tranches || tranche->number > run_next_gate(core, run))
        return damaged(error, "a run's tranches come in order, each after GO at its gate");
    if (tranche->amount_micros < 0 || tranche->amount_micros > run->budget_micros ||
        tranche->released_micros != run->released_micros + tranche->amount_micros)
        return damaged(error, "the tranche's amounts do not add up");
    if (tranche->number > 0 && !tranche_earned(core, tranche))
        return damaged(error, "what the tranche was released on is not what is known");
    run->released_micros = tranche->released_micros;
    run->tranches++;
    core->budget.released_micros += tranche->amount_micros;
    core->place_wanted = true;
    return budget_holds(core, run) ? ERR_OK
                                   : damaged(error, "released <= approved does not hold");
}

/* ---- campaign and runs --------------------------------------------------------------- */

static bool gates_sound(const struct campaign_spec *spec)
{
    for (uint32_t g = 0; g < spec->gate_count; g++) {
        const struct gate_spec *gate = &spec->gates[g];
        if (gate->rule_count < 1 || gate->rule_count > RULES_PER_GATE_MAX) return false;
        for (uint32_t i = 0; i < gate->rule_count; i++)
            if (gate_rule_ranks(gate->rules[i].rule) && gate->rules[i].eta < 2) return false;
    }
    return true;
}

static enum err apply_campaign(struct core *core, const struct campaign_spec *spec,
                               struct error *error)
{
    if (core->has_campaign) return damaged(error, "a second campaign");
    if (spec->gate_count > core->limits.gates_max) return damaged(error, "too many gates");
    if (spec->tier_count < 1 || spec->tier_count > TIERS_MAX || spec->guard_count < 1 ||
        spec->guard_count > GUARDS_MAX || spec->class_count < 1 ||
        spec->class_count > CLASSES_MAX || spec->owner_count > OWNERS_MAX ||
        spec->runbook_count > RUNBOOK_ROWS_MAX)
        return damaged(error, "a count is out of range");
    if (spec->tiers[spec->tier_count - 1].up_to_micros != spec->budget_micros)
        return damaged(error, "the last tier does not end at the budget");
    if (spec->lease_ns <= 0 || spec->lease_ns > INT64_C(1) << 52 || spec->stop_grace_ns < 0 ||
        spec->stop_grace_ns > INT64_C(1) << 52 || spec->heartbeat_ns <= 0)
        return damaged(error, "a duration is out of range");
    if (!gates_sound(spec)) return damaged(error, "a gate's rules are out of range");
    core->campaign = *spec;
    core->campaign.file_text = (struct text){ "", 0 };
    if (spec->gate_count > 0)
        memcpy(core->gates, spec->gates, spec->gate_count * sizeof *spec->gates);
    core->campaign.gates = core->gates;
    core->has_campaign = true;
    return ERR_OK;
}

static uint32_t find_tenant(struct core *core, const char *name)
{
    for (uint32_t t = 0; t < core->tenant_count; t++)
        if (strcmp(core->tenants[t], name) == 0) return t;
    if (core->tenant_count == TENANTS_MAX) return NO_INDEX;
    text_copy(core->tenants[core->tenant_count], NAME_MAX_BYTES, text_of(name));
    return core->tenant_count++;
}

static uint32_t name_slot(const struct core *core, struct text name)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < name.len; i++)
        hash = hash_mix(hash, (uint8_t)name.data[i]);
    uint32_t at = (uint32_t)(hash & (core->name_slot_count - 1));
    while (core->name_slots[at] != NO_INDEX &&
           !text_is(name, core->runs[core->name_slots[at]].name))
        at = (at + 1) & (core->name_slot_count - 1);
    return at;
}

uint32_t core_find_run(const struct core *core, struct text name)
{
    return core->name_slots[name_slot(core, name)];
}

static enum err check_run_spec(const struct core *core, const struct run_spec *spec,
                               struct error *error)
{
    if (!core->has_campaign) return damaged(error, "a run before its campaign");
    if (core->run_count == core->limits.runs_max) return damaged(error, "too many runs");
    if (core_find_run(core, text_of(spec->name)) != NO_INDEX)
        return damaged(error, "two runs of one name");
    if (spec->ranks < 1 || spec->ranks > GANG_MAX) return damaged(error, "a bad gang size");
    if (spec->gate_count > GATES_PER_RUN_MAX ||
        spec->gate_count > core->limits.run_gates_max - core->run_gate_count)
        return damaged(error, "too many gates");
    if (spec->guard_index >= core->campaign.guard_count ||
        (spec->class_index != NO_INDEX && spec->class_index >= core->campaign.class_count))
        return damaged(error, "the run names a guardrail or class that does not exist");
    int64_t sum = spec->first_tranche_micros;
    if (sum < 0) return damaged(error, "a negative tranche");
    for (uint32_t i = 0; i < spec->gate_count; i++) {
        if (spec->gates[i].gate_index >= core->campaign.gate_count)
            return damaged(error, "the run names a gate that does not exist");
        if (spec->gates[i].tranche_micros < 0) return damaged(error, "a negative tranche");
        sum = add_saturated(sum, spec->gates[i].tranche_micros);
    }
    if (sum != spec->budget_micros) return damaged(error, "the tranches are not the budget");
    return ERR_OK;
}

static enum err apply_run(struct core *core, const struct run_spec *spec, struct error *error)
{
    enum err rc = check_run_spec(core, spec, error);
    if (rc != ERR_OK) return rc;
    uint32_t tenant = find_tenant(core, spec->tenant);
    if (tenant == NO_INDEX) return damaged(error, "too many teams");
    uint32_t index = core->run_count;
    struct run *run = &core->runs[index];
    memset(run, 0, sizeof *run);
    text_copy(run->name, sizeof run->name, text_of(spec->name));
    core->name_slots[name_slot(core, text_of(run->name))] = index;
    core->run_count++;
    run->tenant = tenant;
    run->ranks = spec->ranks;
    run->class_index = spec->class_index;
    run->guard_index = spec->guard_index;
    run->owner_index = spec->owner_index;
    run->priority = spec->priority;
    run->builtin = spec->builtin;
    run->steps = spec->steps;
    run->budget_micros = spec->budget_micros;
    run->first_tranche_micros = spec->first_tranche_micros;
    run->first_gate = core->run_gate_count;
    run->gate_count = spec->gate_count;
    run->attempt_slot = NO_INDEX;
    run->state = RUN_STATE_QUEUED;
    run->reason = REASON_SUBMITTED;
    run->state_since_ns = run->submitted_ns = core->now_ns;
    run->loss_micro = run->val_loss_micro = run->val_best_micro = LOSS_UNKNOWN;
    run->util_ppm = UTIL_UNKNOWN;
    run->fair_ppm = UTIL_UNKNOWN;
    for (uint32_t i = 0; i < spec->gate_count; i++)
        core->run_gates[core->run_gate_count++] =
            (struct run_gate){ .gate_index = spec->gates[i].gate_index,
                               .tranche_micros = spec->gates[i].tranche_micros,
                               .loss_micro = LOSS_UNKNOWN,
                               .best_micro = LOSS_UNKNOWN,
                               .mean_micro = LOSS_UNKNOWN };
    core->state_count[RUN_STATE_QUEUED]++;
    queue_add(core, index);
    core->place_wanted = true;
    return ERR_OK;
}

/* ---- lives and workers --------------------------------------------------------------- */

/* A new life: no worker of the last one is known, and what its attempts held is uncertain. */
static enum err apply_epoch(struct core *core, const struct record_epoch *epoch,
                            struct error *error)
{
    if (!core->has_campaign || epoch->epoch != core->epoch + 1)
        return damaged(error, "epochs rise by one");
    core->epoch = epoch->epoch;
    core->workers_expected = epoch->workers;
    core->workers_joined = 0;
    core->opened_ns = core->now_ns;
    core->suspended = core->space_low = core->closed = false;
    for (uint32_t w = 0; w < core->limits.workers_max; w++) {
        core->workers[w].present = false;
        core->workers[w].run = NO_INDEX;
    }
    for (uint32_t a = 0; a < core->attempts_max; a++) {
        struct attempt *attempt = &core->attempts[a];
        if (attempt->run == NO_INDEX) continue;
        attempt->orphaned = true;
        for (uint32_t i = 0; i < attempt->member_count; i++) {
            struct member *member = &core->members[attempt->first_member + i];
            if (member->state != MEMBER_ENDED) member->state = MEMBER_LOST;
        }
        due_update(core, attempt->run);
    }
    core->place_wanted = true;
    return ERR_OK;
}

/* The run whose live attempt of this life holds the worker, or NO_INDEX: one that was lost and is back
 * may still be at what it did, so its slot is not free before that attempt has ended. */
static uint32_t still_held_by(const struct core *core, uint32_t worker)
{
    for (uint32_t a = 0; a < core->attempts_max; a++) {
        const struct attempt *attempt = &core->attempts[a];
        if (attempt->run == NO_INDEX || attempt->orphaned) continue;
        for (uint32_t i = 0; i < attempt->member_count; i++)
            if (core->members[attempt->first_member + i].worker == worker) return attempt->run;
    }
    return NO_INDEX;
}

static enum err apply_worker(struct core *core, const struct record_worker *hello,
                             struct error *error)
{
    if (hello->worker == 0 || hello->worker >= core->limits.workers_max ||
        hello->class_index >= core->campaign.class_count || core->epoch == 0)
        return damaged(error, "a worker out of range");
    struct worker *worker = &core->workers[hello->worker];
    if (worker->present) return damaged(error, "the worker is here already");
    uint32_t host = roster_host(core, hello->host);
    if (host == NO_INDEX) return damaged(error, "too many hosts");
    *worker = (struct worker){ .present = true,
                               .run = still_held_by(core, hello->worker),
                               .host = host,
                               .class_index = hello->class_index,
                               .slot = hello->slot,
                               .threads = hello->threads,
                               .peak_flops = hello->peak_flops,
                               .on_cpu = hello->on_cpu };
    if (!text_copy(worker->pci_bus_id, sizeof worker->pci_bus_id, hello->pci_bus_id)) {
        *worker = (struct worker){ .run = NO_INDEX };
        return damaged(error, "a PCI bus id that is too long");
    }
    roster_join_device(core, hello->worker);
    core->workers_joined++;
    core->place_wanted = true;
    return ERR_OK;
}

static enum err apply_worker_lost(struct core *core, const struct record_worker_lost *lost,
                                  struct error *error)
{
    if (lost->worker >= core->limits.workers_max || !core->workers[lost->worker].present)
        return damaged(error, "no such worker");
    struct worker *worker = &core->workers[lost->worker];
    uint32_t run = worker->run;
    worker->present = false;
    worker->run = NO_INDEX;
    roster_leave_device(core, lost->worker);
    core->place_wanted = true;
    if (run == NO_INDEX) return ERR_OK;
    struct attempt *attempt = attempt_of(core, run);
    for (uint32_t i = 0; i < attempt->member_count; i++) {
        struct member *member = &core->members[attempt->first_member + i];
        if (member->worker == lost->worker && member->state != MEMBER_ENDED)
            member->state = MEMBER_LOST;
    }
    due_update(core, run);
    return ERR_OK;
}

/* ---- attempts ------------------------------------------------------------------------ */

static enum err check_placed(const struct core *core, const struct record_placed *placed,
                             struct error *error)
{
    if (placed->run >= core->run_count) return damaged(error, "no such run");
    const struct run *run = &core->runs[placed->run];
    if (run->state != RUN_STATE_QUEUED || run->attempt_slot != NO_INDEX)
        return damaged(error, "only a queued run is placed");
    if (placed->attempt != run->attempts + 1) return damaged(error, "attempts rise by one");
    if (placed->member_count != run->ranks) return damaged(error, "a gang is placed whole");
    if (placed->lease_end_ns <= core->now_ns || placed->rate_micros < 0)
        return damaged(error, "a lease must end after it begins");
    if (core->attempt_count == core->attempts_max || !roster_has_members(core, run->ranks))
        return damaged(error, "too many attempts");
    for (uint32_t i = 0; i < placed->member_count; i++) {
        uint32_t w = placed->workers[i];
        if (w == 0 || w >= core->limits.workers_max || !core->workers[w].present ||
            core->workers[w].run != NO_INDEX)
            return damaged(error, "a worker is not free");
        for (uint32_t j = 0; j < i; j++)
            if (placed->workers[j] == w)
                return damaged(error, "a worker twice in one gang");
            else if (core->workers[placed->workers[j]].device == core->workers[w].device)
                return damaged(error, "two members of a gang on one GPU");
    }
    return ERR_OK;
}

static enum err apply_placed(struct core *core, const struct record_placed *placed,
                             struct error *error)
{
    enum err rc = check_placed(core, placed, error);
    if (rc != ERR_OK) return rc;
    struct run *run = &core->runs[placed->run];
    uint32_t first = roster_take_members(core, placed->member_count);
    uint32_t slot = core->free_attempts[core->attempts_max - 1 - core->attempt_count++];
    core->attempts[slot] = (struct attempt){ .run = placed->run,
                                             .number = placed->attempt,
                                             .first_member = first,
                                             .member_count = placed->member_count,
                                             .backfilled = placed->backfilled,
                                             .placed_ns = core->now_ns,
                                             .last_end_ns = core->now_ns,
                                             .rate_micros = placed->rate_micros,
                                             .lease_sequence = 1,
                                             .lease_end_ns = placed->lease_end_ns,
                                             .window_start_ns = core->now_ns,
                                             .window_step = run->resume_step,
                                             .window_tokens = run->resume_tokens };
    for (uint32_t i = 0; i < placed->member_count; i++) {
        struct worker *worker = &core->workers[placed->workers[i]];
        worker->run = placed->run;
        core->members[first + i] = (struct member){ .worker = placed->workers[i],
                                                    .host = worker->host,
                                                    .state = MEMBER_LAUNCHING,
                                                    .exit_code = -1 };
    }
    run->attempts = placed->attempt;
    run->attempt_slot = slot;
    rc = set_money(core, &core->attempts[slot], 0, placed->reserved_micros, error);
    if (rc != ERR_OK) return rc;
    return set_state(core, placed->run, RUN_STATE_STARTING, REASON_NONE, error);
}

static enum err apply_lease(struct core *core, const struct record_lease *lease,
                            struct error *error)
{
    struct attempt *attempt = named_attempt(core, lease->run, lease->attempt);
    if (!attempt) return damaged(error, "no such attempt");
    if (attempt->intent != INTENT_NONE || attempt->orphaned)
        return damaged(error, "an attempt that is being stopped gets no lease");
    if (lease->sequence != attempt->lease_sequence + 1 ||
        lease->lease_end_ns < attempt->lease_end_ns)
        return damaged(error, "leases follow each other");
    attempt->lease_sequence = lease->sequence;
    attempt->lease_end_ns = lease->lease_end_ns;
    due_update(core, lease->run);
    return set_money(core, attempt, lease->settled_micros, lease->reserved_micros, error);
}

static enum err apply_member_started(struct core *core,
                                     const struct record_member_started *started,
                                     struct error *error)
{
    struct member *member = named_member(core, started->run, started->attempt, started->member);
    if (!member || member->state != MEMBER_LAUNCHING)
        return damaged(error, "the member is not launching");
    member->state = MEMBER_RUNNING;
    member->pid = started->pid;
    struct attempt *attempt = attempt_of(core, started->run);
    attempt->started_count++;
    if (attempt->started_count < attempt->member_count ||
        core->runs[started->run].state != RUN_STATE_STARTING)
        return ERR_OK;
    return set_state(core, started->run, RUN_STATE_RUNNING, REASON_NONE, error);
}

static void set_progress(struct run *run, uint64_t step, uint64_t tokens, int64_t loss_micro)
{
    run->step = step;
    run->tokens = tokens;
    if (loss_micro != LOSS_UNKNOWN) run->loss_micro = loss_micro;
}

static enum err apply_window(struct core *core, const struct record_window *window,
                             struct error *error)
{
    struct attempt *attempt = named_attempt(core, window->run, window->attempt);
    if (!attempt || window->length_ns < 0) return damaged(error, "no such attempt");
    struct run *run = &core->runs[window->run];
    if (window->step > attempt->window_step) {
        run->windows_steps += window->step - attempt->window_step;
        run->windows_ns = add_saturated(run->windows_ns, window->length_ns);
    }
    set_progress(run, window->step, window->tokens, window->loss_micro);
    run->util_ppm = window->util_ppm;
    run->fair_ppm = window->fair_ppm;
    run->window_held_ns = run->guard.held_ns; /* up to this window */
    run->rung = window->rung;
    run->util_flags = window->flags;
    run->guard = window->guard;
    attempt->window_start_ns = core->now_ns;
    attempt->window_step = window->step;
    attempt->window_tokens = window->tokens;
    attempt->window_cpu_ns = max_i64(0, window->cpu_ns);
    attempt->window_device = device_after(&attempt->window_device, &window->device);
    return ERR_OK;
}

static enum err apply_checkpoint(struct core *core, const struct record_checkpoint *checkpoint,
                                 struct error *error)
{
    if (!named_attempt(core, checkpoint->run, checkpoint->attempt))
        return damaged(error, "no such attempt");
    struct run *run = &core->runs[checkpoint->run];
    if (checkpoint->attempt <= run->pinned_attempt)
        return damaged(error, "the run went back to an earlier checkpoint");
    run->resume_step = checkpoint->step;
    run->resume_tokens = checkpoint->tokens;
    run->resume_pinned = false;
    text_copy(run->resume_path, sizeof run->resume_path, checkpoint->path);
    return ERR_OK;
}

static enum err apply_stopping(struct core *core, const struct record_stopping *stopping,
                               struct error *error)
{
    struct attempt *attempt = named_attempt(core, stopping->run, stopping->attempt);
    if (!attempt || stopping->intent == INTENT_NONE)
        return damaged(error, "no such attempt, or no intent");
    struct run *run = &core->runs[stopping->run];
    attempt->intent = stopping->intent;
    attempt->reason = stopping->reason;
    attempt->park_until_ns = stopping->park_until_ns;
    if (stopping->pinned) {
        run->resume_pinned = true;
        run->pinned_attempt = stopping->attempt;
        run->resume_step = stopping->resume_step;
        run->resume_tokens = stopping->resume_tokens;
        text_copy(run->resume_path, sizeof run->resume_path, stopping->resume_path);
    }
    return set_state(core, stopping->run, RUN_STATE_STOPPING, stopping->reason, error);
}

static enum err apply_member_ended(struct core *core, const struct record_member_ended *ended,
                                   struct error *error)
{
    struct member *member = named_member(core, ended->run, ended->attempt, ended->member);
    if (!member || member->state == MEMBER_ENDED)
        return damaged(error, "no such member, or its end is known already");
    member->state = MEMBER_ENDED;
    member->ending = ended->ending;
    member->exit_code = ended->exit_code;
    member->signal = ended->signal;
    struct attempt *attempt = attempt_of(core, ended->run);
    attempt->ended_count++;
    attempt->last_end_ns = core->now_ns;
    if (ended->member == 0)
        set_progress(&core->runs[ended->run], ended->step, ended->tokens, ended->loss_micro);
    due_update(core, ended->run);
    return ERR_OK;
}

static void free_attempt(struct core *core, struct attempt *attempt)
{
    uint32_t run = attempt->run, slot = core->runs[run].attempt_slot;
    for (uint32_t i = 0; i < attempt->member_count; i++) {
        uint32_t w = core->members[attempt->first_member + i].worker;
        if (!attempt->orphaned && core->workers[w].run == run) core->workers[w].run = NO_INDEX;
    }
    roster_return_members(core, attempt->first_member, attempt->member_count);
    core->runs[run].attempt_slot = NO_INDEX;
    attempt->run = NO_INDEX;
    core->free_attempts[core->attempts_max - core->attempt_count--] = slot;
}

static enum err apply_attempt_ended(struct core *core, const struct record_attempt_ended *ended,
                                    struct error *error)
{
    struct attempt *attempt = named_attempt(core, ended->run, ended->attempt);
    if (!attempt || attempt->ended_count < attempt->member_count)
        return damaged(error, "no such attempt, or a member still runs");
    int64_t held_micros = attempt->settled_micros + attempt->reserved_micros;
    if (ended->settled_micros > held_micros ||
        ended->returned_micros != held_micros - ended->settled_micros)
        return damaged(error, "an attempt cannot cost more than was reserved for it");
    enum err rc = set_money(core, attempt, ended->settled_micros, 0, error);
    if (rc != ERR_OK) return rc;
    free_attempt(core, attempt);
    struct run *run = &core->runs[ended->run];
    if (ended->state == RUN_STATE_PARKED) run->park_until_ns = ended->until_ns;
    return set_state(core, ended->run, ended->state, ended->reason, error);
}

/* ---- gates, decisions, incidents ----------------------------------------------------- */

static enum err apply_gate(struct core *core, const struct record_gate *report,
                           struct error *error)
{
    if (!named_attempt(core, report->run, report->attempt))
        return damaged(error, "no such attempt");
    struct run *run = &core->runs[report->run];
    if (report->slot >= run->gate_count || report->slot != run_next_gate(core, run))
        return damaged(error, "gates are reached in order");
    struct run_gate *gate = &run_gates_of(core, run)[report->slot];
    if (gate->reported) return damaged(error, "the gate was reported before");
    if (!loss_sound(report->loss_micro)) return damaged(error, "a loss is out of range");
    gate->reported = true;
    gate->step = report->step;
    gate->tokens = report->tokens;
    gate->loss_micro = report->loss_micro;
    gate->best_micro = report->best_micro;
    gate->mean_micro = report->mean_micro;
    gate->asked_ns = core->now_ns;
    text_copy(gate->checkpoint, sizeof gate->checkpoint, report->checkpoint);
    run->val_loss_micro = report->loss_micro;
    if (!loss_finite(report->loss_micro)) return ERR_OK;
    run->val_best_micro = report->best_micro;
    run->val_sum_micro += report->loss_micro;
    run->val_count++;
    return ERR_OK;
}

/* The question that a decision is about. */
static struct request *request_of(struct core *core, const struct record_decision *decision)
{
    return decision->subject == SUBJECT_TIER ? &core->budget.request
                                             : &core->runs[decision->run].request;
}

/* HOLD: a new question, or an open one that goes to the delegate. */
static enum err ask(struct core *core, const struct record_decision *decision, uint32_t attempt,
                    struct error *error)
{
    struct request *request = request_of(core, decision);
    if (decision->by_default) {
        if (!request->open || decision->owner != request_heir(core, request))
            return damaged(error, "an open question goes to its owner's delegate, once");
        const struct owner_spec *first = &core->campaign.owners[request->first_owner];
        request->owner = decision->owner;
        request->delegated = true;
        request->since_ns = core->now_ns;
        request->deadline_ns = add_saturated(core->now_ns, first->answer_within_ns);
    } else if (decision->subject == SUBJECT_RUN) {
        return damaged(error, "who is asked about a held run follows from the run");
    } else {
        if (decision->request != 0 && decision->request != core->request_count + 1)
            return damaged(error, "questions are numbered in turn");
        request_open(core, request, decision->owner, attempt);
        request->rule = decision->rule;
        request->observed_micro = decision->observed_micro;
        request->bound_micro = decision->bound_micro;
        request->rank = decision->rank;
        request->siblings = decision->siblings;
    }
    if (decision->subject != SUBJECT_TIER) due_update(core, decision->run);
    return ERR_OK;
}

static enum err decide_gate(struct core *core, const struct record_decision *decision,
                            struct error *error)
{
    if (decision->run >= core->run_count ||
        decision->slot >= core->runs[decision->run].gate_count)
        return damaged(error, "no such gate");
    struct run *run = &core->runs[decision->run];
    struct run_gate *gate = &run_gates_of(core, run)[decision->slot];
    if (!gate->reported || gate->verdict == VERDICT_GO || gate->verdict == VERDICT_NO_GO)
        return damaged(error, "a gate has one final verdict, after it was reached");
    if (gate->verdict == VERDICT_HOLD && decision->verdict == VERDICT_HOLD &&
        !decision->by_default)
        return damaged(error, "the gate is on hold already");
    gate->verdict = decision->verdict;
    if (decision->verdict == VERDICT_HOLD) return ask(core, decision, run->attempts, error);
    run->request.open = false;
    due_update(core, decision->run);
    if (run->state != RUN_STATE_HELD) return ERR_OK;
    bool go = decision->verdict == VERDICT_GO;
    return set_state(core, decision->run, go ? RUN_STATE_QUEUED : RUN_STATE_STOPPED,
                     REASON_OWNER, error);
}

static enum err decide_run(struct core *core, const struct record_decision *decision,
                           struct error *error)
{
    if (decision->run >= core->run_count || core->runs[decision->run].state != RUN_STATE_HELD)
        return damaged(error, "the run is not held");
    struct run *run = &core->runs[decision->run];
    if (decision->verdict == VERDICT_HOLD) return ask(core, decision, run->attempts, error);
    run->request.open = false;
    bool go = decision->verdict == VERDICT_GO;
    if (go) memset(run->runbook_used, 0, sizeof run->runbook_used);
    return set_state(core, decision->run, go ? RUN_STATE_QUEUED : RUN_STATE_STOPPED,
                     REASON_OWNER, error);
}

static enum err decide_tier(struct core *core, const struct record_decision *decision,
                            struct error *error)
{
    struct budget *budget = &core->budget;
    if (decision->tier != budget->tiers_open || decision->tier >= core->campaign.tier_count ||
        budget->tier_refused)
        return damaged(error, "this tier is not the next");
    if (decision->verdict == VERDICT_HOLD) {
        if (!budget->tier_asked) budget->tier_asked_ns = core->now_ns;
        budget->tier_asked = true;
        return ask(core, decision, 0, error);
    }
    budget->request.open = false;
    core->place_wanted = true;
    if (decision->verdict == VERDICT_GO) {
        struct record_tier tier = {
            .tier = decision->tier,
            .approved_micros = core->campaign.tiers[decision->tier].up_to_micros,
        };
        return apply_tier(core, &tier, error);
    }
    budget->tier_asked = false;
    budget->tier_refused = true;
    return ERR_OK;
}

/* What a verdict on a question needs: that the question is open, its time over when it is by default,
 * and a signature when the owner has keys. */
static enum err check_answer(struct core *core, const struct record_decision *decision,
                             struct error *error)
{
    if (decision->subject != SUBJECT_TIER && decision->run >= core->run_count)
        return damaged(error, "no such run");
    const struct request *request = request_of(core, decision);
    if (decision->by_default && request_due_ns(core, request) > core->now_ns)
        return damaged(error, "a default applies when its deadline has passed");
    if (decision->verdict == VERDICT_HOLD) return ERR_OK;
    if (decision->request != 0 && (!request->open || decision->request != request->id))
        return damaged(error, "an answer to a question that is not open");
    if (decision->by_default) {
        const struct owner_spec *first = &core->campaign.owners[request->first_owner];
        bool go = decision->verdict == VERDICT_GO;
        if (request_heir(core, request) != NO_INDEX ||
            first->otherwise != (go ? OTHERWISE_GO : OTHERWISE_NO_GO))
            return damaged(error, "the campaign says otherwise about a question not answered");
        return ERR_OK;
    }
    if (decision->owner >= core->campaign.owner_count) return ERR_OK;
    if (request->open && decision->owner != request->owner)
        return damaged(error, "an answer by an owner who is not asked");
    if (!decision->is_signed && core->campaign.owners[decision->owner].key_count > 0)
        return damaged(error, "this owner's answers are signed");
    return ERR_OK;
}

static enum err apply_decision(struct core *core, const struct record_decision *decision,
                               struct error *error)
{
    if (decision->verdict == VERDICT_NONE)
        return damaged(error, "a decision without a verdict");
    enum err rc = check_answer(core, decision, error);
    if (rc != ERR_OK) return rc;
    if (decision->verdict != VERDICT_HOLD && decision->request > 0 && !decision->by_default) {
        core->answered[core->answered_next] = decision->signoff.origin;
        core->answered_next = (core->answered_next + 1) % ANSWERS_KEPT;
    }
    switch (decision->subject) {
    case SUBJECT_GATE: return decide_gate(core, decision, error);
    case SUBJECT_RUN: return decide_run(core, decision, error);
    case SUBJECT_TIER: return decide_tier(core, decision, error);
    }
    return damaged(error, "a decision about nothing");
}

static enum err apply_incident(struct core *core, const struct record_incident *incident,
                               struct error *error)
{
    if (incident->run >= core->run_count || incident->incident >= INCIDENT_COUNT)
        return damaged(error, "no such run or incident");
    struct run *run = &core->runs[incident->run];
    uint16_t *retries = &run->retries[incident_retry_class(incident->incident)];
    if (*retries < UINT16_MAX) (*retries)++;
    if (incident->row == NO_INDEX) return ERR_OK;
    if (incident->row >= core->campaign.runbook_count || incident->step >= RUNBOOK_STEPS_MAX)
        return damaged(error, "no such runbook step");
    uint16_t *used = &run->runbook_used[incident->row][incident->step];
    if (*used < UINT16_MAX) (*used)++;
    return ERR_OK;
}

static enum err apply_run_state(struct core *core, const struct record_run_state *to,
                                struct error *error)
{
    if (to->run >= core->run_count || to->state >= RUN_STATE_COUNT)
        return damaged(error, "no such run or state");
    if (run_state_live(core->runs[to->run].state) || run_state_live(to->state))
        return damaged(error, "live states change with their attempt");
    return set_state(core, to->run, to->state, to->reason, error);
}

/* ---- all ----------------------------------------------------------------------------- */

static enum err apply_body(struct core *core, const struct record *record, struct error *error)
{
    switch (record->kind) {
    case RECORD_CAMPAIGN: return apply_campaign(core, &record->as.campaign, error);
    case RECORD_RUN: return apply_run(core, &record->as.run, error);
    case RECORD_EPOCH: return apply_epoch(core, &record->as.epoch, error);
    case RECORD_WORKER: return apply_worker(core, &record->as.worker, error);
    case RECORD_WORKER_LOST: return apply_worker_lost(core, &record->as.worker_lost, error);
    case RECORD_TIER: return apply_tier(core, &record->as.tier, error);
    case RECORD_TRANCHE: return apply_tranche(core, &record->as.tranche, error);
    case RECORD_PLACED: return apply_placed(core, &record->as.placed, error);
    case RECORD_LEASE: return apply_lease(core, &record->as.lease, error);
    case RECORD_MEMBER_STARTED:
        return apply_member_started(core, &record->as.member_started, error);
    case RECORD_WINDOW: return apply_window(core, &record->as.window, error);
    case RECORD_CHECKPOINT: return apply_checkpoint(core, &record->as.checkpoint, error);
    case RECORD_GATE: return apply_gate(core, &record->as.gate, error);
    case RECORD_DECISION: return apply_decision(core, &record->as.decision, error);
    case RECORD_INCIDENT: return apply_incident(core, &record->as.incident, error);
    case RECORD_STOPPING: return apply_stopping(core, &record->as.stopping, error);
    case RECORD_MEMBER_ENDED: return apply_member_ended(core, &record->as.member_ended, error);
    case RECORD_ATTEMPT_ENDED:
        return apply_attempt_ended(core, &record->as.attempt_ended, error);
    case RECORD_RUN_STATE: return apply_run_state(core, &record->as.run_state, error);
    case RECORD_SUSPENDED: core->suspended = true; return ERR_OK;
    case RECORD_SPACE:
        core->space_low = record->as.space.low;
        core->place_wanted = true;
        return ERR_OK;
    case RECORD_NOTE: return ERR_OK;
    case RECORD_CLOSED: core->closed = true; return ERR_OK;
    case RECORD_KIND_COUNT: break;
    }
    return damaged(error, "unknown kind");
}

enum err core_apply(struct core *core, const struct record *record, struct error *error)
{
    if (record->at_ns < core->now_ns) return damaged(error, "time falls");
    core->now_ns = record->at_ns;
    if (core->closed && record->kind != RECORD_EPOCH)
        return damaged(error, "the life that wrote this had ended");
    return apply_body(core, record, error);
}
