/* SSH keys and signatures: what ssh-keygen made, and every way to get it wrong. */
#include "proto/base/sshsig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

/* Made by OpenSSH 9.2: ssh-keygen -Y sign -n penstock, of "hello\n". */
#define ADA "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGLyQ4aQEgeqxu7PMZfF7XR/ur38qifEsr+IHu1vpSoE"
#define BOB "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIGUJVox9/w5838hkUm21UaaZ21Bgv777Cgi+3BaQo+j"
#define BEGIN "-----BEGIN SSH SIGNATURE-----\n"
#define END "-----END SSH SIGNATURE-----\n"
#define BODY                                                                                   \
    "U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgYvJDhpASB6rG7s8xl8XtdH+6vf\n"                 \
    "yqJ8Syv4ge7W+lKgQAAAAIcGVuc3RvY2sAAAAAAAAABnNoYTUxMgAAAFMAAAALc3NoLWVk\n"                 \
    "MjU1MTkAAABAWZTcEyysAEtfshyf5ueFtN3redMMURsZAWrJLBpEguHjWgeoofBc4GHsMa\n"                 \
    "547Ng5pdvFKMe90a9iY70ako3OCw==\n"
#define SPACE TEXT("penstock")

static void says(const struct error *error, const char *text, size_t number)
{
    if (strstr(error->text, text) == NULL)
        fail_msg("case %zu says \"%s\", not \"%s\"", number, error->text, text);
}

/* ---- keys ---------------------------------------------------------------------------- */

static void keys_are_read_and_written(void **state)
{
    (void)state;
    static const char *const lines[] = { ADA, ADA " ada@example.org", " " ADA "\n",
                                         ADA "\ta comment of words", ADA "\r\n" };
    struct ssh_key bob;
    assert_int_equal(ssh_key_parse(TEXT(BOB " bob"), &bob, NULL), ERR_OK);
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        struct ssh_key key;
        char text[SSH_KEY_TEXT_BYTES], print[SSH_FINGERPRINT_BYTES];
        struct writer writer = writer_of(text, sizeof text);
        struct writer print_writer = writer_of(print, sizeof print);
        assert_int_equal(ssh_key_parse(text_of(lines[i]), &key, NULL), ERR_OK);
        ssh_key_write(&key, &writer);
        assert_string_equal(text, ADA);
        assert_false(writer.full);
        ssh_key_fingerprint(&key, &print_writer);
        assert_false(print_writer.full);
        assert_string_equal(print, "SHA256:NJq3N/pJd4YA1YI7mR8bKjBREdMn3Am73hvUrtijklc");
        assert_false(ssh_key_equal(&key, &bob));
    }
}

static void wrong_keys_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *line, *says;
    } cases[] = {
        { "", "not a public key" },
        { "ssh-ed25519", "not a public key" },
        { "AAAAC3NzaC1lZDI1NTE5AAAAIGLyQ4aQEgeqxu7PMZfF7XR", "not a public key" },
        { "ada " ADA, "not a public key" },
        { "-----BEGIN OPENSSH PRIVATE KEY-----", "private key" },
        { "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB r", "type ssh-rsa; only ssh-ed25519" },
        { "ecdsa-sha2-nistp256 AAAAE2Vj", "type ecdsa-sha2-nistp256; only" },
        { "sk-ssh-ed25519@openssh.com AAAAGnNr", "type sk-ssh-ed25519@openssh.com; only" },
        { "ssh-ed25519 ****", "not whole base64" },
        { "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGLyQ4aQEgeqxu7PMZfF7XR/ur38qifEsr", "whole" },
        { "ssh-ed25519 AAAA", "not an SSH key" },
        { "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAAA==", "not a whole ssh-ed25519 key" },
        { "ssh-ed25519 AAAAB3NzaC1yc2EAAAABIwAAAAA=", "type ssh-rsa; only" },
        /* a byte too many, and one too few */
        { "ssh-ed25519 "
          "AAAAC3NzaC1lZDI1NTE5AAAAIGLyQ4aQEgeqxu7PMZfF7XR/ur38qifEsr+IHu1vpSoEAA==",
          "not a whole ssh-ed25519 key" },
        { "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGLyQ4aQEgeqxu7PMZfF7XR/ur38qifEsr+IHu1vpSo=",
          "not a whole ssh-ed25519 key" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct ssh_key key, kept;
        struct error error;
        memset(&key, 7, sizeof key);
        kept = key;
        assert_int_equal(ssh_key_parse(text_of(cases[i].line), &key, &error), ERR_INPUT);
        says(&error, cases[i].says, i);
        assert_true(ssh_key_equal(&key, &kept));
    }
}

/* ---- signatures of our own, to be bent ----------------------------------------------- */

struct bent {
    const char *magic;
    uint32_t version;
    const char *key_type, *space, *reserved, *hash, *raw_type;
    const char *signed_space, *signed_hash; /* NULL: as above */
    size_t key_bytes, raw_bytes, left_over, cut;
    const char *says; /* NULL: it is good */
};

