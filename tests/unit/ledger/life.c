#include "tests/unit/ledger/life.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "scheduler/ledger/replay.h"

enum { STEPS = 600, STEPS_PER_TICK = 10 };

static void set(char *to, size_t bytes, const char *from)
{
    assert_true(text_copy(to, bytes, text_of(from)));
}
#define SET(field, from) set(field, sizeof(field), from)

/* ---- the core's output ---- */

static struct action actions[256];
static uint32_t action_count;

/* The record is handed out before it is applied: so what stands now is the state after the last. */
static void on_record(void *context, const struct record *record)
{
    struct life *life = context;
    life->digests[life->last_seq++] = core_digest(life->core);
    assert_true(life->last_seq < LIFE_RECORDS_MAX);
    struct error error = { 0 };
    if (ledger_append(life->ledger, record, &error) != ERR_OK) fail_msg("%s", error.text);
}

static void on_action(void *context, const struct action *action)
{
    (void)context;
    assert_true(action_count < ARRAY_COUNT(actions));
    actions[action_count++] = *action;
}

static void step(struct life *life, struct event *event);

static void act(struct life *life, const struct action *action)
{
    if (action->kind == ACTION_DONE) life->done = true;
    if (action->kind == ACTION_LAUNCH)
        life->trainers[action->worker] = (struct life_trainer){ .alive = true,
                                                                .run = action->run,
                                                                .attempt = action->attempt,
                                                                .member = action->member };
    if (action->kind == ACTION_STOP) life->trainers[action->worker].stopping = true;
    if (action->kind == ACTION_PROBE) {
        struct event event = { .kind = EVENT_PROBED,
                               .as.probed = { .worker = action->worker,
                                              .run = action->run,
                                              .attempt = action->attempt,
                                              .member = action->member,
                                              .gone = true } };
        step(life, &event);
    }
}

static void finish(struct life *life)
{
    struct error error = { 0 };
    if (ledger_commit(life->ledger, &error) != ERR_OK) fail_msg("%s", error.text);
    life->digests[life->last_seq] = core_digest(life->core);
    core_check(life->core);
    while (action_count > 0) {
        struct action action = actions[0];
        memmove(actions, actions + 1, --action_count * sizeof(*actions));
        act(life, &action);
    }
}

static void step(struct life *life, struct event *event)
{
    struct output output = { life, on_record, on_action };
    event->now_ns = life->now_ns++;
    core_step(life->core, event, &output);
    finish(life);
}

/* ---- the campaign ---- */

static const struct gate_spec gates[] = {
    { .name = "early",
      .step = 200,
      .owner_index = 0,
      .rule_count = 1,
      .rules = { { .rule = GATE_RULE_MILESTONE, .loss_max_micro = 3000000 } } },
    { .name = "late",
      .step = 400,
      .owner_index = 0,
      .rule_count = 1,
      .rules = { { .rule = GATE_RULE_RANK, .eta = 2, .siblings_min = 3 } } },
    { .name = "signed",
      .step = 400,
      .owner_index = 0,
      .rule_count = 1,
      .rules = { { .rule = GATE_RULE_SIGNOFF } } },
};

