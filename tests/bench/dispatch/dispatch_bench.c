/*
 * dispatch_bench.c - two yardsticks for run.sh:
 *
 *   dispatch_bench spawn COUNT IN_FLIGHT
 *       bare posix_spawn of `true`: runs per second with so many alive at a time
 *   mpirun -n 2 dispatch_bench latency CAMPAIGN STATE
 *       rank 0 is the real coordinator, rank 1 an agent that starts nothing: it reports a gate that
 *       the run cannot pass, and waits for the command to stop. Prints p50 and p99 from the message to
 *       the command, over all runs of the campaign.
 */
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/wire/codec.h"
#include "proto/wire/link_mpi.h"
#include "scheduler/coordinator/clock.h"
#include "scheduler/coordinator/loop.h"

extern char **environ;

enum { SAMPLES_MAX = 1 << 20 };

never_returns static void quit(const char *what)
{
    fprintf(stderr, "dispatch_bench: %s\n", what);
    _exit(2);
}

/* ---- bare spawning ------------------------------------------------------------------------------ */

static int bench_spawn(int64_t count, int64_t in_flight)
{
    static char name[] = "true";
    char *argv[] = { name, NULL };
    int64_t started = 0, alive = 0, begin_ns = clock_boot_ns();
    while (started < count || alive > 0) {
        if (started < count && alive < in_flight) {
            pid_t pid;
            if (posix_spawnp(&pid, name, NULL, NULL, argv, environ) != 0) quit("posix_spawn");
            started++;
            alive++;
        } else if (waitpid(-1, NULL, 0) > 0) {
            alive--;
        }
    }
    printf("%.1f\n", (double)count * 1e9 / (double)(clock_boot_ns() - begin_ns));
    return 0;
}

/* ---- latency ------------------------------------------------------------------------------------ */

struct bench {
    struct link *link;
    uint64_t epoch, sequence;
    uint32_t run, attempt;
    int64_t sent_ns;
    int64_t *samples_ns;
    size_t count;
};

static char *writable(const char *string)
{
    char *plain;
    memcpy(&plain, &string, sizeof plain);
    return plain;
}

static void say(struct bench *bench, const Penstock__Wire__ToCoordinator *message)
{
    struct error error;
    if (codec_send_to_coordinator(bench->link, message, &error) != ERR_OK) quit(error.text);
    if (link_poll(bench->link, NULL, &error) != ERR_OK) quit(error.text);
}

static void say_hello(struct bench *bench)
{
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__Hello hello;
    penstock__wire__hello__init(&hello);
    hello.worker = 1;
    hello.host = writable("here");
    hello.boot_id = writable("boot");
    hello.device_class = writable("cpu");
    hello.device = writable("none");
    hello.threads = 1;
    hello.backend = writable("cpu");
    hello.backend_reason = writable("bench");
    hello.peak_source = writable("table");
    hello.version = writable(PENSTOCK_VERSION);
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO;
    message.hello = &hello;
    say(bench, &message);
}

static void say_heartbeat(struct bench *bench)
{
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__Heartbeat heartbeat;
    penstock__wire__heartbeat__init(&heartbeat);
    Penstock__Wire__Telemetry telemetry;
    penstock__wire__telemetry__init(&telemetry);
    heartbeat.sequence = ++bench->sequence;
    heartbeat.run = bench->run;
    heartbeat.attempt = bench->attempt;
    heartbeat.telemetry = &telemetry;
    message.epoch = bench->epoch;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_HEARTBEAT;
    message.heartbeat = &heartbeat;
    say(bench, &message);
}

static void say_gate(struct bench *bench, const char *gate)
{
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__GateReached reached;
    penstock__wire__gate_reached__init(&reached);
    reached.run = bench->run;
    reached.attempt = bench->attempt;
    reached.gate = writable(gate);
    reached.step = 1;
    reached.val_loss_micro = 9000000;
    reached.has_val_loss = true;
    reached.checkpoint = writable("checkpoints/none");
    message.epoch = bench->epoch;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_GATE;
    message.gate = &reached;
    bench->sent_ns = clock_boot_ns();
    say(bench, &message);
}

static void say_started(struct bench *bench)
{
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__MemberStarted started;
    penstock__wire__member_started__init(&started);
    started.run = bench->run;
    started.attempt = bench->attempt;
    started.pid = 1;
    message.epoch = bench->epoch;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_STARTED;
    message.started = &started;
    say(bench, &message);
}

static void say_exited(struct bench *bench)
{
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__MemberExited exited;
    penstock__wire__member_exited__init(&exited);
    exited.run = bench->run;
    exited.attempt = bench->attempt;
    exited.cause = PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_STOPPED;
    message.epoch = bench->epoch;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_EXITED;
    message.exited = &exited;
    bench->attempt = 0;
    say(bench, &message);
}

