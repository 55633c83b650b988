/*
 * outbox.h - actions on their way to the agents.
 *
 * Actions are kept in the order in which the core gave them, and are sent when the records of
 * their batch are durable, never before. A lease counts from a heartbeat, so nothing is sent to
 * a worker from which none has come; what is meant for it waits, in order, until one does. An
 * action that the state no longer backs (its attempt has ended meanwhile) is dropped.
 */
#ifndef SCHEDULER_COORDINATOR_OUTBOX_H
#define SCHEDULER_COORDINATOR_OUTBOX_H

#include "proto/base/error.h"
#include "proto/wire.pb-c.h"
#include "proto/wire/comm_frame.h"
#include "proto/wire/link.h"
#include "scheduler/core/state.h"

/* The last heartbeat of a worker in this life. */
struct outbox_heard {
    uint64_t sequence; /* 0: none yet */
    int64_t at_ns;     /* when it was received */
};

struct outbox_entry {
    struct action action;
    int64_t step_ns; /* time of the step that gave it */
};

/* A GPU gang's id on its way to one member. */
struct outbox_comm_id {
    uint32_t run, attempt, member, worker;
    uint32_t id_bytes;
    uint8_t id[COMM_ID_BYTES_MAX];
};

struct outbox {
    struct link *link;     /* borrowed */
    uint32_t worker_count; /* highest number + 1 */
    struct outbox_heard *heard;
    char (*devices)[NAME_MAX_BYTES]; /* what CUDA_VISIBLE_DEVICES calls each worker's GPU */
    uint32_t entry_count, entry_capacity;
    struct outbox_entry *entries;
    uint32_t comm_id_count, comm_id_capacity;
    struct outbox_comm_id *comm_ids;
    uint32_t stale_comm_id_count; /* ids of attempts that are over */
    const struct text *launches;  /* by run: what to start, as recorded; borrowed */
    const char *trainer;          /* path of the built-in trainer of this installation */
};

struct outbox_options {
    struct link *link;
    uint32_t worker_count;
    const struct text *launches;
    const char *trainer;
};

must_use enum err outbox_init(struct outbox *outbox, const struct outbox_options *options,
                              struct error *error);
void outbox_fini(struct outbox *outbox);

/* Keeps an action until outbox_perform. ERR_NO_MEMORY. */
must_use enum err outbox_put(struct outbox *outbox, const struct action *action,
                             int64_t step_ns, struct error *error);

/* Keeps the id that `from` sent for every other member of its gang; outbox_perform sends it behind
 * what waits for that member's worker, so that it never overtakes the launch. One that is not of
 * a live attempt, or not from its member 0, is dropped and counted. ERR_NO_MEMORY. */
must_use enum err outbox_put_comm_id(struct outbox *outbox, const struct core *core,
                                     uint32_t from, const Penstock__Wire__CommId *id,
                                     struct error *error);

/* What CUDA_VISIBLE_DEVICES calls the GPU of a worker that joins; empty: it has none. */
void outbox_seat(struct outbox *outbox, uint32_t worker, struct text visible_device);

/* A heartbeat came; a worker is gone: what waits for it is dropped. */
void outbox_heartbeat(struct outbox *outbox, uint32_t worker, uint64_t sequence,
                      int64_t now_ns);
void outbox_forget(struct outbox *outbox, uint32_t worker);

/* Sends everything that can be sent. When the link is full the rest stays, for the next call.
 * Any other failure to send one message is returned, after the rest was tried. */
must_use enum err outbox_perform(struct outbox *outbox, const struct core *core,
                                 struct error *error);

/* Messages that no action stands for. */
must_use enum err outbox_welcome(struct outbox *outbox, uint32_t worker, uint64_t epoch,
                                 const char *state_dir, int64_t heartbeat_ns,
                                 const char *refusal, struct error *error);
must_use enum err outbox_shutdown(struct outbox *outbox, uint32_t worker, uint64_t epoch,
                                  const char *reason, struct error *error);

#endif
