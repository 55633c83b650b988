/* The gate rules beyond milestone, rank and median: other definitions of halving, precedent, the
 * power law, limits, spikes; each on plain facts and on missing or awkward ones. */
#include "scheduler/policy/policy.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { RUNS = 40, POINTS = 12 };

static struct gate_verdict judge(const struct gate_rule_spec *rule, struct gate_facts *facts)
{
    struct gate_spec gate = { .rule_count = 1, .rules = { *rule } };
    return gate_judge(&gate, facts);
}

/* ---- halving by others' definitions -------------------------------------------------- */

static void halving_differs_as_defined(void **state)
{
    (void)state;
    const struct {
        enum gate_rule rule;
        uint32_t eta;
        int64_t loss, siblings[8];
        size_t count;
        enum verdict verdict;
    } rows[] = {
        /* Alone: all go on. */
        { GATE_RULE_RANK_RAY, 4, 9, { 0 }, 0, VERDICT_GO },
        { GATE_RULE_RANK_SYNE_TUNE, 4, 9, { 0 }, 0, VERDICT_GO },
        { GATE_RULE_RANK_OPTUNA, 4, 9, { 0 }, 0, VERDICT_GO },
        /* The second, and worse: Ray compares with the first, Optuna lets only the best on, Syne
         * Tune waits until eta have come. */
        { GATE_RULE_RANK_RAY, 4, 9, { 5 }, 1, VERDICT_NO_GO },
        { GATE_RULE_RANK_SYNE_TUNE, 4, 9, { 5 }, 1, VERDICT_GO },
        { GATE_RULE_RANK_OPTUNA, 4, 9, { 5 }, 1, VERDICT_NO_GO },
        /* Seven others, rank 2 of 8: two of eight go on with eta 4. */
        { GATE_RULE_RANK_RAY, 4, 15, { 10, 20, 30, 40, 50, 60, 70 }, 7, VERDICT_GO },
        { GATE_RULE_RANK_SYNE_TUNE, 4, 15, { 10, 20, 30, 40, 50, 60, 70 }, 7, VERDICT_GO },
        { GATE_RULE_RANK_OPTUNA, 4, 15, { 10, 20, 30, 40, 50, 60, 70 }, 7, VERDICT_GO },
        /* Rank 3 of 8, at 24: above two of eight; Ray's quartile of the others lies at 25. */
        { GATE_RULE_RANK_RAY, 4, 24, { 10, 20, 30, 40, 50, 60, 70 }, 7, VERDICT_GO },
        { GATE_RULE_RANK_RAY, 4, 26, { 10, 20, 30, 40, 50, 60, 70 }, 7, VERDICT_NO_GO },
        { GATE_RULE_RANK_SYNE_TUNE, 4, 24, { 10, 20, 30, 40, 50, 60, 70 }, 7, VERDICT_NO_GO },
        { GATE_RULE_RANK_OPTUNA, 4, 24, { 10, 20, 30, 40, 50, 60, 70 }, 7, VERDICT_NO_GO },
        /* Bad figures. */
        { GATE_RULE_RANK_RAY, 4, LOSS_NONFINITE, { 0 }, 0, VERDICT_NO_GO },
        { GATE_RULE_RANK_OPTUNA, 4, LOSS_UNKNOWN, { 0 }, 0, VERDICT_HOLD },
        { GATE_RULE_RANK_RAY, 2, 9, { LOSS_NONFINITE, LOSS_NONFINITE }, 2, VERDICT_GO },
        { GATE_RULE_RANK_SYNE_TUNE, 2, 9, { LOSS_UNKNOWN, LOSS_UNKNOWN }, 2, VERDICT_GO },
        { GATE_RULE_RANK_RAY, 2, 0, { INT64_MIN, LOSS_NONFINITE - 1 }, 2, VERDICT_NO_GO },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        int64_t scratch[9];
        struct gate_rule_spec rule = { .rule = rows[i].rule, .eta = rows[i].eta };
        struct gate_facts facts = { .loss_micro = rows[i].loss,
                                    .best_loss_micro = rows[i].loss,
                                    .sibling_losses_micro = rows[i].siblings,
                                    .sibling_count = rows[i].count,
                                    .scratch = scratch };
        if (judge(&rule, &facts).verdict != rows[i].verdict)
            fail_msg("row %zu: %s", i, verdict_name(judge(&rule, &facts).verdict));
    }
}

