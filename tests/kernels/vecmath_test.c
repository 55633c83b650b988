#include "kernels/cpu/vecmath.h"

#include "proto/base/defs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* The bounds of the header, for a build without fused multiply-add. */
static void the_exponential_is_as_exact_as_promised(void **state)
{
    (void)state;
    for (int i = -870000; i <= 870000; i++) {
        const float x = (float)i * 1e-4f;
        const double want = exp((double)x);
        const double off = fabs((double)exp_in_range(x) - want) / want;
        if (!(off <= (fabsf(x) <= 1.0f ? 5e-7 : 5e-6)))
            fail_msg("exp(%.9g) is off by %g", (double)x, off);
    }
    assert_true(exp_in_range(0.0f) == 1.0f);
}

/* The same formula, inlined twice: a compiler may fuse products and sums in one place only. */
static bool close_to(float a, float b)
{
    return fabsf(a - b) <= 1e-5f * fabsf(b);
}

static void beyond_the_range_it_stays_finite_or_shows(void **state)
{
    (void)state;
    const float large[] = { 87.5f, 1e3f, 1e10f, 3e38f };
    for (size_t i = 0; i < ARRAY_COUNT(large); i++) {
        assert_true(close_to(exp_vec(large[i]), exp_in_range(87.0f)));
        assert_true(close_to(exp_vec(-large[i]), exp_in_range(-87.0f)));
    }
    assert_true(close_to(exp_vec(-1.5f), exp_in_range(-1.5f)));
    assert_true(isnan(exp_vec(NAN)));
    assert_true(isnan(exp_vec(-NAN)));
    assert_true(isnan(exp_vec(INFINITY)));
    assert_true(isnan(exp_vec(-INFINITY)));
}

static void the_clamp_keeps_the_sign(void **state)
{
    (void)state;
    assert_true(clamp_magnitude(86.99f, BITS_OF_87) == 86.99f);
    assert_true(clamp_magnitude(-86.99f, BITS_OF_87) == -86.99f);
    assert_true(clamp_magnitude(1e30f, BITS_OF_87) == 87.0f);
    assert_true(clamp_magnitude(-1e30f, BITS_OF_87) == -87.0f);
    assert_true(clamp_magnitude(-INFINITY, BITS_OF_9_875) == -9.875f);
    assert_true(clamp_magnitude(0.0f, BITS_OF_87) == 0.0f);
}

static void the_maximum_is_found_anywhere(void **state)
{
    (void)state;
    float values[37];
    const float tops[] = { 5.0f, 0.0f, -0.25f, 1e-40f, 3e38f, INFINITY };
    for (size_t top = 0; top < ARRAY_COUNT(tops); top++) {
        for (size_t at = 0; at < ARRAY_COUNT(values); at++) {
            for (size_t i = 0; i < ARRAY_COUNT(values); i++)
                values[i] = -1.0f - (float)i;
            values[at] = tops[top];
            assert_true(max_of(values, ARRAY_COUNT(values)) == tops[top]);
            assert_true(max_of(values + at, 1) == tops[top]);
        }
    }
    const float lowest[] = { -INFINITY, -INFINITY };
    assert_true(max_of(lowest, 2) == -INFINITY);
}

static void ordered_bits_is_its_own_inverse(void **state)
{
    (void)state;
    const int32_t bits[] = { 0, 1, -1, INT32_MAX, INT32_MIN, BITS_OF_87, -BITS_OF_87 };
    for (size_t i = 0; i < ARRAY_COUNT(bits); i++)
        assert_int_equal(ordered_bits(ordered_bits(bits[i])), bits[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_exponential_is_as_exact_as_promised),
        cmocka_unit_test(beyond_the_range_it_stays_finite_or_shows),
        cmocka_unit_test(the_clamp_keeps_the_sign),
        cmocka_unit_test(the_maximum_is_found_anywhere),
        cmocka_unit_test(ordered_bits_is_its_own_inverse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
