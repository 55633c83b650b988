/*
 * comm.h - what the members of a gang do together: sum gradients, and agree on small values.
 *
 * One table of functions with an implementation for a gang of one (comm_self.c), one for a
 * gang on CPUs whose agents run the collective (comm_agent.c) and one for a gang on GPUs
 * (comm_nccl.c, in a module that is opened at run time). All members make the same calls in the
 * same order.
 *
 * Order of a step: comm_begin with the small values, comm_add for each range of gradients as
 * soon as it is final (the reduction runs while the backward pass goes on), comm_finish.
 * Outside a step: comm_agree. A member that ends in failure says so with comm_abort, so that
 * the others need not wait for their deadline.
 *
 * Promises: sums have the same bits on every member, and on every run of a gang of the same
 * size as far as the agents' MPI sums in a fixed order. No call waits for ever. After a failure
 * every further call fails. Never: averages, allocates during a step, prints.
 */
#ifndef WORKER_TRAINER_COMM_H
#define WORKER_TRAINER_COMM_H

#include "kernels/kernels.h"
#include "proto/base/defs.h"
#include "proto/base/error.h"

enum { COMM_SMALL_MAX = 8 };

struct comm;

struct comm_options {
    int rank;
    int size;
    int fd;               /* of the agent's segment, taken over; unused when size is 1 */
    size_t segment_bytes; /* of the segment */
    int64_t timeout_ns;   /* longest wait for the other members; > 0 */
};

struct comm_table {
    void (*close)(struct comm *comm);
    enum err (*begin)(struct comm *comm, double *values, int count, struct error *error);
    void (*add)(struct comm *comm, int64_t offset, int64_t count);
    enum err (*finish)(struct comm *comm, struct error *error);
    enum err (*agree)(struct comm *comm, int64_t *values, int count, struct error *error);
    void (*abort)(struct comm *comm); /* NULL: the others notice by themselves */
};

/* What every implementation begins with. */
struct comm {
    const struct comm_table *table;
    int rank;
    int size;
    int64_t wait_ns; /* time spent waiting for other members, so far */
    /* Of a gang on GPUs; that on CPUs is watched by its agents. */
    uint64_t collectives; /* that this member has completed */
    bool in_collective;   /* it waits in one for the others */
    const struct kernels *kernels;
    struct kernels_device *device;
    float *grads; /* of the device */
};

/* Opens the implementation for options->size. The caller owns *comm. ERR_INPUT, ERR_IO,
 * ERR_NO_MEMORY. */
must_use enum err comm_open(const struct comm_options *options, struct comm **comm,
                            struct error *error);
void comm_close(struct comm *comm); /* no-op for NULL; keeps errno */

/* This member fails: what is on the way is given up, further calls but comm_close fail. No-op
 * for NULL and after a failure. */
void comm_abort(struct comm *comm);

/* Where the gradients live. Borrowed until comm_close; call it before the first step. */
void comm_use(struct comm *comm, const struct kernels *kernels, struct kernels_device *device,
              float *grads);

/* Begins a step: values[count] (at most COMM_SMALL_MAX) hold their sums over the gang after
 * comm_finish, and must live until then. ERR_CLOSED, ERR_TIMEOUT. */
must_use enum err comm_begin(struct comm *comm, double *values, int count, struct error *error);

/* Gradients [offset, offset + count) are final; an error shows in comm_finish. */
void comm_add(struct comm *comm, int64_t offset, int64_t count);

/* Waits until all gradients that were added, and the small values, are sums over the gang. */
must_use enum err comm_finish(struct comm *comm, struct error *error);

/* Replaces each value by its largest over the gang. Also a barrier. */
must_use enum err comm_agree(struct comm *comm, int64_t *values, int count,
                             struct error *error);

/* The two implementations, for comm_open. */
enum err comm_self_open(const struct comm_options *options, struct comm **comm,
                        struct error *error);
enum err comm_agent_open(const struct comm_options *options, struct comm **comm,
                         struct error *error);

#endif
