/* Guardrails, as sequences of windows: each letter of a script is one window, and the answer is
 * written beside it. Units are small: a window is 10 ns unless the test says otherwise. */
#include "scheduler/policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { WINDOW_NS = 10, FLOOR = 300000, CLEAR = 400000, IDLE = 20000 };

/* What a letter of a script measures. */
static int32_t util_of(char letter)
{
    switch (letter) {
    case 'i': return IDLE - 1;  /* idle, so also low */
    case 'd': return IDLE;      /* just not idle, low */
    case 'l': return FLOOR - 1; /* just low */
    case 'm': return FLOOR;     /* between floor and clear */
    case 'n': return CLEAR - 1; /* still between */
    case 'h': return CLEAR;     /* just clear */
    case 'x': return INT32_MAX; /* far above 100 % */
    case '0': return 0;         /* nothing at all */
    case 'u': return UTIL_UNKNOWN;
    }
    fail_msg("letter %c", letter);
    return 0;
}

static char letter_of(const struct guard_outcome *outcome)
{
    static const char letters[GUARD_ACTION_COUNT] = { [GUARD_ACTION_NONE] = '.',
                                                      [GUARD_ACTION_WARN] = 'W',
                                                      [GUARD_ACTION_PARK] = 'P',
                                                      [GUARD_ACTION_STOP] = 'S' };
    return letters[outcome->action];
}

static struct guard_spec floor_spec(void)
{
    return (struct guard_spec){ .window_ns = WINDOW_NS,
                                .floor_ppm = FLOOR,
                                .clear_ppm = CLEAR,
                                .warn_windows = 2,
                                .park_windows = 4,
                                .stop_windows = 7 };
}

/* Plays the script from *state and compares the actions; `expect` has a letter a window. */
static void play(const struct guard_spec *spec, struct guard_state *state, const char *script,
                 const char *expect)
{
    char got[128] = "";
    assert_int_equal(strlen(script), strlen(expect));
    for (size_t i = 0; script[i]; i++) {
        struct guard_outcome outcome = guard_judge(spec, state, util_of(script[i]), WINDOW_NS);
        got[i] = letter_of(&outcome);
        assert_int_equal(outcome.rule == GUARD_RULE_NONE, outcome.action == GUARD_ACTION_NONE);
        *state = outcome.state;
    }
    if (strcmp(got, expect) != 0) fail_msg("%s gave %s, not %s", script, got, expect);
}

static void floor_sequences(void **state)
{
    (void)state;
    const struct {
        const char *script, *expect;
    } cases[] = {
        { "hhhh", "...." },
        { "l", "." },
        { "ll", ".W" },
        { "lll", ".W." }, /* one warning an episode */
        { "llll", ".W.P" },
        { "lllllll", ".W.P..S" },   /* the count goes on after the park */
        { "llllllll", ".W.P..SS" }, /* a stop is repeated until it is heard */
        { "lhlhlh", "......" },     /* never two in a row */
        { "llhll", ".W..W" },       /* a clear window ends the episode */
        { "lmlmlmlm", "..W...P." }, /* between floor and clear neither adds nor clears */
        { "lnln", "..W." },         /* just below clear */
        { "llml", ".W.." },         /* and the warning stands */
        { "lluuull", ".W....P" },   /* unknown neither adds nor clears */
        { "uuuuuuuuuu", ".........." },
        { "lllhlllhlll", ".W...W...W." },
        { "llllhllll", ".W.P..W.P" }, /* a second episode, a second park */
        { "xxxx", "...." },
        { "0000000", ".W.P..S" },
        { "mmmmmmmm", "........" }, /* the floor itself is not low */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct guard_spec spec = floor_spec();
        struct guard_state guard = { 0 };
        play(&spec, &guard, cases[i].script, cases[i].expect);
    }
}

static void parks_are_counted_and_repeated(void **state)
{
    (void)state;
    struct guard_spec spec = floor_spec();
    struct guard_state guard = { 0 };
    spec.stop_windows = 0;
    play(&spec, &guard, "llllllllllll", ".W.P...P...P");
    assert_int_equal(guard.parks, 3);
    assert_int_equal(guard.low_windows, 12);
    play(&spec, &guard, "h", ".");
    assert_int_equal(guard.parks, 3); /* recovery forgets the count of windows, not the parks */
    assert_int_equal(guard.low_windows, 0);
    assert_false(guard.warned);
}

