/*
 * kernel_times.c - how long each kernel takes, beside the least that the machine allows.
 *
 * The floor of a kernel that moves numbers is its bytes, each read or written once, over the
 * bandwidth of a plain copy; that of a kernel that multiplies is its FLOPs over the rate of the
 * best large product. Both rates are measured first, on the same device. Shapes are those of
 * GPT-2 124M; a row per kernel, the median of rounds.
 *
 * Usage: kernel_times cuda|cpu fp32|bf16 [BATCH_ROWS [CONTEXT]]
 * Prints to stdout; status 1 when the backend is not there.
 */
#include "kernels/kernels.h"
#include "proto/base/rng.h"
#include "proto/base/text.h"
#include "tests/gpu/copy_rate.h"
#include "worker/trainer/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WIDTH = 768,
    HEADS = 12,
    VOCAB = 50304,
    ROUNDS = 11,
    ROUND_NS_MIN = 20000000, /* a round repeats its kernel until it takes this long */
    REPEATS_MAX = 4096
};

struct bench {
    const struct kernels *kernels;
    struct kernels_device *device;
    enum kernels_type type;
    int64_t B, T, N; /* N = B * T */
    double copy_bytes_per_s, flops_per_s;
    /* Device memory, shared by the kernels: [N,V] and [N,4C] of kernels_real, and so on. */
    kernels_real *logits, *wide[3], *narrow[4], *weight;
    float *flat[4], *stats[3];
    int32_t *tokens;
};

