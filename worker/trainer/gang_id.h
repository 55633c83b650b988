/*
 * gang_id.h - how the members of a gang on GPUs find each other: by an id that member 0 makes,
 * and that comes to the others through their agents (docs/formats/trainer.md, 16 and 17).
 *
 * Also the claim by which the members that share a host make sure that no two of them are on
 * one GPU, before the communication library sees it: each binds a name made of the gang's id and
 * its GPU's PCI bus id, which only one process can hold. The system frees it with the process.
 *
 * Promises: no wait without a deadline; a stale id is never used. Never: touches a GPU.
 */
#ifndef WORKER_TRAINER_GANG_ID_H
#define WORKER_TRAINER_GANG_ID_H

#include "proto/wire/comm_frame.h"

#include <signal.h>

struct gang_id_wait {
    int fd;                            /* PENSTOCK_COMM_ID_FD, borrowed */
    uint32_t run, attempt;             /* whose id it must be */
    int64_t timeout_ns;                /* > 0 */
    const volatile sig_atomic_t *stop; /* not 0: give up */
};

/* Waits for the frame and copies its id, which must have id_bytes. ERR_CLOSED: member 0 or the
 * agent is gone, or a stop was asked for; ERR_TIMEOUT; ERR_INPUT: this is no frame, or an id of
 * another length; ERR_IO. Frames of other runs and attempts are logged and skipped. */
must_use enum err gang_id_await(const struct gang_id_wait *wait, uint8_t *id, size_t id_bytes,
                                struct error *error);

/* Claims the GPU for this member. *fd holds the claim until it is closed; -1 on failure.
 * ERR_REFUSED: another member of this gang has it; ERR_IO. */
must_use enum err gang_claim_gpu(const uint8_t *id, size_t id_bytes, const char *pci_bus_id,
                                 int *fd, struct error *error);

#endif
