/* Silence counts only while somebody listens. */
#include "scheduler/coordinator/silence.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { WORKERS = 4 };
#define START INT64_C(1000000)

static struct silence fresh(void)
{
    struct silence silence;
    assert_int_equal(silence_init(&silence, WORKERS, START, 10, 30, NULL), ERR_OK);
    return silence;
}

static void nobody_is_lost_before_joining(void **state)
{
    (void)state;
    struct silence silence = fresh();
    for (int i = 1; i < 100; i++)
        silence_tick(&silence, START + 10 * i);
    assert_int_equal(silence_lost(&silence, 0), WORKERS);
    silence_fini(&silence);
    silence_fini(&silence);
}

static void the_silent_one_is_lost_after_the_timeout(void **state)
{
    (void)state;
    struct silence silence = fresh();
    silence_heard(&silence, 1);
    silence_heard(&silence, 2);
    for (int64_t at = 10; at <= 30; at += 10) {
        silence_tick(&silence, START + at);
        silence_heard(&silence, 2);
        assert_int_equal(silence_lost(&silence, 0), WORKERS);
    }
    silence_tick(&silence, START + 31);
    assert_int_equal(silence_lost(&silence, 0), 1);
    assert_int_equal(silence_lost(&silence, 2), WORKERS);
    silence_forget(&silence, 1);
    assert_int_equal(silence_lost(&silence, 0), WORKERS);
    silence_fini(&silence);
}

static void a_pause_of_the_listener_says_nothing(void **state)
{
    (void)state;
    struct silence silence = fresh();
    silence_heard(&silence, 1);
    silence_tick(&silence, START + 1000000);
    assert_int_equal(silence_lost(&silence, 0), WORKERS);
    silence_tick(&silence, START + 1000010);
    silence_tick(&silence, START + 1000020);
    assert_int_equal(silence_lost(&silence, 0), WORKERS);
    silence_tick(&silence, START + 1000021);
    assert_int_equal(silence_lost(&silence, 0), 1);
    silence_fini(&silence);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_lost_before_joining),
        cmocka_unit_test(the_silent_one_is_lost_after_the_timeout),
        cmocka_unit_test(a_pause_of_the_listener_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
