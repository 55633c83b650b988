/*
 * text.c - the review report for a terminal, 100 columns wide.
 */

#include <inttypes.h>
#include <string.h>

#include "scheduler/report/report.h"
#include "scheduler/report/tables.h"

enum { GAP_COLUMNS = 2, INDENT_COLUMNS = 2, OUTPUT_LINES_MAX = 4 };

static void out_rule(FILE *to, const char *mark)
{
    for (int i = 0; i < REPORT_COLUMNS; i++)
        fputs(mark, to);
    fputc('\n', to);
}

static void out_title(FILE *to, const char *title)
{
    fputc('\n', to);
    for (const char *c = title; *c; c++)
        fputc(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c, to);
    fputc('\n', to);
}

/* ---- tables -------------------------------------------------------------------------- */

/* Widths of a table's columns; 0: every cell is empty and the column is left out. */
struct layout {
    uint32_t widths[CELLS_MAX];
    uint32_t total;
};

static void sum_widths(const struct table *table, struct layout *layout)
{
    layout->total = INDENT_COLUMNS;
    bool first = true;
    for (uint32_t c = 0; c < table->column_count; c++) {
        if (layout->widths[c] == 0) continue;
        layout->total += layout->widths[c] + (first ? 0 : GAP_COLUMNS);
        first = false;
    }
}

/* The widest column of text gives way, one column at a time, until the table fits. */
static void shrink(const struct table *table, struct layout *layout)
{
    while (layout->total > REPORT_COLUMNS) {
        uint32_t widest = CELLS_MAX;
        for (uint32_t c = 0; c < table->column_count; c++)
            if (!table->columns[c].right &&
                (widest == CELLS_MAX || layout->widths[c] > layout->widths[widest]))
                widest = c;
        if (widest == CELLS_MAX || layout->widths[widest] <= 4) return;
        layout->widths[widest]--;
        layout->total--;
    }
}

static struct layout layout_of(const struct model *model, const struct table *table,
                               struct arena *arena)
{
    struct layout layout = { { 0 }, 0 };
    uint32_t rows = table->row_count(model);
    for (uint32_t r = 0; r < rows; r++) {
        struct table_row row = { .detail = NULL };
        table->row(model, r, arena, &row);
        for (uint32_t c = 0; c < table->column_count; c++) {
            uint32_t width = (uint32_t)text_columns(text_of(row.cells[c].text));
            if (width > table->columns[c].columns_max) width = table->columns[c].columns_max;
            if (width > layout.widths[c]) layout.widths[c] = width;
        }
    }
    for (uint32_t c = 0; c < table->column_count; c++) {
        uint32_t title = (uint32_t)strlen(table->columns[c].name);
        if (layout.widths[c] > 0 && layout.widths[c] < title) layout.widths[c] = title;
    }
    sum_widths(table, &layout);
    shrink(table, &layout);
    return layout;
}

/* The column that is written last: nothing is padded after it. A NULL row is the heading. */
static uint32_t last_column(const struct table *table, const struct layout *layout,
                            const struct table_row *row)
{
    uint32_t last = 0;
    for (uint32_t c = 0; c < table->column_count; c++)
        if (layout->widths[c] > 0 && (!row || row->cells[c].text[0])) last = c;
    return last;
}

static void out_cells(FILE *to, const struct table *table, const struct layout *layout,
                      const struct table_row *row)
{
    uint32_t last = last_column(table, layout, row);
    bool first = true;
    for (uint32_t c = 0; c <= last; c++) {
        uint32_t width = layout->widths[c];
        if (width == 0) continue;
        for (int i = 0; i < (first ? INDENT_COLUMNS : GAP_COLUMNS); i++)
            fputc(' ', to);
        first = false;
        struct text text = text_of(row ? row->cells[c].text : table->columns[c].name);
        if (table->columns[c].right)
            out_cell_right(to, text, width);
        else if (c == last && text_columns(text) <= width)
            out_plain(to, text);
        else
            out_cell(to, text, width);
    }
    fputc('\n', to);
}

/* The last lines of a program's output, each marked. */
static void out_output(FILE *to, const char *output)
{
    struct text text = text_trim(text_of(output));
    size_t from = text.len;
    for (int lines = 0; from > 0; from--)
        if (text.data[from - 1] == '\n' && ++lines == OUTPUT_LINES_MAX) break;
    text.data += from;
    text.len -= from;
    while (text.len > 0) {
        size_t end = text_find(text, TEXT("\n"));
        struct text line = { text.data, end == SIZE_MAX ? text.len : end };
        fputs("      | ", to);
        out_cell(to, line,
                 text_columns(line) < REPORT_COLUMNS - 8 ? text_columns(line)
                                                         : REPORT_COLUMNS - 8);
        fputc('\n', to);
        size_t used = end == SIZE_MAX ? text.len : end + 1;
        text.data += used;
        text.len -= used;
    }
}

