/* gemm_plain.c against double loops, on every form of the product and shapes that are multiples
 * of nothing. (The one over OpenBLAS is judged by the tests of all that is built on it.) */
#include "kernels/cpu/ops.h"
#include "tests/kernels/support.h"

static const struct shape one = { 1, 1, 1, 1, 1 };
static const int64_t sizes[][3] = {
    { 1, 1, 1 }, { 4, 4, 4 }, { 5, 3, 7 }, { 9, 17, 1 }, { 33, 18, 21 }
};

static double element(const float *matrix, int64_t stride, bool transposed, int64_t i,
                      int64_t j)
{
    return (double)(transposed ? matrix[j * stride + i] : matrix[i * stride + j]);
}

/* Strides are 2 longer than rows: what stands between rows must stay. */
static void check_form(struct fixture *f, const int64_t *size, int form, float keep)
{
    bool a_transposed = form & 1, b_transposed = form & 2;
    int64_t rows = size[0], columns = size[1], inner = size[2];
    int64_t a_stride = (a_transposed ? rows : inner) + 2;
    int64_t b_stride = (b_transposed ? inner : columns) + 2;
    struct twin a = twin_random(f, (a_transposed ? inner : rows) * a_stride, 1.0f, 0.0f);
    struct twin b = twin_random(f, (b_transposed ? columns : inner) * b_stride, 1.0f, 0.0f);
    struct twin out = twin_random(f, rows * (columns + 2), 1.0f, 0.0f);
    if (keep == 0.0f) out.f[0] = NAN; /* overwritten, not multiplied */
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            double sum = 0.0;
            for (int64_t k = 0; k < inner; k++)
                sum += element(a.f, a_stride, a_transposed, i, k) *
                       element(b.f, b_stride, b_transposed, k, j);
            double *want = &out.d[i * (columns + 2) + j];
            *want = 0.5 * sum + (keep == 0.0f ? 0.0 : (double)keep * *want);
        }
    }
    const struct gemm gemm = { .a_transposed = a_transposed,
                               .b_transposed = b_transposed,
                               .rows = rows,
                               .columns = columns,
                               .inner = inner,
                               .a = a.f,
                               .b = b.f,
                               .a_stride = a_stride,
                               .b_stride = b_stride,
                               .factor = 0.5f,
                               .keep = keep,
                               .out = out.f,
                               .out_stride = columns + 2 };
    OP(gemm_prepare)();
    OP(gemm_run)(&gemm);
    assert_floats("product", out.f, out.d, out.count, 1e-5);
}

static void check_forms(struct fixture *f)
{
    const float keeps[] = { 0.0f, 1.0f, -0.25f };
    for (size_t size = 0; size < ARRAY_COUNT(sizes); size++)
        for (int form = 0; form < 4; form++)
            for (size_t keep = 0; keep < ARRAY_COUNT(keeps); keep++)
                check_form(f, sizes[size], form, keeps[keep]);
}

static void product_is_right_in_every_form(void **state)
{
    (void)state;
    for_each_device(&one, check_forms);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(product_is_right_in_every_form) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
