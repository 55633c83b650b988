#include "tests/gpu/copy_rate.h"

#include <cuda_runtime_api.h>

enum { BYTES = 1 << 30, COPIES = 20, ROUNDS = 5 };

static float milliseconds_of(void *to, const void *from, cudaEvent_t begin, cudaEvent_t end)
{
    float milliseconds = 0.0f;
    (void)cudaEventRecord(begin, NULL);
    for (int i = 0; i < COPIES; i++)
        (void)cudaMemcpyAsync(to, from, BYTES, cudaMemcpyDeviceToDevice, NULL);
    (void)cudaEventRecord(end, NULL);
    (void)cudaEventSynchronize(end);
    return cudaEventElapsedTime(&milliseconds, begin, end) == cudaSuccess ? milliseconds : 0.0f;
}

double copy_rate_of_gpu(void)
{
    void *from = NULL, *to = NULL;
    cudaEvent_t begin = NULL, end = NULL;
    double best = 0.0;
    if (cudaMalloc(&from, BYTES) == cudaSuccess && cudaMalloc(&to, BYTES) == cudaSuccess &&
        cudaEventCreate(&begin) == cudaSuccess && cudaEventCreate(&end) == cudaSuccess) {
        for (int round = 0; round < ROUNDS; round++) {
            double seconds = (double)milliseconds_of(to, from, begin, end) / 1e3;
            double rate = seconds > 0.0 ? 2.0 * BYTES * COPIES / seconds : 0.0;
            if (rate > best) best = rate;
        }
    }
    if (end != NULL) (void)cudaEventDestroy(end);
    if (begin != NULL) (void)cudaEventDestroy(begin);
    (void)cudaFree(to);
    (void)cudaFree(from);
    return best;
}
