/*
 * leftovers.h - what a job leaves behind on this host when it is killed.
 *
 * A killed mpirun removes neither its ranks' shared-memory segments (4 MiB each, in memory) nor its folder
 * of temporary files. Both have exact names that follow from the job; nothing else is touched.
 */
#ifndef SCHEDULER_VERBS_LEFTOVERS_H
#define SCHEDULER_VERBS_LEFTOVERS_H

#include <sys/types.h>

#include "proto/base/defs.h"

/* Waits until the coordinator that STATE/coordinator names is gone (10 s at most): until then the same
 * command would be refused. Then removes what its job, started by `mpirun`, left. */
void leftovers_remove(const char *state_dir, pid_t mpirun, uint32_t ranks);

#endif
