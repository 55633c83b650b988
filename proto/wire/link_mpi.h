/*
 * link_mpi.h - the link over MPI. link_mpi.c is the one file of proto that knows MPI.
 *
 * Receives are posted ahead and tested; sends are copies under MPI_Isend; both live on a
 * communicator of their own, which returns errors instead of aborting. A dead rank raises no
 * error (Open MPI 4): its messages just never come.
 */
#ifndef PROTO_WIRE_LINK_MPI_H
#define PROTO_WIRE_LINK_MPI_H

#include "proto/wire/link.h"

/* Where this rank stands among the agents (ranks 1..) of its host; both 0 on rank 0. */
struct link_mpi_place {
    uint32_t slot;       /* index of this agent on its host, by rank */
    uint32_t slot_count; /* agents on this host */
};

/* Starts MPI with MPI_THREAD_MULTIPLE and opens the link. Collective: every rank of the job
 * calls it. To be called after the launcher was forked. ERR_DEVICE: MPI failed.
 * ERR_UNSUPPORTED: it offers less than MPI_THREAD_MULTIPLE. `place` may be NULL. */
must_use enum err link_mpi_open(struct link *link, struct link_mpi_place *place,
                                struct error *error);

/* Drops what is still on its way, and leaves MPI. Collective: it returns when the other ranks
 * that are alive have called it too, and sleeps until then (MPI_Finalize alone would burn a
 * core). Flush first. No-op on a zeroed link. */
void link_mpi_close(struct link *link);

#endif
