/*
 * real.cuh - what the CUDA kernels share: numbers that are fp32 or bf16, loads and stores of 16
 * bytes, sums over warps and blocks in a fixed order, the split of an array into vectors and a
 * rest, and launches.
 *
 * Only LAUNCH and DYNAMIC_SHARED differ from plain CUDA: where the kernels run on a CPU, for
 * tests, the harness has defined them before.
 */
#ifndef KERNELS_CUDA_REAL_CUH
#define KERNELS_CUDA_REAL_CUH

#include "kernels/kernels.h"

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <stdint.h>
#include <string.h>

#ifndef CUDA_EMU
/* The kernel of several template arguments stands in parentheses. */
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                 \
    kernel<<<grid, block, shared_bytes, stream>>>(__VA_ARGS__)
#define DYNAMIC_SHARED(type, name)                                                             \
    extern __shared__ __align__(1024) unsigned char cuda_dynamic_shared[];                     \
    type *name = reinterpret_cast<type *>(cuda_dynamic_shared)
#endif

using bf16 = __nv_bfloat16;

enum { WARP = 32 };

#define FULL_MASK 0xffffffffu

/* ---- numbers ---- */

__device__ __forceinline__ float real_to_float(float x)
{
    return x;
}

__device__ __forceinline__ float real_to_float(bf16 x)
{
    return __bfloat162float(x);
}

/* Rounds to nearest, ties to even; a NaN stays one. */
template <class T> __device__ __forceinline__ T real_of(float x);

template <> __device__ __forceinline__ float real_of<float>(float x)
{
    return x;
}

template <> __device__ __forceinline__ bf16 real_of<bf16>(float x)
{
    return __float2bfloat16_rn(x);
}

/* Where a result is rounded to bf16, the fast functions are as good as any. */
template <class T> __device__ __forceinline__ float real_exp(float x)
{
    if constexpr (sizeof(T) == sizeof(float)) return expf(x);
    return __expf(x);
}

/* 0 for a divisor beyond 2^126. */
template <class T> __device__ __forceinline__ float real_quotient(float x, float y)
{
    if constexpr (sizeof(T) == sizeof(float)) return x / y;
    return __fdividef(x, y);
}

/* ---- vectors ---- */

/* Numbers of one access of 16 bytes. */
template <class T> constexpr int real_vector = 16 / static_cast<int>(sizeof(T));

/* N numbers as they are in memory, kept in as few registers: words of 32 bits, or one number.
 * Address and size of an access are multiples of N numbers, or of 16 bytes where N are more. */
template <class T, int N> struct pack {
    static_assert(N * sizeof(T) % 4 == 0, "whole words");
    static constexpr int words = N * static_cast<int>(sizeof(T)) / 4;
    uint32_t word[words];
};

template <> struct pack<bf16, 1> {
    bf16 number;
};

template <class T, int N> __device__ __forceinline__ pack<T, N> pack_load(const T *from)
{
    pack<T, N> p;
    if constexpr (sizeof(p) == sizeof(bf16)) {
        p.number = *from;
    } else if constexpr (sizeof(p) % 16 == 0) {
#pragma unroll
        for (int i = 0; i < p.words / 4; i++) {
            const uint4 four = reinterpret_cast<const uint4 *>(from)[i];
            p.word[4 * i] = four.x;
            p.word[4 * i + 1] = four.y;
            p.word[4 * i + 2] = four.z;
            p.word[4 * i + 3] = four.w;
        }
    } else if constexpr (sizeof(p) == 8) {
        const uint2 two = *reinterpret_cast<const uint2 *>(from);
        p.word[0] = two.x;
        p.word[1] = two.y;
    } else {
        static_assert(sizeof(p) == 4, "1, 2, 4 or more words");
        p.word[0] = *reinterpret_cast<const uint32_t *>(from);
    }
    return p;
}

template <class T, int N> __device__ __forceinline__ void pack_store(T *to, const pack<T, N> &p)
{
    if constexpr (sizeof(p) == sizeof(bf16)) {
        *to = p.number;
    } else if constexpr (sizeof(p) % 16 == 0) {
#pragma unroll
        for (int i = 0; i < p.words / 4; i++)
            reinterpret_cast<uint4 *>(to)[i] = make_uint4(p.word[4 * i], p.word[4 * i + 1],
                                                          p.word[4 * i + 2], p.word[4 * i + 3]);
    } else if constexpr (sizeof(p) == 8) {
        *reinterpret_cast<uint2 *>(to) = make_uint2(p.word[0], p.word[1]);
    } else {
        static_assert(sizeof(p) == 4, "1, 2, 4 or more words");
        *reinterpret_cast<uint32_t *>(to) = p.word[0];
    }
}

/* A bf16 is the upper half of a float. */
template <class T, int N>
__device__ __forceinline__ void pack_unfold(const pack<T, N> &p, float (&x)[N])
{
    if constexpr (sizeof(p) == sizeof(bf16)) {
        x[0] = real_to_float(p.number);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if constexpr (sizeof(T) == sizeof(float))
                x[i] = __uint_as_float(p.word[i]);
            else
                x[i] = __uint_as_float(i % 2 == 0 ? p.word[i / 2] << 16
                                                  : p.word[i / 2] & 0xffff0000u);
        }
    }
}

