/* The opened GPU. Host code alone: there is no kernel in this file. */
#include "kernels/cuda/device.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    LEAST_CAPABILITY = 80, /* bf16 products, asynchronous copies; no code below is built */
    STAGES = 2,            /* one is filled while the other is copied */
    YIELDS = 2000,         /* of a wait, before it sleeps between two looks */
    SLEEP_NS = 20000,      /* between two looks at work that takes longer */
    LARGE_WIDTH = 1 << 24
};

constexpr size_t STAGING_BYTES = 4 << 20;

struct stage {
    void *memory;     /* STAGING_BYTES, pinned */
    cudaEvent_t free; /* recorded behind the copy that uses it */
};

struct kernels_device {
    struct kernels_options options;
    cudaStream_t stream;
    void *scratch;
    size_t scratch_bytes;
    struct stage stages[STAGES];
    int next_stage;

    struct error first;   /* of what failed since the last sync; code is ERR_OK for nothing */
    bool lost;            /* for good */
    bool blocked;         /* the GPU did not answer in time: what waits for it may not return */
    struct error lasting; /* what is said from then on */

    void *products;
    void (*destroy_products)(void *products, bool blocked);

    char name[64];
    char bus_id[CUDA_BUS_ID_BYTES];
    unsigned char uuid[CUDA_UUID_BYTES];
    int capability, multiprocessors, driver_version, runtime_version;
    size_t memory_bytes;
};

/* ---- errors ---- */

static void keep_first(struct kernels_device *device, const struct error *error)
{
    if (device->first.code == ERR_OK) device->first = *error;
}

static void lose(struct kernels_device *device, const struct error *error)
{
    keep_first(device, error);
    if (!device->lost) device->lasting = *error;
    device->lost = true;
}

/* A lost context gives its error to every call; any other error was told once. */
static bool context_is_lost(const struct kernels_device *device)
{
    cudaError_t code = cudaStreamQuery(device->stream);
    (void)cudaGetLastError(); /* "not ready" would count as the next call's failure */
    return code != cudaSuccess && code != cudaErrorNotReady;
}

void cuda_device_note(struct kernels_device *device, cudaError_t code, const char *operation)
{
    if (code == cudaSuccess || device->lost) return;
    struct error error;
    memset(&error, 0, sizeof(error));
    (void)cudaGetLastError(); /* it is told here, and not by the next call too */
    (void)error_set(&error, ERR_DEVICE, "%s: %s (%s)", operation, cudaGetErrorString(code),
                    cudaGetErrorName(code));
    if (context_is_lost(device))
        lose(device, &error);
    else
        keep_first(device, &error);
}

void cuda_device_note_text(struct kernels_device *device, const char *what,
                           const char *operation)
{
    struct error error;
    memset(&error, 0, sizeof(error));
    (void)error_set(&error, ERR_DEVICE, "%s: %s", operation, what);
    if (context_is_lost(device))
        lose(device, &error);
    else
        keep_first(device, &error);
}

bool cuda_device_failed(const struct kernels_device *device)
{
    return device->lost || device->first.code != ERR_OK;
}

bool cuda_device_launched(struct kernels_device *device, const char *operation)
{
    cuda_device_note(device, cudaGetLastError(), operation);
    return !cuda_device_failed(device);
}

/* Copies an error to the caller and returns its code. */
static enum err tell(const struct error *from, struct error *error)
{
    if (error != NULL) *error = *from;
    return from->code;
}

/* ---- waiting ---- */

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void pause_between_looks(int looks)
{
    if (looks < YIELDS) {
        (void)sched_yield();
        return;
    }
    struct timespec nap = { 0, SLEEP_NS };
    (void)nanosleep(&nap, NULL);
}

/* Waits until the event has passed, or, for NULL, until the stream is idle. False when the
 * device is lost or the time is up, which is noted. */
static bool wait_for(struct kernels_device *device, cudaEvent_t event, const char *operation)
{
    if (device->lost) return false;
    int64_t start_ns = 0;
    for (int looks = 0;; looks++) {
        cudaError_t code =
            event != NULL ? cudaEventQuery(event) : cudaStreamQuery(device->stream);
        if (code == cudaSuccess) return true;
        if (code != cudaErrorNotReady) {
            cuda_device_note(device, code, operation);
            return false;
        }
        (void)cudaGetLastError();
        int64_t now = now_ns();
        if (start_ns == 0) start_ns = now;
        if (device->options.timeout_ns > 0 && now - start_ns >= device->options.timeout_ns) {
            struct error error;
            memset(&error, 0, sizeof(error));
            (void)error_set(&error, ERR_TIMEOUT, "%s: the GPU was not done within %.3g s",
                            operation, (double)device->options.timeout_ns / (double)NS_PER_S);
            device->blocked = true;
            lose(device, &error);
            return false;
        }
        pause_between_looks(looks);
    }
}

