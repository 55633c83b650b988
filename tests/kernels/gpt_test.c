#include "tests/kernels/support.h"
#include "worker/trainer/optim.h"

#include <stdlib.h>

/* Two small models: odd sizes everywhere, and one with more rows than a block of attention. */
static const struct gpt_config odd = {
    .layers = 2, .width = 10, .heads = 2, .context = 7, .vocab_count = 11
};
static const struct gpt_config longer = {
    .layers = 3, .width = 12, .heads = 3, .context = 70, .vocab_count = 17
};

static struct gpt_options options_of(const struct gpt_config *config, int batch_rows,
                                     int threads)
{
    return (struct gpt_options){ .config = *config,
                                 .batch_rows = batch_rows,
                                 .threads = threads,
                                 .kernels = kernels_cpu() };
}

static struct gpt *gpt_new(const struct gpt_config *config, int batch_rows, int threads)
{
    struct gpt *gpt;
    struct error error;
    const struct gpt_options options = options_of(config, batch_rows, threads);
    assert_int_equal(gpt_create(&options, &gpt, &error), ERR_OK);
    assert_int_equal(gpt_init(gpt, 42, &error), ERR_OK);
    return gpt;
}

struct batch {
    struct rng rng;
    int32_t tokens[1024];
};

static struct batch batch_new(int vocab_count)
{
    struct batch batch = { .rng = rng_of(5) };
    for (size_t i = 0; i < ARRAY_COUNT(batch.tokens); i++)
        batch.tokens[i] = (int32_t)rng_below(&batch.rng, (uint64_t)vocab_count);
    return batch;
}

/* Weights far from the initial ones, so that no gradient is small by chance. */
static double *shake(struct gpt *gpt, struct rng *rng)
{
    int64_t count = gpt_param_count(gpt);
    double *params = malloc((size_t)count * sizeof(*params));
    assert_non_null(params);
    for (int64_t i = 0; i < count; i++) {
        gpt_params(gpt)[i] += 0.3f * rng_normal(rng);
        params[i] = (double)gpt_params(gpt)[i];
    }
    return params;
}

static void check_tensor(struct gpt *gpt, int batch_rows, const struct gpt_tensor *tensor,
                         double *params, const struct batch *batch, struct rng *rng)
{
    for (int sample = 0; sample < 4; sample++) {
        int64_t at = tensor->offset + (int64_t)rng_below(rng, (uint64_t)tensor->count);
        const double saved = params[at];
        const double h = 1e-5;
        params[at] = saved + h;
        double above = ref_gpt_loss(gpt, batch_rows, params, batch->tokens, batch->tokens + 1);
        params[at] = saved - h;
        double below = ref_gpt_loss(gpt, batch_rows, params, batch->tokens, batch->tokens + 1);
        params[at] = saved;
        double want = (above - below) / (2.0 * h);
        double got = (double)gpt_grads(gpt)[at];
        if (!(fabs(got - want) <= 2e-5 * (0.1 + fabs(want))))
            fail_msg("gradient of %s at %lld is %.9g, not %.9g", tensor->name,
                     (long long)(at - tensor->offset), got, want);
    }
}

static void check_gradients(const struct gpt_config *config, int batch_rows, int threads)
{
    struct gpt *gpt = gpt_new(config, batch_rows, threads);
    struct batch batch = batch_new(config->vocab_count);
    double *params = shake(gpt, &batch.rng);
    double loss;
    assert_int_equal(gpt_forward(gpt, batch.tokens, batch.tokens + 1, &loss, NULL), ERR_OK);
    double want = ref_gpt_loss(gpt, batch_rows, params, batch.tokens, batch.tokens + 1);
    assert_true(fabs(loss - want) <= 1e-5 * want);
    for (int64_t i = 0; i < gpt_param_count(gpt); i++)
        gpt_grads(gpt)[i] = NAN; /* all of them are overwritten */
    assert_int_equal(gpt_backward(gpt, NULL, NULL, NULL), ERR_OK);
    for (int i = 0; i < gpt_tensor_count(gpt); i++)
        check_tensor(gpt, batch_rows, gpt_tensor_at(gpt, i), params, &batch, &batch.rng);
    for (int64_t i = 0; i < gpt_param_count(gpt); i++)
        assert_true(isfinite(gpt_grads(gpt)[i]));
    free(params);
    gpt_destroy(gpt);
}

