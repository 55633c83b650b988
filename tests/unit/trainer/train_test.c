/* penstock-train as its agent and its users see it: processes, files, exit codes. */
#include "tests/unit/trainer/process.h"
#include "tests/unit/trainer/support.h"
#include "worker/trainer/exits.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SAMPLE_BYTES = 40000 };

/* Places of values on the command line that run_init makes. */
enum {
    WORD_DATA = 2,
    WORD_LAYERS = 4,
    WORD_WIDTH = 6,
    WORD_CONTEXT = 10,
    WORD_EVAL = 18,
    WORD_KEEP = 22
};

static char folder[PATH_MAX], data_path[PATH_MAX], stderr_path[PATH_MAX], stdout_path[PATH_MAX];

static int make_folder(void **unused)
{
    (void)unused;
    folder_make(folder);
    path_join(data_path, folder, "data.txt");
    path_join(stderr_path, folder, "stderr");
    path_join(stdout_path, folder, "stdout");
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

/* A run: its directory, and its events as an agent would get them. */
struct run {
    char dir[PATH_MAX], events[PATH_MAX], env[2][PATH_MAX + 32];
    struct process_plan plan;
};

static void run_init(struct run *run, const char *name, const char *steps)
{
    memset(run, 0, sizeof(*run));
    path_join(run->dir, folder, name);
    char events_name[64];
    snprintf(events_name, sizeof(events_name), "%s.events", name);
    path_join(run->events, folder, events_name);
    file_write(run->events, "", 0);
    snprintf(run->env[0], sizeof(run->env[0]), "PENSTOCK_DIR=%s", run->dir);
    snprintf(run->env[1], sizeof(run->env[1]), "PENSTOCK_EVENTS=%s", run->events);
    plan_env(&run->plan, run->env[0]);
    plan_env(&run->plan, run->env[1]);
    run->plan.stderr_path = stderr_path;
    run->plan.stdout_path = stdout_path;
    const char *const words[] = { TRAINER_PROGRAM,
                                  "--data",
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
                                  "4",
                                  "--steps",
                                  steps,
                                  "--eval-every",
                                  "10",
                                  "--eval-batches",
                                  "2",
                                  "--threads",
                                  "1",
                                  "--keep",
                                  "3",
                                  NULL };
    plan_words(&run->plan, words);
}

static void add(struct run *run, const char *flag, const char *value)
{
    plan_words(&run->plan, (const char *const[]){ flag, value, NULL });
}

static void checkpoint_path(char path[PATH_MAX], const struct run *run, int step)
{
    char name[64];
    snprintf(name, sizeof(name), "checkpoints/step-%08d.safetensors", step);
    path_join(path, run->dir, name);
}

static void expect(struct run *run, int code)
{
    int got = process_run(&run->plan);
    if (got == code) return;
    char *says = file_read(stderr_path, NULL);
    fail_msg("exit %d instead of %d: %s", got, code, says);
}

static void expect_text(const char *path, const char *text)
{
    char *says = file_read(path, NULL);
    if (strstr(says, text) == NULL) fail_msg("'%s' is not in: %s", text, says);
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

/* ---- determinism ---- */

static void test_twice_the_same(void **unused)
{
    (void)unused;
    struct run a, b;
    char x[PATH_MAX], y[PATH_MAX];
    run_init(&a, "twice-a", "30");
    run_init(&b, "twice-b", "30");
    add(&a, "--checkpoint-every", "20");
    add(&b, "--checkpoint-every", "20");
    expect(&a, EXIT_DONE);
    expect(&b, EXIT_DONE);
    for (int step = 20; step <= 30; step += 10) {
        checkpoint_path(x, &a, step);
        checkpoint_path(y, &b, step);
        assert_files_equal(x, y);
    }
    expect_text(a.events, "{\"ready\":true,\"step\":0,");
    expect_text(a.events, "{\"checkpoint\":\"checkpoints/step-00000030.safetensors\","
                          "\"step\":30,\"tokens\":1920}");
    assert_true(last_value(&a, "busy_ns") > 0);
    assert_true(last_value(&a, "tokens") == 1920);
    assert_true(last_value(&a, "val_loss") > 0);
}

/* Another seed gives another training: the comparison above can fail. */
static void test_another_seed_differs(void **unused)
{
    (void)unused;
    struct run a, b;
    run_init(&a, "seed-a", "10");
    run_init(&b, "seed-b", "10");
    add(&b, "--seed", "2");
    expect(&a, EXIT_DONE);
    expect(&b, EXIT_DONE);
    assert_true(last_value(&a, "loss") != last_value(&b, "loss"));
}

static void stop_and_resume(int signal_number, const char *name)
{
    struct run whole, part, rest;
    char x[PATH_MAX], y[PATH_MAX], stopped[PATH_MAX], other[64];
    snprintf(other, sizeof(other), "%s-whole", name);
    run_init(&whole, other, "1500");
    run_init(&part, name, "1500");
    run_init(&rest, name, "1500");
    expect(&whole, EXIT_DONE);
    pid_t process = process_start(&part.plan, -1);
    await_text(part.events, "\"loss\""); /* the first step; it stops at any later one */
    assert_int_equal(kill(process, signal_number), 0);
    assert_int_equal(process_wait(process), EXIT_DONE);
    int step = (int)last_value(&part, "step");
    assert_in_range(step, 1, 1499);
    checkpoint_path(stopped, &part, step);
    add(&rest, "--resume", stopped);
    expect(&rest, EXIT_DONE);
    checkpoint_path(x, &whole, 1500);
    checkpoint_path(y, &rest, 1500);
    assert_files_equal(x, y);
}

static void test_sigterm_and_resume(void **unused)
{
    (void)unused;
    stop_and_resume(SIGTERM, "sigterm");
}

static void test_sigusr1_and_resume(void **unused)
{
    (void)unused;
    stop_and_resume(SIGUSR1, "sigusr1");
}

/* The environment's way to resume, and its check. */
static void test_resume_by_environment(void **unused)
{
    (void)unused;
    struct run a, b, whole;
    char x[PATH_MAX], y[PATH_MAX];
    run_init(&whole, "env-whole", "40");
    add(&whole, "--checkpoint-every", "20");
    expect(&whole, EXIT_DONE);
    run_init(&a, "env", "40");
    checkpoint_path(x, &whole, 20);
    char resume[PATH_MAX + 32];
    snprintf(resume, sizeof(resume), "PENSTOCK_RESUME=%s", x);
    plan_env(&a.plan, resume);
    plan_env(&a.plan, "PENSTOCK_RESUME_STEP=20");
    expect(&a, EXIT_DONE);
    expect_text(a.events, "{\"ready\":true,\"step\":20,");
    checkpoint_path(x, &whole, 40);
    checkpoint_path(y, &a, 40);
    assert_files_equal(x, y);
    run_init(&b, "env-wrong", "40");
    plan_env(&b.plan, resume);
    plan_env(&b.plan, "PENSTOCK_RESUME_STEP=21");
    expect(&b, EXIT_CHECKPOINT);
    expect_text(stderr_path, "PENSTOCK_RESUME_STEP is 21");
}

static void test_resume_at_the_end(void **unused)
{
    (void)unused;
    struct run a, b;
    char last[PATH_MAX];
    run_init(&a, "end", "10");
    expect(&a, EXIT_DONE);
    run_init(&b, "end", "10");
    checkpoint_path(last, &a, 10);
    add(&b, "--resume", last);
    expect(&b, EXIT_DONE);
    expect_text(b.events, "\"step\":10");
}

/* ---- gangs ---- */

static void test_a_gang_trains_as_one(void **unused)
{
    (void)unused;
    struct run alone, members[2];
    int codes[2];
    run_init(&alone, "alone", "60");
    expect(&alone, EXIT_DONE);
    run_init(&members[0], "gang", "60");
    run_init(&members[1], "gang-1", "60");
    struct process_plan plans[2] = { members[0].plan, members[1].plan };
    gang_run(plans, FAULT_NONE, NULL, codes);
    assert_int_equal(codes[0], EXIT_DONE);
    assert_int_equal(codes[1], EXIT_DONE);
    for (int m = 0; m < 2; m++) {
        assert_true(fabs(last_value(&alone, "loss") - last_value(&members[m], "loss")) < 1e-4);
        assert_true(fabs(last_value(&alone, "val_loss") - last_value(&members[m], "val_loss")) <
                    1e-4);
        assert_true(last_value(&members[m], "tokens") == 60 * 4 * 16);
    }
    /* Both members say the very same loss, and only the first writes. */
    assert_true(last_value(&members[0], "loss") == last_value(&members[1], "loss"));
    assert_true(last_value(&members[0], "grad_norm") == last_value(&members[1], "grad_norm"));
    assert_false(file_exists(members[1].dir));
}

static void test_a_gang_stops_and_resumes(void **unused)
{
    (void)unused;
    struct run whole[2], part[2], rest[2];
    char x[PATH_MAX], y[PATH_MAX], stopped[PATH_MAX];
    int codes[2];
    for (int m = 0; m < 2; m++) {
        run_init(&whole[m], m == 0 ? "gw" : "gw-1", "500");
        run_init(&part[m], m == 0 ? "gp" : "gp-1", "500");
        run_init(&rest[m], m == 0 ? "gp" : "gp-1", "500");
    }
    struct process_plan plans[2] = { whole[0].plan, whole[1].plan };
    gang_run(plans, FAULT_NONE, NULL, codes);
    assert_int_equal(codes[0], EXIT_DONE);
    /* The member that does not write is asked: all stop at the same step. */
    struct process_plan parts[2] = { part[0].plan, part[1].plan };
    struct gang_stop stop = { part[0].events, "\"loss\"", 1 };
    gang_run(parts, FAULT_NONE, &stop, codes);
    assert_int_equal(codes[0], EXIT_DONE);
    assert_int_equal(codes[1], EXIT_DONE);
    int step = (int)last_value(&part[0], "step");
    assert_in_range(step, 1, 499);
    assert_int_equal(step, (int)last_value(&part[1], "step"));
    checkpoint_path(stopped, &part[0], step);
    for (int m = 0; m < 2; m++)
        add(&rest[m], "--resume", stopped);
    struct process_plan rests[2] = { rest[0].plan, rest[1].plan };
    gang_run(rests, FAULT_NONE, NULL, codes);
    assert_int_equal(codes[0], EXIT_DONE);
    assert_int_equal(codes[1], EXIT_DONE);
    checkpoint_path(x, &whole[0], 500);
    checkpoint_path(y, &rest[0], 500);
    assert_files_equal(x, y);
}

static void broken_gang(const char *name, enum gang_fault fault, const char *eval_batches,
                        int code, const char *says)
{
    struct run members[2];
    int codes[2];
    char other[64], path[PATH_MAX];
    snprintf(other, sizeof(other), "%s-1", name);
    run_init(&members[0], name, "60");
    run_init(&members[1], other, "60");
    members[1].plan.words[WORD_EVAL] = eval_batches;
    struct process_plan plans[2] = { members[0].plan, members[1].plan };
    gang_run(plans, fault, NULL, codes);
    assert_int_equal(codes[0], code);
    assert_int_equal(codes[1], code);
    expect_text(members[0].events, says);
    checkpoint_path(path, &members[0], 60);
    assert_false(file_exists(path));
}

static void test_members_that_drift_apart(void **unused)
{
    (void)unused;
    broken_gang("drift", FAULT_UNEQUAL_SUMS, "2", EXIT_GANG, "different parameters");
}

static void test_a_gang_that_breaks(void **unused)
{
    (void)unused;
    broken_gang("broken", FAULT_ABORT, "2", EXIT_GANG, "the other host is gone");
}

static void test_members_with_other_options(void **unused)
{
    (void)unused;
    broken_gang("options", FAULT_NONE, "3", EXIT_USAGE, "different options");
}

/* ---- gates ---- */

static void test_gates(void **unused)
{
    (void)unused;
    struct run a, b;
    char path[PATH_MAX], gates[] = "PENSTOCK_GATES=early@7 middle@tokens:1000 late@30";
    run_init(&a, "gates", "25");
    a.plan.words[WORD_KEEP] = "1";
    add(&a, "--checkpoint-every", "5");
    plan_env(&a.plan, gates);
    expect(&a, EXIT_DONE);
    expect_text(a.events, "{\"gate\":\"early\",\"step\":7,\"tokens\":448,\"val_loss\":");
    expect_text(a.events, "\"checkpoint\":\"checkpoints/step-00000007.safetensors\"}");
    /* 1000 tokens are reached with the 16th step of 64. */
    expect_text(a.events, "{\"gate\":\"middle\",\"step\":16,\"tokens\":1024,\"val_loss\":");
    const int kept[] = { 7, 16, 25 }, gone[] = { 5, 10, 15, 20 };
    for (size_t i = 0; i < ARRAY_COUNT(kept); i++) {
        checkpoint_path(path, &a, kept[i]);
        if (!file_exists(path)) fail_msg("step %d was not kept", kept[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(gone); i++) {
        checkpoint_path(path, &a, gone[i]);
        if (file_exists(path)) fail_msg("step %d was kept", gone[i]);
    }
    char *text = file_read(a.events, NULL);
    assert_null(strstr(text, "\"gate\":\"late\""));
    free(text);
    /* Past a gate already: reported at once, from the checkpoint that it resumed from. */
    run_init(&b, "gates", "25");
    checkpoint_path(path, &a, 16);
    add(&b, "--resume", path);
    plan_env(&b.plan, "PENSTOCK_GATES=early@7 middle@16");
    expect(&b, EXIT_DONE);
    expect_text(b.events, "{\"gate\":\"early\",\"step\":16,");
    expect_text(b.events, "{\"gate\":\"middle\",\"step\":16,");
    expect_text(b.events, "\"checkpoint\":\"checkpoints/step-00000016.safetensors\"}");
}

/* A gate that lies before the first step. */
static void test_a_gate_at_the_start(void **unused)
{
    (void)unused;
    struct run a;
    run_init(&a, "gate-zero", "3");
    plan_env(&a.plan, "PENSTOCK_GATES=start@0");
    expect(&a, EXIT_DONE);
    expect_text(a.events, "{\"gate\":\"start\",\"step\":0,");
}

/* ---- failures ---- */

static void test_bad_flags(void **unused)
{
    (void)unused;
    static const char *const rows[][3] = {
        { "--layers", "0", NULL },
        { "--layers", "many", NULL },
        { "--width", "15", NULL },
        { "--context", "5000", NULL },
        { "--vocab", "0", NULL },
        { "--lr", "0", NULL },
        { "--lr", "nan", NULL },
        { "--beta1", "1", NULL },
        { "--beta2", "2", NULL },
        { "--clip", "-1", NULL },
        { "--warmup", "201", NULL },
        { "--seed", "-1", NULL },
        { "--checkpoint-every", "-5", NULL },
        { "--backend", "tpu", NULL },
        { "--dtype", "fp64", NULL },
        { "--data-format", "csv", NULL },
        { "--weight-decay", "x", NULL },
        { "--lr-min-ratio", "2", NULL },
        { "--no-such-flag", "1", NULL },
        { "--resume", NULL, NULL },
        { "stray", NULL, NULL },
        { "--data", "/dev/null", NULL },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct run run;
        run_init(&run, "flags", "5");
        /* Only --data stays, so that no flag is given twice. */
        memset(&run.plan.words[WORD_DATA + 1], 0,
               sizeof(run.plan.words) - (WORD_DATA + 1) * sizeof(run.plan.words[0]));
        plan_words(&run.plan, rows[i]);
        if (process_run(&run.plan) != EXIT_USAGE) fail_msg("row %zu was accepted", i);
        expect_text(stderr_path, "penstock-train: ");
        assert_false(file_exists(run.dir));
    }
    struct process_plan empty = { .words = { TRAINER_PROGRAM }, .stderr_path = stderr_path };
    assert_int_equal(process_run(&empty), EXIT_USAGE);
    expect_text(stderr_path, "--data is missing");
}

static void test_bad_environment(void **unused)
{
    (void)unused;
    static const char *const rows[] = { "WORLD_SIZE=2", "RANK=3", "PENSTOCK_GATES=x",
                                        "OMP_NUM_THREADS=none" };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct run run;
        run_init(&run, "environment", "5");
        plan_env(&run.plan, rows[i]);
        expect(&run, EXIT_USAGE);
    }
}

static void test_bad_data(void **unused)
{
    (void)unused;
    struct run run;
    char path[PATH_MAX];
    path_join(path, folder, "bad");
    run_init(&run, "data", "5");
    run.plan.words[WORD_DATA] = path;
    expect(&run, EXIT_DATA);
    expect_text(run.events, "{\"failure\":\"data file ");
    expect_text(stderr_path, "does not exist");
    file_write(path, "short", 5);
    expect(&run, EXIT_DATA);
    expect_text(stderr_path, "at least 34");
    add(&run, "--data-format", "u16");
    expect(&run, EXIT_DATA);
    expect_text(stderr_path, "odd number");
    char *text = sample_text(1000);
    file_write(path, text, 1000);
    free(text);
    expect(&run, EXIT_DATA); /* letters make tokens far beyond 256 */
    expect_text(stderr_path, "the vocabulary ends at 255");
}

static void test_data_that_shrinks_while_training(void **unused)
{
    (void)unused;
    struct run run;
    char path[PATH_MAX], *text = sample_text(SAMPLE_BYTES);
    path_join(path, folder, "shrinks");
    file_write(path, text, SAMPLE_BYTES);
    free(text);
    run_init(&run, "shrinks-run", "1000000");
    run.plan.words[WORD_DATA] = path;
    pid_t process = process_start(&run.plan, -1);
    await_text(run.events, "\"loss\"");
    assert_int_equal(truncate(path, 10), 0);
    assert_int_equal(process_wait(process), EXIT_DATA);
    expect_text(stderr_path, "has shrunk");
}

static void test_damaged_checkpoints(void **unused)
{
    (void)unused;
    struct run good, run;
    char path[PATH_MAX], damaged[PATH_MAX];
    size_t bytes;
    run_init(&good, "good", "5");
    expect(&good, EXIT_DONE);
    checkpoint_path(path, &good, 5);
    path_join(damaged, folder, "damaged.safetensors");
    char *data = file_read(path, &bytes);
    const size_t places[] = { 0, 9, 200, bytes / 2, bytes - 1 };
    for (size_t i = 0; i <= ARRAY_COUNT(places); i++) {
        size_t length = i == ARRAY_COUNT(places) ? bytes - 1 : bytes;
        if (i < ARRAY_COUNT(places)) data[places[i]] ^= 4;
        file_write(damaged, data, length);
        if (i < ARRAY_COUNT(places)) data[places[i]] ^= 4;
        run_init(&run, "resumes-damaged", "10");
        add(&run, "--resume", damaged);
        expect(&run, EXIT_CHECKPOINT);
        expect_text(stderr_path, "cannot use checkpoint");
    }
    free(data);
    run_init(&run, "resumes-missing", "10");
    add(&run, "--resume", "/no/such/file");
    expect(&run, EXIT_CHECKPOINT);
    /* A whole one, of another model. */
    run_init(&run, "resumes-other", "10");
    run.plan.words[WORD_LAYERS] = "1";
    add(&run, "--resume", path);
    expect(&run, EXIT_CHECKPOINT);
    expect_text(stderr_path, "layers 2");
    assert_false(file_exists(run.dir));
}

static void test_not_finite(void **unused)
{
    (void)unused;
    struct run good, run;
    char path[PATH_MAX], copy[PATH_MAX], *data;
    size_t bytes;
    run_init(&good, "finite", "10");
    expect(&good, EXIT_DONE);
    checkpoint_path(path, &good, 10);
    path_join(copy, folder, "finite-copy");
    data = file_read(path, &bytes);
    file_write(copy, data, bytes);
    free(data);
    run_init(&run, "finite", "40");
    add(&run, "--resume", path);
    add(&run, "--lr", "1e30");
    add(&run, "--clip", "0");
    expect(&run, EXIT_NONFINITE);
    expect_text(run.events, "{\"failure\":\"");
    expect_text(stderr_path, "lower --lr");
    assert_files_equal(path, copy);
}

/* A full disk, as a limit on the size of files. */
static void test_full_disk(void **unused)
{
    (void)unused;
    struct run good, run;
    char path[PATH_MAX], next[PATH_MAX], copy[PATH_MAX], *data;
    size_t bytes;
    run_init(&good, "full", "10");
    expect(&good, EXIT_DONE);
    checkpoint_path(path, &good, 10);
    path_join(copy, folder, "full-copy");
    data = file_read(path, &bytes);
    file_write(copy, data, bytes);
    free(data);
    run_init(&run, "full", "20");
    add(&run, "--resume", path);
    run.plan.file_bytes_max = bytes / 2;
    expect(&run, EXIT_STORE);
    expect_text(stderr_path, "cannot write checkpoint");
    assert_files_equal(path, copy);
    checkpoint_path(next, &run, 20);
    assert_false(file_exists(next));
    /* With room again it goes on. */
    run.plan.file_bytes_max = 0;
    expect(&run, EXIT_DONE);
    assert_true(file_exists(next));
}

static void test_no_cuda(void **unused)
{
    (void)unused;
    struct run run;
    run_init(&run, "cuda", "5");
    add(&run, "--backend", "cuda");
    char beside[PATH_MAX];
    const char *slash = strrchr(TRAINER_PROGRAM, '/');
    snprintf(beside, sizeof(beside), "%.*s/penstock_cuda.so", (int)(slash - TRAINER_PROGRAM),
             TRAINER_PROGRAM);
    if (file_exists(beside)) {
        print_message("penstock_cuda.so is there\n");
        skip();
    }
    expect(&run, EXIT_BACKEND);
    expect_text(stderr_path, "--backend cuda is not available");
    expect_text(stderr_path, "penstock_cuda.so");
}

/* ---- people ---- */

static void test_standalone(void **unused)
{
    (void)unused;
    struct run run;
    char path[PATH_MAX];
    run_init(&run, "standalone", "12");
    memset(run.plan.env, 0, sizeof(run.plan.env));
    add(&run, "--dir", run.dir);
    expect(&run, EXIT_DONE);
    expect_text(stdout_path, "ready at step 0");
    expect_text(stdout_path, "step 12 loss ");
    checkpoint_path(path, &run, 12);
    expect_text(stdout_path, path);
    /* A fresh start over somebody's checkpoints is refused. */
    expect(&run, EXIT_USAGE);
    expect_text(stderr_path, "holds checkpoints of another training");
    assert_true(file_exists(path));
}

static void test_help_version_probe(void **unused)
{
    (void)unused;
    struct process_plan plan = { .words = { TRAINER_PROGRAM, "--help" },
                                 .stdout_path = stdout_path };
    assert_int_equal(process_run(&plan), EXIT_DONE);
    expect_text(stdout_path, "usage: penstock-train --data FILE");
    plan.words[1] = "--version";
    assert_int_equal(process_run(&plan), EXIT_DONE);
    expect_text(stdout_path, "penstock-train " PENSTOCK_VERSION "\n");
    plan.words[1] = "probe";
    plan.words[2] = "--threads";
    plan.words[3] = "1";
    assert_int_equal(process_run(&plan), EXIT_DONE);
    expect_text(stdout_path, "{\"backend\":\"cpu\",\"device\":\"");
    expect_text(stdout_path, "\"threads\":1,\"peak_flops\":");
    expect_text(stdout_path, "\"source\":\"sgemm\"");
}

/* The events' reader goes away: training does not care. */
static void test_nobody_listens(void **unused)
{
    (void)unused;
    struct run run;
    int fds[2];
    char path[PATH_MAX], events[64];
    assert_int_equal(pipe(fds), 0);
    run_init(&run, "nobody", "30");
    snprintf(events, sizeof(events), "PENSTOCK_EVENTS=/dev/fd/%d", fds[1]);
    run.plan.env[1] = events;
    pid_t process = process_start(&run.plan, fds[1]);
    close(fds[1]);
    close(fds[0]);
    assert_int_equal(process_wait(process), EXIT_DONE);
    checkpoint_path(path, &run, 30);
    assert_true(file_exists(path));
}

static void test_real_text_is_learned(void **unused)
{
    (void)unused;
    char bible[PATH_MAX], command[2 * PATH_MAX];
    path_join(bible, folder, "bible.txt");
    snprintf(command, sizeof(command), "bible -f gen1:1-rev22:21 > '%s' 2>/dev/null", bible);
    if (system(command) != 0) {
        print_message("the program `bible` is not installed\n");
        skip();
    }
    struct run run;
    run_init(&run, "real", "300");
    run.plan.words[WORD_DATA] = bible;
    run.plan.words[WORD_WIDTH] = "32";
    run.plan.words[WORD_CONTEXT] = "32";
    add(&run, "--lr", "3e-3");
    expect(&run, EXIT_DONE);
    char *text = file_read(run.events, NULL);
    char *first = strstr(text, "\"loss\":");
    assert_non_null(first);
    double before = strtod(first + strlen("\"loss\":"), NULL);
    free(text);
    /* It begins at ln(256) = 5.5; single letters by their frequency give about 3.1. */
    assert_true(before > 5);
    assert_true(last_value(&run, "val_loss") < 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twice_the_same),
        cmocka_unit_test(test_another_seed_differs),
        cmocka_unit_test(test_sigterm_and_resume),
        cmocka_unit_test(test_sigusr1_and_resume),
        cmocka_unit_test(test_resume_by_environment),
        cmocka_unit_test(test_resume_at_the_end),
        cmocka_unit_test(test_a_gang_trains_as_one),
        cmocka_unit_test(test_a_gang_stops_and_resumes),
        cmocka_unit_test(test_members_that_drift_apart),
        cmocka_unit_test(test_a_gang_that_breaks),
        cmocka_unit_test(test_members_with_other_options),
        cmocka_unit_test(test_gates),
        cmocka_unit_test(test_a_gate_at_the_start),
        cmocka_unit_test(test_bad_flags),
        cmocka_unit_test(test_bad_environment),
        cmocka_unit_test(test_bad_data),
        cmocka_unit_test(test_data_that_shrinks_while_training),
        cmocka_unit_test(test_damaged_checkpoints),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_no_cuda),
        cmocka_unit_test(test_standalone),
        cmocka_unit_test(test_help_version_probe),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_real_text_is_learned),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
