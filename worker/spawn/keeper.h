/*
 * keeper.h - the launcher process itself: its loop. Private to worker/spawn; see launcher.h for
 * what it promises.
 */
#ifndef WORKER_SPAWN_KEEPER_H
#define WORKER_SPAWN_KEEPER_H

#include "proto/base/defs.h"

enum {
    KEEPER_SOCKET = 3
}; /* where the launcher finds its socket: its only descriptor besides 0, 1, 2 */

/* Serves the agent behind `socket` until it is gone and every trainer too; then exits. The process has one
 * thread, and its signals are the launcher's to set. */
never_returns void keeper_run(int socket);

#endif
