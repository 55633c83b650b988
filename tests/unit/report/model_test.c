#include "scheduler/report/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/unit/report/fixture.h"

enum { BASE, WIDE, PAIR, IDLE, LATE, BRITTLE, LATER };

static const struct model_options at_fifty = { .now_ns = FIXTURE_START + 50 * NS_PER_MIN,
                                               .live = LIVE_YES };

static void make(struct fixture *fixture, const struct model_options *options)
{
    fixture_begin(fixture, options, 16);
    fixture_campaign(fixture, NULL);
}

static bool has_gap(const struct model *model, enum gap_kind kind, uint32_t run)
{
    for (uint32_t i = 0; i < model->gap_count; i++)
        if (model->gaps[i].kind == kind && model->gaps[i].run == run) return true;
    return false;
}

/* Slot-seconds at 6.00 an hour, rounded up once: 1,666.67 micro-units a second. */
static void test_money(void **state)
{
    (void)state;
    struct fixture fixture;
    make(&fixture, &at_fifty);
    const struct model *model = &fixture.model;
    static const int64_t spent[] = { 1195000, 418334, 2786667, 903334, 1243334, 158334, 0 };
    int64_t sum = 0;
    for (uint32_t r = 0; r < model->run_count; r++) {
        assert_int_equal(model->runs[r].spent_micros, spent[r]);
        sum += spent[r];
    }
    const struct model_money *money = &model->money;
    assert_int_equal(money->spent_micros, sum);
    assert_int_equal(money->budget_micros, 20000000);
    assert_int_equal(money->approved_micros, 10000000);
    assert_int_equal(money->unspent_micros, 20000000 - sum);
    assert_int_equal(money->reserved_micros, 800000);
    assert_int_equal(money->finished_micros, spent[BASE]);
    assert_int_equal(money->stopped_micros, spent[WIDE]);
    assert_int_equal(money->failed_micros, spent[BRITTLE]);
    assert_int_equal(money->open_micros, spent[PAIR] + spent[IDLE] + spent[LATE]);
    assert_int_equal(model->runs[BASE].mtok_micros, 607809); /* 1.195 for 240 x 8192 tokens */
    assert_int_equal(model->runs[LATER].mtok_micros, -1);
    assert_int_equal(money->period_micros, sum);
    fixture_end(&fixture);
}

/* Work after the checkpoint that the run went on from, and all of a run that failed without one. */
static void test_lost(void **state)
{
    (void)state;
    struct fixture fixture;
    make(&fixture, &at_fifty);
    const struct model *model = &fixture.model;
    static const int64_t lost[] = { 0, 0, 210000 + 13333, 603334, 458333, 158334, 0 };
    for (uint32_t r = 0; r < model->run_count; r++)
        assert_int_equal(model->runs[r].lost_micros, lost[r]);
    assert_int_equal(model->money.lost_micros, 1443334);
    fixture_end(&fixture);
}

static void test_times(void **state)
{
    (void)state;
    struct fixture fixture;
    make(&fixture, &at_fifty);
    const struct model_run *runs = fixture.model.runs;
    assert_int_equal(runs[PAIR].queue_ns, 368 * NS_PER_S);
    assert_int_equal(runs[PAIR].owner_ns, 1496 * NS_PER_S);
    assert_int_equal(runs[PAIR].slot_ns, 2 * (207 + 330 + 599) * NS_PER_S);
    assert_int_equal(runs[IDLE].parked_ns, 595 * NS_PER_S);
    assert_int_equal(runs[IDLE].queue_ns, (3 + 1 + 29 * 60) * NS_PER_S);
    assert_int_equal(runs[LATE].owner_ns, (25 * 60 + 32) * NS_PER_S); /* goes on */
    assert_int_equal(runs[LATER].queue_ns, 50 * NS_PER_MIN);
    assert_int_equal(runs[LATER].first_start_ns, 0);
    assert_int_equal(runs[BASE].first_start_ns, FIXTURE_START + 5 * NS_PER_S);
    assert_int_equal(runs[IDLE].windows, 5);
    assert_int_equal(runs[IDLE].windows_unknown, 3);
    assert_int_equal(runs[IDLE].util_ppm, 115000);
    fixture_end(&fixture);
}

