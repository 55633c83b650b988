/* Defaults under runs, and grids that become runs. */
#include <stdio.h>
#include <string.h>

#include "tests/unit/campaign/load.h"

static const char *flag(const struct launch *launch, const char *name)
{
    for (uint32_t i = 1; i + 1 < launch->argc; i++)
        if (strcmp(launch->argv[i], name) == 0) return launch->argv[i + 1];
    return "";
}

static void a_grid_becomes_runs_in_order(void **state)
{
    (void)state;
    static const struct {
        const char *name, *lr, *width, *seed;
        uint64_t steps;
    } rows[] = {
        { "first", "1e-3", "128", "9", 200 },
        { "lr1e-3-w64-s10", "1e-3", "64", "9", 10 },
        { "lr1e-3-w64-s20", "1e-3", "64", "9", 20 },
        { "lr1e-3-w32-s10", "1e-3", "32", "9", 10 },
        { "lr1e-3-w32-s20", "1e-3", "32", "9", 20 },
        { "lr2e-3-w64-s10", "2e-3", "64", "9", 10 },
        { "lr2e-3-w64-s20", "2e-3", "64", "9", 20 },
        { "lr2e-3-w32-s10", "2e-3", "32", "9", 10 },
        { "lr2e-3-w32-s20", "2e-3", "32", "9", 20 },
    };
    struct campaign c;
    load_good(HEAD "defaults: {budget: 1 USD, data: t, train: {seed: 9}}\n"
                   "runs: [{name: first}]\n"
                   "sweep:\n"
                   "  name: \"lr{train.lr}-w{model.width}-s{steps}\"\n"
                   "  team: sweepers\n"
                   "  train: {warmup: 3}\n"
                   "  grid: {train.lr: [1e-3, 2e-3], model.width: [64, 32], steps: [10, 20]}\n",
              &c);
    assert_int_equal(c.run_count, ARRAY_COUNT(rows));
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        assert_string_equal(c.runs[i].name, rows[i].name);
        assert_int_equal(c.runs[i].steps, rows[i].steps);
        assert_string_equal(flag(&c.launches[i], "--lr"), rows[i].lr);
        assert_string_equal(flag(&c.launches[i], "--width"), rows[i].width);
        assert_string_equal(flag(&c.launches[i], "--seed"), rows[i].seed);
        assert_string_equal(flag(&c.launches[i], "--warmup"), i == 0 ? "20" : "3");
        assert_string_equal(c.runs[i].tenant, i == 0 ? "" : "sweepers");
    }
    campaign_fini(&c);
}

static void every_plain_key_can_be_swept(void **state)
{
    (void)state;
    struct campaign c;
    load_good(
        "campaign: c\nbudget: 10 USD\nprices: {cpu: 1 USD, gpu: 2 USD}\n"
        "owners: [{name: a}, {name: b}]\nguardrails: {variants: {x: {window: 5s}}}\n"
        "sweep:\n"
        "  - {name: \"ranks{ranks}\", grid: {ranks: [1, 2]}, budget: 1 USD, command: x}\n"
        "  - {name: \"class{class}\", grid: {class: [gpu, any]}, budget: 1 USD, command: x}\n"
        "  - {name: \"budget{budget}\", grid: {budget: [1, 2]}, command: x}\n"
        "  - {name: \"prio{priority}\", grid: {priority: [-1, 1]}, budget: 1 USD, command: x}\n"
        "  - {name: \"team{team}\", grid: {team: [p, q]}, budget: 1 USD, command: x}\n"
        "  - {name: \"owner{owner}\", grid: {owner: [b, a]}, budget: 1 USD, command: x}\n"
        "  - {name: \"guard{guardrail}\", grid: {guardrail: [x, default]}, budget: 1 USD, "
        "command: x}\n"
        "  - {name: \"steps{steps}\", grid: {steps: [7, 8]}, budget: 1 USD, command: x}\n"
        "  - {name: \"threads{threads}\", grid: {threads: [1, 2]}, budget: 1 USD, command: x}\n"
        "  - {name: \"data{data}\", grid: {data: [u, v]}, budget: 1 USD}\n"
        "  - {name: \"env{env.A}\", grid: {env.A: [m, n]}, budget: 1 USD, command: x, env: "
        "{B: c}}\n",
        &c);
    assert_int_equal(c.run_count, 22);
    assert_int_equal(c.runs[1].ranks, 2);
    assert_int_equal(c.runs[2].class_index, 1);
    assert_int_equal(c.runs[3].class_index, NO_INDEX);
    assert_int_equal(c.runs[5].budget_micros, 2000000);
    assert_int_equal(c.runs[6].priority, -1);
    assert_string_equal(c.runs[9].tenant, "q");
    assert_int_equal(c.runs[10].owner_index, 1);
    assert_int_equal(c.runs[12].guard_index, 1);
    assert_int_equal(c.runs[14].steps, 7);
    assert_int_equal(c.launches[17].threads, 2);
    assert_non_null(strstr(flag(&c.launches[19], "--data"), "/v"));
    assert_int_equal(c.launches[21].env_count, 2);
    assert_string_equal(c.launches[21].env[0].name, "B");
    assert_string_equal(c.launches[21].env[1].value, "n");
    campaign_fini(&c);
}

