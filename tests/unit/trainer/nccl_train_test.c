/* penstock-train on the stand-in for a GPU: the real program, the real host code and the real
 * kernels, alone and in gangs whose id goes through the test as through agents. */
#include "proto/wire/comm_frame.h"
#include "tests/unit/trainer/process.h"
#include "tests/unit/trainer/support.h"
#include "worker/trainer/exits.h"
#include "worker/trainer/module.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    SAMPLE_BYTES = 20000,
    STEPS = 6,
    HALF = 3,
    MEMBERS_MAX = 3,
    EXTRA_MAX = 6,
    PATIENCE_S = 60,
    STANDIN_BUS = 0x1b /* of device 0 */
};

/* How far a loss in nats may be from the CPU's after STEPS steps. fp32 differs in the order of
 * its sums alone; bf16 keeps 8 bits of each activation. */
#define LOSS_SLACK_FP32 2e-4
#define LOSS_SLACK_BF16 3e-2

static char folder[PATH_MAX], data_path[PATH_MAX];

static int make_folder(void **unused)
{
    (void)unused;
    folder_make(folder);
    path_join(data_path, folder, "data.txt");
    char *text = sample_text(SAMPLE_BYTES);
    file_write(data_path, text, SAMPLE_BYTES);
    free(text);
    return 0;
}

static int remove_folder(void **unused)
{
    (void)unused;
    folder_remove(folder);
    return 0;
}

/* ---- one process ---- */

struct run {
    char dir[PATH_MAX], events[PATH_MAX], err[PATH_MAX], out[PATH_MAX];
    char env[6][PATH_MAX + 32];
    int env_count;
    struct process_plan plan;
};

static void set(struct run *run, const char *format, ...) printf_like(2, 3);

static void set(struct run *run, const char *format, ...)
{
    assert_true(run->env_count < (int)ARRAY_COUNT(run->env));
    char *pair = run->env[run->env_count++];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(pair, sizeof(run->env[0]), format, arguments);
    va_end(arguments);
    plan_env(&run->plan, pair);
}

static void add(struct run *run, const char *flag, const char *value)
{
    plan_words(&run->plan, (const char *const[]){ flag, value, NULL });
}

/* `name` is the run's directory; `member` tells apart what each process writes by itself. */
static void run_init(struct run *run, const char *program, const char *name, int member)
{
    char file[80];
    memset(run, 0, sizeof(*run));
    path_join(run->dir, folder, name);
    snprintf(file, sizeof(file), "%s.%d.events", name, member);
    path_join(run->events, folder, file);
    file_write(run->events, "", 0);
    snprintf(file, sizeof(file), "%s.%d.stderr", name, member);
    path_join(run->err, folder, file);
    snprintf(file, sizeof(file), "%s.%d.stdout", name, member);
    path_join(run->out, folder, file);
    run->plan.stderr_path = run->err;
    run->plan.stdout_path = run->out;
    plan_words(&run->plan, (const char *const[]){ program, NULL });
}

static void model_words(struct run *run)
{
    static char text[16];
    snprintf(text, sizeof(text), "%d", STEPS);
    set(run, "PENSTOCK_DIR=%s", run->dir);
    set(run, "PENSTOCK_EVENTS=%s", run->events);
    const char *const words[] = { "--data",
                                  data_path,
                                  "--layers",
                                  "2",
                                  "--width",
                                  "16",
                                  "--heads",
                                  "2",
                                  "--context",
                                  "16",
                                  "--batch",
                                  "6",
                                  "--steps",
                                  text,
                                  "--warmup",
                                  "2",
                                  "--eval-every",
                                  "3",
                                  "--eval-batches",
                                  "1",
                                  "--threads",
                                  "1",
                                  "--checkpoint-every",
                                  "3",
                                  NULL };
    plan_words(&run->plan, words);
}

static void fail_with_stderr(const struct run *run, int got)
{
    char *says = file_exists(run->err) ? file_read(run->err, NULL) : NULL;
    fail_msg("%s: exit %d: %s", run->dir, got, says != NULL ? says : "");
}

static void expect(struct run *run, int code)
{
    int got = process_run(&run->plan);
    if (got != code) fail_with_stderr(run, got);
}

