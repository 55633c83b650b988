/*
 * supervise.h - how a process is ended: first asked, then, after a grace, made to.
 *
 * A small state machine, pure: time is passed in, and signals are sent by whoever steps it. The
 * edges are one const table in supervise.c.
 */
#ifndef WORKER_SPAWN_SUPERVISE_H
#define WORKER_SPAWN_SUPERVISE_H

#include "proto/base/defs.h"

#define SUPERVISE_STATES(X)                                                                    \
    X(RUNNING, "running") X(ASKED, "asked to end") X(KILLED, "killed") X(GONE, "gone")

enum supervise_state {
#define X(id, name) SUPERVISE_##id,
    SUPERVISE_STATES(X) SUPERVISE_STATE_COUNT
#undef X
};

#define SUPERVISE_EVENTS(X)                                                                    \
    X(STOP, "stop") X(STOP_AT_ONCE, "stop at once") X(TIME, "time passed") X(EXIT, "exit")

enum supervise_event {
#define X(id, name) SUPERVISE_ON_##id,
    SUPERVISE_EVENTS(X) SUPERVISE_EVENT_COUNT
#undef X
};

/* What the caller must do now. */
enum supervise_action { SUPERVISE_NOTHING, SUPERVISE_SEND_TERM, SUPERVISE_SEND_KILL };

/* A kill that did not help is repeated after this time. */
#define SUPERVISE_REPEAT_NS NS_PER_S

struct supervise {
    enum supervise_state state;
    int64_t grace_ns;
    int64_t due_ns; /* when SUPERVISE_ON_TIME does something next; TIME_NEVER: not by itself */
};

/* Starts in RUNNING; grace_ns >= 0 lies between the request and the kill. */
void supervise_init(struct supervise *supervise, int64_t grace_ns);

/* Feeds one event at `now_ns`. ON_TIME before due_ns does nothing, so it may be fed at any
 * time; a second STOP neither repeats the request nor moves the deadline. */
enum supervise_action supervise_step(struct supervise *supervise, enum supervise_event event,
                                     int64_t now_ns);

/* Makes the kill due at `kill_ns` at the latest. A no-op unless the process was asked to end.
 */
void supervise_hasten(struct supervise *supervise, int64_t kill_ns);

const char *supervise_state_name(enum supervise_state state);

#endif
