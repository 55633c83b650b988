#include "tests/unit/report/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/money.h"

enum { CHECKPOINT_TEXT_BYTES = 64 };

void fixture_begin(struct fixture *fixture, const struct model_options *options,
                   uint32_t runs_max)
{
    memset(fixture, 0, sizeof *fixture);
    struct core_limits limits = {
        .runs_max = runs_max, .workers_max = 8, .gates_max = 8, .run_gates_max = 8 * runs_max
    };
    fixture->core = core_create(&limits);
    assert_non_null(fixture->core);
    fixture->now_ns = FIXTURE_START;
    model_init(&fixture->model, options);
}

void fixture_emit(struct fixture *fixture, struct record *record)
{
    struct error error = { 0 };
    record->at_ns = fixture->now_ns;
    if (core_apply(fixture->core, record, &error) != ERR_OK)
        fail_msg("record %llu (%s): %s", (unsigned long long)fixture->seq + 1,
                 record_kind_name(record->kind), error.text);
    fixture->seq++;
    model_add(&fixture->model, record, fixture->core);
    if (fixture->also) fixture->also(fixture->context, record, fixture->seq);
}

void fixture_finish(struct fixture *fixture, int64_t torn_bytes)
{
    struct model_source source = { .head_seq = fixture->seq,
                                   .ledger_bytes = 4096,
                                   .torn_bytes = torn_bytes };
    for (size_t i = 0; i < SHA256_BYTES; i++)
        source.head.bytes[i] = (uint8_t)(i * 7 + 1);
    model_finish(&fixture->model, fixture->core, &source);
}

void fixture_end(struct fixture *fixture)
{
    model_fini(&fixture->model);
    core_destroy(fixture->core);
}

char *fixture_render(const struct model *model, enum report_format format, size_t *bytes)
{
    char *data = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&data, &size);
    assert_non_null(to);
    struct error error;
    assert_int_equal(report_write(model, format, to, &error), ERR_OK);
    fclose(to);
    if (bytes) *bytes = size;
    return data;
}

/* ---- steps of a campaign ------------------------------------------------------------- */

static void at(struct fixture *fixture, int64_t minutes, int64_t seconds)
{
    fixture->now_ns = FIXTURE_START + minutes * NS_PER_MIN + seconds * NS_PER_S;
}

static void put_epoch(struct fixture *fixture, uint64_t epoch)
{
    fixture_emit(fixture, &(struct record){ .kind = RECORD_EPOCH,
                                            .as.epoch = { .epoch = epoch,
                                                          .host = TEXT("node-a"),
                                                          .pid = 4711,
                                                          .workers = 3,
                                                          .version = TEXT("0.1.0") } });
}

static void put_worker(struct fixture *fixture, uint32_t rank, uint64_t peak_flops)
{
    fixture_emit(fixture,
                 &(struct record){ .kind = RECORD_WORKER,
                                   .as.worker = { .worker = rank,
                                                  .host = TEXT("node-a"),
                                                  .boot_id = TEXT("b00t"),
                                                  .device = TEXT("2 cores of a test machine"),
                                                  .peak_source = TEXT("sgemm"),
                                                  .backend = TEXT("cpu"),
                                                  .backend_reason = TEXT("no GPU was found"),
                                                  .slot = rank - 1,
                                                  .peak_flops = peak_flops,
                                                  .threads = 1,
                                                  .on_cpu = true } });
}

static void put_tranche(struct fixture *fixture, uint32_t run, int64_t amount_micros)
{
    const struct run *r = core_run(fixture->core, run);
    fixture_emit(fixture,
                 &(struct record){
                     .kind = RECORD_TRANCHE,
                     .as.tranche = {
                         .run = run,
                         .number = r->tranches,
                         .amount_micros = amount_micros,
                         .released_micros = r->released_micros + amount_micros,
                         .util_ppm = r->fair_ppm,
                         .floor_ppm = r->window_held_ns <
                                              core_campaign(fixture->core)->guards[0].grace_ns
                                          ? 0
                                          : core_campaign(fixture->core)->guards[0].floor_ppm,
                         .spent_micros = r->spent_micros } });
}

/* A gang on workers first, first + 1, ..., with a lease of `minutes`. */
static void put_placed(struct fixture *fixture, uint32_t run, uint32_t first, int64_t minutes,
                       bool backfilled)
{
    const struct run *r = core_run(fixture->core, run);
    uint32_t workers[8];
    for (uint32_t i = 0; i < r->ranks; i++)
        workers[i] = first + i;
    int64_t rate = core_campaign(fixture->core)->classes[0].rate_micros;
    struct record record = { .kind = RECORD_PLACED,
                             .as.placed = {
                                 .run = run,
                                 .attempt = r->attempts + 1,
                                 .member_count = r->ranks,
                                 .workers = workers,
                                 .rate_micros = rate,
                                 .reserved_micros =
                                     money_cost_micros(r->ranks, minutes * NS_PER_MIN, rate),
                                 .lease_end_ns = fixture->now_ns + minutes * NS_PER_MIN,
                                 .resume_step = r->resume_step,
                                 .backfilled = backfilled } };
    fixture_emit(fixture, &record);
}

