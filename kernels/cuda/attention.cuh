/*
 * attention.cuh - what the files of attention share: the shapes of a launch, and which head and
 * which rows a block works on.
 *
 * Blocks are numbered tile by tile within a head, those with most work first: what one head's
 * tiles read is in the second cache together, and the last blocks to end are short ones.
 */
#ifndef KERNELS_CUDA_ATTENTION_CUH
#define KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/real.cuh"

#include <math.h>

namespace
{

constexpr float LOG2_E = 1.4426950408889634f;

struct shape {
    int context, heads, head_width;
    int64_t width;
    int tiles;        /* blocks for each head */
    float scale;      /* of the scores */
    float scale_log2; /* the same to base 2 */
};

/* One head of one sequence: where its first row lies in qkv, out and logsum. */
struct head {
    int64_t qkv_at, out_at, row_at;
};

__device__ inline head head_of_block(const shape &s)
{
    const int64_t index = blockIdx.x / static_cast<unsigned>(s.tiles);
    const int64_t sequence = index / s.heads, h = index % s.heads;
    return head{ sequence * s.context * 3 * s.width + h * s.head_width,
                 sequence * s.context * s.width + h * s.head_width, index * s.context };
}

/* The first tile of keys is seen by all queries. */
__device__ inline int key_tile_of_block(const shape &s)
{
    return static_cast<int>(blockIdx.x % static_cast<unsigned>(s.tiles));
}

/* The last tile of queries sees all keys. */
__device__ inline int query_tile_of_block(const shape &s)
{
    return s.tiles - 1 - key_tile_of_block(s);
}

/* One behind the last key that queries below `query_end` see. */
__device__ inline int key_end(const shape &s, int query_end)
{
    return query_end < s.context ? query_end : s.context;
}

/* The probability of a score, with the log of its row's sum to base 2. */
__device__ inline float probability(float score, float scale_log2, float logsum_log2)
{
    return exp2_fast(score * scale_log2 - logsum_log2);
}

} // namespace

#endif
