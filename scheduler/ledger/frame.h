/*
 * frame.h - the bytes between the records: frames, their checksums and chain, and what a torn
 * tail looks like. Pure functions over memory; docs/formats/ledger.md is the specification.
 *
 *     magic (8)   frame   frame   frame ...
 *     frame:      length u32 | CRC-32C u32 of length and payload | payload | chain (32)
 *     chain:      SHA-256(chain of the frame before || payload); before the first: 32 zero
 * bytes
 */
#ifndef SCHEDULER_LEDGER_FRAME_H
#define SCHEDULER_LEDGER_FRAME_H

#include "proto/base/hash.h"
#include "proto/base/text.h"

enum {
    LEDGER_MAGIC_BYTES = 8,
    FRAME_HEAD_BYTES = 8,                                /* length and checksum */
    FRAME_EXTRA_BYTES = FRAME_HEAD_BYTES + SHA256_BYTES, /* beside the payload */
    FRAME_BYTES_WHOLE_MAX = FRAME_BYTES_MAX + FRAME_EXTRA_BYTES,
    LEDGER_WRITE_BYTES_MAX = 4 << 20, /* a writer never has more than this unsynced */
    LEDGER_SECTOR_BYTES = 512 /* the smallest piece of a write that a disk keeps whole */
};

extern const char ledger_magic[LEDGER_MAGIC_BYTES];

struct frame {
    struct text payload; /* inside the bytes that were parsed */
    size_t bytes;        /* of the whole frame */
    struct sha256 chain; /* up to and with this frame */
};

enum frame_status {
    FRAME_WHOLE,
    FRAME_SHORT, /* more bytes are needed: frame->bytes of them, or 0 when even that is unknown
                  */
    FRAME_BAD    /* no continuation of these bytes is a frame here */
};

/* Looks for one frame at the start of `bytes`; *before is the chain up to there. */
enum frame_status frame_parse(const uint8_t *bytes, size_t available,
                              const struct sha256 *before, struct frame *frame);

/* Writes a frame of payload.len + FRAME_EXTRA_BYTES bytes to `to`, and moves *chain on. The
 * payload has 1 to FRAME_BYTES_MAX bytes. */
void frame_seal(uint8_t *to, struct text payload, struct sha256 *chain);

/* True when everything from `offset` to the end of the file, which does not begin with a whole
 * frame, can be what an interrupted write left behind:
 *   - it is no longer than one write may be, and
 *   - no whole frame stands anywhere in it; or one does, but before it at least one sector of
 * the write never reached the disk (its part of the tail, 8 bytes or more, reads as zeros).
 * False means damage. When telling would take more than about a second, the answer is false. */
bool tail_is_torn(const uint8_t *tail, size_t bytes, int64_t offset);

#endif
