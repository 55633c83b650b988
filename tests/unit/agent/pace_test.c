/* When silence is a hang. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/agent/pace.h"

static void test_never_before_life(void **state)
{
    (void)state;
    struct pace pace;
    pace_init(&pace);
    assert_int_equal(pace_deadline_ns(&pace, 100, 10), TIME_NEVER);
    pace_life(&pace, 5);
    assert_int_equal(pace_deadline_ns(&pace, 100, 10), 105);
    assert_int_equal(pace_deadline_ns(&pace, 0, 10), TIME_NEVER);
}

static void test_median_times_factor(void **state)
{
    (void)state;
    struct pace pace;
    pace_init(&pace);
    pace_step(&pace, 1000);
    assert_int_equal(pace_deadline_ns(&pace, 100, 10), 1100); /* one step has no interval */
    const int64_t times[] = { 1050, 1100, 1150, 9000, 9050 }; /* one pause */
    for (size_t i = 0; i < ARRAY_COUNT(times); i++)
        pace_step(&pace, times[i]);
    assert_int_equal(pace_deadline_ns(&pace, 100, 10), 9050 + 500);
    assert_int_equal(pace_deadline_ns(&pace, 700, 10), 9050 + 700);
    pace_life(&pace, 9900); /* a checkpoint shows life, and is no step */
    assert_int_equal(pace_deadline_ns(&pace, 100, 10), 9900 + 500);
    pace_step(&pace, 9950);
    assert_int_equal(pace_deadline_ns(&pace, 1, 0), 9951);
}

static void test_old_intervals_are_forgotten(void **state)
{
    (void)state;
    struct pace pace;
    int64_t now = 0;
    pace_init(&pace);
    for (int i = 0; i < 100; i++)
        pace_step(&pace, now += 1000);
    for (int i = 0; i < PACE_WINDOW; i++)
        pace_step(&pace, now += 7);
    assert_int_equal(pace_deadline_ns(&pace, 1, 10), now + 70);
}

static void test_huge_numbers_saturate(void **state)
{
    (void)state;
    struct pace pace;
    pace_init(&pace);
    pace_step(&pace, 0);
    pace_step(&pace, INT64_MAX / 2);
    assert_int_equal(pace_deadline_ns(&pace, 1, UINT32_MAX), INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_never_before_life),
                                        cmocka_unit_test(test_median_times_factor),
                                        cmocka_unit_test(test_old_intervals_are_forgotten),
                                        cmocka_unit_test(test_huge_numbers_saturate) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
