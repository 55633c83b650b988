/*
 * status.c - one screen about now, from the core alone: no history is needed, so it is cheap enough to be redrawn.
 */

#include <inttypes.h>
#include <string.h>

#include "scheduler/report/json.h"
#include "scheduler/report/report.h"

enum { NAME_COLUMNS_MAX = 28 };

/* Something that waits for a person. */
struct question {
    const char *owner;
    char what[2 * NAME_MAX_BYTES + 32]; /* as `decide` takes it */
    int64_t since_ns, deadline_ns;      /* deadline: TIME_NEVER when there is none */
    bool signs;                         /* the answer must be signed */
};

static bool state_ended(enum run_state state)
{
    return state == RUN_STATE_FINISHED || state == RUN_STATE_STOPPED ||
           state == RUN_STATE_FAILED;
}

static int64_t now_of(const struct core *core, const struct status_options *options)
{
    return options->live == LIVE_NO && !options->now_ns
               ? core_now_ns(core)
               : max_i64(options->now_ns, core_now_ns(core));
}

static const char *owner_name(const struct core *core, uint32_t owner)
{
    const struct campaign_spec *spec = core_campaign(core);
    return owner < spec->owner_count ? spec->owners[owner].name : "an owner";
}

/* ---- who is waited for --------------------------------------------------------------- */

/* Who is asked now, and until when. */
static void ask_of(const struct core *core, uint32_t run, struct question *question)
{
    const struct request *request = core_request(core, run);
    const struct campaign_spec *spec = core_campaign(core);
    question->owner = owner_name(core, request->owner);
    question->since_ns = request->asked_ns;
    question->deadline_ns = request->deadline_ns;
    question->signs =
        request->owner < spec->owner_count && spec->owners[request->owner].key_count > 0;
}

/* The question that a run waits with, if any. */
static bool run_question(const struct core *core, uint32_t index, struct question *question)
{
    const struct run *run = core_run(core, index);
    struct writer what = writer_of(question->what, sizeof question->what);
    if (state_ended(run->state)) return false;
    for (uint32_t slot = 0; slot < run->gate_count; slot++) {
        const struct run_gate *gate = core_run_gate(core, index, slot);
        if (gate->verdict != VERDICT_HOLD) continue;
        const struct gate_spec *spec = core_gate(core, gate->gate_index);
        writer_format(&what, "%s/%s", run->name, spec->name);
        ask_of(core, index, question);
        return true;
    }
    if (run->state != RUN_STATE_HELD) return false;
    writer_string(&what, run->name);
    ask_of(core, index, question);
    return true;
}

static bool tier_question(const struct core *core, struct question *question)
{
    const struct campaign_spec *spec = core_campaign(core);
    const struct budget *budget = core_budget(core);
    if (!budget->tier_asked || budget->tiers_open >= spec->tier_count) return false;
    struct writer what = writer_of(question->what, sizeof question->what);
    writer_format(&what, "tier:%" PRIu32, budget->tiers_open + 1);
    ask_of(core, NO_INDEX, question);
    return true;
}

/* ---- slots --------------------------------------------------------------------------- */

struct slots {
    uint32_t present, busy;
};

static struct slots count_slots(const struct core *core)
{
    struct slots slots = { 0, 0 };
    for (uint32_t w = 1; w < core_workers_max(core); w++) {
        const struct worker *worker = core_worker(core, w);
        if (!worker->present) continue;
        slots.present++;
        slots.busy += worker->run != NO_INDEX;
    }
    return slots;
}

/* ---- text ---------------------------------------------------------------------------- */

static const char *phase_word(const struct core *core, const struct status_options *options)
{
    uint32_t open = 0;
    for (uint32_t r = 0; r < core_run_count(core); r++)
        open += !state_ended(core_run(core, r)->state);
    if (core_run_count(core) > 0 && open == 0) return "done";
    if (options->live == LIVE_NO) return "not running; run it again to go on";
    return core_suspended(core) ? "suspending" : "running";
}

static void out_states(const struct core *core, FILE *to)
{
    uint32_t counts[RUN_STATE_COUNT] = { 0 };
    const char *comma = "";
    for (uint32_t r = 0; r < core_run_count(core); r++)
        counts[core_run(core, r)->state]++;
    for (int state = 0; state < RUN_STATE_COUNT; state++) {
        if (counts[state] == 0) continue;
        fprintf(to, "%s%" PRIu32 " %s", comma, counts[state],
                run_state_name((enum run_state)state));
        comma = ", ";
    }
}

static void out_money(const struct core *core, FILE *to)
{
    const struct campaign_spec *spec = core_campaign(core);
    const struct budget *budget = core_budget(core);
    struct currency currency = currency_of(spec->currency, spec->budget_micros);
    fprintf(to, "money  spent %s + reserved %s of released %s of approved %s of ",
            word_amount(budget->spent_micros, &currency).text,
            word_amount(budget->reserved_micros, &currency).text,
            word_amount(budget->released_micros, &currency).text,
            word_amount(budget->approved_micros, &currency).text);
    out_plain(to, text_of(word_money(spec->budget_micros, &currency).text));
    fputc('\n', to);
}

