/*
 * html.c - the review report as one HTML file: no script, nothing loaded from outside (a content security policy
 * in the page says so too), all text escaped. Exact amounts stand in <data value="..."> beside what is shown.
 */

#include <inttypes.h>
#include <string.h>

#include "scheduler/report/report.h"
#include "scheduler/report/style.h"
#include "scheduler/report/svg.h"
#include "scheduler/report/tables.h"

static void out_string(FILE *to, const char *string)
{
    out_html(to, text_of(string));
}

/* ---- tables -------------------------------------------------------------------------- */

static void find_columns(const struct model *model, const struct table *table,
                         bool used[CELLS_MAX])
{
    struct arena arena = { NULL };
    uint32_t rows = table->row_count(model);
    for (uint32_t r = 0; r < rows; r++) {
        struct table_row row = { .detail = NULL };
        table->row(model, r, &arena, &row);
        for (uint32_t c = 0; c < table->column_count; c++)
            used[c] |= row.cells[c].text[0] != '\0';
    }
    arena_fini(&arena);
}

static void out_cell_text(FILE *to, const struct cell *cell)
{
    if (cell->has_value) fprintf(to, "<data value=\"%" PRId64 "\">", cell->value);
    out_string(to, cell->text);
    if (cell->has_value) fputs("</data>", to);
}

static void out_row(FILE *to, const struct table *table, const bool used[CELLS_MAX],
                    const struct table_row *row)
{
    uint32_t shown = 0;
    fputs("<tr role=\"row\">", to);
    for (uint32_t c = 0; c < table->column_count; c++) {
        if (!used[c]) continue;
        const struct cell *cell = &row->cells[c];
        const char *tone = tone_name(cell->tone);
        if (shown++ == 0) {
            fputs("<th scope=\"row\" role=\"rowheader\">", to);
            out_cell_text(to, cell);
            fputs("</th>", to);
            continue;
        }
        const char *gap = table->columns[c].right && tone[0] ? " " : "";
        fprintf(to, "<td role=\"cell\" data-l=\"%s\" class=\"%s%s%s\">", table->columns[c].name,
                table->columns[c].right ? "right" : "", gap, tone);
        out_cell_text(to, cell);
        fputs("</td>", to);
    }
    fputs("</tr>\n", to);
    if (!row->detail && !row->output) return;
    fprintf(
        to,
        "<tr role=\"row\" class=\"more\"><td role=\"cell\" class=\"more\" colspan=\"%" PRIu32
        "\">",
        shown);
    if (row->detail) out_string(to, row->detail);
    if (row->output) {
        fputs("<pre aria-label=\"end of the program's output\">", to);
        out_html(to, text_trim(text_of(row->output)));
        fputs("</pre>", to);
    }
    fputs("</td></tr>\n", to);
}

static void out_heading(FILE *to, const struct table *table, const bool used[CELLS_MAX])
{
    fputs("<thead role=\"rowgroup\"><tr role=\"row\">", to);
    bool first = true; /* the first column names the row, and stands on the left */
    for (uint32_t c = 0; c < table->column_count; c++) {
        if (!used[c]) continue;
        fprintf(to, "<th scope=\"col\" role=\"columnheader\"%s>%s</th>",
                table->columns[c].right && !first ? " class=\"right\"" : "",
                table->columns[c].name);
        first = false;
    }
    fputs("</tr></thead>\n", to);
}

