/*
 * nccl.c - a stand-in for NCCL between processes of one host, with the prototypes of the real
 * header, over the stand-in for CUDA's runtime (cudart.h).
 *
 * Member 0 is the hub: the others connect to a socket whose name is the id, send it their
 * numbers, and get the result, which is summed in the order of the ranks. Everything moves on
 * inside calls: a collective is work of its stream that is asked again and again, and
 * ncclCommGetAsyncError drives the rest. As with NCCL, a collective whose peer is gone never
 * ends by itself: the communicator has an error, and only ncclCommAbort lets the stream go on.
 * Meeting and the first collective of a communicator are ncclInProgress for a while.
 *
 * Faults, beside those of faults.h:
 *   PENSTOCK_FAKE_NCCL_INIT=hang    this member never comes
 *   PENSTOCK_FAKE_NCCL_INIT=error   ncclCommInitRankConfig fails at once
 *   PENSTOCK_FAKE_NCCL_HANG=n       the n-th collective (1 is the first) never begins here
 *   PENSTOCK_FAKE_NCCL_REMOTE=n     from the n-th collective on there is a remote error
 *   PENSTOCK_FAKE_NCCL_ERROR=n      the n-th call of a collective is refused
 *   PENSTOCK_FAKE_NCCL_ABORT=hang   ncclCommAbort never returns
 * NCCL_COMM_BLOCKING=1 makes communicators block in spite of their configuration and
 * NCCL_COMM_ID takes the place of every id, as with NCCL.
 */
#include "tests/support/standin/cudart.h"
#include "tests/support/standin/faults.h"

#include "proto/base/defs.h"

#include <errno.h>
#include <inttypes.h>
#include <nccl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { NUMBER_BYTES_MAX = 8, FIRST_POLLS = 3, BUS_ID_BYTES = 32 };

enum message_kind { MESSAGE_HELLO = 1, MESSAGE_WELCOME, MESSAGE_NUMBERS, MESSAGE_PARTED };

/* Before the numbers of a message. */
struct head {
    uint32_t kind;
    int32_t rank, size;
    uint32_t type, op;
    uint32_t unused;
    uint64_t sequence; /* of the collective, from 1 */
    uint64_t count;
    char bus_id[BUS_ID_BYTES]; /* of HELLO */
};

/* A queue: data[start .. start + length) wait. */
struct bytes {
    uint8_t *data;
    size_t start, length, capacity;
};

struct peer {
    int fd; /* -1: none */
    bool known;
    int rank;
    char bus_id[BUS_ID_BYTES];
    struct bytes in, out;
};

struct ncclComm {
    int rank, size;
    int references; /* the handle, and collectives on their way */
    bool aborted, met;
    ncclResult_t state;
    int polls; /* that still say ncclInProgress */
    long calls;
    uint64_t sequence;
    char name[108];    /* of the hub's socket */
    const char *label; /* the caller's memory, as NCCL keeps it */
    char label_then[128];
    char text[256];     /* of the last error */
    struct peer *peers; /* [size]; of a member that is not the hub, the hub alone */
    int peer_count;
};

/* The socket of the id that this process made last. */
static int listener = -1;
static char listener_name[108];

/* ---- errors ---- */

static ncclResult_t fail(struct ncclComm *comm, ncclResult_t code, const char *format, ...)
    printf_like(3, 4);

/* The first error stays. */
static ncclResult_t fail(struct ncclComm *comm, ncclResult_t code, const char *format, ...)
{
    if (comm->state != ncclSuccess && comm->state != ncclInProgress) return comm->state;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(comm->text, sizeof(comm->text), format, arguments);
    va_end(arguments);
    comm->state = code;
    return code;
}

static bool is_broken(const struct ncclComm *comm)
{
    return comm->state != ncclSuccess && comm->state != ncclInProgress;
}

const char *ncclGetErrorString(ncclResult_t code)
{
    switch (code) {
    case ncclSuccess: return "no error";
    case ncclUnhandledCudaError: return "unhandled cuda error";
    case ncclSystemError: return "unhandled system error";
    case ncclInternalError: return "internal error";
    case ncclInvalidArgument: return "invalid argument";
    case ncclInvalidUsage: return "invalid usage";
    case ncclRemoteError: return "remote process exited or there was a network error";
    case ncclInProgress: return "NCCL operation in progress";
    case ncclNumResults: break;
    }
    return "unknown result code";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    return comm == NULL ? "" : comm->text;
}

ncclResult_t ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

