/*
 * Layer normalization, in two ways.
 *
 * Rows that are whole vectors, of up to HELD_MAX numbers: a team of threads has a row and holds it
 * in registers, so that it is read once: a warp for rows of up to NARROW_MAX numbers, a block for
 * wider ones. Thread t of a team has the vectors t, t + team, t + 2 team ... of every row that the
 * team is given; so the sums over rows, for the gradients of weight and bias, stay in its
 * registers too until the end.
 *
 * Other rows: a block has a row and reads it number by number, once for each sum and once for the
 * result; another kernel takes the sums over rows.
 *
 * Each block leaves its part of the sums over rows in scratch memory and a last kernel adds them
 * up, both in a fixed order. How many blocks there are depends on the GPU: another model may
 * differ in the last bits.
 */
#include "kernels/cuda/ops.h"
#include "kernels/cuda/real.cuh"

#define EPSILON 1e-5f

namespace
{

enum {
    NARROW_MAX = 1024,    /* 32 numbers of each lane */
    NARROW_THREADS = 128, /* 4 rows at a time */
    WIDE_THREADS_MAX = 512,
    WIDE_PER_THREAD = 8,
    WIDE_BLOCKS = 2, /* for each multiprocessor, of the backward pass */
    HELD_MAX = WIDE_THREADS_MAX * WIDE_PER_THREAD,
    LOOSE_THREADS = 256, /* of a block for rows that are no whole vectors */
    LOOSE_ROWS = 64,     /* that one thread adds up, before there are more blocks */
    COLUMN_ROWS = 8,     /* threads that share the parts of one column */
    PARTIALS_MAX = 1024  /* parts of the sums over rows */
};

/* Blocks of narrow rows that a multiprocessor holds: what the registers for F numbers of each
 * thread, and for as many sums of two kinds, leave room for. */
constexpr int narrow_blocks(int F, size_t number_bytes)
{
    return F == 8 ? 6 : F == 16 || (F == 24 && number_bytes == 2) ? 4 : 3;
}

/* ---- teams ---- */

/* WIDE: the block is the team. */
template <bool WIDE> struct team {
    int size, thread;
    int64_t index, count; /* among all teams */

    __device__ __forceinline__ team()
    {
        const int warps = static_cast<int>(blockDim.x) / WARP;
        size = WIDE ? static_cast<int>(blockDim.x) : WARP;
        thread = static_cast<int>(WIDE ? threadIdx.x : lane_of_thread());
        index = WIDE ? blockIdx.x : static_cast<int64_t>(blockIdx.x) * warps + warp_of_thread();
        count = WIDE ? gridDim.x : static_cast<int64_t>(gridDim.x) * warps;
    }

    /* The first number of this thread's k-th vector. */
    template <int N> __device__ __forceinline__ int column(int k) const
    {
        return (k * size + thread) * N;
    }

    __device__ __forceinline__ float sum(float x) const
    {
        if constexpr (WIDE) return block_sum(x);
        return warp_sum(x);
    }
};

/* ---- forward ---- */

/* F numbers of each thread, in vectors of N. */
template <class T, int N, int F, bool WIDE>
__global__ void __launch_bounds__(WIDE ? WIDE_THREADS_MAX : NARROW_THREADS)
    forward_kernel(const struct kernels_layernorm a, const T *in, const T *weight,
                   const T *bias, T *out)
{
    constexpr int K = F / N;
    const team<WIDE> own;
    const int C = static_cast<int>(a.width);
    const int64_t row = own.index;
    if (row >= a.rows) return;
    float x[K][N];
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < K; k++) {
        if (own.template column<N>(k) >= C) continue;
        real_load(in + row * C + own.template column<N>(k), x[k]);
#pragma unroll
        for (int i = 0; i < N; i++)
            sum += x[k][i];
    }
    const float mean = own.sum(sum) / static_cast<float>(C);
    float squares = 0.0f;
#pragma unroll
    for (int k = 0; k < K; k++) {
        if (own.template column<N>(k) >= C) continue;
#pragma unroll
        for (int i = 0; i < N; i++)
            squares += (x[k][i] - mean) * (x[k][i] - mean);
    }
    const float rstd = 1.0f / sqrtf(own.sum(squares) / static_cast<float>(C) + EPSILON);
#pragma unroll
    for (int k = 0; k < K; k++) {
        const int at = own.template column<N>(k);
        if (at >= C) continue;
        float w[N], b[N];
        real_load(weight + at, w);
        real_load(bias + at, b);
#pragma unroll
        for (int i = 0; i < N; i++)
            x[k][i] = (x[k][i] - mean) * rstd * w[i] + b[i];
        real_store(out + row * C + at, x[k]);
    }
    if (own.thread != 0) return;
    a.mean[row] = mean;
    a.rstd[row] = rstd;
}

