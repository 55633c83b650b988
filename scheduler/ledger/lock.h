/*
 * lock.h - STATE/ledger.lock: who writes the ledger, and how far it was acknowledged.
 *
 * The file is two lines of text of fixed width, each with its own checksum, written in place:
 *
 *     committed=BYTES seq=SEQ chain=HEX crc=HEX
 *     holder=HOST pid=PID started=UNIX_NS epoch=EPOCH crc=HEX
 *
 * The first is written after every commit, without a sync: it can be behind what is on disk,
 * never ahead of it. So bytes of the ledger before it are never a torn tail. A line that is not
 * whole says nothing.
 */
#ifndef SCHEDULER_LEDGER_LOCK_H
#define SCHEDULER_LEDGER_LOCK_H

#include "scheduler/ledger/ledger.h"

/* Opens and locks the lock file; waits up to wait_ns. ERR_LOCKED names the holder. The lock
 * lasts until *fd is closed. */
must_use enum err lock_take(const char *path, const struct ledger_io *io, int64_t wait_ns,
                            int *fd, struct error *error);

/* Reads both lines; what is not whole is zero. `locked` is left alone. */
must_use enum err lock_read(const struct ledger_io *io, int fd, struct ledger_holder *holder,
                            struct error *error);

/* Write one line each. Best effort: the ledger does not depend on them. */
void lock_write_head(const struct ledger_io *io, int fd, const struct ledger_head *head);
void lock_write_holder(const struct ledger_io *io, int fd, const struct ledger_holder *holder);

#endif
