/*
 * Loss and gradient in one kernel, a block for each row. Rows of up to 65536 bf16 numbers (half
 * of that in fp32) are held in registers between the sum of exponents and the gradient, so that
 * each number is read once and written once. Longer rows are read a second time, mostly from the
 * second-level cache.
 *
 * A row may begin at any number: the numbers before its first whole vector and those behind its
 * last one are taken singly.
 */
#include "kernels/cuda/ops.h"
#include "kernels/cuda/real.cuh"

#include <float.h>
#include <math.h>

namespace
{

enum { ROW_THREADS_MAX = 1024 };

/* A row: `head` single numbers, `vectors` vectors, `tail` single numbers. */
template <class T> struct row_of {
    T *at;
    int head, vectors, tail;
};

template <class T> __device__ __forceinline__ row_of<T> row_find(T *logits, int64_t vocab_count)
{
    constexpr int N = real_vector<T>;
    int V = static_cast<int>(vocab_count);
    T *at = logits + blockIdx.x * vocab_count;
    int past = static_cast<int>(reinterpret_cast<uintptr_t>(at) / sizeof(T) % N);
    int head = min(past == 0 ? 0 : N - past, V);
    int vectors = (V - head) / N;
    return { at, head, vectors, V - head - vectors * N };
}

/* The largest so far, and the sum of exp(x - largest). The first largest is finite, so that no
 * infinities are subtracted where a thread has nothing. */
struct softmax {
    float max, sum;
};

/* exp(x - max); infinities and NaN give NaN, since x - x then is NaN and otherwise zero: a
 * logit of minus infinity is not hidden. */
template <class T> __device__ __forceinline__ float exp_below(float x, float max)
{
    return real_exp<T>(x - max) + (x - x);
}

/* What a row's target asks for: its logit's loss and the gradient's lesser value. A target
 * outside the vocabulary, which is a bug of the caller, spoils the loss. */
template <class T>
__device__ __forceinline__ float target_logit(const row_of<T> &row, int target)
{
    int V = row.head + row.vectors * real_vector<T> + row.tail;
    return target >= 0 && target < V ? real_to_float(row.at[target]) : NAN;
}

template <class T> struct gradient {
    float max, factor, scale;
    int target;

    __device__ __forceinline__ float of(float x, int index) const
    {
        return exp_below<T>(x, max) * factor - (index == target ? scale : 0.0f);
    }

    template <int N>
    __device__ __forceinline__ void store(T *at, float (&x)[N], int index) const
    {
#pragma unroll
        for (int i = 0; i < N; i++)
            x[i] = of(x[i], index + i);
        real_store(at, x);
    }
};

/* A single number of the head and one of the tail, of the threads that have one. */
template <class T> struct edges {
    float head, tail;
};

template <class T> __device__ __forceinline__ edges<T> edges_load(const row_of<T> &row)
{
    const int thread = static_cast<int>(threadIdx.x);
    const T *tail = row.at + row.head + row.vectors * real_vector<T>;
    return { thread < row.head ? real_to_float(row.at[thread]) : -FLT_MAX,
             thread < row.tail ? real_to_float(tail[thread]) : -FLT_MAX };
}

template <class T>
__device__ __forceinline__ float edges_sum(const row_of<T> &row, const edges<T> &e, float max)
{
    const int thread = static_cast<int>(threadIdx.x);
    return (thread < row.head ? exp_below<T>(e.head, max) : 0.0f) +
           (thread < row.tail ? exp_below<T>(e.tail, max) : 0.0f);
}

template <class T>
__device__ __forceinline__ void edges_store(const row_of<T> &row, const edges<T> &e,
                                            const gradient<T> &g)
{
    const int thread = static_cast<int>(threadIdx.x);
    const int tail_from = row.head + row.vectors * real_vector<T>;
    if (thread < row.head) row.at[thread] = real_of<T>(g.of(e.head, thread));
    if (thread < row.tail)
        row.at[tail_from + thread] = real_of<T>(g.of(e.tail, tail_from + thread));
}

/* K vectors of each thread in registers. */
template <class T, int K>
__global__ void __launch_bounds__(ROW_THREADS_MAX)
    held_kernel(const struct kernels_cross_entropy a, T *logits)
{
    constexpr int N = real_vector<T>;
    const row_of<T> row = row_find(logits, a.vocab_count);
    T *body = row.at + row.head;
    const int target = a.targets[blockIdx.x];
    const float at_target = threadIdx.x == 0 ? target_logit(row, target) : 0.0f;
    const edges<T> e = edges_load(row);
    float max = fmaxf(fmaxf(e.head, e.tail), -FLT_MAX);
    pack<T, N> held[K] = {};
#pragma unroll
    for (int k = 0; k < K; k++) {
        int v = static_cast<int>(k * blockDim.x + threadIdx.x);
        if (v < row.vectors) held[k] = pack_load<T, N>(body + v * N);
    }
#pragma unroll
    for (int k = 0; k < K; k++) {
        if (static_cast<int>(k * blockDim.x + threadIdx.x) >= row.vectors) continue;
        float x[N];
        pack_unfold(held[k], x);
#pragma unroll
        for (int i = 0; i < N; i++)
            max = fmaxf(max, x[i]);
    }
    max = block_max(max); /* its barriers part all loads of the row from all stores */
    float sum = edges_sum(row, e, max);
#pragma unroll
    for (int k = 0; k < K; k++) {
        if (static_cast<int>(k * blockDim.x + threadIdx.x) >= row.vectors) continue;
        float x[N];
        pack_unfold(held[k], x);
#pragma unroll
        for (int i = 0; i < N; i++)
            sum += exp_below<T>(x[i], max);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) a.losses[blockIdx.x] = logf(sum) + max - at_target;
    const gradient<T> g = { max, a.grad_scale / sum, a.grad_scale, target };
    edges_store(row, e, g);
#pragma unroll
    for (int k = 0; k < K; k++) {
        int v = static_cast<int>(k * blockDim.x + threadIdx.x);
        if (v >= row.vectors) continue;
        float x[N];
        pack_unfold(held[k], x);
        g.store(body + v * N, x, row.head + v * N);
    }
}

__device__ __forceinline__ struct softmax softmax_join(struct softmax s, float max, float sum)
{
    float larger = fmaxf(s.max, max);
    return { larger, s.sum * expf(s.max - larger) + sum * expf(max - larger) };
}

/* Reads the row twice; the sum is rescaled whenever a vector has a larger number. */
template <class T>
__global__ void __launch_bounds__(ROW_THREADS_MAX)
    long_kernel(const struct kernels_cross_entropy a, T *logits)
{
    constexpr int N = real_vector<T>;
    const row_of<T> row = row_find(logits, a.vocab_count);
    T *body = row.at + row.head;
    const int target = a.targets[blockIdx.x];
    const float at_target = threadIdx.x == 0 ? target_logit(row, target) : 0.0f;
    const edges<T> e = edges_load(row);
    struct softmax own = { fmaxf(fmaxf(e.head, e.tail), -FLT_MAX), 0.0f };
    own.sum = edges_sum(row, e, own.max);
    for (int v = static_cast<int>(threadIdx.x); v < row.vectors; v += blockDim.x) {
        float x[N];
        real_load(body + v * N, x);
        float max = own.max, sum = 0.0f;
#pragma unroll
        for (int i = 0; i < N; i++)
            max = fmaxf(max, x[i]);
#pragma unroll
        for (int i = 0; i < N; i++)
            sum += exp_below<T>(x[i], max);
        own = softmax_join(own, max, sum);
    }
    const float max = block_max(own.max); /* parts the loads before from the stores behind */
    const float sum = block_sum(own.sum * expf(own.max - max));
    if (threadIdx.x == 0) a.losses[blockIdx.x] = logf(sum) + max - at_target;
    const gradient<T> g = { max, a.grad_scale / sum, a.grad_scale, target };
    edges_store(row, e, g);
    for (int v = static_cast<int>(threadIdx.x); v < row.vectors; v += blockDim.x) {
        float x[N];
        real_load(body + v * N, x);
        g.store(body + v * N, x, row.head + v * N);
    }
}

/* As many threads as have K vectors each; a warp at least, for the edges and for the sums. */
template <class T, int K>
bool held(struct kernels_device *device, const struct kernels_cross_entropy *a)
{
    int64_t vectors = a->vocab_count / real_vector<T>;
    int64_t threads = max_i64(div_ceil(div_ceil(vectors, K), WARP), 1) * WARP;
    if (threads > ROW_THREADS_MAX) return false;
    LAUNCH((held_kernel<T, K>), static_cast<unsigned>(a->rows), static_cast<unsigned>(threads),
           0, cuda_device_stream(device), *a, static_cast<T *>(a->logits));
    return true;
}

template <class T>
void run(struct kernels_device *device, const struct kernels_cross_entropy *a)
{
    if (!held<T, 1>(device, a) && !held<T, 4>(device, a) && !held<T, 8>(device, a))
        LAUNCH(long_kernel<T>, static_cast<unsigned>(a->rows), ROW_THREADS_MAX, 0,
               cuda_device_stream(device), *a, static_cast<T *>(a->logits));
    cuda_device_note(device, cudaGetLastError(), "cross entropy");
}

} // namespace

size_t cuda_cross_entropy_scratch_bytes(const struct kernels_options *options)
{
    (void)options;
    return 0;
}

void cuda_cross_entropy(struct kernels_device *device, const struct kernels_cross_entropy *args)
{
    check(args->vocab_count <= INT32_MAX / 2);
    if (args->rows == 0) return;
    if (cuda_device_options(device)->type == KERNELS_BF16)
        run<bf16>(device, args);
    else
        run<float>(device, args);
}
