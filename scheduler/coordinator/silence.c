/* silence.c - see silence.h. */
#include "scheduler/coordinator/silence.h"

#include <stdlib.h>
#include <string.h>

enum { NOT_A_MEMBER = -1 };

enum err silence_init(struct silence *silence, uint32_t worker_count, int64_t now_ns,
                      int64_t tick_max_ns, int64_t timeout_ns, struct error *error)
{
    memset(silence, 0, sizeof *silence);
    int64_t *heard_ns = calloc((size_t)worker_count + 1, sizeof *heard_ns);
    if (heard_ns == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory for workers");
    for (uint32_t i = 0; i < worker_count; i++)
        heard_ns[i] = NOT_A_MEMBER;
    *silence = (struct silence){ .worker_count = worker_count,
                                 .heard_ns = heard_ns,
                                 .last_tick_ns = now_ns,
                                 .tick_max_ns = tick_max_ns,
                                 .timeout_ns = timeout_ns };
    return ERR_OK;
}

void silence_fini(struct silence *silence)
{
    free(silence->heard_ns);
    memset(silence, 0, sizeof *silence);
}

void silence_tick(struct silence *silence, int64_t now_ns)
{
    check(now_ns >= silence->last_tick_ns);
    silence->listened_ns += min_i64(now_ns - silence->last_tick_ns, silence->tick_max_ns);
    silence->last_tick_ns = now_ns;
}

void silence_heard(struct silence *silence, uint32_t worker)
{
    check(worker < silence->worker_count);
    silence->heard_ns[worker] = silence->listened_ns;
}

void silence_forget(struct silence *silence, uint32_t worker)
{
    check(worker < silence->worker_count);
    silence->heard_ns[worker] = NOT_A_MEMBER;
}

uint32_t silence_lost(const struct silence *silence, uint32_t from)
{
    for (uint32_t i = from; i < silence->worker_count; i++) {
        int64_t heard_ns = silence->heard_ns[i];
        if (heard_ns == NOT_A_MEMBER) continue;
        if (silence->listened_ns - heard_ns > silence->timeout_ns) return i;
    }
    return silence->worker_count;
}
