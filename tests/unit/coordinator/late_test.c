/* Whom a gang waited for: by what its members' heartbeats said, else by what NCCL's RAS said, else nobody. */
#include "scheduler/coordinator/late.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { WORKERS = 12 };
#define T0 (INT64_C(1700000000) * NS_PER_S)

static struct core *core;
static struct late late;

static void drop_record(void *context, const struct record *record)
{
    (void)context;
    (void)record;
}

static void drop_action(void *context, const struct action *action)
{
    (void)context;
    (void)action;
}

static void step(struct event event)
{
    struct output output = { NULL, drop_record, drop_action };
    event.now_ns = T0;
    core_step(core, &event, &output);
}

/* A gang of `ranks` on workers 1 and up. */
static void set_scene(uint32_t ranks)
{
    struct campaign_spec spec = { .name = "scene",
                                  .currency = "USD",
                                  .budget_micros = 1000000000,
                                  .tier_count = 1,
                                  .tiers = { { 1000000000, NO_INDEX } },
                                  .owner_count = 1,
                                  .owners = { { .name = "ada" } },
                                  .class_count = 1,
                                  .classes = { { "cpu", 1000000 } },
                                  .heartbeat_ns = NS_PER_S,
                                  .lease_ns = 60 * NS_PER_S,
                                  .stop_grace_ns = NS_PER_S,
                                  .worker_timeout_ns = 10 * NS_PER_S,
                                  .guard_count = 1,
                                  .guards = { { .window_ns = NS_PER_MIN } } };
    struct run_spec run = { .name = "gang",
                            .ranks = ranks,
                            .class_index = NO_INDEX,
                            .budget_micros = 30000000,
                            .first_tranche_micros = 30000000 };
    struct core_limits limits = { 1, WORKERS, 1, 1 };
    core = core_create(&limits);
    assert_non_null(core);
    assert_int_equal(late_init(&late, WORKERS, NULL), ERR_OK);
    step((struct event){ .kind = EVENT_CAMPAIGN, .as.campaign = &spec });
    step((struct event){ .kind = EVENT_SUBMIT, .as.submit = &run });
    step((struct event){ .kind = EVENT_EPOCH, .as.epoch = { .epoch = 1, .workers = ranks } });
    for (uint32_t w = 1; w <= ranks; w++)
        step((struct event){
            .kind = EVENT_HELLO,
            .as.hello = { .worker = w, .host = TEXT("h"), .threads = 1, .on_cpu = true } });
    assert_non_null(core_attempt(core, 0));
}

static void clear_scene(void)
{
    late_fini(&late);
    core_destroy(core);
}

static void beat(uint32_t member, uint32_t attempt, uint64_t done, bool waits)
{
    Penstock__Wire__Heartbeat heartbeat;
    Penstock__Wire__Telemetry telemetry;
    penstock__wire__heartbeat__init(&heartbeat);
    penstock__wire__telemetry__init(&telemetry);
    heartbeat.attempt = attempt;
    heartbeat.telemetry = &telemetry;
    telemetry.collectives = done;
    telemetry.in_collective = waits;
    late_heard(&late, core_member(core, core_attempt(core, 0)->first_member + member)->worker,
               &heartbeat);
}

struct exit_case {
    uint32_t member, attempt;
    uint64_t done;
    bool waits;
    enum ending ending;
    uint32_t ras[2];
    size_t ras_count;
};

/* What the exit's event says in the end; true when it names somebody. */
static bool judge(const struct exit_case *row, uint32_t *named, char *detail)
{
    Penstock__Wire__ToCoordinator message;
    Penstock__Wire__MemberExited exited;
    Penstock__Wire__Telemetry telemetry;
    uint32_t ranks[2] = { row->ras[0], row->ras[1] };
    penstock__wire__to_coordinator__init(&message);
    penstock__wire__member_exited__init(&exited);
    penstock__wire__telemetry__init(&telemetry);
    message.exited = &exited;
    exited.member = row->member;
    exited.attempt = row->attempt;
    exited.telemetry = &telemetry;
    exited.n_late_ranks = row->ras_count;
    exited.late_ranks = ranks;
    telemetry.collectives = row->done;
    telemetry.in_collective = row->waits;
    struct intake intake = { .message = &message };
    intake.event.as.exited.ending = row->ending;
    intake.event.as.exited.detail = TEXT("no step");
    late_judge(&late, core, &intake);
    *named = intake.event.as.exited.late;
    text_copy(detail, 256, intake.event.as.exited.detail);
    return intake.event.as.exited.names_late;
}

