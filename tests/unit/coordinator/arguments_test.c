/* Words and flags: what is taken, and what is refused with which advice. */
#include "scheduler/arguments.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct flag flags[] = {
    { "--dir", NULL, "STATE", NULL, "where" }, { "--workers", NULL, "N", "4", "how many" },
    { "--output", "-o", "FILE", NULL, "to" },  { "--watch", NULL, NULL, NULL, "again" },
    { NULL, NULL, NULL, NULL, NULL },
};

enum { ARGS_MAX = 8 };

static enum err parse(const char *const *words, uint32_t least, uint32_t most,
                      struct arguments *arguments, struct error *error)
{
    char *argv[ARGS_MAX];
    int count = 0;
    while (words[count] != NULL) {
        memcpy(&argv[count], &words[count], sizeof argv[0]);
        count++;
    }
    return arguments_parse(flags, least, most, count, argv, arguments, error);
}

static void takes_words_and_flags_in_any_order(void **state)
{
    (void)state;
    static const char *const lines[][ARGS_MAX] = {
        { "a", "--dir", "S", "-o", "F", "--watch", NULL },
        { "--dir=S", "--output=F", "a", "--watch", NULL },
        { "--watch", "-o=F", "--dir", "S", "--", "a", NULL },
    };
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        struct arguments arguments;
        assert_int_equal(parse(lines[i], 1, 1, &arguments, NULL), ERR_OK);
        assert_int_equal(arguments.word_count, 1);
        assert_string_equal(arguments.words[0], "a");
        assert_string_equal(arguments_value(&arguments, "--dir"), "S");
        assert_string_equal(arguments_value(&arguments, "--output"), "F");
        assert_true(arguments_given(&arguments, "--watch"));
        assert_false(arguments_given(&arguments, "--workers"));
        assert_string_equal(arguments_value(&arguments, "--workers"), "4");
    }
}

static void words_after_the_dashes_are_words(void **state)
{
    (void)state;
    static const char *const line[] = { "--", "--dir", "-o", NULL };
    struct arguments arguments;
    assert_int_equal(parse(line, 2, 2, &arguments, NULL), ERR_OK);
    assert_string_equal(arguments.words[0], "--dir");
    assert_null(arguments_value(&arguments, "--dir"));
}

static void help_outranks_every_mistake(void **state)
{
    (void)state;
    static const char *const lines[][ARGS_MAX] = { { "--help", NULL },
                                                   { "--nonsense", "-h", NULL },
                                                   { "a", "b", "c", "--help", NULL } };
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        struct arguments arguments;
        assert_int_equal(parse(lines[i], 1, 1, &arguments, NULL), ERR_OK);
        assert_true(arguments.help);
    }
    static const char *const hidden[] = { "--", "--help", NULL };
    struct arguments arguments;
    assert_int_equal(parse(hidden, 1, 1, &arguments, NULL), ERR_OK);
    assert_false(arguments.help);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *line[ARGS_MAX];
        const char *says;
    } cases[] = {
        { { "a", "--worker", "2", NULL }, "did you mean --workers?" },
        { { "a", "--dri", "x", NULL }, "did you mean --dir?" },
        { { "a", "--wat", NULL }, "did you mean --watch?" },
        { { "a", "--colour", NULL }, "unknown flag --colour; --help" },
        { { "a", "-x", NULL }, "unknown flag -x" },
        { { "a", "--dir", NULL }, "--dir needs a value: --dir STATE" },
        { { "a", "--dir=", NULL }, "--dir needs a value" },
        { { "a", "--watch=yes", NULL }, "--watch takes no value" },
        { { "a", "--dir", "x", "--dir", "y", NULL }, "--dir is given twice" },
        { { "a", "-o", "x", "--output=y", NULL }, "--output is given twice" },
        { { "a", "b", NULL }, "\"b\" is one word too many" },
        { { NULL }, "too little was given" },
        { { "--watch", NULL }, "too little was given" },
        { { "--a-flag-that-is-longer-than-any-flag-of-this-program-could-be", NULL },
          "unknown flag" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct arguments arguments;
        struct error error;
        assert_int_equal(parse(cases[i].line, 1, 1, &arguments, &error), ERR_INPUT);
        if (strstr(error.text, cases[i].says) == NULL)
            fail_msg("case %zu says \"%s\", not \"%s\"", i, error.text, cases[i].says);
    }
}

static void numbers_keep_to_their_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        bool fine;
        int64_t value;
    } cases[] = {
        { "1", true, 1 },
        { "16", true, 16 },
        { "0", false, 0 },
        { "17", false, 0 },
        { "-1", false, 0 },
        { "two", false, 0 },
        { "2x", false, 0 },
        { " 2", false, 0 },
        { "1.5", false, 0 },
        { "0x3", false, 0 },
        { "99999999999999999999", false, 0 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const char *const line[] = { "a", "--workers", cases[i].word, NULL };
        struct arguments arguments;
        struct error error;
        int64_t value = -7;
        assert_int_equal(parse(line, 1, 1, &arguments, NULL), ERR_OK);
        enum err rc = arguments_number(&arguments, "--workers", 1, 16, &value, &error);
        assert_int_equal(rc, cases[i].fine ? ERR_OK : ERR_INPUT);
        assert_int_equal(value, cases[i].fine ? cases[i].value : -7);
    }
    static const char *const bare[] = { "a", NULL };
    struct arguments arguments;
    int64_t value = 0;
    assert_int_equal(parse(bare, 1, 1, &arguments, NULL), ERR_OK);
    assert_int_equal(arguments_number(&arguments, "--workers", 1, 16, &value, NULL), ERR_OK);
    assert_int_equal(value, 4);
    assert_int_equal(arguments_number(&arguments, "--dir", 1, 16, &value, NULL), ERR_INPUT);
}

static void nearest_word_or_none(void **state)
{
    (void)state;
    static const char *const verbs[] = { "run", "report", "status", "decide" };
    static const struct {
        const char *word, *near;
    } cases[] = { { "run", "run" },       { "rnu", "run" },
                  { "stat", "status" },   { "reports", "report" },
                  { "decied", "decide" }, { "x", NULL },
                  { "", NULL },           { "frobnicate", NULL },
                  { "statusses", NULL } };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const char *near =
            arguments_nearest(cases[i].word, verbs, ARRAY_COUNT(verbs), sizeof verbs[0]);
        if (cases[i].near == NULL)
            assert_null(near);
        else
            assert_string_equal(near, cases[i].near);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_words_and_flags_in_any_order),
        cmocka_unit_test(words_after_the_dashes_are_words),
        cmocka_unit_test(help_outranks_every_mistake),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(numbers_keep_to_their_bounds),
        cmocka_unit_test(nearest_word_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
