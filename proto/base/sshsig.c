#include "proto/base/sshsig.h"

#include <sodium.h>
#include <string.h>

#include "proto/base/hash.h"

_Static_assert(SSH_KEY_BYTES == crypto_sign_PUBLICKEYBYTES, "an Ed25519 key has 32 bytes");

#define KEY_TYPE "ssh-ed25519"
#define MAGIC "SSHSIG"
#define ARMOR_BEGIN "-----BEGIN SSH SIGNATURE-----"
#define ARMOR_END "-----END SSH SIGNATURE-----"

enum {
    BLOB_BYTES_MAX = 768,
    KEY_BLOB_BYTES = 4 + sizeof(KEY_TYPE) - 1 + 4 + SSH_KEY_BYTES,
    SIGNED_BYTES_MAX = 256
};

/* ---- the SSH encoding (RFC 4251, 5) -------------------------------------------------- */

/* What is left of a blob. A read that does not fit empties it and sets `bad`. */
struct blob {
    const uint8_t *at;
    size_t bytes;
    bool bad;
};

static struct text take_bytes(struct blob *blob, size_t count)
{
    if (blob->bad || count > blob->bytes) {
        blob->bad = true;
        return (struct text){ "", 0 };
    }
    struct text taken = { (const char *)blob->at, count };
    blob->at += count;
    blob->bytes -= count;
    return taken;
}

