/*
 * twin.h - what the tests of the GPU's operations share: both devices opened for one type, arrays
 * that hold the same numbers on both sides, and comparisons.
 *
 * An array's GPU part begins at any number behind the start of an allocation, and ends where the
 * allocation ends, so that the address sanitizer sees what is read or written beyond; without a
 * sanitizer there are guard bytes on both sides, which must stay as they are.
 *
 * Where PENSTOCK_SHAPES is "small" tests leave out their larger shapes: under the thread
 * sanitizer they would take too long.
 */
#ifndef TESTS_KERNELS_CUDA_TWIN_H
#define TESTS_KERNELS_CUDA_TWIN_H

#include "kernels/cuda/ops.h"
#include "kernels/kernels.h"
#include "proto/base/arena.h"
#include "proto/base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Both devices. The arena and the arrays live as long as they do. */
struct twins {
    enum kernels_type type;      /* of the GPU's kernels_real; the CPU has fp32 */
    int64_t skip;                /* numbers between an allocation's start and the array's */
    const struct kernels *table; /* of the CPU */
    struct kernels_device *cpu, *gpu;
    struct arena arena;
    struct rng rng;
    struct array *arrays; /* newest first */
};

/* Opens both for these shapes, with as much scratch memory as the operations ask for. */
void twins_open(struct twins *twins, enum kernels_type type, int64_t skip,
                const struct kernels_options *shapes);
/* Fails where a guard has changed or the GPU has an error; releases everything. */
void twins_close(struct twins *twins);

/* Calls the body for both types, and for arrays that begin at an allocation's start and three
 * numbers behind it; where shapes are small, for two of these four. */
void for_each_twins(const struct kernels_options *shapes, void (*body)(struct twins *twins));

/* True where larger shapes are left out. */
bool shapes_are_small(void);

/* The same numbers for both. */
struct array {
    struct twins *twins;
    struct array *next;
    enum kernels_type type;
    int64_t count;
    float *cpu;
    void *gpu;
    unsigned char *allocation;
    size_t bytes; /* of the allocation */
};

/* An array of kernels_real, or one of floats, filled with normal numbers times `scale` plus
 * `offset`; the CPU's are rounded as the GPU's are. array_fill makes all of them `value`, a NaN
 * for outputs; array_set changes one. */
struct array *array_of_reals(struct twins *twins, int64_t count, float scale, float offset);
struct array *array_of_floats(struct twins *twins, int64_t count, float scale, float offset);
void array_fill(struct array *array, float value);
void array_set(struct array *array, int64_t index, float value);
/* After the CPU's part was changed by hand: the GPU gets the same. */
void array_upload(struct array *array);
/* What the GPU's part holds now. Owned by the arena. */
float *array_download(const struct array *array);

/* Random tokens on both sides; *gpu is memory of the GPU. */
int32_t *twin_tokens(struct twins *twins, int64_t count, int64_t vocab_count, int32_t **gpu);
/* After the tokens were changed by hand. */
void twin_tokens_upload(struct twins *twins, int32_t *gpu, const int32_t *tokens,
                        int64_t count);

/* Fails unless every |gpu - cpu| <= tolerance (1 + |cpu|), and half a unit in the last place of a
 * bf16 array more; what is not finite on one side must not be on the other. */
void array_compare(const char *what, const struct array *array, double tolerance);

/* Fails unless the GPU's part is just these bits. */
void array_same(const char *what, const struct array *array, const float *want);

#endif