static _Noreturn void fail(const char *what, const struct error *error)
{
    fprintf(stderr, "kernel_times: %s: %s\n", what, error->text);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    check(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void sync(struct bench *b)
{
    struct error error = { .code = ERR_OK };
    if (b->kernels->sync(b->device, &error) != ERR_OK) fail("the device", &error);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef void (*call_fn)(struct bench *b);

/* Seconds of one call: median of rounds of as many calls as fill a round. */
static double seconds_of(struct bench *b, call_fn call)
{
    double seconds[ROUNDS];
    int repeats = 1;
    for (;;) { /* also warms up */
        int64_t start_ns = now_ns();
        for (int i = 0; i < repeats; i++)
            call(b);
        sync(b);
        if (now_ns() - start_ns >= ROUND_NS_MIN || repeats >= REPEATS_MAX) break;
        repeats *= 2;
    }
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start_ns = now_ns();
        for (int i = 0; i < repeats; i++)
            call(b);
        sync(b);
        seconds[round] = (double)(now_ns() - start_ns) / (double)NS_PER_S / repeats;
    }
    qsort(seconds, ROUNDS, sizeof(seconds[0]), by_value);
    return seconds[ROUNDS / 2];
}

/* ---- one function a kernel ---- */

static const kernels_real *second_half(const struct bench *b, const kernels_real *from,
                                       int64_t count)
{
    return (const char *)from + (size_t)count * kernels_real_bytes(b->type);
}

static void embedding(struct bench *b)
{
    b->kernels->embedding(b->device,
                          &(struct kernels_embedding){ b->B, b->T, WIDTH, VOCAB, b->tokens,
                                                       b->weight, b->narrow[1], b->narrow[0] });
}

static void embedding_backward(struct bench *b)
{
    b->kernels->embedding_backward(b->device, &(struct kernels_embedding_backward){
                                                  b->B, b->T, WIDTH, VOCAB, b->tokens,
                                                  b->narrow[0], b->flat[0], b->flat[1] });
}

static void layernorm(struct bench *b)
{
    b->kernels->layernorm(
        b->device, &(struct kernels_layernorm){ b->N, WIDTH, b->narrow[0], b->weight,
                                                second_half(b, b->weight, WIDTH), b->narrow[1],
                                                b->stats[0], b->stats[1] });
}

static void layernorm_backward(struct bench *b)
{
    b->kernels->layernorm_backward(b->device, &(struct kernels_layernorm_backward){
                                                  b->N, WIDTH, b->narrow[0], b->weight,
                                                  b->stats[0], b->stats[1], b->narrow[1], true,
                                                  b->narrow[2], b->flat[0], b->flat[1] });
}

static void product(struct bench *b, int64_t in_width, int64_t out_width,
                    const kernels_real *in, const kernels_real *bias,
                    const kernels_real *residual, kernels_real *out, kernels_real *gelu)
{
    b->kernels->matmul(b->device,
                       &(struct kernels_matmul){ b->N, in_width, out_width, in, b->weight, bias,
                                                 residual, out, gelu });
}

static void matmul_qkv(struct bench *b)
{
    product(b, WIDTH, 3 * WIDTH, b->narrow[0], b->weight, NULL, b->wide[0], NULL);
}

static void matmul_proj(struct bench *b)
{
    product(b, WIDTH, WIDTH, b->narrow[0], b->weight, b->narrow[1], b->narrow[2], NULL);
}

static void matmul_fc(struct bench *b)
{
    product(b, WIDTH, 4 * WIDTH, b->narrow[0], b->weight, NULL, b->wide[0], b->wide[1]);
}

static void matmul_mlp_proj(struct bench *b)
{
    product(b, 4 * WIDTH, WIDTH, b->wide[0], b->weight, b->narrow[0], b->narrow[1], NULL);
}

static void matmul_head(struct bench *b)
{
    product(b, WIDTH, VOCAB, b->narrow[0], NULL, NULL, b->logits, NULL);
}

static void gradients(struct bench *b, int64_t in_width, int64_t out_width,
                      const kernels_real *in, const kernels_real *out_grad,
                      const kernels_real *gelu_input, kernels_real *in_grad, bool bias)
{
    b->kernels->matmul_backward(
        b->device, &(struct kernels_matmul_backward){ b->N, in_width, out_width, in, b->weight,
                                                      out_grad, gelu_input, in_grad, b->flat[0],
                                                      bias ? b->flat[1] : NULL });
}

static void matmul_qkv_backward(struct bench *b)
{
    gradients(b, WIDTH, 3 * WIDTH, b->narrow[0], b->wide[0], NULL, b->narrow[1], true);
}

static void matmul_mlp_proj_backward(struct bench *b)
{
    gradients(b, 4 * WIDTH, WIDTH, b->wide[0], b->narrow[0], b->wide[1], b->wide[2], true);
}

static void matmul_head_backward(struct bench *b)
{
    gradients(b, WIDTH, VOCAB, b->narrow[0], b->logits, NULL, b->narrow[1], false);
}

static void attention(struct bench *b)
{
    b->kernels->attention(b->device,
                          &(struct kernels_attention){ b->B, b->T, WIDTH, HEADS, b->wide[0],
                                                       b->narrow[0], b->stats[2] });
}

static void attention_backward(struct bench *b)
{
    b->kernels->attention_backward(
        b->device, &(struct kernels_attention_backward){ b->B, b->T, WIDTH, HEADS, b->wide[0],
                                                         b->narrow[0], b->stats[2],
                                                         b->narrow[1], b->wide[1] });
}

static void gelu(struct bench *b)
{
    b->kernels->gelu(b->device,
                     &(struct kernels_gelu){ 4 * b->N * WIDTH, b->wide[0], b->wide[1] });
}

static void gelu_backward(struct bench *b)
{
    b->kernels->gelu_backward(b->device,
                              &(struct kernels_gelu_backward){ 4 * b->N * WIDTH, b->wide[0],
                                                               b->wide[1], b->wide[2] });
}

static void cross_entropy(struct bench *b)
{
    b->kernels->cross_entropy(
        b->device, &(struct kernels_cross_entropy){ b->N, VOCAB, b->tokens, 1.0f / (float)b->N,
                                                    b->logits, b->stats[0] });
}

static void add(struct bench *b)
{
    b->kernels->add(b->device, b->wide[0], b->wide[1], 4 * b->N * WIDTH);
}

static int64_t flat_count(void)
{
    return (int64_t)VOCAB * WIDTH;
}

static void scale(struct bench *b)
{
    b->kernels->scale(b->device, b->flat[0], 0.999f, flat_count());
}

static void round_copy(struct bench *b)
{
    b->kernels->round(b->device, b->weight, b->flat[0], flat_count());
}

static void sum_squares(struct bench *b)
{
    (void)b->kernels->sum_squares(b->device, b->flat[0], flat_count());
}

static void adamw(struct bench *b)
{
    b->kernels->adamw(b->device, &(struct kernels_adamw){
                                     .count = flat_count(),
                                     .grad = b->flat[0],
                                     .param = b->flat[1],
                                     .weight = b->type == KERNELS_FP32 ? NULL : b->weight,
                                     .moment1 = b->flat[2],
                                     .moment2 = b->flat[3],
                                     .grad_scale = 1.0f,
                                     .beta1 = 0.9f,
                                     .beta2 = 0.95f,
                                     .epsilon = 1e-8f,
                                     .step_size = 1e-6f,
                                     .second_scale = 1.0f,
                                     .decay = 1e-6f });
}

/* ---- the table ---- */

/* Numbers read or written once, in units of kernels_real, of fp32 and of bytes, and products. */
struct row {
    const char *name;
    call_fn call;
    double reals, floats, flops;
};

static size_t rows_of(const struct bench *b, struct row rows[32])
{
    const double N = (double)b->N, C = WIDTH, V = VOCAB, T = (double)b->T;
    const double NC = N * C, flat = (double)flat_count();
    const double touched = N < V ? N : V;        /* rows of the table that a batch can name */
    const double scores = 4.0 * N * T * C / 2.0; /* two products per head, the causal half */
    const struct row table[] = {
        { "embedding", embedding, 2 * NC + T * C, N, 0 },
        { "embedding backward", embedding_backward, NC, 2 * touched * C + T * C, 0 },
        { "layernorm", layernorm, 2 * NC, 2 * N, 0 },
        { "layernorm backward", layernorm_backward, 4 * NC, 2 * N, 0 },
        { "matmul qkv", matmul_qkv, 0, 0, 2 * NC * 3 * C },
        { "matmul proj + residual", matmul_proj, 0, 0, 2 * NC * C },
        { "matmul fc + gelu", matmul_fc, 0, 0, 2 * NC * 4 * C },
        { "matmul mlp proj + residual", matmul_mlp_proj, 0, 0, 2 * NC * 4 * C },
        { "matmul head", matmul_head, 0, 0, 2 * NC * V },
        { "matmul qkv backward", matmul_qkv_backward, 0, 0, 4 * NC * 3 * C },
        { "matmul mlp proj backward + gelu", matmul_mlp_proj_backward, 0, 0, 4 * NC * 4 * C },
        { "matmul head backward", matmul_head_backward, 0, 0, 4 * NC * V },
        { "attention", attention, 0, 0, scores },
        { "attention backward", attention_backward, 0, 0, 2.5 * scores },
        { "gelu", gelu, 2 * 4 * NC, 0, 0 },
        { "gelu backward", gelu_backward, 3 * 4 * NC, 0, 0 },
        { "cross entropy", cross_entropy, 2 * N * V, N, 0 },
        { "add", add, 3 * 4 * NC, 0, 0 },
        { "scale", scale, 0, 2 * flat, 0 },
        { "round", round_copy, flat, flat, 0 },
        { "sum of squares", sum_squares, 0, flat, 0 },
        { "adamw", adamw, b->type == KERNELS_FP32 ? 0 : flat, 7 * flat, 0 },
    };
    _Static_assert(sizeof(table) / sizeof(table[0]) <= 32, "rows fit");
    memcpy(rows, table, sizeof(table));
    return ARRAY_COUNT(table);
}

static void print_row(const struct bench *b, const struct row *row, double seconds)
{
    double bytes =
        row->reals * (double)kernels_real_bytes(b->type) + row->floats * (double)sizeof(float);
    bool moves = row->flops <= 0;
    double floor = moves ? bytes / b->copy_bytes_per_s : row->flops / b->flops_per_s;
    printf("%-34s %10.2f %10.2f %7.1f%%  %s\n", row->name, 1e6 * seconds, 1e6 * floor,
           100.0 * floor / seconds, moves ? "copy" : "product");
    fflush(stdout);
}

/* ---- the device ---- */

static void *memory(struct bench *b, size_t bytes)
{
    struct error error = { .code = ERR_OK };
    void *got = NULL;
    if (b->kernels->alloc(b->device, bytes, &got, &error) != ERR_OK) fail("memory", &error);
    return got;
}

/* Small numbers, not zeros: the power that a chip draws, and so its clock, depends on them. */
static void fill(struct bench *b, void *to, int64_t real_count)
{
    enum { CHUNK = 1 << 20 };
    static float values[CHUNK];
    struct rng rng = rng_of(7);
    float *staged = memory(b, sizeof(values));
    for (int64_t i = 0; i < CHUNK; i++)
        values[i] = 0.02f * rng_normal(&rng);
    b->kernels->upload(b->device, staged, values, sizeof(values));
    for (int64_t at = 0; at < real_count; at += CHUNK)
        b->kernels->round(b->device, (char *)to + (size_t)at * kernels_real_bytes(b->type),
                          staged, min_i64(CHUNK, real_count - at));
    sync(b);
    b->kernels->release(b->device, staged);
}

static kernels_real *reals(struct bench *b, int64_t count)
{
    kernels_real *got = memory(b, (size_t)count * kernels_real_bytes(b->type));
    fill(b, got, count);
    return got;
}

static void plan(struct bench *b)
{
    size_t flat_bytes = (size_t)flat_count() * sizeof(float);
    b->logits = reals(b, b->N * VOCAB);
    for (size_t i = 0; i < ARRAY_COUNT(b->wide); i++)
        b->wide[i] = reals(b, b->N * 4 * WIDTH);
    for (size_t i = 0; i < ARRAY_COUNT(b->narrow); i++)
        b->narrow[i] = reals(b, b->N * WIDTH);
    b->weight = reals(b, flat_count());
    for (size_t i = 0; i < ARRAY_COUNT(b->flat); i++)
        b->flat[i] = memory(b, flat_bytes);
    for (size_t i = 0; i < ARRAY_COUNT(b->stats); i++)
        b->stats[i] = memory(b, (size_t)b->N * HEADS * sizeof(float));
    b->tokens = memory(b, (size_t)b->N * sizeof(int32_t));
    int32_t *tokens = malloc((size_t)b->N * sizeof(int32_t));
    struct rng rng = rng_of(3);
    check(tokens != NULL);
    for (int64_t i = 0; i < b->N; i++)
        tokens[i] = (int32_t)rng_below(&rng, VOCAB);
    b->kernels->upload(b->device, b->tokens, tokens, (size_t)b->N * sizeof(int32_t));
    sync(b);
    free(tokens);
}

/* The CPU's `round` in fp32 is a copy. */
static void copy(struct bench *b)
{
    b->kernels->round(b->device, b->flat[1], b->flat[0], flat_count());
}

static double copy_rate(struct bench *b)
{
#ifdef WITH_CUDA
    if (strcmp(b->kernels->name, "cuda") == 0) return copy_rate_of_gpu();
#endif
    return 2.0 * (double)flat_count() * sizeof(float) / seconds_of(b, copy);
}

static void open_bench(struct bench *b, enum backend_choice choice)
{
    struct error error = { .code = ERR_OK };
    struct backend backend;
    struct kernels_peak peak;
    char name[KERNELS_DETAIL_BYTES];
    if (backend_pick(choice, &backend, &error) != ERR_OK) fail("the backend", &error);
    b->kernels = backend.kernels;
    struct kernels_options options = { .threads = backend_threads(0),
                                       .batch_rows = b->B,
                                       .context = b->T,
                                       .width = WIDTH,
                                       .heads = HEADS,
                                       .vocab_count = VOCAB,
                                       .type = b->type };
    if (b->kernels->open(&options, &b->device, &error) != ERR_OK) fail("the device", &error);
    if (b->kernels->peak(b->device, &peak, &error) != ERR_OK) fail("the product rate", &error);
    b->flops_per_s = peak.flops_per_s;
    b->kernels->describe(b->device, name);
    plan(b);
    b->copy_bytes_per_s = copy_rate(b);
    printf("# %s\n# copy %.0f GB/s, product %.1f TFLOP/s (%s), B %lld, T %lld, C %d, H %d, V "
           "%d, %s\n",
           name, b->copy_bytes_per_s / 1e9, b->flops_per_s / 1e12, peak.source, (long long)b->B,
           (long long)b->T, WIDTH, HEADS, VOCAB, b->type == KERNELS_BF16 ? "bf16" : "fp32");
    printf("%-34s %10s %10s %8s  %s\n", "kernel", "us", "floor us", "of floor", "floor is");
}

static int64_t number(const char *text, int64_t other)
{
    int64_t value;
    if (text == NULL) return other;
    if (text_to_i64(text_of(text), &value) && value >= 1 && value <= 65536) return value;
    fprintf(stderr, "kernel_times: %s is no number from 1 to 65536\n", text);
    exit(2);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: kernel_times cuda|cpu fp32|bf16 [BATCH_ROWS [CONTEXT]]\n");
        return 2;
    }
    struct bench b = { .type = strcmp(argv[2], "bf16") == 0 ? KERNELS_BF16 : KERNELS_FP32,
                       .B = number(argc > 3 ? argv[3] : NULL, 32),
                       .T = number(argc > 4 ? argv[4] : NULL, 1024) };
    struct row rows[32];
    b.N = b.B * b.T;
    open_bench(&b, strcmp(argv[1], "cpu") == 0 ? BACKEND_CPU : BACKEND_CUDA);
    size_t count = rows_of(&b, rows);
    for (size_t i = 0; i < count; i++)
        print_row(&b, &rows[i], seconds_of(&b, rows[i].call));
    b.kernels->close(b.device); /* its memory goes with the process */
    return 0;
}
