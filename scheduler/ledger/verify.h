/*
 * verify.h - can this ledger be believed? Five answers, from independent checks:
 *
 *   frames   lengths, checksums, hash chain, sequence, epochs and time (ledger_read)
 *   lock     nothing that was acknowledged is missing (the head in STATE/ledger.lock)
 *   core     core_apply accepts every record, and core_check holds at every prefix
 *   owners   every signed answer: its signature, what it says, the head it was decided on
 *   money    an audit that shares no code with the core counts every amount again (audit.h)
 *
 * Read-only, no lock; a ledger that is being written is checked up to its last whole record.
 */
#ifndef SCHEDULER_LEDGER_VERIFY_H
#define SCHEDULER_LEDGER_VERIFY_H

#include "scheduler/ledger/audit.h"
#include "scheduler/ledger/ledger.h"

struct verify_report {
    struct ledger_head head; /* of what is good */
    int64_t
        tail_bytes;    /* of an unfinished tail: normal while a writer runs, or after a crash */
    bool acknowledged; /* the lock file's head was there, and is part of this ledger */
    uint64_t
        prefixes_checked; /* records after which core_check ran: all, but for huge campaigns */
    uint64_t signatures;  /* of owners, all good */
    struct audit_totals totals; /* by the audit */
    int64_t bad_offset;         /* on ERR_DAMAGED: where the first bad frame begins; else -1 */
    uint64_t bad_seq;           /* ... and its number, by counting */
};

/* Checks the ledger of the state directory `dir`. ERR_DAMAGED with the first violation, its
 * offset and seq also in the report; ERR_NOT_FOUND, ERR_IO, ERR_NO_MEMORY. A violation inside
 * core_check is a bug and aborts. io may be NULL. */
must_use enum err ledger_verify(const char *dir, const struct ledger_io *io,
                                struct verify_report *report, struct error *error);

#endif
