/*
 * comm_nccl.h - a gang on GPUs: the table of comm.h over NCCL. Lives in penstock_cuda.so;
 * module.h says what the trainer sees of it.
 *
 * One communicator serves one attempt. Gradients are summed on a stream of its own: for each
 * bucket of about 25 MB that stream waits for the kernels that made it and no longer, so the
 * reduction of one layer runs under the backward pass of the layers below. The host waits in
 * comm_finish and comm_agree alone, and never without asking NCCL for errors and the clock for
 * the deadline: a stream that waits for a peer that is gone would wait for ever.
 *
 *     INIT      meeting the others                           -> READY, or FAILED
 *     READY     nothing is on the way                        -> STEP
 *     STEP      reductions are on the way, with a deadline   -> READY, or FAILED
 *     FAILED    aborted; every call fails with the first error
 *
 * Any error but a refused argument leaves a communicator unusable, so each one ends in
 * ncclCommAbort, and the caller ends the process: the gang begins anew under a new attempt.
 */
#ifndef WORKER_TRAINER_COMM_NCCL_H
#define WORKER_TRAINER_COMM_NCCL_H

#include "worker/trainer/module.h"

enum err comm_nccl_make_id(uint8_t id[MODULE_ID_BYTES], struct error *error);
enum err comm_nccl_open(const struct module_gang *gang, struct comm **comm,
                        struct error *error);
int comm_nccl_version(void); /* -1: unknown */

#endif
