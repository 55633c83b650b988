/*
 * gate.c - the table of gate rules, and how the opinions of one gate become a verdict.
 */
#include "scheduler/policy/gate.h"

static struct opinion judge_milestone(const struct gate_rule_spec *rule,
                                      const struct gate_facts *facts)
{
    struct opinion opinion = gate_of_loss(facts->loss_micro);
    opinion.bound_micro = rule->loss_max_micro;
    if (opinion.verdict == VERDICT_NONE)
        opinion.verdict =
            facts->loss_micro <= rule->loss_max_micro ? VERDICT_GO : VERDICT_NO_GO;
    return opinion;
}

static struct opinion judge_signoff(const struct gate_rule_spec *rule,
                                    const struct gate_facts *facts)
{
    (void)rule;
    return (struct opinion){ .verdict = VERDICT_HOLD,
                             .observed_micro = facts->loss_micro,
                             .bound_micro = LOSS_UNKNOWN };
}

struct rule_row {
    gate_rule_fn judge;
    enum gate_unit unit;
};

static const struct rule_row rules[GATE_RULE_COUNT] = {
    [GATE_RULE_MILESTONE] = { judge_milestone, GATE_UNIT_LOSS },
    [GATE_RULE_RANK] = { judge_rank, GATE_UNIT_LOSS },
    [GATE_RULE_MEDIAN] = { judge_median, GATE_UNIT_LOSS },
    [GATE_RULE_SIGNOFF] = { judge_signoff, GATE_UNIT_LOSS },
    [GATE_RULE_PENSTOCK] = { judge_penstock, GATE_UNIT_SHARE },
    [GATE_RULE_RANK_RAY] = { judge_rank_ray, GATE_UNIT_LOSS },
    [GATE_RULE_RANK_SYNE_TUNE] = { judge_rank_syne_tune, GATE_UNIT_LOSS },
    [GATE_RULE_RANK_OPTUNA] = { judge_rank_optuna, GATE_UNIT_LOSS },
    [GATE_RULE_EXTRAPOLATION] = { judge_extrapolation, GATE_UNIT_SHARE },
    [GATE_RULE_UTILIZATION] = { judge_share, GATE_UNIT_SHARE },
    [GATE_RULE_GOODPUT] = { judge_share, GATE_UNIT_SHARE },
    [GATE_RULE_COST_TOKENS] = { judge_cost, GATE_UNIT_MONEY },
    [GATE_RULE_COST_NAT] = { judge_cost, GATE_UNIT_MONEY },
    [GATE_RULE_COST_INFERENCE] = { judge_cost, GATE_UNIT_MONEY },
    [GATE_RULE_LATENCY_P50] = { judge_latency, GATE_UNIT_TIME },
    [GATE_RULE_LATENCY_P95] = { judge_latency, GATE_UNIT_TIME },
    [GATE_RULE_SPIKE] = { judge_spike, GATE_UNIT_Z },
};

/* ---- the gate ------------------------------------------------------------------------ */

/* Which verdict wins when rules differ: where all must say GO, and where one is enough. Among
 * equals, the first rule to say no decides, and the last one to say GO; where one GO is enough the
 * first one decides. */
static const int weights[2][VERDICT_COUNT] = {
    { [VERDICT_GO] = 1, [VERDICT_HOLD] = 2, [VERDICT_NO_GO] = 3 },
    { [VERDICT_NO_GO] = 1, [VERDICT_HOLD] = 2, [VERDICT_GO] = 3 },
};

static bool decides(bool any, enum verdict verdict, enum verdict so_far)
{
    const int *weight = weights[any ? 1 : 0];
    if (weight[verdict] != weight[so_far]) return weight[verdict] > weight[so_far];
    return !any && verdict == VERDICT_GO;
}

struct gate_verdict gate_judge(const struct gate_spec *gate, const struct gate_facts *facts)
{
    check(gate->rule_count >= 1);
    check(gate->rule_count <= RULES_PER_GATE_MAX);
    check(facts->sibling_count < UINT32_MAX);
    check(facts->curves_count < UINT32_MAX);
    struct gate_verdict verdict = { .verdict = VERDICT_NONE };
    for (uint32_t i = 0; i < gate->rule_count; i++) {
        const struct gate_rule_spec *rule = &gate->rules[i];
        check((unsigned)rule->rule < GATE_RULE_COUNT);
        struct opinion opinion = rules[rule->rule].judge(rule, facts);
        if (!decides(gate->any, opinion.verdict, verdict.verdict)) continue;
        verdict = (struct gate_verdict){ .verdict = opinion.verdict,
                                         .rule = rule->rule,
                                         .observed_micro = opinion.observed_micro,
                                         .bound_micro = opinion.bound_micro,
                                         .rank = opinion.rank,
                                         .siblings = opinion.siblings };
    }
    return verdict;
}

bool gate_rule_ranks(enum gate_rule rule)
{
    return rule == GATE_RULE_RANK || rule == GATE_RULE_PENSTOCK || rule == GATE_RULE_RANK_RAY ||
           rule == GATE_RULE_RANK_SYNE_TUNE || rule == GATE_RULE_RANK_OPTUNA;
}

enum gate_unit gate_rule_unit(const struct gate_rule_spec *rule)
{
    check((unsigned)rule->rule < GATE_RULE_COUNT);
    if (rule->rule == GATE_RULE_PENSTOCK && rule->loss_max_micro == LOSS_UNKNOWN)
        return GATE_UNIT_LOSS; /* without a target it ranks */
    return rules[rule->rule].unit;
}

const char *verdict_name(enum verdict verdict)
{
    static const char *const names[VERDICT_COUNT] = {
#define X(id, name) [VERDICT_##id] = name,
        VERDICTS(X)
#undef X
    };
    return (unsigned)verdict < VERDICT_COUNT ? names[verdict] : "unknown";
}

const char *gate_rule_name(enum gate_rule rule)
{
    static const char *const names[GATE_RULE_COUNT] = {
#define X(id, name) [GATE_RULE_##id] = name,
        GATE_RULES(X)
#undef X
    };
    return (unsigned)rule < GATE_RULE_COUNT ? names[rule] : "unknown";
}
