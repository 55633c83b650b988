/*
 * Causal attention, one head of one sequence at a time. Scores exist for ATTENTION_BLOCK rows
 * at once, in scratch memory of the thread, and only up to the block's diagonal. The forward
 * pass keeps the log of each row's sum; the backward pass makes the probabilities again from
 * it, which costs one more small product and saves memory that grows with the square of the
 * context.
 */
#include "kernels/cpu/ops.h"
#include "kernels/cpu/vecmath.h"

#include <math.h>
#include <string.h>

/* One head of one sequence. Q, K and V have the row stride 3C, outputs C. */
struct head {
    int64_t context, head_width, qkv_stride, out_stride;
    int64_t qkv_at;    /* offset of the head's first query in qkv and its gradient */
    int64_t out_at;    /* of its first output */
    int64_t logsum_at; /* of its first row sum */
    float scale;
};

/* Rows of scores are this long, so that loops over them have no remainder. */
static int64_t padded(int64_t count)
{
    return div_ceil(count, ATTENTION_PAD) * ATTENTION_PAD;
}

static struct head head_at(int64_t context, int64_t width, int64_t heads, int index)
{
    int64_t sequence = index / heads;
    int64_t head = index % heads;
    int64_t head_width = width / heads;
    return (struct head){
        .context = context,
        .head_width = head_width,
        .qkv_stride = 3 * width,
        .out_stride = width,
        .qkv_at = sequence * context * 3 * width + head * head_width,
        .out_at = sequence * context * width + head * head_width,
        .logsum_at = index * context,
        .scale = 1.0f / sqrtf((float)head_width),
    };
}

/* scores[rows, keys] = scale * Q K^T for the queries from `first` on. */
static void scores_run(const struct head *h, const float *qkv, int64_t first, int64_t rows,
                       int64_t keys, float *scores)
{
    const float *q = qkv + h->qkv_at;
    const float *k = q + h->out_stride;
    const struct gemm product = { .b_transposed = true,
                                  .rows = rows,
                                  .columns = keys,
                                  .inner = h->head_width,
                                  .a = q + first * h->qkv_stride,
                                  .a_stride = h->qkv_stride,
                                  .b = k,
                                  .b_stride = h->qkv_stride,
                                  .factor = h->scale,
                                  .out = scores,
                                  .out_stride = padded(keys) };
    OP(gemm_run)(&product);
}

/* Scores become exponentials of what they are above their largest for the first `visible` keys,
 * and zeros behind them. *sum gets their sum; returns the log of the sum of the exponentials of
 * the scores themselves. Up to a multiple of the pad the future takes part with a score so low
 * that its exponential, some 2^-126, is lost in a sum that is at least 1. */
static float exponent_row(float *restrict scores, int64_t visible, int64_t keys, float *sum)
{
    const int64_t count = padded(visible);
    for (int64_t i = visible; i < count; i++)
        scores[i] = -1e30f;
    const float max = max_of(scores, count);
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (int64_t i = 0; i < count; i++) {
        float e = exp_vec(scores[i] - max);
        scores[i] = e;
        total += e;
    }
    memset(scores + visible, 0, (size_t)(padded(keys) - visible) * sizeof(float));
    *sum = total;
    return logf(total) + max;
}

static void scale_row(float *row, float factor, int64_t count)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        row[i] *= factor;
}

struct forward {
    struct kernels_attention args;
    const struct kernels_device *device;
};

static void forward_head(void *context, int chunk, int thread)
{
    const struct forward *job = context;
    const struct kernels_attention *a = &job->args;
    const struct head h = head_at(a->context, a->width, a->heads, chunk);
    const float *v = (const float *)a->qkv + h.qkv_at + 2 * a->width;
    float *scores = device_scratch(job->device, thread);
    for (int64_t first = 0; first < h.context; first += ATTENTION_BLOCK) {
        int64_t rows = min_i64(ATTENTION_BLOCK, h.context - first);
        int64_t keys = first + rows;
        scores_run(&h, a->qkv, first, rows, keys, scores);
        float *logsum = a->logsum + h.logsum_at + first;
        float sums[ATTENTION_BLOCK];
        for (int64_t i = 0; i < rows; i++)
            logsum[i] = exponent_row(scores + i * padded(keys), first + i + 1, keys, &sums[i]);
        float *out = (float *)a->out + h.out_at + first * h.out_stride;
        const struct gemm product = { .rows = rows,
                                      .columns = h.head_width,
                                      .inner = keys,
                                      .a = scores,
                                      .a_stride = padded(keys),
                                      .b = v,
                                      .b_stride = h.qkv_stride,
                                      .factor = 1.0f,
                                      .out = out,
                                      .out_stride = h.out_stride };
        OP(gemm_run)(&product);
        for (int64_t i = 0; i < rows; i++)
            scale_row(out + i * h.out_stride, 1.0f / sums[i], h.head_width);
    }
}

void OP(cpu_attention)(struct kernels_device *device, const struct kernels_attention *args)
{
    check(args->context <= device->options.context);
    check(args->width % args->heads == 0);
    struct forward job = { .args = *args, .device = device };
    pool_run(device->pool, forward_head, &job, (int)(args->batch_rows * args->heads));
}

