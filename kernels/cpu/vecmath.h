/*
 * vecmath.h - an exponential and a maximum that the compilers can put into vector loops.
 */
#ifndef KERNELS_CPU_VECMATH_H
#define KERNELS_CPU_VECMATH_H

#include <stdint.h>

union float_bits {
    float value;
    uint32_t bits;
};

enum {
    BITS_OF_87 = 0x42ae0000,   /* 87.0f */
    BITS_OF_9_875 = 0x411e0000 /* 9.875f */
};

/* x with its magnitude held at the float whose bits are `limit`; a NaN becomes that too. It is
 * done on the bits because gcc turns a comparison of floats into several paths and then
 * computes all of them, divisions included. */
static inline float clamp_magnitude(float x, int32_t limit)
{
    union float_bits y = { .value = x };
    int32_t magnitude = (int32_t)(y.bits & 0x7fffffffu);
    magnitude = magnitude < limit ? magnitude : limit;
    y.bits = (y.bits & 0x80000000u) | (uint32_t)magnitude;
    return y.value;
}

/* x, but not below the negative float whose bits are `limit`; a NaN may become that too. Negative
 * floats have the larger bits, and the more so the lower they are. */
static inline float clamp_below(float x, uint32_t limit)
{
    union float_bits y = { .value = x };
    y.bits = y.bits < limit ? y.bits : limit;
    return y.value;
}

/* exp(x) for |x| <= 87, where results are normal numbers. Relative error below 5e-7 with fused
 * multiply-add; without, up to 5e-6 at the ends of the range and below 5e-7 near zero.
 *
 * exp(x) = 2^n * exp(r) with n the nearest integer to x / ln 2, and a Taylor polynomial for
 * |r| <= ln 2 / 2: its first missing term is 5e-9. Adding 1.5 * 2^23 rounds to an integer and
 * leaves it in the low bits of the sum; 127 more is the bias of an exponent. This holds because
 * the compiler may not reorder sums. Nothing branches, so loops vectorize. */
static inline float exp_in_range(float x)
{
    const float round_and_bias = 12582912.0f + 127.0f;
    const union float_bits shifted = { .value = x * 1.44269504f + round_and_bias };
    const union float_bits power = { .bits = shifted.bits << 23 };
    const float n = shifted.value - round_and_bias;
    const float r = x - n * 0.693147181f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * power.value;
}

/* The same for every x: finite ones are clamped to [-87, 87]; infinities and NaN give NaN,
 * since x - x then is NaN and otherwise zero. */
static inline float exp_vec(float x)
{
    return exp_in_range(clamp_magnitude(x, BITS_OF_87)) + (x - x);
}

/* Bits of a float such that integers compare as the floats do; its own inverse. */
static inline int32_t ordered_bits(int32_t bits)
{
    return bits ^ (int32_t)((uint32_t)(bits >> 31) >> 1);
}

/* The largest of count >= 1 values; of a NaN among them nothing is promised. Compares integers,
 * since clang 14 makes no vector loop of a float maximum. */
static inline float max_of(const float *values, int64_t count)
{
    int32_t best = INT32_MIN;
#pragma omp simd reduction(max : best)
    for (int64_t i = 0; i < count; i++) {
        const union float_bits x = { .value = values[i] };
        const int32_t order = ordered_bits((int32_t)x.bits);
        best = order > best ? order : best;
    }
    const union float_bits result = { .bits = (uint32_t)ordered_bits(best) };
    return result.value;
}

#endif
