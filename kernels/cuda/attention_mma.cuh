/*
 * attention_mma.cuh - attention in bf16 on tensor cores, for heads of D = 64 or 128 numbers whose
 * rows lie on 16-byte borders.
 *
 * A warp owns rows of the output and keeps their sums in registers; tiles of the other operand
 * pass through two stages of shared memory, of which one is filled while the other is used.
 * Probabilities never leave the registers: the sums of one product have the layout of the next
 * one's left operand.
 *
 * The sizes of the tiles fill the registers and spill none (nvcc 13.0, sm_80 to sm_120: 224 to
 * 255 of each thread), so that two blocks of 128 threads share a multiprocessor; their shared
 * memory fits the smallest of these GPUs, 99 KiB a block.
 */
#ifndef KERNELS_CUDA_ATTENTION_MMA_CUH
#define KERNELS_CUDA_ATTENTION_MMA_CUH

#include "kernels/cuda/attention.cuh"

namespace
{

/* ---- tiles ---- */

/* Rows of D numbers in shared memory. Row r keeps its 16-byte piece p at p ^ (r % 8), so that
 * eight rows of one piece, which is what ldmatrix reads, lie in different banks. */
template <int D> struct tile {
    bf16 *at;

    __device__ bf16 *piece(int row, int p) const
    {
        return at + row * D + (p ^ (row & 7)) * 8;
    }
};

/* What a lane reads of a tile through ldmatrix: piece p and, in lanes where `right`, the piece
 * to the right of it, in rows that are a multiple of eight below `row`. Tiles begin on a border
 * of 128 bytes, so that another even piece is another three bits of the address. */
template <int D> struct lane_view {
    shared_address at;

    __device__ lane_view(const tile<D> rows, int row, int right)
        : at(shared_address_of(rows.piece(row, right)))
    {
    }

    __device__ shared_address piece(int row, int p) const
    {
        return (at ^ static_cast<shared_address>(p % 8 * 16)) +
               static_cast<shared_address>(row * D * 2 + p / 8 * 128);
    }
};

/* Starts to fill ROWS rows, zeros from row `valid` >= 1 on. */
template <int D, int ROWS, int THREADS>
__device__ inline void tile_fill(const tile<D> to, const bf16 *from, int64_t stride, int valid)
{
    constexpr int PIECES = D / 8, ROWS_AT_ONCE = THREADS / PIECES;
    static_assert(ROWS % ROWS_AT_ONCE == 0, "each thread copies as many pieces");
    static_assert(ROWS_AT_ONCE % 8 == 0, "always to the same place in a row");
    const int row = static_cast<int>(threadIdx.x) / PIECES;
    const int p = static_cast<int>(threadIdx.x) % PIECES;
    const bf16 *source = from + row * stride + p * 8;
    bf16 *target = to.piece(row, p);
#pragma unroll
    for (int i = 0; i < ROWS / ROWS_AT_ONCE; i++) {
        const bool inside = row + i * ROWS_AT_ONCE < valid;
        copy_async_16(target + i * ROWS_AT_ONCE * D, inside ? source : from, inside);
        source += ROWS_AT_ONCE * stride;
    }
}

__device__ inline int lane_index()
{
    return static_cast<int>(threadIdx.x) % 32;
}

__device__ inline int warp_index()
{
    return static_cast<int>(threadIdx.x) / 32;
}

template <int M, int N> __device__ inline void zero(float (&sum)[M][N][4])
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                sum[m][n][e] = 0.0f;
}

/* The left operand of a warp: 16 M rows of a tile. KEPT: read once and kept in registers. */
template <int D, int M, bool KEPT> struct left {
    lane_view<D> rows;
    uint32_t kept[KEPT ? D / 16 : 1][M][4];

    __device__ left(const tile<D> from, int first)
        : rows(from, first + lane_index() % 16, lane_index() / 16)
    {
    }

    __device__ void read(uint32_t (&a)[M][4], int k) const
    {
#pragma unroll
        for (int m = 0; m < M; m++)
            ldmatrix(a[m], rows.piece(16 * m, 2 * k));
    }

    __device__ void keep()
    {
        if constexpr (KEPT) {
#pragma unroll
            for (int k = 0; k < D / 16; k++)
                read(kept[k], k);
        }
    }

    __device__ void get(uint32_t (&a)[M][4], int k) const
    {
        if constexpr (KEPT) {
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int r = 0; r < 4; r++)
                    a[m][r] = kept[k][m][r];
        } else {
            read(a, k);
        }
    }
};

