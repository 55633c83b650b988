/*
 * faults.h - how a stand-in is told to fail: variables of the environment, that may be meant for
 * one member of a gang and for one attempt of a run.
 *
 *   PENSTOCK_FAKE_RANK=r     faults are for the process whose RANK is r; default: for all
 *   PENSTOCK_FAKE_ATTEMPT=a  faults are for the attempt whose PENSTOCK_ATTEMPT is a, so that a
 *                            restart goes well; default: for all
 */
#ifndef TESTS_SUPPORT_STANDIN_FAULTS_H
#define TESTS_SUPPORT_STANDIN_FAULTS_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* True unless `filter` is set and `name` has another value. */
static inline bool standin_fault_meets(const char *filter, const char *name)
{
    const char *wanted = getenv(filter), *value = getenv(name);
    if (wanted == NULL || wanted[0] == '\0') return true;
    return value != NULL && strcmp(wanted, value) == 0;
}

/* The fault's value where it is set and meant for this process; else NULL. */
static inline const char *standin_fault(const char *name)
{
    const char *value = getenv(name);
    if (value == NULL || value[0] == '\0') return NULL;
    if (!standin_fault_meets("PENSTOCK_FAKE_RANK", "RANK")) return NULL;
    return standin_fault_meets("PENSTOCK_FAKE_ATTEMPT", "PENSTOCK_ATTEMPT") ? value : NULL;
}

static inline long standin_fault_number(const char *name, long otherwise)
{
    const char *value = standin_fault(name);
    return value == NULL ? otherwise : strtol(value, NULL, 10);
}

static inline bool standin_fault_says(const char *name, const char *word)
{
    const char *value = standin_fault(name);
    return value != NULL && strcmp(value, word) == 0;
}

#endif
