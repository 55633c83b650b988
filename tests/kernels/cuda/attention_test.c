/*
 * Attention on the GPU against its twin on the CPU, which gets the same numbers: in bf16 those
 * that rounding has left. Shapes are chosen for both families of kernels, and for tiles that end
 * early. With PENSTOCK_SHAPES=small only the shapes for the thread sanitizer are run.
 */
#include "kernels/cuda/ops.h"
#include "proto/base/rng.h"
#include "tests/kernels/reference.h"
#include "tests/support/standin/cudart.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GUARD_COUNT = 24 };

struct attention_case {
    int64_t B, T, H, D;
};

/* The lengths end within a tile, with it, and one behind it; the widths are those of the tensor
 * cores and others. */
static const struct attention_case cases[] = {
    { 1, 1, 1, 1 },     { 2, 3, 2, 5 },    { 3, 1, 2, 64 },   { 2, 3, 1, 128 },
    { 1, 63, 3, 16 },   { 2, 65, 2, 32 },  { 1, 64, 1, 33 },  { 2, 63, 2, 64 },
    { 1, 65, 3, 64 },   { 1, 128, 1, 64 }, { 2, 129, 2, 64 }, { 1, 200, 2, 64 },
    { 1, 257, 1, 64 },  { 1, 65, 1, 80 },  { 1, 63, 2, 128 }, { 1, 129, 1, 128 },
    { 1, 200, 1, 128 }, { 1, 129, 1, 5 },  { 1, 66, 1, 130 }, { 1, 70, 1, 256 },
};

static const enum kernels_type types[] = { KERNELS_FP32, KERNELS_BF16 };

/* ---- numbers ---- */

static float float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

static uint16_t bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    if (isnan(x)) return 0x7fff;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float *floats_new(int64_t count)
{
    float *values = calloc((size_t)count, sizeof(*values));
    assert_non_null(values);
    return values;
}

/* Normal numbers, as the type can hold them. */
static float *random_new(struct rng *rng, enum kernels_type type, int64_t count, float scale)
{
    float *values = floats_new(count);
    for (int64_t i = 0; i < count; i++) {
        values[i] = rng_normal(rng) * scale;
        if (type == KERNELS_BF16) values[i] = float_of_bits((uint32_t)bf16_of(values[i]) << 16);
    }
    return values;
}

static float worst_error(const float *got, const float *want, int64_t count)
{
    float worst = 0.0f;
    for (int64_t i = 0; i < count; i++) {
        float error = fabsf(got[i] - want[i]) / (1.0f + fabsf(want[i]));
        if (!(error <= worst)) worst = error;
    }
    return worst;
}

/* ---- arrays on the GPU ---- */

/* `count` numbers from element `shift` on; before and behind them lie ones that nobody may
 * touch. */
struct array {
    unsigned char *base;
    enum kernels_type type;
    int64_t shift, count;
};

static size_t array_bytes(const struct array *a)
{
    return (size_t)(a->shift + a->count + GUARD_COUNT) * kernels_real_bytes(a->type);
}

static void *array_at(const struct array *a)
{
    return a->base + (size_t)a->shift * kernels_real_bytes(a->type);
}

/* Filled with the values, or with ones in every bit, which is a NaN. */
static struct array array_new(struct kernels_device *device, enum kernels_type type,
                              int64_t shift, int64_t count, const float *values)
{
    struct array a = { NULL, type, shift, count };
    void *memory;
    struct error error;
    if (cuda_device_alloc(device, array_bytes(&a), &memory, &error) != ERR_OK)
        fail_msg("%s", error.text);
    a.base = memory;
    unsigned char *host = malloc(array_bytes(&a));
    assert_non_null(host);
    memset(host, 0xff, array_bytes(&a));
    for (int64_t i = 0; values != NULL && i < count; i++) {
        uint16_t half = bf16_of(values[i]);
        if (type == KERNELS_BF16)
            memcpy(host + 2 * (shift + i), &half, 2);
        else
            memcpy(host + 4 * (shift + i), &values[i], 4);
    }
    cuda_device_upload(device, memory, host, array_bytes(&a));
    free(host);
    return a;
}