static void make_campaign(struct campaign_spec *c)
{
    memset(c, 0, sizeof(*c));
    SET(c->name, "two-gates");
    SET(c->currency, "USD");
    c->file_text = TEXT("campaign: two-gates\n");
    c->budget_micros = 60 * MICROS_PER_UNIT;
    c->tier_count = 2;
    c->tiers[0] = (struct tier_spec){ 18 * MICROS_PER_UNIT, NO_INDEX };
    c->tiers[1] = (struct tier_spec){ 60 * MICROS_PER_UNIT, 0 };
    c->owner_count = 1;
    SET(c->owners[0].name, "ada");
    SET(c->owners[0].role, "spend");
    c->class_count = 1;
    SET(c->classes[0].name, "cpu");
    c->classes[0].rate_micros = 36 * MICROS_PER_UNIT + 7; /* a cent a second, and a bit */
    c->place = PLACE_FIFO;
    c->backfill = true;
    c->heartbeat_ns = 5 * NS_PER_S;
    c->lease_ns = 60 * NS_PER_S;
    c->stop_grace_ns = 10 * NS_PER_S;
    c->worker_timeout_ns = 60 * NS_PER_S;
    c->clock_error_ppm = 500;
    c->backoff_ns = 10 * NS_PER_S;
    c->backoff_max_ns = 60 * NS_PER_S;
    c->guard_count = 1;
    c->guards[0] = (struct guard_spec){ .window_ns = 60 * NS_PER_S, .park_ns = NS_PER_MIN };
    c->runbook_count = 2;
    c->runbook[0] = (struct runbook_row){ .incident = INCIDENT_COORDINATOR_LOST,
                                          .exit_code = RUNBOOK_EXIT_ANY,
                                          .step_count = 1,
                                          .steps = { { RUNBOOK_RESTART, RUNBOOK_UNLIMITED } } };
    c->runbook[1] =
        (struct runbook_row){ .incident = INCIDENT_TRAINER_FAILED,
                              .exit_code = RUNBOOK_EXIT_ANY,
                              .step_count = 2,
                              .steps = { { RUNBOOK_RESTART, 2 }, { RUNBOOK_STOP, 1 } } };
    c->gate_count = ARRAY_COUNT(gates);
    c->gates = gates;
}

static void submit(struct life *life, uint32_t index)
{
    struct run_spec run = { .ranks = index == 1 ? 2 : 1,
                            .class_index = 0,
                            .steps = STEPS,
                            .owner_index = 0,
                            .launch = TEXT("\x0A\x05train"),
                            .gate_count = index == 5 ? 0 : 2 };
    char name[] = "run-0";
    name[4] = (char)('0' + index);
    SET(run.name, name);
    SET(run.tenant, index % 2 == 0 ? "blue" : "red");
    run.first_tranche_micros = run.ranks * 3 * MICROS_PER_UNIT;
    run.gates[0] = (struct run_gate_spec){ 0, run.ranks * 3 * MICROS_PER_UNIT };
    run.gates[1] =
        (struct run_gate_spec){ index == 2 ? 2 : 1, run.ranks * 3 * MICROS_PER_UNIT };
    run.budget_micros = run.first_tranche_micros;
    for (uint32_t i = 0; i < run.gate_count; i++)
        run.budget_micros += run.gates[i].tranche_micros;
    struct event event = { .kind = EVENT_SUBMIT, .as.submit = &run };
    step(life, &event);
}

static void open_ledger(struct life *life)
{
    struct ledger_options options = { .io = life->io, .host = "node-0", .pid = 100 };
    struct error error = { 0 };
    if (ledger_open(life->dir, &options, &life->ledger, &error) != ERR_OK)
        fail_msg("%s", error.text);
}

static void greet(struct life *life, uint64_t epoch)
{
    memset(life->trainers, 0, sizeof(life->trainers));
    struct event event = { .kind = EVENT_EPOCH,
                           .as.epoch = { .epoch = epoch,
                                         .host = TEXT("node-0"),
                                         .pid = 100,
                                         .workers = LIFE_WORKERS,
                                         .version = TEXT("0.1.0") } };
    step(life, &event);
    for (uint32_t worker = 1; worker <= LIFE_WORKERS; worker++) {
        struct event hello = { .kind = EVENT_HELLO,
                               .as.hello = { .worker = worker,
                                             .host =
                                                 worker < 3 ? TEXT("node-0") : TEXT("node-1"),
                                             .boot_id = TEXT("b"),
                                             .device = TEXT("a CPU"),
                                             .peak_source = TEXT("sgemm"),
                                             .backend = TEXT("cpu"),
                                             .slot = worker % 2,
                                             .peak_flops = 1000000000,
                                             .threads = 1,
                                             .on_cpu = true } };
        step(life, &hello);
    }
}

