/*
 * silence.h - which workers have been silent for too long.
 *
 * Silence is counted only while the coordinator listens: when it was stopped or stuck for an
 * hour, that hour says nothing about the workers, whose messages may still wait to be read. So
 * the clock of silence moves by at most one step limit between two ticks, however long the
 * pause was.
 */
#ifndef SCHEDULER_COORDINATOR_SILENCE_H
#define SCHEDULER_COORDINATOR_SILENCE_H

#include "proto/base/defs.h"
#include "proto/base/error.h"

struct silence {
    uint32_t worker_count; /* highest worker number + 1 */
    int64_t *heard_ns;     /* by worker, on the clock of silence; -1: not a member */
    int64_t listened_ns;   /* the clock of silence */
    int64_t last_tick_ns;  /* campaign time of the last tick */
    int64_t tick_max_ns;
    int64_t timeout_ns;
};

must_use enum err silence_init(struct silence *silence, uint32_t worker_count, int64_t now_ns,
                               int64_t tick_max_ns, int64_t timeout_ns, struct error *error);
void silence_fini(struct silence *silence);

/* Moves the clock of silence. Called once per batch, after all waiting messages were read. */
void silence_tick(struct silence *silence, int64_t now_ns);

/* The worker was heard: it is a member from now on, until silence_forget. */
void silence_heard(struct silence *silence, uint32_t worker);
void silence_forget(struct silence *silence, uint32_t worker);

/* A member that has been silent for longer than the time-out, from `from` on; worker_count if
 * none. */
uint32_t silence_lost(const struct silence *silence, uint32_t from);

#endif
