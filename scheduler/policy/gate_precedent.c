/*
 * gate_precedent.c - "penstock": what became of the runs that looked like this one?
 *
 * A curve is seen as the logarithm of its distance to the target, so that one nat and one
 * thousandth of accuracy are the same kind of number and every workload has the same scale. Two
 * runs are as far apart as these lines are on average over the second half of what this run has
 * done. Four figures are taken from the runs that are over:
 *   near, wide  the share that reached the target among the like: a Gaussian kernel as wide as
 *               the 3rd and as the 6th nearest is far, as log odds, with one run's weight
 *               put in that won half, or as often as all of them where that is more, so that
 *               few runs never give certainty
 *   behind      the share of winners that were no better at this point, as a logarithm; it can
 *               only be small when many winners are known
 *   progress    how far the run itself has come since its first report
 * A sum with fixed weights is the log odds that this run will reach its target, for a campaign in
 * which half do. The weights are a logistic regression on the AlgoPerf curves (tests/bench/gates),
 * where those fitted without a workload differ little from each other and are the ones it is
 * scored by. A run that was stopped counts as one that did not win. While no winner is known there
 * is no precedent, and that is GO.
 *
 * Kernel regression is Nadaraya's and Watson's (1964), with the bandwidth taken from the k-th
 * neighbour (Loftsgaarden and Quesenberry 1965).
 */
#include <math.h>

#include "scheduler/policy/gate.h"

enum { NEAR = 3, WIDE = 6 };

#define DISTANCE_MAX 3.0   /* in logarithms: further is not less alike */
#define BANDWIDTH_MIN 0.05 /* a 5 % difference of the distance to the target is seed noise */
#define AFTER_WIN 3.0      /* a winner goes on e^3 times nearer than it last was */
#define BEYOND_WIN (-13.8) /* one that won at its first report: a millionth from the target */

/* Distance to the target as a logarithm; a loss that is unknown or not finite is one unit
 * further than the first that is. */
struct line {
    const int64_t *best_micro; /* `stride` apart */
    size_t stride;
    uint32_t count;
    int64_t target_micro;
    double before; /* up to the first finite loss */
    double after;  /* beyond the last report, of a run that won */
};

static double distance_log(int64_t best_micro, int64_t target_micro)
{
    double gap = (double)best_micro - (double)target_micro;
    return log(gap > 1 ? gap / 1e6 : 1e-6);
}

static struct line line_of(const struct gate_curve *curve, uint32_t count, int64_t target_micro)
{
    struct line line = {
        curve->best_micro, curve->stride, count, target_micro, 5.0, BEYOND_WIN
    };
    uint32_t first = 0;
    while (first < count && !gate_finite(curve->best_micro[first * curve->stride]))
        first++;
    if (first < count)
        line.before = distance_log(curve->best_micro[first * curve->stride], target_micro) + 1;
    int64_t last_but_one =
        count > 1 ? curve->best_micro[(count - 2) * curve->stride] : LOSS_UNKNOWN;
    if (gate_finite(last_but_one))
        line.after = distance_log(last_but_one, target_micro) - AFTER_WIN;
    return line;
}

static double line_at(const struct line *line, uint32_t point)
{
    if (point >= line->count) return line->after;
    int64_t best = line->best_micro[point * line->stride];
    return gate_finite(best) ? distance_log(best, line->target_micro) : line->before;
}

/* Ends a winner's line at the report that won. */
static struct line line_of_winner(const struct gate_curve *curve, int64_t target_micro)
{
    uint32_t won = 0;
    while (curve->best_micro[won * curve->stride] > target_micro)
        won++;
    struct line line = line_of(curve, won + 1, target_micro);
    line.count = won; /* from the winning report on, it is beyond */
    return line;
}

/* A best so far is never LOSS_UNKNOWN after a finite one, and never rises: the last tells. */
static bool curve_won(const struct gate_curve *curve, int64_t target_micro)
{
    return curve->count > 0 &&
           curve->best_micro[(curve->count - 1) * curve->stride] <= target_micro;
}

/* Does the curve say something at this point? A winner does for ever; another run as far as it
 * came, once it is over. */
static bool curve_speaks(const struct gate_curve *curve, uint32_t point, bool won)
{
    return won || (curve->end != GATE_END_NONE && curve->count > point);
}

/* ---- neighbours ---------------------------------------------------------------------- */

/* The run that is judged, as a line over its second half. */
struct self {
    struct line line;
    uint32_t from, now;
};

static double apart(const struct self *self, const struct line *other)
{
    double sum = 0;
    for (uint32_t p = self->from; p <= self->now; p++)
        sum += fmin(fabs(line_at(&self->line, p) - line_at(other, p)), DISTANCE_MAX);
    return sum / (self->now - self->from + 1);
}

struct nearest {
    double distance[WIDE]; /* rising */
    uint32_t count;
};

static void nearest_add(struct nearest *nearest, double distance)
{
    uint32_t at = nearest->count < WIDE ? nearest->count++ : WIDE;
    if (at == WIDE && nearest->distance[WIDE - 1] <= distance) return;
    if (at == WIDE) at--;
    for (; at > 0 && nearest->distance[at - 1] > distance; at--)
        nearest->distance[at] = nearest->distance[at - 1];
    nearest->distance[at] = distance;
}

