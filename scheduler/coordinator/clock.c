/* clock.c - see clock.h. */
#include "scheduler/coordinator/clock.h"

#include <time.h>

static int64_t read_ns(clockid_t id)
{
    struct timespec now = { 0, 0 };
    int rc = clock_gettime(id, &now);
    check(rc == 0);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t clock_wall_ns(void)
{
    return read_ns(CLOCK_REALTIME);
}

int64_t clock_boot_ns(void)
{
    return read_ns(CLOCK_BOOTTIME);
}

void steady_clock_init(struct steady_clock *clock, int64_t not_before_ns)
{
    clock->start_ns = max_i64(clock_wall_ns(), not_before_ns);
    clock->boot_start_ns = clock_boot_ns();
    clock->last_ns = clock->start_ns;
}

int64_t steady_clock_now_ns(struct steady_clock *clock)
{
    int64_t now_ns = clock->start_ns + (clock_boot_ns() - clock->boot_start_ns);
    clock->last_ns = max_i64(clock->last_ns, now_ns);
    return clock->last_ns;
}
