/* The gang of one: every sum and every agreement is what the member has already. Also the
 * choice between the implementations. */
#include "worker/trainer/comm.h"

#include <errno.h>
#include <stdlib.h>

static void self_close(struct comm *comm)
{
    free(comm);
}

static enum err self_begin(struct comm *comm, double *values, int count, struct error *error)
{
    (void)comm;
    (void)values;
    (void)count;
    (void)error;
    return ERR_OK;
}

static void self_add(struct comm *comm, int64_t offset, int64_t count)
{
    (void)comm;
    (void)offset;
    (void)count;
}

static enum err self_finish(struct comm *comm, struct error *error)
{
    (void)comm;
    (void)error;
    return ERR_OK;
}

static enum err self_agree(struct comm *comm, int64_t *values, int count, struct error *error)
{
    (void)comm;
    (void)values;
    (void)count;
    (void)error;
    return ERR_OK;
}

static const struct comm_table self_table = { .close = self_close,
                                              .begin = self_begin,
                                              .add = self_add,
                                              .finish = self_finish,
                                              .agree = self_agree };

enum err comm_self_open(const struct comm_options *options, struct comm **comm,
                        struct error *error)
{
    check(options->size == 1);
    *comm = calloc(1, sizeof(**comm));
    if (*comm == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for a gang");
    **comm = (struct comm){ .table = &self_table, .size = 1 };
    return ERR_OK;
}

enum err comm_open(const struct comm_options *options, struct comm **comm, struct error *error)
{
    *comm = NULL;
    if (options->size < 1 || options->size > GANG_MAX || options->rank < 0 ||
        options->rank >= options->size)
        return error_set(error, ERR_INPUT, "member %d of a gang of %d cannot be", options->rank,
                         options->size);
    return options->size == 1 ? comm_self_open(options, comm, error)
                              : comm_agent_open(options, comm, error);
}

void comm_close(struct comm *comm)
{
    if (comm == NULL) return;
    int saved = errno;
    comm->table->close(comm);
    errno = saved;
}

void comm_abort(struct comm *comm)
{
    if (comm != NULL && comm->table->abort != NULL) comm->table->abort(comm);
}

void comm_use(struct comm *comm, const struct kernels *kernels, struct kernels_device *device,
              float *grads)
{
    comm->kernels = kernels;
    comm->device = device;
    comm->grads = grads;
}

enum err comm_begin(struct comm *comm, double *values, int count, struct error *error)
{
    check(count >= 1);
    check(count <= COMM_SMALL_MAX);
    return comm->table->begin(comm, values, count, error);
}

void comm_add(struct comm *comm, int64_t offset, int64_t count)
{
    comm->table->add(comm, offset, count);
}

enum err comm_finish(struct comm *comm, struct error *error)
{
    return comm->table->finish(comm, error);
}

enum err comm_agree(struct comm *comm, int64_t *values, int count, struct error *error)
{
    check(count >= 1);
    check(count <= COMM_SMALL_MAX);
    return comm->table->agree(comm, values, count, error);
}
