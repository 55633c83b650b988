#include "scheduler/report/out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef void (*put_fn)(FILE *to, struct text text);

static void expect(put_fn put, struct text in, const char *out)
{
    char *data = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&data, &bytes);
    assert_non_null(to);
    put(to, in);
    fclose(to);
    assert_string_equal(data, out);
    free(data);
}

static void test_money(void **state)
{
    (void)state;
    struct currency cents = currency_of("USD", 100000000), four = currency_of("EUR", 1000000);
    struct currency six = currency_of("", 999999);
    assert_int_equal(cents.digits, 2);
    assert_int_equal(four.digits, 4);
    assert_int_equal(six.digits, 6);
    assert_string_equal(word_money(12345000, &cents).text, "12.35 USD");
    assert_string_equal(word_money(12344999, &cents).text, "12.34 USD");
    assert_string_equal(word_money(-12345000, &cents).text, "-12.35 USD");
    assert_string_equal(word_money(-4999, &cents).text, "0.00 USD");
    assert_string_equal(word_money(0, &cents).text, "0.00 USD");
    assert_string_equal(word_money(999995000, &cents).text, "1,000.00 USD");
    assert_string_equal(word_amount(1234567, &four).text, "1.2346");
    assert_string_equal(word_money(1234567, &six).text, "1.234567");
    assert_string_equal(word_money(INT64_MAX, &six).text, "9,223,372,036,854.775807");
    assert_string_equal(word_exact(12300000, "USD").text, "12.30 USD");
}

static void test_words(void **state)
{
    (void)state;
    assert_string_equal(word_loss(2310300).text, "2.3103");
    assert_string_equal(word_loss(2310350).text, "2.3104");
    assert_string_equal(word_loss(LOSS_UNKNOWN).text, "unknown");
    assert_string_equal(word_loss(LOSS_NONFINITE).text, "not finite");
    assert_string_equal(word_signed_loss(100000).text, "+0.1000");
    assert_string_equal(word_signed_loss(-100000).text, "-0.1000");
    assert_string_equal(word_plural(1, "run", "runs").text, "1 run");
    assert_string_equal(word_plural(0, "run", "runs").text, "0 runs");
    assert_string_equal(word_plural(1200, "run", "runs").text, "1,200 runs");
    assert_string_equal(word_short(9999).text, "9999");
    assert_string_equal(word_short(10000).text, "10.0 k");
    assert_string_equal(word_short(999999).text, "999.9 k");
    assert_string_equal(word_short(123456789).text, "123.4 M");
    assert_string_equal(word_short(UINT64_MAX).text, "18446744.0 T");
    assert_string_equal(word_duration(TIME_NEVER).text, "never");
    assert_string_equal(word_percent(-1).text, "unknown");
}

static void test_times(void **state)
{
    (void)state;
    const int64_t at = INT64_C(1795514400) * NS_PER_S;
    assert_string_equal(word_utc(at).text, "2026-11-24 10:00:00Z");
    assert_string_equal(word_rfc3339(at + 123456789).text, "2026-11-24T10:00:00.123456789Z");
    assert_string_equal(word_minute(at).text, "11-24 10:00");
    assert_string_equal(word_clock(at).text, "10:00:00");
    assert_string_equal(word_rfc3339(0).text, "1970-01-01T00:00:00.000000000Z");
    assert_string_equal(word_rfc3339(-1).text, "1969-12-31T23:59:59.999999999Z");
}

static void test_scale(void **state)
{
    (void)state;
    assert_int_equal(scale_floor(7, 3, 2), 10);
    assert_int_equal(scale_ceil(7, 3, 2), 11);
    assert_int_equal(scale_floor(INT64_MAX, INT64_MAX, INT64_MAX), INT64_MAX);
    assert_int_equal(scale_floor(INT64_MAX, 2, 1), INT64_MAX); /* held */
    assert_int_equal(scale_ceil(0, 5, 3), 0);
}

