#include "kernels/cpu/ops.h"

#include <string.h>

struct elementwise {
    float *to;
    const float *from;
    float factor;
    int64_t count;
    int64_t chunk_elements;
};

static void add_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    const struct elementwise *job = context;
    int64_t first = chunk * job->chunk_elements;
    int64_t end = min_i64(first + job->chunk_elements, job->count);
    float *to = job->to;
    const float *from = job->from;
#pragma omp simd
    for (int64_t i = first; i < end; i++)
        to[i] += from[i];
}

static void scale_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    const struct elementwise *job = context;
    int64_t first = chunk * job->chunk_elements;
    int64_t end = min_i64(first + job->chunk_elements, job->count);
    float *to = job->to;
    float factor = job->factor;
#pragma omp simd
    for (int64_t i = first; i < end; i++)
        to[i] *= factor;
}

static void copy_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    const struct elementwise *job = context;
    int64_t first = chunk * job->chunk_elements;
    int64_t end = min_i64(first + job->chunk_elements, job->count);
    memcpy(job->to + first, job->from + first, (size_t)(end - first) * sizeof(float));
}

static void run(struct kernels_device *device, pool_task_fn task, struct elementwise *job)
{
    job->chunk_elements =
        device_chunk_elements(job->count, ELEMENTS_PER_CHUNK, POOL_CHUNKS_MAX);
    pool_run(device->pool, task, job, device_chunk_count(job->count, job->chunk_elements));
}

void OP(cpu_add)(struct kernels_device *device, kernels_real *to, const kernels_real *from,
                 int64_t count)
{
    check(count >= 0);
    struct elementwise job = { .to = to, .from = from, .count = count };
    run(device, add_chunk, &job);
}

/* The CPU's numbers are fp32: there is nothing to round. */
void OP(cpu_round)(struct kernels_device *device, kernels_real *to, const float *from,
                   int64_t count)
{
    check(count >= 0);
    struct elementwise job = { .to = to, .from = from, .count = count };
    run(device, copy_chunk, &job);
}

void OP(cpu_scale)(struct kernels_device *device, float *values, float factor, int64_t count)
{
    check(count >= 0);
    struct elementwise job = { .to = values, .factor = factor, .count = count };
    run(device, scale_chunk, &job);
}
