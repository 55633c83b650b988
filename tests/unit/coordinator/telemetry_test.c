/* Figures between windows: rates over a span, losses kept, a new attempt starts anew. */
#include "scheduler/coordinator/telemetry.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct telemetry_extra extra = { 1e-3, 0.5 };

static struct telemetry at(uint64_t step, uint64_t tokens, int64_t loss_micro)
{
    return (struct telemetry){ .step = step,
                               .tokens = tokens,
                               .loss_micro = loss_micro,
                               .val_loss_micro = LOSS_UNKNOWN,
                               .cpu_ns = -1,
                               .ready = true };
}

static bool put(struct telemetry_board *board, uint32_t attempt, int64_t second,
                struct telemetry telemetry)
{
    return telemetry_board_put(board, 1, attempt, second * NS_PER_S, &telemetry, &extra);
}

static void rate_is_tokens_over_time(void **state)
{
    (void)state;
    struct telemetry_board board;
    assert_int_equal(telemetry_board_init(&board, 2, NULL), ERR_OK);
    const struct run_figures *figures = telemetry_board_get(&board, 1);
    assert_int_equal(figures->loss_micro, LOSS_UNKNOWN);
    assert_true(put(&board, 1, 100, at(0, 0, LOSS_UNKNOWN)));
    assert_true(put(&board, 1, 102, at(10, 2000, 3000000)));
    assert_true(figures->tokens_per_s > 999 && figures->tokens_per_s < 1001);
    assert_false(put(&board, 1, 103, at(10, 2000, LOSS_UNKNOWN)));
    assert_int_equal(figures->loss_micro, 3000000);
    assert_true(put(&board, 1, 110, at(20, 12000, LOSS_NONFINITE)));
    assert_true(put(&board, 1, 112, at(30, 16000, 2000000)));
    assert_true(figures->tokens_per_s > 1999 && figures->tokens_per_s < 2001);
    telemetry_board_fini(&board);
}

static void a_new_attempt_starts_anew(void **state)
{
    (void)state;
    struct telemetry_board board;
    assert_int_equal(telemetry_board_init(&board, 2, NULL), ERR_OK);
    put(&board, 1, 100, at(0, 0, 1));
    put(&board, 1, 110, at(100, 100000, 1));
    assert_true(put(&board, 2, 120, at(50, 50000, 2)));
    assert_int_equal(telemetry_board_get(&board, 1)->attempt, 2);
    assert_true(telemetry_board_get(&board, 1)->tokens_per_s < 1);
    put(&board, 2, 121, at(51, 51000, 2));
    assert_true(telemetry_board_get(&board, 1)->tokens_per_s < 1001);
    telemetry_board_fini(&board);
}

static void nothing_is_taken_before_the_trainer_is_ready(void **state)
{
    (void)state;
    struct telemetry_board board;
    assert_int_equal(telemetry_board_init(&board, 2, NULL), ERR_OK);
    struct telemetry silent = { .loss_micro = LOSS_UNKNOWN, .val_loss_micro = LOSS_UNKNOWN };
    assert_false(put(&board, 1, 100, silent));
    assert_int_equal(telemetry_board_get(&board, 1)->attempt, 0);
    telemetry_board_fini(&board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rate_is_tokens_over_time),
        cmocka_unit_test(a_new_attempt_starts_anew),
        cmocka_unit_test(nothing_is_taken_before_the_trainer_is_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