static void gradients_equal_finite_differences(void **state)
{
    (void)state;
    check_gradients(&odd, 3, 1);
    check_gradients(&odd, 3, 2);
    check_gradients(&longer, 2, 2);
    const struct gpt_config least = {
        .layers = 1, .width = 1, .heads = 1, .context = 1, .vocab_count = 1
    };
    check_gradients(&least, 1, 1);
}

/* Loss and gradients of one pass, copied. The caller frees. */
static float *pass_new(struct gpt *gpt, const struct batch *batch, double *loss)
{
    size_t bytes = (size_t)gpt_param_count(gpt) * sizeof(float);
    float *grads = malloc(bytes);
    assert_non_null(grads);
    assert_int_equal(gpt_forward(gpt, batch->tokens, batch->tokens + 1, loss, NULL), ERR_OK);
    assert_int_equal(gpt_backward(gpt, NULL, NULL, NULL), ERR_OK);
    memcpy(grads, gpt_grads(gpt), bytes);
    return grads;
}

/* Repeated with two threads, and then with one: not one bit may differ, since no sum's order
 * depends on the threads. */
static void repetition_gives_the_same_bits(void **state)
{
    (void)state;
    const struct gpt_config config = {
        .layers = 2, .width = 48, .heads = 4, .context = 96, .vocab_count = 130
    };
    struct batch batch = batch_new(config.vocab_count);
    double loss, again_loss;
    struct gpt *gpt = gpt_new(&config, 6, 2);
    float *grads = pass_new(gpt, &batch, &loss);
    for (int i = 0; i < 20; i++) {
        struct gpt *other = gpt_new(&config, 6, i % 2 == 0 ? 2 : 1);
        float *again = pass_new(i < 2 ? other : gpt, &batch, &again_loss);
        assert_memory_equal(&loss, &again_loss, sizeof(loss));
        assert_same_bits("gradient", grads, again, gpt_param_count(gpt));
        free(again);
        gpt_destroy(other);
    }
    free(grads);
    gpt_destroy(gpt);
}

struct ranges {
    int64_t begin[8], count[8];
    int length;
};

static void note_range(void *context, int64_t offset, int64_t count)
{
    struct ranges *ranges = context;
    assert_in_range(ranges->length, 0, 7);
    ranges->begin[ranges->length] = offset;
    ranges->count[ranges->length++] = count;
}

/* One range for each layer and one for the embeddings, from the end to the front, without gaps.
 */
static void gradients_become_ready_from_the_end(void **state)
{
    (void)state;
    struct gpt *gpt = gpt_new(&longer, 2, 1);
    struct batch batch = batch_new(longer.vocab_count);
    struct ranges ranges = { 0 };
    double loss;
    assert_int_equal(gpt_forward(gpt, batch.tokens, batch.tokens + 1, &loss, NULL), ERR_OK);
    assert_int_equal(gpt_backward(gpt, note_range, &ranges, NULL), ERR_OK);
    assert_int_equal(ranges.length, longer.layers + 1);
    int64_t end = gpt_param_count(gpt);
    for (int i = 0; i < ranges.length; i++) {
        assert_true(ranges.count[i] > 0);
        assert_true(ranges.begin[i] + ranges.count[i] == end);
        end = ranges.begin[i];
    }
    assert_true(end == 0);
    gpt_destroy(gpt);
}

struct frozen {
    struct gpt *gpt;
    float *grads;
};

static void copy_range(void *context, int64_t offset, int64_t count)
{
    struct frozen *frozen = context;
    memcpy(frozen->grads + offset, gpt_grads(frozen->gpt) + offset,
           (size_t)count * sizeof(float));
}

