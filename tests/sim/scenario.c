#include "tests/sim/scenario.h"

#include <stdio.h>
#include <string.h>

static uint32_t below(struct rng *rng, uint32_t bound)
{
    return (uint32_t)rng_below(rng, bound);
}

static void make_rules(struct gate_spec *gate, struct rng *rng)
{
    gate->rule_count = 1 + below(rng, 2);
    for (uint32_t i = 0; i < gate->rule_count; i++) {
        struct gate_rule_spec *rule = &gate->rules[i];
        uint32_t pick = below(rng, 12);
        rule->rule = pick < 4   ? GATE_RULE_RANK
                     : pick < 6 ? GATE_RULE_MILESTONE
                     : pick < 8 ? GATE_RULE_MEDIAN
                     : pick < 10
                         ? (enum gate_rule)(GATE_RULE_SIGNOFF + 1 +
                                            below(rng, GATE_RULE_COUNT - 1 - GATE_RULE_SIGNOFF))
                         : GATE_RULE_SIGNOFF;
        rule->loss_max_micro = 2000000 + (int64_t)below(rng, 3000000);
        rule->eta = 2 + below(rng, 3);
        rule->siblings_min = 1 + below(rng, 3);
        rule->margin_micro = below(rng, 50000);
        rule->seed_sd_micro = below(rng, 1000);
        rule->limit = below(rng, 10000000);
        rule->share_min_ppm = (int32_t)below(rng, 500000);
        rule->points_min = below(rng, 3);
    }
}

static void make_gates(struct campaign *campaign, struct rng *rng)
{
    struct campaign_spec *spec = &campaign->spec;
    spec->gate_count = below(rng, 4);
    struct gate_spec *gates =
        (struct gate_spec *)arena_array(&campaign->arena, spec->gate_count, sizeof *gates);
    for (uint32_t g = 0; g < spec->gate_count; g++) {
        snprintf(gates[g].name, sizeof gates[g].name, "gate%u", g);
        gates[g].step = 100 * (g + 1);
        gates[g].owner_index = below(rng, spec->owner_count);
        make_rules(&gates[g], rng);
    }
    spec->gates = gates;
}

static void make_policy(struct campaign *campaign, struct rng *rng)
{
    struct campaign_spec *spec = &campaign->spec;
    text_copy(spec->name, sizeof spec->name, TEXT("random"));
    text_copy(spec->currency, sizeof spec->currency, TEXT("USD"));
    spec->budget_micros = 1000000 + (int64_t)rng_below(rng, 160000000);
    spec->tier_count = 1 + below(rng, 3);
    for (uint32_t t = 0; t < spec->tier_count; t++) {
        spec->tiers[t].up_to_micros = spec->budget_micros * (t + 1) / spec->tier_count;
        spec->tiers[t].owner_index = below(rng, 3) == 0 ? 0 : NO_INDEX;
    }
    spec->owner_count = 2;
    text_copy(spec->owners[0].name, NAME_MAX_BYTES, TEXT("alice"));
    text_copy(spec->owners[1].name, NAME_MAX_BYTES, TEXT("bob"));
    spec->class_count = 1;
    text_copy(spec->classes[0].name, NAME_MAX_BYTES, TEXT("cpu"));
    spec->classes[0].rate_micros = 1 + (int64_t)rng_below(rng, 5000000);
    spec->place = (enum place_policy)below(rng, PLACE_POLICY_COUNT);
    spec->backfill = below(rng, 2) == 0;
    spec->heartbeat_ns = NS_PER_S;
    spec->lease_ns = (int64_t)(10 + below(rng, 60)) * NS_PER_S;
    spec->stop_grace_ns = (int64_t)(1 + below(rng, 30)) * NS_PER_S;
    spec->worker_timeout_ns = spec->lease_ns / 2;
    spec->clock_error_ppm = (int32_t)below(rng, 2000);
    spec->backoff_ns = (int64_t)below(rng, 3) * NS_PER_S;
    spec->backoff_max_ns = 60 * NS_PER_S;
    spec->guard_count = 1;
    spec->guards[0] =
        (struct guard_spec){ .window_ns = 20 * NS_PER_S,
                             .grace_ns = 60 * NS_PER_S,
                             .floor_ppm = below(rng, 3) ? (int32_t)below(rng, 200000) : 0,
                             .clear_ppm = 250000,
                             .warn_windows = 2,
                             .park_windows = 4,
                             .stop_windows = 8,
                             .park_ns = 30 * NS_PER_S };
    spec->runbook_count = 3;
    spec->runbook[0] = (struct runbook_row){
        .incident = INCIDENT_TRAINER_FAILED,
        .exit_code = RUNBOOK_EXIT_ANY,
        .step_count = 3,
        .steps = { { RUNBOOK_RESTART, 2 }, { RUNBOOK_PARK, 1 }, { RUNBOOK_HOLD, 1 } }
    };
    spec->runbook[1] = (struct runbook_row){ .incident = INCIDENT_HANG,
                                             .exit_code = RUNBOOK_EXIT_ANY,
                                             .step_count = 1,
                                             .steps = { { RUNBOOK_RESTART, 3 } } };
    spec->runbook[2] =
        (struct runbook_row){ .incident = INCIDENT_LOST_WORKER,
                              .exit_code = RUNBOOK_EXIT_ANY,
                              .step_count = 1,
                              .steps = { { RUNBOOK_RESTART, RUNBOOK_UNLIMITED } } };
}

