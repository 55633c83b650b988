/* virtual.h - the flags that describe a simulated machine, shared by `plan` and `simulate`. */
#ifndef SCHEDULER_VERBS_VIRTUAL_H
#define SCHEDULER_VERBS_VIRTUAL_H

#include "scheduler/arguments.h"
#include "scheduler/sim/sim.h"

/* The simulator's defaults with --workers and --speed put in. ERR_INPUT. */
must_use enum err virtual_options(const struct arguments *arguments,
                                  struct sim_options *options, struct error *error);

/* A flag's value as a decimal fraction from 0 to `most`. ERR_INPUT. */
must_use enum err virtual_fraction(const struct arguments *arguments, const char *name,
                                   double most, double *value, struct error *error);

#endif
