#include "tests/kernels/support.h"

static const struct shape one = { 1, 1, 1, 1, 1 };
static const int64_t counts[] = { 0, 1, 7, 16384, 16385, 50001 };

static void check_add(struct fixture *f)
{
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        int64_t count = counts[i];
        struct twin to = twin_random(f, count + 1, 1.0f, 0.0f);
        struct twin from = twin_random(f, count + 1, 1.0f, 0.0f);
        f->kernels->add(f->device, to.f, from.f, count);
        for (int64_t at = 0; at < count; at++)
            to.d[at] += from.d[at];
        assert_floats("sum", to.f, to.d, count + 1, 1e-6); /* one past the end is untouched */
    }
}

static void check_scale(struct fixture *f)
{
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        int64_t count = counts[i];
        struct twin values = twin_random(f, count + 1, 1.0f, 0.0f);
        f->kernels->scale(f->device, values.f, -0.5f, count);
        for (int64_t at = 0; at < count; at++)
            values.d[at] *= -0.5;
        assert_floats("product", values.f, values.d, count + 1, 0.0);
    }
}

static void check_round(struct fixture *f)
{
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        int64_t count = counts[i];
        struct twin to = twin_random(f, count + 1, 1.0f, 0.0f);
        struct twin from = twin_random(f, count + 1, 1.0f, 0.0f);
        f->kernels->round(f->device, to.f, from.f, count);
        for (int64_t at = 0; at < count; at++)
            to.d[at] = from.d[at];
        assert_floats("copy", to.f, to.d, count + 1, 0.0); /* nothing to round in fp32 */
    }
}

static void add_adds(void **state)
{
    (void)state;
    for_each_device(&one, check_add);
}

static void scale_multiplies(void **state)
{
    (void)state;
    for_each_device(&one, check_scale);
}

static void round_copies(void **state)
{
    (void)state;
    for_each_device(&one, check_round);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add_adds),
        cmocka_unit_test(scale_multiplies),
        cmocka_unit_test(round_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