/* As wide as the k-th neighbour is far; without k of them as wide as a line can tell. */
static double bandwidth(const struct nearest *nearest, uint32_t k)
{
    return nearest->count < k ? 2.0 : fmax(nearest->distance[k - 1], BANDWIDTH_MIN);
}

struct odds {
    double wins, losses;
};

static void odds_add(struct odds *odds, double distance, double width, bool won)
{
    double weight = exp(-distance * distance / (2 * width * width));
    if (won)
        odds->wins += weight;
    else
        odds->losses += weight;
}

/* ---- the chance ---------------------------------------------------------------------- */

struct precedent {
    uint32_t winners, behind, seen;
    struct nearest nearest;
};

/* First pass: distances, kept in scratch as millionths; a win is kept as -1 - distance. */
static struct precedent look(const struct gate_facts *facts, const struct self *self,
                             int64_t target_micro)
{
    struct precedent p = { 0 };
    double here = line_at(&self->line, self->now);
    for (size_t i = 0; i < facts->curves_count; i++) {
        const struct gate_curve *curve = &facts->curves[i];
        bool won = curve_won(curve, target_micro);
        if (!curve_speaks(curve, self->now, won)) continue;
        struct line line = won ? line_of_winner(curve, target_micro)
                               : line_of(curve, curve->count, target_micro);
        double distance = apart(self, &line);
        int64_t micro = (int64_t)(distance * 1e6);
        nearest_add(&p.nearest, distance);
        facts->scratch[p.seen++] = won ? -1 - micro : micro;
        if (!won) continue;
        p.winners++;
        if (line_at(&line, self->now) >= here) p.behind++;
    }
    return p;
}

/* The figures whose weighted sum is the chance, in the order of the weights. */
static void features_of(const struct gate_facts *facts, const struct self *self,
                        const struct precedent *p, double features[PRECEDENT_FEATURES])
{
    /* One run's weight as the prior: half a win, or more where most runs win. */
    double base = fmax(0.5, (p->winners + 0.5) / (p->seen + 1.0));
    struct odds near = { base, 1 - base }, wide = near;
    double near_width = bandwidth(&p->nearest, NEAR), wide_width = bandwidth(&p->nearest, WIDE);
    for (uint32_t i = 0; i < p->seen; i++) {
        bool won = facts->scratch[i] < 0;
        double distance = (double)(won ? -1 - facts->scratch[i] : facts->scratch[i]) / 1e6;
        odds_add(&near, distance, near_width, won);
        odds_add(&wide, distance, wide_width, won);
    }
    features[0] = 1;
    features[1] = log(near.wins / near.losses);
    features[2] = log(wide.wins / wide.losses);
    features[3] = log((p->behind + 0.5) / (p->winners + 1.0));
    features[4] = line_at(&self->line, 0) - line_at(&self->line, self->now);
}

struct precedent_view precedent_look(const struct gate_facts *facts, int64_t target_micro)
{
    check(facts->curve_count > 0);
    uint32_t now = facts->curve_count - 1;
    const struct gate_curve own = { facts->curve_best_micro, facts->curve_stride,
                                    facts->curve_count, GATE_END_NONE };
    struct self self = { line_of(&own, own.count, target_micro),
                         facts->curve_count > 1 ? facts->curve_count / 2 - 1 : 0, now };
    struct precedent p = look(facts, &self, target_micro);
    struct precedent_view view = { .seen = p.seen, .winners = p.winners };
    features_of(facts, &self, &p, view.features);
    return view;
}

int32_t precedent_chance_ppm(const struct precedent_view *view, const double *weights)
{
    double logit = 0;
    for (int k = 0; k < PRECEDENT_FEATURES; k++)
        logit += weights[k] * view->features[k];
    return (int32_t)((double)PPM / (1 + exp(-logit)));
}

const double precedent_weights[PRECEDENT_FEATURES] = { 0.88, 1.60, -0.75, 0.48, 0.085 };

struct opinion judge_penstock(const struct gate_rule_spec *rule, const struct gate_facts *facts)
{
    if (rule->loss_max_micro == LOSS_UNKNOWN) return judge_rank(rule, facts);
    struct opinion opinion = gate_of_loss(facts->loss_micro);
    opinion.observed_micro = LOSS_UNKNOWN;
    if (opinion.verdict != VERDICT_NONE) return opinion;
    opinion.verdict = VERDICT_GO;
    if (facts->curve_count == 0) return opinion;
    size_t now = facts->curve_count - 1;
    opinion.bound_micro = rule->share_min_ppm;
    if (!gate_worse_by(facts->curve_best_micro[now * facts->curve_stride], rule->loss_max_micro,
                       gate_margin(rule))) {
        opinion.observed_micro = PPM; /* it is there, or as near as luck decides */
        return opinion;
    }
    struct precedent_view view = precedent_look(facts, rule->loss_max_micro);
    opinion.siblings = view.seen;
    opinion.observed_micro = precedent_chance_ppm(&view, precedent_weights);
    bool precedent = view.winners > 0 && facts->curve_count >= rule->points_min;
    if (precedent && opinion.observed_micro < rule->share_min_ppm)
        opinion.verdict = VERDICT_NO_GO;
    return opinion;
}
