/* Reads from the bottom up: books, sums, then one function a kind, then the public ones. */
#include "scheduler/ledger/audit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS_EVER_MAX = 1 << 20 };

struct gate_book {
    int64_t tranche_micros;
    bool reached;
    enum verdict verdict;
};

struct lease_book { /* of a live attempt */
    bool live, stopping;
    int64_t placed_ns, end_ns;
    int64_t rate_micros;
    uint32_t sequence;
    int64_t settled_micros, reserved_micros;
    uint32_t member_count, ended_count;
    uint32_t *workers; /* member_count */
    bool *ended;       /* member_count */
    uint64_t epoch;    /* that its workers belong to */
};

struct run_book {
    uint32_t ranks;
    int64_t tranches_micros; /* the first one */
    uint32_t gate_count;
    struct gate_book gates[GATES_PER_RUN_MAX];
    uint32_t tranches, attempts;
    int64_t released_micros, spent_micros; /* spent: by all attempts, the live one too */
    enum run_state state;
    bool ended;
    uint32_t guard;   /* which of the campaign's floors it is held to */
    int32_t util_ppm; /* of its last window, at full clocks; below 0: unknown */
    int64_t held_ns;  /* in windows, over all attempts: the grace counts it */
    bool in_grace;    /* that window began in it */
    struct lease_book lease;
};

struct worker_book {
    bool present, busy;
    int64_t rate_micros; /* of its class */
    char host[NAME_MAX_BYTES], pci_bus_id[NAME_MAX_BYTES];
};

struct audit {
    bool has_campaign;
    uint32_t tier_count, tiers_open;
    int64_t tier_micros[TIERS_MAX];
    bool tier_asks[TIERS_MAX]; /* has an owner */
    uint32_t class_count;
    int64_t class_rate_micros[CLASSES_MAX];
    int64_t stop_grace_ns;
    struct {
        int32_t floor_ppm;
        int64_t grace_ns;
    } guards[GUARDS_MAX];
    uint64_t epoch;
    int64_t now_ns;
    struct audit_totals totals;
    struct run_book *runs;
    size_t run_capacity;
    struct worker_book *workers; /* by number */
    uint32_t worker_count;
};

static enum err breaks(struct error *error, const char *rule)
{
    return error_set(error, ERR_DAMAGED, "audit: %s", rule);
}

/* ---- amounts ---- */

/* Price of holding `slots` for held_ns, rounded up, by splitting the time into whole hours and a
 * rest; -1 when it does not fit. */
static int64_t price_micros(uint32_t slots, int64_t held_ns, int64_t rate_micros)
{
    int64_t hours = held_ns / NS_PER_HOUR, rest_ns = held_ns % NS_PER_HOUR;
    int64_t a_slot, whole, total;
    if (__builtin_mul_overflow((int64_t)slots, rate_micros, &a_slot)) return -1;
    if (__builtin_mul_overflow(a_slot, hours, &whole)) return -1;
    /* rest = ceil(a_slot * rest_ns / hour), long division by hand: the divisor is below 2^42, and
     * each step brings in 16 more bits of a_slot. */
    uint64_t quotient = 0, remainder = 0;
    for (int shift = 48; shift >= 0; shift -= 16) {
        uint64_t digit = (uint64_t)a_slot >> shift & 0xFFFF;
        uint64_t product = digit * (uint64_t)rest_ns; /* below 2^16 * 2^42 */
        /* value = remainder * 2^16 + product, with remainder < 2^42 */
        uint64_t value = remainder * 65536 + product % (uint64_t)NS_PER_HOUR;
        quotient =
            quotient * 65536 + product / (uint64_t)NS_PER_HOUR + value / (uint64_t)NS_PER_HOUR;
        remainder = value % (uint64_t)NS_PER_HOUR;
    }
    int64_t rest = (int64_t)quotient + (remainder > 0 ? 1 : 0);
    return __builtin_add_overflow(whole, rest, &total) ? -1 : total;
}

