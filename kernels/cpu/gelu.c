/*
 * GELU(x) = x/2 (1 + tanh u) with u = sqrt(2/pi) (x + 0.044715 x^3). Since (1 + tanh u)/2 is
 * the logistic function of 2u, one exponential and one division do, and nothing cancels for
 * small u.
 *
 * Beyond |x| = 9.875 the logistic function is 0 or 1 to float precision, and 2u would leave the
 * range of the exponential: there it is taken at the limit. It is 2e-37 there and not 0, so that
 * a low x is held at the limit too: 2e-37 times the lowest float would be -62.
 */
#include "kernels/cpu/ops.h"
#include "kernels/cpu/vecmath.h"

#define TWO_ROOT_2_PI 1.59576912f /* 2 sqrt(2/pi) */
#define CUBIC 0.044715f

#define BITS_OF_MINUS_9_875 (0x80000000u | BITS_OF_9_875)

/* in - in is zero, or NaN where the clamps would hide that the input is not finite. */
void OP(gelu_range)(const float *in, float *out, int64_t count)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float x = clamp_magnitude(in[i], BITS_OF_9_875);
        float twice_u = TWO_ROOT_2_PI * x * (1.0f + CUBIC * x * x);
        float not_low = clamp_below(in[i], BITS_OF_MINUS_9_875);
        out[i] = not_low / (1.0f + exp_in_range(-twice_u)) + (in[i] - in[i]);
    }
}

void OP(gelu_backward_range)(const float *in, float *grad, int64_t count)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float x = clamp_magnitude(in[i], BITS_OF_9_875);
        float square = CUBIC * x * x;
        float twice_u = TWO_ROOT_2_PI * x * (1.0f + square);
        float slope = TWO_ROOT_2_PI * (1.0f + 3.0f * square);
        float s = 1.0f / (1.0f + exp_in_range(-twice_u));
        grad[i] *= s + x * s * (1.0f - s) * slope + (in[i] - in[i]);
    }
}

static void gelu_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    const struct kernels_gelu *args = context;
    int64_t size = device_chunk_elements(args->count, ELEMENTS_PER_CHUNK, POOL_CHUNKS_MAX);
    int64_t first = chunk * size;
    OP(gelu_range)
    ((const float *)args->in + first, (float *)args->out + first,
     min_i64(size, args->count - first));
}

void OP(cpu_gelu)(struct kernels_device *device, const struct kernels_gelu *args)
{
    struct kernels_gelu copy = *args;
    int64_t size = device_chunk_elements(copy.count, ELEMENTS_PER_CHUNK, POOL_CHUNKS_MAX);
    pool_run(device->pool, gelu_chunk, &copy, device_chunk_count(copy.count, size));
}

static void gelu_backward_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    const struct kernels_gelu_backward *args = context;
    int64_t size = device_chunk_elements(args->count, ELEMENTS_PER_CHUNK, POOL_CHUNKS_MAX);
    int64_t first = chunk * size;
    int64_t count = min_i64(size, args->count - first);
    float *grad = (float *)args->in_grad + first;
    const float *out_grad = (const float *)args->out_grad + first;
    if (grad != out_grad) {
        for (int64_t i = 0; i < count; i++)
            grad[i] = out_grad[i];
    }
    OP(gelu_backward_range)((const float *)args->in + first, grad, count);
}

void OP(cpu_gelu_backward)(struct kernels_device *device,
                           const struct kernels_gelu_backward *args)
{
    struct kernels_gelu_backward copy = *args;
    int64_t size = device_chunk_elements(copy.count, ELEMENTS_PER_CHUNK, POOL_CHUNKS_MAX);
    pool_run(device->pool, gelu_backward_chunk, &copy, device_chunk_count(copy.count, size));
}
