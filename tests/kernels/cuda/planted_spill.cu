/* A kernel that cannot do without spilling: spills.py must find it. */
__global__ void __launch_bounds__(512, 2) planted_spill(const float *in, float *out)
{
    float x[64];
#pragma unroll
    for (int i = 0; i < 64; i++)
        x[i] = in[i * 512 + threadIdx.x];
    for (int round = 0; round < 3; round++) {
#pragma unroll
        for (int i = 0; i < 64; i++)
            x[i] = x[i] * x[(i * 7 + 3) % 64] + x[(i * 5 + 1) % 64];
    }
#pragma unroll
    for (int i = 0; i < 64; i++)
        out[i * 512 + threadIdx.x] = x[i];
}