/* The values as floats, owned by the caller; what lies around them must be as it was. */
static float *array_take(struct kernels_device *device, struct array *a)
{
    size_t width = kernels_real_bytes(a->type);
    unsigned char *host = malloc(array_bytes(a));
    assert_non_null(host);
    cuda_device_download(device, host, a->base, array_bytes(a));
    float *values = floats_new(a->count);
    for (int64_t i = 0; i < a->count; i++) {
        uint16_t half;
        memcpy(&half, host + 2 * (a->shift + i), 2);
        if (a->type == KERNELS_BF16)
            values[i] = float_of_bits((uint32_t)half << 16);
        else
            memcpy(&values[i], host + 4 * (a->shift + i), 4);
    }
    for (size_t i = 0; i < array_bytes(a); i++) {
        bool inside =
            i >= (size_t)a->shift * width && i < (size_t)(a->shift + a->count) * width;
        if (!inside && host[i] != 0xff) fail_msg("byte %zu around an array was written", i);
    }
    free(host);
    cuda_device_release(device, a->base);
    return values;
}

/* ---- one case on both sides ---- */

struct results {
    float *out, *logsum, *qkv_grad;
};

static void results_free(struct results *r)
{
    free(r->out);
    free(r->logsum);
    free(r->qkv_grad);
}

static struct kernels_options options_of(const struct attention_case *c, enum kernels_type type)
{
    return (struct kernels_options){ .threads = 1,
                                     .batch_rows = c->B,
                                     .context = c->T,
                                     .width = c->H * c->D,
                                     .heads = c->H,
                                     .vocab_count = 1,
                                     .type = type };
}

static struct kernels_device *gpu_open(const struct attention_case *c, enum kernels_type type)
{
    struct kernels_options options = options_of(c, type);
    struct kernels_device *device = NULL;
    struct error error;
    if (cuda_attention_check(&options, &error) != ERR_OK ||
        cuda_device_open(&options, cuda_attention_scratch_bytes(&options), &device, &error) !=
            ERR_OK)
        fail_msg("%s", error.text);
    return device;
}

/* Forward and backward on the emulated GPU, all arrays `shift` numbers off. */
static struct results gpu_run(const struct attention_case *c, enum kernels_type type,
                              int64_t shift, const float *qkv, const float *out_grad)
{
    struct kernels_device *device = gpu_open(c, type);
    int64_t count = c->B * c->T * c->H * c->D, rows = c->B * c->T * c->H;
    struct array in = array_new(device, type, shift, 3 * count, qkv);
    struct array grad_in = array_new(device, type, shift, count, out_grad);
    struct array out = array_new(device, type, shift, count, NULL);
    struct array logsum = array_new(device, KERNELS_FP32, 1, rows, NULL);
    struct array grad = array_new(device, type, shift, 3 * count, NULL);
    cuda_attention(device, &(struct kernels_attention){ .batch_rows = c->B,
                                                        .context = c->T,
                                                        .width = c->H * c->D,
                                                        .heads = c->H,
                                                        .qkv = array_at(&in),
                                                        .out = array_at(&out),
                                                        .logsum = array_at(&logsum) });
    cuda_attention_backward(
        device, &(struct kernels_attention_backward){ .batch_rows = c->B,
                                                      .context = c->T,
                                                      .width = c->H * c->D,
                                                      .heads = c->H,
                                                      .qkv = array_at(&in),
                                                      .out = array_at(&out),
                                                      .logsum = array_at(&logsum),
                                                      .out_grad = array_at(&grad_in),
                                                      .qkv_grad = array_at(&grad) });
    struct error error;
    if (cuda_device_sync(device, &error) != ERR_OK) fail_msg("%s", error.text);
    struct results r = { array_take(device, &out), array_take(device, &logsum),
                         array_take(device, &grad) };
    free(array_take(device, &in));
    free(array_take(device, &grad_in));
    cuda_device_close(device);
    return r;
}

