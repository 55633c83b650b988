/*
 * derive.c - what follows from everything that was collected: balances, shares, what waits for
 * whom, what the data does not tell, and the one sentence on top.
 */

#include "scheduler/report/model.h"

#include <inttypes.h>
#include <string.h>

#include "proto/base/money.h"

static bool state_ended(enum run_state state)
{
    return state == RUN_STATE_FINISHED || state == RUN_STATE_STOPPED ||
           state == RUN_STATE_FAILED;
}

bool loss_is_number(int64_t loss_micro)
{
    return loss_micro != LOSS_UNKNOWN && loss_micro != LOSS_NONFINITE;
}

/* ---- attempts and runs --------------------------------------------------------------- */

/* What was paid for work that was dropped or had to be done again: the attempt's price less the
 * price of the time up to the checkpoint that the run went on from. */
static int64_t lost_micros(const struct model_attempt *attempt)
{
    if (attempt->kept_ns < 0) return 0;
    int64_t kept_ns = max_i64(0, attempt->kept_ns - attempt->placed_ns);
    int64_t kept = money_cost_micros(attempt->member_count, kept_ns, attempt->rate_micros);
    return max_i64(0, attempt->settled_micros - kept);
}

static void derive_attempts(struct model *model)
{
    for (uint32_t a = 0; a < model->attempt_count; a++) {
        struct model_attempt *attempt = &model->attempts[a];
        struct model_run *run = &model->runs[attempt->run];
        if (!attempt->ended) attempt->held_ns = max_i64(0, model->now_ns - attempt->placed_ns);
        attempt->lost_micros = lost_micros(attempt);
        run->lost_micros += attempt->lost_micros;
        run->slot_ns = add_saturated(run->slot_ns,
                                     scale_floor(attempt->held_ns, attempt->member_count, 1));
    }
}

static int64_t per_million(int64_t micros, uint64_t tokens)
{
    if (tokens == 0 || tokens > (uint64_t)INT64_MAX) return -1;
    return scale_ceil(micros, 1000000, (int64_t)tokens);
}

/* A later point may hold an older held-out loss; what counts is the lowest anywhere. */
static int64_t best_val_loss(const struct model_run *run, int64_t best_micro)
{
    for (uint32_t i = 0; i < run->point_count; i++) {
        int64_t loss = run->points[i].val_loss_micro;
        if (!loss_is_number(loss)) continue;
        if (!loss_is_number(best_micro) || loss < best_micro) best_micro = loss;
    }
    return best_micro;
}

static void derive_run(struct model *model, struct model_run *run, const struct core *core)
{
    const struct run *state = core_run(core, run->index);
    int64_t tail_ns = max_i64(0, model->now_ns - run->tracked_ns);
    if (run->tracked_state == RUN_STATE_QUEUED) run->queue_ns += tail_ns;
    if (run->tracked_state == RUN_STATE_PARKED) run->parked_ns += tail_ns;
    if (run->tracked_state == RUN_STATE_HELD) /* people can decide while nothing runs */
        run->owner_ns += max_i64(0, model->report_ns - run->tracked_ns);
    run->state = state->state;
    run->reason = state->reason;
    run->waits_for = core_waits_for(core, run->index);
    run->state_since_ns = state->state_since_ns;
    run->until_ns = state->state == RUN_STATE_PARKED ? state->park_until_ns : 0;
    run->step = state->step;
    run->tokens = state->tokens;
    run->loss_micro = state->loss_micro;
    run->val_loss_micro = state->val_loss_micro;
    for (uint32_t i = 0; i < run->point_count; i++)
        if (run->points[i].val_loss_micro != LOSS_UNKNOWN)
            run->val_loss_micro = run->points[i].val_loss_micro;
    run->val_best_micro = best_val_loss(run, state->val_best_micro);
    run->released_micros = state->released_micros;
    run->reserved_micros = state->reserved_micros;
    run->spent_micros = state->spent_micros;
    run->mtok_micros = per_million(run->spent_micros, run->tokens);
    if (run->windows_known_ns > 0)
        run->util_ppm = (int64_t)(run->util_sum / run->windows_known_ns);
    for (uint32_t slot = 0; slot < run->gate_count; slot++)
        run->gates[slot].verdict = core_run_gate(core, run->index, slot)->verdict;
    model->state_count[run->state]++;
}

