/* Gate rules: verdicts on plain facts, and on awkward ones: ties, margins to the last micro,
 * losses that are unknown or not finite, no siblings, extreme numbers. */
#include "scheduler/policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define UNKNOWN LOSS_UNKNOWN
#define NONFINITE LOSS_NONFINITE

enum { SIBLINGS_MAX = 16 };

/* One rule, one run, its siblings' figures (losses for RANK, means for MEDIAN), the answer. */
struct gate_case {
    const char *what;
    struct gate_rule_spec rule;
    int64_t loss, best;
    int64_t siblings[SIBLINGS_MAX];
    size_t sibling_count;
    enum verdict verdict;
    int64_t observed, bound;
    uint32_t rank, looked_at;
};

static void run_case(const struct gate_case *c)
{
    int64_t scratch[SIBLINGS_MAX + 1];
    struct gate_spec gate = { .rule_count = 1, .rules = { c->rule } };
    struct gate_facts facts = { .loss_micro = c->loss,
                                .best_loss_micro = c->best,
                                .sibling_losses_micro = c->siblings,
                                .sibling_means_micro = c->siblings,
                                .sibling_count = c->sibling_count,
                                .scratch = scratch };
    struct gate_verdict got = gate_judge(&gate, &facts);
    if (got.verdict != c->verdict || got.observed_micro != c->observed ||
        got.bound_micro != c->bound || got.rank != c->rank || got.siblings != c->looked_at ||
        got.rule != c->rule.rule)
        fail_msg("%s: %s observed %lld bound %lld rank %u of %u others", c->what,
                 verdict_name(got.verdict), (long long)got.observed_micro,
                 (long long)got.bound_micro, got.rank, got.siblings);
}

#define RUN_CASES(cases)                                                                       \
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)                                            \
    run_case(&(cases)[i])

/* ---- milestone ------------------------------------------------------------------------------
 */

static void milestone(void **state)
{
    (void)state;
    struct gate_rule_spec at_3 = { .rule = GATE_RULE_MILESTONE, .loss_max_micro = 3000000 };
    struct gate_rule_spec below_0 = { .rule = GATE_RULE_MILESTONE, .loss_max_micro = -5 };
    struct gate_rule_spec at_top = { .rule = GATE_RULE_MILESTONE,
                                     .loss_max_micro = LOSS_NONFINITE - 1 };
    const struct gate_case cases[] = {
        { "below", at_3, 2000000, 2000000, { 0 }, 0, VERDICT_GO, 2000000, 3000000, 0, 0 },
        { "just met", at_3, 3000000, 3000000, { 0 }, 0, VERDICT_GO, 3000000, 3000000, 0, 0 },
        { "missed by one", at_3, 3000001, 1, { 0 }, 0, VERDICT_NO_GO, 3000001, 3000000, 0, 0 },
        { "an earlier best is no help",
          at_3,
          4000000,
          1,
          { 0 },
          0,
          VERDICT_NO_GO,
          4000000,
          3000000,
          0,
          0 },
        { "negative losses", below_0, -5, -5, { 0 }, 0, VERDICT_GO, -5, -5, 0, 0 },
        { "negative and missed", below_0, -4, -4, { 0 }, 0, VERDICT_NO_GO, -4, -5, 0, 0 },
        { "zero is a loss", at_3, 0, 0, { 0 }, 0, VERDICT_GO, 0, 3000000, 0, 0 },
        { "smallest", at_3, INT64_MIN, 0, { 0 }, 0, VERDICT_GO, INT64_MIN, 3000000, 0, 0 },
        { "unknown", at_3, UNKNOWN, 1, { 0 }, 0, VERDICT_HOLD, UNKNOWN, 3000000, 0, 0 },
        { "not finite", at_3, NONFINITE, 1, { 0 }, 0, VERDICT_NO_GO, NONFINITE, 3000000, 0, 0 },
        { "not finite, any bound",
          at_top,
          NONFINITE,
          1,
          { 0 },
          0,
          VERDICT_NO_GO,
          NONFINITE,
          LOSS_NONFINITE - 1,
          0,
          0 },
        { "siblings do not matter",
          at_3,
          3000000,
          1,
          { 1, 1, 1 },
          3,
          VERDICT_GO,
          3000000,
          3000000,
          0,
          0 },
    };
    RUN_CASES(cases);
}