/* sum = a * b^T for 8 N rows of b. */
template <int D, int M, int N, bool KEPT>
__device__ inline void product(float (&sum)[M][N][4], const left<D, M, KEPT> &a,
                               const tile<D> b)
{
    const lane_view<D> rows(b, lane_index() % 8 + lane_index() / 16 * 8, lane_index() / 8 % 2);
    zero(sum);
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        uint32_t a_part[M][4];
        a.get(a_part, k);
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t b_part[4];
            ldmatrix(b_part, rows.piece(8 * n, 2 * k));
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_bf16(sum[m][n], a_part[m], b_part[0], b_part[1]);
                mma_bf16(sum[m][n + 1], a_part[m], b_part[2], b_part[3]);
            }
        }
    }
}

/* sum += p * b for 8 N rows of b, with p rounded to bf16. */
template <int D, int M, int N>
__device__ inline void product_add(float (&sum)[M][D / 8][4], const float (&p)[M][N][4],
                                   const tile<D> b)
{
    const lane_view<D> rows(b, lane_index() % 16, lane_index() / 16);
#pragma unroll
    for (int k = 0; k < N / 2; k++) {
        uint32_t a_part[M][4];
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int r = 0; r < 4; r++) {
                const float(&pair)[4] = p[m][2 * k + r / 2];
                a_part[m][r] = pack_bf16(pair[r % 2 * 2], pair[r % 2 * 2 + 1]);
            }
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) {
            uint32_t b_part[4];
            ldmatrix_transposed(b_part, rows.piece(16 * k, n));
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_bf16(sum[m][n], a_part[m], b_part[0], b_part[1]);
                mma_bf16(sum[m][n + 1], a_part[m], b_part[2], b_part[3]);
            }
        }
    }
}

/* Scores of keys after the query become minus infinity. Rows are queries from `query` on and
 * columns keys from `key` on, or the other way round. */
template <bool ROWS_ARE_KEYS, int M, int N>
__device__ inline void mask_future(float (&score)[M][N][4], int query, int key)
{
    const int row = lane_index() / 4, column = lane_index() % 4 * 2;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int r = 16 * m + row + e / 2 * 8, c = 8 * n + column + e % 2;
                const int q = query + (ROWS_ARE_KEYS ? c : r);
                const int k = key + (ROWS_ARE_KEYS ? r : c);
                if (k > q) score[m][n][e] = -INFINITY;
            }
}

__device__ inline float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(FULL_MASK, x, 1));
    return fmaxf(x, __shfl_xor_sync(FULL_MASK, x, 2));
}

__device__ inline float quad_sum(float x)
{
    x += __shfl_xor_sync(FULL_MASK, x, 1);
    return x + __shfl_xor_sync(FULL_MASK, x, 2);
}

/* Stores the warp's 16 M rows, row 16 m + 8 half + lane / 4 times factor[m][half], as far as
 * they are valid. They pass through the rows from `first` on of a tile that no other warp reads
 * any more, so that each lane stores 16 bytes and rows go out as a whole. */
template <int D, int M>
__device__ inline void store_rows(const float (&sum)[M][D / 8][4], const float (&factor)[M][2],
                                  const tile<D> through, int first, bf16 *to, int64_t stride,
                                  int valid)
{
    constexpr int PIECES = D / 8;
    const int lane = lane_index();
    __syncwarp();
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < PIECES; n++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int row = first + 16 * m + 8 * half + lane / 4;
                const uint32_t pair = pack_bf16(sum[m][n][2 * half] * factor[m][half],
                                                sum[m][n][2 * half + 1] * factor[m][half]);
                *reinterpret_cast<uint32_t *>(through.piece(row, n) + lane % 4 * 2) = pair;
            }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 16 * M * PIECES / 32; i++) {
        const int row = (lane + 32 * i) / PIECES, p = (lane + 32 * i) % PIECES;
        if (row < valid)
            *reinterpret_cast<uint4 *>(to + row * stride + p * 8) =
                *reinterpret_cast<const uint4 *>(through.piece(first + row, p));
    }
}

/* ---- forward ---- */

/* A warp owns 32 queries, so that what it reads of K and V serves two rows of products: with 16
 * the tensor cores would wait for shared memory. Queries stay in registers where they fit. */
template <int D> struct forward_plan {
    static constexpr int WARPS = 4, M = 2, QUERIES = WARPS * M * 16, KEYS = D <= 64 ? 64 : 32;
    static constexpr bool KEPT = D <= 64;
    static constexpr size_t SHARED_BYTES = (QUERIES + 4 * KEYS) * D * sizeof(bf16);
};

/* The running softmax of a warp's rows. */
template <int M> struct softmax {
    float max[M][2]; /* of the raw scores */
    float sum[M][2]; /* this lane's part of the sum of exponentials below the maximum */
};

