/* Status and explanations: what they say about a campaign with one of everything. */
#include "scheduler/report/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/report/fixture.h"

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

static char *status_text(const struct status_options *options, bool json)
{
    char *data = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&data, &bytes);
    assert_non_null(to);
    enum err rc = json ? status_write_json(fixture.core, options, to, NULL)
                       : status_write(fixture.core, options, to, NULL);
    assert_int_equal(rc, ERR_OK);
    fclose(to);
    return data;
}

static void expect_words(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!strstr(text, words[i])) fail_msg("\"%s\" is missing in:\n%s", words[i], text);
}

static void test_status(void **state)
{
    (void)state;
    struct status_options options = { .now_ns = FIXTURE_START + 50 * NS_PER_MIN,
                                      .live = LIVE_YES,
                                      .state_folder = "state",
                                      .ended_runs = true };
    static const char *const words[] = {
        "first-light: running (2026-11-24 10:50:00Z)",
        "2 queued, 1 running, 1 held, 1 finished, 1 stopped, 1 failed",
        "spent 6.7050 + reserved 0.8000 of released 9.2717 of approved 10.0000 of 20.0000 USD",
        "slots  2 busy, 1 idle",
        "waits for bo for 9m 00s: tier:2",
        "penstock decide state late/mile go|no-go --as ada --reason TEXT",
        "pair     running        360/400   1.7310   2.0800      2.7867   74.6 %  9m 56s",
        "NaN/Inf",
    };
    char *text = status_text(&options, false);
    expect_words(text, words, ARRAY_COUNT(words));
    free(text);
    options.ended_runs = false;
    options.run_lines_max = 2;
    text = status_text(&options, false);
    assert_null(strstr(text, "brittle"));
    assert_non_null(strstr(text, "and 2 more runs"));
    free(text);
    options.live = LIVE_NO;
    text = status_text(&options, false);
    assert_non_null(strstr(text, "not running; run it again to go on"));
    free(text);
}

static void test_status_json(void **state)
{
    (void)state;
    struct status_options options = { .live = LIVE_UNKNOWN };
    static const char *const words[] = {
        "\"schema\": \"penstock.status\"",
        "\"version\": 1",
        "\"live\": null",
        "\"at\": \"2026-11-24T10:45:00.000000000Z\"",
        "\"spent_micros\": 6705003",
        "\"what\": \"late/mile\"",
        "\"what\": \"tier:2\"",
    };
    char *text = status_text(&options, true);
    expect_words(text, words, ARRAY_COUNT(words));
    free(text);
}

static char *explanation(const char *what)
{
    char *data = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&data, &bytes);
    assert_non_null(to);
    struct error error;
    enum err rc = explain_write(&fixture.model, fixture.core, text_of(what), to, &error);
    fclose(to);
    if (rc == ERR_OK) return data;
    free(data);
    assert_int_equal(rc, ERR_NOT_FOUND);
    return NULL;
}

/* What explain says of a window's GPU, over three lines. */
static const char gpu_meanwhile[] =
    "checked by pipe activity;\n  slowed by a power limit; driver error\n    its GPU "
    "meanwhile: tensor pipes 12.5 %, fp32 pipes 0.0 %, any kernel 100.0 %, 700 W, 1980 "
    "MHz,\n    held down by a power limit 100.0 %, held down by heat 0.0 %, XID "
    "79\n";

static void test_explain_runs(void **state)
{
    (void)state;
    static const struct {
        const char *what, *words[5];
    } cases[] = {
        { "base",
          { "run base: finished, done", "nothing: it is done", "at most 2.2000",
            "margin +0.1000" } },
        { "wide",
          { "stopped at a gate", "NO-GO by the rule \"rank\"", "rank 2 of 2",
            "up to 2.5000 nats", "margin -0.3000" } },
        { "pair",
          { "no gate is left", "GO by ada after 25m 00s, not signed", "attempt 3: placed" } },
        { "idle",
          { "waits for room", "it needs 1 slot of class cpu; 1 of 3", "guardrail",
            "11.0 %, bound 20.0 %", gpu_meanwhile } },
        { "late", { "waits for ada: penstock decide state late/mile", "never waved through" } },
        { "brittle", { "failed, incident", "state/runs/brittle/", "non-finite loss" } },
        { "later", { "its money waits for bo: penstock decide state tier:2" } },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char *text = explanation(cases[i].what);
        assert_non_null(text);
        for (size_t w = 0; w < 5 && cases[i].words[w]; w++)
            if (!strstr(text, cases[i].words[w]))
                fail_msg("\"%s\" is missing in:\n%s", cases[i].words[w], text);
        free(text);
    }
}

static void test_explain_gates(void **state)
{
    (void)state;
    char *text = explanation("early");
    assert_non_null(text);
    assert_non_null(strstr(text, "gate early of run base"));
    assert_non_null(strstr(text, "gate early of run late"));
    assert_null(strstr(text, "gate mile"));
    free(text);
    text = explanation("pair/scale-up");
    assert_non_null(text);
    assert_non_null(strstr(text, "gate scale-up of run pair, at step 300: GO"));
    assert_null(strstr(text, "of run base"));
    free(text);
}

static void test_explain_nothing(void **state)
{
    (void)state;
    static const char *const unknown[] = { "",  "nope", "pair/nope", "base/scale-up",
                                           "/", "pai",  "pair/" };
    for (size_t i = 0; i < ARRAY_COUNT(unknown); i++)
        assert_null(explanation(unknown[i]));
    struct error error;
    assert_int_equal(explain_write(&fixture.model, fixture.core, TEXT("nope"), stderr, &error),
                     ERR_NOT_FOUND);
    assert_string_equal(error.text,
                        "there is no run and no gate \"nope\"; there are base, wide, pair, "
                        "idle, late, brittle, later; gate early; gate mile; gate scale-up");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),          cmocka_unit_test(test_status_json),
        cmocka_unit_test(test_explain_runs),    cmocka_unit_test(test_explain_gates),
        cmocka_unit_test(test_explain_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
