/* Events with random contents, true and false ones mixed, in any order: the core must keep its
 * invariants after each, the audit must accept every record, and the records must replay to the same
 * state: that digest costs most, so it is taken at some events and at the end. Events also come
 * again, late: after others, and after a restart. Argument: SEED EVENTS. */

#include "tests/sim/scenario.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WORKERS = 6,
    EVENTS_PER_CAMPAIGN = 1500,
    DIGEST_EVERY = 8,
    LATE_MAX = 64,
    ENDS_MAX = 24
};

static uint64_t seed_now; /* for whoever must repeat a failure */

static void on_abort(int signal_number)
{
    (void)signal_number;
    fprintf(stderr, "repeat it with: nonsense_test %llu 1\n", (unsigned long long)seed_now);
}

struct driver {
    struct rng rng;
    struct campaign campaign;
    struct core *core;
    struct shadow shadow;
    int64_t now_ns;
    struct event late[LATE_MAX]; /* some of what came before; its texts are all literals */
    uint32_t joining;            /* workers that still say hello after a new epoch */
    uint32_t ends;               /* lives of this campaign that have ended */
    bool closed;                 /* the life has ended: only a new epoch changes anything */
    uint64_t records[RECORD_KIND_COUNT];
};

static uint32_t below(struct driver *driver, uint32_t bound)
{
    return (uint32_t)rng_below(&driver->rng, bound);
}

static void take_record(void *context, const struct record *record)
{
    struct driver *driver = (struct driver *)context;
    driver->records[record->kind]++;
    if (record->kind == RECORD_CLOSED) {
        driver->closed = true;
        driver->ends++;
    }
    if (record->kind == RECORD_EPOCH) driver->closed = false;
    shadow_record(&driver->shadow, record);
}

static void take_action(void *context, const struct action *action)
{
    (void)context;
    check(action->kind < ACTION_KIND_COUNT);
}

/* Ids of a live attempt most of the time, anything else sometimes. */
struct ids {
    uint32_t worker, run, attempt, member;
};

static struct ids pick_ids(struct driver *driver)
{
    uint32_t runs = core_run_count(driver->core);
    struct ids ids = { below(driver, WORKERS + 2), below(driver, runs + 2), below(driver, 4),
                       below(driver, 3) };
    for (uint32_t tries = 0; tries < 8 && below(driver, 10) > 0; tries++) {
        uint32_t run = below(driver, runs);
        const struct attempt *attempt = core_attempt(driver->core, run);
        if (!attempt) continue;
        ids.run = run;
        ids.attempt = attempt->number;
        ids.member = below(driver, attempt->member_count);
        ids.worker = core_member(driver->core, attempt->first_member + ids.member)->worker;
        break;
    }
    return ids;
}

static struct telemetry pick_telemetry(struct driver *driver, uint32_t run)
{
    uint64_t step = run < core_run_count(driver->core) ? core_run(driver->core, run)->step : 0;
    return (struct telemetry){ .step = step + below(driver, 40),
                               .tokens = (step + below(driver, 40)) * 1024,
                               .loss_micro = below(driver, 200) == 0
                                                 ? LOSS_NONFINITE
                                                 : 2000000 + (int64_t)below(driver, 3000000),
                               .val_loss_micro = LOSS_UNKNOWN,
                               .flops_per_token = below(driver, 3) * UINT64_C(50000000),
                               .cpu_ns = (int64_t)below(driver, 2000000000) - 1,
                               .ready = below(driver, 2) == 0 };
}

static struct text gate_name(struct driver *driver)
{
    static const char *const names[] = { "gate0", "gate1", "gate2", "nowhere" };
    return text_of(names[below(driver, ARRAY_COUNT(names))]);
}

/* Often the gate that the run is to reach next. */
static struct text likely_gate(struct driver *driver, uint32_t run)
{
    if (run >= core_run_count(driver->core) || below(driver, 4) == 0) return gate_name(driver);
    const struct run *r = core_run(driver->core, run);
    for (uint32_t slot = 0; slot < r->gate_count; slot++) {
        const struct run_gate *gate = core_run_gate(driver->core, run, slot);
        if (!gate->reported) return text_of(core_gate(driver->core, gate->gate_index)->name);
    }
    return gate_name(driver);
}

static void fill_decision(struct driver *driver, struct event *event)
{
    event->as.decide.subject = (enum decision_subject)below(driver, 3);
    event->as.decide.run = below(driver, core_run_count(driver->core) + 1);
    event->as.decide.slot = below(driver, 4);
    event->as.decide.tier = below(driver, 4);
    event->as.decide.verdict = (enum verdict)below(driver, VERDICT_COUNT);
    event->as.decide.owner = below(driver, 3);
    event->as.decide.reason = TEXT("because");
}

