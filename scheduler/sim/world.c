/* world.c - agents, trainers, network and the truth about them. See world.h. */

#include "scheduler/sim/world.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- items ------------------------------------------------------------------------------- */

struct item *world_item(struct world *world, enum item_kind kind)
{
    uint32_t index;
    if (world->free_count > 0) {
        index = world->free_items[--world->free_count];
    } else {
        if (world->item_count == world->item_capacity) {
            world->item_capacity = world->item_capacity > 0 ? 2 * world->item_capacity : 256;
            world->items = (struct item *)realloc(world->items,
                                                  world->item_capacity * sizeof *world->items);
            world->free_items = (uint32_t *)realloc(
                world->free_items, world->item_capacity * sizeof *world->free_items);
            check(world->items != NULL);
            check(world->free_items != NULL);
        }
        index = world->item_count++;
    }
    struct item *item = &world->items[index];
    memset(item, 0, sizeof *item);
    item->kind = kind;
    item->life = world->life;
    return item;
}

void world_plan(struct world *world, const struct item *item, int64_t at_ns)
{
    queue_add(&world->queue, max_i64(at_ns, world->now_ns), (uint32_t)(item - world->items));
}

static double uniform(struct world *world)
{
    return (double)(rng_u64(&world->rng) >> 11) * 0x1.0p-53;
}

/* Time to the next happening of a Poisson process, or TIME_NEVER. */
static int64_t exponential_ns(struct world *world, double per_hour)
{
    if (per_hour <= 0) return TIME_NEVER;
    double hours = -log(1.0 - uniform(world)) / per_hour;
    double ns = hours * 3.6e12;
    return ns > 9e18 ? TIME_NEVER : (int64_t)ns;
}

/* ---- messages ---------------------------------------------------------------------------- */

/* When a message sent now arrives, in order after the earlier ones of its pair. */
static int64_t arrival_ns(struct world *world, int64_t *after_ns)
{
    int64_t at_ns = world->now_ns + world->options->latency_ns;
    if (uniform(world) < world->options->faults.late_share)
        at_ns += (int64_t)(uniform(world) * (double)world->campaign->spec.lease_ns);
    at_ns = max_i64(at_ns, *after_ns);
    *after_ns = at_ns;
    return at_ns;
}

static void send_to_core(struct world *world, struct agent *agent, const struct item *item)
{
    struct item copy = *item;
    int copies = uniform(world) < world->options->faults.double_share ? 2 : 1;
    world_plan(world, item, arrival_ns(world, &agent->to_core_ns));
    for (; copies > 1; copies--) {
        struct item *again = world_item(world, ITEM_TO_CORE);
        *again = copy;
        world_plan(world, again, arrival_ns(world, &agent->to_core_ns));
    }
}

void world_send_action(struct world *world, const struct action *action)
{
    struct agent *agent = &world->agents[action->worker];
    struct item *item = world_item(world, ITEM_TO_AGENT);
    item->worker = action->worker;
    item->action = *action;
    if (action->kind == ACTION_LAUNCH) {
        /* The lease counts from the sending of the last heartbeat that the coordinator has. */
        const struct run *run = core_run(world->core, action->run);
        const struct world_run *r = &world->runs[action->run];
        item->resume_step =
            run->resume_pinned
                ? run->resume_step
                : (r->disk_step > run->resume_step ? r->disk_step : run->resume_step);
        item->lease_from_ns = agent->sent_ns[agent->received % HEARTBEATS_KEPT];
        item->action.lease_ns += world->now_ns - agent->received_ns;
        while (item->next_gate < run->gate_count &&
               core_run_gate(world->core, action->run, (uint32_t)item->next_gate)->verdict ==
                   VERDICT_GO)
            item->next_gate++;
    }
    world_plan(world, item, arrival_ns(world, &agent->to_agent_ns));
}

/* ---- progress ---------------------------------------------------------------------------- */

static uint64_t gang_step(const struct world *world, uint32_t run)
{
    const struct gang *gang = &world->runs[run].gang;
    if (!gang->moving) return gang->from_step;
    double steps = (double)(world->now_ns - gang->since_ns) * gang->steps_per_ns + 1e-6;
    uint64_t step = gang->from_step + (uint64_t)steps;
    return step < world->runs[run].steps ? step : world->runs[run].steps;
}