static void expect_text(const char *path, const char *text)
{
    char *says = file_read(path, NULL);
    if (strstr(says, text) == NULL) fail_msg("'%s' is not in %s: %s", text, path, says);
    free(says);
}

/* The value of `key` in the last event that has it, or NaN. */
static double last_value(const struct run *run, const char *key)
{
    char *text = file_read(run->events, NULL), *found = NULL;
    char quoted[64];
    snprintf(quoted, sizeof(quoted), "\"%s\":", key);
    for (char *at = text; (at = strstr(at, quoted)) != NULL; at++)
        found = at + strlen(quoted);
    double value = found == NULL ? NAN : strtod(found, NULL);
    free(text);
    return value;
}

static void expect_loss(const struct run *run, const struct run *reference, double slack)
{
    static const char *const keys[] = { "loss", "val_loss" };
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        double value = last_value(run, keys[i]), right = last_value(reference, keys[i]);
        if (!(fabs(value - right) <= slack))
            fail_msg("%s: %s is %.6f, and %.6f on the CPU", run->dir, keys[i], value, right);
    }
}

static void checkpoint_path(char path[PATH_MAX], const struct run *run, int step)
{
    char name[64];
    snprintf(name, sizeof(name), "checkpoints/step-%08d.safetensors", step);
    path_join(path, run->dir, name);
}

/* The CPU's training that all others are held against; made once. */
static const struct run *reference(void)
{
    static struct run cpu;
    if (cpu.dir[0] != '\0') return &cpu;
    run_init(&cpu, CPU_PROGRAM, "reference", 0);
    model_words(&cpu);
    add(&cpu, "--backend", "cpu");
    expect(&cpu, EXIT_DONE);
    return &cpu;
}

/* ---- probing ---- */

static void test_probe(void **unused)
{
    (void)unused;
    static const struct {
        const char *env; /* or NULL */
        const char *words[4];
        int code;
        const char *out, *err; /* texts that must be there, or NULL */
    } rows[] = {
        { NULL, { "--backend", "cuda" }, EXIT_DONE, "\"pci_bus_id\":\"0000:1b:00.0\"", NULL },
        { NULL, { "--backend", "auto" }, EXIT_DONE, "\"compute_capability\":\"9.0\"", NULL },
        { NULL, { "--dtype", "bf16" }, EXIT_DONE, "\"dtype\":\"bf16\"", NULL },
        { NULL, { "--backend", "cuda" }, EXIT_DONE, "NCCL 2.", NULL },
        { NULL, { "--backend", "cpu" }, EXIT_DONE, "\"backend\":\"cpu\"", NULL },
        { NULL,
          { "--backend", "cpu", "--dtype", "bf16" },
          EXIT_BACKEND,
          NULL,
          "--dtype bf16 needs a GPU" },
        { "PENSTOCK_FAKE_GPUS=0",
          { "--backend", "cuda" },
          EXIT_BACKEND,
          NULL,
          "--backend cuda is not available: no usable GPU" },
        { "PENSTOCK_FAKE_GPUS=0",
          { "--backend", "auto" },
          EXIT_DONE,
          "no CUDA-capable device is detected",
          NULL },
        { "PENSTOCK_FAKE_DRIVER=none",
          { "--backend", "cuda" },
          EXIT_BACKEND,
          NULL,
          "driver version is insufficient" },
        { "PENSTOCK_FAKE_DRIVER=none", { "--backend", "auto" }, EXIT_DONE, "no driver", NULL },
        { "PENSTOCK_FAKE_GPUS=0",
          { "--dtype", "bf16" },
          EXIT_BACKEND,
          NULL,
          "--dtype bf16 needs a GPU" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct run run;
        run_init(&run, GPU_PROGRAM, "probe", (int)i);
        plan_words(&run.plan, (const char *const[]){ "probe", "--threads", "1", NULL });
        for (int w = 0; w < 4 && rows[i].words[w] != NULL; w++)
            plan_words(&run.plan, (const char *const[]){ rows[i].words[w], NULL });
        if (rows[i].env != NULL) set(&run, "%s", rows[i].env);
        expect(&run, rows[i].code);
        if (rows[i].out != NULL) expect_text(run.out, rows[i].out);
        if (rows[i].err != NULL) expect_text(run.err, rows[i].err);
    }
}

/* LOCAL_RANK counts to the right one of those that are shown. */
static void test_chooses_its_gpu(void **unused)
{
    (void)unused;
    static const struct {
        const char *visible, *rank;
        int device; /* -1: refused */
    } rows[] = { { "4", NULL, 4 },   { "4", "1", 4 },     { "4,7", "0", 4 },
                 { "4,7", "1", 7 },  { NULL, "2", 2 },    { NULL, NULL, 0 },
                 { "4,7", "2", -1 }, { "4,,7", "1", -1 }, { "4,7", "x", -1 },
                 { "4,7", "-1", -1 } };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct run run;
        char bus[32];
        run_init(&run, GPU_PROGRAM, "choose", (int)i);
        plan_words(&run.plan, (const char *const[]){ "probe", "--backend", "cuda", NULL });
        if (rows[i].visible != NULL) set(&run, "CUDA_VISIBLE_DEVICES=%s", rows[i].visible);
        if (rows[i].rank != NULL) set(&run, "LOCAL_RANK=%s", rows[i].rank);
        expect(&run, rows[i].device < 0 ? EXIT_BACKEND : EXIT_DONE);
        snprintf(bus, sizeof(bus), "\"0000:%02x:00.0\"",
                 (unsigned)(STANDIN_BUS + rows[i].device));
        if (rows[i].device >= 0)
            expect_text(run.out, bus);
        else
            expect_text(run.err, "LOCAL_RANK");
    }
}