/* ---- bytes ---- */

static const uint8_t *first(const struct bytes *bytes)
{
    return bytes->data + bytes->start;
}

static void append(struct bytes *bytes, const void *data, size_t n)
{
    if (n == 0) return;
    if (bytes->start + bytes->length + n > bytes->capacity) {
        if (bytes->length > 0) memmove(bytes->data, first(bytes), bytes->length);
        bytes->start = 0;
    }
    if (bytes->length + n > bytes->capacity) {
        bytes->capacity = 2 * (bytes->length + n);
        bytes->data = realloc(bytes->data, bytes->capacity);
        check(bytes->data != NULL);
    }
    memcpy(bytes->data + bytes->start + bytes->length, data, n);
    bytes->length += n;
}

static void drop(struct bytes *bytes, size_t n)
{
    bytes->length -= n;
    bytes->start = bytes->length == 0 ? 0 : bytes->start + n;
}

static void peer_close(struct peer *peer)
{
    if (peer->fd >= 0) close(peer->fd);
    peer->fd = -1;
}

static size_t bytes_of(ncclDataType_t type)
{
    switch ((int)type) {
    case ncclBfloat16: return 2;
    case ncclFloat32: return 4;
    case ncclFloat64:
    case ncclInt64: return 8;
    default: return 0;
    }
}

/* Whether it has said that it leaves, behind whatever it sent before. */
static bool has_parted(const struct peer *peer)
{
    struct head head;
    size_t at = 0;
    while (peer->in.length - at >= sizeof(head)) {
        memcpy(&head, first(&peer->in) + at, sizeof(head));
        if (head.kind == MESSAGE_PARTED) return true;
        size_t bytes = sizeof(head);
        if (head.kind == MESSAGE_NUMBERS)
            bytes += head.count * bytes_of((ncclDataType_t)head.type);
        if (bytes > peer->in.length - at) return false;
        at += bytes;
    }
    return false;
}

