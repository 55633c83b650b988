/* Whole lives of the coordinator, over links inside one process, against agents that follow a script: what
 * it sends, that nothing is sent before it is durable, how it resumes, refuses and parts. */
#include "scheduler/coordinator/loop.h"
#include "tests/unit/coordinator/scratch.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/wire/codec.h"
#include "proto/wire/link_memory.h"
#include "scheduler/coordinator/clock.h"
#include "scheduler/ledger/replay.h"

enum { DIR_BYTES = 256, PATH_BYTES = 320, RUNS_MAX = 8 };

static const char campaign_text[] = "campaign: test\n"
                                    "currency: USD\n"
                                    "budget: 10.00 USD\n"
                                    "prices:\n"
                                    "  cpu: 1.00 USD\n"
                                    "owners:\n"
                                    "  - {name: ada, role: research}\n"
                                    "timing:\n"
                                    "  heartbeat: 100ms\n"
                                    "  lease: 5s\n"
                                    "  stop_grace: 1s\n"
                                    "  restart_backoff: 50ms\n"
                                    "  restart_backoff_max: 50ms\n"
                                    "gates:\n"
                                    "  - name: half\n"
                                    "    at: {steps: 10}\n"
                                    "    rule: {milestone: {loss: 2.5}}\n"
                                    "    owner: ada\n"
                                    "    releases: 50%\n"
                                    "defaults:\n"
                                    "  class: cpu\n"
                                    "  budget: 1.00 USD\n"
                                    "  command: [\"true\"]\n"
                                    "runs:\n"
                                    "  - {name: good}\n"
                                    "  - {name: bad}\n";

/* One agent that follows a script, in a thread of its own. */
struct actor {
    struct link link;
    const char *state_dir;
    const char *device_class;
    const char *version;
    bool leaves_early; /* says goodbye when it is first given work */
    int64_t good_loss_micro, bad_loss_micro;
    bool stops_only_when_told; /* trains on until Stop */
    uint32_t launches, stops;
    bool write_ahead_broken; /* a launch came that the ledger does not know */
    bool refused;
    pthread_t thread;
};

static void pause_ms(int ms)
{
    struct timespec pause = { ms / 1000, (long)(ms % 1000) * 1000000 };
    nanosleep(&pause, NULL);
}

static void say(struct actor *actor, const Penstock__Wire__ToCoordinator *message)
{
    struct error error;
    if (codec_send_to_coordinator(&actor->link, message, &error) != ERR_OK) {
        fprintf(stderr, "actor: %s\n", error.text);
        abort();
    }
}

static char *writable(const char *string)
{
    char *plain;
    memcpy(&plain, &string, sizeof plain);
    return plain;
}

static void say_hello(struct actor *actor)
{
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__Hello hello;
    penstock__wire__hello__init(&hello);
    hello.worker = actor->link.rank;
    hello.host = writable("here");
    hello.boot_id = writable("boot");
    hello.device_class = writable(actor->device_class);
    hello.device = writable("test");
    hello.threads = 1;
    hello.backend = writable("cpu");
    hello.backend_reason = writable("asked");
    hello.peak_source = writable("table");
    hello.version = writable(actor->version);
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO;
    message.hello = &hello;
    say(actor, &message);
}

static void say_goodbye(struct actor *actor, uint64_t epoch)
{
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__Goodbye goodbye;
    penstock__wire__goodbye__init(&goodbye);
    goodbye.reason = writable("scripted");
    message.epoch = epoch;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_GOODBYE;
    message.goodbye = &goodbye;
    say(actor, &message);
}

/* What the actor holds. */
struct post {
    uint64_t epoch, sequence;
    uint32_t run, attempt; /* attempt 0: nothing */
    uint64_t step;
};

static void say_heartbeat(struct actor *actor, struct post *post)
{
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__Heartbeat heartbeat;
    penstock__wire__heartbeat__init(&heartbeat);
    Penstock__Wire__Telemetry telemetry;
    penstock__wire__telemetry__init(&telemetry);
    telemetry.step = post->step;
    telemetry.tokens = post->step * 100;
    telemetry.ready = post->attempt > 0;
    heartbeat.sequence = ++post->sequence;
    heartbeat.run = post->run;
    heartbeat.attempt = post->attempt;
    heartbeat.telemetry = &telemetry;
    message.epoch = post->epoch;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_HEARTBEAT;
    message.heartbeat = &heartbeat;
    say(actor, &message);
}

