/* Points, rules and tranches. */
#include <stdio.h>
#include <string.h>

#include "tests/unit/campaign/load.h"

static const struct gate_spec *point(const struct campaign *c, const char *name)
{
    for (uint32_t i = 0; i < c->spec.gate_count; i++)
        if (strcmp(c->spec.gates[i].name, name) == 0) return &c->spec.gates[i];
    fail_msg("there is no gate point %s", name);
    return NULL;
}

static void a_schedule_gives_points(void **state)
{
    (void)state;
    struct campaign c;
    load_good(
        HEAD "gates:\n"
             "  - {name: one, at: {steps: 5}, rule: rank}\n"
             "  - {name: list, at: {steps: [40]}, rule: rank}\n"
             "  - {name: two, at: {steps: [41, 80]}, rule: rank}\n"
             "  - {name: geo, at: {geometric: {first: 10, factor: 3, until: 90}}, rule: rank}\n"
             "  - {name: tok, at: {tokens: [1000, 2000]}, rule: rank}\n"
             "runs: [{name: a, budget: 1 USD, data: t, gates: [one, list, two, geo]}]\n",
        &c);
    static const struct {
        const char *name;
        uint64_t step, tokens;
    } rows[] = {
        { "one", 5, 0 },     { "list", 40, 0 },       { "two@41", 41, 0 },
        { "two@80", 80, 0 }, { "geo@10", 10, 0 },     { "geo@30", 30, 0 },
        { "geo@90", 90, 0 }, { "tok@1000", 0, 1000 }, { "tok@2000", 0, 2000 },
    };
    assert_int_equal(c.spec.gate_count, ARRAY_COUNT(rows));
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        assert_int_equal(point(&c, rows[i].name)->step, rows[i].step);
        assert_int_equal(point(&c, rows[i].name)->tokens, rows[i].tokens);
    }
    static const uint64_t order[] = { 5, 10, 30, 40, 41, 80, 90 };
    assert_int_equal(c.runs[0].gate_count, ARRAY_COUNT(order));
    for (size_t i = 0; i < ARRAY_COUNT(order); i++)
        assert_int_equal(c.spec.gates[c.runs[0].gates[i].gate_index].step, order[i]);
    campaign_fini(&c);
}

static void rules_have_their_defaults(void **state)
{
    (void)state;
    struct campaign c;
    load_good(HEAD "owners: [{name: alice}, {name: bob}]\n"
                   "gates:\n"
                   "  - name: g\n    at: {steps: 5}\n    owner: bob\n"
                   "    rules: [{milestone: {loss: 2.600001}}, rank, median, sign-off]\n"
                   "  - {name: h, at: {steps: 6}, rule: {rank: {eta: 2}}}\n"
                   "  - {name: i, at: {steps: 7}, rule: {median: {margin: 0}}}\n"
                   "runs: [{name: a, budget: 1 USD, data: t}]\n",
              &c);
    const struct gate_spec *g = point(&c, "g");
    assert_int_equal(g->owner_index, 1);
    assert_int_equal(g->rule_count, 4);
    assert_int_equal(g->rules[0].rule, GATE_RULE_MILESTONE);
    assert_int_equal(g->rules[0].loss_max_micro, 2600001);
    assert_int_equal(g->rules[1].rule, GATE_RULE_RANK);
    assert_int_equal(g->rules[1].eta, 3);
    assert_int_equal(g->rules[1].siblings_min, 3);
    assert_int_equal(g->rules[1].margin_micro, 10000);
    assert_int_equal(g->rules[2].rule, GATE_RULE_MEDIAN);
    assert_int_equal(g->rules[2].siblings_min, 5);
    assert_int_equal(g->rules[2].margin_micro, 10000);
    assert_int_equal(g->rules[3].rule, GATE_RULE_SIGNOFF);
    assert_int_equal(point(&c, "h")->rules[0].eta, 2);
    assert_int_equal(point(&c, "h")->owner_index, 0);
    assert_int_equal(point(&c, "i")->rules[0].margin_micro, 0);
    campaign_fini(&c);
}

static int64_t sum_of(const struct run_spec *run)
{
    int64_t sum = run->first_tranche_micros;
    for (uint32_t i = 0; i < run->gate_count; i++)
        sum += run->gates[i].tranche_micros;
    return sum;
}

