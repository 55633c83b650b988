/*
 * packet.h - what agent and launcher say to each other: fixed packets on a SEQPACKET socket,
 * with descriptors beside them; the long part of a request (arguments, environment) is a memory
 * file. Private to worker/spawn.
 */
#ifndef WORKER_SPAWN_PACKET_H
#define WORKER_SPAWN_PACKET_H

#include "worker/spawn/launcher.h"

enum request_kind { REQUEST_SPAWN = 1, REQUEST_SIGNAL, REQUEST_LIMIT };

struct request {
    uint64_t id;
    enum request_kind kind;
    int32_t signal_number; /* SIGNAL */
    int64_t limit_ns;      /* SPAWN, LIMIT */
    int64_t lock_until_ns; /* SPAWN */
    int64_t grace_ns;      /* SPAWN */
};

/* A launch as the launcher keeps it: pointers into one block. */
struct launch_body {
    char *block;
    const char **argv, **env; /* end in NULL */
    const char *directory, *out_path, *err_path, *lock_path, *marker;
    int fds[LAUNCH_FDS_MAX];
    size_t fd_count;
};

/* Sends a request; body_fd (-1: none) and fds go with it. ERR_FULL: the socket is full;
 * ERR_CLOSED. */
must_use enum err request_send(int socket, const struct request *request, int body_fd,
                               const int *fds, size_t fd_count, struct error *error);

/* Receives one; the descriptors are the caller's. ERR_NOT_FOUND: none waits; ERR_CLOSED: end.
 */
must_use enum err request_receive(int socket, struct request *request, int *body_fd, int *fds,
                                  size_t *fd_count, struct error *error);

must_use enum err report_send(int socket, const struct launch_report *report,
                              struct error *error);
must_use enum err report_receive(int socket, struct launch_report *report, struct error *error);

/* Writes the long part into a new memory file (*fd, the caller's), and reads it back. */
must_use enum err body_write(const struct launch *launch, int *fd, struct error *error);
must_use enum err body_read(int fd, struct launch_body *body, struct error *error);

/* Frees memory and closes descriptors. */
void body_fini(struct launch_body *body);

#endif