/* One value needs no place in the name; two do. */
static void a_single_value_need_not_be_named(void **state)
{
    (void)state;
    struct campaign c;
    load_good(HEAD "sweep: {name: \"n{train.lr}\", budget: 1 USD, data: t, "
                   "grid: {train.lr: [1e-3, 2e-3], train.seed: [4]}}\n",
              &c);
    assert_int_equal(c.run_count, 2);
    assert_string_equal(flag(&c.launches[1], "--seed"), "4");
    campaign_fini(&c);
}

static void defaults_fit_the_kind_of_trainer(void **state)
{
    (void)state;
    struct campaign c;
    load_good(HEAD "defaults: {budget: 1 USD, data: t, model: {layers: 2}, train: {lr: 5e-3}, "
                   "env: {A: a, B: b}, steps: 50}\n"
                   "runs:\n"
                   "  - {name: builtin, model: {layers: 3}, env: {B: c}}\n"
                   "  - {name: command, command: [\"true\"]}\n",
              &c);
    assert_true(c.runs[0].builtin);
    assert_string_equal(flag(&c.launches[0], "--layers"), "3");
    assert_string_equal(flag(&c.launches[0], "--lr"), "5e-3");
    assert_string_equal(c.launches[0].env[0].value, "a");
    assert_string_equal(c.launches[0].env[1].value, "c");
    assert_false(c.runs[1].builtin);
    assert_int_equal(c.launches[1].argc, 1);
    assert_int_equal(c.runs[1].steps, 50);
    campaign_fini(&c);
    load_good(HEAD "defaults: {budget: 1 USD, command: [\"true\"]}\n"
                   "runs:\n  - {name: a}\n  - {name: b, data: t}\n",
              &c);
    assert_false(c.runs[0].builtin);
    assert_true(c.runs[1].builtin);
    campaign_fini(&c);
}

/* An error in defaults names the line of defaults; one in a run's own key names the run's. */
static void errors_name_the_line_that_is_wrong(void **state)
{
    (void)state;
    load_bad(HEAD "defaults:\n  budget: 1 USD\n  data: t\n  train: {lr: fast}\n"
                  "runs:\n  - {name: a}\n",
             "7: train.lr: `fast` is not a number; write it as 0.001 or 1e-3");
    load_bad(HEAD "defaults:\n  budget: 1 USD\n  data: t\n  train: {lr: 1e-3}\n"
                  "runs:\n  - name: a\n    train:\n      lr: faster\n",
             "11: train.lr: `faster` is not a number; write it as 0.001 or 1e-3");
    load_bad(HEAD "defaults: {budget: 1 USD, data: t}\n"
                  "sweep:\n  name: \"n{steps}\"\n  grid:\n    steps:\n      - 10\n      - 1x\n",
             "10: steps: `1x` is not a whole number; write it with digits only, as 40");
}

static void as_many_runs_as_the_limit_and_no_more(void **state)
{
    (void)state;
    static char text[200000];
    struct writer writer = writer_of(text, sizeof text);
    writer_string(&writer, HEAD "sweep:\n  name: \"r{env.A}-{env.B}\"\n  budget: 1 USD\n"
                                "  command: [\"true\"]\n  grid:\n    env.A: [0");
    for (int i = 1; i < 128; i++)
        writer_format(&writer, ", %d", i);
    writer_string(&writer, "]\n    env.B: [0");
    for (int i = 1; i < 128; i++)
        writer_format(&writer, ", %d", i);
    writer_string(&writer, "]\n");
    struct campaign c;
    load_good(text, &c);
    assert_int_equal(c.run_count, CAMPAIGN_RUNS_MAX);
    assert_string_equal(c.runs[CAMPAIGN_RUNS_MAX - 1].name, "r127-127");
    campaign_fini(&c);
    writer_string(&writer, "runs: [{name: more, budget: 1 USD, data: t}]\n");
    load_bad(text, "4: runs: the campaign has more than 16384 runs; split it into several");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grid_becomes_runs_in_order),
        cmocka_unit_test(every_plain_key_can_be_swept),
        cmocka_unit_test(a_single_value_need_not_be_named),
        cmocka_unit_test(defaults_fit_the_kind_of_trainer),
        cmocka_unit_test(errors_name_the_line_that_is_wrong),
        cmocka_unit_test(as_many_runs_as_the_limit_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
