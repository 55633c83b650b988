/*
 * mma.cuh - the instructions that tiled bf16 kernels are made of: the tensor cores' product of
 * one warp, the loads of its operands from shared memory, copies to shared memory that go on
 * while the thread computes, and the power of two.
 *
 * Each is one PTX instruction of sm_80 and later; the layouts are those of the PTX ISA, "Matrix
 * fragments for mma.m16n8k16" and "ldmatrix". With lane = 4 * row + quad:
 *
 *     a   16 x 16, row by row   a[0] row, 2 quad   a[1] row + 8   a[2], a[3] the same, 8 to the right
 *     b   16 x 8                b[0] holds rows 2 quad and 2 quad + 1 of column `row`, b[1] 8 below
 *     sum 16 x 8                sum[0], sum[1] row, 2 quad   sum[2], sum[3] row + 8
 *
 * Where a register holds two numbers, the lower half is the one with the lower index. Compiled
 * for the CPU, the same functions come from the tests' harness.
 *
 * All lanes of a warp call warp-wide functions together. Addresses are aligned to the size that
 * is moved.
 */
#ifndef KERNELS_CUDA_MMA_CUH
#define KERNELS_CUDA_MMA_CUH

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <stdint.h>
#include <string.h>

/* Two numbers rounded to bf16 in one register. */
static __device__ inline uint32_t pack_bf16(float low, float high)
{
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    uint32_t bits;
    memcpy(&bits, &pair, sizeof(bits));
    return bits;
}

#ifndef CUDA_EMU

/* Addresses of shared memory have half the bits of others. */
using shared_address = uint32_t;

static __device__ inline shared_address shared_address_of(const void *shared)
{
    return static_cast<shared_address>(__cvta_generic_to_shared(shared));
}

/* sum += a * b, warp-wide. */
static __device__ inline void mma_bf16(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0,
                                       uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Four matrices of 8 x 8 16-bit numbers, warp-wide: lane i gives the address of row i % 8 of
 * matrix i / 8, 16 bytes, and gets from each matrix the two numbers 2 (i % 4) of row i / 4. */
static __device__ inline void ldmatrix(uint32_t (&to)[4], shared_address row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row)
                 : "memory");
}

/* The same with each matrix transposed. */
static __device__ inline void ldmatrix_transposed(uint32_t (&to)[4], shared_address row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row)
                 : "memory");
}

/* Starts to copy 16 bytes to shared memory past the first cache, or zeros where not `valid`;
 * the address must lie in mapped memory either way. */
static __device__ inline void copy_async_16(void *shared, const void *from, bool valid)
{
    asm volatile(
        "cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address_of(shared)),
        "l"(from), "r"(valid ? 16 : 0)
        : "memory");
}

/* The same for 4 bytes. */
static __device__ inline void copy_async_4(void *shared, const void *from, bool valid)
{
    asm volatile(
        "cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address_of(shared)),
        "l"(from), "r"(valid ? 4 : 0)
        : "memory");
}

/* Closes the group of the copies that this thread has started. */
static __device__ inline void copy_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits for all groups of this thread but the last `PENDING`. Other threads see what was copied
 * after the next barrier. */
template <int PENDING> static __device__ inline void copy_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

/* 2^x within 2 units of the last place; results below the normal numbers are zero. */
static __device__ inline float exp2_fast(float x)
{
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

#endif

#endif
