/*
 * attention_plain.cuh - attention for any type and any width of heads, in fp32.
 *
 * Tiles of 64 x 64 and 256 threads: thread (x, y) of 16 x 16 has rows 4 y to 4 y + 3 and columns
 * x, x + 16, x + 32, x + 48. Operands pass through shared memory in chunks of 32 columns, so that
 * no width needs more of it. Sums over heads of up to WIDTH numbers stay in registers.
 */
#ifndef KERNELS_CUDA_ATTENTION_PLAIN_CUH
#define KERNELS_CUDA_ATTENTION_PLAIN_CUH

#include "kernels/cuda/attention.cuh"

namespace
{

constexpr int SIDE = 64, CHUNK = 32, PLAIN_THREADS = 256;

/* Blocks of a gradient's kernel that share a multiprocessor: what registers there are for each
 * thread. */
template <int WIDTH> constexpr int plain_blocks = WIDTH <= 64 ? 2 : 1;

struct plain_memory {
    float a[SIDE][CHUNK + 1], b[SIDE][CHUNK + 1]; /* one more: rows begin in different banks */
    float p[SIDE][SIDE + 1];
};

/* Chunk `c` of the head's columns of 64 rows, zeros beyond rows and columns. */
template <class real>
__device__ inline void chunk_fill(float (&to)[SIDE][CHUNK + 1], const real *from,
                                  int64_t stride, int valid_rows, int columns, int c)
{
    for (int i = static_cast<int>(threadIdx.x); i < SIDE * CHUNK; i += PLAIN_THREADS) {
        const int row = i / CHUNK, column = c * CHUNK + i % CHUNK;
        const bool valid = row < valid_rows && column < columns;
        to[row][i % CHUNK] = valid ? real_to_float(from[row * stride + column]) : 0.0f;
    }
}

/* One operand of the plain products: 64 rows from a pointer on. */
template <class real> struct plain_rows {
    const real *at;
    int64_t stride;
    int valid;
};

/* score = a * b^T. */
template <class real>
__device__ inline void plain_product(plain_memory &memory, float (&score)[4][4],
                                     const plain_rows<real> &a, const plain_rows<real> &b,
                                     int columns)
{
    const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            score[i][j] = 0.0f;
    for (int c = 0; c * CHUNK < columns; c++) {
        __syncthreads(); /* the chunks before have been used */
        chunk_fill(memory.a, a.at, a.stride, a.valid, columns, c);
        chunk_fill(memory.b, b.at, b.stride, b.valid, columns, c);
        __syncthreads();
#pragma unroll 4
        for (int k = 0; k < CHUNK; k++) {
            float left_part[4], right_part[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                left_part[i] = memory.a[4 * y + i][k];
                right_part[i] = memory.b[x + 16 * i][k];
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    score[i][j] += left_part[i] * right_part[j];
        }
    }
}

/* sum += p * b, or p^T * b, with memory.p as left operand; sum[i][j] is row 4 y + i, column
 * x + 16 j. Writes to memory.p before the call are seen. */
template <bool TRANSPOSED, int WIDTH, class real>
__device__ inline void plain_product_add(plain_memory &memory, float (&sum)[4][WIDTH / 16],
                                         const plain_rows<real> &b, int columns)
{
    const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
    for (int c = 0; c < WIDTH / CHUNK; c++) {
        if (c * CHUNK >= columns) break;
        __syncthreads(); /* the chunk before has been used; p is written */
        chunk_fill(memory.b, b.at, b.stride, b.valid, columns, c);
        __syncthreads();
#pragma unroll 2
        for (int k = 0; k < SIDE; k++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float p = TRANSPOSED ? memory.p[k][4 * y + i] : memory.p[4 * y + i][k];
                sum[i][2 * c] += p * memory.b[k][x];
                sum[i][2 * c + 1] += p * memory.b[k][x + 16];
            }
        }
    }
}

__device__ inline void plain_keep(plain_memory &memory, const float (&p)[4][4])
{
    const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            memory.p[4 * y + i][x + 16 * j] = p[i][j];
}

template <int WIDTH, class real>
__device__ inline void plain_store(const float (&sum)[4][WIDTH / 16], const float (&factor)[4],
                                   real *to, int64_t stride, int valid_rows, int columns)
{
    const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < WIDTH / 16; j++)
            if (4 * y + i < valid_rows && x + 16 * j < columns)
                to[(4 * y + i) * stride + x + 16 * j] = real_of<real>(sum[i][j] * factor[i]);
}

