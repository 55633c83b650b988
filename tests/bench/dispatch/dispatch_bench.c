/*
 * dispatch_bench.c - three yardsticks for run.sh:
 *
 *   dispatch_bench spawn COUNT IN_FLIGHT
 *       bare posix_spawn of `true`: runs per second with so many alive at a time, and microseconds of CPU
 *       time that each took
 *   dispatch_bench contract COUNT IN_FLIGHT DIR LAUNCHER
 *       the same processes as the trainer contract promises them: each by a launcher, with a folder, a lock,
 *       two logs, two pipes and an environment of its own, its whole family seen to be gone. No messages
 *       between ranks, no money, no ledger.
 *   mpirun -n 2 dispatch_bench latency CAMPAIGN STATE
 *       rank 0 is the real coordinator, rank 1 an agent that starts nothing: it reports a gate that
 *       the run cannot pass, and waits for the command to stop. Prints p50 and p99 from the message to
 *       the command, over all runs of the campaign.
 */
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/wire/codec.h"
#include "proto/wire/link_mpi.h"
#include "scheduler/coordinator/clock.h"
#include "scheduler/coordinator/loop.h"
#include "worker/spawn/launcher.h"

extern char **environ;

enum { SAMPLES_MAX = 1 << 20 };

never_returns static void quit(const char *what)
{
    fprintf(stderr, "dispatch_bench: %s\n", what);
    _exit(2);
}

/* Microseconds of this process and of all that it has reaped. */
static double cpu_us(void)
{
    struct rusage own, reaped;
    getrusage(RUSAGE_SELF, &own);
    getrusage(RUSAGE_CHILDREN, &reaped);
    const struct timeval parts[] = { own.ru_utime, own.ru_stime, reaped.ru_utime,
                                     reaped.ru_stime };
    double us = 0;
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        us += (double)parts[i].tv_sec * 1e6 + (double)parts[i].tv_usec;
    return us;
}

static void print_rate(int64_t count, int64_t span_ns)
{
    printf("%.1f %.0f\n", (double)count * 1e9 / (double)span_ns, cpu_us() / (double)count);
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
    print_rate(count, clock_boot_ns() - begin_ns);
    return 0;
}

/* ---- the contract alone ------------------------------------------------------------------------- */

enum { PLACES_MAX = 64, PIPES = 2, PATH_BYTES = 512 };

/* What an agent holds for its trainer. */
struct place {
    struct launcher launcher;
    int pipes[PIPES];
    bool busy;
};

static const char *const variables[] = { "RANK=0",
                                         "WORLD_SIZE=1",
                                         "LOCAL_RANK=0",
                                         "MASTER_ADDR=127.0.0.1",
                                         "MASTER_PORT=29500",
                                         "OMP_NUM_THREADS=1",
                                         "PENSTOCK_EVENTS=/dev/fd/10",
                                         "PENSTOCK_FD=/dev/fd/11",
                                         NULL };

static void begin_run(struct place *place, const char *dir, int64_t number)
{
    static const char *const argv[] = { "true", NULL };
    char run[PATH_BYTES], sub[PATH_BYTES + 16], out[PATH_BYTES + 16], err[PATH_BYTES + 16],
        lock[PATH_BYTES + 16];
    int for_trainer[PIPES];
    struct error error;
    snprintf(run, sizeof run, "%.400s/run-%lld", dir, (long long)number);
    snprintf(sub, sizeof sub, "%s/checkpoints", run);
    snprintf(out, sizeof out, "%s/out", run);
    snprintf(err, sizeof err, "%s/err", run);
    snprintf(lock, sizeof lock, "%s/lock", run);
    if (mkdir(run, 0750) != 0 || mkdir(sub, 0750) != 0) quit("mkdir");
    for (size_t i = 0; i < PIPES; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0) quit("pipe2");
        place->pipes[i] = ends[0];
        for_trainer[i] = ends[1];
    }
    struct launch launch = { .id = (uint64_t)number + 1,
                             .argv = argv,
                             .env = variables,
                             .directory = run,
                             .out_path = out,
                             .err_path = err,
                             .lock_path = lock,
                             .lock_until_ns = TIME_NEVER,
                             .marker = "PENSTOCK_ATTEMPT_ID=bench",
                             .limit_ns = TIME_NEVER,
                             .fds = for_trainer,
                             .fd_count = PIPES };
    if (launcher_spawn(&place->launcher, &launch, &error) != ERR_OK) quit(error.text);
    for (size_t i = 0; i < PIPES; i++)
        close(for_trainer[i]);
    place->busy = true;
}

/* True when the run is over. */
static bool hear_run(struct place *place)
{
    struct launch_report report;
    struct error error;
    enum err rc = launcher_report(&place->launcher, &report, &error);
    if (rc == ERR_NOT_FOUND) return false;
    if (rc != ERR_OK) quit(error.text);
    if (report.kind == LAUNCH_FAILED) quit(report.text);
    if (report.kind != LAUNCH_EXITED) return false;
    for (size_t i = 0; i < PIPES; i++)
        close(place->pipes[i]);
    place->busy = false;
    return true;
}

static int bench_contract(int64_t count, int64_t in_flight, const char *dir,
                          const char *launcher)
{
    static struct place places[PLACES_MAX];
    struct pollfd watch[PLACES_MAX];
    struct error error;
    if (in_flight > PLACES_MAX) quit("too many in flight");
    for (int64_t i = 0; i < in_flight; i++) {
        if (launcher_start(&places[i].launcher, launcher, &error) != ERR_OK) quit(error.text);
        watch[i] = (struct pollfd){ .fd = places[i].launcher.fd, .events = POLLIN };
    }
    int64_t started = 0, ended = 0, begin_ns = clock_boot_ns();
    while (ended < count) {
        for (int64_t i = 0; i < in_flight && started < count; i++)
            if (!places[i].busy) begin_run(&places[i], dir, started++);
        if (poll(watch, (nfds_t)in_flight, -1) < 0) quit("poll");
        for (int64_t i = 0; i < in_flight; i++)
            if (watch[i].revents) ended += hear_run(&places[i]);
    }
    int64_t span_ns = clock_boot_ns() - begin_ns;
    for (int64_t i = 0; i < in_flight; i++)
        if (!launcher_stop(&places[i].launcher, 10 * NS_PER_S)) quit("a launcher stays");
    print_rate(count, span_ns);
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
    if (argc == 6 && strcmp(argv[1], "contract") == 0 &&
        text_to_i64(text_of(argv[2]), &count) && text_to_i64(text_of(argv[3]), &in_flight) &&
        count > 0 && in_flight > 0)
        return bench_contract(count, in_flight, argv[4], argv[5]);
    if (argc == 4 && strcmp(argv[1], "latency") == 0) return bench_latency(argv[2], argv[3]);
    quit(
        "usage: dispatch_bench spawn COUNT IN_FLIGHT | contract COUNT IN_FLIGHT DIR LAUNCHER | "
        "latency CAMPAIGN STATE");
}
