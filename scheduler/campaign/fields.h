/*
 * fields.h - maps of the campaign file, read and written by tables: one row per key.
 *
 * A row says what a key is called, what kind of value it takes, where the value goes, and its
 * range. So unknown keys, missing keys, wrong types and bad units are found in one place and
 * named alike: "FILE:LINE: KEY: what is wrong; what to do". The same rows print the effective
 * policy.
 */
#ifndef SCHEDULER_CAMPAIGN_FIELDS_H
#define SCHEDULER_CAMPAIGN_FIELDS_H

#include "scheduler/campaign/tree.h"

/* What every reading function needs. */
struct reader {
    struct arena *arena;
    const char *file;
    const char *currency; /* known before any amount is read */
    struct error *error;
};

enum field_kind {
    FIELD_ENTRY,    /* struct entry *: read by hand; NULL when absent */
    FIELD_NAME,     /* char [NAME_MAX_BYTES] */
    FIELD_BOOL,     /* bool */
    FIELD_COUNT,    /* uint32_t */
    FIELD_STEPS,    /* uint64_t */
    FIELD_NUMBER,   /* int32_t */
    FIELD_DURATION, /* int64_t, ns */
    FIELD_SHARE,    /* int32_t, ppm */
    FIELD_LOSS,     /* int64_t, millionths */
    FIELD_MONEY     /* int64_t, micro-units */
};

struct field {
    const char *key;
    enum field_kind kind;
    size_t offset;
    int64_t low, high; /* of the value, in its stored unit */
    bool never;        /* `never` is allowed, and stored as 0 */
    bool required;
};

/* A table of rows, under the name that errors put before a key ("timing."), or "". */
struct fields {
    const char *section;
    const struct field *rows;
    size_t count;
};

/* Sets the error to "FILE:LINE: KEY: TEXT" and returns ERR_INPUT. */
enum err reader_fail(const struct reader *reader, uint32_t line, const char *key,
                     const char *format, ...) printf_like(4, 5);

/* Reads a map into *base: keys that are absent leave what is there. */
must_use enum err fields_read(const struct reader *reader, const struct fields *fields,
                              const struct entry *entry, void *base);

/* Reads one value as the row says. `key` is the name for errors. */
must_use enum err field_read(const struct reader *reader, const struct field *row,
                             const char *key, const struct node *node, uint32_t line,
                             void *base);

/* Writes "KEY: VALUE" lines, each after `indent` blanks, for all rows but FIELD_ENTRY ones. */
void fields_write(struct writer *writer, const struct fields *fields, const void *base,
                  unsigned indent, const char *currency);

/* The error for a value that is not of the wanted kind; ERR_OK when it is. `entry` has a value.
 */
must_use enum err expect_kind(const struct reader *reader, const char *key,
                              const struct entry *entry, enum node_kind kind);

/* The error for an unknown key: names the nearest of `known` (a comma-free list of `count`
 * words). */
enum err unknown_key(const struct reader *reader, uint32_t line, const char *key,
                     const char *const *known, size_t count);

/* The nearest of `count` words to `word`, or NULL when none is near enough to be meant. */
const char *nearest_word(const char *word, const char *const *words, size_t count);

/* Reads a scalar that names one of `count` words into *index. */
must_use enum err word_read(const struct reader *reader, const char *key,
                            const struct entry *entry, const char *const *words, size_t count,
                            uint32_t *index);

#endif