void life_begin(struct life *life, const char *dir, const struct ledger_io *io)
{
    *life = (struct life){ .dir = dir,
                           .io = io,
                           .limits = { .runs_max = LIFE_RUNS,
                                       .workers_max = LIFE_WORKERS + 1,
                                       .gates_max = ARRAY_COUNT(gates),
                                       .run_gates_max = 2 * LIFE_RUNS },
                           .now_ns = INT64_C(1795517335) * NS_PER_S };
    life->core = core_create(&life->limits);
    assert_non_null(life->core);
    open_ledger(life);
    struct campaign_spec campaign;
    make_campaign(&campaign);
    struct event event = { .kind = EVENT_CAMPAIGN, .as.campaign = &campaign };
    step(life, &event);
    for (uint32_t i = 0; i < LIFE_RUNS; i++)
        submit(life, i);
    greet(life, 1);
}

void life_end(struct life *life)
{
    core_destroy(life->core);
    ledger_close(life->ledger);
    life->core = NULL;
    life->ledger = NULL;
}

void life_restart(struct life *life)
{
    life_end(life);
    life->done = false;
    life->now_ns += 20 * NS_PER_S;
    open_ledger(life);
    struct replay_options options = { .io = life->io, .minimum = life->limits };
    struct replay_summary summary;
    struct error error = { 0 };
    if (replay_run(life->dir, &options, &life->core, &summary, &error) != ERR_OK)
        fail_msg("%s", error.text);
    assert_int_equal(summary.head.seq, life->last_seq);
    assert_true(core_digest(life->core) == life->digests[life->last_seq]);
    greet(life, core_epoch(life->core) + 1);
    struct output output = { life, on_record, on_action };
    core_rouse(life->core, life->now_ns, &output);
    finish(life);
}

/* ---- the world ---- */

static struct telemetry telemetry_of(const struct life_trainer *trainer)
{
    return (struct telemetry){ .step = trainer->step,
                               .tokens = trainer->step * 1024,
                               .loss_micro = 4000000 - (int64_t)trainer->step * 1000,
                               .val_loss_micro = LOSS_UNKNOWN,
                               .flops_per_token = 1000,
                               .cpu_ns = (int64_t)trainer->step * NS_PER_S / 3,
                               .ready = true };
}

static void leave(struct life *life, uint32_t worker, enum ending ending, int32_t exit_code)
{
    struct life_trainer *trainer = &life->trainers[worker];
    struct event event = { .kind = EVENT_EXITED,
                           .as.exited = { .worker = worker,
                                          .run = trainer->run,
                                          .attempt = trainer->attempt,
                                          .member = trainer->member,
                                          .ending = ending,
                                          .exit_code = exit_code,
                                          .telemetry = telemetry_of(trainer) } };
    if (exit_code != 0) event.as.exited.stderr_tail = TEXT("Traceback: \xFF\xFE\n");
    char path[] = "runs/run-0/checkpoints/step-00000000.safetensors";
    path[9] = (char)('0' + trainer->run);
    if (trainer->member == 0 && trainer->step > 0 && exit_code == 0) {
        event.as.exited.checkpoint = text_of(path);
        event.as.exited.checkpoint_step = trainer->step;
        event.as.exited.checkpoint_tokens = trainer->step * 1024;
    }
    trainer->alive = false;
    step(life, &event);
}

