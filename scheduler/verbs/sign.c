/* sign.c - see sign.h. */
#include "scheduler/verbs/sign.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scheduler/coordinator/files.h"
#include "scheduler/ledger/signoff.h"

enum { PATH_BYTES = 4096, NAME_BYTES = 64, NOT_FOUND_STATUS = 127 };

never_returns static void exec_keygen(const char *key, const char *file)
{
    char *const words[] = { (char[]){ "ssh-keygen" },
                            (char[]){ "-q" },
                            (char[]){ "-Y" },
                            (char[]){ "sign" },
                            (char[]){ "-n" },
                            (char[]){ SIGNOFF_SPACE },
                            (char[]){ "-f" },
                            NULL,
                            NULL,
                            NULL };
    char *line[ARRAY_COUNT(words)];
    char key_room[PATH_BYTES], file_room[PATH_BYTES];
    memcpy(line, words, sizeof words);
    if (!text_copy(key_room, sizeof key_room, text_of(key)) ||
        !text_copy(file_room, sizeof file_room, text_of(file)))
        _exit(NOT_FOUND_STATUS);
    line[7] = key_room;
    line[8] = file_room;
    execvp(line[0], line);
    _exit(NOT_FOUND_STATUS);
}

static enum err run_keygen(const char *key, const char *file, struct error *error)
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) return error_errno(error, "start ssh-keygen");
    if (child == 0) exec_keygen(key, file);
    while (waitpid(child, &status, 0) != child)
        if (errno != EINTR) return error_errno(error, "wait for ssh-keygen");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return ERR_OK;
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_FOUND_STATUS)
        return error_set(error, ERR_INPUT,
                         "ssh-keygen cannot be started; install OpenSSH 8.1 or later "
                         "(Debian: openssh-client)");
    return error_set(error, ERR_INPUT, "ssh-keygen did not sign with %s", key);
}

enum err sign_text(const char *folder, const char *key, struct text text, char *signature,
                   struct text *signed_text, struct error *error)
{
    char name[NAME_BYTES], signed_name[NAME_BYTES + 8], path[PATH_BYTES];
    char signed_path[PATH_BYTES];
    struct writer name_writer = writer_of(name, sizeof name);
    struct writer signed_writer = writer_of(signed_name, sizeof signed_name);
    struct writer path_writer = writer_of(path, sizeof path);
    struct writer signed_path_writer = writer_of(signed_path, sizeof signed_path);
    size_t bytes = 0;
    writer_format(&name_writer, ".sign-%ld", (long)getpid());
    writer_format(&signed_writer, "%s.sig", name);
    writer_format(&path_writer, "%s/%s", folder, name);
    writer_format(&signed_path_writer, "%s/%s", folder, signed_name);
    if (signed_path_writer.full) return error_set(error, ERR_INPUT, "%s is too long", folder);
    if (unlink(signed_path) != 0 && errno != ENOENT)
        return error_errno(error, "remove %s", signed_path);
    enum err rc = dir_make(folder, error);
    if (rc == ERR_OK) rc = file_replace(folder, name, text, false, error);
    if (rc == ERR_OK) rc = run_keygen(key, path, error);
    if (rc == ERR_OK)
        rc = file_read(folder, signed_name, signature, SSH_ARMOR_BYTES_MAX, &bytes, error);
    if (rc == ERR_OK) *signed_text = (struct text){ signature, bytes };
    (void)unlink(path);
    (void)unlink(signed_path);
    return rc;
}

enum err sign_public_key(const char *key, struct ssh_key *public, struct error *error)
{
    char path[PATH_BYTES], folder[PATH_BYTES], data[4096];
    struct writer writer = writer_of(path, sizeof path);
    size_t bytes = 0, length = strlen(key);
    bool is_public = length > 4 && strcmp(key + length - 4, ".pub") == 0;
    writer_format(&writer, "%s%s%s", key[0] == '/' ? "" : "./", key, is_public ? "" : ".pub");
    if (writer.full) return error_set(error, ERR_INPUT, "--key: the path is too long");
    char *slash = strrchr(path, '/');
    text_copy(folder, sizeof folder, (struct text){ path, (size_t)(slash - path) + 1 });
    enum err rc = file_read(folder, slash + 1, data, sizeof data, &bytes, error);
    if (rc == ERR_OK)
        rc = ssh_key_parse(text_trim((struct text){ data, bytes }), public, error);
    return rc == ERR_OK ? rc : error_prefix(error, rc, "--key %s", path);
}
