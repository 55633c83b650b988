#include "tests/support/standin/cudart.h"

#include "proto/base/defs.h"
#include "tests/support/standin/faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    DEFAULT_CAPABILITY = 90,
    FIRST_BUS = 0x1b,
    ALIGNMENT = 256,
    VERSION = CUDART_VERSION,
    SHARED_BYTES_MAX = 227 << 10, /* of one block, on sm_90 */
    FUNCTIONS_MAX = 256
};

#define DEFAULT_MEMORY_BYTES (INT64_C(8) << 30)

/* ---- what the environment asks for ---- */

struct faults {
    bool read;
    int gpus, capability;
    bool no_driver, kernels_off;
    int64_t memory_bytes;
    long alloc, pinned, launch, launch_once, stall; /* which of them, from 1; 0: none */
    char bus_id[32];
};

/* One block of device or pinned memory. */
struct block {
    struct block *next;
    void *memory;
    int64_t bytes;
    bool pinned;
};

enum item_kind { ITEM_WORK, ITEM_POLL, ITEM_RECORD, ITEM_WAIT };

/* Something that a stream has yet to do. */
struct item {
    struct item *next;
    enum item_kind kind;
    standin_work_fn work;
    standin_poll_fn poll;
    void *context;
    void (*destroy)(void *context);
    struct CUevent_st *event; /* of RECORD and WAIT */
    int64_t turn;             /* of the event: which of its records */
};

struct CUstream_st {
    struct CUstream_st *next;
    struct item *first, **last;
    bool running; /* inside an item's function, which must not start the next one */
};

/* Records are counted, so that a wait means the record that came before it. */
struct CUevent_st {
    int64_t recorded, done;
    int64_t at_ns; /* of the record that was done last */
    int references;
};

static struct {
    struct faults faults;
    struct block *blocks;
    struct CUstream_st *streams;
    struct CUstream_st default_stream;
    struct {
        const void *function;
        int shared_bytes;
    } functions[FUNCTIONS_MAX];
    int function_count;
    int objects;
    long allocs, pinned, launches;
    cudaError_t last, sticky;
} standin;

/* PENSTOCK_FAKE_BUS_ID, or one that differs with the first device of CUDA_VISIBLE_DEVICES. */
static void choose_bus_id(char *to, size_t to_bytes)
{
    const char *wanted = getenv("PENSTOCK_FAKE_BUS_ID");
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    long device = visible == NULL ? 0 : strtol(visible, NULL, 10);
    if (wanted != NULL)
        (void)snprintf(to, to_bytes, "%s", wanted);
    else
        (void)snprintf(to, to_bytes, "0000:%02x:00.0", (unsigned)(FIRST_BUS + device) & 0xff);
}

static const struct faults *faults(void)
{
    struct faults *f = &standin.faults;
    if (f->read) return f;
    standin_launch_link();
    *f = (struct faults){
        .read = true,
        .gpus = (int)standin_fault_number("PENSTOCK_FAKE_GPUS", 1),
        .capability = (int)standin_fault_number("PENSTOCK_FAKE_CAPABILITY", DEFAULT_CAPABILITY),
        .no_driver = standin_fault_says("PENSTOCK_FAKE_DRIVER", "none"),
        .kernels_off = standin_fault_says("PENSTOCK_FAKE_KERNELS", "none"),
        .memory_bytes = standin_fault_number("PENSTOCK_FAKE_MEMORY", DEFAULT_MEMORY_BYTES),
        .alloc = standin_fault_number("PENSTOCK_FAKE_ALLOC", 0),
        .pinned = standin_fault_number("PENSTOCK_FAKE_PINNED", 0),
        .launch = standin_fault_number("PENSTOCK_FAKE_LAUNCH", 0),
        .launch_once = standin_fault_number("PENSTOCK_FAKE_LAUNCH_ONCE", 0),
        .stall = standin_fault_number("PENSTOCK_FAKE_STALL", 0),
    };
    choose_bus_id(f->bus_id, sizeof(f->bus_id));
    return f;
}

void standin_reset(void)
{
    standin.faults.read = false;
    standin.allocs = standin.pinned = standin.launches = 0;
    standin.last = standin.sticky = cudaSuccess;
}

static cudaError_t failed(cudaError_t code)
{
    if (code != cudaSuccess) standin.last = code;
    return code;
}

/* What every call begins with: no device, or a context that is lost. */
static cudaError_t ready(void)
{
    if (faults()->no_driver) return failed(cudaErrorInsufficientDriver);
    if (faults()->gpus < 1) return failed(cudaErrorNoDevice);
    return failed(standin.sticky);
}

