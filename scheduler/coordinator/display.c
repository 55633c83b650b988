/* display.c - see display.h. The lines first, then the table, then the public functions. */
#include "scheduler/coordinator/display.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "scheduler/report/out.h"

enum { LINE_BYTES = 1024, TABLE_BYTES = 32 * 1024, TABLE_RUNS_MAX = 40, COLUMNS_DEFAULT = 100 };
#define DRAW_EVERY_NS (250 * NS_PER_MS)
#define REDRAW_IDLE_NS (2 * NS_PER_S)

/* ---- words
 * ------------------------------------------------------------------------------------- */

static void write_loss(struct writer *writer, int64_t loss_micro)
{
    if (loss_micro == LOSS_UNKNOWN)
        writer_string(writer, "-");
    else if (loss_micro == LOSS_NONFINITE)
        writer_string(writer, "not finite");
    else
        writer_format(writer, "%.4f", (double)loss_micro / 1e6);
}

static const char *run_name(const struct core *core, uint32_t run)
{
    return run < core_run_count(core) ? core_run(core, run)->name : "?";
}

static const char *gate_name(const struct core *core, uint32_t run, uint32_t slot)
{
    return core_gate(core, core_run_gate(core, run, slot)->gate_index)->name;
}

static const char *owner_name(const struct core *core, uint32_t owner)
{
    const struct campaign_spec *campaign = core_campaign(core);
    return owner < campaign->owner_count ? campaign->owners[owner].name : "rule";
}

/* Amounts as the report shows them: rounded to what suits the budget. */
static void write_amount(struct writer *writer, const struct campaign_spec *campaign,
                         int64_t micros)
{
    struct currency currency = currency_of(campaign->currency, campaign->budget_micros);
    writer_string(writer, word_amount(micros, &currency).text);
}

static void write_money(struct writer *writer, const struct core *core, int64_t micros)
{
    const struct campaign_spec *campaign = core_campaign(core);
    write_amount(writer, campaign, micros);
    writer_format(writer, " %s", campaign->currency);
}

/* ---- one line per record
 * ----------------------------------------------------------------------- */

static void say_campaign(struct writer *line, const struct core *core,
                         const struct record *record)
{
    (void)core;
    writer_format(line, "campaign %s: budget ", record->as.campaign.name);
    write_amount(line, &record->as.campaign, record->as.campaign.budget_micros);
    writer_format(line, " %s", record->as.campaign.currency);
}

static void say_epoch(struct writer *line, const struct core *core, const struct record *record)
{
    writer_format(line, "life %llu begins: %u runs, %u workers",
                  (unsigned long long)record->as.epoch.epoch, core_run_count(core),
                  record->as.epoch.workers);
}

static void say_worker(struct writer *line, const struct core *core,
                       const struct record *record)
{
    const struct record_worker *worker = &record->as.worker;
    (void)core;
    writer_format(line, "worker %u on ", worker->worker);
    writer_text(line, worker->host);
    writer_string(line, ": ");
    writer_text(line, worker->device);
    if (worker->peak_flops > 0)
        writer_format(line, ", peak %.1f GFLOP/s", (double)worker->peak_flops / 1e9);
}

static void say_worker_lost(struct writer *line, const struct core *core,
                            const struct record *record)
{
    (void)core;
    writer_format(line, "worker %u lost: ", record->as.worker_lost.worker);
    writer_text(line, record->as.worker_lost.cause);
}

static void say_tier(struct writer *line, const struct core *core, const struct record *record)
{
    writer_format(line, "tier %u opened: approved ", record->as.tier.tier + 1);
    write_money(line, core, record->as.tier.approved_micros);
}

