#include "tests/kernels/cuda/twin.h"

/* The twin's exponential is off by up to 5e-6, and the sums have another order; a loss is a sum
 * of thousands of terms. */
#define TOLERANCE 2e-5

/* One for each number of vectors that a thread holds, on both sides of each limit. */
static const struct {
    int64_t rows, vocab_count;
    bool large;
} cases[] = {
    { 1, 1, false },    { 3, 2, false },    { 5, 7, false },    { 4, 8, false },
    { 3, 29, false },   { 7, 256, false },  { 5, 257, false },  { 3, 515, false },
    { 2, 8192, true },  { 2, 8201, true },  { 3, 4097, true },  { 2, 16387, true },
    { 1, 32769, true }, { 2, 32787, true }, { 2, 50257, true }, { 1, 50304, true },
    { 1, 65536, true }, { 1, 65551, true },
};

static const struct kernels_options shapes = {
    .batch_rows = 1, .context = 7, .width = 1, .heads = 1, .vocab_count = 65551
};

struct rows {
    int64_t count, vocab_count;
    int32_t *targets, *gpu_targets;
    struct array *logits, *losses;
};

static struct rows rows_new(struct twins *t, int64_t count, int64_t vocab_count)
{
    struct rows r = { .count = count, .vocab_count = vocab_count };
    r.targets = twin_tokens(t, count, vocab_count, &r.gpu_targets);
    r.logits = array_of_reals(t, count * vocab_count, 3.0f, 1.0f);
    r.losses = array_of_floats(t, count, 0.0f, NAN);
    return r;
}

static void run_gpu(struct twins *t, struct rows *r)
{
    cuda_cross_entropy(
        t->gpu, &(struct kernels_cross_entropy){ r->count, r->vocab_count, r->gpu_targets,
                                                 0.25f, r->logits->gpu, r->losses->gpu });
}

static void run(struct twins *t, struct rows *r)
{
    t->table->cross_entropy(
        t->cpu, &(struct kernels_cross_entropy){ r->count, r->vocab_count, r->targets, 0.25f,
                                                 r->logits->cpu, r->losses->cpu });
    run_gpu(t, r);
}

/* Gradients of a large vocabulary are small: they are compared with their scale, 0.25. */
static void check_all(struct twins *t)
{
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        if (cases[i].large && shapes_are_small()) continue;
        struct rows r = rows_new(t, cases[i].rows, cases[i].vocab_count);
        run(t, &r);
        array_compare("loss", r.losses, TOLERANCE);
        array_compare("gradient", r.logits, TOLERANCE / 10.0);
    }
}

/* A row's gradients add up to nothing, however wide it is; targets at both ends. */
static void check_sums(struct twins *t)
{
    static const int64_t widths[] = { 1, 9, 300, 5001 };
    for (size_t i = 0; i < ARRAY_COUNT(widths); i++) {
        if (shapes_are_small() && widths[i] > 1000) continue;
        struct rows r = rows_new(t, 2, widths[i]);
        r.targets[0] = 0;
        r.targets[1] = (int32_t)(widths[i] - 1);
        twin_tokens_upload(t, r.gpu_targets, r.targets, 2);
        run_gpu(t, &r);
        const float *grad = array_download(r.logits);
        for (int row = 0; row < 2; row++) {
            double sum = 0.0;
            for (int64_t k = 0; k < widths[i]; k++)
                sum += (double)grad[row * widths[i] + k];
            assert_true(fabs(sum) <= (t->type == KERNELS_BF16 ? 2e-3 : 1e-6));
        }
    }
}

/* Logits whose exponentials are no floats. */
static void check_extremes(struct twins *t)
{
    static const int64_t widths[] = { 40, 33001 };
    for (size_t i = 0; i < ARRAY_COUNT(widths); i++) {
        if (shapes_are_small() && widths[i] > 1000) continue;
        struct rows r = rows_new(t, 3, widths[i]);
        for (int64_t k = 0; k < widths[i]; k++) {
            r.logits->cpu[k] += 3000.0f;
            r.logits->cpu[widths[i] + k] -= 5e5f;
        }
        r.logits->cpu[2 * widths[i] + 17] = 900.0f;
        array_upload(r.logits);
        run(t, &r);
        array_compare("loss", r.losses, TOLERANCE);
        array_compare("gradient", r.logits, TOLERANCE / 10.0);
    }
}

/* A logit that is not finite spoils loss and gradients of its row, and of no other. */
static void check_nonfinite(struct twins *t)
{
    static const int64_t widths[] = { 19, 264, 33001 };
    static const float values[] = { NAN, INFINITY, -INFINITY };
    for (size_t i = 0; i < ARRAY_COUNT(widths) * ARRAY_COUNT(values); i++) {
        int64_t V = widths[i / ARRAY_COUNT(values)];
        if (shapes_are_small() && V > 1000) continue;
        struct rows r = rows_new(t, 3, V);
        array_set(r.logits, V + 11, values[i % ARRAY_COUNT(values)]);
        run_gpu(t, &r);
        const float *losses = array_download(r.losses), *grad = array_download(r.logits);
        for (int row = 0; row < 3; row++)
            assert_int_equal(isfinite(losses[row]) != 0, row != 1);
        for (int64_t k = 0; k < 3 * V; k++)
            assert_int_equal(isfinite(grad[k]) != 0, k / V != 1);
    }
}

/* A caller's bug: nothing outside the row is touched, and the loss says that it is none. */
static void check_strange_targets(struct twins *t)
{
    static const int32_t strange[] = { -1, 50, INT32_MAX, INT32_MIN };
    struct rows r = rows_new(t, ARRAY_COUNT(strange), 50);
    twin_tokens_upload(t, r.gpu_targets, strange, ARRAY_COUNT(strange));
    run_gpu(t, &r);
    const float *losses = array_download(r.losses);
    for (size_t i = 0; i < ARRAY_COUNT(strange); i++)
        assert_true(isnan(losses[i]));
}

static void check_no_rows(struct twins *t)
{
    struct rows r = rows_new(t, 0, 10);
    run(t, &r);
}

static void equals_the_twin(void **state)
{
    (void)state;
    for_each_twins(&shapes, check_all);
}

static void gradients_of_a_row_cancel(void **state)
{
    (void)state;
    for_each_twins(&shapes, check_sums);
}

static void large_logits_are_no_matter(void **state)
{
    (void)state;
    for_each_twins(&shapes, check_extremes);
}

static void nonfinite_logits_spoil_their_row(void **state)
{
    (void)state;
    for_each_twins(&shapes, check_nonfinite);
}

static void strange_targets_give_nan(void **state)
{
    (void)state;
    for_each_twins(&shapes, check_strange_targets);
    for_each_twins(&shapes, check_no_rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_twin),
        cmocka_unit_test(gradients_of_a_row_cancel),
        cmocka_unit_test(large_logits_are_no_matter),
        cmocka_unit_test(nonfinite_logits_spoil_their_row),
        cmocka_unit_test(strange_targets_give_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
