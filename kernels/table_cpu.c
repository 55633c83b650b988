/* The table of one instruction set; compiled once for each, see cpu/ops.h. */
#include "kernels/cpu/ops.h"

#include <stdio.h>

static enum err open_cpu(const struct kernels_options *options, struct kernels_device **device,
                         struct error *error)
{
    OP(gemm_prepare)();
    return device_open(options, device, error);
}

static void describe(const struct kernels_device *device, char text[KERNELS_DETAIL_BYTES])
{
    int threads = pool_threads(device->pool);
    (void)snprintf(text, KERNELS_DETAIL_BYTES, "%d thread%s, %s, OpenBLAS", threads,
                   threads == 1 ? "" : "s", CPU_STRING(CPU_ISA));
}

const struct kernels OP(kernels_cpu) = {
    .name = "cpu",
    .open = open_cpu,
    .close = device_close,
    .describe = describe,
    .peak = OP(cpu_peak),
    .alloc = device_alloc,
    .release = device_release,
    .upload = device_upload,
    .download = device_download,
    .sync = device_sync,
    .embedding = OP(cpu_embedding),
    .embedding_backward = OP(cpu_embedding_backward),
    .layernorm = OP(cpu_layernorm),
    .layernorm_backward = OP(cpu_layernorm_backward),
    .matmul = OP(cpu_matmul),
    .matmul_backward = OP(cpu_matmul_backward),
    .attention = OP(cpu_attention),
    .attention_backward = OP(cpu_attention_backward),
    .gelu = OP(cpu_gelu),
    .gelu_backward = OP(cpu_gelu_backward),
    .cross_entropy = OP(cpu_cross_entropy),
    .add = OP(cpu_add),
    .round = OP(cpu_round),
    .scale = OP(cpu_scale),
    .sum_squares = OP(cpu_sum_squares),
    .adamw = OP(cpu_adamw),
};
