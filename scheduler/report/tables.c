#include "scheduler/report/tables.h"

#include <inttypes.h>
#include <string.h>

/* ---- cells --------------------------------------------------------------------------- */

static struct cell *put(struct table_row *row, uint32_t *at, enum tone tone, const char *text)
{
    struct cell *cell = &row->cells[(*at)++];
    check(*at <= CELLS_MAX);
    memset(cell, 0, sizeof *cell);
    text_copy(cell->text, sizeof cell->text, text_of(text));
    cell->tone = tone;
    return cell;
}

static void put_value(struct table_row *row, uint32_t *at, struct word word, int64_t value)
{
    struct cell *cell = put(row, at, TONE_NONE, word.text);
    cell->has_value = true;
    cell->value = value;
}

static void put_loss(struct table_row *row, uint32_t *at, int64_t loss_micro)
{
    if (loss_is_number(loss_micro))
        put_value(row, at, word_loss(loss_micro), loss_micro);
    else
        put(row, at, loss_micro == LOSS_NONFINITE ? TONE_BAD : TONE_MUTED,
            loss_micro == LOSS_NONFINITE ? "NaN/Inf" : "");
}

/* A duration; nothing for none at all. */
static void put_duration(struct table_row *row, uint32_t *at, int64_t duration_ns)
{
    if (duration_ns == 0)
        put(row, at, TONE_MUTED, "");
    else
        put_value(row, at, word_duration(duration_ns), duration_ns);
}

static void put_percent(struct table_row *row, uint32_t *at, int64_t ppm)
{
    if (ppm < 0)
        put(row, at, TONE_MUTED, "unknown");
    else
        put_value(row, at, word_percent(ppm), ppm);
}

/* A time of day; with the date when the campaign took more than one day. */
static void put_time(const struct model *model, struct table_row *row, uint32_t *at,
                     int64_t unix_ns)
{
    const int64_t day_ns = 24 * NS_PER_HOUR;
    bool one_day = div_floor(model->first_ns, day_ns) == div_floor(model->report_ns, day_ns);
    struct word date = word_minute(unix_ns);
    struct word text = word_clock(unix_ns);
    if (!one_day) {
        struct word dated;
        struct writer writer = writer_of(dated.text, sizeof dated.text);
        writer_text(&writer, (struct text){ date.text, 6 });
        writer_string(&writer, text.text);
        text = dated;
    }
    put_value(row, at, text, unix_ns);
}

/* A cell with a formatted text, cut to fit. */
#define put_format(row, at, tone, ...)                                                         \
    do {                                                                                       \
        struct cell *cell_ = put(row, at, tone, "");                                           \
        snprintf(cell_->text, sizeof cell_->text, __VA_ARGS__);                                \
    } while (0)

static const char *run_of(const struct model *model, uint32_t run)
{
    return run < model->run_count ? model->runs[run].name : "";
}

/* ---- waits --------------------------------------------------------------------------- */

static const struct column wait_columns[] = {
    { "who", false, 24 },
    { "decides about", false, 60 },
    { "waiting for", true, 10 },
};

static uint32_t wait_count(const struct model *model)
{
    return model->wait_count;
}

static void wait_row(const struct model *model, uint32_t index, struct arena *arena,
                     struct table_row *row)
{
    const struct model_wait *wait = &model->waits[index];
    uint32_t at = 0;
    bool has_role = wait->role && wait->role[0];
    put_format(row, &at, TONE_WAIT, "%s%s%s%s", wait->owner ? wait->owner : "an owner",
               has_role ? " (" : "", has_role ? wait->role : "", has_role ? ")" : "");
    put(row, &at, TONE_NONE, wait->what);
    int64_t waited_ns = max_i64(0, model->report_ns - wait->since_ns);
    put_value(row, &at, word_duration(waited_ns), waited_ns);
    row->detail = arena_format(arena, "answer: %s", wait->command);
}

/* ---- runs ---------------------------------------------------------------------------- */

static enum tone state_tone(enum run_state state)
{
    static const enum tone tones[RUN_STATE_COUNT] = {
        [RUN_STATE_FINISHED] = TONE_GOOD, [RUN_STATE_FAILED] = TONE_BAD,
        [RUN_STATE_STOPPED] = TONE_MUTED, [RUN_STATE_HELD] = TONE_WAIT,
        [RUN_STATE_PARKED] = TONE_WAIT,
    };
    return (size_t)state < ARRAY_COUNT(tones) ? tones[state] : TONE_NONE;
}

