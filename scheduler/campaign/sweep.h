/*
 * sweep.h - from what the file says about runs to one map for each run.
 *
 * `defaults:` are put under each run, key by key (and key by key again inside model, train and
 * env); a sweep is a run whose grid gives some keys several values, and becomes one run for
 * each combination. The result is a list of plain maps whose values still know their lines, so
 * a run of a sweep is checked, and its errors are reported, exactly like a run that was written
 * out.
 */
#ifndef SCHEDULER_CAMPAIGN_SWEEP_H
#define SCHEDULER_CAMPAIGN_SWEEP_H

#include "scheduler/campaign/fields.h"

/* Called with each run's map, in order: runs first, then each sweep with its last grid key
 * turning fastest. The map lives in the reader's arena. */
typedef enum err (*run_fn)(void *context, const struct entry *run);

/* `defaults`, `runs` and `sweep` may be NULL. More than CAMPAIGN_RUNS_MAX runs are an error. */
must_use enum err runs_expand(const struct reader *reader, const struct entry *defaults,
                              const struct entry *runs, const struct entry *sweep, run_fn take,
                              void *context);

#endif