/* ---- money --------------------------------------------------------------------------- */

static int64_t spent_at(const struct model *model, int64_t at_ns)
{
    int64_t spent = 0;
    for (uint32_t i = 0; i < model->spend_count && model->spend[i].at_ns <= at_ns; i++)
        spent = model->spend[i].spent_micros;
    return spent;
}

static void derive_money(struct model *model, const struct core *core)
{
    struct model_money *money = &model->money;
    const struct budget *budget = core_budget(core);
    money->budget_micros = model->campaign->budget_micros;
    money->approved_micros = budget->approved_micros;
    money->released_micros = budget->released_micros;
    money->reserved_micros = budget->reserved_micros;
    money->spent_micros = budget->spent_micros;
    money->unspent_micros = money->budget_micros - money->spent_micros;
    for (uint32_t r = 0; r < model->run_count; r++) {
        const struct model_run *run = &model->runs[r];
        money->tokens += run->tokens;
        money->lost_micros += run->lost_micros;
        if (run->state == RUN_STATE_FINISHED)
            money->finished_micros += run->spent_micros;
        else if (run->state == RUN_STATE_STOPPED)
            money->stopped_micros += run->spent_micros;
        else if (run->state == RUN_STATE_FAILED)
            money->failed_micros += run->spent_micros;
        else
            money->open_micros += run->spent_micros;
    }
    money->mtok_micros = per_million(money->spent_micros, money->tokens);
    money->period_micros = model->options.since_ns > 0
                               ? money->spent_micros - spent_at(model, model->options.since_ns)
                               : money->spent_micros;
}

/* ---- slots --------------------------------------------------------------------------- */

static int64_t overlap_ns(const struct model_span *a, const struct model_span *b)
{
    return max_i64(0, min_i64(a->to_ns, b->to_ns) - max_i64(a->from_ns, b->from_ns));
}

/* The workers' rows by rank, for many look-ups. */
static struct model_worker *find_worker(struct model *model, uint32_t rank)
{
    uint32_t low = 0, high = model->worker_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (model->workers[middle].rank < rank)
            low = middle + 1;
        else
            high = middle;
    }
    return low < model->worker_count && model->workers[low].rank == rank ? &model->workers[low]
                                                                         : NULL;
}

static void close_open_spans(struct model *model)
{
    for (uint32_t i = 0; i < model->presence_count; i++)
        if (model->presences[i].open) model->presences[i].to_ns = model->now_ns;
    for (uint32_t i = 0; i < model->hold_count; i++) {
        struct model_span *hold = &model->holds[i];
        if (!hold->open) continue;
        hold->to_ns = model->now_ns;
        hold->stopping_ns = model->attempts[hold->attempt].stopping_ns;
    }
}

/* Presences of a worker follow each other in time, and so do its holds: two fingers suffice. A
 * hold of an earlier life may reach into a later one; only what lies inside a presence counts
 * as busy. */
static void add_busy_time(struct model *model)
{
    uint32_t *next = arena_array(&model->arena, model->worker_count, sizeof *next);
    for (uint32_t i = 0; i < model->presence_count; i++) {
        const struct model_span *presence = &model->presences[i];
        struct model_worker *worker = find_worker(model, presence->worker);
        worker->present_ns += presence->to_ns - presence->from_ns;
        uint32_t *h = &next[worker - model->workers];
        int64_t busy_ns = 0;
        for (uint32_t at = *h; at < model->hold_count; at++) {
            const struct model_span *hold = &model->holds[at];
            if (hold->worker != presence->worker) continue;
            if (hold->from_ns >= presence->to_ns) break;
            busy_ns += overlap_ns(hold, presence);
            if (hold->to_ns <= presence->to_ns) *h = at + 1;
        }
        worker->busy_ns += min_i64(busy_ns, presence->to_ns - presence->from_ns);
    }
}