static void out_table(FILE *to, const struct model *model, enum table_id id)
{
    const struct table *table = table_of(id);
    uint32_t rows = table->row_count(model);
    if (rows == 0 && !table->empty) return;
    fprintf(to, "<section id=\"%s\"><h2>%s</h2>\n", table->id, table->title);
    if (id == TABLE_SLOTS) svg_slots(model, to);
    if (rows == 0) {
        fprintf(to, "<p>%s</p></section>\n", table->empty);
        return;
    }
    bool used[CELLS_MAX] = { false };
    find_columns(model, table, used);
    fprintf(to,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"%s\"><table "
            "role=\"table\">\n",
            table->title);
    out_heading(to, table, used);
    fputs("<tbody role=\"rowgroup\">\n", to);
    struct arena arena = { NULL };
    for (uint32_t r = 0; r < rows; r++) {
        struct table_row row = { .detail = NULL };
        table->row(model, r, &arena, &row);
        out_row(to, table, used, &row);
    }
    arena_fini(&arena);
    fputs("</tbody></table></div>\n", to);
    if (table->note) fprintf(to, "<p class=\"note\">%s</p>\n", table->note);
    fputs("</section>\n", to);
}

/* ---- the top ------------------------------------------------------------------------- */

static const char *phase_tone(enum phase phase)
{
    static const char *const tones[PHASE_COUNT] = {
        [PHASE_EMPTY] = "muted", [PHASE_RUNNING] = "good",   [PHASE_WAITS] = "wait",
        [PHASE_DONE] = "good",   [PHASE_SUSPENDED] = "wait", [PHASE_INTERRUPTED] = "bad",
    };
    return (size_t)phase < ARRAY_COUNT(tones) ? tones[phase] : "";
}

static void out_head(FILE *to, const struct model *model)
{
    fputs(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
        "'unsafe-inline'\">\n<title>Checkpoint review",
        to);
    if (model->campaign) {
        fputs(": ", to);
        out_string(to, model->campaign->name);
    }
    fputs("</title>\n", to);
    style_write(to);
    fputs("</head>\n<body>\n", to);
}

static void out_tile(FILE *to, const char *name, const char *value, const char *note)
{
    fprintf(to, "<li><span>%s</span><b>", name);
    out_string(to, value);
    fputs("</b><span>", to);
    out_string(to, note);
    fputs("</span></li>\n", to);
}

static void out_tiles(FILE *to, const struct model *model, struct arena *arena)
{
    const struct model_money *money = &model->money;
    uint32_t ended = model->state_count[RUN_STATE_FINISHED] +
                     model->state_count[RUN_STATE_STOPPED] +
                     model->state_count[RUN_STATE_FAILED];
    fputs("<ul class=\"tiles\">\n", to);
    out_tile(to, "Spent", word_money(money->spent_micros, &model->currency).text,
             money->budget_micros > 0
                 ? arena_format(
                       arena, "%s of the budget of %s",
                       word_percent(scale_floor(money->spent_micros, PPM, money->budget_micros))
                           .text,
                       word_amount(money->budget_micros, &model->currency).text)
                 : "no budget");
    out_tile(to, "Runs ended",
             arena_format(arena, "%" PRIu32 " of %" PRIu32, ended, model->run_count),
             arena_format(
                 arena, "%" PRIu32 " finished, %" PRIu32 " stopped, %" PRIu32 " failed",
                 model->state_count[RUN_STATE_FINISHED], model->state_count[RUN_STATE_STOPPED],
                 model->state_count[RUN_STATE_FAILED]));
    out_tile(to, "Utilization", word_percent(model->util_ppm).text,
             model->slot_present_ns > 0
                 ? arena_format(arena, "slots held %s of the time",
                                word_percent(scale_floor(model->slot_busy_ns, PPM,
                                                         model->slot_present_ns))
                                    .text)
                 : "no slots yet");
    out_tile(
        to, "Waiting for people", word_plural(model->wait_count, "decision", "decisions").text,
        model->decision_mean_ns >= 0 ? arena_format(arena, "answered after %s on average",
                                                    word_duration(model->decision_mean_ns).text)
                                     : "none answered so far");
    fputs("</ul>\n", to);
}

