/*
 * bucket.h - gradients rounded to bf16 while a gang sums them, and back. Private to the CUDA
 * side.
 *
 * Unlike the operations of ops.h these run on a stream of the caller's: sums travel beside the
 * backward pass. Each returns what CUDA said about its launch; nothing is noted in a device.
 * NaN and infinity survive both ways.
 */
#ifndef KERNELS_CUDA_BUCKET_H
#define KERNELS_CUDA_BUCKET_H

#include "proto/base/defs.h"

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* to[i] = from[i], rounded to the nearest bf16, ties to even; `to` has 2 bytes a number. */
cudaError_t cuda_bucket_round(cudaStream_t stream, void *to, const float *from, int64_t count);

/* to[i] = from[i], exactly. */
cudaError_t cuda_bucket_widen(cudaStream_t stream, float *to, const void *from, int64_t count);

#ifdef __cplusplus
}
#endif

#endif
