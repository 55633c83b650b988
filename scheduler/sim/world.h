/*
 * world.h - what surrounds the core in a simulation: agents, trainers, the network, owners.
 *
 * The world keeps the truth that a real coordinator cannot see: which trainer process is alive
 * when. It checks, at every record, that no attempt is settled while a trainer of it still
 * runs, and that no slot has two.
 */
#ifndef SCHEDULER_SIM_WORLD_H
#define SCHEDULER_SIM_WORLD_H

#include "proto/base/rng.h"
#include "scheduler/sim/history.h"
#include "scheduler/sim/queue.h"
#include "scheduler/sim/sim.h"

enum agent_state { AGENT_AWAY, AGENT_IDLE, AGENT_STARTING, AGENT_RUNNING, AGENT_TERMINATING };

enum { HEARTBEATS_KEPT = 256 };

struct agent {
    enum agent_state state;
    uint32_t run, attempt, member;
    uint32_t stamp;     /* rises whenever a planned happening of this agent becomes void */
    uint64_t heartbeat; /* last sequence sent */
    int64_t sent_ns[HEARTBEATS_KEPT]; /* when heartbeat n was sent, at n % HEARTBEATS_KEPT */
    int64_t received_ns; /* when the coordinator got the one named next, and which it was */
    uint64_t received;
    int64_t deadline_ns; /* of its lease */
    int64_t kill_ns;     /* TERMINATING */
    enum ending ending;  /* TERMINATING: what it will report */
    bool hung;
    uint64_t next_gate;              /* slot it reports next */
    int64_t to_core_ns, to_agent_ns; /* no message overtakes an earlier one of its pair */
};

/* One attempt's trainers as a whole: progress needs all of them. */
struct gang {
    uint32_t attempt, members, ready;
    bool moving;
    int64_t since_ns;   /* moving: progress counts from here */
    uint64_t from_step; /* ... and from this step */
    double steps_per_ns;
};

/* A trainer that its dead agent left behind, until its launcher has ended it. */
struct ghost {
    uint32_t run, attempt, worker;
    int64_t dead_ns;
};

struct world_run {
    double speed; /* steps per second of a gang of one */
    double loss_start, loss_end, loss_power;
    uint64_t nonfinite_step; /* 0 = never */
    uint64_t steps;
    uint64_t disk_step; /* newest checkpoint on disk */
    struct gang gang;
};

#define ITEMS(X)                                                                               \
    X(TO_CORE)                                                                                 \
    X(TO_AGENT) X(TICK) X(TRAINER) X(DEADLINE) X(TIMER) X(OWNER) X(DEATH) X(LIFE) X(LOSS)

enum item_kind {
#define X(id) ITEM_##id,
    ITEMS(X) ITEM_KIND_COUNT
#undef X
};

enum trainer_point {
    POINT_READY,
    POINT_GATE,
    POINT_CHECKPOINT,
    POINT_FINISH,
    POINT_CRASH,
    POINT_HANG
};

struct item {
    enum item_kind kind;
    uint32_t life; /* void in another life, except OWNER and LIFE */
    uint32_t worker, stamp;
    enum trainer_point point;
    uint64_t step;
    struct event event; /* TO_CORE, OWNER */
    char path[PATH_MAX_BYTES], name[NAME_MAX_BYTES];
    struct action action;            /* TO_AGENT */
    uint64_t resume_step, next_gate; /* TO_AGENT LAUNCH */
    int64_t lease_from_ns;
};

struct world {
    const struct campaign *campaign;
    const struct sim_options *options;
    struct rng rng;
    struct core *core;
    struct history history;
    struct queue queue;
    struct item *items;
    uint32_t item_count, item_capacity, *free_items, free_count;
    int64_t now_ns;
    uint32_t life;
    struct agent *agents; /* by worker; [0] unused */
    struct world_run *runs;
    struct ghost *ghosts;
    uint32_t ghost_count, ghost_capacity;
    struct action *actions; /* of the step in progress */
    uint32_t action_count, action_capacity;
    int64_t timer_ns; /* earliest TIMER planned */
    bool death_armed, done;
    uint32_t owners_pending;
    struct sim_result result;
};

/* A new item, zeroed, to be filled and then planned. Valid until the next world_item. */
struct item *world_item(struct world *world, enum item_kind kind);
void world_plan(struct world *world, const struct item *item, int64_t at_ns);

/* Handles an item that concerns agents and trainers (TO_AGENT, TICK, TRAINER, DEADLINE, LOSS).
 */
void world_happen(struct world *world, const struct item *item);

/* Every agent and trainer of this life dies; the trainers within the stop grace. */
void world_all_die(struct world *world);

/* Sends an action of the core to its agent. */
void world_send_action(struct world *world, const struct action *action);

/* Checks a record against the truth; see above. */
void world_witness(struct world *world, const struct record *record);

#endif
