#include "kernels/cuda/device.h"
#include "kernels/cuda/ops.h"
#include "proto/base/arena.h"
#include "proto/base/rng.h"
#include "tests/support/standin/cudart.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One product, on both sides. `offset` shifts every matrix by so many numbers, since a tensor
 * may begin anywhere in the flat arrays. */
struct shape {
    int64_t rows, in_width, out_width;
    int offset;
};

static const struct shape shapes[] = {
    { 1, 1, 1, 0 },    { 3, 5, 7, 0 },     { 33, 24, 40, 0 },  { 33, 24, 40, 3 },
    { 64, 16, 48, 0 }, { 130, 17, 65, 1 }, { 200, 40, 33, 0 }, { 7, 264, 8, 0 },
};

struct fixture {
    struct arena arena;
    struct rng rng;
    enum kernels_type type;
    struct shape shape;
    struct kernels_device *gpu, *cpu;
};

static void fake(const char *name, const char *value)
{
    if (value == NULL)
        assert_int_equal(unsetenv(name), 0);
    else
        assert_int_equal(setenv(name, value, 1), 0);
    standin_reset();
}

static struct kernels_options options_of(const struct shape *s, enum kernels_type type)
{
    return (struct kernels_options){ .threads = 1,
                                     .batch_rows = 1,
                                     .context = s->rows,
                                     .width = s->in_width,
                                     .heads = 1,
                                     .vocab_count = s->out_width,
                                     .type = type };
}

static void setup(struct fixture *f, const struct shape *shape, enum kernels_type type)
{
    struct error error;
    struct kernels_options options = options_of(shape, type);
    *f = (struct fixture){ .rng = rng_of(7), .type = type, .shape = *shape };
    enum err rc =
        cuda_device_open(&options, cuda_matmul_scratch_bytes(&options), &f->gpu, &error);
    if (rc != ERR_OK) fail_msg("open: %s", error.text);
    assert_int_equal(cuda_matmul_open(f->gpu, &error), ERR_OK);
    options.type = KERNELS_FP32;
    assert_int_equal(kernels_cpu()->open(&options, &f->cpu, &error), ERR_OK);
}

static void teardown(struct fixture *f)
{
    kernels_cpu()->close(f->cpu);
    cuda_device_close(f->gpu);
    arena_fini(&f->arena);
    assert_int_equal(standin_blocks(), 0);
}

/* ---- numbers on both sides ---- */

