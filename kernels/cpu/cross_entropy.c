#include "kernels/cpu/ops.h"
#include "kernels/cpu/vecmath.h"

#include <math.h>

enum { ROWS_PER_CHUNK = 32 };

static void row_run(const struct kernels_cross_entropy *a, int64_t row)
{
    int64_t V = a->vocab_count;
    float *restrict logits = (float *)a->logits + row * V;
    int32_t target = a->targets[row];
    check(target >= 0);
    check(target < V);
    const float max = max_of(logits, V);
    const float at_target = logits[target];
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < V; i++) {
        float e = exp_vec(logits[i] - max);
        logits[i] = e;
        sum += e;
    }
    a->losses[row] = logf(sum) + max - at_target;
    const float factor = a->grad_scale / sum;
#pragma omp simd
    for (int64_t i = 0; i < V; i++)
        logits[i] *= factor;
    logits[target] -= a->grad_scale;
}

static void rows_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    const struct kernels_cross_entropy *a = context;
    int64_t first = (int64_t)chunk * ROWS_PER_CHUNK;
    int64_t end = min_i64(first + ROWS_PER_CHUNK, a->rows);
    for (int64_t row = first; row < end; row++)
        row_run(a, row);
}

void OP(cpu_cross_entropy)(struct kernels_device *device,
                           const struct kernels_cross_entropy *args)
{
    struct kernels_cross_entropy copy = *args;
    pool_run(device->pool, rows_chunk, &copy, device_chunk_count(copy.rows, ROWS_PER_CHUNK));
}
