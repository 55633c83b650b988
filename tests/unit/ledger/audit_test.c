/* The second set of books: one good history, and every way to break a rule in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/money.h"
#include "scheduler/core/core.h"
#include "scheduler/core/state.h"
#include "scheduler/ledger/audit.h"

/* Two workers of class 0, one run of two members with one gate; one slot costs 3600 a second. The
 * history places it, renews its lease, passes the gate, renews again, and ends it finished. */
enum place {
    CAMPAIGN,
    RUN,
    EPOCH,
    WORKER_1,
    WORKER_2,
    TIER_0,
    TRANCHE_0,
    PLACED,
    STARTED_0,
    STARTED_1,
    LEASE_2,
    WINDOW_0,
    WINDOW,
    GATE,
    VERDICT,
    TRANCHE_1,
    LEASE_3,
    ENDED_0,
    ENDED_1,
    ATTEMPT_ENDED,
    CLOSED,
    PLACE_COUNT
};

enum { RATE = 3600 * 3600, SECOND = 3600, GRACE_S = 10, SLOTS = 2 };

static struct record history[PLACE_COUNT + 1];
static uint32_t count;
static const uint32_t gang[] = { 1, 2 }, twice[] = { 1, 1 }, strangers[] = { 1, 3 };
static const struct gate_spec gates[] = {
    { .name = "g",
      .step = 10,
      .owner_index = 0,
      .rule_count = 1,
      .rules = { { .rule = GATE_RULE_MILESTONE, .loss_max_micro = 3000000 } } },
};

static void at(enum place place, enum record_kind kind, int64_t seconds)
{
    memset(&history[place], 0, sizeof(history[place]));
    history[place].kind = kind;
    history[place].at_ns = (1000 + seconds) * NS_PER_S;
}

static int64_t price(int64_t seconds)
{
    return SLOTS * seconds * SECOND;
}

static int64_t clock_ns(int64_t seconds)
{
    return (1000 + seconds) * NS_PER_S;
}

static void make_campaign(void)
{
    at(CAMPAIGN, RECORD_CAMPAIGN, 0);
    struct campaign_spec *c = &history[CAMPAIGN].as.campaign;
    (void)text_copy(c->name, sizeof(c->name), TEXT("c"));
    (void)text_copy(c->currency, sizeof(c->currency), TEXT("USD"));
    c->tier_count = 2;
    c->tiers[0] = (struct tier_spec){ 2000000, NO_INDEX };
    c->tiers[1] = (struct tier_spec){ 3000000, 0 };
    c->budget_micros = 3000000;
    c->owner_count = 1;
    (void)text_copy(c->owners[0].name, NAME_MAX_BYTES, TEXT("ada"));
    c->class_count = 1;
    (void)text_copy(c->classes[0].name, NAME_MAX_BYTES, TEXT("cpu"));
    c->classes[0].rate_micros = RATE;
    c->heartbeat_ns = 5 * NS_PER_S;
    c->lease_ns = 60 * NS_PER_S;
    c->stop_grace_ns = GRACE_S * NS_PER_S;
    c->worker_timeout_ns = 60 * NS_PER_S;
    c->guard_count = 1;
    c->guards[0].window_ns = NS_PER_MIN;
    c->guards[0].grace_ns = 40 * NS_PER_S;
    c->guards[0].floor_ppm = 200000;
    c->gate_count = 1;
    c->gates = gates;
}

static void make_run(void)
{
    at(RUN, RECORD_RUN, 0);
    struct run_spec *run = &history[RUN].as.run;
    (void)text_copy(run->name, sizeof(run->name), TEXT("r"));
    run->ranks = SLOTS;
    run->first_tranche_micros = 1000000;
    run->gate_count = 1;
    run->gates[0].tranche_micros = 600000;
    run->budget_micros = 1600000;
}

static void make_worker(enum place place, uint32_t number)
{
    at(place, RECORD_WORKER, 1);
    history[place].as.worker =
        (struct record_worker){ .worker = number, .host = TEXT("node"), .threads = 1 };
}

static void make_lease(enum place place, uint32_t sequence, int64_t now_s, int64_t end_s)
{
    at(place, RECORD_LEASE, now_s);
    int64_t settled = price(now_s - 2); /* it was placed at second 2 */
    history[place].as.lease =
        (struct record_lease){ .attempt = 1,
                               .sequence = sequence,
                               .settled_micros = settled,
                               .reserved_micros = price(end_s + GRACE_S - 2) - settled,
                               .lease_end_ns = clock_ns(end_s) };
}