static float bf16_widen(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint16_t bf16_round(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    if (isnan(value)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* A matrix on the GPU and what the twin reads: the same numbers, already rounded. Numbers that
 * lie before and behind it on the GPU are guards. */
struct matrix {
    int64_t count;
    float *host;
    bool real; /* of the device's type; else fp32 */
    void *block, *gpu;
};

enum { GUARDS = 8 };

static size_t number_bytes(const struct fixture *f, const struct matrix *m)
{
    return m->real ? kernels_real_bytes(f->type) : sizeof(float);
}

static void upload(struct fixture *f, struct matrix *m)
{
    uint16_t *halves = arena_array(&f->arena, (size_t)m->count, sizeof(*halves));
    bool half = m->real && f->type == KERNELS_BF16;
    for (int64_t i = 0; half && i < m->count; i++) {
        halves[i] = bf16_round(m->host[i]);
        m->host[i] = bf16_widen(halves[i]);
    }
    cuda_device_upload(f->gpu, m->gpu, half ? (const void *)halves : m->host,
                       (size_t)m->count * number_bytes(f, m));
}

static float *downloaded(struct fixture *f, const struct matrix *m)
{
    float *floats = arena_array(&f->arena, (size_t)m->count, sizeof(*floats));
    uint16_t *halves = arena_array(&f->arena, (size_t)m->count, sizeof(*halves));
    bool half = m->real && f->type == KERNELS_BF16;
    cuda_device_download(f->gpu, half ? (void *)halves : floats, m->gpu,
                         (size_t)m->count * number_bytes(f, m));
    for (int64_t i = 0; half && i < m->count; i++)
        floats[i] = bf16_widen(halves[i]);
    return floats;
}

static struct matrix matrix_new(struct fixture *f, int64_t count, bool real, float scale)
{
    struct matrix m = { .count = count, .real = real };
    size_t bytes = number_bytes(f, &m);
    size_t before = ((size_t)f->shape.offset + GUARDS) * bytes;
    unsigned char guard[GUARDS * sizeof(float)];
    memset(guard, 0x5a, sizeof(guard));
    m.host = arena_array(&f->arena, (size_t)count, sizeof(float));
    for (int64_t i = 0; i < count; i++)
        m.host[i] = scale == 0.0f ? NAN : scale * rng_normal(&f->rng);
    size_t all = before + ((size_t)count + GUARDS) * bytes;
    assert_int_equal(cuda_device_alloc(f->gpu, all, &m.block, NULL), ERR_OK);
    m.gpu = (char *)m.block + before;
    cuda_device_upload(f->gpu, (char *)m.gpu - GUARDS * bytes, guard, GUARDS * bytes);
    cuda_device_upload(f->gpu, (char *)m.gpu + (size_t)count * bytes, guard, GUARDS * bytes);
    upload(f, &m);
    return m;
}

/* The guards are as they were. */
static void matrix_fini(struct fixture *f, struct matrix *m)
{
    size_t bytes = number_bytes(f, m);
    unsigned char guard[2][GUARDS * sizeof(float)];
    cuda_device_download(f->gpu, guard[0], (char *)m->gpu - GUARDS * bytes, GUARDS * bytes);
    cuda_device_download(f->gpu, guard[1], (char *)m->gpu + (size_t)m->count * bytes,
                         GUARDS * bytes);
    for (size_t i = 0; i < GUARDS * bytes; i++) {
        assert_int_equal(guard[0][i], 0x5a);
        assert_int_equal(guard[1][i], 0x5a);
    }
    cuda_device_release(f->gpu, m->block);
}

/* A result in fp32 is off by the order of its sum; one in bf16 by its rounding too, which is
 * 2^-9 of it, and twice that where a step in between was rounded as well. Errors are measured
 * against the size of the sum's terms: `size` for a typical result. */
static void assert_near(struct fixture *f, const char *what, const struct matrix *got,
                        const float *want, double size)
{
    bool half = got->real && f->type == KERNELS_BF16;
    double tolerance = half ? 1.0 / 128.0 : 2e-5;
    const float *values = downloaded(f, got);
    for (int64_t i = 0; i < got->count; i++) {
        double off = fabs((double)values[i] - (double)want[i]);
        if (!(off <= tolerance * (size + fabs((double)want[i]))))
            fail_msg("%s[%lld] of %lldx%lldx%lld is %.9g, not %.9g", what, (long long)i,
                     (long long)f->shape.rows, (long long)f->shape.in_width,
                     (long long)f->shape.out_width, (double)values[i], (double)want[i]);
    }
}

/* ---- forward ---- */

enum { WITH_BIAS = 1, WITH_RESIDUAL = 2, WITH_GELU = 4, IN_PLACE = 8, FORWARD_CASES = 16 };

static void check_forward(struct fixture *f, int with)
{
    const struct shape *s = &f->shape;
    int64_t N = s->rows, I = s->in_width, O = s->out_width;
    struct matrix in = matrix_new(f, N * I, true, 1.0f);
    struct matrix weight = matrix_new(f, O * I, true, 0.3f);
    struct matrix bias = matrix_new(f, O, true, 1.0f);
    struct matrix residual = matrix_new(f, N * O, true, 1.0f);
    struct matrix out = matrix_new(f, N * O, true, 0.0f);
    struct matrix gelu = matrix_new(f, N * O, true, 0.0f);
    const struct matrix *to = (with & IN_PLACE) != 0 ? &residual : &out;
    struct kernels_matmul args = { .rows = N, .in_width = I, .out_width = O };
    args.in = in.host;
    args.weight = weight.host;
    args.bias = (with & WITH_BIAS) != 0 ? bias.host : NULL;
    args.residual = (with & WITH_RESIDUAL) != 0 ? residual.host : NULL;
    args.out = out.host;
    args.gelu = gelu.host;
    kernels_cpu()->matmul(f->cpu, &args);
    args.in = in.gpu;
    args.weight = weight.gpu;
    args.bias = (with & WITH_BIAS) != 0 ? bias.gpu : NULL;
    args.residual = (with & WITH_RESIDUAL) != 0 ? residual.gpu : NULL;
    args.out = to->gpu;
    args.gelu = (with & WITH_GELU) != 0 ? gelu.gpu : NULL;
    cuda_matmul(f->gpu, &args);
    struct error error;
    if (cuda_device_sync(f->gpu, &error) != ERR_OK) fail_msg("matmul: %s", error.text);
    double size = 0.3 * sqrt((double)I) + 1.0;
    assert_near(f, "out", to, out.host, size);
    if ((with & WITH_GELU) != 0) assert_near(f, "gelu", &gelu, gelu.host, size);
    struct matrix *all[] = { &in, &weight, &bias, &residual, &out, &gelu };
    for (size_t i = 0; i < ARRAY_COUNT(all); i++)
        matrix_fini(f, all[i]);
}

/* ---- backward ---- */

enum { WITH_IN_GRAD = 1, WITH_BIAS_GRAD = 2, IN_IS_GELU = 4, BACKWARD_CASES = 8 };

static void check_backward(struct fixture *f, int with)
{
    const struct shape *s = &f->shape;
    int64_t N = s->rows, I = s->in_width, O = s->out_width;
    struct matrix in = matrix_new(f, N * I, true, 1.0f);
    struct matrix weight = matrix_new(f, O * I, true, 0.3f);
    struct matrix out_grad = matrix_new(f, N * O, true, 1.0f);
    struct matrix gelu_input = matrix_new(f, N * I, true, 1.5f);
    struct matrix in_grad = matrix_new(f, N * I, true, 0.0f);
    struct matrix weight_grad = matrix_new(f, O * I, false, 0.0f);
    struct matrix bias_grad = matrix_new(f, O, false, 0.0f);
    struct kernels_matmul_backward args = { .rows = N, .in_width = I, .out_width = O };
    args.in = in.host;
    args.weight = weight.host;
    args.out_grad = out_grad.host;
    args.gelu_input = (with & IN_IS_GELU) != 0 ? gelu_input.host : NULL;
    args.in_grad = in_grad.host;
    args.weight_grad = weight_grad.host;
    args.bias_grad = bias_grad.host;
    kernels_cpu()->matmul_backward(f->cpu, &args);
    args.in = in.gpu;
    args.weight = weight.gpu;
    args.out_grad = out_grad.gpu;
    args.gelu_input = (with & IN_IS_GELU) != 0 ? gelu_input.gpu : NULL;
    args.in_grad = (with & WITH_IN_GRAD) != 0 ? in_grad.gpu : NULL;
    args.weight_grad = weight_grad.gpu;
    args.bias_grad = (with & WITH_BIAS_GRAD) != 0 ? bias_grad.gpu : NULL;
    cuda_matmul_backward(f->gpu, &args);
    struct error error;
    if (cuda_device_sync(f->gpu, &error) != ERR_OK) fail_msg("backward: %s", error.text);
    double rows = sqrt((double)N);
    assert_near(f, "weight gradient", &weight_grad, weight_grad.host, rows);
    if ((with & WITH_BIAS_GRAD) != 0)
        assert_near(f, "bias gradient", &bias_grad, bias_grad.host, rows);
    if ((with & WITH_IN_GRAD) != 0)
        assert_near(f, "input gradient", &in_grad, in_grad.host, 0.3 * sqrt((double)O) + 1.0);
    struct matrix *all[] = { &in,      &weight,      &out_grad, &gelu_input,
                             &in_grad, &weight_grad, &bias_grad };
    for (size_t i = 0; i < ARRAY_COUNT(all); i++)
        matrix_fini(f, all[i]);
}

static void check_shape(const struct shape *shape, enum kernels_type type)
{
    struct fixture f;
    setup(&f, shape, type);
    for (int with = 0; with < FORWARD_CASES; with++)
        if ((with & IN_PLACE) == 0 || (with & WITH_RESIDUAL) != 0) check_forward(&f, with);
    for (int with = 0; with < BACKWARD_CASES; with++)
        check_backward(&f, with);
    teardown(&f);
}

/* Under a sanitizer of threads all of it would take too long. */
static bool is_small(void)
{
    const char *size = getenv("PENSTOCK_SHAPES");
    return size != NULL && strcmp(size, "small") == 0;
}

static void check_shapes(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++) {
        if (is_small() && i != 2 && i != 6) continue;
        check_shape(&shapes[i], KERNELS_FP32);
        check_shape(&shapes[i], KERNELS_BF16);
    }
}

static void products_equal_the_twin(void **state)
{
    (void)state;
    check_shapes();
}

/* The same where cuBLASLt has no algorithm with an epilogue. */
static void unfused_products_equal_the_twin(void **state)
{
    (void)state;
    fake("PENSTOCK_FAKE_EPILOGUES", "none");
    check_shapes();
    fake("PENSTOCK_FAKE_EPILOGUES", NULL);
}

/* A product that nobody can do is told, and the device goes on. */
static void a_product_without_algorithm_is_told(void **state)
{
    (void)state;
    struct fixture f;
    struct error error;
    setup(&f, &shapes[2], KERNELS_BF16);
    struct matrix m = matrix_new(&f, 64 * 64, true, 1.0f);
    struct kernels_matmul args = { .rows = 9, .in_width = 8, .out_width = 8 };
    args.in = args.weight = m.gpu;
    args.out = (char *)m.gpu + 4096;
    fake("PENSTOCK_FAKE_ALGORITHMS", "none");
    cuda_matmul(f.gpu, &args);
    fake("PENSTOCK_FAKE_ALGORITHMS", NULL);
    assert_int_equal(cuda_device_sync(f.gpu, &error), ERR_DEVICE);
    assert_non_null(strstr(error.text, "matmul: cuBLASLt has no algorithm"));
    args.rows = 10;
    cuda_matmul(f.gpu, &args);
    assert_int_equal(cuda_device_sync(f.gpu, &error), ERR_OK);
    matrix_fini(&f, &m);
    teardown(&f);
}

/* The fused forms are used where they can be: one launch, and not two or three. */
static void epilogues_are_used(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, &shapes[4], KERNELS_BF16);
    struct matrix m = matrix_new(&f, 64 * 64, true, 1.0f);
    struct matrix out = matrix_new(&f, 64 * 64, true, 1.0f);
    struct matrix gelu = matrix_new(&f, 64 * 64, true, 1.0f);
    struct kernels_matmul args = { .rows = 64, .in_width = 16, .out_width = 48 };
    args.in = args.weight = args.bias = m.gpu;
    args.out = out.gpu;
    args.gelu = gelu.gpu;
    standin_reset();
    cuda_matmul(f.gpu, &args);
    assert_int_equal(standin_launches(), 1);
    args.residual = m.gpu;
    args.gelu = NULL;
    cuda_matmul(f.gpu, &args);
    assert_int_equal(standin_launches(), 2);
    assert_int_equal(cuda_device_sync(f.gpu, NULL), ERR_OK);
    matrix_fini(&f, &m);
    matrix_fini(&f, &out);
    matrix_fini(&f, &gelu);
    teardown(&f);
}

/* More plans than the table holds: the oldest make room, and come back. */
static void plans_make_room(void **state)
{
    (void)state;
    struct fixture f;
    const struct shape shape = { 300, 8, 8, 0 };
    setup(&f, &shape, KERNELS_FP32);
    struct matrix in = matrix_new(&f, 300 * 8, true, 1.0f);
    struct matrix weight = matrix_new(&f, 8 * 8, true, 1.0f);
    struct matrix out = matrix_new(&f, 300 * 8, true, 0.0f);
    float *want = arena_array(&f.arena, 300 * 8, sizeof(*want));
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t rows = 1; rows <= 300; rows++) {
            struct kernels_matmul args = { .rows = rows, .in_width = 8, .out_width = 8 };
            args.in = in.gpu;
            args.weight = weight.gpu;
            args.out = out.gpu;
            cuda_matmul(f.gpu, &args);
        }
    }
    assert_int_equal(cuda_device_sync(f.gpu, NULL), ERR_OK);
    struct kernels_matmul args = { .rows = 300, .in_width = 8, .out_width = 8 };
    args.in = in.host;
    args.weight = weight.host;
    args.out = want;
    kernels_cpu()->matmul(f.cpu, &args);
    assert_near(&f, "out", &out, want, 3.0);
    matrix_fini(&f, &in);
    matrix_fini(&f, &weight);
    matrix_fini(&f, &out);
    teardown(&f);
}

