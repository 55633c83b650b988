/*
 * gate_curve.c - where is this curve going?
 *
 * The held-out losses are fitted by a power law, loss = E + A * step^(-b), the form of the scaling
 * laws (Hestness et al. 2017; Kaplan et al. 2020). For a fixed b that is a straight line in
 * step^(-b), fitted by least squares; b runs over a grid, and each b counts by its likelihood. The
 * chance that the loss at the planned end is at most the target is the mean of the normal
 * probabilities of all b, each with the variance of a predicted new point: noise around the line
 * and uncertainty of the line itself. So a curve that could still bend keeps its chance, which a
 * single best fit would take from it. A schedule that lowers the learning rate at the end makes
 * the loss fall faster than any power law: the rule is for targets that are out of reach, not for
 * close ones.
 */
#include <math.h>

#include "scheduler/policy/gate.h"

enum { EXPONENTS = 30, POINTS_MIN = 4 };
#define EXPONENT_STEP 0.05 /* b = 0.05 .. 1.5 */
#define NOISE_MIN 0.0005   /* nats: reports are rounded, and no fit is better than that */

/* A straight line through (x, y) by least squares. */
struct fit {
    double n, mean_x, mean_y, sxx, slope, rss;
};

static int64_t loss_at(const struct gate_facts *facts, uint32_t i)
{
    return facts->curve_micro[i * facts->curve_stride];
}

static uint64_t step_at(const struct gate_facts *facts, uint32_t i)
{
    return facts->curve_steps[i * facts->curve_stride];
}

/* The finite points of the second part of the curve: the first tenth of the steps is warm-up. */
static bool point_counts(const struct gate_facts *facts, uint32_t i)
{
    return gate_finite(loss_at(facts, i)) && step_at(facts, i) > 0 &&
           step_at(facts, i) * 10 >= step_at(facts, facts->curve_count - 1);
}

static double x_of(uint64_t step, double b)
{
    return pow((double)step, -b);
}

static struct fit fit_line(const struct gate_facts *facts, double b)
{
    struct fit fit = { 0 };
    double sxy = 0, syy = 0;
    for (uint32_t i = 0; i < facts->curve_count; i++) {
        if (!point_counts(facts, i)) continue;
        fit.n++;
        fit.mean_x += x_of(step_at(facts, i), b);
        fit.mean_y += (double)loss_at(facts, i) / 1e6;
    }
    if (fit.n < 1) return fit;
    fit.mean_x /= fit.n;
    fit.mean_y /= fit.n;
    for (uint32_t i = 0; i < facts->curve_count; i++) {
        if (!point_counts(facts, i)) continue;
        double dx = x_of(step_at(facts, i), b) - fit.mean_x;
        double dy = (double)loss_at(facts, i) / 1e6 - fit.mean_y;
        fit.sxx += dx * dx;
        sxy += dx * dy;
        syy += dy * dy;
    }
    if (fit.sxx > 0) fit.slope = fmax(sxy / fit.sxx, 0); /* A >= 0: it does not rise for ever */
    fit.rss = fmax(syy - 2 * fit.slope * sxy + fit.slope * fit.slope * fit.sxx, 0);
    return fit;
}

static double noise_variance(const struct fit *fit, const struct gate_rule_spec *rule)
{
    double noise = fmax((double)rule->seed_sd_micro / 1e6, NOISE_MIN);
    double degrees = fmax(fit->n - 3, 1); /* E, A and b */
    return fmax(fit->rss / degrees, noise * noise);
}

/* The chance that a new report at the planned end is at most `target`. */
static double chance_of(const struct fit *fit, const struct gate_facts *facts, double b,
                        double variance, double target)
{
    double x = x_of(facts->steps_planned, b), from_mean = x - fit->mean_x;
    double end = fit->mean_y + fit->slope * from_mean;
    double spread =
        variance * (1 + 1 / fit->n + (fit->sxx > 0 ? from_mean * from_mean / fit->sxx : 0));
    return 0.5 * erfc((end - target) / sqrt(2 * spread));
}

static double chance(const struct gate_rule_spec *rule, const struct gate_facts *facts,
                     double target)
{
    double log_likelihood[EXPONENTS], chances[EXPONENTS], best = -INFINITY;
    for (int k = 0; k < EXPONENTS; k++) {
        double b = EXPONENT_STEP * (k + 1);
        struct fit fit = fit_line(facts, b);
        double variance = noise_variance(&fit, rule);
        log_likelihood[k] = -0.5 * (fit.rss / variance + fit.n * log(variance));
        chances[k] = chance_of(&fit, facts, b, variance, target);
        best = fmax(best, log_likelihood[k]);
    }
    double sum = 0, weights = 0;
    for (int k = 0; k < EXPONENTS; k++) {
        double weight = exp(log_likelihood[k] - best);
        weights += weight;
        sum += weight * chances[k];
    }
    return sum / weights;
}

static uint32_t usable_points(const struct gate_facts *facts)
{
    uint32_t count = 0;
    for (uint32_t i = 0; facts->curve_steps && i < facts->curve_count; i++)
        if (point_counts(facts, i)) count++;
    return count;
}

struct opinion judge_extrapolation(const struct gate_rule_spec *rule,
                                   const struct gate_facts *facts)
{
    struct opinion opinion = gate_of_loss(facts->loss_micro);
    opinion.observed_micro = LOSS_UNKNOWN;
    if (opinion.verdict != VERDICT_NONE) return opinion;
    opinion.verdict = VERDICT_GO;
    int64_t target_micro =
        rule->loss_max_micro == LOSS_UNKNOWN ? facts->incumbent_micro : rule->loss_max_micro;
    uint32_t points_min = rule->points_min > POINTS_MIN ? rule->points_min : POINTS_MIN;
    if (!gate_finite(target_micro) || usable_points(facts) < points_min) return opinion;
    if (facts->steps_planned <= step_at(facts, facts->curve_count - 1)) return opinion;
    if (!gate_worse_by(facts->best_loss_micro, target_micro, gate_margin(rule))) return opinion;
    double target = ((double)target_micro + (double)gate_margin(rule)) / 1e6;
    opinion.observed_micro = (int64_t)(chance(rule, facts, target) * (double)PPM);
    opinion.bound_micro = rule->share_min_ppm;
    if (opinion.observed_micro < rule->share_min_ppm) opinion.verdict = VERDICT_NO_GO;
    return opinion;
}
