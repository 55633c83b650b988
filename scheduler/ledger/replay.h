/*
 * replay.h - a ledger folded into a core: the one way to know a campaign's state.
 *
 * The coordinator starts from it; reports, status and verify look through it. Read-only, no
 * lock.
 */
#ifndef SCHEDULER_LEDGER_REPLAY_H
#define SCHEDULER_LEDGER_REPLAY_H

#include "scheduler/core/core.h"
#include "scheduler/ledger/ledger.h"

/* Called after each record has been applied; the entry and the core are borrowed. Anything but
 * ERR_OK ends the replay with that error. */
typedef enum err (*replay_visit_fn)(void *context, const struct ledger_entry *entry,
                                    const struct core *core, struct error *error);

struct replay_options {
    const struct ledger_io *io; /* NULL: the machine's file system */
    struct core_limits minimum; /* room for what comes later; a finished ledger needs none */
    replay_visit_fn visit;      /* NULL: nobody looks */
    void *context;
};

struct replay_summary {
    struct ledger_head head; /* of what was applied */
    int64_t tail_bytes;      /* of an unfinished tail that was passed over */
    struct core_limits limits;
};

/* Reads STATE/ledger.pnk of `dir` twice: first to learn how much room the core needs, then to
 * apply every record that the first pass saw. On ERR_OK *core is the caller's (core_destroy).
 * Fails with ERR_NOT_FOUND, ERR_DAMAGED naming offset and seq, ERR_NO_MEMORY, ERR_IO, or the
 * visitor's error; *core is then NULL. options may be NULL. */
must_use enum err replay_run(const char *dir, const struct replay_options *options,
                             struct core **core, struct replay_summary *summary,
                             struct error *error);

#endif
