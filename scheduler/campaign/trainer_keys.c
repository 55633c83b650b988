/*
 * trainer_keys.c - the `model:` and `train:` keys of a run, and the flags of penstock-train
 * that they become. Every flag is written out, so that a later default of the trainer changes
 * no campaign.
 *
 * Numbers are checked here and passed on as they were written: a learning rate of 1e-3 stays
 * "1e-3".
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/campaign/internal.h"
#include "scheduler/campaign/units.h"

enum trainer_section { SECTION_MODEL, SECTION_TRAIN };
enum trainer_kind { KIND_WHOLE, KIND_REAL, KIND_WORD };

static const char *const section_words[] = { "model", "train" };

#define WORDS_MAX 4
enum { RANK_BATCH_MAX = 4096 }; /* sequences that one trainer can hold in a step */

struct trainer_key {
    enum trainer_section section;
    const char *key, *flag, *fallback;
    enum trainer_kind kind;
    double low, high;
    const char *words[WORDS_MAX];
};

/* One row a line. */
/* clang-format off */
static const struct trainer_key trainer_keys[] = {
    { SECTION_MODEL, "layers", "--layers", "4", KIND_WHOLE, 1, 256, { 0 } },
    { SECTION_MODEL, "width", "--width", "128", KIND_WHOLE, 1, 16384, { 0 } },
    { SECTION_MODEL, "heads", "--heads", "4", KIND_WHOLE, 1, 16384, { 0 } },
    { SECTION_MODEL, "context", "--context", "128", KIND_WHOLE, 1, 1024, { 0 } },
    { SECTION_MODEL, "vocab", "--vocab", "256", KIND_WHOLE, 2, 65536, { 0 } },
    { SECTION_TRAIN, "data_format", "--data-format", "text", KIND_WORD, 0, 0, { "text", "u16" } },
    { SECTION_TRAIN, "batch", "--batch", "8", KIND_WHOLE, 1, 4194304, { 0 } },
    { SECTION_TRAIN, "lr", "--lr", "1e-3", KIND_REAL, 1e-12, 100, { 0 } },
    { SECTION_TRAIN, "lr_min_ratio", "--lr-min-ratio", "0.1", KIND_REAL, 0, 1, { 0 } },
    { SECTION_TRAIN, "warmup", "--warmup", "20", KIND_WHOLE, 0, 1e12, { 0 } },
    { SECTION_TRAIN, "weight_decay", "--weight-decay", "0.1", KIND_REAL, 0, 100, { 0 } },
    { SECTION_TRAIN, "beta1", "--beta1", "0.9", KIND_REAL, 0, 0.999999, { 0 } },
    { SECTION_TRAIN, "beta2", "--beta2", "0.95", KIND_REAL, 0, 0.999999, { 0 } },
    { SECTION_TRAIN, "clip", "--clip", "1.0", KIND_REAL, 0, 1e6, { 0 } },
    { SECTION_TRAIN, "seed", "--seed", "1", KIND_WHOLE, 0, 9e15, { 0 } },
    { SECTION_TRAIN, "eval_every", "--eval-every", "50", KIND_WHOLE, 0, 1e12, { 0 } },
    { SECTION_TRAIN, "eval_batches", "--eval-batches", "4", KIND_WHOLE, 1, 1e6, { 0 } },
    { SECTION_TRAIN, "checkpoint_every", "--checkpoint-every", "100", KIND_WHOLE, 0, 1e12, { 0 } },
    { SECTION_TRAIN, "keep", "--keep", "2", KIND_WHOLE, 1, 1e6, { 0 } },
    { SECTION_TRAIN, "backend", "--backend", "auto", KIND_WORD, 0, 0, { "auto", "cuda", "cpu" } },
    { SECTION_TRAIN, "dtype", "--dtype", "fp32", KIND_WORD, 0, 0, { "fp32", "bf16" } },
    { SECTION_TRAIN, "reduce", "--reduce", "fp32", KIND_WORD, 0, 0, { "fp32", "bf16" } },
    { SECTION_TRAIN, "gang_timeout", "--gang-timeout", "600", KIND_REAL, 1, 86400, { 0 } },
};
/* clang-format on */

enum { KEY_COUNT = ARRAY_COUNT(trainer_keys) };

/* Values by key, as text. */
struct trainer_values {
    const char *text[KEY_COUNT];
    uint32_t line[KEY_COUNT];
};

static size_t key_named(enum trainer_section section, struct text key)
{
    size_t i = 0;
    while (i < KEY_COUNT &&
           (trainer_keys[i].section != section || !text_is(key, trainer_keys[i].key)))
        i++;
    return i;
}

