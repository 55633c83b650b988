#include "kernels/cpu/ops.h"

#include <math.h>
#include <string.h>

static void adamw_range(const struct kernels_adamw *args, int64_t first, int64_t end)
{
    const struct kernels_adamw a = *args;
    const float *restrict grad = a.grad;
    float *restrict param = a.param;
    float *restrict m = a.moment1;
    float *restrict v = a.moment2;
    const float keep = 1.0f - a.decay;
    const float new1 = 1.0f - a.beta1;
    const float new2 = 1.0f - a.beta2;
#pragma omp simd
    for (int64_t i = first; i < end; i++) {
        float g = grad[i] * a.grad_scale;
        float m_next = a.beta1 * m[i] + new1 * g;
        float v_next = a.beta2 * v[i] + new2 * g * g;
        m[i] = m_next;
        v[i] = v_next;
        float step = a.step_size * m_next / (sqrtf(v_next) * a.second_scale + a.epsilon);
        param[i] = keep * param[i] - step;
    }
    if (a.weight != NULL)
        memcpy((float *)a.weight + first, param + first, (size_t)(end - first) * sizeof(float));
}

static void adamw_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    const struct kernels_adamw *args = context;
    int64_t size = device_chunk_elements(args->count, ELEMENTS_PER_CHUNK, POOL_CHUNKS_MAX);
    int64_t first = chunk * size;
    adamw_range(args, first, min_i64(first + size, args->count));
}

void OP(cpu_adamw)(struct kernels_device *device, const struct kernels_adamw *args)
{
    struct kernels_adamw copy = *args;
    int64_t size = device_chunk_elements(copy.count, ELEMENTS_PER_CHUNK, POOL_CHUNKS_MAX);
    pool_run(device->pool, adamw_chunk, &copy, device_chunk_count(copy.count, size));
}