static void say_placed(struct writer *line, const struct core *core,
                       const struct record *record)
{
    const struct record_placed *placed = &record->as.placed;
    writer_format(line, "%s: attempt %u starts on worker%s", run_name(core, placed->run),
                  placed->attempt, placed->member_count > 1 ? "s" : "");
    for (uint32_t i = 0; i < placed->member_count && i < 16; i++)
        writer_format(line, "%s%u", i > 0 ? "," : " ", placed->workers[i]);
    if (placed->resume_step > 0)
        writer_format(line, " from step %llu", (unsigned long long)placed->resume_step);
}

static void say_window(struct writer *line, const struct core *core,
                       const struct record *record)
{
    const struct record_window *window = &record->as.window;
    if (window->action == GUARD_ACTION_NONE) return;
    writer_format(line, "%s: guardrail %s (%s), utilization ", run_name(core, window->run),
                  guard_action_name(window->action), guard_rule_name(window->rule));
    writer_percent(line, window->util_ppm);
}

static void say_rule(struct writer *line, const struct record_decision *decision)
{
    writer_format(line, " (%s", gate_rule_name(decision->rule));
    if (decision->observed_micro != LOSS_UNKNOWN) {
        writer_string(line, ": loss ");
        write_loss(line, decision->observed_micro);
    }
    if (decision->bound_micro != LOSS_UNKNOWN) {
        writer_string(line, " against ");
        write_loss(line, decision->bound_micro);
    }
    if (decision->rank > 0)
        writer_format(line, ", rank %u of %u", decision->rank, decision->siblings + 1);
    writer_string(line, ")");
}

/* "SUBJECT" as `penstock decide` takes it. */
static void write_question(struct writer *line, const struct core *core,
                           const struct record_decision *decision)
{
    switch (decision->subject) {
    case SUBJECT_GATE:
        writer_format(line, "%s/%s", run_name(core, decision->run),
                      gate_name(core, decision->run, decision->slot));
        return;
    case SUBJECT_RUN: writer_string(line, run_name(core, decision->run)); return;
    case SUBJECT_TIER: writer_format(line, "tier:%u", decision->tier + 1); return;
    }
    unreachable("decision subject");
}

static void say_decision(struct writer *line, const struct core *core,
                         const struct record *record)
{
    const struct record_decision *decision = &record->as.decision;
    write_question(line, core, decision);
    writer_format(line, ": %s", verdict_name(decision->verdict));
    if (decision->verdict != VERDICT_HOLD && decision->owner != NO_INDEX) {
        writer_format(line, " by %s: ",
                      decision->by_default ? "default" : owner_name(core, decision->owner));
        writer_text(line, decision->reason);
    } else if (decision->by_default) {
        writer_string(line, ": ");
        writer_text(line, decision->reason);
    } else if (decision->subject == SUBJECT_GATE) {
        say_rule(line, decision);
    }
}

static void say_incident(struct writer *line, const struct core *core,
                         const struct record *record)
{
    const struct record_incident *incident = &record->as.incident;
    writer_format(line, "%s: incident: %s; ", run_name(core, incident->run),
                  incident_name(incident->incident));
    if (incident->detail.len > 0) {
        writer_text(line, incident->detail);
        writer_string(line, "; ");
    }
    writer_format(line, "action: %s", runbook_action_name(incident->action));
}

static void say_stopping(struct writer *line, const struct core *core,
                         const struct record *record)
{
    const struct record_stopping *stopping = &record->as.stopping;
    writer_format(line, "%s: attempt %u is being ended: %s, then %s",
                  run_name(core, stopping->run), stopping->attempt,
                  reason_name(stopping->reason), intent_name(stopping->intent));
}

static void say_run_end(struct writer *line, const struct run *run, enum run_state state,
                        enum reason reason)
{
    writer_format(line, "%s: %s", run->name, run_state_name(state));
    if (reason != REASON_NONE) writer_format(line, " (%s)", reason_name(reason));
}

