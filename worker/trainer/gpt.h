/*
 * gpt.h - a GPT-2-style decoder (pre-norm, causal attention, GELU MLP, tied head) over a table
 * of kernels.
 *
 * Parameters, gradients and moments are fp32 in every type; a type below fp32 rounds a copy of
 * the parameters for its products.
 *
 * Promises: all memory is planned and allocated in gpt_create; nothing is allocated later.
 * Parameters are one flat float array, gradients another of the same layout, so that gradients
 * can be all-reduced in place and optimizer moments can mirror them. The same seed, tokens and
 * number of threads give the same bits. Never: reads files, prints, communicates.
 *
 * Order of a step: gpt_forward, gpt_backward, then (elsewhere) all-reduce and optim_step.
 * gpt_backward uses what the last gpt_forward left behind and may follow it once.
 *
 * Layout of the flat arrays, without gaps: wte.weight, wpe.weight, then for each layer N
 *   h.N.ln_1.weight, h.N.ln_1.bias, h.N.attn.qkv.weight, .bias, h.N.attn.proj.weight, .bias,
 *   h.N.ln_2.weight, .bias, h.N.mlp.fc.weight, .bias, h.N.mlp.proj.weight, .bias,
 * then ln_f.weight, ln_f.bias. A weight matrix is [out, in], as torch's Linear keeps it. The
 * head has no tensor of its own: it is wte.weight.
 */
#ifndef WORKER_TRAINER_GPT_H
#define WORKER_TRAINER_GPT_H

#include "kernels/kernels.h"
#include "proto/base/defs.h"
#include "proto/base/error.h"

enum {
    GPT_LAYERS_MAX = 256,
    GPT_WIDTH_MAX = 16384,
    GPT_CONTEXT_MAX = 1024,
    GPT_VOCAB_MAX = 65536,
    GPT_ROWS_MAX = 4096,
    GPT_NAME_BYTES = 40
};

/* Every member is >= 1; width is a multiple of heads. */
struct gpt_config {
    int layers;
    int width;
    int heads;
    int context;     /* positions, at most GPT_CONTEXT_MAX */
    int vocab_count; /* tokens are 0 .. vocab_count - 1 */
};

struct gpt_options {
    struct gpt_config config;
    int batch_rows; /* sequences of `context` tokens that this member handles in a step */
    int threads;
    enum kernels_type type;        /* of weights and activations */
    int64_t timeout_ns;            /* longest wait for the device; 0: no limit */
    const struct kernels *kernels; /* static storage */
};

/* One named tensor. It lies at [offset, offset + count) of parameters, gradients and moments.
 */
struct gpt_tensor {
    char name[GPT_NAME_BYTES];
    int dims;         /* 1 or 2 */
    int64_t shape[2]; /* shape[1] is 1 where dims is 1 */
    int64_t offset;   /* in floats */
    int64_t count;    /* in floats; product of the shape */
    bool decay;       /* true for matrices: weight decay applies to them alone */
};

struct gpt;

/* Called by gpt_backward when gradients [offset, offset + count) are final. The ranges come in
 * backward order (last layer with the final norm, .., first layer, embeddings), do not overlap
 * and cover everything. Work may be started on them at once; the model will not touch them
 * again before the next gpt_backward. */
typedef void (*gpt_grad_ready_fn)(void *context, int64_t offset, int64_t count);

/* Checks the options, opens the kernels' device and allocates all memory. The caller owns *gpt.
 * ERR_INPUT names the member that is out of range; ERR_NO_MEMORY, ERR_DEVICE. On failure *gpt
 * is NULL. Parameters are zero until gpt_init or an upload. */
must_use enum err gpt_create(const struct gpt_options *options, struct gpt **gpt,
                             struct error *error);

/* No-op for NULL. Keeps errno. */
void gpt_destroy(struct gpt *gpt);

/* Checks a configuration alone; what gpt_create would say. */
must_use enum err gpt_config_check(const struct gpt_config *config, struct error *error);

/* GPT-2's initial weights: normal with deviation 0.02, residual projections divided by
 * sqrt(2 * layers), norms one, biases zero. Depends on the configuration and the seed alone.
 * ERR_NO_MEMORY. */
must_use enum err gpt_init(struct gpt *gpt, uint64_t seed, struct error *error);

/* Mean loss in nats over batch_rows * context targets. tokens and targets are
 * [batch_rows, context] in host memory and borrowed for the call. A token outside the
 * vocabulary is ERR_INPUT and changes nothing. A non-finite loss is returned as it is: the
 * caller decides. ERR_DEVICE. */
must_use enum err gpt_forward(struct gpt *gpt, const int32_t *tokens, const int32_t *targets,
                              double *loss, struct error *error);

/* Overwrites all gradients with those of the last forward pass' mean loss. grad_ready may be
 * NULL; `context` is handed to it. On a GPU a range is ready in stream order. ERR_DEVICE. */
must_use enum err gpt_backward(struct gpt *gpt, gpt_grad_ready_fn grad_ready, void *context,
                               struct error *error);

/* Number of parameters, which is the length of the flat arrays. */
int64_t gpt_param_count(const struct gpt *gpt);

/* As gpt_param_count, from a valid configuration alone. */
int64_t gpt_config_param_count(const struct gpt_config *config);

/* Model FLOPs of one trained token, forward and backward, after PaLM's appendix B:
 * 6 * N + 12 * layers * width * context. N counts the weights of matrix products, the tied head
 * once and nothing else (no biases, norms, positions, no table look-up). Attention is counted
 * as if it were not causal. */
int64_t gpt_flops_per_token(const struct gpt_config *config);

/* The directory, in the order of the layout. Valid until gpt_destroy. */
int gpt_tensor_count(const struct gpt *gpt);
const struct gpt_tensor *gpt_tensor_at(const struct gpt *gpt, int index);

/* The flat arrays, gpt_param_count floats each, in memory of gpt_device (the CPU's is ordinary
 * memory: read and write it freely between steps). Valid until gpt_destroy. */
float *gpt_params(struct gpt *gpt);
float *gpt_grads(struct gpt *gpt);

/* The rounded copy of the parameters from `offset` on, which products use in place of them and
 * which whoever updates parameters updates too; NULL for fp32, which needs none. */
kernels_real *gpt_weight_copy(struct gpt *gpt, int64_t offset);

/* Makes that copy anew; call it after an upload to gpt_params. No-op for fp32. */
void gpt_params_changed(struct gpt *gpt);

/* What the model runs on, for download, upload and describe. Valid until gpt_destroy. */
const struct kernels *gpt_kernels(const struct gpt *gpt);
struct kernels_device *gpt_device(struct gpt *gpt);
const struct gpt_config *gpt_config_of(const struct gpt *gpt);

#endif
