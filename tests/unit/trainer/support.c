#include "tests/unit/trainer/support.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

void folder_make(char folder[PATH_MAX])
{
    const char *base = getenv("TMPDIR");
    snprintf(folder, PATH_MAX, "%s/penstock-test-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(folder));
}

void folder_remove(const char *folder)
{
    char path[PATH_MAX];
    DIR *open_folder = opendir(folder);
    if (open_folder == NULL) return;
    for (const struct dirent *entry; (entry = readdir(open_folder)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        path_join(path, folder, entry->d_name);
        if (unlink(path) != 0) folder_remove(path);
    }
    closedir(open_folder);
    rmdir(folder);
}

void path_join(char path[PATH_MAX], const char *folder, const char *name)
{
    int length = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    assert_true(length > 0 && length < PATH_MAX);
}

void file_write(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

char *file_read(const char *path, size_t *bytes)
{
    struct stat info;
    FILE *file = fopen(path, "re");
    if (file == NULL) fail_msg("%s does not exist", path);
    assert_int_equal(fstat(fileno(file), &info), 0);
    char *data = malloc((size_t)info.st_size + 1);
    assert_non_null(data);
    size_t length = fread(data, 1, (size_t)info.st_size, file);
    data[length] = '\0';
    fclose(file);
    if (bytes != NULL) *bytes = length;
    return data;
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

void assert_files_equal(const char *a, const char *b)
{
    size_t a_bytes, b_bytes;
    char *x = file_read(a, &a_bytes), *y = file_read(b, &b_bytes);
    if (a_bytes != b_bytes || memcmp(x, y, a_bytes) != 0) fail_msg("%s and %s differ", a, b);
    free(x);
    free(y);
}

char *sample_text(size_t bytes)
{
    static const char *const words[] = { "water ", "gate ",  "turns ", "the ",   "wheel ",
                                         "and ",   "flows ", "down ",  "again ", "slowly " };
    struct rng rng = rng_of(7);
    char *text = malloc(bytes);
    assert_non_null(text);
    for (size_t at = 0; at < bytes;) {
        const char *word = words[rng_below(&rng, ARRAY_COUNT(words))];
        for (; *word != '\0' && at < bytes; word++)
            text[at++] = *word;
    }
    return text;
}

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

void tiny_init(struct tiny *tiny, float first)
{
    memset(tiny, 0, sizeof(*tiny));
    tiny->config = (struct gpt_config){ 1, 2, 1, 4, 3 };
    tiny->tensors[0] = (struct gpt_tensor){
        .name = "wte.weight", .dims = 2, .shape = { 3, 2 }, .offset = 0, .count = 6
    };
    tiny->tensors[1] = (struct gpt_tensor){
        .name = "ln_f.bias", .dims = 1, .shape = { 2, 1 }, .offset = 6, .count = 2
    };
    tiny->kernels.upload = copy_up;
    tiny->kernels.download = copy_down;
    for (int array = 0; array < CKPT_ARRAYS; array++)
        for (int i = 0; i < 8; i++)
            tiny->numbers[array][i] = first + (float)(array * 8 + i);
    tiny->arrays = (struct ckpt_arrays){ .config = &tiny->config,
                                         .tensors = tiny->directory,
                                         .tensor_count = 2,
                                         .kernels = &tiny->kernels };
    for (int i = 0; i < 2; i++)
        tiny->directory[i] = &tiny->tensors[i];
    for (int array = 0; array < CKPT_ARRAYS; array++)
        tiny->arrays.arrays[array] = tiny->numbers[array];
}

struct ckpt_state tiny_state(uint64_t step)
{
    struct ckpt_state state = { .step = step,
                                .tokens = step * 512,
                                .seed = 5,
                                .members = 2,
                                .data_tokens = 12345,
                                .cursor = data_cursor_of(5) };
    state.cursor.epoch = 3;
    state.cursor.window = 17;
    return state;
}
