/* What a campaign file becomes: the shortest one, and one that says everything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/campaign/load.h"

static void the_shortest_file_gets_every_default(void **state)
{
    (void)state;
    struct campaign c;
    load_good(HEAD "runs: [{name: a, budget: 1 USD, data: t.txt}]\n", &c);
    assert_string_equal(c.spec.name, "c");
    assert_string_equal(c.spec.currency, "USD");
    assert_int_equal(c.spec.budget_micros, 10000000);
    assert_int_equal(c.spec.tier_count, 1);
    assert_int_equal(c.spec.tiers[0].up_to_micros, 10000000);
    assert_int_equal(c.spec.tiers[0].owner_index, NO_INDEX);
    assert_int_equal(c.spec.owner_count, 1);
    assert_string_equal(c.spec.owners[0].name, "owner");
    assert_string_equal(c.spec.owners[0].role, "");
    assert_int_equal(c.spec.class_count, 1);
    assert_string_equal(c.spec.classes[0].name, "cpu");
    assert_int_equal(c.spec.classes[0].rate_micros, 1200000);
    assert_int_equal(c.spec.place, PLACE_FIFO);
    assert_true(c.spec.backfill);
    assert_int_equal(c.spec.heartbeat_ns, NS_PER_S);
    assert_int_equal(c.spec.lease_ns, 60 * NS_PER_S);
    assert_int_equal(c.spec.stop_grace_ns, 30 * NS_PER_S);
    assert_int_equal(c.spec.worker_timeout_ns, 30 * NS_PER_S);
    assert_int_equal(c.spec.clock_error_ppm, 1000);
    assert_int_equal(c.spec.backoff_ns, 5 * NS_PER_S);
    assert_int_equal(c.spec.backoff_max_ns, 300 * NS_PER_S);
    assert_int_equal(c.spec.gate_count, 0);
    assert_int_equal(c.run_count, 1);
    const struct run_spec *run = &c.runs[0];
    assert_string_equal(run->name, "a");
    assert_string_equal(run->tenant, "");
    assert_int_equal(run->ranks, 1);
    assert_int_equal(run->class_index, NO_INDEX);
    assert_int_equal(run->priority, 0);
    assert_int_equal(run->budget_micros, 1000000);
    assert_int_equal(run->first_tranche_micros, 1000000);
    assert_int_equal(run->steps, 200);
    assert_true(run->builtin);
    assert_int_equal(run->launch.len, 0);
    assert_int_equal(c.launches[0].start_deadline_ns, 120 * NS_PER_S);
    assert_int_equal(c.launches[0].step_deadline_min_ns, 60 * NS_PER_S);
    assert_int_equal(c.launches[0].step_deadline_factor, 10);
    assert_int_equal(c.launches[0].threads, 0);
    assert_string_equal(c.launches[0].directory, "");
    campaign_fini(&c);
}

/* The strictest public practice: idle from the start warns at 60 and 105 minutes, stops at 120. */
static void the_default_guardrail_is_strict(void **state)
{
    (void)state;
    struct campaign c;
    load_good(HEAD "runs: [{name: a, budget: 1 USD, data: t.txt}]\n", &c);
    const struct guard_spec *g = &c.spec.guards[0];
    assert_int_equal(c.spec.guard_count, 1);
    assert_string_equal(c.guard_names[0], "default");
    assert_int_equal(g->window_ns, NS_PER_MIN);
    assert_int_equal(g->grace_ns, 10 * NS_PER_MIN);
    assert_int_equal(g->floor_ppm, 200000);
    assert_int_equal(g->clear_ppm, 250000);
    assert_int_equal(g->warn_windows, 2);
    assert_int_equal(g->park_windows, 5);
    assert_int_equal(g->stop_windows, 10);
    assert_int_equal(g->idle_ppm, 10000);
    assert_int_equal(g->idle_start_warn_ns[0], 60 * NS_PER_MIN);
    assert_int_equal(g->idle_start_warn_ns[1], 105 * NS_PER_MIN);
    assert_int_equal(g->idle_start_stop_ns, 120 * NS_PER_MIN);
    assert_int_equal(g->idle_again_warn_ns, 30 * NS_PER_MIN);
    assert_int_equal(g->idle_again_stop_ns, 60 * NS_PER_MIN);
    assert_int_equal(g->park_ns, 10 * NS_PER_MIN);
    campaign_fini(&c);
}

