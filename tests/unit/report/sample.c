/*
 * sample.c - writes sample reports and an event file into a folder, for the checks in Python:
 *     report_sample FOLDER
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scheduler/report/tfevents.h"
#include "tests/unit/report/fixture.h"

static const char *folder;

static void write_forms(const struct model *model, const char *name)
{
    static const char *const endings[REPORT_FORMAT_COUNT] = { "txt", "md", "html", "json" };
    for (int format = 0; format < REPORT_FORMAT_COUNT; format++) {
        char path[4096];
        struct writer writer = writer_of(path, sizeof path);
        writer_format(&writer, "%s/%s.%s", folder, name, endings[format]);
        FILE *to = fopen(path, "we");
        assert_non_null(to);
        assert_int_equal(report_write(model, (enum report_format)format, to, NULL), ERR_OK);
        assert_int_equal(fclose(to), 0);
    }
}

static const struct model_options at_fifty = { .now_ns = FIXTURE_START + 50 * NS_PER_MIN,
                                               .live = LIVE_YES };

static void sample_usual(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_begin(&fixture, &at_fifty, 16);
    fixture_campaign(&fixture, NULL);
    write_forms(&fixture.model, "usual");
    fixture_end(&fixture);
}

/* Everything that people and trainers may name or write tries to be mark-up, a script or a command. */
static void sample_hostile(void **state)
{
    (void)state;
    static const struct fixture_names names = {
        .campaign = "c</title><script>alert(1)</script>",
        .run = "r\"><img src=http://evil onerror=alert(2)>",
        .owner = "o'</td></table><svg onload=alert(3)>&amp;",
        .gate = "g|`x`</text></svg><iframe src=//evil>",
        .reason = "</p><style>*{display:none}</style> [x](javascript:alert(4)) \xE2\x80\xAE",
        .output =
            "\x1b]0;owned\x07\x1b[31mred\xff\xfe</pre><script src='https://evil'></script>\n",
    };
    struct fixture fixture;
    fixture_begin(&fixture, &at_fifty, 16);
    fixture_campaign(&fixture, &names);
    write_forms(&fixture.model, "hostile");
    fixture_end(&fixture);
}

static void sample_empty(void **state)
{
    (void)state;
    struct fixture fixture;
    struct model_options none = { 0 };
    fixture_begin(&fixture, &none, 4);
    fixture_finish(&fixture, 0);
    write_forms(&fixture.model, "empty");
    fixture_end(&fixture);
}

static void sample_many(void **state)
{
    (void)state;
    struct fixture fixture;
    struct model_options none = { 0 };
    fixture_begin(&fixture, &none, 60);
    fixture_many(&fixture, 60);
    write_forms(&fixture.model, "many");
    fixture_end(&fixture);
}

static void sample_events(void **state)
{
    (void)state;
    char path[4096];
    struct writer writer = writer_of(path, sizeof path);
    writer_format(&writer, "%s/events.out.tfevents.sample", folder);
    struct tfevents *file;
    assert_int_equal(tfevents_open(path, FIXTURE_START, &file, NULL), ERR_OK);
    for (uint64_t step = 0; step < 20; step++)
        assert_int_equal(tfevents_scalar(file, FIXTURE_START + (int64_t)step * NS_PER_S, step,
                                         "loss", 4.0 - 0.125 * (double)step, NULL),
                         ERR_OK);
    assert_int_equal(tfevents_close(file, NULL), ERR_OK);
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    folder = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sample_usual),  cmocka_unit_test(sample_hostile),
        cmocka_unit_test(sample_empty),  cmocka_unit_test(sample_many),
        cmocka_unit_test(sample_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
