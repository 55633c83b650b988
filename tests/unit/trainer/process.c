#include "tests/unit/trainer/process.h"

#include "proto/wire/gang_shm.h"
#include "tests/unit/trainer/support.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_S = 60, ABORT_AFTER = 30, SEGMENT_BUFFER_BYTES = 1 << 20 };

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

void plan_words(struct process_plan *plan, const char *const *words)
{
    size_t count = 0;
    while (plan->words[count] != NULL)
        count++;
    while (*words != NULL) {
        assert_true(count < PROCESS_WORDS_MAX - 1);
        plan->words[count++] = *words++;
    }
}

void plan_env(struct process_plan *plan, const char *pair)
{
    size_t count = 0;
    while (plan->env[count] != NULL)
        count++;
    assert_true(count < PROCESS_ENV_MAX - 1);
    plan->env[count] = pair;
}

static void redirect(const char *path, int to)
{
    if (path == NULL) return;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || dup2(fd, to) < 0) _exit(126);
    close(fd);
}

static void become(const struct process_plan *plan, int pass_fd)
{
    struct rlimit limit = { plan->file_bytes_max, plan->file_bytes_max };
    redirect(plan->stdout_path, STDOUT_FILENO);
    redirect(plan->stderr_path, STDERR_FILENO);
    if (plan->file_bytes_max > 0 && setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(126);
    if (pass_fd >= 0 && fcntl(pass_fd, F_SETFD, 0) != 0) _exit(126);
    execve(plan->words[0], (char *const *)(uintptr_t)plan->words,
           (char *const *)(uintptr_t)plan->env);
    _exit(127);
}

pid_t process_start(const struct process_plan *plan, int pass_fd)
{
    fflush(NULL);
    pid_t process = fork();
    assert_true(process >= 0);
    if (process == 0) become(plan, pass_fd);
    return process;
}

/* True and the code when it has ended. */
static bool has_ended(pid_t process, int *code)
{
    int status;
    pid_t ended = waitpid(process, &status, WNOHANG);
    assert_true(ended >= 0);
    if (ended == 0) return false;
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
}

int process_wait(pid_t process)
{
    int code = -1;
    int64_t deadline_ns = now_ns() + PATIENCE_S * NS_PER_S;
    while (!has_ended(process, &code)) {
        if (now_ns() > deadline_ns) {
            kill(process, SIGKILL);
            waitpid(process, NULL, 0);
            fail_msg("process %d did not end", (int)process);
        }
        usleep(2000);
    }
    return code;
}

int process_run(const struct process_plan *plan)
{
    return process_wait(process_start(plan, -1));
}

static bool holds_text(const char *path, const char *text)
{
    if (!file_exists(path)) return false;
    char *data = file_read(path, NULL);
    bool found = strstr(data, text) != NULL;
    free(data);
    return found;
}

void await_text(const char *path, const char *text)
{
    int64_t deadline_ns = now_ns() + PATIENCE_S * NS_PER_S;
    while (!holds_text(path, text)) {
        if (now_ns() > deadline_ns) fail_msg("%s never held %s", path, text);
        usleep(1000);
    }
}

/* ---- the agent of a gang of two ---- */

struct served {
    struct gang_shm shm;
    struct gang_shm_request request;
    bool waiting; /* has a request that its twin has not made yet */
    bool left;
    pid_t process;
    char env[2][64]; /* PENSTOCK_COMM_FD and _BYTES */
};

static void sum_pair(struct served gang[2], enum gang_fault fault)
{
    const struct gang_shm_request *request = &gang[0].request;
    void *a = gang_shm_slice(&gang[0].shm, request);
    void *b = gang_shm_slice(&gang[1].shm, &gang[1].request);
    assert_int_equal(request->op, gang[1].request.op);
    assert_int_equal(request->count, gang[1].request.count);
    for (uint64_t i = 0; i < request->count; i++) {
        if (request->op == GANG_SHM_SUM_F32) {
            float sum = ((float *)a)[i] + ((float *)b)[i];
            ((float *)a)[i] = sum;
            ((float *)b)[i] = fault == FAULT_UNEQUAL_SUMS ? sum * 1.001F : sum;
        } else if (request->op == GANG_SHM_SUM_F64) {
            ((double *)a)[i] += ((double *)b)[i];
            ((double *)b)[i] = ((double *)a)[i];
        } else {
            int64_t max = max_i64(((int64_t *)a)[i], ((int64_t *)b)[i]);
            ((int64_t *)a)[i] = ((int64_t *)b)[i] = max;
        }
    }
    for (int m = 0; m < 2; m++) {
        gang_shm_complete(&gang[m].shm, &gang[m].request);
        gang[m].waiting = false;
    }
}

static void take_requests(struct served gang[2])
{
    for (int m = 0; m < 2; m++) {
        if (gang[m].waiting || gang[m].left) continue;
        enum err rc = gang_shm_next(&gang[m].shm, NS_PER_MS, &gang[m].request, NULL);
        gang[m].waiting = rc == ERR_OK;
        gang[m].left = rc == ERR_CLOSED;
        assert_int_not_equal(rc, ERR_DAMAGED);
    }
}

static void serve(struct served gang[2], enum gang_fault fault, const struct gang_stop *stop,
                  int codes[2])
{
    bool ended[2] = { false, false }, stopped = stop->events_path == NULL;
    int64_t deadline_ns = now_ns() + PATIENCE_S * NS_PER_S;
    for (int requests = 0; !(ended[0] && ended[1]);) {
        take_requests(gang);
        if (gang[0].waiting && gang[1].waiting) {
            if (fault == FAULT_ABORT && ++requests > ABORT_AFTER)
                for (int m = 0; m < 2; m++)
                    gang_shm_abort(&gang[m].shm, "the other host is gone");
            else
                sum_pair(gang, fault);
        }
        if (!stopped && holds_text(stop->events_path, stop->text)) {
            kill(gang[stop->member].process, SIGTERM);
            stopped = true;
        }
        for (int m = 0; m < 2; m++)
            if (!ended[m]) ended[m] = has_ended(gang[m].process, &codes[m]);
        assert_true(now_ns() < deadline_ns);
    }
}

void gang_run(struct process_plan plans[2], enum gang_fault fault, const struct gang_stop *stop,
              int codes[2])
{
    static const char *const ranks[2] = { "RANK=0", "RANK=1" };
    static const struct gang_stop nobody;
    struct served gang[2] = { { .waiting = false }, { .waiting = false } };
    for (int m = 0; m < 2; m++) {
        assert_int_equal(gang_shm_create(&gang[m].shm, SEGMENT_BUFFER_BYTES, NULL), ERR_OK);
        snprintf(gang[m].env[0], sizeof(gang[m].env[0]), "PENSTOCK_COMM_FD=%d", gang[m].shm.fd);
        snprintf(gang[m].env[1], sizeof(gang[m].env[1]), "PENSTOCK_COMM_BYTES=%zu",
                 gang[m].shm.segment_bytes);
        plan_env(&plans[m], ranks[m]);
        plan_env(&plans[m], "WORLD_SIZE=2");
        plan_env(&plans[m], gang[m].env[0]);
        plan_env(&plans[m], gang[m].env[1]);
        gang[m].process = process_start(&plans[m], gang[m].shm.fd);
    }
    serve(gang, fault, stop != NULL ? stop : &nobody, codes);
    for (int m = 0; m < 2; m++)
        gang_shm_close(&gang[m].shm);
}