static const struct column run_columns[] = {
    { "run", false, 28 },     { "state", false, 9 },    { "why", false, 28 },
    { "step", true, 15 },     { "held-out", true, 13 }, { "cost", true, 14 },
    { "per Mtok", true, 14 }, { "util.", true, 11 },
};

static uint32_t run_count(const struct model *model)
{
    return model->run_count;
}

static void run_row(const struct model *model, uint32_t index, struct arena *arena,
                    struct table_row *row)
{
    (void)arena;
    const struct model_run *run = &model->runs[index];
    uint32_t at = 0;
    put(row, &at, TONE_NONE, run->name);
    put(row, &at, state_tone(run->state), run_state_name(run->state));
    put(row, &at, TONE_NONE, model_run_why(run));
    if (run->steps_planned > 0)
        put_format(row, &at, TONE_NONE, "%s / %s", word_count(run->step).text,
                   word_count(run->steps_planned).text);
    else
        put(row, &at, TONE_NONE, word_count(run->step).text);
    put_loss(row, &at, run->val_best_micro);
    put_value(row, &at, word_amount(run->spent_micros, &model->currency), run->spent_micros);
    if (run->mtok_micros >= 0)
        put_value(row, &at, word_amount(run->mtok_micros, &model->currency), run->mtok_micros);
    else
        put(row, &at, TONE_MUTED, run->spent_micros > 0 ? "unknown" : "");
    if (run->windows == 0)
        put(row, &at, TONE_MUTED, "");
    else
        put_percent(row, &at, run->util_ppm);
}

/* ---- where the runs' time went ------------------------------------------------------- */

static const struct column time_columns[] = {
    { "run", false, 28 },   { "ranks", true, 5 }, { "tries", true, 8 },   { "loss", true, 10 },
    { "tokens", true, 10 }, { "held", true, 10 }, { "queued", true, 9 },  { "owner", true, 9 },
    { "parked", true, 9 },  { "lost", true, 12 }, { "util.", false, 21 },
};

static const char *rung_word(enum util_rung rung)
{
    static const char *const words[UTIL_RUNG_COUNT] = {
        [UTIL_RUNG_UNKNOWN] = "",
        [UTIL_RUNG_MFU] = "FLOPs",
        [UTIL_RUNG_CPU_TIME] = "CPU",
        [UTIL_RUNG_MFU_GPM] = "FLOPs, pipes",
        [UTIL_RUNG_MFU_ENERGY] = "FLOPs, energy",
        [UTIL_RUNG_GPM] = "pipes",
        [UTIL_RUNG_ENERGY] = "energy",
    };
    return (size_t)rung < ARRAY_COUNT(words) ? words[rung] : "?";
}

static void time_row(const struct model *model, uint32_t index, struct arena *arena,
                     struct table_row *row)
{
    (void)arena;
    const struct model_run *run = &model->runs[index];
    uint32_t at = 0;
    put(row, &at, TONE_NONE, run->name);
    put_format(row, &at, TONE_NONE, "%" PRIu32, run->ranks);
    put_format(row, &at, TONE_NONE, "%" PRIu32, run->attempts);
    put_loss(row, &at, run->loss_micro);
    put(row, &at, TONE_NONE, run->tokens > 0 ? word_short(run->tokens).text : "");
    put_duration(row, &at, run->slot_ns);
    put_duration(row, &at, run->queue_ns);
    put_duration(row, &at, run->owner_ns);
    put_duration(row, &at, run->parked_ns);
    if (run->lost_micros > 0)
        put_value(row, &at, word_amount(run->lost_micros, &model->currency), run->lost_micros);
    else
        put(row, &at, TONE_MUTED, "");
    put(row, &at, TONE_NONE, rung_word(run->rung));
}

/* ---- decisions ----------------------------------------------------------------------- */

static const struct column decision_columns[] = {
    { "time", false, 14 },   { "run", false, 24 },   { "gate", false, 20 },
    { "verdict", false, 7 }, { "by", false, 18 },    { "observed", true, 14 },
    { "bound", true, 14 },   { "margin", true, 10 }, { "took", true, 9 },
};

