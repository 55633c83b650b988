#include "worker/trainer/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_strings(void **unused)
{
    (void)unused;
    const struct {
        const char *text, *value;
    } rows[] = {
        { "\"\"", "" },
        { "\"plain\"", "plain" },
        { " \t\r\n\"blanks before\"", "blanks before" },
        { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t" },
        { "\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
        { "\"\xc3\xa9\"", "\xc3\xa9" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char value[64];
        struct json json = json_of(rows[i].text, strlen(rows[i].text));
        json_string(&json, value, sizeof(value));
        json_end(&json);
        assert_null(json.mistake);
        assert_string_equal(value, rows[i].value);
    }
}

static void test_bad_strings(void **unused)
{
    (void)unused;
    static const char *const rows[] = {
        "",
        "x",
        "'a'",
        "\"",
        "\"a",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800\\\"",
        "\"a\nb\"",
        "\"\x01\"",
        "\"123456789\"",
        "\"\\u",
        "\"\\ud83d\\u",
        "\"a\" b",
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char value[9];
        struct json json = json_of(rows[i], strlen(rows[i]));
        json_string(&json, value, sizeof(value));
        json_end(&json);
        if (json.mistake == NULL) fail_msg("accepted: %s", rows[i]);
    }
}

static void test_numbers(void **unused)
{
    (void)unused;
    const struct {
        const char *text;
        bool good;
        uint64_t value;
    } rows[] = {
        { "0", true, 0 },
        { " 17", true, 17 },
        { "18446744073709551615", true, UINT64_MAX },
        { "18446744073709551616", false, 0 },
        { "", false, 0 },
        { "-1", false, 0 },
        { "+1", false, 0 },
        { "01", false, 0 },
        { "1.0", false, 0 },
        { "1e3", false, 0 },
        { "0x10", false, 0 },
        { "1 2", false, 0 },
        { "nan", false, 0 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct json json = json_of(rows[i].text, strlen(rows[i].text));
        uint64_t value = json_u64(&json);
        json_end(&json);
        if ((json.mistake == NULL) != rows[i].good) fail_msg("wrong: %s", rows[i].text);
        if (rows[i].good) assert_int_equal(value, rows[i].value);
    }
}

static void test_first_mistake_sticks(void **unused)
{
    (void)unused;
    char value[8] = "before";
    struct json json = json_of("{\"a\"}", 5);
    json_expect(&json, '{');
    json_expect(&json, ':');
    const char *mistake = json.mistake;
    size_t at = json.at;
    assert_non_null(mistake);
    json_string(&json, value, sizeof(value));
    assert_string_equal(value, "");
    assert_int_equal(json_u64(&json), 0);
    assert_false(json_take(&json, '"'));
    json_end(&json);
    assert_ptr_equal(json.mistake, mistake);
    assert_int_equal(json.at, at);
}

static void test_writing_and_reading_back(void **unused)
{
    (void)unused;
    const char *text = "a \"quoted\" \\ path\nwith\ttabs \x01 and \xc3\xa9";
    char written[128], value[128];
    struct writer writer = writer_of(written, sizeof(written));
    json_write_string(&writer, text);
    assert_null(strchr(written, '\n'));
    struct json json = json_of(written, writer.len);
    json_string(&json, value, sizeof(value));
    assert_null(json.mistake);
    assert_string_equal(value, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_bad_strings),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_first_mistake_sticks),
        cmocka_unit_test(test_writing_and_reading_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
