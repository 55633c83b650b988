/*
 * agent.h - the worker rank: one slot's agent. Runs on every MPI rank but 0.
 *
 * It says Hello, sends a heartbeat every interval, starts the trainer that a Launch describes, reads its
 * events, and reports exactly one MemberExited for every Launch of its epoch, when nothing of the trainer
 * lives any more. It keeps the deadlines (start-up, step, lease, stop grace) by its own clock, without
 * anybody's help: a trainer without a fresh lease is asked to stop at the lease's end and is dead a
 * grace later, even when the coordinator is gone, and even when this agent is gone or hangs (the launcher
 * holds the same limit). It never decides what is run, opens no CUDA, and never waits for a peer.
 *
 * Order of messages: Hello; Welcome; then Heartbeats, and per attempt: Launch -> MemberStarted ->
 * GateReached, CheckpointWritten... -> MemberExited; at the end Shutdown -> (MemberExited) -> Goodbye. A
 * Launch, Grant or Stop of another epoch, or about an attempt that is not held, changes nothing. An agent
 * that is refused, or has lost its launcher, says Goodbye and waits for Shutdown in silence.
 */
#ifndef WORKER_AGENT_AGENT_H
#define WORKER_AGENT_AGENT_H

#include "proto/base/error.h"
#include "proto/wire/link.h"
#include "worker/spawn/launcher.h"

struct agent_options {
    struct link *link;         /* rank >= 1; borrowed */
    struct launcher *launcher; /* started before MPI_Init; borrowed, stopped by the caller */
    uint32_t slot, slot_count; /* place among the agents of this host (link_mpi.h) */
    const char *host;          /* NULL: the host's name */
    const char *trainer_path;  /* penstock-train; NULL: beside this program, else in PATH */
    int64_t probe_timeout_ns;  /* for measuring the slot; 0: 60 s */
    const char *nvml_path;     /* NULL: libnvidia-ml.so.1 */
    bool keep_signals; /* true: leaves signals and the parent's death alone, for tests */
};

struct agent;

/* Ignores the signals that mpirun and Slurm send to every rank. agent_main does it too; a rank that calls it
 * first thing is not ended by one that comes while MPI starts. */
void agent_ignore_signals(void);

/* Runs an agent until Shutdown: the whole life of a rank. Returns the exit status: 0 after Shutdown, 1
 * when the link failed (trainers are ended either way). Must be entered by the process's first thread. */
int agent_main(const struct agent_options *options);

/* The same in pieces, for tests. agent_create measures the slot and queues Hello; agent_step does all that
 * is due without waiting; agent_wait waits until something may be due. */
must_use enum err agent_create(struct agent **agent, const struct agent_options *options,
                               struct error *error);
must_use enum err agent_step(struct agent *agent, struct error *error);
must_use enum err agent_wait(struct agent *agent, int64_t timeout_ns, struct error *error);
bool agent_is_done(const struct agent *agent);

/* Kills what still runs, and frees everything. NULL is a no-op. */
void agent_destroy(struct agent *agent);

#endif
