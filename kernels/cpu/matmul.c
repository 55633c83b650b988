/*
 * Matrix products, one thread each (gemm_openblas.c): our own pool splits a product into tiles whose
 * size does not depend on the number of threads, so neither do the results. A tile gets its
 * bias and residual before and its GELU after the product, while it is in the cache.
 */
#include "kernels/cpu/ops.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum {
    TILE_ROWS = 256,      /* of outputs and of input gradients */
    TILE_COLUMNS = 512,   /* alike */
    WEIGHT_ROWS = 128,    /* tile of a weight gradient, whose products are longer */
    WEIGHT_COLUMNS = 256, /* alike */
    PEAK_SIZE = 512,      /* matrices of the peak measurement: three of them fit a cache */
    PEAK_ROUNDS = 50
};

/* A grid of tiles over a matrix, numbered row after row. */
struct tiles {
    int64_t rows, columns, tile_rows, tile_columns;
};

struct tile {
    int64_t row, column, rows, columns;
};

static int tiles_across(const struct tiles *t)
{
    return (int)div_ceil(t->columns, t->tile_columns);
}

static int tiles_count(const struct tiles *t)
{
    return (int)div_ceil(t->rows, t->tile_rows) * tiles_across(t);
}

static struct tile tiles_at(const struct tiles *t, int index)
{
    int64_t row = index / tiles_across(t) * t->tile_rows;
    int64_t column = index % tiles_across(t) * t->tile_columns;
    return (struct tile){ .row = row,
                          .column = column,
                          .rows = min_i64(t->tile_rows, t->rows - row),
                          .columns = min_i64(t->tile_columns, t->columns - column) };
}

/* out = bias + residual on one tile; true when there was either, so that the product adds. */
static bool start_tile(const struct kernels_matmul *a, const struct tile *t)
{
    if (a->bias == NULL && a->residual == NULL) return false;
    for (int64_t row = t->row; row < t->row + t->rows; row++) {
        float *out = (float *)a->out + row * a->out_width + t->column;
        const float *bias = a->bias == NULL ? NULL : (const float *)a->bias + t->column;
        const float *residual =
            a->residual == NULL ? NULL
                                : (const float *)a->residual + row * a->out_width + t->column;
        if (bias != NULL && residual != NULL) {
#pragma omp simd
            for (int64_t i = 0; i < t->columns; i++)
                out[i] = bias[i] + residual[i];
        } else if (out != residual) {
            memcpy(out, bias != NULL ? bias : residual, (size_t)t->columns * sizeof(float));
        }
    }
    return true;
}

static struct tiles out_tiles(int64_t rows, int64_t columns)
{
    return (struct tiles){ rows, columns, TILE_ROWS, TILE_COLUMNS };
}

static void forward_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    const struct kernels_matmul *a = context;
    const struct tiles tiles = out_tiles(a->rows, a->out_width);
    const struct tile t = tiles_at(&tiles, chunk);
    bool started = start_tile(a, &t);
    const struct gemm product = { .b_transposed = true,
                                  .rows = t.rows,
                                  .columns = t.columns,
                                  .inner = a->in_width,
                                  .a = (const float *)a->in + t.row * a->in_width,
                                  .a_stride = a->in_width,
                                  .b = (const float *)a->weight + t.column * a->in_width,
                                  .b_stride = a->in_width,
                                  .factor = 1.0f,
                                  .keep = started ? 1.0f : 0.0f,
                                  .out = (float *)a->out + t.row * a->out_width + t.column,
                                  .out_stride = a->out_width };
    OP(gemm_run)(&product);
    if (a->gelu == NULL) return;
    for (int64_t row = t.row; row < t.row + t.rows; row++) {
        int64_t at = row * a->out_width + t.column;
        OP(gelu_range)((const float *)a->out + at, (float *)a->gelu + at, t.columns);
    }
}

void OP(cpu_matmul)(struct kernels_device *device, const struct kernels_matmul *args)
{
    struct kernels_matmul copy = *args;
    const struct tiles tiles = out_tiles(copy.rows, copy.out_width);
    pool_run(device->pool, forward_chunk, &copy, tiles_count(&tiles));
}

/* Column sums of out_grad for the outputs [column, column + columns), four rows at a time so
 * that the sums are loaded and stored once for four additions. */
static void bias_backward(const struct kernels_matmul_backward *a, int64_t column,
                          int64_t columns)
{
    int64_t stride = a->out_width;
    const float *grad = (const float *)a->out_grad + column;
    float *restrict sums = a->bias_grad + column;
    memset(sums, 0, (size_t)columns * sizeof(float));
    int64_t row = 0;
    for (; row + 4 <= a->rows; row += 4) {
        const float *r0 = grad + row * stride;
        const float *r1 = r0 + stride;
        const float *r2 = r1 + stride;
        const float *r3 = r2 + stride;
#pragma omp simd
        for (int64_t i = 0; i < columns; i++)
            sums[i] += (r0[i] + r1[i]) + (r2[i] + r3[i]);
    }
    for (; row < a->rows; row++) {
        const float *r0 = grad + row * stride;
#pragma omp simd
        for (int64_t i = 0; i < columns; i++)
            sums[i] += r0[i];
    }
}

