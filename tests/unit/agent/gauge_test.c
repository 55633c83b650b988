/* Samples added up: time that nobody saw, counters that jump, and readings without a value count for nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "worker/agent/gauge.h"

#define S NS_PER_S

static struct gauge_sample blind(int64_t at_ns)
{
    struct gauge_sample sample = { .at_ns = at_ns, .activity.status = READING_UNSUPPORTED };
    for (size_t i = 0; i < NVML_QUANTITY_COUNT; i++)
        sample.read[i].status = READING_MISSING;
    return sample;
}

static void put(struct gauge_sample *sample, enum nvml_quantity quantity, int64_t value)
{
    sample->read[quantity] = (struct reading){ READING_OK, value };
}

static void test_shares_and_rates(void **state)
{
    (void)state;
    struct gauge gauge = { 0 };
    for (int i = 0; i <= 4; i++) {
        struct gauge_sample sample = blind(S + i * S / 2);
        put(&sample, NVML_BUSY_PPM, 800000);
        put(&sample, NVML_CLOCK_MHZ, 1500);
        put(&sample, NVML_CLOCK_MAX_MHZ, 1980);
        put(&sample, NVML_REASONS, i < 3 ? NVML_REASON_SW_POWER_CAP : NVML_REASON_HW_THERMAL);
        put(&sample, NVML_POWER_MW, 300001);
        put(&sample, NVML_POWER_LIMIT_MW, 400000);
        gauge_add(&gauge, &sample);
    }
    const struct device_figures *f = &gauge.figures;
    assert_int_equal(f->watched_ns, 2 * S);
    assert_int_equal(f->util_ns, 2 * S);
    assert_int_equal(f->busy_ns, 16 * S / 10);
    assert_int_equal(f->clock_ns, 2 * S);
    assert_int_equal(f->mega_cycles, 3000);
    assert_int_equal(f->reason_ns, 2 * S);
    assert_int_equal(f->capped_ns, S);
    assert_int_equal(f->hot_ns, S);
    assert_int_equal(f->energy_ns, 2 * S); /* from power: nothing counts energy here */
    assert_int_equal(f->energy_mj, 600002);
    assert_int_equal(f->power_limit_mw, 400000);
    assert_int_equal(f->power_default_mw, 0);
    assert_int_equal(f->reasons, NVML_REASON_HW_THERMAL);
    assert_int_equal(f->gpm_ns, 0);
}

/* The energy counter, against samples of power where there are some. */
static void test_energy(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        int64_t from_mj, to_mj, power_mw; /* -1: not read */
        int64_t mj, ns;
    } rows[] = {
        { "counted", 5000, 305000, -1, 300000, S },
        { "the counter stands above samples", 5000, 305000, 1000, 300000, S },
        { "idle", 0, 60000, -1, 60000, S },
        { "backwards: the driver was loaded anew", 500000, 100, -1, 0, 0 },
        { "backwards, with power", 500000, 100, 70000, 70000, S },
        { "joules", 5000, 5300, -1, 0, 0 },
        { "microjoules", 5000, 300005000, -1, 0, 0 },
        { "stuck", 5000, 5000, -1, 0, 0 },
        { "wrapped", 0, INT64_MAX, -1, 0, 0 },
        { "not read before", -1, 5000, -1, 0, 0 },
        { "not read now", 5000, -1, -1, 0, 0 },
        { "nothing", -1, -1, -1, 0, 0 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct gauge gauge = { 0 };
        struct gauge_sample from = blind(S), to = blind(2 * S);
        if (rows[i].from_mj >= 0) put(&from, NVML_ENERGY_MJ, rows[i].from_mj);
        if (rows[i].to_mj >= 0) put(&to, NVML_ENERGY_MJ, rows[i].to_mj);
        if (rows[i].power_mw >= 0) put(&to, NVML_POWER_MW, rows[i].power_mw);
        gauge_add(&gauge, &from);
        gauge_add(&gauge, &to);
        if (gauge.figures.energy_mj != rows[i].mj || gauge.figures.energy_ns != rows[i].ns)
            fail_msg("%s: %lld mJ in %lld ns", rows[i].what, (long long)gauge.figures.energy_mj,
                     (long long)gauge.figures.energy_ns);
    }
}

