/*
 * support.h - what the trainer's tests share: a folder of their own, small files, and a tiny
 * set of tensors that stands for a model.
 */
#ifndef TESTS_UNIT_TRAINER_SUPPORT_H
#define TESTS_UNIT_TRAINER_SUPPORT_H

#include "worker/trainer/ckpt.h"

#include <limits.h>

/* Makes an empty temporary folder; the caller removes it with folder_remove. */
void folder_make(char folder[PATH_MAX]);
void folder_remove(const char *folder);

/* "FOLDER/NAME" in static storage of the caller. */
void path_join(char path[PATH_MAX], const char *folder, const char *name);

void file_write(const char *path, const void *data, size_t bytes);

/* A malloced copy with a zero after it; *bytes may be NULL. Fails the test when absent. */
char *file_read(const char *path, size_t *bytes);
bool file_exists(const char *path);
void assert_files_equal(const char *a, const char *b);

/* Text of `bytes` bytes with some structure in it, so that a model has something to learn. */
char *sample_text(size_t bytes);

/* Two tensors of 6 and 2 numbers in memory of the test, which `upload` and `download` copy. */
struct tiny {
    struct gpt_config config;
    struct gpt_tensor tensors[2];
    const struct gpt_tensor *directory[2];
    struct kernels kernels;
    float numbers[CKPT_ARRAYS][8];
    struct ckpt_arrays arrays;
};

/* Fills *tiny, whose pointers go into itself, with numbers that count up from `first`. */
void tiny_init(struct tiny *tiny, float first);
struct ckpt_state tiny_state(uint64_t step);

#endif
