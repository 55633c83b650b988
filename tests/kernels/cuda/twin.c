#include "tests/kernels/cuda/twin.h"

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
enum { GUARD_BYTES = 0 }; /* the sanitizer has its own behind each block */
#else
enum { GUARD_BYTES = 64 };
#endif
enum { GUARD = 0xa5 };

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

/* To nearest, ties to even; written apart from the kernels' way of doing it. */
static uint16_t bf16_of(float value)
{
    uint32_t bits = bits_of(value);
    if (isnan(value)) return (uint16_t)(bits >> 16 | 0x40);
    uint32_t lower = bits & 0xffff, upper = bits >> 16;
    bool up = lower > 0x8000 || (lower == 0x8000 && (upper & 1) != 0);
    return (uint16_t)(upper + (up ? 1 : 0));
}

static float rounded(enum kernels_type type, float value)
{
    return type == KERNELS_BF16 ? float_of((uint32_t)bf16_of(value) << 16) : value;
}

bool shapes_are_small(void)
{
    const char *shapes = getenv("PENSTOCK_SHAPES");
    return shapes != NULL && strcmp(shapes, "small") == 0;
}

static size_t scratch_bytes(const struct kernels_options *options)
{
    const size_t needs[] = { cuda_embedding_scratch_bytes(options),
                             cuda_layernorm_scratch_bytes(options),
                             cuda_cross_entropy_scratch_bytes(options),
                             cuda_norm_scratch_bytes(options) };
    size_t most = 1;
    for (size_t i = 0; i < ARRAY_COUNT(needs); i++)
        most = needs[i] > most ? needs[i] : most;
    return most;
}

void twins_open(struct twins *twins, enum kernels_type type, int64_t skip,
                const struct kernels_options *shapes)
{
    struct error error;
    struct kernels_options options = *shapes;
    options.threads = 1;
    *twins =
        (struct twins){ .type = type, .skip = skip, .table = kernels_cpu(), .rng = rng_of(7) };
    options.type = KERNELS_FP32;
    if (twins->table->open(&options, &twins->cpu, &error) != ERR_OK) fail_msg("%s", error.text);
    options.type = type;
    enum err rc = cuda_device_open(&options, scratch_bytes(&options), &twins->gpu, &error);
    if (rc != ERR_OK) fail_msg("%s", error.text);
}

static void assert_guarded(const struct array *array)
{
    size_t real_bytes = kernels_real_bytes(array->type);
    size_t first = (size_t)((unsigned char *)array->gpu - array->allocation);
    size_t end = first + (size_t)array->count * real_bytes;
    unsigned char *bytes = arena_alloc(&array->twins->arena, array->bytes + 1);
    cuda_device_download(array->twins->gpu, bytes, array->allocation, array->bytes);
    for (size_t i = 0; i < array->bytes; i++) {
        if ((i < first || i >= end) && bytes[i] != GUARD)
            fail_msg("byte %zu of an array at %zu to %zu was written", i, first, end);
    }
}

void twins_close(struct twins *twins)
{
    struct error error;
    for (struct array *array = twins->arrays; array != NULL; array = array->next) {
        assert_guarded(array);
        cuda_device_release(twins->gpu, array->allocation);
    }
    if (cuda_device_sync(twins->gpu, &error) != ERR_OK) fail_msg("%s", error.text);
    cuda_device_close(twins->gpu);
    twins->table->close(twins->cpu);
    arena_fini(&twins->arena);
}

void for_each_twins(const struct kernels_options *shapes, void (*body)(struct twins *twins))
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        for (int64_t skip = 0; skip <= 3; skip += 3) {
            struct twins twins;
            if (shapes_are_small() && (bf16 != 0) == (skip != 0)) continue;
            twins_open(&twins, bf16 ? KERNELS_BF16 : KERNELS_FP32, skip, shapes);
            body(&twins);
            twins_close(&twins);
        }
    }
}

