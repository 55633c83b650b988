/*
 * gate_rank.c - a run among its siblings: successive halving in four definitions, and the median.
 *
 * The four agree on the idea (keep the best 1 in eta of those that came to this point) and differ
 * in how few siblings are treated and in where the border lies:
 *   rank             go on with rank <= ceil(n / eta), itself counted in n; with fewer than
 *                    siblings_min siblings always
 *   rank, Ray        go on when not worse than the (1/eta) quantile, interpolated, of what was
 *                    recorded BEFORE it (Ray Tune, AsyncHyperBandScheduler); the first always
 *   rank, Syne Tune  go on with rank <= n / eta, itself counted; with n < eta always
 *                    (Syne Tune, the stopping variant of ASHA)
 *   rank, Optuna     go on within the best floor(n / eta), itself counted; with n < eta only the
 *                    best (Optuna, SuccessiveHalvingPruner)
 * All ask the same point at most once, so a slower sibling cannot change a verdict that was given.
 */
#include "scheduler/policy/gate.h"

/* What the definitions share: the siblings in order, and the run's place among them. Ties are in
 * the run's favour: only strictly better siblings stand before it. */
static size_t order_siblings(const struct gate_facts *facts, size_t *rank)
{
    int64_t *all = facts->scratch;
    size_t siblings = gate_keep_known(facts->sibling_losses_micro, facts->sibling_count, all);
    gate_sort(all, siblings);
    *rank = 1;
    while (*rank <= siblings && all[*rank - 1] < facts->loss_micro)
        ++*rank;
    return siblings;
}

/* Keeps the best `allowed` of the siblings and the run; scratch holds the sorted siblings. */
static void keep_best(const struct gate_rule_spec *rule, const struct gate_facts *facts,
                      size_t allowed, struct opinion *opinion)
{
    int64_t *all = facts->scratch;
    size_t siblings = opinion->siblings;
    all[siblings] = facts->loss_micro;
    gate_sort(all, siblings + 1);
    opinion->bound_micro = all[allowed - 1];
    if (opinion->rank > allowed &&
        gate_worse_by(facts->loss_micro, opinion->bound_micro, gate_margin(rule)))
        opinion->verdict = VERDICT_NO_GO;
}

/* How many may go on of n, or 0: all. */
typedef size_t (*allowed_fn)(size_t n, const struct gate_rule_spec *rule);

static struct opinion judge_halving(const struct gate_rule_spec *rule,
                                    const struct gate_facts *facts, allowed_fn allowed_of)
{
    check(rule->eta >= 2);
    struct opinion opinion = gate_of_loss(facts->loss_micro);
    size_t rank;
    opinion.siblings = (uint32_t)order_siblings(facts, &rank);
    if (opinion.verdict != VERDICT_NONE) return opinion;
    opinion.rank = (uint32_t)rank;
    opinion.verdict = VERDICT_GO;
    size_t allowed = allowed_of((size_t)opinion.siblings + 1, rule);
    if (allowed > 0) keep_best(rule, facts, allowed, &opinion);
    return opinion;
}

static size_t allowed_penstock(size_t n, const struct gate_rule_spec *rule)
{
    return n - 1 < rule->siblings_min ? 0 : (n + rule->eta - 1) / rule->eta;
}

static size_t allowed_syne_tune(size_t n, const struct gate_rule_spec *rule)
{
    return n / rule->eta; /* 0 with n < eta: all go on */
}

static size_t allowed_optuna(size_t n, const struct gate_rule_spec *rule)
{
    return n < rule->eta ? 1 : n / rule->eta;
}

struct opinion judge_rank(const struct gate_rule_spec *rule, const struct gate_facts *facts)
{
    return judge_halving(rule, facts, allowed_penstock);
}

struct opinion judge_rank_syne_tune(const struct gate_rule_spec *rule,
                                    const struct gate_facts *facts)
{
    return judge_halving(rule, facts, allowed_syne_tune);
}

struct opinion judge_rank_optuna(const struct gate_rule_spec *rule,
                                 const struct gate_facts *facts)
{
    return judge_halving(rule, facts, allowed_optuna);
}

/* The q-th of n sorted values for q = (n - 1) / eta, between two of them in proportion. A value
 * that is not finite makes no bound. */
static int64_t quantile(const int64_t *sorted, size_t n, uint32_t eta)
{
    size_t below = (n - 1) / eta, rest = (n - 1) % eta;
    int64_t low = sorted[below];
    if (rest == 0 || low == LOSS_NONFINITE) return low;
    int64_t high = sorted[below + 1];
    if (high == LOSS_NONFINITE) return LOSS_NONFINITE;
    i128 gap = (i128)high - low;
    return (int64_t)(low + gap * (int64_t)rest / eta);
}

struct opinion judge_rank_ray(const struct gate_rule_spec *rule, const struct gate_facts *facts)
{
    check(rule->eta >= 2);
    struct opinion opinion = gate_of_loss(facts->loss_micro);
    size_t rank, siblings = order_siblings(facts, &rank);
    opinion.siblings = (uint32_t)siblings;
    if (opinion.verdict != VERDICT_NONE) return opinion;
    opinion.rank = (uint32_t)rank;
    opinion.verdict = VERDICT_GO;
    if (siblings == 0) return opinion;
    opinion.bound_micro = quantile(facts->scratch, siblings, rule->eta);
    if (gate_worse_by(facts->loss_micro, opinion.bound_micro, gate_margin(rule)))
        opinion.verdict = VERDICT_NO_GO;
    return opinion;
}

struct opinion judge_median(const struct gate_rule_spec *rule, const struct gate_facts *facts)
{
    /* A run that has just diverged does not live on its earlier best. */
    struct opinion opinion = gate_of_loss(facts->loss_micro);
    if (opinion.verdict == VERDICT_NONE) opinion = gate_of_loss(facts->best_loss_micro);
    int64_t *means = facts->scratch;
    size_t siblings = gate_keep_known(facts->sibling_means_micro, facts->sibling_count, means);
    opinion.siblings = (uint32_t)siblings;
    if (opinion.verdict != VERDICT_NONE) return opinion;

    opinion.verdict = VERDICT_GO;
    if (siblings == 0 || siblings < rule->siblings_min) return opinion;
    if (facts->curve_count < rule->points_min) return opinion;
    gate_sort(means, siblings);
    opinion.bound_micro = gate_median(means, siblings);
    if (gate_worse_by(facts->best_loss_micro, opinion.bound_micro, gate_margin(rule)))
        opinion.verdict = VERDICT_NO_GO;
    return opinion;
}
