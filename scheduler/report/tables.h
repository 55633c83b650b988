/*
 * tables.h - the model as tables for people: which columns stand where, and what each cell
 * says. The text, Markdown and HTML renderers share them, so that they cannot differ in a
 * figure.
 */
#ifndef SCHEDULER_REPORT_TABLES_H
#define SCHEDULER_REPORT_TABLES_H

#include "scheduler/report/model.h"

#define TONES(X) X(NONE, "") X(GOOD, "good") X(BAD, "bad") X(WAIT, "wait") X(MUTED, "muted")

/* How a cell is meant; renderers may colour it, the words say it as well. */
enum tone {
#define X(id, name) TONE_##id,
    TONES(X) TONE_COUNT
#undef X
};

enum { CELLS_MAX = 12, CELL_BYTES = 256 };

struct cell {
    char text[CELL_BYTES];
    enum tone tone;
    bool has_value; /* the exact number behind a rounded text: micro-units, micro-nats, ppm, ns
                     */
    int64_t value;
};

struct column {
    const char *name;
    bool right;
    uint32_t columns_max; /* on a terminal; longer texts are cut there */
};

struct table_row {
    struct cell cells[CELLS_MAX];
    const char *detail; /* a line of text under the row, or NULL */
    const char *output; /* several lines of a program's output, or NULL */
};

struct table {
    const char *id, *title;
    const char *note; /* what the columns mean, where the names do not say it; or NULL */
    const struct column *columns;
    uint32_t column_count;
    uint32_t (*row_count)(const struct model *model);
    void (*row)(const struct model *model, uint32_t index, struct arena *arena,
                struct table_row *row);
    const char *empty; /* said instead of an empty table; NULL: the section is left out */
};

#define TABLES(X)                                                                              \
    X(WAITS) X(RUNS) X(DECISIONS) X(INCIDENTS) X(GUARDRAILS) X(TIMES) X(SLOTS) X(LIVES)

enum table_id {
#define X(id) TABLE_##id,
    TABLES(X) TABLE_COUNT
#undef X
};

const struct table *table_of(enum table_id id);
const char *tone_name(enum tone tone);

/* Lines that stand above all tables: what was spent, of what, on what. */
struct figure {
    const char *name;  /* "spent" */
    const char *value; /* "12.35 USD" */
    const char *note;  /* "finished 9.00 · stopped 2.10", or NULL */
    int64_t exact;     /* micro-units */
};

enum { FIGURES_MAX = 12 };

/* Fills `figures`, returns how many. Texts are in the arena. */
uint32_t money_figures(const struct model *model, struct arena *arena,
                       struct figure figures[FIGURES_MAX]);

/* The effective policy in a few lines of prose; returns how many lines. */
enum { POLICY_LINES_MAX = 64 };
uint32_t policy_lines(const struct model *model, struct arena *arena,
                      const char *lines[POLICY_LINES_MAX]);

/* "2026-11-24 10:00:00Z to 2026-11-24 12:00:00Z (2h 00m)", or since when only a period is
 * shown. */
const char *period_line(const struct model *model, struct arena *arena);

/* The chain head in one line each: records, hash, what checks it. */
const char *head_line(const struct model *model, struct arena *arena);

#endif
