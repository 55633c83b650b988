#include "tests/kernels/cuda/twin.h"

/* A few roundings of differences and quotients. */
#define TOLERANCE 2e-6

static const struct kernels_options any = {
    .batch_rows = 1, .context = 1, .width = 1, .heads = 1, .vocab_count = 1
};

static const int64_t counts[] = { 0, 1, 3, 4, 5, 63, 1023, 4097 };

struct state {
    struct array *grad, *param, *moment1, *moment2, *weight;
};

static struct state state_new(struct twins *t, int64_t count)
{
    struct state s = { .grad = array_of_floats(t, count, 1.0f, 0.0f),
                       .param = array_of_floats(t, count, 1.0f, 0.0f),
                       .moment1 = array_of_floats(t, count, 0.1f, 0.0f),
                       .moment2 = array_of_floats(t, count, 0.1f, 0.0f),
                       .weight = array_of_reals(t, count, 0.0f, NAN) };
    for (int64_t i = 0; i < count; i++)
        s.moment2->cpu[i] = fabsf(s.moment2->cpu[i]);
    array_upload(s.moment2);
    return s;
}

static void step(struct twins *t, struct state *s, float decay, bool weight)
{
    struct kernels_adamw args = { .count = s->grad->count,
                                  .grad = s->grad->cpu,
                                  .param = s->param->cpu,
                                  .weight = weight ? s->weight->cpu : NULL,
                                  .moment1 = s->moment1->cpu,
                                  .moment2 = s->moment2->cpu,
                                  .grad_scale = 0.7f,
                                  .beta1 = 0.9f,
                                  .beta2 = 0.95f,
                                  .epsilon = 1e-8f,
                                  .step_size = 2e-3f,
                                  .second_scale = 1.9f,
                                  .decay = decay };
    t->table->adamw(t->cpu, &args);
    args.grad = s->grad->gpu;
    args.param = s->param->gpu;
    args.weight = weight ? s->weight->gpu : NULL;
    args.moment1 = s->moment1->gpu;
    args.moment2 = s->moment2->gpu;
    cuda_adamw(t->gpu, &args);
}

static void check_step(struct twins *t)
{
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        struct state s = state_new(t, counts[i]);
        step(t, &s, 0.0f, false);
        array_same("weight", s.weight, s.weight->cpu);
        step(t, &s, 1e-3f, true);
        array_compare("moment1", s.moment1, TOLERANCE);
        array_compare("moment2", s.moment2, TOLERANCE);
        array_compare("param", s.param, TOLERANCE);
        array_compare("weight", s.weight, TOLERANCE);
    }
}

/* The weight is the GPU's own parameter, rounded to nearest even: not its twin's. */
static void check_weight(struct twins *t)
{
    struct state s = state_new(t, 1000);
    step(t, &s, 1e-3f, true);
    const float *param = array_download(s.param);
    struct array *rounded = array_of_reals(t, 1000, 0.0f, 0.0f);
    memcpy(rounded->cpu, param, 1000 * sizeof(*param));
    array_upload(rounded);
    array_same("weight", s.weight, rounded->cpu);
}

static void check_nonfinite(struct twins *t)
{
    struct state s = state_new(t, 30);
    array_set(s.grad, 3, NAN);
    array_set(s.grad, 14, INFINITY);
    step(t, &s, 0.0f, true);
    array_compare("param", s.param, TOLERANCE);
    const float *weight = array_download(s.weight);
    assert_true(isnan(weight[3]));
    assert_true(!isfinite(weight[14]));
    assert_true(fabsf(weight[13]) < 100.0f);
}

static void equals_the_twin(void **state)
{
    (void)state;
    for_each_twins(&any, check_step);
}

static void the_weight_is_the_rounded_parameter(void **state)
{
    (void)state;
    for_each_twins(&any, check_weight);
}

static void nonfinite_gradients_go_through(void **state)
{
    (void)state;
    for_each_twins(&any, check_nonfinite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_twin),
        cmocka_unit_test(the_weight_is_the_rounded_parameter),
        cmocka_unit_test(nonfinite_gradients_go_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