static struct array *array_new(struct twins *twins, enum kernels_type type, int64_t count,
                               float scale, float offset)
{
    struct error error;
    struct array *array = arena_alloc(&twins->arena, sizeof(*array));
    size_t real_bytes = kernels_real_bytes(type);
    void *allocation;
    *array = (struct array){ .twins = twins, .type = type, .count = count };
    array->bytes = (size_t)(count + twins->skip) * real_bytes + GUARD_BYTES;
    array->cpu = arena_array(&twins->arena, (size_t)count + 1, sizeof(float));
    unsigned char *guard = arena_alloc(&twins->arena, array->bytes + 1);
    memset(guard, GUARD, array->bytes);
    if (cuda_device_alloc(twins->gpu, array->bytes, &allocation, &error) != ERR_OK)
        fail_msg("%s", error.text);
    cuda_device_upload(twins->gpu, allocation, guard, array->bytes);
    array->allocation = allocation;
    array->gpu = array->allocation + (size_t)twins->skip * real_bytes;
    array->next = twins->arrays;
    twins->arrays = array;
    for (int64_t i = 0; i < count; i++)
        array->cpu[i] = offset + scale * rng_normal(&twins->rng);
    array_upload(array);
    return array;
}

struct array *array_of_reals(struct twins *twins, int64_t count, float scale, float offset)
{
    return array_new(twins, twins->type, count, scale, offset);
}

struct array *array_of_floats(struct twins *twins, int64_t count, float scale, float offset)
{
    return array_new(twins, KERNELS_FP32, count, scale, offset);
}

void array_fill(struct array *array, float value)
{
    for (int64_t i = 0; i < array->count; i++)
        array->cpu[i] = value;
    array_upload(array);
}

void array_set(struct array *array, int64_t index, float value)
{
    array->cpu[index] = value;
    array_upload(array);
}

void array_upload(struct array *array)
{
    size_t count = (size_t)array->count;
    uint16_t *halves = arena_array(&array->twins->arena, count + 1, sizeof(*halves));
    for (size_t i = 0; i < count; i++) {
        array->cpu[i] = rounded(array->type, array->cpu[i]);
        halves[i] = bf16_of(array->cpu[i]);
    }
    bool narrow = array->type == KERNELS_BF16;
    cuda_device_upload(array->twins->gpu, array->gpu,
                       narrow ? (const void *)halves : (const void *)array->cpu,
                       count * kernels_real_bytes(array->type));
}

float *array_download(const struct array *array)
{
    size_t count = (size_t)array->count;
    struct arena *arena = &array->twins->arena;
    float *floats = arena_array(arena, count + 1, sizeof(*floats));
    uint16_t *halves = arena_array(arena, count + 1, sizeof(*halves));
    bool narrow = array->type == KERNELS_BF16;
    cuda_device_download(array->twins->gpu, narrow ? (void *)halves : (void *)floats,
                         array->gpu, count * kernels_real_bytes(array->type));
    for (size_t i = 0; narrow && i < count; i++)
        floats[i] = float_of((uint32_t)halves[i] << 16);
    return floats;
}

int32_t *twin_tokens(struct twins *twins, int64_t count, int64_t vocab_count, int32_t **gpu)
{
    struct array *array = array_new(twins, KERNELS_FP32, count, 0.0f, 0.0f);
    int32_t *tokens = arena_array(&twins->arena, (size_t)count + 1, sizeof(*tokens));
    for (int64_t i = 0; i < count; i++)
        tokens[i] = (int32_t)rng_below(&twins->rng, (uint64_t)vocab_count);
    *gpu = array->gpu;
    twin_tokens_upload(twins, *gpu, tokens, count);
    return tokens;
}

void twin_tokens_upload(struct twins *twins, int32_t *gpu, const int32_t *tokens, int64_t count)
{
    cuda_device_upload(twins->gpu, gpu, tokens, (size_t)count * sizeof(*tokens));
}

void array_compare(const char *what, const struct array *array, double tolerance)
{
    const float *gpu = array_download(array);
    if (array->type == KERNELS_BF16) tolerance += 1.0 / 256.0; /* half a unit */
    for (int64_t i = 0; i < array->count; i++) {
        double want = (double)array->cpu[i], got = (double)gpu[i];
        if (!isfinite(want) && !isfinite(got)) continue;
        if (!(fabs(got - want) <= tolerance * (1.0 + fabs(want))))
            fail_msg("%s[%lld] of %lld is %.9g, not %.9g", what, (long long)i,
                     (long long)array->count, got, want);
    }
}

void array_same(const char *what, const struct array *array, const float *want)
{
    const float *gpu = array_download(array);
    for (int64_t i = 0; i < array->count; i++) {
        if (bits_of(gpu[i]) != bits_of(want[i]))
            fail_msg("%s[%lld] is %.9g once and %.9g then", what, (long long)i, (double)want[i],
                     (double)gpu[i]);
    }
}
