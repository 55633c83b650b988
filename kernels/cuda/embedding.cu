/*
 * Embedding, and its gradient without atomic sums.
 *
 * The gradient of a token's row is the sum over the positions that hold the token: one of 256
 * tokens may have thousands of them, one of 50304 mostly none. So the positions are sorted by
 * token, with a stable radix sort of one byte at a time, and the sorted list is cut into chunks
 * of CHUNK positions whatever the tokens. A block adds up one chunk, token after token. Tokens
 * that lie within the chunk go to the gradient at once, since nobody else has them; a token that
 * goes on beyond either end leaves a partial sum, and a second kernel joins those of the chunks
 * that one token spans. Every sum has an order that depends on the tokens alone.
 *
 * A token outside the vocabulary, which is a bug of the caller, gives NaN and gets no gradient.
 */
#include "kernels/cuda/ops.h"
#include "kernels/cuda/real.cuh"

#include <math.h>

namespace
{

enum {
    ROW_THREADS = 256,
    CHUNK = 32,   /* sorted positions that one block adds up */
    BATCH = 4,    /* of them loaded at once */
    DIGITS = 256, /* of the radix sort */
    DIGIT_BITS = 8,
    TILES_MAX = 256, /* pieces of the list, each sorted by one warp */
    TILE_MIN = 256   /* positions of a piece, before there are more pieces */
};

/* ---- rows ---- */

/* Threads x go along a row, threads y take a row each. */
dim3 rows_block(int64_t vectors)
{
    int64_t x = min_i64(div_ceil(vectors, WARP) * WARP, ROW_THREADS);
    return dim3(static_cast<unsigned>(x), static_cast<unsigned>(ROW_THREADS / x));
}

unsigned rows_grid(int64_t rows, dim3 block)
{
    return static_cast<unsigned>(div_ceil(rows, block.y));
}

template <class T, int N>
__global__ void __launch_bounds__(ROW_THREADS)
    embedding_kernel(const struct kernels_embedding a, const T *token_weight,
                     const T *position_weight, T *out)
{
    const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (row >= a.batch_rows * a.context) return;
    const int token = a.tokens[row];
    const bool known = token >= 0 && token < a.vocab_count;
    const T *token_row = token_weight + (known ? token : 0) * a.width;
    const T *position_row = position_weight + row % a.context * a.width;
    for (int64_t at = threadIdx.x * N; at < a.width; at += blockDim.x * N) {
        float x[N], y[N];
        real_load(token_row + at, x);
        real_load(position_row + at, y);
#pragma unroll
        for (int i = 0; i < N; i++)
            x[i] = known ? x[i] + y[i] : NAN;
        real_store(out + row * a.width + at, x);
    }
}

template <class T, int N>
void forward(struct kernels_device *device, const struct kernels_embedding *a)
{
    const dim3 block = rows_block(a->width / N);
    LAUNCH((embedding_kernel<T, N>), rows_grid(a->batch_rows * a->context, block), block, 0,
           cuda_device_stream(device), *a, static_cast<const T *>(a->token_weight),
           static_cast<const T *>(a->position_weight), static_cast<T *>(a->out));
    cuda_device_note(device, cudaGetLastError(), "embedding");
}

template <class T>
void forward_of_type(struct kernels_device *device, const struct kernels_embedding *a)
{
    constexpr int N = real_vector<T>;
    if (rows_of_vectors<N>(a->width, static_cast<const T *>(a->token_weight),
                           static_cast<const T *>(a->position_weight),
                           static_cast<const T *>(a->out)))
        forward<T, N>(device, a);
    else
        forward<T, 1>(device, a);
}

/* ---- the gradient of positions: a sum over the batch ---- */

template <class T, int N>
__global__ void __launch_bounds__(ROW_THREADS)
    position_kernel(const struct kernels_embedding_backward a, const T *out_grad)
{
    const int64_t t = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (t >= a.context) return;
    const int64_t stride = a.context * a.width;
    for (int64_t at = threadIdx.x * N; at < a.width; at += blockDim.x * N) {
        const T *from = out_grad + t * a.width + at;
        float sum[N] = {};
#pragma unroll 4
        for (int64_t b = 0; b < a.batch_rows; b++) {
            float x[N];
            real_load(from + b * stride, x);
#pragma unroll
            for (int i = 0; i < N; i++)
                sum[i] += x[i];
        }
        real_store(a.position_weight_grad + t * a.width + at, sum);
    }
}

/* ---- positions sorted by token ---- */

/* What the backward pass keeps in scratch memory. */
struct scratch {
    float *partials; /* [chunks, 2, C]: of the token that a chunk begins with, then ends with */
    int32_t *lists[2]; /* [N] each: positions, before and after a pass of the sort */
    unsigned *counts;  /* [TILES_MAX, DIGITS] */
};

struct tiles {
    int64_t count, positions; /* of each; a multiple of a warp */
};

struct tiles tiles_of(int64_t positions)
{
    int64_t wanted = min_i64(div_ceil(positions, TILE_MIN), TILES_MAX);
    int64_t size = div_ceil(div_ceil(positions, wanted), WARP) * WARP;
    return { div_ceil(positions, size), size };
}

/* The token of a position, held within the vocabulary so that it can be an index. */
__device__ __forceinline__ int token_at(const struct kernels_embedding_backward &a,
                                        int position)
{
    const int last = static_cast<int>(a.vocab_count) - 1;
    return min(max(a.tokens[position], 0), last);
}

/* What a lane sorts in one step of its warp's tile. */
struct digit {
    bool valid;
    int position;
    unsigned value;
    unsigned peers; /* lanes that have the same one */
    bool leader;    /* of them */
};

/* Beyond the list's end a lane has a digit that no position has. A NULL list is that of all
 * positions in order. */
__device__ __forceinline__ struct digit digit_load(const struct kernels_embedding_backward &a,
                                                   const int32_t *list, int shift, int64_t at,
                                                   int64_t end)
{
    struct digit d;
    d.valid = at < end;
    d.position = !d.valid ? 0 : list == nullptr ? static_cast<int>(at) : list[at];
    d.value = d.valid ? static_cast<unsigned>(token_at(a, d.position)) >> shift & (DIGITS - 1)
                      : static_cast<unsigned>(DIGITS);
    d.peers = __match_any_sync(FULL_MASK, d.value);
    d.leader = d.valid && (d.peers & ((1u << lane_of_thread()) - 1)) == 0;
    return d;
}

/* How often each digit occurs in each tile. */
__global__ void __launch_bounds__(WARP)
    count_kernel(const struct kernels_embedding_backward a, const int32_t *list, int shift,
                 int64_t tile_positions, unsigned *counts)
{
    __shared__ unsigned seen[DIGITS];
    for (unsigned d = threadIdx.x; d < DIGITS; d += WARP)
        seen[d] = 0;
    __syncwarp();
    const int64_t total = a.batch_rows * a.context;
    const int64_t first = blockIdx.x * tile_positions;
    const int64_t end = min(first + tile_positions, total);
    for (int64_t at = first + threadIdx.x; at - threadIdx.x < end; at += WARP) {
        const struct digit d = digit_load(a, list, shift, at, end);
        if (d.leader) seen[d.value] += static_cast<unsigned>(__popc(d.peers));
        __syncwarp();
    }
    for (unsigned d = threadIdx.x; d < DIGITS; d += WARP)
        counts[blockIdx.x * DIGITS + d] = seen[d];
}

/* Turns counts into the places where each tile's digits begin: smaller digits come before, then
 * the same digit in earlier tiles. One block, a thread for each digit. */
__global__ void __launch_bounds__(DIGITS) places_kernel(unsigned *counts, int64_t tile_count)
{
    __shared__ unsigned totals[DIGITS];
    unsigned *own = counts + threadIdx.x;
    unsigned total = 0;
#pragma unroll 8
    for (int64_t tile = 0; tile < tile_count; tile++)
        total += own[tile * DIGITS];
    totals[threadIdx.x] = total;
    __syncthreads();
    unsigned place = 0;
    for (unsigned d = 0; d < threadIdx.x; d++)
        place += totals[d];
#pragma unroll 8
    for (int64_t tile = 0; tile < tile_count; tile++) {
        unsigned count = own[tile * DIGITS];
        own[tile * DIGITS] = place;
        place += count;
    }
}

/* Puts each position where it belongs; those of one digit stay in their order. */
__global__ void __launch_bounds__(WARP)
    move_kernel(const struct kernels_embedding_backward a, const int32_t *list, int shift,
                int64_t tile_positions, const unsigned *places, int32_t *sorted)
{
    __shared__ unsigned next[DIGITS];
    for (unsigned d = threadIdx.x; d < DIGITS; d += WARP)
        next[d] = places[blockIdx.x * DIGITS + d];
    __syncwarp();
    const int64_t total = a.batch_rows * a.context;
    const int64_t first = blockIdx.x * tile_positions;
    const int64_t end = min(first + tile_positions, total);
    for (int64_t at = first + threadIdx.x; at - threadIdx.x < end; at += WARP) {
        const struct digit d = digit_load(a, list, shift, at, end);
        const unsigned before = d.peers & ((1u << lane_of_thread()) - 1);
        if (d.valid) sorted[next[d.value] + static_cast<unsigned>(__popc(before))] = d.position;
        __syncwarp();
        if (d.leader) next[d.value] += static_cast<unsigned>(__popc(d.peers));
        __syncwarp();
    }
}

const char backward_name[] = "embedding backward";

/* Returns the list that is sorted in the end; NULL after a failure. */
const int32_t *sort(struct kernels_device *device, const struct kernels_embedding_backward *a,
                    const struct scratch *s)
{
    cudaStream_t stream = cuda_device_stream(device);
    const struct tiles tiles = tiles_of(a->batch_rows * a->context);
    const unsigned grid = static_cast<unsigned>(tiles.count);
    const int32_t *list = nullptr;
    int pass = 0;
    for (int shift = 0; shift == 0 || (a->vocab_count - 1) >> shift != 0; shift += DIGIT_BITS) {
        int32_t *sorted = s->lists[pass++ & 1];
        LAUNCH(count_kernel, grid, WARP, 0, stream, *a, list, shift, tiles.positions,
               s->counts);
        if (!cuda_device_launched(device, backward_name)) return nullptr;
        LAUNCH(places_kernel, 1, DIGITS, 0, stream, s->counts, tiles.count);
        if (!cuda_device_launched(device, backward_name)) return nullptr;
        LAUNCH(move_kernel, grid, WARP, 0, stream, *a, list, shift, tiles.positions, s->counts,
               sorted);
        if (!cuda_device_launched(device, backward_name)) return nullptr;
        list = sorted;
    }
    return list;
}

/* ---- sums over the positions of each token ---- */

/* A chunk's tokens, with the neighbours' in front and behind; -1 where there is none. */
struct chunk {
    int count;
    int position[CHUNK]; /* -1: its token is outside the vocabulary */
    int token[1 + CHUNK + 1];
};

__device__ __forceinline__ void chunk_load(const struct kernels_embedding_backward &a,
                                           const int32_t *sorted, struct chunk *c)
{
    const int64_t total = a.batch_rows * a.context;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * CHUNK;
    if (threadIdx.x == 0) c->count = static_cast<int>(min(total - first, int64_t(CHUNK)));
    for (int i = static_cast<int>(threadIdx.x); i < CHUNK + 2; i += blockDim.x) {
        const int64_t at = first + i - 1;
        const bool exists = at >= 0 && at < total;
        const int position = exists ? sorted[at] : -1;
        c->token[i] = exists ? token_at(a, position) : -1;
        if (i == 0 || i > CHUNK) continue;
        c->position[i - 1] = exists && a.tokens[position] == c->token[i] ? position : -1;
    }
    __syncthreads();
}

template <int N> __device__ __forceinline__ void add_into(float *to, const float (&x)[N])
{
    float sum[N];
    real_load(to, sum);
#pragma unroll
    for (int i = 0; i < N; i++)
        sum[i] += x[i];
    real_store(to, sum);
}

template <class T, int N>
__global__ void __launch_bounds__(ROW_THREADS)
    token_kernel(const struct kernels_embedding_backward a, const T *out_grad,
                 const int32_t *sorted, float *partials)
{
    __shared__ struct chunk c;
    chunk_load(a, sorted, &c);
    float *first_sum = partials + blockIdx.x * 2 * a.width;
    float *last_sum = first_sum + a.width;
    for (int64_t at = threadIdx.x * N; at < a.width; at += blockDim.x * N) {
        float sum[N] = {};
        bool from_before = c.token[0] == c.token[1];
        for (int from = 0; from < c.count; from += BATCH) {
            float x[BATCH][N];
#pragma unroll
            for (int j = 0; j < BATCH; j++) {
                const int position = from + j < c.count ? c.position[from + j] : -1;
                if (position >= 0) {
                    real_load(out_grad + position * a.width + at, x[j]);
                } else {
#pragma unroll
                    for (int i = 0; i < N; i++)
                        x[j][i] = 0.0f;
                }
            }
#pragma unroll
            for (int j = 0; j < BATCH; j++) {
                if (from + j >= c.count) break;
#pragma unroll
                for (int i = 0; i < N; i++)
                    sum[i] += x[j][i];
                const bool last = from + j + 1 == c.count;
                const int token = c.token[1 + from + j];
                const bool goes_on = token == c.token[2 + from + j];
                if (goes_on && !last) continue;
                if (from_before)
                    real_store(first_sum + at, sum);
                else if (goes_on)
                    real_store(last_sum + at, sum);
                else
                    add_into(a.token_weight_grad + token * a.width + at, sum);
                from_before = false;
#pragma unroll
                for (int i = 0; i < N; i++)
                    sum[i] = 0.0f;
            }
        }
    }
}

/* The block of the chunk in which a token begins that goes on beyond it adds up all its sums. */
template <int N>
__global__ void __launch_bounds__(ROW_THREADS)
    join_kernel(const struct kernels_embedding_backward a, const int32_t *sorted,
                const float *partials)
{
    const int64_t total = a.batch_rows * a.context;
    const int64_t begin = static_cast<int64_t>(blockIdx.x) * CHUNK;
    const int64_t end = begin + CHUNK;
    if (end >= total) return;
    const int token = token_at(a, sorted[end - 1]);
    if (token_at(a, sorted[end]) != token) return;
    if (begin > 0 && token_at(a, sorted[begin - 1]) == token) return;
    int64_t beyond = end; /* the first chunk's begin that has no part in the token */
    while (beyond < total && token_at(a, sorted[beyond]) == token) {
        beyond += CHUNK;
        if (beyond < total && token_at(a, sorted[beyond - 1]) != token) break;
    }
    for (int64_t at = threadIdx.x * N; at < a.width; at += blockDim.x * N) {
        float sum[N];
        real_load(partials + (blockIdx.x * 2 + 1) * a.width + at, sum);
#pragma unroll 4
        for (int64_t chunk = blockIdx.x + 1; chunk * CHUNK < beyond; chunk++) {
            float x[N];
            real_load(partials + chunk * 2 * a.width + at, x);
#pragma unroll
            for (int i = 0; i < N; i++)
                sum[i] += x[i];
        }
        add_into(a.token_weight_grad + token * a.width + at, sum);
    }
}

int64_t chunk_count(int64_t positions)
{
    return div_ceil(positions, CHUNK);
}

struct scratch scratch_of(struct kernels_device *device,
                          const struct kernels_embedding_backward *a)
{
    int64_t positions = a->batch_rows * a->context;
    struct scratch s;
    s.partials = static_cast<float *>(cuda_device_scratch(device));
    s.lists[0] =
        reinterpret_cast<int32_t *>(s.partials + chunk_count(positions) * 2 * a->width);
    s.lists[1] = s.lists[0] + positions;
    s.counts = reinterpret_cast<unsigned *>(s.lists[1] + positions);
    return s;
}

template <class T, int N>
void backward(struct kernels_device *device, const struct kernels_embedding_backward *a)
{
    cudaStream_t stream = cuda_device_stream(device);
    const T *out_grad = static_cast<const T *>(a->out_grad);
    const struct scratch s = scratch_of(device, a);
    const dim3 rows = rows_block(a->width / N);
    LAUNCH((position_kernel<T, N>), rows_grid(a->context, rows), rows, 0, stream, *a, out_grad);
    if (!cuda_device_launched(device, backward_name) || a->batch_rows == 0) return;
    const int32_t *sorted = sort(device, a, &s);
    if (sorted == nullptr) return;
    const unsigned chunks = static_cast<unsigned>(chunk_count(a->batch_rows * a->context));
    LAUNCH((token_kernel<T, N>), chunks, rows.x, 0, stream, *a, out_grad, sorted, s.partials);
    if (!cuda_device_launched(device, backward_name)) return;
    LAUNCH(join_kernel<N>, chunks, rows.x, 0, stream, *a, sorted, s.partials);
    cuda_device_note(device, cudaGetLastError(), backward_name);
}

template <class T>
void backward_of_type(struct kernels_device *device, const struct kernels_embedding_backward *a)
{
    constexpr int N = real_vector<T>;
    if (rows_of_vectors<N>(a->width, static_cast<const T *>(a->out_grad), a->token_weight_grad,
                           a->position_weight_grad))
        backward<T, N>(device, a);
    else
        backward<T, 1>(device, a);
}

} // namespace

void cuda_embedding(struct kernels_device *device, const struct kernels_embedding *args)
{
    if (args->batch_rows * args->context == 0) return;
    if (cuda_device_options(device)->type == KERNELS_BF16)
        forward_of_type<bf16>(device, args);
    else
        forward_of_type<float>(device, args);
}

size_t cuda_embedding_scratch_bytes(const struct kernels_options *options)
{
    int64_t positions = options->batch_rows * options->context;
    size_t partials = static_cast<size_t>(chunk_count(positions) * 2 * options->width);
    size_t lists = 2 * static_cast<size_t>(positions);
    return partials * sizeof(float) + lists * sizeof(int32_t) +
           TILES_MAX * DIGITS * sizeof(unsigned);
}

void cuda_embedding_backward(struct kernels_device *device,
                             const struct kernels_embedding_backward *args)
{
    const struct kernels_options *options = cuda_device_options(device);
    check(args->batch_rows * args->context <= options->batch_rows * options->context);
    check(args->batch_rows * args->context <= INT32_MAX);
    check(args->width <= options->width);
    if (args->context == 0) return;
    if (options->type == KERNELS_BF16)
        backward_of_type<bf16>(device, args);
    else
        backward_of_type<float>(device, args);
}