static float dot(const float *a, const float *b, int64_t count)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

/* One row: p holds scores and becomes probabilities, dp holds their gradients and becomes those
 * of the unscaled scores; behind the diagonal both become zero. `delta` is the mean of dp under
 * p, which equals the product of the row's output and its gradient. */
static void score_grad_row(float *restrict p, float *restrict dp, int64_t visible, int64_t keys,
                           float logsum, float delta, float scale)
{
    const int64_t count = padded(visible);
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        p[i] = exp_vec(p[i] - logsum);
        dp[i] = p[i] * (dp[i] - delta) * scale;
    }
    memset(p + visible, 0, (size_t)(padded(keys) - visible) * sizeof(float));
    memset(dp + visible, 0, (size_t)(padded(keys) - visible) * sizeof(float));
}

struct backward {
    struct kernels_attention_backward args;
    const struct kernels_device *device;
};

/* Fills p and dp, [rows, keys] each, for the queries from `first` on. */
static void block_grads(const struct kernels_attention_backward *a, const struct head *h,
                        int64_t first, int64_t rows, float *p, float *dp)
{
    int64_t keys = first + rows;
    const float *out_grad = (const float *)a->out_grad + h->out_at + first * h->out_stride;
    const float *out = (const float *)a->out + h->out_at + first * h->out_stride;
    scores_run(h, a->qkv, first, rows, keys, p);
    const struct gemm product = { .b_transposed = true,
                                  .rows = rows,
                                  .columns = keys,
                                  .inner = h->head_width,
                                  .a = out_grad,
                                  .a_stride = h->out_stride,
                                  .b = (const float *)a->qkv + h->qkv_at + 2 * a->width,
                                  .b_stride = h->qkv_stride,
                                  .factor = 1.0f,
                                  .out = dp,
                                  .out_stride = padded(keys) };
    OP(gemm_run)(&product);
    for (int64_t i = 0; i < rows; i++) {
        float delta = dot(out + i * h->out_stride, out_grad + i * h->out_stride, h->head_width);
        score_grad_row(p + i * padded(keys), dp + i * padded(keys), first + i + 1, keys,
                       a->logsum[h->logsum_at + first + i], delta, h->scale);
    }
}

/* Adds (keep 1) or sets (keep 0) grad[keys, head_width] = block^T * rows_in. */
static void keys_grad(const struct head *h, const float *block, int64_t rows, int64_t keys,
                      const float *rows_in, int64_t stride, float keep, float *grad)
{
    const struct gemm product = { .a_transposed = true,
                                  .rows = keys,
                                  .columns = h->head_width,
                                  .inner = rows,
                                  .a = block,
                                  .a_stride = padded(keys),
                                  .b = rows_in,
                                  .b_stride = stride,
                                  .factor = 1.0f,
                                  .keep = keep,
                                  .out = grad,
                                  .out_stride = h->qkv_stride };
    OP(gemm_run)(&product);
}

/* From the last block, which sees all keys and sets their gradients, up to the first; all but
 * the last add. */
static void backward_head(void *context, int chunk, int thread)
{
    const struct backward *job = context;
    const struct kernels_attention_backward *a = &job->args;
    const struct head h = head_at(a->context, a->width, a->heads, chunk);
    const float *q = (const float *)a->qkv + h.qkv_at;
    const float *out_grad = a->out_grad;
    float *q_grad = (float *)a->qkv_grad + h.qkv_at;
    float *p = device_scratch(job->device, thread);
    float *dp = p + ATTENTION_BLOCK * padded(h.context);
    int64_t last = (h.context - 1) / ATTENTION_BLOCK * ATTENTION_BLOCK;
    for (int64_t first = last; first >= 0; first -= ATTENTION_BLOCK) {
        int64_t rows = min_i64(ATTENTION_BLOCK, h.context - first);
        int64_t keys = first + rows;
        float keep = first == last ? 0.0f : 1.0f;
        block_grads(a, &h, first, rows, p, dp);
        const struct gemm product = { .rows = rows,
                                      .columns = h.head_width,
                                      .inner = keys,
                                      .a = dp,
                                      .a_stride = padded(keys),
                                      .b = q + a->width,
                                      .b_stride = h.qkv_stride,
                                      .factor = 1.0f,
                                      .out = q_grad + first * h.qkv_stride,
                                      .out_stride = h.qkv_stride };
        OP(gemm_run)(&product);
        keys_grad(&h, dp, rows, keys, q + first * h.qkv_stride, h.qkv_stride, keep,
                  q_grad + a->width);
        keys_grad(&h, p, rows, keys, out_grad + h.out_at + first * h.out_stride, h.out_stride,
                  keep, q_grad + 2 * a->width);
    }
}

void OP(cpu_attention_backward)(struct kernels_device *device,
                                const struct kernels_attention_backward *args)
{
    check(args->context <= device->options.context);
    check(args->width % args->heads == 0);
    struct backward job = { .args = *args, .device = device };
    pool_run(device->pool, backward_head, &job, (int)(args->batch_rows * args->heads));
}
