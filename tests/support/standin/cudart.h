/*
 * cudart.h - what tests may ask of the stand-in for CUDA's runtime, beyond the runtime's own
 * functions, which cudart.c defines with the prototypes of the toolkit's header.
 *
 * One thread at a time may be inside. The stand-in is linked in place of libcudart. There is one GPU, whose memory is the host's.
 * Work of a stream runs in order: at the call where nothing is pending before it, else from any
 * later call into the stand-in once what it waits for is done. So cudaStreamQuery and events
 * can be "not ready", and a stream that waits for a peer holds up nobody but itself.
 *
 * Faults, from the environment (faults.h says for which process), read at the first call and again by standin_reset:
 *   PENSTOCK_FAKE_GPUS=n           devices that are visible (1)
 *   PENSTOCK_FAKE_DRIVER=none      no driver: cudaErrorInsufficientDriver
 *   PENSTOCK_FAKE_CAPABILITY=75    compute capability (90)
 *   PENSTOCK_FAKE_BUS_ID=text      PCI bus id; by default "0000:1b:00.0", and 1c and so on where
 *                                  CUDA_VISIBLE_DEVICES begins with another device than 0
 *   PENSTOCK_FAKE_MEMORY=bytes     memory of the device; more is cudaErrorMemoryAllocation
 *   PENSTOCK_FAKE_PINNED=n         the n-th allocation of pinned memory fails
 *   PENSTOCK_FAKE_ALLOC=n          the n-th allocation of device memory fails (1 is the first)
 *   PENSTOCK_FAKE_LAUNCH=n         the n-th launch fails for good: every later call returns
 *                                  cudaErrorIllegalAddress
 *   PENSTOCK_FAKE_LAUNCH_ONCE=n    the n-th launch is refused (cudaErrorInvalidConfiguration),
 *                                  later ones run
 *   PENSTOCK_FAKE_STALL=n          the n-th launch never ends
 *   PENSTOCK_FAKE_KERNELS=none     launches and products return at once and compute nothing
 */
#ifndef TESTS_SUPPORT_STANDIN_CUDART_H
#define TESTS_SUPPORT_STANDIN_CUDART_H

#include <stdbool.h>

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Work on a stream that takes its time: called from time to time until it returns true. A
 * failure goes into *error, which is sticky from then on. */
typedef bool (*standin_poll_fn)(void *context, cudaError_t *error);
/* Work that runs once. */
typedef void (*standin_work_fn)(void *context);

/* Counts a launch on the stream and plays the faults. True: the caller goes on with
 * standin_enqueue, or runs the kernel itself where standin_stream_idle says so. */
bool standin_launch_begins(cudaStream_t stream);
/* Runs the work in the order of the stream; `destroy`, which may be NULL, gets the context
 * afterwards. */
void standin_enqueue(cudaStream_t stream, standin_work_fn work, void *context,
                     void (*destroy)(void *context));
void standin_enqueue_poll(cudaStream_t stream, standin_poll_fn poll, void *context,
                          void (*destroy)(void *context));
/* True when the stream has nothing pending, so that work may as well run at the call. */
bool standin_stream_idle(cudaStream_t stream);
/* Dynamic shared memory that cudaFuncSetAttribute allowed a kernel; 0: none was asked for. */
size_t standin_shared_bytes(const void *kernel);
/* Launches of emulated kernels go through launch.cpp; a call of this links it. */
void standin_launch_link(void);
/* True when kernels compute nothing. */
bool standin_kernels_off(void);

/* Forgets counts and errors and reads the environment again. Memory stays. */
void standin_reset(void);
/* Blocks of device and pinned memory in use, streams and events that exist, and launches since
 * the reset. */
int standin_blocks(void);
int standin_objects(void);
long standin_launches(void);

#ifdef __cplusplus
}
#endif

#endif
