/* Suggestions for misspelled words, and reading and writing through a table. */
#include <string.h>

#include "scheduler/campaign/fields.h"
#include "tests/unit/campaign/load.h"

static void the_nearest_word_is_found(void **state)
{
    (void)state;
    static const char *const words[] = { "heartbeat", "lease", "stop_grace", "step_factor",
                                         "a" };
    static const struct {
        const char *word, *nearest;
    } rows[] = {
        { "hearbeat", "heartbeat" },
        { "haertbeat", "heartbeat" },
        { "leese", "lease" },
        { "lesae", "lease" },
        { "stop-grace", "stop_grace" },
        { "stepfactor", "step_factor" },
        { "lease", "lease" },
        { "fortnight", NULL },
        { "xyz", NULL },
        { "", NULL },
        { "le", NULL },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const char *nearest = nearest_word(rows[i].word, words, ARRAY_COUNT(words));
        if (!rows[i].nearest != !nearest) fail_msg("%s", rows[i].word);
        if (nearest) assert_string_equal(nearest, rows[i].nearest);
    }
    char huge[300];
    memset(huge, 'h', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    assert_null(nearest_word(huge, words, ARRAY_COUNT(words)));
    assert_null(nearest_word("lease", words, 0));
}

struct everything {
    char name[NAME_MAX_BYTES];
    bool flag;
    uint32_t count;
    uint64_t steps;
    int32_t number, share;
    int64_t span_ns, loss_micro, money_micros;
    struct entry *entry;
};

#define AT(member) offsetof(struct everything, member)

static const struct field rows[] = {
    { .key = "name", FIELD_NAME, AT(name), .required = true },
    { .key = "flag", FIELD_BOOL, AT(flag), 0, 1 },
    { .key = "count", FIELD_COUNT, AT(count), 1, UINT32_MAX, .never = true },
    { .key = "steps", FIELD_STEPS, AT(steps), 0, INT64_MAX },
    { .key = "number", FIELD_NUMBER, AT(number), INT32_MIN, INT32_MAX },
    { .key = "share", FIELD_SHARE, AT(share), 0, PPM },
    { .key = "span", FIELD_DURATION, AT(span_ns), 0, INT64_MAX },
    { .key = "loss", FIELD_LOSS, AT(loss_micro), INT64_MIN, INT64_MAX },
    { .key = "money", FIELD_MONEY, AT(money_micros), 0, INT64_MAX },
    { .key = "entry", FIELD_ENTRY, AT(entry) },
};
static const struct fields fields = { "part.", rows, ARRAY_COUNT(rows) };

static enum err read_map(const char *yaml, struct everything *to, struct error *error)
{
    struct arena arena = { 0 };
    const struct node *root = NULL;
    struct reader reader = { .arena = &arena, .file = "f", .currency = "USD", .error = error };
    enum err rc = tree_parse(&arena, "f", text_of(yaml), &root, error);
    if (rc == ERR_OK) {
        struct entry entry = { .line = 7, .value = root };
        rc = fields_read(&reader, &fields, &entry, to);
    }
    arena_fini(&arena);
    return rc;
}

static void every_kind_is_read_and_written(void **state)
{
    (void)state;
    static const char yaml[] = "name: n\nflag: true\ncount: 4294967295\nsteps: "
                               "9223372036854775807\nnumber: -2147483648\nshare: 12.3456%\n"
                               "span: 25h\nloss: -2.6\nmoney: 0.000001 USD\n";
    struct everything all = { .flag = false };
    struct error error;
    char buffer[512];
    assert_int_equal(read_map(yaml, &all, &error), ERR_OK);
    assert_true(all.flag);
    assert_int_equal(all.count, UINT32_MAX);
    assert_int_equal(all.steps, INT64_MAX);
    assert_int_equal(all.number, INT32_MIN);
    assert_int_equal(all.share, 123456);
    assert_int_equal(all.span_ns, 25 * NS_PER_HOUR);
    assert_int_equal(all.loss_micro, -2600000);
    assert_int_equal(all.money_micros, 1);
    struct writer writer = writer_of(buffer, sizeof buffer);
    fields_write(&writer, &fields, &all, 0, "USD");
    assert_string_equal(buffer, yaml);
}

static void what_is_absent_stays_as_it_is(void **state)
{
    (void)state;
    struct everything all = { .count = 5, .steps = 6, .span_ns = 7 };
    struct error error;
    assert_int_equal(read_map("name: n\ncount: never\n", &all, &error), ERR_OK);
    assert_int_equal(all.count, 0);
    assert_int_equal(all.steps, 6);
    assert_int_equal(all.span_ns, 7);
    assert_null(all.entry);
}

static void bad_maps_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *error;
    } bad[] = {
        { "flag: true\n", "f:7: part.name: is missing; add it here" },
        { "name: n\nflga: true\n", "f:2: part.flga: unknown key; did you mean `flag`?" },
        { "name: n\ncount: 0\n",
          "f:2: part.count: `0` is out of range; write a value between 1 "
          "and 4294967295, or `never`" },
        { "name: n\ncount: often\n", "f:2: part.count: `often` is not a whole number; write it "
                                     "with digits only, as 40, or `never`" },
        { "name: n\nsteps: -1\n",
          "f:2: part.steps: `-1` is out of range; write a value between 0 and "
          "9223372036854775807" },
        { "name: n\nsteps: 9223372036854775808\n",
          "f:2: part.steps: `9223372036854775808` is not a whole number; write it with digits "
          "only, as 40" },
        { "name: n\nsteps: never\n", "f:2: part.steps: `never` is not a whole number; write it "
                                     "with digits only, as 40" },
        { "name: [n]\n",
          "f:1: part.name: is a list, but must be a single value; write it on the same line" },
        { "[n]\n", "f:1: the file must be a map of keys; start with `campaign: NAME`" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct everything all = { .count = 5 };
        struct error error;
        assert_int_equal(read_map(bad[i].yaml, &all, &error), ERR_INPUT);
        assert_string_equal(error.text, bad[i].error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_word_is_found),
        cmocka_unit_test(every_kind_is_read_and_written),
        cmocka_unit_test(what_is_absent_stays_as_it_is),
        cmocka_unit_test(bad_maps_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
