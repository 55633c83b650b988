/*
 * train_bench.c - how close a training step comes to its own matrix products.
 *
 * In one process and in turn, for one and for two threads: (a) the bound, which is exactly the
 * products of the model's linear layers and head (forward, input gradient, weight gradient) as
 * plain sgemm calls and nothing else, with two threads each product cut in halves; (b) the full
 * step: forward, backward, clipping, AdamW. The products inside attention are left out of the
 * bound, so a ratio of 100 % is out of reach. Prints medians, the best rounds, and the ratios.
 *
 * Usage: train_bench [ROUNDS]   (default 25; a round takes about 0.2 s)
 */
#include "kernels/cpu/pool.h"
#include "kernels/kernels.h"
#include "proto/base/rng.h"
#include "worker/trainer/gpt.h"
#include "worker/trainer/optim.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    LAYERS = 4,
    WIDTH = 128,
    HEADS = 4,
    CONTEXT = 128,
    BATCH = 8,
    VOCAB = 256,
    TOKENS = BATCH * CONTEXT,
    ROUNDS_MAX = 1000,
    THREADS_MAX = 2
};

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void fail(const struct error *error)
{
    fprintf(stderr, "train_bench: %s\n", error->text);
    exit(1);
}

/* The model's products: in and out widths, and how often a step has them. */
static const struct {
    int in_width, out_width, count;
} products[] = {
    { WIDTH, 3 * WIDTH, LAYERS }, { WIDTH, WIDTH, LAYERS }, { WIDTH, 4 * WIDTH, LAYERS },
    { 4 * WIDTH, WIDTH, LAYERS }, { WIDTH, VOCAB, 1 },
};

struct bound {
    struct pool *pool;
    int parts;
    int product;              /* index into products */
    float *in, *weight, *out; /* large enough for every product */
    float *in_grad, *weight_grad;
};

static float *random_floats(int64_t count)
{
    float *values = malloc((size_t)count * sizeof(float));
    struct rng rng = rng_of((uint64_t)count);
    check(values != NULL);
    for (int64_t i = 0; i < count; i++)
        values[i] = 0.02f * rng_normal(&rng);
    return values;
}

static void bound_part(void *context, int part, int thread)
{
    (void)thread;
    const struct bound *b = context;
    int in = products[b->product].in_width;
    int out = products[b->product].out_width;
    int rows = TOKENS / b->parts;
    int outs = out / b->parts;
    int64_t row = (int64_t)part * rows;
    int64_t first = (int64_t)part * outs;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, out, in, 1.0f, b->in + row * in,
                in, b->weight, in, 0.0f, b->out + row * out, out);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, in, out, 1.0f,
                b->in_grad + row * out, out, b->weight, in, 0.0f, b->out + row * in, in);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, outs, in, TOKENS, 1.0f,
                b->in_grad + first, out, b->in, in, 0.0f, b->weight_grad + first * in, in);
}

static double bound_run(struct bound *b)
{
    double start = seconds_now();
    for (b->product = 0; b->product < (int)ARRAY_COUNT(products); b->product++)
        for (int i = 0; i < products[b->product].count; i++)
            pool_run(b->pool, bound_part, b, b->parts);
    return seconds_now() - start;
}

static void bound_open(struct bound *b, int threads)
{
    struct error error;
    const int64_t most = (int64_t)TOKENS * 4 * WIDTH;
    *b = (struct bound){ .parts = threads,
                         .in = random_floats(most),
                         .weight = random_floats(4 * WIDTH * WIDTH),
                         .out = random_floats(most),
                         .in_grad = random_floats(most),
                         .weight_grad = random_floats(4 * WIDTH * WIDTH) };
    if (pool_create(threads, &b->pool, &error) != ERR_OK) fail(&error);
}

static void bound_close(struct bound *b)
{
    pool_destroy(b->pool);
    free(b->in);
    free(b->weight);
    free(b->out);
    free(b->in_grad);
    free(b->weight_grad);
}

struct model {
    struct gpt *gpt;
    struct optim *optim;
    int32_t text[TOKENS + 1];
};