static void out_waits(FILE *to, const struct model *model)
{
    if (model->wait_count == 0) return;
    fputs("<section id=\"waits\" aria-label=\"Waits for a person\"><ul class=\"waits\">\n", to);
    for (uint32_t i = 0; i < model->wait_count; i++) {
        const struct model_wait *wait = &model->waits[i];
        fputs("<li><b>", to);
        out_string(to, wait->owner ? wait->owner : "An owner");
        fputs("</b>", to);
        if (wait->role && wait->role[0]) {
            fputs(" (", to);
            out_string(to, wait->role);
            fputs(")", to);
        }
        fputs(" must decide about ", to);
        out_string(to, wait->what);
        fprintf(to, ", asked %s ago.<code>",
                word_duration(max_i64(0, model->report_ns - wait->since_ns)).text);
        out_string(to, wait->command);
        fputs("</code></li>\n", to);
    }
    fputs("</ul></section>\n", to);
}

static void out_top(FILE *to, const struct model *model, struct arena *arena)
{
    fputs("<header><p class=\"kicker\">Checkpoint review</p><h1>", to);
    out_string(to, model->campaign ? model->campaign->name : "No campaign");
    fprintf(to, "<span class=\"chip %s\">%s</span></h1>\n<p class=\"period\">",
            phase_tone(model->phase), phase_name(model->phase));
    out_string(to, period_line(model, arena));
    fputs("</p>\n<p class=\"headline\">", to);
    out_string(to, model->headline);
    fputs("</p>\n", to);
    if (model->campaign) out_tiles(to, model, arena);
    out_waits(to, model);
    if (model->campaign)
        fputs("<nav aria-label=\"Sections\"><a href=\"#money\">Money</a><a "
              "href=\"#runs\">Runs</a><a "
              "href=\"#curves\">Loss curves</a><a href=\"#decisions\">Decisions</a><a "
              "href=\"#incidents\">Incidents</a><a href=\"#slots\">Slots</a><a "
              "href=\"#gaps\">Missing data</a><a href=\"#policy\">Policy</a></nav>\n",
              to);
    fputs("</header>\n", to);
}

/* ---- money --------------------------------------------------------------------------- */

/* Parts per 10,000 of the budget, as a percentage for SVG. */
static void out_meter_part(FILE *to, const char *class, int64_t amount, int64_t budget)
{
    int64_t part = min_i64(10000, scale_floor(max_i64(0, amount), 10000, budget));
    fprintf(to, "<rect class=\"%s\" width=\"%" PRId64 ".%02" PRId64 "%%\" height=\"14\"/>",
            class, part / 100, part % 100);
}

static void out_meter(FILE *to, const struct model_money *money)
{
    if (money->budget_micros <= 0) return;
    int64_t budget = money->budget_micros;
    fprintf(to,
            "<svg class=\"meter\" role=\"img\" width=\"100%%\" height=\"14\"><title>Of the "
            "budget, %s "
            "spent, %s released, %s approved</title><rect class=\"track\" width=\"100%%\" "
            "height=\"14\"/>",
            word_percent(scale_floor(money->spent_micros, PPM, budget)).text,
            word_percent(scale_floor(money->released_micros, PPM, budget)).text,
            word_percent(scale_floor(money->approved_micros, PPM, budget)).text);
    out_meter_part(to, "m-approved", money->approved_micros, budget);
    out_meter_part(to, "m-released", money->released_micros, budget);
    out_meter_part(to, "m-reserved", money->spent_micros + money->reserved_micros, budget);
    out_meter_part(to, "m-spent", money->spent_micros, budget);
    fputs("</svg>\n", to);
}

static void out_money(FILE *to, const struct model *model, struct arena *arena)
{
    struct figure figures[FIGURES_MAX];
    uint32_t count = money_figures(model, arena, figures);
    fputs("<section id=\"money\"><h2>Money</h2>\n", to);
    out_meter(to, &model->money);
    fputs("<dl class=\"figures\">\n", to);
    for (uint32_t i = 0; i < count; i++) {
        fprintf(to, "<div><dt>%s</dt><dd><data value=\"%" PRId64 "\">", figures[i].name,
                figures[i].exact);
        out_string(to, figures[i].value);
        fputs("</data></dd><dd>", to);
        if (figures[i].note) out_string(to, figures[i].note);
        fputs("</dd></div>\n", to);
    }
    fputs("</dl>\n", to);
    svg_spend(model, to);
    fputs("</section>\n", to);
}