static void put_started(struct fixture *fixture, uint32_t run)
{
    const struct run *r = core_run(fixture->core, run);
    for (uint32_t i = 0; i < r->ranks; i++)
        fixture_emit(fixture, &(struct record){ .kind = RECORD_MEMBER_STARTED,
                                                .as.member_started = { .run = run,
                                                                       .attempt = r->attempts,
                                                                       .member = i,
                                                                       .pid = 100 + i } });
}

static int64_t used_micros(const struct fixture *fixture, uint32_t run)
{
    const struct attempt *attempt = core_attempt(fixture->core, run);
    return money_cost_micros(attempt->member_count, fixture->now_ns - attempt->placed_ns,
                             attempt->rate_micros);
}

/* Renews the lease so that `minutes` from now are paid. */
static void put_lease(struct fixture *fixture, uint32_t run, int64_t minutes)
{
    const struct attempt *attempt = core_attempt(fixture->core, run);
    fixture_emit(fixture,
                 &(struct record){
                     .kind = RECORD_LEASE,
                     .as.lease = { .run = run,
                                   .attempt = attempt->number,
                                   .sequence = attempt->lease_sequence + 1,
                                   .settled_micros = used_micros(fixture, run),
                                   .reserved_micros = money_cost_micros(attempt->member_count,
                                                                        minutes * NS_PER_MIN,
                                                                        attempt->rate_micros),
                                   .lease_end_ns = fixture->now_ns + minutes * NS_PER_MIN } });
}

struct window {
    uint64_t step;
    int64_t loss_micro;
    int32_t util_ppm; /* UTIL_UNKNOWN */
    enum guard_action action;
    bool capped; /* its GPU is seen, under a power limit */
};

/* A minute under a power limit that costs no clocks. */
static struct device_figures capped_device(void)
{
    return (struct device_figures){ .watched_ns = NS_PER_MIN,
                                    .energy_mj = 41999000,
                                    .energy_ns = NS_PER_MIN,
                                    .gpm_ns = NS_PER_MIN,
                                    .sm_ns = NS_PER_MIN / 2,
                                    .tensor_ns = NS_PER_MIN / 8,
                                    .busy_ns = NS_PER_MIN,
                                    .capped_ns = NS_PER_MIN,
                                    .util_ns = NS_PER_MIN,
                                    .mega_cycles = 1980 * 60,
                                    .clock_ns = NS_PER_MIN,
                                    .reason_ns = NS_PER_MIN,
                                    .xid_count = 1,
                                    .xid = 79,
                                    .power_limit_mw = 700000,
                                    .power_default_mw = 700000,
                                    .clock_max_mhz = 1980 };
}

static void put_window(struct fixture *fixture, uint32_t run, struct window window)
{
    const struct run *r = core_run(fixture->core, run);
    bool known = window.util_ppm != UTIL_UNKNOWN;
    bool acts = window.action != GUARD_ACTION_NONE;
    enum util_rung rung = window.capped ? UTIL_RUNG_MFU_GPM : UTIL_RUNG_MFU;
    struct device_figures device = { 0 };
    if (window.capped) device = capped_device();
    fixture_emit(
        fixture,
        &(struct record){ .kind = RECORD_WINDOW,
                          .as.window = { .run = run,
                                         .attempt = r->attempts,
                                         .step = window.step,
                                         .tokens = window.step * 8192,
                                         .loss_micro = window.loss_micro,
                                         .val_loss_micro = LOSS_UNKNOWN,
                                         .length_ns = NS_PER_MIN,
                                         .util_ppm = window.util_ppm,
                                         .fair_ppm = window.util_ppm,
                                         .guard.held_ns = r->guard.held_ns + NS_PER_MIN,
                                         .rung = known ? rung : UTIL_RUNG_UNKNOWN,
                                         .flags = window.capped ? UTIL_FLAG_BIT(POWER_CAPPED) |
                                                                      UTIL_FLAG_BIT(XID)
                                                                : 0,
                                         .device = device,
                                         .flops_per_token = 4800000,
                                         .cpu_ns = -1,
                                         .action = window.action,
                                         .rule = acts ? GUARD_RULE_FLOOR : GUARD_RULE_NONE,
                                         .observed = acts ? window.util_ppm : 0,
                                         .bound = acts ? 200000 : 0 } });
}

