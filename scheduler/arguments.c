/* arguments.c - see arguments.h. Helpers first, the public functions last. */
#include "scheduler/arguments.h"

#include <string.h>

#include "proto/base/text.h"

enum { WORD_BYTES_MAX = 48, SLIP_MAX = 2 };

/* How many single-letter slips (insert, drop, change) lead from a to b; WORD_BYTES_MAX when one
 * of them is too long to be a flag or verb. */
static size_t slips_between(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    if (a_len >= WORD_BYTES_MAX || b_len >= WORD_BYTES_MAX) return WORD_BYTES_MAX;
    size_t row[WORD_BYTES_MAX + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            size_t drop = row[j] + 1, insert = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = change < drop ? change : drop;
            if (insert < row[j]) row[j] = insert;
        }
    }
    return row[b_len];
}

const char *arguments_nearest(const char *word, const void *candidates, size_t count,
                              size_t stride_bytes)
{
    const char *best = NULL;
    size_t best_slips = SLIP_MAX + 1, len = strlen(word);
    for (size_t i = 0; i < count; i++) {
        const char *candidate;
        memcpy(&candidate, (const char *)candidates + i * stride_bytes, sizeof candidate);
        size_t slips = slips_between(word, candidate);
        /* A word that somebody began and did not finish is as good as one slip. */
        if (len >= 3 && strncmp(word, candidate, len) == 0 && slips > 1) slips = 1;
        if (slips < best_slips) {
            best = candidate;
            best_slips = slips;
        }
    }
    return best;
}

static uint32_t flag_count(const struct flag *flags)
{
    uint32_t count = 0;
    while (flags[count].name != NULL)
        count++;
    check(count <= FLAGS_MAX);
    return count;
}

static uint32_t flag_find(const struct flag *flags, struct text name)
{
    uint32_t count = flag_count(flags);
    for (uint32_t i = 0; i < count; i++) {
        if (text_is(name, flags[i].name)) return i;
        if (flags[i].alias != NULL && text_is(name, flags[i].alias)) return i;
    }
    return count;
}

static enum err unknown_flag(const struct flag *flags, struct text name, struct error *error)
{
    char word[WORD_BYTES_MAX];
    bool whole = text_copy(word, sizeof word, name);
    const char *near =
        whole ? arguments_nearest(word, flags, flag_count(flags), sizeof *flags) : NULL;
    if (near != NULL)
        return error_set(error, ERR_INPUT, "unknown flag %s; did you mean %s?", word, near);
    return error_set(error, ERR_INPUT, "unknown flag %s; --help lists the flags", word);
}

/* Takes the flag argv[*at], and its value from the same or the next word. */
static enum err take_flag(int count, char *const *argv, int *at, struct arguments *arguments,
                          struct error *error)
{
    const char *word = argv[*at];
    const char *equals = strchr(word, '=');
    struct text name = text_of(word);
    if (equals != NULL) name.len = (size_t)(equals - word);
    uint32_t index = flag_find(arguments->flags, name);
    const struct flag *flag = &arguments->flags[index];
    if (flag->name == NULL) return unknown_flag(arguments->flags, name, error);
    if (arguments->values[index] != NULL)
        return error_set(error, ERR_INPUT, "%s is given twice; give it once", flag->name);
    if (flag->value == NULL) {
        if (equals != NULL)
            return error_set(error, ERR_INPUT, "%s takes no value; leave out \"%s\"",
                             flag->name, equals);
        arguments->values[index] = "";
        return ERR_OK;
    }
    const char *value = equals != NULL ? equals + 1 : *at + 1 < count ? argv[++*at] : NULL;
    if (value == NULL || value[0] == '\0')
        return error_set(error, ERR_INPUT, "%s needs a value: %s %s", flag->name, flag->name,
                         flag->value);
    arguments->values[index] = value;
    return ERR_OK;
}

static bool asks_for_help(int count, char *const *argv)
{
    for (int i = 0; i < count && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

enum err arguments_parse(const struct flag *flags, uint32_t words_min, uint32_t words_max,
                         int count, char *const *argv, struct arguments *arguments,
                         struct error *error)
{
    check(words_max <= WORDS_MAX);
    memset(arguments, 0, sizeof *arguments);
    arguments->flags = flags;
    if (asks_for_help(count, argv)) {
        arguments->help = true;
        return ERR_OK;
    }
    bool flags_over = false;
    for (int i = 0; i < count; i++) {
        const char *word = argv[i];
        if (!flags_over && strcmp(word, "--") == 0) {
            flags_over = true;
        } else if (!flags_over && word[0] == '-' && word[1] != '\0') {
            enum err rc = take_flag(count, argv, &i, arguments, error);
            if (rc != ERR_OK) return rc;
        } else if (arguments->word_count == words_max) {
            return error_set(error, ERR_INPUT,
                             "\"%s\" is one word too many; --help shows the usage", word);
        } else {
            arguments->words[arguments->word_count++] = word;
        }
    }
    if (arguments->word_count < words_min)
        return error_set(error, ERR_INPUT, "%s; --help shows the usage",
                         arguments->word_count == 0
                             ? "too little was given"
                             : "something is missing after the last word");
    return ERR_OK;
}

const char *arguments_value(const struct arguments *arguments, const char *name)
{
    uint32_t index = flag_find(arguments->flags, text_of(name));
    check(arguments->flags[index].name != NULL);
    return arguments->values[index] != NULL ? arguments->values[index]
                                            : arguments->flags[index].fallback;
}

bool arguments_given(const struct arguments *arguments, const char *name)
{
    uint32_t index = flag_find(arguments->flags, text_of(name));
    check(arguments->flags[index].name != NULL);
    return arguments->values[index] != NULL;
}

enum err arguments_number(const struct arguments *arguments, const char *name, int64_t low,
                          int64_t high, int64_t *value, struct error *error)
{
    const char *word = arguments_value(arguments, name);
    int64_t number;
    if (word != NULL && text_to_i64(text_of(word), &number) && number >= low &&
        number <= high) {
        *value = number;
        return ERR_OK;
    }
    return error_set(error, ERR_INPUT, "%s %s: a whole number from %lld to %lld is wanted",
                     name, word != NULL ? word : "", (long long)low, (long long)high);
}
