#include "proto/wire/frame.h"

#include "proto/base/hash.h"

static const uint8_t magic[2] = { 'P', 'W' };

static void put_u32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_u32(const uint8_t *from)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value |= (uint32_t)from[i] << (8 * i);
    return value;
}

void wire_seal(uint8_t *frame, enum frame_direction direction, size_t payload_bytes)
{
    check(payload_bytes >= 1);
    check(payload_bytes <= FRAME_BYTES_MAX);
    frame[0] = magic[0];
    frame[1] = magic[1];
    frame[2] = FRAME_VERSION;
    frame[3] = (uint8_t)direction;
    put_u32(frame + 4, (uint32_t)payload_bytes);
    put_u32(frame + 8, crc32c(0, frame + FRAME_HEADER_BYTES, payload_bytes));
}

enum err wire_open(const uint8_t *frame, size_t frame_bytes, enum frame_direction direction,
                   const uint8_t **payload, size_t *payload_bytes, struct error *error)
{
    if (frame_bytes < FRAME_HEADER_BYTES)
        return error_set(error, ERR_DAMAGED, "message of %zu bytes is shorter than its header",
                         frame_bytes);
    if (frame[0] != magic[0] || frame[1] != magic[1])
        return error_set(error, ERR_INPUT, "message does not begin with PW");
    if (frame[2] != FRAME_VERSION)
        return error_set(error, ERR_INPUT,
                         "message of wire version %d, this build speaks %d; "
                         "run the same build on all hosts",
                         frame[2], FRAME_VERSION);
    if (frame[3] != (uint8_t)direction)
        return error_set(error, ERR_INPUT, "message of direction %d where %d is due", frame[3],
                         (int)direction);
    size_t bytes = get_u32(frame + 4);
    if (bytes < 1 || bytes > FRAME_BYTES_MAX)
        return error_set(error, ERR_INPUT, "message says %zu bytes; 1 to %d are allowed", bytes,
                         FRAME_BYTES_MAX);
    if (bytes != frame_bytes - FRAME_HEADER_BYTES)
        return error_set(error, ERR_DAMAGED, "message says %zu bytes and has %zu", bytes,
                         frame_bytes - FRAME_HEADER_BYTES);
    if (crc32c(0, frame + FRAME_HEADER_BYTES, bytes) != get_u32(frame + 8))
        return error_set(error, ERR_DAMAGED, "message's checksum does not hold");
    *payload = frame + FRAME_HEADER_BYTES;
    *payload_bytes = bytes;
    return ERR_OK;
}
