/*
 * kernels.h - the operations of a GPT as one table of functions, so that the model is written
 * once and runs on every backend.
 *
 * Promises: all matrices are row-major; every shape is in the arguments and needs to be a
 * multiple of nothing; a backend repeats its results bit for bit when the shapes and the number
 * of threads are the same; non-finite inputs give non-finite outputs, they are never masked.
 * Never: allocates memory inside an operation, prints, or looks at the environment.
 *
 * A device is opened for the largest shapes it will see. Memory that operations read or write
 * comes from `alloc` of the same device (the CPU's is ordinary memory); `upload` and `download`
 * move it from and to the host. Operations run in the order of the calls. A backend may run
 * them later than the call: `sync`, `download` and the functions that return a number wait for
 * all that came before. A shape larger than the device's, a token outside the vocabulary or a
 * NULL where none may be is a bug of the caller. Buffers of one call do not overlap except where
 * a comment allows it.
 *
 * Numbers: weights, activations and their gradients are of the type that the device was opened
 * for, fp32 or bf16, and are named kernels_real here; sums, statistics, gradients of parameters,
 * optimizer moments and the master copy of parameters are always fp32. Every sum is taken in
 * fp32 at least. The CPU has fp32 alone.
 *
 * Letters: B sequences, T positions of each, N = B * T rows, C width, H heads, V vocabulary.
 * One device serves one thread of the caller.
 */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include "proto/base/defs.h"
#include "proto/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef void kernels_real; /* float or bfloat16, as the device was opened for */

enum kernels_type { KERNELS_FP32, KERNELS_BF16 };

struct kernels_device; /* threads or stream, and scratch memory, of one opened backend */

enum {
    KERNELS_THREADS_MAX = 64,
    KERNELS_DETAIL_BYTES = 128,
    KERNELS_BUILDS_MAX = 3 /* of the CPU table */
};

struct kernels_options {
    int threads;            /* 1 .. KERNELS_THREADS_MAX; a GPU ignores it */
    int64_t batch_rows;     /* B, and so on: the largest shapes of any later call, each >= 1 */
    int64_t context;        /* T */
    int64_t width;          /* C; inner matrices of matmul may be wider without limit */
    int64_t heads;          /* H; divides width */
    int64_t vocab_count;    /* V */
    enum kernels_type type; /* of kernels_real */
    int64_t
        timeout_ns; /* longest wait of `sync` and `download`; 0: no limit. A CPU ignores it */
};

/* Bytes of one kernels_real. */
static inline size_t kernels_real_bytes(enum kernels_type type)
{
    return type == KERNELS_BF16 ? 2 : sizeof(float);
}

/* out[b,t,:] = token_weight[tokens[b,t],:] + position_weight[t,:] */
struct kernels_embedding {
    int64_t batch_rows, context, width, vocab_count;
    const int32_t *tokens;               /* [B,T], each in [0,V) */
    const kernels_real *token_weight;    /* [V,C] */
    const kernels_real *position_weight; /* [T,C] */
    kernels_real *out;                   /* [B,T,C] */
};

struct kernels_embedding_backward {
    int64_t batch_rows, context, width, vocab_count;
    const int32_t *tokens;        /* [B,T] */
    const kernels_real *out_grad; /* [B,T,C] */
    float *token_weight_grad;    /* [V,C], ADDED to: a tied head has written its share before */
    float *position_weight_grad; /* [T,C], overwritten */
};

/* out = (in - mean) * rstd * weight + bias over each row; epsilon 1e-5 */
struct kernels_layernorm {
    int64_t rows, width;
    const kernels_real *in;     /* [N,C] */
    const kernels_real *weight; /* [C] */
    const kernels_real *bias;   /* [C] */
    kernels_real *out;          /* [N,C] */
    float *mean, *rstd;         /* [N] each, for the backward pass */
};

struct kernels_layernorm_backward {
    int64_t rows, width;
    const kernels_real *in, *weight; /* as in the forward pass */
    const float *mean, *rstd;        /* alike */
    const kernels_real *out_grad;    /* [N,C] */
    bool add;                        /* in_grad += (a residual stream), or = */
    kernels_real *in_grad;           /* [N,C] */
    float *weight_grad, *bias_grad;  /* [C] each, overwritten */
};