/* The record stands before its application: what it settles is not yet in the run's spend. */
static void say_attempt_ended(struct writer *line, const struct core *core,
                              const struct record *record)
{
    const struct record_attempt_ended *ended = &record->as.attempt_ended;
    const struct run *run = core_run(core, ended->run);
    const struct attempt *attempt = core_attempt(core, ended->run);
    int64_t before_micros = attempt != NULL ? attempt->settled_micros : 0;
    say_run_end(line, run, ended->state, ended->reason);
    writer_format(line, " at step %llu", (unsigned long long)ended->step);
    if (run->val_loss_micro != LOSS_UNKNOWN) {
        writer_string(line, ", held-out loss ");
        write_loss(line, run->val_loss_micro);
    }
    writer_string(line, ", spent ");
    write_money(line, core, run->spent_micros - before_micros + ended->settled_micros);
}

static void say_run_state(struct writer *line, const struct core *core,
                          const struct record *record)
{
    const struct record_run_state *state = &record->as.run_state;
    say_run_end(line, core_run(core, state->run), state->state, state->reason);
}

static void say_suspended(struct writer *line, const struct core *core,
                          const struct record *record)
{
    (void)core;
    writer_format(line, "suspending%s: ", record->as.suspended.at_once ? " at once" : "");
    writer_text(line, record->as.suspended.cause);
}

static void say_space(struct writer *line, const struct core *core, const struct record *record)
{
    (void)core;
    writer_string(line, record->as.space.low
                            ? "the disk is full: runs checkpoint and wait until there is room"
                            : "there is room on the disk again");
}

static void say_note(struct writer *line, const struct core *core, const struct record *record)
{
    const struct record_note *note = &record->as.note;
    if (note->run < core_run_count(core))
        writer_format(line, "%s: ", run_name(core, note->run));
    writer_string(line, "note: ");
    writer_text(line, note->text);
}

static void say_closed(struct writer *line, const struct core *core,
                       const struct record *record)
{
    const struct budget *budget = core_budget(core);
    writer_format(line, "closed with status %d: spent ", record->as.closed.exit_status);
    write_money(line, core, budget->spent_micros);
    writer_string(line, " of ");
    write_money(line, core, core_campaign(core)->budget_micros);
}

typedef void (*say_fn)(struct writer *line, const struct core *core,
                       const struct record *record);

/* Kinds without a row say nothing. */
static const say_fn says[RECORD_KIND_COUNT] = {
    [RECORD_CAMPAIGN] = say_campaign,
    [RECORD_EPOCH] = say_epoch,
    [RECORD_WORKER] = say_worker,
    [RECORD_WORKER_LOST] = say_worker_lost,
    [RECORD_TIER] = say_tier,
    [RECORD_PLACED] = say_placed,
    [RECORD_WINDOW] = say_window,
    [RECORD_DECISION] = say_decision,
    [RECORD_INCIDENT] = say_incident,
    [RECORD_STOPPING] = say_stopping,
    [RECORD_ATTEMPT_ENDED] = say_attempt_ended,
    [RECORD_RUN_STATE] = say_run_state,
    [RECORD_SUSPENDED] = say_suspended,
    [RECORD_SPACE] = say_space,
    [RECORD_NOTE] = say_note,
    [RECORD_CLOSED] = say_closed,
};

/* Some of the text comes from trainers and owners: nothing in it may steer a terminal. C1
 * controls are C2 80 to C2 9F in UTF-8. */
static void make_harmless(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at != '\0'; at++) {
        if (*at < 0x20 || *at == 0x7F) *at = ' ';
        if (at[0] == 0xC2 && at[1] >= 0x80 && at[1] < 0xA0) at[0] = at[1] = '?';
    }
}

static void write_clock(struct writer *writer, int64_t at_ns)
{
    int64_t second = div_floor(at_ns, NS_PER_S) % 86400;
    writer_format(writer, "%02d:%02d:%02dZ ", (int)(second / 3600), (int)(second / 60 % 60),
                  (int)(second % 60));
}

