/* paths.c - see paths.h. */
#include "scheduler/verbs/paths.h"

#include <string.h>
#include <unistd.h>

#include "proto/base/text.h"

enum err path_of_program(char path[PROGRAM_PATH_BYTES], struct error *error)
{
    ssize_t bytes = readlink("/proc/self/exe", path, PROGRAM_PATH_BYTES - 1);
    if (bytes < 0) return error_errno(error, "where is this program? /proc/self/exe");
    path[bytes] = '\0';
    return ERR_OK;
}

static enum err path_beside(const char *name, char path[PROGRAM_PATH_BYTES],
                            struct error *error)
{
    enum err rc = path_of_program(path, error);
    if (rc != ERR_OK) return rc;
    char *slash = strrchr(path, '/');
    size_t folder_bytes = slash != NULL ? (size_t)(slash - path) + 1 : 0;
    if (!text_copy(path + folder_bytes, PROGRAM_PATH_BYTES - folder_bytes, text_of(name)))
        return error_set(error, ERR_INPUT, "the path of this program is too long");
    return ERR_OK;
}

enum err path_of_trainer(char path[PROGRAM_PATH_BYTES], struct error *error)
{
    return path_beside("penstock-train", path, error);
}

enum err path_of_launcher(char path[PROGRAM_PATH_BYTES], struct error *error)
{
    return path_beside("penstock-launch", path, error);
}