template <int WIDTH> __device__ inline void plain_zero(float (&sum)[4][WIDTH / 16])
{
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < WIDTH / 16; j++)
            sum[i][j] = 0.0f;
}

/* Over the 16 threads that share rows. */
__device__ inline float row_max(float x)
{
#pragma unroll
    for (int step = 8; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(FULL_MASK, x, step));
    return x;
}

__device__ inline float row_sum(float x)
{
#pragma unroll
    for (int step = 8; step > 0; step /= 2)
        x += __shfl_xor_sync(FULL_MASK, x, step);
    return x;
}

template <class real, int WIDTH>
__global__ void __launch_bounds__(PLAIN_THREADS, 2)
    forward_plain(const shape s, const real *qkv, real *out, float *logsum)
{
    __shared__ plain_memory memory;
    const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
    const head h = head_of_block(s);
    const int first = query_tile_of_block(s) * SIDE;
    const int64_t stride = 3 * s.width;
    const real *q = qkv + h.qkv_at, *k = q + s.width, *v = k + s.width;
    const plain_rows<real> queries = { q + first * stride, stride, s.context - first };

    float sum[4][WIDTH / 16], max[4], total[4];
    plain_zero<WIDTH>(sum);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        max[i] = -INFINITY;
        total[i] = 0.0f;
    }
    for (int key = 0; key < key_end(s, first + SIDE); key += SIDE) {
        float score[4][4];
        const plain_rows<real> keys = { k + key * stride, stride, s.context - key };
        plain_product(memory, score, queries, keys, s.head_width);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int query = first + 4 * y + i;
            float max_new = max[i];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                if (key + x + 16 * j > query) score[i][j] = -INFINITY;
                max_new = fmaxf(max_new, score[i][j]);
            }
            max_new = row_max(max_new);
            const float shift = max_new * s.scale_log2;
            const float rescale = exp2_fast(max[i] * s.scale_log2 - shift);
            total[i] *= rescale;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                score[i][j] = exp2_fast(score[i][j] * s.scale_log2 - shift);
                total[i] += score[i][j];
            }
#pragma unroll
            for (int j = 0; j < WIDTH / 16; j++)
                sum[i][j] *= rescale;
            max[i] = max_new;
        }
        plain_keep(memory, score);
        const plain_rows<real> values = { v + key * stride, stride, s.context - key };
        plain_product_add<false, WIDTH>(memory, sum, values, s.head_width);
    }
    float factor[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float row_total = row_sum(total[i]);
        factor[i] = 1.0f / row_total;
        const int query = first + 4 * y + i;
        if (x == 0 && query < s.context)
            logsum[h.row_at + query] = max[i] * s.scale + logf(row_total);
    }
    plain_store<WIDTH>(sum, factor, out + h.out_at + first * s.width, s.width,
                       s.context - first, s.head_width);
}

/* p and the gradient of the unscaled scores for one tile of queries by keys. Queries beyond the
 * end get zeros. */
