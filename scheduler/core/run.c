/* run.c - the states of a run, the moves between them, and the names of all enumerations. */

#include "scheduler/core/internal.h"

/* One row per state, one column per move. A cell that nobody wrote is refused. */
static const bool edges[RUN_STATE_COUNT][RUN_MOVE_COUNT] = {
    [RUN_STATE_QUEUED] = { [RUN_MOVE_PLACE] = true, [RUN_MOVE_END] = true },
    [RUN_STATE_STARTING] = { [RUN_MOVE_RUN] = true,
                             [RUN_MOVE_STOP] = true,
                             [RUN_MOVE_FINISH] = true },
    [RUN_STATE_RUNNING] = { [RUN_MOVE_STOP] = true, [RUN_MOVE_FINISH] = true },
    [RUN_STATE_STOPPING] = { [RUN_MOVE_STOP] = true,
                             [RUN_MOVE_REQUEUE] = true,
                             [RUN_MOVE_PARK] = true,
                             [RUN_MOVE_HOLD] = true,
                             [RUN_MOVE_FINISH] = true,
                             [RUN_MOVE_END] = true,
                             [RUN_MOVE_FAIL] = true },
    [RUN_STATE_HELD] = { [RUN_MOVE_REQUEUE] = true, [RUN_MOVE_END] = true },
    [RUN_STATE_PARKED] = { [RUN_MOVE_REQUEUE] = true, [RUN_MOVE_END] = true },
};

static const enum run_state move_targets[RUN_MOVE_COUNT] = {
#define X(id, to) [RUN_MOVE_##id] = RUN_STATE_##to,
    RUN_MOVES(X)
#undef X
};

bool run_state_ended(enum run_state state)
{
    return state == RUN_STATE_FINISHED || state == RUN_STATE_STOPPED ||
           state == RUN_STATE_FAILED;
}

bool run_state_live(enum run_state state)
{
    return state == RUN_STATE_STARTING || state == RUN_STATE_RUNNING ||
           state == RUN_STATE_STOPPING;
}

enum run_move run_move_to(enum run_state state)
{
    for (size_t move = 0; move < RUN_MOVE_COUNT; move++)
        if (move_targets[move] == state) return (enum run_move)move;
    unreachable("every state is some move's target");
}

bool run_move_allowed(enum run_state from, enum run_move move)
{
    check(from < RUN_STATE_COUNT);
    check(move < RUN_MOVE_COUNT);
    return edges[from][move];
}

struct run_gate *run_gates_of(struct core *core, const struct run *run)
{
    return core->run_gates + run->first_gate;
}

uint32_t run_next_gate(const struct core *core, const struct run *run)
{
    uint32_t slot = 0;
    while (slot < run->gate_count &&
           core->run_gates[run->first_gate + slot].verdict == VERDICT_GO)
        slot++;
    return slot;
}

bool run_has_verdict(const struct core *core, const struct run *run, enum verdict verdict)
{
    for (uint32_t slot = 0; slot < run->gate_count; slot++)
        if (core->run_gates[run->first_gate + slot].verdict == verdict) return true;
    return false;
}

/* ---- names --------------------------------------------------------------------------- */

#define NAME_FUNCTION(function, type, list)                                                    \
    const char *function(enum type value)                                                      \
    {                                                                                          \
        static const char *const names[] = { list(NAME_ROW) };                                 \
        return (size_t)value < ARRAY_COUNT(names) ? names[value] : "?";                        \
    }
#define NAME_ROW(id, name) name,

NAME_FUNCTION(record_kind_name, record_kind, RECORDS)
NAME_FUNCTION(run_state_name, run_state, RUN_STATES)
NAME_FUNCTION(intent_name, intent, INTENTS)
NAME_FUNCTION(reason_name, reason, REASONS)
NAME_FUNCTION(ending_name, ending, ENDINGS)
NAME_FUNCTION(otherwise_name, otherwise, OTHERWISES)
NAME_FUNCTION(tranche_wait_name, tranche_wait, TRANCHE_WAITS)
