/* The model and the optimizer over the GPU's table, against the CPU's. */
#include "kernels/cuda/device.h"
#include "kernels/cuda/ops.h"
#include "tests/kernels/support.h"
#include "tests/support/standin/cudart.h"
#include "worker/trainer/optim.h"

#include <stdio.h>
#include <stdlib.h>

enum { STEPS = 3, BATCH_ROWS = 3, TOKENS_MAX = 1024 };

/* Sizes that are multiples of nothing; and a head width for the tensor cores' path, with more
 * positions than one of its tiles has. */
static const struct gpt_config odd = {
    .layers = 2, .width = 30, .heads = 3, .context = 19, .vocab_count = 67
};
static const struct gpt_config wide = {
    .layers = 1, .width = 128, .heads = 2, .context = 70, .vocab_count = 96
};
static const struct gpt_config least = {
    .layers = 1, .width = 1, .heads = 1, .context = 1, .vocab_count = 1
};

/* How far a run in this type may be from one in fp32 on the CPU: losses relatively, gradients
 * and updates as the norm of the difference over the norm. bf16 has 8 bits: 2^-9 a rounding, of
 * which a few dozen lie between a weight and its gradient; and an update divides a gradient by
 * its own size, so that small ones count as much as large ones. */
struct tolerance {
    double loss, grad, update;
};
static const struct tolerance tolerances[] = {
    [KERNELS_FP32] = { 1e-5, 1e-4, 1e-4 },
    [KERNELS_BF16] = { 1e-2, 5e-2, 1e-1 },
};

static const char *const faults[] = { "PENSTOCK_FAKE_ALLOC",    "PENSTOCK_FAKE_LAUNCH",
                                      "PENSTOCK_FAKE_PINNED",   "PENSTOCK_FAKE_LAUNCH_ONCE",
                                      "PENSTOCK_FAKE_STALL",    "PENSTOCK_FAKE_KERNELS",
                                      "PENSTOCK_FAKE_EPILOGUES" };

static void fake(const char *name, long value)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%ld", value);
    assert_int_equal(setenv(name, value == 0 ? "none" : text, 1), 0);
    standin_reset();
}

static int clear_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++)
        assert_int_equal(unsetenv(faults[i]), 0);
    standin_reset();
    return 0;
}

/* Kernels that compute nothing do it in every order of their threads. */
static bool is_another_order(void)
{
    const char *order = getenv("EMU_ORDER");
    return order != NULL && strcmp(order, "0") != 0;
}

/* ---- one training ---- */

/* A model, its optimizer and the batch it sees, which is the same at every step. */
struct training {
    struct gpt *gpt;
    struct optim *optim;
    int32_t tokens[TOKENS_MAX];
};

static const struct optim_config adamw = { .beta1 = 0.9,
                                           .beta2 = 0.95,
                                           /* far above rounding: what has no gradient but
                                            * rounding errors, the keys' bias, hardly moves */
                                           .epsilon = 1e-3,
                                           .weight_decay = 0.1,
                                           .clip_norm = 1.0 };

/* A GPU that loads its kernels, or is watched by a sanitizer, takes its time; one that stalls on
 * purpose is not waited for that long. */
static int64_t patience_ns = 60 * NS_PER_S;

static enum err training_open(struct training *t, const struct gpt_config *config,
                              const struct kernels *kernels, enum kernels_type type,
                              struct error *error)
{
    const struct gpt_options options = { .config = *config,
                                         .batch_rows = BATCH_ROWS,
                                         .threads = 1,
                                         .type = type,
                                         .timeout_ns = patience_ns,
                                         .kernels = kernels };
    struct rng rng = rng_of(11);
    memset(t, 0, sizeof(*t));
    for (int i = 0; i < TOKENS_MAX; i++)
        t->tokens[i] = (int32_t)rng_below(&rng, (uint64_t)config->vocab_count);
    enum err rc = gpt_create(&options, &t->gpt, error);
    if (rc == ERR_OK) rc = gpt_init(t->gpt, 42, error);
    if (rc == ERR_OK) rc = optim_create(&adamw, t->gpt, &t->optim, error);
    return rc;
}

static void training_close(struct training *t)
{
    optim_destroy(t->optim);
    gpt_destroy(t->gpt);
}

static enum err training_step(struct training *t, double *loss, double *norm,
                              struct error *error)
{
    *loss = *norm = NAN;
    enum err rc = gpt_forward(t->gpt, t->tokens, t->tokens + 1, loss, error);
    if (rc == ERR_OK) rc = gpt_backward(t->gpt, NULL, NULL, error);
    if (rc == ERR_OK) rc = optim_step(t->optim, 0.01, 1.0, norm, error);
    return rc;
}