/* The flags that the built-in trainer is started with when nothing is said. */
static void the_built_in_trainer_gets_every_flag(void **state)
{
    (void)state;
    static const char *const expected[] = { "--data-format",
                                            "text",
                                            "--layers",
                                            "4",
                                            "--width",
                                            "128",
                                            "--heads",
                                            "4",
                                            "--context",
                                            "128",
                                            "--vocab",
                                            "256",
                                            "--batch",
                                            "8",
                                            "--lr",
                                            "1e-3",
                                            "--lr-min-ratio",
                                            "0.1",
                                            "--warmup",
                                            "20",
                                            "--weight-decay",
                                            "0.1",
                                            "--beta1",
                                            "0.9",
                                            "--beta2",
                                            "0.95",
                                            "--clip",
                                            "1.0",
                                            "--seed",
                                            "1",
                                            "--eval-every",
                                            "50",
                                            "--eval-batches",
                                            "4",
                                            "--checkpoint-every",
                                            "100",
                                            "--keep",
                                            "2",
                                            "--backend",
                                            "auto",
                                            "--dtype",
                                            "fp32",
                                            "--reduce",
                                            "fp32",
                                            "--gang-timeout",
                                            "600",
                                            "--steps",
                                            "200" };
    struct campaign c;
    load_good(HEAD "runs: [{name: a, budget: 1 USD, data: t.txt}]\n", &c);
    const struct launch *launch = &c.launches[0];
    assert_int_equal(launch->argc, 3 + ARRAY_COUNT(expected));
    assert_string_equal(launch->argv[0], "penstock-train");
    assert_string_equal(launch->argv[1], "--data");
    assert_int_equal(launch->argv[2][0], '/');
    assert_non_null(strstr(launch->argv[2], "/t.txt"));
    for (size_t i = 0; i < ARRAY_COUNT(expected); i += 2) {
        uint32_t at = 3;
        while (at < launch->argc && strcmp(launch->argv[at], expected[i]) != 0)
            at += 2;
        assert_in_range(at, 3, launch->argc - 2);
        assert_string_equal(launch->argv[at + 1], expected[i + 1]);
    }
    assert_null(launch->argv[launch->argc]);
    campaign_fini(&c);
}

static void load_full(struct campaign *c)
{
    struct error error = { .code = ERR_OK };
    if (campaign_load("tests/unit/campaign/full.yaml", "/opt/train", c, &error) != ERR_OK)
        fail_msg("%s", error.text);
}

static void money_and_owners_are_read(void **state)
{
    (void)state;
    struct campaign c;
    load_full(&c);
    assert_string_equal(c.spec.name, "full.1");
    assert_string_equal(c.spec.currency, "EUR");
    assert_int_equal(c.spec.budget_micros, 12000001);
    assert_int_equal(c.spec.tier_count, 3);
    assert_int_equal(c.spec.tiers[0].up_to_micros, 10000000);
    assert_int_equal(c.spec.tiers[0].owner_index, NO_INDEX);
    assert_int_equal(c.spec.tiers[1].up_to_micros, 11000000);
    assert_int_equal(c.spec.tiers[1].owner_index, 1);
    assert_int_equal(c.spec.tiers[2].owner_index, 0);
    assert_int_equal(c.spec.class_count, 3);
    assert_string_equal(c.spec.classes[1].name, "h100");
    assert_int_equal(c.spec.classes[1].rate_micros, 2500000);
    assert_int_equal(c.spec.device_count, 2);
    assert_string_equal(c.spec.devices[0].match, "Foo #1");
    assert_int_equal(c.spec.devices[0].peak_flops, 989400000000000);
    assert_int_equal(c.spec.devices[1].peak_flops, 1000000000);
    assert_int_equal(c.spec.classes[2].rate_micros, 0);
    assert_int_equal(c.spec.owner_count, 3);
    assert_int_equal(c.spec.owners[0].key_count, 1);
    assert_int_equal(c.spec.owners[0].answer_within_ns, 36 * NS_PER_HOUR);
    assert_int_equal(c.spec.owners[0].delegate_index, 2);
    assert_int_equal(c.spec.owners[0].otherwise, OTHERWISE_NO_GO);
    assert_int_equal(c.spec.owners[1].key_count, 0);
    assert_int_equal(c.spec.owners[1].answer_within_ns, 0);
    assert_int_equal(c.spec.owners[1].delegate_index, NO_INDEX);
    assert_int_equal(c.spec.owners[1].otherwise, OTHERWISE_WAIT);
    assert_string_equal(c.spec.owners[1].name, "bob");
    assert_string_equal(c.spec.owners[1].role, "spend");
    assert_string_equal(c.spec.owners[2].role, "");
    campaign_fini(&c);
}