/* ---- rank -----------------------------------------------------------------------------------
 */

static struct gate_rule_spec rank_rule(uint32_t eta, uint32_t siblings_min, int64_t margin)
{
    return (struct gate_rule_spec){
        .rule = GATE_RULE_RANK, .eta = eta, .siblings_min = siblings_min, .margin_micro = margin
    };
}

static void rank_keeps_one_in_eta(void **state)
{
    (void)state;
    struct gate_rule_spec half = rank_rule(2, 1, 0), third = rank_rule(3, 1, 0);
    const struct gate_case cases[] = {
        { "best of two", half, 10, 0, { 20 }, 1, VERDICT_GO, 10, 10, 1, 1 },
        { "worse of two", half, 20, 0, { 10 }, 1, VERDICT_NO_GO, 20, 10, 2, 1 },
        { "second of three: ceil(3/2) stay",
          half,
          20,
          0,
          { 10, 30 },
          2,
          VERDICT_GO,
          20,
          20,
          2,
          2 },
        { "last of three", half, 30, 0, { 10, 20 }, 2, VERDICT_NO_GO, 30, 20, 3, 2 },
        { "third of three, eta 3", third, 30, 0, { 10, 20 }, 2, VERDICT_NO_GO, 30, 10, 3, 2 },
        { "second of four, eta 3: ceil(4/3) stay",
          third,
          20,
          0,
          { 10, 30, 40 },
          3,
          VERDICT_GO,
          20,
          20,
          2,
          3 },
        { "third of four, eta 3",
          third,
          30,
          0,
          { 40, 10, 20 },
          3,
          VERDICT_NO_GO,
          30,
          20,
          3,
          3 },
        { "unsorted siblings",
          half,
          35,
          0,
          { 50, 10, 40, 20, 30 },
          5,
          VERDICT_NO_GO,
          35,
          30,
          4,
          5 },
        { "eta above n: only the best stays",
          rank_rule(100, 1, 0),
          11,
          0,
          { 10, 12 },
          2,
          VERDICT_NO_GO,
          11,
          10,
          2,
          2 },
        { "eta above n, the best",
          rank_rule(UINT32_MAX, 1, 0),
          9,
          0,
          { 10, 12 },
          2,
          VERDICT_GO,
          9,
          9,
          1,
          2 },
        { "negative losses", half, -1, 0, { -3, -2 }, 2, VERDICT_NO_GO, -1, -2, 3, 2 },
    };
    RUN_CASES(cases);
}

static void rank_ties_favour_the_run(void **state)
{
    (void)state;
    struct gate_rule_spec half = rank_rule(2, 1, 0);
    const struct gate_case cases[] = {
        { "tie of two", half, 10, 0, { 10 }, 1, VERDICT_GO, 10, 10, 1, 1 },
        { "all alike", half, 10, 0, { 10, 10, 10 }, 3, VERDICT_GO, 10, 10, 1, 3 },
        { "tie at the last place that stays",
          half,
          20,
          0,
          { 10, 20, 20 },
          3,
          VERDICT_GO,
          20,
          20,
          2,
          3 },
        { "tie just behind it", half, 20, 0, { 10, 10, 20 }, 3, VERDICT_NO_GO, 20, 10, 3, 3 },
    };
    RUN_CASES(cases);
}

static void rank_margin_counts_to_the_last_micro(void **state)
{
    (void)state;
    const struct gate_case cases[] = {
        { "within", rank_rule(2, 1, 5), 14, 0, { 10 }, 1, VERDICT_GO, 14, 10, 2, 1 },
        { "just at", rank_rule(2, 1, 5), 15, 0, { 10 }, 1, VERDICT_GO, 15, 10, 2, 1 },
        { "one beyond", rank_rule(2, 1, 5), 16, 0, { 10 }, 1, VERDICT_NO_GO, 16, 10, 2, 1 },
        { "beyond, but among those that stay",
          rank_rule(2, 1, 0),
          99,
          0,
          { 1, 100, 100 },
          3,
          VERDICT_GO,
          99,
          99,
          2,
          3 },
        { "largest margin",
          rank_rule(2, 1, INT64_MAX),
          100,
          0,
          { 1 },
          1,
          VERDICT_GO,
          100,
          1,
          2,
          1 },
        { "largest margin, negative bound",
          rank_rule(2, 1, INT64_MAX),
          INT64_MAX - 2,
          0,
          { -3 },
          1,
          VERDICT_NO_GO,
          INT64_MAX - 2,
          -3,
          2,
          1 },
    };
    /* INT64_MAX - 3 is what bound + margin comes to in the last case: one below the loss. */
    RUN_CASES(cases);
}

