#include "kernels/cuda/ops.h"
#include "kernels/cuda/real.cuh"

namespace
{

enum { STEP_WIDTH = 4 }; /* a vector of the floats, of which there are four arrays */

template <class T>
__global__ void __launch_bounds__(SPAN_THREADS)
    adamw_kernel(const struct kernels_adamw a, T *weight, struct span s)
{
    const float keep = 1.0f - a.decay;
    const float new1 = 1.0f - a.beta1;
    const float new2 = 1.0f - a.beta2;
    span_run<STEP_WIDTH>(s, [&](int64_t at, auto width) {
        constexpr int N = decltype(width)::value;
        float grad[N], param[N], m[N], v[N];
        real_load(a.grad + at, grad);
        real_load(a.param + at, param);
        real_load(a.moment1 + at, m);
        real_load(a.moment2 + at, v);
#pragma unroll
        for (int i = 0; i < N; i++) {
            float g = grad[i] * a.grad_scale;
            m[i] = a.beta1 * m[i] + new1 * g;
            v[i] = a.beta2 * v[i] + new2 * g * g;
            float step = a.step_size * m[i] / (sqrtf(v[i]) * a.second_scale + a.epsilon);
            param[i] = keep * param[i] - step;
        }
        real_store(a.moment1 + at, m);
        real_store(a.moment2 + at, v);
        real_store(a.param + at, param);
        if (weight != nullptr) real_store(weight + at, param);
    });
}

template <class T> void step(struct kernels_device *device, const kernels_adamw *args)
{
    T *weight = static_cast<T *>(args->weight);
    const struct span s = span_of<STEP_WIDTH>(args->count, args->grad, args->param,
                                              args->moment1, args->moment2, weight);
    LAUNCH(adamw_kernel<T>, span_blocks(s), SPAN_THREADS, 0, cuda_device_stream(device), *args,
           weight, s);
    cuda_device_note(device, cudaGetLastError(), "adamw");
}

} // namespace

void cuda_adamw(struct kernels_device *device, const struct kernels_adamw *args)
{
    check(args->count >= 0);
    if (args->count == 0) return;
    if (cuda_device_options(device)->type == KERNELS_BF16)
        step<bf16>(device, args);
    else
        step<float>(device, args);
}