static void the_stronger_action_wins(void **state)
{
    (void)state;
    struct guard_spec spec = floor_spec();
    struct guard_state all = { 0 }, two = { 0 };
    spec.warn_windows = spec.park_windows = spec.stop_windows = 2;
    play(&spec, &all, "ll", ".S");
    spec.stop_windows = 0;
    play(&spec, &two, "lll", ".P."); /* the warning that lost to the park is not made up for */
    assert_true(two.warned);
}

static void zero_means_never(void **state)
{
    (void)state;
    struct guard_spec none = { .window_ns = WINDOW_NS, .floor_ppm = FLOOR, .clear_ppm = CLEAR };
    struct guard_state guard = { 0 };
    play(&none, &guard, "00000000000000000000", "....................");
    assert_int_equal(guard.low_windows, 20); /* it is counted all the same */
    assert_int_equal(guard.parks, 0);

    struct guard_spec no_floor = floor_spec();
    struct guard_state other = { 0 };
    no_floor.floor_ppm = no_floor.clear_ppm = 0;
    play(&no_floor, &other, "0000000000", "..........");
    assert_int_equal(other.low_windows, 0);

    struct guard_spec only_stop = floor_spec();
    struct guard_state third = { 0 };
    only_stop.warn_windows = only_stop.park_windows = 0;
    play(&only_stop, &third, "lllllll", "......S");
}

static void the_outcome_says_why(void **state)
{
    (void)state;
    struct guard_spec spec = floor_spec();
    struct guard_state guard = { .low_windows = 1 };
    struct guard_outcome outcome = guard_judge(&spec, &guard, 123, WINDOW_NS);
    assert_int_equal(outcome.action, GUARD_ACTION_WARN);
    assert_int_equal(outcome.rule, GUARD_RULE_FLOOR);
    assert_int_equal(outcome.observed, 123);
    assert_int_equal(outcome.bound, FLOOR);
    assert_int_equal(guard.low_windows, 1); /* the state handed in is as it was */
    assert_int_equal(outcome.state.low_windows, 2);

    outcome = guard_judge(&spec, &guard, CLEAR, WINDOW_NS);
    assert_int_equal(outcome.rule, GUARD_RULE_NONE);
    assert_int_equal(outcome.observed, 0);
    assert_int_equal(outcome.bound, 0);
}

/* ---- grace ----------------------------------------------------------------------------------
 */

static void windows_that_began_in_the_grace_are_spared(void **state)
{
    (void)state;
    const struct {
        int64_t grace_ns;
        const char *expect;
    } cases[] = {
        { 0, ".W.P" },  { 1, "..W." }, /* the first window began in it */
        { 10, "..W." },                /* the second began as it ended */
        { 11, "...W" }, { 1000, "...." }, { INT64_MAX, "...." },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct guard_spec spec = floor_spec();
        struct guard_state guard = { 0 };
        spec.grace_ns = cases[i].grace_ns;
        play(&spec, &guard, "llll", cases[i].expect);
    }
}

static void grace_cannot_be_farmed(void **state)
{
    (void)state;
    /* A run that restarts every three windows: the state is the run's, so the grace is spent
     * once. Unknown windows spend it too. */
    struct guard_spec spec = floor_spec();
    struct guard_state guard = { 0 };
    spec.grace_ns = 3 * WINDOW_NS;
    play(&spec, &guard, "lll", "...");
    play(&spec, &guard, "lll", ".W.");
    play(&spec, &guard, "l", "P");

    struct guard_state unmeasured = { 0 };
    play(&spec, &unmeasured, "uuull", "....W");

    /* Nor by a busy window in the middle of it. */
    struct guard_state busy = { 0 };
    play(&spec, &busy, "lhlll", "....W");
}

/* ---- idle -----------------------------------------------------------------------------------
 */

static struct guard_spec idle_spec(void)
{
    return (struct guard_spec){ .window_ns = WINDOW_NS,
                                .idle_ppm = IDLE,
                                .idle_start_warn_ns = { 30, 50 },
                                .idle_start_stop_ns = 70,
                                .idle_again_warn_ns = 20,
                                .idle_again_stop_ns = 40 };
}