static void put_checkpoint(struct fixture *fixture, uint32_t run, uint64_t step)
{
    fixture_emit(
        fixture,
        &(struct record){ .kind = RECORD_CHECKPOINT,
                          .as.checkpoint = { .run = run,
                                             .attempt = core_run(fixture->core, run)->attempts,
                                             .step = step,
                                             .tokens = step * 8192,
                                             .path = TEXT("checkpoints/step.safetensors") } });
}

/* Reaches the run's gate `slot` and decides it. */
static void put_gate(struct fixture *fixture, uint32_t run, uint32_t slot, int64_t loss_micro,
                     struct record_decision decision)
{
    const struct run_gate *gate = core_run_gate(fixture->core, run, slot);
    uint64_t step = core_gate(fixture->core, gate->gate_index)->step;
    put_checkpoint(fixture, run, step);
    fixture_emit(fixture, &(struct record){
                              .kind = RECORD_GATE,
                              .as.gate = { .run = run,
                                           .attempt = core_run(fixture->core, run)->attempts,
                                           .slot = slot,
                                           .step = step,
                                           .tokens = step * 8192,
                                           .loss_micro = loss_micro,
                                           .best_micro = loss_micro,
                                           .mean_micro = loss_micro,
                                           .checkpoint = TEXT("checkpoints/gate") } });
    decision.subject = SUBJECT_GATE;
    decision.run = run;
    decision.slot = slot;
    decision.tier = NO_INDEX;
    decision.asked_ns = fixture->now_ns;
    decision.observed_micro = loss_micro;
    fixture_emit(fixture, &(struct record){ .kind = RECORD_DECISION, .as.decision = decision });
}

static void put_stopping(struct fixture *fixture, uint32_t run, enum intent intent,
                         enum reason reason, int64_t until_ns)
{
    fixture_emit(
        fixture,
        &(struct record){ .kind = RECORD_STOPPING,
                          .as.stopping = { .run = run,
                                           .attempt = core_run(fixture->core, run)->attempts,
                                           .intent = intent,
                                           .reason = reason,
                                           .park_until_ns = until_ns } });
}

static void put_member_ended(struct fixture *fixture, uint32_t run, uint32_t member,
                             enum ending ending, int32_t exit_code)
{
    const struct run *r = core_run(fixture->core, run);
    fixture_emit(fixture,
                 &(struct record){ .kind = RECORD_MEMBER_ENDED,
                                   .as.member_ended = { .run = run,
                                                        .attempt = r->attempts,
                                                        .member = member,
                                                        .ending = ending,
                                                        .exit_code = exit_code,
                                                        .step = r->step,
                                                        .tokens = r->tokens,
                                                        .loss_micro = r->loss_micro } });
}

static void put_attempt_ended(struct fixture *fixture, uint32_t run, enum run_state state,
                              enum reason reason, int64_t until_ns)
{
    const struct run *r = core_run(fixture->core, run);
    const struct attempt *attempt = core_attempt(fixture->core, run);
    int64_t whole = attempt->settled_micros + attempt->reserved_micros;
    int64_t used = min_i64(used_micros(fixture, run), whole);
    fixture_emit(fixture, &(struct record){ .kind = RECORD_ATTEMPT_ENDED,
                                            .as.attempt_ended = {
                                                .run = run,
                                                .attempt = r->attempts,
                                                .held_ns = fixture->now_ns - attempt->placed_ns,
                                                .settled_micros = used,
                                                .returned_micros = whole - used,
                                                .step = r->step,
                                                .tokens = r->tokens,
                                                .state = state,
                                                .reason = reason,
                                                .until_ns = until_ns } });
}

static void put_incident(struct fixture *fixture, uint32_t run, struct record_incident incident)
{
    incident.run = run;
    incident.attempt = core_run(fixture->core, run)->attempts;
    fixture_emit(fixture, &(struct record){ .kind = RECORD_INCIDENT, .as.incident = incident });
}

/* Windows at each full minute from `from` up to `to`, with a loss that falls. */
static void put_work(struct fixture *fixture, uint32_t run, int64_t from, int64_t to,
                     uint64_t step, int64_t loss_micro)
{
    for (int64_t minute = from; minute <= to;
         minute++, step += 20, loss_micro -= loss_micro / 12) {
        at(fixture, minute, (int64_t)run);
        put_window(fixture, run,
                   (struct window){ step, loss_micro, (int32_t)(350000 + 9000 * minute),
                                    GUARD_ACTION_NONE, false });
    }
}

/* ---- the small campaign -------------------------------------------------------------- */

enum { BASE, WIDE, PAIR, IDLE, LATE, BRITTLE, LATER, RUNS };

static const struct guard_spec guard = { .window_ns = 60 * NS_PER_S,
                                         .grace_ns = 2 * NS_PER_MIN,
                                         .floor_ppm = 200000,
                                         .clear_ppm = 250000,
                                         .warn_windows = 1,
                                         .park_windows = 2,
                                         .stop_windows = 4,
                                         .idle_ppm = 10000,
                                         .idle_start_stop_ns = 120 * NS_PER_MIN,
                                         .idle_again_stop_ns = 60 * NS_PER_MIN,
                                         .park_ns = 10 * NS_PER_MIN };