enum err cuda_device_sync(struct kernels_device *device, struct error *error)
{
    (void)wait_for(device, NULL, "wait");
    struct error first = device->first;
    memset(&device->first, 0, sizeof(device->first));
    if (first.code != ERR_OK) return tell(&first, error);
    return device->lost ? tell(&device->lasting, error) : ERR_OK;
}

/* ---- open and close ---- */

enum err cuda_device_check(const struct kernels_options *o, struct error *error)
{
    if (o->batch_rows < 1 || o->context < 1 || o->width < 1 || o->heads < 1 ||
        o->vocab_count < 1)
        return error_set(error, ERR_INPUT, "every shape of a device must be at least 1");
    if (o->width % o->heads != 0)
        return error_set(error, ERR_INPUT, "width %lld is no multiple of %lld heads",
                         (long long)o->width, (long long)o->heads);
    if (o->timeout_ns < 0) return error_set(error, ERR_INPUT, "a timeout must not be below 0");
    if (o->width > LARGE_WIDTH || o->vocab_count > INT32_MAX ||
        o->batch_rows > INT32_MAX / o->context)
        return error_set(error, ERR_INPUT,
                         "%lld rows of %lld, width %lld or vocabulary %lld is too large",
                         (long long)o->batch_rows, (long long)o->context, (long long)o->width,
                         (long long)o->vocab_count);
    return ERR_OK;
}

static enum err cuda_error(struct error *error, cudaError_t code, const char *what)
{
    (void)cudaGetLastError();
    return error_set(error, ERR_DEVICE, "%s: %s (%s)", what, cudaGetErrorString(code),
                     cudaGetErrorName(code));
}

static enum err look_at_gpu(struct kernels_device *device, struct error *error)
{
    struct cudaDeviceProp properties;
    int count = 0;
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code != cudaSuccess) return cuda_error(error, code, "no GPU is visible");
    if (count < 1) return error_set(error, ERR_DEVICE, "no GPU is visible");
    if ((code = cudaSetDevice(0)) != cudaSuccess)
        return cuda_error(error, code, "take the GPU");
    if ((code = cudaGetDeviceProperties(&properties, 0)) != cudaSuccess)
        return cuda_error(error, code, "ask the GPU what it is");
    if ((code = cudaDeviceGetPCIBusId(device->bus_id, CUDA_BUS_ID_BYTES, 0)) != cudaSuccess)
        return cuda_error(error, code, "ask for the PCI bus id");
    if ((code = cudaDriverGetVersion(&device->driver_version)) != cudaSuccess)
        return cuda_error(error, code, "ask for the driver's version");
    if ((code = cudaRuntimeGetVersion(&device->runtime_version)) != cudaSuccess)
        return cuda_error(error, code, "ask for the runtime's version");
    (void)snprintf(device->name, sizeof(device->name), "%.63s", properties.name);
    memcpy(device->uuid, properties.uuid.bytes, CUDA_UUID_BYTES);
    device->capability = 10 * properties.major + properties.minor;
    device->multiprocessors = properties.multiProcessorCount;
    device->memory_bytes = properties.totalGlobalMem;
    if (device->capability < LEAST_CAPABILITY)
        return error_set(error, ERR_DEVICE,
                         "%s has compute capability %d.%d: 8.0 or newer is needed",
                         device->name, properties.major, properties.minor);
    return ERR_OK;
}

static enum err no_memory(struct error *error, const char *what, size_t bytes, cudaError_t code)
{
    size_t free_bytes = 0, total_bytes = 0;
    (void)cudaGetLastError();
    if (cudaMemGetInfo(&free_bytes, &total_bytes) != cudaSuccess) (void)cudaGetLastError();
    return error_set(error, ERR_NO_MEMORY,
                     "no GPU memory for %zu bytes of %s, %zu of %zu are free: %s", bytes, what,
                     free_bytes, total_bytes, cudaGetErrorString(code));
}

