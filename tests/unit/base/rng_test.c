/* Random numbers: published values, the same ones for ever, without bias, with the right
 * moments. */
#include "proto/base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* The seeds that splitmix64 gives from 0, and xoshiro256**'s first numbers from {1, 2, 3, 4},
 * as their authors' programs print them. */
static void published_values(void **state)
{
    (void)state;
    struct rng rng = rng_of(0);
    assert_true(rng.state[0] == UINT64_C(0xE220A8397B1DCDAF));
    assert_true(rng.state[1] == UINT64_C(0x6E789E6AA1B965F4));
    assert_true(rng.state[2] == UINT64_C(0x06C45D188009454F));
    assert_true(rng.state[3] == UINT64_C(0xF88BB8A8724C81EC));
    static const uint64_t expect[] = { 11520, 0, 1509978240, UINT64_C(1215971899390074240) };
    struct rng plain = { { 1, 2, 3, 4 } };
    for (size_t i = 0; i < ARRAY_COUNT(expect); i++)
        assert_true(rng_u64(&plain) == expect[i]);
}

static void a_copied_state_goes_on_alike(void **state)
{
    (void)state;
    struct rng a = rng_of(99);
    for (int i = 0; i < 10; i++)
        rng_u64(&a);
    struct rng b = a;
    for (int i = 0; i < 100; i++)
        assert_true(rng_u64(&a) == rng_u64(&b));
    struct rng other = rng_of(100);
    assert_true(rng_u64(&a) != rng_u64(&other));
}

static void bounds_hold_without_bias(void **state)
{
    (void)state;
    struct rng rng = rng_of(1);
    assert_true(rng_below(&rng, 1) == 0);
    for (int i = 0; i < 1000; i++)
        assert_true(rng_below(&rng, UINT64_MAX) < UINT64_MAX);
    /* With three quarters of the range as bound, plain remainders would hit the lowest third of
     * results twice as often as the others. */
    const uint64_t bound = UINT64_C(3) << 62;
    int low = 0;
    for (int i = 0; i < 30000; i++)
        low += rng_below(&rng, bound) < bound / 3;
    assert_in_range(low, 9600, 10400); /* 10000, standard deviation 82 */
    int counts[7] = { 0 };
    for (int i = 0; i < 70000; i++)
        counts[rng_below(&rng, 7)]++;
    for (size_t i = 0; i < 7; i++)
        assert_in_range(counts[i], 9600, 10400);
}

static void uniform_floats(void **state)
{
    (void)state;
    struct rng rng = rng_of(2);
    double sum = 0, squares = 0;
    const int count = 100000;
    for (int i = 0; i < count; i++) {
        float x = rng_float(&rng);
        assert_true(x >= 0.0f);
        assert_true(x < 1.0f);
        sum += (double)x;
        squares += (double)x * (double)x;
    }
    assert_true(fabs(sum / count - 0.5) < 0.005);
    assert_true(fabs(squares / count - 1.0 / 3) < 0.005);
}

static void normal_moments(void **state)
{
    (void)state;
    struct rng rng = rng_of(3);
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
    const int count = 200000;
    for (int i = 0; i < count; i++) {
        double x = (double)rng_normal(&rng);
        assert_true(isfinite(x));
        m1 += x;
        m2 += x * x;
        m3 += x * x * x;
        m4 += x * x * x * x;
    }
    assert_true(fabs(m1 / count) < 0.01);
    assert_true(fabs(m2 / count - 1) < 0.02);
    assert_true(fabs(m3 / count) < 0.05);
    assert_true(fabs(m4 / count - 3) < 0.15);
}

/* Each normal number takes two draws, so that checkpoints resume at any of them. */
static void normal_takes_two_draws(void **state)
{
    (void)state;
    struct rng a = rng_of(4), b = rng_of(4);
    rng_normal(&a);
    rng_u64(&b);
    rng_u64(&b);
    assert_true(rng_u64(&a) == rng_u64(&b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_values),
        cmocka_unit_test(a_copied_state_goes_on_alike),
        cmocka_unit_test(bounds_hold_without_bias),
        cmocka_unit_test(uniform_floats),
        cmocka_unit_test(normal_moments),
        cmocka_unit_test(normal_takes_two_draws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