/* ---- streams ---- */

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static struct CUstream_st *stream_of(cudaStream_t stream)
{
    if (stream != NULL) return stream;
    if (standin.default_stream.last == NULL)
        standin.default_stream.last = &standin.default_stream.first;
    return &standin.default_stream;
}

static void event_drop(struct CUevent_st *event)
{
    if (event != NULL && --event->references == 0) free(event);
}

static void event_pass(struct CUevent_st *event, int64_t turn)
{
    event->done = turn;
    event->at_ns = now_ns();
}

static bool item_run(struct item *item)
{
    cudaError_t code = cudaSuccess;
    switch (item->kind) {
    case ITEM_WORK: item->work(item->context); return true;
    case ITEM_RECORD: event_pass(item->event, item->turn); return true;
    case ITEM_WAIT: return item->event->done >= item->turn;
    case ITEM_POLL:
        if (!item->poll(item->context, &code)) return false;
        if (code != cudaSuccess && standin.sticky == cudaSuccess) standin.sticky = code;
        return true;
    }
    unreachable("item kind");
}

static void item_free(struct item *item)
{
    if (item->destroy != NULL) item->destroy(item->context);
    event_drop(item->event);
    free(item);
}

/* True when the stream got on. */
static bool stream_pump(struct CUstream_st *stream)
{
    bool any = false;
    if (stream->running) return false;
    stream->running = true;
    while (stream->first != NULL && item_run(stream->first)) {
        struct item *item = stream->first;
        stream->first = item->next;
        if (stream->first == NULL) stream->last = &stream->first;
        item_free(item);
        any = true;
    }
    stream->running = false;
    return any;
}

/* Streams wait for each other's events, so all of them run until none gets on. */
static void pump(void)
{
    bool any = true;
    while (any && standin.sticky == cudaSuccess) {
        any = stream_pump(stream_of(NULL));
        for (struct CUstream_st *s = standin.streams; s != NULL; s = s->next)
            any = stream_pump(s) || any;
    }
}

static void stream_push(cudaStream_t handle, struct item from)
{
    struct CUstream_st *stream = stream_of(handle);
    struct item *item = malloc(sizeof(*item));
    check(item != NULL);
    *item = from;
    item->next = NULL;
    *stream->last = item;
    stream->last = &item->next;
    pump();
}

bool standin_stream_idle(cudaStream_t stream)
{
    pump();
    return stream_of(stream)->first == NULL;
}

void standin_enqueue(cudaStream_t stream, standin_work_fn work, void *context,
                     void (*destroy)(void *context))
{
    if (standin.sticky == cudaSuccess && standin_stream_idle(stream)) {
        work(context);
        if (destroy != NULL) destroy(context);
        return;
    }
    stream_push(stream,
                (struct item){
                    .kind = ITEM_WORK, .work = work, .context = context, .destroy = destroy });
}

void standin_enqueue_poll(cudaStream_t stream, standin_poll_fn poll, void *context,
                          void (*destroy)(void *context))
{
    stream_push(stream,
                (struct item){
                    .kind = ITEM_POLL, .poll = poll, .context = context, .destroy = destroy });
}

static bool never(void *context, cudaError_t *error)
{
    (void)context;
    (void)error;
    return false;
}

bool standin_launch_begins(cudaStream_t stream)
{
    const struct faults *f = faults();
    if (ready() != cudaSuccess) return false;
    long launch = ++standin.launches;
    if (launch == f->launch) {
        standin.sticky = failed(cudaErrorIllegalAddress);
        return false;
    }
    if (launch == f->launch_once) {
        failed(cudaErrorInvalidConfiguration);
        return false;
    }
    if (launch == f->stall) standin_enqueue_poll(stream, never, NULL, NULL);
    return !f->kernels_off;
}

bool standin_kernels_off(void)
{
    return faults()->kernels_off;
}

long standin_launches(void)
{
    return standin.launches;
}