static void derive_slots(struct model *model)
{
    close_open_spans(model);
    add_busy_time(model);
    for (uint32_t w = 0; w < model->worker_count; w++) {
        struct model_worker *worker = &model->workers[w];
        worker->idle_ns = worker->present_ns - worker->busy_ns;
        worker->occupancy_ppm = worker->present_ns > 0
                                    ? scale_floor(worker->busy_ns, PPM, worker->present_ns)
                                    : UTIL_UNKNOWN;
        model->slot_present_ns = add_saturated(model->slot_present_ns, worker->present_ns);
        model->slot_busy_ns = add_saturated(model->slot_busy_ns, worker->busy_ns);
        model->slot_idle_ns = add_saturated(model->slot_idle_ns, worker->idle_ns);
    }
}

/* ---- shares over all runs ------------------------------------------------------------ */

/* Utilization over all runs, each weighed by its slots' time in windows that have one. */
static void derive_utilization(struct model *model)
{
    i128 sum = 0, weight = 0;
    for (uint32_t r = 0; r < model->run_count; r++) {
        const struct model_run *run = &model->runs[r];
        model->queue_ns = add_saturated(model->queue_ns, run->queue_ns);
        sum += run->util_sum * run->ranks;
        weight += (i128)run->windows_known_ns * run->ranks;
    }
    if (weight > 0) model->util_ppm = (int64_t)(sum / weight);
}

static bool in_period(const struct model *model, int64_t at_ns)
{
    return at_ns >= model->options.since_ns;
}

static void cut_decisions(struct model *model)
{
    uint32_t skip = 0;
    while (skip < model->decision_count && !in_period(model, model->decisions[skip].at_ns))
        skip++;
    if (skip == 0) return;
    model->decisions += skip;
    model->decision_count -= skip;
    for (uint32_t i = 0; i < model->decision_count; i++)
        if (model->decisions[i].answer != NO_INDEX) model->decisions[i].answer -= skip;
}

static void cut_incidents(struct model *model)
{
    uint32_t skip = 0;
    while (skip < model->incident_count && !in_period(model, model->incidents[skip].at_ns))
        skip++;
    if (skip == 0) return;
    model->incidents += skip;
    model->incident_count -= skip;
}

static void cut_guards(struct model *model)
{
    uint32_t skip = 0;
    while (skip < model->guard_count &&
           !in_period(model, model->windows[model->guards[skip]].at_ns))
        skip++;
    if (skip == 0) return;
    model->guards += skip;
    model->guard_count -= skip;
}

/* Drops what lies before the period, and keeps the totals. An answer that is kept keeps its place after
 * its question, so indices stay right. */
static void cut_period(struct model *model)
{
    model->decisions_total = model->decision_count;
    model->incidents_total = model->incident_count;
    cut_decisions(model);
    cut_incidents(model);
    cut_guards(model);
}

static void derive_delays(struct model *model)
{
    int64_t sum_ns = 0, count = 0;
    for (uint32_t i = 0; i < model->incident_count; i++) {
        const struct model_incident *incident = &model->incidents[i];
        if (incident->recovery != RECOVERY_RESTARTED) continue;
        int64_t took_ns = incident->closed_ns - incident->at_ns;
        sum_ns = add_saturated(sum_ns, took_ns);
        model->recovery_max_ns = max_i64(model->recovery_max_ns, took_ns);
        count++;
    }
    if (count > 0) model->recovery_mean_ns = sum_ns / count;
    sum_ns = count = 0;
    for (uint32_t i = 0; i < model->decision_count; i++) {
        const struct model_decision *decision = &model->decisions[i];
        if (!decision->by_owner) continue;
        int64_t took_ns = max_i64(0, decision->at_ns - decision->asked_ns);
        sum_ns = add_saturated(sum_ns, took_ns);
        model->decision_max_ns = max_i64(model->decision_max_ns, took_ns);
        count++;
    }
    if (count > 0) model->decision_mean_ns = sum_ns / count;
}

/* ---- what waits for a person --------------------------------------------------------- */

