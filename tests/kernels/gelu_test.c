#include "tests/kernels/support.h"

#include <float.h>

enum {
    COUNT = 40003 /* several chunks and a rest */
};

static const struct shape one = { 1, 1, 1, 1, 1 };

/* Values from the far left tail to the far right one. */
static struct twin inputs(struct fixture *f)
{
    struct twin in = twin_random(f, COUNT, 3.0f, 0.0f);
    const float edges[] = { 0.0f,  -0.0f, 1e-30f, -1e-30f, 12.0f,  -12.0f,  1e4f,
                            -1e4f, 1e18f, -1e18f, 3e38f,   -3e38f, FLT_MAX, -FLT_MAX };
    for (size_t i = 0; i < ARRAY_COUNT(edges); i++) {
        in.f[i] = edges[i];
        in.d[i] = (double)edges[i];
    }
    return in;
}

static void check_forward(struct fixture *f)
{
    struct twin in = inputs(f);
    float *out = floats_new(f, COUNT);
    f->kernels->gelu(f->device, &(struct kernels_gelu){ COUNT, in.f, out });
    for (int64_t i = 0; i < COUNT; i++)
        in.d[i] = ref_gelu(in.d[i]);
    assert_floats("out", out, in.d, COUNT, 1e-6);
}

static void check_backward(struct fixture *f)
{
    struct twin in = inputs(f);
    float *grad = floats_new(f, COUNT);
    double *want = doubles_new(f, COUNT);
    for (int64_t i = 0; i < COUNT; i++) {
        double h = 1e-5 * fmax(1.0, fabs(in.d[i]));
        grad[i] = 2.0f;
        want[i] = 2.0 * (ref_gelu(in.d[i] + h) - ref_gelu(in.d[i] - h)) / (2.0 * h);
    }
    /* out_grad and in_grad are one array here and two below. */
    f->kernels->gelu_backward(f->device,
                              &(struct kernels_gelu_backward){ COUNT, in.f, grad, grad });
    assert_floats("gradient in place", grad, want, COUNT, 5e-6);
    float *other = floats_new(f, COUNT);
    for (int64_t i = 0; i < COUNT; i++)
        grad[i] = 2.0f;
    f->kernels->gelu_backward(f->device,
                              &(struct kernels_gelu_backward){ COUNT, in.f, grad, other });
    assert_floats("gradient", other, want, COUNT, 5e-6);
}

static void check_nonfinite(struct fixture *f)
{
    const float in[3] = { NAN, INFINITY, -INFINITY };
    float out[3] = { 0 };
    f->kernels->gelu(f->device, &(struct kernels_gelu){ 3, in, out });
    assert_true(isnan(out[0]));
    assert_true(!isfinite(out[1]));
    assert_true(!isfinite(out[2]));
    float grad[3] = { 1.0f, 1.0f, 1.0f };
    f->kernels->gelu_backward(f->device, &(struct kernels_gelu_backward){ 3, in, grad, grad });
    assert_true(isnan(grad[0]));
}

static void forward_equals_the_reference(void **state)
{
    (void)state;
    for_each_device(&one, check_forward);
}

static void backward_equals_finite_differences(void **state)
{
    (void)state;
    for_each_device(&one, check_backward);
}

static void a_nan_stays_a_nan(void **state)
{
    (void)state;
    for_each_device(&one, check_nonfinite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_equals_the_reference),
        cmocka_unit_test(backward_equals_finite_differences),
        cmocka_unit_test(a_nan_stays_a_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