void display_record(struct display *display, const struct core *core,
                    const struct record *record)
{
    display->changed = true;
    say_fn say = says[record->kind];
    if (display->kind == DISPLAY_NONE || say == NULL) return;
    char text[LINE_BYTES];
    struct writer line = writer_of(text, sizeof text);
    say(&line, core, record);
    if (line.len == 0) return;
    make_harmless(text);
    write_clock(&display->pending, record->at_ns);
    writer_format(&display->pending, "%s\n", text);
}

/* "NAME is asked: COMMAND", ready to be copied. */
static void say_command(struct display *display, const struct core *core, const char *what,
                        const char *gate, uint32_t owner)
{
    if (display->kind == DISPLAY_NONE) return;
    const struct campaign_spec *campaign = core_campaign(core);
    bool signs = owner < campaign->owner_count && campaign->owners[owner].key_count > 0;
    writer_format(&display->pending,
                  "          %s is asked: penstock decide %s %s%s%s go|no-go --as %s --reason "
                  "\"...\"%s\n",
                  owner_name(core, owner), display->state_dir, what, gate[0] != '\0' ? "/" : "",
                  gate, owner_name(core, owner), signs ? " --key SSH_KEY" : "");
}

void display_ask(struct display *display, const struct core *core, uint32_t run_index)
{
    const struct campaign_spec *campaign = core_campaign(core);
    if (run_index == NO_INDEX) {
        char what[24];
        struct writer writer = writer_of(what, sizeof what);
        uint32_t tier = core_budget(core)->tiers_open;
        if (tier >= campaign->tier_count) return;
        writer_format(&writer, "tier:%u", tier + 1);
        say_command(display, core, what, "", core_request(core, NO_INDEX)->owner);
        return;
    }
    const struct run *run = core_run(core, run_index);
    for (uint32_t slot = 0; slot < run->gate_count; slot++) {
        const struct run_gate *gate = core_run_gate(core, run_index, slot);
        if (gate->verdict != VERDICT_HOLD) continue;
        const struct gate_spec *spec = core_gate(core, gate->gate_index);
        say_command(display, core, run->name, spec->name, run->request.owner);
        return;
    }
    say_command(display, core, run->name, "", run->request.owner);
}

void display_say(struct display *display, const char *format, ...)
{
    if (display->kind == DISPLAY_NONE) return;
    char text[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    writer_format(&display->pending, "%s\n", text);
}

/* ---- the table
 * --------------------------------------------------------------------------------- */

/* Prints as much as can be printed. A display that nobody reads any more must not end a
 * campaign. */
static void put(const struct display *display, const char *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t wrote = write(display->fd, data, bytes);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return;
        data += wrote;
        bytes -= (size_t)wrote;
    }
}

/* Moves the cursor to where the table began and clears from there. */
static void erase_table(struct display *display)
{
    char text[32];
    struct writer writer = writer_of(text, sizeof text);
    if (display->drawn_lines == 0) return;
    writer_format(&writer, "\033[%uA\033[J", display->drawn_lines);
    put(display, text, writer.len);
    display->drawn_lines = 0;
}

void display_flush(struct display *display)
{
    struct writer *pending = &display->pending;
    if (pending->len == 0) return;
    erase_table(display);
    put(display, pending->data, pending->len);
    if (pending->full) put(display, "...\n", 4);
    *pending = writer_of(pending->data, pending->capacity_bytes);
    display->next_draw_ns = 0;
}

static void write_amounts(struct writer *writer, const struct core *core, int64_t spent_micros,
                          int64_t released_micros, int64_t budget_micros)
{
    const struct campaign_spec *campaign = core_campaign(core);
    write_amount(writer, campaign, spent_micros);
    writer_string(writer, " of ");
    write_amount(writer, campaign, released_micros);
    writer_string(writer, " of ");
    write_money(writer, core, budget_micros);
}