static void out_table(FILE *to, const struct model *model, enum table_id id)
{
    const struct table *table = table_of(id);
    uint32_t rows = table->row_count(model);
    if (rows == 0 && !table->empty) return;
    out_title(to, table->title);
    if (rows == 0) {
        out_wrapped(to, text_of(table->empty), INDENT_COLUMNS, REPORT_COLUMNS);
        return;
    }
    struct arena arena = { NULL };
    struct layout layout = layout_of(model, table, &arena);
    out_cells(to, table, &layout, NULL);
    for (uint32_t r = 0; r < rows; r++) {
        struct table_row row = { .detail = NULL };
        table->row(model, r, &arena, &row);
        out_cells(to, table, &layout, &row);
        if (row.detail) out_wrapped(to, text_of(row.detail), 6, REPORT_COLUMNS);
        if (row.output) out_output(to, row.output);
    }
    if (table->note) out_wrapped(to, text_of(table->note), INDENT_COLUMNS, REPORT_COLUMNS);
    arena_fini(&arena);
}

/* ---- money --------------------------------------------------------------------------- */

/* Spent, reserved, released and approved of the budget, as one bar. */
static void out_money_bar(FILE *to, const struct model_money *money)
{
    enum { BAR_COLUMNS = 64 };
    if (money->budget_micros <= 0) return;
    int64_t ends[] = { money->spent_micros, money->spent_micros + money->reserved_micros,
                       money->released_micros, money->approved_micros };
    static const char *const marks[] = { "█", "▓", "▒", "░" };
    fputs("  [", to);
    for (int64_t column = 0; column < BAR_COLUMNS; column++) {
        const char *mark = " ";
        for (size_t i = ARRAY_COUNT(ends); i-- > 0;)
            if (scale_ceil(max_i64(0, ends[i]), BAR_COLUMNS, money->budget_micros) > column)
                mark = marks[i];
        fputs(mark, to);
    }
    fputs("]\n  █ spent  ▓ reserved  ▒ released  ░ approved  of the budget\n", to);
}

/* What stands beside a figure; under it when it is long. */
static void out_note(FILE *to, const char *note)
{
    enum { NOTE_COLUMN = 36 };
    bool fits = !note || text_columns(text_of(note)) + NOTE_COLUMN <= REPORT_COLUMNS;
    if (note && note[0] && fits) {
        fputs("  ", to);
        out_plain(to, text_of(note));
    }
    fputc('\n', to);
    if (!fits) out_wrapped(to, text_of(note), NOTE_COLUMN, REPORT_COLUMNS);
}

static void out_money(FILE *to, const struct model *model)
{
    struct arena arena = { NULL };
    struct figure figures[FIGURES_MAX];
    uint32_t count = money_figures(model, &arena, figures);
    out_title(to, "Money");
    out_money_bar(to, &model->money);
    for (uint32_t i = 0; i < count; i++) {
        fputs("  ", to);
        out_cell(to, text_of(figures[i].name), 14);
        out_cell_right(to, text_of(figures[i].value), 18);
        out_note(to, figures[i].note);
    }
    arena_fini(&arena);
}

/* ---- slots over time ----------------------------------------------------------------- */

enum { LETTERS = 52, CHART_COLUMNS = 80 };

static char run_letter(uint32_t run)
{
    return (char)(run < 26 ? 'A' + run : 'a' + (run - 26));
}

/* A run's letter where it held the slot for most of a column's time; '.' idle, ' ' absent, '/'
 * stopping. */
static char chart_mark(const struct model *model, uint32_t rank, int64_t from_ns, int64_t to_ns)
{
    int64_t middle_ns = from_ns + (to_ns - from_ns) / 2;
    for (uint32_t h = 0; h < model->hold_count; h++) {
        const struct model_span *hold = &model->holds[h];
        if (hold->worker != rank || hold->from_ns > middle_ns || hold->to_ns <= middle_ns)
            continue;
        if (hold->stopping_ns != 0 && hold->stopping_ns <= middle_ns) return '/';
        return run_letter(model->attempts[hold->attempt].run);
    }
    for (uint32_t p = 0; p < model->presence_count; p++) {
        const struct model_span *presence = &model->presences[p];
        if (presence->worker == rank && presence->from_ns <= middle_ns &&
            presence->to_ns > middle_ns)
            return '.';
    }
    return ' ';
}

static void out_chart_legend(FILE *to, const struct model *model)
{
    char line[4096];
    struct writer writer = writer_of(line, sizeof line);
    for (uint32_t r = 0; r < model->run_count; r++)
        if (model->runs[r].attempts > 0)
            writer_format(&writer, "%s%c=%s", writer.len > 0 ? "   " : "", run_letter(r),
                          model->runs[r].name);
    writer_format(&writer, "%s/=stopping   .=idle", writer.len > 0 ? "   " : "");
    out_wrapped(to, (struct text){ line, writer.len }, 11, REPORT_COLUMNS);
}

