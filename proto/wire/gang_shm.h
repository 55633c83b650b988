/*
 * gang_shm.h - the shared-memory segment through which a trainer on CPUs asks its agent to
 * reduce numbers over the gang.
 *
 * The trainer makes no MPI call, and the agent never looks at a model: the trainer puts numbers
 * into the segment's buffer and a request into its ring, the agent runs the collective in place
 * and says so. Requests are served one after the other, in the order of submission; up to
 * GANG_SHM_RING of them may be on the way, so that a reduction overlaps with the computation of
 * the next numbers. All members of a gang submit the same requests in the same order; where
 * their slices lie in their own buffers is nobody else's business.
 *
 * Promises: one side never waits for ever for the other: every wait has a timeout, and an abort
 * wakes the trainer. The agent trusts nothing that the trainer writes: a request is copied
 * once, then checked. The segment is sealed, so that a trainer cannot shrink it under the
 * agent. Never: interprets what is reduced, creates threads, prints, copies the buffer.
 *
 * The protocol in steps:
 *   1. The agent creates the segment (gang_shm_create) and lets the trainer inherit the
 *      descriptor: PENSTOCK_COMM_FD is its number, PENSTOCK_COMM_BYTES the segment's size.
 *   2. The trainer maps and checks it (gang_shm_attach).
 *   3. The trainer writes a slice of the buffer, then slot[s % GANG_SHM_RING] for sequence s
 *      (from 1), then stores `submitted` = s (release), then rings the agent's bell.
 *   4. The agent reads `submitted` (acquire), copies and checks the slot, and owns the slice
 *      from now on. It reduces in place, stores `completed` = s (release) and rings the
 *      trainer's bell. It may take several requests before it completes the first, but
 *      completes them in order.
 *   5. The trainer reads `completed` (acquire) and owns the slice again.
 *   6. The trainer sets `closed` when it is done; the agent sees it after the last request. The
 *      agent sets `aborted` when the gang is broken: the trainer's waits then fail with the
 *      agent's reason, unless their request was completed before.
 * A bell is a counter and a futex word: a side that waits reads the bell, then looks whether it
 * has something to do, then sleeps unless the bell has changed since. Whoever gives it
 * something to do does that first and rings second, so no wake-up is lost.
 */
#ifndef PROTO_WIRE_GANG_SHM_H
#define PROTO_WIRE_GANG_SHM_H

#include "proto/base/defs.h"
#include "proto/base/error.h"

enum {
    GANG_SHM_RING = 16,           /* requests that may be on the way */
    GANG_SHM_REASON_BYTES = 192,  /* text of an abort, with its final zero */
    GANG_SHM_HEADER_BYTES = 4096, /* the buffer follows, aligned to a page */
    GANG_SHM_ALIGN_BYTES = 64     /* of every slice */
};

#define GANG_SHM_BUFFER_BYTES_MIN ((size_t)GANG_SHM_RING * GANG_SHM_ALIGN_BYTES)
#define GANG_SHM_BUFFER_BYTES_MAX ((size_t)1 << 36)

/* What the agent does with count elements over all members of the gang. */
enum gang_shm_op {
    GANG_SHM_SUM_F32 = 1, /* MPI_SUM of MPI_FLOAT: gradients */
    GANG_SHM_SUM_F64,     /* MPI_SUM of MPI_DOUBLE: losses, flags */
    GANG_SHM_MAX_I64,     /* MPI_MAX of MPI_INT64_T: agreement on steps, checksums, barrier */
    GANG_SHM_OP_END
};

/* Bytes of one element; 0 for an operation that does not exist. */
size_t gang_shm_element_bytes(enum gang_shm_op op);

struct gang_shm_request {
    uint64_t sequence; /* from 1 */
    enum gang_shm_op op;
    uint64_t offset_bytes; /* in the buffer; a multiple of GANG_SHM_ALIGN_BYTES */
    uint64_t count;        /* elements, >= 1 */
};

struct gang_shm_segment; /* the mapped layout; private to gang_shm.c */

/* One side's handle. Zeroed, it is closed. */
struct gang_shm {
    struct gang_shm_segment *segment;
    size_t segment_bytes;
    size_t buffer_bytes;
    int fd;             /* the agent's descriptor to pass on; -1 on the trainer's side */
    uint64_t last;      /* trainer: last submitted; agent: last taken */
    uint64_t completed; /* agent: last completed */
};

/* The buffer, gang_shm.buffer_bytes long, aligned to a page. Valid until gang_shm_close. */
void *gang_shm_buffer(const struct gang_shm *shm);

/* ---- the agent's side ---- */

/* Makes a segment whose buffer holds at least `buffer_bytes` (rounded up to a page) and seals
 * its size. Its descriptor is close-on-exec: whoever forks the trainer lets it through. Pages
 * that nobody touches cost nothing. The caller owns it: gang_shm_close. ERR_INPUT, ERR_IO,
 * ERR_NO_SPACE. */
must_use enum err gang_shm_create(struct gang_shm *shm, size_t buffer_bytes,
                                  struct error *error);

/* The next request, waiting at most `timeout_ns` (0: only looks). ERR_TIMEOUT: none yet (no
 * text is set: this is the normal case of a poll). ERR_CLOSED: the trainer is done, and all its
 * requests were taken. ERR_DAMAGED: the trainer broke the protocol; the caller aborts. */
must_use enum err gang_shm_next(struct gang_shm *shm, int64_t timeout_ns,
                                struct gang_shm_request *request, struct error *error);

/* The request's slice: request->count elements, the agent's until gang_shm_complete. */
void *gang_shm_slice(const struct gang_shm *shm, const struct gang_shm_request *request);

/* Hands the slice back, reduced. Requests are completed in the order in which they were taken.
 */
void gang_shm_complete(struct gang_shm *shm, const struct gang_shm_request *request);

/* Fails all of the trainer's waits, now and later, with this reason. The first reason stays.
 * May be called from another thread than the one that serves requests. */
void gang_shm_abort(struct gang_shm *shm, const char *reason);

/* ---- the trainer's side ---- */

/* Maps and checks the segment behind an inherited descriptor, and takes the descriptor over:
 * it is closed here, the mapping stays. `segment_bytes` is PENSTOCK_COMM_BYTES. On failure the
 * descriptor is left alone. ERR_INPUT: not such a segment; ERR_IO. */
must_use enum err gang_shm_attach(struct gang_shm *shm, int take_fd, size_t segment_bytes,
                                  struct error *error);

/* Submits the slice of `count` elements at `offset_bytes`, which the caller has written and
 * leaves alone until it has waited for `*sequence`. ERR_FULL: GANG_SHM_RING requests are on the
 * way, wait for the oldest. ERR_CLOSED: the agent has aborted; its reason is the text. */
must_use enum err gang_shm_submit(struct gang_shm *shm, enum gang_shm_op op,
                                  uint64_t offset_bytes, uint64_t count, uint64_t *sequence,
                                  struct error *error);

/* Waits until request `sequence` is completed. ERR_TIMEOUT after timeout_ns; ERR_CLOSED when
 * the agent aborts before, with its reason as text. */
must_use enum err gang_shm_wait(struct gang_shm *shm, uint64_t sequence, int64_t timeout_ns,
                                struct error *error);

/* Tells the agent that no request will follow. */
void gang_shm_finish(struct gang_shm *shm);

/* ---- both sides ---- */

/* Unmaps, and closes the agent's descriptor. No-op when closed already. Keeps errno. */
void gang_shm_close(struct gang_shm *shm);

#endif
