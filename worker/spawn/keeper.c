/*
 * The launcher's loop. A job goes through
 *
 *     LOCKING   waits for the rank lock; nothing runs
 *     EXECING   forked; the pipe has not said yet whether exec succeeded
 *     RUNNING   reported as started
 *     SWEEPING  the leader has ended, and is kept as a zombie so that its number stays taken,
 * while the rest of its family is killed
 *
 * and is reported as failed or exited, once. Orphans are re-parented here (subreaper), so
 * whatever a trainer leaves behind is found below this process.
 */
#include "worker/spawn/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/text.h"
#include "worker/spawn/child.h"
#include "worker/spawn/packet.h"
#include "worker/spawn/process.h"
#include "worker/spawn/supervise.h"

#define LOCK_LOOK_NS (10 * NS_PER_MS)
#define SWEEP_FIRST_NS (2 * NS_PER_MS)
#define SWEEP_LAST_NS (200 * NS_PER_MS)

enum job_state { JOB_FREE, JOB_LOCKING, JOB_EXECING, JOB_RUNNING, JOB_SWEEPING };

struct job {
    enum job_state state;
    struct request request;
    struct launch_body body;
    struct supervise supervise;
    pid_t pid;
    int lock_fd;    /* -1: none */
    int failure_fd; /* -1: closed */
    bool failed;    /* exec failed: `failure` says why */
    bool at_limit;
    struct child_failure failure;
    size_t failure_bytes;
    int64_t look_ns, sweep_pause_ns; /* LOCKING, SWEEPING: when to look again */
};

struct keeper {
    int socket; /* -1: the agent is gone */
    int signals;
    int children;           /* see process_open_children */
    const char **inherited; /* a trainer's environment before its launch changes it */
    struct job jobs[LAUNCH_JOBS_MAX];
    struct process_list processes;
};

static void tell(struct keeper *keeper, const struct launch_report *report)
{
    if (keeper->socket < 0) return;
    /* The socket holds hundreds of reports and there are a few jobs: full means that the agent
     * has stopped reading, and the report is worth a short wait. */
    for (int tries = 0; tries < 500; tries++) {
        if (report_send(keeper->socket, report, NULL) != ERR_FULL) return;
        poll(&(struct pollfd){ .fd = keeper->socket, .events = POLLOUT }, 1, 10);
    }
}

static void refuse(struct keeper *keeper, uint64_t id, const char *why)
{
    struct launch_report report = { .id = id, .kind = LAUNCH_FAILED, .exit_code = -1 };
    text_copy(report.text, sizeof report.text, text_of(why));
    tell(keeper, &report);
}

static void release(struct job *job)
{
    if (job->failure_fd >= 0) close(job->failure_fd);
    if (job->lock_fd >= 0) close(job->lock_fd);
    body_fini(&job->body);
    *job = (struct job){ .lock_fd = -1, .failure_fd = -1 };
}

/* The lock is free before the agent hears that it is. */
static void fail_job(struct keeper *keeper, struct job *job, const char *text)
{
    uint64_t id = job->request.id;
    release(job);
    refuse(keeper, id, text);
}

static struct job *job_of(struct keeper *keeper, uint64_t id)
{
    for (size_t i = 0; i < LAUNCH_JOBS_MAX; i++)
        if (keeper->jobs[i].state != JOB_FREE && keeper->jobs[i].request.id == id)
            return &keeper->jobs[i];
    return NULL;
}

/* ---- the family ---- */

static size_t list_leaders(const struct keeper *keeper, pid_t leaders[LAUNCH_JOBS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < LAUNCH_JOBS_MAX; i++)
        if (keeper->jobs[i].pid > 0) leaders[count++] = keeper->jobs[i].pid;
    return count;
}

/* The usual case, and a cheap look: no trainer that ended has left anything behind. */
static bool no_orphans(const struct keeper *keeper)
{
    pid_t leaders[LAUNCH_JOBS_MAX];
    size_t count = list_leaders(keeper, leaders);
    return process_has_no_child_but(keeper->children, leaders, count);
}

static size_t find_family(struct keeper *keeper, const struct job *job)
{
    pid_t leaders[LAUNCH_JOBS_MAX];
    size_t count = list_leaders(keeper, leaders);
    struct process_family family = { .root = getpid(),
                                     .leader = job->pid,
                                     .marker = job->body.marker,
                                     .all_orphans = count == 1,
                                     .other_leaders = leaders,
                                     .other_count = count };
    if (process_list_read(&keeper->processes, NULL) != ERR_OK) return SIZE_MAX;
    return process_find_family(&keeper->processes, &family);
}

