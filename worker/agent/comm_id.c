#include "worker/agent/comm_id.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum err comm_id_open(struct comm_id *comm_id, int *for_trainer, struct error *error)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return error_errno(error, "pipe for a gang's id");
    fcntl(ends[1], F_SETFL, O_NONBLOCK); /* of the agent's end alone */
    comm_id->fd = ends[1];
    *for_trainer = ends[0];
    return ERR_OK;
}

enum err comm_id_give(struct comm_id *comm_id, const struct comm_frame *frame,
                      struct error *error)
{
    uint8_t bytes[COMM_FRAME_BYTES_MAX];
    if (comm_id->fd < 0) return error_set(error, ERR_CLOSED, "the gang's id was given already");
    size_t n = comm_frame_write(frame, bytes);
    ssize_t written = 0;
    do
        written = write(comm_id->fd, bytes, n);
    while (written < 0 && errno == EINTR);
    enum err rc = ERR_OK;
    if (written != (ssize_t)n) rc = error_errno(error, "give the gang's id to the trainer");
    comm_id_close(comm_id);
    return rc;
}

void comm_id_close(struct comm_id *comm_id)
{
    int kept_errno = errno;
    if (comm_id->fd >= 0) close(comm_id->fd);
    comm_id->fd = -1;
    errno = kept_errno;
}
