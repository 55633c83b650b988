#include "worker/agent/nvml.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define GPM_APART_NS (100 * NS_PER_MS) /* the library asks for more than that */

/* What crosses the boundary has the size that the library was built with. */
_Static_assert(sizeof(struct nvml_pci_info) == 68, "nvmlPciInfo_t");
_Static_assert(sizeof(struct nvml_memory) == 24, "nvmlMemory_t");
_Static_assert(sizeof(struct nvml_utilization) == 8, "nvmlUtilization_t");
_Static_assert(sizeof(struct nvml_event) == 32, "nvmlEventData_t");
_Static_assert(sizeof(struct nvml_gpm_support) == 8, "nvmlGpmSupport_t");
_Static_assert(sizeof(struct nvml_gpm_metric) == 40, "nvmlGpmMetric_t");
_Static_assert(offsetof(struct nvml_gpm_metrics, metrics) == 24, "nvmlGpmMetricsGet_t");
_Static_assert(sizeof(struct nvml_gpm_metrics) == 24 + 40 * NVML_GPM_METRICS_MAX,
               "nvmlGpmMetricsGet_t");
_Static_assert(sizeof(int) == sizeof(unsigned), "nvmlReturn_t is an enumeration");

static enum reading_status status_of(int code)
{
    switch (code) {
    case NVML_SUCCESS: return READING_OK;
    case NVML_ERROR_NOT_SUPPORTED: return READING_UNSUPPORTED;
    case NVML_ERROR_FUNCTION_NOT_FOUND: return READING_MISSING;
    case NVML_ERROR_NO_PERMISSION: return READING_DENIED;
    case NVML_ERROR_GPU_IS_LOST:
    case NVML_ERROR_RESET_REQUIRED: return READING_LOST;
    default: return READING_FAILED;
    }
}

static struct reading reading_of(enum reading_status status, int64_t value, int64_t min,
                                 int64_t max)
{
    if (status == READING_OK && (value < min || value > max)) status = READING_ABSURD;
    return (struct reading){ .status = status, .value = status == READING_OK ? value : 0 };
}

/* ---- the library --------------------------------------------------------------------- */

static const struct {
    size_t at;
    const char *name, *older;
} functions[] = {
#define X(id, name, older, arguments) { offsetof(struct nvml_calls, id), name, older },
    NVML_FUNCTIONS(X)
#undef X
};

/* A pointer to a function travels as bytes: ISO C has no cast for it. */
static void find_functions(void *library, struct nvml_calls *calls)
{
    for (size_t i = 0; i < ARRAY_COUNT(functions); i++) {
        void *found = dlsym(library, functions[i].name);
        if (!found && functions[i].older) found = dlsym(library, functions[i].older);
        memcpy((char *)calls + functions[i].at, &found, sizeof found);
    }
}

enum err nvml_open_calls(struct nvml *nvml, const struct nvml_calls *calls, struct error *error)
{
    *nvml = (struct nvml){ .calls = *calls };
    if (!calls->init) {
        *nvml = (struct nvml){ 0 };
        return error_set(error, ERR_DEVICE, "NVML has no nvmlInit_v2");
    }
    int code = calls->init();
    if (code != NVML_SUCCESS) {
        *nvml = (struct nvml){ 0 };
        return error_set(error, ERR_DEVICE, "NVML does not start: its code is %d", code);
    }
    if (!calls->driver_version ||
        calls->driver_version(nvml->driver, sizeof nvml->driver) != NVML_SUCCESS)
        nvml->driver[0] = '\0';
    nvml->driver[sizeof nvml->driver - 1] = '\0';
    return ERR_OK;
}

enum err nvml_open(struct nvml *nvml, const char *path, struct error *error)
{
    struct nvml_calls calls;
    *nvml = (struct nvml){ 0 };
    void *library = dlopen(path ? path : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        return error_set(error, ERR_NOT_FOUND, "%s", why ? why : "no NVML");
    }
    find_functions(library, &calls);
    enum err rc = nvml_open_calls(nvml, &calls, error);
    if (rc != ERR_OK)
        dlclose(library);
    else
        nvml->library = library;
    return rc;
}