static void gang_stop(struct world *world, uint32_t run)
{
    struct gang *gang = &world->runs[run].gang;
    gang->from_step = gang_step(world, run);
    gang->moving = false;
}

static int64_t time_of_step(const struct world *world, uint32_t run, uint64_t step)
{
    const struct gang *gang = &world->runs[run].gang;
    if (step <= gang->from_step) return world->now_ns;
    double ns = (double)(step - gang->from_step) / gang->steps_per_ns;
    return gang->since_ns + (int64_t)ceil(ns);
}

/* Loss at a step: a power law from start towards end (Kaplan et al. 2020 for the form). */
static int64_t loss_at(const struct world *world, uint32_t run, uint64_t step)
{
    const struct world_run *r = &world->runs[run];
    if (r->nonfinite_step > 0 && step >= r->nonfinite_step) return LOSS_NONFINITE;
    double loss =
        r->loss_end + (r->loss_start - r->loss_end) * pow(1.0 + (double)step, -r->loss_power);
    return (int64_t)(loss * 1e6);
}

static struct telemetry telemetry_of(const struct world *world, uint32_t run)
{
    uint64_t step = gang_step(world, run);
    return (struct telemetry){ .step = step,
                               .tokens = step * 1024,
                               .loss_micro =
                                   step > 0 ? loss_at(world, run, step) : LOSS_UNKNOWN,
                               .val_loss_micro = LOSS_UNKNOWN,
                               .flops_per_token = 1000000,
                               .cpu_ns = -1,
                               .ready = world->runs[run].gang.moving };
}

/* The next thing that member 0's trainer does by itself. */
static void plan_point(struct world *world, uint32_t worker)
{
    const struct agent *agent = &world->agents[worker];
    const struct world_run *run = &world->runs[agent->run];
    uint64_t step = gang_step(world, agent->run), at = run->steps;
    enum trainer_point point = POINT_FINISH;
    uint64_t every = world->options->checkpoint_steps;
    if (every > 0 && (step / every + 1) * every < at) {
        at = (step / every + 1) * every;
        point = POINT_CHECKPOINT;
    }
    const struct run *r = core_run(world->core, agent->run);
    if (agent->next_gate < r->gate_count) {
        const struct run_gate *gate =
            core_run_gate(world->core, agent->run, (uint32_t)agent->next_gate);
        const struct gate_spec *spec = core_gate(world->core, gate->gate_index);
        uint64_t gate_step = spec->step > 0 ? spec->step : (spec->tokens + 1023) / 1024;
        if (gate_step <= at) {
            at = gate_step;
            point = POINT_GATE;
        }
    }
    struct item *item = world_item(world, ITEM_TRAINER);
    item->worker = worker;
    item->stamp = agent->stamp;
    item->point = point;
    item->step = at;
    world_plan(world, item, time_of_step(world, agent->run, at));
}

static void gang_start(struct world *world, uint32_t run)
{
    struct gang *gang = &world->runs[run].gang;
    const struct sim_options *options = world->options;
    double efficiency = gang->members > 1 ? options->gang_efficiency : 1.0;
    gang->moving = true;
    gang->since_ns = world->now_ns;
    gang->steps_per_ns = world->runs[run].speed * gang->members * efficiency * 1e-9;
    for (uint32_t w = 1; w <= options->workers; w++) {
        const struct agent *agent = &world->agents[w];
        if (agent->state == AGENT_RUNNING && agent->run == run && agent->member == 0)
            plan_point(world, w);
    }
}

/* ---- what agents say --------------------------------------------------------------------- */

static struct item *event_item(struct world *world, enum event_kind kind, uint32_t worker)
{
    struct item *item = world_item(world, ITEM_TO_CORE);
    item->worker = worker;
    item->event.kind = kind;
    return item;
}

static void set_checkpoint_path(struct item *item, uint64_t step)
{
    snprintf(item->path, sizeof item->path, "checkpoints/step-%08llu.safetensors",
             (unsigned long long)step);
}

