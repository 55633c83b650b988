#include "tests/kernels/cuda/twin.h"

/* Sums of up to 300 rows or 5000 columns in another order than the twin's. */
#define TOLERANCE 2e-5

/* One for each number of registers, on both sides of each limit, and rows of whole vectors and
 * others, for both types. */
static const struct {
    int64_t rows, width;
    bool large;
} cases[] = {
    { 1, 1, false },   { 3, 5, false },    { 5, 8, false },   { 2, 33, false },
    { 5, 64, false },  { 1, 16, false },   { 37, 8, true },   { 9, 65, true },
    { 3, 256, true },  { 3, 264, true },   { 6, 512, true },  { 3, 520, true },
    { 7, 768, true },  { 5, 776, true },   { 3, 1024, true }, { 5, 1001, true },
    { 3, 1032, true }, { 2, 4096, true },  { 2, 4104, true }, { 300, 24, true },
    { 700, 40, true }, { 19, 1160, true }, { 130, 7, true },
};

enum { WIDTH_MAX = 4104 };

static const struct kernels_options shapes = {
    .batch_rows = 1, .context = 700, .width = WIDTH_MAX, .heads = 1, .vocab_count = 1
};

struct layer {
    int64_t rows, width;
    struct array *in, *weight, *bias, *out, *mean, *rstd;
    struct array *out_grad, *in_grad, *weight_grad, *bias_grad;
};

static struct layer layer_new(struct twins *t, int64_t rows, int64_t width)
{
    return (struct layer){ .rows = rows,
                           .width = width,
                           .in = array_of_reals(t, rows * width, 2.0f, 0.5f),
                           .weight = array_of_reals(t, width, 0.5f, 1.0f),
                           .bias = array_of_reals(t, width, 0.5f, 0.0f),
                           .out = array_of_reals(t, rows * width, 0.0f, NAN),
                           .mean = array_of_floats(t, rows, 0.0f, NAN),
                           .rstd = array_of_floats(t, rows, 0.0f, NAN),
                           .out_grad = array_of_reals(t, rows * width, 1.0f, 0.0f),
                           .in_grad = array_of_reals(t, rows * width, 1.0f, 0.0f),
                           .weight_grad = array_of_floats(t, width, 0.0f, NAN),
                           .bias_grad = array_of_floats(t, width, 0.0f, NAN) };
}

static void forward(struct twins *t, struct layer *l)
{
    struct kernels_layernorm args = { l->rows,      l->width,    l->in->cpu,   l->weight->cpu,
                                      l->bias->cpu, l->out->cpu, l->mean->cpu, l->rstd->cpu };
    t->table->layernorm(t->cpu, &args);
    args = (struct kernels_layernorm){ l->rows,      l->width,    l->in->gpu,   l->weight->gpu,
                                       l->bias->gpu, l->out->gpu, l->mean->gpu, l->rstd->gpu };
    cuda_layernorm(t->gpu, &args);
}

static void backward(struct twins *t, struct layer *l, bool add)
{
    struct kernels_layernorm_backward args = { .rows = l->rows,
                                               .width = l->width,
                                               .in = l->in->cpu,
                                               .weight = l->weight->cpu,
                                               .mean = l->mean->cpu,
                                               .rstd = l->rstd->cpu,
                                               .out_grad = l->out_grad->cpu,
                                               .add = add,
                                               .in_grad = l->in_grad->cpu,
                                               .weight_grad = l->weight_grad->cpu,
                                               .bias_grad = l->bias_grad->cpu };
    t->table->layernorm_backward(t->cpu, &args);
    args.in = l->in->gpu;
    args.weight = l->weight->gpu;
    args.mean = l->mean->gpu;
    args.rstd = l->rstd->gpu;
    args.out_grad = l->out_grad->gpu;
    args.in_grad = l->in_grad->gpu;
    args.weight_grad = l->weight_grad->gpu;
    args.bias_grad = l->bias_grad->gpu;
    cuda_layernorm_backward(t->gpu, &args);
}

/* The sums of rows grow with their root. */
static void compare_sums(const struct layer *l)
{
    double tolerance = TOLERANCE * (1.0 + sqrt((double)l->rows));
    array_compare("weight gradient", l->weight_grad, tolerance);
    array_compare("bias gradient", l->bias_grad, tolerance);
}

