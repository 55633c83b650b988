/* sim.c - lives of a simulated coordinator: events to the core, actions to the world. */

#include "scheduler/sim/sim.h"

#include "scheduler/sim/world.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sim_options sim_defaults(void)
{
    return (struct sim_options){ .workers = 1,
                                 .slots_per_host = 8,
                                 .steps_per_second = 1.0,
                                 .gang_efficiency = 0.9,
                                 .startup_s = 5.0,
                                 .latency_ns = NS_PER_MS,
                                 .owner_delay_ns = NS_PER_HOUR,
                                 .owner_go_share = 1.0,
                                 .loss_start = 5.5,
                                 .loss_end = 2.0,
                                 .horizon_ns = 3650 * 24 * NS_PER_HOUR,
                                 .checkpoint_steps = 100 };
}

/* ---- output of the core ------------------------------------------------------------------ */

/* Records are handed out before they are applied: the core still shows the state before them.
 */
static void count_record(struct world *world, const struct record *record)
{
    struct sim_result *result = &world->result;
    if (record->kind == RECORD_PLACED)
        result->queue_ns +=
            world->now_ns - core_run(world->core, record->as.placed.run)->state_since_ns;
    if (record->kind == RECORD_ATTEMPT_ENDED)
        result->held_ns += record->as.attempt_ended.held_ns *
                           core_run(world->core, record->as.attempt_ended.run)->ranks;
}

static void take_record(void *context, const struct record *record)
{
    struct world *world = (struct world *)context;
    world_witness(world, record);
    count_record(world, record);
    history_add(&world->history, record);
    world->result.records = world->history.count;
    if (world->options->record) world->options->record(world->options->context, record);
}

static void take_action(void *context, const struct action *action)
{
    struct world *world = (struct world *)context;
    if (world->action_count == world->action_capacity) {
        world->action_capacity = 2 * world->action_capacity + 64;
        world->actions = (struct action *)realloc(world->actions, world->action_capacity *
                                                                      sizeof *world->actions);
        check(world->actions != NULL);
    }
    world->actions[world->action_count++] = *action;
}

/* ---- owners ------------------------------------------------------------------------------ */

static void plan_answer(struct world *world, const struct action *ask)
{
    const struct sim_options *options = world->options;
    if (options->owner_delay_ns == TIME_NEVER) return;
    struct item *item = world_item(world, ITEM_OWNER);
    struct event *event = &item->event;
    event->kind = EVENT_DECIDE;
    event->as.decide.subject = SUBJECT_TIER;
    event->as.decide.run = event->as.decide.slot = event->as.decide.tier = NO_INDEX;
    const struct campaign_spec *spec = core_campaign(world->core);
    if (ask->run == NO_INDEX) {
        event->as.decide.tier = core_budget(world->core)->tiers_open;
    } else {
        const struct run *run = core_run(world->core, ask->run);
        event->as.decide.subject = SUBJECT_RUN;
        event->as.decide.run = ask->run;
        for (uint32_t slot = 0; slot < run->gate_count; slot++) {
            const struct run_gate *gate = core_run_gate(world->core, ask->run, slot);
            if (gate->verdict != VERDICT_HOLD) continue;
            event->as.decide.subject = SUBJECT_GATE;
            event->as.decide.slot = slot;
        }
    }
    const struct request *request = core_request(world->core, ask->run);
    uint32_t owner = request->owner;
    event->as.decide.owner = owner;
    event->as.decide.request = request->id;
    event->as.decide.is_signed = owner < spec->owner_count && spec->owners[owner].key_count > 0;
    bool go = (double)(rng_u64(&world->rng) >> 11) * 0x1.0p-53 < options->owner_go_share;
    event->as.decide.verdict = go ? VERDICT_GO : VERDICT_NO_GO;
    event->as.decide.reason = TEXT("simulated");
    world->owners_pending++;
    world_plan(world, item, world->now_ns + options->owner_delay_ns);
}

/* ---- steps ------------------------------------------------------------------------------- */

static void perform_actions(struct world *world)
{
    for (uint32_t i = 0; i < world->action_count; i++) {
        struct action action = world->actions[i];
        switch (action.kind) {
        case ACTION_LAUNCH:
        case ACTION_GRANT:
        case ACTION_STOP:
        case ACTION_PROBE: world_send_action(world, &action); break;
        case ACTION_ASK: plan_answer(world, &action); break;
        case ACTION_DONE:
            world->result.exit_status = action.exit_status;
            world->done = true;
            break;
        case ACTION_KIND_COUNT: unreachable("action kind");
        }
    }
    world->action_count = 0;
}