static void put_campaign(struct fixture *fixture, const struct fixture_names *names)
{
    struct gate_spec gates[3] = {
        { .name = "early",
          .step = 100,
          .rule_count = 1,
          .rules = { { .rule = GATE_RULE_RANK, .eta = 2, .siblings_min = 1 } } },
        { .name = "mile",
          .step = 200,
          .rule_count = 1,
          .rules = { { .rule = GATE_RULE_MILESTONE, .loss_max_micro = 2200000 } } },
        { .step = 300, .rule_count = 1, .rules = { { .rule = GATE_RULE_SIGNOFF } } },
    };
    text_copy(gates[2].name, NAME_MAX_BYTES, text_of(names->gate ? names->gate : "scale-up"));
    struct record record = { .kind = RECORD_CAMPAIGN,
                             .as.campaign = {
                                 .currency = "USD",
                                 .budget_micros = 20 * MICROS_PER_UNIT,
                                 .tier_count = 2,
                                 .tiers = { { 10 * MICROS_PER_UNIT, NO_INDEX },
                                            { 20 * MICROS_PER_UNIT, 1 } },
                                 .owner_count = 2,
                                 .owners = { { "", "research" }, { "bo", "spend" } },
                                 .class_count = 1,
                                 .classes = { { "cpu", 6 * MICROS_PER_UNIT } },
                                 .place = PLACE_FAIR,
                                 .backfill = true,
                                 .heartbeat_ns = NS_PER_S,
                                 .lease_ns = 60 * NS_PER_S,
                                 .stop_grace_ns = 30 * NS_PER_S,
                                 .worker_timeout_ns = 20 * NS_PER_S,
                                 .backoff_max_ns = NS_PER_MIN,
                                 .guard_count = 1,
                                 .guards = { guard },
                                 .runbook_count = 2,
                                 .gate_count = 3,
                                 .gates = gates } };
    struct campaign_spec *spec = &record.as.campaign;
    text_copy(spec->name, sizeof spec->name,
              text_of(names->campaign ? names->campaign : "first-light"));
    text_copy(spec->owners[0].name, NAME_MAX_BYTES,
              text_of(names->owner ? names->owner : "ada"));
    spec->runbook[0] =
        (struct runbook_row){ .incident = INCIDENT_TRAINER_FAILED,
                              .exit_code = RUNBOOK_EXIT_ANY,
                              .step_count = 2,
                              .steps = { { RUNBOOK_RESTART, 2 }, { RUNBOOK_HOLD, 1 } } };
    spec->runbook[1] =
        (struct runbook_row){ .incident = INCIDENT_LOST_WORKER,
                              .exit_code = RUNBOOK_EXIT_ANY,
                              .step_count = 1,
                              .steps = { { RUNBOOK_RESTART, RUNBOOK_UNLIMITED } } };
    fixture_emit(fixture, &record);
}

static void put_runs(struct fixture *fixture, const struct fixture_names *names)
{
    static const struct {
        const char *name, *tenant;
        uint32_t ranks, gates;
        uint64_t steps;
    } rows[RUNS] = {
        { "base", "vision", 1, 2, 240 }, { "wide", "vision", 1, 2, 240 },
        { "pair", "speech", 2, 3, 400 }, { "idle", "vision", 1, 2, 240 },
        { "late", "speech", 1, 2, 240 }, { "brittle", "speech", 1, 2, 240 },
        { "later", "vision", 1, 2, 0 },
    };
    for (uint32_t i = 0; i < RUNS; i++) {
        struct record record = { .kind = RECORD_RUN,
                                 .as.run = { .ranks = rows[i].ranks,
                                             .class_index = i == LATER ? NO_INDEX : 0,
                                             .steps = rows[i].steps,
                                             .builtin = true,
                                             .gate_count = rows[i].gates } };
        struct run_spec *run = &record.as.run;
        int64_t scale = rows[i].ranks;
        run->first_tranche_micros = scale * MICROS_PER_UNIT;
        run->budget_micros = run->first_tranche_micros;
        for (uint32_t g = 0; g < rows[i].gates; g++) {
            run->gates[g] = (struct run_gate_spec){ g, scale * MICROS_PER_UNIT / 2 };
            run->budget_micros += run->gates[g].tranche_micros;
        }
        bool renamed = i == PAIR && names->run;
        text_copy(run->name, sizeof run->name, text_of(renamed ? names->run : rows[i].name));
        text_copy(run->tenant, sizeof run->tenant, text_of(rows[i].tenant));
        fixture_emit(fixture, &record);
    }
}