static enum err open_stages(struct kernels_device *device, struct error *error)
{
    for (int i = 0; i < STAGES; i++) {
        struct stage *stage = &device->stages[i];
        cudaError_t code = cudaMallocHost(&stage->memory, STAGING_BYTES);
        if (code != cudaSuccess) {
            stage->memory = NULL;
            (void)cudaGetLastError();
            return error_set(error, ERR_NO_MEMORY, "no pinned memory for %zu bytes: %s",
                             STAGING_BYTES, cudaGetErrorString(code));
        }
        code = cudaEventCreateWithFlags(&stage->free, cudaEventDisableTiming);
        if (code != cudaSuccess) {
            stage->free = NULL;
            return cuda_error(error, code, "make an event");
        }
    }
    return ERR_OK;
}

static enum err open_scratch(struct kernels_device *device, size_t bytes, struct error *error)
{
    if (bytes == 0) return ERR_OK;
    cudaError_t code = cudaMalloc(&device->scratch, bytes);
    if (code != cudaSuccess) {
        device->scratch = NULL;
        return no_memory(error, "scratch", bytes, code);
    }
    device->scratch_bytes = bytes;
    return ERR_OK;
}

enum err cuda_device_open(const struct kernels_options *options, size_t scratch_bytes,
                          struct kernels_device **out, struct error *error)
{
    *out = NULL;
    enum err rc = cuda_device_check(options, error);
    if (rc != ERR_OK) return rc;
    struct kernels_device *device = (struct kernels_device *)calloc(1, sizeof(*device));
    if (device == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for a device");
    device->options = *options;
    cudaError_t code;
    if ((rc = look_at_gpu(device, error)) != ERR_OK) goto out;
    code = cudaStreamCreateWithFlags(&device->stream, cudaStreamNonBlocking);
    if (code != cudaSuccess) {
        device->stream = NULL;
        rc = cuda_error(error, code, "make a stream");
        goto out;
    }
    if ((rc = open_stages(device, error)) != ERR_OK) goto out;
    if ((rc = open_scratch(device, scratch_bytes, error)) != ERR_OK) goto out;
    *out = device;
    return ERR_OK;
out:
    cuda_device_close(device);
    return rc;
}

/* Destroying events and streams does not wait for them, freeing memory does. */
void cuda_device_close(struct kernels_device *device)
{
    if (device == NULL) return;
    int saved = errno;
    if (device->stream != NULL) (void)wait_for(device, NULL, "close");
    if (device->destroy_products != NULL)
        device->destroy_products(device->products, device->blocked);
    if (!device->blocked) (void)cudaFree(device->scratch);
    for (int i = 0; i < STAGES; i++) {
        if (device->stages[i].free != NULL) (void)cudaEventDestroy(device->stages[i].free);
        if (device->stages[i].memory != NULL && !device->blocked)
            (void)cudaFreeHost(device->stages[i].memory);
    }
    if (device->stream != NULL) (void)cudaStreamDestroy(device->stream);
    (void)cudaGetLastError();
    free(device);
    errno = saved;
}

/* ---- memory ---- */

enum err cuda_device_alloc(struct kernels_device *device, size_t bytes, void **memory,
                           struct error *error)
{
    *memory = NULL;
    if (device->lost) return tell(&device->lasting, error);
    void *block = NULL;
    size_t least = bytes == 0 ? 1 : bytes;
    cudaError_t code = cudaMalloc(&block, least);
    if (code != cudaSuccess) {
        if (code == cudaErrorMemoryAllocation) return no_memory(error, "tensors", bytes, code);
        cuda_device_note(device, code, "allocate");
        return cuda_error(error, code, "allocate GPU memory");
    }
    code = cudaMemsetAsync(block, 0, least, device->stream);
    if (code != cudaSuccess) {
        cuda_device_note(device, code, "clear memory");
        (void)cudaFree(block);
        return cuda_error(error, code, "clear GPU memory");
    }
    *memory = block;
    return ERR_OK;
}

void cuda_device_release(struct kernels_device *device, void *memory)
{
    if (memory == NULL) return;
    (void)wait_for(device, NULL, "release");
    if (!device->blocked) cuda_device_note(device, cudaFree(memory), "release");
}

/* The stage whose turn it is, once nothing reads or writes it any more; NULL after a failure. */
static struct stage *next_stage(struct kernels_device *device, const char *operation)
{
    struct stage *stage = &device->stages[device->next_stage];
    if (!wait_for(device, stage->free, operation)) return NULL;
    device->next_stage = (device->next_stage + 1) % STAGES;
    return stage;
}

static size_t piece_bytes(size_t left)
{
    return left < STAGING_BYTES ? left : STAGING_BYTES;
}

/* Starts a copy and records the stage's event behind it. */
static bool start_copy(struct kernels_device *device, struct stage *stage, void *to,
                       const void *from, size_t bytes, enum cudaMemcpyKind kind,
                       const char *operation)
{
    cudaError_t code = cudaMemcpyAsync(to, from, bytes, kind, device->stream);
    if (code == cudaSuccess) code = cudaEventRecord(stage->free, device->stream);
    cuda_device_note(device, code, operation);
    return code == cudaSuccess;
}

void cuda_device_upload(struct kernels_device *device, void *to, const void *host, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += STAGING_BYTES) {
        size_t piece = piece_bytes(bytes - at);
        struct stage *stage = next_stage(device, "upload");
        if (stage == NULL) return;
        memcpy(stage->memory, (const char *)host + at, piece);
        if (!start_copy(device, stage, (char *)to + at, stage->memory, piece,
                        cudaMemcpyHostToDevice, "upload"))
            return;
    }
}

