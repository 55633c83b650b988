/* invariants.c - what must always hold (docs/ARCHITECTURE.md), as far as the state itself can show it,
 * and the digest of the state. */

#include "scheduler/core/internal.h"

#include <string.h>

/* ---- invariants ---------------------------------------------------------------------- */

/* Whether a member before this one that lives is on the same GPU. Looks at the ids, not at what the scheduler
 * makes of them. */
static bool shares_gpu(const struct core *core, const struct attempt *attempt, uint32_t index)
{
    const struct member *members = &core->members[attempt->first_member];
    const struct worker *worker = &core->workers[members[index].worker];
    if (!worker->pci_bus_id[0]) return false;
    for (uint32_t i = 0; i < index; i++) {
        const struct worker *other = &core->workers[members[i].worker];
        if (members[i].state <= MEMBER_RUNNING && other->host == worker->host &&
            strcmp(other->pci_bus_id, worker->pci_bus_id) == 0)
            return true;
    }
    return false;
}

static void check_attempt(const struct core *core, const struct attempt *attempt)
{
    const struct run *run = &core->runs[attempt->run];
    uint32_t started = 0, ended = 0;
    check(run_state_live(run->state));
    check(&core->attempts[run->attempt_slot] == attempt);
    check(run->attempts == attempt->number);
    check(attempt->reserved_micros == run->reserved_micros);
    check(attempt->settled_micros <= run->spent_micros);
    check((attempt->intent != INTENT_NONE) == (run->state == RUN_STATE_STOPPING) ||
          attempt->orphaned);
    check(attempt->member_count == run->ranks);
    for (uint32_t i = 0; i < attempt->member_count; i++) {
        const struct member *member = &core->members[attempt->first_member + i];
        started += member->pid != 0;
        ended += member->state == MEMBER_ENDED;
        if (attempt->orphaned) {
            check(member->state >= MEMBER_LOST);
        } else if (member->state <= MEMBER_RUNNING) {
            check(core->workers[member->worker].present);
            check(core->workers[member->worker].run == attempt->run);
            check(!shares_gpu(core, attempt, i));
        }
    }
    check(started <= attempt->started_count);
    check(ended == attempt->ended_count);
}

static void check_run(const struct core *core, uint32_t index)
{
    const struct run *run = &core->runs[index];
    check(budget_holds(core, run));
    check(run_state_live(run->state) == (run->attempt_slot != NO_INDEX));
    check((run->state == RUN_STATE_QUEUED) == (core->queued_at[index] != NO_INDEX));
    if (run->attempt_slot == NO_INDEX) check(run->reserved_micros == 0);
    if (run_state_ended(run->state)) check(run->released_micros == run->spent_micros);
    check(run->tranches <= 1 + run_next_gate(core, run));
    if (run->state == RUN_STATE_FINISHED) check(run_next_gate(core, run) == run->gate_count);
    uint32_t open = 0;
    for (uint32_t slot = 0; slot < run->gate_count; slot++) {
        const struct run_gate *gate = &core->run_gates[run->first_gate + slot];
        if (gate->verdict != VERDICT_NONE) check(gate->reported);
        if (gate->verdict != VERDICT_GO) open++;
        if (open > 1) check(!gate->reported); /* no gate is reached past one without GO */
    }
}

void core_check(const struct core *core)
{
    int64_t released = 0, reserved = 0, spent = 0;
    uint32_t counts[RUN_STATE_COUNT] = { 0 }, attempts = 0;
    for (uint32_t r = 0; r < core->run_count; r++) {
        check_run(core, r);
        released += core->runs[r].released_micros;
        reserved += core->runs[r].reserved_micros;
        spent += core->runs[r].spent_micros;
        counts[core->runs[r].state]++;
        check(core->due_at[r] == NO_INDEX || core->due_heap[core->due_at[r]] == r);
    }
    check(released == core->budget.released_micros);
    check(reserved == core->budget.reserved_micros);
    check(spent == core->budget.spent_micros);
    for (size_t s = 0; s < RUN_STATE_COUNT; s++)
        check(counts[s] == core->state_count[s]);
    for (uint32_t a = 0; a < core->attempts_max; a++) {
        if (core->attempts[a].run == NO_INDEX) continue;
        attempts++;
        check_attempt(core, &core->attempts[a]);
    }
    check(attempts == core->attempt_count);
    for (uint32_t w = 0; w < core->limits.workers_max; w++) {
        const struct worker *worker = &core->workers[w];
        if (worker->run == NO_INDEX) continue;
        check(worker->present);
        check(core->runs[worker->run].attempt_slot != NO_INDEX);
    }
}