static void plan_life(struct world *world, int64_t at_ns)
{
    struct item *item = world_item(world, ITEM_LIFE);
    world_plan(world, item, at_ns);
}

/* The coordinator dies with some prefix of the step's records durable and none of its actions
 * done. */
static void die(struct world *world, size_t durable_before)
{
    size_t written = world->history.count - durable_before;
    size_t kept = written > 0 ? (size_t)rng_below(&world->rng, written + 1) : 0;
    if (durable_before == 0)
        kept = written; /* before the campaign stands, there is no life to resume */
    history_cut(&world->history, durable_before + kept);
    if (world->options->cut) world->options->cut(world->options->context, world->history.count);
    world->action_count = 0;
    world->death_armed = false;
    world_all_die(world);
    core_destroy(world->core);
    world->core = NULL;
    world->life++;
    int64_t lease_ns = world->campaign->spec.lease_ns;
    plan_life(world, world->now_ns + (int64_t)rng_below(&world->rng, (uint64_t)(2 * lease_ns)));
}

static void plan_timer(struct world *world)
{
    int64_t due_ns = core_due_ns(world->core);
    if (due_ns == TIME_NEVER || (world->timer_ns > world->now_ns && world->timer_ns <= due_ns))
        return;
    world->timer_ns = max_i64(due_ns, world->now_ns + 1);
    struct item *item = world_item(world, ITEM_TIMER);
    world_plan(world, item, world->timer_ns);
}

static void step(struct world *world, struct event *event)
{
    struct output output = { world, take_record, take_action };
    size_t before = world->history.count;
    event->now_ns = world->now_ns;
    core_step(world->core, event, &output);
    world->result.events++;
    if (world->options->watch)
        world->options->watch(world->options->context, world->core, event);
    /* Most deaths come where it hurts: in the middle of several records. */
    if (world->death_armed &&
        (world->history.count > before + 1 || rng_below(&world->rng, 16) == 0)) {
        die(world, before);
        return;
    }
    perform_actions(world);
    plan_timer(world);
}

static int64_t next_fault_ns(struct world *world, double per_hour)
{
    if (per_hour <= 0) return TIME_NEVER;
    double u = (double)(rng_u64(&world->rng) >> 11) * 0x1.0p-53;
    return world->now_ns + (int64_t)(-log(1.0 - u) / per_hour * 3.6e12);
}

/* ---- lives ------------------------------------------------------------------------------- */

static struct core *make_core(const struct campaign *campaign, uint32_t workers)
{
    struct core_limits limits = { .runs_max = campaign->run_count,
                                  .workers_max = workers + 1,
                                  .gates_max = campaign->spec.gate_count };
    for (uint32_t r = 0; r < campaign->run_count; r++)
        limits.run_gates_max += campaign->runs[r].gate_count;
    return core_create(&limits);
}

static void greet(struct world *world, uint32_t worker)
{
    struct agent *agent = &world->agents[worker];
    *agent = (struct agent){ .state = AGENT_IDLE, .stamp = agent->stamp + 1 };
    agent->received_ns = agent->sent_ns[0] = world->now_ns;
    struct item *hello = world_item(world, ITEM_TO_CORE);
    hello->worker = worker;
    hello->event.kind = EVENT_HELLO;
    uint32_t host = (worker - 1) / world->options->slots_per_host;
    struct writer writer = writer_of(hello->name, sizeof hello->name);
    writer_format(&writer, "host%u", host);
    hello->event.as.hello =
        (struct record_worker){ .worker = worker,
                                .slot = (worker - 1) % world->options->slots_per_host,
                                .class_index = world->options->class_index,
                                .peak_flops = 100000000000,
                                .threads = 1,
                                .on_cpu = true };
    world_plan(world, hello, world->now_ns + world->options->latency_ns);
    struct item *tick = world_item(world, ITEM_TICK);
    tick->worker = worker;
    world_plan(world, tick, world->now_ns + world->campaign->spec.heartbeat_ns);
    int64_t loss_ns = next_fault_ns(world, world->options->faults.worker_loss_per_hour);
    if (loss_ns == TIME_NEVER) return;
    struct item *loss = world_item(world, ITEM_LOSS);
    loss->worker = worker;
    world_plan(world, loss, loss_ns);
}

