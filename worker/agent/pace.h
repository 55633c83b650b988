/*
 * pace.h - how fast a trainer reports steps, and from when on its silence is a hang.
 *
 * What is measured is the time between two reports that show a new step, since that is the silence to
 * expect: a trainer that reports every hundredth step is silent for a hundred steps. Pure: time is passed
 * in.
 */
#ifndef WORKER_AGENT_PACE_H
#define WORKER_AGENT_PACE_H

#include "proto/base/defs.h"

enum { PACE_WINDOW = 31 };

struct pace {
    int64_t intervals_ns[PACE_WINDOW]; /* a ring of the latest */
    uint32_t count, next;
    int64_t last_ns; /* last sign of life; TIME_NEVER: none yet */
    bool stepped;    /* a step was reported; last_step_ns is when */
    int64_t last_step_ns;
};

void pace_init(struct pace *pace);

/* Something but a step showed life (ready, a gate, a checkpoint). */
void pace_life(struct pace *pace, int64_t now_ns);

/* A new step was reported. */
void pace_step(struct pace *pace, int64_t now_ns);

/* When silence becomes a hang: max(min_ns, factor x median interval) after the last sign of life;
 * TIME_NEVER before the first one, and when min_ns is 0. */
int64_t pace_deadline_ns(const struct pace *pace, int64_t min_ns, uint32_t factor);

#endif