static uint32_t decision_count(const struct model *model)
{
    return model->decision_count;
}

static enum tone verdict_tone(enum verdict verdict)
{
    static const enum tone tones[VERDICT_COUNT] = {
        [VERDICT_GO] = TONE_GOOD, [VERDICT_NO_GO] = TONE_BAD, [VERDICT_HOLD] = TONE_WAIT
    };
    return (size_t)verdict < ARRAY_COUNT(tones) ? tones[verdict] : TONE_NONE;
}

/* Who or what decided: an owner, or a rule with the rank it saw. */
static void put_decider(const struct model_decision *decision, struct table_row *row,
                        uint32_t *at)
{
    if (decision->by_owner)
        put(row, at, TONE_NONE, decision->owner ? decision->owner : "an owner");
    else if (decision->by_default)
        put(row, at, TONE_WAIT, "by default");
    else if (decision->subject == SUBJECT_TIER)
        put(row, at, TONE_NONE, "tier");
    else if (decision->rank > 0)
        put_format(row, at, TONE_NONE, "%s %" PRIu32 " of %" PRIu32,
                   gate_rule_name(decision->rule), decision->rank, decision->siblings + 1);
    else
        put(row, at, TONE_NONE, gate_rule_name(decision->rule));
}

/* What was asked of whom, an owner's words, and whether they are signed. */
static const char *decision_detail(const struct model *model,
                                   const struct model_decision *decision, struct arena *arena)
{
    bool says = decision->reason[0] != '\0';
    if (decision->by_owner)
        return arena_format(arena, "%s%s%s%s", says ? "“" : "", decision->reason,
                            says ? "”, " : "", decision->is_signed ? "signed" : "not signed");
    if (decision->verdict != VERDICT_HOLD) return says ? decision->reason : NULL;
    const char *owner = decision->owner ? decision->owner : "an owner";
    if (decision->answer < model->decision_count) {
        const struct model_decision *answer = &model->decisions[decision->answer];
        return arena_format(arena, "asked %s%s%s; answered after %s", owner, says ? ": " : "",
                            decision->reason,
                            word_duration(answer->at_ns - decision->at_ns).text);
    }
    return arena_format(arena, "asked %s%s%s; not answered yet", owner, says ? ": " : "",
                        decision->reason);
}

static void decision_row(const struct model *model, uint32_t index, struct arena *arena,
                         struct table_row *row)
{
    const struct model_decision *decision = &model->decisions[index];
    bool tier = decision->subject == SUBJECT_TIER;
    uint32_t at = 0;
    put_time(model, row, &at, decision->at_ns);
    put(row, &at, TONE_NONE, tier ? "budget" : run_of(model, decision->run));
    if (tier)
        put_format(row, &at, TONE_NONE, "tier %" PRIu32, decision->tier + 1);
    else
        put(row, &at, TONE_NONE, decision->gate ? decision->gate : "the run");
    put(row, &at, verdict_tone(decision->verdict), verdict_name(decision->verdict));
    put_decider(decision, row, &at);
    if (tier &&
        loss_is_number(decision->bound_micro)) { /* money: approved so far, then asked for */
        put_value(row, &at, word_amount(decision->observed_micro, &model->currency),
                  decision->observed_micro);
        put_value(row, &at, word_amount(decision->bound_micro, &model->currency),
                  decision->bound_micro);
    } else {
        put_loss(row, &at, decision->observed_micro);
        put_loss(row, &at, decision->bound_micro);
    }
    if (loss_is_number(decision->margin_micro))
        put_value(row, &at, word_signed_loss(decision->margin_micro), decision->margin_micro);
    else
        put(row, &at, TONE_NONE, "");
    int64_t took_ns = max_i64(0, decision->at_ns - decision->asked_ns);
    put_value(row, &at, took_ns > 0 ? word_duration(took_ns) : (struct word){ "at once" },
              took_ns);
    row->detail = decision_detail(model, decision, arena);
}

/* ---- incidents ----------------------------------------------------------------------- */

