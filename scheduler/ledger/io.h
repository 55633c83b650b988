/*
 * io.h - what the ledger asks of a file system, so that a test or the simulator can stand in
 * for it.
 *
 * The functions follow POSIX: -1 with errno on failure, short reads and writes are allowed. The
 * file system of the machine is ledger_io_posix.
 */
#ifndef SCHEDULER_LEDGER_IO_H
#define SCHEDULER_LEDGER_IO_H

#include <sys/types.h>

#include "proto/base/defs.h"

struct ledger_io {
    void *context; /* handed to every function */
    int (*open)(void *context, const char *path, int flags, mode_t mode);
    int (*close)(void *context, int fd);
    ssize_t (*pread)(void *context, int fd, void *data, size_t bytes, int64_t offset);
    ssize_t (*pwrite)(void *context, int fd, const void *data, size_t bytes, int64_t offset);
    int (*fdatasync)(void *context, int fd);
    int (*fsync)(void *context, int fd); /* of a file or a folder */
    int (*ftruncate)(void *context, int fd, int64_t bytes);

    /* Size of an open file; fails with ESTALE when it has no name any more. */
    int (*size)(void *context, int fd, int64_t *bytes);
    int (*rename)(void *context, const char *from, const char *to);
    int (*unlink)(void *context, const char *path);

    /* Takes the exclusive lock of an open file without waiting; EAGAIN when another open file
     * description has it. Closing the file gives it up. */
    int (*lock)(void *context, int fd);

    /* 1 when another open file description has the lock, 0 when it is free. */
    int (*locked)(void *context, int fd);
};

extern const struct ledger_io ledger_io_posix;

#endif
