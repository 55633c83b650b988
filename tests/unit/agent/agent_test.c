/*
 * An agent driven by a scripted coordinator over an in-process link, with real launchers and real trainers,
 * which are /bin/sh scripts. Nothing sleeps to wait: every wait polls a condition with a deadline.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/text.h"
#include "proto/wire/codec.h"
#include "proto/wire/link_memory.h"
#include "worker/agent/agent.h"
#include "worker/spawn/process.h"

#define PATIENCE_NS (60 * NS_PER_S)
#define FOREVER_NS (3600 * NS_PER_S)

enum { EPOCH = 7, RUN = 3 };

struct stage {
    char dir[64];
    struct link_memory *office;
    struct link coordinator, own;
    struct launcher launcher;
    struct agent *agent;
    uint64_t beat;                            /* last heartbeat heard */
    Penstock__Wire__ToCoordinator *heartbeat; /* the last one */
    uint32_t exits;                           /* MemberExited heard in all */
    uint8_t frame[LINK_MESSAGE_BYTES_MAX];
};

/* ---- the coordinator's side ---- */

static Penstock__Wire__ToCoordinator *hear(struct stage *stage)
{
    uint32_t from = 0;
    size_t n = 0;
    struct error error;
    Penstock__Wire__ToCoordinator *message = NULL;
    enum err rc =
        link_receive(&stage->coordinator, &from, stage->frame, sizeof stage->frame, &n, &error);
    if (rc == ERR_NOT_FOUND) return NULL;
    assert_int_equal(rc, ERR_OK);
    assert_int_equal(from, 1);
    assert_int_equal(codec_read_to_coordinator(stage->frame, n, &message, &error), ERR_OK);
    if (message->body_case == PENSTOCK__WIRE__TO_COORDINATOR__BODY_EXITED) stage->exits++;
    return message;
}

static void step(struct stage *stage)
{
    struct error error = { 0 };
    if (agent_step(stage->agent, &error) != ERR_OK) fail_msg("agent_step: %s", error.text);
    if (!agent_is_done(stage->agent))
        assert_int_equal(agent_wait(stage->agent, 2 * NS_PER_MS, &error), ERR_OK);
}

/* Lets the agent live until it sends a message of this kind; the caller frees it. Others are dropped,
 * heartbeats noted. */
static Penstock__Wire__ToCoordinator *await(struct stage *stage, int kind)
{
    int64_t until_ns = boot_clock_ns() + PATIENCE_NS;
    while (boot_clock_ns() < until_ns) {
        for (Penstock__Wire__ToCoordinator *message; (message = hear(stage));) {
            bool wanted = (int)message->body_case == kind;
            if (message->body_case == PENSTOCK__WIRE__TO_COORDINATOR__BODY_HEARTBEAT) {
                stage->beat = message->heartbeat->sequence;
                if (!wanted) {
                    codec_free_to_coordinator(stage->heartbeat);
                    stage->heartbeat = message;
                    continue;
                }
            }
            if (wanted) return message;
            if (message->body_case == PENSTOCK__WIRE__TO_COORDINATOR__BODY_EXITED)
                fail_msg("unexpected exit: %s", message->exited->detail);
            codec_free_to_coordinator(message);
        }
        step(stage);
    }
    fail_msg("no message of kind %d in time", kind);
    return NULL;
}

static void tell(struct stage *stage, uint64_t epoch, int body_case, void *body)
{
    Penstock__Wire__ToAgent message = PENSTOCK__WIRE__TO_AGENT__INIT;
    struct error error = { 0 };
    message.epoch = epoch;
    message.body_case = (Penstock__Wire__ToAgent__BodyCase)body_case;
    message.welcome = body; /* all members of the union are pointers */
    if (codec_send_to_agent(&stage->coordinator, 1, &message, &error) != ERR_OK)
        fail_msg("send: %s", error.text);
}

struct order {
    const char *script;
    uint32_t attempt, member;
    int64_t lease_ns, start_ns, step_ns, grace_ns;
    const char *resume;
    uint64_t resume_step;
    bool resume_pinned;
    uint64_t epoch;
    const char *program; /* instead of /bin/sh -c script */
    uint32_t gang_count; /* 0: one */
};

static void launch(struct stage *stage, struct order order)
{
    Penstock__Wire__Launch launch = PENSTOCK__WIRE__LAUNCH__INIT;
    Penstock__Wire__Spec spec = PENSTOCK__WIRE__SPEC__INIT;
    Penstock__Wire__GatePoint gates[2] = { PENSTOCK__WIRE__GATE_POINT__INIT,
                                           PENSTOCK__WIRE__GATE_POINT__INIT };
    Penstock__Wire__GatePoint *gate_list[2] = { &gates[0], &gates[1] };
    char name[] = "demo", shell[] = "/bin/sh", flag[] = "-c", script[4096], program[256];
    char first[] = "first", second[] = "second", resume[256];
    char *argv[] = { shell, flag, script };
    uint32_t gang[] = { 2, 3, 4, 5 }; /* this agent is worker 1 */
    gang[order.member] = 1;
    snprintf(script, sizeof script, "%s", order.script ? order.script : "");
    snprintf(program, sizeof program, "%s", order.program ? order.program : "");
    snprintf(resume, sizeof resume, "%s", order.resume ? order.resume : "");
    if (order.program) argv[0] = program;
    spec.n_argv = order.program ? 1 : 3;
    spec.argv = argv;
    spec.start_deadline_ns = (uint64_t)(order.start_ns ? order.start_ns : FOREVER_NS);
    spec.step_deadline_min_ns = (uint64_t)(order.step_ns ? order.step_ns : FOREVER_NS);
    spec.step_deadline_factor = 10;
    spec.stop_grace_ns = (uint64_t)(order.grace_ns ? order.grace_ns : 5 * NS_PER_S);
    gates[0].name = first;
    gates[0].step = 10;
    gates[1].name = second;
    gates[1].tokens = 5000;
    launch.run = RUN;
    launch.run_name = name;
    launch.attempt = order.attempt ? order.attempt : 1;
    launch.member = order.member;
    launch.n_gang = order.gang_count ? order.gang_count : 1;
    launch.gang = gang;
    launch.answers_heartbeat = stage->beat;
    launch.lease_ns = (uint64_t)(order.lease_ns ? order.lease_ns : FOREVER_NS);
    launch.spec = &spec;
    launch.resume = resume;
    launch.resume_step = order.resume_step;
    launch.resume_pinned = order.resume_pinned;
    launch.n_gates = 2;
    launch.gates = gate_list;
    tell(stage, order.epoch ? order.epoch : EPOCH, PENSTOCK__WIRE__TO_AGENT__BODY_LAUNCH,
         &launch);
}