static void submit_all(struct world *world)
{
    struct event event = { .kind = EVENT_CAMPAIGN, .as.campaign = &world->campaign->spec };
    step(world, &event);
    for (uint32_t r = 0; r < world->campaign->run_count; r++) {
        event = (struct event){ .kind = EVENT_SUBMIT, .as.submit = &world->campaign->runs[r] };
        step(world, &event);
    }
}

static enum err begin_life(struct world *world, struct error *error)
{
    world->core = make_core(world->campaign, world->options->workers);
    if (!world->core) return error_set(error, ERR_NO_MEMORY, "no memory for the simulation");
    enum err rc = history_replay(&world->history, world->core, error);
    if (rc != ERR_OK) return rc;
    world->done = false;
    world->timer_ns = 0;
    world->result.lives++;
    if (world->history.count == 0) submit_all(world);
    struct event event = { .kind = EVENT_EPOCH,
                           .as.epoch = { .epoch = core_epoch(world->core) + 1,
                                         .host = TEXT("simulated"),
                                         .pid = 1,
                                         .workers = world->options->workers,
                                         .version = TEXT(PENSTOCK_VERSION) } };
    step(world, &event);
    struct output output = { world, take_record, take_action };
    core_rouse(world->core, world->now_ns, &output);
    perform_actions(world);
    for (uint32_t w = 1; w <= world->options->workers; w++)
        greet(world, w);
    int64_t death_ns = next_fault_ns(world, world->options->faults.coordinator_per_hour);
    if (death_ns == TIME_NEVER) return ERR_OK;
    struct item *death = world_item(world, ITEM_DEATH);
    world_plan(world, death, death_ns);
    return ERR_OK;
}

/* ---- the loop ---------------------------------------------------------------------------- */

/* The texts of an event in transit live in its item, and the item has been moved. */
static void point_texts(struct item *item)
{
    struct text path = text_of(item->path), name = text_of(item->name);
    switch (item->event.kind) {
    case EVENT_GATE:
        item->event.as.gate.gate = name;
        item->event.as.gate.checkpoint = path;
        return;
    case EVENT_CHECKPOINT: item->event.as.checkpoint.path = path; return;
    case EVENT_EXITED:
        item->event.as.exited.checkpoint = path;
        item->event.as.exited.detail = item->event.as.exited.stderr_tail = TEXT("");
        return;
    case EVENT_PROBED: item->event.as.probed.checkpoint = path; return;
    case EVENT_HELLO:
        item->event.as.hello.host = name;
        item->event.as.hello.boot_id = item->event.as.hello.device = TEXT("simulated");
        item->event.as.hello.peak_source = item->event.as.hello.backend =
            item->event.as.hello.backend_reason = TEXT("simulated");
        return;
    case EVENT_CAMPAIGN:
    case EVENT_SUBMIT:
    case EVENT_EPOCH:
    case EVENT_WORKER_LOST:
    case EVENT_HEARTBEAT:
    case EVENT_STARTED:
    case EVENT_DECIDE:
    case EVENT_SUSPEND:
    case EVENT_SPACE:
    case EVENT_TIMER:
    case EVENT_KIND_COUNT: return;
    }
}

static void deliver(struct world *world, struct item *item)
{
    if (item->event.kind == EVENT_HEARTBEAT) {
        world->agents[item->worker].received = item->event.as.heartbeat.sequence;
        world->agents[item->worker].received_ns = world->now_ns;
    }
    point_texts(item);
    step(world, &item->event);
}

/* A sign-off that finds no coordinator waits in the inbox and brings the next life. */
static enum err answer(struct world *world, struct item *item, struct error *error)
{
    world->owners_pending--;
    if (!world->core || world->done) {
        if (world->core) {
            world_all_die(world);
            core_destroy(world->core);
            world->core = NULL;
            world->life++;
            enum err rc = begin_life(world, error);
            if (rc != ERR_OK) return rc;
        } else {
            struct item *later = world_item(world, ITEM_OWNER);
            *later = *item;
            world->owners_pending++;
            world_plan(world, later, world->now_ns + NS_PER_S);
            return ERR_OK;
        }
    }
    step(world, &item->event);
    return ERR_OK;
}