static void put_u32(struct writer *writer, uint32_t value)
{
    char four[4] = { (char)(value >> 24), (char)(value >> 16), (char)(value >> 8),
                     (char)value };
    writer_text(writer, (struct text){ four, 4 });
}

static void put(struct writer *writer, struct text text)
{
    put_u32(writer, (uint32_t)text.len);
    writer_text(writer, text);
}

static struct text held(const struct writer *writer)
{
    return (struct text){ writer->data, writer->len };
}

static void put_pair(struct writer *writer, struct text type, struct text bytes)
{
    char data[256];
    struct writer inner = writer_of(data, sizeof data);
    put(&inner, type);
    put(&inner, bytes);
    put(writer, held(&inner));
}

/* What the key of seed 1, 2, 3 ... signs and makes, as `bent` says. */
static void make(const struct bent *bent, struct text message, struct writer *armored)
{
    unsigned char seed[32], public[32], secret[64], raw[64 + 8] = { 0 }, hash[64];
    char text[512], blob[512], encoded[1024];
    for (size_t i = 0; i < sizeof seed; i++)
        seed[i] = (unsigned char)(i + 1);
    crypto_sign_seed_keypair(public, secret, seed);
    struct writer to_sign = writer_of(text, sizeof text), whole = writer_of(blob, sizeof blob);
    const char *hash_name = bent->signed_hash ? bent->signed_hash : bent->hash;
    bool short_hash = strcmp(hash_name, "sha256") == 0;
    if (short_hash)
        crypto_hash_sha256(hash, (const unsigned char *)message.data, message.len);
    else
        crypto_hash_sha512(hash, (const unsigned char *)message.data, message.len);
    writer_string(&to_sign, "SSHSIG");
    put(&to_sign, text_of(bent->signed_space ? bent->signed_space : bent->space));
    put(&to_sign, text_of(bent->reserved));
    put(&to_sign, text_of(hash_name));
    put(&to_sign, (struct text){ (const char *)hash, short_hash ? 32 : 64 });
    crypto_sign_detached(raw, NULL, (const unsigned char *)text, to_sign.len, secret);
    writer_string(&whole, bent->magic);
    put_u32(&whole, bent->version);
    put_pair(&whole, text_of(bent->key_type),
             (struct text){ (const char *)public, bent->key_bytes });
    put(&whole, text_of(bent->space));
    put(&whole, text_of(bent->reserved));
    put(&whole, text_of(bent->hash));
    put_pair(&whole, text_of(bent->raw_type),
             (struct text){ (const char *)raw, bent->raw_bytes });
    memset(blob + whole.len, 0, bent->left_over);
    size_t bytes = whole.len + bent->left_over - bent->cut;
    sodium_bin2base64(encoded, sizeof encoded, (const unsigned char *)blob, bytes,
                      sodium_base64_VARIANT_ORIGINAL);
    writer_format(armored, BEGIN "%s\n" END, encoded);
    assert_false(armored->full);
}

#define GOOD                                                                                   \
    .magic = "SSHSIG", .version = 1, .key_type = "ssh-ed25519", .space = "penstock",           \
    .reserved = "", .hash = "sha512", .raw_type = "ssh-ed25519", .key_bytes = 32,              \
    .raw_bytes = 64

/* The later initializer of a member wins, as C says; clang warns of it by default. */
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Woverride-init"
#endif
#if defined(__clang__)
#pragma clang diagnostic ignored "-Winitializer-overrides"
#endif

