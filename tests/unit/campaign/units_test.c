/* Durations, shares, numbers and names, both ways. */
#include <string.h>

#include "scheduler/campaign/units.h"
#include "tests/unit/campaign/load.h"

static void durations_are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
        const char *written;
    } good[] = {
        { "0", 0, "0s" },
        { "0s", 0, "0s" },
        { "500ms", 500 * NS_PER_MS, "500ms" },
        { "1000ms", NS_PER_S, "1s" },
        { "1.5s", 1500 * NS_PER_MS, "1500ms" },
        { "0.001s", NS_PER_MS, "1ms" },
        { "90s", 90 * NS_PER_S, "90s" },
        { "1m 30s", 90 * NS_PER_S, "90s" },
        { "1m30s", 90 * NS_PER_S, "90s" },
        { " 2 h ", 2 * NS_PER_HOUR, "2h" },
        { "1.25h", 75 * NS_PER_MIN, "75m" },
        { "1d 1h 1m 1s 1ms", 90061001 * NS_PER_MS, "90061001ms" },
        { "0.5d", 12 * NS_PER_HOUR, "12h" },
        { "106751d", 106751 * 24 * NS_PER_HOUR, "106751d" },
    };
    static const char *const bad[] = {
        "",
        "s",
        "60",
        "1min",
        "-1s",
        "+1s",
        "1s 1m",
        "1s 1s",
        "1.0001s",
        "1,5s",
        "1e3s",
        "1 s x",
        "1.2.3s",
        ".5s",
        "0.5ms",
        "106752d",
        "1h-1m",
        "1H",
        "99999999999999999999s",
        "1.0000001s",
        "1s1",
        "never",
    };
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        char buffer[64];
        int64_t ns = -1, again = -1;
        struct writer writer = writer_of(buffer, sizeof buffer);
        if (!duration_parse(text_of(good[i].text), &ns)) fail_msg("%s", good[i].text);
        assert_int_equal(ns, good[i].ns);
        duration_write(&writer, ns);
        assert_string_equal(buffer, good[i].written);
        assert_true(duration_parse(text_of(buffer), &again));
        assert_int_equal(again, ns);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        int64_t ns = 42;
        if (duration_parse(text_of(bad[i]), &ns)) fail_msg("%s", bad[i]);
        assert_int_equal(ns, 42);
    }
}

static void shares_are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ppm;
        const char *written;
    } good[] = {
        { "0%", 0, "0%" },           { "20%", 200000, "20%" },
        { "20 %", 200000, "20%" },   { "0.1%", 1000, "0.1%" },
        { "0.0001%", 1, "0.0001%" }, { "33.3333%", 333333, "33.3333%" },
        { "100%", PPM, "100%" },     { "12.50%", 125000, "12.5%" },
    };
    static const char *const bad[] = { "",     "%",  "20",   "0.2", "-1%", "1.00001%",
                                       "20%%", "a%", "2 0%", "+1%", ".5%" };
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        char buffer[64];
        int64_t ppm = -1;
        struct writer writer = writer_of(buffer, sizeof buffer);
        if (!share_parse(text_of(good[i].text), &ppm)) fail_msg("%s", good[i].text);
        assert_int_equal(ppm, good[i].ppm);
        share_write(&writer, ppm);
        assert_string_equal(buffer, good[i].written);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        int64_t ppm = 0;
        if (share_parse(text_of(bad[i]), &ppm)) fail_msg("%s", bad[i]);
    }
}

static void scaled_numbers_are_written_in_full(void **state)
{
    (void)state;
    static const struct {
        int64_t value;
        const char *written;
    } rows[] = {
        { 0, "0" },       { 2600000, "2.6" },      { -1, "-0.000001" },
        { 1000000, "1" }, { 1234567, "1.234567" }, { INT64_MIN, "-9223372036854.775808" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char buffer[64];
        struct writer writer = writer_of(buffer, sizeof buffer);
        scaled_write(&writer, rows[i].value, 1000000);
        assert_string_equal(buffer, rows[i].written);
    }
}

static void numbers_are_what_strtod_reads(void **state)
{
    (void)state;
    static const char *const good[] = { "1e-3", "0.001", "3", "-1", "+2.5E+10", ".5", "0" };
    static const char *const bad[] = {
        "",     "fast",
        "nan",  "inf",
        "0x10", "1e999",
        "1 2",  "1e",
        "e3",   "1.2.3",
        "--1",  " 1",
        "1f",   "0.00000000000000000000000000000000000000000000000000000000000001"
    };
    double value;
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        assert_true(real_parse(text_of(good[i]), &value));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        if (real_parse(text_of(bad[i]), &value)) fail_msg("%s", bad[i]);
    assert_true(real_parse(TEXT("1e-3"), &value));
    assert_true(value > 0.00099 && value < 0.00101);
}

static void names_are_plain_words(void **state)
{
    (void)state;
    char longest[NAME_MAX_BYTES + 1];
    memset(longest, 'n', sizeof longest);
    static const char *const good[] = { "a", "A-1_b.c", "0", "_x", "1e-3" };
    static const char *const bad[] = { "",    ".",   "..",       "-a",  ".a", "a b",
                                       "a/b", "a@b", "\xc3\xa9", "a\n", "a:b" };
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        assert_true(name_valid(text_of(good[i])));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(name_valid(text_of(bad[i])));
    assert_true(name_valid((struct text){ longest, NAME_MAX_BYTES - 1 }));
    assert_false(name_valid((struct text){ longest, NAME_MAX_BYTES }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_exact),
        cmocka_unit_test(shares_are_exact),
        cmocka_unit_test(scaled_numbers_are_written_in_full),
        cmocka_unit_test(numbers_are_what_strtod_reads),
        cmocka_unit_test(names_are_plain_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