static struct record_decision by_rule(enum verdict verdict, enum gate_rule rule,
                                      int64_t bound_micro, uint32_t rank, uint32_t siblings)
{
    return (struct record_decision){ .verdict = verdict,
                                     .rule = rule,
                                     .owner = verdict == VERDICT_HOLD ? 0 : NO_INDEX,
                                     .bound_micro = bound_micro,
                                     .rank = rank,
                                     .siblings = siblings };
}

/* Minutes 0 to 6: three runs start; one is stopped by the rank gate, one is parked by the guardrail. */
static void act_one(struct fixture *fixture)
{
    at(fixture, 0, 1);
    put_epoch(fixture, 1);
    at(fixture, 0, 2);
    put_worker(fixture, 1, 100000000000);
    put_worker(fixture, 2, 100000000000);
    put_worker(fixture, 3, 0);
    fixture_emit(fixture, &(struct record){ .kind = RECORD_TIER,
                                            .as.tier = { 0, 10 * MICROS_PER_UNIT } });
    at(fixture, 0, 3);
    for (uint32_t run = BASE; run <= IDLE; run++) {
        if (run == PAIR) continue;
        put_tranche(fixture, run, MICROS_PER_UNIT);
        put_placed(fixture, run, run == IDLE ? 3 : run + 1, 8, run == IDLE);
    }
    at(fixture, 0, 5);
    put_started(fixture, BASE);
    put_started(fixture, WIDE);
    put_started(fixture, IDLE);
    for (int64_t minute = 1; minute <= 3; minute++) {
        put_work(fixture, BASE, minute, minute, 20 * (uint64_t)minute,
                 5200000 - 700000 * minute);
        put_work(fixture, WIDE, minute, minute, 20 * (uint64_t)minute,
                 5300000 - 600000 * minute);
        at(fixture, minute, IDLE);
        put_window(fixture, IDLE,
                   (struct window){ 4 * (uint64_t)minute, 5400000, UTIL_UNKNOWN,
                                    GUARD_ACTION_NONE, false });
    }
    at(fixture, 4, 0);
    put_gate(fixture, BASE, 0, 2500000,
             by_rule(VERDICT_GO, GATE_RULE_RANK, LOSS_UNKNOWN, 1, 0));
    put_tranche(fixture, BASE, MICROS_PER_UNIT / 2);
    at(fixture, 4, 10);
    put_gate(fixture, WIDE, 0, 2800000, by_rule(VERDICT_NO_GO, GATE_RULE_RANK, 2500000, 2, 1));
    put_stopping(fixture, WIDE, INTENT_STOP, REASON_GATE, 0);
    at(fixture, 4, 14);
    put_member_ended(fixture, WIDE, 0, ENDING_STOPPED, 0);
    put_attempt_ended(fixture, WIDE, RUN_STATE_STOPPED, REASON_GATE, 0);
    at(fixture, 5, 0);
    put_window(fixture, IDLE, (struct window){ 20, 5300000, 120000, GUARD_ACTION_WARN, false });
    put_lease(fixture, BASE, 8);
    at(fixture, 6, 0);
    put_window(fixture, IDLE, (struct window){ 24, 5300000, 110000, GUARD_ACTION_PARK, true });
    put_stopping(fixture, IDLE, INTENT_PARK, REASON_GUARD, FIXTURE_START + 16 * NS_PER_MIN);
    at(fixture, 6, 5);
    put_member_ended(fixture, IDLE, 0, ENDING_STOPPED, 0);
    put_attempt_ended(fixture, IDLE, RUN_STATE_PARKED, REASON_GUARD,
                      FIXTURE_START + 16 * NS_PER_MIN);
}

