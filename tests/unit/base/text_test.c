/* String views and number parsing: good input and at least as much bad. */
#include "proto/base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct text no_bytes = { NULL, 0 };

static void views(void **state)
{
    (void)state;
    assert_int_equal(text_of(NULL).len, 0);
    assert_non_null(text_of(NULL).data);
    assert_int_equal(text_of("abc").len, 3);
    assert_true(text_equal(TEXT("abc"), text_of("abc")));
    assert_false(text_equal(TEXT("abc"), TEXT("abcd")));
    assert_false(text_equal(TEXT("abc"), TEXT("abd")));
    assert_true(text_equal(no_bytes, TEXT("")));
    assert_true(text_equal((struct text){ "a\0b", 3 }, (struct text){ "a\0b", 3 }));
    assert_false(text_equal((struct text){ "a\0b", 3 }, (struct text){ "a\0c", 3 }));
    assert_true(text_is(TEXT("x"), "x"));
    assert_true(text_is(no_bytes, NULL));
    assert_false(text_is((struct text){ "x\0", 2 }, "x"));
    assert_true(text_starts(TEXT("abc"), TEXT("ab")));
    assert_true(text_starts(TEXT("abc"), no_bytes));
    assert_true(text_starts(no_bytes, no_bytes));
    assert_false(text_starts(TEXT("ab"), TEXT("abc")));
    assert_false(text_starts(no_bytes, TEXT("a")));
}

static void trim(void **state)
{
    (void)state;
    const char *cases[][2] = { { "", "" },         { " \t\r\n", "" },
                               { "a", "a" },       { "  a b\t\n", "a b" },
                               { "\v a", "\v a" }, { "a\r\n", "a" } };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_true(text_is(text_trim(text_of(cases[i][0])), cases[i][1]));
    assert_int_equal(text_trim(no_bytes).len, 0);
}

static void find(void **state)
{
    (void)state;
    assert_int_equal(text_find(TEXT("hello"), TEXT("l")), 2);
    assert_int_equal(text_find(TEXT("hello"), TEXT("hello")), 0);
    assert_int_equal(text_find(TEXT("hello"), TEXT("lo")), 3);
    assert_int_equal(text_find(TEXT("aaab"), TEXT("aab")), 1);
    assert_true(text_find(TEXT("hello"), TEXT("lol")) == SIZE_MAX);
    assert_true(text_find(TEXT("hell"), TEXT("hello")) == SIZE_MAX);
    assert_true(text_find(no_bytes, TEXT("a")) == SIZE_MAX);
    assert_int_equal(text_find(TEXT("a"), no_bytes), 0);
    assert_int_equal(text_find(no_bytes, no_bytes), 0);
    assert_int_equal(text_find((struct text){ "a\0b", 3 }, TEXT("b")), 2);
}

static void copy(void **state)
{
    (void)state;
    char to[4] = "zzz";
    assert_true(text_copy(to, sizeof to, TEXT("abc")));
    assert_string_equal(to, "abc");
    assert_false(text_copy(to, sizeof to, TEXT("wxyz")));
    assert_string_equal(to, "wxy");
    assert_true(text_copy(to, sizeof to, no_bytes));
    assert_string_equal(to, "");
    assert_true(text_copy(to, 1, no_bytes));
    assert_false(text_copy(to, 1, TEXT("a")));
    assert_string_equal(to, "");
}