static void make_history(void)
{
    count = PLACE_COUNT;
    make_campaign();
    make_run();
    at(EPOCH, RECORD_EPOCH, 1);
    history[EPOCH].as.epoch =
        (struct record_epoch){ .epoch = 1, .host = TEXT("node"), .workers = 2 };
    make_worker(WORKER_1, 1);
    make_worker(WORKER_2, 2);
    at(TIER_0, RECORD_TIER, 2);
    history[TIER_0].as.tier.approved_micros = 2000000;
    at(TRANCHE_0, RECORD_TRANCHE, 2);
    history[TRANCHE_0].as.tranche =
        (struct record_tranche){ .amount_micros = 1000000, .released_micros = 1000000 };
    at(PLACED, RECORD_PLACED, 2);
    history[PLACED].as.placed = (struct record_placed){ .attempt = 1,
                                                        .member_count = SLOTS,
                                                        .workers = gang,
                                                        .rate_micros = RATE,
                                                        .reserved_micros = price(70),
                                                        .lease_end_ns = clock_ns(62) };
    at(STARTED_0, RECORD_MEMBER_STARTED, 3);
    history[STARTED_0].as.member_started = (struct record_member_started){ 0, 1, 0, 50 };
    at(STARTED_1, RECORD_MEMBER_STARTED, 3);
    history[STARTED_1].as.member_started = (struct record_member_started){ 0, 1, 1, 51 };
    make_lease(LEASE_2, 2, 40, 100);
    at(WINDOW_0, RECORD_WINDOW, 42);
    history[WINDOW_0].as.window = (struct record_window){ .attempt = 1,
                                                          .length_ns = 40 * NS_PER_S,
                                                          .util_ppm = UTIL_UNKNOWN,
                                                          .fair_ppm = UTIL_UNKNOWN,
                                                          .guard.held_ns = 40 * NS_PER_S };
    at(WINDOW, RECORD_WINDOW, 45);
    history[WINDOW].as.window = (struct record_window){ .attempt = 1,
                                                        .length_ns = 3 * NS_PER_S,
                                                        .util_ppm = 150000,
                                                        .fair_ppm = 300000,
                                                        .guard.held_ns = 43 * NS_PER_S };
    at(GATE, RECORD_GATE, 50);
    history[GATE].as.gate = (struct record_gate){ .attempt = 1, .step = 10, .loss_micro = 2 };
    at(VERDICT, RECORD_DECISION, 50);
    history[VERDICT].as.decision = (struct record_decision){
        .subject = SUBJECT_GATE, .tier = NO_INDEX, .verdict = VERDICT_GO, .owner = NO_INDEX
    };
    at(TRANCHE_1, RECORD_TRANCHE, 50);
    history[TRANCHE_1].as.tranche = (struct record_tranche){ .number = 1,
                                                             .amount_micros = 600000,
                                                             .released_micros = 1600000,
                                                             .util_ppm = 300000,
                                                             .floor_ppm = 200000,
                                                             .spent_micros = price(38) };
    make_lease(LEASE_3, 3, 80, 140);
    at(ENDED_0, RECORD_MEMBER_ENDED, 89);
    history[ENDED_0].as.member_ended = (struct record_member_ended){ .attempt = 1 };
    at(ENDED_1, RECORD_MEMBER_ENDED, 90);
    history[ENDED_1].as.member_ended =
        (struct record_member_ended){ .attempt = 1, .member = 1 };
    at(ATTEMPT_ENDED, RECORD_ATTEMPT_ENDED, 90);
    history[ATTEMPT_ENDED].as.attempt_ended =
        (struct record_attempt_ended){ .attempt = 1,
                                       .held_ns = 88 * NS_PER_S,
                                       .settled_micros = price(88),
                                       .returned_micros = price(148) - price(88),
                                       .state = RUN_STATE_FINISHED,
                                       .reason = REASON_DONE };
    at(CLOSED, RECORD_CLOSED, 90);
}

/* Takes out a record, or puts one more in its place. */
static void drop(enum place place)
{
    memmove(&history[place], &history[place + 1], (count - place - 1) * sizeof(*history));
    count--;
}

static void repeat(enum place place, enum place before)
{
    struct record again = history[place];
    again.at_ns = history[before].at_ns;
    memmove(&history[before + 1], &history[before], (count - before) * sizeof(*history));
    history[before] = again;
    count++;
}

