/* NVML through a fake: what is missing, forbidden, lost or absurd has a status and no value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/agent/nvml.h"

static char script_path[128];

static void play(const char *script)
{
    FILE *file = fopen(script_path, "w");
    assert_non_null(file);
    assert_true(fputs(script, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static const char busy[] = "device 00000000:3B:00.0\n"
                           "name NVIDIA H100 80GB HBM3\n"
                           "uuid GPU-11112222-3333-4444-5555-666677778888\n"
                           "memory 85520809984\npower 650000\nlimit 700000\ndefault 700000\n"
                           "clock 1700\nclock_max 1980\nbusy 99\nsm 90\ntensor 60\nfp32 5\n"
                           "reasons 4\necc 2\n"
                           "device 00000000:5E:00.0\nname NVIDIA A100-SXM4-40GB\nuuid GPU-b\n";

static void open_fake(struct nvml *nvml, const char *script)
{
    struct error error;
    play(script);
    if (nvml_open(nvml, FAKE_NVML, &error) != ERR_OK) fail_msg("%s", error.text);
}

static void test_opens_or_says_why(void **state)
{
    (void)state;
    struct nvml nvml;
    struct error error;
    assert_int_equal(nvml_open(&nvml, "/no/such/libnvidia-ml.so.1", &error), ERR_NOT_FOUND);
    assert_non_null(strstr(error.text, "libnvidia-ml"));
    nvml_close(&nvml); /* of what was not opened */
    struct nvml_calls none = { NULL };
    assert_int_equal(nvml_open_calls(&nvml, &none, &error), ERR_DEVICE);
    assert_non_null(strstr(error.text, "nvmlInit_v2"));
    play("fail init 9\n");
    assert_int_equal(nvml_open(&nvml, FAKE_NVML, &error), ERR_DEVICE);
    assert_non_null(strstr(error.text, "9"));
    open_fake(&nvml, busy);
    assert_string_equal(nvml.driver, "580.0-fake");
    nvml_close(&nvml);
}

static void test_finds_devices(void **state)
{
    (void)state;
    static const struct {
        const char *which;
        enum err rc;
        const char *name;
    } rows[] = {
        { "0", ERR_OK, "NVIDIA H100 80GB HBM3" },
        { "1", ERR_OK, "NVIDIA A100-SXM4-40GB" },
        { "00000000:5e:00.0", ERR_OK, "NVIDIA A100-SXM4-40GB" },
        { "0000:3B:00.0", ERR_OK, "NVIDIA H100 80GB HBM3" },
        { "GPU-b", ERR_OK, "NVIDIA A100-SXM4-40GB" },
        { "2", ERR_NOT_FOUND, "" },
        { "-1", ERR_NOT_FOUND, "" },
        { "99999999999999999999", ERR_NOT_FOUND, "" },
        { "00000000:77:00.0", ERR_NOT_FOUND, "" },
        { "GPU-c", ERR_NOT_FOUND, "" },
        { "MIG-c", ERR_NOT_FOUND, "" },
        { "NoDevFiles", ERR_NOT_FOUND, "" },
        { "", ERR_NOT_FOUND, "" },
    };
    struct nvml nvml;
    open_fake(&nvml, busy);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        nvml_device device;
        struct error error;
        if (nvml_find(&nvml, rows[i].which, &device, &error) != rows[i].rc)
            fail_msg("\"%s\": %s", rows[i].which, error.text);
        if (rows[i].rc != ERR_OK)
            assert_null(device);
        else
            assert_string_equal(nvml_facts(&nvml, device).name, rows[i].name);
    }
    nvml_close(&nvml);
}

static void test_facts(void **state)
{
    (void)state;
    struct nvml nvml;
    nvml_device device;
    open_fake(&nvml, busy);
    assert_int_equal(nvml_find(&nvml, "0", &device, NULL), ERR_OK);
    struct nvml_facts facts = nvml_facts(&nvml, device);
    assert_string_equal(facts.pci_bus_id, "00000000:3B:00.0");
    assert_string_equal(facts.uuid, "GPU-11112222-3333-4444-5555-666677778888");
    assert_int_equal(facts.memory_bytes, 85520809984);
    assert_true(facts.has_gpm);
    /* A chip without the counters, and a library without the functions. */
    assert_int_equal(nvml_find(&nvml, "1", &device, NULL), ERR_OK);
    assert_false(nvml_facts(&nvml, device).has_gpm);
    struct nvml bare = { .calls = { .init = nvml.calls.init } };
    facts = nvml_facts(&bare, device);
    assert_string_equal(facts.name, "");
    assert_string_equal(facts.pci_bus_id, "");
    assert_int_equal(facts.memory_bytes, 0);
    assert_false(facts.has_gpm);
    nvml_close(&nvml);
}

