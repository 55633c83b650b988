/* The bounded writer: what is written, and what is left when there was no room. */
#include "proto/base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void fills_to_the_last_byte(void **state)
{
    (void)state;
    char room[6];
    memset(room, 'z', sizeof room);
    struct writer writer = writer_of(room, 5);
    assert_string_equal(room, "");
    writer_string(&writer, "ab");
    writer_format(&writer, "%d", 12);
    assert_string_equal(room, "ab12");
    assert_false(writer.full);
    writer_text(&writer, (struct text){ NULL, 0 });
    writer_string(&writer, "");
    assert_false(writer.full);
    writer_string(&writer, "c");
    assert_true(writer.full);
    assert_string_equal(room, "ab12");
    assert_int_equal(writer.len, 4);
    assert_int_equal(room[5], 'z'); /* nothing beyond the room was touched */
}

static void is_cut_where_room_ends(void **state)
{
    (void)state;
    char room[6];
    struct writer by_text = writer_of(room, sizeof room);
    writer_string(&by_text, "abcdefgh");
    assert_string_equal(room, "abcde");
    assert_true(by_text.full);

    struct writer by_format = writer_of(room, sizeof room);
    writer_string(&by_format, "abc");
    writer_format(&by_format, "%s", "defgh");
    assert_string_equal(room, "abcde");
    assert_int_equal(by_format.len, 5);
    assert_true(by_format.full);
    writer_string(&by_format, "x"); /* full stays full, and the text as it is */
    assert_string_equal(room, "abcde");
    assert_true(by_format.full);

    struct writer exact = writer_of(room, sizeof room);
    writer_format(&exact, "%s", "abcde");
    assert_false(exact.full);

    struct writer none = writer_of(room, 1);
    writer_format(&none, "%s", "");
    assert_false(none.full);
    writer_format(&none, "%s", "a");
    assert_true(none.full);
    assert_string_equal(room, "");
}

static void durations(void **state)
{
    (void)state;
    const struct {
        int64_t ns;
        const char *text;
    } cases[] = {
        { 0, "0ms" },
        { 1, "0ms" },
        { 350 * NS_PER_MS, "350ms" },
        { NS_PER_S - 1, "999ms" },
        { NS_PER_S, "1.0s" },
        { 4250 * NS_PER_MS, "4.2s" },
        { NS_PER_MIN - 1, "59.9s" },
        { NS_PER_MIN, "1m 00s" },
        { 123 * NS_PER_S, "2m 03s" },
        { NS_PER_HOUR - 1, "59m 59s" },
        { NS_PER_HOUR + 5 * NS_PER_MIN, "1h 05m" },
        { 24 * NS_PER_HOUR - 1, "23h 59m" },
        { 76 * NS_PER_HOUR, "3d 04h" },
        { INT64_MAX, "106751d 23h" },
        { -350 * NS_PER_MS, "-350ms" },
        { -NS_PER_HOUR, "-1h 00m" },
        { INT64_MIN, "-106751d 23h" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char room[32];
        struct writer writer = writer_of(room, sizeof room);
        writer_duration(&writer, cases[i].ns);
        assert_string_equal(room, cases[i].text);
    }
}

static void utc_at_the_edges(void **state)
{
    (void)state;
    const struct {
        int64_t ns;
        const char *text;
    } cases[] = {
        { 0, "1970-01-01 00:00:00Z" },
        { NS_PER_S - 1, "1970-01-01 00:00:00Z" },
        { -1, "1969-12-31 23:59:59Z" },
        { -NS_PER_S, "1969-12-31 23:59:59Z" },
        { -NS_PER_S - 1, "1969-12-31 23:59:58Z" },
        { INT64_C(951782399) * NS_PER_S, "2000-02-28 23:59:59Z" },
        { INT64_C(951782400) * NS_PER_S, "2000-02-29 00:00:00Z" }, /* every 400 years */
        { INT64_C(4107542399) * NS_PER_S, "2100-02-28 23:59:59Z" },
        { INT64_C(4107542400) * NS_PER_S, "2100-03-01 00:00:00Z" }, /* not every 100 */
        { INT64_C(-2203977600) * NS_PER_S, "1900-02-28 00:00:00Z" },
        { INT64_C(-2203891200) * NS_PER_S, "1900-03-01 00:00:00Z" },
        { INT64_C(1795517335) * NS_PER_S, "2026-11-24 10:48:55Z" },
        { INT64_C(1735689599) * NS_PER_S, "2024-12-31 23:59:59Z" },
        { INT64_MAX, "2262-04-11 23:47:16Z" },
        { INT64_MIN, "1677-09-21 00:12:43Z" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char room[32];
        struct writer writer = writer_of(room, sizeof room);
        writer_utc(&writer, cases[i].ns);
        assert_string_equal(room, cases[i].text);
    }
}

/* Against the C library, every 31 hours and a bit over all of the range. */
static void utc_agrees_with_gmtime(void **state)
{
    (void)state;
    const int64_t stride_s = 111111 * 79;
    for (int64_t s = INT64_MIN / NS_PER_S; s < INT64_MAX / NS_PER_S - stride_s; s += stride_s) {
        char got[32], expect[32];
        struct writer writer = writer_of(got, sizeof got);
        writer_utc(&writer, s * NS_PER_S);
        time_t seconds = (time_t)s;
        struct tm tm;
        assert_non_null(gmtime_r(&seconds, &tm));
        assert_int_not_equal(strftime(expect, sizeof expect, "%Y-%m-%d %H:%M:%SZ", &tm), 0);
        assert_string_equal(got, expect);
    }
}

static void grouped(void **state)
{
    (void)state;
    const struct {
        int64_t value;
        const char *text;
    } cases[] = {
        { 0, "0" },
        { 999, "999" },
        { 1000, "1,000" },
        { 12345678, "12,345,678" },
        { 123456, "123,456" },
        { -1, "-1" },
        { -999, "-999" },
        { -1000, "-1,000" },
        { -123456, "-123,456" },
        { INT64_MAX, "9,223,372,036,854,775,807" },
        { INT64_MIN, "-9,223,372,036,854,775,808" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char room[32];
        struct writer writer = writer_of(room, sizeof room);
        writer_grouped(&writer, cases[i].value);
        assert_string_equal(room, cases[i].text);
    }
}

static void percents(void **state)
{
    (void)state;
    const struct {
        int64_t ppm;
        const char *text;
    } cases[] = {
        { 0, "0.0 %" },
        { 499, "0.0 %" },
        { 500, "0.1 %" },
        { 253000, "25.3 %" },
        { 253499, "25.3 %" },
        { 253500, "25.4 %" },
        { 999500, "100.0 %" },
        { 1000000, "100.0 %" },
        { INT32_MAX, "214748.4 %" },
        { INT64_MAX, "922337203685477.6 %" },
        { UTIL_UNKNOWN, "unknown" },
        { INT64_MIN, "unknown" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char room[32];
        struct writer writer = writer_of(room, sizeof room);
        writer_percent(&writer, cases[i].ppm);
        assert_string_equal(room, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_to_the_last_byte),
        cmocka_unit_test(is_cut_where_room_ends),
        cmocka_unit_test(durations),
        cmocka_unit_test(utc_at_the_edges),
        cmocka_unit_test(utc_agrees_with_gmtime),
        cmocka_unit_test(grouped),
        cmocka_unit_test(percents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
