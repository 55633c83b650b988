/*
 * packet.h - what agent and launcher say to each other: packets on a SEQPACKET socket, with
 * descriptors beside them. The long part of a request (arguments, environment) stands in the
 * packet, or in a memory file when it is long indeed. Private to worker/spawn.
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
    bool in_file;          /* SPAWN: the body is a memory file, the first descriptor */
};

/* A launch as the launcher keeps it: pointers into one block. */
struct launch_body {
    char *block;
    const char **argv, **env; /* end in NULL */
    const char *directory, *out_path, *err_path, *lock_path, *marker;
    int fds[LAUNCH_FDS_MAX];
    size_t fd_count;
};

/* Sends a request; what to start goes with SPAWN, and is NULL for the others. ERR_FULL: the
 * socket is full; ERR_CLOSED; ERR_INPUT: too long. */
must_use enum err request_send(int socket, const struct request *request,
                               const struct launch *launch, struct error *error);

/* Receives one; *body is the caller's, empty unless it is a SPAWN. ERR_NOT_FOUND: none waits;
 * ERR_CLOSED: end; ERR_INPUT: damaged, with the id in *request where that much is whole, else 0. */
must_use enum err request_receive(int socket, struct request *request, struct launch_body *body,
                                  struct error *error);

must_use enum err report_send(int socket, const struct launch_report *report,
                              struct error *error);
must_use enum err report_receive(int socket, struct launch_report *report, struct error *error);

/* The long part as bytes (the caller's to free), and read back from bytes that are handed over: they
 * are body's afterwards, or freed. */
must_use enum err body_pack(const struct launch *launch, char **bytes, size_t *count,
                            struct error *error);
must_use enum err body_unpack(char *bytes, size_t count, struct launch_body *body,
                              struct error *error);

/* Frees memory and closes descriptors. */
void body_fini(struct launch_body *body);

#endif
