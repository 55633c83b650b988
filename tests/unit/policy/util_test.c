/* Utilization: which rung is used, exact figures, and numbers that would overflow 64 or 128
 * bits. */
#include "scheduler/policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void plain_and_awkward_figures(void **state)
{
    (void)state;
    const struct {
        const char *what;
        struct util_facts facts;
        int32_t util_ppm;
        enum util_rung rung;
    } cases[] = {
        { "half the peak",
          { .held_ns = 2 * NS_PER_S,
            .slots = 1,
            .tokens = 1000,
            .flops_per_token = 1000000,
            .peak_flops = UINT64_C(1000000000),
            .cpu_ns = -1 },
          500000,
          UTIL_RUNG_MFU },
        { "all of it",
          { .held_ns = NS_PER_S,
            .tokens = 7,
            .flops_per_token = 3,
            .peak_flops = 21,
            .cpu_ns = -1 },
          1000000,
          UTIL_RUNG_MFU },
        { "rounded down",
          { .held_ns = NS_PER_S,
            .tokens = 2,
            .flops_per_token = 1,
            .peak_flops = 3,
            .cpu_ns = -1 },
          666666,
          UTIL_RUNG_MFU },
        { "more than the peak",
          { .held_ns = NS_PER_S,
            .tokens = 3,
            .flops_per_token = 1,
            .peak_flops = 2,
            .cpu_ns = -1 },
          1500000,
          UTIL_RUNG_MFU },
        { "no tokens is nothing, not unknown",
          { .held_ns = NS_PER_S,
            .flops_per_token = 1,
            .peak_flops = 2,
            .cpu_ns = NS_PER_S,
            .threads = 1,
            .on_cpu = true },
          0,
          UTIL_RUNG_MFU },
        { "H100 node, a minute",
          { .held_ns = 60 * NS_PER_S,
            .slots = 8,
            .tokens = UINT64_C(3000000),
            .flops_per_token = UINT64_C(42000000000),
            .peak_flops = UINT64_C(8) * 989000000000000,
            .cpu_ns = -1 },
          265419,
          UTIL_RUNG_MFU },
        { "capped",
          { .held_ns = 1,
            .tokens = UINT64_MAX,
            .flops_per_token = UINT64_MAX,
            .peak_flops = 1,
            .cpu_ns = -1 },
          INT32_MAX,
          UTIL_RUNG_MFU },
        { "just under the cap",
          { .held_ns = NS_PER_S,
            .tokens = INT32_MAX,
            .flops_per_token = 1,
            .peak_flops = 1000000,
            .cpu_ns = -1 },
          INT32_MAX,
          UTIL_RUNG_MFU },
        { "one under the cap",
          { .held_ns = NS_PER_S,
            .tokens = INT32_MAX - 1,
            .flops_per_token = 1,
            .peak_flops = 1000000,
            .cpu_ns = -1 },
          INT32_MAX - 1,
          UTIL_RUNG_MFU },
        { "all as large as can be: (2^64-1)^2 / ((2^64-1) (2^63-1) ns)",
          { .held_ns = INT64_MAX,
            .tokens = UINT64_MAX,
            .flops_per_token = UINT64_MAX,
            .peak_flops = UINT64_MAX,
            .cpu_ns = -1 },
          INT32_MAX,
          UTIL_RUNG_MFU },
        { "large on both sides, above the cap",
          { .held_ns = 3 * NS_PER_S,
            .tokens = UINT64_C(1) << 63,
            .flops_per_token = UINT64_C(1) << 62,
            .peak_flops = UINT64_MAX,
            .cpu_ns = -1 },
          INT32_MAX,
          UTIL_RUNG_MFU },
        { "large on both sides, a hair under a quarter",
          { .held_ns = INT64_MAX,
            .tokens = UINT64_C(1) << 63,
            .flops_per_token = UINT64_C(4611686018),
            .peak_flops = UINT64_MAX,
            .cpu_ns = -1 },
          249999,
          UTIL_RUNG_MFU },
        { "tiny against huge",
          { .held_ns = INT64_MAX,
            .tokens = 1,
            .flops_per_token = 1,
            .peak_flops = UINT64_MAX,
            .cpu_ns = -1 },
          0,
          UTIL_RUNG_MFU },
        { "no peak, GPU",
          { .held_ns = NS_PER_S, .tokens = 9, .flops_per_token = 9, .cpu_ns = 1, .threads = 1 },
          UTIL_UNKNOWN,
          UTIL_RUNG_UNKNOWN },
        { "no FLOPs, GPU: its CPU time is no figure",
          { .held_ns = NS_PER_S,
            .tokens = 9,
            .peak_flops = 9,
            .cpu_ns = NS_PER_S,
            .threads = 1 },
          UTIL_UNKNOWN,
          UTIL_RUNG_UNKNOWN },
        { "no FLOPs, CPU: a quarter of four threads",
          { .held_ns = NS_PER_S,
            .tokens = 9,
            .peak_flops = 9,
            .cpu_ns = NS_PER_S,
            .threads = 4,
            .on_cpu = true },
          250000,
          UTIL_RUNG_CPU_TIME },
        { "no peak, CPU",
          { .held_ns = NS_PER_S,
            .tokens = 9,
            .flops_per_token = 9,
            .cpu_ns = 0,
            .threads = 4,
            .on_cpu = true },
          0,
          UTIL_RUNG_CPU_TIME },
        { "more CPU time than was held",
          { .held_ns = NS_PER_S, .cpu_ns = 3 * NS_PER_S, .threads = 2, .on_cpu = true },
          1500000,
          UTIL_RUNG_CPU_TIME },
        { "capped CPU time",
          { .held_ns = 1, .cpu_ns = INT64_MAX, .threads = 1, .on_cpu = true },
          INT32_MAX,
          UTIL_RUNG_CPU_TIME },
        { "CPU time over very long",
          { .held_ns = INT64_MAX, .cpu_ns = INT64_MAX, .threads = UINT32_MAX, .on_cpu = true },
          0,
          UTIL_RUNG_CPU_TIME },
        { "CPU time unknown",
          { .held_ns = NS_PER_S, .cpu_ns = -1, .threads = 4, .on_cpu = true },
          UTIL_UNKNOWN,
          UTIL_RUNG_UNKNOWN },
        { "no threads known",
          { .held_ns = NS_PER_S, .cpu_ns = 5, .on_cpu = true },
          UTIL_UNKNOWN,
          UTIL_RUNG_UNKNOWN },
        { "an empty window",
          { .tokens = 5,
            .flops_per_token = 5,
            .peak_flops = 5,
            .cpu_ns = 5,
            .threads = 5,
            .on_cpu = true },
          UTIL_UNKNOWN,
          UTIL_RUNG_UNKNOWN },
        { "a window that ends before it starts",
          { .held_ns = -1, .tokens = 5, .flops_per_token = 5, .peak_flops = 5, .cpu_ns = -1 },
          UTIL_UNKNOWN,
          UTIL_RUNG_UNKNOWN },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct util_measure got = util_measure(&cases[i].facts);
        if (got.util_ppm != cases[i].util_ppm || got.rung != cases[i].rung)
            fail_msg("%s: %d by %s", cases[i].what, got.util_ppm, util_rung_name(got.rung));
    }
}