static void test_incidents(void **state)
{
    (void)state;
    struct fixture fixture;
    make(&fixture, &at_fifty);
    const struct model *model = &fixture.model;
    static const struct {
        uint32_t run;
        enum recovery recovery;
        int64_t took_ns;
    } wanted[] = { { PAIR, RECOVERY_RESTARTED, 10 * NS_PER_S },
                   { LATE, RECOVERY_RESTARTED, 5 * NS_PER_S },
                   { IDLE, RECOVERY_OPEN, 0 },
                   { BRITTLE, RECOVERY_ENDED, 5 * NS_PER_S } };
    assert_int_equal(model->incident_count, ARRAY_COUNT(wanted));
    for (uint32_t i = 0; i < model->incident_count; i++) {
        const struct model_incident *incident = &model->incidents[i];
        assert_int_equal(incident->run, wanted[i].run);
        assert_int_equal(incident->recovery, wanted[i].recovery);
        if (incident->recovery == RECOVERY_OPEN)
            assert_int_equal(incident->closed_ns, 0);
        else
            assert_int_equal(incident->closed_ns - incident->at_ns, wanted[i].took_ns);
    }
    assert_int_equal(model->recovery_mean_ns, 7500 * NS_PER_MS);
    assert_int_equal(model->recovery_max_ns, 10 * NS_PER_S);
    fixture_end(&fixture);
}

static void test_decisions(void **state)
{
    (void)state;
    struct fixture fixture;
    make(&fixture, &at_fifty);
    const struct model *model = &fixture.model;
    assert_int_equal(model->decision_count, 10);
    assert_int_equal(model->decisions[1].verdict, VERDICT_NO_GO);
    assert_int_equal(model->decisions[1].margin_micro, -300000);
    assert_int_equal(model->decisions[2].margin_micro, 100000);
    assert_int_equal(model->decisions[0].margin_micro,
                     LOSS_UNKNOWN); /* nothing to compare with */
    assert_int_equal(model->decisions[5].answer, 8);
    assert_int_equal(model->decisions[7].answer, NO_INDEX);
    assert_true(model->decisions[8].by_owner);
    assert_string_equal(model->decisions[8].owner, "ada");
    assert_string_equal(model->decisions[8].role, "research");
    assert_int_equal(model->decision_mean_ns, 25 * NS_PER_MIN);
    assert_int_equal(model->wait_count, 2);
    assert_string_equal(model->waits[0].command,
                        "penstock decide STATE tier:2 go|no-go --as bo --reason TEXT");
    assert_string_equal(model->waits[1].command,
                        "penstock decide STATE late/mile go|no-go --as ada --reason TEXT");
    fixture_end(&fixture);
}

static void test_slots(void **state)
{
    (void)state;
    struct fixture fixture;
    make(&fixture, &at_fifty);
    const struct model *model = &fixture.model;
    assert_int_equal(model->worker_count, 3);
    for (uint32_t w = 0; w < 3; w++) {
        const struct model_worker *worker = &model->workers[w];
        assert_int_equal(worker->rank, w + 1);
        /* The first life is seen from 0:02 to its last record at 18:00, the second from 20:03. */
        assert_int_equal(worker->present_ns, (18 * 60 - 2 + 30 * 60 - 3) * NS_PER_S);
        assert_int_equal(worker->busy_ns + worker->idle_ns, worker->present_ns);
        assert_int_equal(worker->lives, 2);
    }
    /* base 0:03-12:00; late 12:01-18:00 of the first life, 20:03-20:05 and 20:06-24:28 of the second */
    assert_int_equal(model->workers[0].busy_ns, (717 + 359 + 2 + 262) * NS_PER_S);
    fixture_end(&fixture);
}

