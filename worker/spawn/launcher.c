/* launcher.c - the agent's side of the launcher: fork it, ask it, hear it. */
#include "worker/spawn/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "worker/spawn/keeper.h"
#include "worker/spawn/packet.h"
#include "worker/spawn/process.h"

/* The launcher must hold nothing of the agent's: mpirun waits for the end of a rank's output
 * pipes, and would wait for the trainers' grace too. */
static void shed_descriptors(int socket)
{
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; nowhere >= 0 && fd < KEEPER_SOCKET; fd++)
        if (fd != socket) dup2(nowhere, fd);
    if (socket != KEEPER_SOCKET)
        dup2(socket, KEEPER_SOCKET);
    else
        fcntl(socket, F_SETFD, 0);
    if (close_range(KEEPER_SOCKET + 1, ~0U, 0) == 0) return;
    long highest = sysconf(_SC_OPEN_MAX);
    for (int fd = KEEPER_SOCKET + 1;
         fd < (highest > 0 && highest < 65536 ? (int)highest : 65536); fd++)
        close(fd);
}

/* A process forks the faster the less it has mapped, so the launcher leaves MPI and the other libraries
 * of this program behind. Without its own program it works all the same. */
never_returns static void become_launcher(const char *program, int socket)
{
    static char name[] = "penstock-launch", version[] = PENSTOCK_VERSION;
    char *const argv[] = { name, version, NULL };
    setsid();
    shed_descriptors(socket);
    if (program) execv(program, argv);
    keeper_run(KEEPER_SOCKET);
}

enum err launcher_start(struct launcher *launcher, const char *program, struct error *error)
{
    int pair[2];
    *launcher = (struct launcher){ .fd = -1 };
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return error_errno(error, "socketpair for the launcher");
    prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL);
    /* Blocked until the launcher ignores what mpirun and Slurm send: they may begin at any time. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid != 0) sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) {
        close(pair[0]);
        close(pair[1]);
        return error_errno(error, "fork the launcher");
    }
    if (pid == 0) become_launcher(program, pair[1]);
    close(pair[1]);
    *launcher = (struct launcher){ .fd = pair[0], .pid = pid };
    return ERR_OK;
}

static enum err gone(struct error *error)
{
    return error_set(error, ERR_CLOSED, "the launcher is gone");
}

/* Remembers that the launcher is gone, so that its descriptor is not polled again. */
static enum err note_closed(struct launcher *launcher, enum err rc)
{
    if (rc == ERR_CLOSED && launcher->fd >= 0) {
        close(launcher->fd);
        launcher->fd = -1;
    }
    return rc;
}

enum err launcher_spawn(struct launcher *launcher, const struct launch *launch,
                        struct error *error)
{
    check(launch->id > 0);
    if (launcher->pid <= 0 || launcher->fd < 0) return gone(error);
    struct request request = { .id = launch->id,
                               .kind = REQUEST_SPAWN,
                               .limit_ns = launch->limit_ns,
                               .lock_until_ns = launch->lock_until_ns,
                               .grace_ns = max_i64(launch->grace_ns, 0) };
    /* Reports may still wait in the socket, so it is launcher_report that notes the end. */
    return request_send(launcher->fd, &request, launch, error);
}

enum err launcher_signal(struct launcher *launcher, uint64_t id, int signal_number,
                         struct error *error)
{
    if (launcher->pid <= 0 || launcher->fd < 0) return gone(error);
    struct request request = { .id = id,
                               .kind = REQUEST_SIGNAL,
                               .signal_number = signal_number };
    return request_send(launcher->fd, &request, NULL, error);
}

enum err launcher_limit(struct launcher *launcher, uint64_t id, int64_t limit_ns,
                        struct error *error)
{
    if (launcher->pid <= 0 || launcher->fd < 0) return gone(error);
    struct request request = { .id = id, .kind = REQUEST_LIMIT, .limit_ns = limit_ns };
    return request_send(launcher->fd, &request, NULL, error);
}

enum err launcher_report(struct launcher *launcher, struct launch_report *report,
                         struct error *error)
{
    if (launcher->pid <= 0 || launcher->fd < 0) return gone(error);
    return note_closed(launcher, report_receive(launcher->fd, report, error));
}

bool launcher_stop(struct launcher *launcher, int64_t wait_ns)
{
    int kept_errno = errno;
    if (launcher->pid <= 0) return true;
    if (launcher->fd >= 0) close(launcher->fd);
    launcher->fd = -1;
    int64_t deadline_ns = add_saturated(boot_clock_ns(), wait_ns);
    pid_t ended = 0;
    for (;;) {
        ended = waitpid(launcher->pid, NULL, WNOHANG);
        if (ended != 0 || boot_clock_ns() >= deadline_ns) break;
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
    if (ended != 0) *launcher = (struct launcher){ .fd = -1 };
    errno = kept_errno;
    return ended != 0;
}