/* ---- what the device says ---------------------------------------------------------------- */

/* Ten seconds, of which all are seen; half of the peak is reported. */
enum { HELD_S = 10 };

static struct util_facts reporting(uint64_t tokens)
{
    return (struct util_facts){ .held_ns = HELD_S * NS_PER_S,
                                .slots = 1,
                                .tokens = tokens,
                                .flops_per_token = 1000000,
                                .peak_flops = UINT64_C(1000000000),
                                .steps = tokens > 0 ? 5 : 0,
                                .cpu_ns = -1 };
}

static struct device_figures seen(void)
{
    const int64_t all = HELD_S * NS_PER_S;
    return (struct device_figures){ .watched_ns = all,
                                    .power_limit_mw = 700000,
                                    .power_default_mw = 700000,
                                    .clock_max_mhz = 2000 };
}

static struct device_figures pipes(struct device_figures device, int percent)
{
    device.gpm_ns = HELD_S * NS_PER_S;
    device.tensor_ns = device.gpm_ns / 100 * percent;
    device.sm_ns = device.gpm_ns;
    return device;
}

static struct device_figures watts(struct device_figures device, int64_t mean)
{
    device.energy_ns = HELD_S * NS_PER_S;
    device.energy_mj = mean * 1000 * HELD_S;
    return device;
}

static struct device_figures busy(struct device_figures device, int percent)
{
    device.util_ns = HELD_S * NS_PER_S;
    device.busy_ns = device.util_ns / 100 * percent;
    return device;
}

static struct device_figures capped(struct device_figures device, int percent, int64_t mhz)
{
    device.reason_ns = device.clock_ns = HELD_S * NS_PER_S;
    device.capped_ns = device.reason_ns / 100 * percent;
    device.mega_cycles = mhz * HELD_S;
    return device;
}

#define FLAG(id) UTIL_FLAG_BIT(id)

