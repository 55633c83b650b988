/*
 * sign.h - signs a text with an owner's SSH key, by `ssh-keygen -Y sign`: the key stays in its
 * file or in ssh-agent, and ssh-keygen asks for its passphrase itself. Only for processes that
 * have no MPI.
 */
#ifndef SCHEDULER_VERBS_SIGN_H
#define SCHEDULER_VERBS_SIGN_H

#include "proto/base/error.h"
#include "proto/base/sshsig.h"
#include "proto/base/text.h"

/* The armored signature of `text` by the key file `key`, into signature[SSH_ARMOR_BYTES_MAX];
 * `folder` is where two temporary files may stand meanwhile. ERR_INPUT when ssh-keygen is
 * missing or says no (what it says goes to stderr). */
must_use enum err sign_text(const char *folder, const char *key, struct text text,
                            char *signature, struct text *signed_text, struct error *error);

/* The public key of a key file: the line in it, when it ends in .pub, or else in FILE.pub. */
must_use enum err sign_public_key(const char *key, struct ssh_key *public, struct error *error);

#endif
