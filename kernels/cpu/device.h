/*
 * device.h - what an opened CPU backend is made of: a pool of threads and scratch memory that
 * is planned once from the largest shapes. Also the parts of the table that are no mathematics.
 * Private to the CPU kernels.
 */
#ifndef KERNELS_CPU_DEVICE_H
#define KERNELS_CPU_DEVICE_H

#include "kernels/cpu/pool.h"
#include "kernels/kernels.h"

enum {
    ATTENTION_BLOCK = 32,  /* rows of scores that one step of attention holds */
    ATTENTION_PAD = 16,    /* a row of them is padded to a multiple of a vector */
    PARTIALS_MAX = 32,     /* partial sums that layernorm's weight gradients are made of */
    SUM_CHUNKS_MAX = 4096, /* partial sums that a sum of squares is made of */
    ELEMENTS_PER_CHUNK = 16384
};

struct kernels_device {
    struct kernels_options options;
    struct pool *pool;
    float *thread_scratch; /* attention: thread_scratch_count floats for each thread */
    int64_t thread_scratch_count;
    float *partials; /* [PARTIALS_MAX, 2, C] */
    double *sums;    /* [SUM_CHUNKS_MAX] */
};

must_use enum err device_open(const struct kernels_options *options,
                              struct kernels_device **device, struct error *error);
void device_close(struct kernels_device *device);
enum err device_alloc(struct kernels_device *device, size_t bytes, void **memory,
                      struct error *error);
void device_release(struct kernels_device *device, void *memory);
void device_upload(struct kernels_device *device, void *to, const void *host, size_t bytes);
void device_download(struct kernels_device *device, void *host, const void *from, size_t bytes);
enum err device_sync(struct kernels_device *device, struct error *error);

/* Elements of a chunk of an elementwise loop over `count` elements, and the chunks there are.
 * They depend on count alone, so that sums over chunks do not depend on the threads. */
int64_t device_chunk_elements(int64_t count, int64_t chunk_min, int chunks_max);
int device_chunk_count(int64_t count, int64_t chunk_elements);

/* Scratch of one thread inside a task. */
float *device_scratch(const struct kernels_device *device, int thread);

#endif
