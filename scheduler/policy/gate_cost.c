/* gate_cost.c - what a run's slots, money and evaluations gave, against a limit. An unknown figure
 * is HOLD: it releases nothing and stops nothing. */
#include "scheduler/policy/gate.h"

static struct opinion at_least(int64_t observed, int64_t limit)
{
    struct opinion opinion = { .observed_micro = observed, .bound_micro = limit };
    opinion.verdict = observed >= limit ? VERDICT_GO : VERDICT_NO_GO;
    return opinion;
}

static struct opinion at_most(int64_t observed, int64_t limit)
{
    struct opinion opinion = { .observed_micro = observed, .bound_micro = limit };
    opinion.verdict = observed <= limit ? VERDICT_GO : VERDICT_NO_GO;
    return opinion;
}

static struct opinion unknown(int64_t limit)
{
    return (struct opinion){ .verdict = VERDICT_HOLD,
                             .observed_micro = LOSS_UNKNOWN,
                             .bound_micro = limit };
}

/* amount * scale / by, rounded up; the largest figure when it does not fit. by > 0. */
static int64_t per(int64_t amount, int64_t scale, int64_t by)
{
    i128 whole = (i128)amount * scale;
    whole = (whole + by - 1) / by;
    return whole > LOSS_NONFINITE - 1 ? LOSS_NONFINITE - 1 : (int64_t)whole;
}

struct opinion judge_share(const struct gate_rule_spec *rule, const struct gate_facts *facts)
{
    int32_t share_ppm = rule->rule == GATE_RULE_GOODPUT ? facts->goodput_ppm : facts->util_ppm;
    return share_ppm < 0 ? unknown(rule->share_min_ppm)
                         : at_least(share_ppm, rule->share_min_ppm);
}

/* Money per nat that was won since the first report. A run that won nothing yet has no price per
 * nat: at its first report that is no precedent, later it is the dearest there is. */
static struct opinion judge_cost_nat(const struct gate_rule_spec *rule,
                                     const struct gate_facts *facts)
{
    int64_t first_micro = LOSS_UNKNOWN;
    for (uint32_t i = 0; i < facts->curve_count && first_micro == LOSS_UNKNOWN; i++)
        if (gate_finite(facts->curve_micro[i * facts->curve_stride]))
            first_micro = facts->curve_micro[i * facts->curve_stride];
    if (facts->spent_micros < 0 || first_micro == LOSS_UNKNOWN) return unknown(rule->limit);
    struct opinion opinion = { .verdict = VERDICT_GO,
                               .observed_micro = LOSS_UNKNOWN,
                               .bound_micro = rule->limit };
    if (facts->curve_count < 2) return opinion;
    i128 won = (i128)first_micro - facts->best_loss_micro;
    if (won <= 0) return at_most(LOSS_NONFINITE - 1, rule->limit);
    if (won > INT64_MAX) won = INT64_MAX;
    return at_most(per(facts->spent_micros, 1000000, (int64_t)won), rule->limit);
}

struct opinion judge_cost(const struct gate_rule_spec *rule, const struct gate_facts *facts)
{
    if (rule->rule == GATE_RULE_COST_NAT) return judge_cost_nat(rule, facts);
    if (rule->rule == GATE_RULE_COST_INFERENCE)
        return facts->inference_micros < 0 ? unknown(rule->limit)
                                           : at_most(facts->inference_micros, rule->limit);
    if (facts->spent_micros < 0 || facts->tokens <= 0) return unknown(rule->limit);
    return at_most(per(facts->spent_micros, 1000000, facts->tokens), rule->limit);
}

struct opinion judge_latency(const struct gate_rule_spec *rule, const struct gate_facts *facts)
{
    int64_t latency_ns =
        rule->rule == GATE_RULE_LATENCY_P50 ? facts->eval_p50_ns : facts->eval_p95_ns;
    return latency_ns < 0 ? unknown(rule->limit) : at_most(latency_ns, rule->limit);
}
