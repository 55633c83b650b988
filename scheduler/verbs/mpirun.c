/* mpirun.c - see mpirun.h. */
#include "scheduler/verbs/mpirun.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/text.h"
#include "scheduler/cli.h"
#include "scheduler/coordinator/files.h"
#include "scheduler/verbs/leftovers.h"

enum { EXEC_FAILED = 120, ARGS_MAX = 48, LEVEL_SUSPEND = 1, LEVEL_AT_ONCE = 2, LEVEL_END = 3 };

/* What a file was like before, to see whether this life wrote it anew. */
struct mark {
    bool there;
    dev_t device;
    ino_t inode;
    struct timespec changed;
};

static struct mark mark_of(const char *dir, const char *name)
{
    char path[4096];
    struct writer writer = writer_of(path, sizeof path);
    writer_format(&writer, "%s/%s", dir, name);
    struct stat status;
    if (writer.full || stat(path, &status) != 0) return (struct mark){ 0 };
    return (struct mark){ true, status.st_dev, status.st_ino, status.st_ctim };
}

static bool is_new(const struct mark *before, const struct mark *after)
{
    if (!after->there) return false;
    if (!before->there) return true;
    return before->device != after->device || before->inode != after->inode ||
           before->changed.tv_sec != after->changed.tv_sec ||
           before->changed.tv_nsec != after->changed.tv_nsec;
}

/* The number in STATE/exit, or -1. */
static int recorded_status(const char *state_dir)
{
    char data[32];
    size_t bytes = 0;
    int64_t status;
    if (file_read(state_dir, "exit", data, sizeof data, &bytes, NULL) != ERR_OK) return -1;
    if (!text_to_i64(text_trim((struct text){ data, bytes }), &status)) return -1;
    return cli_status_known((int)status) ? (int)status : -1;
}

/* The child: a process group of its own, no terminal input, and a death that follows its
 * parent's. */
never_returns static void exec_mpirun(char *const *args, pid_t parent, const sigset_t *mask)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(EXEC_FAILED);
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd >= 0) dup2(null_fd, STDIN_FILENO);
    /* Until mpirun has its handlers, a forwarded signal must be lost, not fatal: it is sent
     * again. */
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(args[0], args);
    fprintf(stderr,
            "penstock: mpirun cannot be started: %s; install Open MPI (Debian: openmpi-bin) or "
            "put it into PATH\n",
            strerror(errno));
    _exit(EXEC_FAILED);
}

/* Signals that the supervisor takes; they are blocked, and fetched one at a time. */
static void signals_taken(sigset_t *set)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD };
    sigemptyset(set);
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        sigaddset(set, numbers[i]);
}

static const char *level_text(int level)
{
    if (level == LEVEL_SUSPEND)
        return "suspending: all runs checkpoint and end; Ctrl-C again stops at once";
    if (level == LEVEL_AT_ONCE) return "stopping at once";
    return "ending mpirun";
}

/* Only Ctrl-C climbs: batch systems repeat TERM, and mean the same each time. */
static int level_after(int level, int number)
{
    if (number == SIGINT && level < LEVEL_END) return level + 1;
    return level > LEVEL_SUSPEND ? level : LEVEL_SUSPEND;
}

/* Waits for mpirun's end and passes on what the user asks for; gives the wait status. What was
 * asked for is repeated each second, because mpirun forwards nothing before it is up. */
static int attend(pid_t mpirun, const sigset_t *taken)
{
    static const int passed_on[] = {
        [LEVEL_SUSPEND] = SIGUSR1, [LEVEL_AT_ONCE] = SIGUSR2, [LEVEL_END] = SIGTERM
    };
    static const struct timespec resend = { 1, 0 }, long_while = { 3600, 0 };
    int level = 0, ends_sent = 0, status = 0;
    while (waitpid(mpirun, &status, WNOHANG) != mpirun) {
        int number = sigtimedwait(taken, NULL, level > 0 ? &resend : &long_while);
        if (number == SIGCHLD || (number < 0 && level == 0)) continue;
        int next = number > 0 ? level_after(level, number) : level;
        if (next > level) fprintf(stderr, "penstock: %s\n", level_text(next));
        level = next;
        if (level == LEVEL_END) ends_sent++;
        kill(mpirun, ends_sent > 10 ? SIGKILL : passed_on[level]);
    }
    return status;
}

