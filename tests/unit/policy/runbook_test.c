/* Runbooks: which row matches, how steps are used up, and what is done when nothing is left. */
#include "scheduler/policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ANY RUNBOOK_EXIT_ANY

static const struct runbook_row rows[] = {
    { INCIDENT_TRAINER_FAILED, 3, "", true, 1, { { RUNBOOK_STOP, RUNBOOK_UNLIMITED } } },
    { INCIDENT_TRAINER_FAILED,
      ANY,
      "CUDA error",
      false,
      2,
      { { RUNBOOK_RESTART, 2 }, { RUNBOOK_HOLD, 1 } } },
    { INCIDENT_TRAINER_FAILED, 8, "", false, 1, { { RUNBOOK_PARK, 1 } } },
    { INCIDENT_TRAINER_FAILED,
      ANY,
      "",
      false,
      2,
      { { RUNBOOK_RESTART, 3 }, { RUNBOOK_STOP, RUNBOOK_UNLIMITED } } },
    { INCIDENT_HANG,
      ANY,
      "",
      false,
      4,
      { { RUNBOOK_RESTART, 1 },
        { RUNBOOK_PARK, 1 },
        { RUNBOOK_HOLD, 1 },
        { RUNBOOK_STOP, 1 } } },
    { INCIDENT_LOST_WORKER, ANY, "", false, 1, { { RUNBOOK_RESTART, RUNBOOK_UNLIMITED } } },
    { INCIDENT_START_TIMEOUT, ANY, "", false, 2, { { RUNBOOK_PARK, 0 }, { RUNBOOK_HOLD, 1 } } },
    { INCIDENT_NONFINITE_LOSS, ANY, "", false, 0, { { RUNBOOK_RESTART, 9 } } },
    { INCIDENT_GATE_MISSED, -1, "", false, 1, { { RUNBOOK_HOLD, 1 } } },
};

static struct runbook_choice choose(enum incident incident, int32_t exit_code, const char *tail,
                                    bool builtin, const uint16_t (*used)[RUNBOOK_STEPS_MAX])
{
    struct runbook_facts facts = { .incident = incident,
                                   .exit_code = exit_code,
                                   .stderr_tail = text_of(tail),
                                   .builtin = builtin,
                                   .used = used };
    return runbook_choose(rows, ARRAY_COUNT(rows), &facts);
}

static void first_matching_row(void **state)
{
    (void)state;
    static const uint16_t unused[ARRAY_COUNT(rows)][RUNBOOK_STEPS_MAX];
    const struct {
        const char *what;
        enum incident incident;
        int32_t exit_code;
        const char *tail;
        bool builtin;
        enum runbook_action action;
        uint32_t row;
    } cases[] = {
        { "exit code of ours", INCIDENT_TRAINER_FAILED, 3, "", true, RUNBOOK_STOP, 0 },
        { "same code of another program", INCIDENT_TRAINER_FAILED, 3, "", false,
          RUNBOOK_RESTART, 3 },
        { "pattern", INCIDENT_TRAINER_FAILED, 1, "x\nCUDA error: 700\n", false, RUNBOOK_RESTART,
          1 },
        { "pattern before exit code, as written", INCIDENT_TRAINER_FAILED, 8, "CUDA error",
          false, RUNBOOK_RESTART, 1 },
        { "pattern at the very end", INCIDENT_TRAINER_FAILED, 8, "..CUDA error", false,
          RUNBOOK_RESTART, 1 },
        { "pattern cut off", INCIDENT_TRAINER_FAILED, 8, "..CUDA erro", false, RUNBOOK_PARK,
          2 },
        { "pattern in other letters", INCIDENT_TRAINER_FAILED, 1, "cuda error", false,
          RUNBOOK_RESTART, 3 },
        { "exit code", INCIDENT_TRAINER_FAILED, 8, "", false, RUNBOOK_PARK, 2 },
        { "exit code 0 is not any", INCIDENT_TRAINER_FAILED, 0, "", false, RUNBOOK_RESTART, 3 },
        { "no tail at all", INCIDENT_TRAINER_FAILED, -1, NULL, false, RUNBOOK_RESTART, 3 },
        { "another incident", INCIDENT_HANG, 3, "CUDA error", true, RUNBOOK_RESTART, 4 },
        { "exit code that means nothing", INCIDENT_GATE_MISSED, -1, "", false, RUNBOOK_HOLD,
          8 },
        { "exit code differs", INCIDENT_GATE_MISSED, 0, "", false, RUNBOOK_STOP,
          ARRAY_COUNT(rows) },
        { "no row", INCIDENT_LEASE_EXPIRED, 0, "", false, RUNBOOK_STOP, ARRAY_COUNT(rows) },
        { "a step of limit 0 is passed over", INCIDENT_START_TIMEOUT, -1, "", false,
          RUNBOOK_HOLD, 6 },
        { "a row without steps", INCIDENT_NONFINITE_LOSS, -1, "", false, RUNBOOK_STOP,
          ARRAY_COUNT(rows) },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct runbook_choice got = choose(cases[i].incident, cases[i].exit_code, cases[i].tail,
                                           cases[i].builtin, unused);
        if (got.action != cases[i].action || got.row != cases[i].row)
            fail_msg("%s: %s by row %u", cases[i].what, runbook_action_name(got.action),
                     got.row);
    }
}

