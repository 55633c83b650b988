/*
 * optim.h - AdamW with decoupled decay on matrices only, clipping by the global norm, and the
 * warm-up + cosine schedule.
 *
 * Promises: the moments are two flat arrays of the model's layout, in memory of the model's
 * device, so that a checkpoint is three equal arrays and a step number. A step with a gradient
 * that is not finite changes nothing and says so. Never: communicates, prints.
 */
#ifndef WORKER_TRAINER_OPTIM_H
#define WORKER_TRAINER_OPTIM_H

#include "worker/trainer/gpt.h"

struct optim_config {
    double beta1;        /* in [0, 1) */
    double beta2;        /* in [0, 1) */
    double epsilon;      /* > 0 */
    double weight_decay; /* >= 0 */
    double clip_norm;    /* > 0; 0: no clipping */
};

/* lr(step) for step = 1, 2, ..: rises by lr_max / warmup_steps a step up to lr_max at
 * step == warmup_steps, then falls along a cosine to lr_max * min_ratio at step == total_steps,
 * and stays there. */
struct optim_schedule {
    double lr_max;        /* > 0 */
    double min_ratio;     /* in [0, 1] */
    int64_t warmup_steps; /* >= 0 and <= total_steps; 0: starts at lr_max */
    int64_t total_steps;  /* >= 1 */
};

struct optim;

/* Checks the configuration (ERR_INPUT names the member) and allocates zeroed moments on the
 * device of `gpt`, which must outlive the optimizer. The caller owns *optim. ERR_NO_MEMORY. */
must_use enum err optim_create(const struct optim_config *config, struct gpt *gpt,
                               struct optim **optim, struct error *error);

/* No-op for NULL. Keeps errno. Call it before gpt_destroy. */
void optim_destroy(struct optim *optim);

/* One update of the model's parameters from its gradients, which are first multiplied by
 * grad_scale (1 / members after a sum over a gang; 1 after a mean). *norm gets the global norm
 * of the scaled gradient before clipping. When it is not finite, parameters, moments and step
 * stay as they were and ERR_REFUSED is returned, with *norm set. ERR_DEVICE, ERR_TIMEOUT. */
must_use enum err optim_step(struct optim *optim, double lr, double grad_scale, double *norm,
                             struct error *error);

/* Steps taken so far, for bias correction; set it after the moments were uploaded. >= 0. */
int64_t optim_step_count(const struct optim *optim);
void optim_set_step_count(struct optim *optim, int64_t step_count);

/* The moments, gpt_param_count floats each, in memory of gpt_device. Valid until
 * optim_destroy. */
float *optim_moment1(struct optim *optim);
float *optim_moment2(struct optim *optim);

/* ERR_INPUT names the member that is out of range. */
must_use enum err optim_schedule_check(const struct optim_schedule *schedule,
                                       struct error *error);

/* The learning rate of a step >= 1 of a valid schedule. Pure. */
double optim_schedule_lr(const struct optim_schedule *schedule, int64_t step);

#endif