/* Three seed deviations excuse a run, and not one micro more. */
static void no_rule_decides_within_noise(void **state)
{
    (void)state;
    static const enum gate_rule ranks[] = { GATE_RULE_RANK, GATE_RULE_RANK_RAY,
                                            GATE_RULE_RANK_OPTUNA, GATE_RULE_PENSTOCK };
    for (size_t i = 0; i < ARRAY_COUNT(ranks); i++) {
        int64_t scratch[4], siblings[] = { 1000000, 1000000, 1000000 };
        struct gate_rule_spec rule = {
            .rule = ranks[i], .eta = 2, .loss_max_micro = LOSS_UNKNOWN, .seed_sd_micro = 1200
        };
        struct gate_facts facts = { .loss_micro = 1003600,
                                    .sibling_losses_micro = siblings,
                                    .sibling_count = 3,
                                    .scratch = scratch };
        assert_int_equal(judge(&rule, &facts).verdict, VERDICT_GO);
        facts.loss_micro++;
        assert_int_equal(judge(&rule, &facts).verdict, VERDICT_NO_GO);
        rule.seed_sd_micro = INT64_MAX;
        assert_int_equal(judge(&rule, &facts).verdict, VERDICT_GO);
    }
    int64_t repeats[] = { 10, 12, 11, 13, LOSS_UNKNOWN, 14, 19, LOSS_NONFINITE, 12, 13 };
    assert_int_equal(gate_seed_sd(repeats, 10), 5);
    int64_t same[] = { 7, 7, 7, 7, 7, 7, 7, 7 },
            wide[] = { INT64_MIN, 0, 0, 0, 0, 0, 0, LOSS_NONFINITE - 1 };
    assert_int_equal(gate_seed_sd(same, 8), 1);
    assert_true(gate_seed_sd(wide, 8) > INT64_MAX / 2);
    int64_t few[] = { 10, 12, 11, 13, 14, 15, 16 };
    assert_int_equal(gate_seed_sd(few, 7), 0);
}

/* ---- penstock ------------------------------------------------------------------------ */

/* Runs that fall towards `floor_micro`; those below the target win. */
struct family {
    int64_t best[RUNS][POINTS];
    struct gate_curve curves[RUNS];
    int64_t scratch[RUNS + 1];
};

static void family_make(struct family *family, uint32_t runs, uint32_t winners)
{
    for (uint32_t r = 0; r < runs; r++) {
        int64_t floor_micro = (r < winners ? 1900000 : 2600000) + (int64_t)r * 3000;
        for (int p = 0; p < POINTS; p++)
            family->best[r][p] = floor_micro + 4000000 / (1 + p * p);
        family->curves[r] = (struct gate_curve){ family->best[r], 1, POINTS, GATE_END_DONE };
    }
}

static struct gate_facts family_facts(struct family *family, uint32_t runs, const int64_t *own,
                                      uint32_t points)
{
    return (struct gate_facts){ .loss_micro = own[points - 1],
                                .best_loss_micro = own[points - 1],
                                .scratch = family->scratch,
                                .curve_micro = own,
                                .curve_best_micro = own,
                                .curve_stride = 1,
                                .curve_count = points,
                                .curves = family->curves,
                                .curves_count = runs };
}

static const struct gate_rule_spec to_2 = { .rule = GATE_RULE_PENSTOCK,
                                            .loss_max_micro = 2000000,
                                            .share_min_ppm = 70000,
                                            .points_min = 3 };

static void precedent_tells_losers_from_winners(void **state)
{
    (void)state;
    static struct family family;
    family_make(&family, 30, 15);
    int64_t loser[POINTS], winner[POINTS];
    memcpy(loser, family.best[20], sizeof loser);
    memcpy(winner, family.best[5], sizeof winner);
    struct gate_facts facts = family_facts(&family, 30, loser, 8);
    struct gate_verdict got = judge(&to_2, &facts);
    assert_int_equal(got.verdict, VERDICT_NO_GO);
    assert_int_equal(got.siblings, 30);
    assert_int_equal(got.bound_micro, 70000);
    assert_true(got.observed_micro < 70000);
    facts = family_facts(&family, 30, winner, 8);
    got = judge(&to_2, &facts);
    assert_int_equal(got.verdict, VERDICT_GO);
    assert_true(got.observed_micro > 500000);
}

