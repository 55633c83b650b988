#include "tests/kernels/cuda/twin.h"

#include <float.h>

/* The twin's own exponential is off by up to 5e-6 where it has no fused products. */
#define TOLERANCE 1e-5

static const struct kernels_options any = {
    .batch_rows = 1, .context = 1, .width = 1, .heads = 1, .vocab_count = 1
};

static const int64_t counts[] = { 0, 1, 3, 7, 8, 17, 300, 4099 };

static void forward(struct twins *t, const struct array *in, struct array *out)
{
    t->table->gelu(t->cpu, &(struct kernels_gelu){ in->count, in->cpu, out->cpu });
    cuda_gelu(t->gpu, &(struct kernels_gelu){ in->count, in->gpu, out->gpu });
}

static void backward(struct twins *t, const struct array *in, const struct array *out_grad,
                     struct array *in_grad)
{
    t->table->gelu_backward(t->cpu, &(struct kernels_gelu_backward){
                                        in->count, in->cpu, out_grad->cpu, in_grad->cpu });
    cuda_gelu_backward(t->gpu, &(struct kernels_gelu_backward){ in->count, in->gpu,
                                                                out_grad->gpu, in_grad->gpu });
}

static void check_both(struct twins *t)
{
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        struct array *in = array_of_reals(t, counts[i], 3.0f, 0.0f);
        struct array *out = array_of_reals(t, counts[i], 0.0f, NAN);
        struct array *out_grad = array_of_reals(t, counts[i], 1.0f, 0.0f);
        struct array *in_grad = array_of_reals(t, counts[i], 0.0f, NAN);
        forward(t, in, out);
        array_compare("out", out, TOLERANCE);
        backward(t, in, out_grad, in_grad);
        array_compare("in_grad", in_grad, TOLERANCE);
        backward(t, in, out_grad, out_grad);
        array_compare("in_grad in place", out_grad, TOLERANCE);
    }
}

/* Where the twin's logistic function, which is never quite zero, is no measure any more. */
static void check_ends(struct twins *t)
{
    struct array *in = array_of_reals(t, 2, 0.0f, 0.0f);
    struct array *out = array_of_reals(t, 2, 0.0f, NAN);
    array_set(in, 0, 3e38f);
    array_set(in, 1, -3e38f);
    cuda_gelu(t->gpu, &(struct kernels_gelu){ 2, in->gpu, out->gpu });
    const float *got = array_download(out);
    assert_true(got[0] == in->cpu[0]);
    assert_true(got[1] == 0.0f);
}

/* Far from zero, where exponentials and cubes leave the floats. */
static void check_extremes(struct twins *t)
{
    const float values[] = { 0.0f,   -0.0f,  9.0f,   -9.0f, 9.875f,   -9.875f,  12.0f,
                             -12.0f, 60.0f,  -60.0f, 1e10f, -1e10f,   1e20f,    -1e20f,
                             3e38f,  -3e38f, 1e-30f, NAN,   INFINITY, -INFINITY };
    enum { COUNT = ARRAY_COUNT(values) };
    struct array *in = array_of_reals(t, COUNT, 0.0f, 0.0f);
    struct array *out = array_of_reals(t, COUNT, 0.0f, 0.0f);
    struct array *grad = array_of_reals(t, COUNT, 0.0f, 1.0f);
    memcpy(in->cpu, values, sizeof(values));
    array_upload(in);
    forward(t, in, out);
    array_compare("out", out, TOLERANCE);
    backward(t, in, grad, grad);
    array_compare("in_grad", grad, TOLERANCE);
    const float *got = array_download(out), *slope = array_download(grad);
    for (int i = 0; i < COUNT; i++) {
        if (isfinite(values[i])) continue;
        if (isfinite(got[i]) || isfinite(slope[i]))
            fail_msg("%g gives %g and %g", (double)values[i], (double)got[i], (double)slope[i]);
    }
}

static void equals_the_twin(void **state)
{
    (void)state;
    for_each_twins(&any, check_both);
}

static void equals_the_twin_far_from_zero(void **state)
{
    (void)state;
    for_each_twins(&any, check_extremes);
    for_each_twins(&any, check_ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_twin),
        cmocka_unit_test(equals_the_twin_far_from_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