/* ---- digest -------------------------------------------------------------------------- */

struct digest {
    uint64_t value;
};

static void mix(struct digest *digest, uint64_t value)
{
    digest->value = hash_mix(digest->value, value);
}

static void mix_signed(struct digest *digest, int64_t value)
{
    mix(digest, (uint64_t)value);
}

static void mix_string(struct digest *digest, const char *string)
{
    for (; *string; string++)
        mix(digest, (uint8_t)*string);
    mix(digest, 0);
}

static void mix_gate(struct digest *digest, const struct run_gate *gate)
{
    mix(digest, gate->gate_index);
    mix_signed(digest, gate->tranche_micros);
    mix(digest, gate->verdict);
    mix(digest, gate->reported);
    mix(digest, gate->step);
    mix(digest, gate->tokens);
    mix_signed(digest, gate->loss_micro);
    mix_signed(digest, gate->best_micro);
    mix_signed(digest, gate->mean_micro);
    mix_signed(digest, gate->asked_ns);
    mix_string(digest, gate->checkpoint);
}

static void mix_hash(struct digest *digest, const struct sha256 *hash)
{
    for (size_t i = 0; i < sizeof hash->bytes; i += sizeof(uint64_t)) {
        uint64_t part = 0; /* put together by hand: the same on every machine */
        for (size_t k = 0; k < sizeof part; k++)
            part = part << 8 | hash->bytes[i + k];
        mix(digest, part);
    }
}

static void mix_request(struct digest *digest, const struct request *request)
{
    mix(digest, request->id);
    mix(digest, request->open);
    mix(digest, request->delegated);
    mix(digest, request->owner);
    mix(digest, request->first_owner);
    mix(digest, request->attempt);
    mix_signed(digest, request->asked_ns);
    mix_signed(digest, request->since_ns);
    mix_signed(digest, request->deadline_ns);
    mix(digest, request->rule);
    mix_signed(digest, request->observed_micro);
    mix_signed(digest, request->bound_micro);
    mix(digest, request->rank);
    mix(digest, request->siblings);
}

static void mix_guard(struct digest *digest, const struct guard_state *guard)
{
    mix_signed(digest, guard->held_ns);
    mix_signed(digest, guard->idle_ns);
    mix(digest, guard->low_windows);
    mix(digest, guard->parks);
    mix(digest, guard->idle_warnings);
    mix(digest, guard->warned);
    mix(digest, guard->was_busy);
}

static void mix_device(struct digest *digest, const struct device_figures *device)
{
#define X(name, kind) mix_signed(digest, device->name);
    DEVICE_FIGURES(X)
#undef X
}

static void mix_attempt(struct digest *digest, const struct core *core,
                        const struct attempt *attempt)
{
    mix(digest, attempt->number);
    mix(digest, attempt->started_count);
    mix(digest, attempt->ended_count);
    mix(digest, attempt->orphaned);
    mix(digest, attempt->backfilled);
    mix(digest, attempt->intent);
    mix(digest, attempt->reason);
    mix_signed(digest, attempt->park_until_ns);
    mix_signed(digest, attempt->placed_ns);
    mix_signed(digest, attempt->rate_micros);
    mix(digest, attempt->lease_sequence);
    mix_signed(digest, attempt->lease_end_ns);
    mix_signed(digest, attempt->settled_micros);
    mix_signed(digest, attempt->reserved_micros);
    mix_signed(digest, attempt->last_end_ns);
    mix_signed(digest, attempt->window_start_ns);
    mix(digest, attempt->window_step);
    mix(digest, attempt->window_tokens);
    mix_signed(digest, attempt->window_cpu_ns);
    mix_device(digest, &attempt->window_device);
    for (uint32_t i = 0; i < attempt->member_count; i++) {
        const struct member *member = &core->members[attempt->first_member + i];
        mix(digest, member->worker);
        mix(digest, member->host);
        mix(digest, member->state);
        mix(digest, member->ending);
        mix_signed(digest, member->exit_code);
        mix_signed(digest, member->signal);
        mix(digest, member->pid);
    }
}

