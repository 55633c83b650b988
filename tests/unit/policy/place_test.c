/* Placement orders: each policy on plain facts and ties, and that every one is a total order.
 */
#include "scheduler/policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int sign(int value)
{
    return (value > 0) - (value < 0);
}

static void pairs(void **state)
{
    (void)state;
    const struct {
        const char *what;
        enum place_policy policy;
        struct place_facts a, b;
        int expect;
    } cases[] = {
        { "fifo: earlier first", PLACE_FIFO, { 1, 0, 0, 0 }, { 2, 0, 0, 0 }, -1 },
        { "fifo: spend does not matter", PLACE_FIFO, { 1, 0, 9, 9 }, { 2, 0, 0, 0 }, -1 },
        { "fifo: itself", PLACE_FIFO, { 1, 0, 0, 0 }, { 1, 0, 0, 0 }, 0 },
        { "fifo: far apart", PLACE_FIFO, { UINT32_MAX, 0, 0, 0 }, { 0, 0, 0, 0 }, 1 },
        { "priority before order", PLACE_FIFO, { 2, 5, 0, 0 }, { 1, 4, 0, 0 }, -1 },
        { "priority before spend", PLACE_FAIR, { 2, 5, 900, 0 }, { 1, 4, 0, 0 }, -1 },
        { "priority before time", PLACE_SHORTEST, { 2, 5, 0, TIME_NEVER }, { 1, 4, 0, 1 }, -1 },
        { "negative priority", PLACE_FIFO, { 1, -1, 0, 0 }, { 2, 0, 0, 0 }, 1 },
        { "extreme priorities", PLACE_FIFO, { 1, INT32_MIN, 0, 0 }, { 2, INT32_MAX, 0, 0 }, 1 },
        { "fair: least spend first", PLACE_FAIR, { 2, 0, 10, 0 }, { 1, 0, 11, 0 }, -1 },
        { "fair: tie by order", PLACE_FAIR, { 2, 0, 10, 0 }, { 1, 0, 10, 0 }, 1 },
        { "fair: extreme spend", PLACE_FAIR, { 1, 0, INT64_MAX, 0 }, { 2, 0, 0, 0 }, 1 },
        { "fair: time does not matter", PLACE_FAIR, { 1, 0, 1, 99 }, { 2, 0, 1, 1 }, -1 },
        { "shortest first", PLACE_SHORTEST, { 2, 0, 0, 10 }, { 1, 0, 0, 11 }, -1 },
        { "shortest: tie by order", PLACE_SHORTEST, { 2, 0, 0, 10 }, { 1, 0, 0, 10 }, 1 },
        { "shortest: unknown last",
          PLACE_SHORTEST,
          { 1, 0, 0, TIME_NEVER },
          { 2, 0, 0, TIME_NEVER - 1 },
          1 },
        { "shortest: two unknown by order",
          PLACE_SHORTEST,
          { 1, 0, 0, TIME_NEVER },
          { 2, 0, 0, TIME_NEVER },
          -1 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int ab = sign(place_compare(cases[i].policy, &cases[i].a, &cases[i].b));
        int ba = sign(place_compare(cases[i].policy, &cases[i].b, &cases[i].a));
        if (ab != cases[i].expect || ba != -cases[i].expect)
            fail_msg("%s: %d and %d", cases[i].what, ab, ba);
    }
}

/* Different orders never compare equal, and the order has no cycles. */
static void every_policy_is_a_total_order(void **state)
{
    (void)state;
    enum { COUNT = 24 };
    struct place_facts facts[COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        facts[i] = (struct place_facts){ .order = i,
                                         .priority = (int32_t)(i % 3) - 1,
                                         .tenant_spent_micros = (int64_t)(i * 7 % 4),
                                         .remaining_ns =
                                             i % 5 == 0 ? TIME_NEVER : (int64_t)(i * 5 % 3) };
    for (unsigned p = 0; p < PLACE_POLICY_COUNT; p++) {
        int wins[COUNT] = { 0 };
        for (size_t i = 0; i < COUNT; i++)
            for (size_t j = 0; j < COUNT; j++) {
                int got = place_compare((enum place_policy)p, &facts[i], &facts[j]);
                assert_int_equal(got == 0, i == j);
                wins[i] += got < 0;
            }
        /* In a total order the numbers of wins are 0 .. COUNT - 1, each once. */
        uint32_t seen = 0;
        for (size_t i = 0; i < COUNT; i++)
            seen |= UINT32_C(1) << wins[i];
        assert_int_equal(seen, (UINT32_C(1) << COUNT) - 1);
    }
}

static void every_policy_has_a_name(void **state)
{
    (void)state;
    for (unsigned p = 0; p < PLACE_POLICY_COUNT; p++)
        assert_string_not_equal(place_policy_name((enum place_policy)p), "unknown");
    assert_string_equal(place_policy_name(PLACE_POLICY_COUNT), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs),
        cmocka_unit_test(every_policy_is_a_total_order),
        cmocka_unit_test(every_policy_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
