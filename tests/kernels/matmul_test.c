#include "tests/kernels/support.h"

/* A product with inner width C and outer width V, both odd, so that tiles are cut everywhere.
 */
struct objective {
    int64_t rows, in_width, out_width;
    struct twin in, weight, bias, residual, factor, gelu_input;
    bool with_bias, with_residual, in_is_gelu;
    double *in_values, *out;
};

static double objective_run(void *context)
{
    struct objective *o = context;
    for (int64_t i = 0; i < o->in.count; i++)
        o->in_values[i] = o->in_is_gelu ? ref_gelu(o->gelu_input.d[i]) : o->in.d[i];
    ref_matmul(o->rows, o->in_width, o->out_width, o->in_values, o->weight.d,
               o->with_bias ? o->bias.d : NULL, o->with_residual ? o->residual.d : NULL,
               o->out);
    return weighted_sum(o->out, o->factor.d, o->factor.count);
}

static struct objective objective_new(struct fixture *f, int64_t in_width, int64_t out_width)
{
    int64_t N = f->rows;
    return (struct objective){ .rows = N,
                               .in_width = in_width,
                               .out_width = out_width,
                               .in = twin_random(f, N * in_width, 1.0f, 0.0f),
                               .weight = twin_random(f, out_width * in_width, 0.3f, 0.0f),
                               .bias = twin_random(f, out_width, 1.0f, 0.0f),
                               .residual = twin_random(f, N * out_width, 1.0f, 0.0f),
                               .factor = twin_random(f, N * out_width, 1.0f, 0.0f),
                               .gelu_input = twin_random(f, N * in_width, 1.5f, 0.0f),
                               .in_values = doubles_new(f, N * in_width),
                               .out = doubles_new(f, N * out_width) };
}

static struct kernels_matmul args_of(struct objective *o, float *out)
{
    return (struct kernels_matmul){ .rows = o->rows,
                                    .in_width = o->in_width,
                                    .out_width = o->out_width,
                                    .in = o->in.f,
                                    .weight = o->weight.f,
                                    .bias = o->with_bias ? o->bias.f : NULL,
                                    .residual = o->with_residual ? o->residual.f : NULL,
                                    .out = out };
}

static void check_forward_with(struct fixture *f, bool with_bias, bool with_residual)
{
    struct objective o = objective_new(f, f->shape.C, f->shape.V);
    o.with_bias = with_bias;
    o.with_residual = with_residual;
    float *out = floats_new(f, o.factor.count);
    float *gelu = floats_new(f, o.factor.count);
    for (int64_t i = 0; i < o.factor.count; i++)
        out[i] = gelu[i] = NAN;
    (void)objective_run(&o);
    struct kernels_matmul args = args_of(&o, out);
    args.gelu = gelu;
    f->kernels->matmul(f->device, &args);
    assert_floats("out", out, o.out, o.factor.count, 1e-5);
    for (int64_t i = 0; i < o.factor.count; i++)
        o.out[i] = ref_gelu(o.out[i]);
    assert_floats("gelu", gelu, o.out, o.factor.count, 1e-5);
}

static void check_forward(struct fixture *f)
{
    for (int i = 0; i < 4; i++)
        check_forward_with(f, (i & 1) != 0, (i & 2) != 0);
}

/* The residual may be the output itself: the product is then added in place. */
static void check_in_place(struct fixture *f)
{
    struct objective o = objective_new(f, f->shape.C, f->shape.V);
    o.with_bias = o.with_residual = true;
    (void)objective_run(&o);
    struct kernels_matmul args = args_of(&o, o.residual.f);
    f->kernels->matmul(f->device, &args);
    assert_floats("out", o.residual.f, o.out, o.factor.count, 1e-5);
}

static void check_backward_with(struct fixture *f, int64_t in_width, int64_t out_width,
                                bool in_is_gelu)
{
    struct objective o = objective_new(f, in_width, out_width);
    o.with_bias = true;
    o.in_is_gelu = in_is_gelu;
    (void)objective_run(&o);
    float *in = floats_new(f, o.in.count);
    for (int64_t i = 0; i < o.in.count; i++)
        in[i] = (float)o.in_values[i];
    float *in_grad = floats_new(f, o.in.count);
    float *weight_grad = floats_new(f, o.weight.count);
    float *bias_grad = floats_new(f, o.bias.count);
    in_grad[0] = weight_grad[0] = bias_grad[0] = NAN;
    f->kernels->matmul_backward(f->device, &(struct kernels_matmul_backward){
                                               .rows = o.rows,
                                               .in_width = in_width,
                                               .out_width = out_width,
                                               .in = in,
                                               .weight = o.weight.f,
                                               .out_grad = o.factor.f,
                                               .gelu_input = in_is_gelu ? o.gelu_input.f : NULL,
                                               .in_grad = in_grad,
                                               .weight_grad = weight_grad,
                                               .bias_grad = bias_grad });
    assert_gradient(f, "in", in_is_gelu ? &o.gelu_input : &o.in, in_grad, objective_run, &o);
    assert_gradient(f, "weight", &o.weight, weight_grad, objective_run, &o);
    assert_gradient(f, "bias", &o.bias, bias_grad, objective_run, &o);
}