/* ---- alone ---- */

static void test_alone(void **unused)
{
    (void)unused;
    static const struct {
        const char *name, *dtype, *reduce;
        double slack;
    } rows[] = { { "alone-fp32", "fp32", "fp32", LOSS_SLACK_FP32 },
                 { "alone-bf16", "bf16", "fp32", LOSS_SLACK_BF16 },
                 { "alone-bf16-reduced", "bf16", "bf16", LOSS_SLACK_BF16 } };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct run run;
        char path[PATH_MAX], note[64];
        run_init(&run, GPU_PROGRAM, rows[i].name, 0);
        model_words(&run);
        add(&run, "--backend", "cuda");
        add(&run, "--dtype", rows[i].dtype);
        add(&run, "--reduce", rows[i].reduce);
        expect(&run, EXIT_DONE);
        expect_loss(&run, reference(), rows[i].slack);
        expect_text(run.events, "\"backend\":\"cuda\"");
        expect_text(run.events, "as asked; CUDA ");
        checkpoint_path(path, &run, STEPS);
        size_t bytes;
        char *data = file_read(path, &bytes);
        snprintf(note, sizeof(note), "\"train.dtype\":\"%s\"", rows[i].dtype);
        assert_non_null(strstr(data + 8, note));
        free(data);
    }
}

/* A checkpoint of either backend goes on with the other, and a GPU's own bit for bit. */
static void test_checkpoints_cross(void **unused)
{
    (void)unused;
    static const struct {
        const char *name, *from, *to, *dtype;
        double slack;
        bool exact;
    } rows[] = {
        { "gpu-to-cpu", GPU_PROGRAM, CPU_PROGRAM, "fp32", LOSS_SLACK_FP32, false },
        { "cpu-to-gpu", CPU_PROGRAM, GPU_PROGRAM, "fp32", LOSS_SLACK_FP32, false },
        { "gpu-to-gpu", GPU_PROGRAM, GPU_PROGRAM, "fp32", LOSS_SLACK_FP32, true },
        { "gpu-to-gpu-bf16", GPU_PROGRAM, GPU_PROGRAM, "bf16", LOSS_SLACK_BF16, true },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct run first, second;
        char middle[PATH_MAX], end[2][PATH_MAX], name[64];
        run_init(&first, rows[i].from, rows[i].name, 0);
        model_words(&first);
        add(&first, "--dtype", rows[i].dtype);
        expect(&first, EXIT_DONE);
        checkpoint_path(middle, &first, HALF);
        snprintf(name, sizeof(name), "%s-2", rows[i].name);
        run_init(&second, rows[i].to, name, 0);
        model_words(&second);
        add(&second, "--dtype", rows[i].dtype);
        add(&second, "--resume", middle);
        expect(&second, EXIT_DONE);
        expect_loss(&second, reference(), rows[i].slack);
        checkpoint_path(end[0], &first, STEPS);
        checkpoint_path(end[1], &second, STEPS);
        if (rows[i].exact) assert_files_equal(end[0], end[1]);
    }
}

