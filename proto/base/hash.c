#include "proto/base/hash.h"

#include <sodium.h>
#include <string.h>

_Static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(struct sha256_stream),
               "sha256_stream holds libsodium's state");
_Static_assert(SHA256_BYTES == crypto_hash_sha256_BYTES, "SHA-256 has 32 bytes");

void sha256_init(struct sha256_stream *stream)
{
    crypto_hash_sha256_init((crypto_hash_sha256_state *)(void *)stream->opaque);
}

void sha256_add(struct sha256_stream *stream, const void *data, size_t bytes)
{
    if (bytes == 0) return;
    crypto_hash_sha256_update((crypto_hash_sha256_state *)(void *)stream->opaque,
                              (const unsigned char *)data, bytes);
}

struct sha256 sha256_end(struct sha256_stream *stream)
{
    struct sha256 hash;
    crypto_hash_sha256_final((crypto_hash_sha256_state *)(void *)stream->opaque, hash.bytes);
    return hash;
}

struct sha256 sha256_of2(struct text a, struct text b)
{
    struct sha256_stream stream;
    sha256_init(&stream);
    sha256_add(&stream, a.data, a.len);
    sha256_add(&stream, b.data, b.len);
    return sha256_end(&stream);
}

void sha256_hex(const struct sha256 *hash, char hex[2 * SHA256_BYTES + 1])
{
    sodium_bin2hex(hex, 2 * SHA256_BYTES + 1, hash->bytes, SHA256_BYTES);
}

bool sha256_from_hex(struct text hex, struct sha256 *hash)
{
    struct sha256 read;
    size_t bytes = 0;
    if (hex.len != 2 * SHA256_BYTES) return false;
    if (sodium_hex2bin(read.bytes, SHA256_BYTES, hex.data, hex.len, NULL, &bytes, NULL) != 0)
        return false;
    if (bytes != SHA256_BYTES) return false;
    *hash = read;
    return true;
}

bool sha256_equal(const struct sha256 *a, const struct sha256 *b)
{
    return memcmp(a->bytes, b->bytes, SHA256_BYTES) == 0;
}

/* Slicing by four: table[k][b] is the CRC of byte b followed by k zero bytes. */
struct crc_tables {
    uint32_t table[4][256];
};

static uint32_t crc_byte(uint32_t b)
{
    for (int bit = 0; bit < 8; bit++)
        b = (b >> 1) ^ (b & 1 ? UINT32_C(0x82F63B78) : 0); /* Castagnoli, reflected */
    return b;
}

static struct crc_tables crc_tables_make(void)
{
    struct crc_tables t;
    for (uint32_t b = 0; b < 256; b++)
        t.table[0][b] = crc_byte(b);
    for (uint32_t b = 0; b < 256; b++)
        for (int k = 1; k < 4; k++)
            t.table[k][b] = (t.table[k - 1][b] >> 8) ^ t.table[0][t.table[k - 1][b] & 0xFF];
    return t;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    static struct crc_tables tables;
    static bool ready;
    if (!ready) {
        tables = crc_tables_make();
        ready = true;
    }
    const uint8_t *p = (const uint8_t *)data;
    crc = ~crc;
    for (; bytes >= 4; bytes -= 4, p += 4) {
        crc ^=
            (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = tables.table[3][crc & 0xFF] ^ tables.table[2][crc >> 8 & 0xFF] ^
              tables.table[1][crc >> 16 & 0xFF] ^ tables.table[0][crc >> 24];
    }
    for (; bytes > 0; bytes--, p++)
        crc = (crc >> 8) ^ tables.table[0][(crc ^ *p) & 0xFF];
    return ~crc;
}

uint64_t hash_mix(uint64_t state, uint64_t value)
{
    /* The finalizer of splitmix64 (Steele, Lea, Flood 2014). */
    uint64_t z = state * UINT64_C(0x9E3779B97F4A7C15) + value;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}