/* Minutes 6 to 15: the gang fails and runs again, one run finishes, the gang is held for a sign-off. */
static void act_two(struct fixture *fixture, const struct fixture_names *names)
{
    at(fixture, 6, 6);
    put_tranche(fixture, PAIR, 2 * MICROS_PER_UNIT);
    put_placed(fixture, PAIR, 2, 8, false);
    at(fixture, 6, 8);
    put_started(fixture, PAIR);
    put_work(fixture, PAIR, 7, 8, 20, 4300000);
    at(fixture, 8, 30);
    put_checkpoint(fixture, PAIR, 50);
    put_work(fixture, PAIR, 9, 9, 60, 3700000);
    at(fixture, 9, 30);
    put_member_ended(fixture, PAIR, 1, ENDING_OWN, 9);
    const char *output = names->output
                             ? names->output
                             : "step 60 loss 3.70\nTraceback (most recent call last):\n"
                               "RuntimeError: bad sample in shard 17\n";
    put_incident(fixture, PAIR,
                 (struct record_incident){ .member = 1,
                                           .incident = INCIDENT_TRAINER_FAILED,
                                           .exit_code = 9,
                                           .action = RUNBOOK_RESTART,
                                           .row = 0,
                                           .step = 0,
                                           .detail = TEXT("trainer ended with exit code 9"),
                                           .stderr_tail = text_of(output) });
    put_stopping(fixture, PAIR, INTENT_REQUEUE, REASON_INCIDENT, 0);
    at(fixture, 9, 33);
    put_member_ended(fixture, PAIR, 0, ENDING_STOPPED, 0);
    put_attempt_ended(fixture, PAIR, RUN_STATE_QUEUED, REASON_INCIDENT, 0);
    at(fixture, 9, 34);
    put_placed(fixture, PAIR, 2, 6, false);
    at(fixture, 9, 40);
    put_started(fixture, PAIR);
    at(fixture, 10, 0);
    put_gate(fixture, BASE, 1, 2100000,
             by_rule(VERDICT_GO, GATE_RULE_MILESTONE, 2200000, 0, 0));
    put_tranche(fixture, BASE, MICROS_PER_UNIT / 2);
    at(fixture, 11, 0);
    put_window(fixture, PAIR, (struct window){ 80, 2700000, 420000, GUARD_ACTION_NONE, false });
    put_gate(fixture, PAIR, 0, 2400000, by_rule(VERDICT_GO, GATE_RULE_RANK, 2500000, 1, 2));
    put_tranche(fixture, PAIR, MICROS_PER_UNIT);
    put_lease(fixture, PAIR, 6);
    at(fixture, 12, 0);
    put_window(fixture, BASE,
               (struct window){ 240, 1950000, 440000, GUARD_ACTION_NONE, false });
    put_member_ended(fixture, BASE, 0, ENDING_OWN, 0);
    put_attempt_ended(fixture, BASE, RUN_STATE_FINISHED, REASON_DONE, 0);
    at(fixture, 12, 1);
    put_tranche(fixture, LATE, MICROS_PER_UNIT);
    put_placed(fixture, LATE, 1, 9, false);
    at(fixture, 12, 4);
    put_started(fixture, LATE);
    at(fixture, 14, 0);
    put_window(fixture, PAIR,
               (struct window){ 200, 2200000, 430000, GUARD_ACTION_NONE, false });
    put_gate(fixture, PAIR, 1, 2150000,
             by_rule(VERDICT_GO, GATE_RULE_MILESTONE, 2200000, 0, 0));
    put_tranche(fixture, PAIR, MICROS_PER_UNIT);
    at(fixture, 15, 0);
    struct record_decision hold = by_rule(VERDICT_HOLD, GATE_RULE_SIGNOFF, LOSS_UNKNOWN, 0, 0);
    put_gate(fixture, PAIR, 2, 2080000, hold);
    put_stopping(fixture, PAIR, INTENT_HOLD, REASON_SIGNOFF, 0);
    at(fixture, 15, 4);
    put_member_ended(fixture, PAIR, 0, ENDING_STOPPED, 0);
    put_member_ended(fixture, PAIR, 1, ENDING_STOPPED, 0);
    put_attempt_ended(fixture, PAIR, RUN_STATE_HELD, REASON_SIGNOFF, 0);
}

