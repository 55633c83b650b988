#include "tests/kernels/support.h"

static const struct shape one = { 1, 1, 1, 1, 1 };

static void check_sum(struct fixture *f)
{
    const int64_t counts[] = { 0, 1, 9, 16384, 16385, 100003 };
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        struct twin x = twin_random(f, counts[i], 1.0f, 0.0f);
        double want = weighted_sum(x.d, x.d, counts[i]);
        double got = f->kernels->sum_squares(f->device, x.f, counts[i]);
        assert_true(fabs(got - want) <= 1e-12 * (1.0 + want));
    }
}

/* Squares beyond what a float holds are still finite; every kind of non-finite value shows, in
 * the first place, in the last, and in the middle. */
static void check_nonfinite(struct fixture *f)
{
    enum { COUNT = 33333 };
    const float bad[] = { NAN, -NAN, INFINITY, -INFINITY };
    const int64_t places[] = { 0, 1, 16383, 16384, COUNT - 1 };
    struct twin x = twin_random(f, COUNT, 1.0f, 0.0f);
    for (size_t place = 0; place < ARRAY_COUNT(places); place++) {
        float saved = x.f[places[place]];
        x.f[places[place]] = 3e38f;
        assert_true(isfinite(f->kernels->sum_squares(f->device, x.f, COUNT)));
        for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
            x.f[places[place]] = bad[i];
            assert_true(!isfinite(f->kernels->sum_squares(f->device, x.f, COUNT)));
        }
        x.f[places[place]] = saved;
    }
}

/* The same bits for every number of threads: the order of the sum depends on the count alone.
 */
static double first_sum[KERNELS_BUILDS_MAX];

static void check_order(struct fixture *f)
{
    const struct kernels *builds[KERNELS_BUILDS_MAX];
    int count = kernels_cpu_builds(builds);
    struct twin x = twin_random(f, 200001, 1.0f, 0.0f);
    double sum = f->kernels->sum_squares(f->device, x.f, x.count);
    for (int i = 0; i < count; i++) {
        if (builds[i] != f->kernels) continue;
        if (first_sum[i] == 0.0) first_sum[i] = sum;
        assert_memory_equal(&first_sum[i], &sum, sizeof(sum));
    }
}

static void squares_are_summed(void **state)
{
    (void)state;
    for_each_device(&one, check_sum);
}

static void nonfinite_values_show(void **state)
{
    (void)state;
    for_each_device(&one, check_nonfinite);
}

static void threads_do_not_change_the_sum(void **state)
{
    (void)state;
    for_each_device(&one, check_order);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(squares_are_summed),
        cmocka_unit_test(nonfinite_values_show),
        cmocka_unit_test(threads_do_not_change_the_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