/* The sums that must hold after every record that touches money. */
static enum err sums_hold(const struct audit *audit, const struct run_book *run,
                          struct error *error)
{
    const struct audit_totals *all = &audit->totals;
    if (run->spent_micros < 0 || run->lease.reserved_micros < 0 || all->spent_micros < 0 ||
        all->reserved_micros < 0)
        return breaks(error, "a balance is negative");
    if (run->lease.reserved_micros > run->released_micros - run->spent_micros)
        return breaks(error, "the run's spent + reserved is above its released money");
    if (all->reserved_micros > all->released_micros - all->spent_micros)
        return breaks(error, "the campaign's spent + reserved is above its released money");
    if (all->released_micros > all->approved_micros)
        return breaks(error, "released is above approved");
    return ERR_OK;
}

/* Moves a live attempt to new amounts. What is settled now was reserved before. */
static enum err settle(struct audit *audit, struct run_book *run, int64_t settled_micros,
                       int64_t reserved_micros, struct error *error)
{
    struct lease_book *lease = &run->lease;
    int64_t spent = settled_micros - lease->settled_micros; /* both are 0 or more */
    if (spent < 0) return breaks(error, "settled money falls");
    if (spent > lease->reserved_micros)
        return breaks(error, "more is settled than was reserved");
    if (reserved_micros > audit->totals.approved_micros)
        return breaks(error, "more is reserved than is approved");
    run->spent_micros += spent;
    audit->totals.spent_micros += spent;
    audit->totals.reserved_micros += reserved_micros - lease->reserved_micros;
    lease->settled_micros = settled_micros;
    lease->reserved_micros = reserved_micros;
    return sums_hold(audit, run, error);
}

/* ---- runs ---- */

static struct run_book *run_at(struct audit *audit, uint32_t index)
{
    return index < audit->totals.runs ? &audit->runs[index] : NULL;
}

/* The run whose live attempt a record names, or NULL. */
static struct run_book *live_at(struct audit *audit, uint32_t index, uint32_t attempt)
{
    struct run_book *run = run_at(audit, index);
    return run != NULL && run->lease.live && run->attempts == attempt ? run : NULL;
}

static uint32_t gates_passed(const struct run_book *run)
{
    uint32_t passed = 0;
    while (passed < run->gate_count && run->gates[passed].verdict == VERDICT_GO)
        passed++;
    return passed;
}

/* Is there a NO-GO, or an open HOLD? */
static bool is_barred(const struct run_book *run)
{
    for (uint32_t i = 0; i < run->gate_count; i++)
        if (run->gates[i].verdict == VERDICT_NO_GO || run->gates[i].verdict == VERDICT_HOLD)
            return true;
    return false;
}

static bool is_end(enum run_state state)
{
    return state == RUN_STATE_FINISHED || state == RUN_STATE_STOPPED ||
           state == RUN_STATE_FAILED;
}

static enum err move_to(struct audit *audit, struct run_book *run, enum run_state state,
                        struct error *error)
{
    if (run->ended) return breaks(error, "a run that has ended moves again");
    if (state == RUN_STATE_FINISHED && gates_passed(run) < run->gate_count)
        return breaks(error, "a run finishes without GO at every gate");
    run->state = state;
    if (!is_end(state)) return ERR_OK;
    run->ended = true;
    audit->totals.released_micros -= run->released_micros - run->spent_micros;
    run->released_micros = run->spent_micros;
    return ERR_OK;
}

static void lease_close(struct audit *audit, struct lease_book *lease)
{
    for (uint32_t i = 0; i < lease->member_count; i++)
        if (lease->epoch == audit->epoch) audit->workers[lease->workers[i]].busy = false;
    free(lease->workers);
    free(lease->ended);
    *lease = (struct lease_book){ 0 };
}

/* ---- one function a kind ---- */

