/*
 * ops.h - the GPU's operations and the scratch memory that they need.
 *
 * Each operation puts its launches on the device's stream and returns; what fails is noted in
 * the device. The twins of the same names are in kernels/cpu. Private to the CUDA side.
 *
 * cuda_X_scratch_bytes says what the operations of one file need at most for shapes within the
 * options; table_cuda.cu opens the device with the largest of them.
 */
#ifndef KERNELS_CUDA_OPS_H
#define KERNELS_CUDA_OPS_H

#include "kernels/cuda/device.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

void cuda_embedding(struct kernels_device *device, const struct kernels_embedding *args);
void cuda_embedding_backward(struct kernels_device *device,
                             const struct kernels_embedding_backward *args);
size_t cuda_embedding_scratch_bytes(const struct kernels_options *options);

void cuda_layernorm(struct kernels_device *device, const struct kernels_layernorm *args);
void cuda_layernorm_backward(struct kernels_device *device,
                             const struct kernels_layernorm_backward *args);
size_t cuda_layernorm_scratch_bytes(const struct kernels_options *options);

void cuda_matmul(struct kernels_device *device, const struct kernels_matmul *args);
void cuda_matmul_backward(struct kernels_device *device,
                          const struct kernels_matmul_backward *args);
size_t cuda_matmul_scratch_bytes(const struct kernels_options *options);

void cuda_attention(struct kernels_device *device, const struct kernels_attention *args);
void cuda_attention_backward(struct kernels_device *device,
                             const struct kernels_attention_backward *args);
size_t cuda_attention_scratch_bytes(const struct kernels_options *options);
/* ERR_INPUT: a head too wide for these kernels. */
must_use enum err cuda_attention_check(const struct kernels_options *options,
                                       struct error *error);

void cuda_gelu(struct kernels_device *device, const struct kernels_gelu *args);
void cuda_gelu_backward(struct kernels_device *device,
                        const struct kernels_gelu_backward *args);

void cuda_cross_entropy(struct kernels_device *device,
                        const struct kernels_cross_entropy *args);
size_t cuda_cross_entropy_scratch_bytes(const struct kernels_options *options);

void cuda_add(struct kernels_device *device, kernels_real *to, const kernels_real *from,
              int64_t count);
void cuda_round(struct kernels_device *device, kernels_real *to, const float *from,
                int64_t count);
void cuda_scale(struct kernels_device *device, float *values, float factor, int64_t count);

double cuda_sum_squares(struct kernels_device *device, const float *values, int64_t count);
size_t cuda_norm_scratch_bytes(const struct kernels_options *options);

void cuda_adamw(struct kernels_device *device, const struct kernels_adamw *args);

/* The matrix products' side of the device: opens cuBLASLt and its workspace and hands both to
 * the device, which closes them. ERR_DEVICE, ERR_NO_MEMORY. */
must_use enum err cuda_matmul_open(struct kernels_device *device, struct error *error);
/* cuBLASLt's version as 10000 * major + 100 * minor + patch. */
int cuda_matmul_version(void);
/* Measures the rate of large products in the device's type, on the GPU's own clock. */
enum err cuda_matmul_peak(struct kernels_device *device, struct kernels_peak *peak,
                          struct error *error);

#ifdef __cplusplus
}
#endif

#endif
