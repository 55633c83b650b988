#include "worker/trainer/watchdog.h"

#include "worker/trainer/exits.h"

#include <signal.h>
#include <unistd.h>

enum { LIMIT_S_MAX = 86400 };

static void leave(int signal_number)
{
    static const char text[] = "penstock-train: gave up waiting for the GPU to let go\n";
    (void)signal_number;
    ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)n;
    _exit(EXIT_GANG);
}

void watchdog_arm(int64_t limit_ns)
{
    struct sigaction action = { .sa_handler = leave };
    sigset_t alarms;
    int64_t limit_s = max_i64(1, min_i64(div_ceil(limit_ns, NS_PER_S), LIMIT_S_MAX));
    sigemptyset(&action.sa_mask);
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    check(sigaction(SIGALRM, &action, NULL) == 0);
    check(sigprocmask(SIG_UNBLOCK, &alarms, NULL) == 0);
    unsigned left_s = alarm((unsigned)limit_s);
    if (left_s > 0 && left_s < (unsigned)limit_s) (void)alarm(left_s);
}
