#include "scheduler/ledger/frame.h"

#include <string.h>

const char ledger_magic[LEDGER_MAGIC_BYTES] = { 'P', 'N', 'K', 'L', 'E', 'D', 'G', '1' };

/* A frame with a chain but no payload cannot be; so this is the least distance of two frames.
 */
enum { FRAME_LEAST_BYTES = FRAME_EXTRA_BYTES + 1 };

static uint32_t read_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static void write_u32(uint8_t *bytes, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
}

static struct sha256 chain_on(const struct sha256 *before, struct text payload)
{
    return sha256_of2((struct text){ (const char *)before->bytes, SHA256_BYTES }, payload);
}

static uint32_t frame_crc(const uint8_t *length, const uint8_t *payload, size_t payload_bytes)
{
    return crc32c(crc32c(0, length, 4), payload, payload_bytes);
}

enum frame_status frame_parse(const uint8_t *bytes, size_t available,
                              const struct sha256 *before, struct frame *frame)
{
    *frame = (struct frame){ 0 };
    if (available < 4) return FRAME_SHORT;
    uint32_t length = read_u32(bytes);
    if (length == 0 || length > FRAME_BYTES_MAX) return FRAME_BAD;
    frame->bytes = (size_t)length + FRAME_EXTRA_BYTES;
    if (available < frame->bytes) return FRAME_SHORT;

    const uint8_t *payload = bytes + FRAME_HEAD_BYTES;
    if (frame_crc(bytes, payload, length) != read_u32(bytes + 4)) return FRAME_BAD;
    frame->payload = (struct text){ (const char *)payload, length };
    frame->chain = chain_on(before, frame->payload);
    bool same = memcmp(frame->chain.bytes, payload + length, SHA256_BYTES) == 0;
    return same ? FRAME_WHOLE : FRAME_BAD;
}

void frame_seal(uint8_t *to, struct text payload, struct sha256 *chain)
{
    check(payload.len >= 1);
    check(payload.len <= FRAME_BYTES_MAX);
    write_u32(to, (uint32_t)payload.len);
    memcpy(to + FRAME_HEAD_BYTES, payload.data, payload.len);
    write_u32(to + 4, frame_crc(to, to + FRAME_HEAD_BYTES, payload.len));
    *chain = chain_on(chain, payload);
    memcpy(to + FRAME_HEAD_BYTES + payload.len, chain->bytes, SHA256_BYTES);
}

/* Finds a frame with a good checksum in the tail; its chain cannot be asked, because the chain
 * before it may be what is damaged. Returns its offset in the tail, or SIZE_MAX. *gave_up is
 * set when the bytes are such that looking on would take too long. */
static size_t frame_find(const uint8_t *tail, size_t bytes, bool *gave_up)
{
    size_t effort_bytes = 64 * (size_t)LEDGER_WRITE_BYTES_MAX;
    *gave_up = false;
    for (size_t at = FRAME_LEAST_BYTES; at + FRAME_LEAST_BYTES <= bytes; at++) {
        uint32_t length = read_u32(tail + at);
        if (length == 0 || length > FRAME_BYTES_MAX) continue;
        if (length + FRAME_EXTRA_BYTES > bytes - at) continue;
        if (length > effort_bytes) {
            *gave_up = true;
            return SIZE_MAX;
        }
        effort_bytes -= length;
        if (frame_crc(tail + at, tail + at + FRAME_HEAD_BYTES, length) ==
            read_u32(tail + at + 4))
            return at;
    }
    return SIZE_MAX;
}

static bool all_zero(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != 0) return false;
    return true;
}

/* Is some sector's part of tail[0, end) empty? Only whole sectors, but for the first one, which
 * begins where the tail does. */
static bool has_hole(const uint8_t *tail, size_t end, int64_t offset)
{
    size_t into_sector = (size_t)(offset % LEDGER_SECTOR_BYTES);
    size_t begin = 0;
    size_t next = LEDGER_SECTOR_BYTES - into_sector;
    while (next <= end) {
        if (next - begin >= FRAME_HEAD_BYTES && all_zero(tail + begin, next - begin))
            return true;
        begin = next;
        next += LEDGER_SECTOR_BYTES;
    }
    return false;
}

bool tail_is_torn(const uint8_t *tail, size_t bytes, int64_t offset)
{
    if (bytes > LEDGER_WRITE_BYTES_MAX) return false;
    bool gave_up;
    size_t next = frame_find(tail, bytes, &gave_up);
    if (gave_up) return false;
    return next == SIZE_MAX || has_hole(tail, next, offset);
}
