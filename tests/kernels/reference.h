/*
 * reference.h - the operations of the model once more, in double and in the plainest loops, to
 * test the kernels against. Nothing here is shared with the code under test. Shapes and letters
 * are those of kernels/kernels.h.
 */
#ifndef TESTS_KERNELS_REFERENCE_H
#define TESTS_KERNELS_REFERENCE_H

#include "proto/base/defs.h"
#include "worker/trainer/gpt.h"

struct shape {
    int64_t B, T, C, H, V;
};

void ref_embedding(const struct shape *s, const int32_t *tokens, const double *token_weight,
                   const double *position_weight, double *out);
void ref_layernorm(int64_t rows, int64_t width, const double *in, const double *weight,
                   const double *bias, double *out);

/* bias and residual may be NULL. */
void ref_matmul(int64_t rows, int64_t in_width, int64_t out_width, const double *in,
                const double *weight, const double *bias, const double *residual, double *out);
double ref_gelu(double x);

/* logsum may be NULL. */
void ref_attention(const struct shape *s, const double *qkv, double *out, double *logsum);

/* The sum of the losses; losses may be NULL. */
double ref_cross_entropy(int64_t rows, int64_t vocab_count, const double *logits,
                         const int32_t *targets, double *losses);

/* Mean loss of the whole model. params has the layout of the model's directory, whose tensors
 * are looked up by name. */
double ref_gpt_loss(const struct gpt *gpt, int64_t batch_rows, const double *params,
                    const int32_t *tokens, const int32_t *targets);

#endif