/* A range that was called ready is not touched any more. */
static void ready_means_final(void **state)
{
    (void)state;
    struct gpt *gpt = gpt_new(&longer, 2, 2);
    struct batch batch = batch_new(longer.vocab_count);
    struct frozen frozen = { gpt, calloc((size_t)gpt_param_count(gpt), sizeof(float)) };
    double loss;
    assert_non_null(frozen.grads);
    assert_int_equal(gpt_forward(gpt, batch.tokens, batch.tokens + 1, &loss, NULL), ERR_OK);
    assert_int_equal(gpt_backward(gpt, copy_range, &frozen, NULL), ERR_OK);
    assert_same_bits("gradient", frozen.grads, gpt_grads(gpt), gpt_param_count(gpt));
    free(frozen.grads);
    gpt_destroy(gpt);
}

static void the_directory_covers_the_parameters(void **state)
{
    (void)state;
    struct gpt *gpt = gpt_new(&odd, 1, 1);
    assert_int_equal(gpt_tensor_count(gpt), 2 + 12 * odd.layers + 2);
    int64_t offset = 0;
    for (int i = 0; i < gpt_tensor_count(gpt); i++) {
        const struct gpt_tensor *tensor = gpt_tensor_at(gpt, i);
        assert_true(tensor->offset == offset);
        assert_true(tensor->count == tensor->shape[0] * tensor->shape[1]);
        assert_in_range(tensor->dims, 1, 2);
        assert_int_equal(tensor->decay, tensor->dims == 2);
        if (tensor->dims == 1) assert_true(tensor->shape[1] == 1);
        for (int other = 0; other < i; other++)
            assert_string_not_equal(tensor->name, gpt_tensor_at(gpt, other)->name);
        offset += tensor->count;
    }
    assert_true(offset == gpt_param_count(gpt));
    assert_true(offset == gpt_config_param_count(&odd));
    assert_string_equal(gpt_tensor_at(gpt, 0)->name, "wte.weight");
    assert_string_equal(gpt_tensor_at(gpt, 4)->name, "h.0.attn.qkv.weight");
    assert_true(gpt_tensor_at(gpt, 4)->shape[0] == 30);
    assert_true(gpt_tensor_at(gpt, 4)->shape[1] == 10);
    assert_string_equal(gpt_tensor_at(gpt, 27)->name, "ln_f.bias");
    gpt_destroy(gpt);
}

/* GPT-2's smallest model, whose counts are known: 124,439,808 parameters. */
static void counts_equal_published_ones(void **state)
{
    (void)state;
    const struct gpt_config gpt2 = {
        .layers = 12, .width = 768, .heads = 12, .context = 1024, .vocab_count = 50257
    };
    assert_true(gpt_config_param_count(&gpt2) == 124439808);
    const struct gpt_config small = {
        .layers = 4, .width = 128, .heads = 4, .context = 128, .vocab_count = 256
    };
    assert_true(gpt_config_param_count(&small) == 842496);
    assert_true(gpt_flops_per_token(&small) == 6 * 819200 + 12 * 4 * 128 * 128);
}

static double deviation(const float *values, int64_t count)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)values[i] * (double)values[i];
    return sqrt(sum / (double)count);
}

/* Normal with deviation 0.02, smaller for what goes into the residual stream; norms 1, biases
 * 0; and a loss near that of a uniform guess. */
static void initial_weights_are_gpt2s(void **state)
{
    (void)state;
    const struct gpt_config config = {
        .layers = 2, .width = 64, .heads = 4, .context = 32, .vocab_count = 128
    };
    struct gpt *gpt = gpt_new(&config, 2, 1);
    for (int i = 0; i < gpt_tensor_count(gpt); i++) {
        const struct gpt_tensor *tensor = gpt_tensor_at(gpt, i);
        const float *values = gpt_params(gpt) + tensor->offset;
        if (tensor->dims == 2) {
            double want = strstr(tensor->name, "proj") != NULL ? 0.01 : 0.02;
            assert_true(fabs(deviation(values, tensor->count) / want - 1.0) < 0.06);
        } else {
            float want = strstr(tensor->name, "weight") != NULL ? 1.0f : 0.0f;
            for (int64_t at = 0; at < tensor->count; at++)
                assert_true(values[at] == want);
        }
    }
    struct batch batch = batch_new(config.vocab_count);
    double loss;
    assert_int_equal(gpt_forward(gpt, batch.tokens, batch.tokens + 1, &loss, NULL), ERR_OK);
    assert_true(fabs(loss - log(config.vocab_count)) < 0.1);
    gpt_destroy(gpt);
}