static void out_question(const struct question *question, const struct status_options *options,
                         int64_t now_ns, FILE *to)
{
    fputs("waits for ", to);
    out_plain(to, text_of(question->owner));
    fprintf(to, " for %s: ", word_duration(max_i64(0, now_ns - question->since_ns)).text);
    out_plain(to, text_of(question->what));
    if (question->deadline_ns != TIME_NEVER)
        fprintf(to, ", answer by %s", word_utc(question->deadline_ns).text);
    char line[2048];
    struct writer writer = writer_of(line, sizeof line);
    writer_string(&writer, "penstock decide ");
    writer_shell(&writer, text_of(options->state_folder ? options->state_folder : "STATE"));
    writer_string(&writer, " ");
    writer_shell(&writer, text_of(question->what));
    writer_string(&writer, " go|no-go --as ");
    writer_shell(&writer, text_of(question->owner));
    writer_string(&writer, question->signs ? " --reason TEXT --key SSH_KEY" : " --reason TEXT");
    fputs("\n       ", to);
    out_plain(to, (struct text){ line, writer.len });
    fputc('\n', to);
}

static size_t name_columns(const struct core *core)
{
    size_t columns = 3;
    for (uint32_t r = 0; r < core_run_count(core); r++) {
        size_t width = text_columns(text_of(core_run(core, r)->name));
        if (width > columns) columns = width;
    }
    return columns < NAME_COLUMNS_MAX ? columns : NAME_COLUMNS_MAX;
}

static const char *why(const struct core *core, uint32_t index)
{
    const struct run *run = core_run(core, index);
    if (run->state != RUN_STATE_QUEUED) return reason_name(run->reason);
    enum reason reason = core_waits_for(core, index);
    return reason_name(reason == REASON_NONE ? run->reason : reason);
}

static void out_run(const struct core *core, uint32_t index, size_t columns, int64_t now_ns,
                    FILE *to)
{
    const struct run *run = core_run(core, index);
    const struct campaign_spec *spec = core_campaign(core);
    struct currency currency = currency_of(spec->currency, spec->budget_micros);
    struct word step = word_count(run->step);
    char steps[64];
    struct writer writer = writer_of(steps, sizeof steps);
    writer_string(&writer, step.text);
    if (run->steps > 0) writer_format(&writer, "/%s", word_count(run->steps).text);
    out_cell(to, text_of(run->name), columns);
    fprintf(to, "  %-8s %13s %8s %8s %11s %8s %7s  ", run_state_name(run->state), steps,
            run->loss_micro == LOSS_UNKNOWN   ? "-"
            : loss_is_number(run->loss_micro) ? word_loss(run->loss_micro).text
                                              : "NaN/Inf",
            loss_is_number(run->val_best_micro) ? word_loss(run->val_best_micro).text : "-",
            word_amount(run->spent_micros, &currency).text,
            run->util_ppm == UTIL_UNKNOWN ? "-" : word_percent(run->util_ppm).text,
            word_duration(max_i64(0, now_ns - run->state_since_ns)).text);
    out_plain(to, text_of(why(core, index)));
    fputc('\n', to);
}

/* Runs that have not ended, then, if wanted, those that have. */
static void out_runs(const struct core *core, const struct status_options *options,
                     int64_t now_ns, FILE *to)
{
    size_t columns = name_columns(core);
    uint32_t lines = 0, left_out = 0;
    out_cell(to, TEXT("run"), columns);
    fprintf(to, "  %-8s %13s %8s %8s %11s %8s %7s  %s\n", "state", "step", "loss", "held-out",
            "spent", "util.", "since", "why");
    for (int ended = 0; ended <= (options->ended_runs ? 1 : 0); ended++)
        for (uint32_t r = 0; r < core_run_count(core); r++) {
            if (state_ended(core_run(core, r)->state) != (ended == 1)) continue;
            if (options->run_lines_max > 0 && lines == options->run_lines_max) {
                left_out++;
                continue;
            }
            out_run(core, r, columns, now_ns, to);
            lines++;
        }
    if (left_out > 0)
        fprintf(to, "and %s\n", word_plural(left_out, "more run", "more runs").text);
}

enum err status_write(const struct core *core, const struct status_options *options, FILE *to,
                      struct error *error)
{
    const struct campaign_spec *spec = core_campaign(core);
    if (!spec) {
        fputs("no campaign has been recorded yet\n", to);
        return out_check(to, "the status", error);
    }
    int64_t now_ns = now_of(core, options);
    struct slots slots = count_slots(core);
    out_plain(to, text_of(spec->name));
    fprintf(to, ": %s (%s)\nruns   ", phase_word(core, options), word_utc(now_ns).text);
    out_states(core, to);
    fputc('\n', to);
    out_money(core, to);
    if (options->live != LIVE_NO)
        fprintf(to, "slots  %" PRIu32 " busy, %" PRIu32 " idle\n", slots.busy,
                slots.present - slots.busy);
    struct question question;
    if (tier_question(core, &question)) out_question(&question, options, now_ns, to);
    for (uint32_t r = 0; r < core_run_count(core); r++)
        if (run_question(core, r, &question)) out_question(&question, options, now_ns, to);
    fputc('\n', to);
    out_runs(core, options, now_ns, to);
    return out_check(to, "the status", error);
}

