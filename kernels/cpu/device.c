#include "kernels/cpu/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

/* Zeroed memory whose size is rounded up to whole cache lines. */
static void *alloc_lines(size_t bytes)
{
    if (bytes > PTRDIFF_MAX - ALIGNMENT) return NULL; /* no object is larger */
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (rounded == 0) rounded = ALIGNMENT;
    void *memory = aligned_alloc(ALIGNMENT, rounded);
    if (memory != NULL) memset(memory, 0, rounded);
    return memory;
}

static enum err check_options(const struct kernels_options *o, struct error *error)
{
    if (o->threads < 1 || o->threads > KERNELS_THREADS_MAX)
        return error_set(error, ERR_INPUT, "%d threads: must be 1 to %d", o->threads,
                         KERNELS_THREADS_MAX);
    if (o->batch_rows < 1 || o->context < 1 || o->width < 1 || o->heads < 1 ||
        o->vocab_count < 1)
        return error_set(error, ERR_INPUT, "every shape of a device must be at least 1");
    if (o->width % o->heads != 0)
        return error_set(error, ERR_INPUT, "width %lld is no multiple of %lld heads",
                         (long long)o->width, (long long)o->heads);
    if (o->type != KERNELS_FP32)
        return error_set(error, ERR_INPUT, "the CPU computes in fp32 alone; use --dtype fp32");
    if (o->context > INT32_MAX / ATTENTION_BLOCK || o->width > INT32_MAX / PARTIALS_MAX)
        return error_set(error, ERR_INPUT, "context %lld or width %lld is too large",
                         (long long)o->context, (long long)o->width);
    if (o->batch_rows > POOL_CHUNKS_MAX / o->heads)
        return error_set(error, ERR_INPUT, "%lld rows of %lld heads are too many",
                         (long long)o->batch_rows, (long long)o->heads);
    return ERR_OK;
}

enum err device_open(const struct kernels_options *options, struct kernels_device **out,
                     struct error *error)
{
    *out = NULL;
    enum err rc = check_options(options, error);
    if (rc != ERR_OK) return rc;
    struct kernels_device *device = calloc(1, sizeof(*device));
    if (device == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for a device");
    device->options = *options;
    int64_t keys = div_ceil(options->context, ATTENTION_PAD) * ATTENTION_PAD;
    device->thread_scratch_count = 2 * ATTENTION_BLOCK * keys;
    device->thread_scratch = alloc_lines((size_t)options->threads *
                                         (size_t)device->thread_scratch_count * sizeof(float));
    device->partials = alloc_lines(PARTIALS_MAX * 2 * (size_t)options->width * sizeof(float));
    device->sums = alloc_lines(SUM_CHUNKS_MAX * sizeof(double));
    if (device->thread_scratch == NULL || device->partials == NULL || device->sums == NULL) {
        rc = error_set(error, ERR_NO_MEMORY, "no memory for a device's scratch");
        goto out;
    }
    if ((rc = pool_create(options->threads, &device->pool, error)) != ERR_OK) goto out;
    *out = device;
    return ERR_OK;
out:
    device_close(device);
    return rc;
}

void device_close(struct kernels_device *device)
{
    if (device == NULL) return;
    int saved = errno;
    pool_destroy(device->pool);
    free(device->sums);
    free(device->partials);
    free(device->thread_scratch);
    free(device);
    errno = saved;
}

enum err device_alloc(struct kernels_device *device, size_t bytes, void **memory,
                      struct error *error)
{
    (void)device;
    *memory = alloc_lines(bytes);
    if (*memory == NULL)
        return error_set(error, ERR_NO_MEMORY, "no memory for %zu bytes", bytes);
    return ERR_OK;
}

void device_release(struct kernels_device *device, void *memory)
{
    (void)device;
    free(memory);
}

void device_upload(struct kernels_device *device, void *to, const void *host, size_t bytes)
{
    (void)device;
    memcpy(to, host, bytes);
}

void device_download(struct kernels_device *device, void *host, const void *from, size_t bytes)
{
    (void)device;
    memcpy(host, from, bytes);
}

/* Operations are done when they return, and none can fail. */
enum err device_sync(struct kernels_device *device, struct error *error)
{
    (void)device;
    (void)error;
    return ERR_OK;
}

int64_t device_chunk_elements(int64_t count, int64_t chunk_min, int chunks_max)
{
    return max_i64(chunk_min, div_ceil(count, chunks_max));
}

int device_chunk_count(int64_t count, int64_t chunk_elements)
{
    return (int)div_ceil(count, chunk_elements);
}

float *device_scratch(const struct kernels_device *device, int thread)
{
    return device->thread_scratch + thread * device->thread_scratch_count;
}