static void stop(struct stage *stage, uint64_t epoch, uint32_t attempt, bool at_once)
{
    Penstock__Wire__Stop stop = PENSTOCK__WIRE__STOP__INIT;
    char why[] = "test";
    stop.run = RUN;
    stop.attempt = attempt;
    stop.at_once = at_once;
    stop.reason = why;
    tell(stage, epoch, PENSTOCK__WIRE__TO_AGENT__BODY_STOP, &stop);
}

/* ---- what the tests check ---- */

static Penstock__Wire__ToCoordinator *await_exit(struct stage *stage, uint32_t attempt,
                                                 int cause)
{
    Penstock__Wire__ToCoordinator *message =
        await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_EXITED);
    if ((int)message->exited->cause != cause)
        fail_msg("cause %d where %d is due: %s", (int)message->exited->cause, cause,
                 message->exited->detail);
    assert_int_equal(message->epoch, EPOCH);
    assert_int_equal(message->exited->run, RUN);
    assert_int_equal(message->exited->attempt, attempt);
    return message;
}

static void drop_exit(struct stage *stage, uint32_t attempt, int cause)
{
    codec_free_to_coordinator(await_exit(stage, attempt, cause));
}

static pid_t await_start(struct stage *stage)
{
    Penstock__Wire__ToCoordinator *message =
        await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_STARTED);
    pid_t pid = (pid_t)message->started->pid;
    codec_free_to_coordinator(message);
    return pid;
}

/* Waits for a heartbeat whose telemetry has come to this step, and notes it. */
static void await_step(struct stage *stage, uint64_t step_count)
{
    for (int i = 0; i < 10000; i++) {
        Penstock__Wire__ToCoordinator *message =
            await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_HEARTBEAT);
        bool there =
            message->heartbeat->telemetry && message->heartbeat->telemetry->step >= step_count;
        codec_free_to_coordinator(stage->heartbeat);
        stage->heartbeat = message;
        if (there) return;
    }
    fail_msg("step not reached");
}

static bool is_alive(pid_t pid)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    const char *end = n > 0 ? strrchr(text, ')') : NULL;
    return end && end[2] != 'Z' && end[2] != 'X';
}

static void path_of(const struct stage *stage, const char *name, char path[512])
{
    snprintf(path, 512, "%s/runs/demo/%s", stage->dir, name);
}

static void read_file(const struct stage *stage, const char *name, char *text, size_t bytes)
{
    char path[512];
    path_of(stage, name, path);
    text[0] = '\0';
    int fd = open(path, O_RDONLY);
    if (fd < 0) return;
    ssize_t n = read(fd, text, bytes - 1);
    text[n > 0 ? n : 0] = '\0';
    close(fd);
}

static void write_file(const struct stage *stage, const char *name, const char *text)
{
    char path[512];
    path_of(stage, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* Waits until the trainer has written a whole line with a number into a file of its directory. */
static long await_number(struct stage *stage, const char *name)
{
    int64_t until_ns = boot_clock_ns() + PATIENCE_NS;
    char text[128];
    while (boot_clock_ns() < until_ns) {
        read_file(stage, name, text, sizeof text);
        if (strchr(text, '\n')) return strtol(text, NULL, 10);
        step(stage);
    }
    fail_msg("no number in %s", name);
    return 0;
}

/* ---- the stage ---- */

/* What the fake NVML plays; NULL: it has no devices. Never the driver of the machine that tests. */
static const char *gpus;

/* The slot is what `probe` prints, a script; NULL: it fails. */
static int set_up_slot(void **state, const char *probe)
{
    struct stage *stage = calloc(1, sizeof *stage);
    struct error error = { 0 };
    const char *base = getenv("TMPDIR");
    snprintf(stage->dir, sizeof stage->dir, "%.40s/agent-test-XXXXXX", base ? base : "/tmp");
    log_setup(log_level_of(getenv("PENSTOCK_LOG"), LOG_LEVEL_ERROR), "test");
    if (!mkdtemp(stage->dir)) return -1;
    char trainer[128] = "/bin/false";
    if (probe) {
        snprintf(trainer, sizeof trainer, "%s/penstock-train", stage->dir);
        int fd = open(trainer, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
        if (fd < 0 || write(fd, probe, strlen(probe)) != (ssize_t)strlen(probe)) return -1;
        close(fd);
    }
    char script[128];
    snprintf(script, sizeof script, "%s/nvml", stage->dir);
    if (gpus) {
        FILE *file = fopen(script, "w");
        if (!file || fputs(gpus, file) < 0 || fclose(file) != 0) return -1;
    }
    if (setenv("PENSTOCK_FAKE_NVML", script, 1) != 0) return -1;
    if (launcher_start(&stage->launcher, NULL, &error) != ERR_OK) return -1;
    if (link_memory_create(&stage->office, 2, 4096, &error) != ERR_OK) return -1;
    stage->coordinator = link_memory_of(stage->office, 0);
    stage->own = link_memory_of(stage->office, 1);
    struct agent_options options = { .link = &stage->own,
                                     .launcher = &stage->launcher,
                                     .slot_count = 1,
                                     .host = "here",
                                     .trainer_path = trainer,
                                     .nvml_path = FAKE_NVML,
                                     .keep_signals = true };
    if (agent_create(&stage->agent, &options, &error) != ERR_OK) return -1;
    *state = stage;
    return 0;
}

static int set_up(void **state)
{
    return set_up_slot(state, NULL);
}

static void welcome(struct stage *stage)
{
    Penstock__Wire__Welcome welcome = PENSTOCK__WIRE__WELCOME__INIT;
    codec_free_to_coordinator(await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO));
    welcome.state_dir = stage->dir;
    welcome.heartbeat_ns = (uint64_t)(20 * NS_PER_MS);
    tell(stage, EPOCH, PENSTOCK__WIRE__TO_AGENT__BODY_WELCOME, &welcome);
    codec_free_to_coordinator(await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_HEARTBEAT));
}

static int set_up_welcome(void **state)
{
    if (set_up(state) != 0) return -1;
    welcome(*state);
    return 0;
}

static int set_up_gpu(void **state)
{
    if (set_up_slot(state, "#!/bin/sh\n"
                           "echo '{\"backend\":\"cuda\",\"device\":\"a GPU\",\"device_class\":"
                           "\"gpu\",\"pci_bus_id\":\"0000:3B:00.0\",\"peak_flops\":1e12,"
                           "\"memory_bytes\":1024}'\n") != 0)
        return -1;
    welcome(*state);
    return 0;
}

static int set_up_watched(void **state)
{
    gpus = "device 00000000:3B:00.0\nname NVIDIA H100 80GB HBM3\nuuid GPU-a\n"
           "memory 85520809984\npower 650000\nlimit 700000\ndefault 700000\nclock 1700\n"
           "clock_max 1980\nbusy 100\nsm 90\ntensor 60\nfp32 0\nxid 79\n";
    int rc = set_up(state);
    gpus = NULL;
    return rc;
}

static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *ftw)
{
    (void)facts;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    codec_free_to_coordinator(stage->heartbeat);
    agent_destroy(stage->agent);
    bool ended = launcher_stop(&stage->launcher, PATIENCE_NS);
    link_memory_destroy(stage->office);
    nftw(stage->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(stage);
    return ended ? 0 : -1;
}

/* ---- tests ---- */

static void test_hello_says_what_the_slot_is(void **state)
{
    struct stage *stage = *state;
    Penstock__Wire__ToCoordinator *message =
        await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO);
    Penstock__Wire__Hello *hello = message->hello;
    assert_int_equal(message->epoch, 0);
    assert_int_equal(hello->worker, 1);
    assert_string_equal(hello->host, "here");
    assert_string_equal(hello->device_class, "cpu");
    assert_string_equal(hello->backend, "cpu");
    assert_true(hello->threads >= 1);
    assert_string_equal(hello->version, PENSTOCK_VERSION);
    /* /bin/false is no penstock-train: the slot's speed is unknown, and the reason is given. */
    assert_true(hello->peak_flops == 0);
    assert_non_null(strstr(hello->backend_reason, "status 1"));
    codec_free_to_coordinator(message);
}

