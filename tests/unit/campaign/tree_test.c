/* YAML text as a tree with lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/campaign/tree.h"
#include "tests/unit/campaign/load.h"

static void nodes_know_their_lines(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    const struct node *root;
    struct error error;
    static const char yaml[] = "# comment\na: 1\n\nlist:\n  - x\n  - \"y: z\"\n"
                               "map: {b: c,\n  d: [e]}\nblock: |\n  two\n  lines\nnone:\n";
    assert_int_equal(tree_parse(&arena, "f", text_of(yaml), &root, &error), ERR_OK);
    assert_int_equal(root->kind, NODE_MAP);
    assert_int_equal(root->count, 5);
    assert_int_equal(tree_find(root, "a")->line, 2);
    assert_string_equal(tree_find(root, "a")->value->text.data, "1");
    assert_false(tree_find(root, "a")->value->quoted);
    const struct node *list = tree_find(root, "list")->value;
    assert_int_equal(list->kind, NODE_LIST);
    assert_int_equal(list->count, 2);
    assert_int_equal(list->first->line, 5);
    assert_int_equal(list->last->line, 6);
    assert_true(list->last->value->quoted);
    assert_string_equal(list->last->value->text.data, "y: z");
    const struct node *map = tree_find(root, "map")->value;
    assert_int_equal(tree_find(map, "d")->line, 8);
    assert_string_equal(tree_find(root, "block")->value->text.data, "two\nlines\n");
    assert_int_equal(tree_find(root, "none")->value->text.len, 0);
    assert_null(tree_find(root, "nowhere"));
    arena_fini(&arena);
}

static enum err parse(struct text yaml, struct error *error)
{
    struct arena arena = { 0 };
    const struct node *root = NULL;
    enum err rc = tree_parse(&arena, "f", yaml, &root, error);
    if (rc != ERR_OK) assert_null(root);
    arena_fini(&arena);
    return rc;
}

static void depth_has_a_limit(void **state)
{
    (void)state;
    struct error error;
    char yaml[256];
    for (int depth = 1; depth <= 40; depth++) {
        struct writer writer = writer_of(yaml, sizeof yaml);
        writer_string(&writer, "a: ");
        for (int i = 1; i < depth; i++)
            writer_string(&writer, "[");
        for (int i = 1; i < depth; i++)
            writer_string(&writer, "]");
        assert_int_equal(parse(text_of(yaml), &error),
                         depth <= TREE_DEPTH_MAX ? ERR_OK : ERR_INPUT);
    }
}

static void the_number_of_values_has_a_limit(void **state)
{
    (void)state;
    struct error error;
    size_t bytes = 3 + 2 * (size_t)TREE_NODES_MAX + 16;
    char *yaml = malloc(bytes);
    assert_non_null(yaml);
    for (int over = 0; over < 2; over++) {
        struct writer writer = writer_of(yaml, bytes);
        writer_string(&writer, "a: [");
        for (int i = 0; i < TREE_NODES_MAX - 2 + over; i++)
            writer_string(&writer, i == 0 ? "x" : ",x");
        writer_string(&writer, "]");
        assert_false(writer.full);
        assert_int_equal(parse(text_of(yaml), &error), over ? ERR_INPUT : ERR_OK);
    }
    assert_string_equal(error.text, "f:1: the file holds too many values; split the campaign");
    free(yaml);
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    (void)state;
    struct error error;
    assert_int_equal(parse((struct text){ "a: 1\nb: \x00\n", 10 }, &error), ERR_INPUT);
    assert_non_null(strstr(error.text, "f:2: not plain text"));
    assert_int_equal(parse(TEXT("a: \"\\x07\\0\"\n"), &error), ERR_INPUT);
    assert_int_equal(parse(TEXT("\"a\\nb\": 1\n\"a\\nb\": 2\n"), &error), ERR_INPUT);
    assert_string_equal(error.text, "f:2: a?b: given twice, first on line 1; keep one of them");
    assert_int_equal(parse(TEXT("\xff\xfe"
                                "a\0:\0 \0"
                                "1\0"),
                           &error),
                     ERR_INPUT);
    assert_int_equal(parse(TEXT(""), &error), ERR_INPUT);
    assert_int_equal(parse(TEXT("a: 1\n"), NULL), ERR_OK);
    assert_int_equal(parse(TEXT("a"), NULL), ERR_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_know_their_lines),
        cmocka_unit_test(depth_has_a_limit),
        cmocka_unit_test(the_number_of_values_has_a_limit),
        cmocka_unit_test(bytes_that_are_no_text_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
