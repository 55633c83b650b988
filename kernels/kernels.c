#include "kernels/kernels.h"

extern const struct kernels kernels_cpu_baseline;
#ifdef KERNELS_HAVE_AVX2
extern const struct kernels kernels_cpu_avx2;
#endif

/* The AVX2 build uses AVX2 and FMA and nothing beyond the baseline besides. */
const struct kernels *kernels_cpu(void)
{
#ifdef KERNELS_HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &kernels_cpu_avx2;
#endif
    return &kernels_cpu_baseline;
}