static void placement_and_timing_are_read(void **state)
{
    (void)state;
    struct campaign c;
    load_full(&c);
    assert_int_equal(c.spec.place, PLACE_FAIR);
    assert_false(c.spec.backfill);
    assert_int_equal(c.spec.heartbeat_ns, 500 * NS_PER_MS);
    assert_int_equal(c.spec.lease_ns, 90 * NS_PER_S);
    assert_int_equal(c.spec.stop_grace_ns, 10 * NS_PER_S);
    assert_int_equal(c.spec.worker_timeout_ns, 20 * NS_PER_S);
    assert_int_equal(c.spec.clock_error_ppm, 2500);
    assert_int_equal(c.spec.backoff_ns, NS_PER_S);
    assert_int_equal(c.spec.backoff_max_ns, NS_PER_HOUR);
    for (uint32_t i = 0; i < c.run_count; i++) {
        assert_int_equal(c.launches[i].start_deadline_ns, 300 * NS_PER_S);
        assert_int_equal(c.launches[i].step_deadline_min_ns, 150 * NS_PER_S);
        assert_int_equal(c.launches[i].step_deadline_factor, 20);
    }
    campaign_fini(&c);
}

static void guardrails_and_their_variants_are_read(void **state)
{
    (void)state;
    struct campaign c;
    load_full(&c);
    assert_int_equal(c.spec.guard_count, 3);
    const struct guard_spec *g = &c.spec.guards[0];
    assert_int_equal(g->window_ns, 30 * NS_PER_S);
    assert_int_equal(g->grace_ns, 300 * NS_PER_S);
    assert_int_equal(g->floor_ppm, 300000);
    assert_int_equal(g->clear_ppm, 333333);
    assert_int_equal(g->warn_windows, 3);
    assert_int_equal(g->park_windows, 6);
    assert_int_equal(g->stop_windows, 0);
    assert_int_equal(g->idle_ppm, 20000);
    assert_int_equal(g->idle_start_warn_ns[0], 600 * NS_PER_S);
    assert_int_equal(g->idle_start_warn_ns[1], 0);
    assert_int_equal(g->idle_start_stop_ns, 1200 * NS_PER_S);
    assert_int_equal(g->idle_again_warn_ns, 0);
    assert_int_equal(g->idle_again_stop_ns, 900 * NS_PER_S);
    assert_int_equal(g->park_ns, 61 * NS_PER_MIN);
    g = &c.spec.guards[1]; /* what it does not say is as above */
    assert_string_equal(c.guard_names[1], "strict");
    assert_int_equal(g->window_ns, 10 * NS_PER_S);
    assert_int_equal(g->grace_ns, 300 * NS_PER_S);
    assert_int_equal(g->stop_windows, 7);
    assert_int_equal(g->idle_start_warn_ns[0], 0);
    assert_int_equal(g->idle_start_stop_ns, 1200 * NS_PER_S);
    assert_string_equal(c.guard_names[2], "none");
    assert_int_equal(c.spec.guards[2].floor_ppm, 0);
    campaign_fini(&c);
}

