/*
 * events.h - what a trainer tells its agent: ready, progress, gate, checkpoint, failure.
 * docs/formats/trainer.md says what travels.
 *
 * One of three outlets: length-prefixed protobuf (PENSTOCK_FD), JSON lines (PENSTOCK_EVENTS),
 * or lines for people on stdout where there is neither.
 *
 * Promises: an agent that reads slowly does not hold up training: progress is dropped then (it
 * is cumulative, the next one makes up for it), while gates, checkpoints and failures wait in
 * a bounded outbox. An agent that is gone is noticed once and then ignored. Events leave in
 * the order of the calls. Never: raises SIGPIPE problems (the caller ignores that signal),
 * fails training, or loses a gate without saying so in the log.
 */
#ifndef WORKER_TRAINER_EVENTS_H
#define WORKER_TRAINER_EVENTS_H

#include "proto/base/defs.h"
#include "proto/base/error.h"
#include "proto/wire/comm_frame.h"

struct events;

struct events_options {
    const char *protobuf_path; /* PENSTOCK_FD, or NULL or empty */
    const char *json_path;     /* PENSTOCK_EVENTS, or NULL or empty */
};

/* ERR_IO: the named outlet cannot be opened; ERR_NO_MEMORY. The caller owns *events. */
must_use enum err events_open(const struct events_options *options, struct events **events,
                              struct error *error);

/* Sends what is still in the outbox, waiting a few seconds at most. No-op for NULL. */
void events_close(struct events *events);

struct events_ready {
    uint64_t step; /* that training starts from */
    double flops_per_token;
    uint64_t parameters;
    const char *backend;
    const char *detail;
};

struct events_progress {
    uint64_t step;
    uint64_t tokens;
    bool has_loss, has_val_loss;
    double loss, val_loss; /* nats; may be NaN or infinite */
    double grad_norm;
    double learning_rate;
    uint64_t busy_ns, wait_ns;
    uint64_t collectives; /* completed; of a gang on GPUs */
    bool in_collective;   /* waits in one for the others */
};

struct events_gate {
    const char *name;
    uint64_t step;
    uint64_t tokens;
    double val_loss;
    const char *checkpoint; /* path, as the contract wants it */
};

void events_ready(struct events *events, const struct events_ready *ready);

/* `must_arrive`: waits for room instead of dropping it (the last one of a run). */
void events_progress(struct events *events, const struct events_progress *progress,
                     bool must_arrive);
void events_gate(struct events *events, const struct events_gate *gate);
void events_checkpoint(struct events *events, uint64_t step, uint64_t tokens, const char *path);
void events_failure(struct events *events, const char *text);

/* The id by which the gang of this attempt meets, 1 .. COMM_ID_BYTES_MAX bytes. */
void events_comm_id(struct events *events, const struct comm_frame *id);

#endif
