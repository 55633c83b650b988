/*
 * vecmath.h - an exponential that the compiler can put into a vector loop.
 *
 * Relative error below 5e-7 with fused multiply-add; without, up to 4e-6 at the ends of the range
 * and below 5e-7 near zero. Finite inputs are clamped to [-87, 87], where results are normal
 * numbers; infinities and NaN give NaN.
 */
#ifndef KERNELS_CPU_VECMATH_H
#define KERNELS_CPU_VECMATH_H

#include <stdint.h>

union float_bits {
    float value;
    uint32_t bits;
};

/* The clamp is done on the bits: gcc turns a comparison of floats into several paths and then
 * computes all of them, divisions included. */
static inline float clamp_87(float x)
{
    const int32_t bits_of_87 = 0x42ae0000;
    union float_bits y = { .value = x };
    int32_t magnitude = (int32_t)(y.bits & 0x7fffffffu);
    magnitude = magnitude < bits_of_87 ? magnitude : bits_of_87;
    y.bits = (y.bits & 0x80000000u) | (uint32_t)magnitude;
    return y.value;
}

/* exp(x) = 2^n * exp(r) with n the nearest integer to x / ln 2, and a Taylor polynomial for
 * |r| <= ln 2 / 2: its first missing term is 5e-9. Adding 1.5 * 2^23 rounds to an integer and
 * leaves it in the low bits of the sum; 127 more is the bias of an exponent. This holds because
 * the compiler may not reorder sums. For the same reason x - x is zero or NaN, and carries a NaN
 * past the clamp. Nothing branches, so loops vectorize. */
static inline float exp_vec(float x)
{
    const float round_and_bias = 12582912.0f + 127.0f;
    const float c = clamp_87(x);
    const union float_bits shifted = { .value = c * 1.44269504f + round_and_bias };
    const union float_bits power = { .bits = shifted.bits << 23 };
    const float n = shifted.value - round_and_bias;
    const float r = c - n * 0.693147181f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * power.value + (x - x);
}

#endif