/* ---- backward ---- */

/* in_grad = rstd (g - mean(g) - x mean(g x)) with g = out_grad * weight and x the normalized
 * input. */
template <class T, int N, int F, bool WIDE> struct backward_rows {
    static constexpr int K = F / N;
    const struct kernels_layernorm_backward &a;
    const T *in, *weight, *out_grad;
    T *in_grad;
    const team<WIDE> own;
    float weight_sum[K][N], bias_sum[K][N];

    /* Normalized inputs and gradients of the outputs. */
    struct vector {
        float x[N], out[N], weight[N];
    };

    __device__ __forceinline__ struct vector unfold(const pack<T, N> &in_pack,
                                                    const pack<T, N> &grad_pack, int at,
                                                    float mean, float rstd) const
    {
        struct vector v;
        pack_unfold(in_pack, v.x);
        pack_unfold(grad_pack, v.out);
        real_load(weight + at, v.weight);
#pragma unroll
        for (int i = 0; i < N; i++)
            v.x[i] = (v.x[i] - mean) * rstd;
        return v;
    }

    __device__ __forceinline__ void row(int64_t row)
    {
        const int C = static_cast<int>(a.width);
        const float mean = a.mean[row];
        const float rstd = a.rstd[row];
        pack<T, N> in_held[K], grad_held[K];
        float sum_g = 0.0f, sum_gx = 0.0f;
#pragma unroll
        for (int k = 0; k < K; k++) {
            const int at = own.template column<N>(k);
            if (at >= C) continue;
            in_held[k] = pack_load<T, N>(in + row * C + at);
            grad_held[k] = pack_load<T, N>(out_grad + row * C + at);
        }
#pragma unroll
        for (int k = 0; k < K; k++) {
            const int at = own.template column<N>(k);
            if (at >= C) continue;
            const struct vector v = unfold(in_held[k], grad_held[k], at, mean, rstd);
#pragma unroll
            for (int i = 0; i < N; i++) {
                sum_g += v.out[i] * v.weight[i];
                sum_gx += v.out[i] * v.weight[i] * v.x[i];
                weight_sum[k][i] += v.out[i] * v.x[i];
                bias_sum[k][i] += v.out[i];
            }
        }
        const float mean_g = own.sum(sum_g) / static_cast<float>(C);
        const float mean_gx = own.sum(sum_gx) / static_cast<float>(C);
#pragma unroll
        for (int k = 0; k < K; k++) {
            const int at = own.template column<N>(k);
            if (at >= C) continue;
            const struct vector v = unfold(in_held[k], grad_held[k], at, mean, rstd);
            float grad[N] = {};
            if (a.add) real_load(in_grad + row * C + at, grad);
#pragma unroll
            for (int i = 0; i < N; i++)
                grad[i] += rstd * (v.out[i] * v.weight[i] - mean_g - v.x[i] * mean_gx);
            real_store(in_grad + row * C + at, grad);
        }
    }

    /* Adds the sums of a block's warps in `total`, [2, C] in shared memory, one after another. */
    __device__ __forceinline__ void join(float *total) const
    {
        const int C = static_cast<int>(a.width);
        for (unsigned turn = 0; turn < blockDim.x / WARP; turn++) {
            if (turn == warp_of_thread()) {
#pragma unroll
                for (int k = 0; k < K; k++) {
                    const int at = own.template column<N>(k);
                    if (at >= C) continue;
#pragma unroll
                    for (int i = 0; i < N; i++) {
                        const float w = turn == 0 ? 0.0f : total[at + i];
                        const float b = turn == 0 ? 0.0f : total[C + at + i];
                        total[at + i] = w + weight_sum[k][i];
                        total[C + at + i] = b + bias_sum[k][i];
                    }
                }
            }
            __syncthreads();
        }
    }

    /* The block's sums, [2, C], to scratch memory. */
    __device__ __forceinline__ void leave(float *partial, float *total) const
    {
        const int C = static_cast<int>(a.width);
        if constexpr (WIDE) {
#pragma unroll
            for (int k = 0; k < K; k++) {
                const int at = own.template column<N>(k);
                if (at >= C) continue;
#pragma unroll
                for (int i = 0; i < N; i++) {
                    partial[at + i] = weight_sum[k][i];
                    partial[C + at + i] = bias_sum[k][i];
                }
            }
        } else {
            join(total);
            for (int i = static_cast<int>(threadIdx.x); i < 2 * C; i += blockDim.x)
                partial[i] = total[i];
        }
    }
};