int standin_objects(void)
{
    return standin.objects;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned int flags)
{
    (void)flags;
    *out = NULL;
    if (ready() != cudaSuccess) return standin.last;
    struct CUstream_st *stream = calloc(1, sizeof(*stream));
    check(stream != NULL);
    stream->last = &stream->first;
    stream->next = standin.streams;
    standin.streams = stream;
    standin.objects++;
    *out = stream;
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *out)
{
    return cudaStreamCreateWithFlags(out, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned int flags, int priority)
{
    (void)priority;
    return cudaStreamCreateWithFlags(out, flags);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return ready();
}

/* Work that is still pending is dropped. */
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    struct CUstream_st **at = &standin.streams;
    while (*at != NULL && *at != stream)
        at = &(*at)->next;
    if (*at == NULL) return failed(cudaErrorInvalidResourceHandle);
    *at = stream->next;
    for (struct item *item = stream->first; item != NULL;) {
        struct item *next = item->next;
        item_free(item);
        item = next;
    }
    free(stream);
    standin.objects--;
    return failed(standin.sticky);
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    pump();
    if (ready() != cudaSuccess) return standin.last;
    return stream_of(stream)->first == NULL ? cudaSuccess : failed(cudaErrorNotReady);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags)
{
    (void)flags;
    if (ready() != cudaSuccess) return standin.last;
    pump();
    if (stream_of(stream)->first == NULL && event->done >= event->recorded) return cudaSuccess;
    event->references++;
    stream_push(stream,
                (struct item){ .kind = ITEM_WAIT, .event = event, .turn = event->recorded });
    return cudaSuccess;
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned int flags)
{
    (void)flags;
    *out = NULL;
    if (ready() != cudaSuccess) return standin.last;
    struct CUevent_st *event = calloc(1, sizeof(*event));
    check(event != NULL);
    event->references = 1;
    standin.objects++;
    *out = event;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    return cudaEventCreateWithFlags(out, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    if (event == NULL) return failed(cudaErrorInvalidResourceHandle);
    event_drop(event);
    standin.objects--;
    return failed(standin.sticky);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    if (ready() != cudaSuccess) return standin.last;
    event->recorded++;
    if (standin_stream_idle(stream)) {
        event_pass(event, event->recorded);
        return cudaSuccess;
    }
    event->references++;
    stream_push(stream,
                (struct item){ .kind = ITEM_RECORD, .event = event, .turn = event->recorded });
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    pump();
    if (ready() != cudaSuccess) return standin.last;
    return event->done >= event->recorded ? cudaSuccess : failed(cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
    if (ready() != cudaSuccess) return standin.last;
    if (start->recorded == 0 || end->recorded == 0)
        return failed(cudaErrorInvalidResourceHandle);
    if (start->done < start->recorded || end->done < end->recorded)
        return failed(cudaErrorNotReady);
    *ms = (float)((double)(end->at_ns - start->at_ns) / (double)NS_PER_MS);
    return cudaSuccess;
}

/* ---- memory ---- */

int standin_blocks(void)
{
    int count = 0;
    for (const struct block *b = standin.blocks; b != NULL; b = b->next)
        count++;
    return count;
}

static int64_t bytes_in_use(void)
{
    int64_t bytes = 0;
    for (const struct block *b = standin.blocks; b != NULL; b = b->next)
        bytes += b->pinned ? 0 : b->bytes;
    return bytes;
}

/* The size is exact, so that a sanitizer sees the first byte behind it. The contents are NaN, but
 * zero where kernels compute nothing and no result would be a number. */
static cudaError_t block_new(void **out, size_t bytes, bool pinned)
{
    struct block *block = calloc(1, sizeof(*block));
    check(block != NULL);
    if (posix_memalign(&block->memory, ALIGNMENT, bytes == 0 ? 1 : bytes) != 0) {
        free(block);
        return failed(cudaErrorMemoryAllocation);
    }
    memset(block->memory, faults()->kernels_off ? 0 : 0xff, bytes);
    block->bytes = (int64_t)bytes;
    block->pinned = pinned;
    block->next = standin.blocks;
    standin.blocks = block;
    *out = block->memory;
    return cudaSuccess;
}

static cudaError_t block_free(void *memory, bool pinned)
{
    if (memory == NULL) return failed(standin.sticky);
    for (struct block **at = &standin.blocks; *at != NULL; at = &(*at)->next) {
        struct block *block = *at;
        if (block->memory != memory || block->pinned != pinned) continue;
        *at = block->next;
        free(block->memory);
        free(block);
        return failed(standin.sticky);
    }
    return failed(cudaErrorInvalidValue);
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    if (ready() != cudaSuccess) return standin.last;
    bool fault = ++standin.allocs == faults()->alloc;
    if (fault || bytes > (uint64_t)(faults()->memory_bytes - bytes_in_use()))
        return failed(cudaErrorMemoryAllocation);
    return block_new(out, bytes, false);
}

cudaError_t cudaFree(void *memory)
{
    pump();
    return block_free(memory, false);
}

cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    if (ready() != cudaSuccess) return standin.last;
    if (++standin.pinned == faults()->pinned) return failed(cudaErrorMemoryAllocation);
    return block_new(out, bytes, true);
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned int flags)
{
    (void)flags;
    return cudaMallocHost(out, bytes);
}

cudaError_t cudaFreeHost(void *memory)
{
    return block_free(memory, true);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    if (ready() != cudaSuccess) return standin.last;
    *total_bytes = (size_t)faults()->memory_bytes;
    *free_bytes = (size_t)(faults()->memory_bytes - bytes_in_use());
    return cudaSuccess;
}

struct copy {
    void *to;
    const void *from;
    size_t bytes;
};

static void copy_work(void *context)
{
    const struct copy *copy = context;
    memcpy(copy->to, copy->from, copy->bytes);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    (void)kind;
    if (ready() != cudaSuccess) return standin.last;
    if (bytes == 0) return cudaSuccess;
    if (standin_stream_idle(stream)) {
        memcpy(to, from, bytes);
        return cudaSuccess;
    }
    struct copy *copy = malloc(sizeof(*copy));
    check(copy != NULL);
    *copy = (struct copy){ to, from, bytes };
    standin_enqueue(stream, copy_work, copy, free);
    return cudaSuccess;
}

struct fill {
    void *to;
    int value;
    size_t bytes;
};

static void fill_work(void *context)
{
    const struct fill *fill = context;
    memset(fill->to, fill->value, fill->bytes);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    if (ready() != cudaSuccess) return standin.last;
    if (bytes == 0) return cudaSuccess;
    if (standin_stream_idle(stream)) {
        memset(to, value, bytes);
        return cudaSuccess;
    }
    struct fill *fill = malloc(sizeof(*fill));
    check(fill != NULL);
    *fill = (struct fill){ to, value, bytes };
    standin_enqueue(stream, fill_work, fill, free);
    return cudaSuccess;
}

/* ---- the device ---- */

cudaError_t cudaGetDeviceCount(int *count)
{
    if (ready() != cudaSuccess) return standin.last;
    *count = faults()->gpus;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    if (ready() != cudaSuccess) return standin.last;
    return device < faults()->gpus ? cudaSuccess : failed(cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return ready();
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    if (ready() != cudaSuccess) return standin.last;
    if (device >= faults()->gpus) return failed(cudaErrorInvalidDevice);
    memset(properties, 0, sizeof(*properties));
    (void)snprintf(properties->name, sizeof(properties->name), "stand-in GPU");
    for (int i = 0; i < (int)sizeof(properties->uuid.bytes); i++)
        properties->uuid.bytes[i] = (char)(i + 1);
    properties->totalGlobalMem = (size_t)faults()->memory_bytes;
    properties->major = faults()->capability / 10;
    properties->minor = faults()->capability % 10;
    properties->multiProcessorCount = 3; /* grids that wrap around, in small shapes too */
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->sharedMemPerBlock = 48 << 10;
    properties->sharedMemPerBlockOptin = SHARED_BYTES_MAX;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    struct cudaDeviceProp p;
    cudaError_t code = cudaGetDeviceProperties(&p, device);
    if (code != cudaSuccess) return code;
    switch ((int)attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; break;
    default: return failed(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int bytes, int device)
{
    if (ready() != cudaSuccess) return standin.last;
    if (device >= faults()->gpus) return failed(cudaErrorInvalidDevice);
    (void)snprintf(text, (size_t)bytes, "%s", faults()->bus_id);
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute,
                                 int value)
{
    if (ready() != cudaSuccess) return standin.last;
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || value > SHARED_BYTES_MAX) return failed(cudaErrorInvalidValue);
    int i = 0;
    while (i < standin.function_count && standin.functions[i].function != function)
        i++;
    check(i < FUNCTIONS_MAX);
    if (i == standin.function_count) standin.function_count++;
    standin.functions[i].function = function;
    standin.functions[i].shared_bytes = value;
    return cudaSuccess;
}

size_t standin_shared_bytes(const void *kernel)
{
    for (int i = 0; i < standin.function_count; i++)
        if (standin.functions[i].function == kernel)
            return (size_t)standin.functions[i].shared_bytes;
    return 0;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = faults()->no_driver ? 0 : VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = VERSION;
    return cudaSuccess;
}

/* ---- errors ---- */

cudaError_t cudaGetLastError(void)
{
    cudaError_t code = standin.last;
    standin.last = standin.sticky;
    return code;
}

cudaError_t cudaPeekAtLastError(void)
{
    return standin.last;
}

/* Names and texts of the codes that the stand-in gives. */
static const struct {
    cudaError_t code;
    const char *name, *text;
} texts[] = {
    { cudaSuccess, "cudaSuccess", "no error" },
    { cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument" },
    { cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory" },
    { cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
      "invalid configuration argument" },
    { cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
      "CUDA driver version is insufficient for CUDA runtime version" },
    { cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected" },
    { cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal" },
    { cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle",
      "invalid resource handle" },
    { cudaErrorNotReady, "cudaErrorNotReady", "device not ready" },
    { cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
      "an illegal memory access was encountered" },
};

const char *cudaGetErrorString(cudaError_t code)
{
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        if (texts[i].code == code) return texts[i].text;
    return "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t code)
{
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        if (texts[i].code == code) return texts[i].name;
    return "unrecognized error code";
}