/* The words of mpirun's command line, in order. Recovery from a lost rank is left off: when a
 * rank dies, mpirun ends all, and the campaign is resumed from its ledger. */
static void mpirun_words(const struct mpirun_options *options, char ranks[16],
                         const char *words[ARGS_MAX])
{
    struct writer writer = writer_of(ranks, 16);
    writer_format(&writer, "%lld", (long long)options->workers + 1);
    const char *const all[] = {
        "mpirun",           "-n", ranks, options->program, "run", options->campaign, "--dir",
        options->state_dir, NULL,
    };
    check(ARRAY_COUNT(all) <= ARGS_MAX);
    memcpy(words, all, sizeof all);
}

/* How mpirun shall behave, in the words of Open MPI 4 and of 5, whose command lines differ: more ranks
 * than cores are meant; ranks are not bound, for trainers inherit that; they give the core away while
 * they wait; and a job that ends early is not commented on. What the user has set stays. */
static const char *const mpirun_settings[][2] = {
    { "OMPI_MCA_rmaps_base_oversubscribe", "1" },
    { "PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe" },
    { "OMPI_MCA_hwloc_base_binding_policy", "none" },
    { "PRTE_MCA_hwloc_default_binding_policy", "none" },
    { "OMPI_MCA_mpi_yield_when_idle", "1" },
    { "OMPI_MCA_orte_execute_quiet", "1" },
};

static void set_environment(const struct mpirun_options *options)
{
    setenv("PENSTOCK_PROGRESS", options->progress, 1);
    for (size_t i = 0; i < ARRAY_COUNT(mpirun_settings); i++)
        setenv(mpirun_settings[i][0], mpirun_settings[i][1], 0);
    if (geteuid() != 0) return;
    /* mpirun asks root to say twice that it means it. Who starts this program as root does. */
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
}

static int judge(const struct mpirun_options *options, pid_t mpirun, int status,
                 const struct mark *exit_was, const struct mark *begun_was)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    struct mark exit_is = mark_of(options->state_dir, "exit");
    struct mark begun_is = mark_of(options->state_dir, "coordinator");
    if (is_new(exit_was, &exit_is)) {
        int recorded = recorded_status(options->state_dir);
        if (recorded >= 0) return recorded;
    }
    if (code == EXEC_FAILED) return CLI_USAGE;
    bool begun = is_new(begun_was, &begun_is);
    if (!begun && (code == CLI_USAGE || code == CLI_DAMAGED || code == CLI_SUSPENDED))
        return code;
    if (!begun) {
        fprintf(stderr, "penstock: mpirun ended with status %d before the campaign began\n",
                code);
        return WIFSIGNALED(status) ? CLI_SUSPENDED : CLI_USAGE;
    }
    if (code == CLI_DAMAGED) return CLI_DAMAGED;
    leftovers_remove(options->state_dir, mpirun, (uint32_t)options->workers + 1);
    fprintf(
        stderr,
        "penstock: the job ended (mpirun status %d) before the campaign was closed; run the "
        "same command again to resume\n",
        code);
    return CLI_SUSPENDED;
}

int mpirun_run(const struct mpirun_options *options)
{
    const char *words[ARGS_MAX];
    char ranks[16], *args[ARGS_MAX];
    mpirun_words(options, ranks, words);
    memcpy(args, words, sizeof args); /* execvp writes to none of them */
    set_environment(options);
    struct mark exit_was = mark_of(options->state_dir, "exit");
    struct mark begun_was = mark_of(options->state_dir, "coordinator");
    sigset_t taken, mask;
    signals_taken(&taken);
    sigprocmask(SIG_BLOCK, &taken, &mask);
    fflush(NULL);
    pid_t parent = getpid(), mpirun = fork();
    if (mpirun < 0) {
        fprintf(stderr, "penstock: cannot start a process: %s\n", strerror(errno));
        return CLI_USAGE;
    }
    if (mpirun == 0) exec_mpirun(args, parent, &mask);
    int status = attend(mpirun, &taken);
    return judge(options, mpirun, status, &exit_was, &begun_was);
}