/* One row, cut to the screen's width so that the table's height stays known. */
static void end_row(struct writer *table, size_t row_start, size_t columns)
{
    if (table->len - row_start > columns) {
        table->len = row_start + columns;
        table->data[table->len] = '\0';
    }
    writer_string(table, "\n");
}

static void write_row(struct writer *table, const struct core *core, uint32_t index,
                      const struct telemetry_board *board, size_t columns)
{
    const struct run *run = core_run(core, index);
    const struct run_figures *figures = telemetry_board_get(board, index);
    bool live = run->attempt_slot != NO_INDEX && figures->attempt == run->attempts;
    uint64_t step = live && figures->step > run->step ? figures->step : run->step;
    size_t start = table->len;
    char loss[24], util[24];
    struct writer loss_writer = writer_of(loss, sizeof loss);
    struct writer util_writer = writer_of(util, sizeof util);
    write_loss(&loss_writer, live ? figures->loss_micro : run->loss_micro);
    writer_percent(&util_writer, run->util_ppm);
    writer_format(table, "%-20.20s %-9s %7llu/%-7llu %10s %9.0f %8s  ", run->name,
                  run_state_name(run->state), (unsigned long long)step,
                  (unsigned long long)run->steps, loss, live ? figures->tokens_per_s : 0.0,
                  run->attempts > 0 ? util : "-");
    write_amounts(table, core, run->spent_micros, run->released_micros, run->budget_micros);
    end_row(table, start, columns);
}

static size_t columns_of(const struct display *display)
{
    struct winsize size;
    if (ioctl(display->fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40) return size.ws_col;
    return COLUMNS_DEFAULT;
}

static uint32_t write_table(struct writer *table, const struct core *core,
                            const struct telemetry_board *board, size_t columns)
{
    uint32_t lines = 1, shown = 0, count = core_run_count(core);
    size_t start = table->len;
    writer_format(table, "%-20s %-9s %7s/%-7s %10s %9s %8s  %s", "run", "state", "step",
                  "steps", "loss", "tokens/s", "util", "spent of released of budget");
    end_row(table, start, columns);
    for (uint32_t i = 0; i < count; i++) {
        /* When not all fit, those that have ended make room for those that have not. */
        if (shown == TABLE_RUNS_MAX) break;
        if (count > TABLE_RUNS_MAX && core_run(core, i)->state >= RUN_STATE_FINISHED) continue;
        write_row(table, core, i, board, columns);
        shown++;
        lines++;
    }
    if (shown < count) {
        writer_format(table, "... and %u more: penstock status\n", count - shown);
        lines++;
    }
    const struct budget *budget = core_budget(core);
    start = table->len;
    writer_string(table, "campaign: spent ");
    write_amounts(table, core, budget->spent_micros, budget->released_micros,
                  budget->approved_micros);
    writer_string(table, " approved");
    end_row(table, start, columns);
    return lines + 1;
}

void display_draw(struct display *display, const struct core *core,
                  const struct telemetry_board *board, int64_t now_ns, bool last)
{
    if (display->kind != DISPLAY_TABLE || core_campaign(core) == NULL) return;
    if (!last && now_ns < display->next_draw_ns) return;
    display->next_draw_ns = now_ns + (display->changed ? DRAW_EVERY_NS : REDRAW_IDLE_NS);
    display->changed = false;
    char text[TABLE_BYTES];
    struct writer table = writer_of(text, sizeof text);
    uint32_t lines = write_table(&table, core, board, columns_of(display));
    erase_table(display);
    put(display, table.data, table.len);
    display->drawn_lines = last ? 0 : lines;
}

int64_t display_due_ns(const struct display *display)
{
    return display->kind == DISPLAY_TABLE ? display->next_draw_ns : TIME_NEVER;
}

void display_init(struct display *display, enum display_kind kind, int fd,
                  const char *state_dir, char *room)
{
    *display = (struct display){ .kind = kind, .fd = fd, .state_dir = state_dir };
    display->pending = writer_of(room, DISPLAY_PENDING_BYTES);
}