static void model_open(struct model *m, int threads)
{
    struct error error;
    const struct gpt_options options = {
        .config = { .layers = LAYERS,
                    .width = WIDTH,
                    .heads = HEADS,
                    .context = CONTEXT,
                    .vocab_count = VOCAB },
        .batch_rows = BATCH,
        .threads = threads,
        .kernels = kernels_cpu(),
    };
    const struct optim_config adamw = {
        .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1, .clip_norm = 1.0
    };
    struct rng rng = rng_of(7);
    if (gpt_create(&options, &m->gpt, &error) != ERR_OK) fail(&error);
    if (gpt_init(m->gpt, 1, &error) != ERR_OK) fail(&error);
    if (optim_create(&adamw, m->gpt, &m->optim, &error) != ERR_OK) fail(&error);
    for (int i = 0; i <= TOKENS; i++)
        m->text[i] = (int32_t)rng_below(&rng, VOCAB);
}

/* Takes the times of forward, backward and optimizer; returns their sum. */
static double model_step(struct model *m, double parts[3])
{
    struct error error;
    double loss, norm;
    double start = seconds_now();
    if (gpt_forward(m->gpt, m->text, m->text + 1, &loss, &error) != ERR_OK) fail(&error);
    double forward = seconds_now();
    if (gpt_backward(m->gpt, NULL, NULL, &error) != ERR_OK) fail(&error);
    double backward = seconds_now();
    if (optim_step(m->optim, 1e-4, 1.0, &norm, &error) != ERR_OK) fail(&error);
    double end = seconds_now();
    parts[0] = forward - start;
    parts[1] = backward - forward;
    parts[2] = end - backward;
    return end - start;
}

static void model_close(struct model *m)
{
    optim_destroy(m->optim);
    gpt_destroy(m->gpt);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

struct series {
    double seconds[ROUNDS_MAX];
    double median, best;
};

static void summarize(struct series *s, int rounds)
{
    qsort(s->seconds, (size_t)rounds, sizeof(double), compare);
    s->median = s->seconds[rounds / 2];
    s->best = s->seconds[0];
}

static struct series bounds[THREADS_MAX], steps[THREADS_MAX], phases[THREADS_MAX][3];

static void report(int rounds)
{
    static const char *const phase_names[] = { "forward", "backward", "optimizer" };
    printf(
        "layers %d, width %d, heads %d, context %d, batch %d, vocabulary %d, fp32; %d rounds\n",
        LAYERS, WIDTH, HEADS, CONTEXT, BATCH, VOCAB, rounds);
    printf(
        "threads  step ms (best)   tokens/s (best)  bound tokens/s (best)  ratio (of bests)\n");
    for (int t = 0; t < THREADS_MAX; t++) {
        struct series *step = &steps[t];
        struct series *bound = &bounds[t];
        summarize(step, rounds);
        summarize(bound, rounds);
        printf("%7d  %6.1f (%5.1f)  %8.0f (%6.0f)  %8.0f (%6.0f)     %12.1f %% (%.1f %%)\n",
               t + 1, 1e3 * step->median, 1e3 * step->best, TOKENS / step->median,
               TOKENS / step->best, TOKENS / bound->median, TOKENS / bound->best,
               100 * bound->median / step->median, 100 * bound->best / step->best);
    }
    printf("two threads over one: %.2f (of bests %.2f)\n", steps[0].median / steps[1].median,
           steps[0].best / steps[1].best);
    for (int t = 0; t < THREADS_MAX; t++) {
        printf("%d thread%s, median ms:", t + 1, t == 0 ? "" : "s");
        for (int phase = 0; phase < 3; phase++) {
            summarize(&phases[t][phase], rounds);
            printf(" %s %.2f", phase_names[phase], 1e3 * phases[t][phase].median);
        }
        printf("\n");
    }
}

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 25;
    if (rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "train_bench: rounds must be 1 to %d\n", ROUNDS_MAX);
        return 2;
    }
    static struct bound bound[THREADS_MAX];
    static struct model model[THREADS_MAX];
    for (int t = 0; t < THREADS_MAX; t++) {
        model_open(&model[t], t + 1);
        bound_open(&bound[t], t + 1);
    }
    for (long round = -2; round < rounds; round++) { /* two rounds warm up */
        for (int t = 0; t < THREADS_MAX; t++) {
            double parts[3];
            double bound_seconds = bound_run(&bound[t]);
            double step_seconds = model_step(&model[t], parts);
            if (round < 0) continue;
            bounds[t].seconds[round] = bound_seconds;
            steps[t].seconds[round] = step_seconds;
            for (int phase = 0; phase < 3; phase++)
                phases[t][phase].seconds[round] = parts[phase];
        }
    }
    report((int)rounds);
    for (int t = 0; t < THREADS_MAX; t++) {
        bound_close(&bound[t]);
        model_close(&model[t]);
    }
    return 0;
}
