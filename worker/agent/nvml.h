/*
 * nvml.h - NVIDIA's management library, opened at run time, with declarations of our own.
 *
 *     nvml_open     finds libnvidia-ml.so.1, starts it
 *     nvml_find     a device by PCI bus id, UUID or index
 *     nvml_facts    what it is
 *     nvml_read     one quantity, with its status
 *     nvml_gpm_*    activity between two samples, where the chip counts it (Hopper and later)
 *     nvml_faults   XIDs that came since the last call
 *
 * Nothing here is taken on trust. A function that the library lacks, a quantity that the device does not
 * have, a number that no device can show: each is a reading without a value and with a status, never a
 * zero. Calls may take as long as the driver likes, so only gpu.c's thread makes them. The library's table
 * of functions is a struct, which tests fill by hand; sizes of what crosses the boundary are asserted in
 * nvml.c. Source of the declarations: nvml.h of NVIDIA/go-nvml, API version 12.
 */
#ifndef WORKER_AGENT_NVML_H
#define WORKER_AGENT_NVML_H

#include "proto/base/error.h"
#include "proto/base/text.h"

/* ---- the library's own types --------------------------------------------------------- */

typedef struct nvml_device_opaque *nvml_device;
typedef struct nvml_event_set_opaque *nvml_event_set;
typedef struct nvml_gpm_sample_opaque *nvml_gpm_sample;

enum nvml_return {
    NVML_SUCCESS = 0,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NO_PERMISSION = 4,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_TIMEOUT = 10,
    NVML_ERROR_FUNCTION_NOT_FOUND = 13,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_RESET_REQUIRED = 16,
    NVML_ERROR_UNKNOWN = 999
};

enum {
    NVML_CLOCK_SM = 1,
    NVML_ECC_UNCORRECTED = 1,
    NVML_ECC_VOLATILE = 0, /* since the driver was loaded */
    NVML_EVENT_XID = 8,
    NVML_GPM_VERSION = 1,
    NVML_GPM_SM_UTIL = 2,
    NVML_GPM_ANY_TENSOR_UTIL = 5,
    NVML_GPM_FP32_UTIL = 12,
    NVML_GPM_METRICS_MAX = 333 /* the longest array so far: 98, 210, 333, all of version 1 */
};

/* Why clocks are below their maximum: bits of nvmlDeviceGetCurrentClocksEventReasons. */
enum {
    NVML_REASON_IDLE = 0x1,
    NVML_REASON_SW_POWER_CAP = 0x4,
    NVML_REASON_HW_SLOWDOWN = 0x8,
    NVML_REASON_SW_THERMAL = 0x20,
    NVML_REASON_HW_THERMAL = 0x40,
    NVML_REASON_HW_POWER_BRAKE = 0x80
};

