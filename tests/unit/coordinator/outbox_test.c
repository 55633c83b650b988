/* What is sent, when, and with which lease: launches wait for a heartbeat, deadlines never pass the
 * recorded end, order is kept, a full link loses nothing. */
#include "scheduler/coordinator/outbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/wire/codec.h"
#include "proto/wire/link_memory.h"
#include "scheduler/coordinator/spec.h"

enum { WORKERS = 3, QUEUE = 4 };
#define T0 (INT64_C(1700000000) * NS_PER_S)

struct scene {
    struct core *core;
    struct link_memory *office;
    struct link link;
    struct outbox outbox;
    struct arena arena;
    struct text launches[1];
    int64_t now_ns;
    uint8_t frame[LINK_MESSAGE_BYTES_MAX];
};

static struct scene scene;

static void drop_record(void *context, const struct record *record)
{
    (void)context;
    (void)record;
}

static void keep_action(void *context, const struct action *action)
{
    (void)context;
    if (action->kind == ACTION_ASK || action->kind == ACTION_DONE) return;
    assert_int_equal(outbox_put(&scene.outbox, action, scene.now_ns, NULL), ERR_OK);
}

static void step(struct event event)
{
    struct output output = { NULL, drop_record, keep_action };
    event.now_ns = scene.now_ns;
    core_step(scene.core, &event, &output);
}

static void join(uint32_t worker, const char *host)
{
    step((struct event){ .kind = EVENT_HELLO,
                         .as.hello = { .worker = worker,
                                       .slot = worker,
                                       .host = text_of(host),
                                       .threads = 1,
                                       .on_cpu = true } });
}

/* A gang of two with two gates, on workers 1 and 2. */
static void set_scene(const char *second_host)
{
    static struct gate_spec gates[2] = {
        { .name = "early", .step = 10, .rule_count = 1 },
        { .name = "late", .step = 20, .rule_count = 1 },
    };
    static const char *const argv[] = { "trainer", NULL };
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
                                  .guards = { { .window_ns = NS_PER_MIN } },
                                  .gate_count = 2,
                                  .gates = gates };
    struct run_spec run = { .name = "pair",
                            .ranks = 2,
                            .class_index = NO_INDEX,
                            .budget_micros = 30000000,
                            .first_tranche_micros = 10000000,
                            .steps = 30,
                            .builtin = true,
                            .gate_count = 2,
                            .gates = { { 0, 10000000 }, { 1, 10000000 } } };
    struct launch launch = { .argc = 1, .argv = argv, .directory = "" };
    struct campaign campaign = {
        .spec = spec, .run_count = 1, .runs = &run, .launches = &launch
    };
    struct core_limits limits = { 1, WORKERS, 2, 2 };
    memset(&scene, 0, sizeof scene);
    scene.now_ns = T0;
    assert_int_equal(spec_pack_all(&campaign, &scene.arena, NULL), ERR_OK);
    scene.launches[0] = run.launch;
    assert_int_equal(link_memory_create(&scene.office, WORKERS, QUEUE, NULL), ERR_OK);
    scene.link = link_memory_of(scene.office, 0);
    struct outbox_options options = { .link = &scene.link,
                                      .worker_count = WORKERS,
                                      .launches = scene.launches,
                                      .trainer = "/here/penstock-train" };
    assert_int_equal(outbox_init(&scene.outbox, &options, NULL), ERR_OK);
    scene.core = core_create(&limits);
    assert_non_null(scene.core);
    step((struct event){ .kind = EVENT_CAMPAIGN, .as.campaign = &spec });
    step((struct event){ .kind = EVENT_SUBMIT, .as.submit = &run });
    step((struct event){ .kind = EVENT_EPOCH, .as.epoch = { .epoch = 1, .workers = 2 } });
    join(1, "east");
    join(2, second_host);
}

static void clear_scene(void)
{
    outbox_fini(&scene.outbox);
    core_destroy(scene.core);
    link_memory_destroy(scene.office);
    arena_fini(&scene.arena);
}

/* The next message for a worker, or NULL. */
static Penstock__Wire__ToAgent *fetch(uint32_t worker)
{
    struct link link = link_memory_of(scene.office, worker);
    uint32_t from = 0;
    size_t bytes = 0;
    Penstock__Wire__ToAgent *message = NULL;
    struct error error;
    if (link_receive(&link, &from, scene.frame, sizeof scene.frame, &bytes, NULL) != ERR_OK)
        return NULL;
    if (codec_read_to_agent(scene.frame, bytes, &message, &error) != ERR_OK)
        fail_msg("%s", error.text);
    return message;
}

