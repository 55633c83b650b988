/*
 * schedule.c - one pass over the queued runs, in the order of the placement policy.
 *
 * A gang is placed whole, on workers of one device class, on as few hosts as is easily had, no two
 * of them on one GPU: slots that share a GPU are room for one member. The
 * first gang of a class that finds no room is its head: nothing may keep the head waiting
 * longer than it would have waited anyway. How long others will run is not known, so a later
 * run is placed before it only on loan (`backfilled`): as soon as the free slots and the lent
 * ones together have room for the head, the lent ones are called back (checkpoint, requeue),
 * and once they come, free slots are kept for the head. See docs/decisions/.
 */

#include "proto/base/money.h"
#include "scheduler/core/internal.h"

/* Room in each device class during one pass. What a gang finds room on is a device: a GPU, however many slots
 * share it, or a slot without one. */
struct room {
    uint32_t free;    /* devices with an idle worker */
    uint32_t present; /* all */
    uint32_t head;    /* the gang that waits for room here, or NO_INDEX */
    bool reserved;    /* what is free or coming is the head's */
    bool lent;        /* some slots are lent, and can be called back */
};

struct pass {
    struct core *core;
    const struct output *output;
    struct room rooms[CLASSES_MAX];
};

static struct place_facts facts_of(const struct core *core, uint32_t run)
{
    const struct run *r = &core->runs[run];
    bool by_time =
        core->campaign.place == PLACE_SHORTEST; /* the only policy that looks at it */
    return (struct place_facts){ .order = run,
                                 .priority = r->priority,
                                 .tenant_spent_micros = core->tenant_micros[r->tenant],
                                 .remaining_ns =
                                     by_time ? core_remaining_ns(core, run) : TIME_NEVER };
}

static bool comes_before(const struct core *core, uint32_t a, uint32_t b)
{
    struct place_facts fa = facts_of(core, a), fb = facts_of(core, b);
    return place_compare(core->campaign.place, &fa, &fb) < 0;
}

/* ---- the queue in order -------------------------------------------------------------- */

static void sift_down(const struct core *core, uint32_t *heap, uint32_t count, uint32_t at)
{
    uint32_t run = heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count) break;
        if (child + 1 < count && comes_before(core, heap[child + 1], heap[child])) child++;
        if (!comes_before(core, heap[child], run)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = run;
}

static uint32_t pop_first(const struct core *core, uint32_t *heap, uint32_t *count)
{
    uint32_t first = heap[0];
    heap[0] = heap[--*count];
    if (*count > 0) sift_down(core, heap, *count, 0);
    return first;
}

/* ---- room ---------------------------------------------------------------------------- */

enum { MARK_PRESENT = 1, MARK_FREE = 2 };

static void clear_marks(const struct core *core)
{
    for (uint32_t w = 0; w < core->limits.workers_max; w++)
        core->scratch_devices[w] = 0;
}

/* 1 when the worker's device did not have the mark yet. */
static uint32_t mark(const struct core *core, uint32_t worker, uint32_t bit)
{
    uint32_t *marks = &core->scratch_devices[core->workers[worker].device];
    uint32_t is_new = (*marks & bit) == 0;
    *marks |= bit;
    return is_new;
}

static void count_room(const struct core *core, struct room *rooms)
{
    clear_marks(core);
    for (uint32_t c = 0; c < CLASSES_MAX; c++)
        rooms[c] = (struct room){ .head = NO_INDEX };
    for (uint32_t w = 1; w < core->limits.workers_max; w++) {
        const struct worker *worker = &core->workers[w];
        if (!worker->present) continue;
        struct room *room = &rooms[worker->class_index];
        room->present += mark(core, w, MARK_PRESENT);
        if (worker->run == NO_INDEX) {
            room->free += mark(core, w, MARK_FREE);
            continue;
        }
        const struct attempt *attempt = &core->attempts[core->runs[worker->run].attempt_slot];
        room->lent |= attempt->intent == INTENT_NONE && attempt->backfilled;
    }
}

/* After a gang was placed: another slot of a device that it took may be idle still. */
static uint32_t count_free(const struct core *core, uint32_t class_index)
{
    uint32_t free = 0;
    clear_marks(core);
    for (uint32_t w = 1; w < core->limits.workers_max; w++)
        if (core->workers[w].present && core->workers[w].run == NO_INDEX &&
            core->workers[w].class_index == class_index)
            free += mark(core, w, MARK_FREE);
    return free;
}

static bool class_allowed(const struct run *run, uint32_t class_index)
{
    return run->class_index == NO_INDEX || run->class_index == class_index;
}