static void say_goodbye(struct bench *bench)
{
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__Goodbye goodbye;
    penstock__wire__goodbye__init(&goodbye);
    goodbye.reason = writable("done");
    message.epoch = bench->epoch;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_GOODBYE;
    message.goodbye = &goodbye;
    say(bench, &message);
}

/* True when the coordinator has sent us home. */
static bool on_message(struct bench *bench, const Penstock__Wire__ToAgent *message)
{
    if (message->body_case == PENSTOCK__WIRE__TO_AGENT__BODY_WELCOME) {
        bench->epoch = message->epoch;
        say_heartbeat(bench);
    } else if (message->body_case == PENSTOCK__WIRE__TO_AGENT__BODY_LAUNCH) {
        bench->run = message->launch->run;
        bench->attempt = message->launch->attempt;
        say_started(bench);
        say_gate(bench, message->launch->gates[0]->name);
    } else if (message->body_case == PENSTOCK__WIRE__TO_AGENT__BODY_STOP) {
        if (bench->count < SAMPLES_MAX)
            bench->samples_ns[bench->count++] = clock_boot_ns() - bench->sent_ns;
        say_exited(bench);
    } else if (message->body_case == PENSTOCK__WIRE__TO_AGENT__BODY_SHUTDOWN) {
        say_goodbye(bench);
        return true;
    }
    return false;
}

static int by_size(const void *a, const void *b)
{
    int64_t left, right;
    memcpy(&left, a, sizeof left);
    memcpy(&right, b, sizeof right);
    return left < right ? -1 : left > right;
}

static void play_agent(struct link *link)
{
    static uint8_t frame[LINK_MESSAGE_BYTES_MAX];
    struct bench bench = { .link = link, .samples_ns = calloc(SAMPLES_MAX, sizeof(int64_t)) };
    struct error error;
    if (bench.samples_ns == NULL) quit("out of memory");
    link_sleep_precisely();
    say_hello(&bench);
    for (bool home = false; !home;) {
        uint32_t from = 0;
        size_t bytes = 0;
        Penstock__Wire__ToAgent *message = NULL;
        enum err rc = link_receive(link, &from, frame, sizeof frame, &bytes, &error);
        if (rc == ERR_NOT_FOUND) {
            if (link_wait(link, 200 * NS_PER_MS, NULL, 0, &error) != ERR_OK) quit(error.text);
            if (bench.epoch > 0) say_heartbeat(&bench);
            continue;
        }
        if (rc != ERR_OK) quit(error.text);
        if (codec_read_to_agent(frame, bytes, &message, &error) != ERR_OK) quit(error.text);
        home = on_message(&bench, message);
        codec_free_to_agent(message);
    }
    if (link_flush(link, NS_PER_S, &error) != ERR_OK) quit(error.text);
    if (bench.count == 0) quit("no sample");
    qsort(bench.samples_ns, bench.count, sizeof *bench.samples_ns, by_size);
    printf("%zu %.3f %.3f\n", bench.count, (double)bench.samples_ns[bench.count / 2] / 1e6,
           (double)bench.samples_ns[bench.count * 99 / 100] / 1e6);
    fflush(stdout);
    free(bench.samples_ns);
}

static void play_coordinator(struct link *link, const char *campaign, const char *state_dir)
{
    struct coordinator_options options = { .campaign_path = campaign,
                                           .state_dir = state_dir,
                                           .trainer = "penstock-train",
                                           .workers = 1,
                                           .progress = DISPLAY_NONE };
    struct coordinator *coordinator = NULL;
    struct error error;
    int status = 0;
    bool all_left = false;
    if (coordinator_open(&options, &coordinator, &error) != ERR_OK) quit(error.text);
    if (coordinator_live(coordinator, link, &status, &all_left, &error) != ERR_OK)
        quit(error.text);
    coordinator_close(coordinator, status);
    if (status != 0) quit("the campaign did not end well");
}

static int bench_latency(const char *campaign, const char *state_dir)
{
    struct link link;
    struct error error;
    if (link_mpi_open(&link, NULL, &error) != ERR_OK) quit(error.text);
    if (link.rank == 0)
        play_coordinator(&link, campaign, state_dir);
    else
        play_agent(&link);
    link_mpi_close(&link);
    return 0;
}

int main(int argc, char **argv)
{
    int64_t count = 0, in_flight = 0;
    if (argc == 4 && strcmp(argv[1], "spawn") == 0 && text_to_i64(text_of(argv[2]), &count) &&
        text_to_i64(text_of(argv[3]), &in_flight) && count > 0 && in_flight > 0)
        return bench_spawn(count, in_flight);
    if (argc == 4 && strcmp(argv[1], "latency") == 0) return bench_latency(argv[2], argv[3]);
    quit("usage: dispatch_bench spawn COUNT IN_FLIGHT | latency CAMPAIGN STATE");
}
