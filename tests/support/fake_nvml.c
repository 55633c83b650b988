/*
 * fake_nvml.c - a libnvidia-ml.so.1 whose devices do what a script says.
 *
 * The script is the file that PENSTOCK_FAKE_NVML names; it is read again at every call, so a test may change
 * it while somebody watches. Lines:
 *
 *     device PCI_BUS_ID      begins the next device; what follows is about it
 *     at SECONDS             what follows begins that long after nvmlInit_v2
 *     KEY VALUE              name and uuid; memory (bytes), power, limit, default (mW), clock, clock_max (MHz),
 *                            busy, sm, tensor, fp32 (percent), reasons (bits), ecc (count), joules (what one
 *                            joule adds to the energy counter, 1000), energy (added to the counter), xid (is
 *                            reported once)
 *     fail FUNCTION CODE     the function, by its name in worker/agent/nvml.h, returns CODE
 *     hang FUNCTION          it does not return
 *
 * Lines that begin with # are left out. Energy and activity are summed over the calls: a change counts from the
 * first call that sees it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "worker/agent/nvml.h"

/* Each function of the library with the prototype that -Wmissing-prototypes wants. */
#define EXPORT(name, ...)                                                                      \
    __attribute__((visibility("default"))) int name(__VA_ARGS__);                              \
    int name(__VA_ARGS__)

enum { DEVICES_MAX = 8, FUNCTIONS_MAX = 40 };

/* clang-format off */
#define KEYS(X)                                                                                \
    X(memory) X(power) X(limit) X(default) X(clock) X(clock_max) X(busy) X(sm) X(tensor)       \
    X(fp32) X(reasons) X(ecc) X(joules) X(energy) X(xid)
/* clang-format on */

enum key {
#define X(name) KEY_##name,
    KEYS(X) KEY_COUNT
#undef X
};

static const char *const key_names[KEY_COUNT] = {
#define X(name) [KEY_##name] = #name,
    KEYS(X)
#undef X
};

struct nvml_device_opaque {
    char pci[32], name[96], uuid[96];
    double value[KEY_COUNT];
    /* summed since the start */
    double energy_mj, sm, tensor, fp32, seconds;
    double xid_told;
};

struct nvml_gpm_sample_opaque {
    double sm, tensor, fp32, seconds;
};

struct nvml_event_set_opaque {
    nvml_device device;
};

static struct nvml_device_opaque devices[DEVICES_MAX];
static unsigned device_count;
static double started_s, updated_s;
static struct nvml_event_set_opaque the_set;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static struct {
    char function[32];
    int code; /* -1: hangs */
} faults[FUNCTIONS_MAX];
static size_t fault_count;

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void integrate(double seconds)
{
    for (unsigned i = 0; i < device_count; i++) {
        struct nvml_device_opaque *device = &devices[i];
        device->energy_mj +=
            device->value[KEY_power] / 1000 * seconds * device->value[KEY_joules];
        device->sm += device->value[KEY_sm] * seconds;
        device->tensor += device->value[KEY_tensor] * seconds;
        device->fp32 += device->value[KEY_fp32] * seconds;
        device->seconds += seconds;
    }
}

static void set(struct nvml_device_opaque *device, const char *key, const char *value)
{
    if (strcmp(key, "name") == 0) snprintf(device->name, sizeof device->name, "%s", value);
    if (strcmp(key, "uuid") == 0) snprintf(device->uuid, sizeof device->uuid, "%s", value);
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (strcmp(key, key_names[i]) == 0) device->value[i] = strtod(value, NULL);
}

static void add_fault(const char *function, int code)
{
    if (fault_count >= FUNCTIONS_MAX) abort();
    snprintf(faults[fault_count].function, sizeof faults[0].function, "%s", function);
    faults[fault_count++].code = code;
}

static void read_line(char *line, bool *counts)
{
    char key[64] = "", value[96] = "", code[16] = "0";
    line[strcspn(line, "\n")] = '\0';
    if (sscanf(line, "%63s %95[^\n]", key, value) < 1 || key[0] == '#') return;
    if (strcmp(key, "device") == 0) {
        if (device_count >= DEVICES_MAX) abort();
        struct nvml_device_opaque *device = &devices[device_count++];
        snprintf(device->pci, sizeof device->pci, "%.31s", value);
        memset(device->value, 0, sizeof device->value);
        device->value[KEY_joules] = 1000;
        *counts = true;
    } else if (strcmp(key, "at") == 0) {
        *counts = updated_s - started_s >= strtod(value, NULL);
    } else if (*counts && strcmp(key, "fail") == 0) {
        char function[32] = "";
        if (sscanf(value, "%31s %15s", function, code) == 2)
            add_fault(function, (int)strtol(code, NULL, 10));
    } else if (*counts && strcmp(key, "hang") == 0) {
        add_fault(value, -1);
    } else if (*counts && device_count > 0) {
        set(&devices[device_count - 1], key, value);
    }
}

