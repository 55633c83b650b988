/* The table of run states: every state reaches an end, ends have no exits, every name is there.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "scheduler/core/internal.h"

static bool reaches_end(enum run_state from, uint32_t depth)
{
    if (run_state_ended(from)) return true;
    for (size_t to = 0; depth > 0 && to < RUN_STATE_COUNT; to++)
        if (run_move_allowed(from, run_move_to((enum run_state)to)) &&
            reaches_end((enum run_state)to, depth - 1))
            return true;
    return false;
}

static void every_state_reaches_an_end(void **state)
{
    (void)state;
    for (size_t s = 0; s < RUN_STATE_COUNT; s++)
        assert_true(reaches_end((enum run_state)s, RUN_STATE_COUNT));
}

static void ends_have_no_exits(void **state)
{
    (void)state;
    for (size_t s = 0; s < RUN_STATE_COUNT; s++)
        for (size_t m = 0; run_state_ended((enum run_state)s) && m < RUN_MOVE_COUNT; m++)
            assert_false(run_move_allowed((enum run_state)s, (enum run_move)m));
}

static void a_gang_is_only_entered_from_the_queue(void **state)
{
    (void)state;
    for (size_t s = 0; s < RUN_STATE_COUNT; s++)
        assert_true(run_move_allowed((enum run_state)s, RUN_MOVE_PLACE) ==
                    (s == RUN_STATE_QUEUED));
}

static void every_name_is_present(void **state)
{
    (void)state;
    for (size_t i = 0; i < RUN_STATE_COUNT; i++)
        assert_true(strlen(run_state_name((enum run_state)i)) > 1);
    for (size_t i = 0; i < RECORD_KIND_COUNT; i++)
        assert_true(strlen(record_kind_name((enum record_kind)i)) > 1);
    for (size_t i = 0; i < INTENT_COUNT; i++)
        assert_true(strlen(intent_name((enum intent)i)) > 1);
    for (size_t i = 1; i < REASON_COUNT; i++)
        assert_true(strlen(reason_name((enum reason)i)) > 1);
    for (size_t i = 0; i < ENDING_COUNT; i++)
        assert_true(strlen(ending_name((enum ending)i)) > 1);
    assert_string_equal(run_state_name(RUN_STATE_COUNT), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_reaches_an_end),
        cmocka_unit_test(ends_have_no_exits),
        cmocka_unit_test(a_gang_is_only_entered_from_the_queue),
        cmocka_unit_test(every_name_is_present),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
