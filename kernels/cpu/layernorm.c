#include "kernels/cpu/ops.h"

#include <math.h>
#include <string.h>

#define EPSILON 1e-5f

enum { ROWS_PER_CHUNK = 32 };

static void forward_row(const struct kernels_layernorm *a, int64_t row)
{
    int64_t C = a->width;
    const float *restrict in = (const float *)a->in + row * C;
    const float *restrict weight = a->weight;
    const float *restrict bias = a->bias;
    float *restrict out = (float *)a->out + row * C;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < C; i++)
        sum += in[i];
    float mean = sum / (float)C;
    float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < C; i++)
        squares += (in[i] - mean) * (in[i] - mean);
    float rstd = 1.0f / sqrtf(squares / (float)C + EPSILON);
#pragma omp simd
    for (int64_t i = 0; i < C; i++)
        out[i] = (in[i] - mean) * rstd * weight[i] + bias[i];
    a->mean[row] = mean;
    a->rstd[row] = rstd;
}

static void forward_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    const struct kernels_layernorm *a = context;
    int64_t first = (int64_t)chunk * ROWS_PER_CHUNK;
    int64_t end = min_i64(first + ROWS_PER_CHUNK, a->rows);
    for (int64_t row = first; row < end; row++)
        forward_row(a, row);
}

void OP(cpu_layernorm)(struct kernels_device *device, const struct kernels_layernorm *args)
{
    struct kernels_layernorm copy = *args;
    pool_run(device->pool, forward_chunk, &copy, device_chunk_count(copy.rows, ROWS_PER_CHUNK));
}

/* in_grad = rstd (g - mean(g) - x mean(g x)) with g = out_grad * weight and x the normalized
 * input. The sums over rows go into this chunk's own pair of rows, weight_sum and bias_sum. */
static void backward_row(const struct kernels_layernorm_backward *a, int64_t row,
                         float *restrict weight_sum, float *restrict bias_sum)
{
    int64_t C = a->width;
    const float *restrict in = (const float *)a->in + row * C;
    const float *restrict out_grad = (const float *)a->out_grad + row * C;
    const float *restrict weight = a->weight;
    float *restrict in_grad = (float *)a->in_grad + row * C;
    const float mean = a->mean[row];
    const float rstd = a->rstd[row];
    float sum_g = 0.0f;
    float sum_gx = 0.0f;
#pragma omp simd reduction(+ : sum_g, sum_gx)
    for (int64_t i = 0; i < C; i++) {
        float x = (in[i] - mean) * rstd;
        float g = out_grad[i] * weight[i];
        sum_g += g;
        sum_gx += g * x;
        weight_sum[i] += out_grad[i] * x;
        bias_sum[i] += out_grad[i];
    }
    const float mean_g = sum_g / (float)C;
    const float mean_gx = sum_gx / (float)C;
    const float keep = a->add ? 1.0f : 0.0f;
    if (!a->add) memset(in_grad, 0, (size_t)C * sizeof(float));
#pragma omp simd
    for (int64_t i = 0; i < C; i++) {
        float x = (in[i] - mean) * rstd;
        float g = out_grad[i] * weight[i];
        in_grad[i] = keep * in_grad[i] + rstd * (g - mean_g - x * mean_gx);
    }
}

struct backward {
    struct kernels_layernorm_backward args;
    int64_t rows_per_chunk;
    float *partials;
};

static void backward_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    const struct backward *job = context;
    int64_t C = job->args.width;
    float *weight_sum = job->partials + chunk * 2 * C;
    memset(weight_sum, 0, 2 * (size_t)C * sizeof(float));
    int64_t first = chunk * job->rows_per_chunk;
    int64_t end = min_i64(first + job->rows_per_chunk, job->args.rows);
    for (int64_t row = first; row < end; row++)
        backward_row(&job->args, row, weight_sum, weight_sum + C);
}

void OP(cpu_layernorm_backward)(struct kernels_device *device,
                                const struct kernels_layernorm_backward *args)
{
    int64_t C = args->width;
    check(C <= device->options.width);
    struct backward job = { .args = *args, .partials = device->partials };
    job.rows_per_chunk = device_chunk_elements(args->rows, ROWS_PER_CHUNK, PARTIALS_MAX);
    int chunks = device_chunk_count(args->rows, job.rows_per_chunk);
    pool_run(device->pool, backward_chunk, &job, chunks);
    memset(args->weight_grad, 0, (size_t)C * sizeof(float));
    memset(args->bias_grad, 0, (size_t)C * sizeof(float));
    for (int chunk = 0; chunk < chunks; chunk++) {
        const float *restrict weight_sum = device->partials + chunk * 2 * C;
        const float *restrict bias_sum = weight_sum + C;
        float *restrict weight_grad = args->weight_grad;
        float *restrict bias_grad = args->bias_grad;
#pragma omp simd
        for (int64_t i = 0; i < C; i++) {
            weight_grad[i] += weight_sum[i];
            bias_grad[i] += bias_sum[i];
        }
    }
}
