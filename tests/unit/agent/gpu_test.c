/* The watching thread: facts, sums that move, a driver that does not answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/agent/gpu.h"
#include "worker/spawn/process.h"

#define PATIENCE_NS (30 * NS_PER_S)

static char script_path[128];

/* Whole or not at all: somebody reads it all the time. */
static void play(const char *script)
{
    char part[160];
    snprintf(part, sizeof part, "%s.part", script_path);
    FILE *file = fopen(part, "w");
    assert_non_null(file);
    assert_true(fputs(script, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(part, script_path), 0);
}

static const char busy[] = "device 00000000:3B:00.0\nname NVIDIA H100 80GB HBM3\nuuid GPU-a\n"
                           "memory 85520809984\npower 650000\nlimit 700000\ndefault 700000\n"
                           "clock 1700\nclock_max 1980\nbusy 100\nsm 90\ntensor 60\nfp32 5\n";

static struct gpu *open_fake(const char *which)
{
    struct gpu *gpu = gpu_open(&(struct gpu_options){
        .which = which, .library = FAKE_NVML, .interval_ns = 110 * NS_PER_MS });
    assert_non_null(gpu);
    return gpu;
}

static struct device_figures await(struct gpu *gpu, int64_t min, size_t offset)
{
    int64_t until_ns = boot_clock_ns() + PATIENCE_NS;
    for (;;) {
        struct device_figures figures = gpu_look(gpu);
        int64_t value;
        memcpy(&value, (const char *)&figures + offset, sizeof value);
        if (value >= min) return figures;
        if (boot_clock_ns() > until_ns)
            fail_msg("figure at %zu stays %lld", offset, (long long)value);
        usleep(10000);
    }
}

#define AWAIT(gpu, name, min) await((gpu), (min), offsetof(struct device_figures, name))

static void test_facts_and_sums(void **state)
{
    (void)state;
    play(busy);
    struct gpu *gpu = open_fake("GPU-a");
    const struct gpu_facts *facts = gpu_facts(gpu);
    assert_true(facts->found);
    assert_string_equal(facts->class, "h100");
    assert_true(facts->peak_flops == 989.4e12);
    assert_int_equal(facts->memory_bytes, 85520809984);
    assert_true(facts->has_gpm);
    struct device_figures figures = AWAIT(gpu, gpm_ns, NS_PER_S / 2);
    assert_in_range(figures.tensor_ns * 100 / figures.gpm_ns, 58, 61);
    assert_in_range(figures.sm_ns * 100 / figures.gpm_ns, 88, 91);
    assert_true(figures.busy_ns == figures.util_ns);
    assert_true(figures.energy_ns > 0);
    assert_in_range(figures.energy_mj * NS_PER_S / figures.energy_ns, 500000, 800000);
    /* The counter goes backwards, the device falls off the bus, the driver reports. */
    play("device 00000000:3B:00.0\nname NVIDIA H100 80GB HBM3\nuuid GPU-a\nxid 79\nfail energy "
         "15\n"
         "fail power 15\nfail clock 15\nfail utilization 15\nfail gpm_sample 15\nfail reasons "
         "15\n");
    (void)AWAIT(gpu, lost, 1);
    figures = AWAIT(gpu, xid_count, 1);
    assert_int_equal(figures.xid, 79);
    int64_t watched_ns = figures.watched_ns;
    usleep(300000);
    assert_int_equal(gpu_look(gpu).watched_ns, watched_ns);
    gpu_close(gpu);
}

static void test_no_gpu(void **state)
{
    (void)state;
    play(busy);
    static const struct {
        const char *which, *library, *says;
    } rows[] = { { NULL, FAKE_NVML, "has no GPU" },
                 { "", FAKE_NVML, "has no GPU" },
                 { "7", FAKE_NVML, "no device \"7\"" },
                 { "0", "/no/such/library.so", "/no/such/library.so" } };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct gpu *gpu = gpu_open(
            &(struct gpu_options){ .which = rows[i].which, .library = rows[i].library });
        struct device_figures zero = { 0 }, figures = gpu_look(gpu);
        assert_false(gpu_facts(gpu)->found);
        if (!strstr(gpu_facts(gpu)->reason, rows[i].says))
            fail_msg("row %zu: %s", i, gpu_facts(gpu)->reason);
        assert_memory_equal(&figures, &zero, sizeof zero);
        gpu_close(gpu);
    }
    gpu_close(NULL);
    assert_int_equal(gpu_look(NULL).watched_ns, 0);
}

/* Neither opening nor closing waits for a driver that is stuck. Last: its thread stays. */
static void test_stuck_driver(void **state)
{
    (void)state;
    play(busy);
    struct gpu *gpu = open_fake("0");
    AWAIT(gpu, util_ns, 1);
    char stuck[1024];
    snprintf(stuck, sizeof stuck, "%shang power\n", busy);
    play(stuck);
    usleep(300000);
    struct device_figures figures = gpu_look(gpu);
    usleep(300000);
    assert_int_equal(gpu_look(gpu).watched_ns, figures.watched_ns); /* unknown, not idle */
    gpu_close(gpu);
    snprintf(stuck, sizeof stuck, "%shang count\n", busy);
    play(stuck);
    gpu = gpu_open(&(struct gpu_options){
        .which = "0", .library = FAKE_NVML, .timeout_ns = 100 * NS_PER_MS });
    assert_false(gpu_facts(gpu)->found);
    assert_non_null(strstr(gpu_facts(gpu)->reason, "does not answer"));
    gpu_close(gpu);
}

int main(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(script_path, sizeof script_path, "%.80s/gpu-test-XXXXXX", base ? base : "/tmp");
    int fd = mkstemp(script_path);
    if (fd < 0 || setenv("PENSTOCK_FAKE_NVML", script_path, 1) != 0) return 1;
    close(fd);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_facts_and_sums),
                                        cmocka_unit_test(test_no_gpu),
                                        cmocka_unit_test(test_stuck_driver) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(script_path);
    return failed;
}