static struct model_wait *append_wait(struct model *model)
{
    if (model->wait_count == model->wait_capacity) {
        uint32_t larger = model->wait_capacity == 0 ? 8 : 2 * model->wait_capacity;
        struct model_wait *moved = arena_array(&model->arena, larger, sizeof *moved);
        if (model->wait_count > 0)
            memcpy(moved, model->waits, model->wait_count * sizeof *moved);
        model->waits = moved;
        model->wait_capacity = larger;
    }
    struct model_wait *wait = &model->waits[model->wait_count++];
    *wait = (struct model_wait){ .run = NO_INDEX, .slot = NO_INDEX, .tier = NO_INDEX };
    return wait;
}

/* Who is asked, since and until when, and how to answer. */
static void ask_of(struct model *model, const struct core *core, uint32_t run,
                   const char *subject, struct model_wait *wait)
{
    const struct request *request = core_request(core, run);
    const struct campaign_spec *campaign = model->campaign;
    bool signs = false;
    wait->since_ns = request->asked_ns;
    if (request->owner < campaign->owner_count) {
        wait->owner = campaign->owners[request->owner].name;
        wait->role = campaign->owners[request->owner].role;
        signs = campaign->owners[request->owner].key_count > 0;
    }
    if (request->deadline_ns != TIME_NEVER)
        wait->what = arena_format(&model->arena, "%s, answer by %s", wait->what,
                                  word_utc(request->deadline_ns).text);
    char line[2048];
    struct writer writer = writer_of(line, sizeof line);
    writer_string(&writer, "penstock decide ");
    writer_shell(&writer, text_of(model->options.state_folder));
    writer_string(&writer, " ");
    writer_shell(&writer, text_of(subject));
    writer_string(&writer, " go|no-go --as ");
    writer_shell(&writer, text_of(wait->owner ? wait->owner : "OWNER"));
    writer_string(&writer, signs ? " --reason TEXT --key SSH_KEY" : " --reason TEXT");
    wait->command = arena_copy(&model->arena, (struct text){ line, writer.len });
}

static void wait_for_tier(struct model *model, const struct core *core)
{
    const struct budget *budget = core_budget(core);
    if (!budget->tier_asked || budget->tiers_open >= model->campaign->tier_count) return;
    const struct tier_spec *tier = &model->campaign->tiers[budget->tiers_open];
    struct model_wait *wait = append_wait(model);
    wait->tier = budget->tiers_open;
    wait->what = arena_format(&model->arena, "tier %" PRIu32 " of the budget, up to %s",
                              budget->tiers_open + 1,
                              word_money(tier->up_to_micros, &model->currency).text);
    ask_of(model, core, NO_INDEX,
           arena_format(&model->arena, "tier:%" PRIu32, budget->tiers_open + 1), wait);
}

static void wait_for_run(struct model *model, const struct core *core, struct model_run *run)
{
    if (state_ended(run->state)) return;
    for (uint32_t slot = 0; slot < run->gate_count; slot++) {
        const struct run_gate *gate = core_run_gate(core, run->index, slot);
        if (gate->verdict != VERDICT_HOLD) continue;
        struct model_wait *wait = append_wait(model);
        wait->run = run->index;
        wait->slot = slot;
        wait->what =
            arena_format(&model->arena, "gate %s of run %s", run->gates[slot].name, run->name);
        ask_of(model, core, run->index,
               arena_format(&model->arena, "%s/%s", run->name, run->gates[slot].name), wait);
        return;
    }
    if (run->state != RUN_STATE_HELD) return;
    struct model_wait *wait = append_wait(model);
    wait->run = run->index;
    wait->what = arena_format(&model->arena, "run %s, held after an incident", run->name);
    ask_of(model, core, run->index, run->name, wait);
}

/* ---- what is missing ----------------------------------------------------------------- */

static void add_gap(struct model *model, enum gap_kind kind, uint32_t run, const char *text)
{
    if (model->gap_count == model->gap_capacity) {
        uint32_t larger = model->gap_capacity == 0 ? 8 : 2 * model->gap_capacity;
        struct model_gap *moved = arena_array(&model->arena, larger, sizeof *moved);
        if (model->gap_count > 0) memcpy(moved, model->gaps, model->gap_count * sizeof *moved);
        model->gaps = moved;
        model->gap_capacity = larger;
    }
    model->gaps[model->gap_count++] = (struct model_gap){ kind, run, text };
}

