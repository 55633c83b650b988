/*
 * The product of gemm_openblas.c for builds that have no BLAS: the GPU's tests compare with the
 * CPU on machines that have little more than a compiler. Rows of `out` are made four at a time
 * so that a row of b is read once for four sums.
 */
#include "kernels/cpu/ops.h"

#include <string.h>

enum { ROWS_AT_ONCE = 4 };

void OP(gemm_prepare)(void)
{
}

static float a_at(const struct gemm *g, int64_t row, int64_t k)
{
    return g->factor *
           (g->a_transposed ? g->a[k * g->a_stride + row] : g->a[row * g->a_stride + k]);
}

/* out[row .. row + rows, :] for b as it is stored: a row of b is added to rows of out. */
static void rows_plain(const struct gemm *g, int64_t row, int64_t rows)
{
    for (int64_t k = 0; k < g->inner; k++) {
        const float *restrict b = g->b + k * g->b_stride;
        for (int64_t r = row; r < row + rows; r++) {
            const float a = a_at(g, r, k);
            float *restrict out = g->out + r * g->out_stride;
#pragma omp simd
            for (int64_t column = 0; column < g->columns; column++)
                out[column] += a * b[column];
        }
    }
}

/* Alike for b transposed: each element is the product of two rows, or of a column of a. */
static void rows_transposed(const struct gemm *g, int64_t row, int64_t rows)
{
    for (int64_t column = 0; column < g->columns; column++) {
        const float *restrict b = g->b + column * g->b_stride;
        for (int64_t r = row; r < row + rows; r++) {
            float sum = 0.0f;
            if (g->a_transposed) {
                for (int64_t k = 0; k < g->inner; k++)
                    sum += g->a[k * g->a_stride + r] * b[k];
            } else {
                const float *restrict a = g->a + r * g->a_stride;
#pragma omp simd reduction(+ : sum)
                for (int64_t k = 0; k < g->inner; k++)
                    sum += a[k] * b[k];
            }
            g->out[r * g->out_stride + column] += g->factor * sum;
        }
    }
}

/* A keep of zero overwrites: what stood there may be anything, NaN too. */
static void start_row(const struct gemm *g, int64_t row)
{
    float *out = g->out + row * g->out_stride;
    if (g->keep == 0.0f)
        memset(out, 0, (size_t)g->columns * sizeof(float));
    else
        for (int64_t column = 0; column < g->columns; column++)
            out[column] *= g->keep;
}

void OP(gemm_run)(const struct gemm *g)
{
    for (int64_t row = 0; row < g->rows; row += ROWS_AT_ONCE) {
        int64_t rows = min_i64(ROWS_AT_ONCE, g->rows - row);
        for (int64_t r = row; r < row + rows; r++)
            start_row(g, r);
        if (g->b_transposed)
            rows_transposed(g, row, rows);
        else
            rows_plain(g, row, rows);
    }
}