/* Many rows: several partial sums for each column, and not one bit differs the second time. */
static void bias_gradients_repeat(void **state)
{
    (void)state;
    struct fixture f;
    const struct shape shape = { 1500, 4, 40, 0 };
    setup(&f, &shape, KERNELS_BF16);
    check_backward(&f, WITH_BIAS_GRAD);
    struct matrix in = matrix_new(&f, 1500 * 4, true, 1.0f);
    struct matrix grad = matrix_new(&f, 1500 * 40, true, 1.0f);
    struct matrix weight_grad = matrix_new(&f, 160, false, 0.0f);
    struct matrix bias_grad = matrix_new(&f, 40, false, 0.0f);
    struct kernels_matmul_backward args = { .rows = 1500, .in_width = 4, .out_width = 40 };
    args.in = in.gpu;
    args.out_grad = grad.gpu;
    args.weight_grad = weight_grad.gpu;
    args.bias_grad = bias_grad.gpu;
    standin_reset();
    cuda_matmul_backward(f.gpu, &args);
    assert_int_equal(standin_launches(), 3);
    const float *first = downloaded(&f, &bias_grad);
    cuda_matmul_backward(f.gpu, &args);
    assert_memory_equal(first, downloaded(&f, &bias_grad), 40 * sizeof(float));
    struct matrix *all[] = { &in, &grad, &weight_grad, &bias_grad };
    for (size_t i = 0; i < ARRAY_COUNT(all); i++)
        matrix_fini(&f, all[i]);
    teardown(&f);
}