static const char *flag(const struct launch *launch, const char *name)
{
    for (uint32_t i = 1; i + 1 < launch->argc; i++)
        if (strcmp(launch->argv[i], name) == 0) return launch->argv[i + 1];
    return "";
}

static void a_run_of_the_built_in_trainer_is_read(void **state)
{
    (void)state;
    struct campaign c;
    load_full(&c);
    const struct run_spec *run = &c.runs[1];
    const struct launch *launch = &c.launches[1];
    assert_string_equal(run->name, "tuned");
    assert_int_equal(run->ranks, 2);
    assert_int_equal(run->class_index, NO_INDEX);
    assert_int_equal(run->budget_micros, 2500000);
    assert_int_equal(run->first_tranche_micros, 2500000);
    assert_int_equal(run->priority, -3);
    assert_string_equal(run->tenant, "ml");
    assert_int_equal(run->gate_count, 0);
    assert_int_equal(run->guard_index, 1);
    assert_int_equal(run->owner_index, 1);
    assert_int_equal(run->steps, 500);
    assert_string_equal(launch->argv[0], "/opt/train");
    assert_string_equal(flag(launch, "--data"), "/data/tokens.u16");
    assert_string_equal(flag(launch, "--layers"), "2"); /* of the defaults' model */
    assert_string_equal(flag(launch, "--width"), "64");
    assert_string_equal(flag(launch, "--heads"), "8");
    assert_string_equal(flag(launch, "--context"), "32");
    assert_string_equal(flag(launch, "--vocab"), "512");
    assert_string_equal(flag(launch, "--lr"), "0.001");
    assert_string_equal(flag(launch, "--lr-min-ratio"), "0");
    assert_string_equal(flag(launch, "--seed"), "123456789012");
    assert_string_equal(flag(launch, "--checkpoint-every"), "0");
    assert_string_equal(flag(launch, "--backend"), "cpu");
    assert_string_equal(flag(launch, "--steps"), "500");
    assert_int_equal(launch->env_count, 1);
    assert_string_equal(launch->env[0].name, "OMP_PROC_BIND");
    assert_string_equal(launch->env[0].value, "true");
    assert_int_equal(launch->threads, 3);
    campaign_fini(&c);
}

static void runs_of_commands_are_read(void **state)
{
    (void)state;
    struct campaign c;
    load_full(&c);
    const struct launch *script = &c.launches[2], *words = &c.launches[3];
    assert_false(c.runs[2].builtin);
    assert_int_equal(c.runs[2].class_index, 1);
    assert_int_equal(script->argc, 3);
    assert_string_equal(script->argv[0], "/bin/sh");
    assert_string_equal(script->argv[1], "-c");
    assert_string_equal(script->argv[2], "python3 train.py --name 'x y' | tee log");
    assert_null(script->argv[3]);
    assert_int_equal(script->directory[0], '/');
    assert_non_null(strstr(script->directory, "/tests/unit/campaign/code"));
    assert_int_equal(words->argc, 6);
    assert_string_equal(words->argv[2], "tab\there");
    assert_string_equal(words->argv[3], "line\nbreak");
    assert_string_equal(words->argv[5], "");
    assert_int_equal(words->env_count, 2);
    assert_string_equal(words->env[0].value, "");
    assert_string_equal(words->env[1].value, "a: b # c");
    assert_int_equal(c.runs[3].steps, 400);
    campaign_fini(&c);
}

static void a_command_without_steps_has_unknown_ones(void **state)
{
    (void)state;
    struct campaign c;
    load_good(HEAD "gates: [{name: g, at: {steps: 100000}, rule: rank}]\n"
                   "runs: [{name: a, budget: 1 USD, command: [\"true\"]}]\n",
              &c);
    assert_int_equal(c.runs[0].steps, 0);
    assert_int_equal(c.runs[0].gate_count, 1);
    campaign_fini(&c);
}