/* Scores become exponentials below the rows' new maxima; what was summed up below the old ones
 * is brought down to the new. The first tile holds key 0, which every query sees, so no row is
 * left without a maximum. */
template <int D, int M, int N>
__device__ inline void softmax_step(softmax<M> &state, float (&score)[M][N][4],
                                    float (&out)[M][D / 8][4], float scale_log2)
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float max = state.max[m][half];
#pragma unroll
            for (int n = 0; n < N; n++)
                max = fmaxf(max, fmaxf(score[m][n][2 * half], score[m][n][2 * half + 1]));
            max = quad_max(max);
            const float shift = max * scale_log2;
            const float rescale = exp2_fast(state.max[m][half] * scale_log2 - shift);
            float sum = state.sum[m][half] * rescale;
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 2 * half; e < 2 * half + 2; e++) {
                    score[m][n][e] = exp2_fast(score[m][n][e] * scale_log2 - shift);
                    sum += score[m][n][e];
                }
#pragma unroll
            for (int n = 0; n < D / 8; n++)
#pragma unroll
                for (int e = 2 * half; e < 2 * half + 2; e++)
                    out[m][n][e] *= rescale;
            state.max[m][half] = max;
            state.sum[m][half] = sum;
        }
}

template <int D>
__global__ void __launch_bounds__(forward_plan<D>::WARPS * 32)
    forward_mma(const shape s, const bf16 *qkv, bf16 *out, float *logsum)
{
    using plan = forward_plan<D>;
    constexpr int M = plan::M, KEYS = plan::KEYS, THREADS = plan::WARPS * 32;
    DYNAMIC_SHARED(unsigned char, memory);
    bf16 *shared = reinterpret_cast<bf16 *>(memory);
    const tile<D> queries = { shared };
    bf16 *stages = shared + plan::QUERIES * D;

    const head h = head_of_block(s);
    const int first = query_tile_of_block(s) * plan::QUERIES;
    const int64_t stride = 3 * s.width;
    const bf16 *q = qkv + h.qkv_at, *k = q + s.width, *v = k + s.width;
    const int warp_first = warp_index() * M * 16; /* row of the block's tile */
    const int own = first + warp_first;           /* its query */

    const int stage_count = (key_end(s, first + plan::QUERIES) - 1) / KEYS + 1;
    auto stage_fill = [&](int stage) {
        const int key = stage * KEYS;
        bf16 *at = stages + stage % 2 * 2 * KEYS * D;
        tile_fill<D, KEYS, THREADS>({ at }, k + key * stride, stride, s.context - key);
        tile_fill<D, KEYS, THREADS>({ at + KEYS * D }, v + key * stride, stride,
                                    s.context - key);
        copy_async_commit();
    };
    tile_fill<D, plan::QUERIES, THREADS>(queries, q + first * stride, stride,
                                         s.context - first);
    stage_fill(0);

    left<D, M, plan::KEPT> query_rows(queries, warp_first);
    float sum[M][D / 8][4];
    zero(sum);
    softmax<M> state;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            state.max[m][half] = -INFINITY;
            state.sum[m][half] = 0.0f;
        }

    for (int stage = 0; stage < stage_count; stage++) {
        copy_async_wait<0>();
        __syncthreads(); /* this stage has come; all have left the one before */
        if (stage + 1 < stage_count) stage_fill(stage + 1);
        if (stage == 0) query_rows.keep();
        const int key = stage * KEYS;
        if (key > own + 16 * M - 1) continue;
        const tile<D> keys = { stages + stage % 2 * 2 * KEYS * D };
        const tile<D> values = { keys.at + KEYS * D };
        float score[M][KEYS / 8][4];
        product<D>(score, query_rows, keys);
        if (key + KEYS - 1 > own) mask_future<false>(score, own, key);
        softmax_step<D>(state, score, sum, s.scale_log2);
        product_add<D>(sum, score, values);
    }

    float factor[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float total = quad_sum(state.sum[m][half]);
            factor[m][half] = 1.0f / total;
            const int row = own + 16 * m + 8 * half + lane_index() / 4;
            if (row < s.context && lane_index() % 4 == 0)
                logsum[h.row_at + row] = state.max[m][half] * s.scale + logf(total);
        }
    store_rows<D>(sum, factor, queries, warp_first, out + h.out_at + own * s.width, s.width,
                  s.context - own);
}

/* ---- backward ---- */

