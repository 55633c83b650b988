#include "scheduler/policy/policy.h"

/* What one rule says. */
struct opinion {
    enum verdict verdict;
    int64_t observed_micro, bound_micro;
    uint32_t rank, siblings;
};

typedef struct opinion (*gate_rule_fn)(const struct gate_rule_spec *rule,
                                       const struct gate_facts *facts);

/* ---- losses ---------------------------------------------------------------------------------
 */

/* LOSS_NONFINITE is larger than every loss, so that plain comparison ranks it last. */
static bool is_worse_by(int64_t loss_micro, int64_t bound_micro, int64_t margin_micro)
{
    if (bound_micro > 0 && margin_micro > INT64_MAX - bound_micro) return false;
    return loss_micro > bound_micro + margin_micro;
}

/* The opinion that an unusable loss forces, or VERDICT_NONE when the loss can be looked at. */
static struct opinion opinion_of_loss(int64_t loss_micro)
{
    struct opinion opinion = { .observed_micro = loss_micro, .bound_micro = LOSS_UNKNOWN };
    if (loss_micro == LOSS_UNKNOWN) opinion.verdict = VERDICT_HOLD;
    if (loss_micro == LOSS_NONFINITE) opinion.verdict = VERDICT_NO_GO;
    return opinion;
}

/* Copies the known ones of `values` into `known`; returns how many there are. */
static size_t keep_known(const int64_t *values, size_t count, int64_t *known)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (values[i] != LOSS_UNKNOWN) known[kept++] = values[i];
    return kept;
}

static void sift_down(int64_t *heap, size_t count, size_t at)
{
    int64_t value = heap[at];
    for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && heap[child + 1] > heap[child]) child++;
        if (heap[child] <= value) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = value;
}

/* Heapsort: no allocation, and no order of the input makes it slow. */
static void sort_rising(int64_t *values, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift_down(values, count, i);
    for (size_t last = count; last-- > 1;) {
        int64_t largest = values[0];
        values[0] = values[last];
        values[last] = largest;
        sift_down(values, last, 0);
    }
}

/* Of sorted values, count >= 1: the middle one, or the mean of the two in the middle, rounded
 * down. When the upper of the two is not finite, neither is the mean. */
static int64_t median_of(const int64_t *sorted, size_t count)
{
    int64_t low = sorted[(count - 1) / 2], high = sorted[count / 2];
    if (high == LOSS_NONFINITE) return LOSS_NONFINITE;
    return div_floor(low, 2) + div_floor(high, 2) + (low & high & 1);
}

/* ---- rules ----------------------------------------------------------------------------------
 */

static struct opinion judge_milestone(const struct gate_rule_spec *rule,
                                      const struct gate_facts *facts)
{
    struct opinion opinion = opinion_of_loss(facts->loss_micro);
    opinion.bound_micro = rule->loss_max_micro;
    if (opinion.verdict == VERDICT_NONE)
        opinion.verdict =
            facts->loss_micro <= rule->loss_max_micro ? VERDICT_GO : VERDICT_NO_GO;
    return opinion;
}

/* Ties are in the run's favour: only strictly better siblings stand before it. */
static struct opinion judge_rank(const struct gate_rule_spec *rule,
                                 const struct gate_facts *facts)
{
    check(rule->eta >= 2);
    struct opinion opinion = opinion_of_loss(facts->loss_micro);
    int64_t *all = facts->scratch;
    size_t siblings = keep_known(facts->sibling_losses_micro, facts->sibling_count, all);
    opinion.siblings = (uint32_t)siblings;
    if (opinion.verdict != VERDICT_NONE) return opinion;

    size_t rank = 1;
    for (size_t i = 0; i < siblings; i++)
        if (all[i] < facts->loss_micro) rank++;
    opinion.rank = (uint32_t)rank;
    opinion.verdict = VERDICT_GO;
    if (siblings < rule->siblings_min) return opinion;

    all[siblings] = facts->loss_micro;
    sort_rising(all, siblings + 1);
    size_t allowed = (siblings + rule->eta) / rule->eta; /* ceil((siblings + 1) / eta) */
    opinion.bound_micro = all[allowed - 1];
    if (rank > allowed &&
        is_worse_by(facts->loss_micro, opinion.bound_micro, rule->margin_micro))
        opinion.verdict = VERDICT_NO_GO;
    return opinion;
}

static struct opinion judge_median(const struct gate_rule_spec *rule,
                                   const struct gate_facts *facts)
{
    /* A run that has just diverged does not live on its earlier best. */
    struct opinion opinion = opinion_of_loss(facts->loss_micro);
    if (opinion.verdict == VERDICT_NONE) opinion = opinion_of_loss(facts->best_loss_micro);
    int64_t *means = facts->scratch;
    size_t siblings = keep_known(facts->sibling_means_micro, facts->sibling_count, means);
    opinion.siblings = (uint32_t)siblings;
    if (opinion.verdict != VERDICT_NONE) return opinion;

    opinion.verdict = VERDICT_GO;
    if (siblings == 0 || siblings < rule->siblings_min) return opinion;
    sort_rising(means, siblings);
    opinion.bound_micro = median_of(means, siblings);
    if (is_worse_by(facts->best_loss_micro, opinion.bound_micro, rule->margin_micro))
        opinion.verdict = VERDICT_NO_GO;
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

static const gate_rule_fn rules[GATE_RULE_COUNT] = {
    [GATE_RULE_MILESTONE] = judge_milestone,
    [GATE_RULE_RANK] = judge_rank,
    [GATE_RULE_MEDIAN] = judge_median,
    [GATE_RULE_SIGNOFF] = judge_signoff,
};

/* ---- the gate -------------------------------------------------------------------------------
 */

/* Which verdict wins when rules differ. Among equals, the first rule to say no decides, and the
 * last one to say GO. */
static const int weights[VERDICT_COUNT] = {
    [VERDICT_GO] = 1,
    [VERDICT_HOLD] = 2,
    [VERDICT_NO_GO] = 3,
};

static bool decides(enum verdict verdict, enum verdict so_far)
{
    if (weights[verdict] != weights[so_far]) return weights[verdict] > weights[so_far];
    return verdict == VERDICT_GO;
}

struct gate_verdict gate_judge(const struct gate_spec *gate, const struct gate_facts *facts)
{
    check(gate->rule_count >= 1);
    check(gate->rule_count <= RULES_PER_GATE_MAX);
    check(facts->sibling_count < UINT32_MAX);
    struct gate_verdict verdict = { .verdict = VERDICT_NONE };
    for (uint32_t i = 0; i < gate->rule_count; i++) {
        const struct gate_rule_spec *rule = &gate->rules[i];
        check((unsigned)rule->rule < GATE_RULE_COUNT);
        struct opinion opinion = rules[rule->rule](rule, facts);
        if (!decides(opinion.verdict, verdict.verdict)) continue;
        verdict = (struct gate_verdict){ .verdict = opinion.verdict,
                                         .rule = rule->rule,
                                         .observed_micro = opinion.observed_micro,
                                         .bound_micro = opinion.bound_micro,
                                         .rank = opinion.rank,
                                         .siblings = opinion.siblings };
    }
    return verdict;
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
