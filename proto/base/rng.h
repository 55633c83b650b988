/*
 * rng.h - seeded random numbers that are the same on every machine: xoshiro256** (Blackman and
 * Vigna 2018), seeded through splitmix64. Its state is 32 bytes and goes into checkpoints as it
 * is.
 */
#ifndef PROTO_BASE_RNG_H
#define PROTO_BASE_RNG_H

#include "proto/base/defs.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rng {
    uint64_t state[4];
};

struct rng rng_of(uint64_t seed);
uint64_t rng_u64(struct rng *rng);

/* Uniform in [0, bound), without bias. bound >= 1. */
uint64_t rng_below(struct rng *rng, uint64_t bound);

/* Uniform in [0, 1) with 24 random bits; standard normal (Box-Muller, two draws a number). */
float rng_float(struct rng *rng);
float rng_normal(struct rng *rng);

#ifdef __cplusplus
}
#endif

#endif