static void an_infinity_stays_visible(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, &shapes[4], KERNELS_BF16);
    struct matrix in = matrix_new(&f, 64 * 16, true, 1.0f);
    struct matrix weight = matrix_new(&f, 48 * 16, true, 1.0f);
    struct matrix out = matrix_new(&f, 64 * 48, true, 0.0f);
    in.host[0] = INFINITY;
    upload(&f, &in);
    struct kernels_matmul args = { .rows = 64, .in_width = 16, .out_width = 48 };
    args.in = in.gpu;
    args.weight = weight.gpu;
    args.out = out.gpu;
    cuda_matmul(f.gpu, &args);
    const float *values = downloaded(&f, &out);
    for (int i = 0; i < 48; i++)
        assert_true(!isfinite(values[i]));
    assert_true(isfinite(values[48]));
    matrix_fini(&f, &in);
    matrix_fini(&f, &weight);
    matrix_fini(&f, &out);
    teardown(&f);
}

static void the_peak_is_measured(void **state)
{
    (void)state;
    for (int type = KERNELS_FP32; type <= KERNELS_BF16; type++) {
        struct fixture f;
        struct kernels_peak peak;
        setup(&f, &shapes[2], (enum kernels_type)type);
        assert_int_equal(cuda_matmul_peak(f.gpu, &peak, NULL), ERR_OK);
        assert_true(peak.flops_per_s > 1e7);
        assert_true(peak.flops_per_s < 1e17); /* no chip is near that */
        assert_string_equal(peak.source, type == KERNELS_BF16 ? "gemm bf16" : "gemm fp32");
        teardown(&f);
    }
}