/* Brings everything up to now. */
static void update(void)
{
    char line[256];
    bool counts = true;
    double now = now_s();
    integrate(now - updated_s);
    updated_s = now;
    device_count = 0;
    fault_count = 0;
    const char *path = getenv("PENSTOCK_FAKE_NVML");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file) return;
    while (fgets(line, sizeof line, file))
        read_line(line, &counts);
    fclose(file);
}

/* What the script says of the function; 0: it works. A thread that hangs here holds no lock. */
static int fault(const char *function)
{
    int code = NVML_SUCCESS;
    pthread_mutex_lock(&mutex);
    update();
    for (size_t i = 0; i < fault_count; i++)
        if (strcmp(faults[i].function, function) == 0) code = faults[i].code;
    pthread_mutex_unlock(&mutex);
    if (code >= 0) return code;
    for (;;) /* it hangs, as a driver may */
        pause();
}

EXPORT(nvmlInit_v2, void)
{
    pthread_mutex_lock(&mutex);
    started_s = updated_s = now_s();
    pthread_mutex_unlock(&mutex);
    int code = fault("init");
    return code == NVML_SUCCESS && !getenv("PENSTOCK_FAKE_NVML") ? NVML_ERROR_DRIVER_NOT_LOADED
                                                                 : code;
}

EXPORT(nvmlShutdown, void)
{
    return fault("shutdown");
}

EXPORT(nvmlSystemGetDriverVersion, char *version, unsigned bytes)
{
    int code = fault("driver_version");
    if (code == NVML_SUCCESS) snprintf(version, bytes, "580.0-fake");
    return code;
}

EXPORT(nvmlDeviceGetCount_v2, unsigned *count)
{
    int code = fault("count");
    *count = device_count;
    return code;
}

EXPORT(nvmlDeviceGetHandleByIndex_v2, unsigned index, nvml_device *device)
{
    int code = fault("by_index");
    if (index >= device_count) return NVML_ERROR_INVALID_ARGUMENT;
    *device = &devices[index];
    return code;
}

EXPORT(nvmlDeviceGetHandleByUUID, const char *uuid, nvml_device *device)
{
    int code = fault("by_uuid");
    for (unsigned i = 0; i < device_count; i++) {
        if (strcmp(devices[i].uuid, uuid) != 0) continue;
        *device = &devices[i];
        return code;
    }
    return NVML_ERROR_NOT_FOUND;
}

EXPORT(nvmlDeviceGetHandleByPciBusId_v2, const char *pci, nvml_device *device)
{
    int code = fault("by_pci");
    for (unsigned i = 0; i < device_count; i++) {
        unsigned a[4], b[4];
        if (sscanf(devices[i].pci, "%x:%x:%x.%x", &a[0], &a[1], &a[2], &a[3]) != 4 ||
            sscanf(pci, "%x:%x:%x.%x", &b[0], &b[1], &b[2], &b[3]) != 4 ||
            memcmp(a, b, sizeof a) != 0)
            continue;
        *device = &devices[i];
        return code;
    }
    return NVML_ERROR_NOT_FOUND;
}

EXPORT(nvmlDeviceGetName, nvml_device device, char *name, unsigned bytes)
{
    int code = fault("name");
    if (code == NVML_SUCCESS) snprintf(name, bytes, "%s", device->name);
    return code;
}

EXPORT(nvmlDeviceGetUUID, nvml_device device, char *uuid, unsigned bytes)
{
    int code = fault("uuid");
    if (code == NVML_SUCCESS) snprintf(uuid, bytes, "%s", device->uuid);
    return code;
}

EXPORT(nvmlDeviceGetPciInfo_v3, nvml_device device, struct nvml_pci_info *pci)
{
    int code = fault("pci");
    if (code != NVML_SUCCESS) return code;
    memset(pci, 0, sizeof *pci);
    snprintf(pci->bus_id, sizeof pci->bus_id, "%s", device->pci);
    return code;
}

EXPORT(nvmlDeviceGetMemoryInfo, nvml_device device, struct nvml_memory *memory)
{
    int code = fault("memory");
    memory->total = (unsigned long long)device->value[KEY_memory];
    return code;
}

EXPORT(nvmlDeviceGetUtilizationRates, nvml_device device, struct nvml_utilization *utilization)
{
    int code = fault("utilization");
    utilization->gpu = (unsigned)device->value[KEY_busy];
    utilization->memory = 0;
    return code;
}

EXPORT(nvmlDeviceGetTotalEnergyConsumption, nvml_device device, unsigned long long *mj)
{
    int code = fault("energy");
    *mj = (unsigned long long)(device->energy_mj + device->value[KEY_energy]);
    return code;
}

static int give(const char *function, nvml_device device, enum key key, unsigned *value)
{
    int code = fault(function);
    *value = (unsigned)device->value[key];
    return code;
}

EXPORT(nvmlDeviceGetPowerUsage, nvml_device device, unsigned *mw)
{
    return give("power", device, KEY_power, mw);
}

