/*
 * launcher.h - starts and ends trainers on behalf of one agent.
 *
 * Forking after MPI_Init is unsafe on some fabrics, so `penstock` forks a launcher before it,
 * and only the launcher forks again. What it promises:
 * - A trainer leads a process group of its own and dies with the launcher (the kernel sees to
 * that).
 * - Two trainers never hold one rank lock: the lock is taken before the fork, inherited by the
 * trainer, and kept until nothing of the trainer's family lives.
 * - LAUNCH_EXITED comes once for every LAUNCH_STARTED, and only when the whole family is gone:
 * process group, session, descendants, and orphans that detached but carry the marker.
 * - When the agent is gone (end of the socket) every trainer gets SIGTERM, its grace, SIGKILL;
 * then the launcher ends. A trainer is killed at its limit (launcher_limit) even when the agent
 * merely hangs. It ignores the signals that mpirun and Slurm send, lives in a session of its
 * own, and holds none of the agent's descriptors, so that nobody waits for it. It never looks
 * at what a trainer says.
 *
 * All times are CLOCK_BOOTTIME (process.h). One thread of the agent uses the handle.
 */
#ifndef WORKER_SPAWN_LAUNCHER_H
#define WORKER_SPAWN_LAUNCHER_H

#include "proto/base/error.h"

#include <sys/types.h>

enum {
    LAUNCH_FD_FIRST = 10, /* the trainer's number of launch.fds[0]; the others follow */
    LAUNCH_FDS_MAX = 8,
    LAUNCH_LOCK_FD = 9,   /* the trainer's number of the rank lock */
    LAUNCH_JOBS_MAX = 16, /* trainers of one launcher at a time */
    LAUNCH_TEXT_BYTES = 320
};

/* The agent's handle. Zeroed or after launcher_stop, it is closed. */
struct launcher {
    int fd;    /* readable when a report waits; -1 once the launcher is known to be gone */
    pid_t pid; /* of the launcher; 0 when closed */
};

/* Forks the launcher, which then runs `program`: the path of penstock-launch, which is small and therefore
 * quick to fork. NULL, or a program that cannot be run: it stays a copy of the caller, at a higher price per
 * trainer. To be called before MPI_Init, while the process has one thread. Makes the caller a subreaper too,
 * so that it can end what a killed launcher leaves. */
must_use enum err launcher_start(struct launcher *launcher, const char *program,
                                 struct error *error);

/* What to start. Everything is borrowed for the call. Empty or NULL paths stand for /dev/null
 * (out, err), no lock, and the launcher's own directory. */
struct launch {
    uint64_t id;             /* > 0: names this trainer in reports */
    const char *const *argv; /* ends in NULL; argv[0] is looked up in the new PATH */
    const char *const *env; /* ends in NULL; "NAME=value" replaces, "NAME" removes a variable of
                               the launcher's environment, from which MPI's and Slurm's per-rank
                               variables are gone already */
    const char *directory;
    const char *out_path, *err_path; /* appended to; created with mode 0640 */
    const char *lock_path;
    int64_t lock_until_ns; /* how long to wait for the lock */
    const char *marker;    /* NAME=VALUE, put into the environment: how orphans are known */
    int64_t grace_ns;      /* from SIGTERM to SIGKILL when the agent is lost */
    int64_t limit_ns; /* killed then, unless launcher_limit moves it; TIME_NEVER: no limit */
    const int *fds;   /* inherited by the trainer from LAUNCH_FD_FIRST on */
    size_t fd_count;
};

/* Asks for a trainer; the answer is a report. ERR_CLOSED: the launcher is gone. ERR_INPUT,
 * ERR_FULL, ERR_IO: nothing was asked. */
must_use enum err launcher_spawn(struct launcher *launcher, const struct launch *launch,
                                 struct error *error);

/* Sends a signal to the trainer's process group; SIGKILL goes to its whole family. A trainer
 * that waits for its lock is given up (LAUNCH_FAILED). A no-op for an id that is not alive. */
must_use enum err launcher_signal(struct launcher *launcher, uint64_t id, int signal_number,
                                  struct error *error);

/* Moves the time at which the trainer is killed in any case. */
must_use enum err launcher_limit(struct launcher *launcher, uint64_t id, int64_t limit_ns,
                                 struct error *error);

enum launch_report_kind {
    LAUNCH_STARTED = 1, /* exec succeeded: pid */
    LAUNCH_FAILED,      /* nothing runs: text says why */
    LAUNCH_EXITED       /* the family is gone: exit_code or signal_number, cpu_ns */
};

struct launch_report {
    uint64_t id;
    enum launch_report_kind kind;
    int32_t pid;
    int32_t exit_code;     /* -1 when a signal ended it */
    int32_t signal_number; /* 0 when it exited */
    bool at_limit;         /* the launcher killed it at its limit */
    int64_t cpu_ns;        /* of the trainer and the children it has reaped */
    char text[LAUNCH_TEXT_BYTES];
};

/* The next report. ERR_NOT_FOUND: none waits (no text is set). ERR_CLOSED: the launcher is
 * gone. */
must_use enum err launcher_report(struct launcher *launcher, struct launch_report *report,
                                  struct error *error);

/* Lets the launcher end (see above: trainers get SIGTERM, grace, SIGKILL) and waits for it, at
 * most wait_ns. False when it still lives. No-op on a closed handle. */
bool launcher_stop(struct launcher *launcher, int64_t wait_ns);

#endif