static void no_precedent_is_no_reason_to_stop(void **state)
{
    (void)state;
    static struct family family;
    int64_t own[POINTS];
    /* No winner known, however many failed. */
    family_make(&family, 30, 0);
    memcpy(own, family.best[29], sizeof own);
    struct gate_facts facts = family_facts(&family, 30, own, 8);
    assert_int_equal(judge(&to_2, &facts).verdict, VERDICT_GO);
    /* Nobody at all; nothing of its own; too few reports. */
    facts.curves_count = 0;
    assert_int_equal(judge(&to_2, &facts).verdict, VERDICT_GO);
    facts.curve_count = 0;
    assert_int_equal(judge(&to_2, &facts).verdict, VERDICT_GO);
    family_make(&family, 30, 15);
    facts = family_facts(&family, 30, own, 2);
    assert_int_equal(judge(&to_2, &facts).verdict, VERDICT_GO);
    /* Runs that go on say nothing yet. */
    for (uint32_t r = 15; r < 30; r++)
        family.curves[r].end = GATE_END_NONE;
    facts = family_facts(&family, 30, own, 8);
    assert_int_equal(judge(&to_2, &facts).siblings, 15);
}

static void precedent_with_awkward_curves(void **state)
{
    (void)state;
    static struct family family;
    family_make(&family, 30, 15);
    int64_t own[POINTS];
    memcpy(own, family.best[25], sizeof own);
    struct gate_facts facts = family_facts(&family, 30, own, 8);
    facts.loss_micro = LOSS_NONFINITE;
    assert_int_equal(judge(&to_2, &facts).verdict, VERDICT_NO_GO);
    facts.loss_micro = LOSS_UNKNOWN;
    assert_int_equal(judge(&to_2, &facts).verdict, VERDICT_HOLD);
    /* Already there, or as near as luck decides. */
    own[7] = facts.loss_micro = 2000000;
    assert_int_equal(judge(&to_2, &facts).observed_micro, PPM);
    /* Unknown and non-finite points, at the extremes too, are borne. */
    for (int p = 0; p < 4; p++) {
        own[p] = LOSS_UNKNOWN;
        family.best[3][p] = LOSS_UNKNOWN;
        family.best[20][p] = LOSS_NONFINITE;
    }
    family.best[4][0] = INT64_MIN; /* won at once */
    own[7] = facts.loss_micro = LOSS_NONFINITE - 1;
    struct gate_verdict got = judge(&to_2, &facts);
    assert_true(got.observed_micro >= 0);
    assert_true(got.observed_micro <= PPM);
    /* A stopped run counts as one that did not win, as far as it came. */
    family_make(&family, 30, 15);
    for (uint32_t r = 15; r < 30; r++)
        family.curves[r] = (struct gate_curve){ family.best[r], 1, 4, GATE_END_STOPPED };
    memcpy(own, family.best[25], sizeof own);
    facts = family_facts(&family, 30, own, 8);
    assert_int_equal(judge(&to_2, &facts).siblings, 15);
    facts = family_facts(&family, 30, own, 4);
    assert_int_equal(judge(&to_2, &facts).siblings, 30);
}

/* ---- extrapolation ------------------------------------------------------------------- */

static void a_power_law_is_followed(void **state)
{
    (void)state;
    int64_t curve[POINTS];
    uint64_t steps[POINTS];
    for (int p = 0; p < POINTS; p++) {
        steps[p] = 100 * (uint64_t)(p + 1);
        double noise = p % 2 == 0 ? 0.002 : -0.002;
        curve[p] = (int64_t)((2.0 + 8 * pow((double)steps[p], -0.4) + noise) * 1e6);
    }
    struct gate_rule_spec rule = { .rule = GATE_RULE_EXTRAPOLATION, .share_min_ppm = 50000 };
    struct gate_facts facts = { .loss_micro = curve[POINTS - 1],
                                .best_loss_micro = curve[POINTS - 1],
                                .curve_micro = curve,
                                .curve_best_micro = curve,
                                .curve_steps = steps,
                                .curve_stride = 1,
                                .curve_count = POINTS,
                                .steps_planned = 10000,
                                .incumbent_micro = LOSS_UNKNOWN };
    const struct {
        int64_t target;
        enum verdict verdict;
    } rows[] = { { 1600000, VERDICT_NO_GO }, { 2400000, VERDICT_GO }, { 2210000, VERDICT_GO } };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        rule.loss_max_micro = rows[i].target;
        struct gate_verdict got = judge(&rule, &facts);
        if (got.verdict != rows[i].verdict)
            fail_msg("target %lld: %s, chance %lld", (long long)rows[i].target,
                     verdict_name(got.verdict), (long long)got.observed_micro);
    }
    /* Against the incumbent; without one there is nothing to reach. */
    rule.loss_max_micro = LOSS_UNKNOWN;
    assert_int_equal(judge(&rule, &facts).verdict, VERDICT_GO);
    facts.incumbent_micro = 1600000;
    assert_int_equal(judge(&rule, &facts).verdict, VERDICT_NO_GO);
    /* Too few points, no steps, no end: no precedent. */
    facts.curve_count = 3;
    assert_int_equal(judge(&rule, &facts).verdict, VERDICT_GO);
    facts.curve_count = POINTS;
    facts.steps_planned = 0;
    assert_int_equal(judge(&rule, &facts).verdict, VERDICT_GO);
    facts.steps_planned = 10000;
    facts.curve_steps = NULL;
    assert_int_equal(judge(&rule, &facts).verdict, VERDICT_GO);
    facts.loss_micro = LOSS_NONFINITE;
    assert_int_equal(judge(&rule, &facts).verdict, VERDICT_NO_GO);
}

