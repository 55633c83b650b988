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

/* Sets every signal of this process to its default, except for those that mpirun and Slurm send to all that
 * they started: these it ignores, until child_run takes that back in the child. */
void child_ignore_signals(void);

/* This process's environment without what child_scrubs, as an array that ends in NULL and borrows its
 * strings; NULL when out of memory. */
const char **child_inherited(void);

/* What a trainer's environment becomes: `inherited`, changed by body->env in order and by the marker. An array
 * that borrows its strings; NULL when out of memory. */
const char **child_environment(const char *const *inherited, const struct launch_body *body);

/* Runs in the child, and never returns: leads a process group, ties its life to `launcher_pid`,
 * sets descriptors and directory, and execs with this environment. `failure_fd` (close-on-exec) tells
 * why it could not; the child then exits with 127. lock_fd < 0: none. */
never_returns void child_run(const struct launch_body *body, const char **environment,
                             pid_t launcher_pid, int lock_fd, int failure_fd);

/* Whether a variable describes the agent's own place in its MPI job or Slurm step, and must not
 * reach a trainer. `name` is NAME or NAME=value. */
bool child_scrubs(const char *name);

#endif