/* Sends and receives what can be without waiting. */
static void peer_move(struct ncclComm *comm, struct peer *peer)
{
    static uint8_t buffer[256 << 10];
    ssize_t n;
    if (peer->fd < 0) return;
    while (peer->out.length > 0 && (n = send(peer->fd, first(&peer->out), peer->out.length,
                                             MSG_NOSIGNAL | MSG_DONTWAIT)) > 0)
        drop(&peer->out, (size_t)n);
    while ((n = recv(peer->fd, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
        append(&peer->in, buffer, (size_t)n);
    bool gone = n == 0 || (errno != EAGAIN && errno != EINTR);
    if (!gone || has_parted(peer)) return;
    if (comm->met)
        (void)fail(comm, ncclRemoteError, "rank %d is gone", peer->rank);
    else if (peer->known)
        (void)fail(comm, ncclSystemError, "rank %d left before all had met", peer->rank);
}

/* ---- numbers ---- */

static float of_bf16(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof(value));
    return value;
}

/* To nearest, ties to even; a NaN stays one. */
static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    if (value != value) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static double pick(ncclRedOp_t op, double a, double b)
{
    return op == ncclSum ? a + b : a > b ? a : b;
}

/* into[i] = into[i] op from[i], for members in the order of their ranks. bf16 sums are taken in
 * fp32 by the caller's `wide`, so that they are rounded once. */
static void combine(void *into, const void *from, size_t count, ncclDataType_t type,
                    ncclRedOp_t op)
{
    for (size_t i = 0; i < count; i++) {
        if (type == ncclFloat32) {
            float *a = into;
            const float *b = from;
            a[i] = op == ncclSum ? a[i] + b[i] : a[i] > b[i] ? a[i] : b[i];
        } else if (type == ncclFloat64) {
            double *a = into;
            const double *b = from;
            a[i] = pick(op, a[i], b[i]);
        } else {
            int64_t *a = into;
            const int64_t *b = from;
            a[i] = op == ncclSum ? a[i] + b[i] : max_i64(a[i], b[i]);
        }
    }
}

static void widen(float *wide, const uint16_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        wide[i] = of_bf16(from[i]);
}

/* ---- meeting ---- */

static socklen_t address_of(const char *name, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    size_t length = strlen(name);
    check(length < sizeof(address->sun_path) - 1);
    memcpy(address->sun_path + 1, name, length); /* abstract: it goes with the process */
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    struct sockaddr_un address;
    struct timespec now;
    memset(id, 0, sizeof(*id));
    const char *forced = getenv("NCCL_COMM_ID");
    if (forced != NULL) {
        (void)snprintf(id->internal, sizeof(id->internal), "%s", forced);
        return ncclSuccess;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    (void)snprintf(listener_name, sizeof(listener_name), "penstock-nccl-%d-%lld%09ld",
                   (int)getpid(), (long long)now.tv_sec, now.tv_nsec);
    if (listener >= 0) close(listener);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t length = address_of(listener_name, &address);
    if (listener < 0 || bind(listener, (const struct sockaddr *)&address, length) != 0 ||
        listen(listener, SOMAXCONN) != 0)
        return ncclSystemError;
    (void)snprintf(id->internal, sizeof(id->internal), "%s", listener_name);
    return ncclSuccess;
}

static void say(struct ncclComm *comm, struct peer *peer, enum message_kind kind)
{
    struct head head = { .kind = kind, .rank = comm->rank, .size = comm->size };
    (void)cudaDeviceGetPCIBusId(head.bus_id, sizeof(head.bus_id), 0);
    append(&peer->out, &head, sizeof(head));
}

/* The hub takes whoever comes. */
static void accept_peers(struct ncclComm *comm)
{
    int fd;
    while (comm->peer_count < comm->size &&
           (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        struct peer *peer = comm->peers;
        while (peer->fd >= 0 || peer == comm->peers) /* the first place is the hub's own */
            peer++;
        *peer = (struct peer){ .fd = fd };
        comm->peer_count++;
    }
}

/* Whether the hub knows this one by rank and GPU already, or it is none of the gang. */
static void check_hello(struct ncclComm *comm, struct peer *peer, const struct head *head)
{
    if (head->kind != MESSAGE_HELLO || head->size != comm->size || head->rank < 1 ||
        head->rank >= comm->size) {
        (void)fail(comm, ncclInvalidUsage, "a stranger came to the gang");
        return;
    }
    peer->known = true;
    peer->rank = head->rank;
    memcpy(peer->bus_id, head->bus_id, sizeof(peer->bus_id));
    for (int i = 0; i < comm->size; i++) {
        const struct peer *other = &comm->peers[i];
        if (other == peer || !other->known) continue;
        if (other->rank == peer->rank)
            (void)fail(comm, ncclInvalidUsage, "rank %d came twice", peer->rank);
        if (strcmp(other->bus_id, peer->bus_id) == 0)
            (void)fail(comm, ncclInvalidUsage,
                       "Duplicate GPU detected : rank %d and rank %d both on CUDA device %s",
                       other->rank, peer->rank, peer->bus_id);
    }
}

static int by_rank(const void *a, const void *b)
{
    return ((const struct peer *)a)->rank - ((const struct peer *)b)->rank;
}

static void meet_as_hub(struct ncclComm *comm)
{
    int known = 1;
    accept_peers(comm);
    for (int i = 1; i < comm->size; i++) {
        struct peer *peer = &comm->peers[i];
        peer_move(comm, peer);
        if (!peer->known && peer->in.length >= sizeof(struct head)) {
            check_hello(comm, peer, (const struct head *)(const void *)first(&peer->in));
            drop(&peer->in, sizeof(struct head));
        }
        known += peer->known ? 1 : 0;
    }
    if (known < comm->size || is_broken(comm)) return;
    qsort(comm->peers, (size_t)comm->size, sizeof(*comm->peers), by_rank);
    for (int i = 1; i < comm->size; i++)
        say(comm, &comm->peers[i], MESSAGE_WELCOME);
    comm->met = true;
    comm->state = ncclSuccess;
}

static void meet_hub(struct ncclComm *comm)
{
    struct peer *hub = &comm->peers[0];
    struct sockaddr_un address;
    if (hub->fd < 0) {
        socklen_t length = address_of(comm->name, &address);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        check(fd >= 0);
        if (connect(fd, (const struct sockaddr *)&address, length) != 0) {
            close(fd); /* it may come yet */
            return;
        }
        *hub = (struct peer){ .fd = fd, .known = true };
        say(comm, hub, MESSAGE_HELLO);
    }
    peer_move(comm, hub);
    if (hub->in.length < sizeof(struct head)) return;
    drop(&hub->in, sizeof(struct head));
    comm->met = true;
    if (!is_broken(comm)) comm->state = ncclSuccess;
}

static void progress(struct ncclComm *comm)
{
    if (is_broken(comm) || comm->aborted) return;
    if (comm->met)
        for (int i = 0; i < comm->size; i++)
            peer_move(comm, &comm->peers[i]);
    else if (standin_fault_says("PENSTOCK_FAKE_NCCL_INIT", "hang"))
        return;
    else if (comm->rank == 0)
        meet_as_hub(comm);
    else
        meet_hub(comm);
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    const char *blocking = getenv("NCCL_COMM_BLOCKING");
    *out = NULL;
    if (size < 1 || rank < 0 || rank >= size) return ncclInvalidArgument;
    if (config == NULL || config->magic != 0xcafebeef || config->size != sizeof(*config))
        return ncclInvalidArgument;
    if (cudaStreamQuery(NULL) != cudaSuccess) return ncclUnhandledCudaError;
    if (standin_fault_says("PENSTOCK_FAKE_NCCL_INIT", "error")) return ncclSystemError;
    struct ncclComm *comm = calloc(1, sizeof(*comm));
    check(comm != NULL);
    *comm = (struct ncclComm){ .rank = rank,
                               .size = size,
                               .references = 1,
                               .state = ncclInProgress,
                               .peers = calloc((size_t)size, sizeof(*comm->peers)),
                               .peer_count = 1 };
    check(comm->peers != NULL);
    for (int i = 0; i < size; i++)
        comm->peers[i].fd = -1;
    (void)snprintf(comm->name, sizeof(comm->name), "%.*s", (int)sizeof(comm->name) - 1,
                   id.internal);
    if (rank == 0) {
        comm->peers[0].known = true;
        (void)cudaDeviceGetPCIBusId(comm->peers[0].bus_id, BUS_ID_BYTES, 0);
    }
#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 27, 0)
    comm->label = config->commName;
#endif
    if (comm->label != NULL)
        (void)snprintf(comm->label_then, sizeof(comm->label_then), "%s", comm->label);
    *out = comm;
    bool blocks = config->blocking != 0 || (blocking != NULL && strcmp(blocking, "1") == 0);
    while (blocks && comm->state == ncclInProgress)
        progress(comm);
    return comm->state;
}

/* ---- collectives ---- */

struct collective {
    struct ncclComm *comm;
    void *numbers;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t op;
    uint64_t sequence;
    bool hangs, given, through;
};

static void release(struct ncclComm *comm)
{
    if (--comm->references > 0) return;
    for (int i = 0; i < comm->size; i++) {
        peer_close(&comm->peers[i]);
        free(comm->peers[i].in.data);
        free(comm->peers[i].out.data);
    }
    free(comm->peers);
    free(comm);
}

static void collective_free(void *context)
{
    struct collective *c = context;
    release(c->comm);
    free(c);
}

static struct head head_of(const struct collective *c)
{
    return (struct head){ .kind = MESSAGE_NUMBERS,
                          .rank = c->comm->rank,
                          .size = c->comm->size,
                          .type = (uint32_t)c->type,
                          .op = (uint32_t)c->op,
                          .sequence = c->sequence,
                          .count = c->count };
}

static void give(const struct collective *c, struct peer *peer)
{
    struct head head = head_of(c);
    append(&peer->out, &head, sizeof(head));
    append(&peer->out, c->numbers, c->count * bytes_of(c->type));
    peer_move(c->comm, peer);
}

/* The numbers of a peer's message for this collective, or NULL while it is not there. */
static const void *taken(const struct collective *c, const struct peer *peer)
{
    struct head head;
    if (peer->in.length < sizeof(head)) return NULL;
    memcpy(&head, first(&peer->in), sizeof(head));
    if (head.kind != MESSAGE_NUMBERS || head.sequence != c->sequence ||
        head.count != c->count || head.type != (uint32_t)c->type ||
        head.op != (uint32_t)c->op) {
        (void)fail(c->comm, ncclInvalidUsage,
                   "rank %d and rank %d do not make the same collective %" PRIu64,
                   c->comm->rank, peer->rank, c->sequence);
        return NULL;
    }
    if (peer->in.length - sizeof(head) < c->count * bytes_of(c->type)) return NULL;
    return first(&peer->in) + sizeof(head);
}

static void forget(const struct collective *c, struct peer *peer)
{
    drop(&peer->in, sizeof(struct head) + c->count * bytes_of(c->type));
}

static void combine_bf16(const struct collective *c)
{
    float *sum = malloc(2 * c->count * sizeof(float));
    check(sum != NULL);
    float *next = sum + c->count;
    uint16_t *numbers = c->numbers;
    widen(sum, numbers, c->count);
    for (int i = 1; i < c->comm->size; i++) {
        widen(next, taken(c, &c->comm->peers[i]), c->count);
        combine(sum, next, c->count, ncclFloat32, c->op);
    }
    for (size_t i = 0; i < c->count; i++)
        numbers[i] = to_bf16(sum[i]);
    free(sum);
}

static void run_as_hub(struct collective *c)
{
    struct ncclComm *comm = c->comm;
    for (int i = 1; i < comm->size; i++)
        if (taken(c, &comm->peers[i]) == NULL) return;
    if (c->type == ncclBfloat16)
        combine_bf16(c);
    else
        for (int i = 1; i < comm->size; i++)
            combine(c->numbers, taken(c, &comm->peers[i]), c->count, c->type, c->op);
    for (int i = 1; i < comm->size; i++) {
        forget(c, &comm->peers[i]);
        give(c, &comm->peers[i]);
    }
    c->through = true;
}

static void run_as_member(struct collective *c)
{
    struct peer *hub = &c->comm->peers[0];
    if (!c->given) give(c, hub);
    c->given = true;
    const void *numbers = taken(c, hub);
    if (numbers == NULL) return;
    memcpy(c->numbers, numbers, c->count * bytes_of(c->type));
    forget(c, hub);
    c->through = true;
}

static bool all_sent(const struct ncclComm *comm)
{
    for (int i = 0; i < comm->size; i++)
        if (comm->peers[i].out.length > 0) return false;
    return true;
}

static bool collective_poll(void *context, cudaError_t *error)
{
    struct collective *c = context;
    (void)error;
    if (c->comm->aborted) return true;
    if (c->hangs) return false;
    progress(c->comm);
    if (is_broken(c->comm)) return false;
    if (c->through) return all_sent(c->comm);
    if (c->comm->rank == 0)
        run_as_hub(c);
    else
        run_as_member(c);
    return c->through && all_sent(c->comm);
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    if (comm == NULL || bytes_of(type) == 0 || (op != ncclSum && op != ncclMax))
        return ncclInvalidArgument;
    if (is_broken(comm)) return comm->state;
    if (comm->state == ncclInProgress || comm->polls > 0 || from != to)
        return fail(comm, ncclInvalidUsage, "a call came before the last was through");
    if (comm->label != NULL && strcmp(comm->label, comm->label_then) != 0)
        return fail(comm, ncclInvalidUsage, "the communicator's name has gone");
    comm->calls++;
    if (comm->calls == standin_fault_number("PENSTOCK_FAKE_NCCL_ERROR", 0))
        return fail(comm, ncclInternalError, "refused on request");
    struct collective *c = malloc(sizeof(*c));
    check(c != NULL);
    *c = (struct collective){ .comm = comm,
                              .numbers = to,
                              .count = count,
                              .type = type,
                              .op = op,
                              .sequence = ++comm->sequence };
    c->hangs = comm->calls == standin_fault_number("PENSTOCK_FAKE_NCCL_HANG", 0);
    comm->references++;
    if (comm->calls == standin_fault_number("PENSTOCK_FAKE_NCCL_REMOTE", 0))
        (void)fail(comm, ncclRemoteError, "a remote error on request");
    standin_enqueue_poll(stream, collective_poll, c, collective_free);
    comm->polls = comm->calls == 1 ? FIRST_POLLS : 0;
    return comm->polls > 0 ? ncclInProgress : ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state)
{
    if (comm == NULL) return ncclInvalidArgument;
    progress(comm);
    *state = comm->state;
    if (comm->polls > 0 && !is_broken(comm)) {
        comm->polls--;
        *state = ncclInProgress;
    }
    return ncclSuccess;
}

/* ---- the end ---- */

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    if (comm == NULL) return ncclInvalidArgument;
    if (is_broken(comm)) return comm->state;
    for (int i = 0; i < comm->size; i++)
        if (comm->peers[i].fd >= 0) say(comm, &comm->peers[i], MESSAGE_PARTED);
    comm->polls = 1;
    return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    if (comm == NULL) return ncclInvalidArgument;
    progress(comm);
    comm->aborted = true;
    release(comm);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    if (comm == NULL) return ncclInvalidArgument;
    while (standin_fault_says("PENSTOCK_FAKE_NCCL_ABORT", "hang"))
        pause();
    comm->aborted = true;
    for (int i = 0; i < comm->size; i++)
        peer_close(&comm->peers[i]);
    release(comm);
    return ncclSuccess;
}