/* One of the model's flat arrays, in host memory; the caller frees. */
static float *copy_of(struct training *t, const float *flat)
{
    size_t bytes = (size_t)gpt_param_count(t->gpt) * sizeof(float);
    float *copy = malloc(bytes);
    assert_non_null(copy);
    gpt_kernels(t->gpt)->download(gpt_device(t->gpt), copy, flat, bytes);
    assert_int_equal(gpt_kernels(t->gpt)->sync(gpt_device(t->gpt), NULL), ERR_OK);
    return copy;
}

/* Weights far from the initial ones, so that no gradient is small by chance. */
static void shake(struct training *t)
{
    struct rng rng = rng_of(3);
    float *params = copy_of(t, gpt_params(t->gpt));
    for (int64_t i = 0; i < gpt_param_count(t->gpt); i++)
        params[i] += 0.2f * rng_normal(&rng);
    gpt_kernels(t->gpt)->upload(gpt_device(t->gpt), gpt_params(t->gpt), params,
                                (size_t)gpt_param_count(t->gpt) * sizeof(float));
    gpt_params_changed(t->gpt);
    free(params);
}

/* ---- against the CPU ---- */

static void assert_norm(const char *what, const float *got, const float *want,
                        const float *got_from, const float *want_from, int64_t count,
                        double tolerance)
{
    double off = 0.0, size = 0.0;
    for (int64_t i = 0; i < count; i++) {
        double g = (double)got[i] - (got_from == NULL ? 0.0 : (double)got_from[i]);
        double w = (double)want[i] - (want_from == NULL ? 0.0 : (double)want_from[i]);
        off += (g - w) * (g - w);
        size += w * w;
    }
    if (!(sqrt(off) <= tolerance * sqrt(size) + 1e-6))
        fail_msg("%s is off by %.3g of its norm %.3g", what, sqrt(off / size), sqrt(size));
}

/* Each tensor has a norm of its own, so that none hides behind a larger one. The keys' bias has
 * no gradient but for rounding, and a third of qkv's bias is that. */
static void assert_grads(struct training *gpu, struct training *cpu, double tolerance)
{
    float *got = copy_of(gpu, gpt_grads(gpu->gpt));
    float *want = copy_of(cpu, gpt_grads(cpu->gpt));
    for (int i = 0; i < gpt_tensor_count(gpu->gpt); i++) {
        const struct gpt_tensor *tensor = gpt_tensor_at(gpu->gpt, i);
        assert_norm(tensor->name, got + tensor->offset, want + tensor->offset, NULL, NULL,
                    tensor->count, tolerance);
    }
    free(got);
    free(want);
}

