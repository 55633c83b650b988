/*
 * sshsig.h - SSH signatures ("SSHSIG", OpenSSH's PROTOCOL.sshsig) over small texts: parsed and
 * verified here, made by `ssh-keygen -Y sign`.
 *
 * Ed25519 alone is taken (RFC 8032, keys and signatures as RFC 8709 writes them): its
 * signatures are checked by libsodium, without a child process, so that the coordinator can do
 * it. Every other type of key is refused by its name. Parsing is strict: one encoding, nothing
 * left over, reserved fields empty.
 */
#ifndef PROTO_BASE_SSHSIG_H
#define PROTO_BASE_SSHSIG_H

#include "proto/base/error.h"
#include "proto/base/text.h"

enum {
    SSH_KEY_BYTES = 32,
    SSH_KEY_TEXT_BYTES = 96,    /* "ssh-ed25519 AAAA...", with its final zero */
    SSH_FINGERPRINT_BYTES = 52, /* "SHA256:...", with its final zero */
    SSH_ARMOR_BYTES_MAX = 1024
};

/* An Ed25519 public key. */
struct ssh_key {
    uint8_t bytes[SSH_KEY_BYTES];
};

struct ssh_signature {
    struct ssh_key key; /* that it says it was made with */
    uint8_t bytes[64];
    bool sha512; /* of the message; otherwise SHA-256 */
};

/* Reads a line of a .pub or authorized_keys file: "ssh-ed25519 AAAA... [comment]". ERR_INPUT
 * says what is wrong; for another type of key, what to do. */
must_use enum err ssh_key_parse(struct text line, struct ssh_key *key, struct error *error);
bool ssh_key_equal(const struct ssh_key *a, const struct ssh_key *b);

/* As the line that ssh_key_parse reads, without a comment; and as `ssh-keygen -l` shows it. */
void ssh_key_write(const struct ssh_key *key, struct writer *writer);
void ssh_key_fingerprint(const struct ssh_key *key, struct writer *writer);

/* Reads an armored signature that was made for the namespace `space`. Proves nothing yet.
 * ERR_INPUT. */
must_use enum err ssh_signature_parse(struct text armored, struct text space,
                                      struct ssh_signature *signature, struct error *error);

/* Is it a signature of `message`, for the namespace `space`, by its own key? */
bool ssh_signature_proves(const struct ssh_signature *signature, struct text space,
                          struct text message);

#endif