static void the_seed_alone_decides(void **state)
{
    (void)state;
    struct gpt *a = gpt_new(&odd, 1, 1);
    struct gpt *b = gpt_new(&odd, 4, 2);
    int64_t count = gpt_param_count(a);
    assert_same_bits("parameter", gpt_params(a), gpt_params(b), count);
    assert_int_equal(gpt_init(b, 43, NULL), ERR_OK);
    assert_true(memcmp(gpt_params(a), gpt_params(b), (size_t)count * sizeof(float)) != 0);
    assert_int_equal(gpt_init(b, 42, NULL), ERR_OK);
    assert_same_bits("parameter", gpt_params(a), gpt_params(b), count);
    gpt_destroy(a);
    gpt_destroy(b);
}

static void a_nan_reaches_the_loss(void **state)
{
    (void)state;
    struct gpt *gpt = gpt_new(&odd, 3, 1);
    struct batch batch = batch_new(odd.vocab_count);
    for (int i = 0; i < gpt_tensor_count(gpt); i++) {
        const struct gpt_tensor *tensor = gpt_tensor_at(gpt, i);
        if (strcmp(tensor->name, "wte.weight") == 0) continue; /* its row may not be in use */
        float saved = gpt_params(gpt)[tensor->offset];
        double loss = 0.0;
        gpt_params(gpt)[tensor->offset] = NAN;
        assert_int_equal(gpt_forward(gpt, batch.tokens, batch.tokens + 1, &loss, NULL), ERR_OK);
        if (isfinite(loss)) fail_msg("a NaN in %s is not seen", tensor->name);
        gpt_params(gpt)[tensor->offset] = saved;
    }
    gpt_destroy(gpt);
}

static void assert_refused(struct gpt_options options, const char *part)
{
    struct error error = { 0 };
    struct gpt *gpt = (void *)&error;
    assert_int_equal(gpt_create(&options, &gpt, &error), ERR_INPUT);
    assert_null(gpt);
    if (strstr(error.text, part) == NULL) fail_msg("\"%s\" lacks \"%s\"", error.text, part);
    assert_int_equal(gpt_create(&options, &gpt, NULL), ERR_INPUT);
}