static void rank_needs_precedent(void **state)
{
    (void)state;
    struct gate_rule_spec needs_3 = rank_rule(2, 3, 0), needs_0 = rank_rule(2, 0, 0);
    const struct gate_case cases[] = {
        { "alone", needs_3, 10, 0, { 0 }, 0, VERDICT_GO, 10, UNKNOWN, 1, 0 },
        { "alone, none needed", needs_0, 10, 0, { 0 }, 0, VERDICT_GO, 10, 10, 1, 0 },
        { "worst, but too few", needs_3, 30, 0, { 10, 20 }, 2, VERDICT_GO, 30, UNKNOWN, 3, 2 },
        { "just enough", needs_3, 40, 0, { 10, 20, 30 }, 3, VERDICT_NO_GO, 40, 20, 4, 3 },
        { "unknown ones do not count",
          needs_3,
          40,
          0,
          { 10, UNKNOWN, 20, UNKNOWN },
          4,
          VERDICT_GO,
          40,
          UNKNOWN,
          3,
          2 },
        { "non-finite ones count",
          needs_3,
          40,
          0,
          { 10, NONFINITE, 20 },
          3,
          VERDICT_NO_GO,
          40,
          20,
          3,
          3 },
    };
    RUN_CASES(cases);
}

static void rank_with_unusable_losses(void **state)
{
    (void)state;
    struct gate_rule_spec half = rank_rule(2, 1, 0);
    const struct gate_case cases[] = {
        { "own unknown",
          half,
          UNKNOWN,
          0,
          { 10, 20 },
          2,
          VERDICT_HOLD,
          UNKNOWN,
          UNKNOWN,
          0,
          2 },
        { "own unknown, alone",
          half,
          UNKNOWN,
          0,
          { 0 },
          0,
          VERDICT_HOLD,
          UNKNOWN,
          UNKNOWN,
          0,
          0 },
        { "own not finite",
          half,
          NONFINITE,
          0,
          { 10, 20 },
          2,
          VERDICT_NO_GO,
          NONFINITE,
          UNKNOWN,
          0,
          2 },
        { "own not finite, alone",
          half,
          NONFINITE,
          0,
          { 0 },
          0,
          VERDICT_NO_GO,
          NONFINITE,
          UNKNOWN,
          0,
          0 },
        { "own not finite, like all others",
          half,
          NONFINITE,
          0,
          { NONFINITE, NONFINITE },
          2,
          VERDICT_NO_GO,
          NONFINITE,
          UNKNOWN,
          0,
          2 },
        { "a diverged sibling is worse than any",
          half,
          INT64_MAX - 2,
          0,
          { NONFINITE },
          1,
          VERDICT_GO,
          INT64_MAX - 2,
          INT64_MAX - 2,
          1,
          1 },
        { "all siblings unknown",
          rank_rule(2, 1, 0),
          10,
          0,
          { UNKNOWN, UNKNOWN },
          2,
          VERDICT_GO,
          10,
          UNKNOWN,
          1,
          0 },
    };
    RUN_CASES(cases);
}