static void out_chart(FILE *to, const struct model *model)
{
    enum { WORKERS_MAX = 32 };
    if (model->run_count > LETTERS || model->worker_count == 0 || model->hold_count == 0)
        return;
    int64_t from_ns = model->presences[0].from_ns;
    int64_t span_ns = model->now_ns - from_ns;
    if (span_ns < CHART_COLUMNS) return;
    out_title(to, "Slots over time");
    for (uint32_t w = 0; w < model->worker_count && w < WORKERS_MAX; w++) {
        uint32_t rank = model->workers[w].rank;
        fprintf(to, "  %7" PRIu32 "  ", rank);
        for (int64_t c = 0; c < CHART_COLUMNS; c++)
            fputc(chart_mark(model, rank, from_ns + scale_floor(span_ns, c, CHART_COLUMNS),
                             from_ns + scale_floor(span_ns, c + 1, CHART_COLUMNS)),
                  to);
        fputc('\n', to);
    }
    if (model->worker_count > WORKERS_MAX)
        fprintf(
            to, "  and %s\n",
            word_plural(model->worker_count - WORKERS_MAX, "more worker", "more workers").text);
    fprintf(to, "           %s%*s%s\n", word_clock(from_ns).text, CHART_COLUMNS - 16, "",
            word_clock(model->now_ns).text);
    out_chart_legend(to, model);
}

/* ---- the rest ------------------------------------------------------------------------ */

static void out_shares(FILE *to, const struct model *model)
{
    if (model->slot_present_ns == 0) return;
    fprintf(to, "  all slots: present %s, busy %s, idle %s; utilization of the runs %s\n",
            word_duration(model->slot_present_ns).text, word_duration(model->slot_busy_ns).text,
            word_duration(model->slot_idle_ns).text, word_percent(model->util_ppm).text);
}

static void out_delays(FILE *to, const struct model *model)
{
    if (model->decision_mean_ns >= 0)
        fprintf(to, "  people decided after %s on average, %s at most\n",
                word_duration(model->decision_mean_ns).text,
                word_duration(model->decision_max_ns).text);
}

static void out_gaps(FILE *to, const struct model *model)
{
    out_title(to, "What the data does not tell");
    if (model->gap_count == 0) fputs("  Nothing is missing.\n", to);
    for (uint32_t i = 0; i < model->gap_count; i++) {
        out_item(to, "  - ", text_of(model->gaps[i].text), REPORT_COLUMNS);
    }
}

static void out_notes(FILE *to, const struct model *model)
{
    if (model->note_count == 0) return;
    out_title(to, "Notes of the coordinator");
    for (uint32_t i = 0; i < model->note_count; i++) {
        const struct model_note *note = &model->notes[i];
        fprintf(to, "  %s  ", word_utc(note->at_ns).text);
        if (note->run != NO_INDEX) {
            out_plain(to, text_of(model->runs[note->run].name));
            fputs(": ", to);
        }
        out_plain(to, text_of(note->text));
        fputc('\n', to);
    }
}

static void out_policy(FILE *to, const struct model *model, struct arena *arena)
{
    const char *lines[POLICY_LINES_MAX];
    uint32_t count = policy_lines(model, arena, lines);
    if (count == 0) return;
    out_title(to, "Policy in effect");
    for (uint32_t i = 0; i < count; i++)
        out_item(to, "  - ", text_of(lines[i]), REPORT_COLUMNS);
}

void report_text(const struct model *model, FILE *to)
{
    struct arena arena = { NULL };
    out_rule(to, "═");
    fputs("CHECKPOINT REVIEW", to);
    if (model->campaign) {
        fputs(" · ", to);
        out_plain(to, text_of(model->campaign->name));
    }
    fputc('\n', to);
    out_plain(to, text_of(period_line(model, &arena)));
    fputs("\n", to);
    out_rule(to, "═");
    out_wrapped(to, text_of(model->headline), 0, REPORT_COLUMNS);
    out_table(to, model, TABLE_WAITS);
    if (model->campaign) out_money(to, model);
    out_table(to, model, TABLE_RUNS);
    out_table(to, model, TABLE_DECISIONS);
    out_delays(to, model);
    out_table(to, model, TABLE_INCIDENTS);
    out_table(to, model, TABLE_GUARDRAILS);
    if (model->run_count > 0) out_table(to, model, TABLE_TIMES);
    out_table(to, model, TABLE_SLOTS);
    out_shares(to, model);
    out_chart(to, model);
    out_table(to, model, TABLE_LIVES);
    out_gaps(to, model);
    out_notes(to, model);
    out_policy(to, model, &arena);
    out_title(to, "Chain head");
    fputs("  ", to);
    out_plain(to, text_of(head_line(model, &arena)));
    fprintf(to, "\n  checked by: penstock verify ");
    out_plain(to, text_of(model->options.state_folder));
    fputs("\n", to);
    arena_fini(&arena);
}
