/* files.c - see files.h. */
#include "scheduler/coordinator/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WHOLE_PATH_BYTES = 4096 };

static enum err write_all(int fd, struct text text, const char *path, struct error *error)
{
    size_t done = 0;
    while (done < text.len) {
        ssize_t wrote = write(fd, text.data + done, text.len - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return error_errno(error, "write %s", path);
        done += (size_t)wrote;
    }
    return ERR_OK;
}

static enum err sync_dir(const char *dir, struct error *error)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return error_errno(error, "open %s", dir);
    enum err rc = ERR_OK;
    if (fsync(fd) != 0) rc = error_errno(error, "sync %s", dir);
    close(fd);
    return rc;
}

enum err file_replace(const char *dir, const char *name, struct text text, bool durable,
                      struct error *error)
{
    char path[WHOLE_PATH_BYTES], temporary[WHOLE_PATH_BYTES];
    struct writer path_writer = writer_of(path, sizeof path);
    struct writer temporary_writer = writer_of(temporary, sizeof temporary);
    writer_format(&path_writer, "%s/%s", dir, name);
    writer_format(&temporary_writer, "%s/.%s.%ld", dir, name, (long)getpid());
    if (path_writer.full || temporary_writer.full)
        return error_set(error, ERR_INPUT, "%s/%s: the path is too long", dir, name);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0) return error_errno(error, "create %s", temporary);
    enum err rc = write_all(fd, text, temporary, error);
    if (rc == ERR_OK && durable && fsync(fd) != 0)
        rc = error_errno(error, "sync %s", temporary);
    if (close(fd) != 0 && rc == ERR_OK) rc = error_errno(error, "close %s", temporary);
    if (rc == ERR_OK && rename(temporary, path) != 0)
        rc = error_errno(error, "rename %s to %s", temporary, path);
    if (rc != ERR_OK) {
        unlink(temporary);
        return rc;
    }
    return durable ? sync_dir(dir, error) : ERR_OK;
}

enum err file_read(const char *dir, const char *name, char *data, size_t capacity_bytes,
                   size_t *bytes, struct error *error)
{
    char path[WHOLE_PATH_BYTES];
    struct writer writer = writer_of(path, sizeof path);
    writer_format(&writer, "%s/%s", dir, name);
    if (writer.full)
        return error_set(error, ERR_INPUT, "%s/%s: the path is too long", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return error_set(error, ERR_NOT_FOUND, "%s does not exist", path);
    if (fd < 0) return error_errno(error, "open %s", path);
    struct stat status;
    enum err rc = ERR_OK;
    size_t done = 0;
    if (fstat(fd, &status) != 0) rc = error_errno(error, "stat %s", path);
    if (rc == ERR_OK && !S_ISREG(status.st_mode))
        rc = error_set(error, ERR_INPUT, "%s is not a plain file", path);
    while (rc == ERR_OK && done < capacity_bytes) {
        ssize_t got = read(fd, data + done, capacity_bytes - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) rc = error_errno(error, "read %s", path);
        if (got <= 0) break;
        done += (size_t)got;
    }
    close(fd);
    if (rc == ERR_OK && done == capacity_bytes)
        rc = error_set(error, ERR_INPUT, "%s is longer than %zu bytes", path,
                       capacity_bytes - 1);
    if (rc == ERR_OK) *bytes = done;
    return rc;
}

enum err dir_make(const char *path, struct error *error)
{
    struct stat status;
    if (mkdir(path, 0750) == 0) return ERR_OK;
    int why = errno;
    if (why == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode)) return ERR_OK;
    errno = why == EEXIST ? ENOTDIR : why;
    return error_errno(error, "make directory %s", path);
}
