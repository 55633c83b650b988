/*
 * GELU(x) = x/2 (1 + tanh u) with u = sqrt(2/pi) (x + 0.044715 x^3), as x times the logistic
 * function of 2u: one exponential and one division.
 */
#include "kernels/cuda/ops.h"
#include "kernels/cuda/real.cuh"

#define TWO_ROOT_2_PI 1.59576912f /* 2 sqrt(2/pi) */
#define CUBIC 0.044715f
#define SATURATED 9.875f /* from here on the logistic function is 0 or 1 to float precision */

namespace
{

/* Large |x| need no care: the exponential becomes 0 or infinite, the quotient x or 0. */
template <class T> __device__ __forceinline__ float gelu(float x)
{
    float twice_u = TWO_ROOT_2_PI * x * (1.0f + CUBIC * x * x);
    return real_quotient<T>(x, 1.0f + real_exp<T>(-twice_u));
}

/* Here they would give 0 times infinity. x - x is zero, or NaN where the limits would hide that
 * the input is not finite. */
template <class T> __device__ __forceinline__ float gelu_slope(float in)
{
    float x = fminf(fmaxf(in, -SATURATED), SATURATED);
    float square = CUBIC * x * x;
    float twice_u = TWO_ROOT_2_PI * x * (1.0f + square);
    float slope = TWO_ROOT_2_PI * (1.0f + 3.0f * square);
    float s = real_quotient<T>(1.0f, 1.0f + real_exp<T>(-twice_u));
    return s + x * s * (1.0f - s) * slope + (in - in);
}

template <class T>
__global__ void __launch_bounds__(SPAN_THREADS) gelu_kernel(const T *in, T *out, struct span s)
{
    span_run<real_vector<T>>(s, [&](int64_t at, auto width) {
        constexpr int N = decltype(width)::value;
        float x[N];
        real_load(in + at, x);
#pragma unroll
        for (int i = 0; i < N; i++)
            x[i] = gelu<T>(x[i]);
        real_store(out + at, x);
    });
}

template <class T>
__global__ void __launch_bounds__(SPAN_THREADS)
    gelu_backward_kernel(const T *in, const T *out_grad, T *in_grad, struct span s)
{
    span_run<real_vector<T>>(s, [&](int64_t at, auto width) {
        constexpr int N = decltype(width)::value;
        float x[N], grad[N];
        real_load(in + at, x);
        real_load(out_grad + at, grad);
#pragma unroll
        for (int i = 0; i < N; i++)
            grad[i] *= gelu_slope<T>(x[i]);
        real_store(in_grad + at, grad);
    });
}

template <class T> void forward(struct kernels_device *device, const kernels_gelu *a)
{
    const T *in = static_cast<const T *>(a->in);
    T *out = static_cast<T *>(a->out);
    const struct span s = span_of<real_vector<T>>(a->count, in, out);
    LAUNCH(gelu_kernel<T>, span_blocks(s), SPAN_THREADS, 0, cuda_device_stream(device), in, out,
           s);
    cuda_device_note(device, cudaGetLastError(), "gelu");
}

template <class T> void backward(struct kernels_device *device, const kernels_gelu_backward *a)
{
    const T *in = static_cast<const T *>(a->in);
    const T *out_grad = static_cast<const T *>(a->out_grad);
    T *in_grad = static_cast<T *>(a->in_grad);
    const struct span s = span_of<real_vector<T>>(a->count, in, out_grad, in_grad);
    LAUNCH(gelu_backward_kernel<T>, span_blocks(s), SPAN_THREADS, 0, cuda_device_stream(device),
           in, out_grad, in_grad, s);
    cuda_device_note(device, cudaGetLastError(), "gelu backward");
}

} // namespace

void cuda_gelu(struct kernels_device *device, const struct kernels_gelu *args)
{
    check(args->count >= 0);
    if (args->count == 0) return;
    if (cuda_device_options(device)->type == KERNELS_BF16)
        forward<bf16>(device, args);
    else
        forward<float>(device, args);
}

void cuda_gelu_backward(struct kernels_device *device, const struct kernels_gelu_backward *args)
{
    check(args->count >= 0);
    if (args->count == 0) return;
    if (cuda_device_options(device)->type == KERNELS_BF16)
        backward<bf16>(device, args);
    else
        backward<float>(device, args);
}