static bool fits_when_empty(const struct room *rooms, const struct core *core,
                            const struct run *run)
{
    for (uint32_t c = 0; c < core->campaign.class_count; c++)
        if (class_allowed(run, c) && rooms[c].present >= run->ranks) return true;
    return false;
}

bool core_unplaceable(const struct core *core, uint32_t run_index)
{
    const struct run *run = &core->runs[run_index];
    struct room rooms[CLASSES_MAX];
    count_room(core, rooms);
    return !fits_when_empty(rooms, core, run);
}

/* Devices of the class with a free worker on each host, into scratch_hosts. */
static void count_free_by_host(struct core *core, uint32_t class_index)
{
    clear_marks(core);
    for (uint32_t h = 0; h < core->host_count; h++)
        core->scratch_hosts[h] = 0;
    for (uint32_t w = 1; w < core->limits.workers_max; w++) {
        const struct worker *worker = &core->workers[w];
        if (worker->present && worker->run == NO_INDEX && worker->class_index == class_index)
            core->scratch_hosts[worker->host] += mark(core, w, MARK_FREE);
    }
}

/* The host to take from next: the one that just holds what is still needed (least left over),
 * else the one with the most free slots. */
static uint32_t best_host(const struct core *core, uint32_t needed)
{
    uint32_t best = NO_INDEX;
    for (uint32_t h = 0; h < core->host_count; h++) {
        uint32_t have = core->scratch_hosts[h];
        if (have == 0) continue;
        if (best == NO_INDEX) {
            best = h;
            continue;
        }
        uint32_t had = core->scratch_hosts[best];
        bool fits = have >= needed, did_fit = had >= needed;
        if (fits != did_fit ? fits : (fits ? have < had : have > had)) best = h;
    }
    return best;
}

/* Chooses `ranks` free workers of the class into scratch_workers, host by host. */
static void choose_workers(struct core *core, uint32_t class_index, uint32_t ranks)
{
    uint32_t count = 0;
    count_free_by_host(core, class_index);
    clear_marks(core);
    while (count < ranks) {
        uint32_t host = best_host(core, ranks - count);
        check(host != NO_INDEX);
        for (uint32_t w = 1; w < core->limits.workers_max && count < ranks; w++) {
            const struct worker *worker = &core->workers[w];
            if (worker->present && worker->run == NO_INDEX && worker->host == host &&
                worker->class_index == class_index && mark(core, w, MARK_FREE))
                core->scratch_workers[count++] = w;
        }
        core->scratch_hosts[host] = 0;
    }
}

/* ---- placing ------------------------------------------------------------------------- */

static int64_t lease_end_for(const struct core *core, const struct run *run,
                             uint32_t class_index)
{
    return budget_lease_end(core, run, run->spent_micros, core->now_ns,
                            core->campaign.classes[class_index].rate_micros,
                            core->now_ns + core->campaign.lease_ns);
}

/* A lease shorter than an eighth is not worth a start. */
static bool affordable(const struct core *core, const struct run *run, uint32_t class_index)
{
    return lease_end_for(core, run, class_index) - core->now_ns >= core->campaign.lease_ns / 8;
}

static void launch_members(struct core *core, uint32_t run_index, const struct output *output)
{
    const struct attempt *attempt = attempt_of(core, run_index);
    for (uint32_t i = 0; i < attempt->member_count; i++) {
        const struct member *member = &core->members[attempt->first_member + i];
        core_act(output, &(struct action){ .kind = ACTION_LAUNCH,
                                           .worker = member->worker,
                                           .run = run_index,
                                           .attempt = attempt->number,
                                           .member = i,
                                           .sequence = attempt->lease_sequence,
                                           .lease_ns = attempt->lease_end_ns - core->now_ns });
    }
}

static void place(struct pass *pass, uint32_t run_index, uint32_t class_index, bool backfilled)
{
    struct core *core = pass->core;
    const struct run *run = &core->runs[run_index];
    int64_t rate = core->campaign.classes[class_index].rate_micros;
    int64_t end_ns = lease_end_for(core, run, class_index);
    choose_workers(core, class_index, run->ranks);
    struct record record = {
        .kind = RECORD_PLACED,
        .as.placed = { .run = run_index,
                       .attempt = run->attempts + 1,
                       .member_count = run->ranks,
                       .workers = core->scratch_workers,
                       .rate_micros = rate,
                       .reserved_micros = money_cost_micros(
                           run->ranks, end_ns + budget_margin_ns(core) - core->now_ns, rate),
                       .lease_end_ns = end_ns,
                       .resume_step = run->resume_step,
                       .backfilled = backfilled }
    };
    core_emit(core, pass->output, &record);
    pass->rooms[class_index].free = count_free(core, class_index);
    launch_members(core, run_index, pass->output);
}

