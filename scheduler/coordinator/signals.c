/* signals.c - see signals.h. */
#include "scheduler/coordinator/signals.h"

#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { LEVEL_SUSPEND = 1, LEVEL_AT_ONCE = 2 };

static const struct {
    int number;
    const char *name;
} watched[] = {
    { SIGINT, "SIGINT" },   { SIGTERM, "SIGTERM" }, { SIGHUP, "SIGHUP" },
    { SIGUSR1, "SIGUSR1" }, { SIGUSR2, "SIGUSR2" },
};

enum err signals_open(struct signals *signals, struct error *error)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_COUNT(watched); i++)
        sigaddset(&set, watched[i].number);
    *signals = (struct signals){ .fd = -1, .name = "" };
    /* A display that nobody reads any more must not end a campaign. */
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) return error_errno(error, "block signals");
    signals->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signals->fd < 0) return error_errno(error, "signalfd");
    return ERR_OK;
}

void signals_close(struct signals *signals)
{
    if (signals->fd >= 0) close(signals->fd);
    *signals = (struct signals){ .fd = -1, .name = "" };
}

static const char *name_of(uint32_t number)
{
    for (size_t i = 0; i < ARRAY_COUNT(watched); i++)
        if ((uint32_t)watched[i].number == number) return watched[i].name;
    return "a signal";
}

static int level_of(struct signals *signals, uint32_t number)
{
    if (number == SIGINT) signals->interrupts++;
    if (number == SIGUSR2 || signals->interrupts > 1) return LEVEL_AT_ONCE;
    return LEVEL_SUSPEND;
}

bool signals_take(struct signals *signals)
{
    struct signalfd_siginfo info;
    bool rose = false;
    while (read(signals->fd, &info, sizeof info) == (ssize_t)sizeof info) {
        int level = level_of(signals, info.ssi_signo);
        if (level <= signals->level) continue;
        signals->level = level;
        signals->name = name_of(info.ssi_signo);
        rose = true;
    }
    return rose;
}
