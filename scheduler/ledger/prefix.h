/*
 * prefix.h - is (seq, chain) a head that this ledger once had? A sign-off names the head that it
 * was decided on; one that was made on another ledger, or on one that was rewritten, names a
 * head that this one never had.
 *
 * Kept are some heads along the way, in memory; between two of them the ledger file is read.
 */
#ifndef SCHEDULER_LEDGER_PREFIX_H
#define SCHEDULER_LEDGER_PREFIX_H

#include "scheduler/ledger/ledger.h"

struct prefix {
    struct ledger_head *points; /* rising */
    size_t count, room;
};

/* Tells it a head, as the ledger grows; most are passed over. When memory runs out it is too,
 * and looking up takes longer. */
void prefix_note(struct prefix *prefix, const struct ledger_head *head);
void prefix_fini(struct prefix *prefix);

/* ERR_REFUSED when the ledger of the state directory `dir` never had this head; ERR_IO,
 * ERR_DAMAGED. `io` may be NULL. */
must_use enum err prefix_check(const struct prefix *prefix, const char *dir,
                               const struct ledger_io *io, uint64_t seq,
                               const struct sha256 *chain, struct error *error);

#endif