void nvml_close(struct nvml *nvml)
{
    if (nvml->calls.shutdown) nvml->calls.shutdown();
    if (nvml->library) dlclose(nvml->library);
    *nvml = (struct nvml){ 0 };
}

/* ---- devices ------------------------------------------------------------------------- */

static int find(const struct nvml_calls *calls, const char *which, nvml_device *device)
{
    uint64_t index = 0;
    struct text text = text_of(which);
    if (text_to_u64(text, &index)) {
        unsigned count = 0;
        if (!calls->by_index || !calls->count) return NVML_ERROR_FUNCTION_NOT_FOUND;
        int code = calls->count(&count);
        if (code != NVML_SUCCESS) return code;
        if (index >= count) return NVML_ERROR_NOT_FOUND;
        return calls->by_index((unsigned)index, device);
    }
    if (text_find(text, TEXT(":")) != SIZE_MAX)
        return calls->by_pci ? calls->by_pci(which, device) : NVML_ERROR_FUNCTION_NOT_FOUND;
    if (text_starts(text, TEXT("GPU-")) || text_starts(text, TEXT("MIG-")))
        return calls->by_uuid ? calls->by_uuid(which, device) : NVML_ERROR_FUNCTION_NOT_FOUND;
    return NVML_ERROR_NOT_FOUND;
}

enum err nvml_find(const struct nvml *nvml, const char *which, nvml_device *device,
                   struct error *error)
{
    *device = NULL;
    int code = find(&nvml->calls, which, device);
    if (code == NVML_SUCCESS && *device) return ERR_OK;
    *device = NULL;
    if (code == NVML_ERROR_NOT_FOUND || code == NVML_ERROR_INVALID_ARGUMENT)
        return error_set(error, ERR_NOT_FOUND, "NVML knows no device \"%.80s\"", which);
    return error_set(error, ERR_DEVICE, "NVML does not give device \"%.80s\": its code is %d",
                     which, code);
}

static void read_string(int (*call)(nvml_device, char *, unsigned), nvml_device device,
                        char *to, size_t to_bytes)
{
    if (!call || call(device, to, (unsigned)to_bytes) != NVML_SUCCESS) to[0] = '\0';
    to[to_bytes - 1] = '\0';
}

static bool gpm_supported(const struct nvml *nvml, nvml_device device)
{
    const struct nvml_calls *calls = &nvml->calls;
    struct nvml_gpm_support support = { .version = NVML_GPM_VERSION };
    return calls->gpm_support && calls->gpm_alloc && calls->gpm_free && calls->gpm_sample &&
           calls->gpm_metrics && calls->gpm_support(device, &support) == NVML_SUCCESS &&
           support.is_supported != 0;
}

struct nvml_facts nvml_facts(const struct nvml *nvml, nvml_device device)
{
    struct nvml_facts facts = { .has_gpm = gpm_supported(nvml, device) };
    struct nvml_pci_info pci = { .domain = 0 };
    struct nvml_memory memory = { .total = 0 };
    read_string(nvml->calls.name, device, facts.name, sizeof facts.name);
    read_string(nvml->calls.uuid, device, facts.uuid, sizeof facts.uuid);
    if (nvml->calls.pci && nvml->calls.pci(device, &pci) == NVML_SUCCESS) {
        pci.bus_id[sizeof pci.bus_id - 1] = '\0';
        text_copy(facts.pci_bus_id, sizeof facts.pci_bus_id, text_of(pci.bus_id));
    }
    if (nvml->calls.memory && nvml->calls.memory(device, &memory) == NVML_SUCCESS &&
        memory.total <= INT64_MAX)
        facts.memory_bytes = (int64_t)memory.total;
    return facts;
}

/* ---- quantities ---------------------------------------------------------------------- */

static int get_wide(int (*call)(nvml_device, unsigned long long *), nvml_device device,
                    int64_t *value)
{
    unsigned long long wide = 0;
    if (!call) return NVML_ERROR_FUNCTION_NOT_FOUND;
    int code = call(device, &wide);
    *value = wide > INT64_MAX ? INT64_MAX : (int64_t)wide;
    return code;
}

static int get_narrow(int (*call)(nvml_device, unsigned *), nvml_device device, int64_t *value)
{
    unsigned narrow = 0;
    if (!call) return NVML_ERROR_FUNCTION_NOT_FOUND;
    int code = call(device, &narrow);
    *value = narrow;
    return code;
}

