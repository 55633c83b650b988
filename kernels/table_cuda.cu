/* The table of the GPU, and how a device is opened for all of its operations. */
#include "kernels/cuda/ops.h"

#include <stdio.h>
#include <string.h>

static size_t scratch_bytes(const struct kernels_options *options)
{
    static size_t (*const wants[])(const struct kernels_options *options) = {
        cuda_embedding_scratch_bytes,     cuda_layernorm_scratch_bytes,
        cuda_matmul_scratch_bytes,        cuda_attention_scratch_bytes,
        cuda_cross_entropy_scratch_bytes, cuda_norm_scratch_bytes
    };
    size_t most = 0;
    for (size_t i = 0; i < ARRAY_COUNT(wants); i++) {
        size_t bytes = wants[i](options);
        if (bytes > most) most = bytes;
    }
    return most;
}

/* The shapes are checked by cuda_device_open; scratch is planned from shapes that passed. */
static enum err open_cuda(const struct kernels_options *options, struct kernels_device **out,
                          struct error *error)
{
    struct kernels_device *device = NULL;
    *out = NULL;
    enum err rc = cuda_device_check(options, error);
    if (rc != ERR_OK) return rc;
    if ((rc = cuda_attention_check(options, error)) != ERR_OK) return rc;
    rc = cuda_device_open(options, scratch_bytes(options), &device, error);
    if (rc != ERR_OK) return rc;
    if ((rc = cuda_matmul_open(device, error)) != ERR_OK) goto out;
    *out = device;
    return ERR_OK;
out:
    cuda_device_close(device);
    return rc;
}

static void describe(const struct kernels_device *device, char text[KERNELS_DETAIL_BYTES])
{
    int version = cuda_matmul_version();
    cuda_device_describe(device, text);
    size_t length = strlen(text);
    (void)snprintf(text + length, KERNELS_DETAIL_BYTES - length, ", cuBLASLt %d.%d",
                   version / 10000, version / 100 % 100);
}

static struct kernels make_table(void)
{
    struct kernels table;
    memset(&table, 0, sizeof(table));
    table.name = "cuda";
    table.open = open_cuda;
    table.close = cuda_device_close;
    table.describe = describe;
    table.peak = cuda_matmul_peak;
    table.alloc = cuda_device_alloc;
    table.release = cuda_device_release;
    table.upload = cuda_device_upload;
    table.download = cuda_device_download;
    table.sync = cuda_device_sync;
    table.embedding = cuda_embedding;
    table.embedding_backward = cuda_embedding_backward;
    table.layernorm = cuda_layernorm;
    table.layernorm_backward = cuda_layernorm_backward;
    table.matmul = cuda_matmul;
    table.matmul_backward = cuda_matmul_backward;
    table.attention = cuda_attention;
    table.attention_backward = cuda_attention_backward;
    table.gelu = cuda_gelu;
    table.gelu_backward = cuda_gelu_backward;
    table.cross_entropy = cuda_cross_entropy;
    table.add = cuda_add;
    table.round = cuda_round;
    table.scale = cuda_scale;
    table.sum_squares = cuda_sum_squares;
    table.adamw = cuda_adamw;
    return table;
}

extern "C" const struct kernels *kernels_cuda(void)
{
    static const struct kernels table = make_table();
    return &table;
}
