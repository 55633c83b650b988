/* The kill escalation as a table: every state reaches the end, deadlines hold, nothing is repeated too soon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/spawn/supervise.h"

static void test_asked_then_killed_then_gone(void **state)
{
    (void)state;
    struct supervise s;
    supervise_init(&s, 100);
    assert_int_equal(s.due_ns, TIME_NEVER);
    assert_int_equal(supervise_step(&s, SUPERVISE_ON_TIME, 999999), SUPERVISE_NOTHING);
    assert_int_equal(supervise_step(&s, SUPERVISE_ON_STOP, 1000), SUPERVISE_SEND_TERM);
    assert_int_equal(s.due_ns, 1100);
    assert_int_equal(supervise_step(&s, SUPERVISE_ON_TIME, 1099), SUPERVISE_NOTHING);
    assert_int_equal(s.state, SUPERVISE_ASKED);
    assert_int_equal(supervise_step(&s, SUPERVISE_ON_TIME, 1100), SUPERVISE_SEND_KILL);
    assert_int_equal(s.state, SUPERVISE_KILLED);
    assert_int_equal(supervise_step(&s, SUPERVISE_ON_TIME, 1101), SUPERVISE_NOTHING);
    assert_int_equal(supervise_step(&s, SUPERVISE_ON_TIME, 1100 + SUPERVISE_REPEAT_NS),
                     SUPERVISE_SEND_KILL);
    assert_int_equal(supervise_step(&s, SUPERVISE_ON_EXIT, 5000000000), SUPERVISE_NOTHING);
    assert_int_equal(s.state, SUPERVISE_GONE);
    assert_int_equal(s.due_ns, TIME_NEVER);
}

static void test_second_stop_changes_nothing(void **state)
{
    (void)state;
    struct supervise s;
    supervise_init(&s, 100);
    supervise_step(&s, SUPERVISE_ON_STOP, 1000);
    assert_int_equal(supervise_step(&s, SUPERVISE_ON_STOP, 1050), SUPERVISE_NOTHING);
    assert_int_equal(s.due_ns, 1100);
}

static void test_at_once_from_everywhere(void **state)
{
    (void)state;
    struct supervise s;
    supervise_init(&s, 100);
    assert_int_equal(supervise_step(&s, SUPERVISE_ON_STOP_AT_ONCE, 5), SUPERVISE_SEND_KILL);
    assert_int_equal(supervise_step(&s, SUPERVISE_ON_STOP_AT_ONCE, 6), SUPERVISE_NOTHING);
    assert_int_equal(supervise_step(&s, SUPERVISE_ON_STOP, 7), SUPERVISE_NOTHING);
    assert_int_equal(s.state, SUPERVISE_KILLED);
    supervise_init(&s, 100);
    supervise_step(&s, SUPERVISE_ON_STOP, 5);
    assert_int_equal(supervise_step(&s, SUPERVISE_ON_STOP_AT_ONCE, 6), SUPERVISE_SEND_KILL);
}

static void test_hasten_only_shortens(void **state)
{
    (void)state;
    struct supervise s;
    supervise_init(&s, 100);
    supervise_hasten(&s, 1);
    assert_int_equal(s.due_ns, TIME_NEVER); /* nobody asked it to end */
    supervise_step(&s, SUPERVISE_ON_STOP, 1000);
    supervise_hasten(&s, 5000);
    assert_int_equal(s.due_ns, 1100);
    supervise_hasten(&s, 1010);
    assert_int_equal(supervise_step(&s, SUPERVISE_ON_TIME, 1010), SUPERVISE_SEND_KILL);
}

static void test_grace_of_zero_and_of_ever(void **state)
{
    (void)state;
    struct supervise s;
    supervise_init(&s, 0);
    supervise_step(&s, SUPERVISE_ON_STOP, 10);
    assert_int_equal(supervise_step(&s, SUPERVISE_ON_TIME, 10), SUPERVISE_SEND_KILL);
    supervise_init(&s, INT64_MAX);
    supervise_step(&s, SUPERVISE_ON_STOP, 10);
    assert_int_equal(s.due_ns, TIME_NEVER);
}

static void test_late_stops_after_the_end(void **state)
{
    (void)state;
    struct supervise s;
    supervise_init(&s, 10);
    supervise_step(&s, SUPERVISE_ON_EXIT, 1);
    for (int64_t now = 2; now < 1000; now += 100) {
        assert_int_equal(supervise_step(&s, SUPERVISE_ON_STOP, now), SUPERVISE_NOTHING);
        assert_int_equal(supervise_step(&s, SUPERVISE_ON_STOP_AT_ONCE, now), SUPERVISE_NOTHING);
        assert_int_equal(supervise_step(&s, SUPERVISE_ON_TIME, now), SUPERVISE_NOTHING);
        assert_int_equal(s.state, SUPERVISE_GONE);
    }
}

static void test_every_state_ends_and_has_a_name(void **state)
{
    (void)state;
    for (int from = 0; from < SUPERVISE_GONE; from++) {
        struct supervise s = { .state = (enum supervise_state)from, .due_ns = TIME_NEVER };
        supervise_step(&s, SUPERVISE_ON_EXIT, 1);
        assert_int_equal(s.state, SUPERVISE_GONE);
    }
    for (int i = 0; i < SUPERVISE_STATE_COUNT; i++)
        assert_true(supervise_state_name((enum supervise_state)i)[0] != '\0');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asked_then_killed_then_gone),
        cmocka_unit_test(test_second_stop_changes_nothing),
        cmocka_unit_test(test_at_once_from_everywhere),
        cmocka_unit_test(test_hasten_only_shortens),
        cmocka_unit_test(test_grace_of_zero_and_of_ever),
        cmocka_unit_test(test_late_stops_after_the_end),
        cmocka_unit_test(test_every_state_ends_and_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