static enum err take_campaign(struct audit *audit, const struct campaign_spec *campaign,
                              struct error *error)
{
    if (audit->has_campaign) return breaks(error, "a second campaign");
    audit->has_campaign = true;
    audit->tier_count = campaign->tier_count;
    for (uint32_t i = 0; i < campaign->tier_count; i++)
        audit->tier_micros[i] = campaign->tiers[i].up_to_micros;
    for (uint32_t i = 0; i < campaign->tier_count; i++)
        audit->tier_asks[i] = campaign->tiers[i].owner_index != NO_INDEX;
    audit->class_count = campaign->class_count;
    for (uint32_t i = 0; i < campaign->class_count; i++)
        audit->class_rate_micros[i] = campaign->classes[i].rate_micros;
    audit->stop_grace_ns = campaign->stop_grace_ns;
    for (uint32_t i = 0; i < campaign->guard_count; i++) {
        audit->guards[i].floor_ppm = campaign->guards[i].floor_ppm;
        audit->guards[i].grace_ns = campaign->guards[i].grace_ns;
    }
    return ERR_OK;
}

static enum err take_run(struct audit *audit, const struct run_spec *spec, struct error *error)
{
    if (!audit->has_campaign) return breaks(error, "a run before its campaign");
    if (audit->totals.runs == audit->run_capacity) {
        size_t capacity = audit->run_capacity == 0 ? 64 : 2 * audit->run_capacity;
        struct run_book *grown = realloc(audit->runs, capacity * sizeof(*grown));
        if (grown == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory");
        audit->runs = grown;
        audit->run_capacity = capacity;
    }
    struct run_book *run = &audit->runs[audit->totals.runs++];
    *run = (struct run_book){ .ranks = spec->ranks,
                              .tranches_micros = spec->first_tranche_micros,
                              .guard = spec->guard_index,
                              .util_ppm = -1,
                              .in_grace = audit->guards[spec->guard_index].grace_ns > 0,
                              .gate_count = spec->gate_count };
    for (uint32_t i = 0; i < spec->gate_count; i++)
        run->gates[i].tranche_micros = spec->gates[i].tranche_micros;
    return ERR_OK;
}

static enum err take_epoch(struct audit *audit, const struct record_epoch *epoch,
                           struct error *error)
{
    if (epoch->epoch != audit->epoch + 1) return breaks(error, "epochs do not rise by one");
    audit->epoch = epoch->epoch;
    for (uint32_t i = 0; i < audit->worker_count; i++)
        audit->workers[i] = (struct worker_book){ 0 };
    return ERR_OK;
}

static enum err take_worker(struct audit *audit, const struct record_worker *worker,
                            struct error *error)
{
    if (worker->worker > WORKERS_EVER_MAX || worker->class_index >= audit->class_count)
        return breaks(error, "a worker that cannot be");
    if (worker->worker >= audit->worker_count) {
        uint32_t count = 2 * worker->worker + 1;
        struct worker_book *grown = realloc(audit->workers, count * sizeof(*grown));
        if (grown == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory");
        memset(grown + audit->worker_count, 0, (count - audit->worker_count) * sizeof(*grown));
        audit->workers = grown;
        audit->worker_count = count;
    }
    struct worker_book *book = &audit->workers[worker->worker];
    if (book->present) return breaks(error, "a worker joins twice");
    bool busy = book->busy; /* lost and back: what it held is not free yet */
    *book =
        (struct worker_book){ .present = true,
                              .busy = busy,
                              .rate_micros = audit->class_rate_micros[worker->class_index] };
    text_copy(book->host, sizeof book->host, worker->host);
    text_copy(book->pci_bus_id, sizeof book->pci_bus_id, worker->pci_bus_id);
    return ERR_OK;
}

static enum err take_worker_lost(struct audit *audit, const struct record_worker_lost *lost,
                                 struct error *error)
{
    if (lost->worker >= audit->worker_count || !audit->workers[lost->worker].present)
        return breaks(error, "a worker is lost that is not there");
    audit->workers[lost->worker].present = false;
    return ERR_OK;
}

static enum err open_tier(struct audit *audit, uint32_t tier, int64_t approved_micros,
                          struct error *error)
{
    if (tier != audit->tiers_open || tier >= audit->tier_count)
        return breaks(error, "a tier is opened out of order");
    if (approved_micros != audit->tier_micros[tier])
        return breaks(error, "a tier is opened to another amount than the campaign's");
    audit->tiers_open++;
    audit->totals.approved_micros = approved_micros;
    return ERR_OK;
}

/* Opened by nobody: only where the campaign asks nobody. */
static enum err take_tier(struct audit *audit, const struct record_tier *tier,
                          struct error *error)
{
    if (tier->tier == audit->tiers_open && tier->tier < audit->tier_count &&
        audit->tier_asks[tier->tier])
        return breaks(error, "a tier opens without its owner");
    return open_tier(audit, tier->tier, tier->approved_micros, error);
}

static enum err take_window(struct audit *audit, const struct record_window *window,
                            struct error *error)
{
    struct run_book *run = live_at(audit, window->run, window->attempt);
    if (run == NULL) return breaks(error, "a window of no live attempt");
    run->util_ppm = window->fair_ppm;
    run->in_grace = run->held_ns < audit->guards[run->guard].grace_ns;
    run->held_ns = add_saturated(run->held_ns, window->length_ns);
    return ERR_OK;
}

/* Is what the run used so far paid for? Not known of an attempt of an earlier life. */
static enum err settled_before(const struct audit *audit, const struct run_book *run,
                               struct error *error)
{
    const struct lease_book *lease = &run->lease;
    if (!lease->live) return ERR_OK;
    int64_t used =
        price_micros(run->ranks, audit->now_ns - lease->placed_ns, lease->rate_micros);
    if (lease->epoch != audit->epoch || used < 0 ||
        used - lease->settled_micros > lease->reserved_micros)
        return breaks(error, "a tranche is released before the one before is settled");
    return ERR_OK;
}

/* Does what a later tranche says of the run agree with the books, and is it enough? */
static enum err earned(const struct audit *audit, const struct run_book *run,
                       const struct record_tranche *tranche, struct error *error)
{
    int32_t floor_ppm = audit->guards[run->guard].floor_ppm;
    if (is_barred(run)) return breaks(error, "a tranche is released after NO-GO or HOLD");
    int32_t asked_ppm = run->in_grace ? 0 : floor_ppm;
    bool silent =
        tranche->util_ppm == 0 && tranche->floor_ppm == 0 && tranche->spent_micros == 0;
    if (floor_ppm == 0 && silent) /* an earlier version wrote it */
        return settled_before(audit, run, error);
    if (tranche->util_ppm != run->util_ppm || tranche->floor_ppm != asked_ppm ||
        tranche->spent_micros != run->spent_micros)
        return breaks(error, "a tranche is released on figures that are not the run's");
    if (floor_ppm > 0 && run->util_ppm < 0)
        return breaks(error, "a tranche is released on unknown utilization");
    if (run->util_ppm < asked_ppm && floor_ppm > 0)
        return breaks(error, "a tranche is released below the utilization floor");
    return settled_before(audit, run, error);
}

static enum err take_tranche(struct audit *audit, const struct record_tranche *tranche,
                             struct error *error)
{
    struct run_book *run = run_at(audit, tranche->run);
    if (run == NULL || run->ended) return breaks(error, "a tranche for no open run");
    if (tranche->number != run->tranches || tranche->number > run->gate_count)
        return breaks(error, "a tranche is released out of order");
    if (tranche->number > gates_passed(run))
        return breaks(error, "a tranche is released before GO at its gate");
    if (tranche->number > 0) {
        enum err rc = earned(audit, run, tranche, error);
        if (rc != ERR_OK) return rc;
    }
    int64_t planned = tranche->number == 0 ? run->tranches_micros
                                           : run->gates[tranche->number - 1].tranche_micros;
    if (tranche->amount_micros != planned ||
        tranche->released_micros - run->released_micros != planned)
        return breaks(error, "a tranche is not of the planned amount");
    if (planned > audit->totals.approved_micros - audit->totals.released_micros)
        return breaks(error, "released is above approved");
    run->tranches++;
    run->released_micros += planned;
    audit->totals.released_micros += planned;
    return sums_hold(audit, run, error);
}

/* Is the time up to the lease's end, and the stop grace, paid for? */
static enum err priced(const struct audit *audit, const struct run_book *run,
                       int64_t lease_end_ns, struct error *error)
{
    const struct lease_book *lease = &run->lease;
    int64_t held_ns = lease_end_ns - lease->placed_ns;
    if (held_ns < 0) return breaks(error, "a lease ends before its attempt began");
    held_ns = add_saturated(held_ns, audit->stop_grace_ns);
    int64_t price = price_micros(run->ranks, held_ns, lease->rate_micros);
    if (price < 0 || price - lease->settled_micros > lease->reserved_micros)
        return breaks(error, "a lease is not paid for up to its end and the stop grace");
    return ERR_OK;
}

static bool gpu_is_taken(const struct audit *audit, const struct record_placed *placed,
                         uint32_t member)
{
    const struct worker_book *self = &audit->workers[placed->workers[member]];
    for (uint32_t i = 0; self->pci_bus_id[0] && i < member; i++) {
        const struct worker_book *other = &audit->workers[placed->workers[i]];
        if (strcmp(other->pci_bus_id, self->pci_bus_id) == 0 &&
            strcmp(other->host, self->host) == 0)
            return true;
    }
    return false;
}

static enum err take_slots(struct audit *audit, const struct record_placed *placed,
                           struct error *error)
{
    for (uint32_t i = 0; i < placed->member_count; i++) {
        uint32_t number = placed->workers[i];
        if (number >= audit->worker_count || !audit->workers[number].present)
            return breaks(error, "a gang has a worker that is not there");
        if (audit->workers[number].busy) return breaks(error, "a slot is in two attempts");
        if (audit->workers[number].rate_micros != placed->rate_micros)
            return breaks(error, "the rate is not that of the workers' class");
        audit->workers[number].busy = true;
        if (gpu_is_taken(audit, placed, i)) return breaks(error, "a GPU is twice in a gang");
    }
    return ERR_OK;
}

static enum err take_placed(struct audit *audit, const struct record_placed *placed,
                            struct error *error)
{
    struct run_book *run = run_at(audit, placed->run);
    if (run == NULL || run->ended || run->lease.live)
        return breaks(error, "a run is placed that is not open, or is placed already");
    if (is_barred(run)) return breaks(error, "a run is placed after NO-GO or HOLD");
    if (run->state != RUN_STATE_QUEUED) return breaks(error, "a held or parked run is placed");
    if (placed->attempt != run->attempts + 1)
        return breaks(error, "attempts are not numbered one after the other");
    if (placed->member_count != run->ranks) return breaks(error, "a gang is not whole");
    enum err rc = take_slots(audit, placed, error);
    if (rc != ERR_OK) return rc;