/* Pairs of bf16 are rounded by one instruction. */
template <class T, int N> __device__ __forceinline__ pack<T, N> pack_of(const float (&x)[N])
{
    pack<T, N> p;
    if constexpr (sizeof(p) == sizeof(bf16)) {
        p.number = real_of<T>(x[0]);
    } else {
#pragma unroll
        for (int i = 0; i < p.words; i++) {
            if constexpr (sizeof(T) == sizeof(float)) {
                p.word[i] = __float_as_uint(x[i]);
            } else {
                const __nv_bfloat162 pair = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
                memcpy(&p.word[i], &pair, sizeof(pair));
            }
        }
    }
    return p;
}

/* Memory to floats and back: N numbers in accesses of up to 16 bytes. */
template <int N, class T>
__device__ __forceinline__ void real_load(const T *from, float (&x)[N])
{
    pack_unfold(pack_load<T, N>(from), x);
}

template <int N, class T> __device__ __forceinline__ void real_store(T *to, const float (&x)[N])
{
    pack_store(to, pack_of<T, N>(x));
}

/* ---- an array as vectors and a rest ---- */

/* A flat array of `count` numbers: `head` numbers before the first aligned vector, `vectors`
 * vectors of N, and what is left. One thread does one item: a vector, or one number. */
struct span {
    int64_t count, head, vectors, items;
};

/* Whether the address is a multiple of N numbers, as far as an access asks for it. */
template <int N, class T> inline bool real_aligned(const T *at)
{
    constexpr uintptr_t bytes = N * sizeof(T) < 16 ? N * sizeof(T) : 16;
    return at == nullptr || reinterpret_cast<uintptr_t>(at) % bytes == 0;
}

/* Splits so that vectors of all arrays are aligned. Where their addresses do not fit together
 * there is none, and every number is an item of its own. NULL fits with all. */
template <int N, class... T> inline struct span span_of(int64_t count, const T *...arrays)
{
    for (int64_t head = 0; head < N && head + N <= count; head++) {
        if ((real_aligned<N>(arrays == nullptr ? arrays : arrays + head) && ...)) {
            int64_t vectors = (count - head) / N;
            return { count, head, vectors, count - vectors * (N - 1) };
        }
    }
    return { count, 0, 0, count };
}

enum { SPAN_THREADS = 256 };

/* Blocks of SPAN_THREADS that do all items; 0 for an empty array, which is not launched. */
inline unsigned span_blocks(const struct span &s)
{
    return static_cast<unsigned>(div_ceil(s.items, SPAN_THREADS));
}

/* A number of the language of types. */
template <int N> struct width_of {
    static constexpr int value = N;
};

/* Calls at(first, width_of<N or 1>) for the item of this thread. */
template <int N, class F> __device__ __forceinline__ void span_run(const struct span &s, F at)
{
    int64_t item = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (item < s.vectors) {
        at(s.head + item * N, width_of<N>{});
    } else if (item < s.items) {
        int64_t single = item - s.vectors;
        at(single < s.head ? single : single + s.vectors * N, width_of<1>{});
    }
}

/* Whether rows of `width` numbers that begin at these addresses are whole vectors of N. */
template <int N, class... T> inline bool rows_of_vectors(int64_t width, const T *...arrays)
{
    return width % N == 0 && (real_aligned<N>(arrays) && ...);
}

/* ---- sums and maxima, the same bits in every thread and every time ---- */

__device__ __forceinline__ unsigned lane_of_thread()
{
    return threadIdx.x % WARP;
}

__device__ __forceinline__ unsigned warp_of_thread()
{
    return threadIdx.x / WARP;
}

template <class T> __device__ __forceinline__ T warp_sum(T x)
{
#pragma unroll
    for (int flip = WARP / 2; flip > 0; flip /= 2)
        x += __shfl_xor_sync(FULL_MASK, x, flip);
    return x;
}

/* A NaN is passed over unless all are. */
__device__ __forceinline__ float warp_max(float x)
{
#pragma unroll
    for (int flip = WARP / 2; flip > 0; flip /= 2)
        x = fmaxf(x, __shfl_xor_sync(FULL_MASK, x, flip));
    return x;
}

/* Of a block of one dimension, whole warps. All threads call it; it begins and ends with what
 * shared memory held before settled. */
template <class T> __device__ __forceinline__ T block_sum(T x)
{
    __shared__ T partial[WARP];
    x = warp_sum(x);
    if (lane_of_thread() == 0) partial[warp_of_thread()] = x;
    __syncthreads();
    x = lane_of_thread() < blockDim.x / WARP ? partial[lane_of_thread()] : T(0);
    __syncthreads();
    return warp_sum(x);
}

__device__ __forceinline__ float block_max(float x)
{
    __shared__ float partial[WARP];
    x = warp_max(x);
    if (lane_of_thread() == 0) partial[warp_of_thread()] = x;
    __syncthreads();
    x = partial[lane_of_thread() < blockDim.x / WARP ? lane_of_thread() : 0];
    __syncthreads();
    return warp_max(x);
}

#endif