static void say_started(struct world *world, uint32_t worker)
{
    struct agent *agent = &world->agents[worker];
    struct item *item = event_item(world, EVENT_STARTED, worker);
    item->event.as.started.worker = worker;
    item->event.as.started.run = agent->run;
    item->event.as.started.attempt = agent->attempt;
    item->event.as.started.member = agent->member;
    item->event.as.started.pid = 1000 + worker;
    send_to_core(world, agent, item);
}

static void say_checkpoint(struct world *world, uint32_t worker, uint64_t step)
{
    struct agent *agent = &world->agents[worker];
    world->runs[agent->run].disk_step = step;
    struct item *item = event_item(world, EVENT_CHECKPOINT, worker);
    set_checkpoint_path(item, step);
    item->event.as.checkpoint.worker = worker;
    item->event.as.checkpoint.run = agent->run;
    item->event.as.checkpoint.attempt = agent->attempt;
    item->event.as.checkpoint.member = agent->member;
    item->event.as.checkpoint.step = step;
    item->event.as.checkpoint.tokens = step * 1024;
    send_to_core(world, agent, item);
}

static void say_gate(struct world *world, uint32_t worker)
{
    struct agent *agent = &world->agents[worker];
    uint64_t step = gang_step(world, agent->run);
    const struct run_gate *gate =
        core_run_gate(world->core, agent->run, (uint32_t)agent->next_gate);
    world->runs[agent->run].disk_step = step;
    struct item *item = event_item(world, EVENT_GATE, worker);
    set_checkpoint_path(item, step);
    text_copy(item->name, sizeof item->name,
              text_of(core_gate(world->core, gate->gate_index)->name));
    item->event.as.gate.worker = worker;
    item->event.as.gate.run = agent->run;
    item->event.as.gate.attempt = agent->attempt;
    item->event.as.gate.member = agent->member;
    item->event.as.gate.step = step;
    item->event.as.gate.tokens = step * 1024;
    item->event.as.gate.loss_micro = loss_at(world, agent->run, step);
    agent->next_gate++;
    send_to_core(world, agent, item);
}

/* The trainer of this agent is gone; the agent is idle again. */
static void say_exited(struct world *world, uint32_t worker, enum ending ending,
                       int32_t exit_code)
{
    struct agent *agent = &world->agents[worker];
    struct world_run *run = &world->runs[agent->run];
    struct item *item = event_item(world, EVENT_EXITED, worker);
    item->event.as.exited.worker = worker;
    item->event.as.exited.run = agent->run;
    item->event.as.exited.attempt = agent->attempt;
    item->event.as.exited.member = agent->member;
    item->event.as.exited.ending = ending;
    item->event.as.exited.exit_code = exit_code;
    item->event.as.exited.telemetry = telemetry_of(world, agent->run);
    if (agent->member == 0) {
        if (ending == ENDING_STOPPED || ending == ENDING_LEASE_EXPIRED ||
            (ending == ENDING_OWN && exit_code == 0))
            run->disk_step = gang_step(world, agent->run);
        set_checkpoint_path(item, run->disk_step);
        item->event.as.exited.checkpoint_step = run->disk_step;
        item->event.as.exited.checkpoint_tokens = run->disk_step * 1024;
    }
    if (run->gang.attempt == agent->attempt) gang_stop(world, agent->run);
    agent->state = AGENT_IDLE;
    agent->stamp++;
    send_to_core(world, agent, item);
}

static void say_heartbeat(struct world *world, uint32_t worker)
{
    struct agent *agent = &world->agents[worker];
    agent->sent_ns[++agent->heartbeat % HEARTBEATS_KEPT] = world->now_ns;
    struct item *item = event_item(world, EVENT_HEARTBEAT, worker);
    item->event.as.heartbeat.worker = worker;
    item->event.as.heartbeat.sequence = agent->heartbeat;
    if (agent->state != AGENT_IDLE) {
        item->event.as.heartbeat.run = agent->run;
        item->event.as.heartbeat.attempt = agent->attempt;
        item->event.as.heartbeat.member = agent->member;
        item->event.as.heartbeat.telemetry = telemetry_of(world, agent->run);
    }
    send_to_core(world, agent, item);
}

/* ---- what agents do ---------------------------------------------------------------------- */