static enum err unknown_trainer_key(const struct reader *reader, enum trainer_section section,
                                    const struct entry *entry, const char *key)
{
    const char *known[KEY_COUNT];
    size_t count = 0;
    enum trainer_section other = section == SECTION_MODEL ? SECTION_TRAIN : SECTION_MODEL;
    if (key_named(other, entry->key) < KEY_COUNT)
        return reader_fail(reader, entry->line, key,
                           "stands under the wrong key; move it to `%s:`",
                           section_words[other]);
    if (text_is(entry->key, "steps") || text_is(entry->key, "data") ||
        text_is(entry->key, "threads"))
        return reader_fail(reader, entry->line, key,
                           "is a key of the run itself; move it out of `%s:`",
                           section_words[section]);
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (trainer_keys[i].section == section) known[count++] = trainer_keys[i].key;
    return unknown_key(reader, entry->line, key, known, count);
}

static enum err bad_range(const struct reader *reader, const struct trainer_key *row,
                          const char *key, const struct entry *entry)
{
    return reader_fail(reader, entry->line, key,
                       "`%.40s` is out of range; write a value between %.15g and %.15g",
                       entry->value->text.data, row->low, row->high);
}

static enum err value_read(const struct reader *reader, const struct trainer_key *row,
                           const char *key, const struct entry *entry, const char **value)
{
    struct text text = entry->value->text;
    uint32_t word;
    uint64_t whole;
    double real;
    size_t words = 0;
    enum err rc = expect_kind(reader, key, entry, NODE_SCALAR);
    if (rc != ERR_OK) return rc;
    *value = text.data;
    switch (row->kind) {
    case KIND_WORD:
        while (words < WORDS_MAX && row->words[words])
            words++;
        return word_read(reader, key, entry, row->words, words, &word);
    case KIND_WHOLE:
        if (!text_to_u64(text, &whole))
            return reader_fail(reader, entry->line, key,
                               "`%.40s` is not a whole number; write it with digits only",
                               text.data);
        if ((double)whole < row->low || (double)whole > row->high)
            return bad_range(reader, row, key, entry);
        return ERR_OK;
    case KIND_REAL:
        if (!real_parse(text, &real))
            return reader_fail(reader, entry->line, key,
                               "`%.40s` is not a number; write it as 0.001 or 1e-3", text.data);
        if (real < row->low || real > row->high) return bad_range(reader, row, key, entry);
        return ERR_OK;
    }
    unreachable("trainer key kind");
}

static enum err section_read(const struct reader *reader, enum trainer_section section,
                             const struct entry *map, struct trainer_values *values)
{
    char key[TREE_KEY_BYTES_MAX + 16];
    if (!map) return ERR_OK;
    enum err rc = expect_kind(reader, section_words[section], map, NODE_MAP);
    if (rc != ERR_OK) return rc;
    for (const struct entry *entry = map->value->first; entry; entry = entry->next) {
        snprintf(key, sizeof key, "%s.%s", section_words[section], entry->key.data);
        size_t i = key_named(section, entry->key);
        if (i == KEY_COUNT) return unknown_trainer_key(reader, section, entry, key);
        rc = value_read(reader, &trainer_keys[i], key, entry, &values->text[i]);
        if (rc != ERR_OK) return rc;
        values->line[i] = entry->line;
    }
    return ERR_OK;
}

/* What only a GPU can do, asked of a CPU. */
static enum err types_check(const struct reader *reader, const struct trainer_values *values,
                            const struct entry *run)
{
    static const char *const keys[] = { "dtype", "reduce" };
    char key[32];
    if (strcmp(values->text[key_named(SECTION_TRAIN, TEXT("backend"))], "cpu") != 0)
        return ERR_OK;
    for (size_t k = 0; k < ARRAY_COUNT(keys); k++) {
        size_t i = key_named(SECTION_TRAIN, text_of(keys[k]));
        if (strcmp(values->text[i], "fp32") == 0) continue;
        snprintf(key, sizeof key, "train.%s", keys[k]);
        return reader_fail(reader, values->line[i] > 0 ? values->line[i] : run->line, key,
                           "`%s` needs a GPU, and train.backend is cpu; use fp32 or another "
                           "backend",
                           values->text[i]);
    }
    return ERR_OK;
}

/* A whole value by key, for rules that tie two keys together, and the line to name. */
static uint64_t whole_of(const struct trainer_values *values, enum trainer_section section,
                         const char *key, uint32_t *line)
{
    size_t i = key_named(section, text_of(key));
    uint64_t whole;
    check(i < KEY_COUNT);
    check(text_to_u64(text_of(values->text[i]), &whole));
    if (values->line[i] > 0) *line = values->line[i];
    return whole;
}