static void fill_exit(struct driver *driver, struct event *event, struct ids ids)
{
    event->as.exited.worker = ids.worker;
    event->as.exited.run = ids.run;
    event->as.exited.attempt = ids.attempt;
    event->as.exited.member = ids.member;
    event->as.exited.ending = (enum ending)below(driver, ENDING_GONE);
    event->as.exited.exit_code = (int32_t)below(driver, 3);
    event->as.exited.detail = TEXT("detail");
    event->as.exited.stderr_tail = TEXT("tail");
    event->as.exited.telemetry = pick_telemetry(driver, ids.run);
    event->as.exited.checkpoint_step = below(driver, 500);
    event->as.exited.checkpoint = below(driver, 2) ? TEXT("checkpoints/x") : TEXT("");
}

static void fill(struct driver *driver, struct event *event)
{
    struct ids ids = pick_ids(driver);
    switch (event->kind) {
    case EVENT_HELLO:
        event->as.hello =
            (struct record_worker){ .worker = below(driver, WORKERS + 2),
                                    .class_index = below(driver, 20) == 0,
                                    .host = below(driver, 2) ? TEXT("h1") : TEXT("h2"),
                                    .boot_id = TEXT("b"),
                                    .device = TEXT("d"),
                                    .peak_source = TEXT("s"),
                                    .backend = TEXT("cpu"),
                                    .backend_reason = TEXT("r"),
                                    .peak_flops = below(driver, 2) * UINT64_C(100000000000),
                                    .threads = 1,
                                    .on_cpu = true };
        return;
    case EVENT_WORKER_LOST:
        event->as.worker_lost =
            (struct record_worker_lost){ below(driver, WORKERS + 2), TEXT("lost") };
        return;
    case EVENT_HEARTBEAT:
        event->as.heartbeat.worker = ids.worker;
        event->as.heartbeat.sequence = rng_u64(&driver->rng);
        event->as.heartbeat.run = ids.run;
        event->as.heartbeat.attempt = ids.attempt;
        event->as.heartbeat.member = ids.member;
        event->as.heartbeat.telemetry = pick_telemetry(driver, ids.run);
        return;
    case EVENT_STARTED:
        event->as.started.worker = ids.worker;
        event->as.started.run = ids.run;
        event->as.started.attempt = ids.attempt;
        event->as.started.member = ids.member;
        event->as.started.pid = 7;
        return;
    case EVENT_GATE:
        event->as.gate.worker = ids.worker;
        event->as.gate.run = ids.run;
        event->as.gate.attempt = ids.attempt;
        event->as.gate.member = ids.member;
        event->as.gate.gate = likely_gate(driver, ids.run);
        event->as.gate.step = below(driver, 1000);
        event->as.gate.loss_micro = pick_telemetry(driver, ids.run).loss_micro;
        event->as.gate.checkpoint = below(driver, 2) ? TEXT("checkpoints/g") : TEXT("");
        return;
    case EVENT_CHECKPOINT:
        event->as.checkpoint.worker = ids.worker;
        event->as.checkpoint.run = ids.run;
        event->as.checkpoint.attempt = ids.attempt;
        event->as.checkpoint.member = ids.member;
        event->as.checkpoint.step = below(driver, 1000);
        event->as.checkpoint.path = TEXT("checkpoints/y");
        return;
    case EVENT_EXITED: fill_exit(driver, event, ids); return;
    case EVENT_PROBED:
        event->as.probed.worker = ids.worker;
        event->as.probed.run = ids.run;
        event->as.probed.attempt = ids.attempt;
        event->as.probed.member = ids.member;
        event->as.probed.gone = below(driver, 2) == 0;
        event->as.probed.checkpoint = TEXT("");
        return;
    case EVENT_DECIDE: fill_decision(driver, event); return;
    case EVENT_SUSPEND:
        event->as.suspend.cause = TEXT("signal");
        event->as.suspend.at_once = below(driver, 3) == 0;
        return;
    case EVENT_SPACE: event->as.space.low = below(driver, 3) == 0; return;
    case EVENT_EPOCH:
        event->as.epoch = (struct record_epoch){ .epoch = core_epoch(driver->core) + 1,
                                                 .host = TEXT("h"),
                                                 .version = TEXT("v"),
                                                 .workers = WORKERS };
        return;
    case EVENT_TIMER:
    case EVENT_CAMPAIGN:
    case EVENT_SUBMIT:
    case EVENT_KIND_COUNT: return;
    }
}

static void step(struct driver *driver, struct event *event)
{
    struct output output = { driver, take_record, take_action };
    driver->now_ns += (int64_t)rng_below(&driver->rng, 2 * NS_PER_S);
    event->now_ns = driver->now_ns;
    core_step(driver->core, event, &output);
    shadow_check(&driver->shadow, driver->core);
}

