#include "worker/trainer/gpt.h"

#include "proto/base/rng.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The tensors of a layer and of the whole model, in the order of the layout. */
enum layer_tensor {
    LN1_WEIGHT,
    LN1_BIAS,
    QKV_WEIGHT,
    QKV_BIAS,
    ATTN_PROJ_WEIGHT,
    ATTN_PROJ_BIAS,
    LN2_WEIGHT,
    LN2_BIAS,
    FC_WEIGHT,
    FC_BIAS,
    MLP_PROJ_WEIGHT,
    MLP_PROJ_BIAS,
    LAYER_TENSORS
};

enum { WTE = 0, WPE = 1, LAYERS_FROM = 2 };

#define INIT_DEVIATION 0.02f

enum { PIECE_ALIGNMENT = 64 }; /* bytes of a cache line: activations start on one */

/* What a layer's forward pass leaves for its backward pass; N rows each. */
struct layer_acts {
    kernels_real *in;     /* [N,C] the residual stream that it got: owned by whoever made it */
    kernels_real *ln1;    /* [N,C] */
    kernels_real *qkv;    /* [N,3C] */
    kernels_real *attn;   /* [N,C] */
    kernels_real *mid;    /* [N,C] the residual stream after attention */
    kernels_real *ln2;    /* [N,C] */
    kernels_real *fc;     /* [N,4C] */
    kernels_real *gelu;   /* [N,4C] */
    kernels_real *out;    /* [N,C] the residual stream after the layer */
    float *logsum;        /* [B,H,T] */
    float *mean1, *rstd1; /* [N] */
    float *mean2, *rstd2; /* [N] */
};

struct gpt {
    struct gpt_config config;
    int batch_rows;
    int64_t rows; /* N = batch_rows * context */
    const struct kernels *kernels;
    struct kernels_device *device;
    struct gpt_tensor *tensors;
    int tensor_count;
    int64_t param_count;
    bool forward_done;

    enum kernels_type type; /* of kernels_real */
    float *params, *grads;  /* [param_count] each */
    kernels_real *weights; /* [param_count], what products use: params, or their rounded copy */
    void *acts;            /* all activations and their gradients, one block */
    int32_t *tokens;       /* [N] on the device, and targets behind it */
    int32_t *targets;
    float *host_losses; /* [N] in host memory */
    struct layer_acts *layers;
    kernels_real *embedded;    /* [N,C] */
    kernels_real *final;       /* [N,C] after the final norm */
    float *mean, *rstd;        /* [N] of the final norm */
    kernels_real *logits;      /* [N,V]; their gradient after the forward pass */
    float *losses;             /* [N] */
    kernels_real *stream_grad; /* [N,C] gradient of the residual stream */
    kernels_real *branch_grad; /* [N,C] gradient of a norm's or attention's output */
    kernels_real *wide_grad;   /* [N,4C] gradient of qkv or of the MLP's inner values */
};

static enum err check_range(const char *name, int value, int max, struct error *error)
{
    if (value >= 1 && value <= max) return ERR_OK;
    return error_set(error, ERR_INPUT, "%s is %d: must be 1 to %d", name, value, max);
}

enum err gpt_config_check(const struct gpt_config *config, struct error *error)
{
    const struct {
        const char *name;
        int value, max;
    } rows[] = {
        { "layers", config->layers, GPT_LAYERS_MAX },
        { "width", config->width, GPT_WIDTH_MAX },
        { "heads", config->heads, GPT_WIDTH_MAX },
        { "context", config->context, GPT_CONTEXT_MAX },
        { "vocabulary", config->vocab_count, GPT_VOCAB_MAX },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        enum err rc = check_range(rows[i].name, rows[i].value, rows[i].max, error);
        if (rc != ERR_OK) return rc;
    }
    if (config->width % config->heads != 0)
        return error_set(error, ERR_INPUT, "width %d is not a multiple of %d heads",
                         config->width, config->heads);
    return ERR_OK;
}