static void launches_wait_for_a_heartbeat(void **state)
{
    (void)state;
    set_scene("east");
    assert_int_equal(scene.outbox.entry_count, 2);
    assert_int_equal(outbox_perform(&scene.outbox, scene.core, NULL), ERR_OK);
    assert_null(fetch(1));
    assert_null(fetch(2));
    int64_t end_ns = core_attempt(scene.core, 0)->lease_end_ns;
    int64_t heard_ns = T0 + 3 * NS_PER_S;
    outbox_heartbeat(&scene.outbox, 2, 7, heard_ns);
    assert_int_equal(outbox_perform(&scene.outbox, scene.core, NULL), ERR_OK);
    assert_null(fetch(1));
    Penstock__Wire__ToAgent *message = fetch(2);
    assert_non_null(message);
    assert_int_equal(message->epoch, 1);
    assert_int_equal(message->body_case, PENSTOCK__WIRE__TO_AGENT__BODY_LAUNCH);
    const Penstock__Wire__Launch *launch = message->launch;
    assert_int_equal(launch->answers_heartbeat, 7);
    assert_int_equal((int64_t)launch->lease_ns, end_ns - heard_ns);
    assert_int_equal(launch->member, 1);
    assert_int_equal(launch->n_gang, 2);
    assert_int_equal(launch->gang[0], 1);
    assert_int_equal(launch->gang[1], 2);
    assert_int_equal(launch->local_rank, 1);
    assert_int_equal(launch->local_world_size, 2);
    assert_string_equal(launch->master_host, "127.0.0.1");
    assert_in_range(launch->master_port, 15000, 29999);
    assert_int_equal(launch->n_gates, 2);
    assert_string_equal(launch->gates[0]->name, "early");
    assert_int_equal(launch->gates[1]->step, 20);
    assert_string_equal(launch->spec->argv[0], "/here/penstock-train");
    assert_string_equal(launch->resume, "");
    codec_free_to_agent(message);
    assert_int_equal(scene.outbox.entry_count, 1);
    clear_scene();
}

static void gangs_over_hosts_know_their_first(void **state)
{
    (void)state;
    set_scene("west");
    outbox_heartbeat(&scene.outbox, 2, 1, T0);
    assert_int_equal(outbox_perform(&scene.outbox, scene.core, NULL), ERR_OK);
    Penstock__Wire__ToAgent *message = fetch(2);
    assert_non_null(message);
    assert_string_equal(message->launch->master_host, "east");
    assert_int_equal(message->launch->local_rank, 0);
    assert_int_equal(message->launch->local_world_size, 1);
    codec_free_to_agent(message);
    clear_scene();
}

static void members_on_gpus_know_their_neighbours(void **state)
{
    (void)state;
    set_scene("east");
    outbox_heartbeat(&scene.outbox, 2, 1, T0);
    assert_int_equal(outbox_perform(&scene.outbox, scene.core, NULL), ERR_OK);
    Penstock__Wire__ToAgent *message = fetch(2);
    assert_int_equal(message->launch->n_local, 0); /* on CPUs there is nothing to know */
    codec_free_to_agent(message);
    clear_scene();
    set_scene("east");
    outbox_seat(&scene.outbox, 1, TEXT("GPU-a"));
    outbox_seat(&scene.outbox, 2, TEXT("3"));
    outbox_heartbeat(&scene.outbox, 2, 1, T0);
    assert_int_equal(outbox_perform(&scene.outbox, scene.core, NULL), ERR_OK);
    message = fetch(2);
    assert_int_equal(message->launch->local_rank, 1);
    assert_int_equal(message->launch->n_local, 2);
    assert_int_equal(message->launch->local[0]->slot, 1);
    assert_string_equal(message->launch->local[0]->visible_device, "GPU-a");
    assert_int_equal(message->launch->local[1]->slot, 2);
    assert_string_equal(message->launch->local[1]->visible_device, "3");
    codec_free_to_agent(message);
    clear_scene();
    set_scene("west");
    outbox_seat(&scene.outbox, 2, TEXT("0"));
    outbox_heartbeat(&scene.outbox, 2, 1, T0);
    assert_int_equal(outbox_perform(&scene.outbox, scene.core, NULL), ERR_OK);
    message = fetch(2);
    assert_int_equal(message->launch->n_local, 1); /* the other is elsewhere */
    assert_string_equal(message->launch->local[0]->visible_device, "0");
    codec_free_to_agent(message);
    clear_scene();
}