static void signal_job(struct keeper *keeper, struct job *job, int number)
{
    if (job->pid <= 0) return;
    kill(-job->pid, number);
    if (number != SIGKILL) return;
    if (find_family(keeper, job) != SIZE_MAX) process_kill_family(&keeper->processes);
}

static void reap_orphans(struct keeper *keeper)
{
    for (size_t i = 0; i < keeper->processes.count; i++) {
        const struct process *process = &keeper->processes.items[i];
        bool leads = false;
        for (size_t k = 0; k < LAUNCH_JOBS_MAX; k++)
            leads = leads || keeper->jobs[k].pid == process->pid;
        if (process->parent == getpid() && process->state == 'Z' && !leads)
            waitpid(process->pid, NULL, WNOHANG);
    }
}

/* ---- starting ---- */

/* Forks, with the pipe's writing end for the child. */
static pid_t fork_child(struct keeper *keeper, const struct job *job, int failure_fd)
{
    const char **environment = child_environment(keeper->inherited, &job->body);
    if (!environment) return -1;
    pid_t self = getpid(), pid = fork();
    if (pid == 0) child_run(&job->body, environment, self, job->lock_fd, failure_fd);
    free(environment);
    return pid;
}

static void start(struct keeper *keeper, struct job *job)
{
    int ends[2];
    /* What a child writes fits into the pipe, so that it need not wait either. */
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        fail_job(keeper, job, "no pipe for the new process");
        return;
    }
    pid_t pid = fork_child(keeper, job, ends[1]);
    close(ends[1]);
    if (pid < 0) {
        char text[LAUNCH_TEXT_BYTES];
        snprintf(text, sizeof text, "fork: %s", strerror(errno));
        close(ends[0]);
        fail_job(keeper, job, text);
        return;
    }
    setpgid(pid, pid); /* as the child does: whoever comes first, the group is there */
    for (size_t i = 0; i < job->body.fd_count; i++)
        close(job->body.fds[i]);
    job->body.fd_count = 0;
    job->pid = pid;
    job->failure_fd = ends[0];
    job->state = JOB_EXECING;
}

