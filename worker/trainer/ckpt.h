/*
 * ckpt.h - checkpoints: one safetensors file that holds all a training needs to go on as if it
 * had never stopped. docs/formats/checkpoint.md says what stands where.
 *
 * Promises: a checkpoint appears under its name whole and durable, or not at all; a file of
 * that name is replaced only then. The same state gives the same bytes. A file is checked in
 * full (header, every tensor's name, type, shape and place, size, checksums, model
 * configuration) before the first number of it is used, so a damaged one changes nothing.
 * Never: deletes a checkpoint (shelf.h does), prints, keeps a whole file in memory.
 */
#ifndef WORKER_TRAINER_CKPT_H
#define WORKER_TRAINER_CKPT_H

#include "worker/trainer/data.h"
#include "worker/trainer/gpt.h"

enum {
    CKPT_ARRAYS = 3, /* parameters, first moments, second moments */
    CKPT_NOTE_BYTES = 32
};

/* The numbers of a training, and where they live. Borrowed by the functions below. */
struct ckpt_arrays {
    const struct gpt_config *config;
    const struct gpt_tensor *const *tensors; /* the directory, tensor_count long */
    int tensor_count;
    const struct kernels *kernels; /* `download` and `upload` move the numbers */
    struct kernels_device *device;
    float *arrays[CKPT_ARRAYS]; /* device memory, each of the layout of `tensors` */
};

/* Everything else that a resumed training needs. */
struct ckpt_state {
    uint64_t step;   /* optimizer steps done */
    uint64_t tokens; /* of the whole gang, since the run began */
    uint64_t seed;
    uint64_t members;          /* of the gang */
    uint64_t data_tokens;      /* length of the data file */
    struct data_cursor cursor; /* the next batch, with the generator's state */
    char gate[NAME_MAX_BYTES]; /* the gate that it was written for, or empty */
};

/* A hyper-parameter, written for people and tools and not read back. The key has at most
 * CKPT_NOTE_BYTES with its zero. */
struct ckpt_note {
    const char *key;
    char value[CKPT_NOTE_BYTES];
};

/* Writes the file under a temporary name beside `path` (ckpt_temporary_prefix), syncs, renames,
 * and syncs the folder. On failure the temporary file is gone and a file that stood at `path`
 * is as it was. ERR_NO_SPACE, ERR_IO, ERR_NO_MEMORY. */
must_use enum err ckpt_write(const char *path, const struct ckpt_arrays *arrays,
                             const struct ckpt_state *state, const struct ckpt_note *notes,
                             size_t note_count, struct error *error);

/* Checks the file and, when all is right, fills *state and the arrays. ERR_NOT_FOUND,
 * ERR_DAMAGED, ERR_INPUT (another model's), ERR_NO_MEMORY: nothing is changed. ERR_IO while
 * reading a file that was whole a moment before: the arrays are undefined. */
must_use enum err ckpt_load(const char *path, const struct ckpt_arrays *arrays,
                            struct ckpt_state *state, struct error *error);

/* Reads and checks the header alone. Errors as ckpt_load. */
must_use enum err ckpt_peek(const char *path, struct ckpt_state *state, struct error *error);

/* What the names of half-written files begin with: whoever owns the folder may delete those. */
const char *ckpt_temporary_prefix(void);

#endif
