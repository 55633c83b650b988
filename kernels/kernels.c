#include "kernels/kernels.h"

extern const struct kernels kernels_cpu_baseline;
#ifdef KERNELS_FOR_X86
extern const struct kernels kernels_cpu_avx2;
extern const struct kernels kernels_cpu_avx512;

/* Exactly the extensions that CMakeLists.txt lets the compiler use. */
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

int kernels_cpu_builds(const struct kernels *builds[KERNELS_BUILDS_MAX])
{
    int count = 0;
    if (has_avx512()) builds[count++] = &kernels_cpu_avx512;
    if (has_avx2()) builds[count++] = &kernels_cpu_avx2;
    builds[count++] = &kernels_cpu_baseline;
    return count;
}
#else
int kernels_cpu_builds(const struct kernels *builds[KERNELS_BUILDS_MAX])
{
    builds[0] = &kernels_cpu_baseline;
    return 1;
}
#endif

const struct kernels *kernels_cpu(void)
{
    const struct kernels *builds[KERNELS_BUILDS_MAX];
    (void)kernels_cpu_builds(builds);
    return builds[0];
}
