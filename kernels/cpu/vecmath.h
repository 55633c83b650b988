/*
 * vecmath.h - an exponential that the compiler can put into a vector loop.
 *
 * Relative error below 3e-7 with fused multiply-add and 4e-6 without, for the whole range.
 * Inputs are clamped to [-87, 88], where results stay normal numbers; NaN stays NaN.
 */
#ifndef KERNELS_CPU_VECMATH_H
#define KERNELS_CPU_VECMATH_H

#include <stdint.h>

/* exp(x) = 2^n * exp(r) with n the nearest integer to x / ln 2, and a Taylor polynomial for
 * |r| <= ln 2 / 2: its first missing term is 5e-9. Nothing branches, so loops vectorize. */
static inline float exp_vec(float x)
{
    float low = x > -87.0f ? x : -87.0f;
    float c = low < 88.0f ? low : 88.0f;
    int32_t n = (int32_t)(c * 1.44269504f + (c < 0.0f ? -0.5f : 0.5f));
    float r = c - (float)n * 0.693147181f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    union {
        uint32_t bits;
        float value;
    } power = { .bits = (uint32_t)(n + 127) << 23 };
    float y = p * power.value;
    return x == x ? y : x;
}

#endif
