/* Any bytes as a public key and as a signature: what is taken is the one encoding of what it says, and proves
 * nothing about another text. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "proto/base/sshsig.h"

static const char key_line[] =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGLyQ4aQEgeqxu7PMZfF7XR/ur38qifEsr+IHu1vpSoE ada";
static const char armored[] =
    "-----BEGIN SSH SIGNATURE-----\n"
    "U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgYvJDhpASB6rG7s8xl8XtdH+6vf\n"
    "yqJ8Syv4ge7W+lKgQAAAAIcGVuc3RvY2sAAAAAAAAABnNoYTUxMgAAAFMAAAALc3NoLWVk\n"
    "MjU1MTkAAABAWZTcEyysAEtfshyf5ueFtN3redMMURsZAWrJLBpEguHjWgeoofBc4GHsMa\n"
    "547Ng5pdvFKMe90a9iY70ako3OCw==\n"
    "-----END SSH SIGNATURE-----\n";

static void check_key(struct text text)
{
    struct ssh_key key, again;
    struct error error;
    char line[SSH_KEY_TEXT_BYTES];
    struct writer writer = writer_of(line, sizeof line);
    if (ssh_key_parse(text, &key, &error) != ERR_OK) {
        check(error.code == ERR_INPUT);
        return;
    }
    ssh_key_write(&key, &writer);
    check(!writer.full);
    check(ssh_key_parse((struct text){ line, writer.len }, &again, NULL) == ERR_OK);
    check(ssh_key_equal(&key, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text text = { (const char *)data, size };
    struct ssh_signature signature;
    struct error error;
    check_key(text);
    if (ssh_signature_parse(text, TEXT("penstock"), &signature, &error) == ERR_OK)
        check(!ssh_signature_proves(&signature, TEXT("penstock"), TEXT("never signed")));
    else
        check(error.code == ERR_INPUT);
    return 0;
}

size_t fuzz_example(unsigned index, uint8_t *to, size_t capacity)
{
    const char *examples[] = { armored, key_line };
    if (index >= ARRAY_COUNT(examples)) return 0;
    size_t bytes = strlen(examples[index]);
    if (bytes > capacity) return 0;
    memcpy(to, examples[index], bytes);
    return bytes;
}
