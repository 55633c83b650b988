/*
 * support.h - what the kernel tests share: a run over all builds, thread counts and shapes,
 * random arrays that float and double hold alike, and comparisons.
 */
#ifndef TESTS_KERNELS_SUPPORT_H
#define TESTS_KERNELS_SUPPORT_H

#include "kernels/kernels.h"
#include "proto/base/arena.h"
#include "proto/base/rng.h"
#include "tests/kernels/reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* One opened device and the shapes of the case. The arena lives as long as the case. */
struct fixture {
    const struct kernels *kernels;
    struct kernels_device *device;
    struct shape shape;
    int64_t rows; /* B * T */
    struct arena arena;
    struct rng rng;     /* the same values for every build and number of threads */
    struct rng sampler; /* others for each */
};

/* Calls the body for every build of the CPU table, for 1, 2 and 3 threads and for shapes that
 * are multiples of nothing, each time with the same random numbers for the same shape. */
void for_each_case(void (*body)(struct fixture *f));

/* The same for one shape. */
void for_each_device(const struct shape *shape, void (*body)(struct fixture *f));

/* A random array as the kernels see it and, in double, as the references see it. */
struct twin {
    int64_t count;
    float *f;
    double *d;
};

/* Normal numbers times `scale` plus `offset`; and zeros. */
struct twin twin_random(struct fixture *f, int64_t count, float scale, float offset);
float *floats_new(struct fixture *f, int64_t count);
double *doubles_new(struct fixture *f, int64_t count);
int32_t *tokens_new(struct fixture *f, int64_t count, int64_t vocab_count);

/* Fails unless every |got - want| <= tolerance * (1 + |want|). */
void assert_floats(const char *what, const float *got, const double *want, int64_t count,
                   double tolerance);

/* Fails unless both arrays hold the same bits. */
void assert_same_bits(const char *what, const float *a, const float *b, int64_t count);

/* Compares the gradient `grad` of objective with respect to x.d, which it changes and restores,
 * with central differences at every index, or at random ones of a long array. */
typedef double (*objective_fn)(void *context);
void assert_gradient(struct fixture *f, const char *what, const struct twin *x,
                     const float *grad, objective_fn objective, void *context);

/* Sum of a[i] * b[i]: with a random b it makes one number of an output. */
double weighted_sum(const double *a, const double *b, int64_t count);

#endif