static void expect(const struct nvml *nvml, nvml_device device, enum nvml_quantity quantity,
                   enum reading_status status, int64_t value)
{
    struct reading reading = nvml_read(nvml, device, quantity);
    if (reading.status != status || reading.value != value)
        fail_msg("quantity %d: %s, %lld", quantity, reading_status_name(reading.status),
                 (long long)reading.value);
}

static void test_readings(void **state)
{
    (void)state;
    struct nvml nvml;
    nvml_device device;
    open_fake(&nvml, busy);
    assert_int_equal(nvml_find(&nvml, "0", &device, NULL), ERR_OK);
    expect(&nvml, device, NVML_POWER_MW, READING_OK, 650000);
    expect(&nvml, device, NVML_POWER_LIMIT_MW, READING_OK, 700000);
    expect(&nvml, device, NVML_POWER_DEFAULT_MW, READING_OK, 700000);
    expect(&nvml, device, NVML_CLOCK_MHZ, READING_OK, 1700);
    expect(&nvml, device, NVML_CLOCK_MAX_MHZ, READING_OK, 1980);
    expect(&nvml, device, NVML_REASONS, READING_OK, NVML_REASON_SW_POWER_CAP);
    expect(&nvml, device, NVML_BUSY_PPM, READING_OK, 990000);
    expect(&nvml, device, NVML_ECC_COUNT, READING_OK, 2);
    /* Watts for milliwatts, ppm for percent, GHz for MHz: nobody's figures. */
    play("device 00000000:3B:00.0\npower 650\nlimit 700\ndefault 0\nbusy 990000\nclock_max 0\n"
         "clock 1700000\n");
    expect(&nvml, device, NVML_POWER_MW, READING_ABSURD, 0);
    expect(&nvml, device, NVML_POWER_LIMIT_MW, READING_ABSURD, 0);
    expect(&nvml, device, NVML_POWER_DEFAULT_MW, READING_ABSURD, 0);
    expect(&nvml, device, NVML_BUSY_PPM, READING_ABSURD, 0);
    expect(&nvml, device, NVML_CLOCK_MHZ, READING_ABSURD, 0);
    expect(&nvml, device, NVML_CLOCK_MAX_MHZ, READING_ABSURD, 0);
    /* What a driver may answer instead. The true zero stays one. */
    play("device 00000000:3B:00.0\nfail energy 3\nfail power 15\nfail utilization 4\n"
         "fail clock 999\nfail reasons 13\nfail power_limit 16\nbusy 100\n");
    expect(&nvml, device, NVML_ENERGY_MJ, READING_UNSUPPORTED, 0);
    expect(&nvml, device, NVML_POWER_MW, READING_LOST, 0);
    expect(&nvml, device, NVML_BUSY_PPM, READING_DENIED, 0);
    expect(&nvml, device, NVML_CLOCK_MHZ, READING_FAILED, 0);
    expect(&nvml, device, NVML_REASONS, READING_MISSING, 0);
    expect(&nvml, device, NVML_POWER_LIMIT_MW, READING_LOST, 0);
    expect(&nvml, device, NVML_ECC_COUNT, READING_OK, 0);
    /* A library that has none of them. */
    struct nvml bare = { .calls = { .init = nvml.calls.init } };
    for (int i = 0; i < NVML_QUANTITY_COUNT; i++)
        expect(&bare, device, (enum nvml_quantity)i, READING_MISSING, 0);
    nvml_close(&nvml);
}

static void expect_shares(const struct nvml_activity *activity, int64_t sm, int64_t tensor,
                          int64_t fp32)
{
    const struct reading *shares[] = { &activity->sm_ppm, &activity->tensor_ppm,
                                       &activity->fp32_ppm };
    const int64_t wanted[] = { sm, tensor, fp32 };
    for (size_t i = 0; i < ARRAY_COUNT(shares); i++) {
        assert_int_equal(shares[i]->status, READING_OK);
        assert_in_range(shares[i]->value, wanted[i] - 1, wanted[i] + 1);
    }
}

