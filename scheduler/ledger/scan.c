#include "scheduler/ledger/scan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW_BYTES = 1 << 16 };

/* ---- input and output to the end ---- */

ssize_t io_read_whole(const struct ledger_io *io, int fd, void *data, size_t bytes,
                      int64_t offset)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = io->pread(io->context, fd, (char *)data + done, bytes - done,
                                offset + (int64_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

bool io_write_whole(const struct ledger_io *io, int fd, const void *data, size_t bytes,
                    int64_t offset)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t put = io->pwrite(io->context, fd, (const char *)data + done, bytes - done,
                                 offset + (int64_t)done);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return false;
        if (put == 0) {
            errno = ENOSPC; /* POSIX gives no other meaning to a write of nothing */
            return false;
        }
        done += (size_t)put;
    }
    return true;
}

int io_open(const struct ledger_io *io, const char *path, int flags)
{
    int fd;
    do
        fd = io->open(io->context, path, flags, 0644);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int io_sync(const struct ledger_io *io, int fd, bool data_only)
{
    int rc;
    do
        rc = data_only ? io->fdatasync(io->context, fd) : io->fsync(io->context, fd);
    while (rc < 0 && errno == EINTR);
    return rc;
}

/* ---- the scan ---- */

enum err scan_begin(struct frame_scan *scan, const struct ledger_io *io, int fd,
                    struct error *error)
{
    *scan = (struct frame_scan){ .io = io, .fd = fd };
    char magic[LEDGER_MAGIC_BYTES];
    ssize_t got = io_read_whole(io, fd, magic, sizeof(magic), 0);
    if (got < 0) return error_errno(error, "read ledger");
    if (got != LEDGER_MAGIC_BYTES || memcmp(magic, ledger_magic, sizeof(magic)) != 0)
        return error_set(error, ERR_DAMAGED,
                         "not a Penstock ledger: offset 0 does not hold its mark");
    scan->window = malloc(WINDOW_BYTES);
    if (scan->window == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory");
    scan->window_capacity = WINDOW_BYTES;
    scan->head.bytes = LEDGER_MAGIC_BYTES;
    scan->window_at = LEDGER_MAGIC_BYTES;
    return ERR_OK;
}

void scan_fini(struct frame_scan *scan)
{
    free(scan->window);
    *scan = (struct frame_scan){ 0 };
}

/* Reads the window anew from the head on; it then holds `bytes`, or all there is. */
static enum err window_load(struct frame_scan *scan, size_t bytes, struct error *error)
{
    if (bytes < WINDOW_BYTES) bytes = WINDOW_BYTES;
    if (bytes > scan->window_capacity) {
        uint8_t *grown = realloc(scan->window, bytes);
        if (grown == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory");
        scan->window = grown;
        scan->window_capacity = bytes;
    }
    ssize_t got = io_read_whole(scan->io, scan->fd, scan->window, bytes, scan->head.bytes);
    if (got < 0) return error_errno(error, "read ledger at offset %" PRId64, scan->head.bytes);
    scan->window_at = scan->head.bytes;
    scan->window_bytes = (size_t)got;
    return ERR_OK;
}

static enum frame_status window_parse(const struct frame_scan *scan, struct frame *frame)
{
    size_t skip = (size_t)(scan->head.bytes - scan->window_at);
    return frame_parse(scan->window + skip, scan->window_bytes - skip, &scan->head.chain,
                       frame);
}

/* What stands at the head is no whole frame: is it the end? The window begins at the head. */
static enum err tail_judge(struct frame_scan *scan, struct error *error)
{
    enum err rc = window_load(scan, WINDOW_BYTES, error);
    if (rc == ERR_OK && scan->window_bytes >= WINDOW_BYTES) /* a long one, which is rare */
        rc = window_load(scan, LEDGER_WRITE_BYTES_MAX + 1, error);
    if (rc != ERR_OK) return rc;
    scan->tail_bytes = (int64_t)scan->window_bytes;
    bool torn = tail_is_torn(scan->window, scan->window_bytes, scan->head.bytes);
    scan->window_bytes = 0; /* a writer may be in the midst of it: read it anew next time */
    if (torn) return ERR_OK;
    return error_set(error, ERR_DAMAGED,
                     "offset %" PRId64 ", after record %" PRIu64
                     ": damaged frame, and more follows than a broken-off write explains",
                     scan->head.bytes, scan->head.seq);
}

static enum err envelope_check(const struct ledger_head *head, const struct envelope *envelope,
                               struct error *error)
{
    const char *wrong = NULL;
    if (envelope->seq != head->seq + 1)
        wrong = "its number does not follow";
    else if (envelope->at_ns < head->at_ns)
        wrong = "its time falls";
    else if (envelope->kind == RECORD_EPOCH ? envelope->epoch <= head->epoch
                                            : envelope->epoch != head->epoch)
        wrong = "its epoch does not follow";
    if (wrong == NULL) return ERR_OK;
    return error_set(error, ERR_DAMAGED, "offset %" PRId64 ", after record %" PRIu64 ": %s",
                     head->bytes, head->seq, wrong);
}

enum err scan_next(struct frame_scan *scan, struct frame *frame, struct envelope *envelope,
                   struct error *error)
{
    scan->tail_bytes = 0;
    enum frame_status status = window_parse(scan, frame);
    enum err rc = ERR_OK;
    if (status != FRAME_WHOLE) { /* the window ends here, or was read while it was written */
        if ((rc = window_load(scan, frame->bytes, error)) != ERR_OK) return rc;
        status = window_parse(scan, frame);
    }
    if (status == FRAME_SHORT && frame->bytes > scan->window_bytes &&
        scan->window_bytes >= WINDOW_BYTES) { /* only now is its length known */
        if ((rc = window_load(scan, frame->bytes, error)) != ERR_OK) return rc;
        status = window_parse(scan, frame);
    }
    if (status != FRAME_WHOLE) {
        *frame = (struct frame){ 0 };
        return scan->window_bytes == 0 ? ERR_OK : tail_judge(scan, error);
    }

    rc = record_peek(frame->payload, envelope, error);
    if (rc != ERR_OK)
        return error_prefix(error, rc, "offset %" PRId64 ", after record %" PRIu64,
                            scan->head.bytes, scan->head.seq);
    if ((rc = envelope_check(&scan->head, envelope, error)) != ERR_OK) return rc;
    scan->head = (struct ledger_head){ .seq = envelope->seq,
                                       .epoch = envelope->epoch,
                                       .at_ns = envelope->at_ns,
                                       .bytes = scan->head.bytes + (int64_t)frame->bytes,
                                       .chain = frame->chain };
    return ERR_OK;
}
