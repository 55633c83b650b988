#include "tests/kernels/cuda/twin.h"

/* Sums of up to 3000 rows in another order than the twin's. */
#define TOLERANCE 2e-5

/* Tokens come from the first `used` of the vocabulary: with few of them, one token spans many
 * chunks of the sorted list. */
static const struct {
    int64_t batch_rows, context, width, vocab_count, used;
    bool large;
} cases[] = {
    { 1, 1, 1, 1, 1, false },       { 2, 3, 5, 7, 7, false },
    { 1, 32, 8, 4, 1, false },      { 1, 33, 8, 4, 1, false },
    { 3, 31, 16, 256, 2, false },   { 2, 65, 24, 257, 257, false },
    { 4, 50, 33, 300, 300, false }, { 5, 64, 8, 256, 1, true },
    { 3, 333, 40, 256, 256, true }, { 2, 700, 8, 50304, 50304, true },
    { 2, 700, 7, 300, 3, true },    { 4, 700, 16, 600, 40, true },
    { 1, 40, 2056, 30, 30, true },  { 1, 257, 3, 65537, 65537, true },
};

static const struct kernels_options shapes = {
    .batch_rows = 4, .context = 700, .width = 2056, .heads = 1, .vocab_count = 65537
};

struct table {
    int64_t B, T, C, V;
    int32_t *tokens, *gpu_tokens;
    struct array *token_weight, *position_weight, *out;
    struct array *out_grad, *token_grad, *position_grad;
};

static struct table table_new(struct twins *t, int64_t B, int64_t T, int64_t C, int64_t V,
                              int64_t used)
{
    struct table e = { .B = B,
                       .T = T,
                       .C = C,
                       .V = V,
                       .token_weight = array_of_reals(t, V * C, 1.0f, 0.0f),
                       .position_weight = array_of_reals(t, T * C, 1.0f, 0.0f),
                       .out = array_of_reals(t, B * T * C, 0.0f, NAN),
                       .out_grad = array_of_reals(t, B * T * C, 1.0f, 0.0f),
                       .token_grad = array_of_floats(t, V * C, 0.5f, 0.0f),
                       .position_grad = array_of_floats(t, T * C, 0.0f, NAN) };
    e.tokens = twin_tokens(t, B * T, used, &e.gpu_tokens);
    return e;
}

static void forward_gpu(struct twins *t, struct table *e)
{
    cuda_embedding(t->gpu, &(struct kernels_embedding){ e->B, e->T, e->C, e->V, e->gpu_tokens,
                                                        e->token_weight->gpu,
                                                        e->position_weight->gpu, e->out->gpu });
}

static void backward_gpu(struct twins *t, struct table *e)
{
    cuda_embedding_backward(t->gpu, &(struct kernels_embedding_backward){
                                        e->B, e->T, e->C, e->V, e->gpu_tokens, e->out_grad->gpu,
                                        e->token_grad->gpu, e->position_grad->gpu });
}

static void run(struct twins *t, struct table *e)
{
    t->table->embedding(t->cpu, &(struct kernels_embedding){
                                    e->B, e->T, e->C, e->V, e->tokens, e->token_weight->cpu,
                                    e->position_weight->cpu, e->out->cpu });
    t->table->embedding_backward(
        t->cpu, &(struct kernels_embedding_backward){ e->B, e->T, e->C, e->V, e->tokens,
                                                      e->out_grad->cpu, e->token_grad->cpu,
                                                      e->position_grad->cpu });
    forward_gpu(t, e);
    backward_gpu(t, e);
}

static void check_all(struct twins *t)
{
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        if (cases[i].large && shapes_are_small()) continue;
        struct table e = table_new(t, cases[i].batch_rows, cases[i].context, cases[i].width,
                                   cases[i].vocab_count, cases[i].used);
        double rows = (double)(e.B * e.T);
        run(t, &e);
        array_compare("out", e.out, 1e-7);
        array_compare("position gradient", e.position_grad, TOLERANCE);
        array_compare("token gradient", e.token_grad, TOLERANCE * (1.0 + sqrt(rows) / 10.0));
    }
}

/* The rows of a token are added in the order of their positions, in chunks of 32 sorted ones:
 * the same bits whatever ran first. */
static void check_repeats(struct twins *t)
{
    struct table e = table_new(t, 2, 100, 24, 30, 9);
    array_fill(e.token_grad, 0.0f);
    backward_gpu(t, &e);
    const float *first = array_download(e.token_grad);
    array_fill(e.token_grad, 0.0f);
    backward_gpu(t, &e);
    array_same("token gradient", e.token_grad, first);
}