/* Weights of the kinds: what comes often in life comes often here. */
static enum event_kind pick_kind(struct driver *driver)
{
    static const uint32_t weights[EVENT_KIND_COUNT] = {
        [EVENT_EPOCH] = 1,       [EVENT_HELLO] = 60,   [EVENT_WORKER_LOST] = 3,
        [EVENT_HEARTBEAT] = 400, [EVENT_STARTED] = 80, [EVENT_GATE] = 25,
        [EVENT_CHECKPOINT] = 20, [EVENT_EXITED] = 40,  [EVENT_PROBED] = 10,
        [EVENT_DECIDE] = 30,     [EVENT_SUSPEND] = 1,  [EVENT_SPACE] = 2,
        [EVENT_TIMER] = 40,
    };
    if (driver->closed && below(driver, 4) == 0) return EVENT_EPOCH;
    if (driver->joining > 0) return EVENT_HELLO;
    uint32_t total = 0;
    for (size_t k = 0; k < EVENT_KIND_COUNT; k++)
        total += weights[k];
    uint32_t at = below(driver, total);
    for (size_t k = 0; k < EVENT_KIND_COUNT; k++) {
        if (at < weights[k]) return (enum event_kind)k;
        at -= weights[k];
    }
    return EVENT_TIMER;
}

/* A run that is placed again may get another price. */
static void two_prices(struct campaign_spec *spec)
{
    spec->class_count = 2;
    text_copy(spec->classes[1].name, NAME_MAX_BYTES, TEXT("cheap"));
    spec->classes[1].rate_micros = spec->classes[0].rate_micros / 3;
}

/* A new one, or now and then an old one again. */
static void next_event(struct driver *driver, struct event *event)
{
    struct event *late = &driver->late[below(driver, LATE_MAX)];
    if (below(driver, 10) == 0 && late->kind != EVENT_EPOCH) {
        *event = *late;
        return;
    }
    *event = (struct event){ .kind = pick_kind(driver) };
    fill(driver, event);
    if (event->kind == EVENT_EPOCH) driver->joining = WORKERS;
    if (event->kind == EVENT_HELLO && driver->joining > 0)
        event->as.hello.worker = driver->joining--;
    *late = *event;
}

/* Until nothing is left to happen; returns how many events that were. */
static uint64_t run_campaign(uint64_t seed, uint64_t events, struct driver *driver)
{
    driver->rng = rng_of(seed);
    driver->now_ns = 0;
    driver->closed = false;
    driver->joining = 0;
    driver->ends = 0;
    for (uint32_t i = 0; i < LATE_MAX; i++)
        driver->late[i] = (struct event){ .kind = EVENT_TIMER };
    scenario_campaign(&driver->campaign, &driver->rng, 10);
    two_prices(&driver->campaign.spec);
    driver->core = scenario_core(&driver->campaign, WORKERS);
    shadow_init(&driver->shadow, &driver->campaign, WORKERS);
    struct event event = { .kind = EVENT_CAMPAIGN, .as.campaign = &driver->campaign.spec };
    step(driver, &event);
    for (uint32_t r = 0; r < driver->campaign.run_count; r++) {
        event = (struct event){ .kind = EVENT_SUBMIT, .as.submit = &driver->campaign.runs[r] };
        step(driver, &event);
    }
    event = (struct event){ .kind = EVENT_EPOCH };
    fill(driver, &event);
    step(driver, &event);
    uint64_t i = 0;
    for (; i < events && driver->ends < ENDS_MAX; i++) {
        next_event(driver, &event);
        step(driver, &event);
        if (i % DIGEST_EVERY == 0) shadow_compare(&driver->shadow, driver->core);
    }
    shadow_compare(&driver->shadow, driver->core);
    core_destroy(driver->core);
    shadow_fini(&driver->shadow);
    scenario_fini(&driver->campaign);
    return i;
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t total = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    struct driver *driver = (struct driver *)calloc(1, sizeof *driver);
    check(driver != NULL);
    signal(SIGABRT, on_abort);
    uint64_t events = 0;
    for (seed_now = first; events < total; seed_now++)
        events += run_campaign(seed_now, EVENTS_PER_CAMPAIGN, driver);
    printf("%llu events\n", (unsigned long long)events);
    for (size_t k = 0; k < RECORD_KIND_COUNT; k++) {
        printf("%8llu %s\n", (unsigned long long)driver->records[k],
               record_kind_name((enum record_kind)k));
        check(total < 100000 || driver->records[k] > 0); /* every kind must have happened */
    }
    free(driver);
    return 0;
}
