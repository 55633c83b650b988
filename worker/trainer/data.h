/*
 * data.h - training and validation batches from a file of bytes or of 16-bit tokens.
 *
 * The last tenth of the file is held out for validation; the rest is cut into windows of
 * `context` tokens (and the one token that follows). An epoch visits every window once, in an
 * order drawn from a seeded generator, and shifts all windows by an offset drawn from the same
 * generator, so that epochs do not repeat each other. The position is a struct data_cursor:
 * whoever saves and restores it continues with the same batches.
 *
 * Promises: batches depend on file, context, cursor and batch size alone; the members of a gang
 * read disjoint rows of the same global batch, so a gang sees what a single trainer would see.
 * The file is read with pread, batch by batch: one that shrinks or fails while training gives
 * an error, never a signal. Never: maps memory, writes, keeps more than one row in memory.
 */
#ifndef WORKER_TRAINER_DATA_H
#define WORKER_TRAINER_DATA_H

#include "proto/base/defs.h"
#include "proto/base/error.h"
#include "proto/base/rng.h"

enum data_format {
    DATA_FORMAT_TEXT, /* any bytes; a token is a byte */
    DATA_FORMAT_U16,  /* little-endian 16-bit tokens */
    DATA_FORMAT_COUNT
};

struct data_options {
    const char *path;
    enum data_format format;
    int context;
    int vocab_count; /* tokens must be below it */
};

struct data;

/* Where the next batch begins. */
struct data_cursor {
    uint64_t epoch;  /* from 0 */
    uint64_t window; /* windows of this epoch that were used */
    struct rng rng;  /* the generator as it was when the epoch began */
};

/* Which rows of each global batch of `batch_rows` sequences this member handles. */
struct data_rows {
    int batch_rows;
    int first;
    int count;
};

/* Opens and checks the file; tokens of files up to 1 GiB are checked against the vocabulary at
 * once, those of larger ones batch by batch. The caller owns *data. ERR_NOT_FOUND, ERR_INPUT
 * (no regular file, odd length, too short, token outside the vocabulary), ERR_IO,
 * ERR_NO_MEMORY; *data is NULL then. */
must_use enum err data_open(const struct data_options *options, struct data **data,
                            struct error *error);

/* No-op for NULL. Keeps errno. */
void data_close(struct data *data);

/* Tokens in the file, and windows of an epoch. */
uint64_t data_token_count(const struct data *data);
uint64_t data_window_count(const struct data *data);

/* The beginning of the first epoch. */
struct data_cursor data_cursor_of(uint64_t seed);

/* The next global batch: fills this member's rows, tokens and targets [rows->count, context],
 * and moves the cursor past the whole batch. A cursor beyond the epoch's end (the file has
 * become shorter since) goes on with the next epoch. ERR_INPUT, ERR_IO: the cursor stays. */
must_use enum err data_next(struct data *data, const struct data_rows *rows,
                            struct data_cursor *cursor, int32_t *tokens, int32_t *targets,
                            struct error *error);

/* This member's rows of held-out batch `index` of `batch_count`. The batches are spread evenly
 * over the held-out tail and are always the same; in a short tail they overlap. */
must_use enum err data_held_out(struct data *data, const struct data_rows *rows, int index,
                                int batch_count, int32_t *tokens, int32_t *targets,
                                struct error *error);

#endif