static const struct column incident_columns[] = {
    { "time", false, 14 },     { "run", false, 24 },  { "attempt", true, 7 },
    { "incident", false, 22 }, { "exit", false, 10 }, { "done", false, 8 },
    { "recovery", false, 22 },
};

static uint32_t incident_count(const struct model *model)
{
    return model->incident_count;
}

static void incident_row(const struct model *model, uint32_t index, struct arena *arena,
                         struct table_row *row)
{
    const struct model_incident *incident = &model->incidents[index];
    uint32_t at = 0;
    put_time(model, row, &at, incident->at_ns);
    put(row, &at, TONE_NONE, run_of(model, incident->run));
    put_format(row, &at, TONE_NONE, "%" PRIu32, incident->attempt);
    put(row, &at, TONE_BAD, incident_name(incident->incident));
    if (incident->signal > 0)
        put_format(row, &at, TONE_NONE, "signal %" PRId32, incident->signal);
    else if (incident->exit_code >= 0)
        put_format(row, &at, TONE_NONE, "%" PRId32, incident->exit_code);
    else
        put(row, &at, TONE_NONE, "");
    put(row, &at, TONE_NONE, runbook_action_name(incident->action));
    if (incident->recovery == RECOVERY_RESTARTED)
        put_format(row, &at, TONE_GOOD, "ran again after %s",
                   word_duration(incident->closed_ns - incident->at_ns).text);
    else if (incident->recovery == RECOVERY_ENDED)
        put(row, &at, TONE_MUTED, "the run ended");
    else
        put(row, &at, TONE_WAIT, "not yet");
    bool member = incident->member != NO_INDEX;
    if (incident->detail[0])
        row->detail = member ? arena_format(arena, "member %" PRIu32 ": %s", incident->member,
                                            incident->detail)
                             : incident->detail;
    row->output = incident->stderr_tail[0] ? incident->stderr_tail : NULL;
    if (incident->ras[0])
        row->output = arena_format(arena, "%s%sNCCL's RAS says:\n%s", incident->stderr_tail,
                                   row->output ? "\n" : "", incident->ras);
}

/* ---- guardrails ---------------------------------------------------------------------- */

static const struct column guard_columns[] = {
    { "time", false, 14 }, { "run", false, 24 },     { "action", false, 6 },
    { "rule", false, 20 }, { "observed", true, 10 }, { "bound", true, 10 },
};

static uint32_t guard_count(const struct model *model)
{
    return model->guard_count;
}

static void guard_row(const struct model *model, uint32_t index, struct arena *arena,
                      struct table_row *row)
{
    (void)arena;
    const struct model_window *window = &model->windows[model->guards[index]];
    bool stops = window->action != GUARD_ACTION_WARN;
    uint32_t at = 0;
    put_time(model, row, &at, window->at_ns);
    put(row, &at, TONE_NONE, run_of(model, window->run));
    put(row, &at, stops ? TONE_BAD : TONE_WAIT, guard_action_name(window->action));
    put(row, &at, TONE_NONE, guard_rule_name(window->rule));
    if (window->rule == GUARD_RULE_FLOOR) {
        put_percent(row, &at, window->observed);
        put_percent(row, &at, window->bound);
    } else {
        put_value(row, &at, word_duration(window->observed), window->observed);
        put_value(row, &at, word_duration(window->bound), window->bound);
    }
}

/* ---- slots and lives ----------------------------------------------------------------- */

static const struct column slot_columns[] = {
    { "worker", true, 6 },   { "host", false, 20 },   { "class", false, 12 },
    { "device", false, 28 }, { "attempts", true, 8 }, { "present", true, 9 },
    { "busy", true, 9 },     { "idle", true, 9 },     { "occupancy", true, 9 },
};

static uint32_t slot_count(const struct model *model)
{
    return model->worker_count;
}

static void slot_row(const struct model *model, uint32_t index, struct arena *arena,
                     struct table_row *row)
{
    (void)arena;
    const struct model_worker *worker = &model->workers[index];
    uint32_t at = 0;
    put_format(row, &at, TONE_NONE, "%" PRIu32, worker->rank);
    put_format(row, &at, TONE_NONE, "%s:%" PRIu32, worker->host ? worker->host : "?",
               worker->slot);
    put(row, &at, TONE_NONE, worker->class_name);
    put(row, &at, TONE_NONE, worker->device);
    put_format(row, &at, TONE_NONE, "%" PRIu32, worker->attempts);
    put_value(row, &at, word_duration(worker->present_ns), worker->present_ns);
    put_value(row, &at, word_duration(worker->busy_ns), worker->busy_ns);
    put_value(row, &at, word_duration(worker->idle_ns), worker->idle_ns);
    put_percent(row, &at, worker->occupancy_ppm);
}

