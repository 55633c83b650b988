/* Gradients rounded to bf16 and back: every bit pattern's neighbourhood, all tails and
 * alignments, nothing written outside. */
#include "kernels/cuda/bucket.h"
#include "tests/support/standin/cudart.h"

#include "proto/base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT_MAX = 2100, GUARD = 8 };

static const uint16_t guard16 = 0xA5A5;
static const float guard32 = 123.25F;

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* Rounding by the definition: the nearer of the two neighbours, the even one between them. */
static uint16_t rounded(float value)
{
    uint32_t bits = bits_of(value), low = bits & 0xFFFF;
    uint16_t down = (uint16_t)(bits >> 16);
    if (low > 0x8000 || (low == 0x8000 && (down & 1) != 0)) return (uint16_t)(down + 1);
    return down;
}

/* Numbers around ties, of all magnitudes, the infinities and zeros. */
static float sample(struct rng *rng, int64_t index)
{
    static const uint32_t special[] = { 0x00000000, 0x80000000, 0x7F800000, 0xFF800000,
                                        0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001,
                                        0x7F7FFFFF, 0x00000001, 0x00008000, 0x80018000 };
    if (index < (int64_t)ARRAY_COUNT(special)) return float_of(special[index]);
    uint32_t bits = (uint32_t)rng_u64(rng);
    if ((bits & 0x7F800000) == 0x7F800000) bits &= 0xBFFFFFFF; /* no NaN here */
    return float_of(bits);
}

static int64_t count_max(void)
{
    const char *shapes = getenv("PENSTOCK_SHAPES");
    return shapes != NULL && strcmp(shapes, "small") == 0 ? 300 : COUNT_MAX;
}

/* `from` and `to` begin that many numbers behind an aligned address. */
static void check_count(cudaStream_t stream, int64_t count, int from_shift, int to_shift)
{
    struct rng rng = rng_of((uint64_t)count);
    size_t room = (size_t)count + 2 * GUARD;
    float *floats = malloc(room * sizeof(float)), *back = malloc(room * sizeof(float));
    uint16_t *shorts = malloc(room * sizeof(uint16_t));
    assert_non_null(floats);
    assert_non_null(back);
    assert_non_null(shorts);
    for (size_t i = 0; i < room; i++) {
        floats[i] = sample(&rng, (int64_t)i);
        back[i] = guard32;
        shorts[i] = guard16;
    }
    const float *from = floats + from_shift;
    uint16_t *to = shorts + to_shift;
    assert_int_equal(cuda_bucket_round(stream, to, from, count), cudaSuccess);
    assert_int_equal(cuda_bucket_widen(stream, back + from_shift, to, count), cudaSuccess);
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(to[i], rounded(from[i]));
        assert_int_equal(bits_of(back[from_shift + i]), (uint32_t)to[i] << 16);
    }
    for (int64_t i = 0; i < (int64_t)room; i++) {
        if (i < to_shift || i >= to_shift + count) assert_int_equal(shorts[i], guard16);
        if (i < from_shift || i >= from_shift + count) assert_true(back[i] == guard32);
    }
    free(shorts);
    free(back);
    free(floats);
}

static void test_counts_and_alignments(void **unused)
{
    (void)unused;
    cudaStream_t stream;
    const int64_t counts[] = { 0, 1, 2, 3, 4, 5, 7, 31, 257, 1023, 1025, COUNT_MAX };
    assert_int_equal(cudaStreamCreate(&stream), cudaSuccess);
    for (size_t i = 0; i < ARRAY_COUNT(counts) && counts[i] <= count_max(); i++)
        for (int from = 0; from < 5; from++)
            for (int to = 0; to < 5; to++)
                check_count(stream, counts[i], from, to);
    assert_int_equal(cudaStreamDestroy(stream), cudaSuccess);
}

static void test_not_numbers(void **unused)
{
    (void)unused;
    /* Quiet, signalling, negative; and those whose payload is lost by cutting. */
    const uint32_t patterns[] = { 0x7FC00000, 0x7F800001, 0xFFC00000, 0xFF800001,
                                  0x7F80FFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F808000 };
    float from[ARRAY_COUNT(patterns)], back[ARRAY_COUNT(patterns)];
    uint16_t to[ARRAY_COUNT(patterns)];
    for (size_t i = 0; i < ARRAY_COUNT(patterns); i++)
        from[i] = float_of(patterns[i]);
    int64_t count = (int64_t)ARRAY_COUNT(patterns);
    assert_int_equal(cuda_bucket_round(NULL, to, from, count), cudaSuccess);
    assert_int_equal(cuda_bucket_widen(NULL, back, to, count), cudaSuccess);
    for (size_t i = 0; i < ARRAY_COUNT(patterns); i++)
        assert_true(isnan(back[i]));
}

static void test_a_refused_launch_is_told(void **unused)
{
    (void)unused;
    float from[4] = { 1, 2, 3, 4 };
    uint16_t to[4] = { 0 };
    assert_int_equal(setenv("PENSTOCK_FAKE_LAUNCH_ONCE", "2", 1), 0);
    standin_reset();
    assert_int_equal(cuda_bucket_round(NULL, to, from, 4), cudaSuccess);
    assert_int_equal(cuda_bucket_widen(NULL, from, to, 4), cudaErrorInvalidConfiguration);
    assert_int_equal(cuda_bucket_widen(NULL, from, to, 4), cudaSuccess);
    assert_int_equal(unsetenv("PENSTOCK_FAKE_LAUNCH_ONCE"), 0);
    standin_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_and_alignments),
        cmocka_unit_test(test_not_numbers),
        cmocka_unit_test(test_a_refused_launch_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
