#include "tests/kernels/support.h"

struct objective {
    const struct shape *shape;
    const int32_t *tokens;
    struct twin token_weight, position_weight, factor;
    double *out;
};

static double objective_run(void *context)
{
    struct objective *o = context;
    ref_embedding(o->shape, o->tokens, o->token_weight.d, o->position_weight.d, o->out);
    return weighted_sum(o->out, o->factor.d, o->factor.count);
}

static struct objective objective_new(struct fixture *f)
{
    const struct shape *s = &f->shape;
    return (struct objective){ .shape = s,
                               .tokens = tokens_new(f, f->rows, s->V),
                               .token_weight = twin_random(f, s->V * s->C, 1.0f, 0.0f),
                               .position_weight = twin_random(f, s->T * s->C, 1.0f, 0.0f),
                               .factor = twin_random(f, f->rows * s->C, 1.0f, 0.0f),
                               .out = doubles_new(f, f->rows * s->C) };
}

static void check_forward(struct fixture *f)
{
    struct objective o = objective_new(f);
    float *out = floats_new(f, o.factor.count);
    (void)objective_run(&o);
    f->kernels->embedding(f->device,
                          &(struct kernels_embedding){ .batch_rows = f->shape.B,
                                                       .context = f->shape.T,
                                                       .width = f->shape.C,
                                                       .vocab_count = f->shape.V,
                                                       .tokens = o.tokens,
                                                       .token_weight = o.token_weight.f,
                                                       .position_weight = o.position_weight.f,
                                                       .out = out });
    assert_floats("out", out, o.out, o.factor.count, 1e-6);
}

/* The token gradient is added to what the head left, the position gradient is overwritten. */
static void check_backward(struct fixture *f)
{
    struct objective o = objective_new(f);
    float *token_grad = floats_new(f, o.token_weight.count);
    float *position_grad = floats_new(f, o.position_weight.count);
    for (int64_t i = 0; i < o.token_weight.count; i++)
        token_grad[i] = 4.0f;
    for (int64_t i = 0; i < o.position_weight.count; i++)
        position_grad[i] = NAN;
    f->kernels->embedding_backward(f->device, &(struct kernels_embedding_backward){
                                                  .batch_rows = f->shape.B,
                                                  .context = f->shape.T,
                                                  .width = f->shape.C,
                                                  .vocab_count = f->shape.V,
                                                  .tokens = o.tokens,
                                                  .out_grad = o.factor.f,
                                                  .token_weight_grad = token_grad,
                                                  .position_weight_grad = position_grad });
    for (int64_t i = 0; i < o.token_weight.count; i++)
        token_grad[i] -= 4.0f;
    assert_gradient(f, "token_weight", &o.token_weight, token_grad, objective_run, &o);
    assert_gradient(f, "position_weight", &o.position_weight, position_grad, objective_run, &o);
}

static void forward_equals_the_reference(void **state)
{
    (void)state;
    for_each_case(check_forward);
}

static void backward_equals_finite_differences(void **state)
{
    (void)state;
    for_each_case(check_backward);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_equals_the_reference),
        cmocka_unit_test(backward_equals_finite_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
