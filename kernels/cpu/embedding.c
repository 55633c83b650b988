#include "kernels/cpu/ops.h"

#include <string.h>

enum {
    ROWS_PER_CHUNK = 64,
    COLUMNS_PER_CHUNK = 32 /* two cache lines: threads never share one */
};

static void forward_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    const struct kernels_embedding *a = context;
    const float *token_weight = a->token_weight, *position_weight = a->position_weight;
    float *out_rows = a->out;
    int64_t C = a->width;
    int64_t rows = a->batch_rows * a->context;
    int64_t first = (int64_t)chunk * ROWS_PER_CHUNK;
    int64_t end = min_i64(first + ROWS_PER_CHUNK, rows);
    for (int64_t row = first; row < end; row++) {
        check(a->tokens[row] >= 0);
        check(a->tokens[row] < a->vocab_count);
        const float *token = token_weight + a->tokens[row] * C;
        const float *position = position_weight + row % a->context * C;
        float *out = out_rows + row * C;
#pragma omp simd
        for (int64_t i = 0; i < C; i++)
            out[i] = token[i] + position[i];
    }
}

void OP(cpu_embedding)(struct kernels_device *device, const struct kernels_embedding *args)
{
    struct kernels_embedding copy = *args;
    pool_run(device->pool, forward_chunk, &copy,
             device_chunk_count(copy.batch_rows * copy.context, ROWS_PER_CHUNK));
}

/* A chunk owns a range of columns and goes through all rows in order: tokens that occur twice
 * need no locks, and the order of the sums does not depend on the threads. */
static void backward_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    const struct kernels_embedding_backward *a = context;
    const float *out_grads = a->out_grad;
    int64_t C = a->width;
    int64_t first = (int64_t)chunk * COLUMNS_PER_CHUNK;
    int64_t columns = min_i64(COLUMNS_PER_CHUNK, C - first);
    for (int64_t t = 0; t < a->context; t++)
        memset(a->position_weight_grad + t * C + first, 0, (size_t)columns * sizeof(float));
    for (int64_t row = 0; row < a->batch_rows * a->context; row++) {
        check(a->tokens[row] >= 0);
        check(a->tokens[row] < a->vocab_count);
        float *token = a->token_weight_grad + a->tokens[row] * C + first;
        float *position = a->position_weight_grad + row % a->context * C + first;
        const float *out_grad = out_grads + row * C + first;
#pragma omp simd
        for (int64_t i = 0; i < columns; i++) {
            token[i] += out_grad[i];
            position[i] += out_grad[i];
        }
    }
}

void OP(cpu_embedding_backward)(struct kernels_device *device,
                                const struct kernels_embedding_backward *args)
{
    struct kernels_embedding_backward copy = *args;
    pool_run(device->pool, backward_chunk, &copy,
             device_chunk_count(copy.width, COLUMNS_PER_CHUNK));
}