static void test_unseen_time_is_not_counted(void **state)
{
    (void)state;
    struct gauge gauge = { 0 };
    struct device_figures zero = { 0 };
    struct gauge_sample sample = blind(S);
    gauge_add(&gauge, &sample);
    sample = blind(2 * S);
    gauge_add(&gauge, &sample);
    assert_memory_equal(&gauge.figures, &zero, sizeof zero); /* nothing can be read */
    put(&sample, NVML_BUSY_PPM, 1000000);
    sample.at_ns = 3 * S;
    gauge_add(&gauge, &sample);
    assert_int_equal(gauge.figures.util_ns, S);
    sample.at_ns = 100 * S; /* the agent stood still, or the machine slept */
    gauge_add(&gauge, &sample);
    assert_int_equal(gauge.figures.util_ns, S);
    sample.at_ns = 100 * S; /* no time at all */
    gauge_add(&gauge, &sample);
    assert_int_equal(gauge.figures.util_ns, S);
}

static void test_activity(void **state)
{
    (void)state;
    struct gauge gauge = { 0 };
    struct gauge_sample sample = blind(S);
    sample.activity = (struct nvml_activity){ .status = READING_OK,
                                              .from_ns = S,
                                              .to_ns = 3 * S,
                                              .sm_ppm = { READING_OK, 900000 },
                                              .tensor_ppm = { READING_OK, 450000 },
                                              .fp32_ppm = { READING_OK, 0 } };
    gauge_add(&gauge, &sample);
    assert_int_equal(gauge.figures.gpm_ns, 2 * S);
    assert_int_equal(gauge.figures.sm_ns, 18 * S / 10);
    assert_int_equal(gauge.figures.tensor_ns, 9 * S / 10);
    assert_int_equal(gauge.figures.fp32_ns, 0);
    struct device_figures before = gauge.figures;
    sample.activity.fp32_ppm.status = READING_ABSURD; /* one of them is not known */
    sample.at_ns = 2 * S;
    gauge_add(&gauge, &sample);
    sample.activity.fp32_ppm.status = READING_OK;
    sample.activity.to_ns = sample.activity.from_ns; /* no interval */
    sample.at_ns = 3 * S;
    gauge_add(&gauge, &sample);
    sample.activity.to_ns = sample.activity.from_ns + 60 * S; /* too long ago */
    gauge_add(&gauge, &sample);
    assert_int_equal(gauge.figures.gpm_ns, before.gpm_ns);
    assert_int_equal(gauge.figures.tensor_ns, before.tensor_ns);
}

static void test_faults(void **state)
{
    (void)state;
    struct gauge gauge = { 0 };
    struct gauge_sample sample = blind(S);
    put(&sample, NVML_ECC_COUNT, 7); /* from before this campaign */
    gauge_add(&gauge, &sample);
    assert_int_equal(gauge.figures.ecc_count, 0);
    put(&sample, NVML_ECC_COUNT, 9);
    sample.at_ns = 2 * S;
    sample.xid_count = 2;
    sample.xid = 48;
    gauge_add(&gauge, &sample);
    assert_int_equal(gauge.figures.ecc_count, 2);
    assert_int_equal(gauge.figures.xid_count, 2);
    assert_int_equal(gauge.figures.xid, 48);
    assert_int_equal(gauge.figures.lost, 0);
    sample = blind(3 * S);
    for (size_t i = 0; i < NVML_QUANTITY_COUNT; i++)
        sample.read[i].status = READING_LOST;
    gauge_add(&gauge, &sample);
    assert_int_equal(gauge.figures.lost, 1);
    assert_int_equal(gauge.figures.xid, 48);       /* the newest stays */
    assert_int_equal(gauge.figures.watched_ns, 0); /* a count of errors tells nothing of work */
    sample = blind(4 * S);
    gauge_add(&gauge, &sample);
    assert_int_equal(gauge.figures.lost, 1); /* nothing read says nothing */
    put(&sample, NVML_ECC_COUNT, 1);         /* reset */
    sample.at_ns = 5 * S;
    gauge_add(&gauge, &sample);
    assert_int_equal(gauge.figures.lost, 0);
    assert_int_equal(gauge.figures.ecc_count, 2);
}

static void test_since(void **state)
{
    (void)state;
    struct device_figures before = {
        .watched_ns = 5, .energy_mj = 100, .reasons = 4, .xid = 1
    };
    struct device_figures now = { .watched_ns = 9, .energy_mj = 40, .reasons = 0, .xid = 79 };
    struct device_figures since = device_since(&now, &before);
    assert_int_equal(since.watched_ns, 4);
    assert_int_equal(since.energy_mj, 0);
    assert_int_equal(since.reasons, 0);
    assert_int_equal(since.xid, 79);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_shares_and_rates),
                                        cmocka_unit_test(test_energy),
                                        cmocka_unit_test(test_unseen_time_is_not_counted),
                                        cmocka_unit_test(test_activity),
                                        cmocka_unit_test(test_faults),
                                        cmocka_unit_test(test_since) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
