/* budget.c - tranches and tiers, and how long a lease the released money pays for. */

#include "proto/base/money.h"
#include "scheduler/core/internal.h"

int64_t budget_margin_ns(const struct core *core)
{
    const struct campaign_spec *spec = &core->campaign;
    int64_t span = spec->lease_ns + spec->stop_grace_ns;
    /* The span is below 2^53 ns by the campaign file's limits, so the product fits. */
    return spec->stop_grace_ns + div_ceil(span / 1000 * spec->clock_error_ppm, 1000) + 1;
}

int64_t budget_lease_end(const struct core *core, const struct run *run, int64_t before_micros,
                         int64_t placed_ns, int64_t rate_micros, int64_t wish_ns)
{
    int64_t left_micros = run->released_micros - before_micros;
    if (left_micros < 0) return placed_ns;
    int64_t affordable_ns = money_affords_ns(left_micros, run->ranks, rate_micros);
    int64_t end_ns = add_saturated(placed_ns, affordable_ns) - budget_margin_ns(core);
    return min_i64(end_ns, wish_ns);
}

static bool tier_open_next(struct core *core, const struct output *output)
{
    struct budget *budget = &core->budget;
    const struct campaign_spec *spec = &core->campaign;
    if (budget->tiers_open == spec->tier_count) return false;
    const struct tier_spec *tier = &spec->tiers[budget->tiers_open];
    if (tier->owner_index == NO_INDEX) {
        struct record record = { .kind = RECORD_TIER,
                                 .as.tier = { .tier = budget->tiers_open,
                                              .approved_micros = tier->up_to_micros } };
        core_emit(core, output, &record);
        return true;
    }
    if (budget->tier_asked || budget->tier_refused) return false;
    struct record record = { .kind = RECORD_DECISION,
                             .as.decision = { .subject = SUBJECT_TIER,
                                              .run = NO_INDEX,
                                              .slot = NO_INDEX,
                                              .tier = budget->tiers_open,
                                              .verdict = VERDICT_HOLD,
                                              .owner = tier->owner_index,
                                              .asked_ns = core->now_ns,
                                              .request = core->request_count + 1,
                                              .observed_micro = budget->approved_micros,
                                              .bound_micro = tier->up_to_micros,
                                              .reason = TEXT("open the next tier of spend") } };
    core_emit(core, output, &record);
    core_act(output, &(struct action){ .kind = ACTION_ASK, .run = NO_INDEX });
    return false;
}

/* Amount of tranche `number` of a run: 0 is the first, n belongs to GO at gate n - 1. */
static int64_t tranche_micros(const struct core *core, const struct run *run, uint32_t number)
{
    return number == 0 ? run->first_tranche_micros
                       : core->run_gates[run->first_gate + number - 1].tranche_micros;
}

int32_t budget_floor_ppm(const struct core *core, const struct run *run)
{
    const struct guard_spec *guard = &core->campaign.guards[run->guard_index];
    return run->window_held_ns < guard->grace_ns ? 0 : guard->floor_ppm;
}

static enum tranche_wait utilization_missing(const struct core *core, const struct run *run)
{
    if (core->campaign.guards[run->guard_index].floor_ppm == 0) return TRANCHE_WAIT_NONE;
    if (run->guard.held_ns == 0) return TRANCHE_WAIT_NO_WINDOW;
    if (run->fair_ppm < 0) return TRANCHE_WAIT_UNKNOWN;
    return run->fair_ppm < budget_floor_ppm(core, run) ? TRANCHE_WAIT_LOW : TRANCHE_WAIT_NONE;
}

/* Is all that the run has used so far paid for by what is settled and reserved? An attempt of an
 * earlier life is not settled before its end is known. */
static bool is_settled(const struct core *core, const struct run *run)
{
    if (run->attempt_slot == NO_INDEX) return run->reserved_micros == 0;
    const struct attempt *attempt = &core->attempts[run->attempt_slot];
    if (attempt->orphaned) return false;
    int64_t used_ns = core->now_ns - attempt->placed_ns;
    int64_t used = money_cost_micros(attempt->member_count, used_ns, attempt->rate_micros);
    return used <= attempt->settled_micros + attempt->reserved_micros;
}

