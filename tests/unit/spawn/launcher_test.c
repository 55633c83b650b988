/* The launcher with real processes: what it starts, what it ends, what it reports; as a program of its own, and
 * as a copy of this one. Waits poll with a deadline. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/text.h"
#include "worker/spawn/launcher.h"
#include "worker/spawn/process.h"

#define PATIENCE_NS (60 * NS_PER_S)

enum { PATH_BYTES = 4096 };

struct stage {
    struct launcher launcher;
    char dir[64];
    char path[96];
};

static const char *program; /* of the launcher */

static int set_up(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    const char *base = getenv("TMPDIR");
    snprintf(stage->dir, sizeof stage->dir, "%.40s/spawn-test-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(stage->dir)) return -1;
    snprintf(stage->path, sizeof stage->path, "%s/file", stage->dir);
    setenv("OMPI_COMM_WORLD_RANK", "5", 1); /* inherited by the launcher */
    enum err rc = launcher_start(&stage->launcher, program, NULL);
    unsetenv("OMPI_COMM_WORLD_RANK");
    *state = stage;
    return rc == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    bool ended = launcher_stop(&stage->launcher, PATIENCE_NS);
    unlink(stage->path);
    rmdir(stage->dir);
    free(stage);
    return ended ? 0 : -1;
}

static void spawn(struct stage *stage, struct launch launch, const char *script)
{
    struct error error = { 0 };
    const char *argv[] = { "/bin/sh", "-c", script, NULL };
    if (script) launch.argv = argv;
    if (launch.limit_ns == 0) launch.limit_ns = TIME_NEVER;
    if (launch.grace_ns == 0) launch.grace_ns = 10 * NS_PER_S;
    if (launcher_spawn(&stage->launcher, &launch, &error) != ERR_OK) fail_msg("%s", error.text);
}

static struct launch_report await(struct stage *stage)
{
    struct launch_report report = { 0 };
    struct error error = { 0 };
    int64_t until_ns = boot_clock_ns() + PATIENCE_NS;
    while (boot_clock_ns() < until_ns) {
        enum err rc = launcher_report(&stage->launcher, &report, &error);
        if (rc == ERR_OK) return report;
        if (rc != ERR_NOT_FOUND) fail_msg("%s", error.text);
        poll(&(struct pollfd){ .fd = stage->launcher.fd, .events = POLLIN }, 1, 100);
    }
    fail_msg("no report in time");
    return report;
}

static struct launch_report await_kind(struct stage *stage, uint64_t id,
                                       enum launch_report_kind kind)
{
    struct launch_report report = await(stage);
    if (report.kind != kind || report.id != id)
        fail_msg("report of kind %d about %d: %s", (int)report.kind, (int)report.id,
                 report.text);
    return report;
}

static bool is_alive(pid_t pid)
{
    return kill(pid, 0) == 0;
}

static void await_death(pid_t pid)
{
    int64_t until_ns = boot_clock_ns() + PATIENCE_NS;
    while (is_alive(pid) && boot_clock_ns() < until_ns)
        usleep(1000);
    assert_false(is_alive(pid));
}

static void await_file(const struct stage *stage, char *text, size_t bytes)
{
    int64_t until_ns = boot_clock_ns() + PATIENCE_NS;
    while (boot_clock_ns() < until_ns) {
        int fd = open(stage->path, O_RDONLY);
        ssize_t n = fd >= 0 ? read(fd, text, bytes - 1) : 0;
        if (fd >= 0) close(fd);
        text[n > 0 ? n : 0] = '\0';
        if (strchr(text, '\n')) return;
        usleep(1000);
    }
    fail_msg("the file stays empty");
}

static void test_status_and_output(void **state)
{
    struct stage *stage = *state;
    char text[4096];
    spawn(stage, (struct launch){ .id = 1, .out_path = stage->path, .directory = "/" },
          "pwd; env; exit 9");
    assert_true(await_kind(stage, 1, LAUNCH_STARTED).pid > 1);
    struct launch_report report = await_kind(stage, 1, LAUNCH_EXITED);
    assert_int_equal(report.exit_code, 9);
    assert_int_equal(report.signal_number, 0);
    assert_false(report.at_limit);
    await_file(stage, text, sizeof text);
    assert_int_equal(strncmp(text, "/\n", 2), 0);
    assert_null(strstr(text, "OMPI_"));
    spawn(stage, (struct launch){ .id = 2, .out_path = stage->path },
          "echo appended; kill -9 $$");
    await_kind(stage, 2, LAUNCH_STARTED);
    report = await_kind(stage, 2, LAUNCH_EXITED);
    assert_int_equal(report.exit_code, -1);
    assert_int_equal(report.signal_number, SIGKILL);
    await_file(stage, text, sizeof text);
    assert_non_null(strstr(text, "appended\n"));
    assert_int_equal(strncmp(text, "/\n", 2), 0);
}

static void test_environment(void **state)
{
    struct stage *stage = *state;
    char text[4096];
    const char *env[] = { "HOME", "NEW=a b", "PATH=/usr/bin:/bin", NULL };
    spawn(stage,
          (struct launch){ .id = 1, .out_path = stage->path, .env = env, .marker = "MARK=7" },
          "echo \"${HOME:-none} $NEW $MARK\"");
    await_kind(stage, 1, LAUNCH_STARTED);
    await_kind(stage, 1, LAUNCH_EXITED);
    await_file(stage, text, sizeof text);
    assert_string_equal(text, "none a b 7\n");
}

/* The trainer has 0, 1, 2, the lock and what was passed; nothing of the agent or of other trainers. */
static void test_descriptors(void **state)
{
    struct stage *stage = *state;
    char text[4096], lock[96];
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    snprintf(lock, sizeof lock, "%s/lock", stage->dir);
    int leak =
        open("/dev/null", O_RDONLY); /* not close-on-exec, opened after the launcher's fork */
    spawn(stage,
          (struct launch){ .id = 1,
                           .out_path = stage->path,
                           .lock_path = lock,
                           .fds = &ends[1],
                           .fd_count = 1 },
          "echo pass >/dev/fd/10; for f in /proc/self/fd/*; do echo ${f##*/}; done; read x "
          "</dev/null "
          "|| echo eof");
    await_kind(stage, 1, LAUNCH_STARTED);
    await_kind(stage, 1, LAUNCH_EXITED);
    await_file(stage, text, sizeof text);
    /* The shell's own directory handle may show up as 3. */
    if (strncmp(text, "0\n1\n10\n2\n9\neof\n", 64) != 0 &&
        strncmp(text, "0\n1\n10\n2\n3\n9\neof\n", 64) != 0)
        fail_msg("descriptors: %s", text);
    close(ends[1]);
    char word[8] = "";
    assert_int_equal(read(ends[0], word, sizeof word - 1), 5);
    assert_string_equal(word, "pass\n");
    assert_int_equal(read(ends[0], word, 1), 0); /* nobody else holds the other end */
    close(ends[0]);
    close(leak);
    unlink(lock);
}

static void test_failures_say_why(void **state)
{
    struct stage *stage = *state;
    const char *argv[] = { "/no/such/program", NULL };
    struct {
        struct launch launch;
        const char *script;
        const char *says;
    } rows[] = {
        { { .id = 1, .argv = argv }, NULL, "/no/such/program: No such file" },
        { { .id = 2, .directory = "/no/such/place" },
          "exit 0",
          "/no/such/place: No such file" },
        { { .id = 3, .out_path = "/no/such/out" }, "exit 0", "/no/such/out: No such file" },
        { { .id = 4, .lock_path = "/no/such/lock" }, "exit 0", "/no/such/lock: No such file" },
        { { .id = 5, .err_path = "/" }, "exit 0", "Is a directory" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        spawn(stage, rows[i].launch, rows[i].script);
        struct launch_report report = await_kind(stage, rows[i].launch.id, LAUNCH_FAILED);
        if (!strstr(report.text, rows[i].says)) fail_msg("%s: %s", rows[i].says, report.text);
    }
    spawn(stage, (struct launch){ .id = 6 }, "exit 0"); /* and goes on */
    await_kind(stage, 6, LAUNCH_STARTED);
    await_kind(stage, 6, LAUNCH_EXITED);
}

static void test_lock_keeps_two_apart(void **state)
{
    struct stage *stage = *state;
    struct launch launch = { .id = 1, .lock_path = stage->path };
    spawn(stage, launch, "while :; do sleep 0.02; done");
    await_kind(stage, 1, LAUNCH_STARTED);
    int fd = open(stage->path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
    assert_int_equal(errno, EWOULDBLOCK);
    launch.id = 2;
    launch.lock_until_ns = boot_clock_ns() + 100 * NS_PER_MS;
    spawn(stage, launch, "exit 0");
    assert_non_null(strstr(await_kind(stage, 2, LAUNCH_FAILED).text, "still alive"));
    launch.id = 3;
    launch.lock_until_ns = boot_clock_ns() + PATIENCE_NS;
    spawn(stage, launch, "exit 0");
    launch.id = 4;
    spawn(stage, launch, "exit 0");
    assert_int_equal(launcher_signal(&stage->launcher, 4, SIGTERM, NULL), ERR_OK);
    assert_non_null(strstr(await_kind(stage, 4, LAUNCH_FAILED).text, "stopped before"));
    assert_int_equal(launcher_signal(&stage->launcher, 1, SIGKILL, NULL), ERR_OK);
    await_kind(stage, 1, LAUNCH_EXITED);
    await_kind(stage, 3, LAUNCH_STARTED); /* its turn */
    await_kind(stage, 3, LAUNCH_EXITED);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
}

static void test_group_does_not_outlive_its_leader(void **state)
{
    struct stage *stage = *state;
    char text[64];
    spawn(stage, (struct launch){ .id = 1, .out_path = stage->path },
          "sh -c 'trap \"\" TERM; while :; do sleep 0.02; done' & echo $!; exit 0");
    await_kind(stage, 1, LAUNCH_STARTED);
    await_kind(stage, 1, LAUNCH_EXITED);
    await_file(stage, text, sizeof text);
    assert_false(is_alive((pid_t)strtol(text, NULL, 10)));
}

static void test_detached_and_scrubbed_orphan_is_ended(void **state)
{
    struct stage *stage = *state;
    char text[64];
    spawn(
        stage, (struct launch){ .id = 1, .out_path = stage->path, .marker = "MARK=1" },
        "(setsid env -i sh -c 'echo $$; while :; do sleep 0.02; done' &) ; sleep 0.2; exit 0");
    await_kind(stage, 1, LAUNCH_STARTED);
    await_kind(stage, 1, LAUNCH_EXITED);
    await_file(stage, text, sizeof text);
    assert_false(is_alive((pid_t)strtol(text, NULL, 10)));
}

static void test_limit(void **state)
{
    struct stage *stage = *state;
    int64_t limit_ns = boot_clock_ns() + 100 * NS_PER_MS;
    spawn(stage, (struct launch){ .id = 1, .limit_ns = limit_ns },
          "trap '' TERM; while :; do sleep 0.02; done");
    await_kind(stage, 1, LAUNCH_STARTED);
    struct launch_report report = await_kind(stage, 1, LAUNCH_EXITED);
    assert_true(report.at_limit);
    assert_int_equal(report.signal_number, SIGKILL);
    assert_true(boot_clock_ns() >= limit_ns);
}

static void test_limit_that_is_moved(void **state)
{
    struct stage *stage = *state;
    int64_t limit_ns = boot_clock_ns() + NS_PER_S;
    spawn(stage, (struct launch){ .id = 2, .limit_ns = limit_ns }, "sleep 1.2; exit 0");
    assert_int_equal(launcher_limit(&stage->launcher, 2, limit_ns + PATIENCE_NS, NULL), ERR_OK);
    await_kind(stage, 2, LAUNCH_STARTED);
    struct launch_report report = await_kind(stage, 2, LAUNCH_EXITED);
    assert_false(report.at_limit);
    assert_int_equal(report.exit_code, 0);
    assert_true(boot_clock_ns() > limit_ns);
}

static void test_signals_of_the_job_do_not_reach_it(void **state)
{
    struct stage *stage = *state;
    const int numbers[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT, SIGTSTP };
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        assert_int_equal(kill(stage->launcher.pid, numbers[i]), 0);
    /* A trainer does not inherit what the launcher ignores. */
    spawn(stage, (struct launch){ .id = 1 }, "kill -TERM $$; sleep 10; exit 0");
    await_kind(stage, 1, LAUNCH_STARTED);
    assert_int_equal(await_kind(stage, 1, LAUNCH_EXITED).signal_number, SIGTERM);
    assert_int_equal(getpgid(stage->launcher.pid), stage->launcher.pid);
    assert_int_equal(getsid(stage->launcher.pid), stage->launcher.pid);
}

static void test_end_of_the_agent(void **state)
{
    struct stage *stage = *state;
    char text[64] = "";
    spawn(stage, (struct launch){ .id = 1, .out_path = stage->path },
          "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.02; done");
    spawn(stage, (struct launch){ .id = 2, .grace_ns = 100 * NS_PER_MS },
          "trap '' TERM; while :; do sleep 0.02; done");
    spawn(stage, (struct launch){ .id = 3 }, "trap '' TERM; while :; do sleep 0.02; done");
    pid_t pids[4] = { 0 };
    for (int i = 0; i < 3; i++) {
        struct launch_report report = await(stage);
        assert_int_equal(report.kind, LAUNCH_STARTED);
        pids[report.id] = (pid_t)report.pid;
    }
    await_file(stage, text, sizeof text); /* its trap is set */
    /* The third has a long grace, and a limit that ends it. */
    assert_int_equal(
        launcher_limit(&stage->launcher, 3, boot_clock_ns() + 300 * NS_PER_MS, NULL), ERR_OK);
    int64_t start_ns = boot_clock_ns();
    assert_true(launcher_stop(&stage->launcher, PATIENCE_NS));
    assert_true(boot_clock_ns() - start_ns < 8 * NS_PER_S);
    for (int i = 1; i < 4; i++)
        assert_false(is_alive(pids[i]));
    await_file(stage, text, sizeof text);
    assert_string_equal(text, "ready\nasked\n");
    assert_int_equal(launcher_signal(&stage->launcher, 1, SIGTERM, NULL), ERR_CLOSED);
    struct launch_report report;
    assert_int_equal(launcher_report(&stage->launcher, &report, NULL), ERR_CLOSED);
}

static void test_end_of_the_launcher(void **state)
{
    struct stage *stage = *state;
    struct launch_report report;
    spawn(stage, (struct launch){ .id = 1 }, "trap '' TERM; while :; do sleep 0.02; done");
    pid_t pid = (pid_t)await_kind(stage, 1, LAUNCH_STARTED).pid;
    kill(stage->launcher.pid, SIGKILL);
    /* The kernel kills the trainer, and it is re-parented to us, who have to reap it. */
    int64_t until_ns = boot_clock_ns() + PATIENCE_NS;
    while (waitpid(pid, NULL, WNOHANG) != pid && boot_clock_ns() < until_ns)
        usleep(1000);
    await_death(pid);
    enum err rc = ERR_NOT_FOUND;
    while (rc == ERR_NOT_FOUND && boot_clock_ns() < until_ns)
        rc = launcher_report(&stage->launcher, &report, NULL);
    assert_int_equal(rc, ERR_CLOSED);
    const char *argv[] = { "true", NULL };
    struct launch launch = { .id = 2, .argv = argv };
    assert_int_equal(launcher_spawn(&stage->launcher, &launch, NULL), ERR_CLOSED);
}

static void test_too_many_and_doubled_ids(void **state)
{
    struct stage *stage = *state;
    for (uint64_t id = 1; id <= LAUNCH_JOBS_MAX; id++)
        spawn(stage, (struct launch){ .id = id }, "while :; do sleep 0.1; done");
    for (int i = 0; i < LAUNCH_JOBS_MAX; i++)
        assert_int_equal(await(stage).kind, LAUNCH_STARTED);
    spawn(stage, (struct launch){ .id = 99 }, "exit 0");
    assert_non_null(strstr(await_kind(stage, 99, LAUNCH_FAILED).text, "too many"));
    assert_int_equal(launcher_signal(&stage->launcher, 1, SIGKILL, NULL), ERR_OK);
    await_kind(stage, 1, LAUNCH_EXITED);
    spawn(stage, (struct launch){ .id = 2 }, "exit 0");
    assert_non_null(strstr(await_kind(stage, 2, LAUNCH_FAILED).text, "this id is alive"));
    assert_int_equal(launcher_signal(&stage->launcher, 12345, SIGKILL, NULL),
                     ERR_OK); /* nobody */
    for (uint64_t id = 2; id <= LAUNCH_JOBS_MAX; id++)
        assert_int_equal(launcher_signal(&stage->launcher, id, SIGKILL, NULL), ERR_OK);
    for (int i = 1; i < LAUNCH_JOBS_MAX; i++)
        assert_int_equal(await(stage).kind, LAUNCH_EXITED);
}

/* Which of the two a launcher is shows in what it executes. */
static void test_what_it_runs(void **state)
{
    struct stage *stage = *state;
    struct launch_report report;
    char path[64], runs[PATH_BYTES] = "";
    spawn(stage, (struct launch){ .id = 1 }, "exit 0");
    do
        report = await(stage); /* it has begun its work by now */
    while (report.kind == LAUNCH_STARTED);
    snprintf(path, sizeof path, "/proc/%d/exe", (int)stage->launcher.pid);
    assert_true(readlink(path, runs, sizeof runs - 1) > 0);
    const char *name = strrchr(runs, '/');
    bool own = program && access(program, X_OK) == 0;
    assert_string_equal(name, own ? "/penstock-launch" : "/spawn_launcher_test");
}

/* launcher_test [PROGRAM] */
int main(int argc, char **argv)
{
    program = argc > 1 ? argv[1] : NULL;
#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ROW(test_what_it_runs),
        ROW(test_status_and_output),
        ROW(test_environment),
        ROW(test_descriptors),
        ROW(test_failures_say_why),
        ROW(test_lock_keeps_two_apart),
        ROW(test_group_does_not_outlive_its_leader),
        ROW(test_detached_and_scrubbed_orphan_is_ended),
        ROW(test_limit),
        ROW(test_limit_that_is_moved),
        ROW(test_signals_of_the_job_do_not_reach_it),
        ROW(test_end_of_the_agent),
        ROW(test_end_of_the_launcher),
        ROW(test_too_many_and_doubled_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