static void try_lock(struct keeper *keeper, struct job *job, int64_t now_ns)
{
    char text[LAUNCH_TEXT_BYTES];
    if (job->lock_fd >= 0 && flock(job->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        start(keeper, job);
        return;
    }
    if (job->lock_fd < 0 || errno != EWOULDBLOCK) {
        snprintf(text, sizeof text, "lock %.200s: %s", job->body.lock_path, strerror(errno));
        fail_job(keeper, job, text);
        return;
    }
    if (now_ns >= job->request.lock_until_ns) {
        snprintf(text, sizeof text,
                 "%.200s is locked: an earlier trainer of this rank is still alive",
                 job->body.lock_path);
        fail_job(keeper, job, text);
        return;
    }
    job->look_ns = now_ns + LOCK_LOOK_NS;
}

/* The body is the job's from here on. */
static void on_spawn(struct keeper *keeper, const struct request *request,
                     struct launch_body *body, int64_t now_ns)
{
    struct job *job = NULL;
    for (size_t i = 0; !job && i < LAUNCH_JOBS_MAX; i++)
        if (keeper->jobs[i].state == JOB_FREE) job = &keeper->jobs[i];
    if (!job || job_of(keeper, request->id)) {
        body_fini(body);
        refuse(keeper, request->id,
               job ? "a trainer of this id is alive" : "too many trainers of one launcher");
        return;
    }
    job->request = *request;
    job->body = *body;
    supervise_init(&job->supervise, request->grace_ns);
    if (!job->body.lock_path[0]) {
        start(keeper, job);
        return;
    }
    job->state = JOB_LOCKING;
    job->lock_fd = open(job->body.lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    try_lock(keeper, job, now_ns);
}

/* The pipe ends without a word when exec succeeded. */
static void hear_child(struct keeper *keeper, struct job *job)
{
    char *to = (char *)&job->failure + job->failure_bytes;
    ssize_t got = read(job->failure_fd, to, sizeof job->failure - job->failure_bytes);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got > 0) {
        job->failure_bytes += (size_t)got;
        job->failed = job->failure_bytes == sizeof job->failure;
        if (!job->failed) return;
    }
    close(job->failure_fd);
    job->failure_fd = -1;
    if (job->failed) return; /* its exit follows */
    job->state = JOB_RUNNING;
    struct launch_report report = { .id = job->request.id,
                                    .kind = LAUNCH_STARTED,
                                    .pid = (int32_t)job->pid };
    tell(keeper, &report);
}

/* ---- ending ---- */

static void finish(struct keeper *keeper, struct job *job)
{
    int status = 0;
    struct rusage usage = { 0 };
    wait4(job->pid, &status, 0, &usage);
    if (job->failed) {
        char text[LAUNCH_TEXT_BYTES];
        job->failure.what[sizeof job->failure.what - 1] = '\0';
        snprintf(text, sizeof text, "%s: %s", job->failure.what,
                 strerror(job->failure.sys_errno));
        job->pid = 0;
        fail_job(keeper, job, text);
        return;
    }
    struct launch_report report = {
        .id = job->request.id,
        .kind = LAUNCH_EXITED,
        .pid = (int32_t)job->pid,
        .exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        .signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
        .at_limit = job->at_limit,
        .cpu_ns = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS_PER_S +
                  (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * NS_PER_US,
    };
    release(job);
    tell(keeper, &report);
}

static void sweep(struct keeper *keeper, struct job *job, int64_t now_ns)
{
    kill(-job->pid, SIGKILL);
    if (no_orphans(keeper)) {
        finish(keeper, job);
        return;
    }
    size_t alive = find_family(keeper, job);
    if (alive != SIZE_MAX) process_kill_family(&keeper->processes);
    reap_orphans(keeper);
    if (alive == 0) {
        finish(keeper, job);
        return;
    }
    job->look_ns = now_ns + job->sweep_pause_ns;
    job->sweep_pause_ns = min_i64(2 * job->sweep_pause_ns, SWEEP_LAST_NS);
}

/* Finds leaders that have ended, without reaping them. */
static void on_children(struct keeper *keeper, int64_t now_ns)
{
    for (size_t i = 0; i < LAUNCH_JOBS_MAX; i++) {
        struct job *job = &keeper->jobs[i];
        siginfo_t info = { 0 };
        if (job->state != JOB_EXECING && job->state != JOB_RUNNING) continue;
        if (waitid(P_PID, (id_t)job->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
            info.si_pid != job->pid)
            continue;
        if (job->state == JOB_EXECING && job->failure_fd >= 0) hear_child(keeper, job);
        supervise_step(&job->supervise, SUPERVISE_ON_EXIT, now_ns);
        job->state = JOB_SWEEPING;
        job->sweep_pause_ns = SWEEP_FIRST_NS;
        sweep(keeper, job, now_ns);
    }
    if (no_orphans(keeper)) return;
    if (process_list_read(&keeper->processes, NULL) == ERR_OK) reap_orphans(keeper);
}

static void act(struct keeper *keeper, struct job *job, enum supervise_action action)
{
    if (action == SUPERVISE_SEND_TERM) signal_job(keeper, job, SIGTERM);
    if (action == SUPERVISE_SEND_KILL) signal_job(keeper, job, SIGKILL);
}

static void on_agent_gone(struct keeper *keeper, int64_t now_ns)
{
    close(keeper->socket);
    keeper->socket = -1;
    for (size_t i = 0; i < LAUNCH_JOBS_MAX; i++) {
        struct job *job = &keeper->jobs[i];
        if (job->state == JOB_LOCKING) release(job);
        if (job->state != JOB_EXECING && job->state != JOB_RUNNING) continue;
        act(keeper, job, supervise_step(&job->supervise, SUPERVISE_ON_STOP, now_ns));
        supervise_hasten(&job->supervise, job->request.limit_ns);
    }
}

static void on_time(struct keeper *keeper, struct job *job, int64_t now_ns)
{
    switch (job->state) {
    case JOB_FREE: return;
    case JOB_LOCKING:
        if (now_ns >= job->look_ns) try_lock(keeper, job, now_ns);
        return;
    case JOB_EXECING:
    case JOB_RUNNING:
        if (now_ns >= job->request.limit_ns && job->supervise.state != SUPERVISE_KILLED) {
            job->at_limit = true;
            act(keeper, job,
                supervise_step(&job->supervise, SUPERVISE_ON_STOP_AT_ONCE, now_ns));
        }
        act(keeper, job, supervise_step(&job->supervise, SUPERVISE_ON_TIME, now_ns));
        return;
    case JOB_SWEEPING:
        if (now_ns >= job->look_ns) sweep(keeper, job, now_ns);
        return;
    }
    unreachable("job state");
}

/* ---- requests and the loop ---- */

static void on_signal_request(struct keeper *keeper, const struct request *request)
{
    struct job *job = job_of(keeper, request->id);
    if (!job) return;
    if (job->state == JOB_LOCKING) {
        fail_job(keeper, job, "stopped before it could start");
        return;
    }
    if (request->signal_number > 0 && request->signal_number < NSIG)
        signal_job(keeper, job, request->signal_number);
}

/* One request; whatever waits behind it wakes the next poll. */
static void on_request(struct keeper *keeper)
{
    struct request request;
    struct launch_body body;
    struct error error;
    enum err rc = request_receive(keeper->socket, &request, &body, &error);
    if (rc == ERR_NOT_FOUND) return;
    int64_t now_ns = boot_clock_ns();
    if (rc == ERR_INPUT || rc == ERR_NO_MEMORY) {
        if (request.id > 0) refuse(keeper, request.id, error.text);
        return;
    }
    if (rc != ERR_OK) {
        on_agent_gone(keeper, now_ns);
        return;
    }
    struct job *job = job_of(keeper, request.id);
    switch (request.kind) {
    case REQUEST_SPAWN: on_spawn(keeper, &request, &body, now_ns); return;
    case REQUEST_SIGNAL: on_signal_request(keeper, &request); return;
    case REQUEST_LIMIT:
        if (job) job->request.limit_ns = request.limit_ns;
        return;
    }
    unreachable("request kind");
}

static int64_t next_due_ns(const struct keeper *keeper)
{
    int64_t due_ns = TIME_NEVER;
    for (size_t i = 0; i < LAUNCH_JOBS_MAX; i++) {
        const struct job *job = &keeper->jobs[i];
        switch (job->state) {
        case JOB_FREE: break;
        case JOB_LOCKING:
        case JOB_SWEEPING: due_ns = min_i64(due_ns, job->look_ns); break;
        case JOB_EXECING:
        case JOB_RUNNING:
            due_ns = min_i64(due_ns, job->supervise.due_ns);
            if (job->supervise.state != SUPERVISE_KILLED)
                due_ns = min_i64(due_ns, job->request.limit_ns);
            break;
        }
    }
    return due_ns;
}

static bool has_jobs(const struct keeper *keeper)
{
    for (size_t i = 0; i < LAUNCH_JOBS_MAX; i++)
        if (keeper->jobs[i].state != JOB_FREE) return true;
    return false;
}

static void wait_for_something(struct keeper *keeper)
{
    struct pollfd watch[2 + LAUNCH_JOBS_MAX];
    struct job *owners[2 + LAUNCH_JOBS_MAX] = { NULL };
    nfds_t count = 2;
    watch[0] = (struct pollfd){ .fd = keeper->socket, .events = POLLIN };
    watch[1] = (struct pollfd){ .fd = keeper->signals, .events = POLLIN };
    for (size_t i = 0; i < LAUNCH_JOBS_MAX; i++) {
        if (keeper->jobs[i].state == JOB_FREE || keeper->jobs[i].failure_fd < 0) continue;
        owners[count] = &keeper->jobs[i];
        watch[count++] = (struct pollfd){ .fd = keeper->jobs[i].failure_fd, .events = POLLIN };
    }
    int64_t due_ns = next_due_ns(keeper), now_ns = boot_clock_ns();
    /* poll's clock stands still while the host sleeps, so no wait is longer than a second when
     * something is due. */
    int timeout_ms = -1;
    if (due_ns != TIME_NEVER)
        timeout_ms = (int)(div_ceil(min_i64(max_i64(due_ns - now_ns, 0), NS_PER_S), NS_PER_MS));
    if (poll(watch, count, timeout_ms) < 0) return;
    for (nfds_t i = 2; i < count; i++)
        if (watch[i].revents && owners[i]->state == JOB_EXECING) hear_child(keeper, owners[i]);
    if (watch[1].revents) {
        struct signalfd_siginfo infos[4]; /* SIGCHLD waits once, however many have ended */
        if (read(keeper->signals, infos, sizeof infos) < 0 && errno != EAGAIN) return;
        on_children(keeper, boot_clock_ns());
    }
    if (watch[0].revents) on_request(keeper);
}

static int open_signals(void)
{
    child_ignore_signals();
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_SETMASK, &children, NULL);
    return signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
}

never_returns void keeper_run(int socket)
{
    struct keeper *keeper = calloc(1, sizeof *keeper);
    if (!keeper) _exit(1);
    prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL);
    prctl(PR_SET_NAME, "penstock-launch");
    fcntl(socket, F_SETFD, FD_CLOEXEC);
    keeper->socket = socket;
    keeper->signals = open_signals();
    keeper->children = process_open_children();
    keeper->inherited = child_inherited();
    if (keeper->signals < 0 || !keeper->inherited) _exit(1);
    for (size_t i = 0; i < LAUNCH_JOBS_MAX; i++)
        keeper->jobs[i].lock_fd = keeper->jobs[i].failure_fd = -1;
    while (keeper->socket >= 0 || has_jobs(keeper)) {
        wait_for_something(keeper);
        int64_t now_ns = boot_clock_ns();
        for (size_t i = 0; i < LAUNCH_JOBS_MAX; i++)
            on_time(keeper, &keeper->jobs[i], now_ns);
    }
    process_list_fini(&keeper->processes);
    free(keeper->inherited);
    free(keeper);
    _exit(0);
}