enum tranche_wait budget_withheld(const struct core *core, uint32_t run_index)
{
    const struct run *run = &core->runs[run_index];
    if (run_has_verdict(core, run, VERDICT_NO_GO)) return TRANCHE_WAIT_NO_GO;
    if (run_has_verdict(core, run, VERDICT_HOLD)) return TRANCHE_WAIT_HOLD;
    enum tranche_wait missing = utilization_missing(core, run);
    if (missing != TRANCHE_WAIT_NONE) return missing;
    return is_settled(core, run) ? TRANCHE_WAIT_NONE : TRANCHE_WAIT_UNSETTLED;
}

enum tranche_wait core_tranche_waits_for(const struct core *core, uint32_t run_index)
{
    const struct run *run = core_run(core, run_index);
    if (run->tranches == 0 || run->tranches >= 1 + run_next_gate(core, run))
        return TRANCHE_WAIT_NONE;
    enum tranche_wait missing = budget_withheld(core, run_index);
    if (missing != TRANCHE_WAIT_NONE) return missing;
    int64_t amount = tranche_micros(core, run, run->tranches);
    bool covered = amount <= core->budget.approved_micros - core->budget.released_micros;
    return covered ? TRANCHE_WAIT_NONE : TRANCHE_WAIT_TIER;
}

bool budget_release(struct core *core, uint32_t run_index, const struct output *output)
{
    struct run *run = &core->runs[run_index];
    uint32_t allowed = 1 + run_next_gate(core, run);
    while (run->tranches < allowed) {
        if (run->tranches > 0 && budget_withheld(core, run_index) != TRANCHE_WAIT_NONE)
            return false;
        int64_t amount = tranche_micros(core, run, run->tranches);
        while (core->budget.released_micros + amount > core->budget.approved_micros)
            if (!tier_open_next(core, output)) return false;
        struct record record = { .kind = RECORD_TRANCHE,
                                 .as.tranche = { .run = run_index,
                                                 .number = run->tranches,
                                                 .amount_micros = amount,
                                                 .released_micros =
                                                     run->released_micros + amount,
                                                 .util_ppm = run->fair_ppm,
                                                 .floor_ppm = budget_floor_ppm(core, run),
                                                 .spent_micros = run->spent_micros } };
        core_emit(core, output, &record);
    }
    return true;
}

bool budget_needs_window(const struct core *core, uint32_t run_index)
{
    switch (core_tranche_waits_for(core, run_index)) {
    case TRANCHE_WAIT_NO_WINDOW:
    case TRANCHE_WAIT_UNKNOWN:
    case TRANCHE_WAIT_LOW: return true;
    case TRANCHE_WAIT_NONE:
    case TRANCHE_WAIT_NO_GO:
    case TRANCHE_WAIT_HOLD:
    case TRANCHE_WAIT_UNSETTLED:
    case TRANCHE_WAIT_TIER:
    case TRANCHE_WAIT_COUNT: break;
    }
    return false;
}

bool budget_may_grow(const struct core *core, uint32_t run_index)
{
    const struct run *run = &core->runs[run_index];
    bool tranche_due = run->tranches < 1 + run_next_gate(core, run);
    if (!tranche_due) return false;
    if (budget_needs_window(core, run_index)) return false; /* without money there is none */
    if (core->budget.tier_asked) return true;
    uint32_t open_runs =
        core->state_count[RUN_STATE_STARTING] + core->state_count[RUN_STATE_RUNNING] +
        core->state_count[RUN_STATE_STOPPING] + core->state_count[RUN_STATE_HELD] +
        core->state_count[RUN_STATE_PARKED];
    return open_runs > 0; /* what they leave unspent comes back to the campaign */
}

bool budget_holds(const struct core *core, const struct run *run)
{
    const struct budget *budget = &core->budget;
    return run->spent_micros >= 0 && run->reserved_micros >= 0 &&
           run->reserved_micros <= run->released_micros - run->spent_micros &&
           run->released_micros <= run->budget_micros && budget->spent_micros >= 0 &&
           budget->reserved_micros >= 0 &&
           budget->reserved_micros <= budget->released_micros - budget->spent_micros &&
           budget->released_micros <= budget->approved_micros &&
           budget->approved_micros <= core->campaign.budget_micros;
}
