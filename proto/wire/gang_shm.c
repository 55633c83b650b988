#include "proto/wire/gang_shm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SEGMENT_MAGIC UINT64_C(0x314d485347534e50) /* "PNSGSHM1", little-endian */
#define CACHE_LINE 64

enum { SEGMENT_VERSION = 1, SPINS = 400 };

/* The trainer writes it before `submitted` names it, the agent reads it after. */
struct slot {
    uint64_t sequence;
    uint64_t offset_bytes;
    uint64_t count;
    uint32_t op;
    uint32_t reserved;
};

/* Each side's words have a cache line of their own, so that spinning on one does not slow the
 * writer of the other. */
struct gang_shm_segment {
    uint64_t magic;
    uint32_t version;
    uint32_t header_bytes;
    uint64_t buffer_bytes;
    _Alignas(CACHE_LINE) _Atomic uint64_t submitted; /* trainer writes */
    _Atomic uint32_t agent_bell;                     /* trainer rings, agent sleeps on it */
    _Atomic uint32_t closed;                         /* trainer writes */
    _Alignas(CACHE_LINE) _Atomic uint64_t completed; /* agent writes */
    _Atomic uint32_t trainer_bell;                   /* agent rings, trainer sleeps on it */
    _Atomic uint32_t aborting;                       /* agent: who sets it writes the reason */
    _Atomic uint32_t aborted;                        /* agent writes, after the reason */
    _Alignas(CACHE_LINE) char reason[GANG_SHM_REASON_BYTES];
    _Alignas(CACHE_LINE) struct slot slots[GANG_SHM_RING];
};

_Static_assert(sizeof(struct gang_shm_segment) <= GANG_SHM_HEADER_BYTES, "header fits");
_Static_assert(sizeof(_Atomic uint32_t) == 4, "a futex word has 32 bits");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics work between processes");

size_t gang_shm_element_bytes(enum gang_shm_op op)
{
    switch (op) {
    case GANG_SHM_SUM_F32: return sizeof(float);
    case GANG_SHM_SUM_F64: return sizeof(double);
    case GANG_SHM_MAX_I64: return sizeof(int64_t);
    case GANG_SHM_OP_END: break;
    }
    return 0;
}

void *gang_shm_buffer(const struct gang_shm *shm)
{
    check(shm->segment != NULL);
    return (char *)shm->segment + GANG_SHM_HEADER_BYTES;
}

/* ---- bells ---- */

