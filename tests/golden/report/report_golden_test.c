/*
 * The review report of a fixed campaign, byte by byte, in its four forms. PENSTOCK_UPDATE_GOLDEN=1 in the
 * environment writes the files anew; the difference is then reviewed like code.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/report/fixture.h"

static const char *const files[REPORT_FORMAT_COUNT] = {
    [REPORT_TEXT] = "tests/golden/report/usual.txt",
    [REPORT_MARKDOWN] = "tests/golden/report/usual.md",
    [REPORT_HTML] = "tests/golden/report/usual.html",
    [REPORT_JSON] = "tests/golden/report/usual.json",
};

static struct fixture fixture;

static int set_up(void **state)
{
    (void)state;
    static const struct model_options options = { .now_ns = FIXTURE_START + 50 * NS_PER_MIN,
                                                  .live = LIVE_YES,
                                                  .state_folder = "state" };
    fixture_begin(&fixture, &options, 16);
    fixture_campaign(&fixture, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

static void update(const char *path, const char *text, size_t bytes)
{
    FILE *to = fopen(path, "wbe");
    assert_non_null(to);
    assert_int_equal(fwrite(text, 1, bytes, to), bytes);
    assert_int_equal(fclose(to), 0);
}

/* Names the first line that differs. */
static void compare(const char *path, const char *text, size_t bytes)
{
    FILE *from = fopen(path, "rbe");
    if (!from) fail_msg("%s is missing; run with PENSTOCK_UPDATE_GOLDEN=1", path);
    size_t line = 1;
    for (size_t i = 0; i <= bytes; i++) {
        int wanted = fgetc(from);
        int got = i < bytes ? (unsigned char)text[i] : EOF;
        if (wanted != got) {
            fclose(from);
            size_t begin = i, end = i;
            while (begin > 0 && text[begin - 1] != '\n')
                begin--;
            while (end < bytes && text[end] != '\n')
                end++;
            fail_msg("%s:%zu differs at column %zu; now it is\n%.*s", path, line, i - begin + 1,
                     (int)(end - begin), text + begin);
        }
        line += got == '\n';
    }
    fclose(from);
}

static void check_form(enum report_format format)
{
    size_t bytes;
    char *text = fixture_render(&fixture.model, format, &bytes);
    const char *wish = getenv("PENSTOCK_UPDATE_GOLDEN");
    if (wish && strcmp(wish, "1") == 0)
        update(files[format], text, bytes);
    else
        compare(files[format], text, bytes);
    free(text);
}

static void test_text(void **state)
{
    (void)state;
    check_form(REPORT_TEXT);
}

static void test_markdown(void **state)
{
    (void)state;
    check_form(REPORT_MARKDOWN);
}

static void test_html(void **state)
{
    (void)state;
    check_form(REPORT_HTML);
}

static void test_json(void **state)
{
    (void)state;
    check_form(REPORT_JSON);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_markdown),
        cmocka_unit_test(test_html),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
