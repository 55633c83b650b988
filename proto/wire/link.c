/* link.c - what all links share: argument checks, waiting, flushing. */
#include "proto/wire/link.h"

#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

/* The longest nap: short enough for a message to be picked up within 2 ms, long enough to cost 1 % of a
 * core. Where a message has just passed, the next is likely near: naps begin short and grow with the
 * quiet, to half of it. */
#define NAP_MAX_NS (1800 * NS_PER_US)
#define NAP_MIN_NS (200 * NS_PER_US)

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int64_t nap_ns(const struct link *link, int64_t at_ns)
{
    return min_i64(max_i64((at_ns - link->active_ns) / 2, NAP_MIN_NS), NAP_MAX_NS);
}

static struct timespec timespec_of(int64_t ns)
{
    return (struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S),
                              .tv_nsec = (long)(ns % NS_PER_S) };
}

enum err link_send(struct link *link, uint32_t to, const void *bytes, size_t n,
                   struct error *error)
{
    if (to >= link->size || to == link->rank)
        return error_set(error, ERR_INPUT, "rank %u cannot send to rank %u of %u", link->rank,
                         to, link->size);
    if (n < 1 || n > LINK_MESSAGE_BYTES_MAX)
        return error_set(error, ERR_INPUT, "a message of %zu bytes; 1 to %d are allowed", n,
                         LINK_MESSAGE_BYTES_MAX);
    link->active_ns = now_ns();
    return link->ops->send(link->context, to, bytes, n, error);
}

enum err link_receive(struct link *link, uint32_t *from, void *buffer, size_t capacity_bytes,
                      size_t *n, struct error *error)
{
    enum err rc = link->ops->receive(link->context, from, buffer, capacity_bytes, n, error);
    if (rc == ERR_OK) link->active_ns = now_ns();
    return rc;
}

enum err link_poll(struct link *link, bool *arrived, struct error *error)
{
    bool ignored;
    return link->ops->poll(link->context, arrived ? arrived : &ignored, error);
}

size_t link_pending(const struct link *link)
{
    return link->ops->pending(link->context);
}

/* Copies the live descriptors; where[i] says which one entry i is. */
static size_t choose_watched(const struct pollfd *watch, size_t watch_count,
                             struct pollfd *live, size_t *where)
{
    size_t count = 0;
    for (size_t i = 0; i < watch_count; i++) {
        if (watch[i].fd < 0) continue;
        live[count] = (struct pollfd){ .fd = watch[i].fd, .events = watch[i].events };
        where[count++] = i;
    }
    return count;
}

enum err link_wait(struct link *link, int64_t timeout_ns, struct pollfd *watch,
                   size_t watch_count, struct error *error)
{
    check(watch_count <= LINK_WATCH_MAX);
    struct pollfd live[LINK_WATCH_MAX];
    size_t where[LINK_WATCH_MAX];
    size_t count = choose_watched(watch, watch_count, live, where);
    for (size_t i = 0; i < watch_count; i++)
        watch[i].revents = 0;
    int64_t deadline_ns = add_saturated(now_ns(), max_i64(timeout_ns, 0));
    for (;;) {
        bool arrived = false;
        enum err rc = link_poll(link, &arrived, error);
        if (rc != ERR_OK) return rc;
        int64_t at_ns = now_ns(), left_ns = deadline_ns - at_ns;
        bool done = arrived || left_ns <= 0;
        struct timespec nap = timespec_of(done ? 0 : min_i64(left_ns, nap_ns(link, at_ns)));
        int ready = 0;
        if (count > 0 || !done) ready = ppoll(live, (nfds_t)count, &nap, NULL);
        for (size_t i = 0; ready > 0 && i < count; i++)
            watch[where[i]].revents = live[i].revents;
        if (ready > 0) link->active_ns = at_ns;
        if (ready > 0) return ERR_OK;
        if (done) return ERR_OK;
    }
}

enum err link_flush(struct link *link, int64_t timeout_ns, struct error *error)
{
    int64_t deadline_ns = add_saturated(now_ns(), max_i64(timeout_ns, 0));
    for (;;) {
        enum err rc = link_poll(link, NULL, error);
        if (rc != ERR_OK) return rc;
        size_t pending = link_pending(link);
        if (pending == 0) return ERR_OK;
        if (now_ns() >= deadline_ns)
            return error_set(error, ERR_TIMEOUT, "%zu messages could not be delivered",
                             pending);
        struct timespec nap = timespec_of(NAP_MAX_NS);
        ppoll(NULL, 0, &nap, NULL);
    }
}

void link_sleep_precisely(void)
{
    prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
}