/* ---- money --------------------------------------------------------------------------- */

/* True when no allowed class's price fits into what the run may spend. */
static bool money_missing(const struct core *core, const struct run *run)
{
    for (uint32_t c = 0; c < core->campaign.class_count; c++)
        if (class_allowed(run, c) && affordable(core, run, c)) return false;
    return true;
}

/* What is approved, with the tiers that open by themselves. */
static int64_t approvable_micros(const struct core *core)
{
    int64_t approved = core->budget.approved_micros;
    for (uint32_t t = core->budget.tiers_open; t < core->campaign.tier_count; t++) {
        if (core->campaign.tiers[t].owner_index != NO_INDEX) break;
        approved = core->campaign.tiers[t].up_to_micros;
    }
    return approved;
}

/* True when what the run was released, or its first tranche would be, pays for a lease. */
static bool funded(const struct core *core, const struct run *run)
{
    if (run->tranches > 0) return !money_missing(core, run);
    return core->budget.released_micros + run->first_tranche_micros <= approvable_micros(core);
}

/* ---- lent slots ---------------------------------------------------------------------- */

static bool is_lent_before(const struct core *core, const struct attempt *attempt,
                           uint32_t class_index, uint32_t head)
{
    return attempt->run != NO_INDEX && attempt->backfilled && !attempt->orphaned &&
           attempt->intent == INTENT_NONE &&
           core->workers[core->members[attempt->first_member].worker].class_index ==
               class_index &&
           comes_before(core, head, attempt->run);
}

/* Marks the devices of the class that are free or will be, and counts them. */
static uint32_t mark_coming(const struct core *core, uint32_t class_index)
{
    uint32_t coming = 0;
    clear_marks(core);
    for (uint32_t w = 1; w < core->limits.workers_max; w++) {
        const struct worker *worker = &core->workers[w];
        if (!worker->present || worker->class_index != class_index) continue;
        if (worker->run == NO_INDEX ||
            core->attempts[core->runs[worker->run].attempt_slot].intent != INTENT_NONE)
            coming += mark(core, w, MARK_FREE);
    }
    return coming;
}

/* Marks the devices of the attempt's members; how many were not marked before. */
static uint32_t mark_members(const struct core *core, const struct attempt *attempt)
{
    uint32_t more = 0;
    for (uint32_t i = 0; i < attempt->member_count; i++)
        more += mark(core, core->members[attempt->first_member + i].worker, MARK_FREE);
    return more;
}

/* Calls lent slots back when they make room for the head; without enough of them, lets them be.
 */
static void call_back(struct pass *pass, uint32_t class_index, uint32_t head)
{
    struct core *core = pass->core;
    struct room *room = &pass->rooms[class_index];
    uint32_t need = core->runs[head].ranks, coming = mark_coming(core, class_index);
    for (uint32_t a = 0; a < core->attempts_max && coming < need; a++)
        if (is_lent_before(core, &core->attempts[a], class_index, head))
            coming += mark_members(core, &core->attempts[a]);
    if (coming < need) return;
    room->reserved = true;
    coming = mark_coming(core, class_index);
    for (uint32_t a = 0; a < core->attempts_max && coming < need; a++) {
        const struct attempt *attempt = &core->attempts[a];
        if (!is_lent_before(core, attempt, class_index, head)) continue;
        coming += mark_members(core, attempt);
        struct stop_order order = { .intent = INTENT_REQUEUE,
                                    .reason = REASON_BACKFILL,
                                    .pinned_slot = NO_INDEX };
        attempt_stop(core, attempt->run, &order, pass->output);
    }
}

static void become_head(struct pass *pass, uint32_t class_index, uint32_t run_index)
{
    struct room *room = &pass->rooms[class_index];
    const struct core *core = pass->core;
    bool joining = core_joining(core);
    if (room->head != NO_INDEX || !funded(core, &core->runs[run_index])) return;
    if (room->present < core->runs[run_index].ranks && !joining) return;
    room->head = run_index;
    if (!core->campaign.backfill || joining) /* lending for a moment would only cost a start */
        room->reserved = true;
    else
        call_back(pass, class_index, run_index);
}

/* ---- one run ------------------------------------------------------------------------- */

static void end_for_money(struct core *core, uint32_t run_index, const struct output *output)
{
    struct record record = { .kind = RECORD_RUN_STATE,
                             .as.run_state = { .run = run_index,
                                               .state = RUN_STATE_STOPPED,
                                               .reason = budget_needs_window(core, run_index)
                                                             ? REASON_WITHHELD
                                                             : REASON_BUDGET } };
    core_emit(core, output, &record);
}