EXPORT(nvmlDeviceGetEnforcedPowerLimit, nvml_device device, unsigned *mw)
{
    return give("power_limit", device, KEY_limit, mw);
}

EXPORT(nvmlDeviceGetPowerManagementDefaultLimit, nvml_device device, unsigned *mw)
{
    return give("power_default", device, KEY_default, mw);
}

EXPORT(nvmlDeviceGetClockInfo, nvml_device device, int type, unsigned *mhz)
{
    if (type != NVML_CLOCK_SM) return NVML_ERROR_INVALID_ARGUMENT;
    return give("clock", device, KEY_clock, mhz);
}

EXPORT(nvmlDeviceGetMaxClockInfo, nvml_device device, int type, unsigned *mhz)
{
    if (type != NVML_CLOCK_SM) return NVML_ERROR_INVALID_ARGUMENT;
    return give("clock_max", device, KEY_clock_max, mhz);
}

/* Under the older of its two names, as drivers before 535 have it. */
EXPORT(nvmlDeviceGetCurrentClocksThrottleReasons, nvml_device device, unsigned long long *bits)
{
    unsigned value = 0;
    int code = give("reasons", device, KEY_reasons, &value);
    *bits = value;
    return code;
}

EXPORT(nvmlDeviceGetTotalEccErrors, nvml_device device, int error, int counter,
       unsigned long long *count)
{
    unsigned value = 0;
    int code = give("ecc", device, KEY_ecc, &value);
    *count = value;
    return error == NVML_ECC_UNCORRECTED && counter == NVML_ECC_VOLATILE
               ? code
               : NVML_ERROR_INVALID_ARGUMENT;
}

EXPORT(nvmlEventSetCreate, nvml_event_set *set_)
{
    int code = fault("event_set");
    *set_ = &the_set;
    return code;
}

EXPORT(nvmlDeviceRegisterEvents, nvml_device device, unsigned long long types,
       nvml_event_set set_)
{
    int code = fault("event_register");
    if (types != NVML_EVENT_XID) return NVML_ERROR_INVALID_ARGUMENT;
    set_->device = device;
    return code;
}

EXPORT(nvmlEventSetWait_v2, nvml_event_set set_, struct nvml_event *event, unsigned timeout_ms)
{
    int code = fault("event_wait");
    nvml_device device = set_->device;
    if (code != NVML_SUCCESS) return code;
    double xid = device->value[KEY_xid];
    if (timeout_ms != 0) return NVML_ERROR_INVALID_ARGUMENT; /* nobody here may wait */
    if (xid <= 0 || xid == device->xid_told) return NVML_ERROR_TIMEOUT;
    device->xid_told = xid;
    *event = (struct nvml_event){ .device = device,
                                  .type = NVML_EVENT_XID,
                                  .data = (unsigned long long)xid };
    return NVML_SUCCESS;
}

EXPORT(nvmlEventSetFree, nvml_event_set set_)
{
    set_->device = NULL;
    return fault("event_free");
}

EXPORT(nvmlGpmQueryDeviceSupport, nvml_device device, struct nvml_gpm_support *support)
{
    int code = fault("gpm_support");
    support->is_supported = strstr(device->name, "H100") || strstr(device->name, "H200");
    return support->version == NVML_GPM_VERSION ? code : NVML_ERROR_INVALID_ARGUMENT;
}

EXPORT(nvmlGpmSampleAlloc, nvml_gpm_sample *sample)
{
    int code = fault("gpm_alloc");
    *sample = code == NVML_SUCCESS ? calloc(1, sizeof **sample) : NULL;
    return code;
}

EXPORT(nvmlGpmSampleFree, nvml_gpm_sample sample)
{
    free(sample);
    return fault("gpm_free");
}

EXPORT(nvmlGpmSampleGet, nvml_device device, nvml_gpm_sample sample)
{
    int code = fault("gpm_sample");
    *sample = (struct nvml_gpm_sample_opaque){ device->sm, device->tensor, device->fp32,
                                               device->seconds };
    return code;
}

EXPORT(nvmlGpmMetricsGet, struct nvml_gpm_metrics *request)
{
    int code = fault("gpm_metrics");
    double seconds = request->to->seconds - request->from->seconds;
    if (request->version != NVML_GPM_VERSION || seconds <= 0.1)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; i < request->count; i++) {
        struct nvml_gpm_metric *metric = &request->metrics[i];
        metric->status = NVML_SUCCESS;
        if (metric->id == NVML_GPM_SM_UTIL)
            metric->value = (request->to->sm - request->from->sm) / seconds;
        else if (metric->id == NVML_GPM_ANY_TENSOR_UTIL)
            metric->value = (request->to->tensor - request->from->tensor) / seconds;
        else if (metric->id == NVML_GPM_FP32_UTIL)
            metric->value = (request->to->fp32 - request->from->fp32) / seconds;
        else
            metric->status = NVML_ERROR_NOT_SUPPORTED;
    }
    return code;
}