static void test_normal_run(void **state)
{
    struct stage *stage = *state;
    launch(stage,
           (struct order){
               .script =
                   "echo out; echo err >&2; e=$PENSTOCK_EVENTS; "
                   "echo '{\"ready\":true,\"step\":0,\"flops_per_token\":6e6}' >$e; "
                   "echo '{\"step\":10,\"loss\":2.5,\"tokens\":1000,\"busy_ns\":5}' >$e; "
                   "echo weights >checkpoints/step-10; "
                   "echo '{\"gate\":\"first\",\"step\":10,\"tokens\":1000,\"val_loss\":2.4,"
                   "\"checkpoint\":\"checkpoints/step-10\"}' >$e; "
                   "echo weights >checkpoints/step-20; "
                   "echo \"{\\\"checkpoint\\\":\\\"$PENSTOCK_DIR/checkpoints/step-20\\\","
                   "\\\"step\\\":20,\\\"tokens\\\":2000}\" >$e; exit 0" });
    pid_t pid = await_start(stage);
    Penstock__Wire__ToCoordinator *message =
        await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_GATE);
    assert_string_equal(message->gate->gate, "first");
    assert_int_equal(message->gate->val_loss_micro, 2400000);
    assert_true(message->gate->has_val_loss);
    assert_string_equal(message->gate->checkpoint, "checkpoints/step-10");
    codec_free_to_coordinator(message);
    message = await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_CHECKPOINT);
    assert_string_equal(message->checkpoint->path, "checkpoints/step-20");
    assert_int_equal(message->checkpoint->tokens, 2000);
    codec_free_to_coordinator(message);
    char text[512];
    read_file(stage, "checkpoint.latest", text, sizeof text);
    assert_string_equal(text, "20 2000 checkpoints/step-20\n");
    message = await_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
    assert_int_equal(message->exited->exit_code, 0);
    assert_int_equal(message->exited->signal, 0);
    assert_string_equal(message->exited->checkpoint, "checkpoints/step-20");
    assert_int_equal(message->exited->checkpoint_step, 20);
    assert_int_equal(message->exited->telemetry->step, 20);
    assert_int_equal(message->exited->telemetry->loss_micro, 2500000);
    assert_true(message->exited->telemetry->held_ns > 0);
    assert_true(message->exited->telemetry->flops_per_token == 6e6);
    assert_string_equal(message->exited->stderr_tail, "err\n");
    codec_free_to_coordinator(message);
    read_file(stage, "attempt-0001.rank-0.out", text, sizeof text);
    assert_string_equal(text, "out\n");
    assert_false(is_alive(pid));
}

static void test_environment_is_the_contract(void **state)
{
    struct stage *stage = *state;
    char text[8192];
    setenv("OMPI_COMM_WORLD_RANK", "1", 1);
    launch(stage, (struct order){ .script = "env; pwd; ls -l /proc/self/fd", .attempt = 2 });
    drop_exit(stage, 2, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
    unsetenv("OMPI_COMM_WORLD_RANK");
    read_file(stage, "attempt-0002.rank-0.out", text, sizeof text);
    const char *lines[] = { "\nRANK=0\n",
                            "\nWORLD_SIZE=1\n",
                            "\nLOCAL_RANK=0\n",
                            "\nGROUP_RANK=0\n",
                            "\nMASTER_ADDR=127.0.0.1\n",
                            "\nPENSTOCK_RUN=demo\n",
                            "\nPENSTOCK_ATTEMPT=2\n",
                            "\nPENSTOCK_RESUME=\n",
                            "\nPENSTOCK_RESUME_STEP=0\n",
                            "\nPENSTOCK_GATES=first@10 second@tokens:5000\n",
                            "\nPENSTOCK_EVENTS=/dev/fd/10\n",
                            "\nPENSTOCK_FD=/dev/fd/11\n",
                            "\nOMP_NUM_THREADS=" };
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++)
        if (!strstr(text, lines[i])) fail_msg("%s is not in %s", lines[i], text);
    assert_null(strstr(text, "PENSTOCK_COMM_FD"));
    assert_null(strstr(text, "OMPI_"));
    assert_non_null(strstr(text, "/runs/demo\n"));
}

static void test_crash_brings_its_last_words(void **state)
{
    struct stage *stage = *state;
    launch(stage,
           (struct order){
               .script =
                   "i=0; while [ $i -lt 200 ]; do echo \"line $i of the noise\" >&2; "
                   "i=$((i+1)); done; printf 'bad byte \\377 end\\n' >&2; "
                   "echo '{\"failure\":\"data is missing\"}' >$PENSTOCK_EVENTS; exit 3" });
    Penstock__Wire__ToCoordinator *message =
        await_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
    assert_int_equal(message->exited->exit_code, 3);
    const char *tail = message->exited->stderr_tail;
    assert_true(strlen(tail) < STDERR_TAIL_BYTES);
    assert_true(strlen(tail) > 1500);
    assert_int_equal(strncmp(tail, "line ", 5), 0);
    assert_non_null(strstr(tail, "line 199 of the noise\nbad byte ? end\n"));
    assert_non_null(strstr(message->exited->detail, "status 3"));
    assert_non_null(strstr(message->exited->detail, "data is missing"));
    codec_free_to_coordinator(message);
}

