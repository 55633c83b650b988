#include "proto/wire/comm_frame.h"

#include <string.h>

enum { LENGTH_BYTES = 4, TAG_BYTES = COMM_FRAME_HEADER_BYTES - LENGTH_BYTES };

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_u32(const uint8_t *at)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value |= (uint32_t)at[i] << (8 * i);
    return value;
}

size_t comm_frame_write(const struct comm_frame *frame, uint8_t bytes[COMM_FRAME_BYTES_MAX])
{
    check(frame->attempt >= 1);
    check(frame->id_bytes >= 1);
    check(frame->id_bytes <= COMM_ID_BYTES_MAX);
    put_u32(bytes, (uint32_t)(TAG_BYTES + frame->id_bytes));
    put_u32(bytes + LENGTH_BYTES, frame->run);
    put_u32(bytes + 2 * LENGTH_BYTES, frame->attempt);
    memcpy(bytes + COMM_FRAME_HEADER_BYTES, frame->id, frame->id_bytes);
    return COMM_FRAME_HEADER_BYTES + frame->id_bytes;
}

enum err comm_frame_read(const uint8_t *bytes, size_t n, struct comm_frame *frame, size_t *used,
                         struct error *error)
{
    if (n < LENGTH_BYTES) return ERR_NOT_FOUND;
    uint32_t length = get_u32(bytes);
    if (length <= TAG_BYTES || length > TAG_BYTES + COMM_ID_BYTES_MAX)
        return error_set(error, ERR_INPUT, "a gang's id of %u bytes: must be 1 to %d",
                         length < TAG_BYTES ? 0 : length - TAG_BYTES, COMM_ID_BYTES_MAX);
    if (n - LENGTH_BYTES < length) return ERR_NOT_FOUND;
    uint32_t attempt = get_u32(bytes + 2 * LENGTH_BYTES);
    if (attempt < 1) return error_set(error, ERR_INPUT, "a gang's id for attempt 0");
    *frame = (struct comm_frame){ .run = get_u32(bytes + LENGTH_BYTES),
                                  .attempt = attempt,
                                  .id = bytes + COMM_FRAME_HEADER_BYTES,
                                  .id_bytes = length - TAG_BYTES };
    *used = LENGTH_BYTES + length;
    return ERR_OK;
}