template <class T, int N, int F, bool WIDE>
__global__ void __launch_bounds__(WIDE ? WIDE_THREADS_MAX : NARROW_THREADS,
                                  WIDE ? 1 : narrow_blocks(F, sizeof(T)))
    backward_kernel(const struct kernels_layernorm_backward a, const T *in, const T *weight,
                    const T *out_grad, T *in_grad, float *partials)
{
    DYNAMIC_SHARED(float, total);
    backward_rows<T, N, F, WIDE> rows = { a, in, weight, out_grad, in_grad, {}, {}, {} };
    for (int64_t row = rows.own.index; row < a.rows; row += rows.own.count)
        rows.row(row);
    rows.leave(partials + blockIdx.x * 2 * a.width, total);
}

/* ---- rows that are no whole vectors ---- */

template <class T>
__global__ void __launch_bounds__(LOOSE_THREADS)
    loose_forward_kernel(const struct kernels_layernorm a, const T *in, const T *weight,
                         const T *bias, T *out)
{
    const int C = static_cast<int>(a.width);
    const int first = static_cast<int>(threadIdx.x);
    const T *from = in + blockIdx.x * a.width;
    T *to = out + blockIdx.x * a.width;
    float sum = 0.0f;
    for (int i = first; i < C; i += blockDim.x)
        sum += real_to_float(from[i]);
    const float mean = block_sum(sum) / static_cast<float>(C);
    float squares = 0.0f;
    for (int i = first; i < C; i += blockDim.x) {
        const float off = real_to_float(from[i]) - mean;
        squares += off * off;
    }
    const float rstd = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(C) + EPSILON);
    for (int i = first; i < C; i += blockDim.x) {
        const float x = (real_to_float(from[i]) - mean) * rstd;
        to[i] = real_of<T>(x * real_to_float(weight[i]) + real_to_float(bias[i]));
    }
    if (threadIdx.x != 0) return;
    a.mean[blockIdx.x] = mean;
    a.rstd[blockIdx.x] = rstd;
}

template <class T>
__global__ void __launch_bounds__(LOOSE_THREADS)
    loose_backward_kernel(const struct kernels_layernorm_backward a, const T *in,
                          const T *weight, const T *out_grad, T *in_grad)
{
    const int C = static_cast<int>(a.width);
    const int first = static_cast<int>(threadIdx.x);
    const int64_t row = blockIdx.x * a.width;
    const float mean = a.mean[blockIdx.x];
    const float rstd = a.rstd[blockIdx.x];
    float sum_g = 0.0f, sum_gx = 0.0f;
    for (int i = first; i < C; i += blockDim.x) {
        const float g = real_to_float(out_grad[row + i]) * real_to_float(weight[i]);
        sum_g += g;
        sum_gx += g * (real_to_float(in[row + i]) - mean) * rstd;
    }
    const float mean_g = block_sum(sum_g) / static_cast<float>(C);
    const float mean_gx = block_sum(sum_gx) / static_cast<float>(C);
    for (int i = first; i < C; i += blockDim.x) {
        const float g = real_to_float(out_grad[row + i]) * real_to_float(weight[i]);
        const float x = (real_to_float(in[row + i]) - mean) * rstd;
        const float before = a.add ? real_to_float(in_grad[row + i]) : 0.0f;
        in_grad[row + i] = real_of<T>(before + rstd * (g - mean_g - x * mean_gx));
    }
}