/* ---- gangs ---- */

struct gang {
    const char *name;
    int members;
    const char *extra[EXTRA_MAX]; /* words of all */
    const char *env[2];           /* of all */
    bool same_gpu;
    bool keeps_id;               /* the agents lose it, and close the pipes */
    unsigned codes[MEMBERS_MAX]; /* sets of exit codes */
    const char *says;            /* in member 1's stderr, or NULL */
};

#define CODE(a) (1u << EXIT_##a)
#define GONE CODE(GANG)

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void member_init(struct run *run, const struct gang *gang, int rank, int id_fd)
{
    static char ranks[MEMBERS_MAX][16], sizes[MEMBERS_MAX][32];
    run_init(run, GPU_PROGRAM, gang->name, rank);
    model_words(run);
    add(run, "--backend", "cuda");
    for (int i = 0; i < EXTRA_MAX && gang->extra[i] != NULL; i++)
        plan_words(&run->plan, (const char *const[]){ gang->extra[i], NULL });
    for (int i = 0; i < 2 && gang->env[i] != NULL; i++)
        plan_env(&run->plan, gang->env[i]);
    snprintf(ranks[rank], sizeof(ranks[rank]), "RANK=%d", rank);
    snprintf(sizes[rank], sizeof(sizes[rank]), "WORLD_SIZE=%d", gang->members);
    plan_env(&run->plan, ranks[rank]);
    plan_env(&run->plan, sizes[rank]);
    plan_env(&run->plan, "PENSTOCK_RUN_INDEX=3");
    plan_env(&run->plan, "PENSTOCK_ATTEMPT=2");
    set(run, "PENSTOCK_COMM_ID_FD=%d", id_fd);
    set(run, "CUDA_VISIBLE_DEVICES=%d", gang->same_gpu ? 0 : rank);
}

static int digit(char c)
{
    const char *digits = "0123456789abcdef", *at = strchr(digits, c);
    assert_non_null(at);
    return (int)(at - digits);
}

/* The id in member 0's events, once it is there. */
static bool find_id(const struct run *leader, uint8_t id[MODULE_ID_BYTES])
{
    char *text = file_read(leader->events, NULL);
    const char *key = "{\"comm_id\":\"", *at = strstr(text, key);
    bool whole = at != NULL && strchr(at, '\n') != NULL;
    if (whole) {
        assert_non_null(strstr(at, "\",\"run\":3,\"attempt\":2}\n"));
        at += strlen(key);
        for (int i = 0; i < MODULE_ID_BYTES; i++)
            id[i] = (uint8_t)(digit(at[2 * i]) << 4 | digit(at[2 * i + 1]));
        assert_int_equal(at[2 * MODULE_ID_BYTES], '"');
    }
    free(text);
    return whole;
}

static bool has_ended(pid_t process, int *code)
{
    int status;
    pid_t ended = waitpid(process, &status, WNOHANG);
    assert_true(ended >= 0);
    if (ended == 0) return false;
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
}

/* Does the agents' part: a stale frame, the id, and no end before all have ended. */
static void pass_id(const struct gang *gang, const struct run *leader,
                    int pipes[MEMBERS_MAX][2], bool *passed)
{
    uint8_t id[MODULE_ID_BYTES], bytes[COMM_FRAME_BYTES_MAX];
    if (*passed || !find_id(leader, id)) return;
    *passed = true;
    for (int rank = 1; rank < gang->members; rank++) {
        if (gang->keeps_id) {
            close(pipes[rank][1]);
            pipes[rank][1] = -1;
            continue;
        }
        for (uint32_t attempt = 1; attempt <= 2; attempt++) {
            struct comm_frame frame = { 3, attempt, id, sizeof(id) };
            size_t n = comm_frame_write(&frame, bytes);
            assert_int_equal(write(pipes[rank][1], bytes, n), (ssize_t)n);
        }
    }
}

