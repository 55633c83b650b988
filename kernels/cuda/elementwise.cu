#include "kernels/cuda/ops.h"
#include "kernels/cuda/real.cuh"

namespace
{

/* ---- to += from ---- */

template <class T>
__global__ void __launch_bounds__(SPAN_THREADS) add_kernel(T *to, const T *from, struct span s)
{
    span_run<real_vector<T>>(s, [&](int64_t at, auto width) {
        constexpr int N = decltype(width)::value;
        float x[N], y[N];
        real_load(to + at, x);
        real_load(from + at, y);
#pragma unroll
        for (int i = 0; i < N; i++)
            x[i] += y[i];
        real_store(to + at, x);
    });
}

template <class T>
void add(struct kernels_device *device, kernels_real *to, const kernels_real *from,
         int64_t count)
{
    T *into = static_cast<T *>(to);
    const T *values = static_cast<const T *>(from);
    const struct span s = span_of<real_vector<T>>(count, into, values);
    LAUNCH(add_kernel<T>, span_blocks(s), SPAN_THREADS, 0, cuda_device_stream(device), into,
           values, s);
    cuda_device_note(device, cudaGetLastError(), "add");
}

/* ---- to = from, rounded ---- */

/* Of a float and a bf16 array, the wider one's vector decides. */
enum { ROUND_WIDTH = 4 };

template <class T>
__global__ void __launch_bounds__(SPAN_THREADS)
    round_kernel(T *to, const float *from, struct span s)
{
    span_run<ROUND_WIDTH>(s, [&](int64_t at, auto width) {
        constexpr int N = decltype(width)::value;
        float x[N];
        real_load(from + at, x);
        real_store(to + at, x);
    });
}

template <class T>
void round(struct kernels_device *device, kernels_real *to, const float *from, int64_t count)
{
    T *into = static_cast<T *>(to);
    const struct span s = span_of<ROUND_WIDTH>(count, into, from);
    LAUNCH(round_kernel<T>, span_blocks(s), SPAN_THREADS, 0, cuda_device_stream(device), into,
           from, s);
    cuda_device_note(device, cudaGetLastError(), "round");
}

/* ---- values *= factor ---- */

__global__ void __launch_bounds__(SPAN_THREADS)
    scale_kernel(float *values, float factor, struct span s)
{
    span_run<real_vector<float>>(s, [&](int64_t at, auto width) {
        constexpr int N = decltype(width)::value;
        float x[N];
        real_load(values + at, x);
#pragma unroll
        for (int i = 0; i < N; i++)
            x[i] *= factor;
        real_store(values + at, x);
    });
}

} // namespace

void cuda_add(struct kernels_device *device, kernels_real *to, const kernels_real *from,
              int64_t count)
{
    check(count >= 0);
    if (count == 0) return;
    if (cuda_device_options(device)->type == KERNELS_BF16)
        add<bf16>(device, to, from, count);
    else
        add<float>(device, to, from, count);
}

void cuda_round(struct kernels_device *device, kernels_real *to, const float *from,
                int64_t count)
{
    check(count >= 0);
    if (count == 0) return;
    if (cuda_device_options(device)->type == KERNELS_BF16)
        round<bf16>(device, to, from, count);
    else
        round<float>(device, to, from, count);
}

void cuda_scale(struct kernels_device *device, float *values, float factor, int64_t count)
{
    check(count >= 0);
    if (count == 0) return;
    const struct span s = span_of<real_vector<float>>(count, values);
    LAUNCH(scale_kernel, span_blocks(s), SPAN_THREADS, 0, cuda_device_stream(device), values,
           factor, s);
    cuda_device_note(device, cudaGetLastError(), "scale");
}