static void put_decision(enum place before, struct record_decision decision)
{
    history[PLACE_COUNT] = history[VERDICT];
    history[PLACE_COUNT].as.decision = decision;
    struct record put = history[PLACE_COUNT];
    put.at_ns = history[before].at_ns;
    memmove(&history[before + 1], &history[before], (count - before) * sizeof(*history));
    history[before] = put;
    count++;
}

#define H(place, body) history[place].as.body

static void b_campaign(void)
{
    repeat(CAMPAIGN, RUN);
}
static void b_no_campaign(void)
{
    drop(CAMPAIGN);
}
static void b_time(void)
{
    history[GATE].at_ns = clock_ns(3);
}
static void b_epoch(void)
{
    H(EPOCH, epoch).epoch = 2;
}
static void b_worker_class(void)
{
    H(WORKER_1, worker).class_index = 1;
}
static void b_worker_twice(void)
{
    H(WORKER_2, worker).worker = 1;
}
static void b_worker_huge(void)
{
    H(WORKER_2, worker).worker = 1 << 21;
}
static void b_tier_order(void)
{
    H(TIER_0, tier).tier = 1;
}
static void b_tier_twice(void)
{
    repeat(TIER_0, TRANCHE_0);
}
static void b_tier_amount(void)
{
    H(TIER_0, tier).approved_micros++;
}
static void b_tranche_early(void)
{
    drop(TIER_0);
}
static void b_tranche_twice(void)
{
    repeat(TRANCHE_0, PLACED);
}
static void b_tranche_order(void)
{
    H(TRANCHE_0, tranche).number = 1;
}
static void b_tranche_amount(void)
{
    H(TRANCHE_0, tranche).amount_micros--;
}
static void b_tranche_sum(void)
{
    H(TRANCHE_1, tranche).released_micros++;
}
static void b_tranche_run(void)
{
    H(TRANCHE_0, tranche).run = 1;
}
static void b_tranche_no_go(void)
{
    drop(VERDICT);
}
static void b_util_unknown(void)
{
    H(WINDOW, window).fair_ppm = UTIL_UNKNOWN;
    H(TRANCHE_1, tranche).util_ppm = UTIL_UNKNOWN;
}
static void b_util_unmeasured(void)
{
    drop(WINDOW);
    drop(WINDOW_0);
    H(TRANCHE_1 - 2, tranche).util_ppm = UTIL_UNKNOWN;
    H(TRANCHE_1 - 2, tranche).floor_ppm = 0;
}
static void b_util_unknown_in_grace(void)
{
    b_util_unknown();
    H(CAMPAIGN, campaign).guards[0].grace_ns = NS_PER_HOUR;
    H(TRANCHE_1, tranche).floor_ppm = 0;
}
static void b_util_low(void)
{
    H(WINDOW, window).fair_ppm = 199999;
    H(TRANCHE_1, tranche).util_ppm = 199999;
}
static void b_util_silent(void)
{
    H(TRANCHE_1, tranche).util_ppm = H(TRANCHE_1, tranche).floor_ppm = 0;
    H(TRANCHE_1, tranche).spent_micros = 0;
}
static void b_util_other(void)
{
    H(WINDOW, window).fair_ppm = 199999;
}
static void b_util_floor(void)
{
    H(TRANCHE_1, tranche).floor_ppm = 0;
}
static void b_util_spent(void)
{
    H(TRANCHE_1, tranche).spent_micros++;
}
static void b_window_attempt(void)
{
    H(WINDOW, window).attempt = 2;
}
static void b_tranche_unsettled(void)
{
    /* the lease's money was over at second 110 */
    for (enum place place = GATE; place <= TRANCHE_1; place++)
        history[place].at_ns = clock_ns(111);
    count = TRANCHE_1 + 1;
}
static void b_tranche_above(void)
{
    H(CAMPAIGN, campaign).tiers[0].up_to_micros = 1500000;
    H(TIER_0, tier).approved_micros = 1500000;
}
static void b_placed_run(void)
{
    H(PLACED, placed).run = 7;
}
static void b_placed_twice(void)
{
    repeat(PLACED, STARTED_0);
}
static void b_placed_number(void)
{
    H(PLACED, placed).attempt = 2;
}
static void b_placed_part(void)
{
    H(PLACED, placed).member_count = 1;
}
static void b_placed_slot(void)
{
    H(PLACED, placed).workers = twice;
}
static void b_placed_worker(void)
{
    H(PLACED, placed).workers = strangers;
}
static void b_placed_gpu(void)
{
    H(WORKER_1, worker).pci_bus_id = TEXT("00000000:3b:00.0");
    H(WORKER_2, worker).pci_bus_id = TEXT("00000000:3b:00.0");
}
static void b_placed_rate(void)
{
    H(PLACED, placed).rate_micros = RATE - 1;
}
static void b_placed_price(void)
{
    H(PLACED, placed).reserved_micros = price(70) - 1;
}
static void b_placed_end(void)
{
    H(PLACED, placed).lease_end_ns = clock_ns(1);
}
static void b_placed_over(void)
{
    H(PLACED, placed).reserved_micros = 1000001;
}
static void b_placed_overflow(void)
{
    H(PLACED, placed).lease_end_ns = INT64_MAX;
}
static void b_lease_number(void)
{
    H(LEASE_2, lease).sequence = 3;
}
static void b_lease_again(void)
{
    repeat(LEASE_2, GATE);
}
static void b_lease_attempt(void)
{
    H(LEASE_2, lease).attempt = 2;
}
static void b_lease_short(void)
{
    H(LEASE_2, lease).lease_end_ns = clock_ns(61);
}
static void b_lease_price(void)
{
    H(LEASE_2, lease).reserved_micros--;
}
static void b_lease_falls(void)
{
    H(LEASE_3, lease).settled_micros = price(37);
}
static void b_lease_more(void)
{
    H(LEASE_2, lease).settled_micros = price(71);
    H(LEASE_2, lease).reserved_micros = price(37);
    H(TRANCHE_1, tranche).spent_micros = price(71);
}
static void b_lease_over(void)
{
    H(LEASE_3, lease).reserved_micros = 1600001;
}
static void b_lease_stopping(void)
{
    history[STARTED_1].kind = RECORD_STOPPING;
    history[STARTED_1].as.stopping =
        (struct record_stopping){ .attempt = 1, .intent = INTENT_STOP };
}
static void b_lease_no_go(void)
{
    H(VERDICT, decision).verdict = VERDICT_NO_GO;
    drop(TRANCHE_1);
}
static void b_lease_hold(void)
{
    H(VERDICT, decision).verdict = VERDICT_HOLD;
    drop(TRANCHE_1);
}
static void b_placed_on_hold(void)
{
    b_lease_hold();
    H(ATTEMPT_ENDED - 1, attempt_ended).state = RUN_STATE_QUEUED;
    H(ATTEMPT_ENDED - 1, attempt_ended).returned_micros = price(108) - price(88);
    drop(LEASE_3 - 1);
    repeat(PLACED, CLOSED - 2);
    H(CLOSED - 2, placed).attempt = 2;
}
static void b_gate_early(void)
{
    H(GATE, gate).slot = 1;
}
static void b_gate_twice(void)
{
    repeat(GATE, VERDICT);
}
static void b_gate_attempt(void)
{
    H(GATE, gate).attempt = 9;
}
static void b_verdict_early(void)
{
    drop(GATE);
}
static void b_verdict_twice(void)
{
    repeat(VERDICT, TRANCHE_1);
}
static void b_verdict_slot(void)
{
    H(VERDICT, decision).slot = 4;
}
static void b_verdict_run(void)
{
    put_decision(GATE, (struct record_decision){
                           .subject = SUBJECT_RUN, .verdict = VERDICT_GO, .owner = 0 });
}
static void b_verdict_tier(void)
{
    put_decision(GATE, (struct record_decision){
                           .subject = SUBJECT_TIER, .tier = 0, .verdict = VERDICT_GO });
}
static void b_verdict_no_tier(void)
{
    put_decision(GATE, (struct record_decision){
                           .subject = SUBJECT_TIER, .tier = 2, .verdict = VERDICT_GO });
}
static void b_member_twice(void)
{
    H(ENDED_1, member_ended).member = 0;
}
static void b_member_none(void)
{
    H(ENDED_1, member_ended).member = 2;
}
static void b_ended_early(void)
{
    drop(ENDED_1);
}
static void b_ended_twice(void)
{
    repeat(ATTEMPT_ENDED, CLOSED);
}
static void b_ended_cheap(void)
{
    H(ATTEMPT_ENDED, attempt_ended).settled_micros--;
    H(ATTEMPT_ENDED, attempt_ended).returned_micros++;
}
static void b_ended_return(void)
{
    H(ATTEMPT_ENDED, attempt_ended).returned_micros--;
}
static void b_ended_long(void)
{
    H(ATTEMPT_ENDED, attempt_ended).held_ns = 89 * NS_PER_S;
}
static void b_ended_unpassed(void)
{
    drop(LEASE_3);
    drop(TRANCHE_1);
    drop(VERDICT);
    H(ATTEMPT_ENDED - 3, attempt_ended).returned_micros = price(108) - price(88);
}
static void b_state_live(void)
{
    history[GATE].kind = RECORD_RUN_STATE;
    history[GATE].as.run_state = (struct record_run_state){ .state = RUN_STATE_HELD };
}
static void b_state_after(void)
{
    history[CLOSED].kind = RECORD_RUN_STATE;
    history[CLOSED].as.run_state = (struct record_run_state){ .state = RUN_STATE_QUEUED };
}
static void b_worker_lost(void)
{
    history[STARTED_0].kind = RECORD_WORKER_LOST;
    history[STARTED_0].as.worker_lost = (struct record_worker_lost){ .worker = 3 };
}
static void b_placed_after_end(void)
{
    repeat(PLACED, CLOSED);
    H(CLOSED, placed).attempt = 2;
}
static void b_tranche_after_end(void)
{
    repeat(TRANCHE_0, CLOSED);
}