static void expect(struct exit_case row, uint32_t named, const char *says)
{
    uint32_t got = 0;
    char detail[256];
    assert_true(judge(&row, &got, detail));
    assert_int_equal(got, named);
    assert_string_equal(detail, says);
}

static void expect_nobody(struct exit_case row)
{
    uint32_t got = 0;
    char detail[256];
    assert_false(judge(&row, &got, detail));
    assert_string_equal(detail, "no step");
}

static void who_does_not_wait_is_late(void **state)
{
    (void)state;
    set_scene(3);
    beat(1, 1, 40, false);
    beat(2, 1, 40, true);
    expect((struct exit_case){ 0, 1, 40, true, ENDING_HANG, { 0 }, 0 }, 1,
           "rank 1 never arrived; rank 0: no step");
    /* The late one itself may be heard first; what RAS says comes second. */
    beat(0, 1, 40, true);
    expect((struct exit_case){ 1, 1, 40, false, ENDING_HANG, { 2 }, 1 }, 1,
           "rank 1 never arrived; rank 1: no step");
    /* A heartbeat of another attempt, or none, is no sign of waiting. */
    beat(2, 7, 40, true);
    expect((struct exit_case){ 0, 1, 40, true, ENDING_START_TIMEOUT, { 0 }, 0 }, 1,
           "ranks 1, 2 never arrived; rank 0: no step");
    clear_scene();
    late_fini(&late);
}

static void who_has_done_least_is_late_when_all_wait(void **state)
{
    (void)state;
    set_scene(3);
    beat(1, 1, 41, true);
    beat(2, 1, 40, true);
    expect((struct exit_case){ 0, 1, 41, true, ENDING_HANG, { 0 }, 0 }, 2,
           "rank 2 never arrived; rank 0: no step");
    beat(2, 1, 41, true);
    expect_nobody((struct exit_case){ 0, 1, 41, true, ENDING_HANG, { 0 }, 0 });
    clear_scene();
}

static void ras_is_believed_where_agents_know_nothing(void **state)
{
    (void)state;
    set_scene(3);
    for (uint32_t i = 0; i < 3; i++)
        beat(i, 1, 0, false);
    expect_nobody((struct exit_case){ 0, 1, 0, false, ENDING_HANG, { 0 }, 0 });
    expect((struct exit_case){ 0, 1, 0, false, ENDING_HANG, { 2 }, 1 }, 2,
           "rank 2 never arrived; rank 0: no step");
    expect((struct exit_case){ 0, 1, 0, false, ENDING_HANG, { 9, 1 }, 2 }, 1,
           "rank 1 never arrived; rank 0: no step"); /* 9 is no member */
    expect_nobody((struct exit_case){ 0, 1, 0, false, ENDING_HANG, { 3 }, 1 });
    clear_scene();
}

static void other_ends_blame_nobody(void **state)
{
    (void)state;
    set_scene(3);
    beat(1, 1, 40, false);
    beat(2, 1, 40, true);
    for (int ending = 0; ending < ENDING_COUNT; ending++)
        if (ending != ENDING_HANG && ending != ENDING_START_TIMEOUT)
            expect_nobody((struct exit_case){ 0, 1, 40, true, (enum ending)ending, { 1 }, 1 });
    expect_nobody((struct exit_case){ 0, 2, 40, true, ENDING_HANG, { 1 }, 1 }); /* stale */
    clear_scene();
    set_scene(1); /* alone */
    expect_nobody((struct exit_case){ 0, 1, 40, true, ENDING_HANG, { 0 }, 1 });
    clear_scene();
}

static void a_long_list_is_cut(void **state)
{
    (void)state;
    set_scene(11);
    for (uint32_t i = 1; i < 11; i++)
        beat(i, 1, 5, false);
    expect((struct exit_case){ 0, 1, 5, true, ENDING_HANG, { 0 }, 0 }, 1,
           "ranks 1, 2, 3, 4, 5, 6, 7, 8 and 2 more never arrived; rank 0: no step");
    clear_scene();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_does_not_wait_is_late),
        cmocka_unit_test(who_has_done_least_is_late_when_all_wait),
        cmocka_unit_test(ras_is_believed_where_agents_know_nothing),
        cmocka_unit_test(other_ends_blame_nobody),
        cmocka_unit_test(a_long_list_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