static void signed_numbers(void **state)
{
    (void)state;
    const struct {
        const char *text;
        bool ok;
        int64_t value;
    } cases[] = {
        { "0", true, 0 },
        { "-0", true, 0 },
        { "+7", true, 7 },
        { "007", true, 7 },
        { "-42", true, -42 },
        { "9223372036854775807", true, INT64_MAX },
        { "-9223372036854775807", true, -INT64_MAX },
        { "-9223372036854775808", true, INT64_MIN },
        { "9223372036854775808", false, 0 },
        { "-9223372036854775809", false, 0 },
        { "18446744073709551616", false, 0 },
        { "99999999999999999999999999", false, 0 },
        { "", false, 0 },
        { "-", false, 0 },
        { "+", false, 0 },
        { "--1", false, 0 },
        { "+-1", false, 0 },
        { " 1", false, 0 },
        { "1 ", false, 0 },
        { "1.", false, 0 },
        { "0x1", false, 0 },
        { "1e3", false, 0 },
        { "1,000", false, 0 },
        { "\xD9\xA1", false, 0 }, /* an Arabic-Indic digit one */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int64_t value = 12345;
        bool ok = text_to_i64(text_of(cases[i].text), &value);
        if (ok != cases[i].ok || value != (ok ? cases[i].value : 12345))
            fail_msg("'%s': %d, %lld", cases[i].text, ok, (long long)value);
    }
    int64_t value = 1;
    assert_false(text_to_i64(no_bytes, &value));
    assert_false(text_to_i64((struct text){ "1\0", 2 }, &value));
    assert_true(
        text_to_i64((struct text){ "129", 2 }, &value)); /* the view ends, not the bytes */
    assert_int_equal(value, 12);
}

static void unsigned_numbers(void **state)
{
    (void)state;
    const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } cases[] = {
        { "0", true, 0 },
        { "18446744073709551615", true, UINT64_MAX },
        { "18446744073709551616", false, 0 },
        { "18446744073709551620", false, 0 },
        { "184467440737095516150", false, 0 },
        { "+1", false, 0 },
        { "-1", false, 0 },
        { "", false, 0 },
        { "1x", false, 0 },
        { "/", false, 0 }, /* just before '0' */
        { ":", false, 0 }, /* just behind '9' */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint64_t value = 12345;
        bool ok = text_to_u64(text_of(cases[i].text), &value);
        if (ok != cases[i].ok || value != (ok ? cases[i].value : 12345))
            fail_msg("'%s': %d", cases[i].text, ok);
    }
}

static void scaled_numbers(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int64_t scale;
        bool ok;
        int64_t value;
    } cases[] = {
        { "0.25", 1000000, true, 250000 },
        { "12.5", 1000000, true, 12500000 },
        { "3", 1000000, true, 3000000 },
        { "-0.000001", 1000000, true, -1 },
        { "0.0000010", 1000000, true, 1 }, /* digits beyond the scale may be zeros */
        { "0.0000001", 1000000, false, 0 },
        { "1.0000005", 1000000, false, 0 },
        { ".5", 10, true, 5 },
        { "5.", 10, true, 50 },
        { ".", 10, false, 0 },
        { "", 10, false, 0 },
        { "-", 10, false, 0 },
        { "-.", 10, false, 0 },
        { "1.2.3", 1000, false, 0 },
        { "1..2", 1000, false, 0 },
        { "1,5", 10, false, 0 },
        { "1e3", 1000, false, 0 },
        { "1.5e0", 1000, false, 0 },
        { "0.5 ", 10, false, 0 },
        { "0.-5", 10, false, 0 },
        { "nan", 10, false, 0 },
        { "inf", 10, false, 0 },
        { "7", 1, true, 7 },
        { "7.0", 1, true, 7 },
        { "7.5", 1, false, 0 },
        { "7.x", 1, false, 0 },
        { "9223372036854.775807", 1000000, true, INT64_MAX },
        { "9223372036854.775808", 1000000, false, 0 },
        { "-9223372036854.775808", 1000000, true, INT64_MIN },
        { "9223372036855", 1000000, false, 0 },
        { "99999999999999999999", 1000000, false, 0 },
        { "18446744073710", 1000000, false, 0 }, /* would wrap 64 bits */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int64_t value = 12345;
        bool ok = text_to_scaled(text_of(cases[i].text), cases[i].scale, &value);
        if (ok != cases[i].ok || value != (ok ? cases[i].value : 12345))
            fail_msg("'%s' x %lld: %d, %lld", cases[i].text, (long long)cases[i].scale, ok,
                     (long long)value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views),          cmocka_unit_test(trim),
        cmocka_unit_test(find),           cmocka_unit_test(copy),
        cmocka_unit_test(signed_numbers), cmocka_unit_test(unsigned_numbers),
        cmocka_unit_test(scaled_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
