/*
 * ops.h - the CPU's operations and the helpers they share.
 *
 * The files of this folder that compute are compiled once for each instruction set; CPU_ISA is
 * then the set's name and OP(x) makes it part of every symbol, so that all builds live in one
 * program and kernels.c picks one at run time.
 *
 * Loops are written for the compiler's vectorizer. Reductions carry an `omp simd` pragma, which
 * allows a vector of partial sums for that one variable; no other rule of floating point is
 * loosened, so that a NaN stays a NaN.
 */
#ifndef KERNELS_CPU_OPS_H
#define KERNELS_CPU_OPS_H

#include "kernels/cpu/device.h"
#include "kernels/kernels.h"

#define CPU_JOIN_TOKENS(name, isa) name##_##isa
#define CPU_JOIN(name, isa) CPU_JOIN_TOKENS(name, isa)
#define OP(name) CPU_JOIN(name, CPU_ISA)
#define CPU_STRING_TOKENS(text) #text
#define CPU_STRING(text) CPU_STRING_TOKENS(text)

void OP(cpu_embedding)(struct kernels_device *device, const struct kernels_embedding *args);
void OP(cpu_embedding_backward)(struct kernels_device *device,
                                const struct kernels_embedding_backward *args);
void OP(cpu_layernorm)(struct kernels_device *device, const struct kernels_layernorm *args);
void OP(cpu_layernorm_backward)(struct kernels_device *device,
                                const struct kernels_layernorm_backward *args);
void OP(cpu_matmul)(struct kernels_device *device, const struct kernels_matmul *args);
void OP(cpu_matmul_backward)(struct kernels_device *device,
                             const struct kernels_matmul_backward *args);
void OP(cpu_attention)(struct kernels_device *device, const struct kernels_attention *args);
void OP(cpu_attention_backward)(struct kernels_device *device,
                                const struct kernels_attention_backward *args);
void OP(cpu_gelu)(struct kernels_device *device, const struct kernels_gelu *args);
void OP(cpu_gelu_backward)(struct kernels_device *device,
                           const struct kernels_gelu_backward *args);
void OP(cpu_cross_entropy)(struct kernels_device *device,
                           const struct kernels_cross_entropy *args);
void OP(cpu_add)(struct kernels_device *device, kernels_real *to, const kernels_real *from,
                 int64_t count);
void OP(cpu_round)(struct kernels_device *device, kernels_real *to, const float *from,
                   int64_t count);
void OP(cpu_scale)(struct kernels_device *device, float *values, float factor, int64_t count);
double OP(cpu_sum_squares)(struct kernels_device *device, const float *values, int64_t count);
void OP(cpu_adamw)(struct kernels_device *device, const struct kernels_adamw *args);
enum err OP(cpu_peak)(struct kernels_device *device, struct kernels_peak *peak,
                      struct error *error);

/* The table of this instruction set. */
extern const struct kernels OP(kernels_cpu);

/* out[i] = GELU(in[i]), and grad[i] *= GELU'(in[i]), on the calling thread. */
void OP(gelu_range)(const float *in, float *out, int64_t count);
void OP(gelu_backward_range)(const float *in, float *grad, int64_t count);

/* out = factor * op(a) * op(b) + keep * out on the calling thread; out is [rows, columns], the
 * sum runs over `inner`. a is [rows, inner], or [inner, rows] where a_transposed; b alike. The
 * strides are those of the matrices as they are stored. */
struct gemm {
    bool a_transposed, b_transposed;
    int64_t rows, columns, inner;
    const float *a, *b;
    int64_t a_stride, b_stride;
    float factor, keep;
    float *out;
    int64_t out_stride;
};

void OP(gemm_run)(const struct gemm *gemm);

/* OpenBLAS must not start threads of its own below ours. Process-wide; called on open. */
void OP(gemm_prepare)(void);

#endif