static void plan_deadline(struct world *world, uint32_t worker, int64_t at_ns)
{
    struct item *item = world_item(world, ITEM_DEADLINE);
    item->worker = worker;
    item->stamp = world->agents[worker].stamp;
    world_plan(world, item, at_ns);
}

/* SIGTERM now: a sound trainer checkpoints and leaves in a part of the grace, a hung one is
 * killed. */
static void begin_stop(struct world *world, uint32_t worker, enum ending ending, bool at_once)
{
    struct agent *agent = &world->agents[worker];
    int64_t grace_ns = at_once ? 0 : world->campaign->spec.stop_grace_ns;
    if (agent->state == AGENT_TERMINATING && !at_once) return;
    agent->state = AGENT_TERMINATING;
    agent->stamp++;
    bool killed = agent->hung || at_once;
    int64_t takes_ns = killed ? grace_ns : (int64_t)(uniform(world) * (double)grace_ns);
    agent->ending = killed ? (ending == ENDING_HANG ? ending : ENDING_KILLED) : ending;
    agent->kill_ns = world->now_ns + takes_ns;
    plan_deadline(world, worker, agent->kill_ns);
}

static void on_deadline(struct world *world, uint32_t worker)
{
    struct agent *agent = &world->agents[worker];
    if (agent->state == AGENT_TERMINATING) {
        if (world->now_ns >= agent->kill_ns)
            say_exited(world, worker, agent->ending,
                       agent->ending == ENDING_KILLED || agent->ending == ENDING_HANG ? -1 : 0);
        return;
    }
    if (agent->state == AGENT_IDLE || agent->state == AGENT_AWAY) return;
    if (world->now_ns >= agent->deadline_ns)
        begin_stop(world, worker, ENDING_LEASE_EXPIRED, false);
    else
        plan_deadline(world, worker, agent->deadline_ns);
}

static void plan_faults(struct world *world, uint32_t worker)
{
    const struct agent *agent = &world->agents[worker];
    const struct sim_faults *faults = &world->options->faults;
    const int64_t at_ns[2] = { exponential_ns(world, faults->crash_per_hour),
                               exponential_ns(world, faults->hang_per_hour) };
    const enum trainer_point points[2] = { POINT_CRASH, POINT_HANG };
    for (int i = 0; i < 2; i++) {
        if (at_ns[i] == TIME_NEVER) continue;
        struct item *item = world_item(world, ITEM_TRAINER);
        item->worker = worker;
        item->stamp = agent->stamp;
        item->point = points[i];
        world_plan(world, item, add_saturated(world->now_ns, at_ns[i]));
    }
}

static bool ghost_holds(const struct world *world, uint32_t run, uint32_t worker)
{
    for (uint32_t g = 0; g < world->ghost_count; g++)
        if (world->ghosts[g].run == run && world->ghosts[g].worker == worker &&
            world->ghosts[g].dead_ns > world->now_ns)
            return true;
    return false;
}

static void on_launch(struct world *world, const struct item *item)
{
    uint32_t worker = item->worker;
    const struct action *launch = &item->action;
    struct agent *agent = &world->agents[worker];
    if (agent->state != AGENT_IDLE) return;
    check(!ghost_holds(world, launch->run, worker)); /* the core waited for its end */
    struct gang *gang = &world->runs[launch->run].gang;
    if (gang->attempt != launch->attempt)
        *gang = (struct gang){ .attempt = launch->attempt,
                               .members = core_run(world->core, launch->run)->ranks,
                               .from_step = item->resume_step };
    agent->state = AGENT_STARTING;
    agent->run = launch->run;
    agent->attempt = launch->attempt;
    agent->member = launch->member;
    agent->hung = false;
    agent->next_gate = item->next_gate;
    agent->deadline_ns = item->lease_from_ns + launch->lease_ns;
    agent->stamp++;
    say_started(world, worker);
    plan_deadline(world, worker, agent->deadline_ns);
    struct item *ready = world_item(world, ITEM_TRAINER);
    ready->worker = worker;
    ready->stamp = agent->stamp;
    ready->point = POINT_READY;
    world_plan(world, ready, world->now_ns + (int64_t)(world->options->startup_s * 1e9));
    plan_faults(world, worker);
}