/* Weights of one layer's matrix products: qkv 3CC, projection CC, MLP 4CC twice. */
static int64_t layer_matrix_count(int64_t width)
{
    return 12 * width * width;
}

int64_t gpt_config_param_count(const struct gpt_config *config)
{
    int64_t C = config->width;
    int64_t biases_and_norms = 3 * C + C + 4 * C + C + 4 * C;
    int64_t layer = layer_matrix_count(C) + biases_and_norms;
    return (config->vocab_count + config->context) * C + config->layers * layer + 2 * C;
}

int64_t gpt_flops_per_token(const struct gpt_config *config)
{
    int64_t C = config->width;
    int64_t matrix_count = config->layers * layer_matrix_count(C) + config->vocab_count * C;
    return 6 * matrix_count + 12 * config->layers * C * config->context;
}

static void add_tensor(struct gpt *gpt, const char *name, int64_t rows, int64_t columns)
{
    struct gpt_tensor *tensor = &gpt->tensors[gpt->tensor_count++];
    bool matrix = columns > 0;
    *tensor = (struct gpt_tensor){
        .dims = matrix ? 2 : 1,
        .shape = { rows, matrix ? columns : 1 },
        .offset = gpt->param_count,
        .count = rows * (matrix ? columns : 1),
        .decay = matrix,
    };
    (void)snprintf(tensor->name, sizeof(tensor->name), "%s", name);
    gpt->param_count += tensor->count;
}

/* columns 0 stands for a vector; both in units of the width. */
static const struct {
    const char *name;
    int rows, columns;
} layer_table[LAYER_TENSORS] = {
    [LN1_WEIGHT] = { "ln_1.weight", 1, 0 },
    [LN1_BIAS] = { "ln_1.bias", 1, 0 },
    [QKV_WEIGHT] = { "attn.qkv.weight", 3, 1 },
    [QKV_BIAS] = { "attn.qkv.bias", 3, 0 },
    [ATTN_PROJ_WEIGHT] = { "attn.proj.weight", 1, 1 },
    [ATTN_PROJ_BIAS] = { "attn.proj.bias", 1, 0 },
    [LN2_WEIGHT] = { "ln_2.weight", 1, 0 },
    [LN2_BIAS] = { "ln_2.bias", 1, 0 },
    [FC_WEIGHT] = { "mlp.fc.weight", 4, 1 },
    [FC_BIAS] = { "mlp.fc.bias", 4, 0 },
    [MLP_PROJ_WEIGHT] = { "mlp.proj.weight", 1, 4 },
    [MLP_PROJ_BIAS] = { "mlp.proj.bias", 1, 0 },
};