static void tranches_are_the_budget(void **state)
{
    (void)state;
    static const struct {
        const char *releases[3], *budget;
        int64_t first, gates[4]; /* points a, b@20, b@30, c */
    } rows[] = {
        { { "", "", "" }, "1.000000", 200000, { 200000, 200000, 200000, 200000 } },
        { { "", "", "" }, "1.000001", 200001, { 200000, 200000, 200000, 200000 } },
        { { "", "", "" }, "1.000004", 200004, { 200000, 200000, 200000, 200000 } },
        { { "10%", "30%", "" }, "1.000000", 300000, { 100000, 150000, 150000, 300000 } },
        { { "33.3333%", "33.3333%", "33.3333%" },
          "1.000001",
          3,
          { 333333, 166666, 166666, 333333 } },
        { { "0%", "0%", "0%" }, "0.050000", 50000, { 0, 0, 0, 0 } },
        { { "50%", "", "" }, "7.777777", 972223, { 3888888, 972222, 972222, 972222 } },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char text[1024], shares[3][32];
        for (size_t k = 0; k < 3; k++)
            snprintf(shares[k], sizeof shares[k], "%s%s",
                     rows[i].releases[k][0] ? ", releases: " : "", rows[i].releases[k]);
        snprintf(text, sizeof text,
                 "campaign: c\nbudget: 10 USD\nprices: {cpu: 0}\ngates:\n"
                 "  - {name: a, at: {steps: 10}, rule: rank%s}\n"
                 "  - {name: b, at: {steps: [20, 30]}, rule: rank%s}\n"
                 "  - {name: c, at: {steps: 40}, rule: rank%s}\n"
                 "runs: [{name: r, budget: %s USD, data: t}]\n",
                 shares[0], shares[1], shares[2], rows[i].budget);
        struct campaign c;
        load_good(text, &c);
        assert_int_equal(c.runs[0].first_tranche_micros, rows[i].first);
        for (size_t k = 0; k < 4; k++)
            assert_int_equal(c.runs[0].gates[k].tranche_micros, rows[i].gates[k]);
        assert_int_equal(sum_of(&c.runs[0]), c.runs[0].budget_micros);
        campaign_fini(&c);
    }
}

/* A budget near the largest that a file may name does not overflow on its way. */
static void large_budgets_are_split_exactly(void **state)
{
    (void)state;
    struct campaign c;
    load_good("campaign: c\nbudget: 1000000000 USD\nprices: {cpu: 1 USD}\ngates:\n"
              "  - {name: a, at: {steps: 10}, rule: rank, releases: 99.9999%}\n"
              "runs: [{name: r, budget: 999999999.999999 USD, data: t}]\n",
              &c);
    assert_int_equal(c.runs[0].gates[0].tranche_micros, INT64_C(999998999999999));
    assert_int_equal(sum_of(&c.runs[0]), INT64_C(999999999999999));
    campaign_fini(&c);
}

static void a_run_passes_the_gates_that_it_names(void **state)
{
    (void)state;
    struct campaign c;
    load_good(HEAD "gates:\n"
                   "  - {name: a, at: {steps: 10}, rule: rank}\n"
                   "  - {name: b, at: {steps: 200}, rule: rank}\n"
                   "defaults: {budget: 1 USD, data: t}\n"
                   "runs:\n  - {name: all}\n  - {name: none, gates: []}\n"
                   "  - {name: one, gates: [b]}\n  - {name: short, steps: 50, gates: [a]}\n",
              &c);
    assert_int_equal(c.runs[0].gate_count, 2); /* one at the very last step is fine */
    assert_int_equal(c.runs[1].gate_count, 0);
    assert_int_equal(c.runs[2].gate_count, 1);
    assert_int_equal(c.runs[2].gates[0].gate_index, 1);
    assert_int_equal(c.runs[3].gate_count, 1);
    campaign_fini(&c);
}

static void geometric_points_end_at_the_largest_step(void **state)
{
    (void)state;
    struct campaign c;
    load_good(HEAD
              "gates:\n  - {name: g, rule: rank, at: {geometric: {first: 9007199254740991, "
              "factor: 1000000, until: 9007199254740992}}}\n"
              "runs: [{name: a, budget: 1 USD, command: [\"true\"]}]\n",
              &c);
    assert_int_equal(c.spec.gate_count, 1);
    assert_int_equal(c.spec.gates[0].step, INT64_C(9007199254740991));
    assert_string_equal(c.spec.gates[0].name, "g");
    campaign_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_schedule_gives_points),
        cmocka_unit_test(rules_have_their_defaults),
        cmocka_unit_test(tranches_are_the_budget),
        cmocka_unit_test(large_budgets_are_split_exactly),
        cmocka_unit_test(a_run_passes_the_gates_that_it_names),
        cmocka_unit_test(geometric_points_end_at_the_largest_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
