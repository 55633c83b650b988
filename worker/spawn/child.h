/*
 * child.h - what happens between the launcher's fork and the trainer's exec. Private to
 * worker/spawn.
 */
#ifndef WORKER_SPAWN_CHILD_H
#define WORKER_SPAWN_CHILD_H

#include "worker/spawn/packet.h"

/* What a child that could not exec writes to its pipe. */
struct child_failure {
    int sys_errno;
    char what[LAUNCH_TEXT_BYTES - 64];
};

/* Runs in the child, and never returns: leads a process group, ties its life to `launcher_pid`,
 * sets descriptors, environment and directory, and execs. `failure_fd` (close-on-exec) tells
 * why it could not; the child then exits with 127. lock_fd < 0: none. */
never_returns void child_run(const struct launch_body *body, pid_t launcher_pid, int lock_fd,
                             int failure_fd);

/* Whether a variable describes the agent's own place in its MPI job or Slurm step, and must not
 * reach a trainer. `name` is NAME or NAME=value. */
bool child_scrubs(const char *name);

#endif
