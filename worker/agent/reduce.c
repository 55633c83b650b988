#include "worker/agent/reduce.h"

#include <inttypes.h>
#include <mpi.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "proto/base/hash.h"
#include "proto/base/log.h"
#include "proto/wire/gang_shm.h"
#include "worker/spawn/process.h"

#define LOOK_NS (50 * NS_PER_MS) /* how soon a stop is noticed while there is no request */
#define GATHER_SPIN_NS                                                                         \
    (30 * NS_PER_US) /* members of one step come together within this, or not soon */
#define GATHER_NAP_NS (100 * NS_PER_US)
#define REDUCE_SPIN_NS (100 * NS_PER_MS) /* nobody is missing: worth a core for a moment */
#define REDUCE_NAP_NS (50 * NS_PER_US)
#define STOP_WAIT_NS (200 * NS_PER_MS)

enum { TAG_BASE = 1 << 16, TAG_SPAN = 1 << 29, COUNT_MAX = 1 << 30, RING_TAG = 1 };

/* Below this the steps of a ring cost more than the bytes. */
#define RING_BYTES_MIN ((size_t)1 << 16)

struct reduce {
    pthread_t thread;
    atomic_bool stop;      /* the agent's word: end as soon as you can */
    atomic_bool ended;     /* the thread's: it will touch nothing any more */
    atomic_bool abandoned; /* a collective is still open: the memory stays */
    atomic_bool waiting;
    atomic_uint_fast64_t done_count;
    atomic_int_fast64_t call_off_ns;
    struct gang_shm shm;
    MPI_Comm comm;
    void *room; /* for a chunk that arrives; grows */
    size_t room_bytes;
    uint64_t *words; /* exchanged when the gang comes together */
    uint64_t key;
    size_t gang_count;
    uint32_t member;
    int gang[];
};

static void nap(int64_t ns)
{
    nanosleep(&(struct timespec){ .tv_nsec = (long)ns }, NULL);
}

static bool is_called_off(struct reduce *reduce)
{
    return atomic_load(&reduce->stop) || boot_clock_ns() >= atomic_load(&reduce->call_off_ns);
}

/* Waits for all of `count` requests: spins a moment, then sleeps between looks. False when called off
 * first; some may then still be open. */
static bool finish_requests(struct reduce *reduce, int count, MPI_Request *requests,
                            int64_t spin_ns, int64_t nap_ns)
{
    int64_t spin_until_ns = boot_clock_ns() + spin_ns;
    for (uint32_t looks = 1;; looks++) {
        int done = 0;
        if (MPI_Testall(count, requests, &done, MPI_STATUSES_IGNORE) != MPI_SUCCESS)
            return false;
        if (done) return true;
        if (looks % 16 != 0) {
            sched_yield();
            continue;
        }
        if (is_called_off(reduce)) return false;
        if (boot_clock_ns() >= spin_until_ns) nap(nap_ns);
    }
}

/* ---- gathering, once per attempt, point to point: it can be called off at any time ---- */

static int tag_of(const struct reduce *reduce)
{
    return TAG_BASE + (int)(hash_mix(0, reduce->key) % TAG_SPAN);
}

static bool exchange(struct reduce *reduce, bool sends, int rank, uint64_t *key)
{
    MPI_Request request;
    int code =
        sends ? MPI_Isend(key, 1, MPI_UINT64_T, rank, tag_of(reduce), MPI_COMM_WORLD, &request)
              : MPI_Irecv(key, 1, MPI_UINT64_T, rank, tag_of(reduce), MPI_COMM_WORLD, &request);
    if (code != MPI_SUCCESS) return false;
    if (finish_requests(reduce, 1, &request, 0, NS_PER_MS)) return true;
    if (request == MPI_REQUEST_NULL) return false;
    MPI_Cancel(&request);
    int done = 0;
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (!done) atomic_store(&reduce->abandoned, true); /* its word stays, too */
    return false;
}