static struct results cpu_run(const struct attention_case *c, const float *qkv,
                              const float *out_grad)
{
    const struct kernels *cpu = kernels_cpu();
    struct kernels_options options = options_of(c, KERNELS_FP32);
    struct kernels_device *device;
    struct error error;
    if (cpu->open(&options, &device, &error) != ERR_OK) fail_msg("%s", error.text);
    int64_t count = c->B * c->T * c->H * c->D;
    struct results r = { floats_new(count), floats_new(c->B * c->T * c->H),
                         floats_new(3 * count) };
    cpu->attention(device, &(struct kernels_attention){ .batch_rows = c->B,
                                                        .context = c->T,
                                                        .width = c->H * c->D,
                                                        .heads = c->H,
                                                        .qkv = qkv,
                                                        .out = r.out,
                                                        .logsum = r.logsum });
    cpu->attention_backward(device,
                            &(struct kernels_attention_backward){ .batch_rows = c->B,
                                                                  .context = c->T,
                                                                  .width = c->H * c->D,
                                                                  .heads = c->H,
                                                                  .qkv = qkv,
                                                                  .out = r.out,
                                                                  .logsum = r.logsum,
                                                                  .out_grad = out_grad,
                                                                  .qkv_grad = r.qkv_grad });
    cpu->close(device);
    return r;
}

/* |got - want| <= tolerance * (1 + |want|). */
struct tolerance {
    float out, logsum, qkv_grad;
};

static void assert_close(const struct attention_case *c, enum kernels_type type,
                         const char *what, const float *got, const float *want, int64_t count,
                         float tolerance)
{
    float worst = worst_error(got, want, count);
    if (getenv("PENSTOCK_VERBOSE") != NULL)
        printf("B %d T %d H %d D %d %s %s: %.2e\n", (int)c->B, (int)c->T, (int)c->H, (int)c->D,
               type == KERNELS_BF16 ? "bf16" : "fp32", what, (double)worst);
    if (!(worst <= tolerance))
        fail_msg("B %d T %d H %d D %d %s %s: off by %g, more than %g", (int)c->B, (int)c->T,
                 (int)c->H, (int)c->D, type == KERNELS_BF16 ? "bf16" : "fp32", what,
                 (double)worst, (double)tolerance);
}

static void check_case(const struct attention_case *c, enum kernels_type type, int64_t shift,
                       float scale, const struct tolerance *tolerance)
{
    struct rng rng = rng_of((uint64_t)(c->T * 1000 + c->D));
    int64_t count = c->B * c->T * c->H * c->D;
    float *qkv = random_new(&rng, type, 3 * count, scale);
    float *out_grad = random_new(&rng, type, count, 1.0f);
    struct results got = gpu_run(c, type, shift, qkv, out_grad);
    struct results want = cpu_run(c, qkv, out_grad);
    assert_close(c, type, "out", got.out, want.out, count, tolerance->out);
    assert_close(c, type, "logsum", got.logsum, want.logsum, c->B * c->T * c->H,
                 tolerance->logsum);
    assert_close(c, type, "qkv_grad", got.qkv_grad, want.qkv_grad, 3 * count,
                 tolerance->qkv_grad);
    results_free(&got);
    results_free(&want);
    free(qkv);
    free(out_grad);
}

static bool only_small(void)
{
    const char *shapes = getenv("PENSTOCK_SHAPES");
    return shapes != NULL && strcmp(shapes, "small") == 0;
}

/* ---- tests ---- */

/* Exact inputs: what is off are the sums' last bits, and in bf16 the rounding of probabilities,
 * their gradients, outputs and, through the outputs, delta. Sums of logs are not rounded. */
static const struct tolerance tolerances[] = {
    [KERNELS_FP32] = { 3e-6f, 2e-6f, 6e-6f },
    [KERNELS_BF16] = { 4e-3f, 2e-5f, 1e-2f },
};

static void equals_its_twin(void **state)
{
    (void)state;
    if (only_small()) skip();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        for (size_t t = 0; t < ARRAY_COUNT(types); t++)
            check_case(&cases[i], types[t], 0, 1.0f, &tolerances[types[t]]);
    }
}