static enum err plan_tensors(struct gpt *gpt, struct error *error)
{
    const struct gpt_config *c = &gpt->config;
    size_t count = (size_t)c->layers * LAYER_TENSORS + LAYERS_FROM + 2;
    gpt->tensors = calloc(count, sizeof(*gpt->tensors));
    if (gpt->tensors == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for tensors");
    add_tensor(gpt, "wte.weight", c->vocab_count, c->width);
    add_tensor(gpt, "wpe.weight", c->context, c->width);
    for (int layer = 0; layer < c->layers; layer++) {
        for (int i = 0; i < LAYER_TENSORS; i++) {
            char name[GPT_NAME_BYTES];
            (void)snprintf(name, sizeof(name), "h.%d.%s", layer, layer_table[i].name);
            add_tensor(gpt, name, (int64_t)layer_table[i].rows * c->width,
                       (int64_t)layer_table[i].columns * c->width);
        }
    }
    add_tensor(gpt, "ln_f.weight", c->width, 0);
    add_tensor(gpt, "ln_f.bias", c->width, 0);
    check((size_t)gpt->tensor_count == count);
    check(gpt->param_count == gpt_config_param_count(c));
    return ERR_OK;
}

/* Hands out pieces of one block. With a NULL base it only measures. */
struct planner {
    char *base;
    int64_t bytes;
    int64_t real_bytes; /* of one kernels_real */
};

static void *take_bytes(struct planner *planner, int64_t bytes)
{
    void *piece = planner->base == NULL ? NULL : planner->base + planner->bytes;
    planner->bytes += div_ceil(bytes, PIECE_ALIGNMENT) * PIECE_ALIGNMENT;
    return piece;
}

static kernels_real *take(struct planner *planner, int64_t count)
{
    return take_bytes(planner, count * planner->real_bytes);
}

static float *take_floats(struct planner *planner, int64_t count)
{
    return take_bytes(planner, count * (int64_t)sizeof(float));
}

static void plan_layer(const struct gpt *gpt, struct planner *p, struct layer_acts *layer)
{
    int64_t N = gpt->rows;
    int64_t C = gpt->config.width;
    layer->ln1 = take(p, N * C);
    layer->qkv = take(p, 3 * N * C);
    layer->attn = take(p, N * C);
    layer->mid = take(p, N * C);
    layer->ln2 = take(p, N * C);
    layer->fc = take(p, 4 * N * C);
    layer->gelu = take(p, 4 * N * C);
    layer->out = take(p, N * C);
    layer->logsum = take_floats(p, N * gpt->config.heads);
    layer->mean1 = take_floats(p, N);
    layer->rstd1 = take_floats(p, N);
    layer->mean2 = take_floats(p, N);
    layer->rstd2 = take_floats(p, N);
}

/* Bytes of all activations. */
static int64_t plan_acts(struct gpt *gpt, void *base)
{
    struct planner p = { .base = base, .real_bytes = (int64_t)kernels_real_bytes(gpt->type) };
    int64_t N = gpt->rows;
    int64_t C = gpt->config.width;
    gpt->embedded = take(&p, N * C);
    for (int layer = 0; layer < gpt->config.layers; layer++) {
        gpt->layers[layer].in = layer == 0 ? gpt->embedded : gpt->layers[layer - 1].out;
        plan_layer(gpt, &p, &gpt->layers[layer]);
    }
    gpt->final = take(&p, N * C);
    gpt->mean = take_floats(&p, N);
    gpt->rstd = take_floats(&p, N);
    gpt->logits = take(&p, N * gpt->config.vocab_count);
    gpt->losses = take_floats(&p, N);
    gpt->stream_grad = take(&p, N * C);
    gpt->branch_grad = take(&p, N * C);
    gpt->wide_grad = take(&p, 4 * N * C);
    return p.bytes;
}

static enum err alloc_floats(struct gpt *gpt, int64_t count, float **out, struct error *error)
{
    void *memory = NULL;
    enum err rc =
        gpt->kernels->alloc(gpt->device, (size_t)count * sizeof(float), &memory, error);
    *out = memory;
    return rc;
}

/* fp32 products use the parameters themselves. */
static enum err alloc_weights(struct gpt *gpt, struct error *error)
{
    gpt->weights = gpt->params;
    if (gpt->type == KERNELS_FP32) return ERR_OK;
    size_t bytes = (size_t)gpt->param_count * kernels_real_bytes(gpt->type);
    return gpt->kernels->alloc(gpt->device, bytes, &gpt->weights, error);
}

static enum err plan_memory(struct gpt *gpt, struct error *error)
{
    enum err rc = ERR_OK;
    gpt->layers = calloc((size_t)gpt->config.layers, sizeof(*gpt->layers));
    gpt->host_losses = calloc((size_t)gpt->rows, sizeof(*gpt->host_losses));
    if (gpt->layers == NULL || gpt->host_losses == NULL)
        return error_set(error, ERR_NO_MEMORY, "no memory for a model's bookkeeping");
    if ((rc = alloc_floats(gpt, gpt->param_count, &gpt->params, error)) != ERR_OK) return rc;
    if ((rc = alloc_floats(gpt, gpt->param_count, &gpt->grads, error)) != ERR_OK) return rc;
    if ((rc = alloc_weights(gpt, error)) != ERR_OK) return rc;
    size_t act_bytes = (size_t)plan_acts(gpt, NULL);
    if ((rc = gpt->kernels->alloc(gpt->device, act_bytes, &gpt->acts, error)) != ERR_OK)
        return rc;
    (void)plan_acts(gpt, gpt->acts);
    void *memory = NULL;
    rc = gpt->kernels->alloc(gpt->device, 2 * (size_t)gpt->rows * sizeof(int32_t), &memory,
                             error);
    if (rc != ERR_OK) return rc;
    gpt->tokens = memory;
    gpt->targets = gpt->tokens + gpt->rows;
    return ERR_OK;
}

static enum err open_device(struct gpt *gpt, const struct gpt_options *from,
                            struct error *error)
{
    const struct kernels_options options = {
        .threads = from->threads,
        .type = from->type,
        .timeout_ns = from->timeout_ns,
        .batch_rows = gpt->batch_rows,
        .context = gpt->config.context,
        .width = gpt->config.width,
        .heads = gpt->config.heads,
        .vocab_count = gpt->config.vocab_count,
    };
    return gpt->kernels->open(&options, &gpt->device, error);
}

enum err gpt_create(const struct gpt_options *options, struct gpt **out, struct error *error)
{
    *out = NULL;
    check(options->kernels != NULL);
    enum err rc = gpt_config_check(&options->config, error);
    if (rc != ERR_OK) return rc;
    rc = check_range("batch rows", options->batch_rows, GPT_ROWS_MAX, error);
    if (rc != ERR_OK) return rc;
    rc = check_range("threads", options->threads, KERNELS_THREADS_MAX, error);
    if (rc != ERR_OK) return rc;
    struct gpt *gpt = calloc(1, sizeof(*gpt));
    if (gpt == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for a model");
    gpt->config = options->config;
    gpt->batch_rows = options->batch_rows;
    gpt->rows = (int64_t)options->batch_rows * options->config.context;
    gpt->kernels = options->kernels;
    gpt->type = options->type;
    if ((rc = plan_tensors(gpt, error)) != ERR_OK) goto out;
    if ((rc = open_device(gpt, options, error)) != ERR_OK) goto out;
    if ((rc = plan_memory(gpt, error)) != ERR_OK) goto out;
    *out = gpt;
    return ERR_OK;
out:
    gpt_destroy(gpt);
    return rc;
}

void gpt_destroy(struct gpt *gpt)
{
    if (gpt == NULL) return;
    int saved = errno;
    if (gpt->device != NULL) {
        gpt->kernels->release(gpt->device, gpt->tokens);
        gpt->kernels->release(gpt->device, gpt->acts);
        if (gpt->type != KERNELS_FP32) gpt->kernels->release(gpt->device, gpt->weights);
        gpt->kernels->release(gpt->device, gpt->grads);
        gpt->kernels->release(gpt->device, gpt->params);
        gpt->kernels->close(gpt->device);
    }
    free(gpt->host_losses);
    free(gpt->layers);
    free(gpt->tensors);
    free(gpt);
    errno = saved;
}

static bool name_ends(const char *name, const char *end)
{
    size_t name_len = strlen(name);
    size_t end_len = strlen(end);
    return name_len >= end_len && strcmp(name + name_len - end_len, end) == 0;
}

static void init_tensor(const struct gpt_config *config, const struct gpt_tensor *tensor,
                        struct rng *rng, float *values)
{
    float deviation = INIT_DEVIATION;
    if (name_ends(tensor->name, "proj.weight"))
        deviation /= sqrtf(2.0f * (float)config->layers);
    bool norm_weight = tensor->dims == 1 && name_ends(tensor->name, ".weight");
    for (int64_t i = 0; i < tensor->count; i++) {
        if (tensor->dims == 2)
            values[i] = deviation * rng_normal(rng);
        else
            values[i] = norm_weight ? 1.0f : 0.0f;
    }
}

enum err gpt_init(struct gpt *gpt, uint64_t seed, struct error *error)
{
    size_t bytes = (size_t)gpt->param_count * sizeof(float);
    float *values = malloc(bytes);
    if (values == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for initial weights");
    struct rng rng = rng_of(seed);
    for (int i = 0; i < gpt->tensor_count; i++)
        init_tensor(&gpt->config, &gpt->tensors[i], &rng, values + gpt->tensors[i].offset);
    gpt->kernels->upload(gpt->device, gpt->params, values, bytes);
    gpt_params_changed(gpt);
    enum err rc = gpt->kernels->sync(gpt->device, error);
    free(values);
    return rc;
}

static const struct gpt_tensor *layer_tensor(const struct gpt *gpt, int layer,
                                             enum layer_tensor which)
{
    return &gpt->tensors[LAYERS_FROM + layer * LAYER_TENSORS + (int)which];
}

static const struct gpt_tensor *final_norm(const struct gpt *gpt)
{
    return &gpt->tensors[gpt->tensor_count - 2];
}

static const kernels_real *weight_at(const struct gpt *gpt, int64_t offset)
{
    return (const char *)gpt->weights + (size_t)offset * kernels_real_bytes(gpt->type);
}

static const kernels_real *weight_of(const struct gpt *gpt, const struct gpt_tensor *tensor)
{
    return weight_at(gpt, tensor->offset);
}

static float *grad_of(const struct gpt *gpt, const struct gpt_tensor *tensor)
{
    return gpt->grads + tensor->offset;
}

/* The product with a layer's weight and the bias behind it; fills in what the tensor says. */
static void linear(const struct gpt *gpt, int layer, enum layer_tensor weight,
                   struct kernels_matmul args)
{
    const struct gpt_tensor *tensor = layer_tensor(gpt, layer, weight);
    args.rows = gpt->rows;
    args.in_width = tensor->shape[1];
    args.out_width = tensor->shape[0];
    args.weight = weight_of(gpt, tensor);
    args.bias = weight_at(gpt, tensor->offset + tensor->count);
    gpt->kernels->matmul(gpt->device, &args);
}

/* The bias lies behind the weight. */
static void norm_forward(const struct gpt *gpt, const kernels_real *in,
                         const struct gpt_tensor *weight, kernels_real *out, float *mean,
                         float *rstd)
{
    int64_t C = gpt->config.width;
    gpt->kernels->layernorm(
        gpt->device, &(struct kernels_layernorm){ .rows = gpt->rows,
                                                  .width = C,
                                                  .in = in,
                                                  .weight = weight_of(gpt, weight),
                                                  .bias = weight_at(gpt, weight->offset + C),
                                                  .out = out,
                                                  .mean = mean,
                                                  .rstd = rstd });
}

static void attention_forward(const struct gpt *gpt, int layer)
{
    const struct layer_acts *acts = &gpt->layers[layer];
    const struct kernels_attention attention = { .batch_rows = gpt->batch_rows,
                                                 .context = gpt->config.context,
                                                 .width = gpt->config.width,
                                                 .heads = gpt->config.heads,
                                                 .qkv = acts->qkv,
                                                 .out = acts->attn,
                                                 .logsum = acts->logsum };
    norm_forward(gpt, acts->in, layer_tensor(gpt, layer, LN1_WEIGHT), acts->ln1, acts->mean1,
                 acts->rstd1);
    linear(gpt, layer, QKV_WEIGHT,
           (struct kernels_matmul){ .in = acts->ln1, .out = acts->qkv });
    gpt->kernels->attention(gpt->device, &attention);
    linear(gpt, layer, ATTN_PROJ_WEIGHT,
           (struct kernels_matmul){ .in = acts->attn, .residual = acts->in, .out = acts->mid });
}

static void mlp_forward(const struct gpt *gpt, int layer)
{
    const struct layer_acts *acts = &gpt->layers[layer];
    norm_forward(gpt, acts->mid, layer_tensor(gpt, layer, LN2_WEIGHT), acts->ln2, acts->mean2,
                 acts->rstd2);
    linear(gpt, layer, FC_WEIGHT,
           (struct kernels_matmul){ .in = acts->ln2, .out = acts->fc, .gelu = acts->gelu });
    linear(
        gpt, layer, MLP_PROJ_WEIGHT,
        (struct kernels_matmul){ .in = acts->gelu, .residual = acts->mid, .out = acts->out });
}

static void embedding_forward(const struct gpt *gpt)
{
    gpt->kernels->embedding(
        gpt->device,
        &(struct kernels_embedding){ .batch_rows = gpt->batch_rows,
                                     .context = gpt->config.context,
                                     .width = gpt->config.width,
                                     .vocab_count = gpt->config.vocab_count,
                                     .tokens = gpt->tokens,
                                     .token_weight = weight_of(gpt, &gpt->tensors[WTE]),
                                     .position_weight = weight_of(gpt, &gpt->tensors[WPE]),
                                     .out = gpt->embedded });
}

/* From the last residual stream to the losses and the gradient of the logits. */
static void head_forward(const struct gpt *gpt)
{
    const struct gpt_config *c = &gpt->config;
    norm_forward(gpt, gpt->layers[c->layers - 1].out, final_norm(gpt), gpt->final, gpt->mean,
                 gpt->rstd);
    gpt->kernels->matmul(gpt->device,
                         &(struct kernels_matmul){ .rows = gpt->rows,
                                                   .in_width = c->width,
                                                   .out_width = c->vocab_count,
                                                   .in = gpt->final,
                                                   .weight = weight_of(gpt, &gpt->tensors[WTE]),
                                                   .out = gpt->logits });
    gpt->kernels->cross_entropy(
        gpt->device, &(struct kernels_cross_entropy){ .rows = gpt->rows,
                                                      .vocab_count = c->vocab_count,
                                                      .targets = gpt->targets,
                                                      .grad_scale = 1.0f / (float)gpt->rows,
                                                      .logits = gpt->logits,
                                                      .losses = gpt->losses });
}

static enum err check_tokens(const struct gpt *gpt, const char *what, const int32_t *tokens,
                             struct error *error)
{
    for (int64_t i = 0; i < gpt->rows; i++) {
        if (tokens[i] < 0 || tokens[i] >= gpt->config.vocab_count)
            return error_set(error, ERR_INPUT, "%s %lld is %d: vocabulary has %d", what,
                             (long long)i, tokens[i], gpt->config.vocab_count);
    }
    return ERR_OK;
}

enum err gpt_forward(struct gpt *gpt, const int32_t *tokens, const int32_t *targets,
                     double *loss, struct error *error)
{
    enum err rc = check_tokens(gpt, "token", tokens, error);
    if (rc != ERR_OK) return rc;
    if ((rc = check_tokens(gpt, "target", targets, error)) != ERR_OK) return rc;
    size_t bytes = (size_t)gpt->rows * sizeof(int32_t);
    gpt->kernels->upload(gpt->device, gpt->tokens, tokens, bytes);
    gpt->kernels->upload(gpt->device, gpt->targets, targets, bytes);
    embedding_forward(gpt);
    for (int layer = 0; layer < gpt->config.layers; layer++) {
        attention_forward(gpt, layer);
        mlp_forward(gpt, layer);
    }
    head_forward(gpt);
    gpt->kernels->download(gpt->device, gpt->host_losses, gpt->losses,
                           (size_t)gpt->rows * sizeof(float));
    if ((rc = gpt->kernels->sync(gpt->device, error)) != ERR_OK) return rc;
    double sum = 0.0;
    for (int64_t i = 0; i < gpt->rows; i++)
        sum += (double)gpt->host_losses[i];
    *loss = sum / (double)gpt->rows;
    gpt->forward_done = true;
    return ERR_OK;
}

/* Gradient of a norm: from branch_grad into stream_grad, which it joins or, for the final norm,
 * starts. */
static void norm_backward(const struct gpt *gpt, const kernels_real *in,
                          const struct gpt_tensor *weight, const float *mean, const float *rstd,
                          bool add)
{
    int64_t C = gpt->config.width;
    gpt->kernels->layernorm_backward(gpt->device, &(struct kernels_layernorm_backward){
                                                      .rows = gpt->rows,
                                                      .width = C,
                                                      .in = in,
                                                      .weight = weight_of(gpt, weight),
                                                      .mean = mean,
                                                      .rstd = rstd,
                                                      .out_grad = gpt->branch_grad,
                                                      .add = add,
                                                      .in_grad = gpt->stream_grad,
                                                      .weight_grad = grad_of(gpt, weight),
                                                      .bias_grad = grad_of(gpt, weight) + C });
}

static void head_backward(const struct gpt *gpt)
{
    const struct gpt_config *c = &gpt->config;
    gpt->kernels->matmul_backward(
        gpt->device,
        &(struct kernels_matmul_backward){ .rows = gpt->rows,
                                           .in_width = c->width,
                                           .out_width = c->vocab_count,
                                           .in = gpt->final,
                                           .weight = weight_of(gpt, &gpt->tensors[WTE]),
                                           .out_grad = gpt->logits,
                                           .in_grad = gpt->branch_grad,
                                           .weight_grad = grad_of(gpt, &gpt->tensors[WTE]) });
    norm_backward(gpt, gpt->layers[c->layers - 1].out, final_norm(gpt), gpt->mean, gpt->rstd,
                  false);
}

/* The gradients of `linear`; fills in what the tensor says. */
static void linear_backward(const struct gpt *gpt, int layer, enum layer_tensor weight,
                            struct kernels_matmul_backward args)
{
    const struct gpt_tensor *tensor = layer_tensor(gpt, layer, weight);
    args.rows = gpt->rows;
    args.in_width = tensor->shape[1];
    args.out_width = tensor->shape[0];
    args.weight = weight_of(gpt, tensor);
    args.weight_grad = grad_of(gpt, tensor);
    args.bias_grad = args.weight_grad + tensor->count;
    gpt->kernels->matmul_backward(gpt->device, &args);
}

static void mlp_backward(const struct gpt *gpt, int layer)
{
    const struct layer_acts *acts = &gpt->layers[layer];
    linear_backward(gpt, layer, MLP_PROJ_WEIGHT,
                    (struct kernels_matmul_backward){ .in = acts->gelu,
                                                      .out_grad = gpt->stream_grad,
                                                      .gelu_input = acts->fc,
                                                      .in_grad = gpt->wide_grad });
    linear_backward(gpt, layer, FC_WEIGHT,
                    (struct kernels_matmul_backward){ .in = acts->ln2,
                                                      .out_grad = gpt->wide_grad,
                                                      .in_grad = gpt->branch_grad });
    norm_backward(gpt, acts->mid, layer_tensor(gpt, layer, LN2_WEIGHT), acts->mean2,
                  acts->rstd2, true);
}

static void attention_backward(const struct gpt *gpt, int layer)
{
    const struct layer_acts *acts = &gpt->layers[layer];
    const struct kernels_attention_backward attention = { .batch_rows = gpt->batch_rows,
                                                          .context = gpt->config.context,
                                                          .width = gpt->config.width,
                                                          .heads = gpt->config.heads,
                                                          .qkv = acts->qkv,
                                                          .out = acts->attn,
                                                          .logsum = acts->logsum,
                                                          .out_grad = gpt->branch_grad,
                                                          .qkv_grad = gpt->wide_grad };
    linear_backward(gpt, layer, ATTN_PROJ_WEIGHT,
                    (struct kernels_matmul_backward){ .in = acts->attn,
                                                      .out_grad = gpt->stream_grad,
                                                      .in_grad = gpt->branch_grad });
    gpt->kernels->attention_backward(gpt->device, &attention);
    linear_backward(gpt, layer, QKV_WEIGHT,
                    (struct kernels_matmul_backward){ .in = acts->ln1,
                                                      .out_grad = gpt->wide_grad,
                                                      .in_grad = gpt->branch_grad });
    norm_backward(gpt, acts->in, layer_tensor(gpt, layer, LN1_WEIGHT), acts->mean1, acts->rstd1,
                  true);
}

static void embedding_backward(const struct gpt *gpt)
{
    gpt->kernels->embedding_backward(
        gpt->device, &(struct kernels_embedding_backward){
                         .batch_rows = gpt->batch_rows,
                         .context = gpt->config.context,
                         .width = gpt->config.width,
                         .vocab_count = gpt->config.vocab_count,
                         .tokens = gpt->tokens,
                         .out_grad = gpt->stream_grad,
                         .token_weight_grad = grad_of(gpt, &gpt->tensors[WTE]),
                         .position_weight_grad = grad_of(gpt, &gpt->tensors[WPE]) });
}

/* First parameter of a layer; of the embeddings for -1; the end for layers. */
static int64_t layer_begin(const struct gpt *gpt, int layer)
{
    if (layer < 0) return 0;
    if (layer == gpt->config.layers) return gpt->param_count;
    return gpt->tensors[LAYERS_FROM + layer * LAYER_TENSORS].offset;
}

/* Tells that a layer's gradients are final; the last layer's range includes the final norm. */
static void tell_ready(const struct gpt *gpt, int layer, gpt_grad_ready_fn ready, void *context)
{
    if (ready == NULL) return;
    int64_t begin = layer_begin(gpt, layer);
    ready(context, begin, layer_begin(gpt, layer + 1) - begin);
}

enum err gpt_backward(struct gpt *gpt, gpt_grad_ready_fn grad_ready, void *context,
                      struct error *error)
{
    check(gpt->forward_done);
    gpt->forward_done = false;
    head_backward(gpt);
    for (int layer = gpt->config.layers - 1; layer >= 0; layer--) {
        mlp_backward(gpt, layer);
        attention_backward(gpt, layer);
        tell_ready(gpt, layer, grad_ready, context);
    }
    embedding_backward(gpt);
    tell_ready(gpt, -1, grad_ready, context);
    return gpt->kernels->sync(gpt->device, error);
}

int64_t gpt_param_count(const struct gpt *gpt)
{
    return gpt->param_count;
}

int gpt_tensor_count(const struct gpt *gpt)
{
    return gpt->tensor_count;
}

const struct gpt_tensor *gpt_tensor_at(const struct gpt *gpt, int index)
{
    check(index >= 0);
    check(index < gpt->tensor_count);
    return &gpt->tensors[index];
}

float *gpt_params(struct gpt *gpt)
{
    return gpt->params;
}

float *gpt_grads(struct gpt *gpt)
{
    return gpt->grads;
}

kernels_real *gpt_weight_copy(struct gpt *gpt, int64_t offset)
{
    if (gpt->type == KERNELS_FP32) return NULL;
    return (char *)gpt->weights + (size_t)offset * kernels_real_bytes(gpt->type);
}

void gpt_params_changed(struct gpt *gpt)
{
    if (gpt->type != KERNELS_FP32)
        gpt->kernels->round(gpt->device, gpt->weights, gpt->params, gpt->param_count);
}

const struct kernels *gpt_kernels(const struct gpt *gpt)
{
    return gpt->kernels;
}

struct kernels_device *gpt_device(struct gpt *gpt)
{
    return gpt->device;
}

const struct gpt_config *gpt_config_of(const struct gpt *gpt)
{
    return &gpt->config;
}