/* Takes each chosen step, as the core does, and writes what came out. */
static void steps_are_used_up_in_order(void **state)
{
    (void)state;
    uint16_t used[ARRAY_COUNT(rows)][RUNBOOK_STEPS_MAX] = { { 0 } };
    static const enum runbook_action expect[] = { RUNBOOK_RESTART, RUNBOOK_PARK, RUNBOOK_HOLD,
                                                  RUNBOOK_STOP,    RUNBOOK_STOP, RUNBOOK_STOP };
    for (size_t i = 0; i < ARRAY_COUNT(expect); i++) {
        struct runbook_choice got =
            choose(INCIDENT_HANG, -1, "", false, (const uint16_t(*)[RUNBOOK_STEPS_MAX])used);
        assert_int_equal(got.action, expect[i]);
        assert_int_equal(got.row, i < 4 ? 4 : ARRAY_COUNT(rows));
        assert_int_equal(got.step, i < 4 ? i : 0);
        if (got.row < ARRAY_COUNT(rows)) used[got.row][got.step]++;
    }
}

/* A row whose steps are used up still matches: a later, more general row is not asked. */
static void a_used_up_row_does_not_fall_through(void **state)
{
    (void)state;
    uint16_t used[ARRAY_COUNT(rows)][RUNBOOK_STEPS_MAX] = { [1] = { 2, 1 } };
    struct runbook_choice got = choose(INCIDENT_TRAINER_FAILED, 1, "CUDA error", false,
                                       (const uint16_t(*)[RUNBOOK_STEPS_MAX])used);
    assert_int_equal(got.action, RUNBOOK_STOP);
    assert_int_equal(got.row, ARRAY_COUNT(rows));
}

static void counts_belong_to_their_row(void **state)
{
    (void)state;
    uint16_t used[ARRAY_COUNT(rows)][RUNBOOK_STEPS_MAX] = { [1] = { 2, 0 }, [4] = { 9, 9, 9 } };
    struct runbook_choice got = choose(INCIDENT_TRAINER_FAILED, 1, "", false,
                                       (const uint16_t(*)[RUNBOOK_STEPS_MAX])used);
    assert_int_equal(got.action, RUNBOOK_RESTART);
    assert_int_equal(got.row, 3);
    got = choose(INCIDENT_TRAINER_FAILED, 1, "CUDA error", false,
                 (const uint16_t(*)[RUNBOOK_STEPS_MAX])used);
    assert_int_equal(got.action, RUNBOOK_HOLD);
    assert_int_equal(got.step, 1);
}

static void unlimited_steps_survive_a_full_counter(void **state)
{
    (void)state;
    uint16_t used[ARRAY_COUNT(rows)][RUNBOOK_STEPS_MAX] = { [5] = { UINT16_MAX } };
    struct runbook_choice got =
        choose(INCIDENT_LOST_WORKER, -1, "", false, (const uint16_t(*)[RUNBOOK_STEPS_MAX])used);
    assert_int_equal(got.action, RUNBOOK_RESTART);
    assert_int_equal(got.row, 5);
}