static void test_activity(void **state)
{
    (void)state;
    struct nvml nvml;
    nvml_device device;
    struct nvml_gpm gpm;
    open_fake(&nvml, busy);
    assert_int_equal(nvml_find(&nvml, "1", &device, NULL), ERR_OK);
    assert_int_equal(nvml_gpm_init(&gpm, &nvml, device), READING_UNSUPPORTED);
    struct nvml_activity activity = nvml_gpm_step(&gpm, &nvml, device, 5);
    assert_int_equal(activity.status, READING_UNSUPPORTED);
    nvml_gpm_fini(&gpm, &nvml);
    struct nvml bare = { .calls = { .init = nvml.calls.init } };
    assert_int_equal(nvml_gpm_init(&gpm, &bare, device), READING_MISSING);

    assert_int_equal(nvml_find(&nvml, "0", &device, NULL), ERR_OK);
    assert_int_equal(nvml_gpm_init(&gpm, &nvml, device), READING_OK);
    activity = nvml_gpm_step(&gpm, &nvml, device, NS_PER_S);
    assert_int_equal(activity.status, READING_OK);
    assert_int_equal(activity.from_ns, activity.to_ns); /* one sample is no interval */
    usleep(120 * 1000);                                 /* the fake keeps its own time */
    activity = nvml_gpm_step(&gpm, &nvml, device, NS_PER_S + 100 * NS_PER_MS);
    assert_int_equal(activity.from_ns, activity.to_ns); /* too soon */
    activity = nvml_gpm_step(&gpm, &nvml, device, NS_PER_S + 120 * NS_PER_MS);
    assert_int_equal(activity.status, READING_OK);
    assert_int_equal(activity.from_ns, NS_PER_S);
    assert_int_equal(activity.to_ns, NS_PER_S + 120 * NS_PER_MS);
    expect_shares(&activity, 900000, 600000, 50000);
    /* A sample that fails breaks the chain: the next one begins anew. */
    char broken[1024];
    snprintf(broken, sizeof broken, "%sfail gpm_sample 15\n", busy);
    play(broken);
    activity = nvml_gpm_step(&gpm, &nvml, device, 2 * NS_PER_S);
    assert_int_equal(activity.status, READING_LOST);
    assert_int_equal(activity.from_ns, activity.to_ns);
    play(busy);
    activity = nvml_gpm_step(&gpm, &nvml, device, 3 * NS_PER_S);
    assert_int_equal(activity.from_ns, activity.to_ns);
    /* Shares in ppm. */
    snprintf(broken, sizeof broken,
             "device 0:3B:0.0\nname H100\nsm 900000\ntensor 101.5\nfp32 0\n");
    play(broken);
    expect(&nvml, device, NVML_BUSY_PPM, READING_OK, 0); /* the fake has seen it */
    usleep(120 * 1000);
    activity = nvml_gpm_step(&gpm, &nvml, device, 4 * NS_PER_S);
    assert_int_equal(activity.sm_ppm.status, READING_ABSURD);
    assert_int_equal(activity.sm_ppm.value, 0);
    nvml_gpm_fini(&gpm, &nvml);
    nvml_gpm_fini(&gpm, &nvml);
    nvml_close(&nvml);
}

static void test_faults(void **state)
{
    (void)state;
    struct nvml nvml;
    nvml_device device;
    struct nvml_watch watch;
    open_fake(&nvml, busy);
    assert_int_equal(nvml_find(&nvml, "0", &device, NULL), ERR_OK);
    assert_int_equal(nvml_watch_init(&watch, &nvml, device), READING_OK);
    assert_int_equal(nvml_watch_take(&watch, &nvml).status, READING_FAILED); /* none waits */
    play("device 00000000:3B:00.0\nxid 79\n");
    struct reading xid = nvml_watch_take(&watch, &nvml);
    assert_int_equal(xid.status, READING_OK);
    assert_int_equal(xid.value, 79);
    assert_int_equal(nvml_watch_take(&watch, &nvml).status, READING_FAILED); /* said once */
    nvml_watch_fini(&watch, &nvml);
    assert_int_equal(nvml_watch_take(&watch, &nvml).status, READING_UNSUPPORTED);
    play("device 00000000:3B:00.0\nfail event_register 3\n");
    assert_int_equal(nvml_watch_init(&watch, &nvml, device), READING_UNSUPPORTED);
    assert_null(watch.set);
    struct nvml bare = { .calls = { .init = nvml.calls.init } };
    assert_int_equal(nvml_watch_init(&watch, &bare, device), READING_MISSING);
    nvml_close(&nvml);
}

int main(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(script_path, sizeof script_path, "%.80s/nvml-test-XXXXXX", base ? base : "/tmp");
    int fd = mkstemp(script_path);
    if (fd < 0 || setenv("PENSTOCK_FAKE_NVML", script_path, 1) != 0) return 1;
    close(fd);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_opens_or_says_why),
                                        cmocka_unit_test(test_finds_devices),
                                        cmocka_unit_test(test_facts),
                                        cmocka_unit_test(test_readings),
                                        cmocka_unit_test(test_activity),
                                        cmocka_unit_test(test_faults) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(script_path);
    return failed;
}
