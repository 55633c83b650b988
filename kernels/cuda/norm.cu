#include "kernels/cuda/ops.h"
#include "kernels/cuda/real.cuh"

#include <math.h>

namespace
{

enum {
    NORM_THREADS = 256,
    NORM_PER_THREAD = 16,  /* numbers, before there are more blocks */
    NORM_BLOCKS_MAX = 1024 /* partial sums, which one block adds up */
};

/* Squares are taken in double, where no float's square overflows: the sum is finite when and
 * only when every value is. Numbers are loaded one by one, not in vectors, so that which thread
 * gets which does not depend on the address; several loads are under way at once all the same.
 */
__global__ void __launch_bounds__(NORM_THREADS)
    squares_kernel(const float *values, int64_t count, double *partials)
{
    const int64_t stride = static_cast<int64_t>(gridDim.x) * NORM_THREADS;
    int64_t i = static_cast<int64_t>(blockIdx.x) * NORM_THREADS + threadIdx.x;
    double sum = 0.0;
#pragma unroll 8
    for (; i < count; i += stride) {
        double x = values[i];
        sum += x * x;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(NORM_THREADS)
    partials_kernel(const double *partials, int count, double *sum)
{
    double total = 0.0;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += NORM_THREADS)
        total += partials[i];
    total = block_sum(total);
    if (threadIdx.x == 0) *sum = total;
}

} // namespace

/* The partial sums, and the sum behind them. */
size_t cuda_norm_scratch_bytes(const struct kernels_options *options)
{
    (void)options;
    return (NORM_BLOCKS_MAX + 1) * sizeof(double);
}

double cuda_sum_squares(struct kernels_device *device, const float *values, int64_t count)
{
    check(count >= 0);
    if (count == 0) return 0.0;
    double *partials = static_cast<double *>(cuda_device_scratch(device));
    double *sum = partials + NORM_BLOCKS_MAX;
    int blocks = static_cast<int>(
        min_i64(div_ceil(count, NORM_THREADS * NORM_PER_THREAD), NORM_BLOCKS_MAX));
    LAUNCH(squares_kernel, static_cast<unsigned>(blocks), NORM_THREADS, 0,
           cuda_device_stream(device), values, count, partials);
    if (!cuda_device_launched(device, "sum of squares")) return NAN;
    LAUNCH(partials_kernel, 1, NORM_THREADS, 0, cuda_device_stream(device), partials, blocks,
           sum);
    if (!cuda_device_launched(device, "sum of squares")) return NAN;
    double result = NAN; /* what a failed device leaves */
    cuda_device_download(device, &result, sum, sizeof(result));
    return result;
}