static bool has_room(const struct pass *pass, const struct run *run, uint32_t class_index)
{
    const struct room *room = &pass->rooms[class_index];
    return class_allowed(run, class_index) && !room->reserved && room->free >= run->ranks;
}

static bool has_room_anywhere(const struct pass *pass, const struct run *run)
{
    for (uint32_t c = 0; c < pass->core->campaign.class_count; c++)
        if (has_room(pass, run, c)) return true;
    return false;
}

/* The cheapest class in which the run finds room now and a lease that its money pays; or NO_INDEX. */
static uint32_t class_to_take(const struct pass *pass, const struct run *run)
{
    const struct core *core = pass->core;
    const struct device_class *classes = core->campaign.classes;
    uint32_t best = NO_INDEX;
    for (uint32_t c = 0; c < core->campaign.class_count; c++)
        if (has_room(pass, run, c) && affordable(core, run, c) &&
            (best == NO_INDEX || classes[c].rate_micros < classes[best].rate_micros))
            best = c;
    return best;
}

/* Money is released to a run only when there is room for it: what waits ties up no budget. */
static void try_run(struct pass *pass, uint32_t run_index)
{
    struct core *core = pass->core;
    const struct run *run = &core->runs[run_index];
    if (!has_room_anywhere(pass, run)) {
        for (uint32_t c = 0; c < core->campaign.class_count; c++)
            if (class_allowed(run, c)) become_head(pass, c, run_index);
        return;
    }
    budget_release(core, run_index, pass->output);
    uint32_t class_index = run->tranches > 0 ? class_to_take(pass, run) : NO_INDEX;
    if (class_index == NO_INDEX || !roster_has_members(core, run->ranks)) return;
    place(pass, run_index, class_index, pass->rooms[class_index].head != NO_INDEX);
}

/* Runs that the campaign's money cannot start, once nothing is left that could return some. */
static void end_unfunded(const struct pass *pass)
{
    struct core *core = pass->core;
    for (uint32_t i = core->queued_count; i-- > 0;) {
        uint32_t run_index = core->queued[i];
        const struct run *run = &core->runs[run_index];
        if (!budget_may_grow(core, run_index) && !funded(core, run) &&
            fits_when_empty(pass->rooms, core, run))
            end_for_money(core, run_index, pass->output);
    }
}

/* True while some class may still take a run, or have lent slots called back for one. */
static bool may_place(const struct pass *pass)
{
    for (uint32_t c = 0; c < pass->core->campaign.class_count; c++) {
        const struct room *room = &pass->rooms[c];
        if (!room->reserved && (room->free > 0 || (room->lent && room->head == NO_INDEX)))
            return true;
    }
    return false;
}

void schedule_pass(struct core *core, const struct output *output)
{
    if (!core->place_wanted || core->suspended || core->space_low || core->epoch == 0) return;
    core->place_wanted = core_joining(core); /* when joining ends, look again */
    struct pass pass = { .core = core, .output = output };
    count_room(core, pass.rooms);
    if (may_place(&pass)) {
        uint32_t count = core->queued_count, *heap = core->scratch_runs;
        for (uint32_t i = 0; i < count; i++)
            heap[i] = core->queued[i];
        for (uint32_t i = count / 2; i-- > 0;)
            sift_down(core, heap, count, i);
        while (count > 0 && may_place(&pass))
            try_run(&pass, pop_first(core, heap, &count));
    }
    end_unfunded(&pass);
}

/* ---- queries ------------------------------------------------------------------------- */

int64_t core_remaining_ns(const struct core *core, uint32_t run_index)
{
    const struct run *run = &core->runs[run_index];
    if (run->steps == 0 || run->windows_steps == 0) return TIME_NEVER;
    uint64_t left = run->steps > run->step ? run->steps - run->step : 0;
    uint64_t step_ns = (uint64_t)run->windows_ns / run->windows_steps;
    if (step_ns > 0 && left > (uint64_t)INT64_MAX / step_ns) return TIME_NEVER;
    return (int64_t)(left * step_ns);
}

enum reason core_waits_for(const struct core *core, uint32_t run_index)
{
    const struct run *run = core_run(core, run_index);
    if (run->state != RUN_STATE_QUEUED) return REASON_NONE;
    if (core->suspended) return REASON_SUSPEND;
    if (core->space_low) return REASON_SPACE;
    if (!funded(core, run)) return core->budget.tier_asked ? REASON_SIGNOFF : REASON_MONEY;
    return REASON_ROOM;
}
