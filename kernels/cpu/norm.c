#include "kernels/cpu/ops.h"

/* Squares are taken in double, where no float's square overflows: the sum is finite when and
 * only when every value is. */
struct squares {
    const float *values;
    int64_t count;
    int64_t chunk_elements;
    double *sums; /* one for each chunk */
};

static void squares_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    const struct squares *job = context;
    int64_t first = chunk * job->chunk_elements;
    int64_t end = min_i64(first + job->chunk_elements, job->count);
    const float *values = job->values;
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = first; i < end; i++)
        sum += (double)values[i] * (double)values[i];
    job->sums[chunk] = sum;
}

double OP(cpu_sum_squares)(struct kernels_device *device, const float *values, int64_t count)
{
    check(count >= 0);
    struct squares job = { .values = values, .count = count, .sums = device->sums };
    job.chunk_elements = device_chunk_elements(count, ELEMENTS_PER_CHUNK, SUM_CHUNKS_MAX);
    int chunks = device_chunk_count(count, job.chunk_elements);
    pool_run(device->pool, squares_chunk, &job, chunks);
    double sum = 0.0;
    for (int i = 0; i < chunks; i++)
        sum += device->sums[i];
    return sum;
}