static void b_tier_unasked(void)
{
    H(CAMPAIGN, campaign).tiers[0].owner_index = 0;
}
/* The attempt ends with its run on hold at the gate, and goes no further. */
static void hold_at_gate(void)
{
    H(VERDICT, decision).verdict = VERDICT_HOLD;
    H(VERDICT, decision).owner = 0;
    H(ATTEMPT_ENDED, attempt_ended).state = RUN_STATE_HELD;
    H(ATTEMPT_ENDED, attempt_ended).returned_micros = price(108) - price(88);
    drop(LEASE_3);
    drop(TRANCHE_1);
}
static void b_hold_nobody(void)
{
    hold_at_gate();
    repeat(VERDICT, CLOSED - 2);
    H(CLOSED - 2, decision).verdict = VERDICT_GO;
    H(CLOSED - 2, decision).owner = NO_INDEX;
}
static void b_hold_moves(void)
{
    hold_at_gate();
    history[CLOSED - 2].kind = RECORD_RUN_STATE;
    H(CLOSED - 2, run_state) = (struct record_run_state){ .state = RUN_STATE_QUEUED };
}
static void placed_from(enum run_state state)
{
    H(ATTEMPT_ENDED, attempt_ended).state = state;
    repeat(PLACED, CLOSED);
    H(CLOSED, placed).attempt = 2;
}
static void b_placed_held(void)
{
    placed_from(RUN_STATE_HELD);
}
static void b_placed_parked(void)
{
    placed_from(RUN_STATE_PARKED);
}

