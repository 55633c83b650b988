/* Chips by the names that NVML gives them: which peak, which class, and when none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "worker/agent/chips.h"

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double tera; /* 0: unknown */
        const char *class;
    } rows[] = {
        { "NVIDIA A100-SXM4-40GB", 312, "a100" },
        { "NVIDIA A100 80GB PCIe", 312, "a100" },
        { "A100-PCIE-40GB", 312, "a100" },
        { "NVIDIA H100 80GB HBM3", 989.4, "h100" },
        { "NVIDIA H100 PCIe", 756.5, "h100" },
        { "NVIDIA H100 NVL", 835.5, "h100" },
        { "NVIDIA H200", 989.4, "h200" },
        { "NVIDIA H200 NVL", 835.5, "h200" },
        { "NVIDIA GH200 480GB", 989.4, "gh200" },
        { "NVIDIA B200", 2250, "b200" },
        { "NVIDIA GB200", 2500, "gb200" },
        { "NVIDIA L4", 121, "l4" },
        { "NVIDIA L40", 181.05, "l40" },
        { "NVIDIA L40S", 362.05, "l40s" },
        { "NVIDIA GeForce RTX 4090", 165.2, "rtx-4090" },
        { "nvidia geforce rtx 5090", 209.5, "rtx-5090" },
        { "NVIDIA RTX 6000 Ada Generation", 364.2, "rtx-6000-ada" },
        { "Tesla V100-SXM2-16GB", 125, "v100" },
        { "Tesla V100-PCIE-32GB", 112, "v100" },
        { "Tesla V100S-PCIE-32GB", 130, "v100" },
        { "Tesla T4", 65, "t4" },
        /* Not in the table, though a name in it is a part of theirs. */
        { "NVIDIA A10G", 0, "a10g" },
        { "NVIDIA A1000", 0, "a1000" },
        { "NVIDIA H1000 HBM3", 0, "h1000-hbm3" },
        { "NVIDIA GeForce RTX 4090D", 0, "rtx-4090d" },
        { "NVIDIA T400", 0, "t400" },
        { "NVIDIA XL40", 0, "xl40" },
        { "NVIDIA H100", 0, "h100" }, /* which of them? */
        /* A part of a chip has a part of its peak, and nobody says which. */
        { "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 0, "h100-80gb-hbm3-mig-1g.10gb" },
        { "NVIDIA A100-SXM4-40GB MIG 3g.20gb", 0, "a100-sxm4-40gb-mig-3g.20gb" },
        { "", 0, "gpu" },
        { "---", 0, "gpu" },
        { "NVIDIA ", 0, "gpu" },
        { "\xff\xfe odd (R)", 0, "odd-r" },
        { "NVIDIA A very long name of a device that nobody has ever seen anywhere at all, "
          "really",
          0, "a-very-long-name-of-a-device-that-nobody-has-ever-seen-anywhere" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char class[NAME_MAX_BYTES];
        double peak = chip_peak_flops(chip_find(rows[i].name));
        chip_class(rows[i].name, class);
        if (peak != rows[i].tera * 1e12) fail_msg("%s: %g", rows[i].name, peak);
        if (strcmp(class, rows[i].class) != 0) fail_msg("%s: class %s", rows[i].name, class);
    }
    assert_true(chip_peak_flops(NULL) == 0);
}

static void test_the_table_is_sound(void **state)
{
    (void)state;
    size_t count = 0;
    const struct chip *chips = chip_all(&count);
    for (size_t i = 0; i < count; i++) {
        const double *peak = chips[i].peak_flops;
        /* No row hides behind another, and wider formats are never faster. */
        if (chip_find(chips[i].words) != &chips[i]) fail_msg("%s is hidden", chips[i].words);
        assert_true(peak[CHIP_FP16] >= 1e12);
        assert_true(peak[CHIP_FP16] < 1e16);
        assert_true(peak[CHIP_BF16] == 0 || peak[CHIP_BF16] == peak[CHIP_FP16]);
        assert_true(peak[CHIP_TF32] <= peak[CHIP_FP16]);
        assert_true(peak[CHIP_FP32] > 0);
        assert_true(peak[CHIP_FP32] <= peak[CHIP_FP16]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_names),
                                        cmocka_unit_test(test_the_table_is_sound) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
