/*
 * no_kernels.h - included before a .cu file in place of the harness alone: launches are counted by
 * the stand-in of CUDA's runtime and run nothing, so that what is left is the host's own work.
 */
#ifndef TESTS_BENCH_CUDA_NO_KERNELS_H
#define TESTS_BENCH_CUDA_NO_KERNELS_H

#include "tests/support/cuda_emu.h"
#include "tests/support/standin/cudart.h"

/* The arguments are made, as for a launch, and dropped. */
template <class... Parameters, class... Arguments>
void launch_nothing(void (*)(Parameters...), dim3, dim3, size_t, cudaStream_t stream,
                    Arguments...)
{
    (void)standin_launch_begins(stream);
}

#undef LAUNCH
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                 \
    launch_nothing(kernel, grid, block, shared_bytes, stream, __VA_ARGS__)

#endif