static const struct column life_columns[] = {
    { "life", true, 5 },   { "from", false, 20 },  { "to", false, 20 },
    { "host", false, 20 }, { "workers", true, 7 }, { "ended", false, 26 },
};

static uint32_t life_count(const struct model *model)
{
    return model->life_count > 1 ? model->life_count : 0; /* one life needs no table */
}

static void life_row(const struct model *model, uint32_t index, struct arena *arena,
                     struct table_row *row)
{
    (void)arena;
    const struct model_life *life = &model->lives[index];
    bool last = index + 1 == model->life_count;
    uint32_t at = 0;
    put_format(row, &at, TONE_NONE, "%" PRIu64, life->epoch);
    put_value(row, &at, word_utc(life->from_ns), life->from_ns);
    put_value(row, &at, word_utc(life->to_ns), life->to_ns);
    put(row, &at, TONE_NONE, life->host);
    put_format(row, &at, TONE_NONE, "%" PRIu32, life->workers);
    if (life->closed)
        put_format(row, &at, TONE_NONE, "closed, exit status %" PRId32, life->exit_status);
    else if (last && model->options.live != LIVE_NO)
        put(row, &at, TONE_GOOD, "goes on");
    else
        put(row, &at, TONE_BAD, "without closing");
}

/* ---- all ----------------------------------------------------------------------------- */

#define TABLE(id, title, note, prefix, empty)                                                  \
    {                                                                                          \
        id, title, note, prefix##_columns, ARRAY_COUNT(prefix##_columns), prefix##_count,      \
            prefix##_row, empty                                                                \
    }

static const struct table tables[TABLE_COUNT] = {
    [TABLE_WAITS] = TABLE("waits", "Waits for a person", NULL, wait, NULL),
    [TABLE_RUNS] =
        TABLE("runs", "Runs",
              "Held-out: the best held-out loss, in nats. Cost is what was settled; per "
              "Mtok, for a million accepted tokens. Util. is the mean over time of the "
              "windows that have a utilization.",
              run, "No run was submitted."),
    [TABLE_DECISIONS] = TABLE(
        "decisions", "Decisions",
        "Observed and bound are held-out losses (for tiers: money). A positive margin is on "
        "the good side of the bound; a gate may tolerate a small negative one.",
        decision, "No decision was taken."),
    [TABLE_INCIDENTS] =
        TABLE("incidents", "Incidents", "Recovery lasts until the run's next attempt runs.",
              incident, "Nothing went wrong."),
    [TABLE_GUARDRAILS] = TABLE("guardrails", "Guardrail actions", NULL, guard, NULL),
    [TABLE_TIMES] = { "times", "Where the time went",
                      "Loss is the last training loss. Held is slots x time, over all "
                      "attempts. Lost is "
                      "the price of work that was dropped or done again. Util. says how "
                      "utilization "
                      "was measured: FLOPs (model FLOPs over the peak; on GPUs it says what "
                      "confirms them: pipes or energy), pipes (activity of the chip's "
                      "arithmetic), energy (of an idle chip) or CPU (CPU time over held core "
                      "time).",
                      time_columns, ARRAY_COUNT(time_columns), run_count, time_row, NULL },
    [TABLE_SLOTS] = TABLE("slots", "Slots", NULL, slot, "No worker has joined yet."),
    [TABLE_LIVES] = TABLE("lives", "Lives of the coordinator", NULL, life, NULL),
};

const struct table *table_of(enum table_id id)
{
    check((size_t)id < ARRAY_COUNT(tables));
    return &tables[id];
}

const char *tone_name(enum tone tone)
{
    static const char *const names[] = {
#define X(id, name) name,
        TONES(X)
#undef X
    };
    return (size_t)tone < ARRAY_COUNT(names) ? names[tone] : "";
}
