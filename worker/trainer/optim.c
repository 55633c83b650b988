#include "worker/trainer/optim.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

struct optim {
    struct optim_config config;
    struct gpt *gpt;
    float *moment1, *moment2; /* [param_count] each, on the model's device */
    int64_t step_count;
};

static enum err check_config(const struct optim_config *c, struct error *error)
{
    if (!(c->beta1 >= 0.0 && c->beta1 < 1.0))
        return error_set(error, ERR_INPUT, "beta1 is %g: must be in [0, 1)", c->beta1);
    if (!(c->beta2 >= 0.0 && c->beta2 < 1.0))
        return error_set(error, ERR_INPUT, "beta2 is %g: must be in [0, 1)", c->beta2);
    if (!(c->epsilon > 0.0 && isfinite(c->epsilon)))
        return error_set(error, ERR_INPUT, "epsilon is %g: must be above 0", c->epsilon);
    if (!(c->weight_decay >= 0.0 && isfinite(c->weight_decay)))
        return error_set(error, ERR_INPUT, "weight decay is %g: must not be below 0",
                         c->weight_decay);
    if (!(c->clip_norm >= 0.0 && isfinite(c->clip_norm)))
        return error_set(error, ERR_INPUT, "clip norm is %g: must not be below 0",
                         c->clip_norm);
    return ERR_OK;
}

static enum err alloc_moment(struct optim *optim, float **moment, struct error *error)
{
    void *memory = NULL;
    size_t bytes = (size_t)gpt_param_count(optim->gpt) * sizeof(float);
    enum err rc = gpt_kernels(optim->gpt)->alloc(gpt_device(optim->gpt), bytes, &memory, error);
    *moment = memory;
    return rc;
}

enum err optim_create(const struct optim_config *config, struct gpt *gpt, struct optim **out,
                      struct error *error)
{
    *out = NULL;
    enum err rc = check_config(config, error);
    if (rc != ERR_OK) return rc;
    struct optim *optim = calloc(1, sizeof(*optim));
    if (optim == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for an optimizer");
    optim->config = *config;
    optim->gpt = gpt;
    if ((rc = alloc_moment(optim, &optim->moment1, error)) != ERR_OK) goto out;
    if ((rc = alloc_moment(optim, &optim->moment2, error)) != ERR_OK) goto out;
    *out = optim;
    return ERR_OK;
out:
    optim_destroy(optim);
    return rc;
}

void optim_destroy(struct optim *optim)
{
    if (optim == NULL) return;
    int saved = errno;
    gpt_kernels(optim->gpt)->release(gpt_device(optim->gpt), optim->moment2);
    gpt_kernels(optim->gpt)->release(gpt_device(optim->gpt), optim->moment1);
    free(optim);
    errno = saved;
}

/* Neighbouring tensors with the same decay are updated in one go: `end` gets the tensor behind
 * the last of them. */
static int64_t run_of_tensors(const struct gpt *gpt, int first, int *end)
{
    int64_t count = 0;
    int i = first;
    bool decay = gpt_tensor_at(gpt, first)->decay;
    for (; i < gpt_tensor_count(gpt) && gpt_tensor_at(gpt, i)->decay == decay; i++)
        count += gpt_tensor_at(gpt, i)->count;
    *end = i;
    return count;
}

static void update(const struct optim *optim, double lr, double grad_scale)
{
    const struct optim_config *c = &optim->config;
    struct gpt *gpt = optim->gpt;
    double step = (double)optim->step_count;
    struct kernels_adamw args = {
        .grad_scale = (float)grad_scale,
        .beta1 = (float)c->beta1,
        .beta2 = (float)c->beta2,
        .epsilon = (float)c->epsilon,
        .step_size = (float)(lr / (1.0 - pow(c->beta1, step))),
        .second_scale = (float)(1.0 / sqrt(1.0 - pow(c->beta2, step))),
    };
    for (int i = 0, end = 0; i < gpt_tensor_count(gpt); i = end) {
        const struct gpt_tensor *tensor = gpt_tensor_at(gpt, i);
        args.count = run_of_tensors(gpt, i, &end);
        args.grad = gpt_grads(gpt) + tensor->offset;
        args.param = gpt_params(gpt) + tensor->offset;
        args.weight = gpt_weight_copy(gpt, tensor->offset);
        args.moment1 = optim->moment1 + tensor->offset;
        args.moment2 = optim->moment2 + tensor->offset;
        args.decay = tensor->decay ? (float)(lr * c->weight_decay) : 0.0f;
        gpt_kernels(gpt)->adamw(gpt_device(gpt), &args);
    }
}

enum err optim_step(struct optim *optim, double lr, double grad_scale, double *norm,
                    struct error *error)
{
    struct gpt *gpt = optim->gpt;
    check(isfinite(lr));
    check(isfinite(grad_scale));
    double squares =
        gpt_kernels(gpt)->sum_squares(gpt_device(gpt), gpt_grads(gpt), gpt_param_count(gpt));
    *norm = sqrt(squares) * fabs(grad_scale);
    if (!isfinite(*norm)) { /* as it is, too, when the device has failed */
        enum err rc = gpt_kernels(gpt)->sync(gpt_device(gpt), error);
        if (rc != ERR_OK) return rc;
        return error_set(error, ERR_REFUSED, "the gradient's norm is not finite");
    }
    double factor = grad_scale;
    double clip = optim->config.clip_norm;
    if (clip > 0.0 && *norm > clip) factor *= clip / *norm;
    optim->step_count++;
    update(optim, lr, factor);
    return gpt_kernels(gpt)->sync(gpt_device(gpt), error);
}

int64_t optim_step_count(const struct optim *optim)
{
    return optim->step_count;
}

void optim_set_step_count(struct optim *optim, int64_t step_count)
{
    check(step_count >= 0);
    optim->step_count = step_count;
}

float *optim_moment1(struct optim *optim)
{
    return optim->moment1;
}

float *optim_moment2(struct optim *optim)
{
    return optim->moment2;
}

enum err optim_schedule_check(const struct optim_schedule *s, struct error *error)
{
    if (!(s->lr_max > 0.0 && isfinite(s->lr_max)))
        return error_set(error, ERR_INPUT, "learning rate is %g: must be above 0", s->lr_max);
    if (!(s->min_ratio >= 0.0 && s->min_ratio <= 1.0))
        return error_set(error, ERR_INPUT, "least learning rate ratio is %g: must be in [0, 1]",
                         s->min_ratio);
    if (s->total_steps < 1)
        return error_set(error, ERR_INPUT, "%lld steps: must be at least 1",
                         (long long)s->total_steps);
    if (s->warmup_steps < 0 || s->warmup_steps > s->total_steps)
        return error_set(error, ERR_INPUT, "%lld warm-up steps: must be 0 to %lld steps",
                         (long long)s->warmup_steps, (long long)s->total_steps);
    return ERR_OK;
}

double optim_schedule_lr(const struct optim_schedule *s, int64_t step)
{
    const double pi = 3.14159265358979323846;
    check(step >= 1);
    if (step <= s->warmup_steps) return s->lr_max * (double)step / (double)s->warmup_steps;
    if (step >= s->total_steps) return s->lr_max * s->min_ratio;
    double progress =
        (double)(step - s->warmup_steps) / (double)(s->total_steps - s->warmup_steps);
    double cosine = 0.5 * (1.0 + cos(pi * progress));
    return s->lr_max * (s->min_ratio + (1.0 - s->min_ratio) * cosine);
}