static void weight_tile(const struct kernels_matmul_backward *a, const struct tile *t)
{
    const struct gemm product = { .a_transposed = true,
                                  .rows = t->rows,
                                  .columns = t->columns,
                                  .inner = a->rows,
                                  .a = (const float *)a->out_grad + t->row,
                                  .a_stride = a->out_width,
                                  .b = (const float *)a->in + t->column,
                                  .b_stride = a->in_width,
                                  .factor = 1.0f,
                                  .out = a->weight_grad + t->row * a->in_width + t->column,
                                  .out_stride = a->in_width };
    OP(gemm_run)(&product);
    if (a->bias_grad != NULL && t->column == 0) bias_backward(a, t->row, t->rows);
}

static void in_tile(const struct kernels_matmul_backward *a, const struct tile *t)
{
    const struct gemm product = { .rows = t->rows,
                                  .columns = t->columns,
                                  .inner = a->out_width,
                                  .a = (const float *)a->out_grad + t->row * a->out_width,
                                  .a_stride = a->out_width,
                                  .b = (const float *)a->weight + t->column,
                                  .b_stride = a->in_width,
                                  .factor = 1.0f,
                                  .out = (float *)a->in_grad + t->row * a->in_width + t->column,
                                  .out_stride = a->in_width };
    OP(gemm_run)(&product);
    if (a->gelu_input == NULL) return;
    for (int64_t row = t->row; row < t->row + t->rows; row++) {
        int64_t at = row * a->in_width + t->column;
        OP(gelu_backward_range)
        ((const float *)a->gelu_input + at, (float *)a->in_grad + at, t->columns);
    }
}

/* Both gradients are one loop: first the tiles of the weights, which take longest, then those
 * of the inputs, which fill up whatever thread is free. */
struct backward {
    struct kernels_matmul_backward args;
    struct tiles weight_tiles, in_tiles;
};

static void backward_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    const struct backward *job = context;
    int weight_count = tiles_count(&job->weight_tiles);
    if (chunk < weight_count) {
        const struct tile t = tiles_at(&job->weight_tiles, chunk);
        weight_tile(&job->args, &t);
    } else {
        const struct tile t = tiles_at(&job->in_tiles, chunk - weight_count);
        in_tile(&job->args, &t);
    }
}

void OP(cpu_matmul_backward)(struct kernels_device *device,
                             const struct kernels_matmul_backward *args)
{
    struct backward job = {
        .args = *args,
        .weight_tiles = { args->out_width, args->in_width, WEIGHT_ROWS, WEIGHT_COLUMNS },
        .in_tiles = out_tiles(args->rows, args->in_width),
    };
    int chunks = tiles_count(&job.weight_tiles);
    if (args->in_grad != NULL) chunks += tiles_count(&job.in_tiles);
    pool_run(device->pool, backward_chunk, &job, chunks);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void peak_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    float *matrices = context;
    const int64_t n = PEAK_SIZE;
    const struct gemm product = { .rows = n,
                                  .columns = n,
                                  .inner = n,
                                  .a = matrices,
                                  .a_stride = n,
                                  .b = matrices,
                                  .b_stride = n,
                                  .factor = 1.0f,
                                  .out = matrices + (chunk + 1) * n * n,
                                  .out_stride = n };
    OP(gemm_run)(&product);
}

/* The best of several rounds, each with one product per thread: on a machine with other load
 * the best round is the one that was not disturbed. */
enum err OP(cpu_peak)(struct kernels_device *device, struct kernels_peak *peak,
                      struct error *error)
{
    *peak = (struct kernels_peak){ .source = "sgemm" };
    const int64_t n = PEAK_SIZE;
    int threads = pool_threads(device->pool);
    void *memory = NULL;
    size_t bytes = ((size_t)threads + 1) * (size_t)(n * n) * sizeof(float);
    enum err rc = device_alloc(device, bytes, &memory, error);
    if (rc != ERR_OK) return rc;
    float *matrices = memory;
    for (int64_t i = 0; i < n * n; i++)
        matrices[i] = 1.0f / (float)(1 + i % 7);
    double best = INFINITY;
    for (int round = 0; round < PEAK_ROUNDS; round++) {
        double start = seconds_now();
        pool_run(device->pool, peak_chunk, matrices, threads);
        double took = seconds_now() - start;
        if (took < best) best = took;
    }
    device_release(device, memory);
    peak->flops_per_s = 2.0 * (double)(n * n * n) * threads / best;
    return ERR_OK;
}