template <int D> struct query_plan {
    static constexpr int WARPS = D <= 64 ? 4 : 8, M = D <= 64 ? 2 : 1;
    static constexpr int QUERIES = WARPS * M * 16, KEYS = 32;
    static constexpr bool KEPT = true;
    static constexpr size_t SHARED_BYTES = (2 * QUERIES + 4 * KEYS) * D * sizeof(bf16);
};

/* dQ of one tile of queries. */
template <int D>
__global__ void __launch_bounds__(query_plan<D>::WARPS * 32)
    query_grad_mma(const shape s, const bf16 *qkv, const bf16 *out_grad, const float *logsum,
                   const float *delta, bf16 *qkv_grad)
{
    using plan = query_plan<D>;
    constexpr int M = plan::M, KEYS = plan::KEYS, THREADS = plan::WARPS * 32;
    DYNAMIC_SHARED(unsigned char, memory);
    bf16 *shared = reinterpret_cast<bf16 *>(memory);
    const tile<D> queries = { shared }, out_grads = { shared + plan::QUERIES * D };
    bf16 *stages = shared + 2 * plan::QUERIES * D;

    const head h = head_of_block(s);
    const int first = query_tile_of_block(s) * plan::QUERIES;
    const int64_t stride = 3 * s.width;
    const bf16 *q = qkv + h.qkv_at, *k = q + s.width, *v = k + s.width;
    const int warp_first = warp_index() * M * 16, own = first + warp_first;

    const int stage_count = (key_end(s, first + plan::QUERIES) - 1) / KEYS + 1;
    auto stage_fill = [&](int stage) {
        const int key = stage * KEYS;
        bf16 *at = stages + stage % 2 * 2 * KEYS * D;
        tile_fill<D, KEYS, THREADS>({ at }, k + key * stride, stride, s.context - key);
        tile_fill<D, KEYS, THREADS>({ at + KEYS * D }, v + key * stride, stride,
                                    s.context - key);
        copy_async_commit();
    };
    tile_fill<D, plan::QUERIES, THREADS>(queries, q + first * stride, stride,
                                         s.context - first);
    tile_fill<D, plan::QUERIES, THREADS>(out_grads, out_grad + h.out_at + first * s.width,
                                         s.width, s.context - first);
    stage_fill(0);

    left<D, M, plan::KEPT> query_rows(queries, warp_first), grad_rows(out_grads, warp_first);
    float row_logsum[M][2], row_delta[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int row = own + 16 * m + 8 * half + lane_index() / 4;
            const bool valid = row < s.context;
            row_logsum[m][half] = valid ? logsum[h.row_at + row] * LOG2_E : INFINITY;
            row_delta[m][half] = valid ? delta[h.row_at + row] : 0.0f;
        }
    float sum[M][D / 8][4];
    zero(sum);

    for (int stage = 0; stage < stage_count; stage++) {
        copy_async_wait<0>();
        __syncthreads(); /* this stage has come; all have left the one before */
        if (stage + 1 < stage_count) stage_fill(stage + 1);
        if (stage == 0) {
            query_rows.keep();
            grad_rows.keep();
        }
        const int key = stage * KEYS;
        if (key > own + 16 * M - 1) continue;
        const tile<D> keys = { stages + stage % 2 * 2 * KEYS * D };
        const tile<D> values = { keys.at + KEYS * D };
        float p[M][KEYS / 8][4], grad[M][KEYS / 8][4];
        product<D>(p, query_rows, keys);
        if (key + KEYS - 1 > own) mask_future<false>(p, own, key);
        product<D>(grad, grad_rows, values);
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    grad[m][n][e] =
                        probability(p[m][n][e], s.scale_log2, row_logsum[m][e / 2]) *
                        (grad[m][n][e] - row_delta[m][e / 2]);
        product_add<D>(sum, grad, keys);
    }

    float factor[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
        factor[m][0] = factor[m][1] = s.scale;
    store_rows<D>(sum, factor, queries, warp_first, qkv_grad + h.qkv_at + own * stride, stride,
                  s.context - own);
}

template <int D> struct key_plan {
    static constexpr int WARPS = D <= 64 ? 4 : 8, M = D <= 64 ? 2 : 1;
    static constexpr int KEYS = WARPS * M * 16, QUERIES = 32;
    static constexpr size_t SHARED_BYTES =
        (2 * KEYS + 4 * QUERIES) * D * sizeof(bf16) + 4 * QUERIES * sizeof(float);
};

/* dK and dV of one tile of keys. Scores are made transposed, keys by queries, so that they are
 * the left operand of both products that follow. */
template <int D>
__global__ void __launch_bounds__(key_plan<D>::WARPS * 32)
    key_grad_mma(const shape s, const bf16 *qkv, const bf16 *out_grad, const float *logsum,
                 const float *delta, bf16 *qkv_grad)
{
    using plan = key_plan<D>;
    constexpr int M = plan::M, QUERIES = plan::QUERIES, THREADS = plan::WARPS * 32;
    static_assert(2 * QUERIES <= THREADS, "a thread copies one number of a query");
    DYNAMIC_SHARED(unsigned char, memory);
    bf16 *shared = reinterpret_cast<bf16 *>(memory);
    const tile<D> keys = { shared }, values = { shared + plan::KEYS * D };
    bf16 *stages = shared + 2 * plan::KEYS * D;
    float *stage_rows = reinterpret_cast<float *>(stages + 4 * QUERIES * D);

    const head h = head_of_block(s);
    const int first = key_tile_of_block(s) * plan::KEYS;
    const int64_t stride = 3 * s.width;
    const bf16 *q = qkv + h.qkv_at, *k = q + s.width, *v = k + s.width;
    const bf16 *grad_from = out_grad + h.out_at;
    const int warp_first = warp_index() * M * 16, own = first + warp_first;

    const int stage_begin = first / QUERIES, stage_end = (s.context - 1) / QUERIES + 1;
    auto stage_fill = [&](int stage) {
        const int query = stage * QUERIES, valid = s.context - query;
        bf16 *at = stages + stage % 2 * 2 * QUERIES * D;
        tile_fill<D, QUERIES, THREADS>({ at }, q + query * stride, stride, valid);
        tile_fill<D, QUERIES, THREADS>({ at + QUERIES * D }, grad_from + query * s.width,
                                       s.width, valid);
        const int i = static_cast<int>(threadIdx.x);
        if (i < 2 * QUERIES) {
            const float *from = (i < QUERIES ? logsum : delta) + h.row_at + query;
            const int row = i % QUERIES;
            copy_async_4(stage_rows + stage % 2 * 2 * QUERIES + i,
                         from + (row < valid ? row : 0), row < valid);
        }
        copy_async_commit();
    };
    tile_fill<D, plan::KEYS, THREADS>(keys, k + first * stride, stride, s.context - first);
    tile_fill<D, plan::KEYS, THREADS>(values, v + first * stride, stride, s.context - first);
    stage_fill(stage_begin);

    const left<D, M, false> key_rows(keys, warp_first), value_rows(values, warp_first);
    float key_sum[M][D / 8][4], value_sum[M][D / 8][4];
    zero(key_sum);
    zero(value_sum);

    for (int stage = stage_begin; stage < stage_end; stage++) {
        copy_async_wait<0>();
        __syncthreads(); /* this stage has come; all have left the one before */
        if (stage + 1 < stage_end) stage_fill(stage + 1);
        const int query = stage * QUERIES;
        if (query + QUERIES - 1 < own) continue;
        const tile<D> queries = { stages + stage % 2 * 2 * QUERIES * D };
        const tile<D> grads = { queries.at + QUERIES * D };
        const float *rows = stage_rows + stage % 2 * 2 * QUERIES + lane_index() % 4 * 2;

        /* Queries beyond the end are zeros with a sum and a delta of zero: their gradient and
         * with it all that they add is zero. */
        float p[M][QUERIES / 8][4], grad[M][QUERIES / 8][4];
        product<D>(p, key_rows, queries);
        if (query < own + 16 * M - 1) mask_future<true>(p, query, own);
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++) {
            const float2 sums = *reinterpret_cast<const float2 *>(rows + 8 * n);
            const float even = sums.x * LOG2_E, odd = sums.y * LOG2_E;
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    p[m][n][e] = probability(p[m][n][e], s.scale_log2, e % 2 == 0 ? even : odd);
        }
        product_add<D>(value_sum, p, grads);
        product<D>(grad, value_rows, grads);
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++) {
            const float2 deltas = *reinterpret_cast<const float2 *>(rows + QUERIES + 8 * n);
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    p[m][n][e] *= grad[m][n][e] - (e % 2 == 0 ? deltas.x : deltas.y);
        }
        product_add<D>(key_sum, p, queries);
    }

    float key_factor[M][2], value_factor[M][2];
#pragma unroll
    for (int m = 0; m < M; m++) {
        key_factor[m][0] = key_factor[m][1] = s.scale;
        value_factor[m][0] = value_factor[m][1] = 1.0f;
    }
    bf16 *to = qkv_grad + h.qkv_at + s.width + own * stride;
    store_rows<D>(key_sum, key_factor, keys, warp_first, to, stride, s.context - own);
    store_rows<D>(value_sum, value_factor, values, warp_first, to + s.width, stride,
                  s.context - own);
}

} // namespace

#endif