static void find_ledger_gaps(struct model *model)
{
    struct arena *arena = &model->arena;
    if (model->source.torn_bytes > 0 && model->options.live != LIVE_YES)
        add_gap(model, GAP_TORN_TAIL, NO_INDEX,
                arena_format(arena,
                             "the ledger ends in an unfinished record of %" PRId64
                             " bytes, which was never acted on and is not part of this report",
                             model->source.torn_bytes));
    for (uint32_t i = 0; i < model->life_count; i++) {
        const struct model_life *life = &model->lives[i];
        if (life->closed) continue;
        bool last = i + 1 == model->life_count;
        if (last && model->options.live != LIVE_NO) continue;
        add_gap(model, GAP_OPEN_LIFE, NO_INDEX,
                arena_format(arena,
                             "life %" PRIu64 " of the coordinator ended without closing the "
                             "ledger; its last record is of %s",
                             life->epoch, word_utc(life->to_ns).text));
    }
    if (model->space_low_seen)
        add_gap(model, GAP_SPACE, NO_INDEX,
                "the disk of the ledger was nearly full at some time: runs were put aside");
    for (uint32_t w = 0; w < model->worker_count; w++)
        if (model->workers[w].peak_flops == 0)
            add_gap(model, GAP_NO_PEAK, NO_INDEX,
                    arena_format(arena,
                                 "worker %" PRIu32 " has no measured peak: utilization on it "
                                 "cannot be model FLOPs over peak",
                                 model->workers[w].rank));
}

/* A flag says that something stands beside the figures: a false report, a hang, a device that was slowed. */
static void find_device_gaps(struct model *model, const struct model_run *run)
{
    for (unsigned flag = 0; flag < UTIL_FLAG_COUNT; flag++) {
        if (run->flag_windows[flag] == 0) continue;
        add_gap(model, GAP_DEVICE, run->index,
                arena_format(&model->arena, "run %s: %s in %s (%s of %s)", run->name,
                             util_flag_name((enum util_flag)flag),
                             word_plural(run->flag_windows[flag], "window", "windows").text,
                             word_duration(run->flag_ns[flag]).text,
                             word_duration(run->windows_ns).text));
    }
}

static void find_run_gaps(struct model *model, const struct model_run *run)
{
    struct arena *arena = &model->arena;
    find_device_gaps(model, run);
    if (run->windows_unknown > 0)
        add_gap(model, GAP_UNKNOWN_UTIL, run->index,
                arena_format(arena, "run %s: %" PRIu32 " of %s (%s of %s) have no utilization",
                             run->name, run->windows_unknown,
                             word_plural(run->windows, "window", "windows").text,
                             word_duration(run->windows_ns - run->windows_known_ns).text,
                             word_duration(run->windows_ns).text));
    if (run->attempts > 0 && run->windows == 0)
        add_gap(model, GAP_UNKNOWN_UTIL, run->index,
                arena_format(
                    arena,
                    "run %s: no telemetry window was closed, so its utilization is unknown",
                    run->name));
    if (run->attempts > 0 && !loss_is_number(run->val_best_micro))
        add_gap(model, GAP_NO_VAL_LOSS, run->index,
                arena_format(arena, "run %s: no held-out loss was reported", run->name));
    if (run->spent_micros > 0 && run->tokens == 0)
        add_gap(model, GAP_NO_TOKENS, run->index,
                arena_format(
                    arena, "run %s: no tokens were reported, so its cost per token is unknown",
                    run->name));
    for (uint32_t a = run->last_attempt; a != NO_INDEX; a = model->attempts[a].previous)
        if (model->attempts[a].charged_members > 0)
            add_gap(
                model, GAP_CHARGED, run->index,
                arena_format(
                    arena,
                    "run %s, attempt %" PRIu32 ": %s fell silent; the lease was "
                    "charged in full, which may be more than was used",
                    run->name, model->attempts[a].number,
                    word_plural(model->attempts[a].charged_members, "member", "members").text));
}

