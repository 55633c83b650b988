#include "kernels/cuda/bucket.h"

#include "kernels/cuda/real.cuh"

/* A vector of four floats is 16 bytes, of four bf16 8. */
enum { WIDTH = 4 };

template <int N, class To, class From>
__device__ __forceinline__ void convert_item(To *to, const From *from)
{
    float x[N];
    real_load(from, x);
    real_store(to, x);
}

template <class To, class From>
__global__ void __launch_bounds__(SPAN_THREADS)
    convert_kernel(To *to, const From *from, struct span s)
{
    int64_t item = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (item < s.vectors) {
        int64_t at = s.head + item * WIDTH;
        convert_item<WIDTH>(to + at, from + at);
    } else if (item < s.items) {
        int64_t single = item - s.vectors;
        int64_t at = single < s.head ? single : single + s.vectors * WIDTH;
        convert_item<1>(to + at, from + at);
    }
}

template <class To, class From>
static cudaError_t convert(cudaStream_t stream, To *to, const From *from, int64_t count)
{
    check(count >= 0);
    if (count == 0) return cudaSuccess;
    const struct span s = span_of<WIDTH>(count, to, from);
    LAUNCH((convert_kernel<To, From>), span_blocks(s), SPAN_THREADS, 0, stream, to, from, s);
    return cudaGetLastError();
}

cudaError_t cuda_bucket_round(cudaStream_t stream, void *to, const float *from, int64_t count)
{
    return convert(stream, static_cast<bf16 *>(to), from, count);
}

cudaError_t cuda_bucket_widen(cudaStream_t stream, float *to, const void *from, int64_t count)
{
    return convert(stream, to, static_cast<const bf16 *>(from), count);
}