static int get_clock(int (*call)(nvml_device, int, unsigned *), nvml_device device,
                     int64_t *value)
{
    unsigned mhz = 0;
    if (!call) return NVML_ERROR_FUNCTION_NOT_FOUND;
    int code = call(device, NVML_CLOCK_SM, &mhz);
    *value = mhz;
    return code;
}

static int get_busy(const struct nvml_calls *calls, nvml_device device, int64_t *value)
{
    struct nvml_utilization utilization = { .gpu = 0 };
    if (!calls->utilization) return NVML_ERROR_FUNCTION_NOT_FOUND;
    int code = calls->utilization(device, &utilization);
    *value = (int64_t)utilization.gpu * (PPM / 100);
    return code;
}

static int get_ecc(const struct nvml_calls *calls, nvml_device device, int64_t *value)
{
    unsigned long long count = 0;
    if (!calls->ecc) return NVML_ERROR_FUNCTION_NOT_FOUND;
    int code = calls->ecc(device, NVML_ECC_UNCORRECTED, NVML_ECC_VOLATILE, &count);
    *value = count > INT64_MAX ? INT64_MAX : (int64_t)count;
    return code;
}

static int get(const struct nvml_calls *calls, nvml_device device, enum nvml_quantity quantity,
               int64_t *value)
{
    switch (quantity) {
    case NVML_ENERGY_MJ: return get_wide(calls->energy, device, value);
    case NVML_POWER_MW: return get_narrow(calls->power, device, value);
    case NVML_POWER_LIMIT_MW: return get_narrow(calls->power_limit, device, value);
    case NVML_POWER_DEFAULT_MW: return get_narrow(calls->power_default, device, value);
    case NVML_CLOCK_MHZ: return get_clock(calls->clock, device, value);
    case NVML_CLOCK_MAX_MHZ: return get_clock(calls->clock_max, device, value);
    case NVML_REASONS: return get_wide(calls->reasons, device, value);
    case NVML_BUSY_PPM: return get_busy(calls, device, value);
    case NVML_ECC_COUNT: return get_ecc(calls, device, value);
    case NVML_QUANTITY_COUNT: break;
    }
    unreachable("quantity");
}

struct reading nvml_read(const struct nvml *nvml, nvml_device device,
                         enum nvml_quantity quantity)
{
    static const struct {
        int64_t min, max;
    } believed[NVML_QUANTITY_COUNT] = {
#define X(id, min, max) [NVML_##id] = { min, max },
        NVML_QUANTITIES(X)
#undef X
    };
    int64_t value = 0;
    int code = get(&nvml->calls, device, quantity, &value);
    return reading_of(status_of(code), value, believed[quantity].min, believed[quantity].max);
}

/* ---- activity between two samples ---------------------------------------------------- */

enum reading_status nvml_gpm_init(struct nvml_gpm *gpm, const struct nvml *nvml,
                                  nvml_device device)
{
    *gpm = (struct nvml_gpm){ .next = 0 };
    if (!nvml->calls.gpm_support) return READING_MISSING;
    if (!gpm_supported(nvml, device)) return READING_UNSUPPORTED;
    for (size_t i = 0; i < ARRAY_COUNT(gpm->samples); i++) {
        int code = nvml->calls.gpm_alloc(&gpm->samples[i]);
        if (code == NVML_SUCCESS && gpm->samples[i]) continue;
        nvml_gpm_fini(gpm, nvml);
        return code == NVML_SUCCESS ? READING_FAILED : status_of(code);
    }
    return READING_OK;
}

void nvml_gpm_fini(struct nvml_gpm *gpm, const struct nvml *nvml)
{
    for (size_t i = 0; i < ARRAY_COUNT(gpm->samples); i++)
        if (gpm->samples[i]) nvml->calls.gpm_free(gpm->samples[i]);
    *gpm = (struct nvml_gpm){ .next = 0 };
}