/* Everybody tells member 0 that it is there, and hears from it when all are. */
static bool gather(struct reduce *reduce, uint64_t *words)
{
    bool all = true;
    if (reduce->member > 0) {
        words[0] = reduce->key;
        return exchange(reduce, true, reduce->gang[0], &words[0]) &&
               exchange(reduce, false, reduce->gang[0], &words[1]) && words[1] == reduce->key;
    }
    for (size_t i = 1; all && i < reduce->gang_count; i++)
        all = exchange(reduce, false, reduce->gang[i], &words[0]) && words[0] == reduce->key;
    words[1] = reduce->key;
    for (size_t i = 1; all && i < reduce->gang_count; i++)
        all = exchange(reduce, true, reduce->gang[i], &words[1]);
    return all;
}

static bool make_communicator(struct reduce *reduce)
{
    MPI_Group world, group;
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Group_incl(world, (int)reduce->gang_count, reduce->gang, &group);
    int code = MPI_Comm_create_group(MPI_COMM_WORLD, group, tag_of(reduce), &reduce->comm);
    MPI_Group_free(&group);
    MPI_Group_free(&world);
    if (code != MPI_SUCCESS) return false;
    MPI_Comm_set_errhandler(reduce->comm, MPI_ERRORS_RETURN);
    return true;
}

/* ---- one reduction ---- */

struct operation {
    MPI_Datatype type;
    MPI_Op op;
    size_t element_bytes;
};

struct piece {
    void *at;
    int count; /* elements */
};

static struct operation operation_of(enum gang_shm_op op)
{
    switch (op) {
    case GANG_SHM_SUM_F32: return (struct operation){ MPI_FLOAT, MPI_SUM, sizeof(float) };
    case GANG_SHM_SUM_F64: return (struct operation){ MPI_DOUBLE, MPI_SUM, sizeof(double) };
    case GANG_SHM_MAX_I64: return (struct operation){ MPI_INT64_T, MPI_MAX, sizeof(int64_t) };
    case GANG_SHM_OP_END: break;
    }
    unreachable("reduction"); /* gang_shm_next has checked it */
}

/* Waits for what was begun. What was begun and cannot end cannot be taken back either, and MPI may still
 * write into the segment: it stays. */
static bool collect(struct reduce *reduce, int count, MPI_Request *requests, int64_t spin_ns,
                    int64_t nap_ns)
{
    if (finish_requests(reduce, count, requests, spin_ns, nap_ns)) return true;
    atomic_store(&reduce->abandoned, true);
    return false;
}

/* Sends one chunk to the next member while one comes from the previous. */
static bool shift(struct reduce *reduce, struct piece out, struct piece in, MPI_Datatype type)
{
    MPI_Request requests[2] = { MPI_REQUEST_NULL, MPI_REQUEST_NULL };
    int size = (int)reduce->gang_count, rank = (int)reduce->member;
    int code = MPI_Irecv(in.at, in.count, type, (rank + size - 1) % size, RING_TAG,
                         reduce->comm, &requests[0]);
    if (code == MPI_SUCCESS)
        code = MPI_Isend(out.at, out.count, type, (rank + 1) % size, RING_TAG, reduce->comm,
                         &requests[1]);
    bool done = collect(reduce, 2, requests, REDUCE_SPIN_NS, REDUCE_NAP_NS);
    return done && code == MPI_SUCCESS;
}

/* The chunk that belongs to member `index` (modulo the gang). */
static struct piece chunk_of(const struct reduce *reduce, char *data, int count,
                             size_t element_bytes, size_t index)
{
    size_t members = reduce->gang_count, all = (size_t)count;
    size_t from = all * (index % members) / members;
    size_t to = all * (index % members + 1) / members;
    return (struct piece){ data + from * element_bytes, (int)(to - from) };
}

static bool make_room(struct reduce *reduce, size_t bytes)
{
    if (bytes <= reduce->room_bytes) return true;
    free(reduce->room);
    reduce->room = malloc(bytes);
    reduce->room_bytes = reduce->room ? bytes : 0;
    return reduce->room != NULL;
}

