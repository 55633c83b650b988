#include "worker/agent/meter.h"

enum { REST_FACTOR = 400 };

void meter_fini(struct meter *meter)
{
    process_list_fini(&meter->processes);
    *meter = (struct meter){ 0 };
}

void meter_begin(struct meter *meter, struct gpu *gpu)
{
    meter->gpu_start = gpu_look(gpu);
}

struct device_figures meter_gpu(const struct meter *meter, struct gpu *gpu)
{
    struct device_figures now = gpu_look(gpu);
    return device_since(&now, &meter->gpu_start);
}

uint64_t meter_look(struct meter *meter, const struct process_family *family, bool now)
{
    int64_t start_ns = boot_clock_ns();
    if (!now && start_ns < meter->next_look_ns) return meter->cpu_ns;
    if (process_list_read(&meter->processes, NULL) == ERR_OK) {
        process_find_family(&meter->processes, family);
        uint64_t cpu_ns = process_family_cpu_ns(&meter->processes);
        if (cpu_ns > meter->cpu_ns) meter->cpu_ns = cpu_ns;
    }
    int64_t end_ns = boot_clock_ns();
    meter->next_look_ns = end_ns + REST_FACTOR * (end_ns - start_ns);
    return meter->cpu_ns;
}
