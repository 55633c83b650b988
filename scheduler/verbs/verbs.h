/*
 * verbs.h - one function per verb of the command line. Each gets arguments that fit its row in
 * cli.c, prints to stdout what was asked for and to stderr what is wrong, and returns the exit
 * status.
 */
#ifndef SCHEDULER_VERBS_VERBS_H
#define SCHEDULER_VERBS_VERBS_H

#include "scheduler/arguments.h"

int verb_run(const struct arguments *arguments);
int verb_plan(const struct arguments *arguments);
int verb_status(const struct arguments *arguments);
int verb_explain(const struct arguments *arguments);
int verb_decide(const struct arguments *arguments);
int verb_report(const struct arguments *arguments);
int verb_verify(const struct arguments *arguments);
int verb_export(const struct arguments *arguments);
int verb_simulate(const struct arguments *arguments);

#endif