static void check_backward(struct fixture *f)
{
    check_backward_with(f, f->shape.C, f->shape.V, false);
    check_backward_with(f, f->shape.V, f->shape.C, true);
}

static double *transposed(struct fixture *f, const double *in, int64_t rows, int64_t columns)
{
    double *out = doubles_new(f, rows * columns);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < columns; column++)
            out[column * rows + row] = in[row * columns + column];
    return out;
}

/* Every element against the textbook's formulas, for shapes where differences take too long. */
static void check_whole_backward(struct fixture *f)
{
    struct objective o = objective_new(f, f->shape.C, f->shape.V);
    int64_t N = o.rows, I = o.in_width, O = o.out_width;
    float *in_grad = floats_new(f, N * I);
    float *weight_grad = floats_new(f, O * I);
    float *bias_grad = floats_new(f, O);
    f->kernels->matmul_backward(f->device,
                                &(struct kernels_matmul_backward){ .rows = N,
                                                                   .in_width = I,
                                                                   .out_width = O,
                                                                   .in = o.in.f,
                                                                   .weight = o.weight.f,
                                                                   .out_grad = o.factor.f,
                                                                   .in_grad = in_grad,
                                                                   .weight_grad = weight_grad,
                                                                   .bias_grad = bias_grad });
    double *in_want = doubles_new(f, N * I);
    double *weight_want = doubles_new(f, O * I);
    double *bias_want = doubles_new(f, O);
    double *ones = doubles_new(f, N);
    for (int64_t i = 0; i < N; i++)
        ones[i] = 1.0;
    const double *factor_t = transposed(f, o.factor.d, N, O);
    ref_matmul(N, O, I, o.factor.d, transposed(f, o.weight.d, O, I), NULL, NULL, in_want);
    ref_matmul(O, N, I, factor_t, transposed(f, o.in.d, N, I), NULL, NULL, weight_want);
    ref_matmul(O, N, 1, factor_t, ones, NULL, NULL, bias_want);
    assert_floats("in gradient", in_grad, in_want, N * I, 2e-5);
    assert_floats("weight gradient", weight_grad, weight_want, O * I, 5e-5);
    assert_floats("bias gradient", bias_grad, bias_want, O, 5e-5);
}

/* Without in_grad and bias_grad only the weights' gradient is made. */
static void check_weight_only(struct fixture *f)
{
    struct objective o = objective_new(f, f->shape.C, f->shape.V);
    float *weight_grad = floats_new(f, o.weight.count);
    f->kernels->matmul_backward(
        f->device, &(struct kernels_matmul_backward){ .rows = o.rows,
                                                      .in_width = o.in_width,
                                                      .out_width = o.out_width,
                                                      .in = o.in.f,
                                                      .weight = o.weight.f,
                                                      .out_grad = o.factor.f,
                                                      .weight_grad = weight_grad });
    assert_gradient(f, "weight", &o.weight, weight_grad, objective_run, &o);
}

static void check_nonfinite(struct fixture *f)
{
    struct objective o = objective_new(f, f->shape.C, f->shape.V);
    float *out = floats_new(f, o.factor.count);
    o.in.f[0] = INFINITY;
    struct kernels_matmul args = args_of(&o, out);
    f->kernels->matmul(f->device, &args);
    for (int64_t i = 0; i < o.out_width; i++)
        assert_true(!isfinite(out[i]));
}

static void check_peak(struct fixture *f)
{
    struct kernels_peak peak;
    assert_int_equal(f->kernels->peak(f->device, &peak, NULL), ERR_OK);
    assert_true(peak.flops_per_s > 1e8);
    assert_true(peak.flops_per_s < 1e14);
    assert_string_equal(peak.source, "sgemm");
}

static void forward_equals_the_reference(void **state)
{
    (void)state;
    for_each_case(check_forward);
}

static void a_residual_is_added_in_place(void **state)
{
    (void)state;
    for_each_case(check_in_place);
}

static void backward_equals_finite_differences(void **state)
{
    (void)state;
    for_each_case(check_backward);
}

/* More rows and columns than a tile has, in every direction. */
static void tiles_are_cut_right(void **state)
{
    (void)state;
    const struct shape wide_out = { 1, 601, 3, 1, 523 };
    const struct shape wide_in = { 1, 601, 523, 1, 3 };
    for_each_device(&wide_out, check_forward);
    for_each_device(&wide_out, check_whole_backward);
    for_each_device(&wide_in, check_whole_backward);
}

static void only_what_is_wanted_is_made(void **state)
{
    (void)state;
    for_each_case(check_weight_only);
}

static void an_infinity_stays_visible(void **state)
{
    (void)state;
    for_each_case(check_nonfinite);
}

static void the_peak_is_plausible(void **state)
{
    (void)state;
    const struct shape shape = { 1, 1, 1, 1, 1 };
    for_each_device(&shape, check_peak);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_equals_the_reference),
        cmocka_unit_test(a_residual_is_added_in_place),
        cmocka_unit_test(backward_equals_finite_differences),
        cmocka_unit_test(tiles_are_cut_right),
        cmocka_unit_test(only_what_is_wanted_is_made),
        cmocka_unit_test(an_infinity_stays_visible),
        cmocka_unit_test(the_peak_is_plausible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