/* No room for the matrices, or a GPU that is lost meanwhile. */
static void a_peak_may_fail(void **state)
{
    (void)state;
    struct fixture f;
    struct kernels_peak peak;
    struct error error;
    fake("PENSTOCK_FAKE_MEMORY", "35000000"); /* the workspace, and little else */
    setup(&f, &shapes[2], KERNELS_FP32);
    assert_int_equal(cuda_matmul_peak(f.gpu, &peak, &error), ERR_NO_MEMORY);
    assert_int_equal(cuda_device_sync(f.gpu, &error), ERR_OK);
    teardown(&f);
    fake("PENSTOCK_FAKE_MEMORY", NULL);
    setup(&f, &shapes[2], KERNELS_FP32);
    fake("PENSTOCK_FAKE_LAUNCH", "3");
    assert_int_equal(cuda_matmul_peak(f.gpu, &peak, &error), ERR_DEVICE);
    assert_int_equal(cuda_device_sync(f.gpu, &error), ERR_DEVICE);
    kernels_cpu()->close(f.cpu);
    cuda_device_close(f.gpu);
    arena_fini(&f.arena);
    fake("PENSTOCK_FAKE_LAUNCH", NULL);
}

static void opening_may_fail(void **state)
{
    (void)state;
    struct kernels_device *device;
    struct error error;
    const struct kernels_options options = options_of(&shapes[2], KERNELS_BF16);
    fake("PENSTOCK_FAKE_MEMORY", "30000000");
    assert_int_equal(cuda_device_open(&options, 64, &device, &error), ERR_OK);
    assert_int_equal(cuda_matmul_open(device, &error), ERR_NO_MEMORY);
    cuda_device_close(device);
    fake("PENSTOCK_FAKE_MEMORY", NULL);
    assert_int_equal(standin_blocks(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_equal_the_twin),
        cmocka_unit_test(unfused_products_equal_the_twin),
        cmocka_unit_test(a_product_without_algorithm_is_told),
        cmocka_unit_test(epilogues_are_used),
        cmocka_unit_test(plans_make_room),
        cmocka_unit_test(bias_gradients_repeat),
        cmocka_unit_test(an_infinity_stays_visible),
        cmocka_unit_test(the_peak_is_measured),
        cmocka_unit_test(opening_may_fail),
        cmocka_unit_test(a_peak_may_fail), /* loses a device for good: the last one */
    };
    const struct CMUnitTest small[] = {
        cmocka_unit_test(products_equal_the_twin),
        cmocka_unit_test(unfused_products_equal_the_twin),
    };
    return is_small() ? cmocka_run_group_tests(small, NULL, NULL)
                      : cmocka_run_group_tests(tests, NULL, NULL);
}