static void a_short_run_warms_up_no_longer_than_it_lasts(void **state)
{
    (void)state;
    struct campaign c;
    load_good(HEAD "defaults: {budget: 1 USD, data: t.txt}\n"
                   "runs: [{name: a, steps: 7}, {name: b, steps: 7, train: {warmup: 3}}]\n",
              &c);
    assert_string_equal(flag(&c.launches[0], "--warmup"), "7");
    assert_string_equal(flag(&c.launches[1], "--warmup"), "3");
    campaign_fini(&c);
}

static void the_file_is_kept_with_its_hash(void **state)
{
    (void)state;
    static const char text[] = HEAD "runs: [{name: a, budget: 1 USD, data: t.txt}]\n";
    struct campaign c;
    load_good(text, &c);
    assert_true(text_is(c.spec.file_text, text));
    struct sha256 hash = sha256_of2(text_of(text), TEXT(""));
    assert_true(sha256_equal(&hash, &c.spec.file_hash));
    campaign_fini(&c);
}

static void a_zeroed_campaign_may_be_released(void **state)
{
    (void)state;
    struct campaign c = { .run_count = 0 };
    campaign_fini(&c);
    campaign_fini(NULL);
}

/* A run needs room for the shortest lease and the stop grace, at its own class's price. */
static void a_budget_must_pay_for_the_first_lease(void **state)
{
    (void)state;
    struct campaign c;
    static const char head[] = "campaign: c\nbudget: 10 USD\n"
                               "prices: {cpu: 3.60 USD, h100: 36 USD}\n"
                               "timing: {lease: 8s, stop_grace: 9s, clock_error: 0%}\n";
    char text[512];
    /* 9 s and an eighth of 8 s at 0.001 a second, and a millisecond that the check adds. */
    snprintf(text, sizeof text,
             "%sruns: [{name: a, budget: 0.010001 USD, class: cpu, data: t}]\n", head);
    load_good(text, &c);
    campaign_fini(&c);
    snprintf(text, sizeof text,
             "%sruns: [{name: a, budget: 0.010000 USD, class: cpu, data: t}]\n", head);
    load_bad(text,
             "5: budget: run a starts with 0.01 USD, but its shortest lease with the stop "
             "grace costs 0.010001 USD; raise its budget, or shorten timing.lease and "
             "timing.stop_grace");
    snprintf(text, sizeof text,
             "%sruns: [{name: a, budget: 0.010001 USD, class: h100, data: t}]\n", head);
    load_bad(text,
             "5: budget: run a starts with 0.010001 USD, but its shortest lease with the "
             "stop grace costs 0.10001 USD; raise its budget, or shorten timing.lease and "
             "timing.stop_grace");
    snprintf(text, sizeof text,
             "%sruns: [{name: a, budget: 0.010001 USD, ranks: 2, data: t}]\n", head);
    load_bad(text,
             "5: budget: run a starts with 0.010001 USD, but its shortest lease with the "
             "stop grace costs 0.020002 USD; raise its budget, or shorten timing.lease and "
             "timing.stop_grace");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_shortest_file_gets_every_default),
        cmocka_unit_test(the_default_guardrail_is_strict),
        cmocka_unit_test(the_built_in_trainer_gets_every_flag),
        cmocka_unit_test(money_and_owners_are_read),
        cmocka_unit_test(placement_and_timing_are_read),
        cmocka_unit_test(guardrails_and_their_variants_are_read),
        cmocka_unit_test(a_run_of_the_built_in_trainer_is_read),
        cmocka_unit_test(runs_of_commands_are_read),
        cmocka_unit_test(a_command_without_steps_has_unknown_ones),
        cmocka_unit_test(a_short_run_warms_up_no_longer_than_it_lasts),
        cmocka_unit_test(the_file_is_kept_with_its_hash),
        cmocka_unit_test(a_zeroed_campaign_may_be_released),
        cmocka_unit_test(a_budget_must_pay_for_the_first_lease),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