/* Counts that floats hold exactly: no position is lost or taken twice. */
static void check_counts(struct twins *t)
{
    struct table e = table_new(t, 3, 211, 8, 300, 300);
    for (int i = 0; i < 200; i++)
        e.tokens[i * 3] = 77;
    twin_tokens_upload(t, e.gpu_tokens, e.tokens, e.B * e.T);
    array_fill(e.out_grad, 1.0f);
    array_fill(e.token_grad, 0.0f);
    backward_gpu(t, &e);
    float counts[300] = { 0.0f };
    for (int64_t i = 0; i < e.B * e.T; i++)
        counts[e.tokens[i]] += 1.0f;
    const float *got = array_download(e.token_grad);
    for (int64_t i = 0; i < 300 * 8; i++) {
        if (got[i] != counts[i / 8])
            fail_msg("token %lld has %g of %g positions", (long long)(i / 8), (double)got[i],
                     (double)counts[i / 8]);
    }
}

/* A caller's bug: no memory outside is touched, the rows are NaN, and the tokens that are in the
 * vocabulary get what is theirs. */
static void check_strange_tokens(struct twins *t)
{
    struct table e = table_new(t, 2, 40, 8, 30, 30);
    static const int32_t strange[] = { -1, 30, INT32_MAX, INT32_MIN, 256 };
    for (size_t i = 0; i < ARRAY_COUNT(strange); i++)
        e.tokens[i * 9] = strange[i];
    twin_tokens_upload(t, e.gpu_tokens, e.tokens, e.B * e.T);
    forward_gpu(t, &e);
    const float *out = array_download(e.out);
    for (int64_t i = 0; i < 80 * 8; i++) {
        int32_t token = e.tokens[i / 8];
        assert_int_equal(isfinite(out[i]) != 0, token >= 0 && token < 30);
    }
    array_fill(e.out_grad, 1.0f);
    array_fill(e.token_grad, 0.0f);
    backward_gpu(t, &e);
    const float *grad = array_download(e.token_grad);
    double sum = 0.0;
    for (int64_t i = 0; i < 30 * 8; i++)
        sum += (double)grad[i];
    assert_true(sum == (80.0 - ARRAY_COUNT(strange)) * 8.0);
}

static void check_nonfinite(struct twins *t)
{
    struct table e = table_new(t, 2, 50, 16, 20, 20);
    array_set(e.out_grad, 61 * 16 + 5, NAN);
    array_set(e.out_grad, 3 * 16 + 6, INFINITY);
    array_set(e.token_weight, e.tokens[4] * 16 + 1, -INFINITY);
    run(t, &e);
    array_compare("out", e.out, 1e-7);
    array_compare("position gradient", e.position_grad, TOLERANCE);
    array_compare("token gradient", e.token_grad, TOLERANCE);
    assert_true(!isfinite(array_download(e.token_grad)[e.tokens[61] * 16 + 5]));
    assert_true(!isfinite(array_download(e.out)[4 * 16 + 1]));
}

/* Without a batch there is a gradient of the positions, and it is zero. */
static void check_no_rows(struct twins *t)
{
    struct table none = table_new(t, 0, 5, 8, 10, 10);
    array_fill(none.token_grad, 1.0f);
    run(t, &none);
    array_compare("position gradient", none.position_grad, 0.0);
    array_same("token gradient", none.token_grad, none.token_grad->cpu);
    struct table empty = table_new(t, 3, 0, 8, 10, 10);
    run(t, &empty);
}

static void equals_the_twin(void **state)
{
    (void)state;
    for_each_twins(&shapes, check_all);
}

static void repeats_its_bits(void **state)
{
    (void)state;
    for_each_twins(&shapes, check_repeats);
}

static void counts_every_position_once(void **state)
{
    (void)state;
    for_each_twins(&shapes, check_counts);
}

static void strange_tokens_touch_nothing(void **state)
{
    (void)state;
    for_each_twins(&shapes, check_strange_tokens);
}

static void nonfinite_values_go_through(void **state)
{
    (void)state;
    for_each_twins(&shapes, check_nonfinite);
    for_each_twins(&shapes, check_no_rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_twin),
        cmocka_unit_test(repeats_its_bits),
        cmocka_unit_test(counts_every_position_once),
        cmocka_unit_test(strange_tokens_touch_nothing),
        cmocka_unit_test(nonfinite_values_go_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