static void say_gate(struct actor *actor, const struct post *post, int64_t loss_micro)
{
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__GateReached gate;
    penstock__wire__gate_reached__init(&gate);
    gate.run = post->run;
    gate.attempt = post->attempt;
    gate.gate = writable("half");
    gate.step = 10;
    gate.tokens = 1000;
    gate.val_loss_micro = loss_micro;
    gate.has_val_loss = true;
    gate.checkpoint = writable("checkpoints/step-00000010.safetensors");
    message.epoch = post->epoch;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_GATE;
    message.gate = &gate;
    say(actor, &message);
}

static void say_started(struct actor *actor, const struct post *post)
{
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__MemberStarted started;
    penstock__wire__member_started__init(&started);
    started.run = post->run;
    started.attempt = post->attempt;
    started.pid = 4242;
    message.epoch = post->epoch;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_STARTED;
    message.started = &started;
    say(actor, &message);
}

static void say_exited(struct actor *actor, struct post *post, Penstock__Wire__ExitCause cause)
{
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__MemberExited exited;
    penstock__wire__member_exited__init(&exited);
    Penstock__Wire__Telemetry telemetry;
    penstock__wire__telemetry__init(&telemetry);
    telemetry.step = 20;
    telemetry.tokens = 2000;
    exited.run = post->run;
    exited.attempt = post->attempt;
    exited.cause = cause;
    exited.telemetry = &telemetry;
    message.epoch = post->epoch;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_EXITED;
    message.exited = &exited;
    say(actor, &message);
    post->attempt = 0;
}

/* Whether the ledger on disk holds the placement that a launch rests on. */
static bool launch_is_recorded(const struct actor *actor, const Penstock__Wire__Launch *launch)
{
    struct core *core = NULL;
    struct replay_summary summary;
    if (replay_run(actor->state_dir, NULL, &core, &summary, NULL) != ERR_OK) return false;
    bool there = launch->run < core_run_count(core) &&
                 core_run(core, launch->run)->attempts >= launch->attempt;
    core_destroy(core);
    return there;
}

