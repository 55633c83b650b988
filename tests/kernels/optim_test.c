#include "worker/trainer/optim.h"

#include "proto/base/rng.h"
#include "tests/kernels/support.h"

#include <stdlib.h>

static const struct gpt_config config = {
    .layers = 2, .width = 10, .heads = 2, .context = 7, .vocab_count = 11
};
static const struct optim_config good = {
    .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1, .clip_norm = 1.0
};

struct setup {
    struct gpt *gpt;
    struct optim *optim;
    int64_t count;
    struct rng rng;
};

static struct setup setup_new(const struct optim_config *optim_config, int threads)
{
    struct setup s = { .rng = rng_of(9) };
    const struct gpt_options options = {
        .config = config, .batch_rows = 3, .threads = threads, .kernels = kernels_cpu()
    };
    assert_int_equal(gpt_create(&options, &s.gpt, NULL), ERR_OK);
    assert_int_equal(gpt_init(s.gpt, 1, NULL), ERR_OK);
    assert_int_equal(optim_create(optim_config, s.gpt, &s.optim, NULL), ERR_OK);
    s.count = gpt_param_count(s.gpt);
    return s;
}

static void setup_free(struct setup *s)
{
    optim_destroy(s->optim);
    gpt_destroy(s->gpt);
}

static void fill_grads(struct setup *s, float scale)
{
    for (int64_t i = 0; i < s->count; i++)
        gpt_grads(s->gpt)[i] = scale * rng_normal(&s->rng);
}

static double norm_of(const struct setup *s, double grad_scale)
{
    double sum = 0.0;
    for (int64_t i = 0; i < s->count; i++) {
        double g = grad_scale * (double)gpt_grads(s->gpt)[i];
        sum += g * g;
    }
    return sqrt(sum);
}

struct reference {
    double *param, *m, *v;
};

static double *doubles(int64_t count)
{
    double *values = calloc((size_t)count, sizeof(*values));
    assert_non_null(values);
    return values;
}

static struct reference reference_new(const struct setup *s)
{
    struct reference r = { doubles(s->count), doubles(s->count), doubles(s->count) };
    for (int64_t i = 0; i < s->count; i++)
        r.param[i] = (double)gpt_params(s->gpt)[i];
    return r;
}

static void reference_free(struct reference *r)
{
    free(r->param);
    free(r->m);
    free(r->v);
}

/* One step of the paper's algorithm; decay for the tensors of two dimensions. */
static void reference_step(struct reference *r, const struct setup *s,
                           const struct optim_config *c, double lr, double factor, int64_t step)
{
    for (int t = 0; t < gpt_tensor_count(s->gpt); t++) {
        const struct gpt_tensor *tensor = gpt_tensor_at(s->gpt, t);
        double decay = tensor->dims == 2 ? c->weight_decay : 0.0;
        for (int64_t i = tensor->offset; i < tensor->offset + tensor->count; i++) {
            double g = factor * (double)gpt_grads(s->gpt)[i];
            r->m[i] = c->beta1 * r->m[i] + (1.0 - c->beta1) * g;
            r->v[i] = c->beta2 * r->v[i] + (1.0 - c->beta2) * g * g;
            double m_hat = r->m[i] / (1.0 - pow(c->beta1, (double)step));
            double v_hat = r->v[i] / (1.0 - pow(c->beta2, (double)step));
            r->param[i] -= lr * (m_hat / (sqrt(v_hat) + c->epsilon) + decay * r->param[i]);
        }
    }
}

static void check_against_reference(const struct optim_config *c, double grad_scale,
                                    int threads)
{
    struct setup s = setup_new(c, threads);
    struct reference r = reference_new(&s);
    for (int step = 1; step <= 6; step++) {
        const double lr = 0.02 / step;
        double norm;
        fill_grads(&s, step % 2 == 0 ? 1e-3f : 1.0f); /* below the clip norm and above it */
        double want = norm_of(&s, grad_scale);
        double clip = c->clip_norm > 0.0 && want > c->clip_norm ? c->clip_norm / want : 1.0;
        reference_step(&r, &s, c, lr, grad_scale * clip, step);
        assert_int_equal(optim_step(s.optim, lr, grad_scale, &norm, NULL), ERR_OK);
        assert_true(fabs(norm - want) <= 1e-9 * want);
        assert_int_equal(optim_step_count(s.optim), step);
    }
    assert_floats("param", gpt_params(s.gpt), r.param, s.count, 1e-5);
    assert_floats("moment1", optim_moment1(s.optim), r.m, s.count, 1e-6);
    assert_floats("moment2", optim_moment2(s.optim), r.v, s.count, 1e-6);
    reference_free(&r);
    setup_free(&s);
}