/* Takes the history; returns the place of the record that was refused, or -1. */
static int take_all(struct error *error, struct audit_totals *totals)
{
    struct audit *audit = audit_create();
    assert_non_null(audit);
    int refused = -1;
    for (uint32_t i = 0; i < count && refused < 0; i++) {
        enum err rc = audit_take(audit, &history[i], error);
        if (rc != ERR_OK) {
            assert_int_equal(rc, ERR_DAMAGED);
            refused = (int)i;
        }
    }
    *totals = audit_totals(audit);
    audit_destroy(audit);
    audit_destroy(NULL);
    return refused;
}

static void test_a_good_history(void **state)
{
    (void)state;
    struct error error = { 0 };
    struct audit_totals totals;
    make_history();
    if (take_all(&error, &totals) >= 0) fail_msg("%s", error.text);
    assert_int_equal(totals.runs, 1);
    assert_int_equal(totals.attempts, 1);
    assert_int_equal(totals.approved_micros, 2000000);
    assert_int_equal(totals.spent_micros, price(88));
    assert_int_equal(totals.released_micros, price(88)); /* the rest went back */
    assert_int_equal(totals.reserved_micros, 0);
}

/* It is a history that the core believes, too. */
static void test_the_core_agrees(void **state)
{
    (void)state;
    struct core_limits limits = { 1, 3, 1, 1 };
    struct core *core = core_create(&limits);
    struct error error = { 0 };
    make_history();
    for (uint32_t i = 0; i < count; i++) {
        if (core_apply(core, &history[i], &error) != ERR_OK) fail_msg("%u: %s", i, error.text);
        core_check(core);
    }
    assert_int_equal(core_budget(core)->spent_micros, price(88));
    core_destroy(core);
}