static void test_gaps(void **state)
{
    (void)state;
    struct fixture fixture;
    make(&fixture, &at_fifty);
    const struct model *model = &fixture.model;
    assert_true(has_gap(model, GAP_OPEN_LIFE, NO_INDEX));
    assert_true(has_gap(model, GAP_NO_PEAK, NO_INDEX));
    assert_true(has_gap(model, GAP_UNKNOWN_UTIL, IDLE));
    assert_true(has_gap(model, GAP_NO_VAL_LOSS, IDLE));
    assert_true(has_gap(model, GAP_CHARGED, IDLE));
    assert_true(has_gap(model, GAP_UNSIGNED, PAIR));
    assert_true(has_gap(model, GAP_DEVICE, IDLE)); /* for two flags of one window */
    assert_false(has_gap(model, GAP_DEVICE, BASE));
    assert_false(has_gap(model, GAP_NO_VAL_LOSS, LATER)); /* it never ran */
    assert_false(has_gap(model, GAP_UNKNOWN_UTIL, BASE));
    assert_false(has_gap(model, GAP_TORN_TAIL, NO_INDEX));
    assert_int_equal(model->gap_count, 9);
    fixture_end(&fixture);
}

static void test_period(void **state)
{
    (void)state;
    struct fixture fixture;
    struct model_options options = at_fifty;
    options.since_ns = FIXTURE_START + 20 * NS_PER_MIN;
    make(&fixture, &options);
    const struct model *model = &fixture.model;
    assert_int_equal(model->decision_count, 3);
    assert_int_equal(model->decisions_total, 10);
    assert_int_equal(model->decisions[0].answer, NO_INDEX);
    assert_int_equal(model->incident_count, 3);
    assert_int_equal(model->incidents_total, 4);
    assert_int_equal(model->guard_count, 0);
    /* settled until then: base, wide, idle 1, pair 1 and 2; late's is settled at 20:05 */
    assert_int_equal(model->money.period_micros,
                     model->money.spent_micros - (1195000 + 418334 + 603334 + 1790000));
    fixture_end(&fixture);
}

static void test_answer_before_the_period(void **state)
{
    (void)state;
    struct fixture fixture;
    struct model_options options = at_fifty;
    options.since_ns =
        FIXTURE_START + 15 * NS_PER_MIN; /* the question is the first decision kept */
    make(&fixture, &options);
    const struct model *model = &fixture.model;
    assert_int_equal(model->decisions[0].verdict, VERDICT_HOLD);
    assert_int_equal(model->decisions[0].answer, 3);
    assert_true(model->decisions[3].by_owner);
    fixture_end(&fixture);
}

static void test_phases(void **state)
{
    (void)state;
    struct fixture fixture;
    make(&fixture, &at_fifty);
    assert_int_equal(fixture.model.phase, PHASE_RUNNING);
    assert_string_equal(
        fixture.model.headline,
        "Running: of 7 runs, 1 finished, 1 stopped, 1 failed, 1 running, 1 held and 2 "
        "queued; spent 6.7050 of a budget of 20.0000 USD. Waits for ada: gate mile of "
        "run late (26m 00s), and 1 other decision.");
    fixture_end(&fixture);
    struct model_options dead = { .now_ns = FIXTURE_START + 90 * NS_PER_MIN, .live = LIVE_NO };
    make(&fixture, &dead);
    assert_int_equal(fixture.model.phase, PHASE_INTERRUPTED);
    /* Nothing is idle or queued after the coordinator's last record; people can still answer. */
    assert_int_equal(fixture.model.now_ns, FIXTURE_START + 45 * NS_PER_MIN);
    assert_int_equal(fixture.model.runs[LATER].queue_ns, 45 * NS_PER_MIN);
    assert_int_equal(fixture.model.runs[LATE].owner_ns, (65 * 60 + 32) * NS_PER_S);
    fixture_end(&fixture);
    fixture_begin(&fixture, &dead, 4);
    fixture_many(&fixture, 3);
    assert_int_equal(fixture.model.phase, PHASE_DONE);
    assert_string_equal(
        fixture.model.headline,
        "Done: of 3 runs, 3 finished; spent 3.3000 of a budget of 30.0000 EUR.");
    assert_int_equal(fixture.model.gap_count, 3); /* no held-out losses */
    fixture_end(&fixture);
}

