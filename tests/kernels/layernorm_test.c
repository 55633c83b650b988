#include "tests/kernels/support.h"

struct objective {
    int64_t rows, width;
    struct twin in, weight, bias, factor;
    double *out;
    float *float_out, *mean, *rstd;
};

static double objective_run(void *context)
{
    struct objective *o = context;
    ref_layernorm(o->rows, o->width, o->in.d, o->weight.d, o->bias.d, o->out);
    return weighted_sum(o->out, o->factor.d, o->factor.count);
}

static void forward(struct fixture *f, struct objective *o)
{
    f->kernels->layernorm(f->device, &(struct kernels_layernorm){ .rows = o->rows,
                                                                  .width = o->width,
                                                                  .in = o->in.f,
                                                                  .weight = o->weight.f,
                                                                  .bias = o->bias.f,
                                                                  .out = o->float_out,
                                                                  .mean = o->mean,
                                                                  .rstd = o->rstd });
}

static struct objective objective_new(struct fixture *f)
{
    int64_t N = f->rows;
    int64_t C = f->shape.C;
    struct objective o = { .rows = N,
                           .width = C,
                           .in = twin_random(f, N * C, 2.0f, 0.5f),
                           .weight = twin_random(f, C, 0.5f, 1.0f),
                           .bias = twin_random(f, C, 0.5f, 0.0f),
                           .factor = twin_random(f, N * C, 1.0f, 0.0f),
                           .out = doubles_new(f, N * C),
                           .float_out = floats_new(f, N * C),
                           .mean = floats_new(f, N),
                           .rstd = floats_new(f, N) };
    forward(f, &o);
    return o;
}

static void check_forward(struct fixture *f)
{
    struct objective o = objective_new(f);
    (void)objective_run(&o);
    assert_floats("out", o.float_out, o.out, o.factor.count, 1e-5);
}

struct grads {
    float *in, *weight, *bias;
};

static struct grads backward(struct fixture *f, struct objective *o, bool add, float in_before)
{
    struct grads g = { floats_new(f, o->in.count), floats_new(f, o->width),
                       floats_new(f, o->width) };
    for (int64_t i = 0; i < o->in.count; i++)
        g.in[i] = in_before;
    for (int64_t i = 0; i < o->width; i++)
        g.weight[i] = g.bias[i] = NAN;
    f->kernels->layernorm_backward(
        f->device, &(struct kernels_layernorm_backward){ .rows = o->rows,
                                                         .width = o->width,
                                                         .in = o->in.f,
                                                         .weight = o->weight.f,
                                                         .mean = o->mean,
                                                         .rstd = o->rstd,
                                                         .out_grad = o->factor.f,
                                                         .add = add,
                                                         .in_grad = g.in,
                                                         .weight_grad = g.weight,
                                                         .bias_grad = g.bias });
    return g;
}

static void check_backward(struct fixture *f)
{
    struct objective o = objective_new(f);
    struct grads set = backward(f, &o, false, NAN);
    assert_gradient(f, "in", &o.in, set.in, objective_run, &o);
    assert_gradient(f, "weight", &o.weight, set.weight, objective_run, &o);
    assert_gradient(f, "bias", &o.bias, set.bias, objective_run, &o);
    struct grads added = backward(f, &o, true, 2.0f);
    for (int64_t i = 0; i < o.in.count; i++)
        assert_float_equal(added.in[i], set.in[i] + 2.0f, 1e-5f * (2.0f + fabsf(set.in[i])));
    assert_same_bits("weight gradient", set.weight, added.weight, o.width);
}

/* A row without any spread is divided by the root of epsilon, not by zero. */
static void check_flat_row(struct fixture *f)
{
    struct objective o = objective_new(f);
    for (int64_t i = 0; i < o.width; i++)
        o.in.f[i] = 3.0f;
    forward(f, &o);
    for (int64_t i = 0; i < o.width; i++)
        assert_float_equal(o.float_out[i], o.bias.f[i], 1e-6);
}

static void check_nonfinite(struct fixture *f)
{
    struct objective o = objective_new(f);
    o.in.f[0] = NAN;
    forward(f, &o);
    for (int64_t i = 0; i < o.width; i++)
        assert_true(isnan(o.float_out[i]));
}

static void forward_equals_the_reference(void **state)
{
    (void)state;
    for_each_case(check_forward);
}

static void backward_equals_finite_differences(void **state)
{
    (void)state;
    for_each_case(check_backward);
}

static void a_flat_row_gives_the_bias(void **state)
{
    (void)state;
    for_each_case(check_flat_row);
}

static void a_nan_spoils_its_row(void **state)
{
    (void)state;
    for_each_case(check_nonfinite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_equals_the_reference),
        cmocka_unit_test(backward_equals_finite_differences),
        cmocka_unit_test(a_flat_row_gives_the_bias),
        cmocka_unit_test(a_nan_spoils_its_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