static void idle_sequences(void **state)
{
    (void)state;
    const struct {
        const char *script, *expect;
    } cases[] = {
        { "iiiiiii", "..W.W.S" },
        { "iiiiiiii", "..W.W.SS" },
        { "uuuiii", ".....W" },   /* unmeasured windows are no evidence of idling */
        { "iiuuuui", "......W" }, /* nor do they end it */
        { "hii", "..W" },         /* once busy, the shorter rule holds */
        { "hiiii", "..W.S" },
        { "hiihii", "..W..W" }, /* work ends the episode */
        { "iihii", "....W" },   /* idle time from before the first work is forgotten */
        { "iiihii", "..W..W" }, /* and so are its warnings */
        { "hiuiuiui", "...W...S" },
        { "dddddddddd", ".........." }, /* at the threshold is not idle */
        { "xi", ".." },
        { "0000000", "..W.W.S" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct guard_spec spec = idle_spec();
        struct guard_state guard = { 0 };
        play(&spec, &guard, cases[i].script, cases[i].expect);
    }
}

static void idle_rules_ignore_the_grace(void **state)
{
    (void)state;
    struct guard_spec spec = idle_spec();
    struct guard_state guard = { 0 };
    spec.grace_ns = INT64_MAX;
    play(&spec, &guard, "iiiiiii", "..W.W.S");
}

static void idle_outcomes_say_why(void **state)
{
    (void)state;
    struct guard_spec spec = idle_spec();
    const struct {
        struct guard_state before;
        enum guard_action action;
        enum guard_rule rule;
        int64_t observed, bound;
    } cases[] = {
        { { .idle_ns = 20 }, GUARD_ACTION_WARN, GUARD_RULE_IDLE_START, 30, 30 },
        { { .idle_ns = 40, .idle_warnings = 1 },
          GUARD_ACTION_WARN,
          GUARD_RULE_IDLE_START,
          50,
          50 },
        { { .idle_ns = 40 }, GUARD_ACTION_WARN, GUARD_RULE_IDLE_START, 50, 50 },
        { { .idle_ns = 90, .idle_warnings = 2 },
          GUARD_ACTION_STOP,
          GUARD_RULE_IDLE_START,
          100,
          70 },
        { { .idle_ns = 10, .was_busy = true },
          GUARD_ACTION_WARN,
          GUARD_RULE_IDLE_AGAIN,
          20,
          20 },
        { { .idle_ns = 30, .was_busy = true },
          GUARD_ACTION_STOP,
          GUARD_RULE_IDLE_AGAIN,
          40,
          40 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct guard_outcome outcome = guard_judge(&spec, &cases[i].before, 0, WINDOW_NS);
        assert_int_equal(outcome.action, cases[i].action);
        assert_int_equal(outcome.rule, cases[i].rule);
        assert_int_equal(outcome.observed, cases[i].observed);
        assert_int_equal(outcome.bound, cases[i].bound);
    }
}

static void idle_zero_means_never(void **state)
{
    (void)state;
    struct guard_spec only_second = { .idle_ppm = IDLE, .idle_start_warn_ns = { 0, 50 } };
    struct guard_state guard = { 0 };
    play(&only_second, &guard, "iiiiiiiiii", "....W.....");
    struct guard_spec never = { .idle_ppm = IDLE };
    struct guard_state other = { 0 };
    play(&never, &other, "iiiiihiiiii", "...........");
    struct guard_spec nothing_is_idle = idle_spec();
    struct guard_state third = { 0 };
    nothing_is_idle.idle_ppm = 0;
    play(&nothing_is_idle, &third, "00000000", "........");
}

/* One long window may pass both ages: that is one warning, about the later. */
static void a_long_window_warns_once(void **state)
{
    (void)state;
    struct guard_spec spec = idle_spec();
    struct guard_state guard = { 0 };
    struct guard_outcome outcome = guard_judge(&spec, &guard, 0, 60);
    assert_int_equal(outcome.action, GUARD_ACTION_WARN);
    assert_int_equal(outcome.bound, 50);
    assert_int_equal(outcome.state.idle_warnings, 2);
    outcome = guard_judge(&spec, &outcome.state, 0, 1);
    assert_int_equal(outcome.action, GUARD_ACTION_NONE);
}

static void between_rules_the_stronger_wins(void **state)
{
    (void)state;
    struct guard_spec spec = floor_spec();
    struct guard_state guard = { .was_busy = true, .low_windows = 3, .idle_ns = 30 };
    spec.idle_ppm = IDLE;
    spec.idle_again_stop_ns = 40;
    struct guard_outcome outcome = guard_judge(&spec, &guard, 0, WINDOW_NS);
    assert_int_equal(outcome.action, GUARD_ACTION_STOP); /* the floor says park */
    assert_int_equal(outcome.rule, GUARD_RULE_IDLE_AGAIN);
    spec.idle_again_stop_ns = 0;
    spec.idle_again_warn_ns = 40;
    outcome = guard_judge(&spec, &guard, 0, WINDOW_NS);
    assert_int_equal(outcome.action, GUARD_ACTION_PARK);
    assert_int_equal(outcome.rule, GUARD_RULE_FLOOR);
    spec.park_windows = 0;
    spec.warn_windows = 4;
    outcome = guard_judge(&spec, &guard, 0, WINDOW_NS);
    assert_int_equal(outcome.action, GUARD_ACTION_WARN); /* both warn: the first in the table */
    assert_int_equal(outcome.rule, GUARD_RULE_FLOOR);
}

/* ---- edges ----------------------------------------------------------------------------------
 */

static void unknown_moves_the_clock_only(void **state)
{
    (void)state;
    struct guard_spec spec = floor_spec();
    spec.idle_ppm = IDLE;
    struct guard_state before = { .held_ns = 5,
                                  .idle_ns = 7,
                                  .low_windows = 6,
                                  .parks = 1,
                                  .idle_warnings = 1,
                                  .warned = true };
    struct guard_outcome outcome = guard_judge(&spec, &before, UTIL_UNKNOWN, 100);
    before.held_ns = 105;
    assert_int_equal(outcome.action, GUARD_ACTION_NONE);
    assert_int_equal(outcome.state.held_ns, 105);
    assert_int_equal(outcome.state.idle_ns, before.idle_ns);
    assert_int_equal(outcome.state.low_windows, before.low_windows);
    assert_int_equal(outcome.state.parks, before.parks);
    assert_int_equal(outcome.state.idle_warnings, before.idle_warnings);
    assert_int_equal(outcome.state.warned, before.warned);
    assert_int_equal(outcome.state.was_busy, before.was_busy);
}

static void counters_saturate(void **state)
{
    (void)state;
    struct guard_spec spec = floor_spec();
    spec.idle_ppm = IDLE;
    spec.stop_windows = UINT32_MAX;
    spec.park_windows = 1;
    struct guard_state full = { .held_ns = INT64_MAX,
                                .idle_ns = INT64_MAX,
                                .low_windows = UINT32_MAX,
                                .parks = UINT32_MAX };
    struct guard_outcome outcome = guard_judge(&spec, &full, 0, INT64_MAX);
    assert_int_equal(outcome.action, GUARD_ACTION_STOP);
    assert_true(outcome.state.held_ns == INT64_MAX);
    assert_true(outcome.state.idle_ns == INT64_MAX);
    assert_true(outcome.state.low_windows == UINT32_MAX);
    assert_true(outcome.state.parks == UINT32_MAX);
    spec.stop_windows = 0;
    assert_true(guard_judge(&spec, &full, 0, 1).state.parks == UINT32_MAX);
}

static void an_empty_window_says_nothing(void **state)
{
    (void)state;
    struct guard_spec spec = floor_spec();
    struct guard_state guard = { .low_windows = 6 };
    struct guard_outcome outcome = guard_judge(&spec, &guard, 0, 0);
    assert_int_equal(outcome.action, GUARD_ACTION_NONE);
    assert_int_equal(outcome.state.low_windows, 6);
}

static void every_value_has_a_name(void **state)
{
    (void)state;
    for (unsigned a = 0; a < GUARD_ACTION_COUNT; a++)
        assert_string_not_equal(guard_action_name((enum guard_action)a), "unknown");
    for (unsigned r = 0; r < GUARD_RULE_COUNT; r++)
        assert_string_not_equal(guard_rule_name((enum guard_rule)r), "unknown");
    assert_string_equal(guard_action_name(GUARD_ACTION_COUNT), "unknown");
    assert_string_equal(guard_rule_name((enum guard_rule)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floor_sequences),
        cmocka_unit_test(parks_are_counted_and_repeated),
        cmocka_unit_test(the_stronger_action_wins),
        cmocka_unit_test(zero_means_never),
        cmocka_unit_test(the_outcome_says_why),
        cmocka_unit_test(windows_that_began_in_the_grace_are_spared),
        cmocka_unit_test(grace_cannot_be_farmed),
        cmocka_unit_test(idle_sequences),
        cmocka_unit_test(idle_rules_ignore_the_grace),
        cmocka_unit_test(idle_outcomes_say_why),
        cmocka_unit_test(idle_zero_means_never),
        cmocka_unit_test(a_long_window_warns_once),
        cmocka_unit_test(between_rules_the_stronger_wins),
        cmocka_unit_test(unknown_moves_the_clock_only),
        cmocka_unit_test(counters_saturate),
        cmocka_unit_test(an_empty_window_says_nothing),
        cmocka_unit_test(every_value_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
