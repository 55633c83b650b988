/* The effective policy is a campaign file of the same campaign. */
#include <stdlib.h>
#include <string.h>

#include "scheduler/campaign/internal.h"
#include "tests/unit/campaign/load.h"

static void round_trip(struct campaign *c)
{
    struct campaign again, third;
    struct text text = campaign_effective(c);
    load_good(text.data, &again);
    assert_same_campaign(c, &again);
    struct text text_again = campaign_effective(&again);
    assert_string_equal(text.data, text_again.data);
    load_good(text_again.data, &third);
    assert_same_campaign(c, &third);
    campaign_fini(&third);
    campaign_fini(&again);
}

static void files_come_back_the_same(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "tests/unit/campaign/full.yaml",
        "deploy/examples/first.yaml",
        "deploy/examples/command.yaml",
        "deploy/examples/reference.yaml",
    };
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        struct campaign c;
        struct error error = { .code = ERR_OK };
        if (campaign_load(paths[i], "penstock-train", &c, &error) != ERR_OK)
            fail_msg("%s", error.text);
        round_trip(&c);
        campaign_fini(&c);
    }
}

static void short_texts_come_back_the_same(void **state)
{
    (void)state;
    static const char *const texts[] = {
        HEAD "runs: [{name: a, budget: 1 USD, data: t.txt}]\n",
        HEAD "runbook_defaults: false\nruns: [{name: a, budget: 1 USD, data: t.txt}]\n",
        HEAD "timing: {lease: 1001ms, heartbeat: 11ms, stop_grace: 1h, clock_error: 0.0001%}\n"
             "runs: [{name: a, budget: 10 USD, data: t.txt}]\n",
        HEAD
        "gates:\n  - {name: t, at: {tokens: [1, 2, 3]}, rule: sign-off, releases: 33.3333%}\n"
        "  - {name: u, at: {tokens: 900}, rule: {milestone: {loss: -0.000001}}}\n"
        "runs: [{name: a, budget: 1.000001 USD, data: t.txt}]\n",
    };
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct campaign c;
        load_good(texts[i], &c);
        round_trip(&c);
        campaign_fini(&c);
    }
}

/* Much longer than the first room that the writer is given. */
static void a_long_campaign_comes_back_the_same(void **state)
{
    (void)state;
    struct campaign c;
    load_good(HEAD
              "sweep:\n  name: \"r{env.A}-{env.B}\"\n  budget: 1 USD\n  command: [\"true\"]\n"
              "  grid:\n    env.A: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]\n"
              "    env.B: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]\n",
              &c);
    assert_int_equal(c.run_count, 288);
    round_trip(&c);
    campaign_fini(&c);
}

static void nothing_is_left_to_defaults(void **state)
{
    (void)state;
    struct campaign c;
    load_good(HEAD "runs: [{name: a, budget: 1 USD, data: t.txt}]\n", &c);
    struct text text = campaign_effective(&c);
    static const char *const words[] = {
        "currency: USD\n",
        "approve: auto}",
        "policy: fifo\n",
        "backfill: true\n",
        "lease: 1m\n",
        "stop_grace: 30s\n",
        "worker_timeout: 30s\n",
        "clock_error: 0.1%\n",
        "floor: 20%\n",
        "start_warn: [1h, 105m]\n",
        "runbook_defaults: false",
        "incident: coordinator_lost\n",
        "lr: 1e-3",
        "class: any\n",
        "threads: 0\n",
    };
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (!strstr(text.data, words[i]))
            fail_msg("`%s` is not in the effective policy", words[i]);
    campaign_fini(&c);
}

static void text_is_quoted_so_that_yaml_gives_it_back(void **state)
{
    (void)state;
    static const struct {
        const char *text, *quoted;
    } rows[] = {
        { "", "\"\"" },
        { "plain", "\"plain\"" },
        { "a\"b\\c", "\"a\\\"b\\\\c\"" },
        { "a\nb\tc\x01", "\"a\\nb\\u0009c\\u0001\"" },
        { "\x7f", "\"\\u007F\"" },
        { "\xc2\x85", "\"\\u0085\"" },
        { "\xe2\x80\xa8", "\"\\u2028\"" },
        { "\xef\xbb\xbf", "\"\\uFEFF\"" },
        { "\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\"" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char buffer[64];
        struct writer writer = writer_of(buffer, sizeof buffer);
        quoted_write(&writer, rows[i].text);
        assert_string_equal(buffer, rows[i].quoted);
    }
}

static void text_is_known_to_be_utf8_or_not(void **state)
{
    (void)state;
    static const char *const good[] = { "", "a", "\xc3\xa9", "\xe2\x82\xac",
                                        "\xf4\x8f\xbf\xbf" };
    static const char *const bad[] = {
        "\x80",
        "\xff",
        "\xc3",
        "\xc0\xaf",
        "\xe0\x80\xaf",
        "\xed\xa0\x80",
        "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80",
        "\xe2\x82",
        "a\xc3(",
    };
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        assert_true(utf8_valid(good[i]));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(utf8_valid(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_come_back_the_same),
        cmocka_unit_test(short_texts_come_back_the_same),
        cmocka_unit_test(a_long_campaign_comes_back_the_same),
        cmocka_unit_test(nothing_is_left_to_defaults),
        cmocka_unit_test(text_is_quoted_so_that_yaml_gives_it_back),
        cmocka_unit_test(text_is_known_to_be_utf8_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