/* A share in percent. A little above 100 is the counter's rounding; far above is another unit. */
static struct reading share_of(const struct nvml_gpm_metric *metric)
{
    enum reading_status status = status_of(metric->status);
    if (status == READING_OK && !(metric->value >= 0 && metric->value <= 101))
        status = READING_ABSURD;
    if (status != READING_OK) return (struct reading){ .status = status };
    int64_t ppm = (int64_t)(metric->value * (double)(PPM / 100) + 0.5);
    return (struct reading){ .status = READING_OK, .value = min_i64(ppm, PPM) };
}

static struct nvml_activity compare(const struct nvml *nvml, nvml_gpm_sample from,
                                    nvml_gpm_sample to)
{
    static const unsigned ids[] = { NVML_GPM_SM_UTIL, NVML_GPM_ANY_TENSOR_UTIL,
                                    NVML_GPM_FP32_UTIL };
    struct nvml_gpm_metrics request = {
        .version = NVML_GPM_VERSION, .count = ARRAY_COUNT(ids), .from = from, .to = to
    };
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++)
        request.metrics[i].id = ids[i];
    enum reading_status status = status_of(nvml->calls.gpm_metrics(&request));
    struct nvml_activity activity = { .status = status };
    struct reading *shares[] = { &activity.sm_ppm, &activity.tensor_ppm, &activity.fp32_ppm };
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++)
        *shares[i] = status == READING_OK ? share_of(&request.metrics[i])
                                          : (struct reading){ .status = status };
    return activity;
}

struct nvml_activity nvml_gpm_step(struct nvml_gpm *gpm, const struct nvml *nvml,
                                   nvml_device device, int64_t now_ns)
{
    struct nvml_activity none = { .status = READING_OK, .from_ns = now_ns, .to_ns = now_ns };
    if (!gpm->samples[0]) {
        none.status = READING_UNSUPPORTED;
        return none;
    }
    int64_t before_ns = gpm->taken_ns;
    if (before_ns > 0 && now_ns - before_ns <= GPM_APART_NS) return none;
    nvml_gpm_sample now = gpm->samples[gpm->next], before = gpm->samples[1 - gpm->next];
    none.status = status_of(nvml->calls.gpm_sample(device, now));
    gpm->taken_ns = none.status == READING_OK ? now_ns : 0;
    if (none.status != READING_OK) return none;
    gpm->next = 1 - gpm->next;
    if (before_ns == 0) return none;
    struct nvml_activity activity = compare(nvml, before, now);
    activity.from_ns = before_ns;
    activity.to_ns = now_ns;
    return activity;
}

/* ---- faults -------------------------------------------------------------------------- */

enum reading_status nvml_watch_init(struct nvml_watch *watch, const struct nvml *nvml,
                                    nvml_device device)
{
    const struct nvml_calls *calls = &nvml->calls;
    watch->set = NULL;
    if (!calls->event_set || !calls->event_register || !calls->event_wait || !calls->event_free)
        return READING_MISSING;
    int code = calls->event_set(&watch->set);
    if (code != NVML_SUCCESS || !watch->set) {
        watch->set = NULL;
        return code == NVML_SUCCESS ? READING_FAILED : status_of(code);
    }
    code = calls->event_register(device, NVML_EVENT_XID, watch->set);
    if (code != NVML_SUCCESS) nvml_watch_fini(watch, nvml);
    return status_of(code);
}

void nvml_watch_fini(struct nvml_watch *watch, const struct nvml *nvml)
{
    if (watch->set) nvml->calls.event_free(watch->set);
    watch->set = NULL;
}

struct reading nvml_watch_take(const struct nvml_watch *watch, const struct nvml *nvml)
{
    struct nvml_event event = { .type = 0 };
    if (!watch->set) return (struct reading){ .status = READING_UNSUPPORTED };
    int code = nvml->calls.event_wait(watch->set, &event, 0);
    if (code == NVML_SUCCESS && !(event.type & NVML_EVENT_XID)) code = NVML_ERROR_TIMEOUT;
    int64_t xid = event.data > INT64_MAX ? INT64_MAX : (int64_t)event.data;
    return reading_of(status_of(code), xid, 0, UINT32_MAX);
}

const char *reading_status_name(enum reading_status status)
{
    static const char *const names[READING_STATUS_COUNT] = {
#define X(id, name) [READING_##id] = name,
        READINGS(X)
#undef X
    };
    return (unsigned)status < READING_STATUS_COUNT ? names[status] : "unknown";
}
