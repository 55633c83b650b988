/*
 * device.h - what an opened GPU is made of: one stream, one block of scratch memory, staging
 * memory for copies, and the first error. Also the parts of the table that are no mathematics.
 * Private to the CUDA side.
 *
 * Promises: operations run in the order of their calls on one stream that no other stream of
 * the process waits for; the scratch block is shared by all of them, because each runs alone.
 * Every wait ends: it asks the stream again and again until the work is done, failed, or the
 * options' timeout has passed. Nothing is allocated after cuda_device_open but by
 * cuda_device_alloc.
 *
 * Errors: a call that fails is noted with the operation's name; the first one is kept, and
 * cuda_device_sync reports it once. Where the GPU's context is lost or a wait ran out of time
 * the device stays failed: every later call returns at once and every later sync says so again.
 * Memory that is downloaded from a failed device is filled with NaN.
 */
#ifndef KERNELS_CUDA_DEVICE_H
#define KERNELS_CUDA_DEVICE_H

#include "kernels/kernels.h"

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    CUDA_ALIGNMENT = 256, /* bytes: of the scratch block and of everything that is allocated */
    CUDA_BUS_ID_BYTES = 32,
    CUDA_UUID_BYTES = 16
};

/* ERR_INPUT for options out of range, as cuda_device_open. */
must_use enum err cuda_device_check(const struct kernels_options *options, struct error *error);

/* Opens the first visible GPU with `scratch_bytes` of scratch. ERR_INPUT: options out of range;
 * ERR_DEVICE: no GPU, or none that this build has code for; ERR_NO_MEMORY says how much was
 * asked for and how much is free. On failure *device is NULL. */
must_use enum err cuda_device_open(const struct kernels_options *options, size_t scratch_bytes,
                                   struct kernels_device **device, struct error *error);
/* No-op for NULL. The memory of a GPU that did not answer in time is left to the end of the
 * process, since freeing it would wait. */
void cuda_device_close(struct kernels_device *device);

/* For example "NVIDIA H100 80GB HBM3, sm_90, bf16, driver 13.0". */
void cuda_device_describe(const struct kernels_device *device, char text[KERNELS_DETAIL_BYTES]);

/* As the table's functions of the same names. */
enum err cuda_device_alloc(struct kernels_device *device, size_t bytes, void **memory,
                           struct error *error);
void cuda_device_release(struct kernels_device *device, void *memory);
void cuda_device_upload(struct kernels_device *device, void *to, const void *host,
                        size_t bytes);
void cuda_device_download(struct kernels_device *device, void *host, const void *from,
                          size_t bytes);
/* ERR_DEVICE; ERR_TIMEOUT when the options' timeout passed. */
enum err cuda_device_sync(struct kernels_device *device, struct error *error);

/* Valid until the device is closed. The scratch block is aligned to CUDA_ALIGNMENT. */
const struct kernels_options *cuda_device_options(const struct kernels_device *device);
cudaStream_t cuda_device_stream(const struct kernels_device *device);
void *cuda_device_scratch(const struct kernels_device *device);
size_t cuda_device_scratch_bytes(const struct kernels_device *device);
/* Streaming multiprocessors: grids of loops over elements are sized by it. */
int cuda_device_multiprocessors(const struct kernels_device *device);

/* Notes the result of a call that belongs to `operation`, a static string; no-op for success.
 * After a launch: cuda_device_note(device, cudaGetLastError(), "layernorm"). */
void cuda_device_note(struct kernels_device *device, cudaError_t code, const char *operation);
/* The same for a failure that CUDA's runtime has no code for; `what` is a static string. */
void cuda_device_note_text(struct kernels_device *device, const char *what,
                           const char *operation);
/* True from the first failure on until sync has reported it, or for good. */
bool cuda_device_failed(const struct kernels_device *device);
/* Notes the error of the launch before it. False once the device has failed: an operation of
 * several launches ends there, since what the next one would read was never written. */
must_use bool cuda_device_launched(struct kernels_device *device, const char *operation);

/* The PCI bus id as NVML spells it, for example "0000:1b:00.0", and the GPU's UUID. */
void cuda_device_pci_bus_id(const struct kernels_device *device, char text[CUDA_BUS_ID_BYTES]);
void cuda_device_uuid(const struct kernels_device *device, unsigned char uuid[CUDA_UUID_BYTES]);
/* Compute capability as 10 * major + minor, total memory, versions of driver and runtime as
 * 1000 * major + 10 * minor. */
int cuda_device_capability(const struct kernels_device *device);
size_t cuda_device_memory_bytes(const struct kernels_device *device);
int cuda_device_driver_version(const struct kernels_device *device);
int cuda_device_runtime_version(const struct kernels_device *device);

/* What the matrix products keep for the life of the device: their own structure, which
 * cuda_device_close hands to `destroy`. Where the GPU did not answer in time it is `blocked`,
 * and only what does not wait for it may be called. */
void cuda_device_keep(struct kernels_device *device, void *products,
                      void (*destroy)(void *products, bool blocked));
void *cuda_device_kept(const struct kernels_device *device);

#ifdef __cplusplus
}
#endif

#endif