/* While one piece is moved out of its stage the next one is already on its way. */
static bool download_pieces(struct kernels_device *device, char *host, const char *from,
                            size_t bytes)
{
    struct stage *before = NULL;
    size_t before_at = 0;
    for (size_t at = 0; at < bytes || before != NULL; at += STAGING_BYTES) {
        struct stage *stage = NULL;
        if (at < bytes) {
            stage = next_stage(device, "download");
            if (stage == NULL) return false;
            if (!start_copy(device, stage, stage->memory, from + at, piece_bytes(bytes - at),
                            cudaMemcpyDeviceToHost, "download"))
                return false;
        }
        if (before != NULL) {
            if (!wait_for(device, before->free, "download")) return false;
            memcpy(host + before_at, before->memory, piece_bytes(bytes - before_at));
        }
        before = stage;
        before_at = at;
    }
    return true;
}

void cuda_device_download(struct kernels_device *device, void *host, const void *from,
                          size_t bytes)
{
    bool done = download_pieces(device, (char *)host, (const char *)from, bytes);
    if (!done || cuda_device_failed(device)) memset(host, 0xff, bytes); /* all NaN */
}

/* ---- what it is ---- */

void cuda_device_describe(const struct kernels_device *device, char text[KERNELS_DETAIL_BYTES])
{
    (void)snprintf(text, KERNELS_DETAIL_BYTES, "%s, sm_%d, %s, driver %d.%d", device->name,
                   device->capability, device->options.type == KERNELS_BF16 ? "bf16" : "fp32",
                   device->driver_version / 1000, device->driver_version % 1000 / 10);
}

const struct kernels_options *cuda_device_options(const struct kernels_device *device)
{
    return &device->options;
}

cudaStream_t cuda_device_stream(const struct kernels_device *device)
{
    return device->stream;
}

void *cuda_device_scratch(const struct kernels_device *device)
{
    return device->scratch;
}

size_t cuda_device_scratch_bytes(const struct kernels_device *device)
{
    return device->scratch_bytes;
}

int cuda_device_multiprocessors(const struct kernels_device *device)
{
    return device->multiprocessors;
}

void cuda_device_pci_bus_id(const struct kernels_device *device, char text[CUDA_BUS_ID_BYTES])
{
    memcpy(text, device->bus_id, CUDA_BUS_ID_BYTES);
}

void cuda_device_uuid(const struct kernels_device *device, unsigned char uuid[CUDA_UUID_BYTES])
{
    memcpy(uuid, device->uuid, CUDA_UUID_BYTES);
}

int cuda_device_capability(const struct kernels_device *device)
{
    return device->capability;
}

size_t cuda_device_memory_bytes(const struct kernels_device *device)
{
    return device->memory_bytes;
}

int cuda_device_driver_version(const struct kernels_device *device)
{
    return device->driver_version;
}

int cuda_device_runtime_version(const struct kernels_device *device)
{
    return device->runtime_version;
}

void cuda_device_keep(struct kernels_device *device, void *products,
                      void (*destroy)(void *products, bool blocked))
{
    device->products = products;
    device->destroy_products = destroy;
}

void *cuda_device_kept(const struct kernels_device *device)
{
    return device->products;
}