static void await_gang(const struct gang *gang, const struct run *leader,
                       const pid_t *processes, int pipes[MEMBERS_MAX][2], int *codes)
{
    bool ended[MEMBERS_MAX] = { false }, passed = false;
    int left = gang->members;
    int64_t deadline_ns = now_ns() + PATIENCE_S * NS_PER_S;
    while (left > 0) {
        pass_id(gang, leader, pipes, &passed);
        for (int rank = 0; rank < gang->members; rank++) {
            if (ended[rank]) continue;
            ended[rank] = has_ended(processes[rank], &codes[rank]);
            left -= ended[rank] ? 1 : 0;
        }
        if (now_ns() > deadline_ns) {
            for (int rank = 0; rank < gang->members; rank++) {
                if (ended[rank]) continue;
                kill(processes[rank], SIGKILL);
                waitpid(processes[rank], NULL, 0);
            }
            fail_msg("%s: %d members did not end", gang->name, left);
        }
        usleep(2000);
    }
}

static void gpu_gang_run(const struct gang *gang, struct run runs[MEMBERS_MAX])
{
    int pipes[MEMBERS_MAX][2], codes[MEMBERS_MAX] = { 0 };
    pid_t processes[MEMBERS_MAX];
    for (int rank = 0; rank < gang->members; rank++) {
        assert_int_equal(pipe2(pipes[rank], O_CLOEXEC), 0);
        member_init(&runs[rank], gang, rank, pipes[rank][0]);
        processes[rank] = process_start(&runs[rank].plan, pipes[rank][0]);
    }
    await_gang(gang, &runs[0], processes, pipes, codes);
    for (int rank = 0; rank < gang->members; rank++) {
        close(pipes[rank][0]);
        if (pipes[rank][1] >= 0) close(pipes[rank][1]);
        if (codes[rank] >= 32 || (gang->codes[rank] >> codes[rank] & 1) == 0)
            fail_with_stderr(&runs[rank], codes[rank]);
    }
    if (gang->says != NULL) expect_text(runs[1].err, gang->says);
}