static void test_death_by_signal(void **state)
{
    struct stage *stage = *state;
    launch(stage, (struct order){ .script = "kill -SEGV $$" });
    Penstock__Wire__ToCoordinator *message =
        await_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
    assert_int_equal(message->exited->exit_code, -1);
    assert_int_equal(message->exited->signal, SIGSEGV);
    codec_free_to_coordinator(message);
}

static void test_program_that_does_not_exist(void **state)
{
    struct stage *stage = *state;
    launch(stage, (struct order){ .program = "no-such-trainer" });
    Penstock__Wire__ToCoordinator *message =
        await_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_LAUNCH_FAILED);
    assert_non_null(strstr(message->exited->detail, "no-such-trainer"));
    assert_non_null(strstr(message->exited->detail, strerror(ENOENT)));
    codec_free_to_coordinator(message);
}

static void test_stop_lets_it_checkpoint(void **state)
{
    struct stage *stage = *state;
    launch(stage,
           (struct order){
               .script =
                   "trap 'echo w >checkpoints/last; "
                   "echo \"{\\\"checkpoint\\\":\\\"checkpoints/last\\\",\\\"step\\\":7}\" "
                   ">$PENSTOCK_EVENTS; exit 0' TERM; "
                   "echo '{\"step\":7}' >$PENSTOCK_EVENTS; while :; do sleep 0.02; done" });
    await_step(stage, 7);
    stop(stage, EPOCH, 1, false);
    Penstock__Wire__ToCoordinator *message =
        await_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_STOPPED);
    assert_int_equal(message->exited->exit_code, 0);
    assert_string_equal(message->exited->checkpoint, "checkpoints/last");
    assert_int_equal(message->exited->checkpoint_step, 7);
    codec_free_to_coordinator(message);
}

static const char *const deaf = "trap '' TERM; echo '{\"step\":1}' >$PENSTOCK_EVENTS; "
                                "while :; do sleep 0.02; done";

static void test_ignored_stop_is_killed_after_the_grace(void **state)
{
    struct stage *stage = *state;
    launch(stage, (struct order){ .script = deaf, .grace_ns = 200 * NS_PER_MS });
    await_step(stage, 1);
    int64_t start_ns = boot_clock_ns();
    stop(stage, EPOCH, 1, false);
    Penstock__Wire__ToCoordinator *message =
        await_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_KILLED);
    assert_int_equal(message->exited->signal, SIGKILL);
    assert_true(boot_clock_ns() - start_ns >= 200 * NS_PER_MS);
    codec_free_to_coordinator(message);
}

static void test_stop_at_once(void **state)
{
    struct stage *stage = *state;
    launch(stage, (struct order){ .script = deaf, .grace_ns = FOREVER_NS });
    await_step(stage, 1);
    stop(stage, EPOCH, 1, true);
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_KILLED);
}

static void test_lease_ends_without_grants(void **state)
{
    struct stage *stage = *state;
    launch(stage, (struct order){ .script = "trap 'exit 0' TERM; while :; do sleep 0.02; done",
                                  .lease_ns = 300 * NS_PER_MS });
    await_start(stage);
    Penstock__Wire__ToCoordinator *message =
        await_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_LEASE_EXPIRED);
    assert_int_equal(message->exited->exit_code, 0);
    codec_free_to_coordinator(message);
}

static void grant(struct stage *stage, uint64_t epoch, uint32_t attempt, uint64_t beat,
                  int64_t lease_ns)
{
    Penstock__Wire__Grant grant = PENSTOCK__WIRE__GRANT__INIT;
    grant.run = RUN;
    grant.attempt = attempt;
    grant.answers_heartbeat = beat;
    grant.lease_ns = (uint64_t)lease_ns;
    tell(stage, epoch, PENSTOCK__WIRE__TO_AGENT__BODY_GRANT, &grant);
}

static void test_grants_carry_it_on_and_never_shorten(void **state)
{
    struct stage *stage = *state;
    int64_t start_ns = boot_clock_ns();
    launch(stage, (struct order){ .script = "echo '{\"step\":1}' >$PENSTOCK_EVENTS; "
                                            "while [ ! -e done ]; do sleep 0.02; done; exit 0",
                                  .lease_ns = 500 * NS_PER_MS });
    await_step(stage, 1);
    grant(stage, EPOCH, 1, stage->beat, FOREVER_NS);
    grant(stage, EPOCH, 1, stage->beat, 1); /* an older, shorter one that comes late */
    while (boot_clock_ns() < start_ns + 800 * NS_PER_MS)
        step(stage);
    write_file(stage, "done", "");
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
}

static void test_stale_messages_change_nothing(void **state)
{
    struct stage *stage = *state;
    launch(stage, (struct order){ .script = deaf, .lease_ns = 700 * NS_PER_MS, .grace_ns = 1 });
    await_step(stage, 1);
    uint64_t beat = stage->beat;
    stop(stage, EPOCH - 1, 1, true);                 /* another epoch */
    stop(stage, EPOCH, 2, true);                     /* another attempt */
    grant(stage, EPOCH - 1, 1, beat, FOREVER_NS);    /* another epoch: must not save it */
    grant(stage, EPOCH, 2, beat, FOREVER_NS);        /* another attempt */
    grant(stage, EPOCH, 1, beat + 1000, FOREVER_NS); /* answers what was never sent */
    launch(stage, (struct order){ .script = "exit 0", .attempt = 5, .epoch = EPOCH - 1 });
    launch(stage, (struct order){ .script = "exit 0", .attempt = 1 }); /* doubled */
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_LEASE_EXPIRED);
    launch(stage, (struct order){ .script = "exit 0", .attempt = 1 }); /* doubled, and late */
    launch(stage, (struct order){ .script = "exit 0", .attempt = 6 });
    drop_exit(stage, 6, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
    assert_int_equal(stage->exits, 2);
}

static void test_second_launch_is_refused(void **state)
{
    struct stage *stage = *state;
    launch(stage, (struct order){ .script = deaf });
    await_step(stage, 1);
    launch(stage, (struct order){ .script = "exit 0", .attempt = 2 });
    Penstock__Wire__ToCoordinator *message =
        await_exit(stage, 2, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_LAUNCH_FAILED);
    assert_non_null(strstr(message->exited->detail, "still alive"));
    codec_free_to_coordinator(message);
    stop(stage, EPOCH, 1, true);
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_KILLED);
}

