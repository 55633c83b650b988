#include "kernels/cpu/ops.h"

#include <cblas.h>

void OP(gemm_prepare)(void)
{
    openblas_set_num_threads(1);
}

void OP(gemm_run)(const struct gemm *g)
{
    cblas_sgemm(CblasRowMajor, g->a_transposed ? CblasTrans : CblasNoTrans,
                g->b_transposed ? CblasTrans : CblasNoTrans, (blasint)g->rows,
                (blasint)g->columns, (blasint)g->inner, g->factor, g->a, (blasint)g->a_stride,
                g->b, (blasint)g->b_stride, g->keep, g->out, (blasint)g->out_stride);
}
