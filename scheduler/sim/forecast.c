/* forecast.c - many simulations of one campaign, as percentiles. */

#include "scheduler/sim/sim.h"

#include <stdlib.h>

enum { SAMPLES_MAX = 1024 };

static int compare_i64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Nearest-rank percentiles of the sorted values. */
static struct sim_range range_of(int64_t *values, uint32_t count)
{
    qsort(values, count, sizeof *values, compare_i64);
    return (struct sim_range){ values[(count - 1) / 10], values[(count - 1) / 2],
                               values[(9 * (count - 1) + 9) / 10] };
}

enum err sim_forecast(const struct campaign *campaign, const struct sim_options *options,
                      uint32_t samples, struct sim_forecast *forecast, struct error *error)
{
    int64_t values[3][SAMPLES_MAX];
    if (samples < 1 || samples > SAMPLES_MAX)
        return error_set(error, ERR_INPUT, "a forecast takes 1 to %d samples", SAMPLES_MAX);
    for (uint32_t i = 0; i < samples; i++) {
        struct sim_options one = *options;
        struct sim_result result;
        one.seed = options->seed + i;
        enum err rc = sim_run(campaign, &one, &result, error);
        if (rc != ERR_OK) return rc;
        values[0][i] = result.spent_micros;
        values[1][i] = result.makespan_ns;
        values[2][i] = result.finished;
    }
    *forecast = (struct sim_forecast){ .samples = samples,
                                       .spent_micros = range_of(values[0], samples),
                                       .makespan_ns = range_of(values[1], samples),
                                       .finished = range_of(values[2], samples) };
    return ERR_OK;
}