static void devices_confirm_or_refute(void **state)
{
    (void)state;
    enum { FULL = 10000, HALF = 5000, NONE = 0 }; /* tokens in the window */
    const struct {
        const char *what;
        uint64_t tokens;
        struct device_figures device;
        int32_t util_ppm, fair_ppm;
        enum util_rung rung;
        uint32_t flags;
    } cases[] = {
        { "nothing is seen", HALF, { 0 }, 500000, 500000, UTIL_RUNG_MFU, 0 },
        { "seen, nothing known", HALF, seen(), 500000, 500000, UTIL_RUNG_MFU, 0 },
        { "the pipes confirm", HALF, pipes(seen(), 60), 500000, 500000, UTIL_RUNG_MFU_GPM, 0 },
        { "a quarter of it is enough", HALF, pipes(seen(), 13), 500000, 500000,
          UTIL_RUNG_MFU_GPM, 0 },
        { "pipes at rest", HALF, pipes(seen(), 0), 0, 0, UTIL_RUNG_GPM, FLAG(FALSE_REPORT) },
        { "pipes nearly at rest", HALF, pipes(seen(), 2), 20000, 20000, UTIL_RUNG_GPM,
          FLAG(FALSE_REPORT) },
        { "pipes stand above power", HALF, watts(pipes(seen(), 60), 70), 500000, 500000,
          UTIL_RUNG_MFU_GPM, 0 },
        { "power confirms", HALF, watts(seen(), 400), 500000, 500000, UTIL_RUNG_MFU_ENERGY, 0 },
        { "power of an idle board", HALF, watts(seen(), 70), 0, 0, UTIL_RUNG_ENERGY,
          FLAG(FALSE_REPORT) },
        { "a small report is not refuted", 900, watts(pipes(seen(), 0), 70), 90000, 90000,
          UTIL_RUNG_MFU_GPM, 0 },
        { "a hung collective", NONE, watts(busy(seen(), 100), 70), 0, 0, UTIL_RUNG_MFU_ENERGY,
          FLAG(HANG) },
        { "hung, seen by the pipes", NONE, pipes(busy(seen(), 100), 0), 0, 0, UTIL_RUNG_MFU_GPM,
          FLAG(HANG) },
        { "hung, nothing else known", NONE, busy(seen(), 100), 0, 0, UTIL_RUNG_MFU,
          FLAG(HANG) },
        { "a step longer than the window", NONE, pipes(busy(seen(), 100), 50), 0, 0,
          UTIL_RUNG_MFU_GPM, 0 },
        { "such a step on a chip that counts no pipes", NONE, watts(busy(seen(), 100), 350), 0,
          0, UTIL_RUNG_MFU_ENERGY, 0 },
        { "idle is no hang", NONE, watts(busy(seen(), 3), 70), 0, 0, UTIL_RUNG_MFU_ENERGY, 0 },
        { "slowed to half", HALF, capped(pipes(seen(), 60), 100, 1000), 500000, 1000000,
          UTIL_RUNG_MFU_GPM, FLAG(POWER_CAPPED) },
        { "now and then", HALF, capped(pipes(seen(), 60), 49, 1000), 500000, 500000,
          UTIL_RUNG_MFU_GPM, 0 },
        { "capped, at full clocks", HALF, capped(pipes(seen(), 60), 100, 2100), 500000, 500000,
          UTIL_RUNG_MFU_GPM, FLAG(POWER_CAPPED) },
        { "capped and stopped", HALF, capped(pipes(seen(), 60), 100, 0), 500000, 500000,
          UTIL_RUNG_MFU_GPM, FLAG(POWER_CAPPED) },
        { "a cap excuses no idling", NONE, capped(pipes(seen(), 0), 100, 1000), 0, 0,
          UTIL_RUNG_MFU_GPM, FLAG(POWER_CAPPED) },
        { "all of the peak", FULL, pipes(seen(), 100), 1000000, 1000000, UTIL_RUNG_MFU_GPM, 0 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct util_facts facts = reporting(cases[i].tokens);
        facts.device = cases[i].device;
        struct util_measure got = util_measure(&facts);
        if (got.util_ppm != cases[i].util_ppm || got.rung != cases[i].rung ||
            got.flags != cases[i].flags || got.fair_ppm != cases[i].fair_ppm)
            fail_msg("%s: %d, fair %d, by %s, flags %x", cases[i].what, got.util_ppm,
                     got.fair_ppm, util_rung_name(got.rung), got.flags);
    }
}

static void devices_stand_in_for_flops(void **state)
{
    (void)state;
    struct util_facts facts = reporting(5000);
    facts.flops_per_token = 0;
    facts.device = busy(watts(seen(), 650), 100);
    struct util_measure got = util_measure(&facts);
    assert_int_equal(got.rung, UTIL_RUNG_UNKNOWN); /* busy alone is no measure */
    assert_int_equal(got.util_ppm, UTIL_UNKNOWN);
    assert_int_equal(got.fair_ppm, UTIL_UNKNOWN);
    facts.device = pipes(facts.device, 40);
    facts.device.fp32_ns = NS_PER_S;
    got = util_measure(&facts);
    assert_int_equal(got.rung, UTIL_RUNG_GPM);
    assert_int_equal(got.util_ppm, 500000); /* of both kinds of pipes */
    facts.device.fp32_ns = HELD_S * NS_PER_S;
    assert_int_equal(util_measure(&facts).util_ppm, 1000000);
    facts.peak_flops = 0;
    facts.flops_per_token = 1000;
    assert_int_equal(util_measure(&facts).rung, UTIL_RUNG_GPM);
}

/* Seen for less than half of the window is not seen; wrapped and absurd sums stay in their ranges. */
static void evidence_needs_time(void **state)
{
    (void)state;
    struct device_figures device = capped(watts(busy(pipes(seen(), 50), 50), 500), 50, 1500);
    struct util_evidence all = util_evidence(&device, HELD_S * NS_PER_S);
    assert_int_equal(all.tensor_ppm, 500000);
    assert_int_equal(all.sm_ppm, 1000000);
    assert_int_equal(all.fp32_ppm, 0);
    assert_int_equal(all.busy_ppm, 500000);
    assert_int_equal(all.capped_ppm, 500000);
    assert_int_equal(all.hot_ppm, 0);
    assert_int_equal(all.power_mw, 500000);
    assert_int_equal(all.clock_mhz, 1500);
    struct util_evidence half = util_evidence(&device, 2 * HELD_S * NS_PER_S);
    assert_memory_equal(&half, &all, sizeof all);
    const int64_t lengths_ns[] = { 2 * HELD_S * NS_PER_S + 2, INT64_MAX };
    for (size_t i = 0; i < ARRAY_COUNT(lengths_ns); i++) {
        struct util_evidence none = util_evidence(&device, lengths_ns[i]);
        assert_int_equal(none.tensor_ppm, -1);
        assert_int_equal(none.busy_ppm, -1);
        assert_int_equal(none.capped_ppm, -1);
        assert_int_equal(none.power_mw, -1);
        assert_int_equal(none.clock_mhz, -1);
    }
    struct device_figures huge;
#define X(name, kind) huge.name = INT64_MAX;
    DEVICE_FIGURES(X)
#undef X
    struct util_facts facts = reporting(5000);
    facts.device = huge;
    struct util_measure got = util_measure(&facts);
    assert_int_equal(got.rung, UTIL_RUNG_MFU_GPM);
    assert_in_range(got.util_ppm, 0, INT32_MAX);
    huge.tensor_ns = huge.energy_mj = INT64_MAX;
    huge.gpm_ns = huge.energy_ns = 1;
    struct util_evidence odd = util_evidence(&huge, 1);
    assert_int_equal(odd.tensor_ppm, 1000000);
    assert_int_equal(odd.power_mw, INT64_MAX);
}

static void faults_are_flagged(void **state)
{
    (void)state;
    struct util_facts facts = reporting(5000);
    facts.device = pipes(seen(), 60);
    facts.device.reason_ns = HELD_S * NS_PER_S;
    facts.device.hot_ns = facts.device.reason_ns / 2;
    facts.device.xid_count = 2;
    facts.device.ecc_count = 1;
    facts.device.lost = 1;
    assert_int_equal(util_measure(&facts).flags,
                     FLAG(HOT) | FLAG(XID) | FLAG(ECC) | FLAG(LOST));
    for (unsigned flag = 0; flag < UTIL_FLAG_COUNT; flag++)
        assert_string_not_equal(util_flag_name((enum util_flag)flag), "unknown");
    assert_string_equal(util_flag_name(UTIL_FLAG_COUNT), "unknown");
}

static void every_rung_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(util_rung_name(UTIL_RUNG_UNKNOWN), "unknown");
    for (unsigned r = 1; r < UTIL_RUNG_COUNT; r++)
        assert_string_not_equal(util_rung_name((enum util_rung)r), "unknown");
    assert_string_equal(util_rung_name(UTIL_RUNG_COUNT), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_and_awkward_figures),
        cmocka_unit_test(devices_confirm_or_refute),
        cmocka_unit_test(devices_stand_in_for_flops),
        cmocka_unit_test(evidence_needs_time),
        cmocka_unit_test(faults_are_flagged),
        cmocka_unit_test(every_rung_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
