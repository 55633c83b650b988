/* copy_rate.h - what a plain copy inside the GPU's memory moves. */
#ifndef TESTS_GPU_COPY_RATE_H
#define TESTS_GPU_COPY_RATE_H

/* Bytes read plus bytes written, per second, of CUDA's own copy between two buffers far larger
 * than the cache; the best of several rounds. 0 where there is no GPU. */
double copy_rate_of_gpu(void);

#endif