static void test_closed_phases(void **state)
{
    (void)state;
    static const struct {
        int32_t exit_status;
        enum phase phase;
    } cases[] = { { 75, PHASE_SUSPENDED }, { 4, PHASE_WAITS } };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct fixture fixture;
        struct record closed = { .kind = RECORD_CLOSED, .as.closed = { cases[i].exit_status } };
        struct model_options options = { .live = LIVE_NO };
        fixture_begin(&fixture, &options, 16);
        fixture_campaign_open(&fixture, NULL);
        fixture_emit(&fixture, &closed);
        fixture_finish(&fixture, 12);
        assert_int_equal(fixture.model.phase, cases[i].phase);
        assert_true(has_gap(&fixture.model, GAP_TORN_TAIL, NO_INDEX));
        fixture_end(&fixture);
    }
}

static void test_short_run(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_begin(&fixture, &at_fifty, 16);
    fixture_short(&fixture);
    const struct model_run *run = &fixture.model.runs[BASE];
    assert_true(has_gap(&fixture.model, GAP_UNKNOWN_UTIL, BASE));
    assert_false(has_gap(&fixture.model, GAP_UNKNOWN_UTIL, WIDE)); /* it never ran */
    assert_int_equal(fixture.model.util_ppm, UTIL_UNKNOWN);
    assert_int_equal(run->point_count,
                     2); /* the gate, then what the first member's end tells */
    assert_int_equal(run->points[1].step, 120);
    assert_int_equal(run->points[1].loss_micro, 2200000);
    assert_int_equal(run->lost_micros, 0); /* a gate's stop keeps its checkpoint */
    fixture_end(&fixture);
}

static void test_empty(void **state)
{
    (void)state;
    struct fixture fixture;
    struct model_options options = { 0 };
    fixture_begin(&fixture, &options, 4);
    fixture_finish(&fixture, 0);
    assert_int_equal(fixture.model.phase, PHASE_EMPTY);
    assert_string_equal(fixture.model.headline, "Nothing has been recorded yet.");
    for (int format = 0; format < REPORT_FORMAT_COUNT; format++) {
        char *text = fixture_render(&fixture.model, (enum report_format)format, NULL);
        assert_non_null(strstr(text, "Nothing has been recorded yet"));
        free(text);
    }
    fixture_end(&fixture);
}

/* A long campaign must stay usable: 2,000 runs in all four forms in well under two seconds each. */
static void test_many(void **state)
{
    (void)state;
    struct fixture fixture;
    struct model_options options = { 0 };
    fixture_begin(&fixture, &options, 2000);
    fixture_many(&fixture, 2000);
    assert_true(fixture.model.spend_count < 4096);
    for (int format = 0; format < REPORT_FORMAT_COUNT; format++) {
        struct timespec from, to;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        free(fixture_render(&fixture.model, (enum report_format)format, NULL));
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        assert_true((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 <
                    2000);
    }
    fixture_end(&fixture);
}

/* Every enumeration's names are there and differ. */
static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < PHASE_COUNT; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(phase_name((enum phase)i), phase_name((enum phase)j));
    for (int i = 0; i < GAP_COUNT; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(gap_name((enum gap_kind)i), gap_name((enum gap_kind)j));
    assert_string_equal(phase_name(PHASE_COUNT), "?");
    assert_int_equal(report_format_of(TEXT("md")), REPORT_MARKDOWN);
    assert_int_equal(report_format_of(TEXT("pdf")), REPORT_FORMAT_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_money),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_incidents),
        cmocka_unit_test(test_decisions),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_period),
        cmocka_unit_test(test_answer_before_the_period),
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_closed_phases),
        cmocka_unit_test(test_short_run),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