static void limits_to_the_last(void **state)
{
    (void)state;
    const struct {
        uint32_t limit;
        uint16_t used;
        enum runbook_action action;
    } cases[] = {
        { 0, 0, RUNBOOK_STOP },
        { 1, 0, RUNBOOK_RESTART },
        { 1, 1, RUNBOOK_STOP },
        { 65534, 65533, RUNBOOK_RESTART },
        { 65534, 65534, RUNBOOK_STOP },
        { 65534, 65535, RUNBOOK_STOP },
        { RUNBOOK_UNLIMITED, 65535, RUNBOOK_RESTART },
        { UINT32_MAX, 65535, RUNBOOK_RESTART },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct runbook_row row = { .incident = INCIDENT_HANG,
                                   .exit_code = ANY,
                                   .step_count = 1,
                                   .steps = { { RUNBOOK_RESTART, cases[i].limit } } };
        const uint16_t used[1][RUNBOOK_STEPS_MAX] = { { cases[i].used } };
        struct runbook_facts facts = { .incident = INCIDENT_HANG, .used = used };
        assert_int_equal(runbook_choose(&row, 1, &facts).action, cases[i].action);
    }
}

static void an_empty_runbook_stops(void **state)
{
    (void)state;
    struct runbook_facts facts = { .incident = INCIDENT_HANG };
    struct runbook_choice got = runbook_choose(NULL, 0, &facts);
    assert_int_equal(got.action, RUNBOOK_STOP);
    assert_int_equal(got.row, 0);
}

/* Preempted runs must not pay with their own retries. */
static void blame(void **state)
{
    (void)state;
    static const enum retry_class classes[INCIDENT_COUNT] = {
        [INCIDENT_TRAINER_FAILED] = RETRY_USER,
        [INCIDENT_START_TIMEOUT] = RETRY_USER,
        [INCIDENT_HANG] = RETRY_INFRASTRUCTURE,
        [INCIDENT_NONFINITE_LOSS] = RETRY_USER,
        [INCIDENT_LAUNCH_FAILED] = RETRY_INFRASTRUCTURE,
        [INCIDENT_LOST_WORKER] = RETRY_INFRASTRUCTURE,
        [INCIDENT_LEASE_EXPIRED] = RETRY_PREEMPTED,
        [INCIDENT_COORDINATOR_LOST] = RETRY_PREEMPTED,
        [INCIDENT_GATE_MISSED] = RETRY_USER,
    };
    for (unsigned i = 0; i < INCIDENT_COUNT; i++)
        assert_int_equal(incident_retry_class((enum incident)i), classes[i]);
}

static void every_value_has_a_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < INCIDENT_COUNT; i++)
        assert_string_not_equal(incident_name((enum incident)i), "unknown");
    for (unsigned a = 0; a < RUNBOOK_ACTION_COUNT; a++)
        assert_string_not_equal(runbook_action_name((enum runbook_action)a), "unknown");
    for (unsigned c = 0; c < RETRY_CLASS_COUNT; c++)
        assert_string_not_equal(retry_class_name((enum retry_class)c), "unknown");
    assert_string_equal(incident_name(INCIDENT_COUNT), "unknown");
    assert_string_equal(runbook_action_name(RUNBOOK_ACTION_COUNT), "unknown");
    assert_string_equal(retry_class_name(RETRY_CLASS_COUNT), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_matching_row),
        cmocka_unit_test(steps_are_used_up_in_order),
        cmocka_unit_test(a_used_up_row_does_not_fall_through),
        cmocka_unit_test(counts_belong_to_their_row),
        cmocka_unit_test(unlimited_steps_survive_a_full_counter),
        cmocka_unit_test(limits_to_the_last),
        cmocka_unit_test(an_empty_runbook_stops),
        cmocka_unit_test(blame),
        cmocka_unit_test(every_value_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