/* out = in * weight^T + bias + residual, and gelu = GELU(out) where wanted. */
struct kernels_matmul {
    int64_t rows, in_width, out_width;
    const kernels_real *in;       /* [N,in_width] */
    const kernels_real *weight;   /* [out_width,in_width] */
    const kernels_real *bias;     /* [out_width] or NULL */
    const kernels_real *residual; /* [N,out_width] or NULL; may be `out` itself */
    kernels_real *out;            /* [N,out_width] */
    kernels_real *gelu;           /* [N,out_width] or NULL */
};

struct kernels_matmul_backward {
    int64_t rows, in_width, out_width;
    const kernels_real *in;         /* [N,in_width] */
    const kernels_real *weight;     /* [out_width,in_width] */
    const kernels_real *out_grad;   /* [N,out_width] */
    const kernels_real *gelu_input; /* [N,in_width] or NULL: where `in` was GELU(gelu_input),
                                       in_grad becomes the gradient of gelu_input */
    kernels_real *in_grad;          /* [N,in_width], overwritten; NULL: not wanted */
    float *weight_grad;             /* [out_width,in_width], overwritten */
    float *bias_grad;               /* [out_width], overwritten; NULL: not wanted */
};

/* Causal multi-head attention, scores scaled by 1/sqrt(C/H). A row of qkv is C queries, C keys
 * and C values, each of them head after head. */
struct kernels_attention {
    int64_t batch_rows, context, width, heads;
    const kernels_real *qkv; /* [B,T,3C] */
    kernels_real *out;       /* [B,T,C] */
    float *logsum; /* [B,H,T], log of the sum of exponents of each row of scores, for the
                         backward pass */
};

struct kernels_attention_backward {
    int64_t batch_rows, context, width, heads;
    const kernels_real *qkv, *out; /* as in the forward pass */
    const float *logsum;           /* alike */
    const kernels_real *out_grad;  /* [B,T,C] */
    kernels_real *qkv_grad;        /* [B,T,3C], overwritten */
};

/* GELU with the tanh form of GPT-2. */
struct kernels_gelu {
    int64_t count;
    const kernels_real *in; /* [count] */
    kernels_real *out;      /* [count] */
};

struct kernels_gelu_backward {
    int64_t count;
    const kernels_real *in;       /* [count], the input of the forward pass */
    const kernels_real *out_grad; /* [count] */
    kernels_real *in_grad;        /* [count], overwritten; may be out_grad itself */
};

/* losses[i] = -log softmax(logits[i,:])[targets[i]]; then the logits are replaced by the
 * gradient of `grad_scale` times the sum of the losses. */
struct kernels_cross_entropy {
    int64_t rows, vocab_count;
    const int32_t *targets; /* [N], each in [0,V) */
    float grad_scale;       /* 1/N makes the gradient that of the mean */
    kernels_real *logits;   /* [N,V], in: logits, out: gradient */
    float *losses;          /* [N] */
};

/* One AdamW step of parameters that share a decay, with the bias corrections already in
 * step_size and second_scale:
 *   g = grad * grad_scale; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g g
 *   p = p - decay p - step_size m / (sqrt(v) * second_scale + epsilon) */
struct kernels_adamw {
    int64_t count;
    const float *grad;    /* [count] */
    float *param;         /* [count], the master copy */
    kernels_real *weight; /* [count]: gets param, rounded to nearest even; NULL: no such copy */
    float *moment1;       /* [count], m */
    float *moment2;       /* [count], v */
    float grad_scale;     /* clipping and averaging in one factor */
    float beta1, beta2;   /* b1, b2 */
    float epsilon;        /* added after the root */
    float step_size;      /* learning rate / (1 - b1^step) */
    float second_scale;   /* 1 / sqrt(1 - b2^step) */
    float decay;          /* learning rate * weight decay; 0 for biases and norms */
};