static void steps_equal_the_reference(void **state)
{
    (void)state;
    check_against_reference(&good, 1.0, 1);
    check_against_reference(&good, 0.25, 2);
    struct optim_config c = good;
    c.clip_norm = 0.0;
    check_against_reference(&c, 1.0, 1);
    c.weight_decay = 0.0;
    c.beta1 = 0.0;
    check_against_reference(&c, 2.0, 2);
}

/* NaN or an infinity anywhere: the step is refused, the norm tells, nothing has moved. */
static void a_nonfinite_gradient_changes_nothing(void **state)
{
    (void)state;
    struct setup s = setup_new(&good, 2);
    const float bad[] = { NAN, INFINITY, -INFINITY };
    const int64_t places[] = { 0, s.count / 2, s.count - 1 };
    double norm;
    fill_grads(&s, 1.0f);
    assert_int_equal(optim_step(s.optim, 0.01, 1.0, &norm, NULL), ERR_OK);
    struct reference before = reference_new(&s);
    for (int64_t i = 0; i < s.count; i++) {
        before.m[i] = (double)optim_moment1(s.optim)[i];
        before.v[i] = (double)optim_moment2(s.optim)[i];
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        for (size_t place = 0; place < ARRAY_COUNT(places); place++) {
            fill_grads(&s, 1.0f);
            gpt_grads(s.gpt)[places[place]] = bad[i];
            norm = 0.0;
            assert_int_equal(optim_step(s.optim, 0.01, 1.0, &norm, NULL), ERR_REFUSED);
            assert_true(!isfinite(norm));
        }
    }
    assert_int_equal(optim_step_count(s.optim), 1);
    assert_floats("param", gpt_params(s.gpt), before.param, s.count, 0.0);
    assert_floats("moment1", optim_moment1(s.optim), before.m, s.count, 0.0);
    assert_floats("moment2", optim_moment2(s.optim), before.v, s.count, 0.0);
    reference_free(&before);
    setup_free(&s);
}

/* Parameters, moments and step number carried over to a second optimizer go on bit for bit. */
static void a_restored_optimizer_goes_on_alike(void **state)
{
    (void)state;
    struct setup a = setup_new(&good, 1);
    struct setup b = setup_new(&good, 2);
    size_t bytes = (size_t)a.count * sizeof(float);
    double norm;
    for (int step = 0; step < 3; step++) {
        fill_grads(&a, 1.0f);
        assert_int_equal(optim_step(a.optim, 0.01, 1.0, &norm, NULL), ERR_OK);
    }
    memcpy(gpt_params(b.gpt), gpt_params(a.gpt), bytes);
    memcpy(optim_moment1(b.optim), optim_moment1(a.optim), bytes);
    memcpy(optim_moment2(b.optim), optim_moment2(a.optim), bytes);
    optim_set_step_count(b.optim, optim_step_count(a.optim));
    fill_grads(&a, 1.0f);
    memcpy(gpt_grads(b.gpt), gpt_grads(a.gpt), bytes);
    assert_int_equal(optim_step(a.optim, 0.01, 1.0, &norm, NULL), ERR_OK);
    assert_int_equal(optim_step(b.optim, 0.01, 1.0, &norm, NULL), ERR_OK);
    assert_same_bits("param", gpt_params(a.gpt), gpt_params(b.gpt), a.count);
    assert_same_bits("moment2", optim_moment2(a.optim), optim_moment2(b.optim), a.count);
    setup_free(&a);
    setup_free(&b);
}

/* A model learns: it repeats a short text after some steps. */
static void training_lowers_the_loss(void **state)
{
    (void)state;
    struct setup s = setup_new(&good, 1);
    int32_t text[22];
    for (int i = 0; i < 22; i++)
        text[i] = (i * i) % 11;
    double first = 0.0, loss = 0.0, norm;
    for (int step = 0; step < 150; step++) {
        assert_int_equal(gpt_forward(s.gpt, text, text + 1, &loss, NULL), ERR_OK);
        if (step == 0) first = loss;
        assert_int_equal(gpt_backward(s.gpt, NULL, NULL, NULL), ERR_OK);
        assert_int_equal(optim_step(s.optim, 1e-2, 1.0, &norm, NULL), ERR_OK);
    }
    assert_true(first > 2.0);
    assert_true(loss < 0.2);
    setup_free(&s);
}

