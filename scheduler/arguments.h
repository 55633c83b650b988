/*
 * arguments.h - the words of one command: positional ones and flags, checked against what the
 * verb takes.
 *
 * Flags are written `--name VALUE`, `--name=VALUE`, `--switch`, or by their short form `-o
 * FILE`; `--` ends them. A flag that the verb does not know, a value that is missing or not
 * wanted, a flag given twice and a wrong number of words are errors that name the nearest thing
 * that would be right. Nothing is printed here and nothing is copied: all pointers are into
 * argv.
 */
#ifndef SCHEDULER_ARGUMENTS_H
#define SCHEDULER_ARGUMENTS_H

#include "proto/base/defs.h"
#include "proto/base/error.h"

enum { FLAGS_MAX = 12, WORDS_MAX = 8 };

/* One flag that a verb takes. */
struct flag {
    const char *name;     /* "--dir" */
    const char *alias;    /* "-o", or NULL */
    const char *value;    /* what its value is called in the help, or NULL for a switch */
    const char *fallback; /* value when it is not given, or NULL */
    const char *help;
};

struct arguments {
    const struct flag *flags; /* of the verb; ends with a NULL name */
    uint32_t word_count;
    const char *words[WORDS_MAX];
    const char
        *values[FLAGS_MAX]; /* by flag: its value, "" for a given switch, NULL if absent */
    bool help;              /* -h or --help was given: nothing else was checked */
};

/* Sorts argv[0..count) into *arguments. ERR_INPUT with a line that says what is wrong. */
must_use enum err arguments_parse(const struct flag *flags, uint32_t words_min,
                                  uint32_t words_max, int count, char *const *argv,
                                  struct arguments *arguments, struct error *error);

/* The flag's value, its fallback, or NULL. It is a bug to ask for a flag that the verb lacks.
 */
const char *arguments_value(const struct arguments *arguments, const char *name);

/* Whether the flag was given. */
bool arguments_given(const struct arguments *arguments, const char *name);

/* The flag's value as a whole number within [low, high]; its fallback counts as given. */
must_use enum err arguments_number(const struct arguments *arguments, const char *name,
                                   int64_t low, int64_t high, int64_t *value,
                                   struct error *error);

/* The candidate nearest to `word` (one of the first `count`, each `stride_bytes` after the
 * other, a struct that begins with a string), or NULL when none is near enough to be meant. */
const char *arguments_nearest(const char *word, const void *candidates, size_t count,
                              size_t stride_bytes);

#endif