struct nvml_pci_info {
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

struct nvml_memory {
    unsigned long long total, available, used;
};

struct nvml_utilization {
    unsigned gpu, memory; /* percent */
};

struct nvml_event {
    nvml_device device;
    unsigned long long type, data;
    unsigned gpu_instance, compute_instance;
};

struct nvml_gpm_support {
    unsigned version, is_supported;
};

struct nvml_gpm_metric {
    unsigned id;
    int status;
    double value;
    const char *short_name, *long_name, *unit;
};

struct nvml_gpm_metrics {
    unsigned version, count;
    nvml_gpm_sample from, to;
    struct nvml_gpm_metric metrics[NVML_GPM_METRICS_MAX];
};

/* NAME in C, its name in the library, an older name or NULL, its arguments. */
#define NVML_FUNCTIONS(X)                                                                      \
    X(init, "nvmlInit_v2", NULL, (void))                                                       \
    X(shutdown, "nvmlShutdown", NULL, (void))                                                  \
    X(driver_version, "nvmlSystemGetDriverVersion", NULL, (char *, unsigned))                  \
    X(count, "nvmlDeviceGetCount_v2", "nvmlDeviceGetCount", (unsigned *))                      \
    X(by_index, "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex",                 \
      (unsigned, nvml_device *))                                                               \
    X(by_uuid, "nvmlDeviceGetHandleByUUID", NULL, (const char *, nvml_device *))               \
    X(by_pci, "nvmlDeviceGetHandleByPciBusId_v2", "nvmlDeviceGetHandleByPciBusId",             \
      (const char *, nvml_device *))                                                           \
    X(name, "nvmlDeviceGetName", NULL, (nvml_device, char *, unsigned))                        \
    X(uuid, "nvmlDeviceGetUUID", NULL, (nvml_device, char *, unsigned))                        \
    X(pci, "nvmlDeviceGetPciInfo_v3", NULL, (nvml_device, struct nvml_pci_info *))             \
    X(memory, "nvmlDeviceGetMemoryInfo", NULL, (nvml_device, struct nvml_memory *))            \
    X(utilization, "nvmlDeviceGetUtilizationRates", NULL,                                      \
      (nvml_device, struct nvml_utilization *))                                                \
    X(energy, "nvmlDeviceGetTotalEnergyConsumption", NULL,                                     \
      (nvml_device, unsigned long long *))                                                     \
    X(power, "nvmlDeviceGetPowerUsage", NULL, (nvml_device, unsigned *))                       \
    X(power_limit, "nvmlDeviceGetEnforcedPowerLimit", NULL, (nvml_device, unsigned *))         \
    X(power_default, "nvmlDeviceGetPowerManagementDefaultLimit", NULL,                         \
      (nvml_device, unsigned *))                                                               \
    X(clock, "nvmlDeviceGetClockInfo", NULL, (nvml_device, int, unsigned *))                   \
    X(clock_max, "nvmlDeviceGetMaxClockInfo", NULL, (nvml_device, int, unsigned *))            \
    X(reasons, "nvmlDeviceGetCurrentClocksEventReasons",                                       \
      "nvmlDeviceGetCurrentClocksThrottleReasons", (nvml_device, unsigned long long *))        \
    X(ecc, "nvmlDeviceGetTotalEccErrors", NULL, (nvml_device, int, int, unsigned long long *)) \
    X(event_set, "nvmlEventSetCreate", NULL, (nvml_event_set *))                               \
    X(event_register, "nvmlDeviceRegisterEvents", NULL,                                        \
      (nvml_device, unsigned long long, nvml_event_set))                                       \
    X(event_wait, "nvmlEventSetWait_v2", "nvmlEventSetWait",                                   \
      (nvml_event_set, struct nvml_event *, unsigned))                                         \
    X(event_free, "nvmlEventSetFree", NULL, (nvml_event_set))                                  \
    X(gpm_support, "nvmlGpmQueryDeviceSupport", NULL,                                          \
      (nvml_device, struct nvml_gpm_support *))                                                \
    X(gpm_alloc, "nvmlGpmSampleAlloc", NULL, (nvml_gpm_sample *))                              \
    X(gpm_free, "nvmlGpmSampleFree", NULL, (nvml_gpm_sample))                                  \
    X(gpm_sample, "nvmlGpmSampleGet", NULL, (nvml_device, nvml_gpm_sample))                    \
    X(gpm_metrics, "nvmlGpmMetricsGet", NULL, (struct nvml_gpm_metrics *))

/* Every function may be missing. */
struct nvml_calls {
#define X(id, name, older, arguments) int(*id) arguments;
    NVML_FUNCTIONS(X)
#undef X
};

/* ---- readings ------------------------------------------------------------------------ */

#define READINGS(X)                                                                            \
    X(OK, "ok")                                                                                \
    X(MISSING, "the library has no such function")                                             \
    X(UNSUPPORTED, "not on this device")                                                       \
    X(DENIED, "no permission")                                                                 \
    X(LOST, "the device is lost")                                                              \
    X(FAILED, "the call failed")                                                               \
    X(ABSURD, "a number that no device shows")

enum reading_status {
#define X(id, name) READING_##id,
    READINGS(X) READING_STATUS_COUNT
#undef X
};

struct reading {
    enum reading_status status;
    int64_t value; /* 0 unless status is OK */
};

/* id, unit and meaning, the least and the most that is believed. */
#define NVML_QUANTITIES(X)                                                                     \
    X(ENERGY_MJ, 0, INT64_MAX)          /* of the board, since the driver was loaded */        \
    X(POWER_MW, 1000, 20000000)         /* of the board; below 1 W it must be watts */         \
    X(POWER_LIMIT_MW, 5000, 20000000)   /* that is enforced */                                 \
    X(POWER_DEFAULT_MW, 5000, 20000000) /* the limit that the board comes with */              \
    X(CLOCK_MHZ, 0, 20000)              /* of the SMs */                                       \
    X(CLOCK_MAX_MHZ, 1, 20000)                                                                 \
    X(REASONS, 0, UINT32_MAX)  /* NVML_REASON_... */                                           \
    X(BUSY_PPM, 0, 1000000)    /* share of time in which any kernel ran */                     \
    X(ECC_COUNT, 0, INT64_MAX) /* uncorrected errors since the driver was loaded */

enum nvml_quantity {
#define X(id, min, max) NVML_##id,
    NVML_QUANTITIES(X) NVML_QUANTITY_COUNT
#undef X
};

struct nvml {
    void *library; /* NULL: the calls are somebody else's */
    struct nvml_calls calls;
    char driver[NAME_MAX_BYTES]; /* its version, or empty */
};

struct nvml_facts {
    char name[96];
    char uuid[96];
    char pci_bus_id[32];  /* "00000000:3B:00.0"; empty = unknown */
    int64_t memory_bytes; /* 0 = unknown */
    bool has_gpm;
};

/* Opens the library (path NULL: libnvidia-ml.so.1) and starts it. ERR_NOT_FOUND without a library, ERR_DEVICE
 * when it does not start. nvml_close works on what was never opened. */
must_use enum err nvml_open(struct nvml *nvml, const char *path, struct error *error);
must_use enum err nvml_open_calls(struct nvml *nvml, const struct nvml_calls *calls,
                                  struct error *error);
void nvml_close(struct nvml *nvml);

/* A device by PCI bus id ("0000:3B:00.0"), UUID ("GPU-...", "MIG-...") or the library's index ("2").
 * ERR_NOT_FOUND when there is none. */
must_use enum err nvml_find(const struct nvml *nvml, const char *which, nvml_device *device,
                            struct error *error);

/* What cannot be had stays empty. */
struct nvml_facts nvml_facts(const struct nvml *nvml, nvml_device device);

struct reading nvml_read(const struct nvml *nvml, nvml_device device,
                         enum nvml_quantity quantity);

/* ---- activity between two samples ---------------------------------------------------- */

struct nvml_gpm {
    nvml_gpm_sample samples[2]; /* NULL: the device has none */
    unsigned next;
    int64_t taken_ns; /* of the last sample; 0: none yet */
};

struct nvml_activity {
    enum reading_status status;
    int64_t from_ns, to_ns; /* between which the shares below were measured */
    struct reading sm_ppm, tensor_ppm, fp32_ppm;
};

/* nvml_gpm_fini works on what was never begun. */
enum reading_status nvml_gpm_init(struct nvml_gpm *gpm, const struct nvml *nvml,
                                  nvml_device device);
void nvml_gpm_fini(struct nvml_gpm *gpm, const struct nvml *nvml);

/* Takes a sample and compares it with the one before. The first call, and one within 100 ms of the last,
 * gives from_ns == to_ns. After a failure the next call is a first one. */
struct nvml_activity nvml_gpm_step(struct nvml_gpm *gpm, const struct nvml *nvml,
                                   nvml_device device, int64_t now_ns);

/* ---- faults -------------------------------------------------------------------------- */

struct nvml_watch {
    nvml_event_set set; /* NULL: cannot be watched */
};

/* The driver's error codes (XIDs) of one device, as they come. */
enum reading_status nvml_watch_init(struct nvml_watch *watch, const struct nvml *nvml,
                                    nvml_device device);
void nvml_watch_fini(struct nvml_watch *watch, const struct nvml *nvml);

/* Takes one that waits: OK with its XID, UNSUPPORTED when the set was never made, FAILED when nothing
 * waits (value 0) or the call failed. Never waits itself. */
struct reading nvml_watch_take(const struct nvml_watch *watch, const struct nvml *nvml);

const char *reading_status_name(enum reading_status status);

#endif