/* The copy that products use is the parameters, rounded; every bit of it. */
static void assert_weight_copy(struct training *t)
{
    int64_t count = gpt_param_count(t->gpt);
    if (gpt_weight_copy(t->gpt, 0) == NULL) return;
    float *params = copy_of(t, gpt_params(t->gpt));
    uint16_t *weights = malloc((size_t)count * sizeof(*weights));
    assert_non_null(weights);
    gpt_kernels(t->gpt)->download(gpt_device(t->gpt), weights, gpt_weight_copy(t->gpt, 0),
                                  (size_t)count * sizeof(*weights));
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &params[i], sizeof(bits));
        assert_int_equal(weights[i], (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
    free(weights);
    free(params);
}

static void check_training(const struct gpt_config *config, enum kernels_type type)
{
    struct training gpu, cpu;
    struct error error;
    const struct tolerance *tolerance = &tolerances[type];
    if (training_open(&gpu, config, kernels_cuda(), type, &error) != ERR_OK)
        fail_msg("open: %s", error.text);
    assert_int_equal(training_open(&cpu, config, kernels_cpu(), KERNELS_FP32, NULL), ERR_OK);
    shake(&gpu);
    shake(&cpu);
    float *gpu_start = copy_of(&gpu, gpt_params(gpu.gpt));
    float *cpu_start = copy_of(&cpu, gpt_params(cpu.gpt));
    assert_memory_equal(gpu_start, cpu_start, (size_t)gpt_param_count(gpu.gpt) * sizeof(float));
    for (int step = 0; step < STEPS; step++) {
        double gpu_loss, cpu_loss, gpu_norm, cpu_norm;
        if (training_step(&gpu, &gpu_loss, &gpu_norm, &error) != ERR_OK)
            fail_msg("step: %s", error.text);
        assert_int_equal(training_step(&cpu, &cpu_loss, &cpu_norm, NULL), ERR_OK);
        if (!(fabs(gpu_loss - cpu_loss) <= tolerance->loss * (0.1 + cpu_loss)))
            fail_msg("the loss of step %d is %.9g, not %.9g", step, gpu_loss, cpu_loss);
        assert_true(fabs(gpu_norm - cpu_norm) <= tolerance->grad * (1e-3 + cpu_norm));
        if (step == 0) assert_grads(&gpu, &cpu, tolerance->grad);
    }
    float *got = copy_of(&gpu, gpt_params(gpu.gpt));
    float *want = copy_of(&cpu, gpt_params(cpu.gpt));
    assert_norm("the update", got, want, gpu_start, cpu_start, gpt_param_count(gpu.gpt),
                tolerance->update);
    assert_weight_copy(&gpu);
    free(got);
    free(want);
    free(gpu_start);
    free(cpu_start);
    training_close(&gpu);
    training_close(&cpu);
    assert_int_equal(standin_blocks(), 0);
    assert_int_equal(standin_objects(), 0);
}

static void trains_as_the_cpu_does_in_fp32(void **state)
{
    (void)state;
    check_training(&odd, KERNELS_FP32);
    check_training(&least, KERNELS_FP32);
    check_training(&wide, KERNELS_FP32);
}

static void trains_as_the_cpu_does_in_bf16(void **state)
{
    (void)state;
    check_training(&odd, KERNELS_BF16);
    check_training(&least, KERNELS_BF16);
    check_training(&wide, KERNELS_BF16);
}

static void trains_without_epilogues_too(void **state)
{
    (void)state;
    fake("PENSTOCK_FAKE_EPILOGUES", 0);
    check_training(&wide, KERNELS_BF16);
}

/* Two runs differ in no bit of loss, gradients and parameters. */
static void repetition_gives_the_same_bits(void **state)
{
    (void)state;
    struct training first, second;
    assert_int_equal(training_open(&first, &odd, kernels_cuda(), KERNELS_BF16, NULL), ERR_OK);
    assert_int_equal(training_open(&second, &odd, kernels_cuda(), KERNELS_BF16, NULL), ERR_OK);
    for (int step = 0; step < 2; step++) {
        double loss[2], norm[2];
        assert_int_equal(training_step(&first, &loss[0], &norm[0], NULL), ERR_OK);
        assert_int_equal(training_step(&second, &loss[1], &norm[1], NULL), ERR_OK);
        assert_memory_equal(&loss[0], &loss[1], sizeof(loss[0]));
        assert_memory_equal(&norm[0], &norm[1], sizeof(norm[0]));
    }
    float *a = copy_of(&first, gpt_params(first.gpt));
    float *b = copy_of(&second, gpt_params(second.gpt));
    assert_same_bits("parameter", a, b, gpt_param_count(first.gpt));
    free(a);
    free(b);
    training_close(&first);
    training_close(&second);
}

/* ---- faults ---- */

/* Launches of one step, of kernels that compute nothing. */
static long count_launches(void)
{
    struct training t;
    double loss, norm;
    fake("PENSTOCK_FAKE_KERNELS", 0);
    assert_int_equal(training_open(&t, &odd, kernels_cuda(), KERNELS_BF16, NULL), ERR_OK);
    standin_reset();
    assert_int_equal(training_step(&t, &loss, &norm, NULL), ERR_OK);
    long launches = standin_launches();
    training_close(&t);
    assert_in_range(launches, 50, 500);
    return launches;
}

/* The step in which the n-th launch goes wrong ends with the code. What was opened is used. */
static void check_step(struct training *t, const char *name, long n, enum err code)
{
    struct error error;
    double loss, norm;
    fake(name, n);
    error.text[0] = '\0';
    assert_int_equal(training_step(t, &loss, &norm, &error), code);
    assert_non_null(strchr(error.text, ':'));
}

/* The same with kernels that compute nothing, and a training of its own. */
static void check_fault(const char *name, long n, enum err code, bool lasting)
{
    struct training t;
    fake("PENSTOCK_FAKE_KERNELS", 0);
    assert_int_equal(training_open(&t, &odd, kernels_cuda(), KERNELS_BF16, NULL), ERR_OK);
    check_step(&t, name, n, code);
    enum err again = gpt_kernels(t.gpt)->sync(gpt_device(t.gpt), NULL);
    assert_int_equal(again, lasting ? code : ERR_OK);
    training_close(&t);
    clear_faults(NULL);
}

static void a_lost_gpu_ends_the_step_wherever_it_happens(void **state)
{
    (void)state;
    if (is_another_order()) return;
    long launches = count_launches();
    for (long n = 1; n <= launches; n += 2)
        check_fault("PENSTOCK_FAKE_LAUNCH", n, ERR_DEVICE, true);
}

static void a_refused_launch_ends_the_step(void **state)
{
    (void)state;
    if (is_another_order()) return;
    long launches = count_launches();
    for (long n = 1; n <= launches; n++)
        check_fault("PENSTOCK_FAKE_LAUNCH_ONCE", n, ERR_DEVICE, false);
}

/* Here the kernels compute: the launches behind the refused one meet what it did not write. */
static void a_refused_launch_leaves_no_garbage_to_the_next(void **state)
{
    (void)state;
    if (is_another_order()) return;
    struct training t;
    long launches = count_launches();
    clear_faults(NULL);
    assert_int_equal(training_open(&t, &odd, kernels_cuda(), KERNELS_BF16, NULL), ERR_OK);
    for (long n = 1; n <= launches; n++)
        check_step(&t, "PENSTOCK_FAKE_LAUNCH_ONCE", n, ERR_DEVICE);
    clear_faults(NULL);
    double loss, norm;
    assert_int_equal(training_step(&t, &loss, &norm, NULL), ERR_OK);
    training_close(&t);
}

/* What never ends is given up at the deadline. Not for every launch: each takes a deadline. */
static void a_launch_that_never_ends_is_given_up(void **state)
{
    (void)state;
    if (is_another_order()) return;
    long launches = count_launches();
    int64_t before_ns = patience_ns;
    patience_ns = 20 * NS_PER_MS;
    for (long n = 1; n <= launches; n += n == launches ? 1 : min_i64(13, launches - n))
        check_fault("PENSTOCK_FAKE_STALL", n, ERR_TIMEOUT, true);
    patience_ns = before_ns;
}

/* Whichever allocation fails, creation says so and leaves nothing behind. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char *const names[] = { "PENSTOCK_FAKE_ALLOC", "PENSTOCK_FAKE_PINNED" };
    int blocks = standin_blocks();
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        enum err rc = ERR_NO_MEMORY;
        int n = 0;
        while (rc != ERR_OK) {
            struct training t;
            struct error error;
            assert_true(n < 30);
            fake(names[i], ++n);
            rc = training_open(&t, &odd, kernels_cuda(), KERNELS_BF16, &error);
            training_close(&t);
            assert_true(rc == ERR_OK || rc == ERR_NO_MEMORY);
            assert_int_equal(standin_blocks(), blocks);
            assert_int_equal(standin_objects(), 0);
        }
        assert_true(n > 2);
        clear_faults(NULL);
    }
}

static void the_table_describes_the_gpu(void **state)
{
    (void)state;
    const struct kernels_options options = { .threads = 1,
                                             .batch_rows = 1,
                                             .context = 1,
                                             .width = 1,
                                             .heads = 1,
                                             .vocab_count = 1,
                                             .type = KERNELS_BF16 };
    struct kernels_device *device;
    struct kernels_peak peak;
    struct cudaDeviceProp properties;
    char text[KERNELS_DETAIL_BYTES], gpu[KERNELS_DETAIL_BYTES], library[32];
    int version = cuda_matmul_version();
    assert_int_equal(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
    (void)snprintf(gpu, sizeof(gpu), "%.63s, sm_%d%d, bf16", properties.name, properties.major,
                   properties.minor);
    (void)snprintf(library, sizeof(library), "cuBLASLt %d.%d", version / 10000,
                   version / 100 % 100);
    assert_string_equal(kernels_cuda()->name, "cuda");
    assert_int_equal(kernels_cuda()->open(&options, &device, NULL), ERR_OK);
    kernels_cuda()->describe(device, text);
    assert_ptr_equal(strstr(text, gpu), text);
    assert_non_null(strstr(text, library));
    assert_int_equal(kernels_cuda()->peak(device, &peak, NULL), ERR_OK);
    assert_string_equal(peak.source, "gemm bf16");
    kernels_cuda()->close(device);
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    struct kernels_options options = {
        .threads = 1, .batch_rows = 1, .context = 1, .width = 6, .heads = 4, .vocab_count = 1
    };
    struct kernels_device *device = (void *)1;
    struct error error;
    assert_int_equal(kernels_cuda()->open(&options, &device, &error), ERR_INPUT);
    assert_null(device);
    assert_non_null(strstr(error.text, "no multiple"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(trains_as_the_cpu_does_in_fp32, clear_faults),
        cmocka_unit_test_teardown(trains_as_the_cpu_does_in_bf16, clear_faults),
        cmocka_unit_test_teardown(trains_without_epilogues_too, clear_faults),
        cmocka_unit_test_teardown(repetition_gives_the_same_bits, clear_faults),
        cmocka_unit_test_teardown(every_allocation_may_fail, clear_faults),
        cmocka_unit_test_teardown(the_table_describes_the_gpu, clear_faults),
        cmocka_unit_test_teardown(options_out_of_range_are_refused, clear_faults),
        cmocka_unit_test_teardown(a_refused_launch_ends_the_step, clear_faults),
        cmocka_unit_test_teardown(a_refused_launch_leaves_no_garbage_to_the_next, clear_faults),
        cmocka_unit_test_teardown(a_lost_gpu_ends_the_step_wherever_it_happens, clear_faults),
        cmocka_unit_test_teardown(a_launch_that_never_ends_is_given_up, clear_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
