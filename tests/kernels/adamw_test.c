#include "tests/kernels/support.h"

static const struct shape one = { 1, 1, 1, 1, 1 };

enum { COUNT = 20011, STEPS = 5 };

/* Five steps with the formulas of the paper (Loshchilov and Hutter 2019), in double. */
static void check_steps(struct fixture *f)
{
    const double lr = 0.01, beta1 = 0.9, beta2 = 0.95, decay = 0.1, clip = 0.5, epsilon = 1e-8;
    struct twin param = twin_random(f, COUNT, 1.0f, 0.0f);
    float *m = floats_new(f, COUNT), *v = floats_new(f, COUNT);
    double *m_want = doubles_new(f, COUNT), *v_want = doubles_new(f, COUNT);
    for (int step = 1; step <= STEPS; step++) {
        struct twin grad = twin_random(f, COUNT, 0.1f, 0.0f);
        double corrected1 = 1.0 - pow(beta1, step);
        double corrected2 = 1.0 - pow(beta2, step);
        const struct kernels_adamw args = { .count = COUNT,
                                            .grad = grad.f,
                                            .param = param.f,
                                            .moment1 = m,
                                            .moment2 = v,
                                            .grad_scale = (float)clip,
                                            .beta1 = (float)beta1,
                                            .beta2 = (float)beta2,
                                            .epsilon = (float)epsilon,
                                            .step_size = (float)(lr / corrected1),
                                            .second_scale = (float)(1.0 / sqrt(corrected2)),
                                            .decay = (float)(lr * decay) };
        f->kernels->adamw(f->device, &args);
        for (int i = 0; i < COUNT; i++) {
            double g = clip * grad.d[i];
            m_want[i] = beta1 * m_want[i] + (1.0 - beta1) * g;
            v_want[i] = beta2 * v_want[i] + (1.0 - beta2) * g * g;
            param.d[i] -=
                lr * (m_want[i] / corrected1 / (sqrt(v_want[i] / corrected2) + epsilon) +
                      decay * param.d[i]);
        }
    }
    assert_floats("param", param.f, param.d, COUNT, 1e-5);
    assert_floats("moment1", m, m_want, COUNT, 1e-6);
    assert_floats("moment2", v, v_want, COUNT, 1e-6);
}

/* A gradient of zero moves nothing when there is no decay, and is no division by zero. */
static void check_zero(struct fixture *f)
{
    float grad[3] = { 0 }, param[3] = { 1.0f, -2.0f, 3.0f }, m[3] = { 0 }, v[3] = { 0 };
    const struct kernels_adamw args = { .count = 3,
                                        .grad = grad,
                                        .param = param,
                                        .moment1 = m,
                                        .moment2 = v,
                                        .grad_scale = 1.0f,
                                        .beta1 = 0.9f,
                                        .beta2 = 0.95f,
                                        .epsilon = 1e-8f,
                                        .step_size = 0.1f,
                                        .second_scale = 1.0f };
    f->kernels->adamw(f->device, &args);
    assert_true(param[0] == 1.0f);
    assert_true(param[1] == -2.0f);
    assert_true(param[2] == 3.0f);
}

static void steps_equal_the_reference(void **state)
{
    (void)state;
    for_each_device(&one, check_steps);
}

static void a_zero_gradient_moves_nothing(void **state)
{
    (void)state;
    for_each_device(&one, check_zero);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_equal_the_reference),
        cmocka_unit_test(a_zero_gradient_moves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