static void make_run(struct campaign *campaign, struct rng *rng, uint32_t index)
{
    struct run_spec *run = &campaign->runs[index];
    const struct campaign_spec *spec = &campaign->spec;
    snprintf(run->name, sizeof run->name, "run%u", index);
    snprintf(run->tenant, sizeof run->tenant, "team%u", below(rng, 3));
    run->ranks = below(rng, 3) == 0 ? 1 + below(rng, 4) : 1;
    run->class_index = below(rng, 2) == 0 ? 0 : NO_INDEX;
    run->priority = (int32_t)below(rng, 2);
    run->steps = 50 + below(rng, 600);
    run->owner_index = below(rng, spec->owner_count);
    run->builtin = below(rng, 2) == 0;
    run->budget_micros = 100000 + (int64_t)rng_below(rng, below(rng, 2) ? 4000000 : 20000000);
    for (uint32_t g = 0; g < spec->gate_count; g++)
        if (spec->gates[g].step <= run->steps) run->gates[run->gate_count++].gate_index = g;
    int64_t share = run->budget_micros / (run->gate_count + 1);
    run->first_tranche_micros = run->budget_micros - share * run->gate_count;
    for (uint32_t g = 0; g < run->gate_count; g++)
        run->gates[g].tranche_micros = share;
}

void scenario_campaign(struct campaign *campaign, struct rng *rng, uint32_t runs)
{
    memset(campaign, 0, sizeof *campaign);
    make_policy(campaign, rng);
    make_gates(campaign, rng);
    campaign->run_count = 1 + below(rng, runs);
    campaign->runs = (struct run_spec *)arena_array(&campaign->arena, campaign->run_count,
                                                    sizeof *campaign->runs);
    for (uint32_t r = 0; r < campaign->run_count; r++)
        make_run(campaign, rng, r);
}

void scenario_fini(struct campaign *campaign)
{
    arena_fini(&campaign->arena);
}

struct core *scenario_core(const struct campaign *campaign, uint32_t workers)
{
    struct core_limits limits = { .runs_max = campaign->run_count,
                                  .workers_max = workers + 1,
                                  .gates_max = campaign->spec.gate_count };
    for (uint32_t r = 0; r < campaign->run_count; r++)
        limits.run_gates_max += campaign->runs[r].gate_count;
    struct core *core = core_create(&limits);
    check(core != NULL);
    return core;
}

void shadow_init(struct shadow *shadow, const struct campaign *campaign, uint32_t workers)
{
    *shadow = (struct shadow){ .campaign = campaign, .workers = workers };
    shadow->core = scenario_core(campaign, workers);
    shadow->audit = audit_create();
    check(shadow->audit != NULL);
}

void shadow_fini(struct shadow *shadow)
{
    core_destroy(shadow->core);
    audit_destroy(shadow->audit);
    history_fini(&shadow->history);
}

static enum err take(void *context, const struct record *record, struct error *error)
{
    return audit_take((struct audit *)context, record, error);
}

static void audit_or_die(const struct shadow *shadow, const struct record *record)
{
    struct error error;
    if (audit_take(shadow->audit, record, &error) == ERR_OK) return;
    fprintf(stderr, "record %zu (%s): %s\n", shadow->history.count,
            record_kind_name(record->kind), error.text);
    check(false);
}

void shadow_record(struct shadow *shadow, const struct record *record)
{
    struct error error;
    history_add(&shadow->history, record);
    audit_or_die(shadow, record);
    if (core_apply(shadow->core, record, &error) == ERR_OK) return;
    fprintf(stderr, "record %zu (%s) does not replay: %s\n", shadow->history.count,
            record_kind_name(record->kind), error.text);
    check(false);
}

void shadow_cut(struct shadow *shadow, uint64_t count)
{
    struct error error;
    history_cut(&shadow->history, count);
    core_destroy(shadow->core);
    shadow->core = scenario_core(shadow->campaign, shadow->workers);
    enum err rc = history_replay(&shadow->history, shadow->core, &error);
    check(rc == ERR_OK);
    audit_destroy(shadow->audit);
    shadow->audit = audit_create();
    check(shadow->audit != NULL);
    rc = history_each(&shadow->history, take, shadow->audit, &error);
    check(rc == ERR_OK);
}

void shadow_check(const struct shadow *shadow, const struct core *core)
{
    const struct budget *budget = core_budget(core);
    struct audit_totals totals = audit_totals(shadow->audit);
    core_check(core);
    check(budget->approved_micros == totals.approved_micros);
    check(budget->released_micros == totals.released_micros);
    check(budget->reserved_micros == totals.reserved_micros);
    check(budget->spent_micros == totals.spent_micros);
}

void shadow_compare(const struct shadow *shadow, const struct core *core)
{
    shadow_check(shadow, core);
    check(core_digest(core) == core_digest(shadow->core));
}