static void test_start_up_time_out(void **state)
{
    struct stage *stage = *state;
    launch(stage, (struct order){ .script = "while :; do sleep 0.02; done",
                                  .start_ns = 200 * NS_PER_MS });
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_START_TIMEOUT);
}

static void test_hang_is_noticed(void **state)
{
    struct stage *stage = *state;
    launch(stage, (struct order){ .script = "echo '{\"step\":4}' >$PENSTOCK_EVENTS; "
                                            "while :; do sleep 0.02; done",
                                  .start_ns = FOREVER_NS,
                                  .step_ns = 300 * NS_PER_MS });
    Penstock__Wire__ToCoordinator *message =
        await_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_HANG);
    assert_non_null(strstr(message->exited->detail, "no step after 4"));
    codec_free_to_coordinator(message);
}

/* Reports of the step that was reached before are no progress. */
static void test_repeated_step_is_a_hang(void **state)
{
    struct stage *stage = *state;
    launch(stage,
           (struct order){ .script = "while :; do echo '{\"step\":4}' >$PENSTOCK_EVENTS; "
                                     "sleep 0.02; done",
                           .step_ns = 300 * NS_PER_MS });
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_HANG);
}

static void test_detached_grandchild_does_not_outlive(void **state)
{
    struct stage *stage = *state;
    launch(stage, (struct order){
                      .script = "(setsid sh -c 'trap \"\" TERM HUP; echo $$ >grandchild; "
                                "while :; do sleep 0.02; done' </dev/null >/dev/null 2>&1 &) ; "
                                "while [ ! -s grandchild ]; do sleep 0.01; done; exit 0" });
    long pid = await_number(stage, "grandchild");
    assert_true(pid > 1);
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
    assert_false(is_alive((pid_t)pid));
}

static void test_lost_launcher(void **state)
{
    struct stage *stage = *state;
    launch(stage,
           (struct order){
               .script =
                   "(setsid sh -c 'echo $$ >grandchild; while :; do sleep 0.02; done' "
                   "</dev/null >/dev/null 2>&1 &) ; "
                   "echo '{\"step\":9}' >$PENSTOCK_EVENTS; while :; do sleep 0.02; done" });
    pid_t pid = await_start(stage);
    long grandchild = await_number(stage, "grandchild");
    await_step(stage, 9);
    kill(stage->launcher.pid, SIGKILL);
    Penstock__Wire__ToCoordinator *message =
        await_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_AGENT_LOST_LAUNCHER);
    assert_int_equal(message->exited->telemetry->step, 9);
    codec_free_to_coordinator(message);
    assert_false(is_alive(pid));
    assert_false(is_alive((pid_t)grandchild));
    codec_free_to_coordinator(await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_GOODBYE));
    assert_true(agent_is_done(stage->agent));
}

static void test_dead_agent_takes_its_trainers_along(void **state)
{
    struct stage *stage = *state;
    launch(stage,
           (struct order){ .script = "trap 'echo 1 >stopped; exit 0' TERM; echo $$ >pid; "
                                     "while :; do sleep 0.02; done" });
    long pid = await_number(stage, "pid");
    /* The agent's end as the launcher sees it: the socket ends. */
    close(stage->launcher.fd);
    stage->launcher.fd = -1;
    int64_t until_ns = boot_clock_ns() + PATIENCE_NS;
    while (is_alive((pid_t)pid) && boot_clock_ns() < until_ns)
        usleep(1000);
    assert_false(is_alive((pid_t)pid));
    char text[64];
    read_file(stage, "stopped", text, sizeof text);
    assert_string_equal(text, "1\n"); /* it was asked before it was made to */
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_AGENT_LOST_LAUNCHER);
}

/* A hung agent cannot overdraw: the launcher holds the limit too. */
static void test_launcher_keeps_the_limit_of_a_hung_agent(void **state)
{
    struct stage *stage = *state;
    launch(stage,
           (struct order){ .script = "trap '' TERM; echo $$ >pid; while :; do sleep 0.02; done",
                           .lease_ns = 400 * NS_PER_MS,
                           .grace_ns = 100 * NS_PER_MS });
    long pid = await_number(stage, "pid");
    int64_t until_ns = boot_clock_ns() + PATIENCE_NS;
    while (is_alive((pid_t)pid) && boot_clock_ns() < until_ns)
        usleep(1000); /* the agent is not stepped */
    assert_false(is_alive((pid_t)pid));
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_LEASE_EXPIRED);
}

static void test_lock_of_an_earlier_trainer(void **state)
{
    struct stage *stage = *state;
    char path[512];
    launch(stage, (struct order){ .script = "exit 0" });
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
    path_of(stage, "rank-0.lock", path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0); /* its lock is free: it is gone */
    launch(stage,
           (struct order){ .script = "exit 0", .attempt = 2, .lease_ns = 300 * NS_PER_MS });
    Penstock__Wire__ToCoordinator *message =
        await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_EXITED);
    assert_int_equal(message->exited->exit_code, -1);
    assert_true(message->exited->cause ==
                    PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_LAUNCH_FAILED ||
                message->exited->cause == PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_LEASE_EXPIRED);
    codec_free_to_coordinator(message);
    launch(stage, (struct order){ .script = "exit 0", .attempt = 3 });
    for (int i = 0; i < 20; i++)
        step(stage); /* it waits for the lock */
    assert_int_equal(stage->exits, 2);
    close(fd);
    drop_exit(stage, 3, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
}

static Penstock__Wire__ToCoordinator *probe(struct stage *stage, uint32_t member)
{
    Penstock__Wire__Probe probe = PENSTOCK__WIRE__PROBE__INIT;
    char name[] = "demo";
    probe.run = RUN;
    probe.run_name = name;
    probe.attempt = 1;
    probe.member = member;
    tell(stage, EPOCH, PENSTOCK__WIRE__TO_AGENT__BODY_PROBE, &probe);
    return await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_PROBE);
}

