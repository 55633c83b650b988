/*
 * attempt.h - one launched attempt on this slot, from Launch to MemberExited.
 *
 *     attempt_begin   folders, pipes, environment; asks the launcher
 *     attempt_tick    reads events, keeps deadlines, steps the kill escalation
 *     attempt_report  what the launcher says
 *     attempt_halt    the trainer is to end, for a reason; the first reason is the cause
 *
 * It is over (alive == false) when MemberExited was posted, which happens once, when nothing of the trainer
 * lives. Messages leave through `post`. Time is CLOCK_BOOTTIME and passed in.
 */
#ifndef WORKER_AGENT_ATTEMPT_H
#define WORKER_AGENT_ATTEMPT_H

#include <poll.h>

#include "proto/wire.pb-c.h"
#include "worker/agent/comm_id.h"
#include "worker/agent/disk.h"
#include "worker/agent/events_in.h"
#include "worker/agent/gpu.h"
#include "worker/agent/meter.h"
#include "worker/agent/pace.h"
#include "worker/agent/ras.h"
#include "worker/agent/reduce.h"
#include "worker/agent/slot.h"
#include "worker/spawn/launcher.h"
#include "worker/spawn/supervise.h"

/* What an attempt borrows from its agent. */
struct attempt_world {
    struct launcher *launcher;
    const struct slot *slot;
    struct gpu *gpu; /* of the slot; counts nothing where there is none */
    const char *state_dir;
    uint64_t epoch;
    void (*post)(void *agent,
                 Penstock__Wire__ToCoordinator *message); /* message->epoch is filled in */
    void *agent;
    uint32_t abandoned_count; /* reductions that had to be left behind */
    uint32_t stale_id_count;  /* gangs' ids that were of no attempt here, or came twice */
};

enum attempt_phase { ATTEMPT_LAUNCHING, ATTEMPT_RUNNING, ATTEMPT_ORPHANED };

struct attempt {
    bool alive;
    enum attempt_phase phase;
    uint32_t run, number, member;
    uint64_t launch_id;
    pid_t pid; /* 0 until it has started */
    char run_dir[DISK_PATH_BYTES], err_path[DISK_PATH_BYTES];
    char marker[NAME_MAX_BYTES + 64];
    /* deadlines */
    int64_t launched_ns, lease_end_ns, start_end_ns, grace_ns, step_min_ns;
    uint32_t step_factor;
    struct pace pace;
    struct supervise supervise;
    Penstock__Wire__ExitCause cause; /* 0: nobody ended it */
    char why[256];
    /* what it said */
    struct events_in events[2];
    struct checkpoint newest;
    bool ready, has_loss, loss_nonfinite, has_val_loss;
    uint64_t step, tokens, busy_ns, wait_ns;
    int64_t loss_micro, val_loss_micro;
    double flops_per_token, learning_rate, grad_norm;
    char failure[EVENT_TEXT_BYTES];
    uint32_t complaints; /* malformed events that were logged */
    /* how it is served */
    struct meter meter;
    struct reduce *reduce;
    struct comm_id comm_id;
    uint32_t ras_port; /* where its NCCL answers; 0: nowhere */
    struct ras ras;
    /* of the gang's collectives; as they stood when the trainer was told to stop */
    uint64_t collectives;
    bool in_collective;
};

/* Starts an attempt whose lease ends at lease_end_ns. Whatever goes wrong becomes a MemberExited of cause
 * LAUNCH_FAILED (or LEASE_EXPIRED). launch_id is new. */
void attempt_begin(struct attempt *attempt, struct attempt_world *world,
                   const Penstock__Wire__Launch *launch, uint64_t launch_id,
                   int64_t lease_end_ns, int64_t now_ns);

/* The same message for a Launch that is refused before anything was begun. */
void attempt_refuse(struct attempt_world *world, const Penstock__Wire__Launch *launch,
                    Penstock__Wire__ExitCause cause, const char *detail);

void attempt_tick(struct attempt *attempt, struct attempt_world *world, int64_t now_ns);
void attempt_report(struct attempt *attempt, struct attempt_world *world,
                    const struct launch_report *report, int64_t now_ns);

/* The launcher is gone: the kernel kills the trainer, and the rest is for us. */
void attempt_lose_launcher(struct attempt *attempt, struct attempt_world *world,
                           int64_t now_ns);

/* The id by which the gang meets, from its member 0: handed to the trainer. Another attempt's, or a second one,
 * is dropped and counted. */
void attempt_take_comm_id(struct attempt *attempt, struct attempt_world *world,
                          const Penstock__Wire__CommId *id);

/* Moves the end of the lease, never back. */
void attempt_grant(struct attempt *attempt, struct attempt_world *world, int64_t lease_end_ns);

void attempt_halt(struct attempt *attempt, struct attempt_world *world,
                  Penstock__Wire__ExitCause cause, bool at_once, const char *why,
                  int64_t now_ns);

/* *device is room for a part of *telemetry. */
void attempt_fill_telemetry(struct attempt *attempt, const struct attempt_world *world,
                            Penstock__Wire__Telemetry *telemetry,
                            Penstock__Wire__Device *device, int64_t now_ns);

/* When attempt_tick has something to do next, events aside. */
int64_t attempt_due_ns(const struct attempt *attempt);

/* The descriptors to watch; fd -1 where there is nothing. */
enum { ATTEMPT_FDS = 3 };
void attempt_watch(const struct attempt *attempt, struct pollfd watch[ATTEMPT_FDS]);

/* Frees without a word; the trainer is the launcher's to end. No-op when not alive. */
void attempt_drop(struct attempt *attempt, struct attempt_world *world);

#endif