static void on_launch(struct actor *actor, struct post *post,
                      const Penstock__Wire__Launch *launch)
{
    actor->launches++;
    if (!launch_is_recorded(actor, launch)) actor->write_ahead_broken = true;
    if (actor->leaves_early) return;
    post->run = launch->run;
    post->attempt = launch->attempt;
    say_started(actor, post);
    post->step = 5;
    say_heartbeat(actor, post);
    if (actor->stops_only_when_told) return;
    bool good = strcmp(launch->run_name, "good") == 0;
    if (launch->n_gates > 0) {
        say_gate(actor, post, good ? actor->good_loss_micro : actor->bad_loss_micro);
        if (!good) return; /* trains on until it is stopped */
    }
    say_exited(actor, post, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
}

/* True when the actor is through. */
static bool on_message(struct actor *actor, struct post *post,
                       const Penstock__Wire__ToAgent *message)
{
    switch (message->body_case) {
    case PENSTOCK__WIRE__TO_AGENT__BODY_WELCOME:
        post->epoch = message->epoch;
        if (message->welcome->refusal[0] != '\0') {
            actor->refused = true;
            say_goodbye(actor, post->epoch);
        } else {
            say_heartbeat(actor, post);
        }
        return false;
    case PENSTOCK__WIRE__TO_AGENT__BODY_LAUNCH:
        on_launch(actor, post, message->launch);
        return false;
    case PENSTOCK__WIRE__TO_AGENT__BODY_STOP:
        actor->stops++;
        if (post->attempt > 0)
            say_exited(actor, post, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_STOPPED);
        return false;
    case PENSTOCK__WIRE__TO_AGENT__BODY_SHUTDOWN:
        if (!actor->refused) say_goodbye(actor, post->epoch);
        return true;
    case PENSTOCK__WIRE__TO_AGENT__BODY_GRANT:
    case PENSTOCK__WIRE__TO_AGENT__BODY_PROBE:
    case PENSTOCK__WIRE__TO_AGENT__BODY_COMM_ID:
    case PENSTOCK__WIRE__TO_AGENT__BODY__NOT_SET:
    case _PENSTOCK__WIRE__TO_AGENT__BODY__CASE_IS_INT_SIZE: break;
    }
    return false;
}

static void *act(void *context)
{
    static __thread uint8_t frame[LINK_MESSAGE_BYTES_MAX];
    struct actor *actor = context;
    struct post post = { 0 };
    int64_t last_ns = clock_boot_ns(), end_ns = last_ns + 20 * NS_PER_S;
    bool through = false;
    say_hello(actor);
    while (!through && clock_boot_ns() < end_ns) {
        uint32_t from = 0;
        size_t bytes = 0;
        Penstock__Wire__ToAgent *message = NULL;
        if (link_receive(&actor->link, &from, frame, sizeof frame, &bytes, NULL) == ERR_OK &&
            codec_read_to_agent(frame, bytes, &message, NULL) == ERR_OK) {
            through = on_message(actor, &post, message);
            codec_free_to_agent(message);
            if (actor->leaves_early && actor->launches > 0) return NULL;
            continue;
        }
        if (post.epoch > 0 && clock_boot_ns() - last_ns > 50 * NS_PER_MS) {
            last_ns = clock_boot_ns();
            say_heartbeat(actor, &post);
        }
        pause_ms(1);
    }
    return NULL;
}

/* ---- a stage ------------------------------------------------------------------------------------ */

struct stage {
    char dir[DIR_BYTES], campaign[PATH_BYTES], state[PATH_BYTES];
};

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void set_stage(struct stage *stage)
{
    struct writer writer;
    text_copy(stage->dir, sizeof stage->dir, TEXT("/tmp/penstock-life-XXXXXX"));
    assert_non_null(scratch_make(stage->dir));
    writer = writer_of(stage->campaign, sizeof stage->campaign);
    writer_format(&writer, "%s/campaign.yaml", stage->dir);
    writer = writer_of(stage->state, sizeof stage->state);
    writer_format(&writer, "%s/state", stage->dir);
    write_file(stage->campaign, campaign_text);
}

static struct actor fine_actor(const struct stage *stage)
{
    return (struct actor){ .state_dir = stage->state,
                           .device_class = "cpu",
                           .version = PENSTOCK_VERSION,
                           .good_loss_micro = 2000000,
                           .bad_loss_micro = 3000000 };
}

struct outcome {
    enum err opened, lived;
    int status;
    bool all_left;
    struct error error;
};

/* One life with these actors. signal_after_ms: sends USR1 to this thread's process then; 0: never. */
static struct outcome live(const struct stage *stage, struct actor *actors, uint32_t count)
{
    struct link_memory *office = NULL;
    struct outcome outcome = { 0 };
    struct coordinator *coordinator = NULL;
    struct coordinator_options options = { .campaign_path = stage->campaign,
                                           .state_dir = stage->state,
                                           .trainer = "/nowhere/penstock-train",
                                           .workers = count,
                                           .progress = DISPLAY_NONE };
    outcome.opened = coordinator_open(&options, &coordinator, &outcome.error);
    if (outcome.opened != ERR_OK) return outcome;
    assert_int_equal(link_memory_create(&office, count + 1, 256, NULL), ERR_OK);
    struct link link = link_memory_of(office, 0);
    for (uint32_t i = 0; i < count; i++) {
        actors[i].link = link_memory_of(office, i + 1);
        assert_int_equal(pthread_create(&actors[i].thread, NULL, act, &actors[i]), 0);
    }
    outcome.lived = coordinator_live(coordinator, &link, &outcome.status, &outcome.all_left,
                                     &outcome.error);
    coordinator_close(coordinator, outcome.status);
    for (uint32_t i = 0; i < count; i++)
        pthread_join(actors[i].thread, NULL);
    link_memory_destroy(office);
    return outcome;
}

static enum run_state state_of(const struct stage *stage, const char *run)
{
    struct core *core = NULL;
    struct replay_summary summary;
    assert_int_equal(replay_run(stage->state, NULL, &core, &summary, NULL), ERR_OK);
    enum run_state state = core_run(core, core_find_run(core, text_of(run)))->state;
    core_destroy(core);
    return state;
}

static int exit_file(const struct stage *stage)
{
    char path[PATH_BYTES + 8];
    int status = -1;
    struct writer writer = writer_of(path, sizeof path);
    writer_format(&writer, "%s/exit", stage->state);
    FILE *file = fopen(path, "r");
    if (file == NULL) return -1;
    if (fscanf(file, "%d", &status) != 1) status = -2;
    fclose(file);
    return status;
}

/* ---- scenes ------------------------------------------------------------------------------------- */

static void a_campaign_is_played_to_its_end(void **state)
{
    (void)state;
    struct stage stage;
    set_stage(&stage);
    struct actor actors[2] = { fine_actor(&stage), fine_actor(&stage) };
    struct outcome outcome = live(&stage, actors, 2);
    assert_int_equal(outcome.lived, ERR_OK);
    assert_int_equal(outcome.status, 0);
    assert_true(outcome.all_left);
    assert_int_equal(actors[0].launches + actors[1].launches, 2);
    assert_int_equal(actors[0].stops + actors[1].stops, 1);
    assert_false(actors[0].write_ahead_broken || actors[1].write_ahead_broken);
    assert_int_equal(state_of(&stage, "good"), RUN_STATE_FINISHED);
    assert_int_equal(state_of(&stage, "bad"), RUN_STATE_STOPPED);
    assert_int_equal(exit_file(&stage), 0);

    struct actor again[1] = { fine_actor(&stage) };
    outcome = live(&stage, again, 1);
    assert_int_equal(outcome.lived, ERR_OK);
    assert_int_equal(outcome.status, 0);
    assert_int_equal(again[0].launches, 0);
    assert_true(outcome.all_left);
}

static void *interrupt(void *context)
{
    (void)context;
    pause_ms(1200);
    kill(getpid(), SIGUSR1);
    return NULL;
}

static void a_signal_suspends_and_the_next_life_goes_on(void **state)
{
    (void)state;
    struct stage stage;
    set_stage(&stage);
    struct actor actors[1] = { fine_actor(&stage) };
    actors[0].stops_only_when_told = true;
    /* The signals are blocked by coordinator_open; before that, this thread must not die of one. */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, interrupt, NULL), 0);
    struct outcome outcome = live(&stage, actors, 1);
    pthread_join(thread, NULL);
    assert_int_equal(outcome.lived, ERR_OK);
    assert_int_equal(outcome.status, 75);
    assert_int_equal(actors[0].stops, 1);
    assert_int_equal(exit_file(&stage), 75);
    assert_int_equal(state_of(&stage, "good"), RUN_STATE_QUEUED);

    struct actor again[1] = { fine_actor(&stage) };
    outcome = live(&stage, again, 1);
    assert_int_equal(outcome.status, 0);
    assert_int_equal(state_of(&stage, "good"), RUN_STATE_FINISHED);
    assert_int_equal(state_of(&stage, "bad"), RUN_STATE_STOPPED);
}