/* Minutes 15 to 27: the coordinator dies with two runs on; a later life picks them up. */
static void act_three(struct fixture *fixture)
{
    at(fixture, 15, 30);
    put_window(fixture, LATE,
               (struct window){ 100, 2600000, 450000, GUARD_ACTION_NONE, false });
    put_gate(fixture, LATE, 0, 2450000, by_rule(VERDICT_GO, GATE_RULE_RANK, 2500000, 2, 3));
    put_tranche(fixture, LATE, MICROS_PER_UNIT / 2);
    at(fixture, 16, 0);
    fixture_emit(fixture, &(struct record){
                              .kind = RECORD_RUN_STATE,
                              .as.run_state = { IDLE, RUN_STATE_QUEUED, REASON_RELEASED, 0 } });
    at(fixture, 16, 1);
    put_placed(fixture, IDLE, 3, 3, false);
    at(fixture, 16, 4);
    put_started(fixture, IDLE);
    at(fixture, 18, 0);
    put_window(fixture, LATE,
               (struct window){ 140, 2400000, 455000, GUARD_ACTION_NONE, false });
    at(fixture, 20, 0);
    put_epoch(fixture, 2);
    at(fixture, 20, 3);
    put_worker(fixture, 1, 100000000000);
    put_worker(fixture, 2, 100000000000);
    put_worker(fixture, 3, 0);
    at(fixture, 20, 5);
    put_member_ended(fixture, LATE, 0, ENDING_GONE, -1);
    put_incident(
        fixture, LATE,
        (struct record_incident){ .member = 0,
                                  .incident = INCIDENT_COORDINATOR_LOST,
                                  .exit_code = -1,
                                  .action = RUNBOOK_RESTART,
                                  .row = NO_INDEX,
                                  .detail = TEXT("found gone by a later coordinator") });
    put_stopping(fixture, LATE, INTENT_REQUEUE, REASON_INCIDENT, 0);
    put_attempt_ended(fixture, LATE, RUN_STATE_QUEUED, REASON_INCIDENT, 0);
    at(fixture, 20, 6);
    put_placed(fixture, LATE, 1, 5, false);
    at(fixture, 20, 10);
    put_started(fixture, LATE);
    at(fixture, 21, 0);
    put_member_ended(fixture, IDLE, 0, ENDING_CHARGED, -1);
    put_incident(fixture, IDLE,
                 (struct record_incident){ .member = NO_INDEX,
                                           .incident = INCIDENT_LOST_WORKER,
                                           .exit_code = -1,
                                           .action = RUNBOOK_RESTART,
                                           .row = 1,
                                           .detail = TEXT("silent past its deadline") });
    put_stopping(fixture, IDLE, INTENT_REQUEUE, REASON_INCIDENT, 0);
    put_attempt_ended(fixture, IDLE, RUN_STATE_QUEUED, REASON_INCIDENT, 0);
    at(fixture, 21, 30);
    put_tranche(fixture, BRITTLE, MICROS_PER_UNIT);
    put_placed(fixture, BRITTLE, 3, 8, false);
    at(fixture, 21, 34);
    put_started(fixture, BRITTLE);
    at(fixture, 23, 0);
    put_window(fixture, BRITTLE,
               (struct window){ 20, LOSS_NONFINITE, 300000, GUARD_ACTION_NONE, false });
    put_incident(
        fixture, BRITTLE,
        (struct record_incident){ .member = 0,
                                  .incident = INCIDENT_NONFINITE_LOSS,
                                  .exit_code = -1,
                                  .action = RUNBOOK_STOP,
                                  .row = NO_INDEX,
                                  .detail = TEXT("the training loss is not a finite number") });
    put_stopping(fixture, BRITTLE, INTENT_FAIL, REASON_INCIDENT, 0);
    at(fixture, 23, 5);
    put_member_ended(fixture, BRITTLE, 0, ENDING_STOPPED, 0);
    put_attempt_ended(fixture, BRITTLE, RUN_STATE_FAILED, REASON_INCIDENT, 0);
}

/* Minutes 24 to 45: a gate without a loss is held, the owner signs the gang off, more money is asked for. */
static void act_four(struct fixture *fixture, const struct fixture_names *names)
{
    at(fixture, 24, 0);
    put_gate(fixture, LATE, 1, LOSS_UNKNOWN,
             by_rule(VERDICT_HOLD, GATE_RULE_MILESTONE, 2200000, 0, 0));
    put_stopping(fixture, LATE, INTENT_HOLD, REASON_SIGNOFF, 0);
    at(fixture, 24, 28);
    put_member_ended(fixture, LATE, 0, ENDING_STOPPED, 0);
    put_attempt_ended(fixture, LATE, RUN_STATE_HELD, REASON_SIGNOFF, 0);
    at(fixture, 40, 0);
    fixture_emit(fixture,
                 &(struct record){
                     .kind = RECORD_DECISION,
                     .as.decision = { .subject = SUBJECT_GATE,
                                      .run = PAIR,
                                      .slot = 2,
                                      .tier = NO_INDEX,
                                      .verdict = VERDICT_GO,
                                      .rule = GATE_RULE_SIGNOFF,
                                      .owner = 0,
                                      .asked_ns = FIXTURE_START + 15 * NS_PER_MIN,
                                      .observed_micro = LOSS_UNKNOWN,
                                      .bound_micro = LOSS_UNKNOWN,
                                      .reason = text_of(names->reason
                                                            ? names->reason
                                                            : "the curve is clean, go on") } });
    put_tranche(fixture, PAIR, MICROS_PER_UNIT);
    at(fixture, 40, 1);
    put_placed(fixture, PAIR, 2, 6, false);
    at(fixture, 40, 4);
    put_started(fixture, PAIR);
    at(fixture, 41, 0);
    fixture_emit(
        fixture,
        &(struct record){ .kind = RECORD_DECISION,
                          .as.decision = { .subject = SUBJECT_TIER,
                                           .run = NO_INDEX,
                                           .slot = NO_INDEX,
                                           .tier = 1,
                                           .verdict = VERDICT_HOLD,
                                           .owner = 1,
                                           .asked_ns = fixture->now_ns,
                                           .observed_micro = 10 * MICROS_PER_UNIT,
                                           .bound_micro = 20 * MICROS_PER_UNIT,
                                           .reason = TEXT("open the next tier of spend") } });
    fixture_emit(
        fixture,
        &(struct record){ .kind = RECORD_NOTE,
                          .as.note = { PAIR, TEXT("a sign-off was refused: another owner is "
                                                  "asked") } });
    put_work(fixture, PAIR, 42, 44, 320, 2060000);
    at(fixture, 45, 0);
    put_lease(fixture, PAIR, 4);
}

