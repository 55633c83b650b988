/* The table that penstock_cuda.so exports: its kernels and gang, and what can be said about the
 * GPU before a model is opened on it. */
#include "worker/trainer/module.h"

#include "kernels/cuda/ops.h"
#include "proto/base/text.h"
#include "worker/trainer/comm_nccl.h"

#include <ctype.h>
#include <cuda_runtime_api.h>

const struct kernels *kernels_cuda(void);

static void cuda_versions(struct module_versions *versions)
{
    int runtime = -1, driver = -1;
    bool runtime_known = cudaRuntimeGetVersion(&runtime) == cudaSuccess;
    bool driver_known = cudaDriverGetVersion(&driver) == cudaSuccess;
    *versions = (struct module_versions){ .runtime = runtime_known ? runtime : -1,
                                          .driver = driver_known ? driver : -1,
                                          .cublaslt = cuda_matmul_version(),
                                          .nccl = comm_nccl_version() };
}

static enum err refuse(cudaError_t code, struct error *error)
{
    (void)cudaGetLastError();
    return error_set(error, ERR_DEVICE, "%s (%s)", cudaGetErrorString(code),
                     cudaGetErrorName(code));
}

static enum err cuda_probe(struct module_device *device, struct error *error)
{
    struct cudaDeviceProp properties;
    int count = 0; /* a call that fails leaves it alone */
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code != cudaSuccess) return refuse(code, error);
    if (count < 1) return error_set(error, ERR_DEVICE, "no GPU is visible");
    code = cudaGetDeviceProperties(&properties, 0);
    if (code != cudaSuccess) return refuse(code, error);
    *device = (struct module_device){
        .memory_bytes = (int64_t)properties.totalGlobalMem,
        .capability = 10 * properties.major + properties.minor,
        .visible_count = count,
    };
    (void)text_copy(device->name, sizeof(device->name), text_of(properties.name));
    code = cudaDeviceGetPCIBusId(device->pci_bus_id, sizeof(device->pci_bus_id), 0);
    if (code != cudaSuccess) return refuse(code, error);
    for (char *at = device->pci_bus_id; *at != '\0'; at++)
        *at = (char)tolower((unsigned char)*at);
    return ERR_OK;
}

__attribute__((visibility("default"))) const struct module *penstock_cuda_module(void);

const struct module *penstock_cuda_module(void)
{
    static const struct module module = {
        .version = MODULE_VERSION,
        .kernels = kernels_cuda,
        .versions = cuda_versions,
        .probe = cuda_probe,
        .make_id = comm_nccl_make_id,
        .gang_open = comm_nccl_open,
    };
    return &module;
}
