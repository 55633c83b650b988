/*
 * intake.h - a message from an agent, checked and turned into an event for the core.
 *
 * Nothing of a message is believed: its form is checked by the codec, and here it must belong
 * to this epoch, come from the rank that it speaks for, and keep to the bounds of what can be
 * recorded. What does not is refused here, with a reason for the log, and changes nothing.
 * Whether it still fits the state (attempt, member, worker) is the core's to judge.
 */
#ifndef SCHEDULER_COORDINATOR_INTAKE_H
#define SCHEDULER_COORDINATOR_INTAKE_H

#include "proto/base/error.h"
#include "proto/wire.pb-c.h"
#include "scheduler/coordinator/telemetry.h"
#include "scheduler/core/state.h"

/* What a message asks of the coordinator beyond an event. */
enum intake_kind {
    INTAKE_EVENT,   /* intake.event is for the core */
    INTAKE_HELLO,   /* the same, and the worker wants a Welcome */
    INTAKE_UNFIT,   /* a Hello of a worker that cannot be used: intake.refusal says why */
    INTAKE_COMM_ID, /* to be passed on to the rest of its gang */
    INTAKE_GOODBYE  /* the worker leaves */
};

/* One message. Texts in the event borrow from the message: intake_drop releases it. */
struct intake {
    enum intake_kind kind;
    struct event event;
    struct telemetry_extra extra; /* of a heartbeat */
    char refusal[256];
    char detail[1024]; /* of an exit, where more was known than the agent's own */
    Penstock__Wire__ToCoordinator *message; /* owned */
};

/* Takes the message apart. `worker` is the rank it came from, now_ns when it was received.
 * ERR_INPUT says what is wrong with it; *intake then needs no intake_drop. */
must_use enum err intake_take(struct intake *intake, const struct core *core, uint32_t worker,
                              const void *data, size_t bytes, int64_t now_ns,
                              struct error *error);
void intake_drop(struct intake *intake);

#endif
