/*
 * cli.h - the command line: one table of verbs, their help, and what the exit status means.
 *
 * `penstock VERB ...` finds its row, checks its words and flags, and calls its function.
 * Everything that a user can get wrong on a command line ends in one line on stderr and
 * CLI_USAGE.
 */
#ifndef SCHEDULER_CLI_H
#define SCHEDULER_CLI_H

#include "proto/base/error.h"
#include "scheduler/arguments.h"

/* What the exit status says, for scripts and batch systems; documented, and tested. */
#define CLI_STATUSES(X)                                                                        \
    X(DONE, 0, "done, all as asked")                                                           \
    X(FAILED, 1, "some runs failed")                                                           \
    X(USAGE, 2, "usage or campaign error; nothing was started")                                \
    X(BUDGET, 3, "stopped by the budget")                                                      \
    X(SIGNOFF, 4, "waits for a sign-off: penstock decide, then run again")                     \
    X(DAMAGED, 5, "the ledger is damaged, or could not be made durable")                       \
    X(SUSPENDED, 75, "suspended: run the same command again to resume")

enum cli_status {
#define X(id, status, text) CLI_##id = (status),
    CLI_STATUSES(X)
#undef X
};

/* What a failure means for the caller: damage is CLI_DAMAGED, a full disk CLI_SUSPENDED,
 * everything else CLI_USAGE. */
enum cli_status cli_status_of(enum err code);

/* True when `status` is one of the table's. */
bool cli_status_known(int status);

/* Prints "penstock: TEXT" of the error on stderr; returns cli_status_of its code. */
int cli_fail(const struct error *error);

/* The whole program after the process has been set up: argv as main got it. */
int cli_main(int argc, char *const *argv);

#endif