static void test_runes(void **state)
{
    (void)state;
    const struct {
        const char *bytes;
        uint32_t rune;
        size_t used;
    } cases[] = {
        { "a", 'a', 1 },
        { "\xC3\xA9", 0xE9, 2 },
        { "\xE2\x82\xAC", 0x20AC, 3 },
        { "\xF0\x9F\x98\x80", 0x1F600, 4 },
        { "\xC0\xAF", 0xFFFD, 1 },         /* overlong */
        { "\xE0\x80\xAF", 0xFFFD, 1 },     /* overlong */
        { "\xED\xA0\x80", 0xFFFD, 1 },     /* surrogate */
        { "\xF4\x90\x80\x80", 0xFFFD, 1 }, /* above U+10FFFF */
        { "\xE2\x82", 0xFFFD, 1 },         /* cut */
        { "\xFF", 0xFFFD, 1 },
        { "\x80", 0xFFFD, 1 },
        { "\xC3(", 0xFFFD, 1 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct text text = text_of(cases[i].bytes);
        size_t before = text.len;
        assert_int_equal(text_next_rune(&text), cases[i].rune);
        assert_int_equal(before - text.len, cases[i].used);
    }
    assert_int_equal(text_columns(TEXT("a\xE2\x82\xAC\xFF")), 3);
}

#define BAD "\xEF\xBF\xBD" /* U+FFFD */

static void test_plain(void **state)
{
    (void)state;
    expect(out_plain, TEXT("caf\xC3\xA9 <b>"), "caf\xC3\xA9 <b>");
    expect(out_plain, TEXT("\x1b[31mred\x07\n\tend\r"), BAD "[31mred" BAD "  end ");
    expect(out_plain,
           TEXT("a\xE2\x80\xAE"
                "b"),
           "a" BAD "b"); /* right-to-left override */
    expect(out_plain,
           TEXT("\xC2\x9B"
                "2J"),
           BAD "2J"); /* C1 control sequence */
    expect(out_plain, TEXT("a\0b"), "a" BAD "b");
}

static void test_html(void **state)
{
    (void)state;
    expect(out_html, TEXT("<script>alert('x')&\"</script>"),
           "&lt;script&gt;alert(&#39;x&#39;)&amp;&quot;&lt;/script&gt;");
    expect(out_html, TEXT("\xFF\x00"), BAD BAD);
    expect(out_html, TEXT("+ADw-script+AD4-"), "+ADw-script+AD4-");
}

static void test_markdown(void **state)
{
    (void)state;
    expect(out_markdown, TEXT("a|b*c*_d_`e`<f>&[g](h)\n#"),
           "a\\|b\\*c\\*\\_d\\_\\`e\\`&lt;f&gt;&amp;\\[g\\](h) \\#");
}

static void test_json_text(void **state)
{
    (void)state;
    expect(out_json, TEXT("a\"b\\c\n\t\x01\x7f"), "\"a\\\"b\\\\c\\n\\t\\u0001\\u007f\"");
    expect(out_json, TEXT("\xFFz\xC3\xA9"), "\"" BAD "z\xC3\xA9\"");
    expect(out_json, TEXT(""), "\"\"");
}

static void test_csv(void **state)
{
    (void)state;
    expect(out_csv, TEXT("plain"), "plain");
    expect(out_csv, TEXT("a,b"), "\"a,b\"");
    expect(out_csv, TEXT("say \"hi\"\n"), "\"say \"\"hi\"\"\n\"");
    expect(out_csv, TEXT("=1+2"), "\"'=1+2\""); /* a formula for spreadsheets */
    expect(out_csv, TEXT("@SUM(A1)"), "\"'@SUM(A1)\"");
    expect(out_csv, TEXT("-12.5"), "-12.5"); /* but a number is a number */
    expect(out_csv, TEXT(""), "");
}

static void put_seven(FILE *to, struct text text)
{
    out_cell(to, text, 7);
}

static void put_seven_right(FILE *to, struct text text)
{
    out_cell_right(to, text, 7);
}

static void put_wrapped(FILE *to, struct text text)
{
    out_wrapped(to, text, 2, 12);
}

static void put_item(FILE *to, struct text text)
{
    out_item(to, "  - ", text, 12);
}

static void test_columns(void **state)
{
    (void)state;
    expect(put_seven, TEXT("abc"), "abc    ");
    expect(put_seven, TEXT("abcdefg"), "abcdefg");
    expect(put_seven, TEXT("abcdefgh"), "abcdef\xE2\x80\xA6");
    expect(put_seven_right, TEXT("abc"), "    abc");
    expect(put_seven, TEXT("\xC3\xA9"), "\xC3\xA9      ");
    expect(put_wrapped, TEXT("one two three four"), "  one two\n  three four\n");
    expect(put_wrapped, TEXT("averylongwordindeed x"), "  averylongwordindeed\n  x\n");
    expect(put_wrapped, TEXT(""), "\n");
    expect(put_item, TEXT("one two three"), "  - one two\n    three\n");
}

static void test_shell(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        { "lr-3e-4/half", "lr-3e-4/half" },
        { "", "''" },
        { "a b", "'a b'" },
        { "o'neill", "'o'\\''neill'" },
        { "$(reboot)", "'$(reboot)'" },
        { "-rf", "'-rf'" },
        { "a;b", "'a;b'" },
        { "tier:2", "tier:2" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char text[64];
        struct writer writer = writer_of(text, sizeof text);
        writer_shell(&writer, text_of(cases[i].in));
        assert_string_equal(text, cases[i].out);
    }
}

static void test_failed_stream(void **state)
{
    (void)state;
    struct error error = { ERR_OK, 0, "" };
    FILE *full = fopen("/dev/full", "we");
    if (!full) skip();
    fputs("something", full);
    assert_int_equal(out_close(full, "the report", &error), ERR_NO_SPACE);
    assert_non_null(strstr(error.text, "the report"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_money),     cmocka_unit_test(test_words),
        cmocka_unit_test(test_times),     cmocka_unit_test(test_scale),
        cmocka_unit_test(test_runes),     cmocka_unit_test(test_plain),
        cmocka_unit_test(test_html),      cmocka_unit_test(test_markdown),
        cmocka_unit_test(test_json_text), cmocka_unit_test(test_csv),
        cmocka_unit_test(test_columns),   cmocka_unit_test(test_failed_stream),
        cmocka_unit_test(test_shell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
