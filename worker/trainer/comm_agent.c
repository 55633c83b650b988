/* A gang on CPUs: numbers go through the shared memory of proto/wire/gang_shm.h to the agent,
 * which runs the MPI collective.
 *
 * The buffer is cut into GANG_SHM_RING equal slices; request s uses slice s % GANG_SHM_RING.
 * Its result is copied out before request s + GANG_SHM_RING is made, so a slice is never used
 * by two requests. Small neighbouring ranges of gradients are joined into buckets of
 * BUCKET_FLOATS or more, because a collective costs the same for a hundred floats as for one;
 * large ones are cut into slices. How the ranges are joined and cut depends on the model alone,
 * so sums are the same on every run. */
#include "worker/trainer/comm.h"

#include "proto/wire/gang_shm.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BUCKET_FLOATS = 1 << 18 };

/* A request on the way, and where its result goes. */
struct flight {
    uint64_t sequence;
    enum gang_shm_op op;
    uint64_t slice_bytes; /* of the slice's place in the buffer */
    void *to;             /* host memory, or device memory for gradients */
    int64_t count;
};

struct comm_agent {
    struct comm base; /* first: struct comm * points here */
    struct gang_shm shm;
    int64_t timeout_ns;
    uint64_t slice_bytes;
    struct flight flights[GANG_SHM_RING];
    uint64_t first_flight; /* flights [first, next) are on the way, modulo GANG_SHM_RING */
    uint64_t next_flight;
    int64_t bucket_offset; /* a range of gradients that waits for its neighbours */
    int64_t bucket_count;
    enum err failed; /* the first failure, which sticks */
    struct error failure;
};

static struct comm_agent *agent_of(struct comm *comm)
{
    return (struct comm_agent *)comm;
}

static int64_t now_ns(void)
{
    struct timespec now;
    check(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void agent_close(struct comm *comm)
{
    struct comm_agent *agent = agent_of(comm);
    if (agent->shm.segment != NULL) gang_shm_finish(&agent->shm);
    gang_shm_close(&agent->shm);
    free(agent);
}

/* Waits for the oldest request and copies its result to where it belongs. */
static void land_flight(struct comm_agent *agent)
{
    struct flight *flight = &agent->flights[agent->first_flight % GANG_SHM_RING];
    const char *slice = (const char *)gang_shm_buffer(&agent->shm) + flight->slice_bytes;
    size_t bytes = (size_t)flight->count * gang_shm_element_bytes(flight->op);
    int64_t started_ns = now_ns();
    agent->failed =
        gang_shm_wait(&agent->shm, flight->sequence, agent->timeout_ns, &agent->failure);
    agent->base.wait_ns += now_ns() - started_ns;
    if (agent->failed != ERR_OK) return;
    agent->first_flight++;
    if (flight->op == GANG_SHM_SUM_F32)
        agent->base.kernels->upload(agent->base.device, flight->to, slice, bytes);
    else
        memcpy(flight->to, slice, bytes);
}

/* Sends `count` elements at `from`, which the result will replace. */
static void send_flight(struct comm_agent *agent, enum gang_shm_op op, void *from,
                        int64_t count)
{
    if (agent->failed == ERR_OK && agent->next_flight - agent->first_flight == GANG_SHM_RING)
        land_flight(agent);
    if (agent->failed != ERR_OK) return;
    struct flight *flight = &agent->flights[agent->next_flight % GANG_SHM_RING];
    *flight =
        (struct flight){ .op = op,
                         .slice_bytes = agent->next_flight % GANG_SHM_RING * agent->slice_bytes,
                         .to = from,
                         .count = count };
    char *slice = (char *)gang_shm_buffer(&agent->shm) + flight->slice_bytes;
    size_t bytes = (size_t)count * gang_shm_element_bytes(op);
    check(bytes <= agent->slice_bytes);
    if (op == GANG_SHM_SUM_F32)
        agent->base.kernels->download(agent->base.device, slice, from, bytes);
    else
        memcpy(slice, from, bytes);
    agent->failed = gang_shm_submit(&agent->shm, op, flight->slice_bytes, (uint64_t)count,
                                    &flight->sequence, &agent->failure);
    if (agent->failed == ERR_OK) agent->next_flight++;
}

static void send_bucket(struct comm_agent *agent)
{
    int64_t slice_floats = (int64_t)(agent->slice_bytes / sizeof(float));
    int64_t end = agent->bucket_offset + agent->bucket_count;
    for (int64_t at = agent->bucket_offset; at < end; at += slice_floats)
        send_flight(agent, GANG_SHM_SUM_F32, agent->base.grads + at,
                    min_i64(slice_floats, end - at));
    agent->bucket_count = 0;
}

static enum err land_all(struct comm_agent *agent, struct error *error)
{
    while (agent->failed == ERR_OK && agent->first_flight < agent->next_flight)
        land_flight(agent);
    if (agent->failed != ERR_OK && error != NULL) *error = agent->failure;
    return agent->failed;
}

static enum err agent_begin(struct comm *comm, double *values, int count, struct error *error)
{
    struct comm_agent *agent = agent_of(comm);
    check(agent->first_flight == agent->next_flight || agent->failed != ERR_OK);
    send_flight(agent, GANG_SHM_SUM_F64, values, count);
    if (agent->failed != ERR_OK && error != NULL) *error = agent->failure;
    return agent->failed;
}

static void agent_add(struct comm *comm, int64_t offset, int64_t count)
{
    struct comm_agent *agent = agent_of(comm);
    check(agent->base.grads != NULL);
    bool below = offset + count == agent->bucket_offset;
    bool above = offset == agent->bucket_offset + agent->bucket_count;
    if (agent->bucket_count > 0 && !below && !above) send_bucket(agent);
    if (agent->bucket_count == 0 || below) agent->bucket_offset = offset;
    agent->bucket_count += count;
    if (agent->bucket_count >= BUCKET_FLOATS) send_bucket(agent);
}

static enum err agent_finish(struct comm *comm, struct error *error)
{
    struct comm_agent *agent = agent_of(comm);
    if (agent->bucket_count > 0) send_bucket(agent);
    return land_all(agent, error);
}

static enum err agent_agree(struct comm *comm, int64_t *values, int count, struct error *error)
{
    struct comm_agent *agent = agent_of(comm);
    send_flight(agent, GANG_SHM_MAX_I64, values, count);
    return land_all(agent, error);
}

static const struct comm_table agent_table = { .close = agent_close,
                                               .begin = agent_begin,
                                               .add = agent_add,
                                               .finish = agent_finish,
                                               .agree = agent_agree };

enum err comm_agent_open(const struct comm_options *options, struct comm **comm,
                         struct error *error)
{
    struct comm_agent *agent = calloc(1, sizeof(*agent));
    if (agent == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for a gang");
    enum err rc = gang_shm_attach(&agent->shm, options->fd, options->segment_bytes, error);
    if (rc != ERR_OK) {
        free(agent);
        return rc;
    }
    agent->base =
        (struct comm){ .table = &agent_table, .rank = options->rank, .size = options->size };
    agent->timeout_ns = options->timeout_ns;
    uint64_t slice = agent->shm.buffer_bytes / GANG_SHM_RING;
    agent->slice_bytes = slice - slice % GANG_SHM_ALIGN_BYTES;
    *comm = &agent->base;
    return ERR_OK;
}
