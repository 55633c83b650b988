/*
 * keeper.h - the launcher process itself: its loop. Private to worker/spawn; see launcher.h for
 * what it promises.
 */
#ifndef WORKER_SPAWN_KEEPER_H
#define WORKER_SPAWN_KEEPER_H

#include "proto/base/defs.h"

/* Serves the agent behind `socket` until it is gone and every trainer too; then exits. */
never_returns void keeper_run(int socket);

#endif
