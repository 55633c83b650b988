/*
 * train_losses.c - trains the built-in model and writes down everything that another
 * implementation needs to do the same: see torch_reference.py.
 *
 * Usage: train_losses TEXT DIR STEPS [THREADS]
 * Writes to DIR, which exists: config.txt (name and value a line), tensors.txt (name, rows,
 * columns, offset a line; columns 0 for a vector), weights.f32 (the initial parameters),
 * batches.i32 (for each step BATCH * (CONTEXT + 1) tokens), losses.txt (one a line). Numbers are
 * in the machine's byte order. Prints the time of a step.
 */
#include "kernels/kernels.h"
#include "proto/base/rng.h"
#include "worker/trainer/gpt.h"
#include "worker/trainer/optim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 8, CONTEXT = 128, TEXT_MAX = 1 << 24, STEPS_MAX = 100000 };

static const struct gpt_config config = {
    .layers = 4, .width = 128, .heads = 4, .context = CONTEXT, .vocab_count = 256
};
static const struct optim_config adamw = {
    .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1, .clip_norm = 1.0
};

never_returns static void fail(const char *what, const char *detail)
{
    fprintf(stderr, "train_losses: %s%s\n", what, detail);
    exit(1);
}

static FILE *open_in(const char *dir, const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL) fail("cannot write ", path);
    return file;
}

static void close_file(FILE *file)
{
    if (ferror(file) != 0 || fclose(file) != 0) fail("cannot write all of a file", "");
}

static size_t read_text(const char *path, unsigned char *text)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail("cannot read ", path);
    size_t bytes = fread(text, 1, TEXT_MAX, file);
    (void)fclose(file);
    if (bytes < CONTEXT + 2) fail("too short: ", path);
    return bytes;
}

static void write_config(const char *dir, const struct optim_schedule *s)
{
    FILE *file = open_in(dir, "config.txt");
    fprintf(file, "layers %d\nwidth %d\nheads %d\ncontext %d\nvocab %d\nbatch %d\n",
            config.layers, config.width, config.heads, CONTEXT, config.vocab_count, BATCH);
    fprintf(file, "beta1 %.17g\nbeta2 %.17g\nepsilon %.17g\nweight_decay %.17g\nclip %.17g\n",
            adamw.beta1, adamw.beta2, adamw.epsilon, adamw.weight_decay, adamw.clip_norm);
    fprintf(file, "lr %.17g\nmin_ratio %.17g\nwarmup %lld\nsteps %lld\n", s->lr_max,
            s->min_ratio, (long long)s->warmup_steps, (long long)s->total_steps);
    close_file(file);
}

static void write_weights(const char *dir, struct gpt *gpt)
{
    FILE *file = open_in(dir, "tensors.txt");
    for (int i = 0; i < gpt_tensor_count(gpt); i++) {
        const struct gpt_tensor *t = gpt_tensor_at(gpt, i);
        fprintf(file, "%s %lld %lld %lld\n", t->name, (long long)t->shape[0],
                t->dims == 2 ? (long long)t->shape[1] : 0, (long long)t->offset);
    }
    close_file(file);
    file = open_in(dir, "weights.f32");
    (void)fwrite(gpt_params(gpt), sizeof(float), (size_t)gpt_param_count(gpt), file);
    close_file(file);
}

struct batch {
    int32_t windows[BATCH][CONTEXT + 1];
    int32_t tokens[BATCH][CONTEXT];
    int32_t targets[BATCH][CONTEXT];
};

static void draw(struct batch *batch, const unsigned char *text, size_t bytes, struct rng *rng)
{
    for (int row = 0; row < BATCH; row++) {
        size_t at = (size_t)rng_below(rng, bytes - (size_t)CONTEXT);
        for (int i = 0; i <= CONTEXT; i++)
            batch->windows[row][i] = text[at + (size_t)i];
        memcpy(batch->tokens[row], batch->windows[row], sizeof(batch->tokens[row]));
        memcpy(batch->targets[row], batch->windows[row] + 1, sizeof(batch->targets[row]));
    }
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void train(const char *dir, const unsigned char *text, size_t bytes, struct gpt *gpt,
                  const struct optim_schedule *schedule)
{
    static struct batch batch;
    struct error error;
    struct optim *optim;
    struct rng rng = rng_of(3);
    FILE *batches = open_in(dir, "batches.i32");
    FILE *losses = open_in(dir, "losses.txt");
    if (optim_create(&adamw, gpt, &optim, &error) != ERR_OK) fail("", error.text);
    double start = seconds_now();
    for (int64_t step = 1; step <= schedule->total_steps; step++) {
        double loss, norm;
        draw(&batch, text, bytes, &rng);
        (void)fwrite(batch.windows, sizeof(batch.windows), 1, batches);
        if (gpt_forward(gpt, batch.tokens[0], batch.targets[0], &loss, &error) != ERR_OK ||
            gpt_backward(gpt, NULL, NULL, &error) != ERR_OK ||
            optim_step(optim, optim_schedule_lr(schedule, step), 1.0, &norm, &error) != ERR_OK)
            fail("a step failed: ", error.text);
        fprintf(losses, "%.9g\n", loss);
    }
    printf("%.1f ms a step\n", 1e3 * (seconds_now() - start) / (double)schedule->total_steps);
    close_file(batches);
    close_file(losses);
    optim_destroy(optim);
}

int main(int argc, char **argv)
{
    static unsigned char text[TEXT_MAX];
    struct error error;
    struct gpt *gpt;
    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: train_losses TEXT DIR STEPS [THREADS]\n");
        return 2;
    }
    size_t bytes = read_text(argv[1], text);
    long steps = strtol(argv[3], NULL, 10);
    if (steps < 1 || steps > STEPS_MAX) fail("bad number of steps: ", argv[3]);
    const struct optim_schedule schedule = {
        .lr_max = 1e-3, .min_ratio = 0.1, .warmup_steps = steps / 10, .total_steps = steps
    };
    const struct gpt_options options = { .config = config,
                                         .batch_rows = BATCH,
                                         .threads =
                                             argc == 5 ? (int)strtol(argv[4], NULL, 10) : 1,
                                         .kernels = kernels_cpu() };
    if (gpt_create(&options, &gpt, &error) != ERR_OK) fail("", error.text);
    if (gpt_init(gpt, 1, &error) != ERR_OK) fail("", error.text);
    write_config(argv[2], &schedule);
    write_weights(argv[2], gpt);
    train(argv[2], text, bytes, gpt, &schedule);
    gpt_destroy(gpt);
    return 0;
}
