/*
 * link.h - whole messages between the ranks of one job: the coordinator is rank 0, agents
 * follow.
 *
 * A link is a table of operations with a context, so that the same agent and coordinator run
 * over MPI (link_mpi.h) and, in tests, inside one process (link_memory.h). What it promises:
 * messages between two ranks arrive whole, once and in order; no call ever waits for a peer,
 * except link_wait and link_flush, which wait as long as they are told to. Queues are bounded:
 * a full one is ERR_FULL and changes nothing. It never looks into a message, and never notices
 * that a peer is gone: only heartbeats tell. One thread uses a link.
 */
#ifndef PROTO_WIRE_LINK_H
#define PROTO_WIRE_LINK_H

#include "proto/base/defs.h"
#include "proto/base/error.h"

struct pollfd;

enum {
    LINK_HEADER_BYTES = 16, /* room for frame.h's header */
    LINK_MESSAGE_BYTES_MAX = FRAME_BYTES_MAX + LINK_HEADER_BYTES,
    LINK_QUEUE_COUNT = 4096,     /* messages on their way out of one rank */
    LINK_QUEUE_BYTES = 64 << 20, /* and their bytes */
    LINK_WATCH_MAX = 16          /* descriptors that link_wait watches */
};

/* What an implementation offers. Callers use the functions below instead. */
struct link_ops {
    const char *name;
    enum err (*send)(void *context, uint32_t to, const void *bytes, size_t n,
                     struct error *error);
    enum err (*receive)(void *context, uint32_t *from, void *buffer, size_t capacity_bytes,
                        size_t *n, struct error *error);
    enum err (*poll)(void *context, bool *arrived, struct error *error);
    size_t (*pending)(const void *context);
};

struct link {
    const struct link_ops *ops;
    void *context; /* owned by the implementation that filled this struct */
    uint32_t rank;
    uint32_t size;     /* number of ranks */
    int64_t active_ns; /* when a message last came or went; link_wait naps shorter after it */
};

/* Queues a copy of n bytes for rank `to` and returns at once; the caller keeps its buffer. 1 <=
 * n <= LINK_MESSAGE_BYTES_MAX, to < size, to != own rank. ERR_FULL: too much is on its way
 * already; try again after a while. ERR_DEVICE: the transport failed. */
must_use enum err link_send(struct link *link, uint32_t to, const void *bytes, size_t n,
                            struct error *error);

/* Takes the oldest message that has arrived: *from and buffer[0..*n). ERR_NOT_FOUND when there
 * is none (no text is set: this is the normal case of a poll). ERR_INPUT when it is longer than
 * capacity_bytes: the message is dropped. */
must_use enum err link_receive(struct link *link, uint32_t *from, void *buffer,
                               size_t capacity_bytes, size_t *n, struct error *error);

/* Moves what can be moved without waiting; *arrived (may be NULL) says whether link_receive
 * would find a message. Called often enough by link_wait, link_receive and link_send's callers.
 */
must_use enum err link_poll(struct link *link, bool *arrived, struct error *error);

/* Messages that were queued here and have not left yet. */
size_t link_pending(const struct link *link);

/* Waits until a message has arrived, one of the `watch_count` <= LINK_WATCH_MAX descriptors has
 * an event (their revents are filled), or `timeout_ns` has passed; negative descriptors are
 * skipped. It looks at the link once a millisecond and sleeps in between, inside poll(2) on the
 * descriptors: an idle rank costs about one hundredth of a core, a message is seen within two
 * milliseconds, and a descriptor at once. Signals do not end the wait. ERR_OK in all three
 * cases. */
must_use enum err link_wait(struct link *link, int64_t timeout_ns, struct pollfd *watch,
                            size_t watch_count, struct error *error);

/* Polls until nothing is pending, at most timeout_ns. ERR_TIMEOUT when something still is. */
must_use enum err link_flush(struct link *link, int64_t timeout_ns, struct error *error);

/* Lets link_wait's naps of this thread be as short as they are asked to be (timer slack 1 us).
 * Called once by whoever runs a loop. */
void link_sleep_precisely(void);

#endif