static const struct {
    void (*make)(void);
    const char *says;
} breaches[] = {
    { b_campaign, "a second campaign" },
    { b_no_campaign, "a run before its campaign" },
    { b_time, "time falls" },
    { b_epoch, "epochs do not rise by one" },
    { b_worker_class, "a worker that cannot be" },
    { b_worker_huge, "a worker that cannot be" },
    { b_worker_twice, "a worker joins twice" },
    { b_worker_lost, "a worker is lost that is not there" },
    { b_tier_order, "a tier is opened out of order" },
    { b_tier_twice, "a tier is opened out of order" },
    { b_tier_unasked, "a tier opens without its owner" },
    { b_hold_nobody, "a hold ends without an owner" },
    { b_hold_moves, "a held run moves without its owner" },
    { b_placed_held, "a held or parked run is placed" },
    { b_placed_parked, "a held or parked run is placed" },
    { b_tier_amount, "a tier is opened to another amount" },
    { b_tranche_early, "released is above approved" },
    { b_tranche_above, "released is above approved" },
    { b_tranche_twice, "a tranche is released out of order" },
    { b_tranche_order, "a tranche is released out of order" },
    { b_tranche_amount, "a tranche is not of the planned amount" },
    { b_tranche_sum, "a tranche is not of the planned amount" },
    { b_tranche_run, "a tranche for no open run" },
    { b_tranche_after_end, "a tranche for no open run" },
    { b_tranche_no_go, "a tranche is released before GO" },
    { b_util_unknown, "a tranche is released on unknown utilization" },
    { b_util_unmeasured, "a tranche is released on unknown utilization" },
    { b_util_unknown_in_grace, "a tranche is released on unknown utilization" },
    { b_util_low, "a tranche is released below the utilization floor" },
    { b_util_other, "a tranche is released on figures that are not the run's" },
    { b_util_silent, "a tranche is released on figures that are not the run's" },
    { b_util_floor, "a tranche is released on figures that are not the run's" },
    { b_util_spent, "a tranche is released on figures that are not the run's" },
    { b_window_attempt, "a window of no live attempt" },
    { b_tranche_unsettled, "a tranche is released before the one before is settled" },
    { b_placed_run, "a run is placed that is not open" },
    { b_placed_gpu, "a GPU is twice in a gang" },
    { b_placed_twice, "a run is placed that is not open" },
    { b_placed_after_end, "a run is placed that is not open" },
    { b_placed_on_hold, "a run is placed after NO-GO or HOLD" },
    { b_placed_number, "attempts are not numbered" },
    { b_placed_part, "a gang is not whole" },
    { b_placed_slot, "a slot is in two attempts" },
    { b_placed_worker, "a gang has a worker that is not there" },
    { b_placed_rate, "the rate is not that" },
    { b_placed_price, "a lease is not paid for" },
    { b_placed_overflow, "a lease is not paid for" },
    { b_placed_end, "a lease ends before" },
    { b_placed_over, "the run's spent + reserved is above" },
    { b_lease_number, "leases are not numbered" },
    { b_lease_again, "leases are not numbered" },
    { b_lease_attempt, "a lease for no live attempt" },
    { b_lease_short, "a lease is shortened" },
    { b_lease_price, "a lease is not paid for" },
    { b_lease_falls, "settled money falls" },
    { b_lease_more, "more is settled than was reserved" },
    { b_lease_over, "the run's spent + reserved is above" },
    { b_lease_stopping, "a lease for an attempt that is being stopped" },
    { b_lease_no_go, "a lease for an attempt that is being stopped" },
    { b_lease_hold, "a lease for an attempt that is being stopped" },
    { b_gate_early, "a gate of no live attempt" },
    { b_gate_twice, "a gate is reached out of order" },
    { b_gate_attempt, "a gate of no live attempt" },
    { b_verdict_early, "a verdict on a gate that was not reached" },
    { b_verdict_twice, "a second final verdict" },
    { b_verdict_slot, "a verdict on no gate" },
    { b_verdict_run, "a held run is decided by its owner" },
    { b_verdict_tier, "a tier is opened out of order" },
    { b_verdict_no_tier, "a verdict on no tier" },
    { b_member_twice, "a member ends twice" },
    { b_member_none, "a member ends twice" },
    { b_ended_early, "an attempt ends before its members" },
    { b_ended_twice, "an attempt ends that is not live" },
    { b_ended_cheap, "an attempt is not settled for the time" },
    { b_ended_return, "settled + returned is not" },
    { b_ended_long, "an attempt was held for longer" },
    { b_ended_unpassed, "a run finishes without GO" },
    { b_state_live, "a run with a live attempt moves" },
    { b_state_after, "a run that has ended moves again" },
};

