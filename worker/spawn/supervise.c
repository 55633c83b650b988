#include "worker/spawn/supervise.h"

/* When the next state's ON_TIME is due, counted from the event. */
enum due { DUE_NEVER, DUE_AFTER_GRACE, DUE_AFTER_REPEAT, DUE_UNCHANGED };

struct edge {
    bool allowed;
    enum supervise_state next;
    enum supervise_action action;
    enum due due;
};

/* clang-format off */
static const struct edge edges[SUPERVISE_STATE_COUNT][SUPERVISE_EVENT_COUNT] = {
    [SUPERVISE_RUNNING] = {
        [SUPERVISE_ON_STOP] = { true, SUPERVISE_ASKED, SUPERVISE_SEND_TERM, DUE_AFTER_GRACE },
        [SUPERVISE_ON_STOP_AT_ONCE] = { true, SUPERVISE_KILLED, SUPERVISE_SEND_KILL, DUE_AFTER_REPEAT },
        [SUPERVISE_ON_TIME] = { true, SUPERVISE_RUNNING, SUPERVISE_NOTHING, DUE_UNCHANGED },
        [SUPERVISE_ON_EXIT] = { true, SUPERVISE_GONE, SUPERVISE_NOTHING, DUE_NEVER },
    },
    [SUPERVISE_ASKED] = {
        [SUPERVISE_ON_STOP] = { true, SUPERVISE_ASKED, SUPERVISE_NOTHING, DUE_UNCHANGED },
        [SUPERVISE_ON_STOP_AT_ONCE] = { true, SUPERVISE_KILLED, SUPERVISE_SEND_KILL, DUE_AFTER_REPEAT },
        [SUPERVISE_ON_TIME] = { true, SUPERVISE_KILLED, SUPERVISE_SEND_KILL, DUE_AFTER_REPEAT },
        [SUPERVISE_ON_EXIT] = { true, SUPERVISE_GONE, SUPERVISE_NOTHING, DUE_NEVER },
    },
    [SUPERVISE_KILLED] = {
        [SUPERVISE_ON_STOP] = { true, SUPERVISE_KILLED, SUPERVISE_NOTHING, DUE_UNCHANGED },
        [SUPERVISE_ON_STOP_AT_ONCE] = { true, SUPERVISE_KILLED, SUPERVISE_NOTHING, DUE_UNCHANGED },
        [SUPERVISE_ON_TIME] = { true, SUPERVISE_KILLED, SUPERVISE_SEND_KILL, DUE_AFTER_REPEAT },
        [SUPERVISE_ON_EXIT] = { true, SUPERVISE_GONE, SUPERVISE_NOTHING, DUE_NEVER },
    },
    [SUPERVISE_GONE] = {
        /* A stop may cross the exit on its way; a second exit is a bug. */
        [SUPERVISE_ON_STOP] = { true, SUPERVISE_GONE, SUPERVISE_NOTHING, DUE_UNCHANGED },
        [SUPERVISE_ON_STOP_AT_ONCE] = { true, SUPERVISE_GONE, SUPERVISE_NOTHING, DUE_UNCHANGED },
        [SUPERVISE_ON_TIME] = { true, SUPERVISE_GONE, SUPERVISE_NOTHING, DUE_UNCHANGED },
    },
};
/* clang-format on */

void supervise_init(struct supervise *supervise, int64_t grace_ns)
{
    check(grace_ns >= 0);
    *supervise = (struct supervise){ SUPERVISE_RUNNING, grace_ns, TIME_NEVER };
}

enum supervise_action supervise_step(struct supervise *supervise, enum supervise_event event,
                                     int64_t now_ns)
{
    check(supervise->state < SUPERVISE_STATE_COUNT);
    check(event < SUPERVISE_EVENT_COUNT);
    if (event == SUPERVISE_ON_TIME && now_ns < supervise->due_ns) return SUPERVISE_NOTHING;
    const struct edge *edge = &edges[supervise->state][event];
    check(edge->allowed);
    supervise->state = edge->next;
    switch (edge->due) {
    case DUE_NEVER: supervise->due_ns = TIME_NEVER; break;
    case DUE_AFTER_GRACE: supervise->due_ns = add_saturated(now_ns, supervise->grace_ns); break;
    case DUE_AFTER_REPEAT:
        supervise->due_ns = add_saturated(now_ns, SUPERVISE_REPEAT_NS);
        break;
    case DUE_UNCHANGED: break;
    }
    return edge->action;
}

void supervise_hasten(struct supervise *supervise, int64_t kill_ns)
{
    if (supervise->state == SUPERVISE_ASKED)
        supervise->due_ns = min_i64(supervise->due_ns, kill_ns);
}

const char *supervise_state_name(enum supervise_state state)
{
    static const char *const names[] = {
#define X(id, name) [SUPERVISE_##id] = name,
        SUPERVISE_STATES(X)
#undef X
    };
    check(state < SUPERVISE_STATE_COUNT);
    return names[state];
}