static void finish_gang(struct world *world, uint32_t run, uint32_t attempt)
{
    for (uint32_t w = 1; w <= world->options->workers; w++) {
        const struct agent *agent = &world->agents[w];
        if (agent->state == AGENT_RUNNING && agent->run == run && agent->attempt == attempt)
            say_exited(world, w, ENDING_OWN, 0);
    }
}

static void on_trainer(struct world *world, const struct item *item)
{
    uint32_t worker = item->worker;
    struct agent *agent = &world->agents[worker];
    if (item->stamp != agent->stamp) return;
    struct gang *gang = &world->runs[agent->run].gang;
    switch (item->point) {
    case POINT_READY:
        agent->state = AGENT_RUNNING;
        if (++gang->ready == gang->members) gang_start(world, agent->run);
        return;
    case POINT_CRASH: say_exited(world, worker, ENDING_OWN, 1); return;
    case POINT_HANG:
        agent->hung = true;
        gang_stop(world, agent->run);
        begin_stop(world, worker, ENDING_HANG, false);
        return;
    case POINT_GATE:
        if (!gang->moving) return;
        say_gate(world, worker);
        plan_point(world, worker);
        return;
    case POINT_CHECKPOINT:
        if (!gang->moving) return;
        say_checkpoint(world, worker, gang_step(world, agent->run));
        plan_point(world, worker);
        return;
    case POINT_FINISH:
        if (gang->moving) finish_gang(world, agent->run, agent->attempt);
        return;
    }
}

static void on_grant(struct world *world, const struct item *item)
{
    struct agent *agent = &world->agents[item->worker];
    const struct action *grant = &item->action;
    if (agent->state != AGENT_STARTING && agent->state != AGENT_RUNNING) return;
    if (agent->run != grant->run || agent->attempt != grant->attempt) return;
    if (agent->heartbeat - grant->heartbeat >= HEARTBEATS_KEPT) return;
    int64_t deadline_ns = agent->sent_ns[grant->heartbeat % HEARTBEATS_KEPT] + grant->lease_ns;
    agent->deadline_ns = max_i64(agent->deadline_ns, deadline_ns);
}

static void on_probe(struct world *world, const struct item *item)
{
    struct agent *agent = &world->agents[item->worker];
    const struct action *probe = &item->action;
    struct item *answer = event_item(world, EVENT_PROBED, item->worker);
    bool gone = true;
    for (uint32_t g = 0; g < world->ghost_count; g++)
        if (world->ghosts[g].run == probe->run && world->ghosts[g].attempt == probe->attempt &&
            world->ghosts[g].dead_ns > world->now_ns)
            gone = false;
    answer->event.as.probed.worker = item->worker;
    answer->event.as.probed.run = probe->run;
    answer->event.as.probed.attempt = probe->attempt;
    answer->event.as.probed.member = probe->member;
    answer->event.as.probed.gone = gone;
    if (probe->member == 0 && world->runs[probe->run].disk_step > 0) {
        set_checkpoint_path(answer, world->runs[probe->run].disk_step);
        answer->event.as.probed.checkpoint_step = world->runs[probe->run].disk_step;
        answer->event.as.probed.checkpoint_tokens = world->runs[probe->run].disk_step * 1024;
    }
    send_to_core(world, agent, answer);
}

static void on_action(struct world *world, const struct item *item)
{
    struct agent *agent = &world->agents[item->worker];
    const struct action *action = &item->action;
    if (agent->state == AGENT_AWAY) return;
    bool ours = agent->state != AGENT_IDLE && agent->run == action->run &&
                agent->attempt == action->attempt;
    switch (action->kind) {
    case ACTION_LAUNCH: on_launch(world, item); return;
    case ACTION_GRANT: on_grant(world, item); return;
    case ACTION_STOP:
        if (ours) begin_stop(world, item->worker, ENDING_STOPPED, action->at_once);
        return;
    case ACTION_PROBE: on_probe(world, item); return;
    case ACTION_ASK:
    case ACTION_DONE:
    case ACTION_KIND_COUNT: return;
    }
}

/* ---- deaths ------------------------------------------------------------------------------ */