static void bad_options_are_refused_by_name(void **state)
{
    (void)state;
    struct gpt_options o;
    const struct {
        int *member;
        int max;
        const char *name;
    } rows[] = {
        { &o.config.layers, GPT_LAYERS_MAX, "layers" },
        { &o.config.width, GPT_WIDTH_MAX, "width" },
        { &o.config.heads, GPT_WIDTH_MAX, "heads" },
        { &o.config.context, GPT_CONTEXT_MAX, "context" },
        { &o.config.vocab_count, GPT_VOCAB_MAX, "vocabulary" },
        { &o.batch_rows, GPT_ROWS_MAX, "batch rows" },
        { &o.threads, KERNELS_THREADS_MAX, "threads" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const int bad[] = { 0, -1, INT32_MIN, rows[i].max + 1, INT32_MAX };
        for (size_t value = 0; value < ARRAY_COUNT(bad); value++) {
            o = options_of(&odd, 1, 1);
            *rows[i].member = bad[value];
            assert_refused(o, rows[i].name);
        }
    }
    o = options_of(&odd, 1, 1);
    o.config.heads = 3;
    assert_refused(o, "not a multiple");
    o.config.heads = 20;
    assert_refused(o, "not a multiple");
    assert_int_equal(gpt_config_check(&odd, NULL), ERR_OK);
    gpt_destroy(NULL);
}

static void tokens_outside_the_vocabulary_are_refused(void **state)
{
    (void)state;
    struct gpt *gpt = gpt_new(&odd, 3, 1);
    struct batch good = batch_new(odd.vocab_count);
    struct batch bad = good;
    struct error error;
    double loss = 77.0;
    const int32_t values[] = { -1, odd.vocab_count, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        bad.tokens[20] = values[i]; /* the last of the batch's 21 */
        assert_int_equal(gpt_forward(gpt, bad.tokens, good.tokens, &loss, &error), ERR_INPUT);
        assert_non_null(strstr(error.text, "token 20"));
        assert_int_equal(gpt_forward(gpt, good.tokens, bad.tokens, &loss, &error), ERR_INPUT);
        assert_non_null(strstr(error.text, "target 20"));
    }
    assert_true(loss == 77.0);
    gpt_destroy(gpt);
}

/* A table whose n-th allocation fails, and which counts what is open. */
static struct {
    struct kernels table;
    int allocs_left;
    int open_devices, open_blocks;
} faulty;

static enum err faulty_open(const struct kernels_options *options,
                            struct kernels_device **device, struct error *error)
{
    enum err rc = kernels_cpu()->open(options, device, error);
    if (rc == ERR_OK) faulty.open_devices++;
    return rc;
}

static void faulty_close(struct kernels_device *device)
{
    if (device != NULL) faulty.open_devices--;
    kernels_cpu()->close(device);
}

static enum err faulty_alloc(struct kernels_device *device, size_t bytes, void **memory,
                             struct error *error)
{
    *memory = NULL;
    if (faulty.allocs_left-- == 0) return error_set(error, ERR_NO_MEMORY, "none left");
    faulty.open_blocks++;
    return kernels_cpu()->alloc(device, bytes, memory, error);
}

static void faulty_release(struct kernels_device *device, void *memory)
{
    if (memory != NULL) faulty.open_blocks--;
    kernels_cpu()->release(device, memory);
}

/* Memory runs out at every place in turn, until a model and its optimizer succeed: nothing stays
 * behind, and the model that an optimizer failed on is still whole. */
static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    const struct optim_config adamw = {
        .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1, .clip_norm = 1.0
    };
    struct gpt_options options = options_of(&odd, 1, 2);
    faulty.table = *kernels_cpu();
    faulty.table.open = faulty_open;
    faulty.table.close = faulty_close;
    faulty.table.alloc = faulty_alloc;
    faulty.table.release = faulty_release;
    options.kernels = &faulty.table;
    int failures = 0;
    for (enum err rc = ERR_NO_MEMORY; rc != ERR_OK; failures++) {
        struct gpt *gpt;
        struct optim *optim = NULL;
        faulty.allocs_left = failures;
        if ((rc = gpt_create(&options, &gpt, NULL)) == ERR_OK)
            rc = optim_create(&adamw, gpt, &optim, NULL);
        else
            assert_null(gpt);
        assert_int_equal(rc == ERR_OK, optim != NULL);
        if (rc != ERR_OK) assert_int_equal(rc, ERR_NO_MEMORY);
        optim_destroy(optim);
        gpt_destroy(gpt);
        assert_int_equal(faulty.open_blocks, 0);
        assert_int_equal(faulty.open_devices, 0);
    }
    assert_int_equal(failures, 7); /* six blocks: the seventh try succeeds */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_equal_finite_differences),
        cmocka_unit_test(repetition_gives_the_same_bits),
        cmocka_unit_test(gradients_become_ready_from_the_end),
        cmocka_unit_test(ready_means_final),
        cmocka_unit_test(the_directory_covers_the_parameters),
        cmocka_unit_test(counts_equal_published_ones),
        cmocka_unit_test(initial_weights_are_gpt2s),
        cmocka_unit_test(the_seed_alone_decides),
        cmocka_unit_test(a_nan_reaches_the_loss),
        cmocka_unit_test(bad_options_are_refused_by_name),
        cmocka_unit_test(tokens_outside_the_vocabulary_are_refused),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