/* The least that goes through every loop of every family twice, for the thread sanitizer, which
 * is slow: a stage is used again in its third round. */
static void small_shapes_equal_their_twins(void **state)
{
    (void)state;
    static const struct {
        struct attention_case c;
        enum kernels_type type;
    } rows[] = {
        { { 1, 65, 1, 40 }, KERNELS_FP32 },
        { { 1, 66, 1, 3 }, KERNELS_BF16 },
        { { 1, 135, 1, 64 }, KERNELS_BF16 },
        { { 1, 70, 1, 128 }, KERNELS_BF16 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        check_case(&rows[i].c, rows[i].type, 0, 1.0f, &tolerances[rows[i].type]);
}

/* Tensors may begin anywhere; without 16-byte rows the tensor cores stay out of it. */
static void equals_its_twin_when_misaligned(void **state)
{
    (void)state;
    if (only_small()) skip();
    static const struct attention_case misaligned[] = { { 1, 67, 2, 64 }, { 1, 5, 1, 128 } };
    for (size_t i = 0; i < ARRAY_COUNT(misaligned); i++) {
        for (size_t t = 0; t < ARRAY_COUNT(types); t++)
            check_case(&misaligned[i], types[t], 3, 1.0f, &tolerances[types[t]]);
    }
}

/* Scores of several hundreds: the largest is taken off before exponents are formed, and most
 * of what was summed up before a larger one is lost. Outputs are near one of the values, so
 * their error is that of the probabilities, which have a few hundred ulps of the scores. The
 * gradients in bf16 have that of delta times keys that are six times as large: no more is asked
 * of them than to be there. */
static void large_scores_do_not_overflow(void **state)
{
    (void)state;
    if (only_small()) skip();
    static const struct attention_case large[] = { { 1, 65, 2, 5 },
                                                   { 1, 150, 1, 64 },
                                                   { 1, 130, 1, 128 } };
    static const struct tolerance wide[] = {
        [KERNELS_FP32] = { 5e-4f, 1e-5f, 5e-4f },
        [KERNELS_BF16] = { 2e-2f, 2e-5f, 1.0f },
    };
    for (size_t i = 0; i < ARRAY_COUNT(large); i++) {
        for (size_t t = 0; t < ARRAY_COUNT(types); t++)
            check_case(&large[i], types[t], 0, 6.0f, &wide[types[t]]);
    }
}

/* ---- one random case, changed in one place ---- */

struct inputs {
    const struct attention_case *c;
    enum kernels_type type;
    int64_t count; /* of out */
    float *qkv, *out_grad;
};

static struct inputs inputs_new(const struct attention_case *c, enum kernels_type type)
{
    struct rng rng = rng_of(7);
    struct inputs in = { .c = c, .type = type, .count = c->B * c->T * c->H * c->D };
    in.qkv = random_new(&rng, type, 3 * in.count, 1.0f);
    in.out_grad = random_new(&rng, type, in.count, 1.0f);
    return in;
}

static void inputs_free(struct inputs *in)
{
    free(in->qkv);
    free(in->out_grad);
}

static struct results inputs_run(const struct inputs *in)
{
    return gpu_run(in->c, in->type, 0, in->qkv, in->out_grad);
}

/* Number i of the query (part 0), key (1) or value (2) at position t of head h of sequence 0. */
static int64_t qkv_index(const struct attention_case *c, int64_t t, int part, int64_t h,
                         int64_t i)
{
    return t * 3 * c->H * c->D + part * c->H * c->D + h * c->D + i;
}

static int64_t out_index(const struct attention_case *c, int64_t t, int64_t h, int64_t i)
{
    return t * c->H * c->D + h * c->D + i;
}

static const struct attention_case special_cases[] = { { 1, 70, 2, 5 },
                                                       { 1, 133, 2, 64 },
                                                       { 1, 70, 1, 128 } };

/* Calls the body for both types of every special case. */
static void for_each_special(void (*body)(struct inputs *in))
{
    if (only_small()) skip();
    for (size_t i = 0; i < ARRAY_COUNT(special_cases); i++) {
        for (size_t t = 0; t < ARRAY_COUNT(types); t++) {
            struct inputs in = inputs_new(&special_cases[i], types[t]);
            body(&in);
            inputs_free(&in);
        }
    }
}

/* What comes later changes nothing before it, to the last bit. */
static void check_causal(struct inputs *in)
{
    const struct attention_case *c = in->c;
    const int64_t t = c->T - 2;
    struct results before = inputs_run(in);
    for (int64_t i = qkv_index(c, t, 0, 0, 0); i < 3 * in->count; i++)
        in->qkv[i] += 1.0f;
    struct results after = inputs_run(in);
    size_t same = (size_t)out_index(c, t, 0, 0) * sizeof(float);
    assert_memory_equal(before.out, after.out, same);
    assert_memory_not_equal((char *)before.out + same, (char *)after.out + same,
                            (size_t)in->count * sizeof(float) - same);
    results_free(&before);
    results_free(&after);
}

static void the_future_is_invisible(void **state)
{
    (void)state;
    for_each_special(check_causal);
}

/* A query that is no number spoils its own row of its own head; a key or a value spoils all
 * rows that see it. Other heads stay as they were. */
static void check_nonfinite(struct inputs *in, const struct results *before, int part,
                            int64_t at, float bad)
{
    const struct attention_case *c = in->c;
    float *where = &in->qkv[qkv_index(c, at, part, 0, 1)], good = *where;
    *where = bad;
    struct results after = inputs_run(in);
    *where = good;
    for (int64_t t = 0; t < c->T; t++) {
        bool reached = part == 0 ? t == at : t >= at;
        int64_t bad_count = 0;
        for (int64_t i = 0; i < c->D; i++)
            bad_count += !isfinite(after.out[out_index(c, t, 0, i)]);
        if (reached && bad_count == 0)
            fail_msg("part %d at %d: row %d is finite", part, (int)at, (int)t);
        if (reached && part < 2 && !isnan(after.logsum[t]) && !isinf(after.logsum[t]))
            fail_msg("part %d at %d: the sum of row %d is finite", part, (int)at, (int)t);
        if (part == 0 && !reached && bad_count != 0)
            fail_msg("part %d at %d: row %d is not finite", part, (int)at, (int)t);
        if (c->H > 1)
            assert_memory_equal(&after.out[out_index(c, t, 1, 0)],
                                &before->out[out_index(c, t, 1, 0)],
                                (size_t)c->D * sizeof(float));
    }
    for (int64_t i = 0; i < c->D; i++) {
        assert_true(!isfinite(after.qkv_grad[qkv_index(c, at, 0, 0, i)]));
        assert_true(!isfinite(after.qkv_grad[qkv_index(c, at, 1, 0, i)]));
    }
    results_free(&after);
}

static void check_nonfinites(struct inputs *in)
{
    struct results before = inputs_run(in);
    for (int part = 0; part < 3; part++)
        check_nonfinite(in, &before, part, 66, NAN);
    check_nonfinite(in, &before, 2, in->c->T - 1, INFINITY);
    results_free(&before);
}

static void nonfinite_numbers_go_through(void **state)
{
    (void)state;
    for_each_special(check_nonfinites);
}

/* The gradient of one output row reaches its query and all keys and values before it. */
static void check_nonfinite_gradient(struct inputs *in)
{
    const struct attention_case *c = in->c;
    const int64_t at = 66;
    in->out_grad[out_index(c, at, 0, 2)] = NAN;
    struct results r = inputs_run(in);
    assert_true(isnan(r.qkv_grad[qkv_index(c, at, 0, 0, 0)]));
    assert_true(isfinite(r.qkv_grad[qkv_index(c, at - 1, 0, 0, 0)]));
    for (int64_t t = 0; t <= at; t++) {
        assert_true(isnan(r.qkv_grad[qkv_index(c, t, 1, 0, 0)]));
        assert_true(isnan(r.qkv_grad[qkv_index(c, t, 2, 0, 2)]));
    }
    results_free(&r);
}

static void a_nonfinite_gradient_goes_through(void **state)
{
    (void)state;
    for_each_special(check_nonfinite_gradient);
}

/* The same bits in every order of the threads, hence each time. */
static void check_order(struct inputs *in)
{
    const char *given = getenv("EMU_ORDER");
    char kept[16];
    (void)snprintf(kept, sizeof(kept), "%s", given == NULL ? "0" : given);
    struct results first = inputs_run(in);
    static const char *const orders[] = { "0", "1", "5" };
    for (size_t i = 0; i < ARRAY_COUNT(orders); i++) {
        assert_int_equal(setenv("EMU_ORDER", orders[i], 1), 0);
        struct results next = inputs_run(in);
        size_t bytes = (size_t)in->count * sizeof(float);
        assert_memory_equal(first.out, next.out, bytes);
        assert_memory_equal(first.qkv_grad, next.qkv_grad, 3 * bytes);
        results_free(&next);
    }
    assert_int_equal(setenv("EMU_ORDER", kept, 1), 0);
    results_free(&first);
}

static void results_repeat_bit_for_bit(void **state)
{
    (void)state;
    const char *order = getenv("EMU_ORDER");
    if (order != NULL && strcmp(order, "0") != 0) skip(); /* once is enough */
    for_each_special(check_order);
}

/* ---- finite differences ---- */

struct objective {
    struct shape shape;
    int64_t count;
    double *qkv, *out;
    const float *factor;
};

static double objective_run(const struct objective *o)
{
    double sum = 0.0;
    ref_attention(&o->shape, o->qkv, o->out, NULL);
    for (int64_t i = 0; i < o->count; i++)
        sum += o->out[i] * (double)o->factor[i];
    return sum;
}

/* The gradient against central differences of the reference in double. */
static void check_differences(const struct attention_case *c, enum kernels_type type,
                              double tolerance)
{
    struct inputs in = inputs_new(c, type);
    struct results r = inputs_run(&in);
    struct objective o = { .shape = { c->B, c->T, c->H * c->D, c->H, 1 },
                           .count = in.count,
                           .factor = in.out_grad };
    o.qkv = calloc((size_t)(3 * in.count), sizeof(double));
    o.out = calloc((size_t)in.count, sizeof(double));
    assert_non_null(o.qkv);
    assert_non_null(o.out);
    for (int64_t i = 0; i < 3 * in.count; i++)
        o.qkv[i] = (double)in.qkv[i];
    const double step = 1e-4;
    for (int64_t i = 0; i < 3 * in.count; i++) {
        double at = o.qkv[i];
        o.qkv[i] = at + step;
        double above = objective_run(&o);
        o.qkv[i] = at - step;
        double below = objective_run(&o);
        o.qkv[i] = at;
        double want = (above - below) / (2.0 * step), got = (double)r.qkv_grad[i];
        if (!(fabs(got - want) <= tolerance * (1.0 + fabs(want))))
            fail_msg("gradient %d: %g instead of %g", (int)i, got, want);
    }
    free(o.qkv);
    free(o.out);
    results_free(&r);
    inputs_free(&in);
}

static void gradients_equal_finite_differences(void **state)
{
    (void)state;
    if (only_small()) skip();
    check_differences(&(struct attention_case){ 2, 5, 2, 3 }, KERNELS_FP32, 1e-5);
    check_differences(&(struct attention_case){ 1, 4, 1, 64 }, KERNELS_BF16, 1e-2);
}

/* ---- refusals and failures ---- */

static void too_large_shapes_are_refused(void **state)
{
    (void)state;
    static const struct {
        int64_t batch_rows, context, width, heads;
        const char *part;
    } rows[] = {
        { 1, 8, 514, 2, "heads of 257 numbers are too wide: at most 256" },
        { 1, INT64_C(1) << 31, 64, 1, "context 2147483648 is too long" },
        { INT64_C(1) << 40, 64, 64, 1, "1099511627776 rows of 1 heads are too many" },
        { 1 << 20, 1 << 20, 64, 1, "rows of 1 heads are too many at context 1048576" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct kernels_options options = { .threads = 1,
                                           .batch_rows = rows[i].batch_rows,
                                           .context = rows[i].context,
                                           .width = rows[i].width,
                                           .heads = rows[i].heads,
                                           .vocab_count = 1 };
        struct error error;
        assert_int_equal(cuda_attention_check(&options, &error), ERR_INPUT);
        if (strstr(error.text, rows[i].part) == NULL) fail_msg("%s", error.text);
    }
    struct kernels_options most = { .threads = 1,
                                    .batch_rows = 64,
                                    .context = 4096,
                                    .width = 4096,
                                    .heads = 16,
                                    .vocab_count = 1 };
    assert_int_equal(cuda_attention_check(&most, NULL), ERR_OK);
    assert_int_equal(cuda_attention_scratch_bytes(&most), (size_t)64 * 4096 * 16 * 4);
}

/* Each launch is noted: whichever fails, sync names the operation. */
static void failed_launches_are_noted(void **state)
{
    (void)state;
    if (only_small()) skip();
    static const char *const launches[] = { "1", "2", "3", "4" };
    static const struct attention_case c = { 1, 3, 1, 64 };
    for (size_t t = 0; t < ARRAY_COUNT(types); t++) {
        for (size_t i = 0; i < ARRAY_COUNT(launches); i++) {
            struct inputs in = inputs_new(&c, types[t]);
            struct kernels_device *device = gpu_open(&c, types[t]);
            struct array qkv = array_new(device, types[t], 0, 3 * in.count, in.qkv);
            struct array out = array_new(device, types[t], 0, in.count, in.out_grad);
            struct array logsum = array_new(device, KERNELS_FP32, 0, c.T, NULL);
            struct array grad = array_new(device, types[t], 0, 3 * in.count, NULL);
            assert_int_equal(setenv("PENSTOCK_FAKE_LAUNCH_ONCE", launches[i], 1), 0);
            standin_reset();
            struct kernels_attention forward = { .batch_rows = c.B,
                                                 .context = c.T,
                                                 .width = c.D,
                                                 .heads = c.H,
                                                 .qkv = array_at(&qkv),
                                                 .out = array_at(&out),
                                                 .logsum = array_at(&logsum) };
            struct kernels_attention_backward backward = { .batch_rows = c.B,
                                                           .context = c.T,
                                                           .width = c.D,
                                                           .heads = c.H,
                                                           .qkv = array_at(&qkv),
                                                           .out = array_at(&out),
                                                           .logsum = array_at(&logsum),
                                                           .out_grad = array_at(&out),
                                                           .qkv_grad = array_at(&grad) };
            cuda_attention(device, &forward);
            cuda_attention_backward(device, &backward);
            struct error error;
            assert_int_equal(cuda_device_sync(device, &error), ERR_DEVICE);
            const char *name = i == 0 ? "attention:" : "attention_backward:";
            if (strstr(error.text, name) == NULL) fail_msg("%s lacks %s", error.text, name);
            assert_int_equal(cuda_device_sync(device, &error), ERR_OK);
            assert_int_equal(unsetenv("PENSTOCK_FAKE_LAUNCH_ONCE"), 0);
            standin_reset();
            cuda_device_release(device, qkv.base);
            cuda_device_release(device, out.base);
            cuda_device_release(device, logsum.base);
            cuda_device_release(device, grad.base);
            cuda_device_close(device);
            inputs_free(&in);
        }
    }
}

int main(void)
{
    standin_launch_link();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_its_twin),
        cmocka_unit_test(small_shapes_equal_their_twins),
        cmocka_unit_test(equals_its_twin_when_misaligned),
        cmocka_unit_test(large_scores_do_not_overflow),
        cmocka_unit_test(the_future_is_invisible),
        cmocka_unit_test(nonfinite_numbers_go_through),
        cmocka_unit_test(a_nonfinite_gradient_goes_through),
        cmocka_unit_test(results_repeat_bit_for_bit),
        cmocka_unit_test(gradients_equal_finite_differences),
        cmocka_unit_test(too_large_shapes_are_refused),
        cmocka_unit_test(failed_launches_are_noted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