static void find_unsigned(struct model *model)
{
    for (uint32_t i = 0; i < model->decision_count; i++) {
        const struct model_decision *decision = &model->decisions[i];
        if (!decision->by_owner || decision->is_signed) continue;
        add_gap(model, GAP_UNSIGNED, decision->run,
                arena_format(&model->arena, "the %s of %s on %s is not signed",
                             verdict_name(decision->verdict),
                             decision->owner ? decision->owner : "an owner",
                             model_subject(model, &model->arena, decision)));
    }
}

/* ---- the sentence on top ------------------------------------------------------------- */

static enum phase phase_of(const struct model *model)
{
    if (!model->campaign) return PHASE_EMPTY;
    uint32_t ended = model->state_count[RUN_STATE_FINISHED] +
                     model->state_count[RUN_STATE_STOPPED] +
                     model->state_count[RUN_STATE_FAILED];
    if (model->life_count == 0) return PHASE_EMPTY;
    const struct model_life *life = &model->lives[model->life_count - 1];
    if (ended == model->run_count) return PHASE_DONE;
    if (life->closed)
        return life->exit_status == 4 || (life->exit_status != 75 && model->wait_count > 0)
                   ? PHASE_WAITS
                   : PHASE_SUSPENDED;
    if (model->options.live == LIVE_NO) return PHASE_INTERRUPTED;
    uint32_t going =
        model->state_count[RUN_STATE_STARTING] + model->state_count[RUN_STATE_RUNNING] +
        model->state_count[RUN_STATE_STOPPING] + model->state_count[RUN_STATE_PARKED] +
        model->state_count[RUN_STATE_QUEUED];
    bool tier_waits = false;
    for (uint32_t i = 0; i < model->wait_count; i++)
        tier_waits |= model->waits[i].tier != NO_INDEX;
    if (tier_waits) going -= model->state_count[RUN_STATE_QUEUED];
    return going == 0 && model->wait_count > 0 ? PHASE_WAITS : PHASE_RUNNING;
}

/* "5 finished, 2 stopped and 1 failed", of the states that occur. */
static void write_ends(const struct model *model, struct writer *writer)
{
    static const enum run_state order[] = { RUN_STATE_FINISHED, RUN_STATE_STOPPED,
                                            RUN_STATE_FAILED,   RUN_STATE_RUNNING,
                                            RUN_STATE_STARTING, RUN_STATE_STOPPING,
                                            RUN_STATE_HELD,     RUN_STATE_PARKED,
                                            RUN_STATE_QUEUED };
    uint32_t kinds = 0, written = 0;
    for (size_t i = 0; i < ARRAY_COUNT(order); i++)
        kinds += model->state_count[order[i]] > 0;
    for (size_t i = 0; i < ARRAY_COUNT(order); i++) {
        uint32_t count = model->state_count[order[i]];
        if (count == 0) continue;
        if (written > 0) writer_string(writer, written + 1 == kinds ? " and " : ", ");
        writer_format(writer, "%s %s", word_count(count).text, run_state_name(order[i]));
        written++;
    }
}

static void write_waits(const struct model *model, struct writer *writer)
{
    if (model->wait_count == 0) return;
    const struct model_wait *first = &model->waits[0];
    for (uint32_t i = 1; i < model->wait_count; i++)
        if (model->waits[i].since_ns < first->since_ns) first = &model->waits[i];
    writer_format(writer, " Waits for %s: %s (%s)", first->owner ? first->owner : "an owner",
                  first->what,
                  word_duration(max_i64(0, model->report_ns - first->since_ns)).text);
    if (model->wait_count > 1)
        writer_format(
            writer, ", and %s",
            word_plural(model->wait_count - 1, "other decision", "other decisions").text);
    writer_string(writer, ".");
}