/*
 * A ring: each chunk travels around once and gathers everybody's share, then once more as the sum. Every
 * member sends and receives 2 (n - 1) / n of the data, which is the least there is; Open MPI's own
 * non-blocking collective sends all of it to one member and back. The order of the additions depends on
 * the gang's size alone, and every member gets the same bits.
 */
static bool ring(struct reduce *reduce, char *data, int count, struct operation operation)
{
    size_t members = reduce->gang_count, self = reduce->member, bytes = operation.element_bytes;
    if (!make_room(reduce, ((size_t)count / members + 1) * bytes)) return false;
    for (size_t step = 0; step + 1 < members; step++) {
        struct piece out = chunk_of(reduce, data, count, bytes, self + members - step);
        struct piece sum = chunk_of(reduce, data, count, bytes, self + members - step - 1);
        struct piece in = { reduce->room, sum.count };
        if (!shift(reduce, out, in, operation.type)) return false;
        if (MPI_Reduce_local(in.at, sum.at, sum.count, operation.type, operation.op) !=
            MPI_SUCCESS)
            return false;
    }
    for (size_t step = 0; step + 1 < members; step++) {
        struct piece out = chunk_of(reduce, data, count, bytes, self + members + 1 - step);
        struct piece in = chunk_of(reduce, data, count, bytes, self + members - step);
        if (!shift(reduce, out, in, operation.type)) return false;
    }
    return true;
}

static bool reduce_part(struct reduce *reduce, char *data, int count,
                        struct operation operation)
{
    if ((size_t)count * operation.element_bytes >= RING_BYTES_MIN)
        return ring(reduce, data, count, operation);
    MPI_Request request;
    if (MPI_Iallreduce(MPI_IN_PLACE, data, count, operation.type, operation.op, reduce->comm,
                       &request) != MPI_SUCCESS)
        return false;
    return collect(reduce, 1, &request, REDUCE_SPIN_NS, REDUCE_NAP_NS);
}

static bool reduce_one(struct reduce *reduce, const struct gang_shm_request *wanted)
{
    struct operation operation = operation_of(wanted->op);
    char *slice = gang_shm_slice(&reduce->shm, wanted);
    MPI_Request request;
    if (MPI_Ibarrier(reduce->comm, &request) != MPI_SUCCESS ||
        !collect(reduce, 1, &request, GATHER_SPIN_NS, GATHER_NAP_NS))
        return false;
    for (uint64_t from = 0; from < wanted->count; from += COUNT_MAX) {
        uint64_t left = wanted->count - from;
        int count = left > COUNT_MAX ? COUNT_MAX : (int)left;
        if (!reduce_part(reduce, slice + from * operation.element_bytes, count, operation))
            return false;
    }
    return true;
}

/* ---- the thread ---- */

/* Only a trainer that asks for a reduction needs a communicator. Making one for every gang cost its start,
 * and a short-lived command could leave the others inside MPI_Comm_create_group for ever. */
static const char *come_together(struct reduce *reduce, uint64_t *words)
{
    if (reduce->comm != MPI_COMM_NULL) return NULL;
    if (!gather(reduce, words)) return "the gang did not come together";
    return make_communicator(reduce) ? NULL : "MPI made no communicator";
}

static const char *serve(struct reduce *reduce, uint64_t *words)
{
    for (;;) {
        struct gang_shm_request wanted;
        struct error error = { 0 };
        enum err rc = gang_shm_next(&reduce->shm, LOOK_NS, &wanted, &error);
        if (rc == ERR_TIMEOUT) {
            if (is_called_off(reduce)) return "the gang was stopped";
            continue;
        }
        if (rc == ERR_CLOSED) return atomic_load(&reduce->stop) ? "the gang was stopped" : NULL;
        if (rc != ERR_OK) {
            log_line(LOG_LEVEL_ERROR, "reduce error=\"%s\"", error.text);
            return "the trainer broke the protocol of its shared memory";
        }
        atomic_store(&reduce->waiting, true);
        const char *apart = come_together(reduce, words);
        bool done = apart == NULL && reduce_one(reduce, &wanted);
        atomic_store(&reduce->waiting, false);
        if (apart != NULL) return apart;
        if (!done) return "a member of the gang is missing";
        atomic_fetch_add(&reduce->done_count, 1);
        gang_shm_complete(&reduce->shm, &wanted);
    }
}