static void test_probe(void **state)
{
    struct stage *stage = *state;
    Penstock__Wire__ToCoordinator *message = probe(stage, 0);
    assert_true(message->probe->gone); /* nothing was ever started */
    assert_string_equal(message->probe->checkpoint, "");
    codec_free_to_coordinator(message);
    launch(stage, (struct order){ .script = deaf });
    await_step(stage, 1);
    write_file(stage, "checkpoint.latest", "40 4000 checkpoints/step-40\n");
    message = probe(stage, 0);
    assert_false(message->probe->gone);
    assert_int_equal(message->probe->checkpoint_step, 40);
    assert_int_equal(message->probe->checkpoint_tokens, 4000);
    assert_string_equal(message->probe->checkpoint, "checkpoints/step-40");
    codec_free_to_coordinator(message);
    stop(stage, EPOCH, 1, true);
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_KILLED);
    message = probe(stage, 0);
    assert_true(message->probe->gone);
    codec_free_to_coordinator(message);
}

static void resumes_at(struct stage *stage, struct order order, const char *path,
                       const char *at_step)
{
    char text[8192], name[64], line[600];
    order.script = "env";
    launch(stage, order);
    drop_exit(stage, order.attempt, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
    snprintf(name, sizeof name, "attempt-%04u.rank-0.out", order.attempt);
    read_file(stage, name, text, sizeof text);
    snprintf(line, sizeof line, "\nPENSTOCK_RESUME=%s%s%s\n", path[0] ? stage->dir : "",
             path[0] ? "/runs/demo/" : "", path);
    if (!strstr(text, line)) fail_msg("%s is not in %s", line, text);
    snprintf(line, sizeof line, "\nPENSTOCK_RESUME_STEP=%s\n", at_step);
    if (!strstr(text, line)) fail_msg("%s is not in %s", line, text);
}

static void test_choice_of_the_checkpoint(void **state)
{
    struct stage *stage = *state;
    resumes_at(stage, (struct order){ .attempt = 1 }, "", "0");
    write_file(stage, "checkpoints/old", "x");
    write_file(stage, "checkpoints/new", "x");
    struct order order = { .attempt = 2, .resume = "checkpoints/old", .resume_step = 10 };
    resumes_at(stage, order, "checkpoints/old", "10"); /* no other is known */
    write_file(stage, "checkpoint.latest", "30 300 checkpoints/new\n");
    order.attempt = 3;
    resumes_at(stage, order, "checkpoints/new", "30"); /* a newer one on disk */
    write_file(stage, "checkpoint.latest", "30 300 checkpoints/gone\n");
    order.attempt = 4;
    resumes_at(stage, order, "checkpoints/old", "10"); /* which must exist */
    write_file(stage, "checkpoint.latest", "nonsense\n");
    order.attempt = 5;
    resumes_at(stage, order, "checkpoints/old", "10");
    write_file(stage, "checkpoint.latest", "30 300 checkpoints/new\n");
    order.attempt = 6;
    order.resume_pinned = true;
    resumes_at(stage, order, "checkpoints/old", "10"); /* exactly this one */
    order.attempt = 7;
    order.resume_pinned = false;
    resumes_at(stage, order, "checkpoints/old", "10"); /* and what was rejected stays so */
}

static void test_malformed_and_lying_events(void **state)
{
    struct stage *stage = *state;
    launch(
        stage,
        (struct order){
            .script =
                "e=$PENSTOCK_EVENTS; echo '{\"step\":5,\"tokens\":50,\"loss\":1.5}' >$e; "
                "echo 'not json' >$e; echo '{\"step\":-1}' >$e; echo '{\"step\":3}' >$e; "
                "echo '{\"step\":' >$e; head -c 100000 /dev/zero | tr '\\0' x >$e; echo >$e; "
                "echo '{\"checkpoint\":\"../../outside\",\"step\":6}' >$e; "
                "echo '{\"checkpoint\":\"checkpoints/none\",\"step\":6}' >$e; "
                "echo '{\"step\":8,\"loss\":NaN,\"surprise\":[1,{\"a\":null}]}' >$e; exit 0" });
    Penstock__Wire__ToCoordinator *message =
        await_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
    assert_int_equal(message->exited->telemetry->step, 8);
    assert_int_equal(message->exited->telemetry->tokens, 50);
    assert_true(message->exited->telemetry->loss_nonfinite);
    assert_string_equal(message->exited->checkpoint, "");
    codec_free_to_coordinator(message);
}

static void test_gate_without_its_file_still_arrives(void **state)
{
    struct stage *stage = *state;
    launch(stage,
           (struct order){ .script = "echo '{\"gate\":\"first\",\"step\":10,\"val_loss\":"
                                     "Infinity,\"checkpoint\":\"none\"}' >$PENSTOCK_EVENTS" });
    Penstock__Wire__ToCoordinator *message =
        await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_GATE);
    assert_string_equal(message->gate->checkpoint, "");
    assert_true(message->gate->loss_nonfinite);
    assert_false(message->gate->has_val_loss);
    codec_free_to_coordinator(message);
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
}

static void test_cpu_time_is_measured(void **state)
{
    struct stage *stage = *state;
    launch(stage,
           (struct order){ .script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done" });
    Penstock__Wire__ToCoordinator *message =
        await_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
    assert_true(message->exited->telemetry->cpu_ns > (uint64_t)(10 * NS_PER_MS));
    codec_free_to_coordinator(message);
}

/* Waits for a heartbeat that tells of the GPU. */
static void await_device(struct stage *stage)
{
    for (bool there = false; !there;) {
        Penstock__Wire__ToCoordinator *message =
            await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_HEARTBEAT);
        there = message->heartbeat->telemetry && message->heartbeat->telemetry->device;
        codec_free_to_coordinator(stage->heartbeat);
        stage->heartbeat = message;
    }
}

/* A trainer's figures begin with it, whatever the GPU did before. */
static void test_gpu_is_watched(void **state)
{
    struct stage *stage = *state;
    Penstock__Wire__ToCoordinator *message =
        await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO);
    assert_non_null(message->hello->gpu);
    assert_string_equal(message->hello->backend, "cpu");
    assert_string_equal(message->hello->gpu->name, "NVIDIA H100 80GB HBM3");
    assert_string_equal(message->hello->gpu->device_class, "h100");
    assert_string_equal(message->hello->gpu->pci_bus_id, "00000000:3b:00.0");
    assert_int_equal(message->hello->gpu->memory_bytes, 85520809984);
    assert_true(message->hello->gpu->peak_flops == 989.4e12);
    assert_true(message->hello->gpu->has_activity);
    codec_free_to_coordinator(message);
    Penstock__Wire__Welcome hail = PENSTOCK__WIRE__WELCOME__INIT;
    hail.state_dir = stage->dir;
    hail.heartbeat_ns = (uint64_t)(20 * NS_PER_MS);
    tell(stage, EPOCH, PENSTOCK__WIRE__TO_AGENT__BODY_WELCOME, &hail);
    codec_free_to_coordinator(await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_HEARTBEAT));
    for (uint32_t attempt = 1; attempt <= 2; attempt++) {
        launch(stage, (struct order){ .attempt = attempt, .script = deaf });
        await_device(stage);
        stop(stage, EPOCH, attempt, true);
        message = await_exit(stage, attempt, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_KILLED);
        const Penstock__Wire__Device *device = message->exited->telemetry->device;
        assert_true(device->watched_ns > 0);
        assert_int_equal(device->busy_ns, device->util_ns);
        assert_int_equal(device->power_limit_mw, 700000);
        /* The driver's report is older than the second. */
        if (attempt == 2) assert_int_equal(device->xid_count, 0);
        codec_free_to_coordinator(message);
    }
}