/* ---- limits and spikes --------------------------------------------------------------- */

static void limits_are_kept_to_the_last_unit(void **state)
{
    (void)state;
    int64_t curve[] = { 4000000, 3000000 };
    const struct {
        enum gate_rule rule;
        int64_t limit; /* or share */
        struct gate_facts facts;
        enum verdict verdict;
        int64_t observed;
    } rows[] = {
        { GATE_RULE_UTILIZATION, 300000, { .util_ppm = 300000 }, VERDICT_GO, 300000 },
        { GATE_RULE_UTILIZATION, 300000, { .util_ppm = 299999 }, VERDICT_NO_GO, 299999 },
        { GATE_RULE_UTILIZATION, 0, { .util_ppm = UTIL_UNKNOWN }, VERDICT_HOLD, LOSS_UNKNOWN },
        { GATE_RULE_GOODPUT, 800000, { .goodput_ppm = 790000 }, VERDICT_NO_GO, 790000 },
        { GATE_RULE_COST_TOKENS,
          500000,
          { .spent_micros = 5, .tokens = 10 },
          VERDICT_GO,
          500000 },
        { GATE_RULE_COST_TOKENS,
          333333,
          { .spent_micros = 1, .tokens = 3 },
          VERDICT_NO_GO,
          333334 },
        { GATE_RULE_COST_TOKENS, 9, { .spent_micros = 5 }, VERDICT_HOLD, LOSS_UNKNOWN },
        { GATE_RULE_COST_TOKENS,
          9,
          { .spent_micros = INT64_MAX, .tokens = 1 },
          VERDICT_NO_GO,
          LOSS_NONFINITE - 1 },
        { GATE_RULE_COST_NAT,
          70,
          { .spent_micros = 70, .curve_count = 2, .best_loss_micro = 3000000 },
          VERDICT_GO,
          70 },
        { GATE_RULE_COST_NAT,
          70,
          { .spent_micros = 70, .curve_count = 2, .best_loss_micro = 4000000 },
          VERDICT_NO_GO,
          LOSS_NONFINITE - 1 },
        { GATE_RULE_COST_NAT,
          70,
          { .spent_micros = 90, .curve_count = 1, .best_loss_micro = 4000000 },
          VERDICT_GO,
          LOSS_UNKNOWN },
        { GATE_RULE_COST_NAT,
          70,
          { .spent_micros = -1, .curve_count = 2 },
          VERDICT_HOLD,
          LOSS_UNKNOWN },
        { GATE_RULE_COST_INFERENCE, 5, { .inference_micros = 6 }, VERDICT_NO_GO, 6 },
        { GATE_RULE_COST_INFERENCE, 5, { .inference_micros = -1 }, VERDICT_HOLD, LOSS_UNKNOWN },
        { GATE_RULE_LATENCY_P50, 5, { .eval_p50_ns = 5, .eval_p95_ns = 9 }, VERDICT_GO, 5 },
        { GATE_RULE_LATENCY_P95, 5, { .eval_p50_ns = 5, .eval_p95_ns = 9 }, VERDICT_NO_GO, 9 },
        { GATE_RULE_LATENCY_P95, 5, { .eval_p95_ns = -1 }, VERDICT_HOLD, LOSS_UNKNOWN },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct gate_rule_spec rule = { .rule = rows[i].rule,
                                       .limit = rows[i].limit,
                                       .share_min_ppm = (int32_t)rows[i].limit };
        struct gate_facts facts = rows[i].facts;
        facts.curve_micro = curve;
        facts.curve_stride = 1;
        struct gate_verdict got = judge(&rule, &facts);
        if (got.verdict != rows[i].verdict || got.observed_micro != rows[i].observed)
            fail_msg("row %zu: %s, %lld", i, verdict_name(got.verdict),
                     (long long)got.observed_micro);
    }
}

