#include "proto/wire/link_mpi.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POSTED_COUNT = 4, TAG = 1 };

/* A copy of a message under MPI_Isend. */
struct departure {
    struct departure *next;
    MPI_Request request;
    size_t n;
    uint8_t bytes[];
};

/*
 * Receives are matched in the order in which they were posted, so looking only at the oldest
 * keeps the order per sender. Each has room for the longest message: MPI touches only what a
 * message needs.
 */
struct link_mpi {
    MPI_Comm comm;
    MPI_Request posted[POSTED_COUNT];
    uint8_t *buffers[POSTED_COUNT];
    size_t oldest;
    bool arrived; /* the oldest holds a message, of: */
    uint32_t from;
    size_t n;
    bool damaged;                /* it was too long, or MPI says it failed */
    struct departure *first;     /* oldest departure */
    struct departure **last_end; /* where the next is hung in */
    size_t departures, departing_bytes;
};

static enum err mpi_error(struct error *error, const char *what, int code)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return error_set(error, ERR_DEVICE, "%s: %s", what, text);
}

static enum err post(struct link_mpi *mpi, size_t index, struct error *error)
{
    int code = MPI_Irecv(mpi->buffers[index], LINK_MESSAGE_BYTES_MAX, MPI_BYTE, MPI_ANY_SOURCE,
                         TAG, mpi->comm, &mpi->posted[index]);
    return code == MPI_SUCCESS ? ERR_OK : mpi_error(error, "MPI_Irecv", code);
}

static enum err look(struct link_mpi *mpi, struct error *error)
{
    if (mpi->arrived) return ERR_OK;
    int done = 0, n = 0;
    MPI_Status status;
    int code = MPI_Test(&mpi->posted[mpi->oldest], &done, &status);
    if (code == MPI_SUCCESS && !done) return ERR_OK;
    if (code != MPI_SUCCESS) {
        int class = 0;
        MPI_Error_class(code, &class);
        if (class != MPI_ERR_TRUNCATE) return mpi_error(error, "MPI_Test", code);
    } else {
        MPI_Get_count(&status, MPI_BYTE, &n);
    }
    mpi->damaged = code != MPI_SUCCESS;
    mpi->from = (uint32_t)status.MPI_SOURCE;
    mpi->n = (size_t)n;
    mpi->arrived = true;
    return ERR_OK;
}

/* Frees the departures that have left. Only a run at the front need be gone for order's sake,
 * but any may be: a slow peer must not keep the others' copies. */
static enum err sweep(struct link_mpi *mpi, struct error *error)
{
    struct departure **at = &mpi->first;
    while (*at) {
        struct departure *departure = *at;
        int done = 0;
        int code = MPI_Test(&departure->request, &done, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS) return mpi_error(error, "MPI_Isend", code);
        if (!done) {
            at = &departure->next;
            continue;
        }
        *at = departure->next;
        mpi->departures--;
        mpi->departing_bytes -= departure->n;
        free(departure);
    }
    mpi->last_end = at;
    return ERR_OK;
}

static enum err mpi_send(void *context, uint32_t to, const void *bytes, size_t n,
                         struct error *error)
{
    struct link_mpi *mpi = context;
    if (mpi->departures >= LINK_QUEUE_COUNT || mpi->departing_bytes + n > LINK_QUEUE_BYTES) {
        enum err rc = sweep(mpi, error);
        if (rc != ERR_OK) return rc;
    }
    if (mpi->departures >= LINK_QUEUE_COUNT || mpi->departing_bytes + n > LINK_QUEUE_BYTES)
        return error_set(error, ERR_FULL, "%zu messages wait to be sent", mpi->departures);
    struct departure *departure = malloc(sizeof *departure + n);
    if (!departure) return error_set(error, ERR_NO_MEMORY, "no memory for a message");
    memcpy(departure->bytes, bytes, n);
    departure->n = n;
    departure->next = NULL;
    int code = MPI_Isend(departure->bytes, (int)n, MPI_BYTE, (int)to, TAG, mpi->comm,
                         &departure->request);
    if (code != MPI_SUCCESS) {
        free(departure);
        return mpi_error(error, "MPI_Isend", code);
    }
    *mpi->last_end = departure;
    mpi->last_end = &departure->next;
    mpi->departures++;
    mpi->departing_bytes += n;
    return ERR_OK;
}

static enum err mpi_receive(void *context, uint32_t *from, void *buffer, size_t capacity_bytes,
                            size_t *n, struct error *error)
{
    struct link_mpi *mpi = context;
    enum err rc = look(mpi, error);
    if (rc != ERR_OK) return rc;
    if (!mpi->arrived) return ERR_NOT_FOUND;
    if (mpi->damaged || mpi->n > capacity_bytes) {
        rc = error_set(error, ERR_INPUT, "message from rank %u is too long", mpi->from);
    } else {
        memcpy(buffer, mpi->buffers[mpi->oldest], mpi->n);
        *from = mpi->from;
        *n = mpi->n;
    }
    mpi->arrived = false;
    enum err posted = post(mpi, mpi->oldest, error);
    mpi->oldest = (mpi->oldest + 1) % POSTED_COUNT;
    return rc == ERR_OK ? posted : rc;
}

