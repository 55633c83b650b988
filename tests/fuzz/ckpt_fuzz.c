/* Any bytes as a checkpoint: loading either refuses and changes nothing, or gives a state that
 * can be written again. The header's checksum is made right first, or nothing would get past
 * it; the input as it is goes the same way too. */
#include "proto/base/defs.h"
#include "proto/base/hash.h"
#include "proto/base/text.h"
#include "tests/fuzz/fuzz.h"
#include "worker/trainer/ckpt.h"
#include "worker/trainer/ckpt_header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { NUMBERS = 8, DATA_BYTES = CKPT_ARRAYS * NUMBERS * (int)sizeof(float) };

struct model {
    struct gpt_config config;
    struct gpt_tensor tensors[2];
    const struct gpt_tensor *directory[2];
    struct kernels kernels;
    float numbers[CKPT_ARRAYS][NUMBERS];
    struct ckpt_arrays arrays;
};

static void copy_up(struct kernels_device *device, void *to, const void *host, size_t bytes)
{
    (void)device;
    memcpy(to, host, bytes);
}

static void copy_down(struct kernels_device *device, void *host, const void *from, size_t bytes)
{
    (void)device;
    memcpy(host, from, bytes);
}

static void model_init(struct model *model)
{
    memset(model, 0, sizeof(*model));
    model->config = (struct gpt_config){ 1, 2, 1, 4, 3 };
    model->tensors[0] = (struct gpt_tensor){
        .name = "wte.weight", .dims = 2, .shape = { 3, 2 }, .offset = 0, .count = 6
    };
    model->tensors[1] = (struct gpt_tensor){
        .name = "ln_f.bias", .dims = 1, .shape = { 2, 1 }, .offset = 6, .count = 2
    };
    model->kernels.upload = copy_up;
    model->kernels.download = copy_down;
    model->arrays = (struct ckpt_arrays){ .config = &model->config,
                                          .tensors = model->directory,
                                          .tensor_count = 2,
                                          .kernels = &model->kernels };
    for (int i = 0; i < 2; i++)
        model->directory[i] = &model->tensors[i];
    for (int array = 0; array < CKPT_ARRAYS; array++)
        model->arrays.arrays[array] = model->numbers[array];
}

/* Loads the bytes through a file in memory. */
static void load(const uint8_t *data, size_t size)
{
    char path[64];
    struct model model, before;
    struct ckpt_state state = { .step = 0 };
    struct error error = { .code = ERR_OK };
    model_init(&model);
    model_init(&before);
    int fd = memfd_create("checkpoint", MFD_CLOEXEC);
    check(fd >= 0);
    check(write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    enum err rc = ckpt_load(path, &model.arrays, &state, &error);
    if (rc != ERR_OK) {
        check(error.text[0] != '\0');
        check(memcmp(model.numbers, before.numbers, sizeof(model.numbers)) == 0);
    } else {
        struct ckpt_draft draft;
        check(ckpt_draft_make(&draft, &model.arrays, &state, NULL, 0, NULL) == ERR_OK);
        free(draft.text);
    }
    close(fd);
}

/* Replaces the digits of `key` by `crc`, where there are eight of them. */
static bool set_digits(uint8_t *text, size_t size, const char *key, uint32_t crc, bool zeros)
{
    char digits[9];
    struct text whole = { (const char *)text, size };
    size_t at = text_find(whole, text_of(key));
    if (at == SIZE_MAX || size - at < strlen(key) + 8) return false;
    snprintf(digits, sizeof(digits), "%08x", zeros ? 0 : crc);
    memcpy(text + at + strlen(key), digits, 8);
    return true;
}

/* Makes both checksums right, as far as the input has a header at all. */
static void load_repaired(const uint8_t *data, size_t size)
{
    static const char header_key[] = "\"header_crc32c\":\"", data_key[] = "\"data_crc32c\":\"";
    uint64_t length = 0;
    if (size < CKPT_LENGTH_BYTES + DATA_BYTES) return;
    uint8_t *copy = malloc(size);
    check(copy != NULL);
    memcpy(copy, data, size);
    length = size - CKPT_LENGTH_BYTES - DATA_BYTES;
    for (int i = 0; i < CKPT_LENGTH_BYTES; i++)
        copy[i] = (uint8_t)(length >> (8 * i));
    uint8_t *text = copy + CKPT_LENGTH_BYTES;
    set_digits(text, length, data_key, crc32c(0, text + length, DATA_BYTES), false);
    if (set_digits(text, length, header_key, 0, true))
        set_digits(text, length, header_key, crc32c(0, text, length), false);
    load(copy, size);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    load(data, size);
    load_repaired(data, size);
    return 0;
}

size_t fuzz_example(unsigned index, uint8_t *to, size_t capacity)
{
    struct model model;
    struct ckpt_draft draft;
    struct ckpt_state state = { .step = 3, .members = 2, .cursor = data_cursor_of(5) };
    struct ckpt_note notes[] = { { "lr", "0.001" } };
    if (index > 0) return 0;
    model_init(&model);
    check(ckpt_draft_make(&draft, &model.arrays, &state, notes, 1, NULL) == ERR_OK);
    ckpt_draft_seal(&draft, crc32c(0, model.numbers, DATA_BYTES));
    size_t size = CKPT_LENGTH_BYTES + draft.bytes + DATA_BYTES;
    check(size <= capacity);
    for (int i = 0; i < CKPT_LENGTH_BYTES; i++)
        to[i] = (uint8_t)((uint64_t)draft.bytes >> (8 * i));
    memcpy(to + CKPT_LENGTH_BYTES, draft.text, draft.bytes);
    memcpy(to + CKPT_LENGTH_BYTES + draft.bytes, model.numbers, DATA_BYTES);
    free(draft.text);
    return size;
}
