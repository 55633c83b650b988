#include "tests/kernels/reference.h"

#include "proto/base/arena.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void ref_embedding(const struct shape *s, const int32_t *tokens, const double *token_weight,
                   const double *position_weight, double *out)
{
    for (int64_t b = 0; b < s->B; b++)
        for (int64_t t = 0; t < s->T; t++)
            for (int64_t i = 0; i < s->C; i++)
                out[(b * s->T + t) * s->C + i] = token_weight[tokens[b * s->T + t] * s->C + i] +
                                                 position_weight[t * s->C + i];
}

void ref_layernorm(int64_t rows, int64_t width, const double *in, const double *weight,
                   const double *bias, double *out)
{
    for (int64_t row = 0; row < rows; row++) {
        const double *x = in + row * width;
        double mean = 0.0;
        double variance = 0.0;
        for (int64_t i = 0; i < width; i++)
            mean += x[i] / (double)width;
        for (int64_t i = 0; i < width; i++)
            variance += (x[i] - mean) * (x[i] - mean) / (double)width;
        for (int64_t i = 0; i < width; i++)
            out[row * width + i] = (x[i] - mean) / sqrt(variance + 1e-5) * weight[i] + bias[i];
    }
}

void ref_matmul(int64_t rows, int64_t in_width, int64_t out_width, const double *in,
                const double *weight, const double *bias, const double *residual, double *out)
{
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t o = 0; o < out_width; o++) {
            double sum = bias == NULL ? 0.0 : bias[o];
            if (residual != NULL) sum += residual[row * out_width + o];
            for (int64_t i = 0; i < in_width; i++)
                sum += in[row * in_width + i] * weight[o * in_width + i];
            out[row * out_width + o] = sum;
        }
    }
}

double ref_gelu(double x)
{
    const double root_2_over_pi = sqrt(2.0 / acos(-1.0));
    return 0.5 * x * (1.0 + tanh(root_2_over_pi * (x + 0.044715 * x * x * x)));
}

/* One query: the weighted mean of the values up to position t. */
static void attend(const struct shape *s, const double *sequence, int64_t head, int64_t t,
                   double *out, double *logsum)
{
    int64_t width = s->C / s->H;
    int64_t stride = 3 * s->C;
    const double *q = sequence + t * stride + head * width;
    double max = -INFINITY;
    double sum = 0.0;
    double scores[2048];
    check(s->T <= (int64_t)ARRAY_COUNT(scores));
    for (int64_t k = 0; k <= t; k++) {
        const double *key = sequence + k * stride + s->C + head * width;
        scores[k] = 0.0;
        for (int64_t i = 0; i < width; i++)
            scores[k] += q[i] * key[i] / sqrt((double)width);
        max = fmax(max, scores[k]);
    }
    for (int64_t k = 0; k <= t; k++)
        sum += exp(scores[k] - max);
    for (int64_t i = 0; i < width; i++)
        out[i] = 0.0;
    for (int64_t k = 0; k <= t; k++) {
        const double *value = sequence + k * stride + 2 * s->C + head * width;
        for (int64_t i = 0; i < width; i++)
            out[i] += exp(scores[k] - max) / sum * value[i];
    }
    if (logsum != NULL) *logsum = log(sum) + max;
}

void ref_attention(const struct shape *s, const double *qkv, double *out, double *logsum)
{
    for (int64_t b = 0; b < s->B; b++)
        for (int64_t head = 0; head < s->H; head++)
            for (int64_t t = 0; t < s->T; t++)
                attend(s, qkv + b * s->T * 3 * s->C, head, t,
                       out + (b * s->T + t) * s->C + head * (s->C / s->H),
                       logsum == NULL ? NULL : logsum + (b * s->H + head) * s->T + t);
}

