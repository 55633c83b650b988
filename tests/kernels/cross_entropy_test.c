#include "tests/kernels/support.h"

struct objective {
    int64_t rows, vocab_count;
    double grad_scale;
    struct twin logits;
    const int32_t *targets;
    double *losses;
};

static double objective_run(void *context)
{
    struct objective *o = context;
    return o->grad_scale *
           ref_cross_entropy(o->rows, o->vocab_count, o->logits.d, o->targets, o->losses);
}

static struct objective objective_new(struct fixture *f, float scale)
{
    int64_t V = f->shape.V;
    return (struct objective){ .rows = f->rows,
                               .vocab_count = V,
                               .grad_scale = 0.25,
                               .logits = twin_random(f, f->rows * V, scale, 3.0f),
                               .targets = tokens_new(f, f->rows, V),
                               .losses = doubles_new(f, f->rows) };
}

static float *run(struct fixture *f, struct objective *o)
{
    float *losses = floats_new(f, o->rows);
    f->kernels->cross_entropy(
        f->device, &(struct kernels_cross_entropy){ .rows = o->rows,
                                                    .vocab_count = o->vocab_count,
                                                    .targets = o->targets,
                                                    .grad_scale = (float)o->grad_scale,
                                                    .logits = o->logits.f,
                                                    .losses = losses });
    return losses;
}

static void check_case(struct fixture *f)
{
    struct objective o = objective_new(f, 2.0f);
    (void)objective_run(&o);
    float *losses = run(f, &o);
    assert_floats("losses", losses, o.losses, o.rows, 1e-5);
    assert_gradient(f, "logits", &o.logits, o.logits.f, objective_run, &o);
}

/* Logits of thousands neither overflow nor lose the loss. */
static void check_large(struct fixture *f)
{
    struct objective o = objective_new(f, 3000.0f);
    (void)objective_run(&o);
    float *losses = run(f, &o);
    assert_floats("losses", losses, o.losses, o.rows, 1e-4);
}

static void check_nonfinite(struct fixture *f)
{
    const float bad[] = { NAN, INFINITY };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct objective o = objective_new(f, 1.0f);
        o.logits.f[0] = bad[i];
        float *losses = run(f, &o);
        assert_true(!isfinite(losses[0]));
        assert_true(!isfinite(o.logits.f[0]));
        for (int64_t row = 1; row < o.rows; row++)
            assert_true(isfinite(losses[row]));
    }
}

static void losses_and_gradient_equal_the_reference(void **state)
{
    (void)state;
    for_each_case(check_case);
}

static void large_logits_do_not_overflow(void **state)
{
    (void)state;
    for_each_case(check_large);
}

static void a_nonfinite_logit_spoils_its_row(void **state)
{
    (void)state;
    for_each_case(check_nonfinite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_and_gradient_equal_the_reference),
        cmocka_unit_test(large_logits_do_not_overflow),
        cmocka_unit_test(a_nonfinite_logit_spoils_its_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
