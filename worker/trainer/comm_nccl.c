#include "worker/trainer/comm_nccl.h"

#include "kernels/cuda/bucket.h"
#include "kernels/cuda/device.h"
#include "proto/base/text.h"

#include <cuda_runtime_api.h>
#include <nccl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Ranges of gradients are joined until they are BUCKET_FLOATS, and cut into equal pieces where
 * they are more than PIECE_FLOATS: 25 and 32 MiB of floats. A layer of GPT-2 is one piece. */
enum {
    BUCKET_FLOATS = 25 << 18,
    PIECE_FLOATS = 32 << 18,
    VECTOR_FLOATS = 64,
    SMALL_BYTES = COMM_SMALL_MAX * 8
};

/* A wait spins for as long as a collective of a few buckets takes, then it naps. */
#define SPIN_NS (200 * NS_PER_US)
#define NAP_NS (50 * NS_PER_US)
#define CLOSE_NS (10 * NS_PER_S)
#define TELL_NS (200 * NS_PER_MS)

enum state { STATE_READY, STATE_STEP, STATE_FAILED };

struct comm_nccl {
    struct comm base; /* first: struct comm * points here */
    enum state state;
    struct error failure; /* of STATE_FAILED */
    ncclComm_t nccl;      /* NULL: not met yet, or aborted */
    char name[128];       /* NCCL keeps its address as long as the communicator */
    void (*aborting)(void *context);
    void (*waiting)(void *context);
    void *context;   /* of both */
    int64_t told_ns; /* how long this wait had taken when it was last told; 0: not at all */
    int64_t timeout_ns;
    cudaStream_t stream;    /* of reductions */
    cudaEvent_t made, done; /* a bucket's gradients are final; all reductions are through */
    enum kernels_type reduce;
    void *rounded;            /* room for a piece in the type `reduce`; NULL for fp32 */
    void *small, *small_host; /* SMALL_BYTES each, on the device and pinned */
    double *values;           /* the caller's, of this step */
    int value_count;
    int64_t bucket_offset; /* a range of gradients that waits for its neighbours */
    int64_t bucket_count;
    uint64_t collectives; /* enqueued so far */
};

static struct comm_nccl *nccl_of(struct comm *comm)
{
    return (struct comm_nccl *)comm;
}

