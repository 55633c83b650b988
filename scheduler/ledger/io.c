#include "scheduler/ledger/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int posix_open(void *context, const char *path, int flags, mode_t mode)
{
    (void)context;
    return open(path, flags | O_CLOEXEC, mode);
}

static int posix_close(void *context, int fd)
{
    (void)context;
    return close(fd);
}

static ssize_t posix_pread(void *context, int fd, void *data, size_t bytes, int64_t offset)
{
    (void)context;
    return pread(fd, data, bytes, offset);
}

static ssize_t posix_pwrite(void *context, int fd, const void *data, size_t bytes,
                            int64_t offset)
{
    (void)context;
    return pwrite(fd, data, bytes, offset);
}

static int posix_fdatasync(void *context, int fd)
{
    (void)context;
    return fdatasync(fd);
}

static int posix_fsync(void *context, int fd)
{
    (void)context;
    return fsync(fd);
}

static int posix_ftruncate(void *context, int fd, int64_t bytes)
{
    (void)context;
    return ftruncate(fd, bytes);
}

static int posix_size(void *context, int fd, int64_t *bytes)
{
    (void)context;
    struct stat st;
    if (fstat(fd, &st) != 0) return -1;
    if (st.st_nlink == 0) {
        errno = ESTALE;
        return -1;
    }
    *bytes = st.st_size;
    return 0;
}

static int posix_rename(void *context, const char *from, const char *to)
{
    (void)context;
    return rename(from, to);
}

static int posix_unlink(void *context, const char *path)
{
    (void)context;
    return unlink(path);
}

/* Open-file-description locks: they belong to the open file and not to the process, and NFS
 * passes them on to its server. */
static int posix_lock(void *context, int fd)
{
    (void)context;
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int rc = fcntl(fd, F_OFD_SETLK, &whole);
    if (rc != 0 && errno == EACCES) errno = EAGAIN; /* POSIX allows either */
    return rc;
}

static int posix_locked(void *context, int fd)
{
    (void)context;
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    if (fcntl(fd, F_OFD_GETLK, &whole) != 0) return -1;
    return whole.l_type != F_UNLCK;
}

const struct ledger_io ledger_io_posix = {
    .open = posix_open,
    .close = posix_close,
    .pread = posix_pread,
    .pwrite = posix_pwrite,
    .fdatasync = posix_fdatasync,
    .fsync = posix_fsync,
    .ftruncate = posix_ftruncate,
    .size = posix_size,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .lock = posix_lock,
    .locked = posix_locked,
};