/* Block y adds up its share of the rows, a thread for each column. */
template <class T>
__global__ void __launch_bounds__(LOOSE_THREADS)
    loose_sums_kernel(const struct kernels_layernorm_backward a, const T *in, const T *out_grad,
                      float *partials)
{
    const int64_t column = static_cast<int64_t>(blockIdx.x) * LOOSE_THREADS + threadIdx.x;
    if (column >= a.width) return;
    float weight_sum = 0.0f, bias_sum = 0.0f;
#pragma unroll 4
    for (int64_t row = blockIdx.y; row < a.rows; row += gridDim.y) {
        const float x = (real_to_float(in[row * a.width + column]) - a.mean[row]) * a.rstd[row];
        const float out = real_to_float(out_grad[row * a.width + column]);
        weight_sum += out * x;
        bias_sum += out;
    }
    float *partial = partials + blockIdx.y * 2 * a.width;
    partial[column] = weight_sum;
    partial[a.width + column] = bias_sum;
}

/* ---- the last sums ---- */

/* Sums of the columns of partials, [count, 2 C]: the first C are the weight's. A block has a warp
 * of columns, and COLUMN_ROWS threads for each. */
__global__ void __launch_bounds__(WARP *COLUMN_ROWS)
    columns_kernel(const float *partials, int count, int width, float *weight_grad,
                   float *bias_grad)
{
    __shared__ float sums[COLUMN_ROWS][WARP];
    const int column = static_cast<int>(blockIdx.x * WARP + threadIdx.x);
    const bool exists = column < 2 * width;
    float sum = 0.0f;
#pragma unroll 16
    for (int i = static_cast<int>(threadIdx.y); i < count; i += COLUMN_ROWS)
        sum += exists ? partials[static_cast<int64_t>(i) * 2 * width + column] : 0.0f;
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || !exists) return;
#pragma unroll
    for (int y = 1; y < COLUMN_ROWS; y++)
        sum += sums[y][threadIdx.x];
    if (column < width)
        weight_grad[column] = sum;
    else
        bias_grad[column - width] = sum;
}

/* ---- launches ---- */

/* A block of whole warps for a row. */
unsigned wide_threads(int64_t width)
{
    return static_cast<unsigned>(div_ceil(div_ceil(width, WIDE_PER_THREAD), WARP) * WARP);
}

unsigned loose_threads(int64_t width)
{
    return static_cast<unsigned>(min_i64(div_ceil(width, WARP) * WARP, LOOSE_THREADS));
}

template <class T, int N, int F, bool WIDE>
void held(struct kernels_device *device, const struct kernels_layernorm *a)
{
    const unsigned threads = WIDE ? wide_threads(a->width) : unsigned(NARROW_THREADS);
    const int64_t rows_per_block = WIDE ? 1 : NARROW_THREADS / WARP;
    LAUNCH((forward_kernel<T, N, F, WIDE>),
           static_cast<unsigned>(div_ceil(a->rows, rows_per_block)), threads, 0,
           cuda_device_stream(device), *a, static_cast<const T *>(a->in),
           static_cast<const T *>(a->weight), static_cast<const T *>(a->bias),
           static_cast<T *>(a->out));
}

template <class T> void loose(struct kernels_device *device, const kernels_layernorm *a)
{
    LAUNCH(loose_forward_kernel<T>, static_cast<unsigned>(a->rows), loose_threads(a->width), 0,
           cuda_device_stream(device), *a, static_cast<const T *>(a->in),
           static_cast<const T *>(a->weight), static_cast<const T *>(a->bias),
           static_cast<T *>(a->out));
}

const char backward_name[] = "layernorm backward";

/* The parts of the sums over rows that are in scratch memory, none where there are no rows. */
void last_sums(struct kernels_device *device, const struct kernels_layernorm_backward *a,
               int64_t parts)
{
    LAUNCH(columns_kernel, static_cast<unsigned>(div_ceil(2 * a->width, WARP)),
           dim3(WARP, COLUMN_ROWS), 0, cuda_device_stream(device),
           static_cast<const float *>(cuda_device_scratch(device)), static_cast<int>(parts),
           static_cast<int>(a->width), a->weight_grad, a->bias_grad);
    cuda_device_note(device, cudaGetLastError(), backward_name);
}