static void a_worker_that_leaves_is_lost_and_its_run_goes_on_elsewhere(void **state)
{
    (void)state;
    struct stage stage;
    set_stage(&stage);
    struct actor actors[2] = { fine_actor(&stage), fine_actor(&stage) };
    actors[0].leaves_early = true;
    struct outcome outcome = live(&stage, actors, 2);
    assert_int_equal(outcome.lived, ERR_OK);
    assert_int_equal(outcome.status, 0);
    assert_int_equal(actors[0].launches, 1);
    assert_int_equal(state_of(&stage, "good"), RUN_STATE_FINISHED);
    assert_int_equal(state_of(&stage, "bad"), RUN_STATE_STOPPED);
}

static void workers_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct stage stage;
        set_stage(&stage);
        struct actor actors[1] = { fine_actor(&stage) };
        if (i == 0)
            actors[0].device_class = "h100";
        else
            actors[0].version = "9.9.9";
        struct outcome outcome = live(&stage, actors, 1);
        assert_int_equal(outcome.lived, ERR_OK);
        assert_int_equal(outcome.status, 2);
        assert_true(actors[0].refused);
        assert_true(outcome.all_left);
        assert_int_equal(actors[0].launches, 0);
    }
}

static void another_campaign_file_is_refused(void **state)
{
    (void)state;
    struct stage stage;
    set_stage(&stage);
    struct actor actors[1] = { fine_actor(&stage) };
    live(&stage, actors, 1);
    char text[sizeof campaign_text + 16];
    struct writer writer = writer_of(text, sizeof text);
    writer_format(&writer, "%s# more\n", campaign_text);
    write_file(stage.campaign, text);
    struct outcome outcome = live(&stage, actors, 1);
    assert_int_equal(outcome.opened, ERR_INPUT);
    assert_non_null(strstr(outcome.error.text, "begun with another campaign file"));
    assert_int_equal(exit_file(&stage), 0);
}

static void bad_places_are_refused(void **state)
{
    (void)state;
    struct stage stage;
    set_stage(&stage);
    struct actor actors[1] = { fine_actor(&stage) };
    write_file(stage.state, "a file stands where the directory should be\n");
    struct outcome outcome = live(&stage, actors, 1);
    assert_int_equal(outcome.opened, ERR_IO);
    unlink(stage.state);
    write_file(stage.campaign, "campaign: x\nbudgets: 1\n");
    outcome = live(&stage, actors, 1);
    assert_int_equal(outcome.opened, ERR_INPUT);
    struct stat status;
    assert_int_not_equal(stat(stage.state, &status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_campaign_is_played_to_its_end),
        cmocka_unit_test(a_signal_suspends_and_the_next_life_goes_on),
        cmocka_unit_test(a_worker_that_leaves_is_lost_and_its_run_goes_on_elsewhere),
        cmocka_unit_test(workers_that_do_not_fit_are_refused),
        cmocka_unit_test(another_campaign_file_is_refused),
        cmocka_unit_test(bad_places_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
