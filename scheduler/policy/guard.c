#include "scheduler/policy/policy.h"

/* What a rule sees of the window. */
struct window {
    int32_t util_ppm;
    bool began_in_grace;
};

/* What a rule says. Each rule also brings its own part of the state up to date, whether or not
 * it is the one that is listened to. */
struct opinion {
    enum guard_action action;
    int64_t observed, bound;
};

typedef struct opinion (*guard_rule_fn)(const struct guard_spec *spec,
                                        const struct window *window, struct guard_state *state);

static bool reached(int64_t value, int64_t limit)
{
    return limit > 0 && value >= limit; /* 0 = never */
}

/* ---- rules ----------------------------------------------------------------------------------
 */

static enum guard_action act_on_low(const struct guard_spec *spec, struct guard_state *state)
{
    bool warn = reached(state->low_windows, spec->warn_windows) && !state->warned;
    if (warn) state->warned = true;
    if (reached(state->low_windows, spec->stop_windows)) return GUARD_ACTION_STOP;
    /* The count goes on after a park: a run that comes back as it went has the same number of
     * windows again before the next park, until stop_windows end it. */
    if (spec->park_windows > 0 && state->low_windows % spec->park_windows == 0) {
        if (state->parks < UINT32_MAX) state->parks++;
        return GUARD_ACTION_PARK;
    }
    return warn ? GUARD_ACTION_WARN : GUARD_ACTION_NONE;
}

static struct opinion judge_floor(const struct guard_spec *spec, const struct window *window,
                                  struct guard_state *state)
{
    struct opinion opinion = { .observed = window->util_ppm, .bound = spec->floor_ppm };
    if (window->began_in_grace) return opinion;
    if (window->util_ppm < spec->floor_ppm) {
        if (state->low_windows < UINT32_MAX) state->low_windows++;
        opinion.action = act_on_low(spec, state);
    } else if (window->util_ppm >= spec->clear_ppm) {
        state->low_windows = 0;
        state->warned = false;
    }
    return opinion;
}

/* Idle time is counted here, not the run's age: windows that nobody could measure are no
 * evidence. Two ages that fall into one window are one warning. */
static struct opinion judge_idle_start(const struct guard_spec *spec,
                                       const struct window *window, struct guard_state *state)
{
    (void)window;
    struct opinion opinion = { .observed = state->idle_ns };
    if (state->was_busy) return opinion;
    uint32_t passed = 0;
    for (size_t i = 0; i < ARRAY_COUNT(spec->idle_start_warn_ns); i++) {
        if (!reached(state->idle_ns, spec->idle_start_warn_ns[i])) continue;
        opinion.bound = max_i64(opinion.bound, spec->idle_start_warn_ns[i]);
        passed++;
    }
    if (passed > state->idle_warnings) {
        state->idle_warnings = passed;
        opinion.action = GUARD_ACTION_WARN;
    }
    if (reached(state->idle_ns, spec->idle_start_stop_ns)) {
        opinion.action = GUARD_ACTION_STOP;
        opinion.bound = spec->idle_start_stop_ns;
    }
    return opinion;
}

static struct opinion judge_idle_again(const struct guard_spec *spec,
                                       const struct window *window, struct guard_state *state)
{
    (void)window;
    struct opinion opinion = { .observed = state->idle_ns, .bound = spec->idle_again_warn_ns };
    if (!state->was_busy) return opinion;
    if (reached(state->idle_ns, spec->idle_again_warn_ns) && state->idle_warnings == 0) {
        state->idle_warnings = 1;
        opinion.action = GUARD_ACTION_WARN;
    }
    if (reached(state->idle_ns, spec->idle_again_stop_ns)) {
        opinion.action = GUARD_ACTION_STOP;
        opinion.bound = spec->idle_again_stop_ns;
    }
    return opinion;
}

static const guard_rule_fn rules[GUARD_RULE_COUNT] = {
    [GUARD_RULE_NONE] = NULL,
    [GUARD_RULE_FLOOR] = judge_floor,
    [GUARD_RULE_IDLE_START] = judge_idle_start,
    [GUARD_RULE_IDLE_AGAIN] = judge_idle_again,
};

/* ---- the guardrail --------------------------------------------------------------------------
 */

static void count_idle(struct guard_state *state, bool idle, int64_t window_ns)
{
    if (idle) {
        state->idle_ns = add_saturated(state->idle_ns, window_ns);
        return;
    }
    state->idle_ns = 0;
    state->idle_warnings = 0;
    state->was_busy = true;
}

struct guard_outcome guard_judge(const struct guard_spec *spec, const struct guard_state *state,
                                 int32_t util_ppm, int64_t window_ns)
{
    check(window_ns >= 0);
    struct guard_outcome outcome = { .state = *state };
    struct window window = { .util_ppm = util_ppm,
                             .began_in_grace = state->held_ns < spec->grace_ns };
    outcome.state.held_ns = add_saturated(state->held_ns, window_ns);
    if (util_ppm < 0 || window_ns == 0) return outcome;

    count_idle(&outcome.state, util_ppm < spec->idle_ppm, window_ns);
    for (size_t i = GUARD_RULE_NONE + 1; i < GUARD_RULE_COUNT; i++) {
        struct opinion opinion = rules[i](spec, &window, &outcome.state);
        if (opinion.action <= outcome.action) continue; /* actions rise: warn, park, stop */
        outcome.action = opinion.action;
        outcome.rule = (enum guard_rule)i;
        outcome.observed = opinion.observed;
        outcome.bound = opinion.bound;
    }
    return outcome;
}

const char *guard_action_name(enum guard_action action)
{
    static const char *const names[GUARD_ACTION_COUNT] = {
#define X(id, name) [GUARD_ACTION_##id] = name,
        GUARD_ACTIONS(X)
#undef X
    };
    return (unsigned)action < GUARD_ACTION_COUNT ? names[action] : "unknown";
}

const char *guard_rule_name(enum guard_rule rule)
{
    static const char *const names[GUARD_RULE_COUNT] = {
#define X(id, name) [GUARD_RULE_##id] = name,
        GUARD_RULES(X)
#undef X
    };
    return (unsigned)rule < GUARD_RULE_COUNT ? names[rule] : "unknown";
}
