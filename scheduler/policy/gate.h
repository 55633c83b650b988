/*
 * gate.h - what the gate rules share. Only the files of scheduler/policy/gate*.c include it.
 *
 * A rule is a function from its row in the campaign and the facts to an opinion; gate.c holds the
 * table of them and combines the opinions of one gate. Rules never look at each other.
 */
#ifndef SCHEDULER_POLICY_GATE_H
#define SCHEDULER_POLICY_GATE_H

#include "scheduler/policy/policy.h"

__extension__ typedef __int128 i128; /* so that no caller can make it overflow */

/* What one rule says. */
struct opinion {
    enum verdict verdict;
    int64_t observed_micro, bound_micro;
    uint32_t rank, siblings;
};

typedef struct opinion (*gate_rule_fn)(const struct gate_rule_spec *rule,
                                       const struct gate_facts *facts);

/* LOSS_NONFINITE is larger than every loss, so that plain comparison ranks it last. */
bool gate_worse_by(int64_t loss_micro, int64_t bound_micro, int64_t margin_micro);

/* How much worse than its bound a loss may be: the margin, and never less than seed noise. */
int64_t gate_margin(const struct gate_rule_spec *rule);

bool gate_finite(int64_t loss_micro);

/* The opinion that an unusable loss forces, or VERDICT_NONE when the loss can be looked at. */
struct opinion gate_of_loss(int64_t loss_micro);

/* Copies the known ones of `values` into `known`; returns how many there are. */
size_t gate_keep_known(const int64_t *values, size_t count, int64_t *known);

/* Heapsort: no allocation, and no order of the input makes it slow. */
void gate_sort(int64_t *values, size_t count);

/* Of sorted values, count >= 1: the middle one, or the mean of the two in the middle, rounded
 * down. When the upper of the two is not finite, neither is the mean. */
int64_t gate_median(const int64_t *sorted, size_t count);

struct opinion judge_rank(const struct gate_rule_spec *rule, const struct gate_facts *facts);
struct opinion judge_rank_ray(const struct gate_rule_spec *rule,
                              const struct gate_facts *facts);
struct opinion judge_rank_syne_tune(const struct gate_rule_spec *rule,
                                    const struct gate_facts *facts);
struct opinion judge_rank_optuna(const struct gate_rule_spec *rule,
                                 const struct gate_facts *facts);
struct opinion judge_median(const struct gate_rule_spec *rule, const struct gate_facts *facts);
struct opinion judge_penstock(const struct gate_rule_spec *rule,
                              const struct gate_facts *facts);
struct opinion judge_extrapolation(const struct gate_rule_spec *rule,
                                   const struct gate_facts *facts);
struct opinion judge_share(const struct gate_rule_spec *rule, const struct gate_facts *facts);
struct opinion judge_cost(const struct gate_rule_spec *rule, const struct gate_facts *facts);
struct opinion judge_latency(const struct gate_rule_spec *rule, const struct gate_facts *facts);
struct opinion judge_spike(const struct gate_rule_spec *rule, const struct gate_facts *facts);

/* ---- gate_precedent.c in parts, so that its weights can be fitted and tested ---------- */

enum { PRECEDENT_FEATURES = 5 };

struct precedent_view {
    double features[PRECEDENT_FEATURES];
    uint32_t seen, winners; /* runs that are over, and those of them that reached the target */
};

extern const double precedent_weights[PRECEDENT_FEATURES];

/* What the curves say about the run of the facts, which has reported at least once. */
struct precedent_view precedent_look(const struct gate_facts *facts, int64_t target_micro);
int32_t precedent_chance_ppm(const struct precedent_view *view, const double *weights);

#endif