static uint32_t take_u32(struct blob *blob)
{
    struct text four = take_bytes(blob, 4);
    if (four.len == 0) return 0;
    const uint8_t *b = (const uint8_t *)four.data;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static struct text take_string(struct blob *blob)
{
    return take_bytes(blob, take_u32(blob));
}

static struct blob blob_of(struct text text)
{
    return (struct blob){ (const uint8_t *)text.data, text.len, false };
}

static void put_string(struct writer *writer, struct text text)
{
    char four[4] = { (char)(text.len >> 24), (char)(text.len >> 16), (char)(text.len >> 8),
                     (char)text.len };
    writer_text(writer, (struct text){ four, sizeof four });
    writer_text(writer, text);
}

/* Base64 with its padding; line ends are passed over. False when it is anything else, or does
 * not fit. */
static bool decode64(struct text text, uint8_t *to, size_t room, size_t *bytes)
{
    const char *end = NULL;
    if (sodium_base642bin(to, room, text.data, text.len, "\r\n", bytes, &end,
                          sodium_base64_VARIANT_ORIGINAL) != 0)
        return false;
    return end == text.data + text.len;
}

/* ---- keys ---------------------------------------------------------------------------- */

/* A type's name for an error: printable, and cut. */
static void show_type(struct text type, char shown[40])
{
    text_copy(shown, 40, type);
    for (char *at = shown; *at != '\0'; at++)
        if (*at < '!' || *at > '~') *at = '?';
}

static enum err other_type(struct text type, struct error *error)
{
    char shown[40];
    show_type(type, shown);
    return error_set(error, ERR_INPUT,
                     "it is a key of type %s; only " KEY_TYPE " keys are taken, as "
                     "`ssh-keygen -t ed25519` makes them",
                     shown);
}

/* string "ssh-ed25519", string of 32 bytes. */
static enum err key_from_blob(struct text blob_text, struct ssh_key *key, struct error *error)
{
    struct blob blob = blob_of(blob_text);
    struct text type = take_string(&blob);
    if (blob.bad || type.len == 0) return error_set(error, ERR_INPUT, "it is not an SSH key");
    if (!text_is(type, KEY_TYPE)) return other_type(type, error);
    struct text point = take_string(&blob);
    if (blob.bad || blob.bytes > 0 || point.len != SSH_KEY_BYTES)
        return error_set(error, ERR_INPUT, "it is not a whole " KEY_TYPE " key");
    memcpy(key->bytes, point.data, SSH_KEY_BYTES);
    return ERR_OK;
}

static struct text take_word(struct text *line)
{
    *line = text_trim(*line);
    size_t len = 0;
    while (len < line->len && line->data[len] != ' ' && line->data[len] != '\t')
        len++;
    struct text word = { line->data, len };
    *line = (struct text){ line->data + len, line->len - len };
    return word;
}

static bool looks_like_type(struct text word)
{
    static const char *const starts[] = { "ssh-", "ecdsa-", "sk-", "webauthn-" };
    for (size_t i = 0; i < ARRAY_COUNT(starts); i++)
        if (text_starts(word, text_of(starts[i]))) return true;
    return false;
}

enum err ssh_key_parse(struct text line, struct ssh_key *key, struct error *error)
{
    uint8_t blob[BLOB_BYTES_MAX];
    size_t bytes = 0;
    struct text rest = line, type = take_word(&rest), encoded = take_word(&rest);
    struct ssh_key read;
    if (text_starts(line, TEXT("-----BEGIN")))
        return error_set(error, ERR_INPUT,
                         "it is a private key; give the public one, from the .pub file");
    if (!looks_like_type(type) || encoded.len == 0)
        return error_set(error, ERR_INPUT,
                         "it is not a public key; write the line of its .pub file, as "
                         "`" KEY_TYPE " AAAA... comment`");
    if (!text_is(type, KEY_TYPE)) return other_type(type, error);
    if (!decode64(encoded, blob, sizeof blob, &bytes))
        return error_set(error, ERR_INPUT, "the key is not whole base64 after " KEY_TYPE);
    enum err rc = key_from_blob((struct text){ (const char *)blob, bytes }, &read, error);
    if (rc == ERR_OK) *key = read;
    return rc;
}

bool ssh_key_equal(const struct ssh_key *a, const struct ssh_key *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static void key_blob(const struct ssh_key *key, char blob[KEY_BLOB_BYTES + 1])
{
    struct writer writer = writer_of(blob, KEY_BLOB_BYTES + 1);
    put_string(&writer, TEXT(KEY_TYPE));
    put_string(&writer, (struct text){ (const char *)key->bytes, SSH_KEY_BYTES });
    check(writer.len == KEY_BLOB_BYTES);
}

void ssh_key_write(const struct ssh_key *key, struct writer *writer)
{
    char blob[KEY_BLOB_BYTES + 1], encoded[SSH_KEY_TEXT_BYTES];
    key_blob(key, blob);
    sodium_bin2base64(encoded, sizeof encoded, (const unsigned char *)blob, KEY_BLOB_BYTES,
                      sodium_base64_VARIANT_ORIGINAL);
    writer_format(writer, KEY_TYPE " %s", encoded);
}

void ssh_key_fingerprint(const struct ssh_key *key, struct writer *writer)
{
    char blob[KEY_BLOB_BYTES + 1], encoded[SSH_FINGERPRINT_BYTES];
    key_blob(key, blob);
    struct sha256 hash = sha256_of2((struct text){ blob, KEY_BLOB_BYTES }, TEXT(""));
    sodium_bin2base64(encoded, sizeof encoded, hash.bytes, sizeof hash.bytes,
                      sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    writer_format(writer, "SHA256:%s", encoded);
}

/* ---- signatures ---------------------------------------------------------------------- */

/* string "ssh-ed25519", string of 64 bytes. */
static enum err take_raw(struct text raw, struct ssh_signature *signature, struct error *error)
{
    struct blob blob = blob_of(raw);
    struct text type = take_string(&blob), bytes = take_string(&blob);
    if (blob.bad || blob.bytes > 0 || !text_is(type, KEY_TYPE) ||
        bytes.len != sizeof signature->bytes)
        return error_set(error, ERR_INPUT, "the signature is not a whole Ed25519 signature");
    memcpy(signature->bytes, bytes.data, sizeof signature->bytes);
    return ERR_OK;
}

static enum err take_blob(struct text text, struct text space, struct ssh_signature *signature,
                          struct error *error)
{
    struct blob blob = blob_of(text);
    if (!text_is(take_bytes(&blob, sizeof MAGIC - 1), MAGIC))
        return error_set(error, ERR_INPUT, "it is not an SSH signature");
    uint32_t version = take_u32(&blob);
    struct text key = take_string(&blob), made_for = take_string(&blob);
    struct text reserved = take_string(&blob), hash = take_string(&blob);
    struct text raw = take_string(&blob);
    if (blob.bad || blob.bytes > 0)
        return error_set(error, ERR_INPUT, "the signature is cut, or longer than it says");
    if (version != 1)
        return error_set(error, ERR_INPUT, "the signature's version is %u, not 1", version);
    enum err rc = key_from_blob(key, &signature->key, error);
    if (rc != ERR_OK) return rc;
    if (!text_equal(made_for, space))
        return error_set(error, ERR_INPUT, "the signature was not made for `%.*s` (-n)",
                         (int)space.len, space.data);
    if (reserved.len > 0)
        return error_set(error, ERR_INPUT, "the signature's reserved part is not empty");
    signature->sha512 = text_is(hash, "sha512");
    if (!signature->sha512 && !text_is(hash, "sha256"))
        return error_set(error, ERR_INPUT, "the signature's hash is neither sha512 nor sha256");
    return take_raw(raw, signature, error);
}

enum err ssh_signature_parse(struct text armored, struct text space,
                             struct ssh_signature *signature, struct error *error)
{
    uint8_t blob[BLOB_BYTES_MAX];
    size_t bytes = 0;
    struct ssh_signature read = { .sha512 = false };
    struct text text = text_trim(armored);
    const size_t head = sizeof ARMOR_BEGIN - 1, foot = sizeof ARMOR_END - 1;
    memset(signature, 0, sizeof *signature);
    if (text.len < head + foot || !text_starts(text, TEXT(ARMOR_BEGIN)) ||
        !text_is((struct text){ text.data + text.len - foot, foot }, ARMOR_END))
        return error_set(error, ERR_INPUT, "it is not between \"" ARMOR_BEGIN "\" and its end");
    struct text body = text_trim((struct text){ text.data + head, text.len - head - foot });
    if (!decode64(body, blob, sizeof blob, &bytes))
        return error_set(error, ERR_INPUT, "the signature is not whole base64");
    enum err rc = take_blob((struct text){ (const char *)blob, bytes }, space, &read, error);
    if (rc == ERR_OK) *signature = read;
    return rc;
}

/* What the key signs: the magic, the namespace, the reserved part, the hash's name and value. */
bool ssh_signature_proves(const struct ssh_signature *signature, struct text space,
                          struct text message)
{
    unsigned char hash[crypto_hash_sha512_BYTES];
    char text[SIGNED_BYTES_MAX];
    struct writer writer = writer_of(text, sizeof text);
    size_t hash_bytes = signature->sha512 ? crypto_hash_sha512_BYTES : crypto_hash_sha256_BYTES;
    if (signature->sha512)
        crypto_hash_sha512(hash, (const unsigned char *)message.data, message.len);
    else
        crypto_hash_sha256(hash, (const unsigned char *)message.data, message.len);
    writer_string(&writer, MAGIC);
    put_string(&writer, space);
    put_string(&writer, TEXT(""));
    put_string(&writer, signature->sha512 ? TEXT("sha512") : TEXT("sha256"));
    put_string(&writer, (struct text){ (const char *)hash, hash_bytes });
    if (writer.full) return false;
    return crypto_sign_verify_detached(signature->bytes, (const unsigned char *)text,
                                       writer.len, signature->key.bytes) == 0;
}
