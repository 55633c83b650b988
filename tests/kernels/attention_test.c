#include "tests/kernels/support.h"

struct objective {
    struct shape shape;
    struct twin qkv, factor;
    double *out, *logsum;
    float *float_out, *float_logsum;
};

static double objective_run(void *context)
{
    struct objective *o = context;
    ref_attention(&o->shape, o->qkv.d, o->out, o->logsum);
    return weighted_sum(o->out, o->factor.d, o->factor.count);
}

static void forward(struct fixture *f, struct objective *o)
{
    f->kernels->attention(f->device, &(struct kernels_attention){ .batch_rows = o->shape.B,
                                                                  .context = o->shape.T,
                                                                  .width = o->shape.C,
                                                                  .heads = o->shape.H,
                                                                  .qkv = o->qkv.f,
                                                                  .out = o->float_out,
                                                                  .logsum = o->float_logsum });
}

static struct objective objective_new(struct fixture *f, float scale)
{
    int64_t count = f->rows * f->shape.C;
    struct objective o = { .shape = f->shape,
                           .qkv = twin_random(f, 3 * count, scale, 0.0f),
                           .factor = twin_random(f, count, 1.0f, 0.0f),
                           .out = doubles_new(f, count),
                           .logsum = doubles_new(f, f->rows * f->shape.H),
                           .float_out = floats_new(f, count),
                           .float_logsum = floats_new(f, f->rows * f->shape.H) };
    for (int64_t i = 0; i < count; i++)
        o.float_out[i] = NAN;
    forward(f, &o);
    return o;
}

static float *backward(struct fixture *f, struct objective *o)
{
    float *qkv_grad = floats_new(f, o->qkv.count);
    for (int64_t i = 0; i < o->qkv.count; i++)
        qkv_grad[i] = NAN;
    f->kernels->attention_backward(
        f->device, &(struct kernels_attention_backward){ .batch_rows = o->shape.B,
                                                         .context = o->shape.T,
                                                         .width = o->shape.C,
                                                         .heads = o->shape.H,
                                                         .qkv = o->qkv.f,
                                                         .out = o->float_out,
                                                         .logsum = o->float_logsum,
                                                         .out_grad = o->factor.f,
                                                         .qkv_grad = qkv_grad });
    return qkv_grad;
}

static void check_forward(struct fixture *f)
{
    struct objective o = objective_new(f, 1.0f);
    (void)objective_run(&o);
    assert_floats("out", o.float_out, o.out, o.factor.count, 2e-5);
    assert_floats("logsum", o.float_logsum, o.logsum, f->rows * f->shape.H, 2e-5);
}

/* Scores of several hundreds: the largest is taken off before exponents are formed. */
static void check_large(struct fixture *f)
{
    struct objective o = objective_new(f, 20.0f);
    (void)objective_run(&o);
    assert_floats("out", o.float_out, o.out, o.factor.count, 5e-3);
}

static void check_backward(struct fixture *f)
{
    struct objective o = objective_new(f, 1.0f);
    float *qkv_grad = backward(f, &o);
    for (int64_t i = 0; i < o.qkv.count; i++)
        assert_true(isfinite(qkv_grad[i]));
    assert_gradient(f, "qkv", &o.qkv, qkv_grad, objective_run, &o);
}

/* What comes later must not change what came before, to the last bit. */
static void check_causal(struct fixture *f)
{
    struct objective o = objective_new(f, 1.0f);
    float *before = floats_new(f, o.factor.count);
    memcpy(before, o.float_out, (size_t)o.factor.count * sizeof(float));
    int64_t last = (o.shape.T - 1) * 3 * o.shape.C;
    for (int64_t i = 0; i < 3 * o.shape.C; i++)
        o.qkv.f[last + i] += 1.0f;
    forward(f, &o);
    assert_same_bits("earlier outputs", before, o.float_out, (o.shape.T - 1) * o.shape.C);
}

static void check_nonfinite(struct fixture *f)
{
    struct objective o = objective_new(f, 1.0f);
    o.qkv.f[0] = NAN; /* the first query of the first head */
    forward(f, &o);
    for (int64_t i = 0; i < o.shape.C / o.shape.H; i++)
        assert_true(isnan(o.float_out[i]));
}

static void forward_equals_the_reference(void **state)
{
    (void)state;
    for_each_case(check_forward);
    for_each_case(check_large);
}

static void backward_equals_finite_differences(void **state)
{
    (void)state;
    for_each_case(check_backward);
}

static void the_future_is_invisible(void **state)
{
    (void)state;
    for_each_case(check_causal);
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
        cmocka_unit_test(the_future_is_invisible),
        cmocka_unit_test(a_nan_spoils_its_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