/* Against a plain definition, over every permutation-like arrangement of small numbers. */
static void rank_agrees_with_its_definition(void **state)
{
    (void)state;
    uint64_t x = 1;
    for (int round = 0; round < 4000; round++) {
        struct gate_case c = { .what = "random", .rule = rank_rule(2, 1, 0), .best = 0 };
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
        c.sibling_count = x >> 33 & 15;
        c.rule.eta = 2 + (uint32_t)(x >> 40 & 3);
        c.rule.margin_micro = (int64_t)(x >> 45 & 3);
        for (size_t i = 0; i < c.sibling_count; i++) {
            x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
            c.siblings[i] = (int64_t)(x >> 58) - 8;
        }
        c.loss = (int64_t)(x >> 50 & 63) - 8;
        uint32_t better = 0;
        for (size_t i = 0; i < c.sibling_count; i++)
            better += c.siblings[i] < c.loss;
        uint32_t allowed = ((uint32_t)c.sibling_count + 1) / c.rule.eta +
                           (((uint32_t)c.sibling_count + 1) % c.rule.eta != 0);
        /* The bound: the smallest number that at least `allowed` of all are not above. */
        int64_t bound = INT64_MAX;
        for (size_t i = 0; i <= c.sibling_count; i++) {
            int64_t candidate = i < c.sibling_count ? c.siblings[i] : c.loss;
            uint32_t at_most = c.loss <= candidate;
            for (size_t j = 0; j < c.sibling_count; j++)
                at_most += c.siblings[j] <= candidate;
            if (at_most >= allowed && candidate < bound) bound = candidate;
        }
        bool no_go =
            c.sibling_count > 0 && better + 1 > allowed && c.loss - bound > c.rule.margin_micro;
        c.verdict = no_go ? VERDICT_NO_GO : VERDICT_GO;
        c.observed = c.loss;
        c.bound = c.sibling_count > 0 ? bound : UNKNOWN;
        c.rank = better + 1;
        c.looked_at = (uint32_t)c.sibling_count;
        run_case(&c);
    }
}

/* ---- median ---------------------------------------------------------------------------------
 */

static struct gate_rule_spec median_rule(uint32_t siblings_min, int64_t margin)
{
    return (struct gate_rule_spec){ .rule = GATE_RULE_MEDIAN,
                                    .siblings_min = siblings_min,
                                    .margin_micro = margin };
}

static void median_compares_the_best_with_the_middle(void **state)
{
    (void)state;
    struct gate_rule_spec any = median_rule(1, 0);
    const struct gate_case cases[] = {
        { "one, worse", any, 11, 11, { 10 }, 1, VERDICT_NO_GO, 11, 10, 0, 1 },
        { "one, tie", any, 10, 10, { 10 }, 1, VERDICT_GO, 10, 10, 0, 1 },
        { "odd: the middle one", any, 21, 21, { 30, 10, 20 }, 3, VERDICT_NO_GO, 21, 20, 0, 3 },
        { "odd: just met", any, 20, 20, { 30, 10, 20 }, 3, VERDICT_GO, 20, 20, 0, 3 },
        { "even: the mean of two",
          any,
          25,
          25,
          { 40, 10, 30, 20 },
          4,
          VERDICT_GO,
          25,
          25,
          0,
          4 },
        { "even: missed by one",
          any,
          26,
          26,
          { 40, 10, 30, 20 },
          4,
          VERDICT_NO_GO,
          26,
          25,
          0,
          4 },
        { "even: rounded down", any, 15, 15, { 11, 20 }, 2, VERDICT_GO, 15, 15, 0, 2 },
        { "even: rounded down, missed",
          any,
          16,
          16,
          { 11, 20 },
          2,
          VERDICT_NO_GO,
          16,
          15,
          0,
          2 },
        { "even: both odd", any, 6, 6, { 5, 7 }, 2, VERDICT_GO, 6, 6, 0, 2 },
        { "even: negative, rounded down",
          any,
          -4,
          -4,
          { -3, -4 },
          2,
          VERDICT_GO,
          -4,
          -4,
          0,
          2 },
        { "even: of both signs", any, 0, 0, { -3, 4 }, 2, VERDICT_GO, 0, 0, 0, 2 },
        { "even: near the top",
          any,
          0,
          0,
          { INT64_MAX - 2, INT64_MAX - 3 },
          2,
          VERDICT_GO,
          0,
          INT64_MAX - 3,
          0,
          2 },
        { "even: near the bottom",
          any,
          INT64_MIN,
          INT64_MIN,
          { INT64_MIN, INT64_MIN + 1 },
          2,
          VERDICT_GO,
          INT64_MIN,
          INT64_MIN,
          0,
          2 },
        { "the best counts, not the last", any, 99, 9, { 10 }, 1, VERDICT_GO, 9, 10, 0, 1 },
        { "within the margin", median_rule(1, 3), 13, 13, { 10 }, 1, VERDICT_GO, 13, 10, 0, 1 },
        { "beyond the margin",
          median_rule(1, 3),
          14,
          14,
          { 10 },
          1,
          VERDICT_NO_GO,
          14,
          10,
          0,
          1 },
    };
    RUN_CASES(cases);
}