template <class T, int N, int F, bool WIDE>
void held(struct kernels_device *device, const struct kernels_layernorm_backward *a)
{
    const unsigned threads = WIDE ? wide_threads(a->width) : unsigned(NARROW_THREADS);
    const int64_t rows_per_block = WIDE ? 1 : NARROW_THREADS / WARP;
    int64_t blocks = cuda_device_multiprocessors(device) *
                     (WIDE ? WIDE_BLOCKS : narrow_blocks(F, sizeof(T)));
    blocks = min_i64(min_i64(blocks, PARTIALS_MAX), div_ceil(a->rows, rows_per_block));
    const size_t shared_bytes = WIDE ? 0 : 2 * static_cast<size_t>(a->width) * sizeof(float);
    LAUNCH((backward_kernel<T, N, F, WIDE>), static_cast<unsigned>(blocks), threads,
           shared_bytes, cuda_device_stream(device), *a, static_cast<const T *>(a->in),
           static_cast<const T *>(a->weight), static_cast<const T *>(a->out_grad),
           static_cast<T *>(a->in_grad), static_cast<float *>(cuda_device_scratch(device)));
    if (cuda_device_launched(device, backward_name)) last_sums(device, a, blocks);
}

template <class T>
void loose(struct kernels_device *device, const struct kernels_layernorm_backward *a)
{
    cudaStream_t stream = cuda_device_stream(device);
    const T *in = static_cast<const T *>(a->in);
    const T *out_grad = static_cast<const T *>(a->out_grad);
    LAUNCH(loose_backward_kernel<T>, static_cast<unsigned>(a->rows), loose_threads(a->width), 0,
           stream, *a, in, static_cast<const T *>(a->weight), out_grad,
           static_cast<T *>(a->in_grad));
    if (!cuda_device_launched(device, backward_name)) return;
    const int64_t parts = min_i64(div_ceil(a->rows, LOOSE_ROWS), PARTIALS_MAX);
    const dim3 grid(static_cast<unsigned>(div_ceil(a->width, LOOSE_THREADS)),
                    static_cast<unsigned>(parts));
    LAUNCH(loose_sums_kernel<T>, grid, LOOSE_THREADS, 0, stream, *a, in, out_grad,
           static_cast<float *>(cuda_device_scratch(device)));
    if (cuda_device_launched(device, backward_name)) last_sums(device, a, parts);
}

/* The fewest registers that hold a row. */
template <class T, class A>
void choose(struct kernels_device *device, const A *a, bool whole_vectors)
{
    constexpr int N = real_vector<T>;
    const int64_t C = a->width;
    if (!whole_vectors || C > HELD_MAX) return loose<T>(device, a);
    if (C > NARROW_MAX) return held<T, N, WIDE_PER_THREAD, true>(device, a);
    if (C <= 8 * WARP) return held<T, N, 8, false>(device, a);
    if (C <= 16 * WARP) return held<T, N, 16, false>(device, a);
    if (C <= 24 * WARP) return held<T, N, 24, false>(device, a);
    held<T, N, 32, false>(device, a);
}

template <class T>
void forward(struct kernels_device *device, const struct kernels_layernorm *a)
{
    choose<T>(device, a,
              rows_of_vectors<real_vector<T>>(
                  a->width, static_cast<const T *>(a->in), static_cast<const T *>(a->weight),
                  static_cast<const T *>(a->bias), static_cast<const T *>(a->out)));
}

template <class T>
void backward(struct kernels_device *device, const struct kernels_layernorm_backward *a)
{
    choose<T>(device, a,
              rows_of_vectors<real_vector<T>>(
                  a->width, static_cast<const T *>(a->in), static_cast<const T *>(a->weight),
                  static_cast<const T *>(a->out_grad), static_cast<const T *>(a->in_grad)));
}

} // namespace

size_t cuda_layernorm_scratch_bytes(const struct kernels_options *options)
{
    return PARTIALS_MAX * 2 * static_cast<size_t>(options->width) * sizeof(float);
}

void cuda_layernorm(struct kernels_device *device, const struct kernels_layernorm *args)
{
    if (args->rows == 0) return;
    if (cuda_device_options(device)->type == KERNELS_BF16)
        forward<bf16>(device, args);
    else
        forward<float>(device, args);
    cuda_device_note(device, cudaGetLastError(), "layernorm");
}

void cuda_layernorm_backward(struct kernels_device *device,
                             const struct kernels_layernorm_backward *args)
{
    check(args->width <= cuda_device_options(device)->width);
    if (args->rows == 0)
        last_sums(device, args, 0);
    else if (cuda_device_options(device)->type == KERNELS_BF16)
        backward<bf16>(device, args);
    else
        backward<float>(device, args);
}
