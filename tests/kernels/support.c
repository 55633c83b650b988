#include "tests/kernels/support.h"

enum { SAMPLES = 48 };

static const struct shape shapes[] = {
    { 1, 1, 1, 1, 1 },    { 3, 7, 10, 2, 11 },    { 2, 65, 24, 3, 37 },
    { 1, 130, 32, 1, 7 }, { 2, 64, 33, 11, 150 },
};

static void run_case(const struct kernels *kernels, const struct shape *s, int threads,
                     int build, void (*body)(struct fixture *f))
{
    struct error error;
    const struct kernels_options options = { .threads = threads,
                                             .batch_rows = s->B,
                                             .context = s->T,
                                             .width = s->C,
                                             .heads = s->H,
                                             .vocab_count = s->V };
    struct fixture f = {
        .kernels = kernels, .shape = *s, .rows = s->B * s->T, .rng = rng_of((uint64_t)s->C)
    };
    f.sampler = rng_of((uint64_t)threads * KERNELS_BUILDS_MAX + (uint64_t)build);
    assert_int_equal(kernels->open(&options, &f.device, &error), ERR_OK);
    body(&f);
    kernels->close(f.device);
    arena_fini(&f.arena);
}

void for_each_device(const struct shape *shape, void (*body)(struct fixture *f))
{
    const struct kernels *builds[KERNELS_BUILDS_MAX];
    int count = kernels_cpu_builds(builds);
    assert_in_range(count, 1, KERNELS_BUILDS_MAX);
    for (int build = 0; build < count; build++)
        for (int threads = 1; threads <= 3; threads++)
            run_case(builds[build], shape, threads, build, body);
}

void for_each_case(void (*body)(struct fixture *f))
{
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++)
        for_each_device(&shapes[i], body);
}

float *floats_new(struct fixture *f, int64_t count)
{
    return arena_array(&f->arena, (size_t)count, sizeof(float));
}

double *doubles_new(struct fixture *f, int64_t count)
{
    return arena_array(&f->arena, (size_t)count, sizeof(double));
}

int32_t *tokens_new(struct fixture *f, int64_t count, int64_t vocab_count)
{
    int32_t *tokens = arena_array(&f->arena, (size_t)count, sizeof(*tokens));
    for (int64_t i = 0; i < count; i++)
        tokens[i] = (int32_t)rng_below(&f->rng, (uint64_t)vocab_count);
    return tokens;
}

struct twin twin_random(struct fixture *f, int64_t count, float scale, float offset)
{
    struct twin twin = { count, floats_new(f, count), doubles_new(f, count) };
    for (int64_t i = 0; i < count; i++) {
        twin.f[i] = offset + scale * rng_normal(&f->rng);
        twin.d[i] = (double)twin.f[i];
    }
    return twin;
}

void assert_floats(const char *what, const float *got, const double *want, int64_t count,
                   double tolerance)
{
    for (int64_t i = 0; i < count; i++) {
        double off = fabs((double)got[i] - want[i]);
        if (!(off <= tolerance * (1.0 + fabs(want[i]))))
            fail_msg("%s[%lld] is %.9g, not %.9g", what, (long long)i, (double)got[i], want[i]);
    }
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

void assert_same_bits(const char *what, const float *a, const float *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (bits_of(a[i]) != bits_of(b[i]))
            fail_msg("%s[%lld] is %.9g once and %.9g then", what, (long long)i, (double)a[i],
                     (double)b[i]);
    }
}

static double central_difference(double *x, objective_fn objective, void *context)
{
    const double saved = *x;
    const double h = 1e-5 * fmax(1.0, fabs(saved));
    *x = saved + h;
    double above = objective(context);
    *x = saved - h;
    double below = objective(context);
    *x = saved;
    return (above - below) / (2.0 * h);
}

void assert_gradient(struct fixture *f, const char *what, const struct twin *x,
                     const float *grad, objective_fn objective, void *context)
{
    int64_t samples = min_i64(x->count, SAMPLES);
    for (int64_t i = 0; i < samples; i++) {
        int64_t at =
            x->count <= SAMPLES ? i : (int64_t)rng_below(&f->sampler, (uint64_t)x->count);
        double want = central_difference(&x->d[at], objective, context);
        if (!(fabs((double)grad[at] - want) <= 5e-5 * (1.0 + fabs(want))))
            fail_msg("gradient of %s[%lld] is %.9g, not %.9g", what, (long long)at,
                     (double)grad[at], want);
    }
}

double weighted_sum(const double *a, const double *b, int64_t count)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}
