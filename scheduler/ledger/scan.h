/*
 * scan.h - walks the frames of an open ledger file, in order, through a window of memory.
 *
 * The one place that decides where a ledger ends: the writer's open, the reader and replay all
 * go through it. It checks lengths, checksums, chain, sequence, epochs and time, and does not
 * look into the body of a record. Also the helpers that finish short reads and writes.
 */
#ifndef SCHEDULER_LEDGER_SCAN_H
#define SCHEDULER_LEDGER_SCAN_H

#include "scheduler/ledger/frame.h"
#include "scheduler/ledger/ledger.h"
#include "scheduler/ledger/record.h"

struct frame_scan {
    const struct ledger_io *io;
    int fd; /* borrowed */
    uint8_t *window;
    size_t window_capacity, window_bytes;
    int64_t window_at; /* file offset of the window's first byte */
    struct ledger_head head;
    int64_t tail_bytes; /* after the head, when the end was reached */
};

/* Begins before the first frame. Checks the magic: ERR_DAMAGED when the file is not a ledger.
 */
must_use enum err scan_begin(struct frame_scan *scan, const struct ledger_io *io, int fd,
                             struct error *error);
void scan_fini(struct frame_scan *scan);

/* The next frame, its payload valid until the next call; frame->bytes is 0 at the end, where a
 * torn tail may stand. May be called again when the file has grown. ERR_DAMAGED names the
 * offset. */
must_use enum err scan_next(struct frame_scan *scan, struct frame *frame,
                            struct envelope *envelope, struct error *error);

/* Reads up to `bytes`, less only at the end of the file; -1 with errno. */
ssize_t io_read_whole(const struct ledger_io *io, int fd, void *data, size_t bytes,
                      int64_t offset);

/* Writes all of `bytes`; false with errno. */
bool io_write_whole(const struct ledger_io *io, int fd, const void *data, size_t bytes,
                    int64_t offset);

/* open, and fdatasync or fsync, begun again when a signal interrupts them. */
int io_open(const struct ledger_io *io, const char *path, int flags);
int io_sync(const struct ledger_io *io, int fd, bool data_only);

#endif
