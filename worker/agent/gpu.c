#include "worker/agent/gpu.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/log.h"
#include "worker/agent/chips.h"
#include "worker/agent/gauge.h"
#include "worker/spawn/process.h"

#define OPEN_TIMEOUT_NS (10 * NS_PER_S)
#define INTERVAL_NS (500 * NS_PER_MS)
#define CLOSE_TIMEOUT_NS NS_PER_S
enum { REST_FACTOR = 100, XIDS_AT_ONCE = 16 };

struct gpu {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* under the mutex */
    bool opened, stop, ended, abandoned;
    struct gpu_facts facts;
    struct device_figures figures;
    /* the thread's own */
    char which[96], library[256];
    int64_t interval_ns;
    struct nvml nvml;
    nvml_device device;
    struct nvml_gpm gpm;
    struct nvml_watch watch;
    struct gauge gauge;
};

/* ---- the thread ---------------------------------------------------------------------- */

static struct timespec after(int64_t wait_ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + wait_ns % NS_PER_S;
    until.tv_sec += (time_t)(wait_ns / NS_PER_S + ns / NS_PER_S);
    until.tv_nsec = (long)(ns % NS_PER_S);
    return until;
}

static void describe(const struct gpu *gpu, struct gpu_facts *facts)
{
    struct nvml_facts seen = nvml_facts(&gpu->nvml, gpu->device);
    facts->found = true;
    facts->has_gpm = seen.has_gpm;
    facts->memory_bytes = seen.memory_bytes;
    facts->peak_flops = chip_peak_flops(chip_find(seen.name));
    chip_class(seen.name, facts->class);
    text_copy(facts->name, sizeof facts->name, text_of(seen.name));
    text_copy(facts->uuid, sizeof facts->uuid, text_of(seen.uuid));
    text_copy(facts->pci_bus_id, sizeof facts->pci_bus_id, text_of(seen.pci_bus_id));
    text_copy(facts->driver, sizeof facts->driver, text_of(gpu->nvml.driver));
}

/* Opens everything that there is. The facts say how it went. */
static void begin(struct gpu *gpu)
{
    struct gpu_facts facts = { .found = false };
    struct error error = { 0 };
    enum err rc = nvml_open(&gpu->nvml, gpu->library[0] ? gpu->library : NULL, &error);
    if (rc == ERR_OK) rc = nvml_find(&gpu->nvml, gpu->which, &gpu->device, &error);
    if (rc == ERR_OK) {
        describe(gpu, &facts);
        enum reading_status activity = nvml_gpm_init(&gpu->gpm, &gpu->nvml, gpu->device);
        enum reading_status faults = nvml_watch_init(&gpu->watch, &gpu->nvml, gpu->device);
        log_line(LOG_LEVEL_INFO, "gpu=%s pci=%s activity=\"%s\" faults=\"%s\"", facts.name,
                 facts.pci_bus_id, reading_status_name(activity), reading_status_name(faults));
    } else {
        snprintf(facts.reason, sizeof facts.reason, "%.250s", error.text);
    }
    pthread_mutex_lock(&gpu->mutex);
    if (!gpu->stop) gpu->facts = facts;
    gpu->opened = true;
    pthread_cond_broadcast(&gpu->changed);
    pthread_mutex_unlock(&gpu->mutex);
}

static void take_sample(struct gpu *gpu)
{
    struct gauge_sample sample = { .at_ns = boot_clock_ns() };
    for (size_t i = 0; i < NVML_QUANTITY_COUNT; i++)
        sample.read[i] = nvml_read(&gpu->nvml, gpu->device, (enum nvml_quantity)i);
    sample.activity = nvml_gpm_step(&gpu->gpm, &gpu->nvml, gpu->device, sample.at_ns);
    for (int i = 0; i < XIDS_AT_ONCE; i++) {
        struct reading xid = nvml_watch_take(&gpu->watch, &gpu->nvml);
        if (xid.status != READING_OK) break;
        sample.xid_count++;
        sample.xid = (uint32_t)xid.value;
    }
    gauge_add(&gpu->gauge, &sample);
}

static void end(struct gpu *gpu)
{
    nvml_watch_fini(&gpu->watch, &gpu->nvml);
    nvml_gpm_fini(&gpu->gpm, &gpu->nvml);
    nvml_close(&gpu->nvml);
}

static void destroy(struct gpu *gpu)
{
    pthread_cond_destroy(&gpu->changed);
    pthread_mutex_destroy(&gpu->mutex);
    free(gpu);
}