static void test_every_rule_is_kept(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(breaches); i++) {
        struct error error = { 0 };
        struct audit_totals totals;
        make_history();
        breaches[i].make();
        if (take_all(&error, &totals) < 0) fail_msg("accepted: %s (%zu)", breaches[i].says, i);
        if (strstr(error.text, breaches[i].says) == NULL)
            fail_msg("'%s' does not say '%s'", error.text, breaches[i].says);
    }
}

/* The core knows most of the rules itself: what it leaves to the audit stands here. */
static bool only_audited(void (*make)(void))
{
    static void (*const left[])(void) = { b_tier_unasked, b_placed_rate,   b_placed_price,
                                          b_lease_price,  b_lease_more,    b_ended_cheap,
                                          b_ended_long,   b_ended_unpassed };
    for (size_t i = 0; i < ARRAY_COUNT(left); i++)
        if (left[i] == make) return true;
    return false;
}

static void test_the_core_refuses_most(void **state)
{
    (void)state;
    struct core_limits limits = { 1, 4, 1, 1 };
    for (size_t i = 0; i < ARRAY_COUNT(breaches); i++) {
        struct core *core = core_create(&limits);
        struct error error = { 0 };
        enum err rc = ERR_OK;
        make_history();
        breaches[i].make();
        for (uint32_t r = 0; r < count && rc == ERR_OK; r++)
            rc = core_apply(core, &history[r], &error);
        core_destroy(core);
        if ((rc == ERR_OK) != only_audited(breaches[i].make))
            fail_msg("%s: the core says %d", breaches[i].says, (int)rc);
    }
}

/* Prices are what money_cost_micros says, which is computed in another way. */
static void test_prices_agree(void **state)
{
    (void)state;
    static const struct {
        int64_t held_ns, rate_micros;
    } rows[] = {
        { 1, 1 },
        { NS_PER_HOUR - 1, 1 },
        { NS_PER_HOUR, 1 },
        { NS_PER_HOUR + 1, 1 },
        { 88 * NS_PER_S + 1, 2499999 },
        { 123456789012345, 987654321 },
        { NS_PER_HOUR / 3, 3 },
        { 7 * NS_PER_HOUR + 77, 1000000007 },
        { 59 * NS_PER_MIN, INT64_C(1) << 40 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct error error = { 0 };
        struct audit_totals totals;
        int64_t cost = money_cost_micros(SLOTS, rows[i].held_ns, rows[i].rate_micros);
        int64_t room = money_cost_micros(SLOTS, rows[i].held_ns + 100, rows[i].rate_micros);
        make_history();
        H(CAMPAIGN, campaign).classes[0].rate_micros = rows[i].rate_micros;
        H(CAMPAIGN, campaign).stop_grace_ns = 0;
        H(CAMPAIGN, campaign).tiers[0].up_to_micros = room;
        H(TIER_0, tier).approved_micros = room;
        H(RUN, run).first_tranche_micros = room;
        H(TRANCHE_0, tranche).amount_micros = H(TRANCHE_0, tranche).released_micros = room;
        H(PLACED, placed).rate_micros = rows[i].rate_micros;
        H(PLACED, placed).lease_end_ns = clock_ns(2) + rows[i].held_ns;
        H(PLACED, placed).reserved_micros = cost;
        count = PLACED + 1;
        if (take_all(&error, &totals) >= 0) fail_msg("%zu: %s", i, error.text);
        H(PLACED, placed).reserved_micros = cost - 1;
        assert_int_equal(take_all(&error, &totals), PLACED);
        assert_non_null(strstr(error.text, "not paid for"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_history),     cmocka_unit_test(test_the_core_agrees),
        cmocka_unit_test(test_every_rule_is_kept), cmocka_unit_test(test_the_core_refuses_most),
        cmocka_unit_test(test_prices_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
