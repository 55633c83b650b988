/*
 * ckpt_header.h - the JSON header of a checkpoint: building it and taking it apart. Private to
 * ckpt.c and its tests.
 *
 * Promises: parsing never reads past the header, never trusts a number before it is checked,
 * and accepts a header only when its tensors fill the data without holes and overlaps and its
 * own checksum holds. Never: opens files.
 */
#ifndef WORKER_TRAINER_CKPT_HEADER_H
#define WORKER_TRAINER_CKPT_HEADER_H

#include "worker/trainer/ckpt.h"

enum {
    CKPT_HEADER_BYTES_MAX = 8 << 20,
    CKPT_NAME_BYTES = 64,    /* of a tensor in the file, with its zero */
    CKPT_LENGTH_BYTES = 8,   /* of the header's length, at the start of the file */
    CKPT_CHECKSUM_DIGITS = 8 /* hexadecimal */
};

/* A header that is being written: text with two checksums still "00000000". */
struct ckpt_draft {
    char *text; /* malloced; free it */
    size_t bytes;
    size_t data_crc_at; /* where the digits stand */
    size_t header_crc_at;
    uint64_t data_bytes; /* of the tensors */
};

must_use enum err ckpt_draft_make(struct ckpt_draft *draft, const struct ckpt_arrays *arrays,
                                  const struct ckpt_state *state, const struct ckpt_note *notes,
                                  size_t note_count, struct error *error);

/* Fills in both checksums. */
void ckpt_draft_seal(struct ckpt_draft *draft, uint32_t data_crc);

struct ckpt_entry {
    char name[CKPT_NAME_BYTES];
    int dims;
    uint64_t shape[2]; /* 1 where a dimension is missing */
    uint64_t begin;    /* bytes into the data */
    uint64_t end;
};

struct ckpt_header {
    struct ckpt_state state;
    struct gpt_config config;
    uint32_t data_crc;
    struct ckpt_entry *entries; /* malloced, sorted by name */
    size_t entry_count;
};

/* Parses `bytes` of header for a file with `data_bytes` after it. ERR_DAMAGED says what is
 * wrong and where; ERR_NO_MEMORY. *header is filled only on success: ckpt_header_fini. */
must_use enum err ckpt_header_parse(struct ckpt_header *header, const char *text, size_t bytes,
                                    uint64_t data_bytes, struct error *error);
void ckpt_header_fini(struct ckpt_header *header);

/* The entry of array `array` (0: parameters) of the tensor, or NULL. */
const struct ckpt_entry *ckpt_header_find(const struct ckpt_header *header,
                                          const struct gpt_tensor *tensor, int array);

#endif