static void test_shutdown_stops_and_says_goodbye(void **state)
{
    struct stage *stage = *state;
    Penstock__Wire__Shutdown shutdown = PENSTOCK__WIRE__SHUTDOWN__INIT;
    char why[] = "over";
    shutdown.reason = why;
    launch(stage, (struct order){ .script = deaf, .grace_ns = 100 * NS_PER_MS });
    await_step(stage, 1);
    tell(stage, EPOCH, PENSTOCK__WIRE__TO_AGENT__BODY_SHUTDOWN, &shutdown);
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_KILLED);
    Penstock__Wire__ToCoordinator *message =
        await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_GOODBYE);
    assert_string_equal(message->goodbye->reason, "over");
    codec_free_to_coordinator(message);
    assert_true(agent_is_done(stage->agent));
}

static void test_refused_agent_leaves(void **state)
{
    struct stage *stage = *state;
    Penstock__Wire__Welcome welcome = PENSTOCK__WIRE__WELCOME__INIT;
    char why[] = "wrong version";
    welcome.refusal = why;
    codec_free_to_coordinator(await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO));
    tell(stage, EPOCH, PENSTOCK__WIRE__TO_AGENT__BODY_WELCOME, &welcome);
    codec_free_to_coordinator(await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_GOODBYE));
    assert_true(agent_is_done(stage->agent));
}

static void test_garbage_on_the_link_changes_nothing(void **state)
{
    struct stage *stage = *state;
    struct error error;
    assert_int_equal(link_send(&stage->coordinator, 1, "garbage", 7, &error), ERR_OK);
    launch(stage, (struct order){ .script = "exit 0" });
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
}

/* ---- gangs on GPUs ---- */

static void give_comm_id(struct stage *stage, uint64_t epoch, uint32_t run, uint32_t attempt)
{
    static uint8_t bytes[] = { 'i', 0, 'd' };
    Penstock__Wire__CommId id = PENSTOCK__WIRE__COMM_ID__INIT;
    id.run = run;
    id.attempt = attempt;
    id.id = (ProtobufCBinaryData){ sizeof bytes, bytes };
    tell(stage, epoch, PENSTOCK__WIRE__TO_AGENT__BODY_COMM_ID, &id);
}

static void test_gpu_of_the_slot_is_in_its_hello(void **state)
{
    if (set_up_slot(state, "#!/bin/sh\necho '{\"backend\":\"cuda\",\"device_class\":\"gpu\","
                           "\"pci_bus_id\":\"0000:3B:00.0\",\"memory_bytes\":1024}'\n") != 0)
        fail_msg("no stage");
    Penstock__Wire__ToCoordinator *message =
        await(*state, PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO);
    assert_string_equal(message->hello->backend, "cuda");
    assert_string_equal(message->hello->device_class, "gpu");
    assert_string_equal(message->hello->pci_bus_id, "00000000:3b:00.0");
    assert_int_equal(message->hello->memory_bytes, 1024);
    assert_string_not_equal(message->hello->visible_device, "");
    codec_free_to_coordinator(message);
}

/* Member 0's trainer makes the id; what carries another tag, or comes twice, is dropped. */
static void test_gang_id_goes_up_once(void **state)
{
    struct stage *stage = *state;
    launch(stage, (struct order){
                      .script = "say() { echo \"{\\\"comm_id\\\":\\\"$1\\\",\\\"run\\\":$2,"
                                "\\\"attempt\\\":$3}\" >$PENSTOCK_EVENTS; }; "
                                "say 00 3 2; say 01 4 1; "
                                "say 6900ff $PENSTOCK_RUN_INDEX $PENSTOCK_ATTEMPT; "
                                "say 6900ff $PENSTOCK_RUN_INDEX $PENSTOCK_ATTEMPT; "
                                "od -An -tx1 </dev/fd/$PENSTOCK_COMM_ID_FD >got; echo >>got",
                      .gang_count = 2 });
    Penstock__Wire__ToCoordinator *message =
        await(stage, PENSTOCK__WIRE__TO_COORDINATOR__BODY_COMM_ID);
    assert_int_equal(message->epoch, EPOCH);
    assert_int_equal(message->comm_id->run, RUN);
    assert_int_equal(message->comm_id->attempt, 1);
    assert_int_equal(message->comm_id->id.len, 3);
    assert_memory_equal(message->comm_id->id.data, "i\0\377", 3);
    codec_free_to_coordinator(message);
    /* The next message but heartbeats is its end: nothing of the other three came through. */
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
    char got[64];
    read_file(stage, "got", got, sizeof got);
    assert_string_equal(got, "\n"); /* its own pipe ended without a frame */
}

static const char read_id[] =
    "echo '{\"step\":1}' >$PENSTOCK_EVENTS; "
    "od -An -v -tx1 </dev/fd/$PENSTOCK_COMM_ID_FD >got; echo end >>got";

static void test_gang_id_reaches_the_trainer(void **state)
{
    struct stage *stage = *state;
    char got[128];
    launch(stage, (struct order){ .script = read_id, .gang_count = 2, .member = 1 });
    give_comm_id(stage, EPOCH - 1, RUN, 1); /* another epoch */
    give_comm_id(stage, EPOCH, RUN, 2);     /* another attempt */
    give_comm_id(stage, EPOCH, RUN + 1, 1); /* another run */
    give_comm_id(stage, EPOCH, RUN, 1);
    give_comm_id(stage, EPOCH, RUN, 1); /* twice: nobody waits any more */
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
    read_file(stage, "got", got, sizeof got);
    assert_string_equal(got, " 0b 00 00 00 03 00 00 00 01 00 00 00 69 00 64\nend\n");
    give_comm_id(stage, EPOCH, RUN, 1); /* after its end */
    launch(stage, (struct order){ .script = "test -z \"$PENSTOCK_COMM_ID_FD\"", .attempt = 2 });
    Penstock__Wire__ToCoordinator *message =
        await_exit(stage, 2, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN);
    assert_int_equal(message->exited->exit_code, 0); /* a gang of one meets nobody */
    codec_free_to_coordinator(message);
}