    struct lease_book *lease = &run->lease;
    *lease = (struct lease_book){ .live = true,
                                  .placed_ns = audit->now_ns,
                                  .end_ns = placed->lease_end_ns,
                                  .rate_micros = placed->rate_micros,
                                  .sequence = 1,
                                  .epoch = audit->epoch,
                                  .member_count = placed->member_count };
    lease->workers = malloc(placed->member_count * sizeof(*lease->workers));
    lease->ended = calloc(placed->member_count, sizeof(*lease->ended));
    if (lease->workers == NULL || lease->ended == NULL) {
        free(lease->workers);
        free(lease->ended);
        *lease = (struct lease_book){ 0 };
        return error_set(error, ERR_NO_MEMORY, "out of memory");
    }
    memcpy(lease->workers, placed->workers, placed->member_count * sizeof(*lease->workers));
    run->attempts++;
    audit->totals.attempts++;
    run->state = RUN_STATE_STARTING;
    rc = settle(audit, run, 0, placed->reserved_micros, error);
    return rc == ERR_OK ? priced(audit, run, placed->lease_end_ns, error) : rc;
}

static enum err take_lease(struct audit *audit, const struct record_lease *record,
                           struct error *error)
{
    struct run_book *run = live_at(audit, record->run, record->attempt);
    if (run == NULL) return breaks(error, "a lease for no live attempt");
    struct lease_book *lease = &run->lease;
    if (lease->stopping || is_barred(run) || lease->epoch != audit->epoch)
        return breaks(error, "a lease for an attempt that is being stopped");
    if (record->sequence != lease->sequence + 1)
        return breaks(error, "leases are not numbered one after the other");
    if (record->lease_end_ns < lease->end_ns) return breaks(error, "a lease is shortened");
    lease->sequence++;
    lease->end_ns = record->lease_end_ns;
    enum err rc = settle(audit, run, record->settled_micros, record->reserved_micros, error);
    return rc == ERR_OK ? priced(audit, run, record->lease_end_ns, error) : rc;
}

static enum err take_stopping(struct audit *audit, const struct record_stopping *stopping,
                              struct error *error)
{
    struct run_book *run = live_at(audit, stopping->run, stopping->attempt);
    if (run == NULL) return breaks(error, "no live attempt to stop");
    run->lease.stopping = true;
    return ERR_OK;
}

static enum err take_member_ended(struct audit *audit, const struct record_member_ended *ended,
                                  struct error *error)
{
    struct run_book *run = live_at(audit, ended->run, ended->attempt);
    if (run == NULL || ended->member >= run->lease.member_count ||
        run->lease.ended[ended->member])
        return breaks(error, "a member ends twice, or was never there");
    run->lease.ended[ended->member] = true;
    run->lease.ended_count++;
    return ERR_OK;
}

static enum err take_attempt_ended(struct audit *audit,
                                   const struct record_attempt_ended *ended,
                                   struct error *error)
{
    struct run_book *run = live_at(audit, ended->run, ended->attempt);
    if (run == NULL) return breaks(error, "an attempt ends that is not live");
    struct lease_book *lease = &run->lease;
    if (lease->ended_count < lease->member_count)
        return breaks(error, "an attempt ends before its members");
    if (ended->held_ns > audit->now_ns - lease->placed_ns)
        return breaks(error, "an attempt was held for longer than it lasted");
    int64_t price = price_micros(run->ranks, ended->held_ns, lease->rate_micros);
    if (price < 0 || ended->settled_micros != max_i64(price, lease->settled_micros))
        return breaks(error, "an attempt is not settled for the time it was held");
    int64_t over = lease->settled_micros + lease->reserved_micros - ended->settled_micros;
    if (over != ended->returned_micros)
        return breaks(error, "settled + returned is not what was reserved");
    enum err rc = settle(audit, run, ended->settled_micros, 0, error);
    if (rc != ERR_OK) return rc;
    lease_close(audit, lease);
    return move_to(audit, run, ended->state, error);
}

static enum err take_run_state(struct audit *audit, const struct record_run_state *moved,
                               struct error *error)
{
    struct run_book *run = run_at(audit, moved->run);
    if (run == NULL || run->lease.live)
        return breaks(error, "a run with a live attempt moves without it");
    if (run->state == RUN_STATE_HELD)
        return breaks(error, "a held run moves without its owner");
    return move_to(audit, run, moved->state, error);
}

static enum err take_gate(struct audit *audit, const struct record_gate *gate,
                          struct error *error)
{
    struct run_book *run = live_at(audit, gate->run, gate->attempt);
    if (run == NULL || gate->slot >= run->gate_count)
        return breaks(error, "a gate of no live attempt");
    if (gate->slot != gates_passed(run) || run->gates[gate->slot].reached)
        return breaks(error, "a gate is reached out of order");
    run->gates[gate->slot].reached = true;
    return ERR_OK;
}

static enum err decide_gate(struct audit *audit, const struct record_decision *decision,
                            struct error *error)
{
    struct run_book *run = run_at(audit, decision->run);
    if (run == NULL || decision->slot >= run->gate_count)
        return breaks(error, "a verdict on no gate");
    struct gate_book *gate = &run->gates[decision->slot];
    if (!gate->reached) return breaks(error, "a verdict on a gate that was not reached");
    if (gate->verdict == VERDICT_GO || gate->verdict == VERDICT_NO_GO)
        return breaks(error, "a second final verdict on a gate");
    if (gate->verdict == VERDICT_HOLD && decision->owner == NO_INDEX)
        return breaks(error, "a hold ends without an owner");
    gate->verdict = decision->verdict;
    if (run->state != RUN_STATE_HELD || decision->verdict == VERDICT_HOLD) return ERR_OK;
    return move_to(audit, run,
                   decision->verdict == VERDICT_GO ? RUN_STATE_QUEUED : RUN_STATE_STOPPED,
                   error);
}

static enum err decide_run(struct audit *audit, const struct record_decision *decision,
                           struct error *error)
{
    struct run_book *run = run_at(audit, decision->run);
    if (run == NULL || run->state != RUN_STATE_HELD || decision->owner == NO_INDEX)
        return breaks(error, "a held run is decided by its owner, and only then");
    if (decision->verdict == VERDICT_HOLD) return ERR_OK; /* it goes to the delegate */
    return move_to(audit, run,
                   decision->verdict == VERDICT_GO ? RUN_STATE_QUEUED : RUN_STATE_STOPPED,
                   error);
}

static enum err take_decision(struct audit *audit, const struct record_decision *decision,
                              struct error *error)
{
    switch (decision->subject) {
    case SUBJECT_GATE: return decide_gate(audit, decision, error);
    case SUBJECT_RUN: return decide_run(audit, decision, error);
    case SUBJECT_TIER: break;
    }
    if (decision->verdict != VERDICT_GO) return ERR_OK;
    if (decision->tier >= audit->tier_count) return breaks(error, "a verdict on no tier");
    return open_tier(audit, decision->tier, audit->tier_micros[decision->tier], error);
}

/* ---- all ---- */

struct audit *audit_create(void)
{
    return calloc(1, sizeof(struct audit));
}

void audit_destroy(struct audit *audit)
{
    if (audit == NULL) return;
    for (uint32_t i = 0; i < audit->totals.runs; i++) {
        free(audit->runs[i].lease.workers);
        free(audit->runs[i].lease.ended);
    }
    free(audit->runs);
    free(audit->workers);
    free(audit);
}

enum err audit_take(struct audit *audit, const struct record *record, struct error *error)
{
    if (record->at_ns < audit->now_ns) return breaks(error, "time falls");
    audit->now_ns = record->at_ns;
    switch (record->kind) {
    case RECORD_CAMPAIGN: return take_campaign(audit, &record->as.campaign, error);
    case RECORD_RUN: return take_run(audit, &record->as.run, error);
    case RECORD_EPOCH: return take_epoch(audit, &record->as.epoch, error);
    case RECORD_WORKER: return take_worker(audit, &record->as.worker, error);
    case RECORD_WORKER_LOST: return take_worker_lost(audit, &record->as.worker_lost, error);
    case RECORD_TIER: return take_tier(audit, &record->as.tier, error);
    case RECORD_TRANCHE: return take_tranche(audit, &record->as.tranche, error);
    case RECORD_PLACED: return take_placed(audit, &record->as.placed, error);
    case RECORD_LEASE: return take_lease(audit, &record->as.lease, error);
    case RECORD_GATE: return take_gate(audit, &record->as.gate, error);
    case RECORD_DECISION: return take_decision(audit, &record->as.decision, error);
    case RECORD_STOPPING: return take_stopping(audit, &record->as.stopping, error);
    case RECORD_MEMBER_ENDED: return take_member_ended(audit, &record->as.member_ended, error);
    case RECORD_ATTEMPT_ENDED:
        return take_attempt_ended(audit, &record->as.attempt_ended, error);
    case RECORD_RUN_STATE: return take_run_state(audit, &record->as.run_state, error);
    case RECORD_WINDOW: return take_window(audit, &record->as.window, error);
    case RECORD_MEMBER_STARTED:
    case RECORD_CHECKPOINT:
    case RECORD_INCIDENT:
    case RECORD_SUSPENDED:
    case RECORD_SPACE:
    case RECORD_NOTE:
    case RECORD_CLOSED: return ERR_OK; /* they move no money and no verdict */
    case RECORD_KIND_COUNT: break;
    }
    unreachable("record kind");
}

struct audit_totals audit_totals(const struct audit *audit)
{
    return audit->totals;
}