/* ---- JSON ---------------------------------------------------------------------------- */

static void put_loss(struct json *json, const char *key, int64_t loss_micro)
{
    if (loss_is_number(loss_micro))
        json_int(json, key, loss_micro);
    else
        json_null(json, key);
}

static void put_run(struct json *json, const struct core *core, uint32_t index)
{
    char flags[UTIL_FLAGS_BYTES];
    const struct run *run = core_run(core, index);
    int64_t remaining_ns = core_remaining_ns(core, index);
    json_begin(json, NULL, '{');
    json_string(json, "run", run->name);
    json_string(json, "state", run_state_name(run->state));
    json_string(json, "reason", why(core, index));
    json_int(json, "state_since_ns", run->state_since_ns);
    json_int(json, "ranks", run->ranks);
    json_int(json, "attempts", run->attempts);
    json_count(json, "step", run->step);
    json_count(json, "steps_planned", run->steps);
    json_count(json, "tokens", run->tokens);
    put_loss(json, "loss_micro", run->loss_micro);
    put_loss(json, "val_best_micro", run->val_best_micro);
    if (run->util_ppm == UTIL_UNKNOWN)
        json_null(json, "util_ppm");
    else
        json_int(json, "util_ppm", run->util_ppm);
    json_string(json, "util_by", util_rung_name(run->rung));
    util_flags_write(run->util_flags, flags);
    json_string(json, "util_flags", flags);
    json_int(json, "budget_micros", run->budget_micros);
    json_int(json, "released_micros", run->released_micros);
    json_int(json, "reserved_micros", run->reserved_micros);
    json_int(json, "spent_micros", run->spent_micros);
    if (remaining_ns == TIME_NEVER || state_ended(run->state))
        json_null(json, "remaining_ns");
    else
        json_int(json, "remaining_ns", remaining_ns);
    json_end(json, '}');
}

static void put_question(struct json *json, const struct question *question, int64_t now_ns)
{
    json_begin(json, NULL, '{');
    json_string(json, "owner", question->owner);
    json_string(json, "what", question->what);
    json_int(json, "since_ns", question->since_ns);
    json_int(json, "waited_ns", max_i64(0, now_ns - question->since_ns));
    if (question->deadline_ns != TIME_NEVER)
        json_int(json, "deadline_ns", question->deadline_ns);
    json_end(json, '}');
}

static void put_campaign(struct json *json, const struct core *core,
                         const struct status_options *options, int64_t now_ns)
{
    const struct campaign_spec *spec = core_campaign(core);
    const struct budget *budget = core_budget(core);
    struct slots slots = count_slots(core);
    struct question question;
    json_string(json, "campaign", spec->name);
    json_string(json, "currency", spec->currency);
    json_string(json, "phase", phase_word(core, options));
    json_begin(json, "money", '{');
    json_int(json, "budget_micros", spec->budget_micros);
    json_int(json, "approved_micros", budget->approved_micros);
    json_int(json, "released_micros", budget->released_micros);
    json_int(json, "reserved_micros", budget->reserved_micros);
    json_int(json, "spent_micros", budget->spent_micros);
    json_end(json, '}');
    json_begin(json, "slots", '{');
    json_int(json, "present", slots.present);
    json_int(json, "busy", slots.busy);
    json_end(json, '}');
    json_begin(json, "waits", '[');
    if (tier_question(core, &question)) put_question(json, &question, now_ns);
    for (uint32_t r = 0; r < core_run_count(core); r++)
        if (run_question(core, r, &question)) put_question(json, &question, now_ns);
    json_end(json, ']');
    json_begin(json, "runs", '[');
    for (uint32_t r = 0; r < core_run_count(core); r++)
        put_run(json, core, r);
    json_end(json, ']');
}

enum err status_write_json(const struct core *core, const struct status_options *options,
                           FILE *to, struct error *error)
{
    struct json json = { .to = to };
    int64_t now_ns = now_of(core, options);
    json_begin(&json, NULL, '{');
    json_string(&json, "schema", "penstock.status");
    json_int(&json, "version", REPORT_SCHEMA_VERSION);
    json_int(&json, "at_ns", now_ns);
    json_string(&json, "at", word_rfc3339(now_ns).text);
    if (options->live == LIVE_UNKNOWN)
        json_null(&json, "live");
    else
        json_bool(&json, "live", options->live == LIVE_YES);
    if (core_campaign(core))
        put_campaign(&json, core, options, now_ns);
    else
        json_null(&json, "campaign");
    json_end(&json, '}');
    return out_check(to, "the status", error);
}