static enum err mpi_poll(void *context, bool *arrived, struct error *error)
{
    struct link_mpi *mpi = context;
    enum err rc = look(mpi, error);
    if (rc == ERR_OK) rc = sweep(mpi, error);
    *arrived = mpi->arrived;
    return rc;
}

static size_t mpi_pending(const void *context)
{
    const struct link_mpi *mpi = context;
    return mpi->departures;
}

static const struct link_ops mpi_ops = { .name = "mpi",
                                         .send = mpi_send,
                                         .receive = mpi_receive,
                                         .poll = mpi_poll,
                                         .pending = mpi_pending };

/* Counts this host's ranks, rank 0 of the job left out: it runs no trainer. */
static enum err find_place(MPI_Comm comm, int rank, struct link_mpi_place *place,
                           struct error *error)
{
    MPI_Comm host;
    int code = MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &host);
    if (code != MPI_SUCCESS) return mpi_error(error, "MPI_Comm_split_type", code);
    int host_size = 0, agents = 0, before = 0, is_agent = rank > 0;
    MPI_Comm_size(host, &host_size);
    MPI_Allreduce(&is_agent, &agents, 1, MPI_INT, MPI_SUM, host);
    MPI_Exscan(&is_agent, &before, 1, MPI_INT, MPI_SUM, host);
    int host_rank = 0;
    MPI_Comm_rank(host, &host_rank);
    if (host_rank == 0) before = 0; /* MPI_Exscan leaves it undefined there */
    MPI_Comm_free(&host);
    *place = (struct link_mpi_place){ 0 };
    if (is_agent) *place = (struct link_mpi_place){ (uint32_t)before, (uint32_t)agents };
    return ERR_OK;
}

static enum err open_all(struct link_mpi *mpi, struct error *error)
{
    mpi->last_end = &mpi->first;
    for (size_t i = 0; i < POSTED_COUNT; i++)
        mpi->posted[i] = MPI_REQUEST_NULL;
    for (size_t i = 0; i < POSTED_COUNT; i++) {
        mpi->buffers[i] = malloc(LINK_MESSAGE_BYTES_MAX);
        if (!mpi->buffers[i]) return error_set(error, ERR_NO_MEMORY, "no memory for the link");
        enum err rc = post(mpi, i, error);
        if (rc != ERR_OK) return rc;
    }
    return ERR_OK;
}

/* A receive that cannot be cancelled keeps its buffer: leaking it is better than a late message
 * in freed memory. */
static void close_all(struct link_mpi *mpi)
{
    for (size_t i = 0; i < POSTED_COUNT; i++) {
        if (mpi->posted[i] == MPI_REQUEST_NULL) {
            free(mpi->buffers[i]);
            continue;
        }
        MPI_Cancel(&mpi->posted[i]);
        int done = 0;
        MPI_Test(&mpi->posted[i], &done, MPI_STATUS_IGNORE);
        if (done) free(mpi->buffers[i]);
    }
    while (mpi->first) {
        struct departure *departure = mpi->first;
        mpi->first = departure->next;
        int done = 0;
        MPI_Test(&departure->request, &done, MPI_STATUS_IGNORE);
        if (done) free(departure);
    }
    free(mpi);
}

enum err link_mpi_open(struct link *link, struct link_mpi_place *place, struct error *error)
{
    int provided = MPI_THREAD_SINGLE;
    int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided);
    if (code != MPI_SUCCESS) return mpi_error(error, "MPI_Init_thread", code);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (provided < MPI_THREAD_MULTIPLE)
        return error_set(error, ERR_UNSUPPORTED,
                         "this MPI library has no MPI_THREAD_MULTIPLE; use one that was built "
                         "with it");
    struct link_mpi *mpi = calloc(1, sizeof *mpi);
    if (!mpi) return error_set(error, ERR_NO_MEMORY, "no memory for the link");
    int rank = 0, size = 0;
    code = MPI_Comm_dup(MPI_COMM_WORLD, &mpi->comm);
    if (code != MPI_SUCCESS) {
        free(mpi);
        return mpi_error(error, "MPI_Comm_dup", code);
    }
    MPI_Comm_set_errhandler(mpi->comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(mpi->comm, &rank);
    MPI_Comm_size(mpi->comm, &size);
    struct link_mpi_place found;
    enum err rc = find_place(mpi->comm, rank, &found, error);
    if (rc == ERR_OK) rc = open_all(mpi, error);
    if (rc != ERR_OK) {
        close_all(mpi);
        return rc;
    }
    if (place) *place = found;
    *link = (struct link){
        .ops = &mpi_ops, .context = mpi, .rank = (uint32_t)rank, .size = (uint32_t)size
    };
    return ERR_OK;
}

/* Waits asleep until every rank has come to its end. */
static void gather(MPI_Comm comm)
{
    MPI_Request request;
    if (MPI_Ibarrier(comm, &request) != MPI_SUCCESS) return;
    for (int done = 0;;) {
        if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS || done) return;
        nanosleep(&(struct timespec){ .tv_nsec = NS_PER_MS }, NULL);
    }
}

void link_mpi_close(struct link *link)
{
    if (!link->context) return;
    struct link_mpi *mpi = link->context;
    gather(mpi->comm);
    close_all(mpi);
    *link = (struct link){ 0 };
    MPI_Finalize();
}