static void *run(void *argument)
{
    struct reduce *reduce = argument;
    prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
    /* On the heap, because MPI may still write to it after an exchange was called off. */
    reduce->words = calloc(2, sizeof *reduce->words);
    const char *why = "no memory";
    if (reduce->words) why = serve(reduce, reduce->words);
    if (why) gang_shm_abort(&reduce->shm, why);
    if (!atomic_load(&reduce->abandoned)) free(reduce->words);
    if (!why && reduce->comm != MPI_COMM_NULL) MPI_Comm_free(&reduce->comm);
    atomic_store(&reduce->ended, true);
    return NULL;
}

static enum err start_thread(struct reduce *reduce, struct error *error)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&reduce->thread, NULL, run, reduce);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code == 0 ? ERR_OK : error_set(error, ERR_NO_MEMORY, "no thread for reductions");
}

enum err reduce_start(struct reduce **made, const struct reduce_options *options,
                      struct error *error)
{
    check(options->gang_count >= 2);
    check(options->member < options->gang_count);
    int running = 0;
    MPI_Initialized(&running);
    if (!running)
        return error_set(error, ERR_UNSUPPORTED,
                         "a gang of %zu needs MPI, which is not running", options->gang_count);
    struct reduce *reduce =
        calloc(1, sizeof *reduce + options->gang_count * sizeof reduce->gang[0]);
    if (!reduce) return error_set(error, ERR_NO_MEMORY, "no memory for reductions");
    atomic_init(&reduce->call_off_ns, TIME_NEVER);
    reduce->comm = MPI_COMM_NULL;
    reduce->key = options->key;
    reduce->gang_count = options->gang_count;
    reduce->member = options->member;
    for (size_t i = 0; i < options->gang_count; i++)
        reduce->gang[i] = (int)options->gang[i];
    enum err rc = gang_shm_create(&reduce->shm, options->buffer_bytes, error);
    if (rc == ERR_OK) rc = start_thread(reduce, error);
    if (rc != ERR_OK) {
        gang_shm_close(&reduce->shm);
        free(reduce);
        return rc;
    }
    *made = reduce;
    return ERR_OK;
}

int reduce_fd(const struct reduce *reduce)
{
    return reduce->shm.fd;
}

size_t reduce_segment_bytes(const struct reduce *reduce)
{
    return reduce->shm.segment_bytes;
}

uint64_t reduce_done_count(const struct reduce *reduce)
{
    return atomic_load(&reduce->done_count);
}

bool reduce_is_waiting(const struct reduce *reduce)
{
    return atomic_load(&reduce->waiting);
}

void reduce_call_off(struct reduce *reduce, int64_t at_ns)
{
    if (at_ns < atomic_load(&reduce->call_off_ns)) atomic_store(&reduce->call_off_ns, at_ns);
}

bool reduce_stop(struct reduce *reduce)
{
    if (!reduce) return true;
    atomic_store(&reduce->stop, true);
    gang_shm_finish(&reduce->shm); /* wakes the thread where it waits for the trainer */
    int64_t until_ns = boot_clock_ns() + STOP_WAIT_NS;
    while (!atomic_load(&reduce->ended) && boot_clock_ns() < until_ns)
        nap(NS_PER_MS);
    if (!atomic_load(&reduce->ended)) {
        pthread_detach(reduce->thread);
        return false;
    }
    pthread_join(reduce->thread, NULL);
    if (atomic_load(&reduce->abandoned)) return false;
    gang_shm_close(&reduce->shm);
    free(reduce->room);
    free(reduce);
    return true;
}
