/* history.h - the simulated ledger: durable records in order, as the real ledger would encode
 * them, so that a dead coordinator's next life can be given exactly what was durable. */
#ifndef SCHEDULER_SIM_HISTORY_H
#define SCHEDULER_SIM_HISTORY_H

#include "proto/base/error.h"
#include "scheduler/core/core.h"

struct record_codec;

struct history {
    struct record_codec *codec;
    uint8_t *bytes; /* encoded records, one after the other */
    size_t len, capacity;
    size_t *ends; /* ends[i]: where record i ends */
    size_t count, ends_capacity;
    uint64_t epoch;
};

void history_fini(struct history *history);
void history_add(struct history *history, const struct record *record);

/* Forgets all records from the n-th on: they never became durable. */
void history_cut(struct history *history, size_t n);

/* Calls `visit` with every record in order, until one is refused. */
typedef enum err (*history_visit_fn)(void *context, const struct record *record,
                                     struct error *error);
must_use enum err history_each(struct history *history, history_visit_fn visit, void *context,
                               struct error *error);

/* Applies every record to the core. */
must_use enum err history_replay(struct history *history, struct core *core,
                                 struct error *error);

#endif
