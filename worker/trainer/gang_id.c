#include "worker/trainer/gang_id.h"

#include "proto/base/hash.h"
#include "proto/base/log.h"
#include "proto/base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MS = 100 }; /* how soon a stop is noticed whose signal came just before poll */

static int64_t now_ns(void)
{
    struct timespec now;
    check(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* ---- waiting for the id ---- */

struct inbox {
    uint8_t bytes[COMM_FRAME_BYTES_MAX];
    size_t length;
};

/* Reads what has come: ERR_NOT_FOUND: nothing yet; ERR_CLOSED: no more will. */
static enum err receive(const struct gang_id_wait *wait, struct inbox *inbox,
                        struct error *error)
{
    struct pollfd ready = { .fd = wait->fd, .events = POLLIN };
    int n = poll(&ready, 1, POLL_MS);
    if (n < 0 && errno != EINTR) return error_errno(error, "wait for the gang's id");
    if (n <= 0) return ERR_NOT_FOUND;
    ssize_t bytes =
        read(wait->fd, inbox->bytes + inbox->length, sizeof(inbox->bytes) - inbox->length);
    if (bytes > 0) {
        inbox->length += (size_t)bytes;
        return ERR_OK;
    }
    if (bytes < 0 && (errno == EINTR || errno == EAGAIN)) return ERR_NOT_FOUND;
    if (bytes < 0) return error_errno(error, "read the gang's id from PENSTOCK_COMM_ID_FD");
    return error_set(error, ERR_CLOSED,
                     "the agent closed the pipe before the gang's id came: member 0 is gone");
}

/* The first frame in the inbox that is for this attempt. ERR_NOT_FOUND: more must come. */
static enum err take(const struct gang_id_wait *wait, struct inbox *inbox, uint8_t *id,
                     size_t id_bytes, struct error *error)
{
    struct comm_frame frame;
    size_t used;
    for (;;) {
        enum err rc = comm_frame_read(inbox->bytes, inbox->length, &frame, &used, error);
        if (rc != ERR_OK) return rc;
        if (frame.run == wait->run && frame.attempt == wait->attempt) break;
        log_line(LOG_LEVEL_WARN,
                 "event=stale_gang_id run=%" PRIu32 " attempt=%" PRIu32 ": it is not used",
                 frame.run, frame.attempt);
        inbox->length -= used;
        memmove(inbox->bytes, inbox->bytes + used, inbox->length);
    }
    if (frame.id_bytes != id_bytes)
        return error_set(error, ERR_INPUT,
                         "the gang's id has %zu bytes, not %zu; give all members one build",
                         frame.id_bytes, id_bytes);
    memcpy(id, frame.id, id_bytes);
    return ERR_OK;
}

enum err gang_id_await(const struct gang_id_wait *wait, uint8_t *id, size_t id_bytes,
                       struct error *error)
{
    struct inbox inbox = { .length = 0 };
    int64_t deadline_ns = add_saturated(now_ns(), wait->timeout_ns);
    for (;;) {
        enum err rc = receive(wait, &inbox, error);
        if (rc == ERR_OK) rc = take(wait, &inbox, id, id_bytes, error);
        if (rc != ERR_NOT_FOUND) return rc;
        if (*wait->stop != 0)
            return error_set(error, ERR_CLOSED, "asked to stop before the gang had met");
        if (now_ns() >= deadline_ns)
            return error_set(error, ERR_TIMEOUT, "no id from member 0 of the gang in %.1f s",
                             (double)wait->timeout_ns / (double)NS_PER_S);
    }
}

/* ---- one GPU, one member ---- */

/* The name, in the abstract space that vanishes with its holders. The id is opaque and may hold
 * secrets of the communication library, so its digest stands for it. */
static socklen_t claim_name(const uint8_t *id, size_t id_bytes, const char *pci_bus_id,
                            struct sockaddr_un *address)
{
    uint64_t digest = id_bytes;
    for (size_t at = 0; at < id_bytes; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, id + at, id_bytes - at < sizeof(word) ? id_bytes - at : sizeof(word));
        digest = hash_mix(digest, word);
    }
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    struct writer writer = writer_of(address->sun_path + 1, sizeof(address->sun_path) - 1);
    writer_format(&writer, "penstock-gang-%016" PRIx64 "-%s", digest, pci_bus_id);
    check(!writer.full);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + writer.len);
}

enum err gang_claim_gpu(const uint8_t *id, size_t id_bytes, const char *pci_bus_id, int *fd,
                        struct error *error)
{
    struct sockaddr_un address;
    socklen_t length = claim_name(id, id_bytes, pci_bus_id, &address);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0) return error_errno(error, "claim a GPU for this member");
    if (bind(*fd, (const struct sockaddr *)&address, length) == 0) return ERR_OK;
    bool taken = errno == EADDRINUSE;
    enum err rc = taken ? error_set(error, ERR_REFUSED,
                                    "another member of this gang is on the GPU %s; give each "
                                    "member one of its own by CUDA_VISIBLE_DEVICES",
                                    pci_bus_id)
                        : error_errno(error, "claim the GPU %s for this member", pci_bus_id);
    close(*fd);
    *fd = -1;
    return rc;
}