void fixture_campaign_open(struct fixture *fixture, const struct fixture_names *names)
{
    static const struct fixture_names usual = { .campaign = NULL };
    if (!names) names = &usual;
    put_campaign(fixture, names);
    put_runs(fixture, names);
    act_one(fixture);
    act_two(fixture, names);
    act_three(fixture);
    act_four(fixture, names);
}

void fixture_campaign(struct fixture *fixture, const struct fixture_names *names)
{
    fixture_campaign_open(fixture, names);
    fixture_finish(fixture, 0);
}

/* ---- many runs ----------------------------------------------------------------------- */

void fixture_many(struct fixture *fixture, uint32_t count)
{
    struct record campaign = { .kind = RECORD_CAMPAIGN,
                               .as.campaign = {
                                   .name = "many",
                                   .currency = "EUR",
                                   .budget_micros = 10 * count * MICROS_PER_UNIT,
                                   .tier_count = 1,
                                   .tiers = { { 10 * count * MICROS_PER_UNIT, NO_INDEX } },
                                   .class_count = 1,
                                   .classes = { { "cpu", 6 * MICROS_PER_UNIT } },
                                   .heartbeat_ns = NS_PER_S,
                                   .lease_ns = 60 * NS_PER_S,
                                   .guard_count = 1,
                                   .guards = { guard } } };
    fixture_emit(fixture, &campaign);
    for (uint32_t i = 0; i < count; i++) {
        struct record run = { .kind = RECORD_RUN,
                              .as.run = { .ranks = 1,
                                          .steps = 100,
                                          .budget_micros = 5 * MICROS_PER_UNIT,
                                          .first_tranche_micros = 5 * MICROS_PER_UNIT } };
        struct writer name = writer_of(run.as.run.name, sizeof run.as.run.name);
        writer_format(&name, "sweep-%04u", i);
        fixture_emit(fixture, &run);
    }
    put_epoch(fixture, 1);
    put_worker(fixture, 1, 100000000000);
    fixture_emit(fixture, &(struct record){ .kind = RECORD_TIER,
                                            .as.tier = { 0, 10 * count * MICROS_PER_UNIT } });
    for (uint32_t i = 0; i < count; i++) {
        int64_t minute = 12 * (int64_t)i;
        at(fixture, minute, 0);
        put_tranche(fixture, i, 5 * MICROS_PER_UNIT);
        put_placed(fixture, i, 1, 20, false);
        put_started(fixture, i);
        for (int64_t k = 1; k <= 10; k++) {
            at(fixture, minute + k, 0);
            put_window(fixture, i,
                       (struct window){ 10 * (uint64_t)k, 4000000 - 200000 * k, 400000,
                                        GUARD_ACTION_NONE, false });
        }
        at(fixture, minute + 11, 0);
        put_member_ended(fixture, i, 0, ENDING_OWN, 0);
        put_attempt_ended(fixture, i, RUN_STATE_FINISHED, REASON_DONE, 0);
    }
    fixture_emit(fixture, &(struct record){ .kind = RECORD_CLOSED, .as.closed = { 0 } });
    fixture_finish(fixture, 0);
}

/* ---- a short run --------------------------------------------------------------------- */

void fixture_short(struct fixture *fixture)
{
    static const struct fixture_names usual = { .campaign = NULL };
    put_campaign(fixture, &usual);
    put_runs(fixture, &usual);
    put_epoch(fixture, 1);
    put_worker(fixture, 1, 100000000000);
    fixture_emit(fixture, &(struct record){ .kind = RECORD_TIER,
                                            .as.tier = { 0, 10 * MICROS_PER_UNIT } });
    put_tranche(fixture, BASE, MICROS_PER_UNIT);
    put_placed(fixture, BASE, 1, 8, false);
    put_started(fixture, BASE);
    at(fixture, 0, 20);
    put_gate(fixture, BASE, 0, 2500000, by_rule(VERDICT_NO_GO, GATE_RULE_RANK, 2400000, 3, 2));
    put_stopping(fixture, BASE, INTENT_STOP, REASON_GATE, 0);
    at(fixture, 0, 30);
    fixture_emit(fixture, &(struct record){ .kind = RECORD_MEMBER_ENDED,
                                            .as.member_ended = { .run = BASE,
                                                                 .attempt = 1,
                                                                 .ending = ENDING_STOPPED,
                                                                 .step = 120,
                                                                 .tokens = 120 * 8192,
                                                                 .loss_micro = 2200000 } });
    put_attempt_ended(fixture, BASE, RUN_STATE_STOPPED, REASON_GATE, 0);
    fixture_finish(fixture, 0);
}
