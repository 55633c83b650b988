#include "worker/agent/gauge.h"

#define GAP_MAX_NS (10 * NS_PER_S)
#define POWER_MIN_MW 1000
#define POWER_MAX_MW 20000000

static bool known(const struct reading *reading)
{
    return reading->status == READING_OK;
}

/* Adds rate x time, where rate x 1 s is one of the sum; keeps what does not make a whole one. */
static void add_rate(int64_t *sum, int64_t *rest, int64_t rate, int64_t time_ns)
{
    int64_t whole = NS_PER_S;
    *rest += rate * time_ns;
    *sum += *rest / whole;
    *rest %= whole;
}

static int64_t share_ns(const struct reading *ppm, int64_t time_ns)
{
    return ppm->value * time_ns / PPM;
}

/* The energy counter, when it moved as one does; false when it cannot be believed. */
static bool add_energy(struct gauge *gauge, const struct gauge_sample *sample, int64_t time_ns)
{
    const struct reading *before = &gauge->last.read[NVML_ENERGY_MJ];
    const struct reading *now = &sample->read[NVML_ENERGY_MJ];
    if (!known(before) || !known(now) || now->value < before->value) return false;
    int64_t used_mj = now->value - before->value, time_us = max_i64(1, time_ns / NS_PER_US);
    if (used_mj > POWER_MAX_MW / 1000 * (GAP_MAX_NS / NS_PER_MS)) return false;
    int64_t mean_mw = used_mj * 1000000 / time_us;
    if (mean_mw < POWER_MIN_MW || mean_mw > POWER_MAX_MW) return false;
    gauge->figures.energy_mj += used_mj;
    gauge->figures.energy_ns += time_ns;
    return true;
}

static void add_power(struct gauge *gauge, const struct gauge_sample *sample, int64_t time_ns)
{
    const struct reading *power = &sample->read[NVML_POWER_MW];
    if (!known(power)) return;
    add_rate(&gauge->figures.energy_mj, &gauge->rest_mw_ns, power->value, time_ns);
    gauge->figures.energy_ns += time_ns;
}

static void add_reasons(struct gauge *gauge, const struct gauge_sample *sample, int64_t time_ns)
{
    enum {
        CAPPED = NVML_REASON_SW_POWER_CAP | NVML_REASON_HW_POWER_BRAKE,
        HOT = NVML_REASON_SW_THERMAL | NVML_REASON_HW_THERMAL
    };
    const struct reading *reasons = &sample->read[NVML_REASONS];
    if (!known(reasons)) return;
    gauge->figures.reason_ns += time_ns;
    if (reasons->value & CAPPED) gauge->figures.capped_ns += time_ns;
    if (reasons->value & HOT) gauge->figures.hot_ns += time_ns;
}

static void add_activity(struct gauge *gauge, const struct nvml_activity *activity)
{
    int64_t time_ns = activity->to_ns - activity->from_ns;
    if (activity->status != READING_OK || time_ns <= 0 || time_ns > GAP_MAX_NS) return;
    if (!known(&activity->sm_ppm) || !known(&activity->tensor_ppm) ||
        !known(&activity->fp32_ppm))
        return;
    gauge->figures.gpm_ns += time_ns;
    gauge->figures.sm_ns += share_ns(&activity->sm_ppm, time_ns);
    gauge->figures.tensor_ns += share_ns(&activity->tensor_ppm, time_ns);
    gauge->figures.fp32_ns += share_ns(&activity->fp32_ppm, time_ns);
}

static void add_faults(struct gauge *gauge, const struct gauge_sample *sample)
{
    const struct reading *before = &gauge->last.read[NVML_ECC_COUNT];
    const struct reading *now = &sample->read[NVML_ECC_COUNT];
    if (gauge->last.at_ns > 0 && known(before) && known(now) && now->value > before->value)
        gauge->figures.ecc_count += now->value - before->value;
    gauge->figures.xid_count += sample->xid_count;
    if (sample->xid_count > 0) gauge->figures.xid = sample->xid;
}

static void set_last(struct device_figures *figures, const struct gauge_sample *sample)
{
    bool any_lost = false, any_known = false;
    for (size_t i = 0; i < NVML_QUANTITY_COUNT; i++) {
        any_lost = any_lost || sample->read[i].status == READING_LOST;
        any_known = any_known || sample->read[i].status == READING_OK;
    }
    if (any_lost || any_known) figures->lost = any_lost;
    figures->power_limit_mw = sample->read[NVML_POWER_LIMIT_MW].value;
    figures->power_default_mw = sample->read[NVML_POWER_DEFAULT_MW].value;
    figures->clock_max_mhz = sample->read[NVML_CLOCK_MAX_MHZ].value;
    figures->reasons = sample->read[NVML_REASONS].value;
}

static bool any_known_of(const struct gauge_sample *sample)
{
    static const enum nvml_quantity moving[] = { NVML_ENERGY_MJ, NVML_POWER_MW, NVML_CLOCK_MHZ,
                                                 NVML_REASONS, NVML_BUSY_PPM };
    for (size_t i = 0; i < ARRAY_COUNT(moving); i++)
        if (known(&sample->read[moving[i]])) return true;
    return sample->activity.status == READING_OK;
}

static void add_time(struct gauge *gauge, const struct gauge_sample *sample, int64_t time_ns)
{
    struct device_figures *figures = &gauge->figures;
    const struct reading *busy = &sample->read[NVML_BUSY_PPM];
    const struct reading *clock = &sample->read[NVML_CLOCK_MHZ];
    if (any_known_of(sample)) figures->watched_ns += time_ns;
    if (!add_energy(gauge, sample, time_ns)) add_power(gauge, sample, time_ns);
    add_reasons(gauge, sample, time_ns);
    if (known(busy)) {
        figures->util_ns += time_ns;
        figures->busy_ns += share_ns(busy, time_ns);
    }
    if (known(clock)) {
        figures->clock_ns += time_ns;
        add_rate(&figures->mega_cycles, &gauge->rest_mhz_ns, clock->value, time_ns);
    }
}

void gauge_add(struct gauge *gauge, const struct gauge_sample *sample)
{
    int64_t time_ns = gauge->last.at_ns > 0 ? sample->at_ns - gauge->last.at_ns : 0;
    if (time_ns > 0 && time_ns <= GAP_MAX_NS) add_time(gauge, sample, time_ns);
    add_activity(gauge, &sample->activity);
    add_faults(gauge, sample);
    set_last(&gauge->figures, sample);
    gauge->last = *sample;
}
