/*
 * hash.h - SHA-256 for the chain (libsodium), CRC-32C for frames (RFC 3720, Castagnoli), and a
 * fast 64-bit mix for digests of state (not for security).
 */
#ifndef PROTO_BASE_HASH_H
#define PROTO_BASE_HASH_H

#include "proto/base/defs.h"
#include "proto/base/text.h"

enum { SHA256_BYTES = 32 };

struct sha256 {
    uint8_t bytes[SHA256_BYTES];
};

/* SHA-256 of the concatenation a || b. */
struct sha256 sha256_of2(struct text a, struct text b);

/* Incremental form, for files: init, add any number of pieces, end. */
struct sha256_stream {
    uint64_t opaque[32];
};

void sha256_init(struct sha256_stream *stream);
void sha256_add(struct sha256_stream *stream, const void *data, size_t bytes);
struct sha256 sha256_end(struct sha256_stream *stream);

/* Lower-case hexadecimal, zero-terminated. */
void sha256_hex(const struct sha256 *hash, char hex[2 * SHA256_BYTES + 1]);
must_use bool sha256_from_hex(struct text hex, struct sha256 *hash);
bool sha256_equal(const struct sha256 *a, const struct sha256 *b);

/* CRC-32C of `data`, continuing from `crc` (0 to start). crc32c(0, "123456789", 9) =
 * 0xE3069283. */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);

/* Mixes `value` into `state`: a bijection of 64 bits for each of the two arguments. */
uint64_t hash_mix(uint64_t state, uint64_t value);

#endif
