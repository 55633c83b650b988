/* The JSON scanner: what it takes, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "worker/agent/json.h"

static bool skips(const char *text)
{
    struct json_scan json = json_scan_of(text_of(text));
    return json_scan_skip(&json) && json_scan_at_end(&json);
}

static void test_values(void **state)
{
    (void)state;
    const char *good[] = { "{}",
                           "[]",
                           "\"\"",
                           "0",
                           "-1.5e+3",
                           " true ",
                           "false",
                           "null",
                           "NaN",
                           "-Infinity",
                           "[1,2]",
                           "{\"a\":{\"b\":[{}]}}",
                           "\"\\u20ac\\ud83d\\ude00\"",
                           "[ 1 , \"x\" ]\n",
                           "\"\\n\\/\"" };
    const char *bad[] = { "",
                          "{",
                          "[",
                          "{\"a\"}",
                          "{\"a\":}",
                          "[1,]",
                          "{,}",
                          "tru",
                          "nul",
                          "\"",
                          "\"\\x\"",
                          "\"\\u12\"",
                          "\"\\ud800\"",
                          "\"\\udc00\"",
                          "\"\\u0000\"",
                          "1 2",
                          "--1",
                          "+1",
                          ".5",
                          "1e",
                          "{} {}",
                          "'a'",
                          "-",
                          "Inf",
                          "\"a\nb\"",
                          "{a:1}",
                          "[1 2]",
                          "\"\\ud83d\\u0041\"",
                          "0x10",
                          "]" };
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        if (!skips(good[i])) fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        if (skips(bad[i])) fail_msg("taken: %s", bad[i]);
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    char text[4096];
    memset(text, '[', sizeof text);
    struct json_scan json = json_scan_of((struct text){ text, sizeof text });
    assert_false(json_scan_skip(&json));
    assert_true(json.failed);
    memset(text, '[', 30);
    memset(text + 30, ']', 30);
    json = json_scan_of((struct text){ text, 60 });
    assert_true(json_scan_skip(&json));
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    const char *text = "{\"a\":[1,-2.5e3,true,null],\"b\":\"\\u00e9x\",\"c\":{\"d\":NaN}}";
    assert_true(skips(text));
    for (size_t n = 0; n < strlen(text); n++) {
        struct json_scan json = json_scan_of((struct text){ text, n });
        assert_false(json_scan_skip(&json) && json_scan_at_end(&json));
    }
}

static void test_strings(void **state)
{
    (void)state;
    char to[8];
    struct json_scan json = json_scan_of(TEXT("\"a\\u00e9\\\"b\" \"1234567\" \"12345678\""));
    assert_true(json_scan_string(&json, to, sizeof to));
    assert_string_equal(to, "a\xC3\xA9\"b");
    assert_true(json_scan_string(&json, to, sizeof to));
    assert_string_equal(to, "1234567");
    assert_false(json_scan_string(&json, to, sizeof to)); /* one byte too long */
    assert_true(json.failed);
    assert_false(json_scan_at_end(&json));
}

static void test_numbers(void **state)
{
    (void)state;
    struct {
        const char *text;
        bool good;
        uint64_t count;
    } rows[] = { { "0", true, 0 },
                 { "100", true, 100 },
                 { "1e3", true, 1000 },
                 { "7.0", true, 7 },
                 { "9223372036854775807", true, INT64_MAX },
                 { "9223372036854775808", false, 0 },
                 { "-1", false, 0 },
                 { "1.5", false, 0 },
                 { "NaN", false, 0 },
                 { "1e300", false, 0 },
                 { "\"1\"", false, 0 },
                 { "true", false, 0 },
                 { "", false, 0 },
                 { "Infinity", false, 0 } };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct json_scan json = json_scan_of(text_of(rows[i].text));
        uint64_t count = 0;
        if (json_scan_count(&json, &count) != rows[i].good) fail_msg("%s", rows[i].text);
        if (rows[i].good) assert_int_equal(count, rows[i].count);
    }
    double number = 0;
    struct json_scan json = json_scan_of(TEXT("NaN Infinity -Infinity 2.5"));
    assert_true(json_scan_number(&json, &number) && isnan(number));
    assert_true(json_scan_number(&json, &number) && number > 1e308);
    assert_true(json_scan_number(&json, &number) && number < -1e308);
    assert_true(json_scan_number(&json, &number) && number == 2.5);
}

static void test_object_walk(void **state)
{
    (void)state;
    struct json_scan json =
        json_scan_of(TEXT("{ \"a\" : 1 , \"key that is too long\" : [2], \"b\":true }"));
    char key[8];
    uint64_t count = 0;
    bool flag = false;
    assert_true(json_scan_enter(&json));
    assert_true(json_scan_next_key(&json, true, key, sizeof key));
    assert_string_equal(key, "a");
    assert_true(json_scan_count(&json, &count));
    assert_true(json_scan_next_key(&json, false, key, sizeof key));
    assert_string_equal(key, "");
    assert_true(json_scan_skip(&json));
    assert_true(json_scan_next_key(&json, false, key, sizeof key));
    assert_true(json_scan_bool(&json, &flag) && flag);
    assert_false(json_scan_next_key(&json, false, key, sizeof key));
    assert_true(json_scan_at_end(&json));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),       cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_cut_anywhere), cmocka_unit_test(test_strings),
        cmocka_unit_test(test_numbers),      cmocka_unit_test(test_object_walk)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
