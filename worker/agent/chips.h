/*
 * chips.h - what the vendors say that a GPU can do: peak FLOP/s by chip and number format, dense.
 *
 * A chip is recognized by whole words of the name that NVML gives it. One that is not in the table, and a
 * part of a chip (MIG), has no known peak: a utilization over a guessed peak would be worse than none. A
 * campaign may give the peak of such devices itself (`devices:`).
 */
#ifndef WORKER_AGENT_CHIPS_H
#define WORKER_AGENT_CHIPS_H

#include "proto/base/defs.h"
#include "proto/base/text.h"

enum chip_format { CHIP_BF16, CHIP_FP16, CHIP_TF32, CHIP_FP32, CHIP_FORMAT_COUNT };

struct chip {
    const char *words; /* all of them stand in the name, separated by blanks */
    const char *class; /* key of a campaign's prices */
    double peak_flops[CHIP_FORMAT_COUNT]; /* 0: the chip has no such units, or nobody says */
};

/* NULL when the chip is not known. */
const struct chip *chip_find(const char *name);

/* What training can use at most: bf16, or fp16 where the chip has no bf16. 0 = unknown; chip may be NULL. */
double chip_peak_flops(const struct chip *chip);

/* The chip's class, or for a device that nobody knows one made from its name: "NVIDIA Foo X1 96GB" is
 * "foo-x1-96gb". Never empty. */
void chip_class(const char *name, char class[NAME_MAX_BYTES]);

/* The whole table, for tests. */
const struct chip *chip_all(size_t *count);

#endif