/* A trainer that waits for the id learns from the pipe's end that it will not come. */
static void test_stop_ends_the_wait_for_the_gang_id(void **state)
{
    struct stage *stage = *state;
    char got[64], script[256];
    snprintf(script, sizeof script, "trap '' TERM; %s", read_id);
    launch(stage, (struct order){ .script = script, .gang_count = 2, .member = 1 });
    await_step(stage, 1);
    stop(stage, EPOCH, 1, false);
    drop_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_STOPPED);
    read_file(stage, "got", got, sizeof got);
    assert_string_equal(got, "end\n");
}

/* A server in place of NCCL's RAS, at the address that the trainer was given. */
static int open_ras(struct stage *stage)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                   .sin_port = htons((uint16_t)await_number(stage, "port")) };
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static const char hang_on_gpu[] = "echo ${NCCL_RAS_ADDR##*:} >port; "
                                  "while [ ! -e go ]; do sleep 0.01; done; "
                                  "echo '{\"step\":4}' >$PENSTOCK_EVENTS; "
                                  "while :; do sleep 0.02; done";

/* Before a gang that hangs is told to stop, NCCL is asked whom it waits for. */
static void test_hang_of_a_gang_brings_what_ras_says(void **state)
{
    struct stage *stage = *state;
    static const char said[] =
        "OK\n  3 ranks have launched up to operation 9\n"
        "  Rank 2 has launched up to operation 8 -- GPU 2 managed by x\n";
    launch(stage, (struct order){
                      .script = hang_on_gpu, .gang_count = 4, .step_ns = 300 * NS_PER_MS });
    int listener = open_ras(stage), client = -1;
    write_file(stage, "go", "");
    await_step(stage, 4);
    int64_t until_ns = boot_clock_ns() + PATIENCE_NS;
    while (client < 0 && boot_clock_ns() < until_ns) {
        step(stage);
        client = accept(listener, NULL, NULL);
    }
    assert_true(client >= 0);
    char question[128] = "";
    for (size_t n = 0; !strstr(question, "STATUS\n") && boot_clock_ns() < until_ns;) {
        step(stage);
        ssize_t got = recv(client, question + n, sizeof question - 1 - n, MSG_DONTWAIT);
        n += got > 0 ? (size_t)got : 0;
    }
    assert_string_equal(question, "TIMEOUT 2\nVERBOSE STATUS\n");
    assert_int_equal(stage->exits, 0);
    assert_int_equal(send(client, said, strlen(said), MSG_NOSIGNAL), (ssize_t)strlen(said));
    close(client);
    close(listener);
    Penstock__Wire__ToCoordinator *message =
        await_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_HANG);
    assert_string_equal(message->exited->ras, said);
    assert_int_equal(message->exited->n_late_ranks, 1);
    assert_int_equal(message->exited->late_ranks[0], 2);
    codec_free_to_coordinator(message);
}

/* Nobody answers: it is stopped all the same, and the incident says so. */
static void test_hang_of_a_gang_without_ras(void **state)
{
    struct stage *stage = *state;
    launch(stage, (struct order){
                      .script = hang_on_gpu, .gang_count = 4, .step_ns = 300 * NS_PER_MS });
    await_number(stage, "port");
    write_file(stage, "go", "");
    Penstock__Wire__ToCoordinator *message =
        await_exit(stage, 1, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_HANG);
    assert_non_null(strstr(message->exited->ras, "(no answer: "));
    assert_int_equal(message->exited->n_late_ranks, 0);
    codec_free_to_coordinator(message);
    /* Alone it waits for nobody, and nobody is asked. */
    launch(stage, (struct order){ .script = "echo '{\"step\":4}' >$PENSTOCK_EVENTS; "
                                            "while :; do sleep 0.02; done",
                                  .attempt = 2,
                                  .step_ns = 300 * NS_PER_MS });
    message = await_exit(stage, 2, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_HANG);
    assert_string_equal(message->exited->ras, "");
    codec_free_to_coordinator(message);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as agent_main does */
#define ALIVE(test) cmocka_unit_test_setup_teardown(test, set_up_welcome, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hello_says_what_the_slot_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused_agent_leaves, set_up, tear_down),
        ALIVE(test_normal_run),
        ALIVE(test_environment_is_the_contract),
        ALIVE(test_crash_brings_its_last_words),
        ALIVE(test_death_by_signal),
        ALIVE(test_program_that_does_not_exist),
        ALIVE(test_stop_lets_it_checkpoint),
        ALIVE(test_ignored_stop_is_killed_after_the_grace),
        ALIVE(test_stop_at_once),
        ALIVE(test_lease_ends_without_grants),
        ALIVE(test_grants_carry_it_on_and_never_shorten),
        ALIVE(test_stale_messages_change_nothing),
        ALIVE(test_second_launch_is_refused),
        ALIVE(test_start_up_time_out),
        ALIVE(test_hang_is_noticed),
        ALIVE(test_repeated_step_is_a_hang),
        ALIVE(test_detached_grandchild_does_not_outlive),
        ALIVE(test_lost_launcher),
        ALIVE(test_dead_agent_takes_its_trainers_along),
        ALIVE(test_launcher_keeps_the_limit_of_a_hung_agent),
        ALIVE(test_lock_of_an_earlier_trainer),
        ALIVE(test_probe),
        ALIVE(test_choice_of_the_checkpoint),
        ALIVE(test_malformed_and_lying_events),
        ALIVE(test_gate_without_its_file_still_arrives),
        ALIVE(test_cpu_time_is_measured),
        cmocka_unit_test_setup_teardown(test_gpu_is_watched, set_up_watched, tear_down),
        ALIVE(test_shutdown_stops_and_says_goodbye),
        ALIVE(test_garbage_on_the_link_changes_nothing),
#define ON_GPU(test) cmocka_unit_test_setup_teardown(test, set_up_gpu, tear_down)
        cmocka_unit_test_teardown(test_gpu_of_the_slot_is_in_its_hello, tear_down),
        ON_GPU(test_gang_id_goes_up_once),
        ON_GPU(test_gang_id_reaches_the_trainer),
        ON_GPU(test_stop_ends_the_wait_for_the_gang_id),
        ON_GPU(test_hang_of_a_gang_brings_what_ras_says),
        ON_GPU(test_hang_of_a_gang_without_ras),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
