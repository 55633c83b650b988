/*
 * ras.h - asks NCCL's RAS service about a gang that does not get on.
 *
 * Since NCCL 2.24 every process runs a RAS thread that knows the state of its whole job, and listens at
 * NCCL_RAS_ADDR for one line of text (NCCL user guide, "RAS"). All jobs of a host share one default port, so
 * each gang is given its own.
 *
 *     ras_ask    connects; from here on ras.fd is to be watched
 *     ras_step   to be called when the descriptor is ready or the time has come, until it says that it is over
 *
 * Promises: nothing here waits; a question takes at most RAS_TIME_NS, its answer at most RAS_TEXT_BYTES, and
 * whatever is sent is text afterwards. It talks to this host alone.
 */
#ifndef WORKER_AGENT_RAS_H
#define WORKER_AGENT_RAS_H

#include "proto/base/error.h"

/* A whole gang is asked by the one that is asked, which waits RAS_GATHER_S for those that do not answer. */
#define RAS_TIME_NS (4 * NS_PER_S)
enum { RAS_GATHER_S = 2, RAS_SLOTS_MAX = 64 };

/* The port of a gang: of the job whose state directory this is, and of the gang's lowest slot on this host. No
 * two gangs of a job share one, because no two hold one slot. 0: that slot has none. */
uint32_t ras_port(const char *state_dir, uint32_t lowest_slot);

struct ras {
    int fd; /* -1: nothing is asked */
    bool is_asked, is_sent;
    int64_t due_ns; /* when waiting ends; TIME_NEVER when nothing is asked */
    size_t n;
    char text[RAS_TEXT_BYTES]; /* the answer, or what kept it away; lines of UTF-8 */
};

void ras_init(struct ras *ras);

/* Asks the service at this port of this host. */
void ras_ask(struct ras *ras, uint32_t port, int64_t now_ns);

/* True when the question is over, or none was asked. */
bool ras_step(struct ras *ras, int64_t now_ns);

/* What to wait for: POLLOUT until the question is sent, then POLLIN. */
short ras_events(const struct ras *ras);

/* Ends a question that is open. The text stays. */
void ras_fini(struct ras *ras);

/* The ranks that an answer blames: those that gave no data, or that have launched the fewest collective
 * operations. Writes up to `most`, in the order of the answer, and returns how many. A rank is one of NCCL's
 * communicator; in a gang with one communicator it is the member. */
size_t ras_late_ranks(const char *text, uint32_t *ranks, size_t most);

#endif