/* ---- the rest ------------------------------------------------------------------------ */

static void out_gaps(FILE *to, const struct model *model)
{
    fputs("<section id=\"gaps\"><h2>What the data does not tell</h2>\n", to);
    if (model->gap_count == 0) fputs("<p>Nothing is missing.</p>\n", to);
    if (model->gap_count > 0) fputs("<ul class=\"list\">\n", to);
    for (uint32_t i = 0; i < model->gap_count; i++) {
        fputs("<li>", to);
        out_string(to, model->gaps[i].text);
        fputs("</li>\n", to);
    }
    if (model->gap_count > 0) fputs("</ul>\n", to);
    fputs("</section>\n", to);
}

static void out_notes(FILE *to, const struct model *model)
{
    if (model->note_count == 0) return;
    fputs("<section id=\"notes\"><h2>Notes of the coordinator</h2><ul class=\"list\">\n", to);
    for (uint32_t i = 0; i < model->note_count; i++) {
        const struct model_note *note = &model->notes[i];
        fprintf(to, "<li><span class=\"muted\">%s</span> ", word_utc(note->at_ns).text);
        if (note->run != NO_INDEX) {
            out_string(to, model->runs[note->run].name);
            fputs(": ", to);
        }
        out_string(to, note->text);
        fputs("</li>\n", to);
    }
    fputs("</ul></section>\n", to);
}

static void out_policy(FILE *to, const struct model *model, struct arena *arena)
{
    const char *lines[POLICY_LINES_MAX];
    uint32_t count = policy_lines(model, arena, lines);
    if (count == 0) return;
    fprintf(to,
            "<section id=\"policy\"><h2>Policy in effect</h2><details><summary>%s</summary><ul "
            "class=\"list\">\n",
            word_plural(count, "rule, defaults merged", "rules, defaults merged").text);
    for (uint32_t i = 0; i < count; i++) {
        fputs("<li>", to);
        out_string(to, lines[i]);
        fputs("</li>\n", to);
    }
    fputs("</ul></details></section>\n", to);
}

static void out_foot(FILE *to, const struct model *model, struct arena *arena)
{
    fputs("<footer><p>Chain head: <span class=\"mono\">", to);
    out_string(to, head_line(model, arena));
    fputs("</span><br>Checked by <code>penstock verify ", to);
    out_string(to, model->options.state_folder);
    fprintf(
        to,
        "</code>. Times are UTC. Amounts are rounded to %d decimals; the JSON report holds the "
        "exact ones. Penstock %s.</p></footer>\n</body>\n</html>\n",
        model->campaign ? model->currency.digits : 2, PENSTOCK_VERSION);
}

void report_html(const struct model *model, FILE *to)
{
    struct arena arena = { NULL };
    out_head(to, model);
    svg_patterns(to);
    out_top(to, model, &arena);
    fputs("<main>\n", to);
    if (model->campaign) out_money(to, model, &arena);
    out_table(to, model, TABLE_RUNS);
    svg_curves(model, to);
    out_table(to, model, TABLE_DECISIONS);
    out_table(to, model, TABLE_INCIDENTS);
    out_table(to, model, TABLE_GUARDRAILS);
    out_table(to, model, TABLE_SLOTS);
    if (model->run_count > 0) out_table(to, model, TABLE_TIMES);
    out_table(to, model, TABLE_LIVES);
    out_gaps(to, model);
    out_notes(to, model);
    out_policy(to, model, &arena);
    fputs("</main>\n", to);
    out_foot(to, model, &arena);
    arena_fini(&arena);
}