static void test_gangs_match_the_cpu(void **unused)
{
    (void)unused;
    static const struct {
        struct gang gang;
        double slack;
    } rows[] = {
        { { .name = "two", .members = 2, .codes = { 1, 1 } }, LOSS_SLACK_FP32 },
        { { .name = "three", .members = 3, .codes = { 1, 1, 1 } }, LOSS_SLACK_FP32 },
        { { .name = "two-bf16",
            .members = 2,
            .extra = { "--dtype", "bf16", "--reduce", "bf16" },
            .codes = { 1, 1 } },
          LOSS_SLACK_BF16 },
        { { .name = "three-bf16-reduced",
            .members = 3,
            .extra = { "--reduce", "bf16" },
            .codes = { 1, 1, 1 } },
          LOSS_SLACK_BF16 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct run runs[MEMBERS_MAX];
        gpu_gang_run(&rows[i].gang, runs);
        for (int rank = 0; rank < rows[i].gang.members; rank++)
            expect_loss(&runs[rank], reference(), rows[i].slack);
    }
}

#define ON_1 "PENSTOCK_FAKE_RANK=1"
#define HASTY "--gang-timeout", "1"

static void test_gang_faults(void **unused)
{
    (void)unused;
    static const struct gang gangs[] = {
        { .name = "hang-in-init",
          .members = 2,
          .extra = { HASTY },
          .env = { ON_1, "PENSTOCK_FAKE_NCCL_INIT=hang" },
          .codes = { GONE, GONE },
          .says = "the members met" },
        { .name = "no-id",
          .members = 2,
          .extra = { HASTY },
          .keeps_id = true,
          .codes = { GONE, GONE },
          .says = "member 0 is gone" },
        { .name = "hang-in-collective",
          .members = 3,
          .extra = { HASTY },
          .env = { ON_1, "PENSTOCK_FAKE_NCCL_HANG=6" },
          .codes = { GONE, GONE, GONE } },
        { .name = "remote-error",
          .members = 3,
          .env = { ON_1, "PENSTOCK_FAKE_NCCL_REMOTE=5" },
          .codes = { GONE, GONE, GONE },
          .says = "the gang broke" },
        { .name = "abort-hangs",
          .members = 2,
          .extra = { HASTY },
          .env = { "PENSTOCK_FAKE_NCCL_REMOTE=5", "PENSTOCK_FAKE_NCCL_ABORT=hang" },
          .codes = { GONE, GONE },
          .says = "gave up waiting for the GPU" },
        { .name = "sticky-error",
          .members = 2,
          .env = { ON_1, "PENSTOCK_FAKE_LAUNCH=150" },
          .codes = { GONE, CODE(DEVICE) } },
        { .name = "stalled-gpu",
          .members = 2,
          .extra = { HASTY },
          .env = { ON_1, "PENSTOCK_FAKE_STALL=150" },
          .codes = { GONE, CODE(DEVICE) | GONE } },
        { .name = "out-of-memory",
          .members = 2,
          .extra = { HASTY },
          .env = { ON_1, "PENSTOCK_FAKE_ALLOC=8" },
          .codes = { GONE, CODE(MEMORY) },
          .says = "byte" },
        { .name = "no-device",
          .members = 2,
          .extra = { HASTY },
          .env = { ON_1, "PENSTOCK_FAKE_DRIVER=none" },
          .codes = { GONE, CODE(BACKEND) } },
        { .name = "same-gpu",
          .members = 2,
          .extra = { "--gang-timeout", "3" },
          .same_gpu = true,
          .codes = { GONE, CODE(USAGE) },
          .says = "another member of this gang is on the GPU" },
        { .name = "cleared-environment",
          .members = 2,
          .extra = { "--gang-timeout", "30" },
          .env = { "NCCL_COMM_BLOCKING=1", "NCCL_COMM_ID=nobody" },
          .codes = { 1, 1 },
          .says = "names=NCCL_COMM_BLOCKING,NCCL_COMM_ID" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(gangs); i++) {
        struct run runs[MEMBERS_MAX];
        gpu_gang_run(&gangs[i], runs);
    }
}

/* Alone: each failure of the GPU has its exit code and leaves no process and no half file. */
static void test_faults_alone(void **unused)
{
    (void)unused;
    static const struct {
        const char *env[2];
        int code;
        const char *says;
    } rows[] = {
        { { "PENSTOCK_FAKE_GPUS=0" }, EXIT_BACKEND, "no usable GPU" },
        { { "PENSTOCK_FAKE_LAUNCH=150" }, EXIT_DEVICE, "illegal" },
        { { "PENSTOCK_FAKE_LAUNCH_ONCE=3" }, EXIT_DEVICE, "invalid configuration" },
        { { "PENSTOCK_FAKE_STALL=150" }, EXIT_DEVICE, "" },
        { { "PENSTOCK_FAKE_MEMORY=300000" }, EXIT_MEMORY, "no GPU memory" },
        { { "PENSTOCK_FAKE_ALLOC=8" }, EXIT_MEMORY, "no GPU memory" },
        { { "PENSTOCK_FAKE_NCCL_INIT=error" }, EXIT_GANG, "system error" },
        { { "PENSTOCK_FAKE_NCCL_HANG=4" }, EXIT_GANG, "no answer from the gang" },
        { { "PENSTOCK_FAKE_NCCL_REMOTE=4", "PENSTOCK_FAKE_NCCL_ABORT=hang" },
          EXIT_GANG,
          "gave up waiting for the GPU" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct run run;
        char name[32];
        snprintf(name, sizeof(name), "fault-%zu", i);
        run_init(&run, GPU_PROGRAM, name, 0);
        model_words(&run);
        add(&run, "--backend", "cuda");
        add(&run, "--gang-timeout", "1");
        for (int e = 0; e < 2 && rows[i].env[e] != NULL; e++)
            plan_env(&run.plan, rows[i].env[e]);
        expect(&run, rows[i].code);
        expect_text(run.err, rows[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_chooses_its_gpu),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_checkpoints_cross),
        cmocka_unit_test(test_gangs_match_the_cpu),
        cmocka_unit_test(test_gang_faults),
        cmocka_unit_test(test_faults_alone),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