static void mix_run(struct digest *digest, const struct core *core, const struct run *run)
{
    mix_string(digest, run->name);
    mix(digest, run->tenant);
    mix(digest, run->ranks);
    mix(digest, run->class_index);
    mix(digest, run->guard_index);
    mix(digest, run->owner_index);
    mix_signed(digest, run->priority);
    mix(digest, run->builtin);
    mix(digest, run->steps);
    mix(digest, run->state);
    mix(digest, run->reason);
    mix_signed(digest, run->state_since_ns);
    mix_signed(digest, run->park_until_ns);
    mix_signed(digest, run->submitted_ns);
    mix_signed(digest, run->budget_micros);
    mix_signed(digest, run->first_tranche_micros);
    mix_signed(digest, run->released_micros);
    mix_signed(digest, run->spent_micros);
    mix_signed(digest, run->reserved_micros);
    mix(digest, run->tranches);
    mix(digest, run->attempts);
    mix(digest, run->step);
    mix(digest, run->tokens);
    mix_signed(digest, run->loss_micro);
    mix_signed(digest, run->val_loss_micro);
    mix_signed(digest, run->val_best_micro);
    mix_signed(digest, run->val_sum_micro);
    mix(digest, run->val_count);
    mix_signed(digest, run->util_ppm);
    mix_signed(digest, run->fair_ppm);
    mix_signed(digest, run->window_held_ns);
    mix(digest, run->rung);
    mix(digest, run->util_flags);
    mix_signed(digest, run->windows_ns);
    mix(digest, run->windows_steps);
    mix(digest, run->resume_step);
    mix(digest, run->resume_tokens);
    mix_string(digest, run->resume_path);
    mix(digest, run->resume_pinned);
    mix(digest, run->pinned_attempt);
    mix_request(digest, &run->request);
    mix_guard(digest, &run->guard);
    for (size_t c = 0; c < RETRY_CLASS_COUNT; c++)
        mix(digest, run->retries[c]);
    for (size_t row = 0; row < RUNBOOK_ROWS_MAX; row++)
        for (size_t step = 0; step < RUNBOOK_STEPS_MAX; step++)
            mix(digest, run->runbook_used[row][step]);
    for (uint32_t slot = 0; slot < run->gate_count; slot++)
        mix_gate(digest, &core->run_gates[run->first_gate + slot]);
    if (run->attempt_slot != NO_INDEX)
        mix_attempt(digest, core, &core->attempts[run->attempt_slot]);
}

static void mix_worker(struct digest *digest, const struct worker *worker)
{
    mix(digest, worker->present);
    mix(digest, worker->run);
    mix(digest, worker->host);
    mix(digest, worker->class_index);
    mix(digest, worker->slot);
    mix(digest, worker->threads);
    mix(digest, worker->peak_flops);
    mix(digest, worker->on_cpu);
    mix_string(digest, worker->pci_bus_id);
}

uint64_t core_digest(const struct core *core)
{
    struct digest digest = { 0 };
    const struct budget *budget = &core->budget;
    mix(&digest, core->has_campaign);
    mix_string(&digest, core->campaign.name);
    mix_signed(&digest, budget->approved_micros);
    mix_signed(&digest, budget->released_micros);
    mix_signed(&digest, budget->reserved_micros);
    mix_signed(&digest, budget->spent_micros);
    mix(&digest, budget->tiers_open);
    mix(&digest, budget->tier_asked);
    mix(&digest, budget->tier_refused);
    mix_signed(&digest, budget->tier_asked_ns);
    mix_request(&digest, &budget->request);
    mix(&digest, core->request_count);
    for (size_t i = 0; i < ARRAY_COUNT(core->answered); i++)
        mix_hash(&digest, &core->answered[i]);
    mix(&digest, core->answered_next);
    mix(&digest, core->epoch);
    mix(&digest, core->workers_expected);
    mix(&digest, core->workers_joined);
    mix_signed(&digest, core->opened_ns);
    mix(&digest, core->suspended);
    mix(&digest, core->space_low);
    mix(&digest, core->closed);
    mix(&digest, core->run_count);
    for (uint32_t r = 0; r < core->run_count; r++)
        mix_run(&digest, core, &core->runs[r]);
    for (uint32_t w = 0; w < core->limits.workers_max; w++)
        mix_worker(&digest, &core->workers[w]);
    for (uint32_t h = 0; h < core->host_count; h++)
        mix_string(&digest, core->hosts[h]);
    for (uint32_t t = 0; t < core->tenant_count; t++) {
        mix_string(&digest, core->tenants[t]);
        mix_signed(&digest, core->tenant_micros[t]);
    }
    return digest.value;
}
