/*
 * process.h - the processes of this host as /proc shows them, and which of them belong to one
 * trainer.
 *
 * A trainer's family is everything that descends from it: its process group and session, their
 * descendants, and orphans that detached and were re-parented to the launcher or the agent
 * (both are subreapers) but still carry the attempt's marker in their environment.
 */
#ifndef WORKER_SPAWN_PROCESS_H
#define WORKER_SPAWN_PROCESS_H

#include "proto/base/error.h"

#include <sys/types.h>

struct process {
    pid_t pid, parent, group, session;
    char state;         /* as ps shows it; 'Z' has ended and waits to be reaped */
    uint64_t cpu_ticks; /* its own and those of its children that it has reaped */
    bool in_family;     /* set by process_find_family */
};

/* Sorted by pid. Zeroed, it is empty; reading again reuses the memory. */
struct process_list {
    struct process *items;
    size_t count, capacity;
};

struct process_family {
    pid_t root;         /* orphans are its children: the launcher or the agent */
    pid_t leader;       /* the trainer */
    const char *marker; /* NAME=VALUE in the environment of every member; never NULL */
    bool all_orphans; /* every child of root that leads no trainer belongs to it, marker or not
                       */
    const pid_t *other_leaders; /* children of root that are not orphans */
    size_t other_count;
};

must_use enum err process_list_read(struct process_list *list, struct error *error);
void process_list_fini(struct process_list *list);

/* The list of the calling thread's children, to be looked at again and again; the caller's to close. -1 where
 * the kernel has none. */
int process_open_children(void);

/* True when the thread that opened the list certainly has no child but known[0..count). Descendants that lost
 * their parent are children of the next subreaper, so for a subreaper of one thread that means: nothing of
 * what has ended lives on. Costs one small read, where a list costs one for each process of the host. */
bool process_has_no_child_but(int children, const pid_t *known, size_t count);

/* Marks the family, the leader included when it is still listed. Returns how many members are
 * alive (zombies do not count). */
size_t process_find_family(struct process_list *list, const struct process_family *family);

/* Sends SIGKILL to all marked members that are alive. */
void process_kill_family(const struct process_list *list);

/* CPU time of the marked members, in nanoseconds, with that of the children they have reaped.
 */
uint64_t process_family_cpu_ns(const struct process_list *list);

/* Nanoseconds of CLOCK_BOOTTIME: the clock of all deadlines on a host. */
int64_t boot_clock_ns(void);

#endif
