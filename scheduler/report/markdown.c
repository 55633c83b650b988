/*
 * markdown.c - the review report as GitHub-flavoured Markdown, for a pull request, a wiki or a mail.
 */

#include <inttypes.h>
#include <string.h>

#include "scheduler/report/report.h"
#include "scheduler/report/tables.h"

/* Which columns have a cell with text in any row. */
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

static void out_heading(FILE *to, const struct table *table, const bool used[CELLS_MAX],
                        bool has_detail)
{
    for (uint32_t c = 0; c < table->column_count; c++)
        if (used[c]) fprintf(to, "| %s ", table->columns[c].name);
    fputs(has_detail ? "| note |\n" : "|\n", to);
    for (uint32_t c = 0; c < table->column_count; c++)
        if (used[c]) fputs(table->columns[c].right ? "|---:" : "|---", to);
    fputs(has_detail ? "|---|\n" : "|\n", to);
}

static void out_row(FILE *to, const struct table *table, const bool used[CELLS_MAX],
                    const struct table_row *row, bool has_detail)
{
    for (uint32_t c = 0; c < table->column_count; c++) {
        if (!used[c]) continue;
        bool strong = row->cells[c].tone == TONE_BAD || row->cells[c].tone == TONE_WAIT;
        fputs(strong ? "| **" : "| ", to);
        out_markdown(to, text_of(row->cells[c].text));
        fputs(strong ? "** " : " ", to);
    }
    if (has_detail) {
        fputs("| ", to);
        if (row->detail) out_markdown(to, text_of(row->detail));
        fputc(' ', to);
    }
    fputs("|\n", to);
}

static bool any_detail(const struct model *model, const struct table *table)
{
    struct arena arena = { NULL };
    bool found = false;
    uint32_t rows = table->row_count(model);
    for (uint32_t r = 0; r < rows && !found; r++) {
        struct table_row row = { .detail = NULL };
        table->row(model, r, &arena, &row);
        found = row.detail != NULL;
    }
    arena_fini(&arena);
    return found;
}

/* What programs wrote before they failed, below the table, as code: nothing in it is marked up. */
static void out_outputs(FILE *to, const struct model *model, const struct table *table)
{
    struct arena arena = { NULL };
    uint32_t rows = table->row_count(model);
    for (uint32_t r = 0; r < rows; r++) {
        struct table_row row = { .detail = NULL };
        table->row(model, r, &arena, &row);
        if (!row.output) continue;
        fputs("\nEnd of the output, ", to);
        out_markdown(to, text_of(row.cells[1].text));
        fputs(" at ", to);
        out_markdown(to, text_of(row.cells[0].text));
        fputs(":\n\n", to);
        struct text text = text_trim(text_of(row.output));
        while (text.len > 0) {
            size_t end = text_find(text, TEXT("\n"));
            fputs("    ", to);
            out_plain(to, (struct text){ text.data, end == SIZE_MAX ? text.len : end });
            fputc('\n', to);
            size_t used = end == SIZE_MAX ? text.len : end + 1;
            text.data += used;
            text.len -= used;
        }
    }
    arena_fini(&arena);
}

static void out_table(FILE *to, const struct model *model, enum table_id id)
{
    const struct table *table = table_of(id);
    uint32_t rows = table->row_count(model);
    if (rows == 0 && !table->empty) return;
    fprintf(to, "\n## %s\n\n", table->title);
    if (rows == 0) {
        fprintf(to, "%s\n", table->empty);
        return;
    }
    bool used[CELLS_MAX] = { false };
    find_columns(model, table, used);
    bool has_detail = any_detail(model, table);
    out_heading(to, table, used, has_detail);
    struct arena arena = { NULL };
    for (uint32_t r = 0; r < rows; r++) {
        struct table_row row = { .detail = NULL };
        table->row(model, r, &arena, &row);
        out_row(to, table, used, &row, has_detail);
    }
    arena_fini(&arena);
    if (table->note) fprintf(to, "\n%s\n", table->note);
    out_outputs(to, model, table);
}

static void out_money(FILE *to, const struct model *model)
{
    struct arena arena = { NULL };
    struct figure figures[FIGURES_MAX];
    uint32_t count = money_figures(model, &arena, figures);
    fputs("\n## Money\n\n| | amount | |\n|---|---:|---|\n", to);
    for (uint32_t i = 0; i < count; i++) {
        fprintf(to, "| %s | ", figures[i].name);
        out_markdown(to, text_of(figures[i].value));
        fputs(" | ", to);
        if (figures[i].note) out_markdown(to, text_of(figures[i].note));
        fputs(" |\n", to);
    }
    arena_fini(&arena);
}

static void out_item_line(FILE *to, const char *text)
{
    fputs("- ", to);
    out_markdown(to, text_of(text));
    fputc('\n', to);
}

static void out_lists(FILE *to, const struct model *model, struct arena *arena)
{
    fputs("\n## What the data does not tell\n\n", to);
    if (model->gap_count == 0) fputs("Nothing is missing.\n", to);
    for (uint32_t i = 0; i < model->gap_count; i++)
        out_item_line(to, model->gaps[i].text);
    if (model->note_count > 0) fputs("\n## Notes of the coordinator\n\n", to);
    for (uint32_t i = 0; i < model->note_count; i++) {
        const struct model_note *note = &model->notes[i];
        bool named = note->run != NO_INDEX;
        out_item_line(to, arena_format(arena, "%s %s%s%s", word_utc(note->at_ns).text,
                                       named ? model->runs[note->run].name : "",
                                       named ? ": " : "", note->text));
    }
    const char *lines[POLICY_LINES_MAX];
    uint32_t count = policy_lines(model, arena, lines);
    if (count > 0) fputs("\n## Policy in effect\n\n", to);
    for (uint32_t i = 0; i < count; i++)
        out_item_line(to, lines[i]);
}

void report_markdown(const struct model *model, FILE *to)
{
    struct arena arena = { NULL };
    fputs("# Checkpoint review", to);
    if (model->campaign) {
        fputs(": ", to);
        out_markdown(to, text_of(model->campaign->name));
    }
    fputs("\n\n", to);
    out_markdown(to, text_of(period_line(model, &arena)));
    fputs("\n\n**", to);
    out_markdown(to, text_of(model->headline));
    fputs("**\n", to);
    out_table(to, model, TABLE_WAITS);
    if (model->campaign) out_money(to, model);
    out_table(to, model, TABLE_RUNS);
    out_table(to, model, TABLE_DECISIONS);
    out_table(to, model, TABLE_INCIDENTS);
    out_table(to, model, TABLE_GUARDRAILS);
    if (model->run_count > 0) out_table(to, model, TABLE_TIMES);
    out_table(to, model, TABLE_SLOTS);
    out_table(to, model, TABLE_LIVES);
    out_lists(to, model, &arena);
    fputs("\n## Chain head\n\n", to);
    out_markdown(to, text_of(head_line(model, &arena)));
    fputs("\n\nChecked by `penstock verify`.\n", to);
    arena_fini(&arena);
}
