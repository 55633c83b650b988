/* The SHA-256 part of hash.h, by libsodium. */
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