static int64_t now_ns(void)
{
    struct timespec now;
    check(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void bell_ring(_Atomic uint32_t *bell)
{
    atomic_fetch_add_explicit(bell, 1, memory_order_seq_cst);
    syscall(SYS_futex, bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Sleeps until the bell is no longer `seen`, a signal comes or the time is over; may also wake
 * for no reason. The caller looks again in every case. */
static void bell_sleep(_Atomic uint32_t *bell, uint32_t seen, int64_t timeout_ns)
{
    struct timespec timeout = { .tv_sec = timeout_ns / NS_PER_S,
                                .tv_nsec = timeout_ns % NS_PER_S };
    syscall(SYS_futex, bell, FUTEX_WAIT, seen, &timeout, NULL, 0);
}

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

typedef bool (*condition_fn)(const struct gang_shm *shm, uint64_t sequence);

/* Waits until the condition holds: a short spin, because most answers come within
 * microseconds, then sleep. False when the time is over. */
static bool wait_until(const struct gang_shm *shm, _Atomic uint32_t *bell,
                       condition_fn condition, uint64_t sequence, int64_t timeout_ns)
{
    if (condition(shm, sequence)) return true;
    if (timeout_ns <= 0) return false;
    for (int i = 0; i < SPINS; i++) {
        pause_briefly();
        if (condition(shm, sequence)) return true;
    }
    int64_t deadline_ns = add_saturated(now_ns(), timeout_ns);
    for (;;) {
        uint32_t seen = atomic_load_explicit(bell, memory_order_seq_cst);
        if (condition(shm, sequence)) return true;
        int64_t left_ns = deadline_ns - now_ns();
        if (left_ns <= 0) return false;
        bell_sleep(bell, seen, left_ns);
    }
}

static bool agent_has_work(const struct gang_shm *shm, uint64_t sequence)
{
    struct gang_shm_segment *segment = shm->segment;
    return atomic_load_explicit(&segment->submitted, memory_order_acquire) >= sequence ||
           atomic_load_explicit(&segment->closed, memory_order_acquire) != 0;
}

static bool trainer_has_answer(const struct gang_shm *shm, uint64_t sequence)
{
    struct gang_shm_segment *segment = shm->segment;
    return atomic_load_explicit(&segment->completed, memory_order_acquire) >= sequence ||
           atomic_load_explicit(&segment->aborted, memory_order_acquire) != 0;
}

/* ---- the agent's side ---- */

static enum err map_segment(struct gang_shm *shm, int fd, size_t segment_bytes,
                            struct error *error)
{
    void *memory = mmap(NULL, segment_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) return error_errno(error, "map the gang's shared memory");
    *shm = (struct gang_shm){ .segment = memory,
                              .segment_bytes = segment_bytes,
                              .buffer_bytes = segment_bytes - GANG_SHM_HEADER_BYTES,
                              .fd = -1 };
    return ERR_OK;
}

static enum err size_and_seal(int fd, size_t segment_bytes, struct error *error)
{
    if (ftruncate(fd, (off_t)segment_bytes) != 0)
        return error_errno(error, "size the gang's shared memory");
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return error_errno(error, "seal the gang's shared memory");
    return ERR_OK;
}

enum err gang_shm_create(struct gang_shm *shm, size_t buffer_bytes, struct error *error)
{
    if (buffer_bytes < GANG_SHM_BUFFER_BYTES_MIN || buffer_bytes > GANG_SHM_BUFFER_BYTES_MAX)
        return error_set(error, ERR_INPUT,
                         "a gang's buffer of %zu bytes; it must have %zu to %zu", buffer_bytes,
                         GANG_SHM_BUFFER_BYTES_MIN, GANG_SHM_BUFFER_BYTES_MAX);
    size_t page = GANG_SHM_HEADER_BYTES;
    size_t segment_bytes = (buffer_bytes + page - 1) / page * page + page;
    int fd = memfd_create("penstock-gang", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return error_errno(error, "make the gang's shared memory");
    enum err rc = size_and_seal(fd, segment_bytes, error);
    if (rc == ERR_OK) rc = map_segment(shm, fd, segment_bytes, error);
    if (rc != ERR_OK) {
        close(fd);
        return rc;
    }
    shm->fd = fd;
    shm->segment->magic = SEGMENT_MAGIC;
    shm->segment->version = SEGMENT_VERSION;
    shm->segment->header_bytes = GANG_SHM_HEADER_BYTES;
    shm->segment->buffer_bytes = shm->buffer_bytes;
    return ERR_OK;
}

/* ERR_OK when [offset, offset + count) lies in the buffer as the header says. */
static enum err check_request(const struct gang_shm *shm,
                              const struct gang_shm_request *request, struct error *error)
{
    size_t element_bytes = gang_shm_element_bytes(request->op);
    if (element_bytes == 0)
        return error_set(error, ERR_DAMAGED, "gang request %llu has unknown operation %d",
                         (unsigned long long)request->sequence, (int)request->op);
    uint64_t room = shm->buffer_bytes;
    if (request->offset_bytes % GANG_SHM_ALIGN_BYTES != 0 || request->offset_bytes > room ||
        request->count == 0 || request->count > (room - request->offset_bytes) / element_bytes)
        return error_set(error, ERR_DAMAGED,
                         "gang request %llu of %llu elements at byte %llu does not fit the "
                         "buffer of %zu bytes",
                         (unsigned long long)request->sequence,
                         (unsigned long long)request->count,
                         (unsigned long long)request->offset_bytes, shm->buffer_bytes);
    return ERR_OK;
}

enum err gang_shm_next(struct gang_shm *shm, int64_t timeout_ns,
                       struct gang_shm_request *request, struct error *error)
{
    struct gang_shm_segment *segment = shm->segment;
    uint64_t sequence = shm->last + 1;
    if (!wait_until(shm, &segment->agent_bell, agent_has_work, sequence, timeout_ns))
        return ERR_TIMEOUT;
    /* `closed` first: a trainer submits everything before it closes. */
    bool closed = atomic_load_explicit(&segment->closed, memory_order_acquire) != 0;
    uint64_t submitted = atomic_load_explicit(&segment->submitted, memory_order_acquire);
    if (submitted < sequence) {
        if (closed) return error_set(error, ERR_CLOSED, "the trainer has left the gang");
        return ERR_TIMEOUT;
    }
    if (submitted - shm->completed > GANG_SHM_RING)
        return error_set(error, ERR_DAMAGED,
                         "the trainer has submitted %llu gang requests "
                         "without waiting",
                         (unsigned long long)(submitted - shm->completed));
    const struct slot slot = segment->slots[sequence % GANG_SHM_RING];
    if (slot.sequence != sequence)
        return error_set(error, ERR_DAMAGED, "gang request %llu stands where %llu should",
                         (unsigned long long)slot.sequence, (unsigned long long)sequence);
    if (slot.op >= GANG_SHM_OP_END)
        return error_set(error, ERR_DAMAGED, "gang request %llu has unknown operation %u",
                         (unsigned long long)sequence, slot.op);
    struct gang_shm_request taken = { .sequence = sequence,
                                      .op = (enum gang_shm_op)slot.op,
                                      .offset_bytes = slot.offset_bytes,
                                      .count = slot.count };
    enum err rc = check_request(shm, &taken, error);
    if (rc != ERR_OK) return rc;
    shm->last = sequence;
    *request = taken;
    return ERR_OK;
}

void *gang_shm_slice(const struct gang_shm *shm, const struct gang_shm_request *request)
{
    check(request->offset_bytes < shm->buffer_bytes);
    return (char *)gang_shm_buffer(shm) + request->offset_bytes;
}

void gang_shm_complete(struct gang_shm *shm, const struct gang_shm_request *request)
{
    check(request->sequence == shm->completed + 1);
    check(request->sequence <= shm->last);
    shm->completed = request->sequence;
    atomic_store_explicit(&shm->segment->completed, shm->completed, memory_order_release);
    bell_ring(&shm->segment->trainer_bell);
}

void gang_shm_abort(struct gang_shm *shm, const char *reason)
{
    struct gang_shm_segment *segment = shm->segment;
    if (atomic_exchange_explicit(&segment->aborting, 1, memory_order_acq_rel) != 0) return;
    size_t len = strnlen(reason, GANG_SHM_REASON_BYTES - 1);
    memcpy(segment->reason, reason, len);
    segment->reason[len] = '\0';
    atomic_store_explicit(&segment->aborted, 1, memory_order_release);
    bell_ring(&segment->trainer_bell);
}

/* ---- the trainer's side ---- */

enum err gang_shm_attach(struct gang_shm *shm, int take_fd, size_t segment_bytes,
                         struct error *error)
{
    struct stat info;
    if (segment_bytes < GANG_SHM_HEADER_BYTES + GANG_SHM_BUFFER_BYTES_MIN ||
        segment_bytes > GANG_SHM_HEADER_BYTES + GANG_SHM_BUFFER_BYTES_MAX)
        return error_set(error, ERR_INPUT, "a gang segment of %zu bytes cannot be",
                         segment_bytes);
    if (fstat(take_fd, &info) != 0)
        return error_errno(error, "look at the gang segment on descriptor %d", take_fd);
    if (info.st_size < 0 || (size_t)info.st_size != segment_bytes)
        return error_set(error, ERR_INPUT,
                         "descriptor %d holds %lld bytes, not a gang segment of %zu", take_fd,
                         (long long)info.st_size, segment_bytes);
    struct gang_shm mapped = { .fd = -1 };
    enum err rc = map_segment(&mapped, take_fd, segment_bytes, error);
    if (rc != ERR_OK) return rc;
    const struct gang_shm_segment *segment = mapped.segment;
    if (segment->magic != SEGMENT_MAGIC || segment->version != SEGMENT_VERSION ||
        segment->header_bytes != GANG_SHM_HEADER_BYTES ||
        segment->buffer_bytes != mapped.buffer_bytes) {
        gang_shm_close(&mapped);
        return error_set(error, ERR_INPUT, "descriptor %d holds no gang segment of version %d",
                         take_fd, SEGMENT_VERSION);
    }
    close(take_fd);
    *shm = mapped;
    return ERR_OK;
}

static enum err aborted_error(const struct gang_shm *shm, struct error *error)
{
    char reason[GANG_SHM_REASON_BYTES];
    memcpy(reason, shm->segment->reason, sizeof(reason));
    reason[sizeof(reason) - 1] = '\0';
    return error_set(error, ERR_CLOSED, "the gang is broken: %s", reason);
}

enum err gang_shm_submit(struct gang_shm *shm, enum gang_shm_op op, uint64_t offset_bytes,
                         uint64_t count, uint64_t *sequence, struct error *error)
{
    struct gang_shm_segment *segment = shm->segment;
    struct gang_shm_request request = { shm->last + 1, op, offset_bytes, count };
    check(check_request(shm, &request, NULL) == ERR_OK);
    if (atomic_load_explicit(&segment->aborted, memory_order_acquire) != 0)
        return aborted_error(shm, error);
    uint64_t completed = atomic_load_explicit(&segment->completed, memory_order_acquire);
    if (request.sequence - completed > GANG_SHM_RING)
        return error_set(error, ERR_FULL, "%d gang requests are on the way", GANG_SHM_RING);
    segment->slots[request.sequence % GANG_SHM_RING] =
        (struct slot){ .sequence = request.sequence,
                       .offset_bytes = offset_bytes,
                       .count = count,
                       .op = (uint32_t)op };
    shm->last = request.sequence;
    atomic_store_explicit(&segment->submitted, request.sequence, memory_order_release);
    bell_ring(&segment->agent_bell);
    *sequence = request.sequence;
    return ERR_OK;
}

enum err gang_shm_wait(struct gang_shm *shm, uint64_t sequence, int64_t timeout_ns,
                       struct error *error)
{
    check(sequence >= 1);
    check(sequence <= shm->last);
    struct gang_shm_segment *segment = shm->segment;
    if (!wait_until(shm, &segment->trainer_bell, trainer_has_answer, sequence, timeout_ns))
        return error_set(error, ERR_TIMEOUT,
                         "the gang has not answered request %llu within %lld ms",
                         (unsigned long long)sequence, (long long)(timeout_ns / NS_PER_MS));
    if (atomic_load_explicit(&segment->completed, memory_order_acquire) >= sequence)
        return ERR_OK;
    return aborted_error(shm, error);
}

void gang_shm_finish(struct gang_shm *shm)
{
    atomic_store_explicit(&shm->segment->closed, 1, memory_order_release);
    bell_ring(&shm->segment->agent_bell);
}

/* ---- both sides ---- */

void gang_shm_close(struct gang_shm *shm)
{
    if (shm->segment == NULL) return;
    int saved = errno;
    munmap(shm->segment, shm->segment_bytes);
    if (shm->fd >= 0) close(shm->fd);
    *shm = (struct gang_shm){ .fd = -1 };
    errno = saved;
}
