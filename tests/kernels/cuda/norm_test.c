#include "tests/kernels/cuda/twin.h"

static const struct kernels_options any = {
    .batch_rows = 1, .context = 1, .width = 1, .heads = 1, .vocab_count = 1
};

static const int64_t counts[] = { 0, 1, 2, 31, 33, 1000, 4096, 4097, 20011, 300007 };

static void check_sum(struct twins *t)
{
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        if (shapes_are_small() && (counts[i] > 5000 || t->type == KERNELS_BF16)) continue;
        struct array *values = array_of_floats(t, counts[i], 1.0f, 0.3f);
        double want = t->table->sum_squares(t->cpu, values->cpu, counts[i]);
        double got = cuda_sum_squares(t->gpu, values->gpu, counts[i]);
        if (!(fabs(got - want) <= 1e-12 * want))
            fail_msg("%lld: %.17g, not %.17g", (long long)counts[i], got, want);
    }
}

/* The order of the sum does not depend on where the array begins. */
static void check_order(struct twins *t)
{
    enum { COUNT = 5003 };
    struct array *values = array_of_floats(t, COUNT + 1, 1.0f, 0.0f);
    double there = cuda_sum_squares(t->gpu, (float *)values->gpu + 1, COUNT);
    memmove(values->cpu, values->cpu + 1, COUNT * sizeof(float));
    array_upload(values);
    double here = cuda_sum_squares(t->gpu, values->gpu, COUNT);
    assert_memory_equal(&there, &here, sizeof(here));
}

/* Squares that are no floats any more count, and what is not finite spoils the sum. */
static void check_extremes(struct twins *t)
{
    enum { COUNT = 700 };
    struct array *values = array_of_floats(t, COUNT, 1.0f, 0.0f);
    array_set(values, 600, 1e30f);
    double sum = cuda_sum_squares(t->gpu, values->gpu, COUNT);
    assert_true(fabs(sum / ((double)1e30f * (double)1e30f) - 1.0) < 1e-12);
    array_fill(values, 1e-30f);
    sum = cuda_sum_squares(t->gpu, values->gpu, COUNT);
    assert_true(fabs(sum / (COUNT * (double)1e-30f * (double)1e-30f) - 1.0) < 1e-12);
    array_set(values, COUNT - 1, NAN);
    assert_true(isnan(cuda_sum_squares(t->gpu, values->gpu, COUNT)));
    array_set(values, COUNT - 1, -INFINITY);
    assert_true(isinf(cuda_sum_squares(t->gpu, values->gpu, COUNT)));
}

static void equals_the_twin(void **state)
{
    (void)state;
    for_each_twins(&any, check_sum);
}

static void the_order_depends_on_the_count_alone(void **state)
{
    (void)state;
    for_each_twins(&any, check_order);
}

static void is_finite_when_all_values_are(void **state)
{
    (void)state;
    for_each_twins(&any, check_extremes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_twin),
        cmocka_unit_test(the_order_depends_on_the_count_alone),
        cmocka_unit_test(is_finite_when_all_values_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