static int64_t now_ns(void)
{
    struct timespec now;
    check(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* ---- failures ---- */

/* Keeps the first failure and ends the communicator, so that its kernels leave the GPU and its
 * peers notice. */
static enum err fail(struct comm_nccl *comm, const struct error *failure)
{
    if (comm->state == STATE_FAILED) return comm->failure.code;
    comm->state = STATE_FAILED;
    comm->failure = *failure;
    ncclComm_t nccl = comm->nccl;
    comm->nccl = NULL;
    if (comm->aborting != NULL) comm->aborting(comm->context);
    if (nccl != NULL) (void)ncclCommAbort(nccl);
    return comm->failure.code;
}

static enum err report(const struct comm_nccl *comm, struct error *error)
{
    if (comm->state != STATE_FAILED) return ERR_OK;
    if (error != NULL) *error = comm->failure;
    return comm->failure.code;
}

/* The GPU itself has failed, not the gang. */
static enum err fail_cuda(struct comm_nccl *comm, cudaError_t code, const char *what)
{
    struct error failure;
    enum err rc = code == cudaErrorMemoryAllocation ? ERR_NO_MEMORY : ERR_DEVICE;
    error_set(&failure, rc, "the GPU failed while %s: %s (%s)", what, cudaGetErrorString(code),
              cudaGetErrorName(code));
    return fail(comm, &failure);
}

/* NCCL's last text, which names hosts and calls, is worth more than the code's own. Where NCCL
 * failed because CUDA did, CUDA is asked. */
static enum err fail_nccl(struct comm_nccl *comm, ncclResult_t code, const char *what)
{
    struct error failure;
    const char *last = ncclGetLastError(comm->nccl);
    cudaError_t cuda =
        code == ncclUnhandledCudaError ? cudaStreamQuery(comm->stream) : cudaSuccess;
    if (cuda != cudaSuccess && cuda != cudaErrorNotReady) return fail_cuda(comm, cuda, what);
    error_set(&failure, ERR_CLOSED,
              "the gang broke while %s: %s%s%.200s; it goes on from the last checkpoint", what,
              ncclGetErrorString(code), last != NULL && last[0] != '\0' ? ": " : "",
              last != NULL ? last : "");
    return fail(comm, &failure);
}

static enum err fail_late(struct comm_nccl *comm, const char *what, int64_t timeout_ns)
{
    struct error failure;
    error_set(&failure, ERR_TIMEOUT,
              "no answer from the gang in %.1f s while %s (collective %llu of member %d); it "
              "goes on from the last checkpoint",
              (double)timeout_ns / (double)NS_PER_S, what,
              (unsigned long long)comm->collectives, comm->base.rank);
    return fail(comm, &failure);
}

/* ---- waiting ---- */

static void yield(int64_t waited_ns)
{
    const struct timespec nap = { .tv_nsec = NAP_NS };
    if (waited_ns < SPIN_NS)
        (void)sched_yield();
    else
        (void)nanosleep(&nap, NULL);
}

/* Whether it is the others that this member waits for: its own gradients may still be on their
 * way to the collective, on a GPU that hangs. */
static bool waits_for_others(const struct comm_nccl *comm)
{
    cudaError_t code = cudaEventQuery(comm->made);
    if (code != cudaSuccess) (void)cudaGetLastError();
    return code == cudaSuccess;
}

/* So that who never arrived can be known outside while this member cannot go on. */
static void tell_wait(struct comm_nccl *comm, int64_t waited_ns)
{
    if (comm->waiting == NULL || waited_ns - comm->told_ns < TELL_NS) return;
    comm->told_ns = waited_ns;
    comm->base.in_collective = waits_for_others(comm);
    comm->waiting(comm->context);
}

static void tell_wait_ends(struct comm_nccl *comm)
{
    bool told = comm->told_ns > 0;
    comm->told_ns = 0;
    comm->base.in_collective = false;
    if (told) comm->waiting(comm->context);
}

/* What NCCL says about its threads and peers. */
static enum err ask(struct comm_nccl *comm, ncclResult_t *state, const char *what)
{
    ncclResult_t code = ncclCommGetAsyncError(comm->nccl, state);
    if (code != ncclSuccess) return fail_nccl(comm, code, what);
    if (*state != ncclSuccess && *state != ncclInProgress) return fail_nccl(comm, *state, what);
    return ERR_OK;
}

/* Follows a call that may have returned ncclInProgress until it is through. */
static enum err settle(struct comm_nccl *comm, ncclResult_t code, const char *what,
                       int64_t timeout_ns)
{
    if (code != ncclSuccess && code != ncclInProgress) return fail_nccl(comm, code, what);
    int64_t started_ns = now_ns(), waited_ns = 0;
    while (code == ncclInProgress) {
        if (ask(comm, &code, what) != ERR_OK) return comm->failure.code;
        waited_ns = now_ns() - started_ns;
        if (code != ncclInProgress) break;
        if (waited_ns >= timeout_ns) return fail_late(comm, what, timeout_ns);
        tell_wait(comm, waited_ns);
        yield(waited_ns);
    }
    tell_wait_ends(comm);
    comm->base.wait_ns += waited_ns;
    return ERR_OK;
}

/* Until everything on the stream is through. Never blocks inside CUDA. */
static enum err drain(struct comm_nccl *comm, const char *what)
{
    int64_t started_ns = now_ns(), waited_ns = 0;
    cudaError_t code = cudaEventRecord(comm->done, comm->stream);
    if (code != cudaSuccess) return fail_cuda(comm, code, what);
    while ((code = cudaEventQuery(comm->done)) == cudaErrorNotReady) {
        ncclResult_t state;
        (void)cudaGetLastError(); /* "not ready" is no error of a later call */
        if (ask(comm, &state, what) != ERR_OK) return comm->failure.code;
        waited_ns = now_ns() - started_ns;
        if (waited_ns >= comm->timeout_ns) return fail_late(comm, what, comm->timeout_ns);
        tell_wait(comm, waited_ns);
        yield(waited_ns);
    }
    comm->base.wait_ns += waited_ns;
    if (code != cudaSuccess) return fail_cuda(comm, code, what);
    comm->base.collectives = comm->collectives;
    tell_wait_ends(comm);
    return ERR_OK;
}

/* ---- collectives ---- */

static void reduce(struct comm_nccl *comm, void *memory, int64_t count, ncclDataType_t type,
                   ncclRedOp_t op, const char *what)
{
    if (comm->state == STATE_FAILED) return;
    comm->collectives++;
    ncclResult_t code =
        ncclAllReduce(memory, memory, (size_t)count, type, op, comm->nccl, comm->stream);
    (void)settle(comm, code, what, comm->timeout_ns);
}

/* Sums or compares `count` small values of 8 bytes; the result is in small_host once the stream
 * is drained. */
static void reduce_small(struct comm_nccl *comm, const void *values, int count,
                         ncclDataType_t type, ncclRedOp_t op, const char *what)
{
    size_t bytes = (size_t)count * 8;
    if (comm->state == STATE_FAILED) return;
    memcpy(comm->small_host, values, bytes);
    cudaError_t code = cudaMemcpyAsync(comm->small, comm->small_host, bytes,
                                       cudaMemcpyHostToDevice, comm->stream);
    if (code == cudaSuccess) reduce(comm, comm->small, count, type, op, what);
    if (code == cudaSuccess && comm->state != STATE_FAILED)
        code = cudaMemcpyAsync(comm->small_host, comm->small, bytes, cudaMemcpyDeviceToHost,
                               comm->stream);
    if (code != cudaSuccess) (void)fail_cuda(comm, code, what);
}

static const char summing[] = "gradients were summed";

/* One piece of gradients, in fp32 in place or rounded on the way. */
static void reduce_piece(struct comm_nccl *comm, float *grads, int64_t count)
{
    cudaError_t code = cudaSuccess;
    if (comm->reduce == KERNELS_FP32) {
        reduce(comm, grads, count, ncclFloat32, ncclSum, summing);
        return;
    }
    if (comm->state == STATE_FAILED) return;
    code = cuda_bucket_round(comm->stream, comm->rounded, grads, count);
    if (code == cudaSuccess) reduce(comm, comm->rounded, count, ncclBfloat16, ncclSum, summing);
    if (code == cudaSuccess && comm->state != STATE_FAILED)
        code = cuda_bucket_widen(comm->stream, grads, comm->rounded, count);
    if (code != cudaSuccess) (void)fail_cuda(comm, code, summing);
}

/* Where piece `index` of `pieces` begins: equal parts, moved down to
 * whole vectors, so a piece is at most VECTOR_FLOATS longer than PIECE_FLOATS. */
static int64_t cut(int64_t count, int64_t index, int64_t pieces)
{
    if (index == pieces) return count;
    return count * index / pieces / VECTOR_FLOATS * VECTOR_FLOATS;
}

/* The stream waits for the kernels that were launched so far, then reduces the bucket. */
static void send_bucket(struct comm_nccl *comm)
{
    float *grads = comm->base.grads + comm->bucket_offset;
    int64_t count = comm->bucket_count, pieces = div_ceil(count, PIECE_FLOATS);
    comm->bucket_count = 0;
    if (comm->state == STATE_FAILED) return;
    cudaError_t code = cudaEventRecord(comm->made, cuda_device_stream(comm->base.device));
    if (code == cudaSuccess) code = cudaStreamWaitEvent(comm->stream, comm->made, 0);
    if (code != cudaSuccess) {
        (void)fail_cuda(comm, code, summing);
        return;
    }
    for (int64_t piece = 0; piece < pieces; piece++) {
        int64_t from = cut(count, piece, pieces), to = cut(count, piece + 1, pieces);
        reduce_piece(comm, grads + from, to - from);
    }
}

/* ---- the table ---- */

static enum err nccl_begin(struct comm *base, double *values, int count, struct error *error)
{
    struct comm_nccl *comm = nccl_of(base);
    check(comm->state != STATE_STEP);
    if (comm->state == STATE_FAILED) return report(comm, error);
    comm->state = STATE_STEP;
    comm->values = values;
    comm->value_count = count;
    comm->bucket_count = 0;
    reduce_small(comm, values, count, ncclFloat64, ncclSum, "losses were summed");
    return report(comm, error);
}

static void nccl_add(struct comm *base, int64_t offset, int64_t count)
{
    struct comm_nccl *comm = nccl_of(base);
    check(base->grads != NULL);
    bool below = offset + count == comm->bucket_offset;
    bool above = offset == comm->bucket_offset + comm->bucket_count;
    if (comm->bucket_count > 0 && !below && !above) send_bucket(comm);
    if (comm->bucket_count == 0 || below) comm->bucket_offset = offset;
    comm->bucket_count += count;
    if (comm->bucket_count >= BUCKET_FLOATS) send_bucket(comm);
}

static enum err nccl_finish(struct comm *base, struct error *error)
{
    struct comm_nccl *comm = nccl_of(base);
    if (comm->bucket_count > 0) send_bucket(comm);
    if (comm->state == STATE_FAILED || drain(comm, summing) != ERR_OK)
        return report(comm, error);
    check(comm->state == STATE_STEP);
    memcpy(comm->values, comm->small_host, (size_t)comm->value_count * sizeof(double));
    comm->state = STATE_READY;
    return ERR_OK;
}

static enum err nccl_agree(struct comm *base, int64_t *values, int count, struct error *error)
{
    static const char what[] = "the members agreed";
    struct comm_nccl *comm = nccl_of(base);
    check(comm->state != STATE_STEP);
    reduce_small(comm, values, count, ncclInt64, ncclMax, what);
    if (comm->state == STATE_FAILED || drain(comm, what) != ERR_OK) return report(comm, error);
    memcpy(values, comm->small_host, (size_t)count * sizeof(int64_t));
    return ERR_OK;
}

static void nccl_abort(struct comm *base)
{
    struct error leaving;
    error_set(&leaving, ERR_CLOSED, "this member has left its gang");
    (void)fail(nccl_of(base), &leaving);
}

/* Lets the peers take what they still need of this member, then leaves. */
static void leave(struct comm_nccl *comm)
{
    ncclComm_t nccl = comm->nccl;
    int64_t timeout_ns = min_i64(comm->timeout_ns, CLOSE_NS);
    if (settle(comm, ncclCommFinalize(nccl), "the gang parted", timeout_ns) != ERR_OK) return;
    comm->nccl = NULL;
    (void)ncclCommDestroy(nccl);
}

/* After a failure the GPU's memory is left to the end of the process: to free it would be to
 * wait for kernels that may never end. Events and streams are let go of without waiting. */
static void nccl_close(struct comm *base)
{
    struct comm_nccl *comm = nccl_of(base);
    if (comm->nccl != NULL) leave(comm);
    if (comm->state != STATE_FAILED) {
        (void)cudaFreeHost(comm->small_host);
        (void)cudaFree(comm->small);
        (void)cudaFree(comm->rounded);
    }
    if (comm->done != NULL) (void)cudaEventDestroy(comm->done);
    if (comm->made != NULL) (void)cudaEventDestroy(comm->made);
    if (comm->stream != NULL) (void)cudaStreamDestroy(comm->stream);
    free(comm);
}

static const struct comm_table nccl_table = { .close = nccl_close,
                                              .begin = nccl_begin,
                                              .add = nccl_add,
                                              .finish = nccl_finish,
                                              .agree = nccl_agree,
                                              .abort = nccl_abort };

/* ---- opening ---- */

/* The stream comes before compute streams where both want a multiprocessor: a reduction that
 * waits holds up the whole gang. */
static cudaError_t plan(struct comm_nccl *comm)
{
    int least = 0, greatest = 0;
    cudaError_t code = cudaSetDevice(0);
    if (code == cudaSuccess) code = cudaDeviceGetStreamPriorityRange(&least, &greatest);
    if (code == cudaSuccess)
        code = cudaStreamCreateWithPriority(&comm->stream, cudaStreamNonBlocking, greatest);
    if (code == cudaSuccess)
        code = cudaEventCreateWithFlags(&comm->made, cudaEventDisableTiming);
    if (code == cudaSuccess)
        code = cudaEventCreateWithFlags(&comm->done, cudaEventDisableTiming);
    if (code == cudaSuccess) code = cudaMalloc(&comm->small, SMALL_BYTES);
    if (code == cudaSuccess) code = cudaMallocHost(&comm->small_host, SMALL_BYTES);
    if (code == cudaSuccess && comm->reduce != KERNELS_FP32)
        code = cudaMalloc(&comm->rounded,
                          (PIECE_FLOATS + VECTOR_FLOATS) * kernels_real_bytes(comm->reduce));
    return code;
}

static enum err meet(struct comm_nccl *comm, const struct module_gang *gang)
{
    static const char what[] = "the members met";
    ncclUniqueId id;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 27, 0)
    (void)text_copy(comm->name, sizeof(comm->name), text_of(gang->name));
    config.commName = comm->name;
#endif
    memcpy(&id, gang->id, sizeof(id));
    ncclResult_t code =
        ncclCommInitRankConfig(&comm->nccl, gang->size, id, gang->rank, &config);
    return settle(comm, code, what, gang->init_timeout_ns);
}

enum err comm_nccl_open(const struct module_gang *gang, struct comm **out, struct error *error)
{
    *out = NULL;
    struct comm_nccl *comm = calloc(1, sizeof(*comm));
    if (comm == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for a gang");
    comm->base = (struct comm){ .table = &nccl_table, .rank = gang->rank, .size = gang->size };
    comm->timeout_ns = gang->timeout_ns;
    comm->aborting = gang->aborting;
    comm->waiting = gang->waiting;
    comm->context = gang->context;
    comm->reduce = gang->reduce;
    cudaError_t code = plan(comm);
    if (code != cudaSuccess)
        (void)fail_cuda(comm, code, "the gang's buffers were made");
    else
        (void)meet(comm, gang);
    enum err rc = report(comm, error);
    if (rc != ERR_OK) {
        nccl_close(&comm->base);
        return rc;
    }
    comm->base.wait_ns = 0; /* meeting is no part of training */
    *out = &comm->base;
    return ERR_OK;
}

enum err comm_nccl_make_id(uint8_t id[MODULE_ID_BYTES], struct error *error)
{
    ncclUniqueId unique;
    _Static_assert(sizeof(unique) == MODULE_ID_BYTES, "a gang's id is an ncclUniqueId");
    ncclResult_t code = ncclGetUniqueId(&unique);
    if (code != ncclSuccess)
        return error_set(error, ERR_DEVICE, "NCCL makes no id for the gang: %s",
                         ncclGetErrorString(code));
    memcpy(id, &unique, sizeof(unique));
    return ERR_OK;
}

int comm_nccl_version(void)
{
    int version;
    return ncclGetVersion(&version) == ncclSuccess ? version : -1;
}
