/*
 * step_overhead.c - what the host does in a training step on a GPU: time of gpt_forward,
 * gpt_backward and optim_step where the runtime is the stand-in and launches and products return
 * at once, and calls of the allocator from the second step on, of which there must be none.
 * Usage: cuda_bench [check]; with `check` it prints no time and only counts. Status 1: allocations.
 *
 * A launch on a GPU costs the host some microseconds more, which are CUDA's and not ours.
 */
#include "tests/support/standin/cudart.h"
#include "worker/trainer/optim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LAYERS = 12, BATCH_ROWS = 4, CONTEXT = 64, VOCAB = 256, STEPS = 2000, GOAL_US = 200 };

/* ---- the allocator, counted ---- */

static long allocations;

#if defined(COUNT_ALLOCATIONS)
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

void *malloc(size_t bytes)
{
    allocations++;
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    allocations++;
    return __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    allocations++;
    return __libc_realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    allocations++;
    return __libc_memalign(alignment, bytes);
}
#endif

/* ---- the steps ---- */

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void must(enum err rc, const struct error *error)
{
    if (rc == ERR_OK) return;
    fprintf(stderr, "cuda_bench: %s\n", error->text);
    exit(2);
}

static void step(struct gpt *gpt, struct optim *optim, const int32_t *tokens)
{
    struct error error;
    double loss, norm;
    must(gpt_forward(gpt, tokens, tokens + 1, &loss, &error), &error);
    must(gpt_backward(gpt, NULL, NULL, &error), &error);
    must(optim_step(optim, 1e-3, 1.0, &norm, &error), &error);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    static int32_t tokens[BATCH_ROWS * CONTEXT + 1];
    static int64_t ns[STEPS];
    const struct gpt_options options = {
        .config = { LAYERS, 64, 4, CONTEXT, VOCAB },
        .batch_rows = BATCH_ROWS,
        .threads = 1,
        .type = KERNELS_BF16,
        .timeout_ns = NS_PER_S,
        .kernels = kernels_cuda(),
    };
    const struct optim_config adamw = { 0.9, 0.95, 1e-8, 0.1, 1.0 };
    struct gpt *gpt;
    struct optim *optim;
    struct error error;
    bool check_only = argc > 1 && strcmp(argv[1], "check") == 0;
    if (setenv("PENSTOCK_FAKE_KERNELS", "none", 1) != 0) return 2;
    standin_reset();
    must(gpt_create(&options, &gpt, &error), &error);
    must(gpt_init(gpt, 1, &error), &error);
    must(optim_create(&adamw, gpt, &optim, &error), &error);
#if defined(COUNT_ALLOCATIONS)
    check(allocations > 0); /* or they are not counted at all */
#endif
    step(gpt, optim, tokens);
    long launches_before = standin_launches(), allocations_before = allocations;
    int steps = check_only ? 10 : STEPS;
    for (int i = 0; i < steps; i++) {
        int64_t start = now_ns();
        step(gpt, optim, tokens);
        ns[i] = now_ns() - start;
    }
    long made = allocations - allocations_before;
    long launches = (standin_launches() - launches_before) / steps;
    qsort(ns, (size_t)steps, sizeof(ns[0]), by_size);
    printf("host work of a step: %d layers, %ld launches\n", (int)LAYERS, launches);
    if (!check_only)
        printf("  time: median %.1f us, fastest %.1f us (goal: at most %d)\n",
               (double)ns[steps / 2] / 1e3, (double)ns[0] / 1e3, (int)GOAL_US);
    printf("  allocations after the first step: %ld (goal: 0)\n", made);
    optim_destroy(optim);
    gpt_destroy(gpt);
    return made == 0 ? 0 : 1;
}