/* Member 0 reports the gate that it passed in this tick; run 3 is too bad for the first one. */
static void report_gate(struct life *life, uint32_t worker)
{
    struct life_trainer *trainer = &life->trainers[worker];
    if (trainer->member != 0 || trainer->run == 5) return;
    if (trainer->step != 200 && trainer->step != 400) return;
    bool early = trainer->step == 200;
    struct event event = { .kind = EVENT_GATE,
                           .as.gate = { .worker = worker,
                                        .run = trainer->run,
                                        .attempt = trainer->attempt,
                                        .gate = early               ? TEXT("early")
                                                : trainer->run == 2 ? TEXT("signed")
                                                                    : TEXT("late"),
                                        .step = trainer->step,
                                        .tokens = trainer->step * 1024,
                                        .loss_micro = trainer->run == 3 ? 3500000 : 2000000,
                                        .checkpoint = TEXT("runs/run/gate.safetensors") } };
    step(life, &event);
}

static void train(struct life *life, uint32_t worker)
{
    struct life_trainer *trainer = &life->trainers[worker];
    if (!trainer->started) {
        struct event event = { .kind = EVENT_STARTED,
                               .as.started = { worker, trainer->run, trainer->attempt,
                                               trainer->member, 1000 + worker } };
        const struct run *run = core_run(life->core, trainer->run);
        trainer->started = true;
        trainer->step = run->resume_step;
        step(life, &event);
        return;
    }
    if (trainer->stopping) {
        leave(life, worker, ENDING_STOPPED, 0);
        return;
    }
    trainer->step += STEPS_PER_TICK;
    bool crashes = trainer->run == 4 && trainer->attempt == 1 && trainer->step == 100;
    if (crashes) {
        leave(life, worker, ENDING_OWN, 1);
        return;
    }
    report_gate(life, worker);
    if (trainer->alive && trainer->step >= STEPS && trainer->run != 5)
        leave(life, worker, ENDING_OWN, 0);
}

static void beat(struct life *life, uint32_t worker)
{
    const struct life_trainer *trainer = &life->trainers[worker];
    struct event event = { .kind = EVENT_HEARTBEAT,
                           .as.heartbeat = { .worker = worker,
                                             .sequence = ++life->heartbeat } };
    if (trainer->alive) {
        event.as.heartbeat.run = trainer->run;
        event.as.heartbeat.attempt = trainer->attempt;
        event.as.heartbeat.member = trainer->member;
        event.as.heartbeat.telemetry = telemetry_of(trainer);
    }
    step(life, &event);
}

/* Ada signs whatever waits for her, a minute after it was asked. */
static void decide(struct life *life)
{
    const struct budget *budget = core_budget(life->core);
    struct event event = { .kind = EVENT_DECIDE,
                           .as.decide = { .subject = SUBJECT_TIER,
                                          .run = NO_INDEX,
                                          .slot = NO_INDEX,
                                          .tier = budget->tiers_open,
                                          .verdict = VERDICT_GO,
                                          .owner = 0,
                                          .reason = TEXT("on plan") } };
    if (budget->tier_asked && life->now_ns > budget->tier_asked_ns + NS_PER_MIN)
        step(life, &event);
    for (uint32_t run = 0; run < LIFE_RUNS; run++) {
        if (core_run(life->core, run)->state != RUN_STATE_HELD) continue;
        for (uint32_t slot = 0; slot < core_run(life->core, run)->gate_count; slot++) {
            const struct run_gate *gate = core_run_gate(life->core, run, slot);
            if (gate->verdict != VERDICT_HOLD || life->now_ns < gate->asked_ns + NS_PER_MIN)
                continue;
            event.as.decide.subject = SUBJECT_GATE;
            event.as.decide.run = run;
            event.as.decide.slot = slot;
            event.as.decide.tier = NO_INDEX;
            step(life, &event);
        }
    }
}

void life_run(struct life *life, uint32_t ticks)
{
    for (uint32_t tick = 0; tick < ticks && !life->done; tick++) {
        life->now_ns += 5 * NS_PER_S;
        for (uint32_t worker = 1; worker <= LIFE_WORKERS && !life->done; worker++) {
            if (life->trainers[worker].alive) train(life, worker);
            beat(life, worker);
        }
        decide(life);
        struct event timer = { .kind = EVENT_TIMER };
        step(life, &timer);
    }
}
