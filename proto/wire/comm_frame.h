/*
 * comm_frame.h - the id by which the members of a GPU gang meet, on its way from an agent to
 * its trainer: one frame on a pipe, of which the trainer inherits the read end
 * (PENSTOCK_COMM_ID_FD).
 *
 *     bytes 0-3   length of what follows, u32 little-endian: 8 + the id's bytes
 *     bytes 4-7   run, u32 little-endian: its number in the campaign (PENSTOCK_RUN_INDEX)
 *     bytes 8-11  attempt, u32 little-endian, from 1 (PENSTOCK_ATTEMPT)
 *     bytes 12-   the id: opaque, 1 to COMM_ID_BYTES_MAX bytes
 *
 * A frame is below PIPE_BUF, so it is written whole. Promises: reads and writes no more than it
 * says; whatever comes is either a frame, the beginning of one, or refused.
 */
#ifndef PROTO_WIRE_COMM_FRAME_H
#define PROTO_WIRE_COMM_FRAME_H

#include "proto/base/defs.h"
#include "proto/base/error.h"

enum {
    COMM_FRAME_HEADER_BYTES = 12,
    COMM_ID_BYTES_MAX = 1024,
    COMM_FRAME_BYTES_MAX = COMM_FRAME_HEADER_BYTES + COMM_ID_BYTES_MAX
};

struct comm_frame {
    uint32_t run;
    uint32_t attempt;
    const uint8_t *id; /* of a decoded frame: inside the bytes that were given */
    size_t id_bytes;
};

/* Writes the frame and returns its length. The attempt is >= 1, id_bytes 1 .. the maximum. */
size_t comm_frame_write(const struct comm_frame *frame, uint8_t bytes[COMM_FRAME_BYTES_MAX]);

/* Reads the frame at the beginning of the bytes, and how many of them it took. ERR_NOT_FOUND:
 * whole so far, but more must come (no text is set). ERR_INPUT: this will never be a frame. */
must_use enum err comm_frame_read(const uint8_t *bytes, size_t n, struct comm_frame *frame,
                                  size_t *used, struct error *error);

#endif