static const char *headline(struct model *model)
{
    static const char *const openings[PHASE_COUNT] = {
        [PHASE_EMPTY] = "Nothing has been recorded yet",
        [PHASE_RUNNING] = "Running",
        [PHASE_WAITS] = "Waiting for a decision",
        [PHASE_DONE] = "Done",
        [PHASE_SUSPENDED] = "Suspended; run the same command again to resume",
        [PHASE_INTERRUPTED] = "Interrupted; run the same command again to resume",
    };
    enum { HEADLINE_BYTES = 640 };
    char *text = arena_alloc(&model->arena, HEADLINE_BYTES);
    struct writer writer = writer_of(text, HEADLINE_BYTES);
    writer_string(&writer, openings[model->phase]);
    if (model->campaign && model->run_count > 0) {
        writer_format(&writer, ": of %s, ", word_plural(model->run_count, "run", "runs").text);
        write_ends(model, &writer);
        writer_format(&writer, "; spent %s of a budget of %s",
                      word_amount(model->money.spent_micros, &model->currency).text,
                      word_money(model->money.budget_micros, &model->currency).text);
    }
    writer_string(&writer, ".");
    write_waits(model, &writer);
    return text;
}

/* ---- all ----------------------------------------------------------------------------- */

static void set_now(struct model *model)
{
    const struct model_life *life =
        model->life_count > 0 ? &model->lives[model->life_count - 1] : NULL;
    bool goes_on = life && !life->closed && model->options.live != LIVE_NO;
    model->report_ns = max_i64(model->options.now_ns, model->last_ns);
    /* After the last record of a coordinator that is gone, nothing runs and nothing is idle. */
    model->now_ns = goes_on ? model->report_ns : model->last_ns;
    model->epoch = life ? life->epoch : 0;
}

void model_finish(struct model *model, const struct core *core,
                  const struct model_source *source)
{
    model->source = *source;
    set_now(model);
    if (model->campaign) {
        derive_attempts(model);
        for (uint32_t r = 0; r < model->run_count; r++)
            derive_run(model, &model->runs[r], core);
        derive_money(model, core);
        derive_slots(model);
        derive_utilization(model);
        cut_period(model);
        derive_delays(model);
        wait_for_tier(model, core);
        for (uint32_t r = 0; r < model->run_count; r++)
            wait_for_run(model, core, &model->runs[r]);
        find_ledger_gaps(model);
        for (uint32_t r = 0; r < model->run_count; r++)
            find_run_gaps(model, &model->runs[r]);
        find_unsigned(model);
    }
    model->phase = phase_of(model);
    model->headline = headline(model);
}

/* ---- words --------------------------------------------------------------------------- */

const char *model_run_why(const struct model_run *run)
{
    if (run->state == RUN_STATE_QUEUED && run->waits_for != REASON_NONE)
        return reason_name(run->waits_for);
    return reason_name(run->reason);
}

const char *model_subject(const struct model *model, struct arena *arena,
                          const struct model_decision *decision)
{
    switch (decision->subject) {
    case SUBJECT_GATE:
        return arena_format(arena, "gate %s of run %s", decision->gate,
                            model->runs[decision->run].name);
    case SUBJECT_RUN: return arena_format(arena, "run %s", model->runs[decision->run].name);
    case SUBJECT_TIER:
        return arena_format(arena, "tier %" PRIu32 " of the budget", decision->tier + 1);
    }
    unreachable("decision subject");
}

#define NAME_FUNCTION(function, type, list)                                                    \
    const char *function(enum type value)                                                      \
    {                                                                                          \
        static const char *const names[] = { list(NAME_ROW) };                                 \
        return (size_t)value < ARRAY_COUNT(names) ? names[value] : "?";                        \
    }
#define NAME_ROW(id, name) name,

NAME_FUNCTION(phase_name, phase, PHASES)
NAME_FUNCTION(gap_name, gap_kind, GAPS)

const char *recovery_name(enum recovery recovery)
{
    static const char *const names[] = { "open", "restarted", "run ended" };
    return (size_t)recovery < ARRAY_COUNT(names) ? names[recovery] : "?";
}

const char *subject_name(enum decision_subject subject)
{
    static const char *const names[] = { "gate", "run", "tier" };
    return (size_t)subject < ARRAY_COUNT(names) ? names[subject] : "?";
}
