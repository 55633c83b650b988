/* What a probe printed, and what a probe that fails leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/agent/slot.h"

static void test_good_line(void **state)
{
    (void)state;
    struct slot slot;
    struct error error;
    slot_init(&slot, 1, 2, NULL, "/x/penstock-train");
    assert_true(slot.threads >= 1);
    assert_true(slot.host[0] != '\0');
    assert_true(slot.boot_id[0] != '\0');
    assert_string_equal(slot.trainer_path, "/x/penstock-train");
    assert_int_equal(
        slot_parse(&slot,
                   TEXT("{\"backend\":\"cuda\",\"device\":\"H\\n100\",\"device_class\":"
                        "\"h100\",\"threads\":4,\"pci_bus_id\":\"0000:3B:00.0\","
                        "\"memory_bytes\":85899345920,"
                        "\"peak_flops\":1.5e12,\"source\":\"table\",\"extra\":[1]}"),
                   &error),
        ERR_OK);
    assert_string_equal(slot.backend, "cuda");
    assert_string_equal(slot.device, "H 100");
    assert_string_equal(slot.device_class, "h100");
    assert_string_equal(slot.peak_source, "table");
    assert_true(slot.peak_flops == 1.5e12);
    assert_string_equal(slot.pci_bus_id, "00000000:3b:00.0");
    assert_int_equal(slot.memory_bytes, 85899345920U);
}

/* What the table of chips knows stands above what the probe measured; only for GPUs. */
static void test_known_chips(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        double peak_flops;
        const char *source, *class;
    } rows[] = {
        { "{\"backend\":\"cuda\",\"device\":\"NVIDIA A100-SXM4-80GB\",\"peak_flops\":2e14,"
          "\"source\":\"gemm\"}",
          312e12, "table", "a100" },
        { "{\"backend\":\"cuda\",\"device\":\"NVIDIA Foo 9\",\"peak_flops\":2e14,"
          "\"source\":\"gemm\"}",
          2e14, "gemm", "foo-9" },
        { "{\"backend\":\"cuda\",\"device\":\"NVIDIA Foo 9\"}", 0, "", "foo-9" },
        { "{\"backend\":\"cpu\",\"device\":\"T4 of a processor\",\"peak_flops\":1e11,"
          "\"source\":\"sgemm\"}",
          1e11, "sgemm", "cpu" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct slot slot;
        slot_init(&slot, 0, 1, "h", NULL);
        assert_int_equal(slot_parse(&slot, text_of(rows[i].line), NULL), ERR_OK);
        assert_true(slot.peak_flops == rows[i].peak_flops);
        assert_string_equal(slot.peak_source, rows[i].source);
        assert_string_equal(slot.device_class, rows[i].class);
    }
}

static void test_how_the_gpu_is_called(void **state)
{
    (void)state;
    struct slot slot;
    assert_int_equal(unsetenv("CUDA_VISIBLE_DEVICES"), 0);
    slot_init(&slot, 3, 4, "h", NULL);
    assert_string_equal(slot_gpu(&slot), "3");
    assert_int_equal(setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b", 1), 0);
    slot_init(&slot, 1, 2, "h", NULL);
    assert_string_equal(slot_gpu(&slot), "GPU-b");
    text_copy(slot.pci_bus_id, sizeof slot.pci_bus_id, TEXT("00000000:3b:00.0"));
    assert_string_equal(slot_gpu(&slot), "00000000:3b:00.0");
    assert_int_equal(setenv("CUDA_VISIBLE_DEVICES", "", 1), 0); /* all are hidden */
    slot_init(&slot, 0, 1, "h", NULL);
    assert_string_equal(slot_gpu(&slot), "");
    assert_int_equal(unsetenv("CUDA_VISIBLE_DEVICES"), 0);
}

static void test_forms_of_pci_ids(void **state)
{
    (void)state;
    static const struct {
        const char *form, *id;
    } rows[] = { { "0000:3B:00.0", "00000000:3b:00.0" },
                 { "00000000:3b:00.0", "00000000:3b:00.0" },
                 { "3B:00.0", "00000000:3b:00.0" },
                 { "0001:03:1f.7", "00000001:03:1f.7" },
                 { "ABCD1234:0a:00.1", "abcd1234:0a:00.1" },
                 { "", "" },
                 { "0000:3B:00", "" },
                 { "0000:3B:00.0x", "" },
                 { "0000:3B:00.00", "" },
                 { " 0000:3B:00.0", "" },
                 { "-1:3B:00.0", "" },
                 { "123456789:3b:00.0", "" },
                 { "GPU-1234", "" },
                 { "nonsense", "" } };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char id[NAME_MAX_BYTES];
        text_copy(id, sizeof id, text_of(rows[i].form));
        slot_normalize_pci(id);
        assert_string_equal(id, rows[i].id);
    }
}