static void every_field_counts(void **state)
{
    (void)state;
    static const struct bent cases[] = {
        { GOOD },
        { GOOD, .hash = "sha256" },
        { GOOD, .magic = "SSHSIH", .says = "not an SSH signature" },
        { GOOD, .magic = "", .says = "not an SSH signature" },
        { GOOD, .version = 2, .says = "version is 2, not 1" },
        { GOOD, .key_type = "ssh-rsa", .says = "type ssh-rsa; only" },
        { GOOD, .key_type = "sk-ssh-ed25519@openssh.com", .says = "type sk-ssh-ed25519" },
        { GOOD, .key_bytes = 31, .says = "not a whole ssh-ed25519 key" },
        { GOOD, .space = "git", .says = "not made for `penstock`" },
        { GOOD, .space = "", .says = "not made for `penstock`" },
        { GOOD, .space = "penstock2", .says = "not made for `penstock`" },
        { GOOD, .reserved = "x", .says = "reserved part" },
        { GOOD, .hash = "sha1", .says = "neither sha512 nor sha256" },
        { GOOD, .raw_type = "ssh-rsa", .says = "not a whole Ed25519 signature" },
        { GOOD, .raw_bytes = 63, .says = "not a whole Ed25519 signature" },
        { GOOD, .raw_bytes = 65, .says = "not a whole Ed25519 signature" },
        { GOOD, .left_over = 1, .says = "longer than it says" },
        { GOOD, .cut = 1, .says = "cut" },
        { GOOD, .cut = 90, .says = "cut" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char text[SSH_ARMOR_BYTES_MAX];
        struct writer writer = writer_of(text, sizeof text);
        struct ssh_signature signature;
        struct error error;
        make(&cases[i], TEXT("spend it\n"), &writer);
        enum err rc = ssh_signature_parse(held(&writer), SPACE, &signature, &error);
        if (cases[i].says == NULL) {
            assert_int_equal(rc, ERR_OK);
            assert_true(ssh_signature_proves(&signature, SPACE, TEXT("spend it\n")));
            assert_false(ssh_signature_proves(&signature, SPACE, TEXT("spend it")));
            assert_false(ssh_signature_proves(&signature, TEXT("git"), TEXT("spend it\n")));
        } else {
            assert_int_equal(rc, ERR_INPUT);
            says(&error, cases[i].says, i);
        }
    }
}

/* What is signed must be what is said: the namespace, and the hash. */
static void what_was_signed_is_checked(void **state)
{
    (void)state;
    static const struct bent cases[] = {
        { GOOD, .signed_space = "file" },
        { GOOD, .signed_hash = "sha256" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char text[SSH_ARMOR_BYTES_MAX];
        struct writer writer = writer_of(text, sizeof text);
        struct ssh_signature signature;
        make(&cases[i], TEXT("m"), &writer);
        assert_int_equal(ssh_signature_parse(held(&writer), SPACE, &signature, NULL), ERR_OK);
        assert_false(ssh_signature_proves(&signature, SPACE, TEXT("m")));
    }
}

/* ---- signatures by ssh-keygen -------------------------------------------------------- */

static void what_openssh_signed_is_proved(void **state)
{
    (void)state;
    static const char *const forms[] = { BEGIN BODY END, "\n" BEGIN BODY END "\n\n",
                                         BEGIN BODY "-----END SSH SIGNATURE-----" };
    struct ssh_key ada;
    assert_int_equal(ssh_key_parse(TEXT(ADA), &ada, NULL), ERR_OK);
    for (size_t i = 0; i < ARRAY_COUNT(forms); i++) {
        struct ssh_signature signature;
        assert_int_equal(ssh_signature_parse(text_of(forms[i]), SPACE, &signature, NULL),
                         ERR_OK);
        assert_true(ssh_key_equal(&signature.key, &ada));
        assert_true(ssh_signature_proves(&signature, SPACE, TEXT("hello\n")));
        assert_false(ssh_signature_proves(&signature, SPACE, TEXT("hello")));
    }
}

static void every_bit_counts(void **state)
{
    (void)state;
    struct ssh_signature whole;
    assert_int_equal(ssh_signature_parse(TEXT(BEGIN BODY END), SPACE, &whole, NULL), ERR_OK);
    for (size_t bit = 0; bit < 8 * sizeof whole.bytes; bit++) {
        struct ssh_signature bent = whole;
        bent.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(ssh_signature_proves(&bent, SPACE, TEXT("hello\n")));
    }
    struct ssh_signature by_bob = whole;
    assert_int_equal(ssh_key_parse(TEXT(BOB), &by_bob.key, NULL), ERR_OK);
    assert_false(ssh_signature_proves(&by_bob, SPACE, TEXT("hello\n")));
    memset(by_bob.key.bytes, 0, sizeof by_bob.key.bytes); /* a point of small order */
    assert_false(ssh_signature_proves(&by_bob, SPACE, TEXT("hello\n")));
}

static void wrong_armor_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "", "not between" },
        { BEGIN, "not between" },
        { BODY, "not between" },
        { BEGIN BODY, "not between" },
        { BODY END, "not between" },
        { "-----BEGIN PGP SIGNATURE-----\n" BODY END, "not between" },
        { BEGIN END, "not an SSH signature" },
        { BEGIN "U1NIU0lH*\n" END, "not whole base64" },
        { BEGIN "U1NIU0l\n" END, "not whole base64" },
        { BEGIN BODY BODY END, "not whole base64" },
        { BEGIN "U1NIU0lHAAAAAf////8=\n" END, "cut" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct ssh_signature signature;
        struct error error;
        assert_int_equal(ssh_signature_parse(text_of(cases[i].text), SPACE, &signature, &error),
                         ERR_INPUT);
        says(&error, cases[i].says, i);
    }
}

static void any_cut_is_refused(void **state)
{
    (void)state;
    static const char whole[] = BEGIN BODY "-----END SSH SIGNATURE-----";
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        struct ssh_signature signature;
        assert_int_equal(
            ssh_signature_parse((struct text){ whole, n }, SPACE, &signature, NULL), ERR_INPUT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_read_and_written),
        cmocka_unit_test(wrong_keys_are_refused),
        cmocka_unit_test(every_field_counts),
        cmocka_unit_test(what_was_signed_is_checked),
        cmocka_unit_test(what_openssh_signed_is_proved),
        cmocka_unit_test(every_bit_counts),
        cmocka_unit_test(wrong_armor_is_refused),
        cmocka_unit_test(any_cut_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