static void a_stop_never_overtakes_its_launch(void **state)
{
    (void)state;
    set_scene("east");
    step((struct event){ .kind = EVENT_SUSPEND, .as.suspend = { .cause = TEXT("test") } });
    outbox_heartbeat(&scene.outbox, 1, 1, T0);
    outbox_heartbeat(&scene.outbox, 2, 1, T0);
    assert_int_equal(outbox_perform(&scene.outbox, scene.core, NULL), ERR_OK);
    for (uint32_t worker = 1; worker <= 2; worker++) {
        Penstock__Wire__ToAgent *first = fetch(worker), *second = fetch(worker);
        assert_int_equal(first->body_case, PENSTOCK__WIRE__TO_AGENT__BODY_LAUNCH);
        assert_int_equal(second->body_case, PENSTOCK__WIRE__TO_AGENT__BODY_STOP);
        assert_false(second->stop->at_once);
        codec_free_to_agent(first);
        codec_free_to_agent(second);
    }
    clear_scene();
}

static void a_lost_worker_gets_nothing(void **state)
{
    (void)state;
    set_scene("east");
    outbox_forget(&scene.outbox, 2);
    assert_int_equal(scene.outbox.entry_count, 1);
    assert_int_equal(scene.outbox.entries[0].action.worker, 1);
    clear_scene();
}

static void a_full_link_loses_nothing(void **state)
{
    (void)state;
    set_scene("east");
    outbox_heartbeat(&scene.outbox, 1, 1, T0);
    outbox_heartbeat(&scene.outbox, 2, 1, T0);
    for (uint64_t i = 1; i <= 10; i++)
        step((struct event){ .kind = EVENT_HEARTBEAT,
                             .as.heartbeat = { .worker = 1, .sequence = i, .attempt = 1 } });
    uint32_t grants = 0, rounds = 0;
    while (scene.outbox.entry_count > 0) {
        assert_true(rounds++ < 20);
        assert_int_equal(outbox_perform(&scene.outbox, scene.core, NULL), ERR_OK);
        Penstock__Wire__ToAgent *message;
        while ((message = fetch(1)) != NULL) {
            if (message->body_case == PENSTOCK__WIRE__TO_AGENT__BODY_GRANT)
                assert_int_equal(message->grant->answers_heartbeat, ++grants);
            codec_free_to_agent(message);
        }
        while ((message = fetch(2)) != NULL)
            codec_free_to_agent(message);
    }
    assert_true(rounds > 1);
    assert_int_equal(grants, 10);
    clear_scene();
}

static void a_launch_whose_attempt_is_over_is_dropped(void **state)
{
    (void)state;
    set_scene("east");
    for (uint32_t member = 0; member < 2; member++)
        step((struct event){ .kind = EVENT_EXITED,
                             .as.exited = { .worker = member + 1,
                                            .attempt = 1,
                                            .member = member,
                                            .ending = ENDING_LAUNCH_FAILED,
                                            .exit_code = -1,
                                            .telemetry = { .loss_micro = LOSS_UNKNOWN } } });
    assert_null(core_attempt(scene.core, 0) != NULL && core_attempt(scene.core, 0)->number == 1
                    ? scene.core
                    : NULL);
    outbox_heartbeat(&scene.outbox, 1, 1, T0);
    outbox_heartbeat(&scene.outbox, 2, 1, T0);
    assert_int_equal(outbox_perform(&scene.outbox, scene.core, NULL), ERR_OK);
    Penstock__Wire__ToAgent *message;
    while ((message = fetch(1)) != NULL) {
        if (message->body_case == PENSTOCK__WIRE__TO_AGENT__BODY_LAUNCH)
            assert_int_not_equal(message->launch->attempt, 1);
        codec_free_to_agent(message);
    }
    clear_scene();
}

/* ---- a GPU gang's id ---- */