static void check_case(struct twins *t, int64_t rows, int64_t width)
{
    /* One number has no spread: its rstd of 316 multiplies a difference of equals. */
    const double tolerance = width == 1 ? 1e-4 : TOLERANCE;
    struct layer l = layer_new(t, rows, width);
    forward(t, &l);
    array_compare("out", l.out, TOLERANCE);
    array_compare("mean", l.mean, TOLERANCE);
    array_compare("rstd", l.rstd, TOLERANCE);
    array_upload(l.mean); /* the same statistics for both */
    array_upload(l.rstd);
    backward(t, &l, true);
    array_compare("input gradient, added", l.in_grad, tolerance);
    compare_sums(&l);
    const float *weight_grad = array_download(l.weight_grad);
    array_fill(l.in_grad, NAN);
    array_fill(l.weight_grad, NAN);
    array_fill(l.bias_grad, NAN);
    backward(t, &l, false);
    array_compare("input gradient", l.in_grad, tolerance);
    compare_sums(&l);
    array_same("weight gradient", l.weight_grad, weight_grad);
}

static void check_all(struct twins *t)
{
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        if (cases[i].large && shapes_are_small()) continue;
        if (cases[i].width > 4000 && t->skip != 0) continue; /* nothing new, and slow */
        check_case(t, cases[i].rows, cases[i].width);
    }
}

/* The sums over no rows are zero. */
static void check_no_rows(struct twins *t)
{
    struct layer l = layer_new(t, 0, 37);
    forward(t, &l);
    backward(t, &l, false);
    compare_sums(&l);
    const float *sums = array_download(l.bias_grad);
    for (int i = 0; i < 37; i++)
        assert_true(sums[i] == 0.0f);
}

static void check_flat_row(struct twins *t)
{
    struct layer l = layer_new(t, 2, 48);
    array_fill(l.in, 3.0f);
    forward(t, &l);
    const float *out = array_download(l.out);
    for (int i = 0; i < 2 * 48; i++)
        assert_float_equal(out[i], l.bias->cpu[i % 48], 1e-6);
}

/* A value that is not finite spoils its row and the sums over rows, and nothing else. */
static void check_nonfinite(struct twins *t)
{
    static const int64_t widths[] = { 40, 33, 1032 };
    static const float values[] = { NAN, INFINITY, -INFINITY };
    for (size_t i = 0; i < ARRAY_COUNT(widths) * ARRAY_COUNT(values); i++) {
        int64_t C = widths[i / ARRAY_COUNT(values)];
        if (C > 40 && (shapes_are_small() || t->skip != 0)) continue;
        struct layer l = layer_new(t, 3, C);
        array_set(l.in, C + C - 2, values[i % ARRAY_COUNT(values)]);
        forward(t, &l);
        const float *out = array_download(l.out);
        for (int64_t k = 0; k < 3 * C; k++)
            assert_int_equal(isfinite(out[k]) != 0, k / C != 1);
        backward(t, &l, false);
        const float *grad = array_download(l.in_grad);
        for (int64_t k = 0; k < 3 * C; k++)
            assert_int_equal(isfinite(grad[k]) != 0, k / C != 1);
        const float *sums = array_download(l.weight_grad);
        for (int64_t k = 0; k < C; k++)
            assert_true(!isfinite(sums[k]));
    }
}

static void equals_the_twin(void **state)
{
    (void)state;
    for_each_twins(&shapes, check_all);
}

static void no_rows_give_no_gradient(void **state)
{
    (void)state;
    for_each_twins(&shapes, check_no_rows);
}

static void a_flat_row_gives_the_bias(void **state)
{
    (void)state;
    for_each_twins(&shapes, check_flat_row);
}

static void nonfinite_values_spoil_their_row(void **state)
{
    (void)state;
    for_each_twins(&shapes, check_nonfinite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_twin),
        cmocka_unit_test(no_rows_give_no_gradient),
        cmocka_unit_test(a_flat_row_gives_the_bias),
        cmocka_unit_test(nonfinite_values_spoil_their_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