static void assert_refused(struct optim_config c, const char *part)
{
    struct setup s = setup_new(&good, 1);
    struct error error = { 0 };
    struct optim *optim = (void *)&error;
    assert_int_equal(optim_create(&c, s.gpt, &optim, &error), ERR_INPUT);
    assert_null(optim);
    if (strstr(error.text, part) == NULL) fail_msg("\"%s\" lacks \"%s\"", error.text, part);
    setup_free(&s);
}

static void bad_configurations_are_refused_by_name(void **state)
{
    (void)state;
    struct optim_config c;
    const struct {
        double *member;
        double bad[5];
        const char *name;
    } rows[] = {
        { &c.beta1, { 1.0, -0.1, 2.0, NAN, INFINITY }, "beta1" },
        { &c.beta2, { 1.0, -0.1, 2.0, NAN, INFINITY }, "beta2" },
        { &c.epsilon, { 0.0, -1e-8, NAN, INFINITY, -INFINITY }, "epsilon" },
        { &c.weight_decay, { -0.1, -INFINITY, NAN, INFINITY, -1.0 }, "weight decay" },
        { &c.clip_norm, { -1.0, -INFINITY, NAN, INFINITY, -1e-9 }, "clip norm" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        for (size_t value = 0; value < ARRAY_COUNT(rows[i].bad); value++) {
            c = good;
            *rows[i].member = rows[i].bad[value];
            assert_refused(c, rows[i].name);
        }
    }
    optim_destroy(NULL);
}

static void assert_near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-12)) fail_msg("%.15g is not %.15g", got, want);
}

static void the_schedule_has_its_end_points(void **state)
{
    (void)state;
    struct optim_schedule s = {
        .lr_max = 1.0, .min_ratio = 0.1, .warmup_steps = 20, .total_steps = 200
    };
    assert_int_equal(optim_schedule_check(&s, NULL), ERR_OK);
    assert_near(optim_schedule_lr(&s, 1), 0.05);
    assert_near(optim_schedule_lr(&s, 10), 0.5);
    assert_near(optim_schedule_lr(&s, 20), 1.0);
    assert_near(optim_schedule_lr(&s, 110), 0.55); /* half way down */
    assert_near(optim_schedule_lr(&s, 200), 0.1);
    assert_near(optim_schedule_lr(&s, 201), 0.1);
    assert_near(optim_schedule_lr(&s, INT64_MAX), 0.1);
    for (int64_t step = 2; step <= 200; step++) {
        bool rises = optim_schedule_lr(&s, step) > optim_schedule_lr(&s, step - 1);
        assert_int_equal(rises, step <= 20);
    }
    s.warmup_steps = 0;
    assert_true(optim_schedule_lr(&s, 1) > 0.999);
    assert_near(optim_schedule_lr(&s, 200), 0.1);
    s.min_ratio = 1.0;
    assert_near(optim_schedule_lr(&s, 77), 1.0);
    s.warmup_steps = s.total_steps; /* nothing but warm-up */
    assert_int_equal(optim_schedule_check(&s, NULL), ERR_OK);
    assert_near(optim_schedule_lr(&s, 200), 1.0);
    assert_near(optim_schedule_lr(&s, 201), 1.0);
}

static void bad_schedules_are_refused_by_name(void **state)
{
    (void)state;
    const struct {
        struct optim_schedule schedule;
        const char *name;
    } rows[] = {
        { { 0.0, 0.1, 1, 10 }, "learning rate is" },
        { { -1.0, 0.1, 1, 10 }, "learning rate is" },
        { { NAN, 0.1, 1, 10 }, "learning rate is" },
        { { INFINITY, 0.1, 1, 10 }, "learning rate is" },
        { { 1.0, -0.1, 1, 10 }, "ratio" },
        { { 1.0, 1.1, 1, 10 }, "ratio" },
        { { 1.0, NAN, 1, 10 }, "ratio" },
        { { 1.0, 0.1, -1, 10 }, "warm-up" },
        { { 1.0, 0.1, 11, 10 }, "warm-up" },
        { { 1.0, 0.1, 0, 0 }, "steps" },
        { { 1.0, 0.1, 0, -5 }, "steps" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct error error = { 0 };
        assert_int_equal(optim_schedule_check(&rows[i].schedule, &error), ERR_INPUT);
        if (strstr(error.text, rows[i].name) == NULL)
            fail_msg("\"%s\" lacks \"%s\"", error.text, rows[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_equal_the_reference),
        cmocka_unit_test(a_nonfinite_gradient_changes_nothing),
        cmocka_unit_test(a_restored_optimizer_goes_on_alike),
        cmocka_unit_test(training_lowers_the_loss),
        cmocka_unit_test(bad_configurations_are_refused_by_name),
        cmocka_unit_test(the_schedule_has_its_end_points),
        cmocka_unit_test(bad_schedules_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
