/*
 * watchdog.h - ends this process when ending it by itself takes too long.
 *
 * A communicator that is aborted and a GPU that is closed may wait for kernels that never end.
 * From the first failure on a trainer on GPUs has a deadline: when it has not left by then, the
 * watchdog leaves for it, with EXIT_GANG.
 *
 * Promises: works while the rest of the process hangs in a library, since it is a signal's
 * handler that calls nothing but write and _exit. Never: is put off or disarmed.
 */
#ifndef WORKER_TRAINER_WATCHDOG_H
#define WORKER_TRAINER_WATCHDOG_H

#include "proto/base/defs.h"

/* Starts the clock: whole seconds, at least one. When it runs already, the earlier end holds. */
void watchdog_arm(int64_t limit_ns);

#endif