static enum err happen(struct world *world, struct item *item, struct error *error)
{
    /* These two outlive the coordinator; everything else belongs to one life. */
    if (item->kind == ITEM_LIFE) return begin_life(world, error);
    if (item->kind == ITEM_OWNER) return answer(world, item, error);
    if (item->life != world->life || !world->core || world->done) return ERR_OK;
    if (item->kind == ITEM_TO_CORE) {
        deliver(world, item);
    } else if (item->kind == ITEM_TIMER) {
        struct event event = { .kind = EVENT_TIMER };
        step(world, &event);
    } else if (item->kind == ITEM_DEATH) {
        world->death_armed = true;
    } else {
        world_happen(world, item);
    }
    return ERR_OK;
}

static enum err loop(struct world *world, struct error *error)
{
    struct queue_entry entry;
    while (!(world->done && world->owners_pending == 0) && queue_take(&world->queue, &entry)) {
        if (entry.at_ns > world->options->horizon_ns) return ERR_OK;
        world->now_ns = entry.at_ns;
        struct item item = world->items[entry.index];
        world->free_items[world->free_count++] = entry.index;
        enum err rc = happen(world, &item, error);
        if (rc != ERR_OK) return rc;
    }
    return ERR_OK;
}

/* ---- begin and end ----------------------------------------------------------------------- */

static void draw_runs(struct world *world)
{
    const struct sim_options *options = world->options;
    for (uint32_t r = 0; r < world->campaign->run_count; r++) {
        struct world_run *run = &world->runs[r];
        const struct run_spec *spec = &world->campaign->runs[r];
        double slower = options->speed_spread * (double)rng_normal(&world->rng);
        double worse = options->loss_spread * (double)rng_normal(&world->rng);
        run->speed = options->steps_per_second * exp(slower);
        run->loss_start = options->loss_start;
        run->loss_end = options->loss_end * exp(worse);
        run->loss_power = 0.3 + 0.2 * (double)rng_float(&world->rng);
        run->steps = spec->steps > 0 ? spec->steps : 1000;
        if ((double)rng_float(&world->rng) < options->faults.nonfinite_share)
            run->nonfinite_step = 1 + rng_below(&world->rng, run->steps);
    }
}

static void sum_up(struct world *world)
{
    struct sim_result *result = &world->result;
    const struct core *core = world->core;
    result->makespan_ns = world->now_ns;
    if (!world->done) result->exit_status = -1;
    if (!core) return;
    result->spent_micros = core_budget(core)->spent_micros;
    result->digest = core_digest(core);
    for (uint32_t r = 0; r < core_run_count(core); r++) {
        const struct run *run = core_run(core, r);
        if (run->state == RUN_STATE_FINISHED) {
            result->finished++;
            result->useful_micros += run->spent_micros;
        } else if (run->state == RUN_STATE_STOPPED) {
            result->stopped++;
        } else if (run->state == RUN_STATE_FAILED) {
            result->failed++;
        } else {
            result->open++;
        }
    }
}

static void fini(struct world *world)
{
    core_destroy(world->core);
    history_fini(&world->history);
    queue_fini(&world->queue);
    free(world->items);
    free(world->free_items);
    free(world->agents);
    free(world->runs);
    free(world->ghosts);
    free(world->actions);
}

enum err sim_run(const struct campaign *campaign, const struct sim_options *options,
                 struct sim_result *result, struct error *error)
{
    struct world world = { .campaign = campaign,
                           .options = options,
                           .rng = rng_of(options->seed) };
    check(options->workers >= 1);
    check(options->slots_per_host >= 1);
    world.agents = (struct agent *)calloc(options->workers + 1, sizeof *world.agents);
    world.runs = (struct world_run *)calloc(campaign->run_count + 1, sizeof *world.runs);
    enum err rc = ERR_OK;
    if (!world.agents || !world.runs) {
        rc = error_set(error, ERR_NO_MEMORY, "no memory for the simulation");
    } else {
        draw_runs(&world);
        rc = begin_life(&world, error);
        if (rc == ERR_OK) rc = loop(&world, error);
        sum_up(&world);
    }
    *result = world.result;
    fini(&world);
    return rc;
}
