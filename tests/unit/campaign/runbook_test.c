/* The runbook that a campaign gets: crash loops end, preemptions cost nothing. */
#include <string.h>

#include "tests/unit/campaign/load.h"

enum { TIMES_MAX = 200 };

/* What is done when the same incident happens again and again: each answer, until it is STOP. */
static uint32_t answers(const struct campaign *c, enum incident incident, int32_t exit_code,
                        bool builtin, enum runbook_action *last)
{
    uint16_t used[RUNBOOK_ROWS_MAX][RUNBOOK_STEPS_MAX] = { { 0 } };
    struct runbook_facts facts = { .incident = incident,
                                   .exit_code = exit_code,
                                   .stderr_tail = TEXT("it broke"),
                                   .builtin = builtin,
                                   .used = (const uint16_t(*)[RUNBOOK_STEPS_MAX])used };
    for (uint32_t times = 0; times < TIMES_MAX; times++) {
        struct runbook_choice choice =
            runbook_choose(c->spec.runbook, c->spec.runbook_count, &facts);
        *last = choice.action;
        if (choice.action == RUNBOOK_STOP) return times;
        assert_in_range(choice.row, 0, c->spec.runbook_count - 1);
        used[choice.row][choice.step]++;
    }
    return TIMES_MAX;
}

static void every_loop_ends_but_preemption(void **state)
{
    (void)state;
    static const struct {
        enum incident incident;
        int32_t exit_code;
        bool builtin;
        uint32_t times; /* tried again before it is stopped */
    } rows[] = {
        { INCIDENT_TRAINER_FAILED, 1, true, 3 },
        { INCIDENT_TRAINER_FAILED, 1, false, 3 },
        { INCIDENT_TRAINER_FAILED, 2, true, 0 },
        { INCIDENT_TRAINER_FAILED, 2, false, 3 },
        { INCIDENT_TRAINER_FAILED, 3, true, 0 },
        { INCIDENT_TRAINER_FAILED, 4, true, 0 },
        { INCIDENT_TRAINER_FAILED, 5, true, 0 },
        { INCIDENT_TRAINER_FAILED, 6, true, 6 },
        { INCIDENT_TRAINER_FAILED, 7, true, 0 },
        { INCIDENT_TRAINER_FAILED, 8, true, 3 },
        { INCIDENT_TRAINER_FAILED, -1, true, 3 },
        { INCIDENT_NONFINITE_LOSS, -1, true, 0 },
        { INCIDENT_NONFINITE_LOSS, -1, false, 1 },
        { INCIDENT_START_TIMEOUT, -1, true, 2 },
        { INCIDENT_HANG, -1, true, 4 },
        { INCIDENT_LAUNCH_FAILED, -1, false, 3 },
        { INCIDENT_GATE_MISSED, 0, false, 0 },
        { INCIDENT_LOST_WORKER, -1, true, 23 },
        { INCIDENT_LEASE_EXPIRED, -1, true, TIMES_MAX },
        { INCIDENT_COORDINATOR_LOST, -1, true, TIMES_MAX },
    };
    struct campaign c;
    load_good(HEAD "runs: [{name: a, budget: 1 USD, data: t}]\n", &c);
    bool seen[INCIDENT_COUNT] = { false };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        enum runbook_action last;
        seen[rows[i].incident] = true;
        assert_int_equal(
            answers(&c, rows[i].incident, rows[i].exit_code, rows[i].builtin, &last),
            rows[i].times);
        if (rows[i].times == TIMES_MAX) assert_int_equal(last, RUNBOOK_RESTART);
    }
    for (size_t i = 0; i < INCIDENT_COUNT; i++)
        assert_true(seen[i]);
    campaign_fini(&c);
}

static void the_files_rows_come_first(void **state)
{
    (void)state;
    struct campaign c;
    load_good(
        HEAD
        "runbook:\n"
        "  - {incident: trainer_failed, exit_code: 2, do: [{restart: 1}, {park: 2}, hold]}\n"
        "  - {incident: trainer_failed, match: broke, do: stop}\n"
        "runs: [{name: a, budget: 1 USD, data: t}]\n",
        &c);
    const struct runbook_row *row = &c.spec.runbook[0];
    assert_int_equal(row->incident, INCIDENT_TRAINER_FAILED);
    assert_int_equal(row->exit_code, 2);
    assert_string_equal(row->pattern, "");
    assert_false(row->builtin_only);
    assert_int_equal(row->step_count, 3);
    assert_int_equal(row->steps[0].action, RUNBOOK_RESTART);
    assert_int_equal(row->steps[0].limit, 1);
    assert_int_equal(row->steps[1].action, RUNBOOK_PARK);
    assert_int_equal(row->steps[1].limit, 2);
    assert_int_equal(row->steps[2].action, RUNBOOK_HOLD);
    assert_int_equal(row->steps[2].limit, RUNBOOK_UNLIMITED);
    assert_string_equal(c.spec.runbook[1].pattern, "broke");
    assert_int_equal(c.spec.runbook[1].exit_code, RUNBOOK_EXIT_ANY);
    enum runbook_action last;
    assert_int_equal(answers(&c, INCIDENT_TRAINER_FAILED, 1, true, &last), 0);
    assert_int_equal(answers(&c, INCIDENT_TRAINER_FAILED, 2, true, &last), TIMES_MAX);
    assert_int_equal(last, RUNBOOK_HOLD);
    campaign_fini(&c);
}

static void the_default_rows_can_be_left_out(void **state)
{
    (void)state;
    struct campaign c;
    load_good(HEAD "runbook_defaults: false\nruns: [{name: a, budget: 1 USD, data: t}]\n", &c);
    assert_int_equal(c.spec.runbook_count, 0);
    campaign_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_loop_ends_but_preemption),
        cmocka_unit_test(the_files_rows_come_first),
        cmocka_unit_test(the_default_rows_can_be_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