static void put_comm_id(uint32_t from, uint32_t run, uint32_t attempt)
{
    static uint8_t bytes[] = { 0, 7, 255, 0 };
    Penstock__Wire__CommId id;
    penstock__wire__comm_id__init(&id);
    id.run = run;
    id.attempt = attempt;
    id.id = (ProtobufCBinaryData){ sizeof bytes, bytes };
    assert_int_equal(outbox_put_comm_id(&scene.outbox, scene.core, from, &id, NULL), ERR_OK);
}

static void a_gang_id_follows_its_launch(void **state)
{
    (void)state;
    set_scene("east");
    outbox_heartbeat(&scene.outbox, 1, 1,
                     T0); /* worker 2 has not been heard: its launch waits */
    assert_int_equal(outbox_perform(&scene.outbox, scene.core, NULL), ERR_OK);
    codec_free_to_agent(fetch(1));
    put_comm_id(1, 0, 1);
    assert_int_equal(outbox_perform(&scene.outbox, scene.core, NULL), ERR_OK);
    assert_null(fetch(1)); /* who made it needs none */
    assert_null(fetch(2));
    outbox_heartbeat(&scene.outbox, 2, 1, T0);
    assert_int_equal(outbox_perform(&scene.outbox, scene.core, NULL), ERR_OK);
    Penstock__Wire__ToAgent *first = fetch(2), *second = fetch(2);
    assert_int_equal(first->body_case, PENSTOCK__WIRE__TO_AGENT__BODY_LAUNCH);
    assert_int_equal(second->body_case, PENSTOCK__WIRE__TO_AGENT__BODY_COMM_ID);
    assert_int_equal(second->epoch, 1);
    assert_int_equal(second->comm_id->run, 0);
    assert_int_equal(second->comm_id->attempt, 1);
    assert_int_equal(second->comm_id->id.len, 4);
    assert_memory_equal(second->comm_id->id.data, "\0\7\377", 4);
    codec_free_to_agent(first);
    codec_free_to_agent(second);
    assert_null(fetch(2)); /* once */
    assert_int_equal(scene.outbox.comm_id_count, 0);
    assert_int_equal(scene.outbox.stale_comm_id_count, 0);
    clear_scene();
}

static void stale_gang_ids_are_dropped_and_counted(void **state)
{
    (void)state;
    set_scene("east");
    outbox_heartbeat(&scene.outbox, 1, 1, T0);
    outbox_heartbeat(&scene.outbox, 2, 1, T0);
    assert_int_equal(outbox_perform(&scene.outbox, scene.core, NULL), ERR_OK);
    for (uint32_t worker = 1; worker <= 2; worker++)
        codec_free_to_agent(fetch(worker));
    put_comm_id(1, 0, 2); /* an attempt that is not yet */
    put_comm_id(2, 0, 1); /* not member 0 */
    put_comm_id(1, 1, 1); /* no such run */
    assert_int_equal(scene.outbox.stale_comm_id_count, 3);
    put_comm_id(1, 0, 1); /* whose attempt ends before it is sent */
    for (uint32_t member = 0; member < 2; member++)
        step((struct event){ .kind = EVENT_EXITED,
                             .as.exited = { .worker = member + 1,
                                            .attempt = 1,
                                            .member = member,
                                            .ending = ENDING_LAUNCH_FAILED,
                                            .exit_code = -1,
                                            .telemetry = { .loss_micro = LOSS_UNKNOWN } } });
    assert_int_equal(outbox_perform(&scene.outbox, scene.core, NULL), ERR_OK);
    Penstock__Wire__ToAgent *message;
    while ((message = fetch(2)) != NULL) {
        assert_int_not_equal(message->body_case, PENSTOCK__WIRE__TO_AGENT__BODY_COMM_ID);
        codec_free_to_agent(message);
    }
    assert_int_equal(scene.outbox.stale_comm_id_count, 4);
    clear_scene();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(launches_wait_for_a_heartbeat),
        cmocka_unit_test(gangs_over_hosts_know_their_first),
        cmocka_unit_test(members_on_gpus_know_their_neighbours),
        cmocka_unit_test(a_stop_never_overtakes_its_launch),
        cmocka_unit_test(a_lost_worker_gets_nothing),
        cmocka_unit_test(a_full_link_loses_nothing),
        cmocka_unit_test(a_launch_whose_attempt_is_over_is_dropped),
        cmocka_unit_test(a_gang_id_follows_its_launch),
        cmocka_unit_test(stale_gang_ids_are_dropped_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