static void test_bad_lines_change_nothing(void **state)
{
    (void)state;
    struct slot slot, before;
    struct error error;
    slot_init(&slot, 0, 0, "h", NULL);
    before = slot;
    const char *bad[] = { "",
                          "{}",
                          "{\"backend\":1}",
                          "{\"backend\":\"\"}",
                          "{\"backend\":\"cuda\"",
                          "no json",
                          "{\"backend\":\"cuda\",\"peak_flops\":\"x\"}" };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        if (slot_parse(&slot, text_of(bad[i]), &error) != ERR_INPUT)
            fail_msg("taken: %s", bad[i]);
        assert_memory_equal(&slot, &before, sizeof slot);
    }
    assert_int_equal(
        slot_parse(&slot, TEXT("{\"backend\":\"cpu\",\"peak_flops\":-Infinity}"), &error),
        ERR_OK);
    assert_true(slot.peak_flops == 0);
}

static void test_choice_of_device(void **state)
{
    (void)state;
    char device[NAME_MAX_BYTES];
    struct {
        const char *list;
        uint32_t gpu_count, index;
        const char *device;
    } rows[] = { { NULL, 0, 3, "3" },  { NULL, 2, 3, "1" },
                 { "", 8, 2, "" }, /* hidden, all of them */
                 { "5", 0, 0, "5" },   { "5", 8, 1, "5" },
                 { "4,5", 8, 1, "5" }, { "4, 5 ,6", 8, 1, "5" },
                 { "4,5", 8, 2, "4" }, { "GPU-a,GPU-b", 0, 1, "GPU-b" } };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        slot_choose_device(rows[i].list, rows[i].gpu_count, rows[i].index, device);
        assert_string_equal(device, rows[i].device);
    }
}

static void test_devices_that_may_be_shown(void **state)
{
    (void)state;
    struct {
        const char *list, *device;
        bool may;
    } rows[] = { { NULL, "7", true },        { NULL, "", false },         { "", "0", false },
                 { "", "", false },          { "0,1", "1", true },        { "0, 1", "1", true },
                 { "0,1", "2", false },      { "10,1", "0", false },      { "0,,1", "", false },
                 { "GPU-a", "GPU-a", true }, { "GPU-ab", "GPU-a", false } };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct slot slot = { .has_device_list = rows[i].list != NULL };
        text_copy(slot.device_list, sizeof slot.device_list, text_of(rows[i].list));
        if (slot_may_show(&slot, rows[i].device) != rows[i].may) fail_msg("row %zu", i);
    }
}

static void probe(const char *script, int64_t timeout_ns, struct slot *slot)
{
    struct launcher launcher;
    char path[64];
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%.40s/slot-test-XXXXXX", base ? base : "/tmp");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, script, strlen(script)), (ssize_t)strlen(script));
    fchmod(fd, 0700);
    close(fd);
    assert_int_equal(launcher_start(&launcher, NULL, NULL), ERR_OK);
    slot_init(slot, 0, 1, "h", path);
    slot_probe(slot, &launcher, 1, timeout_ns);
    assert_true(launcher_stop(&launcher, 20 * NS_PER_S));
    unlink(path);
}

static void test_probe(void **state)
{
    (void)state;
    struct slot slot;
    probe("#!/bin/sh\necho greetings\necho "
          "'{\"backend\":\"cpu\",\"device\":\"d\",\"peak_flops\":5,\"source\":\"sgemm\"}'\n",
          20 * NS_PER_S, &slot);
    assert_true(slot.peak_flops == 5);
    assert_string_equal(slot.device, "d");
    assert_string_equal(slot.backend_reason, "");
    probe("#!/bin/sh\nexit 7\n", 20 * NS_PER_S, &slot);
    assert_non_null(strstr(slot.backend_reason, "status 7"));
    probe("#!/bin/sh\necho nonsense\n", 20 * NS_PER_S, &slot);
    assert_non_null(strstr(slot.backend_reason, "no such line"));
    probe("#!/bin/sh\nsleep 100\n", 50 * NS_PER_MS, &slot);
    assert_non_null(strstr(slot.backend_reason, "too long"));
    probe("#!/no/such/interpreter\n", 20 * NS_PER_S, &slot);
    assert_non_null(strstr(slot.backend_reason, "not measured: run"));
    assert_string_equal(slot.backend, "cpu");
    assert_true(slot.peak_flops == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_good_line),
                                        cmocka_unit_test(test_known_chips),
                                        cmocka_unit_test(test_how_the_gpu_is_called),
                                        cmocka_unit_test(test_bad_lines_change_nothing),
                                        cmocka_unit_test(test_forms_of_pci_ids),
                                        cmocka_unit_test(test_devices_that_may_be_shown),
                                        cmocka_unit_test(test_choice_of_device),
                                        cmocka_unit_test(test_probe) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
