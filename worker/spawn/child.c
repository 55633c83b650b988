#include "worker/spawn/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "proto/base/text.h"

extern char **environ;

/*
 * A trainer that inherits the rank's MPI variables fails in MPI_Init, and a framework that
 * finds Slurm's per-task variables believes that Slurm started it as one of several tasks. What
 * describes the job as a whole (SLURM_JOB_*, SLURM_CPUS_*, SLURM_SUBMIT_*, SLURM_TMPDIR...)
 * stays. PENSTOCK_ variables are set anew for each attempt; only the log level is inherited.
 */
static const char *const scrubbed_prefixes[] = {
    "OMPI_",       "OPAL_",     "ORTE_",      "PMIX_",      "PMI_",
    "PRTE_",       "MPI_LOCAL", "PENSTOCK_",  "SLURM_STEP", "SLURM_SRUN_",
    "SLURM_PMIX",  "SLURM_PMI", "SLURM_MPI_", "SLURM_TASK", "SLURM_LAUNCH_NODE_IPADDR",
    "SLURM_UMASK",
};
static const char *const scrubbed_names[] = {
    "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NPROCS",
    "SLURM_GTIDS",  "PALS_RANKID",   "ALPS_APP_PE",  "MPIRUN_RANK",  "SLURM_NTASKS_PER_NODE",
};
static const char *const kept_names[] = { "PENSTOCK_LOG" };

static bool is_named(struct text name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (text_is(name, names[i])) return true;
    return false;
}

bool child_scrubs(const char *name)
{
    struct text key = { name, strcspn(name, "=") };
    if (is_named(key, kept_names, ARRAY_COUNT(kept_names))) return false;
    if (is_named(key, scrubbed_names, ARRAY_COUNT(scrubbed_names))) return true;
    for (size_t i = 0; i < ARRAY_COUNT(scrubbed_prefixes); i++)
        if (text_starts(key, text_of(scrubbed_prefixes[i]))) return true;
    return false;
}

never_returns static void fail(int failure_fd, const char *what, const char *object)
{
    struct child_failure failure = { .sys_errno = errno };
    snprintf(failure.what, sizeof failure.what, "%s %s", what, object);
    ssize_t ignored = write(failure_fd, &failure, sizeof failure);
    (void)ignored;
    _exit(127);
}

/* ---- signals ---- */

static const int ignored[] = { SIGTERM, SIGINT,  SIGHUP,  SIGQUIT, SIGUSR1, SIGUSR2,
                               SIGPIPE, SIGALRM, SIGTSTP, SIGTTIN, SIGTTOU };

void child_ignore_signals(void)
{
    for (int number = 1; number < NSIG; number++)
        if (number != SIGKILL && number != SIGSTOP) signal(number, SIG_DFL);
    for (size_t i = 0; i < ARRAY_COUNT(ignored); i++)
        signal(ignored[i], SIG_IGN);
}

static void reset_signals(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(ignored); i++)
        signal(ignored[i], SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- descriptors ---- */

/* Moves a descriptor out of the way of the numbers that the trainer is promised. */
static int lift(int fd, int failure_fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, LAUNCH_FD_FIRST + LAUNCH_FDS_MAX);
    if (high < 0) fail(failure_fd, "move", "a descriptor");
    return high;
}

/* dup2 clears close-on-exec, so exactly these reach the trainer. */
static void place(int fd, int number, int failure_fd)
{
    if (dup2(fd, number) < 0) fail(failure_fd, "place", "a descriptor");
}

static int open_output(const char *path, int failure_fd)
{
    const char *name = path[0] ? path : "/dev/null";
    int fd = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0) fail(failure_fd, "open", name);
    return fd;
}

static int set_descriptors(const struct launch_body *body, int lock_fd, int failure_fd)
{
    failure_fd = lift(failure_fd, failure_fd);
    if (lock_fd >= 0) lock_fd = lift(lock_fd, failure_fd);
    int lifted[LAUNCH_FDS_MAX];
    for (size_t i = 0; i < body->fd_count; i++)
        lifted[i] = lift(body->fds[i], failure_fd);
    for (size_t i = 0; i < body->fd_count; i++)
        place(lifted[i], LAUNCH_FD_FIRST + (int)i, failure_fd);
    if (lock_fd >= 0) place(lock_fd, LAUNCH_LOCK_FD, failure_fd);
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (in < 0) fail(failure_fd, "open", "/dev/null");
    int out = lift(open_output(body->out_path, failure_fd), failure_fd);
    int err = lift(open_output(body->err_path, failure_fd), failure_fd);
    place(in, STDIN_FILENO, failure_fd);
    place(out, STDOUT_FILENO, failure_fd);
    place(err, STDERR_FILENO, failure_fd);
    return failure_fd;
}

/* ---- environment ---- */

const char **child_inherited(void)
{
    size_t count = 0, kept = 0;
    while (environ[count])
        count++;
    const char **inherited = calloc(count + 1, sizeof *inherited);
    for (size_t i = 0; inherited && i < count; i++)
        if (!child_scrubs(environ[i])) inherited[kept++] = environ[i];
    return inherited;
}

/* "NAME=value" sets a variable, "NAME" removes it. */
static size_t put_variable(const char **variables, size_t count, const char *entry)
{
    size_t name_bytes = strcspn(entry, "="), kept = 0;
    for (size_t i = 0; i < count; i++)
        if (variables[i][0] != entry[0] || strncmp(variables[i], entry, name_bytes) != 0 ||
            variables[i][name_bytes] != '=')
            variables[kept++] = variables[i];
    if (entry[name_bytes] == '=') variables[kept++] = entry;
    return kept;
}

static size_t count_of(const char *const *strings)
{
    size_t count = 0;
    while (strings[count])
        count++;
    return count;
}

const char **child_environment(const char *const *inherited, const struct launch_body *body)
{
    size_t count = count_of(inherited);
    const char **variables = calloc(count + count_of(body->env) + 2, sizeof *variables);
    if (!variables) return NULL;
    memcpy(variables, inherited, count * sizeof *variables);
    for (size_t i = 0; body->env[i]; i++)
        count = put_variable(variables, count, body->env[i]);
    if (body->marker[0]) count = put_variable(variables, count, body->marker);
    variables[count] = NULL;
    return variables;
}

/* ---- start ---- */

/* exec's strings are not const, and it does not change them. */
static char **plain(const char **strings)
{
    char **same;
    memcpy(&same, &strings, sizeof same);
    return same;
}

never_returns void child_run(const struct launch_body *body, const char **environment,
                             pid_t launcher_pid, int lock_fd, int failure_fd)
{
    setpgid(0, 0);
    reset_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* The launcher may have died before the line above: then nobody would ever tell. */
    if (getppid() != launcher_pid) _exit(127);
    failure_fd = set_descriptors(body, lock_fd, failure_fd);
    if (body->directory[0] && chdir(body->directory) != 0)
        fail(failure_fd, "enter", body->directory);
    environ = plain(environment); /* the program is looked up in the new PATH */
    execvp(body->argv[0], plain(body->argv));
    fail(failure_fd, "run", body->argv[0]);
}
