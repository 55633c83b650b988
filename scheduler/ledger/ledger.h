/*
 * ledger.h - the append-only file of records: write, read back, and say who has it.
 *
 * docs/formats/ledger.md describes the file. This module promises that a record is on disk when
 * ledger_commit has returned, that a damaged ledger is refused and never mended, and that two
 * writers cannot both believe that they wrote. It never interprets a record beyond its
 * encoding; replay.h and verify.h do.
 *
 * A writer's life: ledger_open (takes the lock, checks every frame, cuts a torn tail),
 * replay_run, then for each batch of events ledger_append for every record and one
 * ledger_commit; then the batch's actions may be performed.
 *
 * Reading needs no lock, changes nothing, and may go on while a writer appends.
 */
#ifndef SCHEDULER_LEDGER_LEDGER_H
#define SCHEDULER_LEDGER_LEDGER_H

#include "proto/base/error.h"
#include "proto/base/hash.h"
#include "scheduler/core/record.h"
#include "scheduler/ledger/io.h"

/* Names inside the state directory. */
#define LEDGER_FILE "ledger.pnk"
#define LEDGER_LOCK_FILE "ledger.lock"
#define LEDGER_BALLAST_FILE "ledger.ballast"

enum { LEDGER_BALLAST_BYTES = 1 << 20 };

/* The end of a ledger, or of a part of it. The hash names all that stands before it. */
struct ledger_head {
    uint64_t seq;   /* of the last record; 0 = none */
    uint64_t epoch; /* of the last record */
    int64_t at_ns;  /* of the last record */
    int64_t bytes;  /* where the next frame begins */
    struct sha256 chain;
};

/* ---- writing --------------------------------------------------------------------------------
 */

struct ledger;

struct ledger_options {
    const struct ledger_io *io; /* NULL: the machine's file system */
    int64_t lock_wait_ns; /* how long to wait for another process's lock; 0 = not at all */
    const char *host;     /* who we are, for whoever finds the lock taken; may be NULL */
    uint32_t pid;
    int64_t started_ns; /* unix time */
};

/* What ledger_open found. */
struct ledger_recovery {
    bool created;       /* there was no ledger */
    uint64_t records;   /* whole, checked */
    int64_t cut_offset; /* where a torn tail began; meaningful when cut_bytes > 0 */
    int64_t cut_bytes;  /* how much of it was cut; 0 = the ledger ended with a whole frame */
};

/* Opens the ledger of the state directory `dir` (which exists) for writing, or creates it.
 * Fails with ERR_LOCKED, naming the holder, when another process writes it; with ERR_DAMAGED
 * and the offset when it cannot be trusted, changing nothing; with ERR_IO or ERR_NO_SPACE. */
must_use enum err ledger_open(const char *dir, const struct ledger_options *options,
                              struct ledger **ledger, struct error *error);

/* Gives up the lock. Records that were not committed are gone. NULL is allowed. */
void ledger_close(struct ledger *ledger);

const struct ledger_recovery *ledger_recovered(const struct ledger *ledger);

/* Puts a record into the batch that the next commit writes. Nothing of the record is kept.
 * Fails, with the batch as it was, with ERR_INPUT (a value that the format refuses), ERR_FULL
 * (larger than a frame may be), ERR_REFUSED (its time is before the last record's),
 * ERR_NO_MEMORY, or the error that ended this ledger. An EPOCH record sets the epoch from
 * itself on. */
must_use enum err ledger_append(struct ledger *ledger, const struct record *record,
                                struct error *error);

/* Makes the batch durable: one write and one fdatasync (a batch above 4 MiB takes one more of
 * each per 4 MiB). A no-op for an empty batch. ERR_NO_SPACE: nothing of what is still pending
 * was written, and the call may be repeated when there is room. Every other failure ends this
 * ledger: what reached the disk is unknown, later calls fail, and only a new ledger_open can
 * tell. */
must_use enum err ledger_commit(struct ledger *ledger, struct error *error);

/* Records in the batch. */
uint32_t ledger_pending(const struct ledger *ledger);

/* The end of what is committed. */
struct ledger_head ledger_head(const struct ledger *ledger);

/* The ballast is a file of 1 MiB that stands in the way of nothing but a full disk: releasing
 * it gives room for the records that park all runs. Both are no-ops when there is nothing to
 * do. Restoring fails with ERR_NO_SPACE, leaving no file, when there is no room for it. */
must_use enum err ledger_ballast_release(struct ledger *ledger, struct error *error);
must_use enum err ledger_ballast_restore(struct ledger *ledger, struct error *error);

/* ---- reading --------------------------------------------------------------------------------
 */

struct ledger_reader;

struct ledger_entry {
    struct record record; /* texts and arrays are valid until the next call with the reader */
    uint64_t seq, epoch;
    int64_t offset;      /* of its frame */
    int64_t frame_bytes; /* of its frame */
    struct sha256 chain; /* up to and with it */
};

/* Opens a ledger file. Fails with ERR_NOT_FOUND, ERR_DAMAGED (not a ledger), ERR_IO. io may be
 * NULL. */
must_use enum err ledger_reader_open(const char *path, const struct ledger_io *io,
                                     struct ledger_reader **reader, struct error *error);
void ledger_reader_close(struct ledger_reader *reader); /* NULL is allowed */

/* The next record, or *entry = NULL at the end; a later call goes on when a writer has
 * appended. An unfinished tail is the end. ERR_DAMAGED names the offset, and every later call
 * fails alike. */
must_use enum err ledger_read(struct ledger_reader *reader, const struct ledger_entry **entry,
                              struct error *error);

/* The end of what was read, and how many bytes of an unfinished tail stand after it (0 unless
 * the last ledger_read gave the end). */
struct ledger_head ledger_reader_head(const struct ledger_reader *reader);
int64_t ledger_reader_tail_bytes(const struct ledger_reader *reader);

/* ---- who has it -----------------------------------------------------------------------------
 */

/* What the lock file says. The head in it was durable when it was written: a ledger that is
 * shorter, or has another hash there, has lost acknowledged records. */
struct ledger_holder {
    bool locked; /* a writer has it now */
    char host[NAME_MAX_BYTES];
    uint32_t pid;
    int64_t started_ns;
    uint64_t epoch; /* 0 until its EPOCH record is committed */
    bool has_head;  /* the fields below are known */
    uint64_t head_seq;
    int64_t head_bytes;
    struct sha256 head_chain;
};

/* Reads STATE/ledger.lock without taking the lock. All zero when there is none, or when its
 * text is not whole. Fails with ERR_IO only. io may be NULL. */
must_use enum err ledger_holder(const char *dir, const struct ledger_io *io,
                                struct ledger_holder *holder, struct error *error);

#endif