static void a_spike_asks_a_person(void **state)
{
    (void)state;
    int64_t curve[] = { 3000000, 2990000, 3010000, 3000000, 3005000, 0 };
    struct gate_rule_spec rule = { .rule = GATE_RULE_SPIKE, .limit = 6000000, .points_min = 4 };
    struct gate_facts facts = { .curve_micro = curve, .curve_stride = 1, .curve_count = 6 };
    const struct {
        int64_t loss;
        enum verdict verdict;
    } rows[] = { { 2000000, VERDICT_GO },           { 3020000, VERDICT_GO },
                 { 3500000, VERDICT_HOLD },         { LOSS_NONFINITE - 1, VERDICT_HOLD },
                 { LOSS_NONFINITE, VERDICT_NO_GO }, { LOSS_UNKNOWN, VERDICT_HOLD } };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        curve[5] = facts.loss_micro = rows[i].loss;
        if (judge(&rule, &facts).verdict != rows[i].verdict) fail_msg("row %zu", i);
    }
    curve[5] = facts.loss_micro = 3500000;
    rule.margin_micro = 600000; /* a jump within the margin is none */
    assert_int_equal(judge(&rule, &facts).verdict, VERDICT_GO);
    rule.margin_micro = 0;
    facts.curve_count = 3;
    curve[2] = 3500000;
    assert_int_equal(judge(&rule, &facts).verdict, VERDICT_GO); /* too few before it */
}

/* ---- any ----------------------------------------------------------------------------- */

static void one_go_is_enough_where_any_is_said(void **state)
{
    (void)state;
    static const struct {
        int32_t util, goodput; /* at least 50 % of each is asked for */
        enum verdict all, any;
        enum gate_rule all_by, any_by;
    } rows[] = {
        { 600000, 600000, VERDICT_GO, VERDICT_GO, GATE_RULE_GOODPUT, GATE_RULE_UTILIZATION },
        { 600000, 400000, VERDICT_NO_GO, VERDICT_GO, GATE_RULE_GOODPUT, GATE_RULE_UTILIZATION },
        { 400000, 600000, VERDICT_NO_GO, VERDICT_GO, GATE_RULE_UTILIZATION, GATE_RULE_GOODPUT },
        { 400000, 300000, VERDICT_NO_GO, VERDICT_NO_GO, GATE_RULE_UTILIZATION,
          GATE_RULE_UTILIZATION },
        { -1, 300000, VERDICT_NO_GO, VERDICT_HOLD, GATE_RULE_GOODPUT, GATE_RULE_UTILIZATION },
        { 300000, -1, VERDICT_NO_GO, VERDICT_HOLD, GATE_RULE_UTILIZATION, GATE_RULE_GOODPUT },
        { -1, 600000, VERDICT_HOLD, VERDICT_GO, GATE_RULE_UTILIZATION, GATE_RULE_GOODPUT },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct gate_spec gate = {
            .rule_count = 2,
            .rules = { { .rule = GATE_RULE_UTILIZATION, .share_min_ppm = 500000 },
                       { .rule = GATE_RULE_GOODPUT, .share_min_ppm = 500000 } }
        };
        struct gate_facts facts = { .util_ppm = rows[i].util, .goodput_ppm = rows[i].goodput };
        struct gate_verdict all = gate_judge(&gate, &facts);
        gate.any = true;
        struct gate_verdict any = gate_judge(&gate, &facts);
        if (all.verdict != rows[i].all || all.rule != rows[i].all_by)
            fail_msg("all, row %zu", i);
        if (any.verdict != rows[i].any || any.rule != rows[i].any_by)
            fail_msg("any, row %zu", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halving_differs_as_defined),
        cmocka_unit_test(no_rule_decides_within_noise),
        cmocka_unit_test(precedent_tells_losers_from_winners),
        cmocka_unit_test(no_precedent_is_no_reason_to_stop),
        cmocka_unit_test(precedent_with_awkward_curves),
        cmocka_unit_test(a_power_law_is_followed),
        cmocka_unit_test(limits_are_kept_to_the_last_unit),
        cmocka_unit_test(a_spike_asks_a_person),
        cmocka_unit_test(one_go_is_enough_where_any_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