static enum err values_check(const struct reader *reader, const struct trainer_values *values,
                             const struct entry *run, const struct run_spec *spec)
{
    uint32_t line = run->line;
    uint64_t width = whole_of(values, SECTION_MODEL, "width", &line);
    uint64_t heads = whole_of(values, SECTION_MODEL, "heads", &line);
    if (width % heads != 0)
        return reader_fail(reader, line, "model.heads",
                           "%" PRIu64 " heads do not divide a width of %" PRIu64
                           "; choose numbers that divide evenly",
                           heads, width);
    line = run->line;
    uint64_t warmup = whole_of(values, SECTION_TRAIN, "warmup", &line);
    if (warmup > spec->steps)
        return reader_fail(reader, line, "train.warmup",
                           "%" PRIu64 " steps are more than the run's %" PRIu64 "; shorten it",
                           warmup, spec->steps);
    line = run->line;
    uint64_t batch = whole_of(values, SECTION_TRAIN, "batch", &line);
    if (batch % spec->ranks != 0)
        return reader_fail(reader, line, "train.batch",
                           "%" PRIu64 " sequences do not divide over %" PRIu32
                           " ranks; make it a multiple of the ranks",
                           batch, spec->ranks);
    if (batch / spec->ranks > RANK_BATCH_MAX)
        return reader_fail(reader, line, "train.batch",
                           "%" PRIu64 " sequences are more than %d for each rank; lower it",
                           batch, RANK_BATCH_MAX);
    line = run->line;
    uint64_t vocab = whole_of(values, SECTION_MODEL, "vocab", &line);
    size_t format = key_named(SECTION_TRAIN, TEXT("data_format"));
    if (vocab < 256 && strcmp(values->text[format], "text") == 0)
        return reader_fail(reader, line, "model.vocab",
                           "text has 256 byte values; make vocab at least 256");
    return types_check(reader, values, run);
}

enum err trainer_read(const struct loader *loader, const struct entry *model,
                      const struct entry *train, const char *data, const struct entry *run,
                      const struct run_spec *spec, struct launch *launch)
{
    struct trainer_values values = { .line = { 0 } };
    struct arena *arena = loader->reader.arena;
    for (size_t i = 0; i < KEY_COUNT; i++)
        values.text[i] = trainer_keys[i].fallback;
    /* A short run warms up no longer than it lasts. */
    size_t warmup = key_named(SECTION_TRAIN, TEXT("warmup"));
    uint64_t usual;
    check(text_to_u64(text_of(trainer_keys[warmup].fallback), &usual));
    if (spec->steps < usual) values.text[warmup] = arena_format(arena, "%" PRIu64, spec->steps);
    enum err rc = section_read(&loader->reader, SECTION_MODEL, model, &values);
    if (rc == ERR_OK) rc = section_read(&loader->reader, SECTION_TRAIN, train, &values);
    if (rc == ERR_OK) rc = values_check(&loader->reader, &values, run, spec);
    if (rc != ERR_OK) return rc;
    const char **argv = (const char **)arena_array(arena, 2 * KEY_COUNT + 6, sizeof *argv);
    uint32_t argc = 0;
    argv[argc++] = loader->trainer;
    argv[argc++] = "--data";
    argv[argc++] = data;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        argv[argc++] = trainer_keys[i].flag;
        argv[argc++] = values.text[i];
    }
    argv[argc++] = "--steps";
    argv[argc++] = arena_format(arena, "%" PRIu64, spec->steps);
    launch->argv = argv;
    launch->argc = argc;
    return ERR_OK;
}

/* The value after a flag of a command line that trainer_read made. */
static const char *flag_value(const struct launch *launch, const char *flag)
{
    for (uint32_t i = 1; i + 1 < launch->argc; i += 2)
        if (strcmp(launch->argv[i], flag) == 0) return launch->argv[i + 1];
    unreachable("a flag of the built-in trainer is missing");
}

void trainer_write(struct writer *writer, const struct launch *launch)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct trainer_key *row = &trainer_keys[i];
        if (i == 0 || row->section != trainer_keys[i - 1].section)
            writer_format(writer, "%s%s: {", i == 0 ? "    " : "}\n    ",
                          section_words[row->section]);
        else
            writer_string(writer, ", ");
        writer_format(writer, "%s: %s", row->key, flag_value(launch, row->flag));
    }
    writer_string(writer, "}\n    data: ");
    quoted_write(writer, flag_value(launch, "--data"));
    writer_string(writer, "\n");
}

void trainer_each_key(key_fn take, void *context)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        take(context, trainer_keys[i].key);
}