double ref_cross_entropy(int64_t rows, int64_t vocab_count, const double *logits,
                         const int32_t *targets, double *losses)
{
    double total = 0.0;
    for (int64_t row = 0; row < rows; row++) {
        const double *x = logits + row * vocab_count;
        double max = -INFINITY;
        double sum = 0.0;
        for (int64_t i = 0; i < vocab_count; i++)
            max = fmax(max, x[i]);
        for (int64_t i = 0; i < vocab_count; i++)
            sum += exp(x[i] - max);
        double loss = log(sum) + max - x[targets[row]];
        if (losses != NULL) losses[row] = loss;
        total += loss;
    }
    return total;
}

static const double *tensor(const struct gpt *gpt, const double *params, int layer,
                            const char *name)
{
    char full[GPT_NAME_BYTES];
    if (layer < 0)
        (void)snprintf(full, sizeof(full), "%s", name);
    else
        (void)snprintf(full, sizeof(full), "h.%d.%s", layer, name);
    for (int i = 0; i < gpt_tensor_count(gpt); i++)
        if (strcmp(gpt_tensor_at(gpt, i)->name, full) == 0)
            return params + gpt_tensor_at(gpt, i)->offset;
    unreachable("a tensor that the model has");
}

static void ref_layer(const struct gpt *gpt, const struct shape *s, const double *params,
                      int layer, double *x, double *a, double *b)
{
    int64_t N = s->B * s->T;
    int64_t C = s->C;
    ref_layernorm(N, C, x, tensor(gpt, params, layer, "ln_1.weight"),
                  tensor(gpt, params, layer, "ln_1.bias"), a);
    ref_matmul(N, C, 3 * C, a, tensor(gpt, params, layer, "attn.qkv.weight"),
               tensor(gpt, params, layer, "attn.qkv.bias"), NULL, b);
    ref_attention(s, b, a, NULL);
    ref_matmul(N, C, C, a, tensor(gpt, params, layer, "attn.proj.weight"),
               tensor(gpt, params, layer, "attn.proj.bias"), x, b);
    memcpy(x, b, (size_t)(N * C) * sizeof(*x));
    ref_layernorm(N, C, x, tensor(gpt, params, layer, "ln_2.weight"),
                  tensor(gpt, params, layer, "ln_2.bias"), a);
    ref_matmul(N, C, 4 * C, a, tensor(gpt, params, layer, "mlp.fc.weight"),
               tensor(gpt, params, layer, "mlp.fc.bias"), NULL, b);
    for (int64_t i = 0; i < 4 * N * C; i++)
        b[i] = ref_gelu(b[i]);
    ref_matmul(N, 4 * C, C, b, tensor(gpt, params, layer, "mlp.proj.weight"),
               tensor(gpt, params, layer, "mlp.proj.bias"), x, a);
    memcpy(x, a, (size_t)(N * C) * sizeof(*x));
}

double ref_gpt_loss(const struct gpt *gpt, int64_t batch_rows, const double *params,
                    const int32_t *tokens, const int32_t *targets)
{
    const struct gpt_config *c = gpt_config_of(gpt);
    const struct shape s = { batch_rows, c->context, c->width, c->heads, c->vocab_count };
    int64_t N = s.B * s.T;
    struct arena arena = { 0 };
    double *x = arena_array(&arena, (size_t)(N * s.C), sizeof(*x));
    double *a = arena_array(&arena, (size_t)(4 * N * s.C), sizeof(*a));
    double *b = arena_array(&arena, (size_t)(4 * N * s.C), sizeof(*b));
    double *logits = arena_array(&arena, (size_t)(N * s.V), sizeof(*logits));
    ref_embedding(&s, tokens, tensor(gpt, params, -1, "wte.weight"),
                  tensor(gpt, params, -1, "wpe.weight"), x);
    for (int layer = 0; layer < c->layers; layer++)
        ref_layer(gpt, &s, params, layer, x, a, b);
    ref_layernorm(N, s.C, x, tensor(gpt, params, -1, "ln_f.weight"),
                  tensor(gpt, params, -1, "ln_f.bias"), a);
    ref_matmul(N, s.C, s.V, a, tensor(gpt, params, -1, "wte.weight"), NULL, NULL, logits);
    double loss = ref_cross_entropy(N, s.V, logits, targets, NULL) / (double)N;
    arena_fini(&arena);
    return loss;
}
