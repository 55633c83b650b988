/*
 * frame.h - the bytes around one message on a link: what it is, how long, and whether it is
 * whole.
 *
 *     bytes 0-3   'P' 'W', version (1), direction (1: to the coordinator, 2: to an agent)
 *     bytes 4-7   length of the payload, u32 little-endian, 1..FRAME_BYTES_MAX
 *     bytes 8-11  CRC-32C of the payload, u32 little-endian
 *     bytes 12-   payload: one protobuf message
 *
 * A link carries whole messages, so a frame is all of a message or it is damaged. Two builds of
 * different wire versions refuse each other here.
 */
#ifndef PROTO_WIRE_FRAME_H
#define PROTO_WIRE_FRAME_H

#include "proto/base/defs.h"
#include "proto/base/error.h"

enum { FRAME_HEADER_BYTES = 12, FRAME_VERSION = 1 };

enum frame_direction { FRAME_TO_COORDINATOR = 1, FRAME_TO_AGENT = 2 };

/* Writes the header for the payload that already stands at frame + FRAME_HEADER_BYTES.
 * payload_bytes is 1..FRAME_BYTES_MAX. */
void wire_seal(uint8_t *frame, enum frame_direction direction, size_t payload_bytes);

/* Checks a received frame; *payload and *payload_bytes then lie inside it. ERR_INPUT: not such
 * a frame, or of another version or direction; ERR_DAMAGED: cut, or the checksum does not hold.
 */
must_use enum err wire_open(const uint8_t *frame, size_t frame_bytes,
                            enum frame_direction direction, const uint8_t **payload,
                            size_t *payload_bytes, struct error *error);

#endif
