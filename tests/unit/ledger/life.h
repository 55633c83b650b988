/*
 * life.h - a small campaign that the real core runs, in a world of simple trainers, into a ledger.
 *
 * Six runs on four workers, five of them with two gates: some pass, one is stopped at a gate, one
 * fails and is restarted, one waits for its owner, one runs out of its own money. Tiers open by
 * themselves and by their owner. The coordinator dies and comes back as often as the caller says.
 * The same seed gives the same ledger, byte for byte.
 */
#ifndef TESTS_UNIT_LEDGER_LIFE_H
#define TESTS_UNIT_LEDGER_LIFE_H

#include "proto/base/money.h"
#include "scheduler/core/state.h"
#include "scheduler/ledger/ledger.h"

enum { LIFE_WORKERS = 4, LIFE_RUNS = 6, LIFE_RECORDS_MAX = 20000 };

struct life_trainer {
    bool alive, started, stopping;
    uint32_t run, attempt, member;
    uint64_t step;
};

struct life {
    const char *dir;
    const struct ledger_io *io;
    struct core_limits limits;
    struct core *core;
    struct ledger *ledger;
    int64_t now_ns;
    uint64_t heartbeat;
    struct life_trainer trainers[LIFE_WORKERS + 1];
    bool done, in_step;
    uint64_t digests[LIFE_RECORDS_MAX]; /* of the state after the record of this number */
    uint64_t last_seq;
};

/* Begins the campaign in `dir`, which has no ledger. */
void life_begin(struct life *life, const char *dir, const struct ledger_io *io);

/* Lets the world go on for so many ticks of five seconds, or until nothing is left to do. */
void life_run(struct life *life, uint32_t ticks);

/* Kills the coordinator and its agents, and starts the next life from the ledger. */
void life_restart(struct life *life);

/* Closes everything. */
void life_end(struct life *life);

#endif