static void median_with_awkward_facts(void **state)
{
    (void)state;
    struct gate_rule_spec any = median_rule(1, 0), needs_3 = median_rule(3, 0);
    const struct gate_case cases[] = {
        { "alone", any, 10, 10, { 0 }, 0, VERDICT_GO, 10, UNKNOWN, 0, 0 },
        { "alone, none needed",
          median_rule(0, 0),
          10,
          10,
          { 0 },
          0,
          VERDICT_GO,
          10,
          UNKNOWN,
          0,
          0 },
        { "too few", needs_3, 99, 99, { 1, 2 }, 2, VERDICT_GO, 99, UNKNOWN, 0, 2 },
        { "too few that are known",
          needs_3,
          99,
          99,
          { 1, 2, UNKNOWN },
          3,
          VERDICT_GO,
          99,
          UNKNOWN,
          0,
          2 },
        { "just enough", needs_3, 99, 99, { 1, 2, 3 }, 3, VERDICT_NO_GO, 99, 2, 0, 3 },
        { "diverged siblings are last",
          any,
          15,
          15,
          { NONFINITE, 10, 20 },
          3,
          VERDICT_GO,
          15,
          20,
          0,
          3 },
        { "most siblings diverged",
          any,
          99,
          99,
          { NONFINITE, NONFINITE, 20 },
          3,
          VERDICT_GO,
          99,
          NONFINITE,
          0,
          3 },
        { "half of the siblings diverged",
          any,
          99,
          99,
          { NONFINITE, 20 },
          2,
          VERDICT_GO,
          99,
          NONFINITE,
          0,
          2 },
        { "own unknown", any, UNKNOWN, 5, { 10 }, 1, VERDICT_HOLD, UNKNOWN, UNKNOWN, 0, 1 },
        { "own not finite, a good best",
          any,
          NONFINITE,
          5,
          { 10 },
          1,
          VERDICT_NO_GO,
          NONFINITE,
          UNKNOWN,
          0,
          1 },
        { "best unknown", any, 5, UNKNOWN, { 10 }, 1, VERDICT_HOLD, UNKNOWN, UNKNOWN, 0, 1 },
        { "best not finite",
          any,
          5,
          NONFINITE,
          { 10 },
          1,
          VERDICT_NO_GO,
          NONFINITE,
          UNKNOWN,
          0,
          1 },
    };
    RUN_CASES(cases);
}

/* ---- sign-off and combinations --------------------------------------------------------------
 */

static void signoff_always_holds(void **state)
{
    (void)state;
    struct gate_rule_spec signoff = { .rule = GATE_RULE_SIGNOFF };
    const struct gate_case cases[] = {
        { "good", signoff, 1, 1, { 9, 9 }, 2, VERDICT_HOLD, 1, UNKNOWN, 0, 0 },
        { "unknown", signoff, UNKNOWN, 1, { 0 }, 0, VERDICT_HOLD, UNKNOWN, UNKNOWN, 0, 0 },
        { "not finite",
          signoff,
          NONFINITE,
          1,
          { 0 },
          0,
          VERDICT_HOLD,
          NONFINITE,
          UNKNOWN,
          0,
          0 },
    };
    RUN_CASES(cases);
}