/* What a device can do at most, for utilization figures. */
struct kernels_peak {
    double flops_per_s;
    const char *source; /* "sgemm", "gemm fp32", "gemm bf16": measured just now. Static */
};

struct kernels {
    const char *name; /* "cpu" or "cuda" */

    /* Opens the backend; *device is owned by the caller, who closes it. ERR_INPUT for options
     * out of range, ERR_NO_MEMORY, ERR_DEVICE. On failure *device is NULL. */
    enum err (*open)(const struct kernels_options *options, struct kernels_device **device,
                     struct error *error);
    /* No-op for NULL. All memory of the device must have been released before. */
    void (*close)(struct kernels_device *device);
    /* One line for people, for example "2 threads, x86-64-v3, OpenBLAS". */
    void (*describe)(const struct kernels_device *device, char text[KERNELS_DETAIL_BYTES]);
    /* The rate of large matrix products in the device's type. Takes some 100 ms, with all of the
     * device's threads; a GPU is timed by its own clock, and its memory is needed for matrices
     * meanwhile. */
    enum err (*peak)(struct kernels_device *device, struct kernels_peak *peak,
                     struct error *error);

    /* Zeroed memory, aligned to 64 bytes, owned by the caller. ERR_NO_MEMORY leaves *memory
     * NULL. */
    enum err (*alloc)(struct kernels_device *device, size_t bytes, void **memory,
                      struct error *error);
    void (*release)(struct kernels_device *device, void *memory); /* no-op for NULL */
    void (*upload)(struct kernels_device *device, void *to, const void *host, size_t bytes);
    void (*download)(struct kernels_device *device, void *host, const void *from, size_t bytes);
    /* Waits for all operations and reports the first one that failed since the last sync. */
    enum err (*sync)(struct kernels_device *device, struct error *error);

    void (*embedding)(struct kernels_device *device, const struct kernels_embedding *args);
    void (*embedding_backward)(struct kernels_device *device,
                               const struct kernels_embedding_backward *args);
    void (*layernorm)(struct kernels_device *device, const struct kernels_layernorm *args);
    void (*layernorm_backward)(struct kernels_device *device,
                               const struct kernels_layernorm_backward *args);
    void (*matmul)(struct kernels_device *device, const struct kernels_matmul *args);
    void (*matmul_backward)(struct kernels_device *device,
                            const struct kernels_matmul_backward *args);
    void (*attention)(struct kernels_device *device, const struct kernels_attention *args);
    void (*attention_backward)(struct kernels_device *device,
                               const struct kernels_attention_backward *args);
    void (*gelu)(struct kernels_device *device, const struct kernels_gelu *args);
    void (*gelu_backward)(struct kernels_device *device,
                          const struct kernels_gelu_backward *args);
    void (*cross_entropy)(struct kernels_device *device,
                          const struct kernels_cross_entropy *args);
    /* to[i] += from[i] */
    void (*add)(struct kernels_device *device, kernels_real *to, const kernels_real *from,
                int64_t count);
    /* to[i] = from[i], rounded to nearest even */
    void (*round)(struct kernels_device *device, kernels_real *to, const float *from,
                  int64_t count);
    /* values[i] *= factor */
    void (*scale)(struct kernels_device *device, float *values, float factor, int64_t count);
    /* Sum of values[i]^2 in double, in an order that depends on `count` alone. Non-finite when
     * any value is. */
    double (*sum_squares)(struct kernels_device *device, const float *values, int64_t count);
    void (*adamw)(struct kernels_device *device, const struct kernels_adamw *args);
};

/* The CPU's table: the fastest build of the operations that this processor can run. Never NULL;
 * static storage. */
const struct kernels *kernels_cpu(void);

/* The GPU's table. It is not part of the program but of penstock_cuda.so, which is opened at run
 * time. Never NULL; static storage. */
const struct kernels *kernels_cuda(void);

/* All builds of the CPU's table that this processor can run, fastest first; returns how many,
 * at least one. For tests, and for comparing. */
int kernels_cpu_builds(const struct kernels *builds[KERNELS_BUILDS_MAX]);

#ifdef __cplusplus
}
#endif

#endif
