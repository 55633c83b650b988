/*
 * deploy/examples/reference.yaml names every key that is known, and shows the defaults: a policy that
 * is changed in the code and not there fails here.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/campaign/internal.h"
#include "tests/unit/campaign/load.h"

#define REFERENCE "deploy/examples/reference.yaml"

static bool is_word_part(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* Does `word` stand in the text as a word of its own? */
static bool holds_word(const char *text, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
        if ((at == text || !is_word_part(at[-1])) && !is_word_part(at[len])) return true;
    return false;
}

static void expect_word(void *context, const char *key)
{
    if (!holds_word((const char *)context, key)) fail_msg("`%s` is not in " REFERENCE, key);
}

static void every_key_occurs(void **state)
{
    (void)state;
    char *text = read_file(REFERENCE);
    campaign_each_key(expect_word, text);
    free(text);
}

/* The effective policy without the parts that each campaign must say for itself. */
static char *defaults_of(struct campaign *c)
{
    struct text text = campaign_effective(c);
    const char *from = strstr(text.data, "placement:"), *to = strstr(text.data, "\ngates:");
    assert_non_null(from);
    if (!to) to = strstr(text.data, "\nrunbook_defaults:");
    assert_non_null(to);
    return strndup(from, (size_t)(to - from));
}

static void what_it_shows_are_the_defaults(void **state)
{
    (void)state;
    struct campaign shortest, reference;
    struct error error = { .code = ERR_OK };
    load_good(HEAD "runs: [{name: a, budget: 1 USD, data: kjv.txt}]\n", &shortest);
    if (campaign_load(REFERENCE, "penstock-train", &reference, &error) != ERR_OK)
        fail_msg("%s", error.text);
    reference.spec.guard_count = 1; /* its variants are examples */
    char *expected = defaults_of(&shortest), *shown = defaults_of(&reference);
    assert_string_equal(shown, expected);
    free(expected);
    free(shown);
    const struct launch *a = &shortest.launches[0], *b = &reference.launches[0];
    assert_int_equal(a->argc, b->argc);
    for (uint32_t i = 3; i < a->argc; i++) /* all but the program and its data */
        assert_string_equal(a->argv[i], b->argv[i]);
    assert_int_equal(reference.runs[0].ranks, shortest.runs[0].ranks);
    assert_int_equal(reference.runs[0].priority, shortest.runs[0].priority);
    assert_int_equal(reference.runs[0].class_index, shortest.runs[0].class_index);
    assert_int_equal(a->threads, b->threads);
    campaign_fini(&shortest);
    campaign_fini(&reference);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_occurs),
        cmocka_unit_test(what_it_shows_are_the_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
