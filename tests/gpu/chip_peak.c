/*
 * chip_peak.c - prints the dense peak of a card in FLOP/s, from the table by which agents know
 * cards (worker/agent/chips.c), or 0 where nobody says.
 *
 * Usage: chip_peak NAME bf16|fp16|tf32|fp32
 */
#include "worker/agent/chips.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    static const char *const formats[CHIP_FORMAT_COUNT] = {
        [CHIP_BF16] = "bf16", [CHIP_FP16] = "fp16", [CHIP_TF32] = "tf32", [CHIP_FP32] = "fp32"
    };
    for (int i = 0; argc == 3 && i < CHIP_FORMAT_COUNT; i++) {
        if (strcmp(argv[2], formats[i]) != 0) continue;
        const struct chip *chip = chip_find(argv[1]);
        printf("%.0f\n", chip == NULL ? 0.0 : chip->peak_flops[i]);
        return 0;
    }
    fprintf(stderr, "usage: chip_peak NAME bf16|fp16|tf32|fp32\n");
    return 2;
}
