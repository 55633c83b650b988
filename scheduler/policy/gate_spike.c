/*
 * gate_spike.c - did the held-out loss jump?
 *
 * The jump is measured in robust standard deviations: (loss - median) / (1.4826 MAD) of the
 * reports before it, at most 8. A falling curve spreads its own reports, so ordinary progress
 * raises the deviation and only a real jump stands out; the deviation is never less than seed
 * noise. Most spikes pass by themselves, so the answer is HOLD, never NO-GO: the run goes back to
 * a checkpoint and a person looks.
 */
#include "scheduler/policy/gate.h"

enum { TRAIL = 8 };

/* 1.4826, which makes a MAD a standard deviation of normal noise. */
static int64_t deviation_of(const int64_t *sorted_distances, size_t count, int64_t floor_micro)
{
    i128 mad = gate_median(sorted_distances, count);
    mad = mad * 14826 / 10000;
    if (mad > INT64_MAX / 2) mad = INT64_MAX / 2;
    return max_i64(max_i64((int64_t)mad, floor_micro), 1);
}

/* Distance without overflow: losses are far from the ends of int64 where both are finite, but a
 * caller may say anything. */
static int64_t distance(int64_t a, int64_t b)
{
    i128 gap = (i128)a - b;
    if (gap < 0) gap = -gap;
    return gap > LOSS_NONFINITE - 1 ? LOSS_NONFINITE - 1 : (int64_t)gap;
}

struct opinion judge_spike(const struct gate_rule_spec *rule, const struct gate_facts *facts)
{
    struct opinion opinion = gate_of_loss(facts->loss_micro);
    opinion.observed_micro = LOSS_UNKNOWN;
    opinion.bound_micro = rule->limit;
    if (opinion.verdict != VERDICT_NONE) return opinion;
    opinion.verdict = VERDICT_GO;
    int64_t trail[TRAIL];
    size_t count = 0;
    for (uint32_t i = facts->curve_count; i-- > 1 && count < TRAIL;) {
        int64_t loss = facts->curve_micro[(i - 1) * facts->curve_stride];
        if (gate_finite(loss)) trail[count++] = loss;
    }
    if (count < 3 || facts->curve_count < rule->points_min) return opinion;
    gate_sort(trail, count);
    int64_t median = gate_median(trail, count);
    for (size_t i = 0; i < count; i++)
        trail[i] = distance(trail[i], median);
    gate_sort(trail, count);
    int64_t deviation = deviation_of(trail, count, max_i64(rule->seed_sd_micro, 0));
    if (facts->loss_micro <= median) {
        opinion.observed_micro = 0;
        return opinion;
    }
    i128 z = (i128)distance(facts->loss_micro, median) * 1000000 / deviation;
    opinion.observed_micro = z > LOSS_NONFINITE - 1 ? LOSS_NONFINITE - 1 : (int64_t)z;
    bool past_margin = gate_worse_by(facts->loss_micro, median, gate_margin(rule));
    if (past_margin && opinion.observed_micro > rule->limit) opinion.verdict = VERDICT_HOLD;
    return opinion;
}
