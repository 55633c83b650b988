/*
 * reduce.h - reductions over a gang on CPUs: one thread per attempt serves the trainer's requests
 * (proto/wire/gang_shm.h) with MPI collectives. The one file of the agent that knows MPI is reduce.c.
 *
 * Promises: nothing here makes the agent's loop wait, not even when a member never comes; waiting for slow
 * members costs no core; only the gang's ranks take part. The thread touches nothing but its own memory,
 * so it can be left behind: a collective that was begun and cannot end is abandoned with its memory, never
 * freed under MPI's hands.
 *
 * A reduction goes in two phases: the members gather (asleep, and it can be called off), and then reduce
 * (short, and nobody is missing).
 */
#ifndef WORKER_AGENT_REDUCE_H
#define WORKER_AGENT_REDUCE_H

#include "proto/base/error.h"

struct reduce;

struct reduce_options {
    const uint32_t *gang; /* MPI ranks in gang order; copied */
    size_t gang_count;    /* 2..GANG_MAX */
    uint32_t member;      /* own index in gang */
    uint64_t key; /* names the attempt: the same for all members, different for every other */
    size_t buffer_bytes; /* of the segment; pages that nobody touches cost nothing */
};

/* Makes the segment and starts the thread. ERR_UNSUPPORTED: MPI is not running in this process. */
must_use enum err reduce_start(struct reduce **reduce, const struct reduce_options *options,
                               struct error *error);

/* The segment's descriptor (borrowed, for the trainer to inherit) and its size. */
int reduce_fd(const struct reduce *reduce);
size_t reduce_segment_bytes(const struct reduce *reduce);

/* How many reductions were completed, and whether one is under way: who of a hung gang did not come. */
uint64_t reduce_done_count(const struct reduce *reduce);
bool reduce_is_waiting(const struct reduce *reduce);

/* Calls off, at `at_ns` (CLOCK_BOOTTIME), what is not complete by then: the trainer is to stop, and must not
 * wait for members that will not come. */
void reduce_call_off(struct reduce *reduce, int64_t at_ns);

/* Ends the thread and frees everything; to be called when the trainer is gone. False when it had to be
 * abandoned. NULL is a no-op (true). Takes at most a fifth of a second. */
bool reduce_stop(struct reduce *reduce);

#endif