/* Publishes what was sampled, and sleeps for `wait_ns`; false when it is time to end. */
static bool publish_and_sleep(struct gpu *gpu, int64_t wait_ns)
{
    struct timespec until = after(wait_ns);
    pthread_mutex_lock(&gpu->mutex);
    gpu->figures = gpu->gauge.figures;
    int rc = 0;
    while (!gpu->stop && rc == 0)
        rc = pthread_cond_timedwait(&gpu->changed, &gpu->mutex, &until);
    bool go_on = !gpu->stop;
    pthread_mutex_unlock(&gpu->mutex);
    return go_on;
}

static void *watch(void *context)
{
    struct gpu *gpu = context;
    bool go_on;
    begin(gpu);
    go_on = gpu->device != NULL;
    while (go_on) {
        int64_t start_ns = boot_clock_ns();
        take_sample(gpu);
        int64_t rest_ns = REST_FACTOR * (boot_clock_ns() - start_ns);
        go_on = publish_and_sleep(gpu, max_i64(gpu->interval_ns, rest_ns));
    }
    end(gpu);
    pthread_mutex_lock(&gpu->mutex);
    gpu->ended = true;
    bool abandoned = gpu->abandoned;
    pthread_cond_broadcast(&gpu->changed);
    pthread_mutex_unlock(&gpu->mutex);
    if (abandoned) destroy(gpu);
    return NULL;
}

/* ---- the agent's side ---------------------------------------------------------------- */

static bool wait_for(struct gpu *gpu, const bool *what, int64_t timeout_ns)
{
    struct timespec until = after(timeout_ns);
    int rc = 0;
    while (!*what && rc == 0)
        rc = pthread_cond_timedwait(&gpu->changed, &gpu->mutex, &until);
    return *what;
}

static struct gpu *make(const struct gpu_options *options)
{
    pthread_condattr_t attributes;
    struct gpu *gpu = calloc(1, sizeof *gpu);
    if (!gpu) return NULL;
    pthread_mutex_init(&gpu->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&gpu->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    text_copy(gpu->which, sizeof gpu->which, text_of(options->which));
    text_copy(gpu->library, sizeof gpu->library, text_of(options->library));
    gpu->interval_ns = options->interval_ns > 0 ? options->interval_ns : INTERVAL_NS;
    return gpu;
}

struct gpu *gpu_open(const struct gpu_options *options)
{
    pthread_t thread;
    struct gpu *gpu = make(options);
    if (!gpu) return NULL;
    const char *why = NULL;
    pthread_mutex_lock(&gpu->mutex);
    if (!gpu->which[0])
        why = "this slot has no GPU";
    else if (pthread_create(&thread, NULL, watch, gpu) != 0)
        why = "no thread to watch the GPU";
    gpu->ended = why != NULL;
    if (!why) pthread_detach(thread);
    int64_t timeout_ns = options->timeout_ns > 0 ? options->timeout_ns : OPEN_TIMEOUT_NS;
    if (!why && !wait_for(gpu, &gpu->opened, timeout_ns)) why = "NVML does not answer";
    if (why) text_copy(gpu->facts.reason, sizeof gpu->facts.reason, text_of(why));
    /* What comes after that is no fact any more: the hello has left. */
    if (why) gpu->stop = true;
    pthread_mutex_unlock(&gpu->mutex);
    return gpu;
}

void gpu_close(struct gpu *gpu)
{
    if (!gpu) return;
    pthread_mutex_lock(&gpu->mutex);
    gpu->stop = true;
    pthread_cond_broadcast(&gpu->changed);
    bool ended = wait_for(gpu, &gpu->ended, CLOSE_TIMEOUT_NS);
    gpu->abandoned = !ended;
    pthread_mutex_unlock(&gpu->mutex);
    if (ended)
        destroy(gpu);
    else
        log_line(LOG_LEVEL_WARN, "NVML does not come back; its thread is left behind");
}

const struct gpu_facts *gpu_facts(const struct gpu *gpu)
{
    return &gpu->facts;
}

struct device_figures gpu_look(struct gpu *gpu)
{
    struct device_figures figures = { 0 };
    if (!gpu) return figures;
    pthread_mutex_lock(&gpu->mutex);
    if (!gpu->stop) figures = gpu->figures;
    pthread_mutex_unlock(&gpu->mutex);
    return figures;
}