static void combinations(void **state)
{
    (void)state;
    const struct gate_rule_spec pass = { .rule = GATE_RULE_MILESTONE, .loss_max_micro = 100 };
    const struct gate_rule_spec miss = { .rule = GATE_RULE_MILESTONE, .loss_max_micro = 10 };
    const struct gate_rule_spec miss_too = { .rule = GATE_RULE_MILESTONE, .loss_max_micro = 5 };
    const struct gate_rule_spec ask = { .rule = GATE_RULE_SIGNOFF };
    const struct gate_rule_spec rank = rank_rule(2, 1, 0);
    const struct {
        const char *what;
        uint32_t rule_count;
        struct gate_rule_spec rules[RULES_PER_GATE_MAX];
        enum verdict verdict;
        enum gate_rule rule;
        int64_t bound;
        uint32_t siblings;
    } cases[] = {
        { "GO and GO: the last asked", 2, { pass, rank }, VERDICT_GO, GATE_RULE_RANK, 50, 1 },
        { "the other way", 2, { rank, pass }, VERDICT_GO, GATE_RULE_MILESTONE, 100, 0 },
        { "GO then HOLD", 2, { pass, ask }, VERDICT_HOLD, GATE_RULE_SIGNOFF, UNKNOWN, 0 },
        { "HOLD then GO", 2, { ask, pass }, VERDICT_HOLD, GATE_RULE_SIGNOFF, UNKNOWN, 0 },
        { "HOLD then NO-GO", 2, { ask, miss }, VERDICT_NO_GO, GATE_RULE_MILESTONE, 10, 0 },
        { "NO-GO then HOLD", 2, { miss, ask }, VERDICT_NO_GO, GATE_RULE_MILESTONE, 10, 0 },
        { "two NO-GO: the first",
          3,
          { pass, miss, miss_too },
          VERDICT_NO_GO,
          GATE_RULE_MILESTONE,
          10,
          0 },
        { "four", 4, { pass, rank, ask, miss_too }, VERDICT_NO_GO, GATE_RULE_MILESTONE, 5, 0 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int64_t siblings[] = { 60 }, scratch[2];
        struct gate_spec gate = { .rule_count = cases[i].rule_count };
        for (size_t r = 0; r < RULES_PER_GATE_MAX; r++)
            gate.rules[r] = cases[i].rules[r];
        struct gate_facts facts = { .loss_micro = 50,
                                    .best_loss_micro = 50,
                                    .sibling_losses_micro = siblings,
                                    .sibling_means_micro = siblings,
                                    .sibling_count = 1,
                                    .scratch = scratch };
        struct gate_verdict got = gate_judge(&gate, &facts);
        if (got.verdict != cases[i].verdict || got.rule != cases[i].rule ||
            got.bound_micro != cases[i].bound || got.siblings != cases[i].siblings)
            fail_msg("%s: %s by %s, bound %lld, %u siblings", cases[i].what,
                     verdict_name(got.verdict), gate_rule_name(got.rule),
                     (long long)got.bound_micro, got.siblings);
    }
}

/* RANK leaves its numbers in the shared scratch; MEDIAN must not read them. */
static void rules_share_scratch_without_harm(void **state)
{
    (void)state;
    int64_t losses[] = { 1, 2, 3 }, means[] = { 100, 200, 300 }, scratch[4];
    struct gate_spec gate = { .rule_count = 2,
                              .rules = { rank_rule(2, 9, 0), median_rule(1, 0) } };
    struct gate_facts facts = { .loss_micro = 150,
                                .best_loss_micro = 150,
                                .sibling_losses_micro = losses,
                                .sibling_means_micro = means,
                                .sibling_count = 3,
                                .scratch = scratch };
    struct gate_verdict got = gate_judge(&gate, &facts);
    assert_int_equal(got.verdict, VERDICT_GO);
    assert_int_equal(got.rule, GATE_RULE_MEDIAN);
    assert_int_equal(got.bound_micro, 200);
    assert_int_equal(losses[0] + losses[1] + losses[2], 6); /* the facts are as they were */
    assert_int_equal(means[0], 100);
}

static void every_value_has_a_name(void **state)
{
    (void)state;
    for (unsigned v = 0; v < VERDICT_COUNT; v++)
        assert_string_not_equal(verdict_name((enum verdict)v), "unknown");
    for (unsigned r = 0; r < GATE_RULE_COUNT; r++)
        assert_string_not_equal(gate_rule_name((enum gate_rule)r), "unknown");
    assert_string_equal(verdict_name(VERDICT_NO_GO), "NO-GO");
    assert_string_equal(verdict_name(VERDICT_COUNT), "unknown");
    assert_string_equal(gate_rule_name((enum gate_rule)77), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(milestone),
        cmocka_unit_test(rank_keeps_one_in_eta),
        cmocka_unit_test(rank_ties_favour_the_run),
        cmocka_unit_test(rank_margin_counts_to_the_last_micro),
        cmocka_unit_test(rank_needs_precedent),
        cmocka_unit_test(rank_with_unusable_losses),
        cmocka_unit_test(rank_agrees_with_its_definition),
        cmocka_unit_test(median_compares_the_best_with_the_middle),
        cmocka_unit_test(median_with_awkward_facts),
        cmocka_unit_test(signoff_always_holds),
        cmocka_unit_test(combinations),
        cmocka_unit_test(rules_share_scratch_without_harm),
        cmocka_unit_test(every_value_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
