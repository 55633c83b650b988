/* What signals ask for: suspend once, at once when pressed. */
#include "scheduler/coordinator/signals.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>

#include <cmocka.h>

static void levels_rise_and_repeats_mean_nothing(void **state)
{
    (void)state;
    static const struct {
        int numbers[4];
        int levels[4];
    } cases[] = {
        { { SIGUSR1, SIGUSR1, SIGTERM, SIGUSR2 }, { 1, 1, 1, 2 } },
        { { SIGTERM, SIGTERM, SIGTERM, SIGTERM }, { 1, 1, 1, 1 } },
        { { SIGINT, SIGINT, SIGINT, SIGTERM }, { 1, 2, 2, 2 } },
        { { SIGHUP, SIGINT, SIGINT, SIGHUP }, { 1, 1, 2, 2 } },
        { { SIGUSR2, SIGUSR1, SIGINT, SIGUSR2 }, { 2, 2, 2, 2 } },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct signals signals;
        struct error error;
        int before = 0;
        assert_int_equal(signals_open(&signals, &error), ERR_OK);
        assert_false(signals_take(&signals));
        for (size_t j = 0; j < 4; j++) {
            raise(cases[i].numbers[j]);
            assert_int_equal(signals_take(&signals), cases[i].levels[j] > before);
            assert_int_equal(signals.level, cases[i].levels[j]);
            before = signals.level;
        }
        signals_close(&signals);
        signals_close(&signals);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(
        levels_rise_and_repeats_mean_nothing) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
