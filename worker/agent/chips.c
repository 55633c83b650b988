#include "worker/agent/chips.h"

#include <ctype.h>
#include <string.h>

#define T 1e12

/*
 * Figures without sparsity, in TFLOP/s, accumulating in fp32, from the vendor's own papers: data sheets "NVIDIA
 * A100" (2021), "A30", "A40", "A10", "L4", "L40", "L40S", "V100" (2018), "T4", "H100" (2024, PCIe: the edition
 * of 2022), "H200" (2024), "GH200" (2024), "HGX B200 / B300" and "GB200 NVL72" (2025: an eighth of the board, a
 * seventy-second of the rack); architecture papers "GA102" (2.1) for RTX 3090 and A6000, "Ada GPU architecture"
 * (2.1) for RTX 4090 and RTX 6000 Ada, "RTX Blackwell GPU architecture" (1.1) for RTX 5090. Where a sheet has
 * only the figure with sparsity, this is its half. The first row whose words all stand in the name counts, so
 * a variant stands before its family.
 */
/* clang-format off */
static const struct chip chips[] = {
    /*                                bf16       fp16      tf32      fp32 */
    { "GB200",       "gb200",    { 2500   * T, 2500   * T, 1250   * T, 80    * T } },
    { "B200",        "b200",     { 2250   * T, 2250   * T, 1125   * T, 75    * T } },
    { "GH200",       "gh200",    { 989.4  * T, 989.4  * T, 494.7  * T, 67    * T } },
    { "H200 NVL",    "h200",     { 835.5  * T, 835.5  * T, 417.5  * T, 60    * T } },
    { "H200",        "h200",     { 989.4  * T, 989.4  * T, 494.7  * T, 67    * T } },
    { "H100 NVL",    "h100",     { 835.5  * T, 835.5  * T, 417.5  * T, 60    * T } },
    { "H100 PCIe",   "h100",     { 756.5  * T, 756.5  * T, 378    * T, 51    * T } },
    { "H100 HBM3",   "h100",     { 989.4  * T, 989.4  * T, 494.7  * T, 67    * T } },
    { "A100",        "a100",     { 312    * T, 312    * T, 156    * T, 19.5  * T } },
    { "A30",         "a30",      { 165    * T, 165    * T, 82     * T, 10.3  * T } },
    { "A40",         "a40",      { 149.7  * T, 149.7  * T, 74.8   * T, 37.4  * T } },
    { "A10",         "a10",      { 125    * T, 125    * T, 62.5   * T, 31.2  * T } },
    { "RTX A6000",   "rtx-a6000",{ 154.8  * T, 154.8  * T, 77.4   * T, 38.7  * T } },
    { "RTX 3090",    "rtx-3090", { 71     * T, 71     * T, 35.6   * T, 35.6  * T } },
    { "L40S",        "l40s",     { 362.05 * T, 362.05 * T, 183    * T, 91.6  * T } },
    { "L40",         "l40",      { 181.05 * T, 181.05 * T, 90.5   * T, 90.5  * T } },
    { "L4",          "l4",       { 121    * T, 121    * T, 60     * T, 30.3  * T } },
    { "RTX 6000 Ada","rtx-6000-ada",{ 364.2 * T, 364.2 * T, 182.1 * T, 91.1  * T } },
    { "RTX 4090",    "rtx-4090", { 165.2  * T, 165.2  * T, 82.6   * T, 82.6  * T } },
    { "RTX 5090",    "rtx-5090", { 209.5  * T, 209.5  * T, 104.8  * T, 104.8 * T } },
    { "V100S",       "v100",     { 0,          130    * T, 0,          16.4  * T } },
    { "V100 PCIE",   "v100",     { 0,          112    * T, 0,          14    * T } },
    { "V100 SXM2",   "v100",     { 0,          125    * T, 0,          15.7  * T } },
    { "V100 SXM3",   "v100",     { 0,          125    * T, 0,          15.7  * T } },
    { "T4",          "t4",       { 0,          65     * T, 0,          8.1   * T } },
};
/* clang-format on */

static bool is_word(char c)
{
    return isalnum((unsigned char)c) != 0;
}

static bool same_letters(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (tolower((unsigned char)a[i]) != tolower((unsigned char)b[i])) return false;
    return true;
}

/* Does the word, of n letters, stand in the name with no letter or digit beside it? */
static bool has_word(const char *name, const char *word, size_t n)
{
    size_t len = strlen(name);
    for (size_t at = 0; at + n <= len; at++) {
        bool starts = at == 0 || !is_word(name[at - 1]);
        if (starts && !is_word(name[at + n]) && same_letters(name + at, word, n)) return true;
    }
    return false;
}

static bool has_all(const char *name, const char *words)
{
    while (*words) {
        size_t n = strcspn(words, " ");
        if (!has_word(name, words, n)) return false;
        words += n + strspn(words + n, " ");
    }
    return true;
}

const struct chip *chip_find(const char *name)
{
    if (has_word(name, "MIG", 3)) return NULL;
    for (size_t i = 0; i < ARRAY_COUNT(chips); i++)
        if (has_all(name, chips[i].words)) return &chips[i];
    return NULL;
}

double chip_peak_flops(const struct chip *chip)
{
    if (!chip) return 0;
    return chip->peak_flops[CHIP_BF16] > 0 ? chip->peak_flops[CHIP_BF16]
                                           : chip->peak_flops[CHIP_FP16];
}

static void make_class(const char *name, char class[NAME_MAX_BYTES])
{
    static const char *const dropped[] = { "NVIDIA ", "GeForce ", "Tesla ", "Quadro " };
    for (size_t i = 0; i < ARRAY_COUNT(dropped); i++)
        if (text_starts(text_of(name), text_of(dropped[i]))) name += strlen(dropped[i]);
    size_t n = 0;
    for (; *name && n + 1 < NAME_MAX_BYTES; name++) {
        bool plain = is_word(*name) || *name == '.' || *name == '_';
        if (plain)
            class[n++] = (char)tolower((unsigned char)*name);
        else if (n > 0 && class[n - 1] != '-')
            class[n++] = '-';
    }
    while (n > 0 && class[n - 1] == '-')
        n--;
    class[n] = '\0';
    if (n == 0) text_copy(class, NAME_MAX_BYTES, TEXT("gpu"));
}

void chip_class(const char *name, char class[NAME_MAX_BYTES])
{
    const struct chip *chip = chip_find(name);
    if (chip)
        text_copy(class, NAME_MAX_BYTES, text_of(chip->class));
    else
        make_class(name, class);
}

const struct chip *chip_all(size_t *count)
{
    *count = ARRAY_COUNT(chips);
    return chips;
}