template <class real>
__device__ inline void plain_score_grad(plain_memory &memory, const shape &s, const head &h,
                                        const real *qkv, const real *out_grad,
                                        const float *logsum, const float *delta, int query,
                                        int key, float (&p)[4][4], float (&grad)[4][4])
{
    const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
    const int64_t stride = 3 * s.width;
    const real *q = qkv + h.qkv_at, *k = q + s.width, *v = k + s.width;
    const int valid_queries = s.context - query, valid_keys = s.context - key;
    plain_product<real>(memory, p, { q + query * stride, stride, valid_queries },
                        { k + key * stride, stride, valid_keys }, s.head_width);
    plain_product<real>(memory, grad,
                        { out_grad + h.out_at + query * s.width, s.width, valid_queries },
                        { v + key * stride, stride, valid_keys }, s.head_width);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int row = query + 4 * y + i;
        const bool valid = row < s.context;
        const float row_logsum = valid ? logsum[h.row_at + row] * LOG2_E : 0.0f;
        const float row_delta = valid ? delta[h.row_at + row] : 0.0f;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const bool seen = valid && key + x + 16 * j <= row;
            p[i][j] = seen ? probability(p[i][j], s.scale_log2, row_logsum) : 0.0f;
            grad[i][j] = seen ? p[i][j] * (grad[i][j] - row_delta) : 0.0f;
        }
    }
}

template <class real, int WIDTH>
__global__ void __launch_bounds__(PLAIN_THREADS, plain_blocks<WIDTH>)
    query_grad_plain(const shape s, const real *qkv, const real *out_grad, const float *logsum,
                     const float *delta, real *qkv_grad)
{
    __shared__ plain_memory memory;
    const head h = head_of_block(s);
    const int first = query_tile_of_block(s) * SIDE;
    const int64_t stride = 3 * s.width;
    const real *k = qkv + h.qkv_at + s.width;
    float sum[4][WIDTH / 16];
    plain_zero<WIDTH>(sum);
    for (int key = 0; key < key_end(s, first + SIDE); key += SIDE) {
        float p[4][4], grad[4][4];
        plain_score_grad(memory, s, h, qkv, out_grad, logsum, delta, first, key, p, grad);
        plain_keep(memory, grad);
        const plain_rows<real> keys = { k + key * stride, stride, s.context - key };
        plain_product_add<false, WIDTH>(memory, sum, keys, s.head_width);
    }
    const float factor[4] = { s.scale, s.scale, s.scale, s.scale };
    plain_store<WIDTH>(sum, factor, qkv_grad + h.qkv_at + first * stride, stride,
                       s.context - first, s.head_width);
}

template <class real, int WIDTH>
__global__ void __launch_bounds__(PLAIN_THREADS, plain_blocks<WIDTH>)
    key_grad_plain(const shape s, const real *qkv, const real *out_grad, const float *logsum,
                   const float *delta, real *qkv_grad)
{
    __shared__ plain_memory memory;
    const head h = head_of_block(s);
    const int first = key_tile_of_block(s) * SIDE;
    const int64_t stride = 3 * s.width;
    float key_sum[4][WIDTH / 16], value_sum[4][WIDTH / 16];
    plain_zero<WIDTH>(key_sum);
    plain_zero<WIDTH>(value_sum);
    for (int query = first; query < s.context; query += SIDE) {
        float p[4][4], grad[4][4];
        plain_score_grad(memory, s, h, qkv, out_grad, logsum, delta, query, first, p, grad);
        const int valid = s.context - query;
        plain_keep(memory, p);
        plain_product_add<true, WIDTH, real>(
            memory, value_sum, { out_grad + h.out_at + query * s.width, s.width, valid },
            s.head_width);
        __syncthreads(); /* p has been used */
        plain_keep(memory, grad);
        plain_product_add<true, WIDTH, real>(
            memory, key_sum, { qkv + h.qkv_at + query * stride, stride, valid }, s.head_width);
    }
    const float key_factor[4] = { s.scale, s.scale, s.scale, s.scale };
    const float value_factor[4] = { 1.0f, 1.0f, 1.0f, 1.0f };
    real *to = qkv_grad + h.qkv_at + s.width + first * stride;
    plain_store<WIDTH>(key_sum, key_factor, to, stride, s.context - first, s.head_width);
    plain_store<WIDTH>(value_sum, value_factor, to + s.width, stride, s.context - first,
                       s.head_width);
}

} // namespace

#endif