static void leave_ghost(struct world *world, const struct agent *agent, uint32_t worker)
{
    if (world->ghost_count == world->ghost_capacity) {
        world->ghost_capacity = world->ghost_capacity > 0 ? 2 * world->ghost_capacity : 64;
        world->ghosts = (struct ghost *)realloc(world->ghosts,
                                                world->ghost_capacity * sizeof *world->ghosts);
        check(world->ghosts != NULL);
    }
    /* Its launcher ends it within the grace, and never after the lease's own end. */
    int64_t grace_ns = world->campaign->spec.stop_grace_ns;
    int64_t dead_ns = world->now_ns + (int64_t)(uniform(world) * (double)grace_ns);
    dead_ns = min_i64(dead_ns, agent->deadline_ns + grace_ns);
    if (agent->state == AGENT_TERMINATING) dead_ns = min_i64(dead_ns, agent->kill_ns);
    world->ghosts[world->ghost_count++] =
        (struct ghost){ agent->run, agent->attempt, worker, dead_ns };
}

static void agent_dies(struct world *world, uint32_t worker)
{
    struct agent *agent = &world->agents[worker];
    if (agent->state > AGENT_IDLE) {
        leave_ghost(world, agent, worker);
        struct gang *gang = &world->runs[agent->run].gang;
        if (gang->attempt == agent->attempt) gang_stop(world, agent->run);
    }
    agent->state = AGENT_AWAY;
    agent->stamp++;
}

void world_all_die(struct world *world)
{
    for (uint32_t w = 1; w <= world->options->workers; w++)
        agent_dies(world, w);
}

static void on_loss(struct world *world, uint32_t worker)
{
    struct agent *agent = &world->agents[worker];
    if (agent->state == AGENT_AWAY) return;
    agent_dies(world, worker);
    struct item *item = event_item(world, EVENT_WORKER_LOST, worker);
    item->event.as.worker_lost.worker = worker;
    item->event.as.worker_lost.cause = TEXT("no heartbeat");
    world_plan(world, item,
               max_i64(world->now_ns, agent->received_ns) +
                   world->campaign->spec.worker_timeout_ns);
}

void world_happen(struct world *world, const struct item *item)
{
    switch (item->kind) {
    case ITEM_TO_AGENT: on_action(world, item); return;
    case ITEM_TRAINER: on_trainer(world, item); return;
    case ITEM_DEADLINE:
        if (item->stamp == world->agents[item->worker].stamp) on_deadline(world, item->worker);
        return;
    case ITEM_LOSS: on_loss(world, item->worker); return;
    case ITEM_TICK:
        if (world->agents[item->worker].state == AGENT_AWAY) return;
        say_heartbeat(world, item->worker);
        struct item *next = world_item(world, ITEM_TICK);
        uint32_t worker = item->worker;
        next->worker = worker;
        world_plan(world, next, world->now_ns + world->campaign->spec.heartbeat_ns);
        return;
    case ITEM_TO_CORE:
    case ITEM_TIMER:
    case ITEM_OWNER:
    case ITEM_DEATH:
    case ITEM_LIFE:
    case ITEM_KIND_COUNT: break;
    }
    unreachable("item kind");
}

/* ---- the truth --------------------------------------------------------------------------- */

void world_witness(struct world *world, const struct record *record)
{
    if (record->kind != RECORD_ATTEMPT_ENDED) return;
    uint32_t run = record->as.attempt_ended.run, attempt = record->as.attempt_ended.attempt;
    for (uint32_t w = 1; w <= world->options->workers; w++) {
        const struct agent *agent = &world->agents[w];
        bool alive =
            agent->state > AGENT_IDLE && agent->run == run && agent->attempt == attempt;
        check(!alive); /* settled while a trainer of it still ran */
    }
    for (uint32_t g = 0; g < world->ghost_count;) {
        const struct ghost *ghost = &world->ghosts[g];
        bool ours = ghost->run == run && ghost->attempt == attempt;
        if (ours) check(ghost->dead_ns <= world->now_ns);
        if (ghost->dead_ns <= world->now_ns)
            world->ghosts[g] = world->ghosts[--world->ghost_count];
        else
            g++;
    }
}
