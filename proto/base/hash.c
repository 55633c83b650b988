#include "proto/base/hash.h"

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
